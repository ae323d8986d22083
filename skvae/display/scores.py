"""ScoreDisplay: how the scores of rows are distributed. A picture of score_samples."""

from numbers import Integral
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_scalar
from sklearn.utils.validation import check_is_fitted

from skvae.display.groups import labelled
from skvae.display.style import BLACK, BLUE, COLOURS, check_has, pyplot, written
from skvae.frames import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.patches import StepPatch

    from skvae.base import BaseVAE

__all__ = ["ScoreDisplay"]

#: Interquartile ranges beyond the quartiles from which scores are of a tail.
_FENCE = 3.0
#: Taken along with the colours: each pair comes once in 28 classes.
_LINE_STYLES = ("-", "--", "-.", ":")
#: Classes that can be told apart.
_MOST_CLASSES = 12
#: Points of width that a letter takes on the axis, and the most numbers there.
_LETTER, _MOST_TICKS = 7, 8
#: Shares of the axes: around the legend, and how high that may be for the axis to make
#: room for it.
_GAP, _HIGHEST = 0.04, 0.85
#: Share of the largest score below which a difference is one of rounding.
_ROUNDING = 1e-9


class ScoreDisplay:
    """How the scores of rows are distributed, beside the threshold.

    A histogram of `score_samples`: higher is more normal. Of a detector, rows on the
    left of the dashed line are those that `predict` calls outliers; no bin is on both
    sides of it. With labels there is a histogram for each class, as shares of its rows,
    so that small classes can be seen beside large ones.

    Scores have long tails, mostly below. Those that are more than three interquartile
    ranges beyond the quartiles, and beyond the threshold, are counted in a bin of their
    own at the end, which is shaded and marked with "≤" or "≥": no row is left out.

    The legend is above the bars, on the side where they are lower.

    Make one with `from_estimator`. All parameters are stored as attributes.

    Parameters
    ----------
    scores : array-like of shape (n_samples,)
        The scores of rows, in `unit`.
    y : array-like of shape (n_samples,) or None, default=None
        Their classes: text, categories, booleans or numbers. Categories keep their
        order, all else is sorted. Missing ones are a class.
    offset : float or None, default=None
        The threshold. None where there is none.
    unit : str, default="nats"
        Unit of the scores.

    Attributes
    ----------
    histograms_ : list of matplotlib StepPatch
        One for each class; of all rows without labels.
    classes_ : list or None
        The labels, in the order of the histograms, the missing last, as None. None
        without labels.
    edges_ : ndarray of shape (n_bins + 1,)
        Edges of the bins, those at the ends included.
    line_ : matplotlib Line2D or None
        The threshold.
    ax_ : matplotlib Axes
        The axes.
    figure_ : matplotlib Figure
        The figure that holds them.

    See Also
    --------
    FeatureScoreDisplay : Why single rows score as they do.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sklearn.datasets import load_breast_cancer
    >>> from skvae import ScoreDisplay, VAEOutlierDetector
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> detector = VAEOutlierDetector(max_iter=20, random_state=0).fit(X)
    >>> display = ScoreDisplay.from_estimator(detector, X, y)
    >>> display.classes_
    [0, 1]
    >>> display.ax_.get_xlabel()
    'score (nats)'
    >>> plt.close(display.figure_)
    """

    def __init__(
        self,
        scores: ArrayLike,
        y: ArrayLike | None = None,
        *,
        offset: float | None = None,
        unit: str = "nats",
    ) -> None:
        self.scores = scores
        self.y = y
        self.offset = offset
        self.unit = unit

    @classmethod
    def from_estimator(
        cls,
        estimator: "BaseVAE",
        X: Table,
        y: ArrayLike | None = None,
        *,
        bins: int = 30,
        ax: "Axes | None" = None,
    ) -> Self:
        """Score rows with a fitted estimator, and draw the histogram.

        Parameters
        ----------
        estimator : VAEOutlierDetector or VAETransformer
            Fitted. Of a pipeline, give the last step, and the rows that it sees.
        X : array-like, sparse matrix or data frame of shape (n_samples, n_features)
            As in the `score_samples` of the estimator. Nothing is changed.
        y : array-like of shape (n_samples,) or None, default=None
            Classes of the rows: text, categories, booleans or numbers, 12 different
            ones at most. Missing ones are a class.
        bins : int, default=30
            Number of bins between the ends; one more where the threshold asks for it.
        ax : matplotlib Axes or None, default=None
            Where to draw. None makes a figure.

        Returns
        -------
        display : ScoreDisplay
            Made and drawn.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        NotFittedError
            If the estimator is not fitted.
        TypeError
            If the estimator has no scores of rows, or `bins` is no whole number.
        ValueError
            If y has another length than X, labels of several kinds or too many classes,
            or `bins` is below 1.
        """
        pyplot(cls)
        check_has(
            estimator,
            ["score_features"],
            "has no scores of rows as VAEOutlierDetector and VAETransformer have",
        )
        check_is_fitted(estimator)
        keywords = {}
        if hasattr(estimator, "offset_"):
            keywords["offset"] = estimator.offset_
            if estimator._score_function == "reconstruction_error":
                keywords["unit"] = "squared standard deviations"
        display = cls(estimator.score_samples(X), y, **keywords)
        return display.plot(ax, bins=bins)

    def plot(self, ax: "Axes | None" = None, *, bins: int = 30) -> Self:
        """Draw the histogram.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Where to draw. None makes a figure.
        bins : int, default=30
            Number of bins between the ends; one more where the threshold asks for it.

        Returns
        -------
        display : ScoreDisplay
            Itself, drawn.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            If `bins` is no whole number.
        ValueError
            If scores are none or not finite, if y has another length, labels of several
            kinds or too many classes, or if `bins` is below 1.
        """
        plt = pyplot(type(self))
        check_scalar(bins, "bins", Integral, min_val=1)
        scores = np.asarray(self.scores, dtype=np.float64)
        if scores.ndim != 1 or not len(scores) or not np.isfinite(scores).all():
            raise ValueError(
                "scores must be a finite number for each row, and of one row at least."
            )
        self.classes_, groups = _groups(self.y, len(scores))
        inner = _inner_edges(scores, self.offset, bins)
        self.edges_ = _with_ends(inner, scores)
        if ax is None:
            _, ax = plt.subplots(layout="constrained")
        self.figure_, self.ax_ = ax.figure, ax
        self.histograms_ = [
            self._plot_group(i, scores[group]) for i, group in enumerate(groups)
        ]
        self.line_ = None
        if self.offset is not None:
            label = f"threshold: {written(self.offset)} {self.unit}"
            self.line_ = ax.axvline(
                self.offset, color=BLACK, linestyle="--", label=label
            )
        ax.set_ylabel("rows" if self.classes_ is None else "share of the class (%)")
        ax.set_xlabel(f"score ({self.unit})")
        ax.set(xlim=self.edges_[[0, -1]], ylim=(0, None))
        self._label_ends(inner)
        self._add_legend()
        return self

    def _plot_group(self, i: int, scores: np.ndarray) -> "StepPatch":
        """The histogram of a class, or of all rows."""
        width = self.edges_[1] - self.edges_[0]
        ends = self.edges_[0] + width / 2, self.edges_[-1] - width / 2
        counts, _ = np.histogram(scores.clip(*ends), self.edges_)
        label = f"{len(scores)} row{'' if len(scores) == 1 else 's'}"
        if self.offset is not None:
            label += f", {100 * np.mean(scores < self.offset):.3g} % below"
        if self.classes_ is None:
            return self.ax_.stairs(
                counts, self.edges_, fill=True, color=BLUE, label=label
            )
        name = self.classes_[i]
        name = "without class" if name is None else f"class {written(name)}"
        return self.ax_.stairs(
            100 * counts / len(scores),
            self.edges_,
            color=COLOURS[i % len(COLOURS)],
            linestyle=_LINE_STYLES[i % len(_LINE_STYLES)],
            linewidth=1.5,
            label=f"{name}: {label}",
        )

    def _add_legend(self) -> None:
        """On the side where bars are lower, and above them: the axis makes room."""
        ax = self.ax_
        legend = ax.legend(loc="upper left", framealpha=1)
        for text in legend.get_texts():
            text.set_parse_math(False)  # a class may hold "$"
        box, whole = legend.get_window_extent(), ax.get_window_extent()
        width = box.width / whole.width + _GAP
        height = box.height / whole.height + _GAP
        low, high = self.edges_[[0, -1]]
        reach = width * (high - low)
        bars = np.max([drawn.get_data()[0] for drawn in self.histograms_], axis=0)
        on_left = bars[self.edges_[:-1] < low + reach].max()
        on_right = bars[self.edges_[1:] > high - reach].max()
        if on_right < on_left:
            legend.set_loc("upper right")
        if height < _HIGHEST:
            top = min(on_left, on_right) / (1 - height)
            ax.set_ylim(top=max(top, ax.get_ylim()[1]))

    def _label_ends(self, inner: np.ndarray) -> None:
        """Shade the bins that hold tails, and say on the axis from where on."""
        from matplotlib.ticker import MaxNLocator

        ax, (low, high) = self.ax_, self.edges_[[0, -1]]
        ends = [("≤", inner[0], low), ("≥", inner[-1], high)]
        ends = [end for end in ends if end[1] != end[2]]
        if not ends:
            return
        points = ax.get_window_extent().width / self.figure_.dpi * 72
        letter = _LETTER / points * (high - low)
        widest = letter * (2 + max(len(written(edge)) for edge in inner[[0, -1]]))
        n_ticks = min(_MOST_TICKS, max(1, int((high - low) / widest)))
        ticks = [
            x + 0.0  # not -0
            for x in MaxNLocator(n_ticks, steps=(1, 2, 2.5, 5, 10)).tick_values(
                inner[0], inner[-1]
            )
            if inner[0] <= x <= inner[-1] and all(abs(x - e[2]) > widest for e in ends)
        ]
        labels = [written(x) for x in ticks]
        for sign, edge, end in ends:
            ax.axvspan(edge, end, color="0.92", zorder=0)
            ticks.append((edge + end) / 2)
            labels.append(f"{sign} {written(edge)}")
        ax.set_xticks(ticks, [label.replace("-", "\N{MINUS SIGN}") for label in labels])


