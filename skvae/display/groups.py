"""Rows by their labels: classes that are drawn alike, or numbers."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from skvae.display.style import BLUE, COLOURS, GREY, shortened
from skvae.labels import Column

__all__ = ["Group", "Labels", "grouped", "labelled"]

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


class Labels(NamedTuple):
    """Labels of rows."""

    levels: list[Any]  # those that there are, in their order
    codes: np.ndarray  # position of a row's among the levels, -1 where it has none
    numbers: np.ndarray | None  # the labels, if they are numbers, NaN for none


def grouped(y: Any, n_rows: int) -> tuple[list[Group], np.ndarray | None]:
    """Rows by their labels, and the labels if they are numbers.

    Returns
    -------
    groups : list of Group
    numbers : ndarray of shape (n_rows,) or None
    """
    if y is None:
        return [Group("", np.arange(n_rows), BLUE, "o")], None
    levels, codes, numbers = labelled(y, n_rows)
    is_whole = all(isinstance(level, int) for level in levels)
    if numbers is None or (is_whole and len(levels) <= _MOST_CLASSES):
        return _classes(levels, codes), None
    known = Group("", np.flatnonzero(codes >= 0), BLUE, "o")
    return [known, *_grey("no label", codes < 0)], numbers


def labelled(y: Any, n_rows: int) -> Labels:
    """Labels of rows, of any kind that columns of a table may be.

    Raises
    ------
    ValueError
        If there is not one label for each row, or they are of no kind, or of several.
    """
    y = y if hasattr(y, "dtype") else np.array(y, dtype=object)
    if y.shape != (n_rows,):
        raise ValueError(
            f"y must hold one label for each of {n_rows} rows, got shape {y.shape}."
        )
    column = Column("y", y)
    try:
        column.check()
        if column.holds_numbers():
            return _numbers(column, is_bool="bool" in str(y.dtype).lower())
        levels, _ = column.levels()
    except (TypeError, ValueError):  # their advice is for columns of X
        raise ValueError(
            "y must hold text, categories, booleans or numbers, all of one kind, and "
            "neither dates nor sentences."
        ) from None
    codes = np.nan_to_num(column.codes(levels, "missing"), nan=-1).astype(int)
    used = np.unique(codes[codes >= 0])
    codes[codes >= 0] = np.searchsorted(used, codes[codes >= 0])
    return Labels([levels[k] for k in used], codes, None)


def _numbers(column: Column, is_bool: bool) -> Labels:
    numbers = column.numbers()
    is_known = ~np.isnan(numbers)
    levels = np.unique(numbers[is_known])
    codes = np.where(is_known, np.searchsorted(levels, numbers), -1)
    if column.is_whole():
        levels = levels.astype(bool if is_bool else int)
    return Labels(levels.tolist(), codes, numbers)


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
