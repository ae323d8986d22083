"""Codecs of numbers: as they are, standardised, or by a transform of each."""

from collections.abc import Callable
from typing import Any, ClassVar, Self

import numpy as np
from scipy import special
from sklearn.preprocessing import StandardScaler

from skvae.codecs.base import Chunks, Codec, Levels, Written

__all__ = [
    "Counts",
    "LogOdds",
    "Positive",
    "Standardized",
    "TooLarge",
    "UnitInterval",
]


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
        with np.errstate(divide="ignore"):  # a mean may be rounded to 0
            logarithms = np.log(values)
        inputs = self._standardize(logarithms, furthest)
        logarithms -= self.offset
        return inputs, np.exp(logarithms.clip(-_LARGEST_LOGARITHM, _LARGEST_LOGARITHM))

    def decode(self, targets: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):
            return (targets * np.exp(self.offset)).clip(*_POSITIVE)

    points = decode

    def log_jacobian(self, values: np.ndarray) -> np.ndarray:
        return -self.offset


#: exp of it is finite in float32, and so is the inverse.
_LARGEST_LOGARITHM = 80.0
#: The least positive number of float64 with all its digits, and the largest.
_POSITIVE = (np.finfo(np.float64).tiny.item(), np.finfo(np.float64).max.item())


class Counts(Codec):
    """Counts as they are; inputs are standardised log1p counts."""

    @classmethod
    def fit(
        cls, chunks: Chunks, n_columns: int, likelihood: Any, levels: Levels
    ) -> Self:
        return cls(**_moments(chunks, n_columns, np.log1p)[0])

    def encode(self, values: np.ndarray, furthest: float) -> Written:
        inputs = self._standardize(np.log1p(values), furthest)
        return inputs, np.minimum(values, _LARGEST_COUNT)


#: Counts beyond are read as this many: from about here on float64 has gaps between
#: whole numbers.
_LARGEST_COUNT = 1e15


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
