"""Likelihoods of columns that take one of a number of levels.

Their targets are codes: 0 for the first level, 1 for the next. Their `mean` is that of
the one-hot vector: the probabilities of the levels, column after column.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import groupby
from typing import ClassVar, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from skvae.core.arrays import Array, ValueAndGradient, on_tensors, row_sums
from skvae.core.interrupts import in_usual_modes
from skvae.likelihoods.base import Columns, Likelihood, LinearStart
from skvae.settings import Shapes

__all__ = ["Binned", "Categorical", "Identifier", "Ordinal"]

#: Columns with more levels than this are read through a learned embedding, so that
#: memory grows with the rows and not with rows times levels.
WIDE = 256


class _Levels(Likelihood):
    """What the families with levels share."""

    n_levels: tuple[int, ...]

    def with_levels(self, n_levels: Sequence[int]) -> Self:
        return replace(self, n_levels=tuple(int(n) for n in n_levels))

    def n_outputs(self, n_features: int) -> tuple[int, int]:
        return sum(self.n_levels), 0

    def n_means(self, n_features: int) -> int:
        return sum(self.n_levels)


@dataclass(frozen=True)
class Categorical(_Levels):
    """One of a number of unordered levels, with a logit for each as decoder output.

    Parameters
    ----------
    n_levels : tuple of int, default=()
        Number of levels of each column. The table fills it in.

    References
    ----------
    C. M. Bishop, "Pattern Recognition and Machine Learning" (2006), section 2.2.

    Examples
    --------
    >>> from skvae.likelihoods import Categorical
    >>> Categorical()
    Categorical(n_levels=())
    """

    n_levels: tuple[int, ...] = ()

    codec: ClassVar[str] = "categories"
    support: ClassVar[str] = "the levels seen in fit"
    inputs_are_indicators: ClassVar[bool] = True
    #: Also the least probability by which a slope in x becomes one in the logits.
    least_variance: ClassVar[float] = 0.3

    def n_inputs(self, n_features: int) -> int:
        return sum(n for n in self.n_levels if n <= WIDE)

    def start(
        self,
        mean: Tensor,
        variance: Tensor,
        loadings: Tensor,
        residual_variance: Tensor,
    ) -> LinearStart:
        # To first order in z, p_a(1 + l_a z) has the slope p_a l_a.
        narrow = torch.cat(
            [mean.new_full((n,), n <= WIDE, dtype=torch.bool) for n in self.n_levels]
        )
        weight = loadings.new_zeros((len(loadings), len(mean)))
        weight[:, narrow] = loadings / mean[narrow].clamp_min(self.least_variance)
        noise = residual_variance.clamp_min(self.least_variance)
        return LinearStart(weight, mean.log(), mean.new_empty(0), {}, noise)

    def __call__(
        self, locations: Tensor, others: Tensor, own: Mapping[str, Tensor]
    ) -> Columns:
        return LevelColumns(locations, self.n_levels)

    def value_and_gradient(
        self,
        locations: Array,
        others: Array,
        own: Mapping[str, Array],
        targets: Array,
        observed: Array | None,
    ) -> ValueAndGradient[Array]:
        if isinstance(locations, np.ndarray):
            log_prob, gradient = self._on_arrays(locations, targets, observed)
        else:
            log_prob, gradient = self._on_tensors(locations, targets, observed)
        return log_prob, gradient, others, {}

    def _on_tensors(
        self, locations: Tensor, targets: Tensor, observed: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        columns = LevelColumns(locations, self.n_levels)
        log_prob, normalizer = columns.log_prob_and_normalizer(targets)
        if observed is not None:
            log_prob.mul_(observed)
        owner = columns.owner
        gradient = (locations - normalizer.index_select(-1, owner)).exp_().neg_()
        codes = targets.long() + columns.first
        one = torch.ones((), dtype=gradient.dtype, device=gradient.device)
        gradient.scatter_add_(-1, codes, one.expand(codes.shape))
        if observed is not None:
            gradient.mul_(observed.index_select(-1, owner))
        return log_prob.sum(-1), gradient

    def _on_arrays(
        self, locations: np.ndarray, targets: np.ndarray, observed: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The same: on the CPU sums over columns as products take a quarter of it."""
        first, spread = _layout(self.n_levels, locations.dtype.name)
        largest = np.maximum.reduceat(locations, first, axis=-1)
        gradient = locations - largest @ spread
        place = targets.astype(np.int64) + first
        log_prob = np.take_along_axis(gradient, place, -1)
        np.exp(gradient, out=gradient)
        total = gradient @ spread.T
        log_prob -= np.log(total)
        if observed is None:
            observed = np.ones_like(total)
        gradient *= (-observed / total) @ spread
        chosen = np.take_along_axis(gradient, place, -1) + observed
        np.put_along_axis(gradient, place, chosen, -1)
        log_prob *= observed
        return row_sums(log_prob), gradient


