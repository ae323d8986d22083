"""The user's columns to inputs, targets and observed, and back.

The encoder network reads *inputs*: numbers, and codes of levels. The likelihood
describes *targets*: each column in the units that its likelihood has. *Observed* marks
the cells that are not holes. Inside, columns stand in blocks, one for each likelihood;
outside, in the user's order.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike
from sklearn.utils import gen_batches

from skvae import frames, likelihoods
from skvae.codecs import CODECS, FURTHEST, Codec, Standardized, TooLarge
from skvae.columns import Chosen
from skvae.core.reader import Reader
from skvae.core.rows import EncodedRows, gather
from skvae.frames import Layout, Matrix
from skvae.settings import from_state, to_state

__all__ = ["TableEncoder", "chunks"]

_ROWS_AT_ONCE, _ENTRIES_AT_ONCE = 16_384, 1_000_000
_NO_CODE = -1.0


class TableEncoder:
    """Columns of X <-> inputs, targets and observed.

    Parameters
    ----------
    blocks : list of dict
        For each block its "columns" (their numbers), its "likelihood", and the "state"
        of its codec, as plain data.
    gaps : ndarray of int
        Positions, among all columns in the order of blocks, of those with holes in
        training: whether they are observed is told to the encoder network.
    whole : list of list
        Numbers of the columns of whole numbers, the least value of each, the largest.
    layout : dict
        The kind of table that was given, from `frames.describe`.
    """

    def __init__(
        self,
        blocks: list[dict[str, Any]],
        gaps: np.ndarray,
        whole: list[list[Any]],
        layout: Layout,
    ) -> None:
        self.blocks = blocks
        self.gaps = gaps
        self.whole = whole
        self.layout = layout
        self._columns = [np.asarray(block["columns"]) for block in blocks]
        self._order = np.concatenate(self._columns)
        self._place = np.argsort(self._order)
        self.n_features = len(self._order)
        #: Whether blocks keep the user's order of columns.
        self.in_order = bool((self._order == np.arange(self.n_features)).all())
        self._families = [
            from_state(block["likelihood"], likelihoods.FAMILIES) for block in blocks
        ]
        self._codecs = [
            CODECS[family.codec](**block["state"])
            for family, block in zip(self._families, blocks, strict=True)
        ]
        #: What stands in the targets for a hole.
        self._blank = np.concatenate(
            [np.full(len(columns), codec.blank) for columns, codec in self._blocks()]
        )

    @classmethod
    def fit(
        cls,
        X: Matrix,
        rows: np.ndarray,
        chosen: Sequence[Chosen],
        standardize: bool,
        layout: Layout,
    ) -> Self:
        """Learn scales, shares and bins from some rows.

        Parameters
        ----------
        X : ndarray or sparse matrix of shape (n_samples, n_features)
            Numbers, NaN for holes.
        rows : ndarray of shape (n_rows,)
            The training rows.
        chosen : list of Chosen
            The likelihood of each column.
        standardize : bool
        layout : dict

        Raises
        ------
        ValueError
            If a column's variance is beyond float64; the message names the column.
        """
        n_holes = _count_holes(X, rows)
        # A column without a number is one of holes, whatever is asked for.
        empty = Chosen(likelihoods.Gaussian(), None)
        chosen = [
            choice if n < len(rows) else empty
            for choice, n in zip(chosen, n_holes, strict=True)
        ]
        blocks = []
        for likelihood, columns in _grouped(chosen):
            levels = [chosen[j].levels for j in columns]
            arguments = _reader_of(X, rows, columns), len(columns), likelihood, levels
            kind = CODECS[likelihood.codec]
            codec: Codec
            try:
                if kind is Standardized:
                    codec = Standardized.fit(*arguments, standardize=standardize)
                else:
                    codec = kind.fit(*arguments)
            except TooLarge as error:
                label = frames.column_labels(layout, len(chosen))[
                    columns[error.args[0]]
                ]
                raise ValueError(
                    f"Column {label!r} holds values too large for its variance to be a "
                    "float64: divide it by a constant first."
                ) from error
            n_levels = codec.n_levels()
            if n_levels is not None:
                likelihood = likelihood.with_levels(n_levels)
            blocks.append(
                {
                    "columns": np.array(columns),
                    "likelihood": to_state(likelihood, likelihoods.FAMILIES),
                    "state": codec.get_state(),
                }
            )
        order = np.concatenate([block["columns"] for block in blocks])
        whole = [j for j in _whole_columns(layout, chosen) if n_holes[j] < len(rows)]
        return cls(
            blocks,
            np.flatnonzero(n_holes[order] > 0),
            [whole, *_ranges(X, rows, whole)],
            layout,
        )

    def recentre(self, mean: np.ndarray, scale: np.ndarray) -> None:
        """Centre and scale standardised columns otherwise, in place.

        Parameters
        ----------
        mean, scale : ndarray of shape (n_features,)
            In the user's order of columns. NaN leaves a column as it is.
        """
        for columns, codec in self._blocks():
            if isinstance(codec, Standardized):
                for old, new in ((codec.offset, mean), (codec.scale, scale)):
                    known = ~np.isnan(new[columns])
                    old[known] = new[columns][known]

    # ---- the shape of the model ----------------------------------------------------

    @property
    def likelihood(self) -> likelihoods.Likelihood | likelihoods.Blocks:
        """The likelihood of a whole row, columns in the order of blocks."""
        if len(self._families) == 1:
            return self._families[0]
        sizes = map(len, self._columns)
        return likelihoods.Blocks(list(zip(self._families, sizes, strict=True)))

    def reader(self) -> Reader:
        """What spreads the inputs out for the encoder network."""
        n_levels: list[int] = []
        n_numbers = 0
        for columns, codec in zip(self._columns, self._codecs, strict=True):
            if codec.writes_codes:
                n_levels += codec.n_levels() or ()
            elif codec.is_read:
                n_numbers += len(columns)
        return Reader(n_numbers, len(self.gaps), n_levels)

    def moments(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Moments of the targets' statistic, as `Likelihood.start` takes them.

        Parameters
        ----------
        X : ndarray of shape (n_rows, n_features)
            Dense training rows.

        Returns
        -------
        mean, variance : ndarray of shape (n_means,)
        """
        means, variances = [], []
        for family, columns, codec in zip(
            self._families, self._columns, self._codecs, strict=True
        ):
            if codec.n_levels() is not None:
                mean = np.concatenate(codec.shares)
                variance = mean * (1 - mean)
            else:
                _, targets = codec.encode(self._values(X, columns), FURTHEST["float64"])
                mean, variance = _moments(family.statistic(targets))
            means.append(mean)
            variances.append(variance)
        return np.concatenate(means), np.concatenate(variances)

    def columns_with_gaps(self) -> np.ndarray:
        """Numbers of the columns with holes in training, in ascending order."""
        return np.sort(self._order[self.gaps])

    @property
    def has_levels(self) -> bool:
        """Whether some columns can only take values that were seen in fit."""
        return any(codec.has_levels for codec in self._codecs)

    def chosen(self) -> list[Chosen]:
        """The likelihood of each column, in the user's order."""
        chosen: list[Any] = [None] * self.n_features
        for family, columns in zip(self._families, self._columns, strict=True):
            for j in columns:
                chosen[j] = Chosen(family, None)
        return chosen

    def describe(self) -> list[dict[str, Any]]:
        """The family and levels of each column, in the user's order."""
        descriptions: list[Any] = [None] * self.n_features
        labels = frames.column_labels(self.layout, self.n_features)
        for family, columns, codec in zip(
            self._families, self._columns, self._codecs, strict=True
        ):
            for place, j in enumerate(columns):
                descriptions[j] = {
                    "column": labels[j],
                    "family": _name(family),
                    "levels": self.layout["levels"].get(j) or codec.levels_of(place),
                }
        return descriptions

    # ---- rows ----------------------------------------------------------------------

    def encode(
        self,
        X: np.ndarray,
        dtype: DTypeLike = np.float32,
        furthest: float | None = None,
    ) -> EncodedRows:
        """Inputs, targets and observed of dense rows.

        The arithmetic is in float64; the answer is cast last. Where the targets are
        the inputs, they are the same array. Standardised values beyond `furthest` are
        read as that far out. Without holes, observed is None.

        Returns
        -------
        inputs : ndarray of shape (n_rows, n_inputs)
        targets, observed : ndarray of shape (n_rows, n_features)
        """
        furthest = furthest or FURTHEST[np.dtype(dtype).name]
        parts = [
            codec.encode(self._values(X, columns), furthest)
            for columns, codec in self._blocks()
        ]
        if len(parts) == 1 and not self._codecs[0].writes_codes and not len(self.gaps):
            inputs, targets = parts[0]
        else:
            inputs, targets = None, np.concatenate([part for _, part in parts], axis=1)
        with np.errstate(over="ignore"):
            any_holes = np.isnan(targets.sum())
        holes = np.isnan(targets) if any_holes else np.zeros_like(targets, bool)
        if inputs is None:
            inputs = self._assembled([part for part, _ in parts], holes)
        elif any_holes:
            inputs[np.isnan(inputs)] = 0.0
        if any_holes:
            targets[holes] = np.broadcast_to(self._blank, targets.shape)[holes]
        observed = (~holes).astype(dtype) if any_holes else None
        cast = inputs.astype(dtype, copy=False)
        if targets is inputs:
            return cast, cast, observed
        return cast, targets.astype(dtype, copy=False), observed

    def _assembled(self, parts: Sequence[np.ndarray], holes: np.ndarray) -> np.ndarray:
        """Numbers, the marks of holes, and codes, side by side."""
        numbers: list[np.ndarray] = []
        codes: list[np.ndarray] = []
        for part, codec in zip(parts, self._codecs, strict=True):
            missing = np.isnan(part)
            filled = np.where(missing, _NO_CODE if codec.writes_codes else 0.0, part)
            (codes if codec.writes_codes else numbers).append(filled)
        return np.concatenate([*numbers, holes[:, self.gaps], *codes], axis=1)

    def decode(self, targets: np.ndarray) -> np.ndarray:
        """Targets that a likelihood drew, as rows in the user's order and units."""
        return self._decoded("decode", targets, [len(c) for c in self._columns])

    def points(self, means: np.ndarray, modes: bool = False) -> np.ndarray:
        """Means as rows: means of numbers, the likeliest of levels.

        Of two levels that are numbers it is their mean, unless `modes` are asked for.
        """
        widths = [
            family.n_means(len(columns))
            for family, columns in zip(self._families, self._columns, strict=True)
        ]
        points = self._decoded("modes" if modes else "points", means, widths)
        labelled = list(self.layout["levels"])
        points[:, labelled] = np.rint(points[:, labelled])
        return points

    def _decoded(
        self, method: str, values: np.ndarray, widths: Sequence[int]
    ) -> np.ndarray:
        parts = np.split(values, np.cumsum(widths)[:-1], axis=1)
        parts = [
            getattr(codec, method)(part)
            for codec, part in zip(self._codecs, parts, strict=True)
        ]
        return self.by_column(np.concatenate(parts, axis=1))

    def log_jacobian(self, X: np.ndarray) -> np.ndarray:
        """What each cell adds to a log-density of targets, (n_rows, n_features)."""
        added = np.zeros(X.shape)
        for columns, codec in self._blocks():
            added[:, columns] = codec.log_jacobian(self._values(X, columns))
        added[np.isnan(X)] = 0.0
        return added

    def standardized(self, X: np.ndarray) -> np.ndarray:
        """Numbers in standardised units, as the encoder reads them; 0 for levels."""
        standardized = np.zeros(X.shape)
        for columns, codec in self._blocks():
            if codec.is_read and not codec.writes_codes:
                inputs, _ = codec.encode(self._values(X, columns), FURTHEST["float64"])
                standardized[:, columns] = inputs
        return standardized

    def errors(
        self, X: np.ndarray, points: np.ndarray, probabilities: np.ndarray
    ) -> np.ndarray:
        """Squared distance of numbers to points, in standardised units.

        One minus the probability of the level for levels; 0 for holes, and for columns
        that had no number in fit.
        """
        errors = np.square(self.standardized(X) - self.standardized(points))
        for columns, codec in self._blocks():
            if codec.has_levels:
                errors[:, columns] = 1 - probabilities[:, columns]
        errors[np.isnan(X) | np.isnan(errors)] = 0.0
        return errors

    def by_column(self, values: np.ndarray) -> np.ndarray:
        """What stands in the order of blocks, in the user's order."""
        return values if self.in_order else values[:, self._place]

    def restrict(self, X: np.ndarray) -> np.ndarray:
        """Whole numbers rounded, and within the range seen in training, in place."""
        columns, low, high = self.whole
        if columns:
            X[:, columns] = np.rint(X[:, columns]).clip(low, high)
        return X

    def unknown(self, X: np.ndarray) -> np.ndarray | None:
        """Mask of the values that are none of their columns' levels, or None."""
        unknown = None
        for columns, codec in self._blocks():
            if codec.has_levels:
                mask = codec.unknown(self._values(X, columns))
                if mask.any():
                    unknown = np.zeros(X.shape, bool) if unknown is None else unknown
                    unknown[:, columns] = mask
        return unknown

    def _blocks(self) -> Iterator[tuple[np.ndarray, Codec]]:
        return zip(self._columns, self._codecs, strict=True)

    def _values(self, X: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """The block's columns, as float64; not to be written to."""
        if self.in_order and len(self.blocks) == 1:
            return X.astype(np.float64, copy=False)
        return X[:, columns].astype(np.float64, copy=False)

    # ---- state ---------------------------------------------------------------------

    def get_state(self) -> dict[str, Any]:
        """Plain data from which `from_state` makes the encoder again."""
        names = ("blocks", "gaps", "whole", "layout")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Inverse of `get_state`."""
        return cls(**state)


def _grouped(
    chosen: Sequence[Chosen],
) -> Iterator[tuple[likelihoods.Likelihood, list[int]]]:
    """Blocks of columns with equal likelihoods, those that write codes last."""
    groups: dict[likelihoods.Likelihood, list[int]] = {}
    for j, (likelihood, _) in enumerate(chosen):
        groups.setdefault(likelihood, []).append(j)

    def place(group: tuple[likelihoods.Likelihood, list[int]]) -> tuple[bool, int]:
        likelihood, columns = group
        return CODECS[likelihood.codec].writes_codes, columns[0]

    for likelihood, columns in sorted(groups.items(), key=place):
        if CODECS[likelihood.codec].writes_codes:
            # Few levels first: columns with equally many are then summed together.
            columns = sorted(columns, key=lambda j: len(chosen[j].levels or ()))
        yield likelihood, columns


def chunks(X: Matrix, rows: np.ndarray) -> Iterator[np.ndarray]:
    """Some rows of X, ascending, a few at a time and dense; not to be written to."""
    n_at_once = max(1, min(_ROWS_AT_ONCE, _ENTRIES_AT_ONCE // X.shape[1]))
    for batch in gen_batches(len(rows), n_at_once):
        some = rows[batch]
        if some[-1] - some[0] == len(some) - 1:  # neighbours need no copy
            some = slice(some[0], some[-1] + 1)
        yield gather(X, some)


def _moments(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means and variances of columns; 0 and 1 of those without a finite number."""
    with np.errstate(over="ignore", invalid="ignore"):
        mean = values.mean(axis=0)
        centered = values - mean
        variance = np.einsum("ij,ij->j", centered, centered) / len(values)
    if np.isfinite(mean).all() and np.isfinite(variance).all():
        return mean, variance
    known = np.ma.masked_invalid(values)
    return known.mean(axis=0).filled(0.0), known.var(axis=0).filled(1.0)


def _reader_of(
    X: Matrix, rows: np.ndarray, columns: list[int]
) -> Callable[[], Iterator[np.ndarray]]:
    """What iterates over some columns, as `Codec.fit` wants it."""
    whole = len(columns) == X.shape[1]

    def read() -> Iterator[np.ndarray]:
        for values in chunks(X, rows):
            part = values if whole else values[:, columns]
            yield part.astype(np.float64, copy=False)

    return read


def _count_holes(X: Matrix, rows: np.ndarray) -> np.ndarray:
    """Number of holes of each column."""
    n_holes = np.zeros(X.shape[1], dtype=np.int64)
    stored = X.data if hasattr(X, "toarray") else X
    # A glance, without a copy, is enough where there are none, which is most often.
    with np.errstate(over="ignore", invalid="ignore"):
        if not any(
            np.isnan(gather(stored, batch).sum())
            for batch in gen_batches(max(1, len(stored)), _ROWS_AT_ONCE)
        ):
            return n_holes
    for values in chunks(X, rows):
        n_holes += np.isnan(values).sum(axis=0)
    return n_holes


def _ranges(
    X: Matrix, rows: np.ndarray, columns: list[int]
) -> tuple[list[float], list[float]]:
    """The least and the largest number of some columns, as lists."""
    low, high = np.full(len(columns), np.inf), np.full(len(columns), -np.inf)
    if columns:
        for values in chunks(X, rows):
            low = np.fmin(low, np.fmin.reduce(values[:, columns], axis=0))
            high = np.fmax(high, np.fmax.reduce(values[:, columns], axis=0))
    return low.tolist(), high.tolist()


def _whole_columns(layout: Layout, chosen: Sequence[Chosen]) -> list[int]:
    """Columns of whole numbers, less those of labels."""
    if layout["container"] == "array" and layout["dtype"].startswith(("int", "uint")):
        return list(range(len(chosen)))
    return [j for j in layout["whole"] if j not in layout["levels"]]


def _name(family: likelihoods.Likelihood) -> str:
    for name, kind in likelihoods.FAMILIES.items():
        if type(family) is kind:
            return name
    return type(family).__name__.lower()
