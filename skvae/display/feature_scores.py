"""FeatureScoreDisplay: why is this row an outlier? A picture of score_features."""

from collections.abc import Sequence
from numbers import Integral
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import issparse
from sklearn.base import is_outlier_detector
from sklearn.utils import check_scalar
from sklearn.utils.validation import check_is_fitted

from skvae import frames
from skvae.display.bars import axes_of_bars, draw_bars, fit_names
from skvae.display.rows import cells, count_rows, evenly_spaced, positions, row_labels
from skvae.display.style import (
    BLUE,
    VERMILLION,
    check_has,
    column_name,
    pyplot,
    shortened,
    written,
)
from skvae.frames import Table
from skvae.labels import is_hole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.container import BarContainer

    from skvae.base import BaseVAE

__all__ = ["FeatureScoreDisplay"]

#: The colours of bars below and above 0.
_LOWERS, _RAISES = VERMILLION, BLUE
#: Letters of a row's label.
_LABEL = 30
#: Share of the range of the bars that is left on either side, for each letter and sign
#: of their numbers.
_LETTER = 0.022
#: Numbers from here on are written with a power of ten.
_LARGE = 1e7
#: Rows of the reference that tell what is typical.
_REFERENCE_ROWS = 200


class FeatureScoreDisplay:
    """Why rows score as they do, column by column.

    A bar is what a column contributes to the score of a row, relative to what it does
    in a typical row: contributions are log-densities in the units of X, so that every
    column has a level of its own, and only the difference says anything. The columns
    that lower the score most stand on top. The last bar makes the sum: all bars of a
    row are its score less that of a typical row.

    Of `VAEOutlierDetector` a bar says how likely the cell is given the others of its
    row, against a typical cell of its column; a hole has none. The last one, "rest", is
    what no cell tells by itself: that the row as a whole lies where few rows do, less
    what cells that contradict one another say twice. Of
    ``score_function="reconstruction_error"`` bars are the errors of the cells.

    Of `VAETransformer` a bar is the expected log-density of the cell given the code,
    less the median of its column, and the last one, "code", is what it costs that the
    row as a whole lies where few rows do. Where one far cell takes the code along, much
    of its cost is there, and the bar of its column is short, though mostly still the
    first. A hole contributes 0. Its bar, drawn hatched, is therefore minus the median:
    it says how the hole moved the score, not that the hole is odd.

    Make one with `from_estimator`. All parameters are stored as attributes.

    Parameters
    ----------
    contributions : array-like of shape (n_rows, n_features + 1)
        What each column, and last all else, contribute to the score of each row to be
        drawn, in `unit`, from `score_features`.
    feature_names : sequence of length n_features
        What the columns are called. Whole numbers are drawn as "column 0".
    scores : array-like of shape (n_rows,)
        The scores of these rows, in `unit`.
    medians : array-like of shape (n_features + 1,) or None, default=None
        What is subtracted: what each column, and all else, contribute to a typical
        row's score, in `unit`. None stands for zeros.
    values : ndarray of shape (n_rows, n_features) or None, default=None
        The cells of these rows, for the tick labels. None leaves them out.
    labels : sequence of length n_rows or None, default=None
        What the rows are called. None counts them from 0.
    unit : str or None, default="nats"
        Unit of the score; None where it has none.
    last : str, default="code"
        What the last column of `contributions` is called.
    relative_to : str or None, default=None
        What the bars are relative to, as the label of the axis has it. None leaves
        it out.

    Attributes
    ----------
    relative_contributions : ndarray of shape (n_rows, n_features + 1)
        The contributions less the medians.
    bars_ : list of BarContainer
        The bars of each row, from top to bottom: columns, the other columns, all else.
    axes_ : ndarray of shape (n_rows,) of matplotlib Axes
        One for each row.
    ax_ : matplotlib Axes
        The first of them.
    figure_ : matplotlib Figure
        The figure that holds them.

    See Also
    --------
    VAEOutlierDetector.score_features : The numbers behind the picture.
    VAETransformer.score_features : Likewise, of log p(x).

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sklearn.datasets import load_breast_cancer
    >>> from skvae import FeatureScoreDisplay, VAEOutlierDetector
    >>> X = load_breast_cancer(as_frame=True).data
    >>> X.loc[17, "mean smoothness"] *= 10  # somebody moved the point
    >>> detector = VAEOutlierDetector(random_state=0).fit(X)
    >>> display = FeatureScoreDisplay.from_estimator(detector, X, n_rows=1)
    >>> display.labels
    [17]
    >>> print(display.ax_.get_yticklabels()[0].get_text())
    mean smoothness = 1.17
    >>> plt.close(display.figure_)
    """

    def __init__(
        self,
        contributions: ArrayLike,
        feature_names: Sequence[Any],
        scores: Sequence[float] | np.ndarray,
        *,
        medians: np.ndarray | None = None,
        values: np.ndarray | None = None,
        labels: Sequence[Any] | None = None,
        unit: str | None = "nats",
        last: str = "code",
        relative_to: str | None = None,
    ) -> None:
        self.contributions = contributions
        self.feature_names = feature_names
        self.scores = scores
        self.medians = medians
        self.values = values
        self.labels = labels
        self.unit = unit
        self.last = last
        self.relative_to = relative_to

    @classmethod
    def from_estimator(
        cls,
        estimator: "BaseVAE",
        X: Table,
        *,
        rows: ArrayLike | None = None,
        n_rows: int = 3,
        n_features: int = 10,
        reference: Table | None = None,
        ax: "Axes | None" = None,
    ) -> Self:
        """Score rows with a fitted estimator, and draw some of them.

        Contributions are computed for the rows that are drawn, and for 200 of the
        reference at most.

        Parameters
        ----------
        estimator : VAEOutlierDetector or VAETransformer
            Fitted. Of a pipeline, give the last step, and the rows that it sees.
        X : array-like, sparse matrix or data frame of shape (n_samples, n_features)
            As in the `score_features` of the estimator. Nothing is changed.
        rows : int, sequence of int or None, default=None
            Positions of the rows to draw, from 0, in this order. None: those with the
            lowest scores, the lowest first.
        n_rows : int, default=3
            How many rows None stands for, at most.
        n_features : int, default=10
            Columns with a bar of their own, at most. The remaining ones share one.
        reference : array-like, sparse matrix or data frame of shape \
                (n_reference, n_features) or None, default=None
            For a transformer: rows whose medians say what is typical, such as those of
            fit. Holes do not count, and of many rows 200 are taken, evenly spaced.
            None is X. A detector takes none: it knows what is typical from its fit.
        ax : matplotlib Axes or None, default=None
            Where to draw, if it is one row; ``layout="constrained"`` gives the names of
            columns the room that they need. None makes a figure with one axes a row.

        Returns
        -------
        display : FeatureScoreDisplay
            Made and drawn.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        NotFittedError
            If the estimator is not fitted.
        TypeError
            If the estimator has no `score_features`, or rows are not whole numbers.
        ValueError
            If X has no such row, if there is nothing to compare the only row of X with,
            if a detector is given a reference, or if `ax` is given for several rows.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> from sklearn.datasets import load_iris
        >>> from skvae import FeatureScoreDisplay, VAETransformer
        >>> X = load_iris(as_frame=True).data
        >>> vae = VAETransformer(random_state=0).fit(X)
        >>> figure, ax = plt.subplots(layout="constrained")
        >>> display = FeatureScoreDisplay.from_estimator(vae, X, rows=41, ax=ax)
        >>> display.relative_contributions.shape
        (1, 5)
        >>> plt.close(figure)
        """
        pyplot(cls)
        check_has(
            estimator,
            ["score_features"],
            "has no score_features, which VAEOutlierDetector and VAETransformer have",
        )
        check_is_fitted(estimator)
        check_scalar(n_rows, "n_rows", Integral, min_val=1)
        check_scalar(n_features, "n_features", Integral, min_val=1)
        n_samples = count_rows(X)
        rows = None if rows is None else positions(rows, n_samples)
        if is_outlier_detector(estimator) and reference is not None:
            raise ValueError(
                f"reference is for VAETransformer: {type(estimator).__name__} knows "
                "what is typical from its fit. Leave it out."
            )
        scores = estimator.score_samples(X)
        if rows is None:
            rows = np.argsort(scores, kind="stable")[:n_rows]
        if is_outlier_detector(estimator):
            typical = _typical_of_detector(estimator)
        else:
            if reference is None and n_samples == 1:
                raise ValueError(
                    "Contributions are compared with those of typical rows, and X has "
                    "one row: give reference, such as the rows of fit."
                )
            typical = _typical_of_rows(estimator, X if reference is None else reference)
        drawn = frames.taken(X, rows)
        layout = estimator._state["table"]["layout"]
        display = cls(
            np.asarray(estimator.score_features(drawn)),
            list(frames.column_labels(layout, estimator.n_features_in_)),
            scores[rows],
            values=cells(drawn),
            labels=row_labels(X, rows),
            **typical,
        )
        return display.plot(ax, n_features=n_features)

    @property
    def relative_contributions(self) -> np.ndarray:
        """The contributions less the medians, (n_rows, n_features + 1)."""
        contributions = np.asarray(self.contributions, dtype=np.float64)
        return contributions - (0.0 if self.medians is None else self.medians)

    def plot(self, ax: "Axes | None" = None, *, n_features: int = 10) -> Self:
        """Draw each row as a bar chart.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Where to draw, if it is one row; ``layout="constrained"`` gives the names of
            columns the room that they need. None makes a figure with one axes a row.
        n_features : int, default=10
            Columns with a bar of their own, at most. The remaining ones share one.

        Returns
        -------
        display : FeatureScoreDisplay
            Itself, drawn.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If `ax` is given for several rows, or if there is not one contribution for
            each column and a last one.
        """
        plt = pyplot(type(self))
        check_scalar(n_features, "n_features", Integral, min_val=1)
        heights = self.relative_contributions
        n_names = len(self.feature_names)
        if heights.ndim != 2 or heights.shape[1] != n_names + 1:
            raise ValueError(
                f"contributions of shape {heights.shape} do not go with {n_names} "
                "feature_names: one column each is needed, and a last one for all else."
            )
        n_rows = len(heights)
        if ax is not None and n_rows > 1:
            raise ValueError(
                f"{n_rows} rows do not fit one ax. Draw one row, with rows= its "
                "position or n_rows=1, or leave ax out for a figure with one axes a "
                "row."
            )
        if ax is None:
            n_bars = min(n_features, n_names) + (n_names > n_features) + 1
            self.axes_ = axes_of_bars(plt, n_bars, n_axes=n_rows)
        else:
            self.axes_ = np.array([ax], dtype=object)
        self.ax_ = self.axes_[0]
        self.figure_ = self.ax_.figure
        self.bars_ = [
            self._plot_row(i, heights[i], n_features, own)
            for i, own in enumerate(self.axes_)
        ]
        if ax is None:
            fit_names(self.axes_)
        relative = f", relative to {self.relative_to}" if self.relative_to else ""
        unit = f" ({self.unit})" if self.unit else ""
        self.axes_[-1].set_xlabel(f"contribution to the score{relative}{unit}")
        return self

    def _plot_row(
        self, i: int, heights: np.ndarray, n_features: int, ax: "Axes"
    ) -> "BarContainer":
        order = np.argsort(heights[:-1], kind="stable")
        shown, others = order[:n_features], order[n_features:]
        ticks = [self._tick(i, j) for j in shown]
        lengths = [*heights[shown]]
        if len(others):
            ticks.append(f"{len(others)} other{'s' if len(others) > 1 else ''}")
            lengths.append(heights[others].sum())
        ticks.append(self.last)
        lengths.append(heights[-1])

        numbers = _signed(lengths)
        colours = [_LOWERS if length < 0 else _RAISES for length in lengths]
        of_columns = [place < len(shown) for place in range(len(lengths))]
        bars = draw_bars(
            ax, lengths, ticks, numbers, colours=colours, of_columns=of_columns
        )
        for bar, colour, j in zip(bars, colours, shown, strict=False):
            if self.values is not None and is_hole(self.values[i][j]):
                bar.set(facecolor="none", edgecolor=colour, hatch="/////")
        low, high = min(0.0, *lengths), max(0.0, *lengths)
        margin = _LETTER * (1 + max(map(len, numbers))) * (high - low or 1.0)
        ax.set_xlim(low - margin, high + margin)
        label = shortened(i if self.labels is None else self.labels[i], _LABEL)
        unit = f" {self.unit}" if self.unit else ""
        score = self.scores[i]
        score = f"{score:.1f}" if 1 <= abs(score) < _LARGE else f"{score:.3g}"
        title = f"row {label}: score = {score}{unit}"
        ax.set_title(title, fontsize="medium", parse_math=False)
        return bars

    def _tick(self, i: int, j: int) -> str:
        """What a column is called, and its value in the row."""
        name = column_name(self.feature_names[j])
        return name if self.values is None else f"{name} = {written(self.values[i][j])}"


