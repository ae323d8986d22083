"""Codecs of levels: two of them as 0 and 1, more as codes."""

from typing import Any, ClassVar, Self

import numpy as np

from skvae.codecs.base import Chunks, Codec, Levels, Written, by_column

__all__ = ["Binary", "Categories", "Identifiers", "Ordered"]


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
            np.column_stack([p.argmax(1) for p in by_column(means, self.n_levels())])
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
