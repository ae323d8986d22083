"""Densities and draws of mixtures, whatever their members came from."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from skvae.priors.base import Prior
from skvae.priors.fixed import Gaussian

if TYPE_CHECKING:
    from skvae.posteriors.base import Codes, Posterior

__all__ = ["MixtureOfCodes", "MixtureOfNormals", "OfMembers"]

#: What a processor's cache holds: a third of the time of four times as many.
_ENTRIES_AT_ONCE = 250_000


class MixtureOfNormals(Prior):
    """Normal distributions with independent components, mixed.

    Parameters
    ----------
    mean : Tensor of shape (n_members, n_components)
        Means of the members.
    log_scale : Tensor of shape (n_members, n_components)
        Logarithms of their standard deviations.
    log_weights : Tensor of shape (n_members,) or None, default=None
        Logarithms of shares that sum to 1. None is equal shares.

    Attributes
    ----------
    factors : Tensor of shape (2 * n_components, n_members)
        What squares and values of a code are multiplied with.
    offset : Tensor of shape (n_members,)
        What is added to these products: weighted log-densities, in nats.

    Examples
    --------
    >>> import torch
    >>> from skvae.priors import MixtureOfNormals
    >>> prior = MixtureOfNormals(torch.tensor([[-3.0], [3.0]]), torch.zeros(2, 1))
    >>> prior.log_prob(torch.tensor([[3.0]]))  # of half a standard normal
    tensor([-1.6121])
    """

    def __init__(
        self, mean: Tensor, log_scale: Tensor, log_weights: Tensor | None = None
    ) -> None:
        # In float64: narrow members far from 0 cancel in what follows.
        mean, log_scale = mean.double(), log_scale.double()
        self._mean, self._scale = mean, log_scale.exp()
        precision = (-2 * log_scale).exp()
        # Distances as one matrix product: (z - m)^2 / s^2, multiplied out.
        self.factors = torch.cat([-0.5 * precision, mean * precision], 1).T
        if log_weights is None:
            log_weights = mean.new_full((len(mean),), -math.log(len(mean)))
        self._log_weights = log_weights.double()
        constant = 0.5 * math.log(2 * math.pi) * mean.shape[1]
        distance = -0.5 * (mean.square() * precision).sum(1) - log_scale.sum(1)
        self.offset = distance + self._log_weights - constant

    def log_prob(self, z: Tensor) -> Tensor:
        """Log-density of codes.

        Parameters
        ----------
        z : Tensor of shape (..., n_components)
            Codes.

        Returns
        -------
        log_prob : Tensor of shape (...)
            In nats, summed over components.
        """
        z, dtype = z.double(), z.dtype
        rows = torch.cat([z.square(), z], -1).view(-1, len(self.factors))
        parts = [
            torch.addmm(self.offset, few, self.factors).logsumexp(1)
            for few in rows.split(max(1, _ENTRIES_AT_ONCE // len(self.offset)))
        ]
        return torch.cat(parts).view(z.shape[:-1]).to(dtype)

    def sample(
        self, n_samples: int, n_components: int, generator: torch.Generator
    ) -> Tensor:
        """Draws at random.

        Parameters
        ----------
        n_samples : int
            Number of draws.
        n_components : int
            Width of the code.
        generator : torch.Generator
            The only source of chance.

        Returns
        -------
        z : Tensor of shape (n_samples, n_components)
            Codes, of dtype float64, on the generator's device.
        """
        member = _members(self._log_weights, n_samples, generator)
        noise = Gaussian().sample(n_samples, n_components, generator)
        return self._mean[member] + self._scale[member] * noise


class OfMembers(Prior):
    """The priors of an ensemble's members, each for the codes of its own.

    Parameters
    ----------
    priors : list of Prior
        One for each member.

    Examples
    --------
    >>> import torch
    >>> from skvae.priors import Gaussian, OfMembers
    >>> prior = OfMembers([Gaussian(), Gaussian()])
    >>> prior.log_prob(torch.zeros(3, 2, 5, 1)).shape
    torch.Size([3, 2, 5])
    """

    def __init__(self, priors: list[Prior]) -> None:
        self._priors = priors

    def log_prob(self, z: Tensor) -> Tensor:
        """Log-density of codes, each under the prior of its member.

        Parameters
        ----------
        z : Tensor of shape (n_draws, n_members, n_rows, n_components)
            Codes.

        Returns
        -------
        log_prob : Tensor of shape (n_draws, n_members, n_rows)
            In nats, summed over components.
        """
        parts = [prior.log_prob(z[:, e]) for e, prior in enumerate(self._priors)]
        return torch.stack(parts, 1)


class MixtureOfCodes(Prior):
    """Equally likely codes of some rows, under posteriors of any family.

    Parameters
    ----------
    codes : Codes
        Of n_members rows.
    posterior : Posterior
        Their family.

    Examples
    --------
    >>> import torch
    >>> from skvae.posteriors import Laplace
    >>> from skvae.priors import MixtureOfCodes
    >>> codes = Laplace()(torch.zeros(5, 2), torch.zeros(5, 2))
    >>> prior = MixtureOfCodes(codes, Laplace())
    >>> prior.log_prob(torch.zeros(1, 2))
    tensor([-1.3863])
    """

    def __init__(self, codes: Codes, posterior: Posterior) -> None:
        self._codes, self._posterior = codes, posterior
        self._n_members = len(codes.mean)

    def log_prob(self, z: Tensor) -> Tensor:
        """Log-density of codes.

        Parameters
        ----------
        z : Tensor of shape (..., n_components)
            Codes.

        Returns
        -------
        log_prob : Tensor of shape (...)
            In nats, summed over components.
        """
        rows = z.reshape(-1, 1, z.shape[-1])
        n_at_once = max(1, _ENTRIES_AT_ONCE // (self._n_members * z.shape[-1]))
        parts = [
            self._codes.log_prob(few).logsumexp(1) for few in rows.split(n_at_once)
        ]
        return torch.cat(parts).view(z.shape[:-1]) - math.log(self._n_members)

    def sample(
        self, n_samples: int, n_components: int, generator: torch.Generator
    ) -> Tensor:
        """Draws at random.

        Parameters
        ----------
        n_samples : int
            Number of draws.
        n_components : int
            Width of the code.
        generator : torch.Generator
            The only source of chance.

        Returns
        -------
        z : Tensor of shape (n_samples, n_components)
            Codes, of dtype float64, on the generator's device.
        """
        equal = torch.zeros(
            self._n_members, dtype=torch.float64, device=generator.device
        )
        member = _members(equal, n_samples, generator)
        rows = self._codes.mapped(lambda part: part[member])
        return self._posterior.sample(rows, generator)


def _members(log_weights: Tensor, n_samples: int, generator: torch.Generator) -> Tensor:
    """Members of a mixture, drawn by their weights."""
    # multinomial takes no more than 2^24 categories; a mixture never has so many.
    shares = torch.softmax(log_weights, 0)
    return torch.multinomial(shares, n_samples, True, generator=generator)
