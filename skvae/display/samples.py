"""SampleDisplay: are rows drawn from a model like those it was fitted to?"""

from collections.abc import Container, Sequence
from numbers import Integral
from textwrap import fill
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
from scipy.sparse import issparse
from sklearn.utils.validation import check_is_fitted

from skvae import frames
from skvae.display.style import (
    BLACK,
    BLUE,
    VERMILLION,
    column_name,
    numbers,
    pyplot,
    shortened,
)
from skvae.frames import Matrix, Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from skvae.base import BaseVAE

__all__ = ["SampleDisplay"]

#: The colours of X and of samples.
_COLOURS = BLUE, VERMILLION
#: Columns that are drawn, and rows that are sampled, at most, if nobody says how many.
_FEATURES, _SAMPLES = 4, 10_000
#: Points of a panel, at most, and how wide they are scattered around levels and whole
#: numbers.
_POINTS, _SCATTER = 1_000, 0.56
#: Whole numbers of so few values are drawn as levels, and of so few their points are
#: scattered; of labels, so many have a place.
_WHOLE_VALUES, _NEAR_VALUES, _LEVELS = 6, 30, 8
#: Bins of a histogram, at least and at most.
_BINS = 5, 30
#: Inches: the side of a panel, and what stands around all of them. The legend's height
#: by that of a panel.
_PANEL, _AROUND, _LEGEND = 2.1, 1.0, 0.1
#: Letters of a level, and of a line of a column's name.
_LETTERS, _LINE = 12, 20
#: Letters of all levels of a column, beyond which they are written upwards.
_CROWDED = 16


