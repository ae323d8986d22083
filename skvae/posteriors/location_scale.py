"""Codes by a location and a scale: z = location + scale * noise.

The first road of Kingma and Welling (2014, section 2.4). A family is its standard
member: a density, a quantile function and three moments.
"""

import math
from dataclasses import dataclass, replace
from numbers import Real
from typing import ClassVar, cast

import torch
from scipy import special
from torch import Tensor
from torch.nn import functional

from skvae import priors
from skvae.posteriors.base import (
    EULER,
    LARGEST_LOGARITHM,
    Codes,
    Posterior,
    bounded,
    unbounded,
)
from skvae.posteriors.gaussian import linear_gaussian_start

__all__ = ["Cauchy", "Gumbel", "Laplace", "Logistic", "StudentT", "Uniform"]


class _LocationScale(Posterior):
    """What the families share; they say what their standard member is.

    Attributes
    ----------
    mean : float
        Mean of the standard member.
    variance : float
        Variance of the standard member.
    entropy : float
        Differential entropy of the standard member, in nats.
    widest : float
        Scale at which the family leaves out nothing of its standard normal prior.
    """

    prior: ClassVar[str] = "gaussian"
    can_start_linear: ClassVar[bool] = True
    mean: ClassVar[float] = 0.0
    variance: ClassVar[float]
    entropy: ClassVar[float]
    widest: ClassVar[float] = 1.0

    def standard(self, n_components: int, like: Tensor) -> Codes:
        unit = cast(LocationScaleCodes, self.unit(n_components, like))
        return replace(unit, log_scale=unit.log_scale + math.log(self.widest))

    def linear_start(
        self, loadings: Tensor, noise_variance: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        matrix, locations, scale = linear_gaussian_start(loadings, noise_variance)
        scale = scale / math.sqrt(self.variance)
        return matrix, locations - self.mean * scale, unbounded(scale.log())

    def log_density(self, noise: Tensor) -> Tensor:
        """Log-density of the standard member.

        Parameters
        ----------
        noise : Tensor of shape (..., n_components)
            Where.

        Returns
        -------
        log_density : Tensor of shape (..., n_components)
            Of each component, in nats.
        """
        raise NotImplementedError

    def __call__(self, locations: Tensor, others: Tensor) -> Codes:
        return LocationScaleCodes(locations, bounded(others), self)


@dataclass(frozen=True)
class LocationScaleCodes(Codes):
    """Independent components with a location and a scale, for each row."""

    location: Tensor
    log_scale: Tensor
    family: _LocationScale

    @property
    def mean(self) -> Tensor:
        if not self.family.mean:
            return self.location
        return self.location + self.family.mean * self.log_scale.exp()

    def rsample(self, noise: Tensor) -> Tensor:
        return self.location + self.log_scale.exp() * noise

    def log_prob(self, z: Tensor) -> Tensor:
        noise = (z - self.location) * (-self.log_scale).exp()
        return (self.family.log_density(noise) - self.log_scale).sum(-1)

    def kl_divergence(self, prior: priors.Prior) -> Tensor | None:
        if not isinstance(prior, priors.Gaussian):
            return None
        # Minus the entropy, minus E log p(z), which knows two moments of z alone.
        square = self.mean.square() + self.family.variance * (2 * self.log_scale).exp()
        entropy = self.family.entropy + self.log_scale
        return 0.5 * (square + math.log(2 * math.pi)) - entropy


@dataclass(frozen=True)
class Laplace(_LocationScale):
    """Laplace posterior with independent components.

    References
    ----------
    D. P. Kingma and M. Welling, "Auto-Encoding Variational Bayes", ICLR 2014,
    section 2.4, location-scale.

    Examples
    --------
    >>> from skvae.posteriors import Laplace
    >>> Laplace()
    Laplace()
    """

    variance: ClassVar[float] = 2.0
    entropy: ClassVar[float] = 1 + math.log(2)

    def carry(self, uniforms: Tensor) -> Tensor:
        centered = uniforms - 0.5
        return -centered.sign() * torch.log1p(-2 * centered.abs())

    def log_density(self, noise: Tensor) -> Tensor:
        return -noise.abs() - math.log(2)


@dataclass(frozen=True)
class Logistic(_LocationScale):
    """Logistic posterior with independent components.

    References
    ----------
    D. P. Kingma and M. Welling, "Auto-Encoding Variational Bayes", ICLR 2014,
    section 2.4, location-scale.

    Examples
    --------
    >>> from skvae.posteriors import Logistic
    >>> Logistic()
    Logistic()
    """

    variance: ClassVar[float] = math.pi**2 / 3
    entropy: ClassVar[float] = 2.0

    def carry(self, uniforms: Tensor) -> Tensor:
        return torch.logit(uniforms)

    def log_density(self, noise: Tensor) -> Tensor:
        return -noise - 2 * functional.softplus(-noise)


@dataclass(frozen=True)
class StudentT(_LocationScale):
    """Student-t posterior with independent components.

    Parameters
    ----------
    df : float, default=5.0
        Degrees of freedom, above 2.

    Raises
    ------
    ValueError
        If `df` is not above 2: the divergence from a normal prior is infinite there.

    References
    ----------
    D. P. Kingma and M. Welling, "Auto-Encoding Variational Bayes", ICLR 2014,
    section 2.4, location-scale.

    Examples
    --------
    >>> from skvae.posteriors import StudentT
    >>> StudentT(df=4)
    StudentT(df=4)
    """

    df: float = 5.0

    def __post_init__(self) -> None:
        if not (isinstance(self.df, Real) and 2 < self.df < math.inf):
            raise ValueError(f"df of StudentT must be a float above 2, got {self.df!r}")

    @property
    def variance(self) -> float:  # type: ignore[override]  # follows df
        """Variance of the standard member."""
        return self.df / (self.df - 2)

    @property
    def entropy(self) -> float:  # type: ignore[override]  # follows df
        """Differential entropy of the standard member, in nats."""
        half = (self.df + 1) / 2
        digammas = special.digamma(half) - special.digamma(self.df / 2)
        return float(half * digammas - self._log_constant)

    @property
    def _log_constant(self) -> float:
        at_half = math.lgamma((self.df + 1) / 2) - math.lgamma(self.df / 2)
        return at_half - 0.5 * math.log(self.df * math.pi)

    def carry(self, uniforms: Tensor) -> Tensor:
        quantiles = special.stdtrit(self.df, uniforms.numpy(force=True))
        return torch.from_numpy(quantiles).to(uniforms)

    def log_density(self, noise: Tensor) -> Tensor:
        tails = torch.log1p(noise.square() / self.df) * (-0.5 * (self.df + 1))
        return tails + self._log_constant


@dataclass(frozen=True)
class Uniform(_LocationScale):
    """Uniform posterior on an interval of each component.

    A posterior of codes under a normal prior has no bounds; this one has, so that more
    draws tighten the bound on log p(x) only as far as the interval reaches.

    References
    ----------
    D. P. Kingma and M. Welling, "Auto-Encoding Variational Bayes", ICLR 2014,
    section 2.4, location-scale.

    Examples
    --------
    >>> from skvae.posteriors import Uniform
    >>> Uniform()
    Uniform()
    """

    has_edges: ClassVar[bool] = True
    widest: ClassVar[float] = 4.0
    variance: ClassVar[float] = 1 / 3
    entropy: ClassVar[float] = math.log(2)

    def carry(self, uniforms: Tensor) -> Tensor:
        return 2 * uniforms - 1

    def __call__(self, locations: Tensor, others: Tensor) -> Codes:
        return UniformCodes(locations, bounded(others), self)


@dataclass(frozen=True)
class UniformCodes(LocationScaleCodes):
    """Independent components on intervals, for each row."""

    def log_prob(self, z: Tensor) -> Tensor:
        scale = self.log_scale.exp()
        # A draw at the end of the interval may be rounded to beyond it.
        rounding = 4 * torch.finfo(z.dtype).eps * (self.location.abs() + scale)
        outside = (z - self.location).abs() > scale + rounding
        log_density = -(self.log_scale + math.log(2)).expand_as(outside)
        return log_density.masked_fill(outside, -math.inf).sum(-1)


@dataclass(frozen=True)
class Gumbel(_LocationScale):
    """Gumbel posterior with independent components: skewed to the right.

    References
    ----------
    D. P. Kingma and M. Welling, "Auto-Encoding Variational Bayes", ICLR 2014,
    section 2.4, inverse CDF.

    Examples
    --------
    >>> from skvae.posteriors import Gumbel
    >>> Gumbel()
    Gumbel()
    """

    is_skewed: ClassVar[bool] = True
    mean: ClassVar[float] = EULER
    widest: ClassVar[float] = 2.0
    variance: ClassVar[float] = math.pi**2 / 6
    entropy: ClassVar[float] = 1 + EULER

    def carry(self, uniforms: Tensor) -> Tensor:
        return -torch.log(-torch.log(uniforms))

    def log_density(self, noise: Tensor) -> Tensor:
        return -noise - torch.exp((-noise).clamp(max=LARGEST_LOGARITHM))


@dataclass(frozen=True)
class Cauchy(_LocationScale):
    """Cauchy posterior with independent components, and a standard Cauchy prior.

    Such codes have no mean: `transform` gives their medians. The decoder reads arsinh
    of the codes, whose moments are finite, since the bound would be infinitely low
    under a decoder that is linear in the codes themselves.

    References
    ----------
    D. P. Kingma and M. Welling, "Auto-Encoding Variational Bayes", ICLR 2014,
    section 2.4, inverse CDF. F. Chyzak and F. Nielsen, "A closed-form formula for the
    Kullback-Leibler divergence between Cauchy distributions", 2019, for its divergence.

    Examples
    --------
    >>> from skvae.posteriors import Cauchy
    >>> Cauchy()
    Cauchy()
    """

    prior: ClassVar[str] = "standard"
    # The scale that a normal posterior would have, for want of a variance.
    variance: ClassVar[float] = 1.0

    def carry(self, uniforms: Tensor) -> Tensor:
        return torch.tan(math.pi * (uniforms - 0.5))

    def log_density(self, noise: Tensor) -> Tensor:
        return -math.log(math.pi) - torch.log1p(noise.square())

    def features(self, z: Tensor) -> Tensor:
        return torch.asinh(z)

    def __call__(self, locations: Tensor, others: Tensor) -> Codes:
        return CauchyCodes(locations, bounded(others), self)


@dataclass(frozen=True)
class CauchyCodes(LocationScaleCodes):
    """Independent Cauchy components, for each row."""

    def kl_divergence(self, prior: priors.Prior) -> Tensor | None:
        if not prior.is_standard_of(Cauchy):
            return None
        # F. Chyzak and F. Nielsen, 2019: log(((1 + s)^2 + m^2) / (4 s)).
        scale = self.log_scale.exp()
        squares = (1 + scale).square() + self.location.square()
        return squares.log() - math.log(4) - self.log_scale
