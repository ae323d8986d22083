"""Parts of a score: one for each column, and what remains."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from outlier_cases import (
    DENSITIES,
    MIXED,
    X,
    fitted_by_score,
    fitted_members,
    linear,
    normal_of,
    small,
)
from scipy.sparse import csr_array
from scipy.stats import norm
from sklearn import config_context
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer

from skvae import VAEOutlierDetector, VAETransformer
from skvae.core.evaluation import without_each
from skvae.ensemble import SCORES


@pytest.fixture(scope="module")
def detectors():
    return fitted_by_score()


# ---- the sum -------------------------------------------------------------------------


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("table", ["numbers", "mixed"])
def test_parts_sum_to_the_score(detectors, name, table):
    detector, rows = detectors[name][table == "mixed"], X
    if table == "mixed":
        rows = MIXED
    parts, scores = detector.score_features(rows), detector.score_samples(rows)
    assert parts.shape == (rows.shape[0], rows.shape[1] + 1)
    assert parts.dtype == scores.dtype == np.float64
    assert np.isfinite(parts).all()
    error = np.abs(parts.sum(axis=1) - scores)
    assert (error <= 1e-9 * np.abs(parts).max(axis=1)).all()


@pytest.mark.parametrize("name", SCORES)
def test_holes_contribute_nothing_and_other_cells_something(detectors, name):
    detector, holes = detectors[name][1], MIXED.isna().to_numpy()
    assert holes.any(axis=0).all()
    parts = detector.score_features(MIXED)[:, :-1]
    np.testing.assert_array_equal(parts[holes], 0.0)
    assert (parts[~holes] != 0).all()
    # A cell that becomes a hole: its part vanishes, and only its own.
    more = MIXED.assign(other=np.nan)
    more_parts = detector.score_features(more)[:, :-1]
    np.testing.assert_array_equal(more_parts[:, 3], 0.0)
    assert (more_parts[:, [0, 1, 2, 4]][~holes[:, [0, 1, 2, 4]]] != 0).all()


# ---- names, of both estimators -------------------------------------------------------


@pytest.mark.parametrize("kind", [VAEOutlierDetector, VAETransformer])
@pytest.mark.parametrize("asked", ["set_output", "config_context"])
@pytest.mark.parametrize("container", ["pandas", "polars"])
def test_parts_are_named_where_a_frame_is_asked_for(kind, asked, container):
    table = MIXED
    if container == "polars":
        cells = MIXED.astype(object).where(MIXED.notna(), None)
        table = pl.DataFrame(cells.to_dict("list"))
    estimator = kind(max_iter=2, random_state=0).fit(table)
    expected = estimator.score_features(table)
    assert isinstance(expected, np.ndarray)
    if asked == "set_output":
        assert estimator.set_output(transform=container) is estimator
        assert estimator.set_output(transform=None) is estimator  # leaves the choice
        found = estimator.score_features(table)
    else:
        with config_context(transform_output=container):
            found = estimator.score_features(table)
    assert isinstance(found, pd.DataFrame if container == "pandas" else pl.DataFrame)
    last = "rest" if kind is VAEOutlierDetector else "code"
    assert list(found.columns) == [*MIXED.columns, last]
    np.testing.assert_array_equal(found.to_numpy(), expected)
    if container == "pandas":
        assert found.index.equals(MIXED.index)
    estimator.set_output(transform="default")
    assert isinstance(estimator.score_features(table), np.ndarray)


@pytest.mark.parametrize("kind", [VAEOutlierDetector, VAETransformer])
@pytest.mark.parametrize("container", ["pandas", "polars"])
@pytest.mark.parametrize("form", [np.asarray, csr_array, np.ndarray.tolist])
def test_parts_of_an_array_are_named_too(kind, container, form):
    rows = form(X[:40])
    estimator = kind(max_iter=2, random_state=0).fit(rows)
    found = estimator.set_output(transform=container).score_features(rows)
    assert isinstance(found, pd.DataFrame if container == "pandas" else pl.DataFrame)
    last = "rest" if kind is VAEOutlierDetector else "code"
    assert list(found.columns) == [*(f"x{j}" for j in range(13)), last]


@pytest.mark.parametrize(
    ("kind", "last"), [(VAEOutlierDetector, "rest"), (VAETransformer, "code")]
)
def test_the_last_part_has_a_name_of_its_own(kind, last):
    for names in (["a", last], [last, f"{last}_"]):
        rows = pd.DataFrame(X[:, :2], columns=names)
        estimator = kind(max_iter=2, random_state=0).set_output(transform="pandas")
        found = estimator.fit(rows).score_features(rows)
        free = f"{last}_" if names[0] == "a" else f"{last}__"
        assert list(found.columns) == [*names, free]


# ---- shares of the detector ----------------------------------------------------------

BENIGN = load_breast_cancer().data[load_breast_cancer().target == 1]
TRAINED, FRESH = BENIGN[:250], BENIGN[250:]


@pytest.fixture(scope="module", params=[False, True], ids=["outliers", "novelty"])
def of_benign(request):
    """A detector with default settings."""
    return VAEOutlierDetector(novelty=request.param, random_state=0).fit(TRAINED)


@pytest.mark.parametrize("side", [-6, 10])
def test_a_far_cell_comes_first_in_its_row(of_benign, side):
    rng = np.random.default_rng(0)
    cells = np.arange(60), rng.integers(30, size=60)
    rows = FRESH[rng.integers(len(FRESH), size=60)]
    rows[cells] = (TRAINED.mean(axis=0) + side * TRAINED.std(axis=0))[cells[1]]
    parts = of_benign.score_features(rows)[:, :-1]
    assert (parts.argmin(axis=1) == cells[1]).mean() >= 0.9


def test_units_leave_the_shares_alone(of_benign):
    factor = np.ones(30)
    factor[[3, 7, 20]] = 1000, 1e-3, 1000
    other = clone(of_benign).fit(TRAINED * factor)
    np.testing.assert_allclose(
        other.score_features(FRESH * factor)[:, :-1],
        of_benign.score_features(FRESH)[:, :-1],
        atol=1e-6,
    )


def test_shares_are_near_zero_where_cells_go_together():
    detector = VAEOutlierDetector(random_state=0).fit(TRAINED)
    shares = detector.score_features(TRAINED)[:, :-1]
    assert abs(np.median(shares)) < 1
    assert np.quantile(shares, 0.95) < 3


@pytest.mark.parametrize("novelty", [False, True])
@pytest.mark.parametrize("name", DENSITIES)
def test_shares_are_of_the_cell_given_the_others_whatever_the_score(name, novelty):
    rows = X.copy()
    rows[np.random.default_rng(0).random(X.shape) < 0.1] = np.nan
    detector = small(score_function=name, novelty=novelty, n_estimators=3).fit(rows)
    members = fitted_members(detector, in_training=True)
    assert ("prior" in detector._state) == novelty

    shares = detector.score_features(rows)[:, :-1]
    conditionals = np.mean([member.conditionals(rows, 4) for member in members], axis=0)
    assert (np.isnan(conditionals) == np.isnan(rows)).all()
    expected = np.nan_to_num(conditionals - detector._typical)
    np.testing.assert_allclose(shares, expected, atol=1e-9)


@pytest.mark.parametrize("novelty", [False, True])
def test_a_typical_cell_is_the_median_of_what_the_code_tells(novelty):
    rows = np.tile(X, (7, 1))  # 1,246, of which every other one is taken
    rows[np.random.default_rng(0).random(rows.shape) < 0.1] = np.nan
    rows[:, 4] = np.nan
    detector = small(novelty=novelty, calibration_fraction=0, max_iter=1).fit(rows)
    given_code = np.mean(
        [
            member.log_likelihood_by_feature(rows[::2], 4)[:, :-1]
            for member in fitted_members(detector, in_training=True)
        ],
        axis=0,
    )
    given_code[np.isnan(rows[::2])] = np.nan
    expected = np.nanmedian(np.delete(given_code, 4, axis=1), axis=0)
    np.testing.assert_allclose(detector._typical, np.insert(expected, 4, 0), rtol=1e-9)


@pytest.mark.parametrize("novelty", [False, True])
@pytest.mark.parametrize("name", ["robust", "log_likelihood"])
def test_shares_are_the_exact_conditional_densities(name, novelty):
    detector = linear(name, novelty=novelty, init="pca", n_importance_samples=1024)
    (member,) = fitted_members(detector)
    locations, loadings, scale = normal_of(member)
    covariance = loadings.T @ loadings + scale**2 * np.eye(13)
    rows = X[(np.abs(X - X.mean(axis=0)) < 2 * X.std(axis=0)).all(axis=1)][:100]
    assert len(rows) == 100
    rows[50:, [2, 7]] = np.nan  # given the others that were observed
    found = detector.score_features(rows)[:, :-1] + detector._typical
    far = member._tensors(rows)[1].numpy() - locations
    for few, known in (
        (slice(50), np.arange(13)),
        (slice(50, 100), np.delete(np.arange(13), [2, 7])),
    ):
        precision = np.linalg.inv(covariance[np.ix_(known, known)])
        spread = precision.diagonal() ** -0.5
        away = far[few][:, known] @ precision * spread**2
        exact = norm(0, spread).logpdf(away) - np.log(X.std(axis=0)[known])
        np.testing.assert_allclose(found[few][:, known], exact, atol=0.05)


def test_errors_are_shares_of_which_nothing_remains(detectors):
    detector, _ = detectors["reconstruction_error"]
    parts = detector.score_features(X)
    errors = [member.errors_by_feature(X) for member in fitted_members(detector)]
    np.testing.assert_allclose(parts[:, :-1], -np.mean(errors, axis=0), rtol=1e-12)
    np.testing.assert_allclose(parts[:, -1], 0, atol=1e-9)


def test_a_cell_is_held_against_the_greater_of_both_bounds():
    """That by the code of the whole row, and that by the others, which fill it in."""
    detector = small(n_estimators=1, max_iter=30).fit(X)
    (member,) = fitted_members(detector, in_training=True)
    planted = X.copy()
    planted[::2, 4] += 8 * X[:, 4].std()
    found = member.conditionals(planted, 64)
    tensors = member._tensors(planted)
    parts = without_each(member.model, member.weights, tensors, 64)
    whole, by_whole = (part.numpy() for part in parts)
    by_others = np.stack([member._without(planted, j, 64) for j in range(13)], axis=1)
    level = whole[:, None] + member.table.log_jacobian(planted)
    for bound in (by_whole, by_others):
        assert (found <= level - bound + 1e-9).all()
        assert (found < level - bound - 0.1).any()  # so that neither will do alone
    greater = np.maximum(by_whole, by_others)
    np.testing.assert_allclose(found, level - greater, atol=1e-9)
    # A planted cell misleads the code of the whole row.
    misled = (by_others > by_whole)[::2, 4]
    assert misled.mean() > 0.5
