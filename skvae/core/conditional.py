"""Codes given some cells of a row: adaptive importance sampling of p(z|x_observed).

The encoder alone may be a poor guide where most cells are holes. Draws come from a
mixture of the prior, the encoder's posterior and, where codes may be any number, a
normal distribution that is fitted to the weighted draws of the round before; each is
weighted by what the whole mixture would have drawn there, so that no part has to be
right. Codes that are classes are all gone through.
"""

import math
from collections.abc import Sequence
from typing import Protocol, Self

import torch
from torch import Tensor

from skvae.core.model import Model, Weights
from skvae.core.rows import Rows

__all__ = ["conditional_codes"]

_LEAST_DRAWS, _MOST_DRAWS = 4_096, 65_536
_ROUNDS = 4
#: Shares of the prior, the encoder and the fitted normal after the first round.
_SHARES = (0.2, 0.1, 0.7)
#: Shares of the prior and the encoder where no normal is fitted.
_SHARES_WITHOUT = (0.5, 0.5)
#: The fitted normal is a little wider than the draws that it is fitted to.
_WIDENING = 1.5
_DRAWS_AT_ONCE = 1_024


class _Part(Protocol):
    """A part of the mixture that draws come from, as priors are."""

    def sample(
        self, n_samples: int, n_components: int, generator: torch.Generator
    ) -> Tensor: ...

    def log_prob(self, z: Tensor) -> Tensor: ...


def conditional_codes(
    model: Model,
    weights: Weights,
    row: Rows,
    n_samples: int,
    generator: torch.Generator,
) -> tuple[Tensor, float]:
    """Codes drawn from the posterior of one row, by importance resampling.

    Parameters
    ----------
    model : Model
    weights : dict
    row : tuple of Tensor
        Inputs, targets and observed of one row.
    n_samples : int
    generator : torch.Generator

    Returns
    -------
    z : Tensor of shape (n_samples, n_components)
    effective : float
        Effective sample size: of how many independent draws the weights are worth.

    References
    ----------
    O. Cappe et al., "Population Monte Carlo", JCGS 13 (2004). E. Veach and L. Guibas,
    "Optimally combining sampling techniques", SIGGRAPH 1995, for the mixture's weights.
    """
    with torch.no_grad():
        if model.posterior.is_discrete:
            z, log_w = _every_class(model, weights, row)
        else:
            n_draws = min(max(_LEAST_DRAWS, 4 * n_samples), _MOST_DRAWS)
            z, log_w = _drawn(model, weights, row, n_draws, generator)
        share = torch.softmax(log_w, 0)
        index = torch.multinomial(share, n_samples, True, generator=generator)
        if model.posterior.is_discrete:  # the sum is exact
            return z[index], math.inf
        return z[index], float(1 / share.square().sum())


def _every_class(model: Model, weights: Weights, row: Rows) -> tuple[Tensor, Tensor]:
    """All codes, and their log joint probabilities with the row."""
    z = torch.eye(model.n_components, dtype=row[0].dtype, device=row[0].device)
    return z, _log_joint(model, weights, row, z)


def _drawn(
    model: Model, weights: Weights, row: Rows, n_draws: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Draws of the last round, and their log importance weights."""
    encoder = _Encoder(model, weights, row[0])
    parts: list[_Part] = [model.prior_of(weights), encoder]
    shares: tuple[float, ...] = _SHARES_WITHOUT
    is_real = model.posterior.support == "real"
    if is_real:
        parts, shares = [*parts, encoder], (0.5, 0.25, 0.25)
    for _ in range(_ROUNDS if is_real else 1):
        z = _draws(parts, shares, n_draws, model.n_components, generator)
        z = z.to(row[0].dtype)
        log_w = _log_joint(model, weights, row, z)
        log_w -= _log_mixture(parts, shares, z)
        if is_real:
            parts[2], shares = _Normal.to(z, torch.softmax(log_w, 0)), _SHARES
    return z, log_w


def _log_joint(model: Model, weights: Weights, row: Rows, z: Tensor) -> Tensor:
    """log p(z) + log p(x_observed|z) of each draw."""
    _, targets, observed = row
    prior = model.prior_of(weights)
    parts = []
    for some in z.split(_DRAWS_AT_ONCE):
        log_prob = model.decode(weights, some).log_prob(targets.expand(len(some), -1))
        if observed is not None:
            log_prob = log_prob * observed
        parts.append(log_prob.sum(-1) + prior.log_prob(some))
    return torch.cat(parts)


def _draws(
    parts: Sequence[_Part],
    shares: Sequence[float],
    n_draws: int,
    n_components: int,
    generator: torch.Generator,
) -> Tensor:
    counts = [round(share * n_draws) for share in shares]
    return torch.cat(
        [
            part.sample(count, n_components, generator)
            for part, count in zip(parts, counts, strict=True)
        ]
    )


def _log_mixture(parts: Sequence[_Part], shares: Sequence[float], z: Tensor) -> Tensor:
    return torch.stack(
        [
            part.log_prob(z) + math.log(share)
            for part, share in zip(parts, shares, strict=True)
        ]
    ).logsumexp(0)


class _Encoder:
    """The encoder's posterior of a single row."""

    def __init__(self, model: Model, weights: Weights, inputs: Tensor) -> None:
        self._codes = model.encode(weights, inputs)
        self._posterior = model.posterior

    def sample(
        self, n_samples: int, n_components: int, generator: torch.Generator
    ) -> Tensor:
        shape = n_samples, 1, self._posterior.n_noise(n_components)
        noise = self._posterior.noise(shape, generator).double()
        return self._codes.rsample(noise)[:, 0].double()

    def log_prob(self, z: Tensor) -> Tensor:
        return self._codes.log_prob(z.unsqueeze(1))[:, 0]


class _Normal:
    """A normal distribution with any covariance."""

    def __init__(self, mean: Tensor, factor: Tensor) -> None:
        self._mean, self._factor = mean.double(), factor.double()

    @classmethod
    def to(cls, z: Tensor, share: Tensor) -> Self:
        """Fitted to weighted draws, and widened."""
        z, share = z.double(), share.double().unsqueeze(1)
        mean = (share * z).sum(0)
        centered = z - mean
        covariance = _WIDENING * (share * centered).T @ centered
        # Few distinct draws would make it singular, near 0 or far from it.
        least = 1e-3 + 1e-9 * covariance.trace()
        covariance += least * torch.eye(len(mean), dtype=z.dtype, device=z.device)
        return cls(mean, torch.linalg.cholesky(covariance))

    def sample(
        self, n_samples: int, n_components: int, generator: torch.Generator
    ) -> Tensor:
        noise = torch.randn(
            (n_samples, n_components),
            generator=generator,
            dtype=torch.float64,
            device=generator.device,
        )
        return self._mean + noise @ self._factor.T

    def log_prob(self, z: Tensor) -> Tensor:
        centered = (z.double() - self._mean).T
        standardized = torch.linalg.solve_triangular(
            self._factor, centered, upper=False
        )
        log_scale = self._factor.diagonal().log().sum()
        constant = 0.5 * math.log(2 * math.pi) * len(self._mean)
        return (-0.5 * standardized.square().sum(0) - log_scale - constant).to(z.dtype)
