"""The kind of table that the user gave, remembered and given back.

A layout is plain data: the container ("array", "pandas" or "polars"), the labels and
dtypes of its columns, and the levels of those that hold text or categories. pandas and
polars are imported only to give frames back.
"""

import re
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np
from scipy.sparse import issparse

from skvae.labels import columns_of

__all__ = [
    "Layout",
    "Matrix",
    "Table",
    "append",
    "as_table",
    "column_labels",
    "describe",
    "fill",
    "holds_numbers",
    "restore",
    "taken",
]

#: What estimators take: an array-like, sparse matrix or data frame of shape (n_samples,
#: n_features); and what they give back. A union of these would have to import pandas
#: and polars.
Table: TypeAlias = Any
#: The same once validated: an ndarray or CSR matrix of numbers, NaN for holes.
Matrix: TypeAlias = Any
#: A table without its values, as plain data: see `describe`.
Layout: TypeAlias = dict[str, Any]


def as_table(X: Table) -> Table:
    """A list of rows as an array, and any other table as it is.

    Of objects where it holds text: numbers beside it would else become text, and holes
    the text "nan".
    """
    if not isinstance(X, list | tuple):
        return X
    array = np.asarray(X)
    return np.array(X, dtype=object) if array.dtype.kind in "US" else array


def describe(X: Table) -> Layout:
    """The layout of a two-dimensional array or data frame.

    Returns
    -------
    layout : dict
        "container"; for arrays "dtype", for frames "columns" and "dtypes". By column
        numbers, "levels" and whether they are "ordered"; the numbers of columns of
        "whole" numbers, by dtype; and whether columns can be "judged" one by one.

    Raises
    ------
    TypeError, ValueError
        Naming a column that holds dates, free text, or neither numbers nor text.
    """
    layout: Layout = {
        "container": _container(X),
        "levels": {},
        "ordered": {},
        "whole": [],
    }
    if layout["container"] == "array":
        layout["dtype"] = str(X.dtype)
    else:
        layout["columns"] = list(X.columns)
        layout["dtypes"] = [str(dtype) for dtype in X.dtypes]
    layout["judged"] = layout["container"] != "array" or not _is_numeric(X.dtype)
    if not layout["judged"]:
        return layout
    for j, column in enumerate(columns_of(X)):
        column.check()
        if not column.holds_numbers():
            layout["levels"][j], layout["ordered"][j] = column.levels()
        elif column.is_whole():
            layout["whole"].append(j)
    return layout


def holds_numbers(X: Table) -> bool:
    """Whether every column has a dtype of NumPy's numbers: X is an array at heart."""
    if _container(X) == "array":
        return _is_numeric(X.dtype)
    return not any(
        column.is_object() or column.is_foreign() or not column.holds_numbers()
        for column in columns_of(X)
    )


def _is_numeric(dtype: np.dtype) -> bool:
    return dtype.kind in "buif"


def restore(
    values: np.ndarray, layout: Layout, *, dtypes: bool, index: Any = None
) -> Table:
    """Values as the kind of table that the layout describes.

    Parameters
    ----------
    values : ndarray of shape (n_samples, n_features)
    layout : dict
        From `describe`.
    dtypes : bool
        Whether to restore the dtypes as well: rows have them, means stay float.
    index : pandas Index or None, default=None
        For a pandas frame.

    Returns
    -------
    table : ndarray, pandas DataFrame or polars DataFrame
    """
    levels = layout["levels"]
    if layout["container"] == "array" and not levels:
        return _cast(values, layout["dtype"]) if dtypes else values
    columns = [
        _labels(column, levels[j]) if j in levels else column
        for j, column in enumerate(values.T)
    ]
    if layout["container"] == "array":
        return np.column_stack([column.astype(object) for column in columns])
    kept = [
        dtype if dtypes or j in levels else None
        for j, dtype in enumerate(layout["dtypes"])
    ]
    columns = [
        column if dtype is None or j in levels else _cast(column, dtype)
        for j, (column, dtype) in enumerate(zip(columns, kept, strict=True))
    ]
    if layout["container"] == "polars":
        return _polars_frame(layout["columns"], columns, kept, levels)
    kept = [
        _pandas_labels(str(dtype), levels[j], layout["ordered"][j])
        if j in levels and dtype is not None
        else _pandas_numbers(dtype)
        for j, dtype in enumerate(kept)
    ]
    return _pandas_frame(layout["columns"], columns, kept, index)


