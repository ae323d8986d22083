"""The normal likelihood and its relatives: heavier tails, and logarithms."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from skvae.core.arrays import (
    LARGEST_SOFTPLUS,
    Array,
    ValueAndGradient,
    column_sums,
    namespace,
    row_sums,
    sigmoid,
    softplus,
)
from skvae.likelihoods.base import Columns, Likelihood, LinearStart
from skvae.likelihoods.special import HALF_LOG_2PI, LARGEST_LOGARITHM
from skvae.settings import Shapes

__all__ = ["Gaussian", "Laplace", "LogNormal", "StudentT"]


@dataclass(frozen=True)
class Gaussian(Likelihood):
    """Normal distribution of each column around the decoder's mean.

    Parameters
    ----------
    scale : float or {"shared", "feature", "conditional"}, default="conditional"
        Standard deviation of the noise, in units of the standardised columns.

        - a positive float: fixed, the tutorials' sigma_dec;
        - ``"shared"``: one learned number, the noise of probabilistic PCA;
        - ``"feature"``: one learned number a column, the noise of factor analysis;
        - ``"conditional"``: a second head of the decoder, so that the noise depends
          on the code.
    floor : float, default=0.05
        Lower bound of a learned scale, in units of the standardised columns. Without
        it the density of repeated or constant values is unbounded. The upper bound is
        1e30 more than that.

    Raises
    ------
    ValueError
        If `scale` is none of the above or `floor` is not positive.

    References
    ----------
    D. P. Kingma and M. Welling, "Auto-Encoding Variational Bayes", ICLR 2014,
    appendix C.2.

    Examples
    --------
    >>> from skvae.likelihoods import Gaussian
    >>> Gaussian("shared")
    Gaussian(scale='shared', floor=0.05)
    """

    scale: float | Literal["shared", "feature", "conditional"] = "conditional"
    floor: float = 0.05

    #: Variance of the noise where its scale is 1, as far as the start goes.
    _unit_variance: ClassVar[float] = 1.0

    def __post_init__(self) -> None:
        name = type(self).__name__
        learned = ("shared", "feature", "conditional")
        scale: Any = self.scale
        fixed = isinstance(scale, Real) and not isinstance(scale, bool)
        if not (scale in learned or (fixed and 0 < scale < math.inf)):
            raise ValueError(
                f"scale of {name} must be a positive float or one of {learned}, "
                f"got {self.scale!r}"
            )
        if not (isinstance(self.floor, Real) and 0 < self.floor < math.inf):
            raise ValueError(
                f"floor of {name} must be a positive float, got {self.floor!r}"
            )

    @property
    def robust(self) -> Likelihood:
        return StudentT(self.scale, self.floor)

    @property
    def known_variance(self) -> float | None:  # type: ignore[override]  # follows scale
        """Noise variance of a fixed scale, in squared standardised units; or None."""
        if isinstance(self.scale, str):
            return None
        return self._unit_variance * float(self.scale) ** 2

    @property
    def least_variance(self) -> float:  # type: ignore[override]  # follows floor
        """Least noise variance to start from, in squared standardised units."""
        # Above the floor by a margin: at the floor itself the gradient vanishes.
        return self._unit_variance * (1.1 * self.floor) ** 2

    def n_outputs(self, n_features: int) -> tuple[int, int]:
        return n_features, n_features if self.scale == "conditional" else 0

    def own_shapes(self, n_features: int) -> Shapes:
        n_scales = {"shared": 1, "feature": n_features}.get(str(self.scale))
        return {"raw_scale": (n_scales,)} if n_scales else {}

    def start(
        self,
        mean: Tensor,
        variance: Tensor,
        loadings: Tensor,
        residual_variance: Tensor,
    ) -> LinearStart:
        nothing = mean.new_empty(0)
        if self.known_variance is not None:
            noise = torch.full_like(residual_variance, self.known_variance)
            return LinearStart(loadings, mean, nothing, {}, noise)
        if self.scale == "shared":
            residual_variance = residual_variance.mean(0, keepdim=True)
        noise = residual_variance.clamp_min(self.least_variance)
        scale = (noise / self._unit_variance).sqrt()
        raw_scale = _inverse_softplus(scale - self.floor)
        if self.scale == "conditional":
            return LinearStart(loadings, mean, raw_scale, {}, noise)
        own = {"raw_scale": raw_scale}
        return LinearStart(loadings, mean, nothing, own, noise.expand_as(mean))

    def __call__(
        self, locations: Tensor, others: Tensor, own: Mapping[str, Tensor]
    ) -> Columns:
        return self._normal(locations, others, own)

    def _normal(
        self, locations: Tensor, others: Tensor, own: Mapping[str, Tensor]
    ) -> "GaussianColumns":
        if self.scale == "conditional":
            return GaussianColumns(locations, self._above_floor(others))
        if self.known_variance is None:
            return GaussianColumns(locations, self._above_floor(own["raw_scale"]))
        return GaussianColumns(locations, locations.new_tensor(self.scale))

    def value_and_gradient(
        self,
        locations: Array,
        others: Array,
        own: Mapping[str, Array],
        targets: Array,
        observed: Array | None,
    ) -> ValueAndGradient[Array]:
        scale = self._scale(locations, others, own)
        inverse = 1 / scale
        standardized = targets - locations
        standardized *= inverse
        if observed is not None:
            standardized *= observed
        squares = standardized * standardized
        constant = namespace(locations).log(scale)
        constant += HALF_LOG_2PI
        log_prob = -0.5 * row_sums(squares) - _of_row(constant, observed, targets)
        standardized *= inverse
        if self.known_variance is not None:
            return log_prob, standardized, others, {}
        squares -= 1 if observed is None else observed
        d_others, d_own = self._through_scale(squares, inverse, others, own)
        return log_prob, standardized, d_others, d_own

    def _scale(
        self, locations: Array, others: Array, own: Mapping[str, Array]
    ) -> Array:
        """Scales that broadcast to the columns, of arrays or tensors."""
        if self.known_variance is not None:
            return namespace(locations).full_like(locations[..., :1], self.scale)
        raw = others if self.scale == "conditional" else own["raw_scale"]
        return softplus(raw) + self.floor

    def _through_scale(
        self,
        d_log_scale: Array,
        inverse: Array,
        others: Array,
        own: Mapping[str, Array],
    ) -> tuple[Array, dict[str, Array]]:
        """Gradients of the raw scales, others and own, from that of each logarithm."""
        if self.scale == "conditional":
            d_log_scale *= inverse
            d_log_scale *= sigmoid(others)
            return d_log_scale, {}
        raw_scale = own["raw_scale"]
        total = column_sums(d_log_scale)[..., None, :] * inverse
        if self.scale == "shared":
            total = total.sum(-1)[..., None]
        return others, {
            "raw_scale": total.reshape(raw_scale.shape) * sigmoid(raw_scale)
        }

    def _above_floor(self, raw_scale: Tensor) -> Tensor:
        return self.floor + functional.softplus(raw_scale).clamp(max=LARGEST_SOFTPLUS)


class GaussianColumns(NamedTuple):
    """Independent normal columns."""

    mean: Tensor
    scale: Tensor

    def log_prob(self, targets: Tensor) -> Tensor:
        standardized = (targets - self.mean) / self.scale
        return -0.5 * standardized.square() - (self.scale.log() + HALF_LOG_2PI)

    def sample(self, generator: torch.Generator) -> Tensor:
        mean = self.mean
        noise = torch.randn(
            mean.shape, generator=generator, dtype=mean.dtype, device=mean.device
        )
        return mean + self.scale * noise


@dataclass(frozen=True)
class StudentT(Gaussian):
    """Student's t distribution of each column around the decoder's mean.

    A cell far out costs the logarithm of its distance, and not the square.

    Parameters
    ----------
    scale : float or {"shared", "feature", "conditional"}, default="conditional"
        Scale of the noise, in units of the standardised columns: see `Gaussian`. The
        standard deviation is sqrt(df / (df - 2)) times as large.
    floor : float, default=0.05
        Lower bound of a learned scale, in units of the standardised columns.
    df : float, default=4.0
        Degrees of freedom, above 2: the fewer, the heavier the tails.

    Raises
    ------
    ValueError
        If `df` is not above 2, and as `Gaussian` does.

    References
    ----------
    K. L. Lange, R. J. A. Little and J. M. G. Taylor, "Robust statistical modeling using
    the t distribution", JASA 84 (1989).

    Examples
    --------
    >>> from skvae.likelihoods import StudentT
    >>> StudentT("feature")
    StudentT(scale='feature', floor=0.05, df=4.0)
    """

    df: float = 4.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (isinstance(self.df, Real) and 2 < self.df < math.inf):
            raise ValueError(f"df of StudentT must be a float above 2, got {self.df!r}")

    @property
    def robust(self) -> Likelihood:
        return self

    def __call__(
        self, locations: Tensor, others: Tensor, own: Mapping[str, Tensor]
    ) -> Columns:
        return StudentTColumns(*self._normal(locations, others, own), self.df)

    # mypy reads `Array` of the alias as a type of its own.
    value_and_gradient = Likelihood.value_and_gradient  # type: ignore[assignment]


class StudentTColumns(NamedTuple):
    """Independent columns with Student-t noise."""

    mean: Tensor
    scale: Tensor
    df: float

    def log_prob(self, targets: Tensor) -> Tensor:
        standardized = (targets - self.mean) / self.scale
        tails = torch.log1p(standardized.square() / self.df) * (-0.5 * (self.df + 1))
        return tails - self.scale.log() + self._log_constant

    @property
    def _log_constant(self) -> float:
        half = self.df / 2
        at_half = math.lgamma(half + 0.5) - math.lgamma(half)
        return at_half - 0.5 * math.log(self.df * math.pi)

    def sample(self, generator: torch.Generator) -> Tensor:
        mean = self.mean
        noise = torch.randn(
            mean.shape, generator=generator, dtype=mean.dtype, device=mean.device
        )
        half = torch.full_like(mean, self.df / 2)
        chi_squared = 2 * torch._standard_gamma(half, generator=generator)
        return mean + self.scale * noise * (self.df / chi_squared).sqrt()


@dataclass(frozen=True)
class Laplace(Gaussian):
    """Two exponentials back to back, around the decoder's location.

    A cell far out costs its distance, and not the square: the location of best fit is
    a median and not a mean.

    Parameters
    ----------
    scale : float or {"shared", "feature", "conditional"}, default="conditional"
        Mean distance of a cell from its location, in units of the standardised
        columns: see `Gaussian`. The standard deviation is sqrt(2) times as large.
    floor : float, default=0.05
        Lower bound of a learned scale, in units of the standardised columns.

    Raises
    ------
    ValueError
        As `Gaussian` does.

    References
    ----------
    S. Kotz, T. J. Kozubowski and K. Podgorski, "The Laplace Distribution and
    Generalizations" (2001), section 2.1.

    Examples
    --------
    >>> from skvae.likelihoods import Laplace
    >>> Laplace("feature")
    Laplace(scale='feature', floor=0.05)
    """

    _unit_variance: ClassVar[float] = 2.0
    robust = Likelihood.robust

    def __call__(
        self, locations: Tensor, others: Tensor, own: Mapping[str, Tensor]
    ) -> Columns:
        return LaplaceColumns(*self._normal(locations, others, own))

    def value_and_gradient(
        self,
        locations: Array,
        others: Array,
        own: Mapping[str, Array],
        targets: Array,
        observed: Array | None,
    ) -> ValueAndGradient[Array]:
        xp = namespace(locations)
        scale = self._scale(locations, others, own)
        inverse = 1 / scale
        difference = targets - locations
        distance = abs(difference) * inverse
        d_locations = xp.sign(difference) * inverse
        if observed is not None:
            distance *= observed
            d_locations *= observed
        log_prob = -row_sums(distance) - _of_row(xp.log(2 * scale), observed, targets)
        if self.known_variance is not None:
            return log_prob, d_locations, others, {}
        distance -= 1 if observed is None else observed
        d_others, d_own = self._through_scale(distance, inverse, others, own)
        return log_prob, d_locations, d_others, d_own


class LaplaceColumns(NamedTuple):
    """Independent columns with Laplace noise."""

    mean: Tensor
    scale: Tensor

    def log_prob(self, targets: Tensor) -> Tensor:
        return -(targets - self.mean).abs() / self.scale - (2 * self.scale).log()

    def sample(self, generator: torch.Generator) -> Tensor:
        # The difference of two exponential draws.
        above, below = (
            torch.empty_like(self.mean).exponential_(generator=generator)
            for _ in range(2)
        )
        return self.mean + self.scale * (above - below)


@dataclass(frozen=True)
class LogNormal(Gaussian):
    """Positive numbers whose logarithm is normal around the decoder's location.

    Parameters
    ----------
    scale : float or {"shared", "feature", "conditional"}, default="conditional"
        Standard deviation of the logarithm, without a unit: see `Gaussian`.
    floor : float, default=0.05
        Lower bound of a learned scale, without a unit: a twentieth of the value itself.

    Raises
    ------
    ValueError
        If `scale` is none of the above or `floor` is not positive.

    References
    ----------
    N. L. Johnson, S. Kotz and N. Balakrishnan, "Continuous Univariate Distributions",
    volume 1 (1994), chapter 14.

    Examples
    --------
    >>> from skvae.likelihoods import LogNormal
    >>> LogNormal()
    LogNormal(scale='conditional', floor=0.05)
    """

    codec: ClassVar[str] = "positive"
    support: ClassVar[str] = "the positive numbers"
    robust = Likelihood.robust

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
        # Inputs are standardised logarithms; the locations are logarithms as they are.
        spread = variance.sqrt()
        start = super().start(
            mean, variance, loadings * spread, residual_variance * variance
        )
        return start._replace(variance=start.variance / variance.clamp_min(1e-12))

    def __call__(
        self, locations: Tensor, others: Tensor, own: Mapping[str, Tensor]
    ) -> Columns:
        return LogNormalColumns(self._normal(locations, others, own))

    # The normal gradient is that of the logarithms, which `log_prob` takes.
    # mypy reads `Array` of the alias as a type of its own.
    value_and_gradient = Likelihood.value_and_gradient  # type: ignore[assignment]


class LogNormalColumns(NamedTuple):
    """Independent log-normal columns."""

    logarithm: GaussianColumns

    @property
    def mean(self) -> Tensor:
        location, scale = self.logarithm
        return _positive(location + 0.5 * scale.square())

    def log_prob(self, targets: Tensor) -> Tensor:
        logarithm = targets.log()
        return self.logarithm.log_prob(logarithm) - logarithm

    def sample(self, generator: torch.Generator) -> Tensor:
        return _positive(self.logarithm.sample(generator))


def _positive(logarithm: Tensor) -> Tensor:
    """exp, neither infinite nor 0 where a number is far out."""
    return logarithm.clamp(-LARGEST_LOGARITHM, LARGEST_LOGARITHM).exp()


def _of_row(constant: Array, observed: Array | None, targets: Array) -> Array:
    """Sum over the observed cells of a row of what is constant in the targets."""
    if observed is not None:
        return row_sums(constant * observed)
    n_alike = targets.shape[-1] // constant.shape[-1]
    return n_alike * row_sums(constant)


def _inverse_softplus(value: Tensor) -> Tensor:
    return value + torch.log(-torch.expm1(-value))
