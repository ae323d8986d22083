"""The detector: what its scores, threshold, parts and p-values are."""

import math
import pickle
import random
from contextlib import contextmanager
from copy import copy

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
import skops.io
import torch
from scipy.sparse import csr_array
from scipy.stats import multivariate_normal, norm, t
from sklearn import config_context
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_wine
from sklearn.metrics import make_scorer, roc_auc_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils._param_validation import InvalidParameterError

from skvae import VAEOutlierDetector, VAETransformer, parameters
from skvae.base import draw_seed
from skvae.core import evaluation
from skvae.ensemble import SCORES
from skvae.fitted import FittedModel, member_states
from skvae.histograms import fit_histograms, log_densities
from skvae.likelihoods import Gaussian

X = load_wine().data
DENSITIES = sorted(set(SCORES) - {"reconstruction_error"})


def small(**parameters):
    given = {"max_iter": 5, "hidden_layer_sizes": (8,), "n_estimators": 2}
    return VAEOutlierDetector(**{**given, "random_state": 0, **parameters})


def mixed_table(n_rows=200):
    """Numbers, labels, yes and no, small whole numbers, and holes in each."""
    rng = np.random.default_rng(0)
    level = rng.normal(size=n_rows)
    noise = rng.normal(size=(n_rows, 3))
    table = pd.DataFrame(
        {
            "label": np.array([*"abc"])[np.digitize(level + noise[:, 0], [-1, 1])],
            "number": level + noise[:, 1],
            "yes": pd.array(level > 0, dtype="boolean"),
            "other": 100 * (noise[:, 2] - level),
            "count": rng.poisson(np.exp(level)).astype(float),
        },
        index=[f"row {i}" for i in range(n_rows)],
    )
    holes = rng.random(table.shape) < 0.15
    return table.mask(pd.DataFrame(holes, index=table.index, columns=table.columns))


MIXED = mixed_table()


@pytest.fixture(scope="module")
def detectors():
    """By name of the score: fitted detectors of two members, and of mixed tables."""
    return {
        name: (
            small(score_function=name, calibration_fraction=0.1).fit(X),
            small(score_function=name, calibration_fraction=0.1).fit(MIXED),
        )
        for name in SCORES
    }


def split_of(detector, n_rows):
    """Rows of a fit that trained, that stopped it, and that calibrated it."""
    seed = draw_seed(detector.random_state)
    return parameters.split(detector, n_rows, np.random.default_rng(seed))


def fitted_members(detector, robust=False, in_training=False):
    """Members, under the prior of scores or the one of training."""
    state = dict(detector._state)
    if in_training:
        state.pop("prior", None)
    return [FittedModel(s, np.float64, robust=robust) for s in member_states(state)]


def of_member(detector, e):
    """A detector that is one member of another."""
    alone, state = copy(detector), dict(detector._state)
    state["weights"] = state["weights"][[e]]
    if "prior" in state:
        state["prior"] = {name: part[[e]] for name, part in state["prior"].items()}
    alone._state = state
    return alone


# ---- the threshold -------------------------------------------------------------------


def test_negative_scores_are_outliers():
    detector = small().fit(X)
    scores = detector.decision_function(X)
    np.testing.assert_array_equal(
        scores, detector.score_samples(X) - detector.offset_, strict=True
    )
    np.testing.assert_array_equal(detector.predict(X), np.where(scores < 0, -1, 1))
    assert set(detector.predict(X)) == {-1, 1}


@pytest.mark.parametrize("novelty", [False, True])
def test_fit_predict_is_fit_and_predict(novelty):
    detector = small(novelty=novelty)
    np.testing.assert_array_equal(
        detector.fit_predict(X), clone(detector).fit(X).predict(X)
    )


@pytest.mark.parametrize("novelty", [False, True])
@pytest.mark.parametrize("contamination", [0.005, 0.01, 0.1, 0.3, 0.5])
def test_the_asked_for_share_of_the_rows_of_fit_is_outliers(contamination, novelty):
    detector = small(
        contamination=contamination, novelty=novelty, calibration_fraction=0
    ).fit(X)
    n_outliers = (detector.predict(X) == -1).sum()
    assert n_outliers == math.ceil(contamination * (len(X) - 1))
    assert abs(n_outliers / len(X) - contamination) < 1 / len(X)


@pytest.mark.parametrize("novelty", [False, True])
def test_the_threshold_of_clean_rows_is_of_those_kept_out_of_training(novelty):
    detector = small(contamination=0.3, novelty=novelty, calibration_fraction=0.4)
    detector.fit(X)
    apart = detector.calibration_scores_
    reference = apart if novelty else detector.score_samples(X)
    assert detector.offset_ == pytest.approx(np.quantile(reference, 0.3))


def test_set_contamination_is_a_refit():
    moved = small().fit(X)
    for contamination in (0.03, 0.25, 0.5):
        moved.set_contamination(contamination)
        refitted = small(contamination=contamination).fit(X)
        assert moved.offset_ == refitted.offset_
        assert moved.get_params() == refitted.get_params()
        np.testing.assert_array_equal(moved.predict(X), refitted.predict(X))


