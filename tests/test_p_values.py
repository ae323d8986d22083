"""P-values of the detector: rows that calibrate, and rates of false alarms."""

import math

import numpy as np
import pytest
from outlier_cases import X, fitted_by_score, small, split_of
from sklearn.base import clone

from skvae import VAEOutlierDetector
from skvae.ensemble import SCORES


@pytest.fixture(scope="module")
def detectors():
    return fitted_by_score()


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
    expected = np.sort(detector.score_samples(X)[apart])
    np.testing.assert_allclose(detector.calibration_scores_, expected, rtol=1e-12)


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
