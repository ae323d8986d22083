"""One pass over a dataset: a small table that stands in for the whole.

What a fit asks of all rows is asked of the stand-in. It is a uniform sample of rows,
and beside it for each column, wherever in the dataset they are: a row with each label,
the least and the largest number, a number between, one that is not whole, and a hole.
Means and variances are those of all rows.
"""

import pickle
import zlib
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from skvae.labels import Column, columns_of
from skvae.ray.tables import BATCH_FORMAT, to_frame

if TYPE_CHECKING:
    import pyarrow as pa
    from ray.data import Dataset

__all__ = ["Survey", "survey"]

#: Rows of the sample, and entries where rows are wide.
_SAMPLE_ROWS, _SAMPLE_ENTRIES, _LEAST_SAMPLE_ROWS = 50_000, 5_000_000, 2_000
#: Labels of a column beyond which it tells rows apart, and would not fit in memory.
_MOST_LABELS = 100_000
#: Entries that a task sums up, block by block.
_ENTRIES_AT_ONCE = 10_000_000


@dataclass
class Survey:
    """What a fit needs to know of some rows.

    Attributes
    ----------
    n_rows : int
    sample : DataFrame of shape (n_sampled, n_features)
        A uniform sample, in random order.
    keys : ndarray of shape (n_sampled,)
        Random numbers by which these rows were drawn, ascending.
    witnesses : DataFrame
        Rows with all that is rare; see the module.
    counts, means, squares : dict
        By column of numbers: how many there are, their mean, and the sum of their
        squared distances from it.
    crowded : set
        Columns with more labels than can be kept.
    """

    n_rows: int
    sample: pd.DataFrame
    keys: np.ndarray
    witnesses: pd.DataFrame
    counts: dict[Hashable, float]
    means: dict[Hashable, float]
    squares: dict[Hashable, float]
    crowded: set[Hashable]

    @classmethod
    def of(
        cls, frame: pd.DataFrame, n_sampled: int, levelled: set[Hashable], seed: int
    ) -> "Survey":
        """The survey of one block of rows.

        Parameters
        ----------
        frame : DataFrame
        n_sampled : int
        levelled : set
            Columns of which each number is a level.
        seed : int
        """
        # The same block has the same keys, whichever worker reads it, and whenever.
        some = frame.iloc[:: max(1, len(frame) // 100)]
        mark = zlib.crc32(some.to_csv().encode())
        keys = np.random.default_rng([seed, mark, len(frame)]).random(len(frame))
        chosen = np.argsort(keys)[:n_sampled]
        survey = cls(
            len(frame),
            frame.iloc[chosen],
            keys[chosen],
            frame.iloc[:0],
            {},
            {},
            {},
            set(),
        )
        survey._keep_witnesses(frame, levelled)
        for column in columns_of(frame):
            if _is_readable(column) and _holds_numbers(column):
                survey._add_moments(column)
        return survey

    def _add_moments(self, column: Column) -> None:
        numbers = column.numbers()
        known = numbers[~np.isnan(numbers)]
        if not len(known):
            return
        with np.errstate(over="ignore", invalid="ignore"):
            mean = known.mean()
            self.squares[column.label] = float(np.square(known - mean).sum())
        self.means[column.label] = float(mean)
        self.counts[column.label] = float(len(known))

    def _keep_witnesses(self, frame: pd.DataFrame, levelled: set[Hashable]) -> None:
        places: set[int] = set()
        for j, column in enumerate(columns_of(frame)):
            found = _witnesses(column, frame.iloc[:, j], column.label in levelled)
            if len(found) > _MOST_LABELS:
                self.crowded.add(column.label)
                found = found[:1]
            places.update(found.tolist())
        self.witnesses = frame.iloc[sorted(places)]

    def merge(self, other: "Survey", n_sampled: int, levelled: set[Hashable]) -> None:
        """Take in the survey of other rows."""
        self.n_rows += other.n_rows
        keys = np.concatenate([self.keys, other.keys])
        chosen = np.argsort(keys, kind="stable")[:n_sampled]
        self.keys = keys[chosen]
        sample = _stacked(self.sample, other.sample).iloc[chosen]
        self.sample = sample.reset_index(drop=True)
        for label, n_other in other.counts.items():
            self._merge_moments(label, n_other, other)
        self.crowded |= other.crowded
        self._keep_witnesses(_stacked(self.witnesses, other.witnesses), levelled)

    def _merge_moments(self, label: Hashable, n_other: float, other: "Survey") -> None:
        """Moments of two sets of numbers together.

        References
        ----------
        T. F. Chan, G. H. Golub and R. J. LeVeque, "Algorithms for Computing the Sample
        Variance", The American Statistician 37 (1983), equation 2.1b.
        """
        n_own = self.counts.get(label, 0.0)
        n_all = n_own + n_other
        distance = other.means[label] - self.means.get(label, 0.0)
        with np.errstate(over="ignore", invalid="ignore"):
            self.squares[label] = (
                self.squares.get(label, 0.0)
                + other.squares[label]
                + distance**2 * n_own * n_other / n_all
            )
        self.means[label] = self.means.get(label, 0.0) + distance * n_other / n_all
        self.counts[label] = n_all

    def stand_in(self) -> pd.DataFrame:
        """The sample, and after it the witnesses."""
        return _stacked(self.sample, self.witnesses)


def survey(
    dataset: "Dataset", n_features: int, levelled: set[Hashable], seed: int
) -> Survey:
    """The survey of all rows of a dataset.

    Parameters
    ----------
    dataset : Dataset
        Of columns of numbers and labels only.
    n_features : int
        Number of its columns.
    levelled : set
        Columns of which each number is a level.
    seed : int
        Of the sample.

    Raises
    ------
    ValueError
        If there are no rows, or if a column has too many labels; naming it.
    """
    n_sampled = max(
        _LEAST_SAMPLE_ROWS, min(_SAMPLE_ROWS, _SAMPLE_ENTRIES // n_features)
    )
    options: dict[str, Any] = {"n_sampled": n_sampled, "levelled": levelled}
    summaries = dataset.map_batches(
        partial(_surveyed, seed=seed, **options),
        batch_format=BATCH_FORMAT,
        batch_size=None,
    ).map_batches(
        partial(_merged, **options),
        batch_format="numpy",
        # Ray runs both in one task, whose blocks have at least so many rows.
        batch_size=max(1, _ENTRIES_AT_ONCE // n_features),
    )
    whole = _together(_unpacked(summaries), **options)
    if whole is None:
        raise ValueError("The dataset has no rows to fit to.")
    if whole.crowded:
        label = sorted(map(str, whole.crowded))[0]
        raise ValueError(
            f"Column {label!r} has more than {_MOST_LABELS:,} different labels, which "
            "tell rows apart and say little about them. Leave it out, by "
            f"dataset.drop_columns([{label!r}])."
        )
    return whole


def _surveyed(block: "pa.Table", **options: Any) -> dict[str, list[bytes]]:
    frame = to_frame(block)
    surveys = [Survey.of(frame, **options)] if len(frame) else []
    return {"survey": [pickle.dumps(each) for each in surveys]}


def _merged(
    batch: dict[str, Sequence[bytes]], **options: Any
) -> dict[str, list[bytes]]:
    merged = _together(map(pickle.loads, batch["survey"]), **options)
    return {"survey": [] if merged is None else [pickle.dumps(merged)]}


def _unpacked(summaries: "Dataset") -> Iterator[Survey]:
    for row in summaries.iter_rows():
        yield pickle.loads(row["survey"])


def _together(surveys: Iterable[Survey], **options: Any) -> Survey | None:
    """The first survey with all others taken in, or None where there are none."""
    whole = None
    for each in surveys:
        if whole is None:
            whole = each
        else:
            whole.merge(each, **options)
    return whole


def _witnesses(column: Column, cells: pd.Series, levelled: bool) -> np.ndarray:
    """Places of the cells of a column that all of a dataset must be known to have."""
    if not _is_readable(column):
        return np.arange(1)
    if levelled or not _holds_numbers(column):
        return np.flatnonzero(~cells.duplicated().to_numpy())
    numbers = column.numbers()
    holes = np.isnan(numbers)
    known = np.flatnonzero(~holes)
    found = [np.flatnonzero(holes)[:1]]
    if len(known):
        values = numbers[known]
        low, high = values.argmin(), values.argmax()
        between = (values != values[low]) & (values != values[high])
        with np.errstate(invalid="ignore"):
            fractional = values % 1 != 0
        inside = [np.flatnonzero(mask)[:1] for mask in (between, fractional)]
        found.append(known[np.concatenate([[low], [high], *inside])])
    return np.concatenate(found)


def _is_readable(column: Column) -> bool:
    """Whether a fit would take the column; if not, one row of it shows why."""
    try:
        column.check()
    except (TypeError, ValueError):
        return False
    return True


def _holds_numbers(column: Column) -> bool:
    try:
        return column.holds_numbers()
    except ValueError:  # numbers and text: the stand-in shall have both
        return False


def _stacked(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """Rows below rows; what is empty decides no dtype."""
    parts = [part for part in (first, second) if len(part)]
    return pd.concat(parts, ignore_index=True) if parts else first