@pytest.mark.parametrize(
    ("contamination", "error"),
    [
        (0, ValueError),
        (0.6, ValueError),
        (np.nan, ValueError),
        ("auto", TypeError),
    ],
)
def test_set_contamination_refuses_what_is_no_share(contamination, error):
    detector = small().fit(X)
    with unchanged(detector), pytest.raises(error, match="contamination"):
        detector.set_contamination(contamination)


def test_far_rows_are_outliers():
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((300, 1)) + 0.3 * rng.standard_normal((300, 6))
    far = rows[:20] + 4 * rng.choice([-1, 1], (20, 6))
    detector = small(max_iter=50).fit(np.concatenate([rows, far]))
    assert (detector.predict(far) == -1).mean() > 0.9


# ---- the same again ------------------------------------------------------------------


@pytest.mark.parametrize("name", SCORES)
def test_ten_calls_give_the_same_bits(detectors, name):
    detector, _ = detectors[name]
    for answer in (detector.score_samples, detector.score_features, detector.p_values):
        expected = answer(X)
        for _ in range(9):
            np.testing.assert_array_equal(answer(X), expected, strict=True)


@pytest.mark.parametrize("novelty", [False, True])
def test_a_seed_gives_the_model_again(novelty):
    one, other = (small(novelty=novelty).fit(X) for _ in range(2))
    assert joblib.hash(one._state) == joblib.hash(other._state)
    assert one.offset_ == other.offset_
    np.testing.assert_array_equal(one.calibration_scores_, other.calibration_scores_)
    third = small(novelty=novelty, random_state=1).fit(X)
    assert not np.array_equal(one.score_samples(X), third.score_samples(X))


def test_members_differ():
    weights = small(n_estimators=3).fit(X)._state["weights"]
    assert weights.ndim == 2 and len(weights) == 3
    distances = [np.abs(weights[i] - weights[j]).max() for i, j in [(0, 1), (1, 2)]]
    assert min(distances) > 0.01


def test_global_seeds_are_left_alone():
    np.random.seed(0)
    before = np.random.get_state()[1].copy(), torch.get_rng_state(), random.getstate()
    small(random_state=1, novelty=True).fit(X).p_values(X)
    np.testing.assert_array_equal(np.random.get_state()[1], before[0])
    assert torch.equal(torch.get_rng_state(), before[1])
    assert random.getstate() == before[2]


# ---- rows ----------------------------------------------------------------------------


def permuted(answer, rows):
    order = np.random.default_rng(0).permutation(len(rows))
    return answer(rows.iloc[order])[np.argsort(order)]


def alone(answer, rows):
    return np.concatenate([answer(rows.iloc[[i]]) for i in range(len(rows))])


def beside_others(answer, rows):
    return answer(pd.concat([rows[::-1], rows, rows[::-1]]))[len(rows) : 2 * len(rows)]


@pytest.mark.parametrize("arrange", [permuted, alone, beside_others])
@pytest.mark.parametrize("name", SCORES)
def test_a_row_is_answered_whatever_stands_beside_it(detectors, name, arrange):
    rows = MIXED[:60]
    detector = detectors[name][1]
    for method in ("score_samples", "score_features"):
        answer = getattr(detector, method)
        expected, found = answer(rows), arrange(answer, rows)
        size = np.abs(expected).reshape(len(rows), -1).max(axis=1)
        error = np.abs(found - expected).reshape(len(rows), -1).max(axis=1)
        assert (error <= 1e-9 * size).all()
    found = arrange(detector.p_values, rows)
    np.testing.assert_array_equal(found, detector.p_values(rows))


@pytest.mark.parametrize("name", SCORES)
def test_float32_answers_nearly_as_float64_does(detectors, name):
    detector, _ = detectors[name]
    found = detector.score_samples(X.astype("float32"))
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, detector.score_samples(X), rtol=1e-3, atol=1e-2)
    fitted = small(score_function=name).fit(X.astype("float32"))
    assert fitted.score_samples(X.astype("float32")).dtype == np.float64
    assert abs((fitted.predict(X.astype("float32")) == -1).mean() - 0.1) < 1 / len(X)


@pytest.mark.parametrize("novelty", [False, True])
def test_a_sparse_matrix_is_answered_as_a_dense_one(novelty):
    rows = np.where(X > X.mean(axis=0), X, 0.0)
    dense = small(novelty=novelty).fit(rows)
    sparse = small(novelty=novelty).fit(csr_array(rows))
    for method in ("score_samples", "score_features"):
        expected = getattr(dense, method)(rows)
        for detector in (dense, sparse):
            found = getattr(detector, method)(csr_array(rows))
            np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


# ---- parts of a score ----------------------------------------------------------------


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


