"""Columns of labels, such as text and categories, written as numbers and back.

A column of a data frame or of an object array holds numbers, or it holds labels. Labels
become the positions of their levels, and holes (None, NaN, pandas.NA) become NaN, so
that everything beyond works on one array of numbers.
"""

import datetime
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from numbers import Integral, Number
from typing import Any

import numpy as np
from scipy.sparse import issparse

__all__ = ["Column", "columns_of", "is_hole", "shortened", "to_numbers"]

#: A column of text most of whose values differ, and that run to this many words, is
#: prose and not labels.
_WORDS_OF_PROSE = 8
#: What cells of a column of objects may be, and two things that they may not.
_CELLS = (str, bytes, Number, np.bool_, type(None))
_DATES = (datetime.date, datetime.time, datetime.timedelta, np.datetime64)
_COMPLEX = (complex, np.complexfloating)


class Column:
    """One column as the user gave it.

    Parameters
    ----------
    label : object
        What the column is called.
    values : ndarray, pandas Series or polars Series
    """

    def __init__(self, label: Any, values: Any) -> None:
        self.label = label
        self._values = values
        self._module = type(values).__module__.split(".")[0]

    @property
    def _dtype(self) -> str:
        return str(self._values.dtype)

    def check(self) -> None:
        """Refuse dates and cells that are neither numbers nor labels.

        Raises
        ------
        TypeError, ValueError
            Naming the column, with the advice.
        """
        cells = self._one_of_each_type() if self.is_object() else [None]
        dtype = self._dtype.lower()
        dated = dtype.startswith(("date", "time", "period", "duration"))
        if dated or any(isinstance(cell, _DATES) for cell in cells):
            raise ValueError(
                f"Column {self.label!r} holds dates or times. Turn them into numbers "
                "first, such as year, month or days since some day, or leave the "
                "column out."
            )
        if dtype.startswith("complex") or any(isinstance(c, _COMPLEX) for c in cells):
            raise ValueError(
                f"Column {self.label!r} holds complex numbers. Complex data not "
                "supported: make columns of the real and the imaginary part."
            )
        nested = [cell for cell in cells if not isinstance(cell, _CELLS)]
        if dtype.startswith(("list", "array", "struct")) or nested:
            raise TypeError(
                f"Column {self.label!r} holds {(nested or [self.first()])[0]!r}: its "
                "cell's argument must be a string or a number. Leave the column out, "
                "or turn it into one of them."
            )

    def holds_numbers(self) -> bool:
        """Whether every cell is a number or a hole."""
        if self._module == "polars":
            return self._values.dtype.is_numeric() or self._dtype in ("Boolean", "Null")
        if self.is_object():
            kinds = self._kinds()
            if len(kinds - {bool}) + bool(kinds & {str, bytes}) * (bool in kinds) > 1:
                raise ValueError(
                    f"Column {self.label!r} holds numbers and text in one. Make it one "
                    "of them, for example with pandas.to_numeric or astype(str)."
                )
            return not kinds & {str, bytes} and kinds != {bool}
        if self._module == "pandas":
            from pandas.api.types import is_numeric_dtype

            return is_numeric_dtype(self._values.dtype)
        return self._values.dtype.kind in "buif"

    def holds_yes_or_no(self) -> bool:
        """Whether the cells are objects, each True, False or a hole."""
        return self.is_object() and self._kinds() <= {bool}

    def is_whole(self) -> bool:
        """Whether the dtype is one of whole numbers or of yes and no."""
        if self.is_object():
            cells = (value for value in self._iterate() if not is_hole(value))
            return all(isinstance(cell, Integral) for cell in cells)
        return self._dtype.lower().startswith(("int", "uint", "bool"))

    def is_foreign(self) -> bool:
        """Whether NumPy has no such numbers, or scikit-learn no matrix of them."""
        dtype = self._dtype.lower()
        if dtype.startswith("sparse"):
            return bool(self._values.dtype.fill_value != 0)
        return dtype.startswith(("int128", "uint128", "decimal", "null"))

    def numbers(self) -> np.ndarray:
        """The column as float64, NaN for holes.

        Raises
        ------
        ValueError
            If a number, such as a Python integer, is beyond float64.
        """
        if self._module == "polars" and not self.is_object():
            import polars

            return self._values.cast(polars.Float64).to_numpy().astype(np.float64)
        if self._module == "pandas" and not self.is_object():
            return self._values.to_numpy(dtype=np.float64, na_value=np.nan)
        numbers = [np.nan if is_hole(value) else value for value in self._values]
        try:
            return np.array(numbers, dtype=np.float64)
        except OverflowError as error:
            raise ValueError(
                f"Column {self.label!r} holds a number too large for a float64: divide "
                "it by a constant first."
            ) from error

    def levels(self) -> tuple[list[Any], bool]:
        """The labels in order, and whether their order means something.

        Raises
        ------
        ValueError
            If the column holds prose, or labels of several types.
        """
        if self._module == "pandas" and self._dtype == "category":
            dtype = self._values.dtype
            return dtype.categories.tolist(), bool(dtype.ordered)
        if self._module == "polars" and self._dtype.startswith("Enum"):
            return self._values.dtype.categories.to_list(), True
        # Whether a cell is a hole takes longer to ask than to count equal cells.
        counts = Counter(self._iterate())
        known = [value for value in counts if not is_hole(value)]
        try:
            levels = sorted(known)
        except TypeError as error:
            raise ValueError(
                f"Column {self.label!r} holds labels of several types, which have no "
                "order. Make them text, for example with astype(str)."
            ) from error
        n_known = sum(counts[level] for level in levels)
        if levels and isinstance(levels[0], str) and 2 * len(levels) > n_known:
            words = np.mean([level.count(" ") + 1 for level in levels])
            if words >= _WORDS_OF_PROSE:
                raise ValueError(
                    f"Column {self.label!r} holds free text ({words:.0f} words a cell, "
                    "nearly all cells different). Turn it into numbers first, for "
                    "example with sklearn.feature_extraction.text.TfidfVectorizer, or "
                    "leave it out."
                )
        return levels, False

    def codes(self, levels: Sequence[Any], handle_unknown: str) -> np.ndarray:
        """Positions of the labels among the levels, as float64; NaN for holes.

        Raises
        ------
        ValueError
            Naming the column and the first label that is no level, unless
            `handle_unknown` is "missing".
        """
        position = {level: float(code) for code, level in enumerate(levels)}
        values = self._iterate()
        try:
            found = [position.get(value, np.nan) for value in values]
        except TypeError:  # what cannot be looked up is no level
            found = [
                np.nan if value.__hash__ is None else position.get(value, np.nan)
                for value in values
            ]
        codes = np.array(found, dtype=np.float64)
        if handle_unknown == "error":
            for i in np.flatnonzero(np.isnan(codes)):
                if not is_hole(values[i]):
                    raise ValueError(
                        f"Column {self.label!r} holds {values[i]!r} (row {i}), which "
                        "was not there in fit; the levels are "
                        f"{shortened(levels)}. Fit on rows that have it, or set "
                        'handle_unknown="missing".'
                    )
        return codes

    def is_object(self) -> bool:
        """Whether the cells are Python objects of any kind."""
        return self._dtype.lower() == "object" or (
            self._module == "numpy" and self._values.dtype.kind in "OSU"
        )

    def _iterate(self) -> list[Any]:
        return (
            self._values.tolist()
            if hasattr(self._values, "tolist")
            else list(self._values)
        )

    def first(self) -> Any:
        """The first cell that is not a hole, or None."""
        return next((v for v in self._iterate() if not is_hole(v)), None)

    def _one_of_each_type(self) -> list[Any]:
        """A cell of each type, less holes, in the order of the rows."""
        first: dict[type, Any] = {}
        for value in self._iterate():
            if type(value) not in first and not is_hole(value):
                first[type(value)] = value
        return list(first.values())

    def _kinds(self) -> set[type]:
        kinds: set[type] = set()
        for value in self._iterate():
            if is_hole(value):
                continue
            if isinstance(value, bool | np.bool_):
                kinds.add(bool)
            elif isinstance(value, Number):
                kinds.add(float)
            elif isinstance(value, str):  # or NumPy's text, which is of another type
                kinds.add(str)
            else:
                kinds.add(bytes if isinstance(value, bytes) else type(value))
        return kinds


