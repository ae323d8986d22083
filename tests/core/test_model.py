"""The model as functions of one flat vector, and the terms of its bound."""

import math

import numpy as np
import pytest
import torch

from skvae import likelihoods, networks, posteriors, priors
from skvae.core import evaluation
from skvae.core.model import Model
from skvae.core.ppca import FactorModel
from skvae.core.reader import Reader
from skvae.objectives import ELBO

N_ROWS, N_FEATURES, N_COMPONENTS = 8, 4, 2


def small_model(likelihood=None, prior=None, posterior=None):
    return Model(
        Reader(N_FEATURES),
        N_FEATURES,
        N_COMPONENTS,
        network=networks.MLP((5,)),
        likelihood=likelihood or likelihoods.Gaussian("conditional"),
        posterior=posterior or posteriors.Gaussian(),
        prior=prior or priors.Gaussian(),
    )


def random_start(model):
    flat = torch.zeros(model.n_weights, dtype=torch.float64)
    mean, variance = torch.zeros(2, N_FEATURES, dtype=torch.float64)
    model.start_random(flat, torch.Generator().manual_seed(0), mean, variance + 1)
    return flat


def data(n_draws=3):
    generator = torch.Generator().manual_seed(1)
    X = torch.randn(N_ROWS, N_FEATURES, generator=generator, dtype=torch.float64)
    noise = torch.randn(
        n_draws, N_ROWS, N_COMPONENTS, generator=generator, dtype=torch.float64
    )
    return X, noise


def test_views_share_the_memory_of_the_flat_vector_without_gaps():
    model = small_model()
    flat = torch.arange(float(model.n_weights))
    views = [view for part in model.views(flat).values() for view in part.values()]
    assert torch.equal(torch.cat([view.reshape(-1) for view in views]), flat)
    flat += 1
    assert torch.equal(torch.cat([view.reshape(-1) for view in views]), flat)


def test_terms_are_sums_over_features_and_components():
    model = small_model()
    weights = model.views(random_start(model))
    X, noise = data()
    terms = model.terms(weights, X, X, None, noise)
    posterior = model.encode(weights, X)
    distribution = model.decode(weights, posterior.rsample(noise))
    expected = torch.distributions.Normal(distribution.mean, distribution.scale)
    torch.testing.assert_close(terms.log_likelihood, expected.log_prob(X).sum(-1))
    divergence = torch.distributions.kl_divergence(
        torch.distributions.Normal(posterior.mean, posterior.log_scale.exp()),
        torch.distributions.Normal(0.0, 1.0),
    )
    torch.testing.assert_close(terms.kl, divergence.sum(-1))


def test_monte_carlo_divergence_where_none_is_closed():
    class Shifted(priors.Gaussian):
        pass

    wide = type("Unknown", (priors.Prior,), {"log_prob": priors.Gaussian.log_prob})()
    X, noise = data(n_draws=20_000)
    model, other = small_model(), small_model(prior=wide)
    weights = model.views(random_start(model))
    closed = model.terms(weights, X, X, None, noise).kl
    estimated = other.terms(weights, X, X, None, noise).kl
    torch.testing.assert_close(estimated, closed, atol=0.03, rtol=0.03)


@pytest.mark.parametrize("beta", [0.0, 0.5, 2.0])
def test_objective_weighs_the_divergence(beta):
    model = small_model()
    weights = model.views(random_start(model))
    X, noise = data()
    terms = model.terms(weights, X, X, None, noise)
    expected = -(terms.log_likelihood.mean(0) - beta * terms.kl).mean()
    torch.testing.assert_close(ELBO()(terms, beta), expected)


def test_gradient_of_the_divergence_reaches_the_encoder():
    model = small_model()
    flat = random_start(model).requires_grad_()
    X, noise = data()
    model.terms(model.views(flat), X, X, None, noise).kl.mean().backward()
    by_part = model.views(flat.grad)
    assert all(tensor.abs().sum() > 0 for tensor in by_part["encoder"].values())
    assert not any(tensor.any() for tensor in by_part["decoder"].values())


@pytest.mark.parametrize("family", ["gaussian", "gamma"])
def test_the_sign_of_an_axis_is_of_no_account_to_a_skewed_family(family):
    """An eigenvector has none; the long tail of a component goes with large numbers."""
    model = small_model(posterior=posteriors.FAMILIES[family]())
    loadings = np.random.default_rng(0).normal(size=(N_COMPONENTS, N_FEATURES))
    starts = []
    for sign in (1, -1):
        flat = torch.zeros(model.n_weights, dtype=torch.float64)
        factors = FactorModel(np.zeros(4), sign * loadings, np.ones(4))
        generator = torch.Generator().manual_seed(0)
        moments = torch.zeros(4).double(), torch.ones(4).double()
        model.start_linear(flat, generator, factors, *moments)
        starts.append(flat)
    assert torch.equal(*starts) == (family == "gamma")
    if family == "gamma":
        slopes = model.views(starts[0])["decoder"]["linear_path"]
        assert (slopes.sum(1) > 0).all()


def test_score_is_the_log_mean_exp_of_the_weights_in_any_chunks():
    model = small_model()
    weights = model.views(random_start(model))
    X, _ = data()
    many = X.repeat(40, 1)
    noise = evaluation.shared_noise(model, 64, X)
    log_w, *_ = evaluation.log_weights(model, weights, (X, X, None), noise)
    expected = (torch.logsumexp(log_w, 0) - math.log(64)).repeat(40)
    found = evaluation.score(model, weights, (many, many, None), 64)
    np.testing.assert_allclose(found.total, expected, rtol=1e-12)
    assert found.features is None