def test_errors_are_shares_of_which_nothing_remains(detectors):
    detector, _ = detectors["reconstruction_error"]
    parts = detector.score_features(X)
    errors = [member.errors_by_feature(X) for member in fitted_members(detector)]
    np.testing.assert_allclose(parts[:, :-1], -np.mean(errors, axis=0), rtol=1e-12)
    np.testing.assert_allclose(parts[:, -1], 0, atol=1e-9)


# ---- what each score is --------------------------------------------------------------


def one_member(score_function, **parameters):
    given = {"n_estimators": 1, "likelihood": Gaussian("feature"), "max_iter": 20}
    return small(score_function=score_function, **{**given, **parameters}).fit(X)


def posterior_of(member, rows, n_draws):
    """Targets, q(z|x), and p(x|z) at the draws that scores take."""
    inputs, targets, _ = member._tensors(rows)
    noise = evaluation.shared_noise(member.model, n_draws, inputs)
    posterior = evaluation.codes(member.model, member.weights, inputs)
    return targets.numpy(), posterior, member._decode(posterior.rsample(noise))


def divergence(posterior):
    """From the standard normal, in closed form."""
    mean, log_scale = posterior.mean.numpy(), posterior.log_scale.numpy()
    terms = np.exp(2 * log_scale) + mean**2 - 1 - 2 * log_scale
    return 0.5 * terms.sum(axis=1)


@pytest.mark.parametrize(
    ("name", "cell", "with_code"),
    [
        ("elbo", norm, True),
        ("robust", t(4), True),
        ("reconstruction_probability", norm, False),
    ],
)
def test_bounds_are_those_written_out(name, cell, with_code):
    detector = one_member(name)
    (member,) = fitted_members(detector)
    targets, posterior, columns = posterior_of(member, X, 4)
    mean, scale = columns.mean.numpy(), columns.scale.numpy()
    cells = cell.logpdf((targets - mean) / scale) - np.log(scale)
    # The units of X: standard deviations are those of the training rows.
    rows = split_of(detector, len(X))[0]
    cells = cells.mean(axis=0) - np.log(X[rows].std(axis=0))
    expected = cells.sum(axis=1)
    if with_code:
        expected -= divergence(posterior)
    if name == "robust":
        histograms = fit_histograms(X, rows)
        expected = 0.8 * expected + 0.2 * log_densities(X, histograms).sum(axis=1)
    np.testing.assert_allclose(detector.score_samples(X), expected, rtol=1e-9)


@pytest.mark.parametrize("fraction", [0.0, 0.3])
def test_histograms_are_of_the_training_rows(fraction):
    detector = small(calibration_fraction=fraction).fit(X)
    expected = fit_histograms(X, split_of(detector, len(X))[0])
    for name, part in expected.items():
        np.testing.assert_array_equal(detector._state["histograms"][name], part)


def test_log_likelihood_of_one_member_is_that_of_its_model():
    detector = one_member("log_likelihood", n_importance_samples=32)
    (member,) = fitted_members(detector)
    np.testing.assert_allclose(
        detector.score_samples(X), member.log_likelihood(X, 32), rtol=1e-12
    )


def test_score_is_the_mean_log_likelihood_whatever_the_score_function(detectors):
    expected = detectors["log_likelihood"][0].score_samples(X).mean()
    for detector, _ in detectors.values():
        assert detector.score(X) == expected


def test_reconstruction_error_of_numbers_and_labels():
    rows = MIXED[["number", "label", "other"]].dropna()
    detector = small(n_estimators=1, score_function="reconstruction_error").fit(rows)
    (member,) = fitted_members(detector)
    numbers = rows[["number", "other"]].to_numpy(dtype=float)
    scale = numbers[split_of(detector, len(rows))[0]].std(axis=0)
    checked = detector._check_rows(rows)
    means = member._decode(torch.from_numpy(member.codes(checked))).mean.numpy()
    # Numbers in standardised units, then the three probabilities.
    centre = numbers[split_of(detector, len(rows))[0]].mean(axis=0)
    squares = np.square((numbers - centre) / scale - means[:, :2])
    levels = detector.likelihood_[1]["levels"]
    place = [levels.index(label) for label in rows["label"]]
    wrong = 1 - means[np.arange(len(rows)), 2 + np.array(place)]
    errors = [squares[:, 0], wrong, squares[:, 1], np.zeros(len(rows))]
    np.testing.assert_allclose(
        detector.score_features(rows), -np.column_stack(errors), atol=1e-9
    )


def linear(score_function, **parameters):
    """A linear-Gaussian model, by default not trained to its optimum."""
    given = {
        "n_components": 2,
        "hidden_layer_sizes": (),
        "likelihood": Gaussian("shared"),
        "init": "random",
        "max_iter": 10,
        "learning_rate": 0.02,
        "n_importance_samples": 4096,
        "calibration_fraction": 0,
    }
    return one_member(score_function, **{**given, **parameters})


def normal_of(member):
    """Mean, loadings and scale of the normal that a linear model is, standardised."""
    weights = member.weights
    scale = 0.05 + np.logaddexp(0, weights["likelihood"]["raw_scale"].item())
    decoder = weights["decoder"]
    return decoder["bias_0"].numpy(), decoder["weight_0"].numpy(), scale


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


