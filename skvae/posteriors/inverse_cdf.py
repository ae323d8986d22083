"""Positive codes by an inverse CDF: the Weibull family and the Pareto family.

The second road of Kingma and Welling (2014, section 2.4). In logarithms all of them are
a location plus an exponentially distributed number, or its logarithm, over a shape.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from skvae import priors
from skvae.posteriors.base import (
    EULER,
    LARGEST_LOGARITHM,
    Codes,
    Positive,
    Posterior,
    bounded,
    unbounded,
)
from skvae.posteriors.gaussian import linear_gaussian_start

__all__ = ["Exponential", "Pareto", "Rayleigh", "Weibull"]


#: Bounds of the logarithm of the scale, and of that of the shape: a small shape has a
#: heavy tail, a large one is sure of the code.
_LOG_SCALE, _LOG_SHAPE = (-20.0, 20.0), (-1.5, 6.0)


class _FromExponential(Positive):
    """What the families share: noise is exponential."""

    def carry(self, uniforms: Tensor) -> Tensor:
        return -torch.log1p(-uniforms)


@dataclass(frozen=True)
class Weibull(_FromExponential):
    """Weibull posterior with independent components; the prior is Exponential(1).

    References
    ----------
    D. P. Kingma and M. Welling, "Auto-Encoding Variational Bayes", ICLR 2014,
    section 2.4. C. Bauckhage, "Computing the Kullback-Leibler divergence between two
    Weibull distributions", 2013, for its divergence.

    Examples
    --------
    >>> from skvae.posteriors import Weibull
    >>> Weibull()
    Weibull()
    """

    can_start_linear: ClassVar[bool] = True

    def linear_start(
        self, loadings: Tensor, noise_variance: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        matrix, _, scale = linear_gaussian_start(loadings, noise_variance)
        # The logarithm of a code has the deviation of the prior's over the shape, and
        # its mean is Euler's constant over the shape below the scale's logarithm.
        locations = self.log_mean + EULER * scale
        return (
            self.log_deviation * matrix,
            locations,
            unbounded(-scale.log(), *_LOG_SHAPE),
        )

    def __call__(self, locations: Tensor, others: Tensor) -> Codes:
        log_shape = bounded(others, *_LOG_SHAPE)
        return WeibullCodes(bounded(locations, *_LOG_SCALE), log_shape, self)


@dataclass(frozen=True)
class Exponential(_FromExponential):
    """Exponential posterior with independent components; the prior has mean 1.

    Attributes
    ----------
    log_shape : float
        Logarithm of its shape as a Weibull distribution.
    log_scale : float
        Logarithm of its scale as one, at an encoder that gives zero.

    References
    ----------
    D. P. Kingma and M. Welling, "Auto-Encoding Variational Bayes", ICLR 2014,
    section 2.4.

    Examples
    --------
    >>> from skvae.posteriors import Exponential
    >>> Exponential()
    Exponential()
    """

    can_start_linear: ClassVar[bool] = True
    log_shape: ClassVar[float] = 0.0
    log_scale: ClassVar[float] = 0.0

    def n_outputs(self, n_components: int) -> tuple[int, int]:
        return n_components, 0

    def linear_start(
        self, loadings: Tensor, noise_variance: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        matrix, locations, _ = linear_gaussian_start(loadings, noise_variance)
        return self.log_deviation * matrix, locations, locations.new_empty(0)

    def __call__(self, locations: Tensor, others: Tensor) -> Codes:
        log_scale = self.log_scale + bounded(locations, *_LOG_SCALE)
        log_shape = torch.full_like(locations, self.log_shape)
        return WeibullCodes(log_scale, log_shape, self)


@dataclass(frozen=True)
class Rayleigh(Exponential):
    """Rayleigh posterior with independent components; the prior has mode 1.

    The length of a plane normal vector: a Weibull distribution of shape 2.

    References
    ----------
    D. P. Kingma and M. Welling, "Auto-Encoding Variational Bayes", ICLR 2014,
    section 2.4.

    Examples
    --------
    >>> from skvae.posteriors import Rayleigh
    >>> Rayleigh()
    Rayleigh()
    """

    # The logarithm of a code is log(mode) plus half of log(2 noise).
    log_shape: ClassVar[float] = math.log(2)
    log_scale: ClassVar[float] = 0.5 * math.log(2)
    log_mean: ClassVar[float] = 0.5 * (math.log(2) - EULER)
    log_deviation: ClassVar[float] = 0.5 * Positive.log_deviation


@dataclass(frozen=True)
class WeibullCodes(Codes):
    """Independent Weibull components, for each row."""

    log_scale: Tensor
    log_shape: Tensor
    family: Posterior

    @property
    def mean(self) -> Tensor:
        log_mean = self.log_scale + torch.lgamma(1 + (-self.log_shape).exp())
        return log_mean.clamp(max=LARGEST_LOGARITHM).exp()

    def rsample(self, noise: Tensor) -> Tensor:
        logarithm = self.log_scale + noise.log() * (-self.log_shape).exp()
        return logarithm.clamp(-LARGEST_LOGARITHM, LARGEST_LOGARITHM).exp()

    def log_prob(self, z: Tensor) -> Tensor:
        logarithm = z.log()
        # The logarithm of the noise that makes z.
        log_noise = (logarithm - self.log_scale) * self.log_shape.exp()
        size = log_noise.clamp(max=LARGEST_LOGARITHM).exp()
        return (self.log_shape + log_noise - size - logarithm).sum(-1)

    def kl_divergence(self, prior: priors.Prior) -> Tensor | None:
        if not prior.is_standard_of(type(self.family)):
            return None
        standard = cast(WeibullCodes, self.family.standard(1, self.log_scale))
        shape, prior_shape = self.log_shape.exp(), standard.log_shape.exp()
        distance = self.log_scale - standard.log_scale
        moment = (prior_shape * distance + torch.lgamma(1 + prior_shape / shape)).exp()
        of_shapes = self.log_shape - standard.log_shape - 1
        of_shapes = of_shapes - EULER * (1 - prior_shape / shape)
        return of_shapes - prior_shape * distance + moment


@dataclass(frozen=True)
class Pareto(_FromExponential):
    """Pareto posterior with independent components, above 1.

    The prior is the Pareto distribution from 1 on with shape 2.

    References
    ----------
    D. P. Kingma and M. Welling, "Auto-Encoding Variational Bayes", ICLR 2014,
    section 2.4.

    Examples
    --------
    >>> from skvae.posteriors import Pareto
    >>> Pareto()
    Pareto()
    """

    support: ClassVar[str] = "above 1"
    has_edges: ClassVar[bool] = True
    log_mean: ClassVar[float] = 0.5
    log_deviation: ClassVar[float] = 0.5

    def contains(self, Z: np.ndarray) -> np.ndarray:
        return Z >= 1

    def unit(self, n_components: int, like: Tensor) -> Codes:
        zeros = like.new_zeros((1, n_components))
        return ParetoCodes(zeros, zeros + 2.0)

    def __call__(self, locations: Tensor, others: Tensor) -> Codes:
        # A shape above 1 has a mean.
        shape = 1 + bounded(others, -6.0, 6.0).exp()
        return ParetoCodes(20 * torch.tanh(functional.softplus(locations) / 20), shape)


@dataclass(frozen=True)
class ParetoCodes(Codes):
    """Independent Pareto components, for each row."""

    log_least: Tensor
    shape: Tensor

    @property
    def mean(self) -> Tensor:
        return self.log_least.exp() * self.shape / (self.shape - 1)

    def rsample(self, noise: Tensor) -> Tensor:
        logarithm = self.log_least + noise / self.shape
        return logarithm.clamp(max=LARGEST_LOGARITHM).exp()

    def log_prob(self, z: Tensor) -> Tensor:
        logarithm = z.log()
        terms = self.shape.log() + self.shape * (self.log_least - logarithm) - logarithm
        # The least number itself may be rounded to below.
        below = logarithm < self.log_least - 1e-5
        return terms.masked_fill(below, -math.inf).sum(-1)

    def kl_divergence(self, prior: priors.Prior) -> Tensor | None:
        if not prior.is_standard_of(Pareto):
            return None
        log_ratio = self.shape.log() - math.log(2)
        return log_ratio + 2 * self.log_least + 2 / self.shape - 1
