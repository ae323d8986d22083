"""Tables drawn at random: any mix of columns in any container, to test robustness.

Hypothesis draws a plan, a few words and numbers that shrink well; NumPy fills its cells
from the plan's seed. A plan prints as the Python that makes it again.
"""

import datetime
import decimal
import warnings
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
import polars as pl
import scipy.sparse
from hypothesis import strategies as st

__all__ = ["CHANGES", "ColumnPlan", "TablePlan", "changed", "changes", "table_plans"]

_WORDS = np.array(["", " ", "a", "B", "b", "no", "nan", "None", "1", "1e5", "é", "猫"])
_DAY = datetime.date(2020, 1, 1)
#: What a column of objects may hold beside each other.
_THINGS = [
    1,
    2.5,
    "a",
    "",
    None,
    np.nan,
    True,
    b"x",
    decimal.Decimal("1.5"),
    10**30,
    10**400,
]
_THINGS += [(1, 2), [3], {"k": 1}, _DAY, np.float32(2), pd.NA, pd.NaT]

#: Cells by kind, from the plan of a column, a number of rows and a random generator.
_FLOATS = {
    "normal": lambda rng, n: rng.normal(size=n),
    "heavy": lambda rng, n: rng.standard_cauchy(n),
    "skewed": lambda rng, n: rng.lognormal(sigma=4.0, size=n),
    "counts": lambda rng, n: rng.poisson(3.0, n).astype(float),
    "binary": lambda rng, n: rng.integers(0, 2, n).astype(float),
    "share": lambda rng, n: rng.random(n),
    "constant": lambda rng, n: np.full(n, rng.normal()),
    "zeros": lambda rng, n: np.zeros(n),
    "spike": lambda rng, n: np.where(rng.random(n) < 0.5, 0.0, rng.normal(size=n)),
    "one_off": lambda rng, n: np.where(np.arange(n) == n - 1, 1.0, 0.0),
}
_INTEGERS = {
    "int8": lambda rng, n: rng.integers(-128, 128, n).astype("int8"),
    "uint8": lambda rng, n: rng.integers(0, 3, n).astype("uint8"),
    "int64": lambda rng, n: rng.integers(-(2**63), 2**63 - 1, n),
    "uint64": lambda rng, n: rng.integers(0, 2**64 - 1, n, dtype="uint64"),
    "bool": lambda rng, n: rng.random(n) < 0.3,
}
_LABELS = {
    "text": lambda rng, n: rng.choice(_WORDS, n).astype(object),
    "two_words": lambda rng, n: rng.choice(["yes", "no"], n).astype(object),
    "one_word": lambda rng, n: np.full(n, "same", dtype=object),
    "names": lambda rng, n: np.array([f"id {i}" for i in rng.permutation(n)], object),
    "prose": lambda rng, n: np.array(
        [f"words that go on and on, number {i} of many" for i in rng.permutation(n)],
        object,
    ),
    "yes_or_no": lambda rng, n: (rng.random(n) < 0.5).astype(object),
    "bytes": lambda rng, n: rng.choice([b"a", b"b", b"c"], n).astype(object),
}
_REFUSED = {
    "dates": lambda rng, n: np.array(
        [_DAY + datetime.timedelta(int(i)) for i in rng.integers(0, 9, n)], object
    ),
    "datetime64": lambda rng, n: rng.integers(0, 9, n).astype("datetime64[D]"),
    "timedelta64": lambda rng, n: rng.integers(0, 9, n).astype("timedelta64[s]"),
    "complex": lambda rng, n: rng.normal(size=n) + 1j,
}


def _things(rng, n):
    cells = np.empty(n, dtype=object)
    for i, place in enumerate(rng.integers(0, len(_THINGS), n)):
        cells[i] = _THINGS[place]
    return cells


_OBJECTS = {
    "things": _things,
    "numbers_as_objects": lambda rng, n: rng.normal(size=n).astype(object),
    "numbers_as_text": lambda rng, n: rng.normal(size=n).astype(str).astype(object),
    "big_integers": lambda rng, n: np.array([10**30 + i for i in range(n)], object),
    "decimals": lambda rng, n: np.array(
        [decimal.Decimal(int(i)) / 8 for i in rng.integers(-99, 99, n)], object
    ),
}
KINDS = {**_FLOATS, **_INTEGERS, **_LABELS, **_OBJECTS, **_REFUSED}