def test_the_bound_is_below_the_exact_density_by_the_exact_divergence():
    detector = linear("elbo")
    (member,) = fitted_members(detector)
    locations, loadings, scale = normal_of(member)
    targets, posterior, _ = posterior_of(member, X, 1)
    covariance = loadings.T @ loadings + scale**2 * np.eye(X.shape[1])
    density = multivariate_normal(locations, covariance).logpdf(targets)
    density -= np.log(X[split_of(detector, len(X))[0]].std(axis=0)).sum()
    # KL(q(z|x) || p(z|x)) of two normals.
    precision = np.eye(2) + loadings @ loadings.T / scale**2
    exact = (targets - locations) @ loadings.T @ np.linalg.inv(precision) / scale**2
    mean, log_scale = posterior.mean.numpy(), posterior.log_scale.numpy()
    away = mean - exact
    gap = 0.5 * (
        np.exp(2 * log_scale) @ precision.diagonal()
        + np.einsum("ni,ij,nj->n", away, precision, away)
        - 2
        - np.linalg.slogdet(precision)[1]
        - 2 * log_scale.sum(axis=1)
    )
    assert gap.min() > 0.01
    elbo = detector.score_samples(X)
    np.testing.assert_allclose(elbo, density - gap, rtol=3e-4, atol=0.01)
    # With the same draws the importance-weighted bound is nearer, row by row, and
    # near where the draws come from nearly the right place.
    weighted = linear("log_likelihood").score_samples(X)
    assert (elbo < weighted).all()
    near = gap < 2
    assert near.sum() > 20
    assert np.median(np.abs(weighted - density)[near]) < 0.05


def test_a_far_cell_costs_the_logarithm_of_its_distance_or_the_square():
    centre, spread = X.mean(axis=0), X.std(axis=0)
    rows = np.tile(centre, (3, 1))
    rows[:, 4] += spread[4] * np.array([10, 100, 1000])
    detector = small(max_iter=50).fit(X)
    parts = [
        member.bound_by_feature(rows, 4)
        for member in fitted_members(detector, robust=True)
    ]
    falls = -np.diff(np.mean(parts, axis=0), axis=0)
    # (df + 1) log(10) a decade, of the cell and of all that its code moves.
    assert falls[1, 4] == pytest.approx(5 * np.log(10), abs=0.1)
    assert falls[1, :-1].max() < 5 * np.log(10) + 0.1
    # The histogram has no further to fall.
    total = -np.diff(detector.score_samples(rows))
    assert total[1] == pytest.approx(0.8 * falls[1].sum(), rel=1e-9)
    elbo = small(max_iter=50, score_function="elbo").fit(X)
    parts = [member.bound_by_feature(rows, 4)[:, 4] for member in fitted_members(elbo)]
    falls = -np.diff(np.mean(parts, axis=0))
    assert falls[1] / falls[0] == pytest.approx(100, rel=0.1)
    totals = -np.diff(elbo.score_samples(rows))
    assert totals[1] / totals[0] == pytest.approx(100, rel=0.1)


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("novelty", [False, True])
def test_units_shift_densities_and_leave_errors_alone(name, novelty):
    factor = np.ones(X.shape[1])
    factor[[0, 5]] = 8.0, 0.25  # powers of two: the same bits inside
    one, other = (
        small(score_function=name, novelty=novelty, calibration_fraction=0.1).fit(rows)
        for rows in (X, X * factor)
    )
    shift = -np.log(factor).sum() if name in DENSITIES else 0.0
    change = other.score_features(X * factor) - one.score_features(X)
    np.testing.assert_allclose(change[:, :-1], 0, atol=1e-9)
    np.testing.assert_allclose(change[:, -1], shift, atol=1e-9)
    np.testing.assert_allclose(
        other.score_samples(X * factor) - one.score_samples(X), shift, atol=1e-9
    )
    np.testing.assert_array_equal(other.predict(X * factor), one.predict(X))
    np.testing.assert_array_equal(other.p_values(X * factor), one.p_values(X))


# ---- the ensemble --------------------------------------------------------------------


@pytest.mark.parametrize("novelty", [False, True])
@pytest.mark.parametrize("name", SCORES)
def test_members_are_averaged(name, novelty):
    detector = small(n_estimators=3, score_function=name, novelty=novelty).fit(X)
    for method in ("score_samples", "score_features"):
        answers = [getattr(of_member(detector, e), method)(X) for e in range(3)]
        assert not np.allclose(answers[0], answers[1], atol=1e-3)
        np.testing.assert_allclose(
            getattr(detector, method)(X),
            np.mean(answers, axis=0),
            rtol=1e-9,
            atol=1e-9,
        )


def test_an_ensemble_of_one_is_its_member():
    detector = small(n_estimators=1).fit(X)
    assert detector._state["weights"].shape[0] == 1
    assert detector.kl_per_component_.shape == (1, detector.n_components_)
    assert small(n_estimators=3).fit(X).kl_per_component_.shape[0] == 3


