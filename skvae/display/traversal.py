"""TraversalDisplay: what becomes of a row as one component of its code moves."""

from collections.abc import Sequence
from numbers import Integral
from types import ModuleType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_scalar

from skvae.display.columns import DecodedColumns
from skvae.display.components import (
    component_numbers,
    has_positive_codes,
    kept_from_fit,
    measured,
    one_model,
)
from skvae.display.images import as_images, draw_images, frame_images
from skvae.display.rows import row_labels
from skvae.display.style import (
    COLOURS,
    GREY,
    column_name,
    legend_beside,
    pyplot,
    shortened,
    vacated,
)
from skvae.display.walks import walks_from_centre
from skvae.frames import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage
    from matplotlib.lines import Line2D

    from skvae.base import BaseVAE

__all__ = ["TraversalDisplay"]

#: Components that are drawn unless others are asked for, at most.
_COMPONENTS = 8
#: Inches: the width of an image, what stands beside and around the images; a panel
#: among others, what stands around them, and a panel alone.
_IMAGE, _BESIDE, _BELOW = 0.62, 2.2, 0.9
_PANEL, _AROUND, _ALONE = (5.0, 1.9), 0.6, (6.4, 3.2)
#: Letters of what the traversal starts from.
_START = 30
#: Percentiles of pixels at the ends of the colour scale: few values are far out.
_SEEN = 1, 99
#: Lines take them and the colours by turns, so that the first 42 pairs differ.
_STYLES = ("-", "--", "-.", (0, (3, 1, 1, 1, 1, 1)), (0, (6, 2)), ":")


