"""What objectives are made of."""

import math
from functools import cached_property

import torch
from torch import Tensor

from skvae.posteriors.base import Codes
from skvae.priors import Prior

__all__ = ["Terms"]


class Terms:
    """What the model knows of a batch under its posterior.

    Parameters
    ----------
    log_likelihood : Tensor of shape (n_draws, n_rows)
        log p(x|z) of the observed cells.
    posterior : Codes
        q(z|x).
    prior : Prior
        p(z).
    z : Tensor of shape (n_draws, n_rows, n_components)
        Draws from the posterior, or all the values that there are.
    """

    def __init__(
        self, log_likelihood: Tensor, posterior: Codes, prior: Prior, z: Tensor
    ) -> None:
        self.log_likelihood = log_likelihood
        self.posterior, self.prior, self.z = posterior, prior, z
        self._log_shares = posterior.log_shares()

    def expected(self, values: Tensor) -> Tensor:
        """Mean under the posterior, (n_rows, ...), of values of each draw."""
        if self._log_shares is None:
            return values.mean(0)
        shares = self._log_shares.exp()
        return (
            shares.view(*shares.shape, *[1] * (values.ndim - shares.ndim)) * values
        ).sum(0)

    def log_mean_exp(self, log_values: Tensor) -> Tensor:
        """Logarithm of the mean of exp under the posterior, (n_rows,)."""
        if self._log_shares is None:
            return torch.logsumexp(log_values, 0) - math.log(len(log_values))
        return torch.logsumexp(log_values + self._log_shares, 0)

    @cached_property
    def log_prior(self) -> Tensor:
        """log p(z) of each draw, (n_draws, n_rows)."""
        return self.prior.log_prob(self.z)

    @cached_property
    def log_ratio(self) -> Tensor:
        """log p(z) - log q(z|x) of each draw, (n_draws, n_rows)."""
        return self.log_prior - self.posterior.log_prob(self.z)

    @cached_property
    def log_ratio_by_path(self) -> Tensor:
        """The same, with gradients of the encoder through the draws alone."""
        still = self.posterior.mapped(torch.Tensor.detach)
        return self.log_prior - still.log_prob(self.z)

    @cached_property
    def kl_per_component(self) -> Tensor:
        """KL(q(z|x) || p(z)), (n_rows, n_components); of all together, (n_rows, 1).

        Closed where a closed form is known, averaged over draws otherwise.
        """
        kl = self.posterior.kl_divergence(self.prior)
        return -self.expected(self.log_ratio).unsqueeze(-1) if kl is None else kl

    @cached_property
    def kl(self) -> Tensor:
        """The same, summed, (n_rows,)."""
        return self.kl_per_component.sum(-1)
