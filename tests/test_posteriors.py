"""The Gaussian posterior against torch.distributions and closed forms."""

import torch
from torch.distributions import Independent, Normal, kl_divergence

from skvae import posteriors, priors

N_DRAWS, N_ROWS, N_COMPONENTS = 400, 6, 3


def posterior():
    generator = torch.Generator().manual_seed(0)
    outputs = [
        torch.randn(N_ROWS, N_COMPONENTS, generator=generator, dtype=torch.float64)
        for _ in range(2)
    ]
    ours = posteriors.Gaussian()(*outputs)
    return ours, Normal(ours.mean, ours.log_scale.exp())


def test_log_prob_is_that_of_the_normal():
    ours, theirs = posterior()
    z = theirs.sample((N_DRAWS,))
    torch.testing.assert_close(ours.log_prob(z), Independent(theirs, 1).log_prob(z))


def test_closed_kl_and_its_monte_carlo_estimate():
    ours, theirs = posterior()
    prior = priors.Gaussian()
    closed = ours.kl_divergence(prior)
    torch.testing.assert_close(closed, kl_divergence(theirs, Normal(0.0, 1.0)))
    noise = torch.randn(
        (100_000, 1, N_COMPONENTS),
        generator=torch.Generator().manual_seed(1),
        dtype=torch.float64,
    )
    z = ours.rsample(noise)
    terms = ours.log_prob(z) - prior.log_prob(z)
    error = terms.std(0) / len(noise) ** 0.5
    assert ((terms.mean(0) - closed.sum(-1)).abs() < 5 * error).all()


def test_start_inverts_the_bound_on_the_scale():
    scale = torch.tensor([1e-3, 0.3, 1.0], dtype=torch.float64)
    others = posteriors.Gaussian().raw(scale)
    started = posteriors.Gaussian()(torch.zeros(3), others)
    torch.testing.assert_close(started.log_scale.exp(), scale)


def test_extreme_outputs_stay_finite_with_finite_gradients():
    others = torch.tensor([-1e30, 1e30], requires_grad=True)
    ours = posteriors.Gaussian()(torch.zeros(1, 2), others)
    ours.kl_divergence(priors.Gaussian()).sum().backward()
    assert torch.isfinite(others.grad).all()
