"""The detector: fit, predict, the threshold, and its place beside other estimators."""

import math
import pickle
import random
from contextlib import contextmanager

import joblib
import numpy as np
import pandas as pd
import pytest
import skops.io
import torch
from outlier_cases import MIXED, X, fitted_by_score, small
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.metrics import make_scorer, roc_auc_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils._param_validation import InvalidParameterError

from skvae.ensemble import SCORES
from skvae.likelihoods import Gaussian


@pytest.fixture(scope="module")
def detectors():
    return fitted_by_score()


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
