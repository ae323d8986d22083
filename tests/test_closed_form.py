"""The linear model is probabilistic PCA, and every bound is below its log-density."""

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from sklearn.datasets import load_breast_cancer, load_wine
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from skvae import VAETransformer
from skvae.core import evaluation
from skvae.fitted import FittedModel
from skvae.likelihoods import Gaussian

CASES = [
    (load, q)
    for load, widths in [(load_breast_cancer, (1, 2, 5, 10)), (load_wine, (1, 2, 5))]
    for q in widths
]


def standardized(load):
    return StandardScaler().fit_transform(load().data)


def linear_vae(q, scale="shared", **parameters):
    return VAETransformer(
        q,
        hidden_layer_sizes=(),
        likelihood=Gaussian(scale),
        early_stopping=False,
        random_state=0,
        **parameters,
    )


def bounds(vae, X, scrambling):
    """Per row: the ELBO, IWAE(8) and IWAE(512) under one scrambling of the draws."""
    fitted = FittedModel(vae._state, np.float64)
    rows = fitted._tensors(X)
    noise = evaluation.shared_noise(fitted.model, 512, rows[0], scrambling)
    log_w, *_ = evaluation.log_weights(fitted.model, fitted.weights, rows, noise)
    log_mean_exp = [torch.logsumexp(log_w[:k], 0) - np.log(k) for k in (8, 512)]
    elbo = log_w.mean(0)
    return np.stack([part.numpy() for part in (elbo, *log_mean_exp)])


@pytest.mark.parametrize(("load", "q"), CASES)
def test_linear_model_is_probabilistic_pca(load, q):
    X = standardized(load)
    vae = linear_vae(q).fit(X)
    assert vae.score(X) == pytest.approx(PCA(q).fit(X).score(X), abs=0.02)


def test_density_is_in_the_units_of_the_data():
    X = load_wine().data
    scaler = StandardScaler().fit(X)
    exact = PCA(2).fit(scaler.transform(X)).score(scaler.transform(X))
    exact -= np.log(scaler.scale_).sum()
    assert linear_vae(2).fit(X).score(X) == pytest.approx(exact, abs=0.02)


@pytest.mark.parametrize("q", [2, 5])
def test_chain_of_bounds_ends_at_the_exact_value(q):
    X = standardized(load_wine)
    # A posterior that is not exact, so that the bounds differ.
    vae = linear_vae(q, max_iter=3, init="random", learning_rate=0.02).fit(X)
    fitted = FittedModel(vae._state, np.float64)
    weights = fitted.weights
    loadings = weights["decoder"]["weight_0"].numpy()
    locations = weights["decoder"]["bias_0"].numpy()
    scale = 0.05 + np.logaddexp(0, weights["likelihood"]["raw_scale"].item())
    covariance = loadings.T @ loadings + scale**2 * np.eye(X.shape[1])
    targets = fitted.table.encode(X, np.float64)[1]
    exact = multivariate_normal(locations, covariance).logpdf(targets).mean()
    means = np.array([bounds(vae, X, s).mean(axis=1) for s in range(20)])
    elbo, iwae_8, iwae_512 = means.mean(axis=0)
    error = means[:, 2].std(ddof=1) / np.sqrt(len(means))
    assert elbo < iwae_8 < iwae_512 <= exact + 3 * error
    assert exact - iwae_512 < 0.1 * (exact - elbo)


@pytest.mark.parametrize(("init", "max_iter"), [("pca", 200), ("random", 1_200)])
def test_bounds_of_a_correlated_posterior_reach_factor_analysis(init, max_iter):
    X = standardized(load_wine)
    vae = linear_vae(
        2, "feature", posterior="full_gaussian", init=init, max_iter=max_iter
    )
    vae.fit(X)
    fitted = FittedModel(vae._state, np.float64)
    at_origin, *at_axes = torch.cat([torch.zeros(1, 2), torch.eye(2)]).double()
    columns = fitted.model.decode(fitted.weights, torch.stack([at_origin, *at_axes]))
    locations, *ends = columns.mean.numpy()
    loadings = np.stack(ends) - locations
    covariance = loadings.T @ loadings + np.diag(columns.scale.numpy().ravel() ** 2)
    targets = fitted.table.encode(X, np.float64)[1]
    exact = multivariate_normal(locations, covariance).logpdf(targets).mean()
    elbo, _, iwae_512 = bounds(vae, X, 0).mean(axis=1)
    assert elbo == pytest.approx(exact, abs=0.02)
    assert iwae_512 == pytest.approx(exact, abs=0.02)


