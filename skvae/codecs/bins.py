"""The codec of numbers that are described by the bin or atom that they are in."""

import math
from typing import Any, Self

import numpy as np
from scipy import special

from skvae.codecs.base import FURTHEST, Chunks, Codec, Levels, Written, by_column

__all__ = ["Bins"]


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
                    by_column(means, self.n_levels()), self.centers, strict=True
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
            with np.errstate(over="ignore"):
                distance = np.maximum(lower - column, column - upper) / self.spread[j]
            distance = np.minimum(distance, FURTHEST["float64"])
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
