"""The kind of table that the user gave, remembered and given back.

A layout is plain data: the container ("array", "pandas" or "polars"), and the labels
and dtypes of its columns. pandas and polars are imported only to give frames back.
"""

import numpy as np

__all__ = ["column_labels", "describe", "first_text", "non_numeric_columns", "restore"]


def describe(X):
    """The layout of an array-like or data frame.

    Returns
    -------
    layout : dict
        "container"; for arrays "dtype", for frames "columns" and "dtypes".
    """
    container = _container(X)
    if container == "array":
        return {"container": "array", "dtype": str(getattr(X, "dtype", "float64"))}
    return {
        "container": container,
        "columns": list(X.columns),
        "dtypes": [str(dtype) for dtype in X.dtypes],
    }


def restore(values, layout, *, dtypes, index=None):
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
    if layout["container"] == "array":
        return _cast(values, layout["dtype"]) if dtypes else values
    columns = list(values.T)
    kept = layout["dtypes"] if dtypes else [None] * len(columns)
    if dtypes:
        columns = [_cast(*pair) for pair in zip(columns, kept, strict=True)]
    if layout["container"] == "polars":
        return _polars_frame(layout["columns"], columns, kept)
    return _pandas_frame(layout["columns"], columns, kept, index)


def column_labels(layout, n_features):
    """What the columns are called: their labels, or their numbers."""
    return layout.get("columns", list(range(n_features)))


def non_numeric_columns(X):
    """Labels of the columns of a data frame that do not hold numbers."""
    container = _container(X)
    if container == "pandas":
        from pandas.api.types import is_numeric_dtype

        return [
            label
            for label, dtype in zip(X.columns, X.dtypes, strict=True)
            if not is_numeric_dtype(dtype)
        ]
    if container == "polars":
        return [
            label
            for label, dtype in X.schema.items()
            if not (dtype.is_numeric() or str(dtype) == "Boolean")
        ]
    return []


def first_text(X):
    """Label and value of the first cell that is not a number, or None."""
    if not hasattr(X, "columns"):
        X = np.asarray(X, dtype=object)
        columns = dict(enumerate(X.T)) if X.ndim == 2 else {}
    else:
        columns = {label: X[label] for label in X.columns}
    for label, column in columns.items():
        for value in column:
            try:
                float(value)
            except ValueError:
                return label, value
    return None


def _container(X):
    if not hasattr(X, "columns"):
        return "array"
    return "polars" if type(X).__module__.split(".")[0] == "polars" else "pandas"


def _cast(values, dtype):
    """Numbers as a dtype holds them: whole numbers rounded and within its range."""
    # Nullable and Arrow dtypes: "Int64", "int64[pyarrow]".
    name = dtype.lower().split("[")[0]
    if name.startswith(("int", "uint")):
        bounds = np.iinfo(name)
        # The largest float below the bound: 2**63 itself does not fit an int64.
        largest = (
            np.nextafter(float(bounds.max), 0) if bounds.bits == 64 else bounds.max
        )
        return np.rint(values).clip(bounds.min, largest).astype(name)
    if name.startswith("bool"):
        return values > 0.5
    if name.startswith("float"):
        bounds = np.finfo(name)
        return values.clip(bounds.min, bounds.max).astype(name)
    return values


def _pandas_frame(labels, columns, dtypes, index):
    import pandas as pd

    frame = pd.DataFrame(
        {
            j: pd.Series(column, index=index, dtype=dtype)
            for j, (column, dtype) in enumerate(zip(columns, dtypes, strict=True))
        }
    )
    frame.columns = labels
    return frame


def _polars_frame(labels, columns, dtypes):
    import polars as pl

    frame = pl.DataFrame(dict(zip(labels, columns, strict=True)))
    casts = {
        label: _polars_dtype(pl, dtype)
        for label, dtype in zip(labels, dtypes, strict=True)
        if dtype is not None
    }
    return frame.cast(casts)


def _polars_dtype(pl, text):
    """A polars dtype from how it prints, such as ``Decimal(precision=10, scale=2)``."""
    name, _, arguments = text.partition("(")
    pairs = (pair.split("=") for pair in arguments.rstrip(")").split(", ") if pair)
    keywords = {key: int(value) for key, value in pairs}
    return getattr(pl, name)(**keywords)
