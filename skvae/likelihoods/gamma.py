"""The gamma likelihood: positive numbers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from skvae.core.arrays import ValueAndGradient, on_tensors
from skvae.likelihoods.base import Likelihood, LinearStart
from skvae.likelihoods.special import (
    HALF_LOG_2PI,
    LARGEST_LOGARITHM,
    log_gamma_remainder,
    log_standard_gamma,
)
from skvae.settings import Shapes

__all__ = ["Gamma"]

#: Bounds of the log of the shape. At the upper one the noise is 1 % of the value, at
#: the lower one draws leave the range of float32.
_LOG_SHAPE_BOUNDS = (-5.0, 9.0)
#: Logarithm of the largest multiple of its mean that a value counts as: exp of it,
#: times any shape, can be squared in float32.
_LARGEST_LOG_RATIO = 32.0


@dataclass(frozen=True)
class Gamma(Likelihood):
    """Positive numbers around a mean, with a spread in proportion to it.

    The decoder gives the logarithm of the mean m. The variance is m^2 / shape, with one
    learned shape a column; 1 is the exponential distribution. Beside `LogNormal` with
    an equal spread the upper tail is lighter and the lower one heavier.

    References
    ----------
    P. McCullagh and J. A. Nelder, "Generalized Linear Models" (1989), section 8.2.

    Examples
    --------
    >>> from skvae.likelihoods import Gamma
    >>> Gamma()
    Gamma()
    """

    codec: ClassVar[str] = "positive"
    support: ClassVar[str] = "the positive numbers"
    least_variance: ClassVar[float] = 0.01

    def own_shapes(self, n_features: int) -> Shapes:
        return {"log_shape": (n_features,)}

    def impossible(self, values: np.ndarray) -> np.ndarray:
        return values <= 0

    def statistic(self, targets: np.ndarray) -> np.ndarray:
        return np.log(targets)

    def start(
        self,
        mean: Tensor,
        variance: Tensor,
        loadings: Tensor,
        residual_variance: Tensor,
    ) -> LinearStart:
        # The logarithm's variance is trigamma(shape), about 1 / shape + 1 / 2 shape^2,
        # and its mean that of the log plus digamma(shape) - log(shape).
        noise = residual_variance.clamp_min(self.least_variance)
        left = (noise * variance).clamp_min(1e-12)
        log_shape = ((1 + (1 + 2 * left).sqrt()) / (2 * left)).log()
        log_shape = log_shape.clamp(*_LOG_SHAPE_BOUNDS)
        locations = mean + log_shape - torch.digamma(log_shape.exp())
        own = {"log_shape": log_shape}
        weight = loadings * variance.sqrt()
        return LinearStart(weight, locations, mean.new_empty(0), own, noise)

    def __call__(
        self, locations: Tensor, others: Tensor, own: Mapping[str, Tensor]
    ) -> "GammaColumns":
        return GammaColumns(locations, own["log_shape"].clamp(*_LOG_SHAPE_BOUNDS))

    @on_tensors
    def value_and_gradient(
        self,
        locations: Tensor,
        others: Tensor,
        own: Mapping[str, Tensor],
        targets: Tensor,
        observed: Tensor | None,
    ) -> ValueAndGradient[Tensor]:
        raw = own["log_shape"]
        columns = self(locations, others, own)
        log_prob, shape = columns.log_prob(targets), columns.log_shape.exp()
        ratio = columns.log_ratio(targets)
        growth = ratio.expm1()
        d_log_shape = columns.log_shape - torch.digamma(shape) + ratio - growth
        d_locations = growth.mul_(shape).mul_(ratio < _LARGEST_LOG_RATIO)
        if observed is not None:
            for part in (log_prob, d_locations, d_log_shape):
                part.mul_(observed)
        total = d_log_shape.sum(-2, keepdim=True).mul_(shape).view_as(raw)
        total.mul_(raw.clamp(*_LOG_SHAPE_BOUNDS) == raw)
        return log_prob.sum(-1), d_locations, others, {"log_shape": total}


class GammaColumns(NamedTuple):
    """Independent gamma columns."""

    log_mean: Tensor
    log_shape: Tensor

    @property
    def mean(self) -> Tensor:
        return self.log_mean.clamp(-LARGEST_LOGARITHM, LARGEST_LOGARITHM).exp()

    def log_ratio(self, targets: Tensor) -> Tensor:
        """Logarithms of values over their means."""
        return (targets.log() - self.log_mean).clamp(max=_LARGEST_LOG_RATIO)

    def log_prob(self, targets: Tensor) -> Tensor:
        shape, ratio = self.log_shape.exp(), self.log_ratio(targets)
        constant = 0.5 * self.log_shape - log_gamma_remainder(shape) - HALF_LOG_2PI
        return constant - shape * (ratio.expm1() - ratio) - targets.log()

    def sample(self, generator: torch.Generator) -> Tensor:
        shape = self.log_shape.exp().expand(self.log_mean.shape)
        ratio = log_standard_gamma(shape, generator) - self.log_shape
        bound = LARGEST_LOGARITHM
        return (self.log_mean + ratio).clamp(-bound, bound).exp()