@pytest.mark.parametrize(
    ("init", "n_estimators", "n_linear"),
    [
        ("mixed", 4, 2),
        ("mixed", 3, 2),
        ("mixed", 1, 1),
        ("pca", 4, 4),
        ("random", 4, 0),
    ],
)
def test_the_first_half_of_the_members_starts_as_probabilistic_pca(
    init, n_estimators, n_linear
):
    detector = small(init=init, n_estimators=n_estimators)
    array, layout = detector._validate(X, reset=True)
    state = detector._new_state(array, np.arange(len(X)), layout, 0)
    decoders = [
        FittedModel(member, np.float32).weights["decoder"]["linear_path"].numpy()
        for member in member_states(state)
    ]
    assert len(decoders) == n_estimators
    for one in range(n_estimators):
        for other in range(one):
            same = np.abs(decoders[one] - decoders[other]).max() < 1e-6
            assert same == (one < n_linear and other < n_linear)


def test_defaults_are_a_short_training_of_members_that_differ():
    detector = VAEOutlierDetector()
    given = {"init": "mixed", "n_importance_samples": 4, "n_estimators": 4}
    assert detector.get_params().items() >= {**given, "max_iter": "auto"}.items()
    for n_rows, n_steps in [(178, 600), (10_000, 600), (100_000, 600)]:
        plan = parameters.plan(detector, n_rows, mixed=False)
        assert n_steps <= plan.n_steps < 1.35 * n_steps
    assert parameters.plan(detector, 178, mixed=True).n_steps == 3_000
    assert parameters.plan(detector, 1_000_000, mixed=False).max_epochs == 3


# ---- novelty -------------------------------------------------------------------------


def test_novelty_changes_the_score_and_not_the_training():
    outliers, novelties = (
        small(novelty=novelty, calibration_fraction=0.05).fit(X)
        for novelty in (False, True)
    )
    np.testing.assert_array_equal(
        outliers._state["weights"], novelties._state["weights"]
    )
    assert outliers.loss_curve_ == novelties.loss_curve_
    robust = clone(outliers).set_params(score_function="robust").fit(X)
    np.testing.assert_array_equal(outliers.score_samples(X), robust.score_samples(X))
    weighted = small(novelty=True, score_function="log_likelihood").fit(X)
    np.testing.assert_array_equal(novelties.score_samples(X), weighted.score_samples(X))
    assert not np.allclose(outliers.score_samples(X), novelties.score_samples(X))
    for detector in (outliers, novelties):
        assert set(detector.predict(X[:90] + 0.1)) <= {-1, 1}
        assert detector.predict(X[:1]).shape == (1,)


def test_the_prior_of_novelty_is_the_posteriors_of_the_training_rows():
    detector = small(novelty=True, n_estimators=2).fit(X)
    rows = split_of(detector, len(X))[0]
    assert detector._state["prior"]["mean"].shape == (
        2,
        len(rows),
        detector.n_components_,
    )
    for e, member in enumerate(fitted_members(detector)):
        posterior = member._posterior(X[rows])
        for name in ("mean", "log_scale"):
            np.testing.assert_allclose(
                detector._state["prior"][name][e],
                getattr(posterior, name).numpy(),
                atol=1e-5,
            )


def test_the_prior_of_novelty_has_three_thousand_rows_at_most():
    rows = np.random.default_rng(0).standard_normal((3_500, 2))
    detector = small(novelty=True, max_iter=1).fit(rows)
    assert detector._state["prior"]["mean"].shape == (2, 3_000, 1)
    assert np.isfinite(detector.score_samples(rows)).all()


def test_the_density_of_novelty_is_the_integral_over_that_prior():
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((60, 1)) * [1.0, 0.5]
    rows += 0.5 * rng.standard_normal((60, 2))
    detector = small(
        novelty=True,
        n_components=1,
        init="pca",  # the encoder is near from the start
        max_iter=30,
        n_importance_samples=4096,
    ).fit(rows)
    z, step = np.linspace(-12, 12, 4001, retstep=True)
    densities = []
    for e, member in enumerate(fitted_members(detector)):
        mean, log_scale = (
            detector._state["prior"][name][e, :, 0].astype(float)
            for name in ("mean", "log_scale")
        )
        prior = norm(mean, np.exp(log_scale)).pdf(z[:, None]).mean(axis=1)
        columns = member._decode(torch.from_numpy(z[:, None]))
        targets = member._tensors(rows)[1].numpy()
        cells = norm(columns.mean.numpy()[:, None], columns.scale.numpy())
        given = np.exp(cells.logpdf(targets).sum(axis=2))
        densities.append(np.log(prior @ given * step))
    scale = rows[split_of(detector, 60)[0]].std(axis=0)
    exact = np.mean(densities, axis=0) - np.log(scale).sum()
    np.testing.assert_allclose(detector.score_samples(rows), exact, atol=0.02)


# ---- p-values ------------------------------------------------------------------------


