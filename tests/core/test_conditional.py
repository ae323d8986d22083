"""Codes given some cells, against the posteriors of models where these are known."""

import math
from functools import cache

import numpy as np
import pytest
import torch
from scipy.integrate import trapezoid

from skvae import VAETransformer, posteriors
from skvae.core.conditional import conditional_codes
from skvae.fitted import FittedModel
from skvae.likelihoods import Gaussian
from skvae.networks import MLP

RNG = np.random.default_rng(0)
X = RNG.standard_normal((300, 2)) @ RNG.standard_normal((2, 4))
X += 0.5 * RNG.standard_normal(X.shape)
#: One cell is known; another pair of rows for the two extremes.
ONE_KNOWN = np.array([[np.nan, 1.0, np.nan, np.nan]])
ALL_KNOWN, NONE_KNOWN = X[:1], np.full((1, 4), np.nan)


@cache
def fitted(posterior, n_components, linear=False):
    network = MLP(()) if linear else MLP((16,))
    vae = VAETransformer(
        n_components,
        posterior=posterior,
        network=network,
        likelihood=Gaussian("shared"),
        max_iter=20,
        random_state=0,
    ).fit(X)
    return FittedModel(vae._state, np.float64)


def drawn(model, row, n_samples=2_000, seed=0):
    generator = torch.Generator().manual_seed(seed)
    tensors = model._tensors(row)
    z, effective = conditional_codes(
        model.model, model.weights, tensors, n_samples, generator
    )
    return z.double(), effective


@pytest.mark.parametrize("row", [ALL_KNOWN, ONE_KNOWN, NONE_KNOWN])
@pytest.mark.parametrize("posterior", ["gaussian", "full_gaussian", "student_t"])
def test_posterior_of_a_linear_gaussian_model(posterior, row):
    model = fitted(posterior, 2, linear=True)
    columns = model.model.decode(
        model.weights, torch.cat([torch.zeros(1, 2), torch.eye(2)]).double()
    )
    locations, *ends = columns.mean.numpy()
    known = ~np.isnan(row[0])
    loadings = (np.stack(ends) - locations)[:, known]
    noise = columns.scale.numpy().ravel()[0] ** 2
    covariance = np.linalg.inv(np.eye(2) + loadings @ loadings.T / noise)
    targets = model._tensors(row)[1].numpy()[0]
    mean = covariance @ loadings @ (targets - locations)[known] / noise
    z, effective = drawn(model, row, 8_000)
    # Draws are resampled from some 30,000, whose weights differ.
    assert effective > 1_000
    error = np.sqrt(covariance.diagonal() * (1 / 8_000 + 1 / effective))
    assert (abs(z.mean(0).numpy() - mean) < 5 * error).all()
    np.testing.assert_allclose(z.T.cov().numpy(), covariance, atol=0.1)


@pytest.mark.parametrize(
    "name", sorted({*posteriors.FAMILIES} - {"dirichlet", "categorical"})
)
def test_posterior_of_one_component_by_quadrature(name):
    model = fitted(name, 1)
    levels = np.linspace(0, 1, 4_001)[1:-1]
    prior = model.model.prior_of(model.weights)
    # The prior's quantiles are a grid that follows every family's tails.
    sample = prior.sample(200_000, 1, torch.Generator().manual_seed(1)).ravel()
    grid = torch.quantile(sample[:100_000], torch.from_numpy(levels)).unique()
    grid = grid.unsqueeze(1)
    _, targets, observed = model._tensors(ONE_KNOWN)
    columns = model.model.decode(model.weights, grid)
    log_likelihood = (columns.log_prob(targets) * observed).sum(1)
    log_joint = log_likelihood + prior.log_prob(grid)
    z = grid.ravel().numpy()
    density = (log_joint - log_joint.max()).exp().numpy()
    # A function with moments, whatever the family.
    value = np.arctan(z)
    expected = trapezoid(value * density, z) / trapezoid(density, z)
    found = torch.atan(drawn(model, ONE_KNOWN, 8_000)[0].ravel())
    error = float(found.std()) / math.sqrt(2_000)
    assert float(found.mean()) == pytest.approx(expected, abs=5 * error)


def test_nothing_known_gives_back_the_prior():
    for name in ("gamma", "dirichlet", "gumbel"):
        model = fitted(name, 2)
        z, effective = drawn(model, NONE_KNOWN, 4_000)
        prior = model.model.prior_of(model.weights)
        theirs = prior.sample(4_000, 2, torch.Generator().manual_seed(1))
        assert effective > 1_000
        error = theirs.std(0) / math.sqrt(1_000)
        assert ((z.mean(0) - theirs.mean(0)).abs() < 5 * error).all()


def test_classes_are_gone_through():
    model = fitted("categorical", 3)
    z, effective = drawn(model, ONE_KNOWN, 9_000)
    assert effective == math.inf
    every = torch.eye(3, dtype=torch.float64)
    _, targets, observed = model._tensors(ONE_KNOWN)
    columns = model.model.decode(model.weights, every)
    log_p = (columns.log_prob(targets) * observed).sum(1)
    share = torch.softmax(log_p, 0)
    error = (share * (1 - share) / 9_000).sqrt()
    assert ((z.mean(0) - share).abs() <= 5 * error + 1e-9).all()


@pytest.mark.parametrize("name", posteriors.FAMILIES)
def test_draws_repeat_and_lie_in_the_support(name):
    model = fitted(name, 2)
    z, _ = drawn(model, ONE_KNOWN, 100)
    assert z.shape == (100, 2)
    assert model.model.posterior.contains(z.numpy()).all()
    assert torch.equal(z, drawn(model, ONE_KNOWN, 100)[0])
    assert not torch.equal(z, drawn(model, ONE_KNOWN, 100, seed=1)[0])


def test_a_row_far_from_the_model_is_told():
    model = fitted("gaussian", 2, linear=True)
    contradiction = np.array([[9.0, -9.0, 9.0, -9.0]])
    _, effective = drawn(model, contradiction)
    _, usual = drawn(model, ALL_KNOWN)
    assert 1 <= effective < usual