class TraversalDisplay:
    """What becomes of a row as one component of its code moves, and the others stay.

    Rows are the decoder's means, as `traverse` gives them. Components come with the
    most informative first.

    Images stand in a grid: a line for each component, a column for each value.

    Of tables each component has a panel with the columns that change most, as lines
    over its values: their change from the start, in standard deviations of the column
    over X, so that columns of any unit can be compared. A column looks alike in all
    panels. One of labels has a line for each label, of two labels for the second: its
    probability, in standard deviations of the label's indicator. Labels that tell rows
    apart, as names do, are left out.

    Where the prior is standard normal, a component takes values from -2 to 2. Of other
    priors it takes the quantiles of the prior that are at these places in a normal
    distribution, from 2% to 98%. The codes of an autoencoder have no prior: it takes
    these quantiles of the codes of X. Shares and classes go with the others, which keep
    their proportions.

    Make one with `from_estimator`. All parameters are stored as attributes.

    Parameters
    ----------
    rows : ndarray of shape (n_components, n_values, n_features)
        What rows become, in the units of X, or as probabilities of labels.
    values : ndarray of shape (n_components, n_values)
        The values that each component takes.
    names : sequence of str
        What the components are called.
    image_shape : tuple of int or None, default=None
        (height, width), or (channels, height, width) with 1 or 3 channels, if rows are
        images.
    feature_names : sequence of length n_features or None, default=None
        What columns are called. None counts them from 0. Not used for images.
    start : ndarray of shape (n_features,) or None, default=None
        The row at the start, which changes are relative to. None is the mean over
        `rows`. Not used for images.
    scales : ndarray of shape (n_features,) or None, default=None
        Standard deviations of the columns, as units of the changes; columns with NaN
        are not drawn. None leaves changes in the units of `rows`. Not used for images.
    start_name : str or None, default=None
        What the start is called. None leaves it out.
    value_names : sequence of length n_values or None, default=None
        What the values are called above the columns of images. None writes those of the
        first component.
    value_label : str, default="value of the component"
        Label of the axis of values.
    log_scale : bool, default=False
        Whether the axes of values are logarithmic. Not used for images.

    Attributes
    ----------
    images_ : list of list of matplotlib AxesImage
        The images of each component; empty for tables.
    lines_ : list of list of matplotlib Line2D
        The lines of each component, the column that changes most first; empty for
        images.
    axes_ : ndarray of shape (n_axes,) of matplotlib Axes
        The one with the images, or one for each component.
    ax_ : matplotlib Axes
        The first of them.
    figure_ : matplotlib Figure
        The figure that holds them.

    See Also
    --------
    traverse : The rows behind the picture.
    LatentSpaceDisplay : Where rows are among the codes.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sklearn.datasets import load_digits
    >>> from skvae import TraversalDisplay, VAETransformer
    >>> X = load_digits().data
    >>> vae = VAETransformer(4, max_iter=20, random_state=0).fit(X)
    >>> display = TraversalDisplay.from_estimator(vae, X, image_shape=(8, 8))
    >>> display.rows.shape  # components, values, pixels
    (4, 9, 64)
    >>> display.ax_.get_xlabel()
    'value of the component (standard deviations of the prior)'
    >>> plt.close(display.figure_)
    """

    images_: "list[list[AxesImage]]"
    lines_: "list[list[Line2D]]"

    def __init__(
        self,
        rows: np.ndarray,
        values: np.ndarray,
        names: Sequence[str],
        *,
        image_shape: Sequence[int] | None = None,
        feature_names: Sequence[Any] | None = None,
        start: np.ndarray | None = None,
        scales: np.ndarray | None = None,
        start_name: str | None = None,
        value_names: Sequence[str] | None = None,
        value_label: str = "value of the component",
        log_scale: bool = False,
    ) -> None:
        self.rows = rows
        self.values = values
        self.names = names
        self.image_shape = image_shape
        self.feature_names = feature_names
        self.start = start
        self.scales = scales
        self.start_name = start_name
        self.value_names = value_names
        self.value_label = value_label
        self.log_scale = log_scale

    @classmethod
    def from_estimator(
        cls,
        estimator: "BaseVAE",
        X: Table | None = None,
        *,
        components: ArrayLike | None = None,
        values: ArrayLike | None = None,
        row: int | None = None,
        image_shape: Sequence[int] | None = None,
        n_features: int = 5,
        ax: "Axes | None" = None,
    ) -> Self:
        """Walk along components of a fitted model's code, and draw the rows.

        Parameters
        ----------
        estimator : VAETransformer or AETransformer
            Fitted. Of a pipeline, give the last step, and the rows that it sees.
        X : array-like, sparse matrix or data frame of shape (n_samples, n_features) \
                or None, default=None
            Rows by which components are put in order, as in `LatentSpaceDisplay`, and
            columns have their standard deviations. Images do without, of a
            `VAETransformer`: the order is then that of `kl_per_component_`. Nothing is
            changed.
        components : int, sequence of int or None, default=None
            Which components to move, counted from 0, in this order. None: the most
            informative first, 8 at most.
        values : array-like of shape (n_values,) or None, default=None
            What each component is to be. None: values from -2 to 2 under a standard
            normal prior, and else quantiles, as above; 9 for images, 41 for lines.
        row : int or None, default=None
            Position of the row of X from whose code to start. None is the centre: 0
            under a standard normal prior, else the median of the prior, equal shares,
            or, for the codes of an autoencoder, their median over X.
        image_shape : tuple of int or None, default=None
            (height, width), or (channels, height, width) with 1 or 3 channels, to draw
            rows as images.
        n_features : int, default=5
            Columns with a line in a panel, at most.
        ax : matplotlib Axes or None, default=None
            Where to draw. Several panels take the place of the axes in its figure;
            ``layout="constrained"`` gives labels the room that they need. None makes a
            figure.

        Returns
        -------
        display : TraversalDisplay
            Made and drawn.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        NotFittedError
            If the estimator is not fitted.
        TypeError
            If the estimator is an ensemble, has no `inverse_transform`, or is none of
            skvae's, or components are not whole numbers.
        ValueError
            If X is needed and not given, or has no column that varies, there is no such
            component or row, `values` is empty or no sequence, or holds one that no
            code can have, or `image_shape` does not go with the columns.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> from sklearn.datasets import load_iris
        >>> from skvae import TraversalDisplay, VAETransformer
        >>> X = load_iris(as_frame=True).data
        >>> vae = VAETransformer(2, max_iter=20, random_state=0).fit(X)
        >>> display = TraversalDisplay.from_estimator(vae, X, row=0, n_features=2)
        >>> len(display.lines_), len(display.lines_[0])
        (2, 2)
        >>> display.ax_.get_title()
        'component ... (... nats)'
        >>> plt.close(display.figure_)
        """
        pyplot(cls)
        check_scalar(n_features, "n_features", Integral, min_val=1)
        fitted = one_model(estimator)
        if not hasattr(estimator, "inverse_transform"):
            raise TypeError(
                f"{type(estimator).__name__} has no inverse_transform, which "
                "VAETransformer and AETransformer have."
            )
        table: Any = None
        codes: Any = None
        if X is None:
            _check_without_rows(estimator, row, image_shape)
            worth, names = kept_from_fit(estimator)
        else:
            table = estimator._check_rows(X)
            codes, worth, names = measured(estimator, table)
        if components is None:
            components = np.argsort(-worth, kind="stable")[:_COMPONENTS]
        else:
            components = component_numbers(components, len(names))
        walks = walks_from_centre(fitted, codes, as_images=image_shape is not None)
        start_name = "the centre of the codes"
        if values is not None:
            walks = walks.through(_checked(values))
        if row is not None:
            check_scalar(row, "row", Integral, min_val=0, max_val=len(codes) - 1)
            walks = walks._replace(start=codes[row])
            label = row_labels(X, np.array([row]))[0]
            start_name = f"row {shortened(label, _START)}"
        Z = walks.codes(fitted.model.posterior, components)
        values = walks.values[components]
        rows: Any
        if image_shape is None:
            columns = DecodedColumns(fitted)
            start, *rows = columns.decoded(np.vstack([walks.start, Z]))
            of_table = {
                "feature_names": columns.names,
                "start": start,
                "scales": columns.deviations(table),
                "log_scale": has_positive_codes(fitted),
            }
        else:
            rows, of_table = fitted.means(Z), {"value_names": walks.names}
        display = cls(
            np.reshape(rows, (*values.shape, -1)),
            values,
            [names[component] for component in components],
            image_shape=image_shape,
            start_name=start_name,
            value_label=walks.label,
            **of_table,
        )
        return display.plot(ax, n_features=n_features)

    def plot(self, ax: "Axes | None" = None, *, n_features: int = 5) -> Self:
        """Draw the rows.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Where to draw. Several panels take the place of the axes in its figure;
            ``layout="constrained"`` gives labels the room that they need. None makes a
            figure.
        n_features : int, default=5
            Columns with a line in a panel, at most.

        Returns
        -------
        display : TraversalDisplay
            Itself, drawn.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If `image_shape` does not go with the columns, or several panels are to take
            the place of an axes that is no subplot, or has been divided before.
        """
        plt = pyplot(type(self))
        check_scalar(n_features, "n_features", Integral, min_val=1)
        self.images_, self.lines_ = [], []
        if self.image_shape is not None:
            self._plot_images(plt, ax)
        else:
            self._plot_panels(plt, ax, n_features)
        self.ax_ = self.axes_[0]
        return self

    def _plot_images(self, plt: ModuleType, ax: "Axes | None") -> None:
        """All images in one axes, a line each component."""
        rows = np.asarray(self.rows)
        images = as_images(rows.reshape(-1, rows.shape[-1]), self.image_shape)
        height, width = shape = images.shape[1:3]
        n_lines, n_values = rows.shape[:2]
        if ax is None:
            across = n_values * _IMAGE + _BESIDE
            down = n_lines * _IMAGE * height / width + _BELOW
            _, ax = plt.subplots(figsize=(across, down), layout="constrained")
        low, high = np.percentile(rows, _SEEN)
        for line, part in enumerate(np.split(images, n_lines)):
            self.images_.append(draw_images(ax, part, line, vmin=low, vmax=high))
        ticks = self.value_names
        if ticks is None:
            ticks = [f"{value:.3g}" for value in self.values[0]]
        frame_images(ax, shape, self.names, ticks)
        ax.set_xlabel(self.value_label)
        if self.start_name is not None:
            ax.set_title(
                f"start: {self.start_name}", fontsize="small", parse_math=False
            )
        self.figure_, self.axes_ = ax.figure, np.array([ax], dtype=object)

    def _plot_panels(self, plt: ModuleType, ax: "Axes | None", n_features: int) -> None:
        """An axes for each component, with the lines of some columns."""
        start = np.mean(self.rows, axis=(0, 1)) if self.start is None else self.start
        changes = np.asarray(self.rows, dtype=np.float64) - start
        unit = ""
        if self.scales is not None:
            changes /= self.scales
            unit = "\n(standard deviations of the column)"
        labels = self.value_label, f"change from {self.start_name or 'the start'}{unit}"
        self.figure_, self.axes_ = _panels(plt, ax, len(changes), *labels)
        looks: dict[int, int] = {}  # a column looks alike in all panels
        for own, values, name, change in zip(
            self.axes_, self.values, self.names, changes, strict=True
        ):
            own.axhline(0, color=GREY, linewidth=0.8)
            reach = np.nan_to_num(np.ptp(change, axis=0), nan=-1.0)
            shown = np.argsort(-reach, kind="stable")[:n_features]
            shown = shown[reach[shown] >= 0]
            self.lines_.append(self._plot_panel(own, values, change, shown, looks))
            own.set_title(name, fontsize="medium")
            if self.log_scale:
                own.set_xscale("log")

    def _plot_panel(
        self,
        ax: "Axes",
        values: np.ndarray,
        change: np.ndarray,
        shown: np.ndarray,
        looks: dict[int, int],
    ) -> "list[Line2D]":
        """Lines of some columns, named in the order of their ends."""
        lines: list[Any] = []
        for j in shown:
            name = j if self.feature_names is None else self.feature_names[j]
            look = looks.setdefault(j, len(looks))
            (line,) = ax.plot(
                values,
                change[:, j],
                color=COLOURS[look % len(COLOURS)],
                linestyle=_STYLES[look % len(_STYLES)],
                label=column_name(name),
            )
            lines.append(line)
        by_end = sorted(lines, key=lambda line: -line.get_ydata()[-1])
        legend_beside(ax, by_end, [line.get_label() for line in by_end])
        return lines