class SampleDisplay:
    """Rows of X beside samples of the model: columns by themselves and in pairs.

    On the diagonal stand the columns by themselves, X and samples in one panel: a
    histogram of numbers, with common bins, and bars side by side of labels. Heights are
    shares of the rows. Below it are pairs of columns in X, above it the same pairs in
    the samples, mirrored at the diagonal: with the same limits and equally many points,
    at most 1,000.

    A pair of numbers is drawn as points. A number and a label: points scattered around
    each level, with a black line at their median. Two labels: squares whose areas are
    shares of the rows, on the same scale in X and samples. Whole numbers of at most 6
    values are drawn as labels are; of at most 30, points are scattered around them,
    since many have one place. Of more than 8 levels the 7 commonest in X have a place,
    the others share one. Rows with a hole are left out of the panels that need the
    cell.

    Make one with `from_estimator`. All parameters are stored as attributes.

    Parameters
    ----------
    values : ndarray of shape (n_rows, n_features)
        Columns of X to be drawn, in the units of X: NaN for holes, labels as the
        positions of their levels.
    samples : ndarray of shape (n_samples, n_features)
        Likewise of the samples.
    feature_names : sequence of length n_features
        What the columns are called. Whole numbers are drawn as "column 0".
    levels : sequence of length n_features or None, default=None
        For each column the list of its labels, or None if it holds numbers. None: all
        hold numbers.

    Attributes
    ----------
    marginals_ : list of length n_features
        For each column the artists of X and of samples: StepPatch of numbers,
        BarContainer of levels.
    pairs_ : ndarray of shape (n_features, n_features)
        The artists of pairs: PathCollection, or BarContainer of two columns of levels.
        None on the diagonal.
    axes_ : ndarray of shape (n_features, n_features) of matplotlib Axes
        The panels.
    ax_ : matplotlib Axes
        The axes that they stand in the place of.
    figure_ : matplotlib Figure
        The figure that holds them.

    See Also
    --------
    VAETransformer.sample : The samples behind the picture.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sklearn.datasets import load_iris
    >>> from skvae import SampleDisplay, VAETransformer
    >>> X = load_iris(as_frame=True).frame
    >>> vae = VAETransformer(2, max_iter=20, random_state=0).fit(X)
    >>> display = SampleDisplay.from_estimator(
    ...     vae, X, features=["petal length (cm)", "target"], random_state=0
    ... )
    >>> display.axes_.shape
    (2, 2)
    >>> plt.close(display.figure_)
    """

    def __init__(
        self,
        values: np.ndarray,
        samples: np.ndarray,
        feature_names: Sequence[Any],
        *,
        levels: Sequence[list[Any] | None] | None = None,
    ) -> None:
        self.values = values
        self.samples = samples
        self.feature_names = feature_names
        self.levels = levels

    @classmethod
    def from_estimator(
        cls,
        estimator: "BaseVAE",
        X: Table,
        *,
        features: str | int | Sequence[Any] | None = None,
        n_samples: int | None = None,
        random_state: int | np.random.RandomState | None = None,
        ax: "Axes | None" = None,
    ) -> Self:
        """Sample from a fitted estimator, and draw X and samples.

        Parameters
        ----------
        estimator : VAETransformer
            Fitted. Of a pipeline, give the last step, and the rows that it sees.
        X : array-like, sparse matrix or data frame of shape (n_samples, n_features)
            As in the `score_samples` of the estimator: the rows of fit, or rows held
            out. Nothing is changed.
        features : str, int, sequence of them or None, default=None
            Columns to draw, by label or position. None: the first four of X that have
            two values or more and no labels that tell rows apart.
        n_samples : int or None, default=None
            How many rows to sample. None: as many as X has, 10,000 at most.
        random_state : int, RandomState instance or None, default=None
            Seed of the samples, as in `sample`.
        ax : matplotlib Axes or None, default=None
            A subplot, which is divided into panels; ``layout="constrained"`` gives the
            names of columns the room that they need. None makes a figure.

        Returns
        -------
        display : SampleDisplay
            Made and drawn.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        NotFittedError
            If the estimator is not fitted.
        TypeError
            If the estimator has no `sample`, as a detector has none.
        ValueError
            If there is no such column, if `n_samples` is below 1, or if `ax` is no
            subplot, or has been divided before.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> from sklearn.datasets import load_wine
        >>> from skvae import SampleDisplay, VAETransformer
        >>> X = load_wine(as_frame=True).data
        >>> vae = VAETransformer(4, max_iter=20, random_state=0).fit(X)
        >>> display = SampleDisplay.from_estimator(vae, X, random_state=0)
        >>> display.feature_names
        ['alcohol', 'malic_acid', 'ash', 'alcalinity_of_ash']
        >>> plt.close(display.figure_)
        """
        pyplot(cls)
        if not hasattr(estimator, "sample") or not hasattr(estimator, "_check_rows"):
            raise TypeError(
                f"{type(estimator).__name__} is no model that rows are sampled from, "
                "as VAETransformer is. Of a pipeline, give the last step, and the rows "
                "that it sees."
            )
        check_is_fitted(estimator)
        rows = estimator._check_rows(X)
        layout = estimator._state["table"]["layout"]
        names = list(frames.column_labels(layout, rows.shape[1]))
        if features is None:
            features = _first(rows, layout["levels"])
        else:
            features = _named(features, names)
        if n_samples is None:
            n_samples = min(rows.shape[0], _SAMPLES)
        samples = estimator.sample(n_samples, random_state=random_state)
        display = cls(
            _dense(rows[:, features]),
            numbers(samples, layout)[:, features],
            [names[j] for j in features],
            levels=[layout["levels"].get(j) or None for j in features],
        )
        return display.plot(ax)

    def plot(self, ax: "Axes | None" = None) -> Self:
        """Draw the panels.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            A subplot, which is divided into panels; ``layout="constrained"`` gives the
            names of columns the room that they need. None makes a figure.

        Returns
        -------
        display : SampleDisplay
            Itself, drawn.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If `ax` is no subplot, or has been divided before, or if values and samples
            have not one column for each name.
        """
        plt = pyplot(type(self))
        n_features = len(self.feature_names)
        for part in ("values", "samples"):
            shape = np.shape(getattr(self, part))
            if len(shape) != 2 or shape[1] != n_features:
                raise ValueError(
                    f"{part} of shape {shape} do not go with {n_features} "
                    "feature_names: one column is needed for each."
                )
        columns = self._columns()
        if ax is None:
            side = n_features * _PANEL + _AROUND
            _, ax = plt.subplots(figsize=(side, side), layout="constrained")
        self.figure_, self.ax_ = ax.figure, ax
        above, self.axes_ = _divided(ax, n_features)
        self.marginals_ = [
            _draw_marginal(self.axes_[i, i], column) for i, column in enumerate(columns)
        ]
        self.pairs_ = np.full((n_features, n_features), None, dtype=object)
        for i, column in enumerate(columns):
            for j, other in enumerate(columns[:i]):
                panels = self.axes_[i, j], self.axes_[j, i]
                self.pairs_[i, j], self.pairs_[j, i] = _draw_pair(panels, other, column)
        self._name_axes(columns)
        self._add_legend(above)
        return self

    def _columns(self) -> "list[_Column]":
        levels = self.levels or [None] * len(self.feature_names)
        parts = zip(
            np.asarray(self.values, dtype=np.float64).T,
            np.asarray(self.samples, dtype=np.float64).T,
            self.feature_names,
            levels,
            strict=True,
        )
        return [_column(*part) for part in parts]

    def _name_axes(self, columns: "Sequence[_Column]") -> None:
        """Limits, and names and scales at the outer panels alone."""
        last = len(columns) - 1
        for (i, j), panel in np.ndenumerate(self.axes_):
            _scale(panel.xaxis, columns[j], is_shown=i == last)
            panel.set_xlim(columns[j].limits)
            if i == last:
                panel.set_xlabel(_in_lines(columns[j].name), parse_math=False)
            if i == j:
                panel.set_ylim(bottom=0)
                panel.tick_params(left=last == 0, labelleft=last == 0)
                continue
            panel.set_ylim(columns[i].limits)
            # The panel at the left of the first line has another scale.
            outer = last if i == 0 else 0
            if i == 0:
                panel.yaxis.tick_right()
                panel.yaxis.set_label_position("right")
            _scale(panel.yaxis, columns[i], is_shown=j == outer)
            if j == outer:
                panel.set_ylabel(_in_lines(columns[i].name), parse_math=False)
        self.axes_[0, 0].set_ylabel("share of rows")

    def _add_legend(self, ax: "Axes") -> None:
        names = [f"X, {len(self.values)} rows", f"samples, {len(self.samples)} rows"]
        if len(self.feature_names) > 1:
            names = [f"{names[0]}: below the diagonal", f"{names[1]}: above"]
        bars = [ax.bar(0, 0, color=colour) for colour in _COLOURS]
        n_columns = 1 + (len(self.feature_names) > 2)
        ax.legend(bars, names, loc="center", ncols=n_columns, frameon=False)


