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
    mean, log_scale : Tensor of shape (n_members, n_components)
    log_weights : Tensor of shape (n_members,) or None, default=None
        None is equal weights.
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
        """Log-density, summed over components: (..., n_components) to (...)."""
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
        """Draws of shape (n_samples, n_components), in float64."""
        member = _members(self._log_weights, n_samples, generator)
        noise = Gaussian().sample(n_samples, n_components, generator)
        return self._mean[member] + self._scale[member] * noise


class OfMembers(Prior):
    """The priors of an ensemble's members, each for the codes of its own.

    Parameters
    ----------
    priors : list of Prior
    """

    def __init__(self, priors: list[Prior]) -> None:
        self._priors = priors

    def log_prob(self, z: Tensor) -> Tensor:
        """Log-density of codes (n_draws, n_members, n_rows, n_components)."""
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
    """

    def __init__(self, codes: Codes, posterior: Posterior) -> None:
        self._codes, self._posterior = codes, posterior
        self._n_members = len(codes.mean)

    def log_prob(self, z: Tensor) -> Tensor:
        """Log-density, summed over components: (..., n_components) to (...)."""
        rows = z.reshape(-1, 1, z.shape[-1])
        n_at_once = max(1, _ENTRIES_AT_ONCE // (self._n_members * z.shape[-1]))
        parts = [
            self._codes.log_prob(few).logsumexp(1) for few in rows.split(n_at_once)
        ]
        return torch.cat(parts).view(z.shape[:-1]) - math.log(self._n_members)

    def sample(
        self, n_samples: int, n_components: int, generator: torch.Generator
    ) -> Tensor:
        """Draws of shape (n_samples, n_components), in float64."""
        equal = torch.zeros(self._n_members, dtype=torch.float64)
        member = _members(equal.to(generator.device), n_samples, generator)
        rows = self._codes.mapped(lambda part: part[member])
        return self._posterior.sample(rows, generator)


def _members(log_weights: Tensor, n_samples: int, generator: torch.Generator) -> Tensor:
    """Members of a mixture, drawn by their weights."""
    # multinomial takes no more than 2^24 categories; a mixture never has so many.
    shares = torch.softmax(log_weights, 0)
    return torch.multinomial(shares, n_samples, True, generator=generator)
