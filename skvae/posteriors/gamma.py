"""Codes composed of gamma draws: Gamma, chi-squared, Beta and Dirichlet.

The third road of Kingma and Welling (2014, section 2.4). A gamma draw is the inverse
CDF of its shape; the gradient by the shape follows from the CDF's (Figurnov et al.,
2018).
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import numpy as np
import torch
from scipy import special
from torch import Tensor

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

__all__ = ["Beta", "ChiSquared", "Dirichlet", "Gamma"]

#: Bounds of the logarithm of a gamma distribution's shape. Below, draws are 0 to the
#: last digit.
_LOG_SHAPE = (-3.0, 8.0)
_LEAST = math.exp(-LARGEST_LOGARITHM)


class _StandardGamma(torch.autograd.Function):
    """Gamma quantiles at the probabilities that normal noise has."""

    @staticmethod
    def forward(shape: Tensor, noise: Tensor) -> Tensor:
        shape, noise = torch.broadcast_tensors(shape, noise)
        shapes, scores = (part.double().numpy(force=True) for part in (shape, noise))
        # By the tail that the noise is in, whose probability has all digits.
        low = scores < 0
        drawn = np.empty(scores.shape)
        drawn[low] = special.gammaincinv(shapes[low], special.ndtr(scores[low]))
        drawn[~low] = special.gammainccinv(shapes[~low], special.ndtr(-scores[~low]))
        return torch.from_numpy(drawn.clip(_LEAST)).to(shape)

    @staticmethod
    def setup_context(
        context: Any, inputs: tuple[Tensor, Tensor], output: Tensor
    ) -> None:
        context.save_for_backward(inputs[0], output)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:
        shape, drawn = context.saved_tensors
        by_shape = torch._standard_gamma_grad(shape.expand_as(drawn), drawn)
        return (gradient * by_shape).sum_to_size(shape.shape), None


def standard_gamma(shape: Tensor, noise: Tensor) -> Tensor:
    """Gamma draws of unit rate, smooth in the shape.

    Parameters
    ----------
    shape : Tensor of shape (..., n_rows, n_components)
    noise : Tensor
        Standard normal: the draws are the quantiles at its probabilities.

    References
    ----------
    M. Figurnov, S. Mohamed and A. Mnih, "Implicit Reparameterization Gradients",
    NeurIPS 2018, section 3.
    """
    return _StandardGamma.apply(shape, noise)


@dataclass(frozen=True)
class Gamma(Positive):
    """Gamma posterior with independent components; its prior is Exponential(1).

    The encoder gives the logarithms of the mean and of the shape. Another prior, say
    ``torch.distributions.Gamma(3.0, 1.0)``, is as good: the divergence is closed.

    References
    ----------
    M. Figurnov, S. Mohamed and A. Mnih, "Implicit Reparameterization Gradients",
    NeurIPS 2018.

    Examples
    --------
    >>> from skvae.posteriors import Gamma
    >>> Gamma()
    Gamma()
    """

    can_start_linear: ClassVar[bool] = True

    def linear_start(
        self, loadings: Tensor, noise_variance: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        matrix, _, scale = linear_gaussian_start(loadings, noise_variance)
        # The logarithm of a code has the variance trigamma(shape), and the mean
        # digamma(shape) - log(shape) plus the logarithm of the code's mean.
        shape = _inverse_trigamma((self.log_deviation * scale).square())
        locations = self.log_mean + shape.log() - torch.digamma(shape)
        others = unbounded(shape.log(), *_LOG_SHAPE)
        return self.log_deviation * matrix, locations, others

    def __call__(self, locations: Tensor, others: Tensor) -> Codes:
        log_shape = bounded(others, *_LOG_SHAPE)
        log_mean = bounded(locations, -20.0, 20.0)
        return GammaCodes(log_shape, log_shape - log_mean, self)


@dataclass(frozen=True)
class ChiSquared(Gamma):
    """Chi-squared posterior with independent components; the prior has 2 degrees.

    References
    ----------
    D. P. Kingma and M. Welling, "Auto-Encoding Variational Bayes", ICLR 2014,
    section 2.4, composition.

    Examples
    --------
    >>> from skvae.posteriors import ChiSquared
    >>> ChiSquared()
    ChiSquared()
    """

    log_mean: ClassVar[float] = math.log(2) - EULER
    can_start_linear: ClassVar[bool] = False

    def n_outputs(self, n_components: int) -> tuple[int, int]:
        return n_components, 0

    def __call__(self, locations: Tensor, others: Tensor) -> Codes:
        log_shape = bounded(locations, *_LOG_SHAPE)
        log_rate = torch.full_like(log_shape, -math.log(2))
        return GammaCodes(log_shape, log_rate, self)


@dataclass(frozen=True)
class GammaCodes(Codes):
    """Independent gamma components, for each row."""

    log_shape: Tensor
    log_rate: Tensor
    family: Posterior

    @property
    def mean(self) -> Tensor:
        return (self.log_shape - self.log_rate).exp()

    def rsample(self, noise: Tensor) -> Tensor:
        drawn = standard_gamma(self.log_shape.exp(), noise)
        return (drawn * (-self.log_rate).exp()).clamp_min(_LEAST)

    def log_prob(self, z: Tensor) -> Tensor:
        shape, logarithm = self.log_shape.exp(), z.log()
        terms = shape * self.log_rate - torch.lgamma(shape) - z * self.log_rate.exp()
        return (terms + (shape - 1) * logarithm).sum(-1)

    def kl_divergence(self, prior: priors.Prior) -> Tensor | None:
        if prior.is_standard_of(type(self.family)):
            standard = cast(GammaCodes, self.family.standard(1, self.log_shape))
            prior = priors.Distribution(standard.as_torch())
        return priors.closed_kl(self.as_torch(), prior)

    def as_torch(self) -> torch.distributions.Gamma:
        """The same, as torch has it."""
        parts = self.log_shape.exp(), self.log_rate.exp()
        return torch.distributions.Gamma(*parts, validate_args=False)


@dataclass(frozen=True)
class Beta(Posterior):
    """Beta posterior with independent components; its prior is uniform on (0, 1).

    References
    ----------
    M. Figurnov, S. Mohamed and A. Mnih, "Implicit Reparameterization Gradients",
    NeurIPS 2018. Draws are shares of two gamma draws.

    Examples
    --------
    >>> from skvae.posteriors import Beta
    >>> Beta()
    Beta()
    """

    support: ClassVar[str] = "unit interval"

    def n_noise(self, n_components: int) -> int:
        return 2 * n_components

    def contains(self, Z: np.ndarray) -> np.ndarray:
        return (Z > 0) & (Z < 1)

    def __call__(self, locations: Tensor, others: Tensor) -> Codes:
        shapes = locations + others, others - locations
        return BetaCodes(*(bounded(part, *_LOG_SHAPE).exp() for part in shapes))


@dataclass(frozen=True)
class BetaCodes(Codes):
    """Independent beta components, for each row."""

    first: Tensor
    second: Tensor

    @property
    def mean(self) -> Tensor:
        return self.first / (self.first + self.second)

    def rsample(self, noise: Tensor) -> Tensor:
        both = torch.cat([self.first, self.second], -1)
        first, second = standard_gamma(both, noise).chunk(2, -1)
        return (first / (first + second)).clamp(_MARGIN, 1 - _MARGIN)

    def log_prob(self, z: Tensor) -> Tensor:
        return self.as_torch().log_prob(z).sum(-1)

    def kl_divergence(self, prior: priors.Prior) -> Tensor | None:
        if prior.is_standard_of(Beta):
            one = self.first.new_ones(())
            prior = priors.Distribution(torch.distributions.Beta(one, one))
        return priors.closed_kl(self.as_torch(), prior)

    def as_torch(self) -> torch.distributions.Beta:
        """The same, as torch has it."""
        return torch.distributions.Beta(self.first, self.second, validate_args=False)


@dataclass(frozen=True)
class Dirichlet(Posterior):
    """Dirichlet posterior: codes are shares that sum to 1. Its prior is uniform.

    References
    ----------
    W. Joo et al., "Dirichlet Variational Autoencoder", Pattern Recognition 107 (2020).
    M. Figurnov, S. Mohamed and A. Mnih, "Implicit Reparameterization Gradients",
    NeurIPS 2018. Draws are shares of gamma draws.

    Examples
    --------
    >>> from skvae.posteriors import Dirichlet
    >>> Dirichlet()
    Dirichlet()
    """

    support: ClassVar[str] = "simplex"

    def n_outputs(self, n_components: int) -> tuple[int, int]:
        return n_components, 0

    def contains(self, Z: np.ndarray) -> np.ndarray:
        sums = abs(Z.sum(1, keepdims=True) - 1) < 1e-3
        return (Z >= 0) & sums

    def __call__(self, locations: Tensor, others: Tensor) -> Codes:
        return DirichletCodes(bounded(locations, *_LOG_SHAPE).exp())


@dataclass(frozen=True)
class DirichletCodes(Codes):
    """Shares of components, for each row."""

    concentration: Tensor

    @property
    def mean(self) -> Tensor:
        return self.concentration / self.concentration.sum(-1, keepdim=True)

    def rsample(self, noise: Tensor) -> Tensor:
        drawn = standard_gamma(self.concentration, noise)
        shares = drawn / drawn.sum(-1, keepdim=True)
        shares = shares.clamp_min(_MARGIN)
        return shares / shares.sum(-1, keepdim=True)

    def log_prob(self, z: Tensor) -> Tensor:
        return self.as_torch().log_prob(z)

    def kl_divergence(self, prior: priors.Prior) -> Tensor | None:
        if prior.is_standard_of(Dirichlet):
            ones = torch.ones_like(self.concentration[:1])
            prior = priors.Distribution(torch.distributions.Dirichlet(ones[0]))
        return priors.closed_kl(self.as_torch(), prior)

    def as_torch(self) -> torch.distributions.Dirichlet:
        """The same, as torch has it."""
        return torch.distributions.Dirichlet(self.concentration, validate_args=False)


def _inverse_trigamma(values: Tensor) -> Tensor:
    """Newton's method, from where trigamma is about 1 / shape + 1 / (2 shape^2)."""
    shape = 0.5 + 1 / values
    for _ in range(10):
        found = torch.polygamma(1, shape)
        shape = shape + found * (1 - found / values) / torch.polygamma(2, shape)
    return shape


#: Shares stay this far from 0 and 1, where densities may be infinite.
_MARGIN = 1e-6
