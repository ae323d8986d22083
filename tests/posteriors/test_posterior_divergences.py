"""The divergence of every posterior from its priors, against draws and torch's."""

import math
from dataclasses import replace

import pytest
import torch
from posterior_cases import (
    CONTINUOUS,
    N_COMPONENTS,
    STANDARD,
    codes_of,
    draws,
    family,
    outputs,
)
from torch import distributions
from torch.distributions import kl_divergence

from skvae import posteriors, priors

#: Families whose standard member is their prior: the divergence from it can be 0.
OWN_PRIOR = [*STANDARD, "gaussian", "full_gaussian", "categorical"]


def prior_of(name):
    return priors.FAMILIES[family(name).prior]().beside(family(name))


#: q(z|x) and p(z) as torch has them, where it knows their divergence. Parameters are
#: checked by their owners.
IN_TORCH = {
    "gaussian": lambda q: (
        distributions.Normal(q.mean, q.log_scale.exp()),
        distributions.Normal(0.0, 1.0),
    ),
    "full_gaussian": lambda q: (
        distributions.MultivariateNormal(q.mean, scale_tril=q.factor),
        distributions.MultivariateNormal(
            torch.zeros_like(q.mean), torch.eye(N_COMPONENTS, dtype=torch.float64)
        ),
    ),
    "laplace": lambda q: (
        distributions.Laplace(q.location, q.log_scale.exp()),
        distributions.Normal(0.0, 1.0),
    ),
    "uniform": lambda q: (
        distributions.Uniform(
            q.location - q.log_scale.exp(), q.location + q.log_scale.exp()
        ),
        distributions.Normal(0.0, 1.0),
    ),
    "gumbel": lambda q: (
        distributions.Gumbel(q.location, q.log_scale.exp()),
        distributions.Normal(0.0, 1.0),
    ),
    "cauchy": lambda q: (
        distributions.Cauchy(q.location, q.log_scale.exp()),
        distributions.Cauchy(0.0, 1.0),
    ),
    "exponential": lambda q: (
        distributions.Exponential((-q.log_scale).exp()),
        distributions.Exponential(1.0),
    ),
    "pareto": lambda q: (
        distributions.Pareto(q.log_least.exp(), q.shape),
        distributions.Pareto(1.0, 2.0),
    ),
    "lognormal": lambda q: (
        distributions.LogNormal(q.logarithm.mean, q.logarithm.log_scale.exp()),
        distributions.LogNormal(0.0, 1.0),
    ),
    "gamma": lambda q: (
        distributions.Gamma(q.log_shape.exp(), q.log_rate.exp()),
        distributions.Exponential(1.0),
    ),
    "chi2": lambda q: (
        distributions.Chi2(2 * q.log_shape.exp()),
        distributions.Chi2(2.0),
    ),
    "beta": lambda q: (
        distributions.Beta(q.first, q.second),
        distributions.Uniform(0.0, 1.0),
    ),
    "dirichlet": lambda q: (
        distributions.Dirichlet(q.concentration),
        distributions.Dirichlet(torch.ones(N_COMPONENTS, dtype=torch.float64)),
    ),
    "categorical": lambda q: (
        distributions.Categorical(logits=q.log_probabilities),
        distributions.Categorical(logits=torch.zeros(N_COMPONENTS)),
    ),
}


@pytest.mark.parametrize("name", IN_TORCH)
def test_closed_divergence_is_torchs(name):
    q = codes_of(name)
    found = q.kl_divergence(prior_of(name))
    expected = kl_divergence(*IN_TORCH[name](q))
    torch.testing.assert_close(found.sum(1), expected.reshape(len(found), -1).sum(1))


def averaged(name, q, prior, n_draws=2**14):
    """Mean of log q - log p over draws of each row, and its standard error."""
    z = draws(name, q, n_draws)
    terms = q.log_prob(z) - prior.log_prob(z)
    return terms.mean(0), terms.std(0) / math.sqrt(n_draws)


@pytest.mark.parametrize("name", CONTINUOUS)
def test_closed_divergence_is_the_mean_log_ratio(name):
    q, prior = codes_of(name), prior_of(name)
    closed = q.kl_divergence(prior)
    joint = closed.shape[1] == 1
    assert closed.shape == (len(q.mean), 1 if joint else N_COMPONENTS)
    assert joint == (name == "dirichlet")
    assert (closed.sum(1) >= 0).all()
    mean, error = averaged(name, q, prior)
    assert ((mean - closed.sum(1)).abs() < 5 * error).all()


@pytest.mark.parametrize("name", OWN_PRIOR)
def test_divergence_of_the_standard_member_is_zero(name):
    like = torch.zeros(1, dtype=torch.float64)
    standard = family(name).standard(N_COMPONENTS, like)
    closed = standard.kl_divergence(prior_of(name))
    torch.testing.assert_close(closed, torch.zeros_like(closed), atol=1e-12, rtol=0)