def fill(X: Table, holes: np.ndarray, values: np.ndarray, layout: Layout) -> Table:
    """A copy of a table with its holes filled, all else as it was.

    A column that holds nothing, such as an empty one of a file, may be of any dtype. If
    that cannot hold what the column held in fit, it becomes the dtype of the fit.

    Parameters
    ----------
    X : ndarray, CSR matrix, pandas DataFrame or polars DataFrame
    holes : ndarray of shape (n_samples, n_features), bool
    values : ndarray of shape (n_samples, n_features)
        Of which those at the holes are taken.
    layout : dict
        From `describe`, of a table of the same columns.
    """
    holes = holes & ~np.isnan(values).any(axis=0)  # less columns that fit saw empty
    is_filled = np.asarray(holes.any(axis=0))
    # Of the other columns nothing is taken, whatever their dtypes can hold.
    values = np.where(is_filled, values, 0.0)
    container = _container(X)
    if container == "array":
        filled = X.copy()
        typed = restore(values, {**layout, "container": "array"}, dtypes=False)
        new = typed[holes]
        filled[holes] = new if X.dtype == object else _cast(new, str(X.dtype))
        return filled
    dtypes = [
        str(dtype) if filled else None
        for dtype, filled in zip(X.dtypes, is_filled, strict=True)
    ]
    for j in np.flatnonzero(holes.all(axis=0)):
        if not _can_hold(str(dtypes[j]), values[:, j], layout["levels"].get(j)):
            alike = container == layout["container"]
            dtypes[j] = layout["dtypes"][j] if alike else None
    own = {
        **layout,
        "container": container,
        "columns": X.columns,
        "dtypes": dtypes,
        "levels": {j: of_j for j, of_j in layout["levels"].items() if is_filled[j]},
    }
    typed = restore(values, own, dtypes=True, index=getattr(X, "index", None))
    fill_frame = _filled_pandas if container == "pandas" else _filled_polars
    return fill_frame(X, typed, holes, np.flatnonzero(is_filled))


def _filled_pandas(
    X: Table, typed: Table, holes: np.ndarray, places: np.ndarray
) -> Table:
    filled = X.copy()
    for j in places:
        column, values = X.iloc[:, j], typed.iloc[:, j]
        if not holes[:, j].all():
            if column.dtype == "category":
                column = column.astype(values.dtype)
            values = column.mask(holes[:, j], values)
        filled.isetitem(j, values)
    return filled


def _filled_polars(
    X: Table, typed: Table, holes: np.ndarray, places: np.ndarray
) -> Table:
    import polars as pl

    columns = X.get_columns()
    for j in places:
        values = typed.to_series(int(j))
        if not holes[:, j].all():
            known = columns[j].cast(values.dtype)
            values = values.zip_with(pl.Series(holes[:, j]), known)
        columns[j] = values
    return pl.DataFrame(columns)


def _can_hold(dtype: str, values: np.ndarray, levels: Sequence[Any] | None) -> bool:
    """Whether a dtype, as it prints, is one of such numbers, or of such labels."""
    if dtype in ("object", "category"):  # of pandas: of anything
        return True
    name = dtype.lower()
    if levels is None:
        is_bool = name.startswith("bool")
        numeric = name.startswith(("float", "double", "int", "uint", "decimal"))
        return numeric or (is_bool and bool(np.isin(values, (0.0, 1.0)).all()))
    kind: tuple[str, ...] = ()
    if all(isinstance(level, str) for level in levels):
        kind = ("str", "large_str", "categorical", "enum", "dictionary<values=str")
    elif all(isinstance(level, bool) for level in levels):
        kind = ("bool",)
    return name.startswith(kind)


def append(X: Table, names: Sequence[str], columns: np.ndarray) -> Table:
    """A table with further columns.

    Parameters
    ----------
    X : ndarray, pandas DataFrame or polars DataFrame
    names : list of str
    columns : ndarray of shape (n_samples, n_names)
    """
    container = _container(X)
    if container == "array":
        return np.hstack([X, columns.astype(X.dtype)])
    if container == "pandas":
        import pandas as pd

        return pd.concat(
            [X, pd.DataFrame(columns, index=X.index, columns=names)], axis=1
        )
    import polars as pl

    added = [
        pl.Series(name, column) for name, column in zip(names, columns.T, strict=True)
    ]
    return X.with_columns(added)


def column_labels(layout: Layout, n_features: int) -> list[Any]:
    """What the columns are called: their labels, or their numbers."""
    return layout.get("columns", list(range(n_features)))


def taken(X: Table, rows: np.ndarray) -> Table:
    """Some rows of X, by an array of their positions, in its container."""
    if hasattr(X, "iloc"):
        return X.iloc[rows]
    if hasattr(X, "columns"):
        return X[rows.tolist()]
    if issparse(X):
        return X.tocsr()[rows]
    return np.asarray(as_table(X))[rows]


def _container(X: Table) -> str:
    if not hasattr(X, "columns"):
        return "array"
    return "polars" if type(X).__module__.split(".")[0] == "polars" else "pandas"