@lru_cache(maxsize=32)
def _layout(n_levels: tuple[int, ...], dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """The first level of each column, and which levels are whose: (columns, levels)."""
    sizes = np.array(n_levels)
    spread = np.repeat(np.eye(len(sizes), dtype=dtype), sizes, axis=1)
    return np.cumsum(sizes) - sizes, spread


class LevelColumns:
    """Independent columns of levels, by unnormalised logits laid side by side.

    Parameters
    ----------
    logits : Tensor of shape (..., n_rows, sum(n_levels))
    n_levels : tuple of int
    """

    def __init__(self, logits: Tensor, n_levels: tuple[int, ...]) -> None:
        self.logits = logits
        self.n_levels = n_levels
        #: Position of the first level of each column, and the column of each level.
        self.first, self.owner = _places(n_levels, logits.device)

    @property
    def mean(self) -> Tensor:
        """Probability of each level, (..., n_rows, sum(n_levels))."""
        return (self.logits - self._normalizer()[..., self.owner]).exp()

    def log_prob_and_normalizer(self, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probabilities, and each column's log-sum-exp of its logits."""
        normalizer = self._normalizer()
        codes = (targets.long() + self.first).expand(normalizer.shape)
        return self.logits.gather(-1, codes) - normalizer, normalizer

    def log_prob(self, targets: Tensor) -> Tensor:
        return self.log_prob_and_normalizer(targets)[0]

    def sample(self, generator: torch.Generator) -> Tensor:
        drawn = [
            torch.multinomial(logits.softmax(-1), 1, generator=generator)
            for logits in self.logits.split(self.n_levels, -1)
        ]
        return torch.cat(drawn, -1).to(self.logits)

    def _normalizer(self) -> Tensor:
        # Neighbours with equally many levels are summed together.
        runs, first = [], 0
        for n, group in groupby(self.n_levels):
            n_columns = len(list(group))
            logits = self.logits[..., first : first + n * n_columns]
            runs.append(logits.unflatten(-1, (n_columns, n)).logsumexp(-1))
            first += n * n_columns
        return torch.cat(runs, -1)


@lru_cache(maxsize=32)
@in_usual_modes
def _places(n_levels: tuple[int, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """Made once: sending them to a device would make it wait at every step."""
    sizes = torch.tensor(n_levels, device=device)
    owner = torch.arange(len(n_levels), device=device).repeat_interleave(sizes)
    return sizes.cumsum(0) - sizes, owner


@dataclass(frozen=True)
class Binned(_Levels):
    """A number that repeats, piles up or has many modes: a histogram given the code.

    The column's range is cut into bins of about equal mass, and values that hold a
    bin's mass by themselves become *atoms*. The decoder gives each bin and atom a
    logit. The density of x is its bin's probability over the bin's width, and the
    probability of an atom for an atom, so that scores remain log p(x).

    Parameters
    ----------
    n_bins : int, default=100
        Number of bins, about. A column with no more distinct values than this has
        atoms only.
    n_levels : tuple of int, default=()
        Number of bins and atoms of each column. The table fills it in.

    Raises
    ------
    ValueError
        If `n_bins` is below 2.

    References
    ----------
    B. Uria, I. Murray and H. Larochelle, "RNADE", NeurIPS 2013, compare such heads;
    A. van den Oord et al., "Pixel Recurrent Neural Networks", ICML 2016, section 3.1.

    Examples
    --------
    >>> from skvae.likelihoods import Binned
    >>> Binned(n_bins=50)
    Binned(n_bins=50, n_levels=())
    """

    n_bins: int = 100
    n_levels: tuple[int, ...] = ()

    codec: ClassVar[str] = "bins"
    least_variance: ClassVar[float] = 0.3

    def __post_init__(self) -> None:
        if not self.n_bins >= 2:
            raise ValueError(f"n_bins of Binned must be at least 2, got {self.n_bins}")

    def start(
        self,
        mean: Tensor,
        variance: Tensor,
        loadings: Tensor,
        residual_variance: Tensor,
    ) -> LinearStart:
        # Inputs are normal scores s. Around a mean m(z) with noise r, the density of s
        # is N(s; m, r) = N(s; 0, 1) exp(s m / r - s^2 (1 / r - 1) / 2 + constant).
        noise = residual_variance.clamp(self.least_variance, 1.0)
        scores = torch.cat([_normal_scores(p) for p in mean.split(self.n_levels)])
        sizes = torch.tensor(self.n_levels, device=noise.device)
        per_level = noise.repeat_interleave(sizes)
        slope = loadings.repeat_interleave(sizes, 1) * scores / per_level
        offset = mean.log() - scores.square() * (1 / per_level - 1) / 2
        return LinearStart(slope, offset, mean.new_empty(0), {}, noise)

    def __call__(
        self, locations: Tensor, others: Tensor, own: Mapping[str, Tensor]
    ) -> Columns:
        return BinnedColumns(locations, self.n_levels)

    value_and_gradient = Categorical.value_and_gradient
    _on_tensors, _on_arrays = Categorical._on_tensors, Categorical._on_arrays


class BinnedColumns(LevelColumns):
    """Independent columns of bins; targets are bin numbers."""

    def sample(self, generator: torch.Generator) -> Tensor:
        """Bin numbers, with the position inside the bin as the fraction."""
        codes = super().sample(generator)
        inside = torch.rand(
            codes.shape, generator=generator, dtype=codes.dtype, device=codes.device
        )
        return codes + inside


@dataclass(frozen=True)
class Ordinal(_Levels):
    """One of a number of ordered levels: a location and learned thresholds.

    The level is that of a latent number, the decoder's location plus logistic noise,
    among thresholds that are the column's own.

    Parameters
    ----------
    n_levels : tuple of int, default=()
        Number of levels of each column. The table fills it in.

    References
    ----------
    P. McCullagh, "Regression models for ordinal data", JRSS B 42 (1980), section 2.

    Examples
    --------
    >>> from skvae.likelihoods import Ordinal
    >>> Ordinal()
    Ordinal(n_levels=())
    """

    n_levels: tuple[int, ...] = ()

    codec: ClassVar[str] = "ordered"
    support: ClassVar[str] = "the levels seen in fit"
    least_variance: ClassVar[float] = 0.3

    def n_outputs(self, n_features: int) -> tuple[int, int]:
        return n_features, 0

    def own_shapes(self, n_features: int) -> Shapes:
        return {"raw_thresholds": (sum(self.n_levels) - n_features,)}

    def start(
        self,
        mean: Tensor,
        variance: Tensor,
        loadings: Tensor,
        residual_variance: Tensor,
    ) -> LinearStart:
        # The inputs are standardised codes; the noise is logistic, of sd 1.81.
        noise = residual_variance.clamp_min(self.least_variance)
        unit = _LOGISTIC_SD / noise.sqrt()
        thresholds = []
        for p, j in zip(mean.split(self.n_levels), range(len(unit)), strict=True):
            below = p.cumsum(0)[:-1].clamp(1e-4, 1 - 1e-4)
            spread = torch.hypot(
                unit.new_tensor(_LOGISTIC_SD), loadings[:, j].norm() * unit[j]
            )
            level = torch.special.ndtri(below) * spread
            gaps = level.diff().clamp_min(1e-3)
            thresholds.append(
                torch.cat([level[:1], gaps + torch.log(-torch.expm1(-gaps))])
            )
        own = {"raw_thresholds": torch.cat(thresholds)}
        nothing = mean.new_empty(0)
        return LinearStart(loadings * unit, torch.zeros_like(unit), nothing, own, noise)

    def __call__(
        self, locations: Tensor, others: Tensor, own: Mapping[str, Tensor]
    ) -> Columns:
        return LevelColumns(self._log_probabilities(locations, own), self.n_levels)

    def _log_probabilities(
        self, locations: Tensor, own: Mapping[str, Tensor]
    ) -> Tensor:
        raw = own["raw_thresholds"].split([n - 1 for n in self.n_levels], -1)
        columns = []
        for j, thresholds in enumerate(raw):
            location = locations[..., j : j + 1]
            if not thresholds.shape[-1]:
                columns.append(0 * location)
                continue
            gaps = functional.softplus(thresholds[..., 1:]) + _LEAST_GAP
            steps = torch.cat([thresholds[..., :1], gaps], -1)
            columns.append(_between(steps.cumsum(-1) - location, gaps))
        return torch.cat(columns, -1)


@dataclass(frozen=True)
class Identifier(_Levels):
    """A name or number that tells rows apart: every level as likely as the next.

    Where most levels occur once there is nothing to learn about them, and a model that
    tries learns the training rows by heart. The encoder does not read such a column
    either.

    Parameters
    ----------
    n_levels : tuple of int, default=()
        Number of levels of each column. The table fills it in.

    Examples
    --------
    >>> from skvae.likelihoods import Identifier
    >>> Identifier()
    Identifier(n_levels=())
    """

    n_levels: tuple[int, ...] = ()

    codec: ClassVar[str] = "identifiers"
    support: ClassVar[str] = "the levels seen in fit"

    def n_outputs(self, n_features: int) -> tuple[int, int]:
        return 0, 0

    def n_inputs(self, n_features: int) -> int:
        return 0

    def start(
        self,
        mean: Tensor,
        variance: Tensor,
        loadings: Tensor,
        residual_variance: Tensor,
    ) -> LinearStart:
        nothing = mean.new_empty(0)
        return LinearStart(loadings, nothing, nothing, {}, residual_variance)

    def __call__(
        self, locations: Tensor, others: Tensor, own: Mapping[str, Tensor]
    ) -> Columns:
        shape = (*locations.shape[:-1], sum(self.n_levels))
        return LevelColumns(locations.new_zeros(shape), self.n_levels)

    @on_tensors
    def value_and_gradient(
        self,
        locations: Tensor,
        others: Tensor,
        own: Mapping[str, Tensor],
        targets: Tensor,
        observed: Tensor | None,
    ) -> ValueAndGradient[Tensor]:
        log_levels = targets.new_tensor(self.n_levels).log()
        log_prob = -log_levels.expand(targets.shape)
        if observed is not None:
            log_prob = log_prob * observed
        return log_prob.sum(-1), locations, others, {}


_LOGISTIC_SD = 1.8138  # pi / sqrt(3)
#: Least distance of two thresholds: no level's probability is 0.
_LEAST_GAP = 1e-4


def _between(distances: Tensor, gaps: Tensor) -> Tensor:
    """Log-probabilities of logistic noise between neighbouring distances."""
    log_below = functional.logsigmoid(distances)
    log_above = functional.logsigmoid(-distances)
    # s(b) - s(a) = s(b) s(-a) (1 - exp(a - b))
    gap = torch.log(-torch.expm1(-gaps))
    middle = log_below[..., 1:] + log_above[..., :-1] + gap
    return torch.cat([log_below[..., :1], middle, log_above[..., -1:]], -1)


def _normal_scores(p: Tensor) -> Tensor:
    """Normal quantiles of the middle of each level's share."""
    return torch.special.ndtri((p.cumsum(0) - p / 2).clamp(1e-6, 1 - 1e-6))
