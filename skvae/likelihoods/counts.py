"""Likelihoods of counts."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from skvae.core.arrays import ValueAndGradient, on_tensors
from skvae.likelihoods.base import Columns, Likelihood, LinearStart
from skvae.settings import Shapes

__all__ = ["NegativeBinomial", "Poisson", "ZeroInflatedNegativeBinomial"]

#: Bound of the log-rates: exp of it can be squared in float32.
_LOG_RATE_BOUND = 27.0
#: Bounds of the log of the negative binomial's shape. Beyond, it is a Poisson
#: distribution to all digits of float32.
_LOG_SHAPE_BOUNDS = (-7.0, 9.0)
#: Probability of a zero for another reason, to start from.
_FIRST_INFLATION = 0.1


class _Counts(Likelihood):
    """What the families of counts share: the rate's logarithm is the location."""

    codec: ClassVar[str] = "counts"
    support: ClassVar[str] = "the whole numbers from 0"
    least_variance: ClassVar[float] = 0.05

    def impossible(self, values: np.ndarray) -> np.ndarray:
        return (values < 0) | (values % 1 != 0)

    def start(
        self,
        mean: Tensor,
        variance: Tensor,
        loadings: Tensor,
        residual_variance: Tensor,
    ) -> LinearStart:
        # Inputs are standardised log1p counts. What the variance has above a Poisson's
        # is put down to the rate, as if that were log-normal.
        mean = mean.clamp_min(1e-4)
        excess = (variance - mean).clamp_min(0.0)
        spread = torch.log1p(excess / mean.square()).sqrt().clamp_max(2.0)
        weight = loadings * spread
        # The mean of exp(weight z) is exp of half its variance.
        locations = mean.log() - weight.square().sum(0) / 2
        noise = residual_variance.clamp_min(self.least_variance)
        return LinearStart(weight, locations, mean.new_empty(0), {}, noise)


@dataclass(frozen=True)
class Poisson(_Counts):
    """Counts whose variance, given the code, is their mean.

    References
    ----------
    P. McCullagh and J. A. Nelder, "Generalized Linear Models" (1989), section 6.2.

    Examples
    --------
    >>> from skvae.likelihoods import Poisson
    >>> Poisson()
    Poisson()
    """

    def __call__(
        self, locations: Tensor, others: Tensor, own: Mapping[str, Tensor]
    ) -> Columns:
        return PoissonColumns(_bounded(locations))

    @on_tensors
    def value_and_gradient(
        self,
        locations: Tensor,
        others: Tensor,
        own: Mapping[str, Tensor],
        targets: Tensor,
        observed: Tensor | None,
    ) -> ValueAndGradient[Tensor]:
        log_prob = PoissonColumns(_bounded(locations)).log_prob(targets)
        gradient = targets - _bounded(locations).exp()
        gradient.mul_(locations.abs() <= _LOG_RATE_BOUND)
        if observed is not None:
            log_prob.mul_(observed)
            gradient.mul_(observed)
        return log_prob.sum(-1), gradient, others, {}


class PoissonColumns(NamedTuple):
    """Independent Poisson columns."""

    log_rate: Tensor

    @property
    def mean(self) -> Tensor:
        return self.log_rate.exp()

    def log_prob(self, targets: Tensor) -> Tensor:
        return targets * self.log_rate - self.mean - torch.lgamma(targets + 1)

    def sample(self, generator: torch.Generator) -> Tensor:
        return torch.poisson(self.mean, generator=generator)


@dataclass(frozen=True)
class NegativeBinomial(_Counts):
    """Counts that vary more than Poisson's: a Poisson rate with gamma noise.

    The variance given the code is mean + mean^2 / shape, with one learned shape a
    column.

    References
    ----------
    R. Lopez et al., "Deep generative modeling for single-cell transcriptomics",
    Nature Methods 15 (2018), use it in a VAE; J. M. Hilbe, "Negative Binomial
    Regression" (2011), section 8.1.

    Examples
    --------
    >>> from skvae.likelihoods import NegativeBinomial
    >>> NegativeBinomial()
    NegativeBinomial()
    """

    def own_shapes(self, n_features: int) -> Shapes:
        return {"log_shape": (n_features,)}

    def start(
        self,
        mean: Tensor,
        variance: Tensor,
        loadings: Tensor,
        residual_variance: Tensor,
    ) -> LinearStart:
        start = super().start(mean, variance, loadings, residual_variance)
        excess = (variance - mean).clamp_min(1e-6) * residual_variance.clamp(1e-2, 1.0)
        log_shape = (mean.clamp_min(1e-4).square() / excess).log()
        return start._replace(own={"log_shape": log_shape.clamp(*_LOG_SHAPE_BOUNDS)})

    def __call__(
        self, locations: Tensor, others: Tensor, own: Mapping[str, Tensor]
    ) -> Columns:
        return self._rates(locations, own)

    def _rates(
        self, locations: Tensor, own: Mapping[str, Tensor]
    ) -> "NegativeBinomialColumns":
        log_shape = own["log_shape"].clamp(*_LOG_SHAPE_BOUNDS)
        return NegativeBinomialColumns(_bounded(locations), log_shape)