class _Column(NamedTuple):
    """A column to be drawn: X and samples, of numbers or of places of levels.

    The edges are those of bins, or stand around the places; the limits are an axis'.
    Points are scattered, of X and of samples, where many would have one place.
    """

    name: str
    parts: Sequence[np.ndarray]
    levels: list[str] | None
    edges: np.ndarray
    limits: tuple[float, float]
    is_scattered: tuple[bool, ...]


def _column(
    values: np.ndarray, samples: np.ndarray, name: Any, levels: list[Any] | None
) -> _Column:
    """What is needed to draw a column."""
    parts: Sequence[np.ndarray] = (values, samples)
    name = column_name(name)
    known = [part[np.isfinite(part)] for part in parts]
    distinct = np.unique(np.concatenate(known))
    are_whole = [(part % 1 == 0).all() for part in known]
    if levels is None and all(are_whole) and 0 < len(distinct) <= _WHOLE_VALUES:
        levels = [f"{value:.0f}" for value in distinct]
        parts = [_places(part, distinct) for part in parts]
    if levels is not None:
        parts, levels = _commonest(parts, levels)
        edges = np.arange(len(levels) + 1) - 0.5
        limits = -0.6, len(levels) - 0.4
        return _Column(name, parts, levels, edges, limits, (True, True))
    n_values = len(np.unique(known[0]))
    is_whole = are_whole[0] and (are_whole[1] or n_values > _WHOLE_VALUES)
    edges = _edges(distinct, min(map(len, known)), is_whole)
    margin = 0.04 * (edges[-1] - edges[0])
    limits = edges[0] - margin, edges[-1] + margin
    is_scattered = tuple(whole and n_values <= _NEAR_VALUES for whole in are_whole)
    return _Column(name, parts, None, edges, limits, is_scattered)


def _places(values: np.ndarray, distinct: np.ndarray) -> np.ndarray:
    """The place of each number among the distinct ones, NaN for holes."""
    return np.where(np.isnan(values), np.nan, np.searchsorted(distinct, values))