#: Dtypes of pandas that a column may be cast to where its cells allow it.
_PANDAS_DTYPES = [
    *("category", "ordered", "string", "Int64", "Float64", "boolean", "Float32"),
    *("int64[pyarrow]", "double[pyarrow]", "float[pyarrow]", "bool[pyarrow]"),
    *("string[pyarrow]", "dictionary[pyarrow]", "decimal128(20, 4)[pyarrow]"),
    *("Sparse[float]", "float16", "float32", "object"),
]
_POLARS_DTYPES = ["Categorical", "Enum", "Float32", "Int16", "Decimal", "Boolean"]
_ARRAYS = ["array", "float32", "float16", "fortran", "read_only", "strided", "list"]
_ARRAYS += ["objects", "csr", "csc_matrix", "coo", "masked", "big_endian"]
_CONTAINERS = [*_ARRAYS, "pandas", "pandas", "pandas", "pandas", "polars", "polars"]
_INDEXES = ["range", "multi", "text", "repeated", "dates"]
_NAMES = ["text", "numbers", "mixed", "repeated", "multi", "tuples", "empty", "none"]


@dataclass(frozen=True)
class ColumnPlan:
    """What a column holds: see `KINDS`."""

    kind: str
    exponent: int = 0
    offset: float = 0.0
    holes: float = 0.0
    infinite: bool = False
    dtype: str | None = None