@pytest.mark.parametrize("n_rows", [2, 3, 10, 11, 100, 1_001])
@pytest.mark.parametrize("early_stopping", [False, True, "auto"])
@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.5, 0.99])
def test_rows_are_dealt_to_three_uses(n_rows, early_stopping, fraction):
    detector = small(calibration_fraction=fraction, early_stopping=early_stopping)
    n_apart = min(round(fraction * n_rows), n_rows - 2)
    if early_stopping is True and n_rows - n_apart < 3:
        with pytest.raises(ValueError, match="early_stopping=True needs at least 3"):
            split_of(detector, n_rows)
        return
    rows, held_out, apart = parts = split_of(detector, n_rows)
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(n_rows))
    assert len(rows) >= 2
    assert len(apart) == n_apart
    assert bool(len(held_out)) == (
        early_stopping is True or (early_stopping == "auto" and n_rows - n_apart >= 50)
    )
    if len(held_out):
        n_left = n_rows - n_apart
        assert len(held_out) == min(max(1, round(0.1 * n_left)), n_left - 2)
    for part, again in zip(parts, split_of(detector, n_rows), strict=True):
        np.testing.assert_array_equal(part, again)
        np.testing.assert_array_equal(part, np.sort(part))


@pytest.mark.parametrize("novelty", [False, True])
def test_clean_rows_calibrate_by_default(novelty):
    detector = small(novelty=novelty).fit(X)
    assert detector.calibration_fraction == "auto"
    assert len(detector.calibration_scores_) == (9 if novelty else 0)
    assert len(split_of(detector, 1_000)[2]) == (50 if novelty else 0)
    own = small(novelty=novelty, calibration_fraction=0.5).fit(X)
    assert len(own.calibration_scores_) == 89


def test_no_more_than_ten_thousand_rows_calibrate():
    _, _, apart = split_of(small(calibration_fraction=0.5), 50_000)
    assert len(apart) == 10_000


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("novelty", [False, True])
def test_calibration_rows_teach_the_model_nothing(early_stopping, novelty):
    detector = small(
        early_stopping=early_stopping, novelty=novelty, calibration_fraction=0.2
    ).fit(X)
    apart = split_of(detector, len(X))[2]
    changed = X.copy()
    changed[apart] = 1e3 * np.random.default_rng(0).normal(size=(len(apart), 13))
    other = clone(detector).fit(changed)
    rows = np.delete(X, apart, axis=0)
    np.testing.assert_array_equal(
        other.score_samples(rows), detector.score_samples(rows)
    )
    assert other.validation_scores_ == detector.validation_scores_
    np.testing.assert_array_equal(
        detector.calibration_scores_, np.sort(detector.score_samples(X)[apart])
    )


@pytest.mark.parametrize("name", SCORES)
def test_p_values_are_the_share_that_scores_no_higher(detectors, name):
    detector, _ = detectors[name]
    scores = detector.score_samples(X)
    calibration = scores[split_of(detector, len(X))[2]]
    n = len(calibration)
    assert n == round(0.1 * len(X))
    expected = [(1 + sum(calibration <= score)) / (n + 1) for score in scores]
    found = detector.p_values(X)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert (found > 0).all() and (found <= 1).all()
    np.testing.assert_allclose(found * (n + 1), np.rint(found * (n + 1)), atol=1e-9)
    assert detector.p_values(X + 1e4).max() == 1 / (n + 1)
    np.testing.assert_array_equal(detector.p_values(X, alpha=0.5), found)


def test_normal_rows_are_flagged_as_often_as_asked():
    """Exchangeable rows, a model that fits its training rows far better than others."""
    n_seeds, n_new, n_calibration = 40, 60, 25
    p_values = []
    for seed in range(n_seeds):
        rows = np.random.default_rng(seed).standard_normal((50 + n_new, 6))
        detector = VAEOutlierDetector(
            max_iter=2,
            n_components=5,
            hidden_layer_sizes=(),
            n_estimators=1,
            calibration_fraction=0.5,
            random_state=seed,
        ).fit(rows[:50])
        assert len(detector.calibration_scores_) == n_calibration
        p_values.append(detector.p_values(rows[50:]))
    for alpha in (0.05, 0.1, 0.2):
        rate = np.mean(np.array(p_values) <= alpha)
        # Given the calibration rows, a rate of false alarms is Beta distributed.
        k, n = math.floor(alpha * (n_calibration + 1)), n_calibration
        mean = k / (n + 1)
        within = k * (n + 1 - k) / ((n + 1) * (n + 2))
        between = mean * (1 - mean) / (n + 2)
        assert within / (n + 1) == pytest.approx(between)
        variance = between + (mean * (1 - mean) - between) / n_new
        error = np.sqrt(variance / n_seeds)
        assert alpha - 1 / (n + 1) - 3 * error <= rate <= alpha + 3 * error