def _typical_of_detector(estimator: "BaseVAE") -> dict[str, Any]:
    """What a detector's bars are relative to, as keywords of the display.

    Of the columns it is in the contributions already; of the score it is the median of
    the training rows'.
    """
    if estimator._score_function == "reconstruction_error":
        return {"unit": None, "last": "rest"}
    medians = np.zeros(estimator.n_features_in_ + 1)
    medians[-1] = np.median(estimator._reference_scores)
    return {
        "medians": medians,
        "last": "rest",
        "relative_to": "a typical training row",
    }


def _typical_of_rows(estimator: "BaseVAE", X: Table) -> dict[str, Any]:
    """Likewise of a transformer's: the medians over the rows that have the cell."""
    some = frames.taken(X, evenly_spaced(count_rows(X), _REFERENCE_ROWS))
    observed = np.array(estimator.score_features(some))
    numbers = estimator._check_rows(some)
    holes = np.isnan(numbers.toarray() if issparse(numbers) else numbers)
    observed[:, :-1][holes & ~holes.all(axis=0)] = np.nan
    medians = np.nanmedian(observed, axis=0)
    return {"medians": medians, "last": "code", "relative_to": "the median row"}


def _signed(numbers: Sequence[float]) -> list[str]:
    """Numbers with their signs, as many decimals as the largest needs."""
    largest = np.abs(numbers).max()
    if largest >= _LARGE:
        return [f"{number:+.2g}" for number in numbers]
    decimals = (
        1 if largest >= 1 or largest == 0 else 1 - int(np.floor(np.log10(largest)))
    )
    written = [f"{number:+.{decimals}f}" for number in numbers]
    return [text if float(text) else text[1:] for text in written]
