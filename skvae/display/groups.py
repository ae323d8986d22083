"""Rows by their labels: classes that are drawn alike, or numbers."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from skvae.display.style import BLUE, COLOURS, GREY, shortened
from skvae.labels import Column

__all__ = ["Group", "grouped"]

#: Classes take colours and markers in turn, so that the first 63 pairs differ.
_MARKERS = "o^sDvX<>*"
#: Classes with a colour and a marker of their own, at most: the commonest.
_MOST_CLASSES = 20
#: Letters of a class's name.
_NAME = 24


class Group(NamedTuple):
    """Rows that are drawn alike."""

    name: str
    rows: np.ndarray
    colour: str
    marker: str


def grouped(y: Any, name: str, n_rows: int) -> tuple[list[Group], np.ndarray | None]:
    """Rows by their labels, and the labels if they are numbers.

    Returns
    -------
    groups : list of Group
    numbers : ndarray of shape (n_rows,) or None
    """
    if y is None:
        return [Group("", np.arange(n_rows), BLUE, "o")], None
    y = y if hasattr(y, "dtype") else np.array(y, dtype=object)
    if y.shape != (n_rows,):
        raise ValueError(
            f"y must hold one label for each of {n_rows} rows, got shape {y.shape}."
        )
    column = Column(name, y)
    column.check()
    if not column.holds_numbers():
        levels, _ = column.levels()
        codes = np.nan_to_num(column.codes(levels, "missing"), nan=-1).astype(int)
        return _classes(levels, codes), None
    numbers = column.numbers()
    is_known = ~np.isnan(numbers)
    distinct = np.unique(numbers[is_known])
    if not column.is_whole() or len(distinct) > _MOST_CLASSES:
        known = Group("", np.flatnonzero(is_known), BLUE, "o")
        return [known, *_grey("no label", ~is_known)], numbers
    codes = np.where(is_known, np.searchsorted(distinct, numbers), -1)
    is_bool = "bool" in str(y.dtype).lower()
    levels = distinct.astype(bool if is_bool else int).tolist()
    return _classes(levels, codes), None


def _classes(levels: Sequence[Any], codes: np.ndarray) -> list[Group]:
    """Groups of the commonest levels, in their order, and of the other rows."""
    counts = np.bincount(codes[codes >= 0], minlength=len(levels))
    commonest = np.argsort(-counts, kind="stable")[:_MOST_CLASSES]
    shown = [k for k in np.sort(commonest) if counts[k]]
    groups = [
        Group(
            f"{shortened(levels[k], _NAME)} ({counts[k]:,})",
            np.flatnonzero(codes == k),
            COLOURS[i % len(COLOURS)],
            _MARKERS[i % len(_MARKERS)],
        )
        for i, k in enumerate(shown)
    ]
    n_others = np.count_nonzero(counts) - len(shown)
    others = (codes >= 0) & ~np.isin(codes, shown)
    return [
        *groups,
        *_grey(f"{n_others} others", others),
        *_grey("no label", codes < 0),
    ]


def _grey(name: str, mask: np.ndarray) -> list[Group]:
    """A group in grey, or none if it would be empty."""
    rows = np.flatnonzero(mask)
    return [Group(f"{name} ({len(rows):,})", rows, GREY, "o")] if len(rows) else []
