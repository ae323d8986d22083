"""SampleDisplay: are rows drawn from a model like those it was fitted to?"""

from collections.abc import Container, Sequence
from numbers import Integral
from textwrap import fill
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from scipy.sparse import issparse
from sklearn.utils.validation import check_is_fitted

from skvae import frames
from skvae.display.panels import (
    OF_SAMPLES,
    OF_X,
    Column,
    described,
    draw_marginal,
    draw_pair,
)
from skvae.display.rows import numbers
from skvae.display.style import check_has, pyplot, vacated
from skvae.frames import Matrix, Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from skvae.base import BaseVAE

__all__ = ["SampleDisplay"]

#: Columns that are drawn, and rows that are sampled, at most, if nobody says how many.
_FEATURES, _SAMPLES = 4, 10_000
#: Inches: the side of a panel, and what stands around all of them. The legend's height
#: by that of a panel.
_PANEL, _AROUND, _LEGEND = 2.1, 1.0, 0.1
#: Letters of a line of a column's name.
_LINE = 20
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
            Columns to draw, by label or position, counted from 0. None: the first four
            of X that have two values or more and no labels that tell rows apart.
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
            If the estimator has no `sample`, as a detector has none, or `features`
            holds True or False.
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
        check_has(
            estimator,
            ["sample", "_check_rows"],
            "is no model that rows are sampled from, as VAETransformer is",
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
            draw_marginal(self.axes_[i, i], column) for i, column in enumerate(columns)
        ]
        self.pairs_ = np.full((n_features, n_features), None, dtype=object)
        for i, column in enumerate(columns):
            for j, other in enumerate(columns[:i]):
                panels = self.axes_[i, j], self.axes_[j, i]
                self.pairs_[i, j], self.pairs_[j, i] = draw_pair(panels, other, column)
        self._name_axes(columns)
        self._add_legend(above)
        return self

    def _columns(self) -> list[Column]:
        levels = self.levels or [None] * len(self.feature_names)
        parts = zip(
            np.asarray(self.values, dtype=np.float64).T,
            np.asarray(self.samples, dtype=np.float64).T,
            self.feature_names,
            levels,
            strict=True,
        )
        return [described(*part) for part in parts]

    def _name_axes(self, columns: Sequence[Column]) -> None:
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
        bars = [ax.bar(0, 0, color=colour) for colour in (OF_X, OF_SAMPLES)]
        n_columns = 1 + (len(self.feature_names) > 2)
        ax.legend(bars, names, loc="center", ncols=n_columns, frameon=False)


def _divided(ax: "Axes", n_panels: int) -> "tuple[Axes, np.ndarray]":
    """In the place of a subplot an axes for the legend, and below it the panels."""
    grid = vacated(ax).subgridspec(
        n_panels + 1, n_panels, height_ratios=[_LEGEND, *[1] * n_panels]
    )
    above = ax.figure.add_subplot(grid[0, :])
    panels = np.empty((n_panels, n_panels), dtype=object)
    for i, j in np.ndindex(panels.shape):
        panels[i, j] = ax.figure.add_subplot(grid[i + 1, j])
    above.set_axis_off()
    return above, panels


def _scale(axis: Any, column: Column, is_shown: bool) -> None:
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
    TypeError
        If they are a mask.
    ValueError
        If there is none, no such column, or one twice.
    """
    if isinstance(features, str | Integral):
        features = [features]
    positions = []
    for feature in features:
        if isinstance(feature, bool | np.bool_):
            raise TypeError(
                "features holds True or False: give labels or positions, such as "
                "numpy.flatnonzero(features)."
            )
        if feature in names:
            positions.append(names.index(feature))
        elif isinstance(feature, int | np.integer) and 0 <= feature < len(names):
            positions.append(int(feature))
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