def _commonest(
    parts: Sequence[np.ndarray], levels: Sequence[Any]
) -> tuple[tuple[np.ndarray, ...], list[str]]:
    """Places of labels, and their names; of many, rare ones share the last place."""
    levels = [shortened(level, _LETTERS) for level in levels]
    if len(levels) <= _LEVELS:
        return tuple(parts), levels
    known = parts[0][~np.isnan(parts[0])].astype(np.int64)
    counts = np.bincount(known, minlength=len(levels))
    kept = np.sort(np.argsort(-counts, kind="stable")[: _LEVELS - 1])
    places = np.full(len(levels) + 1, len(kept), dtype=np.float64)
    places[kept], places[-1] = np.arange(len(kept)), np.nan
    parts = [places[np.where(np.isnan(p), -1, p).astype(np.int64)] for p in parts]
    names = [levels[place] for place in kept]
    return tuple(parts), [*names, f"{len(levels) - len(kept)} others"]


def _edges(distinct: np.ndarray, n_rows: int, is_whole: bool) -> np.ndarray:
    """Edges of bins over the range of some numbers, around whole ones if they are."""
    low, high = (distinct[0], distinct[-1]) if len(distinct) else (0.0, 0.0)
    n_bins = int(np.clip(np.sqrt(n_rows), *_BINS))
    if is_whole:
        low, n_values = np.floor(low) - 0.5, np.ceil(high) - np.floor(low) + 1
        width = 1 if n_values <= _BINS[1] else np.ceil(n_values / n_bins)
        return low + width * np.arange(np.ceil(n_values / width) + 1)
    if low == high:
        low, high = low - 0.5, high + 0.5
    return np.linspace(low, high, n_bins + 1)


def _draw_marginal(panel: "Axes", column: _Column) -> tuple[Any, ...]:
    """Shares of X and of samples in each bin, or of each level."""
    artists: list[Any] = []
    for part, colour, shift in zip(column.parts, _COLOURS, (-0.2, 0.2), strict=True):
        known = part[np.isfinite(part)]
        shares = np.histogram(known, column.edges)[0] / max(len(known), 1)
        if column.levels is not None:
            places = np.arange(len(column.levels)) + shift
            artists.append(panel.bar(places, shares, 0.4, color=colour))
            continue
        is_of_x = colour == _COLOURS[0]
        style: dict[str, Any] = {"linewidth": 1.6}
        if is_of_x:
            style = {"fill": True, "alpha": 0.45}
        artists.append(panel.stairs(shares, column.edges, color=colour, **style))
    return tuple(artists)


def _draw_pair(
    panels: "tuple[Axes, Axes]", first: _Column, second: _Column
) -> list[Any]:
    """A pair of columns of X, and of samples, whose panel is mirrored."""
    pairs = []
    for u, v in zip(first.parts, second.parts, strict=True):
        known = np.isfinite(u) & np.isfinite(v)
        pairs.append((u[known], v[known]))
    if first.levels is not None and second.levels is not None:
        edges = first.edges, second.edges
        counts = [np.histogram2d(*pair, edges)[0] for pair in pairs]
        shares = [count / max(count.sum(), 1) for count in counts]
        largest = max(share.max() for share in shares) or 1.0
        shares = [shares[0], shares[1].T]
        return [
            _draw_squares(panel, share / largest, colour)
            for panel, share, colour in zip(panels, shares, _COLOURS, strict=True)
        ]
    n_points = min(_POINTS, *(len(u) for u, _ in pairs))
    return [
        _draw_points(panels[0], pairs[0], (first, second), 0, n_points),
        _draw_points(panels[1], pairs[1][::-1], (second, first), 1, n_points),
    ]


def _draw_squares(panel: "Axes", areas: np.ndarray, colour: str) -> Any:
    """A square for each pair of levels, of an area between 0 and 1."""
    x, y = (places.ravel() for places in np.indices(areas.shape))
    sides = 0.94 * np.sqrt(areas.ravel())
    return panel.bar(x, sides, sides, bottom=y - sides / 2, color=colour)


