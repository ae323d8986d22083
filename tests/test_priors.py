"""Priors: density and draws."""

import torch
from torch.distributions import Independent, Normal

from skvae import priors


def test_log_prob_is_that_of_the_standard_normal():
    z = torch.randn(4, 5, 3, generator=torch.Generator().manual_seed(0))
    expected = Independent(Normal(torch.zeros(3), torch.ones(3)), 1).log_prob(z)
    torch.testing.assert_close(priors.Gaussian().log_prob(z), expected)


def test_draws_have_its_moments():
    draws = priors.Gaussian().sample(100_000, 2, torch.Generator().manual_seed(0))
    assert draws.dtype == torch.float64
    torch.testing.assert_close(
        draws.mean(0), torch.zeros(2).double(), atol=0.02, rtol=0
    )
    torch.testing.assert_close(draws.T.cov(), torch.eye(2).double(), atol=0.02, rtol=0)
