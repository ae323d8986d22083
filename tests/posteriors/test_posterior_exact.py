"""Models whose posterior is known: mixtures of classes, and counts of a gamma rate."""

import numpy as np
import pytest
import torch
from scipy.special import gammaln, logsumexp
from scipy.stats import norm
from sklearn.mixture import GaussianMixture

from skvae import VAETransformer
from skvae.core import evaluation
from skvae.fitted import FittedModel
from skvae.likelihoods import Gaussian
from skvae.networks import MLP

N_CLASSES = 4


def clusters(distance, seed):
    """Equally large clusters, each with its own standard deviations."""
    fixed = np.random.default_rng(7)
    centers = distance * fixed.standard_normal((N_CLASSES, 3))
    deviations = np.exp(0.4 * fixed.standard_normal((N_CLASSES, 3)))
    rng = np.random.default_rng(seed)
    which = rng.integers(N_CLASSES, size=2_000)
    return centers[which] + deviations[which] * rng.standard_normal((2_000, 3))


def parts_of_score(vae, X):
    """Per row, in the units of the data: the score and the evidence lower bound."""
    fitted = FittedModel(vae._state, np.float64)
    return vae.score_samples(X), fitted.bound_by_feature(X, 1).sum(1)


@pytest.mark.parametrize("scale", ["shared", "feature"])
def test_classes_with_one_covariance_are_a_mixture_with_equal_weights(scale):
    X, X_new = clusters(2.0, seed=1), clusters(2.0, seed=2)
    vae = VAETransformer(
        N_CLASSES,
        posterior="categorical",
        network=MLP(()),
        likelihood=Gaussian(scale),
        standardize=False,
        random_state=0,
    ).fit(X)
    means = vae.inverse_transform(np.eye(N_CLASSES))
    fitted = FittedModel(vae._state, np.float64)
    first = torch.eye(N_CLASSES, dtype=torch.float64)[:1]
    deviations = fitted.model.decode(fitted.weights, first).scale.numpy()
    log_density = norm(means, deviations).logpdf(X_new[:, None]).sum(2)
    exact = logsumexp(log_density, axis=1) - np.log(N_CLASSES)
    score, elbo = parts_of_score(vae, X_new)
    np.testing.assert_allclose(score, exact, rtol=1e-9)
    # The log-odds of classes are linear in x, as the encoder is.
    assert elbo.mean() == pytest.approx(exact.mean(), abs=0.02)
    assert (elbo <= score + 1e-12).all()
    expected = np.exp(log_density - logsumexp(log_density, axis=1, keepdims=True))
    assert abs(vae.transform(X_new) - expected).mean() < 0.02


@pytest.mark.parametrize("distance", [1.5, 8.0], ids=["overlapping", "apart"])
def test_classes_are_as_good_as_a_gaussian_mixture(distance):
    X, X_new = clusters(distance, seed=1), clusters(distance, seed=2)
    mixture = GaussianMixture(
        N_CLASSES, covariance_type="diag", n_init=3, random_state=0
    ).fit(X)
    vae = VAETransformer(
        N_CLASSES, posterior="categorical", max_iter=60, random_state=0
    ).fit(X)
    score, elbo = parts_of_score(vae, X_new)
    assert score.mean() == pytest.approx(mixture.score(X_new), abs=0.05)
    assert elbo.mean() == pytest.approx(score.mean(), abs=0.02)


SHAPE, RATES = 3.0, np.array([1.0, 2.0, 4.0, 0.5, 3.0])


def counts(seed):
    rng = np.random.default_rng(seed)
    return rng.poisson(rng.gamma(SHAPE, size=(2_000, 1)) * RATES).astype(float)


def test_encoder_of_gamma_poisson_counts_is_the_exact_posterior():
    X, X_new = counts(seed=1), counts(seed=2)
    vae = VAETransformer(
        1,
        posterior="gamma",
        prior=torch.distributions.Gamma(SHAPE, 1.0),
        likelihood="poisson",
        random_state=0,
    ).fit(X)
    # The decoder contains the true one: counts of mean w z^c, with c = 1.
    at = np.array([[1.0], [5.0]])
    low, high = vae.inverse_transform(at)
    exponents = np.log(high / low) / np.log(at[1] / at[0])
    np.testing.assert_allclose(exponents, 1.0, atol=0.1)
    np.testing.assert_allclose(low, RATES, rtol=0.1)
    shape, rate = SHAPE + X_new.sum(1), 1 + RATES.sum()
    log_p = gammaln(shape) - gammaln(SHAPE) - shape * np.log(rate)
    log_p += (X_new * np.log(RATES) - gammaln(X_new + 1)).sum(1)
    assert vae.score(X_new) == pytest.approx(log_p.mean(), abs=0.02)
    fitted = FittedModel(vae._state, np.float64)
    inputs = fitted._tensors(X_new)[0]
    q = evaluation.codes(fitted.model, fitted.weights, inputs)
    mean = q.mean.numpy().ravel()
    variance = (q.log_shape - 2 * q.log_rate).exp().numpy().ravel()
    assert abs(mean / (shape / rate) - 1).mean() < 0.05
    assert abs(variance / (shape / rate**2) - 1).mean() < 0.05