@dataclass(frozen=True)
class TablePlan:
    """How a table is made; `make` makes it."""

    columns: tuple[ColumnPlan, ...]
    n_rows: int
    container: str = "array"
    names: str = "text"
    index: str = "range"
    copies: bool = False
    seed: int = 0
    unseen: frozenset[int] = field(default_factory=frozenset)

    def cells(self):
        """A list of columns, each an array of cells."""
        cells = []
        for j, plan in enumerate(self.columns):
            rng = np.random.default_rng([self.seed, j])
            cells.append(_cells(plan, self.n_rows, rng, j in self.unseen))
        if self.copies:
            cells = [column[np.arange(self.n_rows) // 3 * 3] for column in cells]
        return cells

    def labels(self):
        """What the columns are called."""
        n = len(self.columns)
        return {
            "text": [f"column {j}" for j in range(n)],
            "numbers": [10 + j for j in range(n)],
            "mixed": [j if j % 2 else f"{j}" for j in range(n)],
            "repeated": [f"column {j // 2}" for j in range(n)],
            "multi": pd.MultiIndex.from_product([["top"], [f"{j}" for j in range(n)]]),
            "tuples": [(j, j + 1) for j in range(n)],
            "empty": [" " * j for j in range(n)],
            "none": [None, *(f"{j}" for j in range(1, n))][:n],
        }[self.names]

    def make(self):
        """The table."""
        cells = self.cells()
        fill = {"pandas": self._pandas, "polars": self._polars}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of casts that lose something
            return fill.get(self.container, self._array)(cells)

    def _array(self, cells):
        if not cells:
            return np.empty((self.n_rows, 0))
        numeric = all(column.dtype.kind in "buif" for column in cells)
        if self.container == "objects" or not numeric:
            X = np.empty((self.n_rows, len(cells)), dtype=object)
            for j, column in enumerate(cells):
                X[:, j] = column
            return X.tolist() if self.container == "list" else X
        with np.errstate(over="ignore"):
            X = np.column_stack(cells)
            return {
                "array": lambda: X,
                "float32": lambda: X.astype("float32"),
                "float16": lambda: X.astype("float16"),
                "fortran": lambda: np.asfortranarray(X),
                "read_only": lambda: _read_only(X),
                "strided": lambda: np.repeat(X, 2, axis=1)[:, ::2],
                "list": X.tolist,
                "csr": lambda: scipy.sparse.csr_array(X),
                "csc_matrix": lambda: scipy.sparse.csc_matrix(X),
                "coo": lambda: scipy.sparse.coo_array(X),
                "masked": lambda: np.ma.masked_array(X, mask=X > 1),
                "big_endian": lambda: X.astype(X.dtype.newbyteorder(">")),
            }[self.container]()

    def _pandas(self, cells):
        columns = [
            _as_pandas(column, plan.dtype)
            for column, plan in zip(cells, self.columns, strict=True)
        ]
        frame = pd.DataFrame(dict(enumerate(columns)), index=range(self.n_rows))
        frame.columns = self.labels()
        places = range(self.n_rows)
        frame.index = {
            "range": lambda: pd.RangeIndex(self.n_rows),
            "multi": lambda: pd.MultiIndex.from_arrays([places, places], names=[*"ab"]),
            "text": lambda: pd.Index([f"row {i}" for i in places], dtype=object),
            "repeated": lambda: pd.Index([i // 2 for i in places], dtype="int64"),
            "dates": lambda: pd.date_range("2020-01-01", periods=self.n_rows),
        }[self.index]()
        return frame

    def _polars(self, cells):
        return pl.DataFrame(
            [
                _as_polars(f"column {j}", column, plan.dtype)
                for j, (column, plan) in enumerate(
                    zip(cells, self.columns, strict=True)
                )
            ]
        )


def _cells(plan, n_rows, rng, unseen):
    column = KINDS[plan.kind](rng, n_rows)
    if plan.kind in _FLOATS:
        column = column * 10.0**plan.exponent + plan.offset
        if plan.infinite and n_rows:
            column[rng.integers(n_rows)] = rng.choice([np.inf, -np.inf])
    holes = rng.random(n_rows) < plan.holes
    if plan.kind in _FLOATS:
        column[holes] = np.nan
    elif column.dtype == object:
        for i in np.flatnonzero(holes):
            column[i] = [None, np.nan, pd.NA][i % 3]
    if unseen and plan.kind in _LABELS and n_rows:
        column[-1] = b"unseen" if plan.kind == "bytes" else "unseen"
    return column


def _read_only(X):
    X.flags.writeable = False
    return X


def _as_pandas(column, dtype):
    series = pd.Series(column)
    if dtype is None:
        return series
    try:
        if dtype == "ordered":
            return series.astype("category").cat.as_ordered()
        if dtype == "dictionary[pyarrow]":
            import pyarrow

            kind = pyarrow.dictionary(pyarrow.int32(), pyarrow.string())
            return series.astype(pd.ArrowDtype(kind))
        with np.errstate(all="ignore"):
            return series.astype(dtype)
    except (TypeError, ValueError, ArithmeticError, NotImplementedError):
        return series  # such cells have no such dtype


def _as_polars(name, column, dtype):
    plain = [None if cell is pd.NA or cell is pd.NaT else cell for cell in column]
    if column.dtype.kind in "buif" and column.dtype != np.float16:
        series = pl.Series(name, column)
    else:
        try:
            series = pl.Series(name, plain)
        except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError):
            series = pl.Series(name, plain, dtype=pl.Object)
    if dtype not in _POLARS_DTYPES:
        return series
    try:
        if dtype == "Enum":
            return series.cast(pl.Enum(series.drop_nulls().unique().sort()))
        return series.cast(getattr(pl, dtype))
    except (TypeError, ValueError, pl.exceptions.PolarsError):
        return series


_FINE = st.builds(
    ColumnPlan,
    kind=st.sampled_from([*_FLOATS, *_FLOATS, *_INTEGERS, *_LABELS]).filter(
        lambda kind: kind != "prose"
    ),
    exponent=st.one_of(st.just(0), st.integers(-3, 3), st.integers(-30, 30)),
    offset=st.sampled_from([0.0, 0.0, 0.0, 1.0, -1e6, 1e15]),
    holes=st.sampled_from([0.0, 0.0, 0.0, 0.1, 0.5, 0.9, 1.0]),
    dtype=st.one_of(st.none(), st.sampled_from([*_PANDAS_DTYPES, *_POLARS_DTYPES])),
)
_NUMBERS = st.builds(
    ColumnPlan,
    kind=st.sampled_from([*_FLOATS, *_FLOATS, *_INTEGERS]),
    exponent=st.one_of(st.just(0), st.integers(-3, 3), st.integers(-30, 30)),
    offset=st.sampled_from([0.0, 0.0, 0.0, 1.0, -1e6, 1e15]),
    holes=st.sampled_from([0.0, 0.0, 0.0, 0.2, 0.9, 1.0]),
)
#: One of these is enough for a table to be refused, mostly.
_TROUBLE = st.builds(
    ColumnPlan,
    kind=st.sampled_from([*_REFUSED, *_OBJECTS, *_OBJECTS, "prose", "normal"]),
    holes=st.sampled_from([0.0, 0.0, 0.5]),
    infinite=st.just(True),
    dtype=st.one_of(st.none(), st.sampled_from([*_PANDAS_DTYPES, *_POLARS_DTYPES])),
)


@st.composite
def _columns(draw):
    kind = draw(st.sampled_from([_FINE, _NUMBERS]))
    n = draw(st.one_of(st.integers(1, 5), st.integers(1, 40)))
    columns = draw(st.lists(kind, min_size=n, max_size=n))
    if draw(st.integers(0, 4)) == 4:
        columns[draw(st.integers(0, n - 1))] = draw(_TROUBLE)
    return tuple(columns)


def table_plans():
    """A strategy: plans of tables of up to 60 rows and 40 columns."""
    return st.builds(
        TablePlan,
        columns=_columns(),
        n_rows=st.one_of(st.integers(2, 60), st.integers(0, 60)),
        container=st.sampled_from(_CONTAINERS),
        names=st.one_of(st.just("text"), st.sampled_from(_NAMES)),
        index=st.sampled_from(_INDEXES),
        copies=st.sampled_from([False, False, True]),
        seed=st.integers(0, 2**16),
    )


def _with_columns(plan, **changes):
    return replace(plan, columns=tuple(replace(c, **changes) for c in plan.columns))


#: How rows that come after a fit may differ from those of the fit, by name.
CHANGES = {
    "the same": lambda plan: plan,
    "other rows": lambda plan: replace(plan, seed=plan.seed + 1),
    "one row": lambda plan: replace(plan, n_rows=1),
    "no rows": lambda plan: replace(plan, n_rows=0),
    "holes": lambda plan: _with_columns(plan, holes=0.3),
    "all holes": lambda plan: _with_columns(plan, holes=1.0),
    "all holes, as numbers": lambda plan: _with_columns(plan, kind="normal", holes=1.0),
    "all holes, as text": lambda plan: _with_columns(plan, kind="text", holes=1.0),
    "far away": lambda plan: _with_columns(plan, exponent=30),
    "infinite": lambda plan: _with_columns(plan, infinite=True),
    "unseen labels": lambda plan: replace(
        plan, unseen=frozenset(range(len(plan.columns)))
    ),
    "one column less": lambda plan: replace(plan, columns=plan.columns[:-1]),
    "one column more": lambda plan: replace(
        plan, columns=(*plan.columns, ColumnPlan("normal"))
    ),
    "reordered": lambda plan: replace(plan, columns=plan.columns[::-1]),
    "renamed": lambda plan: replace(plan, names="numbers"),
    "as pandas": lambda plan: replace(plan, container="pandas"),
    "as polars": lambda plan: replace(plan, container="polars"),
    "as objects": lambda plan: replace(plan, container="objects"),
    "as float32": lambda plan: replace(plan, container="float32"),
    "other kinds": lambda plan: replace(
        plan, columns=(*plan.columns[1:], ColumnPlan("text"))
    ),
}


def changes():
    """A strategy: one of `CHANGES` or two, one after the other."""
    names = st.sampled_from([*CHANGES])
    return st.lists(names, min_size=1, max_size=2, unique=True).map(tuple)


def changed(plan, *changes):
    """The rows that some of `CHANGES` make of a plan."""
    for change in changes:
        plan = CHANGES[change](plan)
    return plan.make()
