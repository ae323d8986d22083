"""The scikit-learn contract: every check that scikit-learn has, by its own code."""

import os
import subprocess
import sys

import pytest
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import parametrize_with_checks

from skvae import AETransformer, VAEOutlierDetector, VAETransformer

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

#: Those of the checks above for estimators that do not transform.
FURTHER_CHECKS_OF_A_DETECTOR = [
    "check_dataframe_column_names_consistency",
    "check_param_validation",
]

ESTIMATORS = [
    VAETransformer(max_iter=5),
    VAETransformer(max_iter=5, hidden_layer_sizes=(), likelihood="gaussian"),
    AETransformer(max_iter=5),
    AETransformer(max_iter=5, hidden_layer_sizes=(), noise=0.5),
    VAEOutlierDetector(max_iter=5),
    # With calibration rows the threshold is theirs, and one check counts rows of fit.
    VAEOutlierDetector(max_iter=5, novelty=True, calibration_fraction=0),
]

# Run in a process of its own: the array API must be asked for before scipy is imported.
WITH_ARRAY_API = """
from sklearn.utils.estimator_checks import check_estimator
from skvae import VAEOutlierDetector, VAETransformer
for kind in (VAETransformer, VAEOutlierDetector):
    results = check_estimator(kind(max_iter=5), on_fail=None, on_skip=None)
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
    assert done.stdout.splitlines() == ["['passed']"] * 2


# scikit-learn's own checks fit on frames and go on with arrays.
@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
@pytest.mark.filterwarnings("ignore:X has feature names, but")
@pytest.mark.parametrize("name", FURTHER_CHECKS)
@pytest.mark.parametrize("kind", [VAETransformer, AETransformer])
def test_checks_beyond_check_estimator(kind, name):
    getattr(estimator_checks, name)(kind.__name__, kind(max_iter=5))


# These fit on frames and go on with arrays, too.
@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
@pytest.mark.filterwarnings("ignore:X has feature names, but")
@pytest.mark.parametrize("name", FURTHER_CHECKS_OF_A_DETECTOR)
def test_checks_beyond_check_estimator_of_a_detector(name):
    detector = VAEOutlierDetector(max_iter=5)
    getattr(estimator_checks, name)("VAEOutlierDetector", detector)


@pytest.mark.parametrize("kind", [VAETransformer, AETransformer, VAEOutlierDetector])
def test_the_model_is_deterministic_by_tag(kind):
    assert not kind().__sklearn_tags__().non_deterministic
