"""ReconstructionDisplay: what a code keeps of its row, in images or by column."""

from collections.abc import Sequence
from numbers import Integral
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import TransformerMixin
from sklearn.utils import check_scalar
from sklearn.utils.validation import check_is_fitted

from skvae import frames
from skvae.display.bars import axes_of_bars, draw_bars, fit_names
from skvae.display.images import as_images, draw_images, frame_images
from skvae.display.rows import count_rows, evenly_spaced, numbers, positions, row_labels
from skvae.display.style import BLACK, BLUE, GREEN, column_name, pyplot, shortened
from skvae.frames import Layout, Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.container import BarContainer

__all__ = ["ReconstructionDisplay"]

#: Likelihoods of which `inverse_transform` gives the likeliest level, not a mean.
_FAMILIES_OF_LEVELS = ("categorical", "ordinal", "identifier")
#: The colours of bars.
_OF_NUMBERS, _OF_LABELS = BLUE, GREEN
_MARK: dict[str, Any] = {
    "marker": "|",
    "linestyle": "",
    "color": BLACK,
    "markersize": 12,
    "markeredgewidth": 2,
}
#: Inches: the height of the legend.
_LEGEND = 0.7
#: Shares below it are drawn as it.
_LEAST_SHARE = -1.0
#: Shares nearer to 0 are drawn as 0.
_NEXT_TO_NONE = 0.005
#: Inches: an image's height, what stands beside the images and below them; the widest.
_IMAGE, _BESIDE, _BELOW, _WIDEST = 0.85, 2.2, 0.6, 14
#: Letters of a row's label below its image.
_LABEL = 9


