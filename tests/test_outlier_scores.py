"""What each score of the detector is, of one member, of several, and of novelty."""

from copy import copy

import numpy as np
import pytest
import torch
from outlier_cases import (
    DENSITIES,
    MIXED,
    X,
    fitted_by_score,
    fitted_members,
    linear,
    normal_of,
    one_member,
    small,
    split_of,
)
from scipy.stats import multivariate_normal, norm, t
from sklearn.base import clone

from skvae import VAEOutlierDetector, parameters
from skvae.core import evaluation
from skvae.ensemble import SCORES
from skvae.fitted import FittedModel, member_states
from skvae.histograms import fit_histograms, log_densities


@pytest.fixture(scope="module")
def detectors():
    return fitted_by_score()


# ---- what each score is --------------------------------------------------------------


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
@pytest.mark.parametrize("share_of_holes", [0.0, 0.1])
def test_bounds_are_those_written_out(name, cell, with_code, share_of_holes):
    detector = one_member(name)
    (member,) = fitted_members(detector)
    holes = np.random.default_rng(0).random(X.shape) < share_of_holes
    asked = np.where(holes, np.nan, X)
    targets, posterior, columns = posterior_of(member, asked, 4)
    mean, scale = columns.mean.numpy(), columns.scale.numpy()
    cells = cell.logpdf((targets - mean) / scale) - np.log(scale)
    # The units of X: standard deviations are those of the training rows.
    rows = split_of(detector, len(X))[0]
    cells = cells.mean(axis=0) - np.log(X[rows].std(axis=0))
    expected = np.where(holes, 0, cells).sum(axis=1)
    if with_code:
        expected -= divergence(posterior)
    if name == "robust":
        columns = log_densities(asked, fit_histograms(X, rows)).sum(axis=1)
        expected = 0.8 * expected + 0.2 * columns
    np.testing.assert_allclose(detector.score_samples(asked), expected, rtol=1e-9)


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


def of_member(detector, e):
    """A detector that is one member of another."""
    alone, state = copy(detector), dict(detector._state)
    state["weights"] = state["weights"][[e]]
    if "prior" in state:
        state["prior"] = {name: part[[e]] for name, part in state["prior"].items()}
    alone._state = state
    return alone


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
    for n_rows, n_steps in [(178, 600), (5_000, 600), (10_000, 790), (100_000, 1_960)]:
        plan = parameters.plan(detector, n_rows, mixed=False)
        assert n_steps <= plan.n_steps < 1.35 * n_steps
    assert parameters.plan(detector, 178, mixed=True).n_steps == 3_000
    assert parameters.plan(detector, 1_000_000, mixed=False).max_epochs == 10


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
    assert detector._state["prior"]["locations"].shape == (
        2,
        len(rows),
        detector.n_components_,
    )
    for e, member in enumerate(fitted_members(detector)):
        posterior = member._posterior(X[rows])
        stored = codes_of_the_prior(detector, member, e)
        for name in ("mean", "log_scale"):
            np.testing.assert_allclose(
                getattr(stored, name).numpy(),
                getattr(posterior, name).numpy(),
                atol=1e-5,
            )


def codes_of_the_prior(detector, member, e):
    """The posteriors that the prior of a member is the mixture of."""
    outputs = (
        torch.from_numpy(detector._state["prior"][name][e].astype(float))
        for name in ("locations", "others")
    )
    return member.model.posterior(*outputs)


def test_the_prior_of_novelty_has_three_thousand_rows_at_most():
    rows = np.random.default_rng(0).standard_normal((3_500, 2))
    detector = small(novelty=True, max_iter=1).fit(rows)
    assert detector._state["prior"]["locations"].shape == (2, 3_000, 1)
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
        stored = codes_of_the_prior(detector, member, e)
        mean, log_scale = stored.mean.numpy()[:, 0], stored.log_scale.numpy()[:, 0]
        prior = norm(mean, np.exp(log_scale)).pdf(z[:, None]).mean(axis=1)
        columns = member._decode(torch.from_numpy(z[:, None]))
        targets = member._tensors(rows)[1].numpy()
        cells = norm(columns.mean.numpy()[:, None], columns.scale.numpy())
        given = np.exp(cells.logpdf(targets).sum(axis=2))
        densities.append(np.log(prior @ given * step))
    scale = rows[split_of(detector, 60)[0]].std(axis=0)
    exact = np.mean(densities, axis=0) - np.log(scale).sum()
    np.testing.assert_allclose(detector.score_samples(rows), exact, atol=0.02)
