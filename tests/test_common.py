"""The scikit-learn contract: every check that scikit-learn has, by its own code."""

import os
import subprocess
import sys

import pytest
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import parametrize_with_checks

from skvae import VAETransformer

FURTHER_CHECKS = [
    "check_dataframe_column_names_consistency",
    "check_get_feature_names_out_error",
    "check_transformer_get_feature_names_out",
    "check_transformer_get_feature_names_out_pandas",
    "check_set_output_transform",
    "check_set_output_transform_pandas",
    "check_global_output_transform_pandas",
    "check_set_output_transform_polars",
    "check_global_set_output_transform_polars",
    "check_param_validation",
]

ESTIMATORS = [
    VAETransformer(max_iter=5),
    VAETransformer(max_iter=5, hidden_layer_sizes=(), likelihood="gaussian"),
]

# Run in a process of its own: the array API must be asked for before scipy is imported.
WITH_ARRAY_API = """
from sklearn.utils.estimator_checks import check_estimator
from skvae import VAETransformer
results = check_estimator(VAETransformer(max_iter=5), on_fail=None, on_skip=None)
print(sorted({result["status"] for result in results}))
"""


@parametrize_with_checks(ESTIMATORS, xfail_strict=True)
def test_check_estimator(estimator, check):
    check(estimator)


def test_array_api():
    environment = {**os.environ, "SCIPY_ARRAY_API": "1"}
    command = [sys.executable, "-W", "error", "-c", WITH_ARRAY_API]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "['passed']"


# scikit-learn's own checks fit on frames and go on with arrays.
@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
@pytest.mark.filterwarnings("ignore:X has feature names, but")
@pytest.mark.parametrize("name", FURTHER_CHECKS)
def test_checks_beyond_check_estimator(name):
    getattr(estimator_checks, name)("VAETransformer", VAETransformer(max_iter=5))


def test_the_model_is_deterministic_by_tag():
    assert not VAETransformer().__sklearn_tags__().non_deterministic
