"""How columns are written for the model: one codec for each kind of likelihood.

A codec is fitted to a block of columns and writes their values twice: as *inputs*, what
the encoder network reads, and as *targets*, what the likelihood describes. Holes are
NaN and stay NaN. It turns targets and means back into values, and knows what densities
of targets become in the units of the values.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, Self, TypeAlias

import numpy as np
from scipy import special
from sklearn.preprocessing import StandardScaler

__all__ = ["CODECS", "FURTHEST", "Codec", "Standardized", "TooLarge"]

#: Standardised values further out than this are read as this far out: sums of their
#: squares, over any floor, then stay finite in either precision.
FURTHEST = {"float32": 1e12, "float64": 1e140}

#: What codecs are fitted to, see `Codec.fit`.
Chunks: TypeAlias = Callable[[], Iterator[np.ndarray]]
Levels: TypeAlias = Sequence[Any]
#: Inputs and targets.
Written: TypeAlias = tuple[np.ndarray, np.ndarray]


class Codec:
    """Base of the codecs: the contract, and what most of them share.

    Parameters
    ----------
    **state : dict
        Plain data, from `get_state` or `fit`.
    """

    #: Whether inputs are codes of levels, to be spread out, and not numbers.
    writes_codes: ClassVar[bool] = False
    #: Whether the encoder network reads the columns at all.
    is_read: ClassVar[bool] = True
    #: Whether values that are none of the levels are refused.
    has_levels: ClassVar[bool] = False
    #: The target that stands for a hole: any that the likelihood can describe.
    blank: ClassVar[float] = 0.0

    #: What inputs are centred by and scaled by, where they are.
    offset: np.ndarray
    scale: np.ndarray
    #: Of each column, the shares of its levels, where there are levels.
    shares: list[np.ndarray]

    def __init__(self, **state: Any) -> None:
        vars(self).update(state)

    @classmethod
    def fit(
        cls, chunks: Chunks, n_columns: int, likelihood: Any, levels: Levels
    ) -> Self:
        """A codec for some columns.

        Parameters
        ----------
        chunks : callable
            Called with nothing: an iterator over arrays of shape (n_rows, n_columns),
            float64, in the units of X, with NaN for holes. The arrays may be changed.
        n_columns : int
        likelihood : Likelihood
        levels : list
            For each column its levels, as numbers in ascending order, or None.
        """
        raise NotImplementedError

    def get_state(self) -> dict[str, Any]:
        """Plain data from which the codec is made again."""
        return dict(vars(self))

    def n_levels(self) -> list[int] | None:
        """Number of levels of each column, or None."""
        return None

    def levels_of(self, place: int) -> list[Any] | None:
        """The levels of a column, given by its place in the block, or None."""
        return None

    def encode(self, values: np.ndarray, furthest: float) -> Written:
        """Inputs and targets, both of shape (n_rows, n_columns), maybe one array.

        Numbers beyond `furthest` standard deviations are read as that far out.
        """
        raise NotImplementedError

    def decode(self, targets: np.ndarray) -> np.ndarray:
        """Targets, such as a likelihood draws, as values."""
        return targets

    def points(self, means: np.ndarray, /) -> np.ndarray:
        """What the likelihood's means stand for: (n_rows, n_means) to values."""
        return means

    def modes(self, means: np.ndarray) -> np.ndarray:
        """The same, but the likelier of two levels and not their mean."""
        return self.points(means)

    def log_jacobian(self, values: np.ndarray) -> np.ndarray:
        """What the columns add to a log-density of targets.

        Of shape (n_columns,), or (n_rows, n_columns) where it depends on the value.
        """
        return np.zeros(values.shape[1])

    def unknown(self, values: np.ndarray) -> np.ndarray:
        """Mask of the values that are none of the levels, where there are levels."""
        raise NotImplementedError

    def _standardize(self, values: np.ndarray, furthest: float) -> np.ndarray:
        standardized = values - self.offset
        standardized /= self.scale
        return np.clip(standardized, -furthest, furthest, out=standardized)