def _labels(codes: np.ndarray, levels: Sequence[Any]) -> np.ndarray:
    """The levels at some positions, None for holes, as an object array."""
    lookup = np.empty(len(levels) + 1, dtype=object)
    lookup[:-1] = levels
    return lookup[np.where(np.isnan(codes), len(levels), codes).astype(np.int64)]


def _cast(values: np.ndarray, dtype: str) -> np.ndarray:
    """Numbers as a dtype holds them: whole numbers rounded and within its range."""
    # Nullable and Arrow dtypes: "Int64", "int64[pyarrow]".
    name = dtype.lower().split("[")[0]
    if np.isnan(values).any():
        return values
    if name.startswith(("int", "uint")):
        return _whole(values, name)
    if name.startswith("bool"):
        return values > 0.5
    if name.startswith("float"):
        ends = np.finfo(name)
        return values.clip(ends.min, ends.max).astype(name)
    if name.startswith("decimal"):
        precision, scale = map(int, re.findall(r"-?\d+", dtype)[-2:])
        beyond = np.nextafter(10.0 ** (precision - scale), 0)
        largest = min((10.0**precision - 1) / 10.0**scale, beyond)
        return values.clip(-largest, largest)
    return values


def _whole(values: np.ndarray, dtype: str) -> np.ndarray:
    """Numbers as a dtype of whole numbers; as floats where NumPy has none so wide."""
    signed = dtype.startswith("int")
    n_bits = int(dtype.lstrip("uint"))
    least, largest = (-1.0 if signed else 0.0) * 2.0 ** (n_bits - 1), 2.0**n_bits
    if signed:
        largest /= 2
    # Of large numbers the next float below the bound: 2**63 does not fit an int64.
    largest = np.nextafter(largest, 0) if n_bits > 53 else largest - 1
    values = np.rint(values).clip(least, largest)
    return values if n_bits > 64 else values.astype(dtype)


def _pandas_frame(
    labels: Sequence[Any], columns: Sequence[Any], dtypes: Sequence[Any], index: Any
) -> Table:
    import pandas as pd

    frame = pd.DataFrame(
        {
            j: pd.Series(column, index=index, dtype=dtype)
            for j, (column, dtype) in enumerate(zip(columns, dtypes, strict=True))
        }
    )
    frame.columns = labels
    return frame


def _pandas_numbers(dtype: str | None) -> Any:
    """A dtype of numbers, from how it prints."""
    decimals = re.match(r"(decimal\d+)\((-?\d+), (-?\d+)\)", str(dtype))
    if decimals is None:
        return dtype
    # Arrow's, which pandas cannot read from their name.
    import pandas as pd
    import pyarrow as pa

    kind, precision, scale = decimals.groups()
    return pd.ArrowDtype(getattr(pa, kind)(int(precision), int(scale)))


def _pandas_labels(dtype: str, levels: Sequence[Any], ordered: bool) -> Any:
    """A dtype of labels, from how it prints."""
    import pandas as pd

    if dtype == "category":
        return pd.CategoricalDtype(levels, ordered=ordered)
    if not dtype.startswith("dictionary<"):
        return dtype
    # Arrow's categories, which pandas cannot read from their name.
    import pyarrow as pa

    names = dict(re.findall(r"(values|indices)=(\w+)", dtype))
    kinds = pa.type_for_alias(names["indices"]), pa.type_for_alias(names["values"])
    return pd.ArrowDtype(pa.dictionary(*kinds, ordered="ordered=1" in dtype))


def _polars_frame(
    labels: Sequence[Any],
    columns: Sequence[Any],
    dtypes: Sequence[Any],
    levels: Mapping[int, Sequence[Any]],
) -> Table:
    import polars as pl

    series = []
    for j, (label, column, dtype) in enumerate(
        zip(labels, columns, dtypes, strict=True)
    ):
        if j in levels:
            # Arguments, as of Categorical, say how labels are stored or sorted.
            name = "" if dtype is None else dtype.partition("(")[0]
            dtype = pl.Enum(levels[j]) if name == "Enum" else getattr(pl, name, None)
            series.append(pl.Series(label, column.tolist(), dtype=dtype))
        else:
            column = pl.Series(label, column)
            dtype = None if dtype in (None, "Null") else _polars_dtype(pl, dtype)
            series.append(column if dtype is None else column.cast(dtype))
    return pl.DataFrame(series)


def _polars_dtype(pl: ModuleType, text: str) -> Any:
    """A polars dtype from how it prints, such as ``Decimal(precision=10, scale=2)``."""
    name, _, arguments = text.partition("(")
    pairs = (pair.split("=") for pair in arguments.rstrip(")").split(", ") if pair)
    keywords = {key: int(value) for key, value in pairs}
    return getattr(pl, name)(**keywords)
