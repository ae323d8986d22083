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
        The log-likelihood log p(x|z) of the observed cells, in nats.
    posterior : Codes
        The posterior q(z|x) of each row.
    prior : Prior
        The prior p(z).
    z : Tensor of shape (n_draws, n_rows, n_components)
        Draws from the posterior, or all the values that there are.

    Attributes
    ----------
    log_prior : Tensor of shape (n_draws, n_rows)
        Log-density log p(z) of each draw, in nats.
    log_ratio : Tensor of shape (n_draws, n_rows)
        The difference log p(z) - log q(z|x) of each draw, in nats.
    log_ratio_by_path : Tensor of shape (n_draws, n_rows)
        The same, in nats, with gradients of the encoder through the draws alone.
    kl_per_component : Tensor of shape (n_rows, n_components) or (n_rows, 1)
        KL(q(z|x) || p(z)) of each component, in nats; of all together where it has no
        closed form, or components depend on each other.
    kl : Tensor of shape (n_rows,)
        The same, in nats, summed over components.

    Examples
    --------
    >>> import torch
    >>> from skvae import posteriors, priors
    >>> from skvae.objectives import ELBO, Terms
    >>> zeros = torch.zeros(5, 2)  # q(z|x) is the prior
    >>> codes = posteriors.Gaussian()(zeros, zeros)
    >>> log_likelihood, z = torch.full((1, 5), -3.0), torch.zeros(1, 5, 2)
    >>> ELBO()(Terms(log_likelihood, codes, priors.Gaussian(), z), beta=1.0)
    tensor(3.)
    """

    def __init__(
        self, log_likelihood: Tensor, posterior: Codes, prior: Prior, z: Tensor
    ) -> None:
        self.log_likelihood = log_likelihood
        self.posterior, self.prior, self.z = posterior, prior, z
        self._log_shares = posterior.log_shares()

    def expected(self, values: Tensor) -> Tensor:
        """Mean under the posterior of values of each draw.

        Parameters
        ----------
        values : Tensor of shape (n_draws, n_rows, ...)
            One for each draw of each row.

        Returns
        -------
        mean : Tensor of shape (n_rows, ...)
            Over draws.
        """
        if self._log_shares is None:
            return values.mean(0)
        shares = self._log_shares.exp()
        return (
            shares.view(*shares.shape, *[1] * (values.ndim - shares.ndim)) * values
        ).sum(0)

    def log_mean_exp(self, log_values: Tensor) -> Tensor:
        """Logarithm of the mean of exp under the posterior.

        Parameters
        ----------
        log_values : Tensor of shape (n_draws, n_rows)
            Such as logarithms of importance weights, in nats.

        Returns
        -------
        log_mean : Tensor of shape (n_rows,)
            Over draws.
        """
        if self._log_shares is None:
            return torch.logsumexp(log_values, 0) - math.log(len(log_values))
        return torch.logsumexp(log_values + self._log_shares, 0)

    @cached_property
    def log_prior(self) -> Tensor:
        """Log-density log p(z) of each draw, in nats, (n_draws, n_rows)."""
        return self.prior.log_prob(self.z)

    @cached_property
    def log_ratio(self) -> Tensor:
        """Difference log p(z) - log q(z|x) of draws, in nats, (n_draws, n_rows)."""
        return self.log_prior - self.posterior.log_prob(self.z)

    @cached_property
    def log_ratio_by_path(self) -> Tensor:
        """The same, in nats, with the encoder's gradient through the draws alone."""
        still = self.posterior.mapped(torch.Tensor.detach)
        return self.log_prior - still.log_prob(self.z)

    @cached_property
    def kl_per_component(self) -> Tensor:
        """KL(q(z|x) || p(z)) in nats, (n_rows, n_components) or, of all, (n_rows, 1).

        Closed where a closed form is known, averaged over draws otherwise.
        """
        kl = self.posterior.kl_divergence(self.prior)
        return -self.expected(self.log_ratio).unsqueeze(-1) if kl is None else kl

    @cached_property
    def kl(self) -> Tensor:
        """The same in nats, summed over components, (n_rows,)."""
        return self.kl_per_component.sum(-1)