def _groups(
    y: ArrayLike | None, n_samples: int
) -> tuple[list[Any] | None, list[np.ndarray]]:
    """The classes of rows, and which rows are of each."""
    if y is None:
        return None, [np.ones(n_samples, dtype=bool)]
    levels, codes, _ = labelled(y, n_samples)
    if (codes < 0).any():
        codes[codes < 0] = len(levels)
        levels = [*levels, None]
    if len(levels) > _MOST_CLASSES:
        raise ValueError(
            f"y has {len(levels)} different labels: more than {_MOST_CLASSES} cannot "
            "be told apart. Give those of some classes."
        )
    return levels, [codes == place for place in range(len(levels))]


def _inner_edges(scores: np.ndarray, offset: float | None, n_bins: int) -> np.ndarray:
    """Edges of bins of equal width between the tails, one of them at the threshold."""
    low, high = scores.min(), scores.max()
    least = _ROUNDING * max(1.0, abs(low), abs(high))
    lower, upper = np.percentile(scores, [25, 75])
    reach = _FENCE * (upper - lower)
    if reach > least:
        low, high = max(low, lower - reach), min(high, upper + reach)
    if offset is not None:
        low, high = min(low, offset), max(high, offset)
    if high - low <= least:
        low, high = low - max(0.5, least), high + max(0.5, least)
    width = (high - low) / n_bins
    if offset is None:
        return low + width * np.arange(n_bins + 1)
    # A bin at least on either side: a row at the threshold belongs above it.
    first = min(np.floor((low - offset) / width + _ROUNDING), -1)
    last = max(np.ceil((high - offset) / width - _ROUNDING), 1)
    return offset + width * np.arange(first, last + 1)


def _with_ends(edges: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """The edges, and those of bins for what is beyond them."""
    width = edges[1] - edges[0]
    slack = _ROUNDING * max(1.0, *np.abs(edges))
    below = [edges[0] - width] if scores.min() < edges[0] - slack else []
    above = [edges[-1] + width] if scores.max() > edges[-1] + slack else []
    return np.concatenate([below, edges, above])
