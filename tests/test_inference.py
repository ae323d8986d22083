"""Refined posteriors and the gaps they measure, where the exact values are known."""

import copy

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import multivariate_normal
from sklearn.datasets import load_wine
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from skvae import (
    AETransformer,
    VAEOutlierDetector,
    VAETransformer,
    inference_gap,
    refine,
)
from skvae.likelihoods import Gaussian

X = StandardScaler().fit_transform(load_wine().data)
ROWS = X[::20]


def linear_vae(posterior, X=X):
    return VAETransformer(
        3,
        hidden_layer_sizes=(),
        likelihood=Gaussian("shared"),
        posterior=posterior,
        early_stopping=False,
        max_iter=50,
        random_state=0,
    ).fit(X)


def with_weights(vae, change):
    """A copy whose weights, by part and name, were changed in place."""
    vae = copy.deepcopy(vae)
    flat = torch.from_numpy(vae._state["weights"])
    change(vae._fitted_model(np.float32).model.views(flat))
    return vae


def with_a_spoilt_encoder(vae):
    generator = torch.Generator().manual_seed(0)

    def spoil(weights):
        for part in weights["encoder"].values():
            part += 0.2 * torch.randn(part.shape, generator=generator)

    return with_weights(vae, spoil)


def with_mixed_loadings(vae, mixing):
    """A copy whose exact posterior is correlated."""

    def mix(weights):
        loadings = weights["decoder"]["weight_0"]
        loadings.copy_(torch.from_numpy(mixing).float() @ loadings)

    return with_weights(vae, mix)


def linear_model(vae, rows):
    """Loadings, noise and exact log-densities of a linear model."""
    fitted = vae._fitted_model(np.float64)
    loadings = fitted.weights["decoder"]["weight_0"].numpy()
    locations = fitted.weights["decoder"]["bias_0"].numpy()
    raw_scale = fitted.weights["likelihood"]["raw_scale"].item()
    scale = 0.05 + np.logaddexp(0, raw_scale)
    covariance = loadings.T @ loadings + scale**2 * np.eye(loadings.shape[1])
    targets = fitted.table.encode(rows, np.float64)[1]
    density = multivariate_normal(locations, covariance).logpdf(targets)
    return loadings, scale, density + fitted.table.log_jacobian(rows).sum(axis=1)


@pytest.mark.parametrize("posterior", ["gaussian", "full_gaussian"])
def test_an_exact_posterior_leaves_no_gap(posterior):
    # The loadings that training finds are orthogonal: the exact posterior is diagonal.
    vae = linear_vae(posterior)
    gap = inference_gap(vae, ROWS)
    *_, exact = linear_model(vae, ROWS)
    np.testing.assert_allclose(gap.log_likelihood, exact, atol=1e-3)
    np.testing.assert_allclose(gap.approximation_gap, 0, atol=0.02)
    np.testing.assert_allclose(gap.amortization_gap, 0, atol=0.05)
    np.testing.assert_allclose(gap.codes, vae.transform(ROWS), atol=0.1)


@pytest.mark.parametrize("posterior", ["gaussian", "full_gaussian"])
def test_a_spoilt_encoder_is_made_up_for(posterior):
    vae = with_a_spoilt_encoder(linear_vae(posterior))
    gap = inference_gap(vae, ROWS)
    *_, exact = linear_model(vae, ROWS)
    np.testing.assert_allclose(gap.elbo_refined, exact, atol=0.02)
    np.testing.assert_allclose(gap.log_likelihood, exact, atol=0.01)
    assert gap.amortization_gap.mean() > 1


def test_independent_components_cost_what_the_correlations_of_the_posterior_do():
    rotation, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))
    mixing = rotation @ np.diag([2.0, 1.0, 0.5])
    vae = with_mixed_loadings(linear_vae("gaussian"), mixing)
    loadings, scale, exact = linear_model(vae, ROWS)
    precision = np.eye(3) + loadings @ loadings.T / scale**2
    closed = np.log(precision.diagonal()).sum() - np.linalg.slogdet(precision)[1]
    assert closed / 2 > 0.1
    gap = inference_gap(vae, ROWS)
    np.testing.assert_allclose(gap.approximation_gap, closed / 2, atol=0.02)
    np.testing.assert_allclose(gap.log_likelihood, exact, atol=0.02)


def test_refined_codes_are_the_exact_posterior_means():
    vae = with_a_spoilt_encoder(linear_vae("full_gaussian"))
    loadings, scale, _ = linear_model(vae, ROWS)
    fitted = vae._fitted_model(np.float64)
    targets = fitted.table.encode(ROWS, np.float64)[1]
    centered = targets - fitted.weights["decoder"]["bias_0"].numpy()
    precision = np.eye(3) + loadings @ loadings.T / scale**2
    exact = np.linalg.solve(precision, loadings @ centered.T / scale**2).T
    np.testing.assert_allclose(refine(vae, ROWS), exact, atol=0.03)
    assert np.abs(vae.transform(ROWS) - exact).max() > 0.3


