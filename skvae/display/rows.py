"""Rows of X: which of them are drawn, what they hold, and what they are called."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import issparse

from skvae.frames import Layout, Table
from skvae.labels import to_numbers

__all__ = ["cells", "count_rows", "evenly_spaced", "numbers", "positions", "row_labels"]


def count_rows(X: Table) -> int:
    """Number of rows; a sparse matrix has no `len`."""
    return X.shape[0] if hasattr(X, "shape") else len(X)


def positions(rows: ArrayLike, n_samples: int) -> np.ndarray:
    """The rows that are asked for, checked, as an array of whole numbers.

    Raises
    ------
    TypeError
        If rows are not whole numbers.
    ValueError
        If there are none, or X of so many samples has no such row.
    """
    places = np.atleast_1d(np.asarray(rows))
    if places.dtype == bool:
        raise TypeError(
            "rows holds True or False: give positions, such as numpy.flatnonzero(rows)."
        )
    if places.ndim != 1 or not len(places):
        raise ValueError(
            f"rows must be an int or a sequence of at least one, got {rows!r}."
        )
    if places.dtype.kind not in "iu":
        raise TypeError(
            f"rows must be whole numbers, the positions of rows, got {rows!r}."
        )
    outside = places[(places < 0) | (places >= n_samples)]
    if len(outside):
        raise ValueError(
            f"rows holds {outside[0]}, but X has {n_samples} rows, whose positions, "
            f"whatever the index, run from 0 to {n_samples - 1}."
        )
    return places


def evenly_spaced(n_samples: int, n_rows: int) -> np.ndarray:
    """Positions of so many rows, or all, spread over so many samples."""
    places = np.linspace(0, n_samples - 1, min(n_rows, n_samples))
    return places.round().astype(int)


def cells(X: Table) -> np.ndarray:
    """Rows as they were given, an object array."""
    if hasattr(X, "iloc"):
        X = X.itertuples(index=False, name=None)
    elif hasattr(X, "columns"):
        X = X.rows()
    elif issparse(X):
        X = X.toarray()
    taken = list(X)
    cells = np.empty((len(taken), len(taken[0])), dtype=object)
    for i, row in enumerate(taken):
        cells[i] = row
    return cells


def numbers(X: Table, layout: Layout) -> np.ndarray:
    """A table as numbers, float64: NaN for holes, levels of labels by their places.

    Parameters
    ----------
    X : array-like, sparse matrix or data frame of shape (n_samples, n_features)
    layout : dict
        From `frames.describe`, of a table of the same columns.
    """
    if issparse(X):
        return X.toarray().astype(np.float64)
    X = X if hasattr(X, "columns") else np.asarray(X)
    if layout["levels"] or hasattr(X, "columns") or X.dtype.kind not in "buif":
        return to_numbers(X, layout["levels"], "missing")
    return X.astype(np.float64)


def row_labels(X: Table, rows: np.ndarray) -> list[Any]:
    """What rows are called: by the index, or by their positions."""
    return X.index[rows].tolist() if hasattr(X, "iloc") else rows.tolist()
