"""Posteriors refined row by row: never worse, each by itself, exact where they can."""

import pytest
import torch

from skvae import likelihoods, networks, posteriors, priors
from skvae.core import refinement
from skvae.core.model import Model
from skvae.core.reader import Reader

N_ROWS, N_FEATURES, N_COMPONENTS = 5, 4, 3
N_DRAWS, N_STEPS, RATE = 32, 25, 0.1

every_family = pytest.mark.parametrize("name", posteriors.FAMILIES)


def model_with(name, prior=None):
    posterior = posteriors.FAMILIES[name]()
    prior = prior or priors.FAMILIES[posterior.prior]()
    return Model(
        Reader(N_FEATURES),
        N_FEATURES,
        N_COMPONENTS,
        network=networks.MLP((6,)),
        likelihood=likelihoods.Gaussian("feature"),
        posterior=posterior,
        prior=prior.beside(posterior),
    )


def weights_of(model):
    """Random weights, in float64."""
    flat = torch.zeros(model.n_weights, dtype=torch.float64)
    mean, variance = torch.zeros(2, N_FEATURES, dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    model.start_random(flat, generator, mean, variance + 1)
    flat += 0.1 * torch.randn(flat.shape, generator=generator, dtype=torch.float64)
    return model.views(flat)


def some_rows():
    """Inputs, targets and observed, without holes."""
    generator = torch.Generator().manual_seed(1)
    X = torch.randn(N_ROWS, N_FEATURES, generator=generator, dtype=torch.float64)
    return X, X, None


def refined(model, rows, n_steps=N_STEPS):
    return refinement.refine(model, weights_of(model), rows, N_DRAWS, n_steps, RATE)


def elbo(model, rows, outputs):
    return refinement.bounds(model, weights_of(model), rows, outputs, N_DRAWS).elbo


def encoded(model, rows):
    return refinement.encoded(model, weights_of(model), rows[0])


@every_family
def test_no_row_ends_below_its_start_by_the_same_draws(name):
    model, rows = model_with(name), some_rows()
    before = elbo(model, rows, encoded(model, rows))
    after = elbo(model, rows, refined(model, rows))
    assert (after >= before - 1e-12).all()
    assert (after > before + 1e-3).any()


@every_family
def test_a_row_is_refined_alike_whatever_stands_beside_it(name):
    model, rows = model_with(name), some_rows()
    together = refined(model, rows)
    for i in range(N_ROWS):
        alone = refined(model, (rows[0][[i]], rows[1][[i]], None))
        torch.testing.assert_close(alone[0], together[i], rtol=0, atol=1e-9)


def test_a_row_without_finite_gradients_keeps_the_encoders_answer():
    model, (inputs, targets, _) = model_with("gaussian"), some_rows()
    spoilt = targets.clone()
    spoilt[2, 0] = torch.nan
    found = refined(model, (inputs, spoilt, None))
    others = [0, 1, 3, 4]
    torch.testing.assert_close(found[2], encoded(model, (inputs,))[2])
    torch.testing.assert_close(found[others], refined(model, some_rows())[others])


def test_no_steps_change_nothing():
    model, rows = model_with("gaussian"), some_rows()
    assert torch.equal(refined(model, rows, n_steps=0), encoded(model, rows))


def test_means_are_those_of_the_encoders_posterior():
    model, rows = model_with("gamma"), some_rows()
    expected = model.encode(weights_of(model), rows[0]).mean
    found = refinement.means(model, encoded(model, rows))
    torch.testing.assert_close(found, expected)


def test_classes_reach_their_posterior_and_the_bound_log_p():
    model, rows = model_with("categorical"), some_rows()
    classes = torch.eye(N_COMPONENTS, dtype=torch.float64).unsqueeze(1)
    log_likelihood = model.decode(weights_of(model), classes).log_prob(rows[1]).sum(-1)
    exact = log_likelihood.softmax(0).T
    log_p = log_likelihood.logsumexp(0) - torch.tensor(N_COMPONENTS).log()
    found = refined(model, rows, n_steps=200)
    torch.testing.assert_close(refinement.means(model, found), exact, rtol=0, atol=1e-4)
    torch.testing.assert_close(elbo(model, rows, found), log_p, rtol=0, atol=1e-6)
    # The importance-weighted bound is exact whatever the posterior.
    start = encoded(model, rows)
    bounds = refinement.bounds(model, weights_of(model), rows, start, N_DRAWS)
    torch.testing.assert_close(bounds.importance_weighted, log_p)


def test_where_nothing_is_observed_the_posterior_becomes_the_prior():
    model, (inputs, targets, _) = model_with("gaussian"), some_rows()
    rows = inputs, targets, torch.zeros_like(targets)
    found = refined(model, rows, n_steps=200)
    torch.testing.assert_close(found, torch.zeros_like(found), rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    "prior", [priors.Mixture(3), priors.VampPrior(4)], ids=["mixture", "vamp"]
)
def test_a_prior_without_a_closed_divergence_will_do(prior):
    model, rows = model_with("gaussian", prior), some_rows()
    before = elbo(model, rows, encoded(model, rows))
    after = elbo(model, rows, refined(model, rows))
    assert (after > before).all()


@pytest.mark.parametrize("name", ["gaussian", "student_t", "full_gaussian"])
def test_importance_weights_tighten_the_bound_for_the_same_draws(name):
    # With the divergence by the same draws, Jensen's inequality holds row by row.
    model = model_with(name, priors.Mixture(3))
    rows = some_rows()
    outputs, weights = encoded(model, rows), weights_of(model)
    bounds = refinement.bounds(model, weights, rows, outputs, N_DRAWS)
    assert (bounds.importance_weighted >= bounds.elbo).all()