class ReconstructionDisplay:
    """Rows beside what a model makes of them from their codes.

    Of images: the rows above, the reconstructions below on the same colour scale, and
    below these the difference, on a scale that is symmetric about 0.

    Of tables: how much of each column comes through the code, the least on top. Of
    numbers a bar is the explained share of the column's variance, R² = 1 - (mean
    squared error) / variance: 1 where every cell comes back, 0 where the column's mean
    would do as well, below 0 where it would do better. Of labels it is the share of
    cells whose label comes back, and a black mark is the share of the commonest label:
    what guessing it would get right. Holes do not count. A constant column has no
    variance to explain, and no bar.

    Make one with `from_estimator`. All parameters are stored as attributes.

    Parameters
    ----------
    values : ndarray of shape (n_rows, n_features)
        Rows, in the units of X: NaN for holes, labels as numbers.
    reconstructions : ndarray of shape (n_rows, n_features)
        What the model makes of them.
    feature_names : sequence of length n_features or None, default=None
        What the columns are called. Whole numbers are drawn as "column 0"; None counts
        from 0.
    categorical_features : sequence of int, default=()
        Positions of the columns that hold labels.
    labels : sequence of length n_rows or None, default=None
        What the rows are called, below their images. None counts them from 0.
    image_shape : tuple of int or None, default=None
        (height, width) or (channels, height, width) of a row, if rows are images.

    Attributes
    ----------
    scores_ : ndarray of shape (n_features,) or None
        Explained share of the variance of each column, or share of right labels; NaN of
        columns without a bar. None for images.
    bars_ : BarContainer or None
        The bars, from top to bottom. None for images.
    images_ : ndarray of shape (3, n_rows) of matplotlib AxesImage, or None
        Rows, reconstructions and differences. None for tables.
    ax_ : matplotlib Axes
        Axes with the bars or images.
    figure_ : matplotlib Figure
        The figure that holds it.

    See Also
    --------
    VAETransformer.inverse_transform : The reconstructions, of codes.
    AETransformer.reconstruction_error_by_feature : The errors, cell by cell.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sklearn.datasets import load_digits
    >>> from skvae import ReconstructionDisplay, VAETransformer
    >>> X = load_digits().data
    >>> vae = VAETransformer(4, max_iter=10, random_state=0).fit(X)
    >>> display = ReconstructionDisplay.from_estimator(vae, X, image_shape=(8, 8))
    >>> display.reconstructions.shape
    (8, 64)
    >>> plt.close(display.figure_)
    """

    scores_: np.ndarray | None
    bars_: "BarContainer | None"
    images_: np.ndarray | None

    def __init__(
        self,
        values: np.ndarray,
        reconstructions: np.ndarray,
        *,
        feature_names: Sequence[Any] | None = None,
        categorical_features: Sequence[int] = (),
        labels: Sequence[Any] | None = None,
        image_shape: Sequence[int] | None = None,
    ) -> None:
        self.values = values
        self.reconstructions = reconstructions
        self.feature_names = feature_names
        self.categorical_features = categorical_features
        self.labels = labels
        self.image_shape = image_shape

    @classmethod
    def from_estimator(
        cls,
        estimator: TransformerMixin,
        X: Table,
        *,
        rows: ArrayLike | None = None,
        n_rows: int = 8,
        n_features: int = 20,
        image_shape: Sequence[int] | None = None,
        ax: "Axes | None" = None,
    ) -> Self:
        """Rebuild rows with a fitted estimator, and draw what comes back.

        Parameters
        ----------
        estimator : VAETransformer or AETransformer
            Fitted. Other transformers with an `inverse_transform` will do, such as PCA
            or a pipeline.
        X : array-like, sparse matrix or data frame of shape (n_samples, n_features)
            As in the `transform` of the estimator. Nothing is changed.
        rows : int, sequence of int or None, default=None
            Positions of the rows to rebuild, from 0, in this order. None: all of them
            for a table; `n_rows`, evenly spaced in X, for images.
        n_rows : int, default=8
            How many images None stands for, at most.
        n_features : int, default=20
            Columns of a table with a bar of their own, at most: those that the code
            keeps the least of. The remaining ones share one for numbers and one for
            labels.
        image_shape : tuple of int or None, default=None
            (height, width) if rows are images, or (channels, height, width) with 1 or 3
            channels. None: rows are those of a table.
        ax : matplotlib Axes or None, default=None
            Where to draw; ``layout="constrained"`` gives names the room that they need.
            None makes a figure.

        Returns
        -------
        display : ReconstructionDisplay
            Made and drawn.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        NotFittedError
            If the estimator is not fitted.
        TypeError
            If the estimator has no `transform` or no `inverse_transform`, or rows are
            not whole numbers.
        ValueError
            If X has no such row, or rows are no images of `image_shape`.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> from sklearn.datasets import load_iris
        >>> from skvae import ReconstructionDisplay, VAETransformer
        >>> X = load_iris(as_frame=True).data
        >>> vae = VAETransformer(1, random_state=0).fit(X)
        >>> display = ReconstructionDisplay.from_estimator(vae, X)
        >>> print(display.ax_.get_yticklabels()[0].get_text())
        sepal width (cm)
        >>> plt.close(display.figure_)
        """
        pyplot(cls)
        for method in ("transform", "inverse_transform"):
            if not hasattr(estimator, method):
                raise TypeError(
                    f"{type(estimator).__name__} has no {method}, and so no codes that "
                    "rows are rebuilt from: VAETransformer and AETransformer have."
                )
        check_is_fitted(estimator)
        check_scalar(n_rows, "n_rows", Integral, min_val=1)
        check_scalar(n_features, "n_features", Integral, min_val=1)
        n_samples = count_rows(X)
        if rows is not None:
            rows = positions(rows, n_samples)
        elif image_shape is None:
            rows = np.arange(n_samples)
        else:
            rows = evenly_spaced(n_samples, n_rows)
        drawn = frames.taken(X, rows)
        rebuilt = estimator.inverse_transform(estimator.transform(drawn))
        layout = _layout(estimator, drawn)
        display = cls(
            numbers(drawn, layout),
            numbers(rebuilt, layout),
            feature_names=list(frames.column_labels(layout, drawn.shape[1])),
            categorical_features=_categorical(estimator, layout),
            labels=row_labels(X, rows),
            image_shape=image_shape,
        )
        return display.plot(ax, n_features=n_features)

    def plot(self, ax: "Axes | None" = None, *, n_features: int = 20) -> Self:
        """Draw images, or a bar for each column.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Where to draw; ``layout="constrained"`` gives names the room that they need.
            None makes a figure.
        n_features : int, default=20
            Columns of a table with a bar of their own, at most.

        Returns
        -------
        display : ReconstructionDisplay
            Itself, drawn.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If rows are no images of `image_shape`, or reconstructions have another
            shape than values.
        """
        plt = pyplot(type(self))
        check_scalar(n_features, "n_features", Integral, min_val=1)
        shapes = np.shape(self.values), np.shape(self.reconstructions)
        if shapes[0] != shapes[1]:
            raise ValueError(
                f"values have shape {shapes[0]}, and reconstructions {shapes[1]}: one "
                "reconstruction is needed for each row, of as many columns."
            )
        self.scores_ = self.bars_ = self.images_ = None
        if self.image_shape is None:
            self._plot_columns(plt, ax, n_features)
        else:
            self._plot_images(plt, ax)
        return self

    # ---- images ------------------------------------------------------------------

    def _plot_images(self, plt: ModuleType, ax: "Axes | None") -> None:
        if len(self.categorical_features):
            raise ValueError(
                "image_shape is for rows of numbers, but X has columns of labels. "
                "Leave it out."
            )
        rows, rebuilt = (
            as_images(np.asarray(part, dtype=np.float64), self.image_shape)
            for part in (self.values, self.reconstructions)
        )
        n_rows, height, width = rows.shape[:3]
        if ax is None:
            beside = n_rows * _IMAGE * width / height + _BESIDE
            size = min(beside, _WIDEST), 3 * _IMAGE + _BELOW
            _, ax = plt.subplots(figsize=size, layout="compressed")
        self.figure_, self.ax_ = ax.figure, ax
        difference = rebuilt - rows
        if difference.ndim == 4:
            difference = difference.mean(axis=-1)
        both = np.concatenate([rows, rebuilt])  # whose holes fmin and fmax leave out
        scale = {
            "vmin": np.fmin.reduce(both, axis=None),
            "vmax": np.fmax.reduce(both, axis=None),
        }
        most = np.fmax.reduce(np.abs(difference), axis=None, initial=0.0) or 1.0
        self.images_ = np.array(
            [
                draw_images(ax, rows, 0, **scale),
                draw_images(ax, rebuilt, 1, **scale),
                draw_images(ax, difference, 2, vmin=-most, vmax=most, cmap="RdBu_r"),
            ]
        )
        labels = range(n_rows) if self.labels is None else self.labels
        lines = ["X", "reconstruction", "reconstruction\nless X"]
        names = [shortened(label, _LABEL) for label in labels]
        frame_images(ax, (height, width), lines, names)
        ax.set_xlabel("row of X")
        if rows.ndim == 3:
            self._add_colorbar(self.images_[0, 0], 0.37, 0.98)
        self._add_colorbar(self.images_[2, 0], 0.02, 0.29)

    def _add_colorbar(self, image: Any, low: float, high: float) -> None:
        """A scale right of some lines of images, given as shares of the height."""
        left, right = self.ax_.get_xlim()
        unit = len(image.get_array()) / (right - left)  # an image's height
        own = self.ax_.inset_axes((1 + 0.15 * unit, low, 0.15 * unit, high - low))
        self.figure_.colorbar(image, cax=own, label="units of X")

    # ---- columns -----------------------------------------------------------------

    def _plot_columns(
        self, plt: ModuleType, ax: "Axes | None", n_features: int
    ) -> None:
        values, rebuilt = (
            np.asarray(part, dtype=np.float64)
            for part in (self.values, self.reconstructions)
        )
        bars = self._bars(values, rebuilt, n_features)
        n_of_labels = sum(bar.of_labels for bar in bars)
        if ax is None:
            legend = _LEGEND if n_of_labels else 0.0
            axes = axes_of_bars(plt, len(bars), legend=legend)
            ax = axes[0]
            self._draw_bars(ax, bars)
            fit_names(axes)
        else:
            self._draw_bars(ax, bars)
        self.figure_, self.ax_ = ax.figure, ax
        rows = f"{len(values)} row{'s' if len(values) > 1 else ''}"
        if not n_of_labels:
            ax.set_xlabel(f"explained share of the variance (R²), {rows}")
            return
        ax.set_xlabel(f"share that comes back, {rows}")
        self._add_legend(ax, n_of_labels < len(bars))

    def _bars(
        self, values: np.ndarray, rebuilt: np.ndarray, n_features: int
    ) -> "list[_Bar]":
        """What is to be drawn, from top to bottom: numbers, then labels."""
        columns = np.arange(values.shape[1])
        labelled = np.isin(columns, list(self.categorical_features))
        shares = [
            _share(values[:, j], rebuilt[:, j], of_labels=labelled[j]) for j in columns
        ]
        scores, guesses = np.array([share[:2] for share in shares]).T
        self.scores_ = scores
        # Of labels and of numbers alike: how far it is from guessing to certainty.
        gains = (scores - guesses) / np.where(guesses < 1, 1 - guesses, 1.0)
        has_own = np.isin(columns, np.argsort(gains, kind="stable")[:n_features])
        bars = []
        for of_labels in (False, True):
            mine = np.flatnonzero(labelled == of_labels)
            mine = mine[np.argsort(scores[mine], kind="stable")]
            for j in mine[has_own[mine]]:
                score, guess, text = shares[j]
                guess = guess if of_labels else np.nan
                bars.append(_Bar(self._name(j), score, text, guess, of_labels, True))
            others = scores[mine[~has_own[mine]]]
            known = others[~np.isnan(others)]
            if len(others):
                mean = known.mean() if len(known) else np.nan
                name = f"mean of {len(others)} other{'s' if len(others) > 1 else ''}"
                text = _written(mean) if len(known) else "constant"
                bars.append(_Bar(name, mean, text, np.nan, of_labels, False))
        return bars

    def _name(self, j: int) -> str:
        return column_name(j if self.feature_names is None else self.feature_names[j])

    def _draw_bars(self, ax: "Axes", bars: "Sequence[_Bar]") -> None:
        lengths = np.nan_to_num([max(bar.length, _LEAST_SHARE) for bar in bars])
        lengths[np.abs(lengths) < _NEXT_TO_NONE] = 0.0  # written 0.00
        self.bars_ = draw_bars(
            ax,
            lengths,
            [bar.name for bar in bars],
            [bar.text for bar in bars],
            colours=[_OF_LABELS if bar.of_labels else _OF_NUMBERS for bar in bars],
            of_columns=[bar.is_column for bar in bars],
        )
        ax.plot([bar.guess for bar in bars], range(len(bars)), **_MARK)
        low = min(0.0, *lengths)
        margin = 0.1 * (1 - low)  # for the numbers beside the bars
        ax.set_xlim(low - margin * (low < 0), 1 + margin)

    def _add_legend(self, ax: "Axes", any_numbers: bool) -> None:
        words: dict[Any, str] = {
            ax.bar(0, 0, color=_OF_NUMBERS): "numbers: explained variance (R²)",
            ax.bar(0, 0, color=_OF_LABELS): "labels: right ones",
            ax.plot([], [], **_MARK)[0]: "labels: the commonest, right by guessing",
        }
        handles = list(words)[not any_numbers :]
        names = [words[handle] for handle in handles]
        ax.legend(
            handles, names, loc="lower left", bbox_to_anchor=(0, 1), frameon=False
        )


