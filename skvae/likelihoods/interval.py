"""Likelihoods of numbers between 0 and 1."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from scipy import special
from torch import Tensor
from torch.nn import functional

from skvae.core.arrays import ValueAndGradient, on_tensors
from skvae.likelihoods.base import Columns, Likelihood, LinearStart
from skvae.likelihoods.special import (
    HALF_LOG_2PI,
    log_gamma_remainder,
    log_standard_gamma,
)
from skvae.settings import Shapes

__all__ = ["Beta", "ContinuousBernoulli"]

#: Bound of the log-odds of the beta mean: the mean is below 1 in float32.
_LOG_ODDS_BOUND = 15.0
#: Bounds of the log of the precision. At the upper one the noise around 1/2 is 0.002.
_LOG_PRECISION_BOUNDS = (-5.0, 11.0)


@dataclass(frozen=True)
class Beta(Likelihood):
    """Shares and rates: numbers above 0 and below 1.

    The decoder gives the log-odds of the mean m. The variance is
    m (1 - m) / (precision + 1), with one learned precision a column: a small one makes
    values pile up at both ends, 2 with a mean of 1/2 is the uniform distribution.

    References
    ----------
    S. Ferrari and F. Cribari-Neto, "Beta regression for modelling rates and
    proportions", Journal of Applied Statistics 31 (2004), equation 4.

    Examples
    --------
    >>> from skvae.likelihoods import Beta
    >>> Beta()
    Beta()
    """

    codec: ClassVar[str] = "log_odds"
    support: ClassVar[str] = "the numbers above 0 and below 1"
    least_variance: ClassVar[float] = 0.01

    def own_shapes(self, n_features: int) -> Shapes:
        return {"log_precision": (n_features,)}

    def impossible(self, values: np.ndarray) -> np.ndarray:
        return (values <= 0) | (values >= 1)

    def statistic(self, targets: np.ndarray) -> np.ndarray:
        return special.expit(targets)

    def start(
        self,
        mean: Tensor,
        variance: Tensor,
        loadings: Tensor,
        residual_variance: Tensor,
    ) -> LinearStart:
        noise = residual_variance.clamp_min(self.least_variance)
        mean = mean.clamp(1e-6, 1 - 1e-6)
        unit = mean * (1 - mean)
        # A slope in x becomes one in the log-odds.
        weight = loadings * (variance.sqrt() / unit).clamp_max(2.0)
        precision = unit / (noise * variance).clamp_min(1e-12) - 1
        log_precision = precision.clamp_min(1e-12).log().clamp(*_LOG_PRECISION_BOUNDS)
        own = {"log_precision": log_precision}
        return LinearStart(weight, mean.logit(), mean.new_empty(0), own, noise)

    def __call__(
        self, locations: Tensor, others: Tensor, own: Mapping[str, Tensor]
    ) -> Columns:
        log_odds = locations.clamp(-_LOG_ODDS_BOUND, _LOG_ODDS_BOUND)
        return BetaColumns(log_odds, own["log_precision"].clamp(*_LOG_PRECISION_BOUNDS))


class BetaColumns(NamedTuple):
    """Independent beta columns; targets are log-odds, so that no x rounds to 1."""

    log_odds: Tensor
    log_precision: Tensor

    @property
    def mean(self) -> Tensor:
        return self.log_odds.sigmoid()

    def log_prob(self, targets: Tensor) -> Tensor:
        log_mean, log_rest = _log_shares(self.log_odds)
        log_a = log_mean + self.log_precision
        log_b = log_rest + self.log_precision
        a, b = log_a.exp(), log_b.exp()
        log_x, log_beside = _log_shares(targets)
        distance = a * (log_x - log_mean) + b * (log_beside - log_rest)
        whole = log_gamma_remainder(self.log_precision.exp())
        remainder = log_gamma_remainder(a) + log_gamma_remainder(b) - whole
        constant = 0.5 * (log_a + log_b - self.log_precision) - HALF_LOG_2PI
        return distance + constant - remainder

    def sample(self, generator: torch.Generator) -> Tensor:
        shares = _log_shares(self.log_odds)
        a, b = ((share + self.log_precision).exp() for share in shares)
        return log_standard_gamma(a, generator) - log_standard_gamma(b, generator)


def _log_shares(log_odds: Tensor) -> tuple[Tensor, Tensor]:
    """Logarithms of a share and of what is left of 1."""
    return functional.logsigmoid(log_odds), functional.logsigmoid(-log_odds)


#: Bound of the continuous Bernoulli's log-odds: no density is above 1,000.
_RATE_BOUND = 1_000.0
#: Below this the closed forms lose digits, and their series have converged.
_SMALL_RATE = 0.5


@dataclass(frozen=True)
class ContinuousBernoulli(Likelihood):
    """Greys: numbers from 0 to 1, both included, with the log-odds as decoder output.

    The density of x is in proportion to p^x (1 - p)^(1 - x), and normalised: an
    exponential curve cut off at 0 and 1. Where the log-odds are 0 it is uniform.
    There is no scale to learn: the closer the mean is to an end, the less the spread.

    References
    ----------
    G. Loaiza-Ganem and J. P. Cunningham, "The continuous Bernoulli: fixing a pervasive
    error in variational autoencoders", NeurIPS 2019, equations 5 and 6.

    Examples
    --------
    >>> from skvae.likelihoods import ContinuousBernoulli
    >>> ContinuousBernoulli()
    ContinuousBernoulli()
    """

    codec: ClassVar[str] = "unit_interval"
    support: ClassVar[str] = "the numbers from 0 to 1"
    least_variance: ClassVar[float] = 0.05

    def impossible(self, values: np.ndarray) -> np.ndarray:
        return (values < 0) | (values > 1)

    def start(
        self,
        mean: Tensor,
        variance: Tensor,
        loadings: Tensor,
        residual_variance: Tensor,
    ) -> LinearStart:
        # The mean is (1 + L(log-odds / 2)) / 2 with Langevin's L = coth y - 1 / y. Its
        # inverse, within 5 %: A. Cohen, Rheologica Acta 30 (1991), equation 12.
        noise = residual_variance.clamp_min(self.least_variance)
        share = (2 * mean - 1).clamp(-0.998, 0.998)
        square = share.square()
        locations = 2 * share * (3 - square) / (1 - square)
        slope = 4 * (3 + square.square()) / (1 - square).square()
        weight = loadings * variance.sqrt() * slope.clamp_max(_STEEPEST)
        return LinearStart(weight, locations, mean.new_empty(0), {}, noise)

    def __call__(
        self, locations: Tensor, others: Tensor, own: Mapping[str, Tensor]
    ) -> Columns:
        return ContinuousBernoulliColumns(locations.clamp(-_RATE_BOUND, _RATE_BOUND))

    @on_tensors
    def value_and_gradient(
        self,
        locations: Tensor,
        others: Tensor,
        own: Mapping[str, Tensor],
        targets: Tensor,
        observed: Tensor | None,
    ) -> ValueAndGradient[Tensor]:
        columns = self(locations, others, own)
        log_prob = columns.log_prob(targets)
        gradient = targets - columns.mean
        gradient.mul_(locations.abs() <= _RATE_BOUND)
        if observed is not None:
            log_prob.mul_(observed)
            gradient.mul_(observed)
        return log_prob.sum(-1), gradient, others, {}


#: Largest slope of the log-odds in x to start from: that at a mean of a sixth.
_STEEPEST = 40.0


class ContinuousBernoulliColumns(NamedTuple):
    """Independent columns of greys."""

    log_odds: Tensor

    @property
    def mean(self) -> Tensor:
        is_small, small, large = self._split()
        series = small * _polynomial(_MEAN_SERIES, small.square())
        closed = 0.5 / (large / 2).tanh() - large.reciprocal()
        return 0.5 + torch.where(is_small, series, closed)

    def log_prob(self, targets: Tensor) -> Tensor:
        return self.log_odds * (targets - 0.5) - self._log_normalizer()

    def sample(self, generator: torch.Generator) -> Tensor:
        # The distance from the likelier end, by the inverse of its distribution.
        rate = self.log_odds.abs().clamp_min(1e-6)
        uniform = torch.rand(
            rate.shape, generator=generator, dtype=rate.dtype, device=rate.device
        )
        distance = (-(uniform * torch.expm1(-rate)).log1p() / rate).clamp(0.0, 1.0)
        return torch.where(self.log_odds < 0, distance, 1 - distance)

    def _log_normalizer(self) -> Tensor:
        """Of exp(t (x - 1/2)): the log of sinh(y) / y, with y half the log-odds t."""
        is_small, small, large = self._split()
        square = small.square()
        series = square * _polynomial(_NORMALIZER_SERIES, square)
        rate = large.abs()
        closed = rate / 2 + torch.log(-torch.expm1(-rate)) - rate.log()
        return torch.where(is_small, series, closed)

    def _split(self) -> tuple[Tensor, Tensor, Tensor]:
        """Where log-odds are small, and log-odds that are safe in each formula."""
        is_small = self.log_odds.abs() < _SMALL_RATE
        small = torch.where(is_small, self.log_odds, 0.0)
        return is_small, small, torch.where(is_small, 1.0, self.log_odds)


#: Taylor coefficients of log(sinh(y) / y) by t = 2 y, and of its derivative.
_NORMALIZER_SERIES = (1 / 24, -1 / 2880, 1 / 181440, -1 / 9676800, 1 / 479001600)
_MEAN_SERIES = (1 / 12, -1 / 720, 1 / 30240, -1 / 1209600, 1 / 47900160)


def _polynomial(coefficients: Sequence[float], x: Tensor) -> Tensor:
    total = torch.zeros_like(x)
    for coefficient in reversed(coefficients):
        total = total * x + coefficient
    return total