def _panels(
    plt: ModuleType, ax: Any, n_panels: int, x_label: str, y_label: str
) -> tuple[Any, np.ndarray]:
    """A figure, and in it, or in the place of an axes, an axes for each panel."""
    if n_panels == 1:
        if ax is None:
            _, ax = plt.subplots(figsize=_ALONE, layout="constrained")
        ax.set_xlabel(x_label)
        ax.set_ylabel(y_label, parse_math=False)
        return ax.figure, np.array([ax], dtype=object)
    n_lines = -(-n_panels // 2)
    if ax is None:
        height = max(n_lines * _PANEL[1] + _AROUND, _ALONE[1])
        size = 2 * _PANEL[0], height
        figure = place = plt.figure(figsize=size, layout="constrained")
    else:
        figure = ax.figure
        place = figure.add_subfigure(vacated(ax))
    axes = place.subplots(n_lines, 2, sharey=True, squeeze=False).ravel()
    for unused in axes[n_panels:]:
        unused.remove()
    place.supxlabel(x_label, fontsize="medium")
    place.supylabel(y_label, fontsize="medium", ma="center", parse_math=False)
    return figure, axes[:n_panels]


def _checked(values: ArrayLike) -> np.ndarray:
    """The values that a component takes, (n_values,)."""
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.ndim != 1 or not len(numbers):
        raise ValueError(
            f"values must be a sequence of one number or more, got {values!r}."
        )
    return numbers


def _check_without_rows(
    estimator: "BaseVAE", row: int | None, image_shape: Sequence[int] | None
) -> None:
    """Refuse what cannot be drawn without rows."""
    if image_shape is None:
        raise ValueError(
            "X is needed for tables, whose columns are drawn in units of their "
            "standard deviations. Give X, or image_shape if rows are images."
        )
    if not hasattr(estimator, "kl_per_component_"):
        raise ValueError(
            f"X is needed: the codes of {type(estimator).__name__} have no prior that "
            "tells where they lie."
        )
    if row is not None:
        raise ValueError("row is a position in X, which is not given.")