class _Bar(NamedTuple):
    """One bar: a column's, or the mean of those without one of their own."""

    name: str
    length: float
    text: str
    guess: float
    of_labels: bool
    is_column: bool


def _layout(estimator: TransformerMixin, X: Table) -> Layout:
    """What kind of table X is: as fit saw it, or as it is."""
    if hasattr(estimator, "_state"):
        return estimator._state["table"]["layout"]
    return frames.describe(X)


def _categorical(estimator: TransformerMixin, layout: Layout) -> list[int]:
    """Positions of the columns that hold labels, or levels that are numbers."""
    families = [column["family"] for column in getattr(estimator, "likelihood_", ())]
    named = {j for j, name in enumerate(families) if name in _FAMILIES_OF_LEVELS}
    return sorted(named | {j for j, levels in layout["levels"].items() if levels})


def _share(
    values: np.ndarray, rebuilt: np.ndarray, of_labels: bool
) -> tuple[float, float, str]:
    """What comes back of a column's observed cells, and what guessing would get right.

    NaN and a word for it where the column has nothing to explain.
    """
    rebuilt, values = (part[~np.isnan(values)] for part in (rebuilt, values))
    if not len(values):
        return np.nan, np.nan, "no values"
    if np.isnan(rebuilt).any():
        return np.nan, np.nan, "not rebuilt"
    if of_labels:
        right = np.mean(values == rebuilt)
        commonest = np.unique(values, return_counts=True)[1].max() / len(values)
        return right, commonest, _written(right)
    if values.min() == values.max():
        return np.nan, np.nan, "constant"
    explained = 1 - np.mean((values - rebuilt) ** 2) / values.var()
    return explained, 0.0, _written(explained)


def _written(share: float) -> str:
    if share < _LEAST_SHARE:
        return f"< {_LEAST_SHARE:.0f}"
    return f"{np.round(share, 2) + 0.0:.2f}"  # without the sign of -0.00