@pytest.mark.parametrize("init", ["pca", "random"])
def test_encoder_of_the_affine_model_is_the_exact_posterior(init):
    # x ~ N(m, d^2), x|z ~ N(cz + v, s^2), z|x ~ N(ax + b, t^2): all of it by hand.
    x = np.random.default_rng(0).normal(3.0, 2.0, size=(2_000, 1))
    vae = linear_vae(1, scale=0.5, init=init).fit(x)
    fitted = FittedModel(vae._state, np.float64)
    ends = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    v, cv = fitted.model.decode(fitted.weights, ends).mean.ravel().tolist()
    q = evaluation.codes(fitted.model, fitted.weights, ends)
    b, ab = q.mean.ravel().tolist()
    a, c, s = ab - b, cv - v, 0.5
    variance = (2 * q.log_scale).exp().ravel().numpy()
    # In standardised units x has mean 0 and variance 1.
    assert v == pytest.approx(0, abs=0.02)
    assert c**2 + s**2 == pytest.approx(1, abs=0.03)
    assert a == pytest.approx(c / (c**2 + s**2), rel=0.03)
    assert b == pytest.approx(-a * v, abs=0.02)
    np.testing.assert_allclose(variance, s**2 / (c**2 + s**2), rtol=0.03)


@pytest.mark.parametrize("scale", ["shared", "conditional"])
def test_bound_holds_row_by_row_for_the_same_draws(scale):
    X = standardized(load_wine)
    vae = VAETransformer(
        3, likelihood=Gaussian(scale), max_iter=20, random_state=0
    ).fit(X)
    elbo, iwae_8, iwae_512 = bounds(vae, X, 0)
    assert (elbo <= iwae_512 + 1e-12).all()
    assert elbo.mean() <= iwae_8.mean() <= iwae_512.mean()


def test_features_and_code_sum_to_the_score():
    X = load_wine().data
    vae = VAETransformer(3, max_iter=20, random_state=0).fit(X)
    parts = vae.score_features(X)
    assert parts.shape == (len(X), X.shape[1] + 1)
    np.testing.assert_allclose(parts.sum(axis=1), vae.score_samples(X), rtol=1e-12)


def test_code_costs_the_divergence_of_the_exact_posterior():
    X = standardized(load_wine)
    vae = linear_vae(2).fit(X)
    pca = PCA(2, svd_solver="full").fit(X)
    noise = pca.noise_variance_
    variance = noise / pca.explained_variance_
    mean = pca.transform(X) * np.sqrt(pca.explained_variance_ - noise)
    mean /= pca.explained_variance_
    divergence = 0.5 * (variance + mean**2 - 1 - np.log(variance)).sum(axis=1)
    found = -vae.score_features(X)[:, -1]
    np.testing.assert_allclose(found, divergence, atol=0.15)


def test_codes_are_means_and_reconstructions_too():
    X = standardized(load_wine)
    vae = linear_vae(2).fit(X)
    pca = PCA(2, svd_solver="full").fit(X)
    variance = pca.explained_variance_
    means = pca.transform(X) * np.sqrt(variance - pca.noise_variance_) / variance
    # But for a rotation, of which products of codes know nothing.
    codes = vae.transform(X)
    np.testing.assert_allclose(codes.mean(axis=0), 0, atol=0.02)
    np.testing.assert_allclose(codes @ codes.T, means @ means.T, atol=0.1)
    shrunk = pca.transform(X) * (1 - pca.noise_variance_ / variance) @ pca.components_
    np.testing.assert_allclose(vae.inverse_transform(codes), shrunk, atol=0.1)


def test_features_are_expected_under_the_exact_posterior():
    X = standardized(load_wine)[:, :3]
    # An encoder that is off, whose own expectations are others.
    vae = linear_vae(1, max_iter=10, init="random", n_importance_samples=4096).fit(X)
    fitted = FittedModel(vae._state, np.float64)
    ends = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    columns = fitted.model.decode(fitted.weights, ends)
    (location, end), noise = columns.mean.numpy(), columns.scale.item() ** 2
    slope, far = end - location, X - location
    variance = 1 / (1 + slope @ slope / noise)
    mean = variance * far @ slope / noise
    left = np.square(far - np.outer(mean, slope)) + variance * slope**2
    expected = -0.5 * (left / noise + np.log(2 * np.pi * noise))
    found = vae.score_features(X)[:, :-1]
    np.testing.assert_allclose(found, expected, atol=0.05)
    rows = fitted._tensors(X)
    by_encoder = evaluation.bound(fitted.model, fitted.weights, rows, 4096).features
    assert (by_encoder.numpy() - expected).std() > 0.2


def test_a_changed_cell_is_charged_to_its_column():
    X = load_breast_cancer().data
    vae = VAETransformer(random_state=0, max_iter=40).fit(X)
    changed = X[:20].copy()
    changed[:, 3] *= 4
    fall = vae.score_features(X[:20]) - vae.score_features(changed)
    assert (fall.argmax(axis=1) == 3).mean() >= 0.9