class NegativeBinomialColumns(NamedTuple):
    """Independent negative binomial columns."""

    log_mean: Tensor
    log_shape: Tensor

    @property
    def mean(self) -> Tensor:
        return self.log_mean.exp()

    def log_prob(self, targets: Tensor) -> Tensor:
        shape = self.log_shape.exp()
        log_total = torch.logaddexp(self.log_mean, self.log_shape)
        constant = torch.lgamma(targets + shape) - torch.lgamma(shape)
        constant = constant - torch.lgamma(targets + 1)
        failures = shape * (self.log_shape - log_total)
        return constant + failures + targets * (self.log_mean - log_total)

    def sample(self, generator: torch.Generator) -> Tensor:
        shape = self.log_shape.exp().expand(self.log_mean.shape)
        gamma = torch._standard_gamma(shape, generator=generator)
        return torch.poisson(gamma / shape * self.mean, generator=generator)


@dataclass(frozen=True)
class ZeroInflatedNegativeBinomial(NegativeBinomial):
    """Negative binomial counts, of which some are made zero for another reason.

    With the probability pi a cell is 0 whatever its rate is; else it is a draw of the
    negative binomial. The decoder gives the log-odds of pi beside the logarithm of the
    rate mu, so that the mean is (1 - pi) mu. There is one learned shape a column.

    References
    ----------
    R. Lopez et al., "Deep generative modeling for single-cell transcriptomics",
    Nature Methods 15 (2018), online methods; D. Lambert, "Zero-inflated Poisson
    regression", Technometrics 34 (1992), section 1.

    Examples
    --------
    >>> from skvae.likelihoods import ZeroInflatedNegativeBinomial
    >>> ZeroInflatedNegativeBinomial()
    ZeroInflatedNegativeBinomial()
    """

    def n_outputs(self, n_features: int) -> tuple[int, int]:
        return n_features, n_features

    def start(
        self,
        mean: Tensor,
        variance: Tensor,
        loadings: Tensor,
        residual_variance: Tensor,
    ) -> LinearStart:
        # Two moments do not tell zeros apart: a few are taken out of both.
        kept = 1 - _FIRST_INFLATION
        rate = mean / kept
        spread = (variance / kept - _FIRST_INFLATION * rate.square()).clamp_min(0.0)
        start = super().start(rate, spread, loadings, residual_variance)
        log_odds = torch.full_like(mean, _FIRST_INFLATION).logit()
        return start._replace(others=log_odds)

    def __call__(
        self, locations: Tensor, others: Tensor, own: Mapping[str, Tensor]
    ) -> Columns:
        return ZeroInflatedColumns(self._rates(locations, own), others)


class ZeroInflatedColumns(NamedTuple):
    """Independent columns of counts with zeros of their own."""

    counts: NegativeBinomialColumns
    log_odds: Tensor

    @property
    def mean(self) -> Tensor:
        return (-self.log_odds).sigmoid() * self.counts.mean

    def log_prob(self, targets: Tensor) -> Tensor:
        drawn = functional.logsigmoid(-self.log_odds) + self.counts.log_prob(targets)
        inflated = torch.logaddexp(functional.logsigmoid(self.log_odds), drawn)
        return torch.where(targets == 0, inflated, drawn)

    def sample(self, generator: torch.Generator) -> Tensor:
        kept = torch.bernoulli((-self.log_odds).sigmoid(), generator=generator)
        return kept * self.counts.sample(generator)


def _bounded(log_rate: Tensor) -> Tensor:
    return log_rate.clamp(-_LOG_RATE_BOUND, _LOG_RATE_BOUND)