def _draw_points(
    panel: "Axes",
    pair: tuple[np.ndarray, np.ndarray],
    columns: tuple[_Column, _Column],
    which: int,
    n_points: int,
) -> Any:
    """Evenly chosen rows of X or of samples as points, with the medians at levels."""
    rows = np.linspace(0, len(pair[0]) - 1, n_points).round().astype(int)
    scatter = np.random.default_rng(0).uniform(-0.5, 0.5, (2, n_points)) * _SCATTER
    x, y = (
        part[rows] + column.is_scattered[which] * shift
        for part, column, shift in zip(pair, columns, scatter, strict=True)
    )
    style: dict[str, Any] = {
        "s": 9,
        "color": _COLOURS[which],
        "alpha": 0.45,
        "linewidths": 0,
    }
    points = panel.scatter(x, y, **style)
    for part, other, column, lines in (
        (*pair, columns[0], panel.hlines),
        (*pair[::-1], columns[1], panel.vlines),
    ):
        if column.levels is not None:
            there = np.unique(part)
            medians = [np.median(other[part == place]) for place in there]
            lines(medians, there - 0.35, there + 0.35, color=BLACK, linewidth=1.6)
    return points


def _divided(ax: "Axes", n_panels: int) -> "tuple[Axes, np.ndarray]":
    """In the place of a subplot an axes for the legend, and below it the panels.

    Raises
    ------
    ValueError
        If `ax` is no subplot, or has been divided before.
    """
    place = ax.get_subplotspec()
    if place is None:
        raise ValueError(
            "ax is no subplot, and cannot be divided into panels: take one from "
            "pyplot.subplots, or leave ax out."
        )
    if not ax.axison:
        raise ValueError("ax has no axis: it has been divided into panels before.")
    grid = place.subgridspec(
        n_panels + 1, n_panels, height_ratios=[_LEGEND, *[1] * n_panels]
    )
    above = ax.figure.add_subplot(grid[0, :])
    panels = np.empty((n_panels, n_panels), dtype=object)
    for i, j in np.ndindex(panels.shape):
        panels[i, j] = ax.figure.add_subplot(grid[i + 1, j])
    for bare in (ax, above):
        bare.set_axis_off()
    return above, panels


def _scale(axis: Any, column: _Column, is_shown: bool) -> None:
    """Few ticks, or one for each level, with their labels at the outer panels."""
    if column.levels is None:
        axis.get_major_locator().set_params(nbins=4)
    else:
        axis.set_ticks(range(len(column.levels)), column.levels, parse_math=False)
        if axis.axis_name == "x" and sum(map(len, column.levels)) > _CROWDED:
            axis.set_tick_params(labelrotation=90)
    axis.set_tick_params(labelsize="small")
    if not is_shown:
        axis.set_tick_params(labelbottom=False, labelleft=False, labelright=False)


def _in_lines(name: str) -> str:
    return fill(name.replace("_", "_ "), _LINE).replace("_ ", "_")


def _dense(rows: Matrix) -> np.ndarray:
    return (rows.toarray() if issparse(rows) else rows).astype(np.float64)


def _first(rows: Matrix, levels: Container[int]) -> list[int]:
    """Positions of the first columns that are worth a panel; of all if none is."""
    chosen = []
    for j in range(rows.shape[1]):
        column = _dense(rows[:, [j]])
        known = column[~np.isnan(column)]
        n_values = len(np.unique(known))
        if n_values > 1 and (j not in levels or 2 * n_values <= len(known)):
            chosen.append(j)
        if len(chosen) == _FEATURES:
            break
    return chosen or list(range(min(rows.shape[1], _FEATURES)))


def _named(features: Any, names: list[Any]) -> list[int]:
    """Positions of the columns that are asked for.

    Raises
    ------
    ValueError
        If there is none, no such column, or one twice.
    """
    if isinstance(features, str | Integral):
        features = [features]
    positions = []
    for feature in features:
        if feature in names:
            positions.append(names.index(feature))
        elif isinstance(feature, int | np.integer) and -len(names) <= feature < len(
            names
        ):
            positions.append(int(feature) % len(names))
        else:
            raise ValueError(
                f"features names a column {feature!r}, which X does not have. Its "
                f"columns are {names[:10]}{' ...' if names[10:] else ''}."
            )
    if not positions or len(set(positions)) < len(positions):
        raise ValueError(
            f"features must be one column or more, each once, got {features!r}."
        )
    return positions