@pytest.mark.parametrize("name", OWN_PRIOR)
def test_divergence_rises_on_both_sides_of_the_standard_member(name):
    prior, steps = prior_of(name), torch.linspace(-2, 2, 9, dtype=torch.float64)
    for part, width in enumerate(family(name).n_outputs(1 + (name == "categorical"))):
        if name in ("pareto", "dirichlet") or not width:
            continue  # the standard member is not among an encoder's; one share is 1
        rows = [
            torch.zeros(len(steps), n, dtype=torch.float64)
            for n in family(name).n_outputs(1 + (name == "categorical"))
        ]
        rows[part][:, 0] = steps
        kl = family(name)(*rows).kl_divergence(prior).sum(1)
        assert kl.argmin() == len(steps) // 2
        assert (kl.diff()[:4] < 0).all()
        assert (kl.diff()[4:] > 0).all()


def test_divergence_of_a_correlated_component_is_that_of_its_own_variance():
    # The first is standard normal by itself; what the second owes to it is its own.
    like = torch.zeros(1, dtype=torch.float64)
    standard = family("full_gaussian").standard(2, like)
    factor = torch.tensor([[[1.0, 0.0], [0.5, 1.0]]], dtype=torch.float64)
    kl = replace(standard, factor=factor).kl_divergence(priors.Gaussian())
    expected = torch.tensor([[0.0, 0.5 * 0.5**2]], dtype=torch.float64)
    torch.testing.assert_close(kl, expected)


def covariance_of(width, seed):
    generator = torch.Generator().manual_seed(seed)
    factor = torch.randn(width, width, generator=generator, dtype=torch.float64)
    return factor @ factor.T + 0.3 * torch.eye(width, dtype=torch.float64)


@pytest.mark.parametrize("name", ["gaussian", "full_gaussian"])
def test_divergence_between_normal_distributions_of_any_covariance(name):
    q = codes_of(name)
    mean = torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64)
    covariance = covariance_of(N_COMPONENTS, seed=3)
    prior = priors.Distribution(distributions.MultivariateNormal(mean, covariance))
    found = q.kl_divergence(prior)
    assert found.shape == (len(q.mean), 1)
    precision = torch.linalg.inv(covariance)
    for i, m in enumerate(q.mean):
        if name == "gaussian":
            own = torch.diag((2 * q.log_scale[i]).exp())
        else:
            own = q.factor[i] @ q.factor[i].T
        distance = m - mean
        expected = 0.5 * (
            torch.logdet(covariance)
            - torch.logdet(own)
            - N_COMPONENTS
            + torch.trace(precision @ own)
            + distance @ precision @ distance
        )
        torch.testing.assert_close(found[i, 0], expected)


OTHER_PRIORS = {
    "gaussian": distributions.Laplace(0.5, 2.0),
    "full_gaussian": distributions.MultivariateNormal(
        torch.ones(3, dtype=torch.float64), covariance_of(3, seed=4)
    ),
    "gamma": distributions.Gamma(3.0, 2.0),
    "chi2": distributions.Gamma(2.0, 1.0),
    "beta": distributions.Beta(2.0, 3.0),
    "dirichlet": distributions.Dirichlet(
        torch.tensor([2.0, 1.0, 3.0], dtype=torch.float64)
    ),
}


@pytest.mark.parametrize("name", OTHER_PRIORS)
def test_divergence_from_a_distribution_of_torch(name):
    q, prior = codes_of(name), priors.Distribution(OTHER_PRIORS[name])
    prior.check(family(name), N_COMPONENTS)
    closed = q.kl_divergence(prior)
    mean, error = averaged(name, q, prior)
    assert (closed.sum(1) >= 0).all()
    assert ((mean - closed.sum(1)).abs() < 5 * error).all()


@pytest.mark.parametrize("name", posteriors.FAMILIES)
def test_no_closed_divergence_from_a_mixture(name):
    q = codes_of(name)
    assert q.kl_divergence(family(name).mixture(q)) is None


def test_no_closed_divergence_where_torch_knows_none():
    for name, prior in [
        ("gaussian", distributions.Cauchy(0.0, 1.0)),
        ("full_gaussian", distributions.Laplace(0.0, 1.0)),
        ("gamma", distributions.Weibull(1.0, 2.0)),
        ("dirichlet", distributions.Beta(1.0, 1.0)),
        ("laplace", distributions.Laplace(0.0, 1.0)),
    ]:
        assert codes_of(name).kl_divergence(priors.Distribution(prior)) is None


@pytest.mark.parametrize("name", posteriors.FAMILIES)
def test_a_mixture_of_one_code_is_that_code(name):
    q = family(name)(*(part[:1] for part in outputs(name)))
    z = draws(name, q, 16)
    torch.testing.assert_close(family(name).mixture(q).log_prob(z), q.log_prob(z))


#: Codes of one row may be impossible under the posterior of another.
WITH_BOUNDS = {"uniform", "pareto"}


@pytest.mark.parametrize("spread", [1.0, 5.0])
@pytest.mark.parametrize("name", sorted({*posteriors.FAMILIES} - WITH_BOUNDS))
def test_gradients_by_a_mixture_of_narrow_codes_are_finite(name, spread):
    locations, others = (part.requires_grad_() for part in outputs(name, torch.float32))
    narrow = -spread if family(name).support == "real" else spread
    q = family(name)(4 * locations, others + narrow)
    z = draws(name, q, 32)
    terms = q.log_prob(z) - family(name).mixture(q).log_prob(z)
    assert torch.isfinite(terms).all()
    gradients = torch.autograd.grad(
        terms.mean(), (locations, others), materialize_grads=True
    )
    assert all(torch.isfinite(part).all() for part in gradients)