def columns_of(X: Any) -> list[Column]:
    """The columns of a data frame or of a two-dimensional object array.

    Returns
    -------
    columns : list of Column
    """
    if not hasattr(X, "columns"):
        return [Column(j, column) for j, column in enumerate(X.T)]
    if hasattr(X, "iloc"):
        return [Column(label, X.iloc[:, j]) for j, label in enumerate(X.columns)]
    return [Column(label, X[label]) for label in X.columns]


def to_numbers(
    X: Any, levels: Mapping[int, Sequence[Any]], handle_unknown: str
) -> np.ndarray:
    """A table as an array of numbers.

    Parameters
    ----------
    X : data frame, two-dimensional array or sparse matrix
    levels : dict of int to list
        The levels of the columns of labels, by the column's number.
    handle_unknown : {"error", "missing"}

    Returns
    -------
    numbers : ndarray of shape (n_samples, n_features), float64
    """
    if issparse(X):
        X = X.toarray()
    columns = columns_of(X)
    numbers = np.empty((len(X), len(columns)))
    for j, column in enumerate(columns):
        column.check()
        if j in levels:
            numbers[:, j] = column.codes(levels[j], handle_unknown)
        elif column.holds_numbers() or column.holds_yes_or_no():
            numbers[:, j] = column.numbers()
        elif column.first() is None:
            numbers[:, j] = np.nan
        else:
            raise ValueError(
                f"Column {column.label!r} holds {column.first()!r}, which is not a "
                "number, as the column held in fit."
            )
    return numbers


def is_hole(value: object) -> bool:
    """Whether a cell is None, NaN, pandas.NA or pandas.NaT."""
    if value is None:
        return True
    pandas = sys.modules.get("pandas")
    if pandas is not None and (value is pandas.NA or value is pandas.NaT):
        return True
    return isinstance(value, Number) and value != value


def shortened(levels: Sequence[Any]) -> str:
    """The first levels, in words."""
    shown = ", ".join(repr(level) for level in levels[:5])
    return f"{shown}, ... ({len(levels)})" if len(levels) > 5 else shown