def _moments(
    chunks: Chunks,
    n_columns: int,
    transform: Callable[[np.ndarray], np.ndarray] | None = None,
    standardize: bool = True,
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Means and scales of columns; a constant one has 1, the mean of none is NaN."""
    scaler = StandardScaler()
    # A variance beyond float64 is infinite, that of no number at all is NaN.
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        for values in chunks():
            scaler.partial_fit(values if transform is None else transform(values))
    empty = np.broadcast_to(scaler.n_samples_seen_, n_columns) == 0
    scale = np.where(empty, 1.0, scaler.scale_) if standardize else np.ones(n_columns)
    variance = np.where(empty, 0.0, scaler.var_)
    return {"offset": np.where(empty, np.nan, scaler.mean_), "scale": scale}, variance


class Standardized(Codec):
    """Numbers, centred and scaled to unit variance."""

    @classmethod
    def fit(
        cls,
        chunks: Chunks,
        n_columns: int,
        likelihood: Any,
        levels: Levels,
        standardize: bool = True,
    ) -> Self:
        state, variance = _moments(chunks, n_columns, standardize=standardize)
        if not np.isfinite(variance).all():
            raise TooLarge(int(np.argmin(np.isfinite(variance))))
        return cls(**state)

    def encode(self, values: np.ndarray, furthest: float) -> Written:
        inputs = self._standardize(values, furthest)
        return inputs, inputs

    def decode(self, targets: np.ndarray) -> np.ndarray:
        return targets * self.scale + self.offset

    points = decode

    def log_jacobian(self, values: np.ndarray) -> np.ndarray:
        return -np.log(self.scale)


class TooLarge(ValueError):
    """A column, given by its place in the block, whose variance is not a float64."""


class Positive(Codec):
    """Positive numbers over their geometric mean; inputs are scaled logarithms."""

    blank: ClassVar[float] = 1.0

    @classmethod
    def fit(
        cls, chunks: Chunks, n_columns: int, likelihood: Any, levels: Levels
    ) -> Self:
        return cls(**_moments(chunks, n_columns, np.log)[0])

    def encode(self, values: np.ndarray, furthest: float) -> Written:
        logarithms = np.log(values)
        inputs = self._standardize(logarithms, furthest)
        logarithms -= self.offset
        return inputs, np.exp(logarithms.clip(-_LARGEST_LOGARITHM, _LARGEST_LOGARITHM))

    def decode(self, targets: np.ndarray) -> np.ndarray:
        return targets * np.exp(self.offset)

    points = decode

    def log_jacobian(self, values: np.ndarray) -> np.ndarray:
        return -self.offset


#: exp of it is finite in float32, and so is the inverse.
_LARGEST_LOGARITHM = 80.0


class Counts(Codec):
    """Counts as they are; inputs are standardised log1p counts."""

    @classmethod
    def fit(
        cls, chunks: Chunks, n_columns: int, likelihood: Any, levels: Levels
    ) -> Self:
        return cls(**_moments(chunks, n_columns, np.log1p)[0])

    def encode(self, values: np.ndarray, furthest: float) -> Written:
        return self._standardize(np.log1p(values), furthest), values.copy()


class UnitInterval(Codec):
    """Numbers from 0 to 1 as they are; inputs are standardised."""

    @classmethod
    def fit(
        cls, chunks: Chunks, n_columns: int, likelihood: Any, levels: Levels
    ) -> Self:
        return cls(**_moments(chunks, n_columns)[0])

    def encode(self, values: np.ndarray, furthest: float) -> Written:
        return self._standardize(values, furthest), values.copy()


class LogOdds(Codec):
    """Numbers between 0 and 1 by their log-odds; inputs are standardised log-odds."""

    @classmethod
    def fit(
        cls, chunks: Chunks, n_columns: int, likelihood: Any, levels: Levels
    ) -> Self:
        return cls(**_moments(chunks, n_columns, special.logit)[0])

    def encode(self, values: np.ndarray, furthest: float) -> Written:
        log_odds = special.logit(values)
        return self._standardize(log_odds, furthest), log_odds

    def decode(self, targets: np.ndarray) -> np.ndarray:
        return special.expit(targets).clip(*_INSIDE)

    def log_jacobian(self, values: np.ndarray) -> np.ndarray:
        return -np.log(values) - np.log1p(-values)


#: The least number above 0 and the largest below 1 that float32 holds.
_INSIDE = (np.finfo(np.float32).tiny.item(), 1 - 2.0**-24)


class Binary(Codec):
    """Two levels as 0 and 1; inputs are centred."""

    has_levels: ClassVar[bool] = True

    low: np.ndarray
    high: np.ndarray

    @classmethod
    def fit(
        cls, chunks: Chunks, n_columns: int, likelihood: Any, levels: Levels
    ) -> Self:
        pairs = np.array([(0.0, 1.0) if pair is None else pair for pair in levels])
        codec = cls(low=pairs[:, 0].copy(), high=pairs[:, 1].copy())
        n_known, n_high = np.zeros((2, n_columns))
        for values in chunks():
            n_known += len(values) - np.count_nonzero(np.isnan(values), axis=0)
            n_high += np.count_nonzero(values == codec.high, axis=0)
        with np.errstate(invalid="ignore"):
            codec.offset = n_high / n_known
        return codec

    def encode(self, values: np.ndarray, furthest: float) -> Written:
        codes = self._codes(values)
        return codes - self.offset, codes

    def levels_of(self, place: int) -> list[Any]:
        return [float(self.low[place]), float(self.high[place])]

    def decode(self, targets: np.ndarray) -> np.ndarray:
        return self.low + targets * (self.high - self.low)

    points = decode

    def modes(self, means: np.ndarray) -> np.ndarray:
        return self.decode(np.where(means > 0.5, 1.0, 0.0))

    def unknown(self, values: np.ndarray) -> np.ndarray:
        unknown = values != self.low
        unknown &= values != self.high
        if unknown.any():
            unknown &= ~np.isnan(values)
        return unknown

    def _codes(self, values: np.ndarray) -> np.ndarray:
        codes = (values == self.high).astype(np.float64)
        with np.errstate(over="ignore"):
            any_holes = np.isnan(values.sum())
        if any_holes:
            codes[np.isnan(values)] = np.nan
        return codes


class _Levels(Codec):
    """Levels as codes: what categories and ordered levels share."""

    has_levels: ClassVar[bool] = True

    #: Of each column its levels, in ascending order.
    levels: list[np.ndarray]

    @classmethod
    def fit(
        cls, chunks: Chunks, n_columns: int, likelihood: Any, levels: Levels
    ) -> Self:
        codec = cls(levels=[np.asarray(column, dtype=np.float64) for column in levels])
        totals = [np.full(len(column), 0.5) for column in levels]
        for values in chunks():
            codes = codec._codes(values)
            for j, total in enumerate(totals):
                known = codes[:, j][codes[:, j] >= 0].astype(np.int64)
                total += np.bincount(known, minlength=len(total))
        codec.shares = [total / total.sum() for total in totals]
        return codec

    def n_levels(self) -> list[int]:
        return [len(column) for column in self.levels]

    def levels_of(self, place: int) -> list[Any]:
        return self.levels[place].tolist()

    def decode(self, targets: np.ndarray) -> np.ndarray:
        codes = targets.astype(np.int64)
        return np.column_stack(
            [column[codes[:, j]] for j, column in enumerate(self.levels)]
        )

    def points(self, means: np.ndarray) -> np.ndarray:
        return self.decode(
            np.column_stack([p.argmax(1) for p in _by_column(means, self.n_levels())])
        )

    def unknown(self, values: np.ndarray) -> np.ndarray:
        return (self._codes(values) < 0) & ~np.isnan(values)

    def _codes(self, values: np.ndarray) -> np.ndarray:
        """Codes, -1 for what is no level."""
        codes = np.empty(values.shape)
        for j, column in enumerate(self.levels):
            found = np.searchsorted(column, values[:, j]).clip(max=len(column) - 1)
            codes[:, j] = np.where(column[found] == values[:, j], found, -1)
        return codes


class Categories(_Levels):
    """Unordered levels as codes."""

    writes_codes: ClassVar[bool] = True

    def encode(self, values: np.ndarray, furthest: float) -> Written:
        codes = self._codes(values)
        codes[codes < 0] = np.nan
        return codes, codes


class Identifiers(_Levels):
    """Levels that tell rows apart, as codes that the encoder does not read."""

    is_read: ClassVar[bool] = False

    def encode(self, values: np.ndarray, furthest: float) -> Written:
        codes = self._codes(values)
        codes[codes < 0] = np.nan
        return codes[:, :0], codes

    def points(self, means: np.ndarray) -> np.ndarray:
        """Holes: no row has a likeliest name."""
        return np.full((len(means), len(self.levels)), np.nan)

    def modes(self, means: np.ndarray) -> np.ndarray:
        """The commonest level: something to fill a hole with."""
        modes = [
            level[p.argmax()] for level, p in zip(self.levels, self.shares, strict=True)
        ]
        return np.tile(modes, (len(means), 1))


class Ordered(_Levels):
    """Ordered levels as codes; inputs are standardised codes."""

    @classmethod
    def fit(
        cls, chunks: Chunks, n_columns: int, likelihood: Any, levels: Levels
    ) -> Self:
        codec = super().fit(chunks, n_columns, likelihood, levels)
        means = [p @ np.arange(len(p)) for p in codec.shares]
        squares = [p @ np.arange(len(p)) ** 2 for p in codec.shares]
        codec.offset = np.array(means)
        codec.scale = np.sqrt(np.maximum(np.array(squares) - codec.offset**2, 1e-12))
        return codec

    def encode(self, values: np.ndarray, furthest: float) -> Written:
        codes = self._codes(values)
        codes[codes < 0] = np.nan
        return self._standardize(codes, furthest), codes


class Bins(Codec):
    """Numbers as the bin or atom that they are in; inputs are normal scores.

    Bins and atoms stand in ascending order, an atom's lower edge being its upper edge.
    What lies in none of them counts as its nearest. A share of 1 / (n + 2) of each
    cell, by Laplace's rule of succession, is spread there: evenly up to the middle of
    the gap, and with the tail of a Cauchy distribution at either end.
    """

    #: Of each column, the edges and the means of its cells.
    lower: list[np.ndarray]
    upper: list[np.ndarray]
    centers: list[np.ndarray]
    #: How many values the columns had in fit, and their interquartile ranges.
    n_values: np.ndarray
    spread: np.ndarray

    @classmethod
    def fit(
        cls, chunks: Chunks, n_columns: int, likelihood: Any, levels: Levels
    ) -> Self:
        columns: list[list[np.ndarray]] = [[] for _ in range(n_columns)]
        for values in chunks():
            for j, column in enumerate(columns):
                column.append(values[~np.isnan(values[:, j]), j])
        cells = [_cells(np.concatenate(c), likelihood.n_bins) for c in columns]
        names = ("lower", "upper", "centers", "shares")
        state: dict[str, Any] = {
            name: [cell[place] for cell in cells] for place, name in enumerate(names)
        }
        quartiles = [
            np.quantile(np.concatenate(column), [0.25, 0.75]) for column in columns
        ]
        state["n_values"] = np.array([sum(map(len, column)) for column in columns])
        spread = np.array([high - low for low, high in quartiles])
        reach = np.array([upper[-1] - lower[0] for lower, upper, *_ in cells])
        spread = np.where(spread > 0, spread, reach)
        state["spread"] = np.where(spread > 0, spread, 1.0)
        return cls(**state)

    def n_levels(self) -> list[int]:
        return [len(lower) for lower in self.lower]

    def levels_of(self, place: int) -> list[Any]:
        """Atoms as numbers, bins as pairs of edges."""
        edges = zip(self.lower[place].tolist(), self.upper[place].tolist(), strict=True)
        return [low if low == high else (low, high) for low, high in edges]

    def encode(self, values: np.ndarray, furthest: float) -> Written:
        codes, inputs = np.empty(values.shape), np.empty(values.shape)
        for j, column in enumerate(values.T):
            codes[:, j] = self._codes(j, column)
            inputs[:, j] = self._normal_scores(j, column)
        holes = np.isnan(values)
        codes[holes] = inputs[holes] = np.nan
        return inputs, codes

    def decode(self, targets: np.ndarray) -> np.ndarray:
        codes = np.floor(targets).astype(np.int64)
        inside = targets - codes
        values = np.empty(targets.shape)
        for j, (lower, upper) in enumerate(zip(self.lower, self.upper, strict=True)):
            low, high = lower[codes[:, j]], upper[codes[:, j]]
            values[:, j] = low + inside[:, j] * (high - low)
        return values

    def points(self, means: np.ndarray) -> np.ndarray:
        return np.column_stack(
            [
                p @ centers
                for p, centers in zip(
                    _by_column(means, self.n_levels()), self.centers, strict=True
                )
            ]
        )

    def log_jacobian(self, values: np.ndarray) -> np.ndarray:
        added = np.empty(values.shape)
        for j, column in enumerate(values.T):
            codes = self._codes(j, column)
            lower, upper = self.lower[j][codes], self.upper[j][codes]
            before, after = (gap[codes] for gap in self._gaps(j))
            n_sides = (before > 0).astype(np.float64) + (after > 0)
            outside = np.where(n_sides > 0, 1 / (self.n_values[j] + 2), 0.0)
            inside = np.log1p(-outside) - np.log(
                np.where(upper > lower, upper - lower, 1)
            )
            gap = np.where(column < lower, before, after)
            distance = np.maximum(lower - column, column - upper) / self.spread[j]
            tail = math.log(2 / math.pi / self.spread[j]) - np.log1p(distance**2)
            with np.errstate(divide="ignore", invalid="ignore"):
                around = np.where(np.isinf(gap), tail, -np.log(gap))
                around += np.log(outside) - np.log(n_sides)
            within = (column >= lower) & (column <= upper)
            added[:, j] = np.where(within, inside, around)
        return added

    def _gaps(self, j: int) -> tuple[np.ndarray, np.ndarray]:
        """Lengths of what is nearest to each cell, before it and after it."""
        borders = self._borders(j)
        before = self.lower[j] - np.concatenate([[-np.inf], borders])
        after = np.concatenate([borders, [np.inf]]) - self.upper[j]
        return before, after

    def _borders(self, j: int) -> np.ndarray:
        """Where the nearest cell changes."""
        return (self.upper[j][:-1] + self.lower[j][1:]) / 2

    def _codes(self, j: int, column: np.ndarray) -> np.ndarray:
        """The cell that each number is in, or next to."""
        return np.searchsorted(self._borders(j), column, side="right")

    def _normal_scores(self, j: int, column: np.ndarray) -> np.ndarray:
        """Normal quantiles of the share of the training values below."""
        lower, upper, share = self.lower[j], self.upper[j], self.shares[j]
        below = np.cumsum(share) - share
        codes = np.searchsorted(lower, column, side="right") - 1
        cell = codes.clip(0)
        width = upper[cell] - lower[cell]
        with np.errstate(over="ignore", invalid="ignore"):
            inside = (column - lower[cell]) / np.where(width > 0, width, 1.0)
        atom = np.where(column == lower[cell], 0.5, 1.0)
        inside = np.where(width > 0, np.clip(inside, 0, 1), atom)
        rank = below[cell] + np.where(codes < 0, 0.0, inside) * share[cell]
        margin = 0.5 / (self.n_values[j] + 1)
        return special.ndtri(rank.clip(margin, 1 - margin))


def _cells(
    values: np.ndarray, n_bins: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Edges, centres and shares of the bins and atoms of a column."""
    distinct, counts = np.unique(values, return_counts=True)
    atom = np.full(len(distinct), len(distinct) <= n_bins)
    atom |= counts * n_bins >= len(values)
    starts = _cell_starts(atom, counts, n_bins)
    ends = np.append(starts[1:], len(distinct)) - 1
    # Neighbouring cells meet halfway between their values.
    between = (distinct[:-1] + distinct[1:]) / 2
    margin = 0.5 if (distinct % 1 == 0).all() else 0.0
    lower = np.concatenate([[distinct[0] - margin], between])[starts]
    upper = np.concatenate([between, [distinct[-1] + margin]])[ends]
    alone = atom[starts]
    lower, upper = (np.where(alone, distinct[starts], edge) for edge in (lower, upper))
    mass = np.add.reduceat(counts, starts)
    centers = np.add.reduceat(counts * distinct, starts) / mass
    shares = (mass + 0.5) / (mass + 0.5).sum()
    return lower, upper, centers, shares


def _cell_starts(atom: np.ndarray, counts: np.ndarray, n_bins: int) -> np.ndarray:
    """Where cells begin among the distinct values: bins hold about equal mass."""
    n_rest = max(1, n_bins - int(atom.sum()))
    mass = counts[~atom].sum() / n_rest
    starts, held = [], np.inf
    for i, (is_atom, count) in enumerate(zip(atom, counts, strict=True)):
        if is_atom or held + count / 2 > mass:
            starts.append(i)
            held = 0.0
        held = np.inf if is_atom else held + count
    return np.array(starts)


def _by_column(means: np.ndarray, n_levels: Sequence[int]) -> list[np.ndarray]:
    return np.split(means, np.cumsum(n_levels)[:-1], axis=1)


#: By the names that likelihoods ask for.
CODECS: dict[str, type[Codec]] = {
    "standardized": Standardized,
    "positive": Positive,
    "counts": Counts,
    "unit_interval": UnitInterval,
    "log_odds": LogOdds,
    "binary": Binary,
    "categories": Categories,
    "identifiers": Identifiers,
    "ordered": Ordered,
    "bins": Bins,
}
