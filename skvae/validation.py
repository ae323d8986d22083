"""What a table may hold, when a model is fitted and afterwards: checks of its values.

An error names the column, and the row where it is a single value.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from skvae import frames
from skvae.columns import Chosen
from skvae.core.rows import gather
from skvae.frames import Layout, Matrix, Table
from skvae.labels import shortened
from skvae.likelihoods import Likelihood
from skvae.table import TableEncoder

__all__ = ["check_finite", "check_levels", "check_possible", "check_shape"]

#: Rows, and entries of them, that are looked at together, and made dense if sparse.
_ROWS_AT_ONCE, _ENTRIES_AT_ONCE = 4_096, 4_000_000


def check_shape(X: Table, min_samples: int) -> None:
    """Refuse frames without enough rows, or without columns."""
    for n, least, name in (
        (X.shape[0], min_samples, "sample"),
        (X.shape[1], 1, "feature"),
    ):
        if n < least:
            raise ValueError(
                f"Found array with {n} {name}(s) (shape={X.shape}) while a minimum of "
                f"{least} is required."
            )


def check_finite(X: Matrix, layout: Layout) -> None:
    """Refuse infinity, by the name of the column."""
    values = X.data if hasattr(X, "toarray") else X
    if values.dtype.kind != "f" or not len(values):
        return
    for start in range(0, len(values), _ROWS_AT_ONCE):
        batch = gather(values, slice(start, start + _ROWS_AT_ONCE))
        with np.errstate(over="ignore", invalid="ignore"):
            suspicious = not np.isfinite(batch.sum())
        if suspicious and np.isinf(batch).any():
            place = np.argwhere(np.isinf(batch))[0]
            row, j = start + place[0], place[-1]
            if hasattr(X, "toarray"):
                entries = X.tocoo()
                row, j = entries.row[row], entries.col[row]
            raise ValueError(
                "Input X contains infinity in column "
                f"{frames.column_labels(layout, X.shape[1])[j]!r} (row {row}). Make it "
                "NaN, which stands for a hole, or drop the row."
            )


def check_possible(X: Matrix, layout: Layout, chosen: Sequence[Chosen]) -> None:
    """Refuse values that the likelihoods cannot have produced."""
    families: dict[Likelihood, list[int]] = {}
    for j, (likelihood, _) in enumerate(chosen):
        families.setdefault(likelihood, []).append(j)
    for likelihood, places in families.items():
        if type(likelihood).impossible is Likelihood.impossible:
            continue
        for start, values in _blocks(X):
            values = values[:, places]
            impossible = likelihood.impossible(values) & ~np.isnan(values)
            if impossible.any():
                i, place = np.argwhere(impossible)[0]
                label = frames.column_labels(layout, X.shape[1])[places[place]]
                raise ValueError(
                    f"Column {label!r} holds {values[i, place]} (row "
                    f"{start + i}), but {likelihood!r} describes values in "
                    f"{likelihood.support}. Choose another likelihood, or recode the "
                    "column."
                )


def check_levels(X: Matrix, table: TableEncoder, handle_unknown: str) -> Matrix:
    """Refuse numbers that are none of their column's levels, or make them holes."""
    if not table.has_levels:
        return X
    holes = []
    for start, values in _blocks(X):
        unknown = table.unknown(values)
        if unknown is None:
            continue
        if handle_unknown == "missing":
            holes.append(np.argwhere(unknown) + np.array([start, 0]))
            continue
        i, j = np.argwhere(unknown)[0]
        description = table.describe()[j]
        raise ValueError(
            f"Column {description['column']!r} holds {values[i, j]} (row "
            f"{start + i}), but likelihood {description['family']!r} "
            f"describes values in {shortened(description['levels'])}. "
            "Choose another likelihood, recode the column, or, for rows that come "
            'after fit, set handle_unknown="missing".'
        )
    return _with_holes(X, np.concatenate(holes)) if holes else X


def _with_holes(X: Matrix, places: np.ndarray) -> Matrix:
    """A copy of a dense or sparse matrix, NaN at some (row, column) places."""
    copied = X.astype(np.result_type(X.dtype, np.float32))
    if not hasattr(X, "toarray"):
        copied[tuple(places.T)] = np.nan
        return copied
    copied = copied.tolil(copy=True)
    copied[tuple(places.T)] = np.nan
    return copied.tocsr()


def _blocks(X: Matrix) -> Iterator[tuple[int, np.ndarray]]:
    """Rows of a matrix, some at a time and dense, and where they start."""
    n_at_once = max(1, min(_ROWS_AT_ONCE, _ENTRIES_AT_ONCE // X.shape[1]))
    for start in range(0, X.shape[0], n_at_once):
        yield start, gather(X, slice(start, start + n_at_once))
