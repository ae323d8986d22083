"""What every codec is: the contract, and the types of what passes through it."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, Self, TypeAlias

import numpy as np

__all__ = ["FURTHEST", "Chunks", "Codec", "Levels", "Written", "by_column"]

#: Standardised values further out than this are read as this far out: sums of their
#: squares, over any floor, then stay finite in either precision, and so do gradients in
#: float32, which grow like their cubes over that of the floor.
FURTHEST = {"float32": 1e8, "float64": 1e140}

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
        with np.errstate(over="ignore"):  # what is infinite is further out than that
            standardized = values - self.offset
            standardized /= self.scale
        return np.clip(standardized, -furthest, furthest, out=standardized)


def by_column(means: np.ndarray, n_levels: Sequence[int]) -> list[np.ndarray]:
    """Means of levels, (n_rows, n_means), in an array for each column."""
    return np.split(means, np.cumsum(n_levels)[:-1], axis=1)