@pytest.fixture(scope="module")
def nonlinear():
    return VAETransformer(3, max_iter=20, random_state=0).fit(X)


SETTINGS = {"n_steps": 20, "n_draws": 16}


def gap_of(vae, rows, **settings):
    return inference_gap(vae, rows, n_importance_samples=500, **SETTINGS, **settings)


def test_the_gaps_add_up(nonlinear):
    gap = gap_of(nonlinear, ROWS)
    total = gap.elbo_amortized + gap.amortization_gap + gap.approximation_gap
    np.testing.assert_allclose(total, gap.log_likelihood)
    assert (gap.approximation_gap > 0).all()
    assert (gap.amortization_gap > 0).all()


def test_a_row_has_its_numbers_whatever_stands_beside_it(nonlinear):
    together, codes = gap_of(nonlinear, ROWS), refine(nonlinear, ROWS, **SETTINGS)
    for i in range(3):
        alone = gap_of(nonlinear, ROWS[[i]])
        for name in ("log_likelihood", "elbo_refined", "elbo_amortized", "codes"):
            np.testing.assert_allclose(
                getattr(alone, name)[0], getattr(together, name)[i], atol=1e-9
            )
        found = refine(nonlinear, ROWS[[i]], **SETTINGS)[0]
        np.testing.assert_allclose(found, codes[i], atol=1e-9)


def test_numbers_are_in_the_units_of_the_data():
    factor = 10.0 ** np.arange(X.shape[1])
    plain = VAETransformer(2, max_iter=5, random_state=0).fit(X)
    scaled = VAETransformer(2, max_iter=5, random_state=0).fit(X * factor)
    one, other = gap_of(plain, ROWS), gap_of(scaled, ROWS * factor)
    shift = np.log(factor).sum()
    for name in ("log_likelihood", "elbo_refined", "elbo_amortized"):
        fall = getattr(one, name) - getattr(other, name)
        np.testing.assert_allclose(fall, shift, atol=1e-3)


def test_log_likelihood_is_that_of_scoring_but_for_the_draws(nonlinear):
    nonlinear = copy.deepcopy(nonlinear).set_params(n_importance_samples=4_000)
    gap = inference_gap(nonlinear, ROWS, n_importance_samples=4_000)
    assert gap.log_likelihood == pytest.approx(nonlinear.score_samples(ROWS), abs=0.1)


def test_draws_are_fixed_unless_a_seed_asks_for_others(nonlinear):
    first, second = (gap_of(nonlinear, ROWS).log_likelihood for _ in range(2))
    seeded = [gap_of(nonlinear, ROWS, random_state=3).log_likelihood for _ in range(2)]
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(*seeded)
    assert (first != seeded[0]).all()


def test_holes_are_left_out(nonlinear):
    rows = ROWS.copy()
    rows[0, :6] = np.nan
    rows[1] = np.nan
    vae = VAETransformer(2, max_iter=5, random_state=0).fit(np.vstack([X, rows]))
    gap = inference_gap(vae, rows, n_draws=16)
    assert np.isfinite(gap.to_frame().to_numpy()).all()
    # Nothing is known of the second: its posterior is the prior.
    np.testing.assert_allclose(gap.elbo_refined[1], 0, atol=1e-3)
    np.testing.assert_allclose(gap.codes[1], 0, atol=0.03)


def test_inference_mode_and_no_grad_do_no_harm(nonlinear):
    expected = refine(nonlinear, ROWS, **SETTINGS)
    for mode in (torch.inference_mode, torch.no_grad):
        with mode():
            np.testing.assert_array_equal(refine(nonlinear, ROWS, **SETTINGS), expected)


def test_a_frame_has_a_row_for_each_row(nonlinear):
    gap = gap_of(nonlinear, ROWS)
    frame = gap.to_frame()
    assert isinstance(frame, pd.DataFrame)
    np.testing.assert_array_equal(frame["approximation_gap"], gap.approximation_gap)
    assert f"{gap.amortization_gap.mean():.3f}" in repr(gap)


@pytest.mark.parametrize("function", [inference_gap, refine])
@pytest.mark.parametrize(
    ("estimator", "reason"),
    [
        (PCA(2), "must be one of skvae's"),
        (VAEOutlierDetector(max_iter=1, n_estimators=2), "ensemble"),
        (AETransformer(max_iter=1), "points"),
    ],
    ids=["foreign", "ensemble", "points"],
)
def test_estimators_without_one_posterior_are_refused(function, estimator, reason):
    with pytest.raises(TypeError, match=reason):
        function(estimator.fit(X), X)


@pytest.mark.parametrize(
    "settings", [{"n_steps": -1}, {"learning_rate": 0.0}, {"n_draws": 0}], ids=str
)
def test_settings_out_of_range_are_named(nonlinear, settings):
    (name,) = settings
    for function in (inference_gap, refine):
        with pytest.raises(ValueError, match=name):
            function(nonlinear, ROWS, **settings)