def test_too_few_calibration_rows_for_a_rate_are_warned_of():
    detector = small(novelty=True).fit(X)  # 9 of which calibrate
    detector.p_values(X, alpha=0.1)  # which is 1 / (9 + 1), and no error
    with pytest.warns(UserWarning, match=r"With 9 calibration rows no .* 0\.1, so"):
        detector.p_values(X, alpha=0.099)
    with pytest.warns(UserWarning, match="nothing will be flagged"):
        detector.set_contamination(0.05).p_values(X)


@pytest.mark.parametrize(
    "parameters", [{}, {"calibration_fraction": 0, "novelty": True}]
)
def test_p_values_need_calibration_rows(parameters):
    detector = small(**parameters).fit(X)
    assert detector.calibration_scores_.shape == (0,)
    with pytest.raises(ValueError, match=r"novelty=True .*calibration_fraction"):
        detector.p_values(X)


@pytest.mark.parametrize(
    ("alpha", "error"),
    [(-0.1, ValueError), (1.5, ValueError), (np.nan, ValueError), ("low", TypeError)],
)
def test_a_rate_is_between_0_and_1(detectors, alpha, error):
    with pytest.raises(error, match="alpha"):
        detectors["robust"][0].p_values(X, alpha=alpha)


# ---- beside scikit-learn's others ----------------------------------------------------

FAR = X + 6 * X.std(axis=0) * np.random.default_rng(0).choice([-1, 1], X.shape)
ROWS = np.concatenate([X, FAR[:20]])
LABELS = np.where(np.arange(len(ROWS)) < len(X), 1, -1)


def test_in_a_pipeline():
    pipeline = make_pipeline(StandardScaler(), small(max_iter=20)).fit(ROWS)
    assert roc_auc_score(LABELS, pipeline.decision_function(ROWS)) > 0.95
    np.testing.assert_array_equal(
        pipeline.predict(ROWS), np.where(pipeline.decision_function(ROWS) < 0, -1, 1)
    )
    assert pipeline.score_samples(ROWS).shape == (len(ROWS),)


def test_grid_search_by_a_metric_of_known_outliers():
    scorer = make_scorer(roc_auc_score, response_method="decision_function")
    grid = {"vaeoutlierdetector__score_function": ["robust", "reconstruction_error"]}
    pipeline = make_pipeline(StandardScaler(), small())
    search = GridSearchCV(pipeline, grid, scoring=scorer, cv=2, error_score="raise")
    order = np.random.default_rng(0).permutation(len(ROWS))
    search.fit(ROWS[order], LABELS[order])
    assert (search.cv_results_["mean_test_score"] > 0.9).all()
    assert set(search.predict(ROWS)) == {-1, 1}


def test_grid_search_by_likelihood_without_a_target():
    grid = {"beta": [1.0, 50.0]}
    search = GridSearchCV(small(max_iter=40), grid, cv=3, error_score="raise").fit(X)
    scores = search.cv_results_["mean_test_score"]
    assert scores[0] > scores[1]  # of which the code is unused
    assert search.score(X) == search.best_estimator_.score(X)
    first = small(max_iter=40).fit(X[60:]).score(X[:60])
    assert search.cv_results_["split0_test_score"][0] == pytest.approx(first, rel=1e-9)


def test_clone():
    detector = small(novelty=True, likelihood=Gaussian("shared")).fit(X)
    other = clone(detector)
    assert other.get_params() == detector.get_params()
    assert not other.__sklearn_is_fitted__()
    np.testing.assert_array_equal(other.fit(X).predict(X), detector.predict(X))


