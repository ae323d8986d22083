"""The warning of a code that says nothing: where it is due, and where it is not."""

import numpy as np
import pytest
from sklearn.datasets import load_wine
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skvae import (
    PosteriorCollapseWarning,
    VAEImputer,
    VAEOutlierDetector,
    VAETransformer,
)

X = StandardScaler().fit_transform(load_wine().data)
#: Far below the least noise of a column: without scaling, there is nothing but noise.
TINY = 1e-3 * X


def collapsed(**parameters):
    parameters = {"standardize": False, "max_iter": 5, "random_state": 0, **parameters}
    return VAETransformer(2, **parameters)


def test_a_collapsed_code_is_told_with_its_remedies():
    with pytest.warns(PosteriorCollapseWarning, match="standardize=True") as record:
        vae = collapsed(beta=0.5).fit(TINY)
    (warning,) = record
    message = str(warning.message)
    for remedy in ("FreeBits", "kl_warmup=0.3", "beta below 0.5"):
        assert remedy in message
    assert "init=" not in message  # that is how it began
    assert warning.filename == __file__
    assert vae.kl_per_component_.max() < 0.01


@pytest.mark.parametrize("pipe", [lambda model: model, make_pipeline], ids=["", "pipe"])
def test_the_warning_points_to_the_line_that_called_the_package(pipe):
    with pytest.warns(PosteriorCollapseWarning) as record:
        pipe(collapsed()).fit_transform(TINY)
    assert record[0].filename == __file__


def test_other_settings_call_for_other_remedies():
    with pytest.warns(PosteriorCollapseWarning, match='init="pca"') as record:
        collapsed(kl_warmup=0.1, init="random", max_iter=300).fit(TINY)
    assert "kl_warmup" not in str(record[0].message)


def test_an_imputer_tells_it_as_well():
    imputer = VAEImputer(n_components=2, standardize=False, max_iter=5)
    with pytest.warns(PosteriorCollapseWarning):
        imputer.fit(TINY)


# Warnings are errors here: that these fits end says that there was none.
def test_scaling_is_a_remedy():
    collapsed(standardize=True).fit(TINY)


def test_a_component_too_many_is_no_collapse():
    rows = np.random.default_rng(0).standard_normal((300, 1)) * np.ones(6)
    kl = collapsed(standardize=True).fit(rows).kl_per_component_
    assert kl.min() < 0.01 < kl.max()


@pytest.mark.parametrize(
    "rows",
    [
        1e-3 * np.random.default_rng(0).standard_normal((300, 6)),
        np.full((30, 3), 0.5),
        TINY[:, :1],
        1e-3 * (np.random.default_rng(0).random((300, 200)) < 0.01),
    ],
    ids=["independent", "constant", "single", "rare"],
)
def test_columns_without_anything_in_common_need_no_code(rows):
    vae = VAETransformer(1, standardize=False, max_iter=5, random_state=0).fit(rows)
    assert vae.kl_per_component_.max() < 0.01


def test_levels_of_one_column_have_nothing_in_common_with_each_other():
    rows = np.zeros((150, 4))
    rows[3, 2] = 1.0
    vae = VAETransformer(likelihood="categorical", max_iter=5, random_state=0).fit(rows)
    assert vae.kl_per_component_.max() < 0.01


def test_a_weight_above_all_variance_is_taken_at_its_word():
    heavy = VAETransformer(2, beta=200.0, max_iter=100, random_state=0).fit(X)
    assert heavy.kl_per_component_.max() < 0.01


def test_an_ensemble_is_not_looked_into():
    VAEOutlierDetector(
        n_components=2, n_estimators=2, standardize=False, max_iter=5, random_state=0
    ).fit(TINY)