class Callback:
    """Keeps what it is shown, and stops where it is asked to."""

    max_propagation_depth = None

    def __init__(self, n_epochs=None):
        self.n_epochs, self.models = n_epochs, []

    def setup(self, estimator, context):
        pass

    def teardown(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
        if context.task_name == "epoch":
            self.models.append(fitted_estimator)
            return context.task_id + 1 == self.n_epochs


def test_a_callback_gets_a_usable_detector_each_epoch_and_stops_the_fit():
    callback = Callback(3)
    detector = small(calibration_fraction=0.1).set_callbacks(callback).fit(X)
    assert detector.n_iter_ == len(detector.loss_curve_) == len(callback.models) == 3
    scores = [model.score_samples(X) for model in callback.models]
    assert not np.array_equal(scores[0], scores[1])
    np.testing.assert_array_equal(scores[2], detector.score_samples(X))
    for model in callback.models:
        assert (model.predict(X) == -1).sum() == 18
        assert len(model.calibration_scores_) == 18


@pytest.mark.parametrize("novelty", [False, True])
@pytest.mark.parametrize("way", ["pickle", "joblib", "skops"])
def test_a_saved_detector_answers_alike(tmp_path, novelty, way):
    detector = small(novelty=novelty, calibration_fraction=0.1).fit(X)
    path = tmp_path / "detector"
    if way == "pickle":
        loaded = pickle.loads(pickle.dumps(detector))
        assert b"torch" not in pickle.dumps(detector)
    elif way == "joblib":
        joblib.dump(detector, path)
        loaded = joblib.load(path, mmap_mode="r")
    else:
        skops.io.dump(detector, path)
        found = skops.io.get_untrusted_types(file=path)
        assert found == ["skvae.outlier.VAEOutlierDetector"]
        loaded = skops.io.load(path, trusted=found)
    for method in ("score_samples", "score_features", "p_values", "predict"):
        np.testing.assert_allclose(
            getattr(loaded, method)(X), getattr(detector, method)(X), rtol=1e-9
        )
    assert loaded.set_contamination(0.2).offset_ == (
        detector.set_contamination(0.2).offset_
    )


@pytest.mark.parametrize("novelty", [False, True])
def test_warm_start_goes_on_from_every_member(novelty):
    cold = small(novelty=novelty, max_iter=100, init="random")
    detector = clone(cold).set_params(warm_start=True).fit(X)
    before, loss = detector._state["weights"], detector.loss_curve_[-1]
    fresh = cold.set_params(max_iter=1).fit(X).loss_curve_[0]
    detector.set_params(max_iter=1).fit(X)
    assert abs(detector.loss_curve_[0] - loss) < 0.2 * (fresh - loss)
    moved = np.linalg.norm(detector._state["weights"] - before, axis=1)
    assert (moved > 0).all()
    assert (moved < 0.1 * np.linalg.norm(before, axis=1)).all()
    assert (detector.predict(X) == -1).sum() == 18


@pytest.mark.parametrize("novelty", [False, True])
def test_after_a_warm_start_no_row_calibrates(novelty):
    detector = small(novelty=novelty, calibration_fraction=0.2, warm_start=True).fit(X)
    assert len(detector.calibration_scores_) == 36
    detector.fit(X)
    assert detector.calibration_scores_.shape == (0,)
    with pytest.raises(ValueError, match=r"without warm_start.* may have seen any row"):
        detector.p_values(X)
    detector.set_params(warm_start=False).fit(X)
    assert len(detector.calibration_scores_) == 36


@pytest.mark.parametrize(("before", "after"), [(4, 2), (1, 3)])
def test_going_on_with_another_number_of_members_is_refused(before, after):
    detector = small(n_estimators=before, warm_start=True).fit(X)
    detector.set_params(n_estimators=after)
    with unchanged(detector), pytest.raises(ValueError, match="n_estimators"):
        detector.fit(X)


def test_scores_after_fit_are_of_the_score_function_of_fit():
    detector = small().fit(X)
    expected = detector.decision_function(X)
    detector.set_params(score_function="reconstruction_error", novelty=True)
    np.testing.assert_array_equal(detector.decision_function(X), expected)


# ---- bad input -----------------------------------------------------------------------


@contextmanager
def unchanged(estimator):
    names, before = list(vars(estimator)), joblib.hash(vars(estimator))
    yield
    assert list(vars(estimator)) == names
    assert joblib.hash(vars(estimator)) == before


INFINITE = np.where(np.arange(13) == 2, np.inf, X)


@pytest.mark.parametrize("fitted_before", [False, True])
@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (INFINITE, "infinity in column 2"),
        (X[:1], "minimum of 2"),
        (X * np.where(np.arange(13) == 2, 1e200, 1), "Column 2 holds values too large"),
    ],
    ids=["infinity", "one_row", "too_large"],
)
def test_a_fit_that_fails_changes_nothing(fitted_before, rows, message):
    detector = small()
    if fitted_before:
        detector.fit(X)
    with unchanged(detector), pytest.raises(ValueError, match=message):
        detector.fit(rows)


class Interrupts(Callback):
    def on_fit_task_end(self, estimator, context):
        raise KeyboardInterrupt


@pytest.mark.parametrize("fitted_before", [False, True])
def test_a_fit_that_is_interrupted_changes_nothing(fitted_before):
    detector = small()
    if fitted_before:
        detector.fit(X)
    detector.set_callbacks(Interrupts())
    with unchanged(detector), pytest.raises(KeyboardInterrupt):
        detector.fit(X[:100])


@pytest.mark.parametrize(
    "bad",
    [
        {"n_estimators": 0},
        {"n_estimators": 2.0},
        {"contamination": 0.0},
        {"contamination": 0.6},
        {"contamination": "auto"},
        {"novelty": "yes"},
        {"score_function": "loudness"},
        {"calibration_fraction": 1.0},
        {"calibration_fraction": -0.1},
        {"n_components": 0},
        {"learning_rate": 0.0},
    ],
    ids=str,
)
def test_bad_parameters_are_refused_by_name(bad):
    (name,) = bad
    detector = small(**bad)
    with unchanged(detector), pytest.raises(InvalidParameterError, match=f"'{name}'"):
        detector.fit(X)


def test_an_unfitted_detector_says_so():
    methods = ["score_samples", "score", "score_features", "decision_function"]
    for method in [*methods, "predict", "p_values"]:
        with pytest.raises(ValueError, match="is not fitted yet"):
            getattr(small(), method)(X)
    with pytest.raises(ValueError, match="is not fitted yet"):
        small().set_contamination(0.2)
