"""LatentSpaceDisplay: where rows are among the codes, and how surely."""

from collections.abc import Sequence
from numbers import Integral
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_scalar

from skvae.display.components import (
    component_numbers,
    has_normal_prior,
    has_positive_codes,
    measured,
    one_model,
)
from skvae.display.ellipses import outline, posteriors_of_rows
from skvae.display.groups import Group, grouped
from skvae.display.style import BLACK, GREY, legend_beside, pyplot, shortened
from skvae.frames import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colorbar import Colorbar
    from matplotlib.legend import Legend

    from skvae.base import BaseVAE

__all__ = ["LatentSpaceDisplay"]

#: Letters of the name of the labels.
_NAME = 24
#: Inches: side of the axes, and width of what stands beside it.
_SIDE, _BESIDE = 4.8, 1.5
#: Inches: height of a strip of points, and of what is around the strips.
_STRIP, _AROUND = 0.6, 1.0
#: How far points are spread to either side, of the 1 from strip to strip.
_SPREAD = 0.35
#: How far points without a label are below the others, as a share of their range.
_BELOW = 0.1
#: Rows from which points are pixels in vector formats.
_RASTERIZED = 2_000
_OF_PRIOR: dict[str, Any] = {"color": GREY, "linewidth": 0.7, "zorder": 0.5}


class LatentSpaceDisplay:
    """Rows by their codes, with the posteriors of some of them.

    A point is the posterior mean of a row, as `transform` gives it, in two components,
    or in one. An ellipse around it is the posterior q(z|x) of the row, by its
    covariance: one standard deviation in each direction. Where ellipses are small
    beside the cloud of points, codes tell rows apart; a component in which they are as
    wide as the prior says little of any row. Grey rings are one and two standard
    deviations of the prior, where that is standard normal. Positive codes are drawn by
    their logarithms, which is what the decoder reads; so are their ellipses.

    One component is drawn along the horizontal axis, with bars for ellipses. The
    vertical axis is then y where y is continuous, with rows without a label below the
    others, and else spreads points at random within the strip of their class, so that
    they are seen.

    Make one with `from_estimator`. All parameters are stored as attributes.

    Parameters
    ----------
    codes : ndarray of shape (n_samples, 2) or (n_samples, 1)
        The components to be drawn of each row's code.
    names : sequence of str
        What these components are called, as labels of the axes.
    y : array-like of shape (n_samples,) or None, default=None
        Labels of the rows. Text, categories, booleans and whole numbers are classes;
        floats, and whole numbers with more than 20 values, are drawn by a colour bar.
        Rows without a label (None or NaN) are grey.
    y_name : str, default="y"
        What the labels are called.
    ellipse_rows : sequence of int, default=()
        Positions of the rows whose posteriors are drawn.
    covariances : array-like of shape (n_ellipses, n_drawn, n_drawn), default=()
        Covariances of these posteriors in the components drawn, or of the logarithms
        of codes with `log_scale`.
    has_normal_prior : bool, default=False
        Whether the prior is standard normal: then there are rings, and both axes have
        one scale.
    log_scale : bool, default=False
        Whether axes of components are logarithmic.

    Attributes
    ----------
    scatter_ : list of matplotlib PathCollection
        Points: of each class in the order of the legend, or of all rows, and last those
        in grey if there are any.
    ellipses_ : matplotlib LineCollection
        The outlines of the posteriors of `ellipse_rows`; of one component, bars.
    rings_ : list of matplotlib Circle or Line2D
        The prior's; empty where it is not standard normal.
    legend_ : matplotlib Legend or None
        The classes and their numbers of rows.
    colorbar_ : matplotlib Colorbar or None
        Of continuous labels.
    ax_ : matplotlib Axes
        The axes with the points.
    figure_ : matplotlib Figure
        The figure that holds it.

    See Also
    --------
    TraversalDisplay : What the components stand for.
    diagnostics : How much they tell of a row, in nats.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sklearn.datasets import load_wine
    >>> from skvae import LatentSpaceDisplay, VAETransformer
    >>> X, y = load_wine(return_X_y=True)
    >>> vae = VAETransformer(4, max_iter=60, random_state=0).fit(X)
    >>> display = LatentSpaceDisplay.from_estimator(vae, X, y)
    >>> display.ax_.get_xlabel()
    'component ... (... nats)'
    >>> [text.get_text() for text in display.legend_.get_texts()]
    ['0 (59)', '1 (71)', '2 (48)']
    >>> plt.close(display.figure_)
    """

    legend_: "Legend | None"
    colorbar_: "Colorbar | None"

    def __init__(
        self,
        codes: ArrayLike,
        names: Sequence[str],
        *,
        y: ArrayLike | None = None,
        y_name: str = "y",
        ellipse_rows: Sequence[int] | np.ndarray = (),
        covariances: Sequence[Any] | np.ndarray = (),
        has_normal_prior: bool = False,
        log_scale: bool = False,
    ) -> None:
        self.codes = codes
        self.names = names
        self.y = y
        self.y_name = y_name
        self.ellipse_rows = ellipse_rows
        self.covariances = covariances
        self.has_normal_prior = has_normal_prior
        self.log_scale = log_scale

    @classmethod
    def from_estimator(
        cls,
        estimator: "BaseVAE",
        X: Table,
        y: ArrayLike | None = None,
        *,
        components: ArrayLike | None = None,
        n_ellipses: int | None = None,
        ax: "Axes | None" = None,
    ) -> Self:
        """Encode rows with a fitted estimator, and draw their codes.

        Parameters
        ----------
        estimator : VAETransformer, VAEImputer or AETransformer
            Fitted. Of a pipeline, give the last step, and the rows that it sees. The
            codes of an `AETransformer` are points, without ellipses.
        X : array-like, sparse matrix or data frame of shape (n_samples, n_features)
            Nothing is changed.
        y : array-like of shape (n_samples,) or None, default=None
            Labels of the rows, known or predicted: classes, or numbers if they are
            floats.
        components : int, pair of int or None, default=None
            Which components to draw, counted from 0, as columns of `transform`. None:
            the two that tell most of the rows of X, or the only one. That is by KL
            divergence, or where it does not fall apart into components by activity, as
            in `diagnostics`; of an autoencoder, by what reconstructions change if the
            component is set to its mean.
        n_ellipses : int or None, default=None
            Rows whose posteriors are drawn, evenly spaced, at most. None: a tenth of
            the rows, 25 at most, and no more than together cover a tenth of the box
            around the codes, but 3 in any case. There are none for codes that are
            points or classes, nor under "cauchy", which has no variance.
        ax : matplotlib Axes or None, default=None
            Where to draw; ``layout="constrained"`` gives the legend, which is beside
            the axes, the room that it needs. None makes a figure.

        Returns
        -------
        display : LatentSpaceDisplay
            Made and drawn.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        NotFittedError
            If the estimator is not fitted.
        TypeError
            If the estimator is an ensemble, or none of skvae's, or components are not
            whole numbers.
        ValueError
            If there is no such component, or not one label for each row, all of one
            kind.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> from sklearn.datasets import load_iris
        >>> from skvae import LatentSpaceDisplay, VAETransformer
        >>> X = load_iris(as_frame=True).data
        >>> vae = VAETransformer(2, max_iter=20, random_state=0).fit(X)
        >>> length = X["petal length (cm)"]
        >>> display = LatentSpaceDisplay.from_estimator(vae, X, length)
        >>> display.codes.shape
        (150, 2)
        >>> display.colorbar_.ax.get_ylabel()
        'petal length (cm)'
        >>> plt.close(display.figure_)
        """
        pyplot(cls)
        if n_ellipses is not None:
            check_scalar(n_ellipses, "n_ellipses", Integral, min_val=0)
        fitted = one_model(estimator)
        X = estimator._check_rows(X)
        codes, worth, names = measured(estimator, X)
        if components is None:
            components = np.sort(np.argsort(-worth, kind="stable")[:2])
        else:
            components = component_numbers(components, len(names))
        if len(components) > 2:
            raise ValueError(
                f"components must be one or two, for as many axes, got {components}."
            )
        codes = codes[:, components]
        rows, covariances = posteriors_of_rows(fitted, X, codes, components, n_ellipses)
        name = getattr(y, "name", None)
        display = cls(
            codes,
            [names[component] for component in components],
            y=y,
            y_name="y" if name is None else str(name),
            ellipse_rows=rows,
            covariances=covariances,
            has_normal_prior=has_normal_prior(fitted),
            log_scale=has_positive_codes(fitted),
        )
        return display.plot(ax)

    def plot(self, ax: "Axes | None" = None) -> Self:
        """Draw the codes.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Where to draw; ``layout="constrained"`` gives the legend, which is beside
            the axes, the room that it needs. None makes a figure.

        Returns
        -------
        display : LatentSpaceDisplay
            Itself, drawn.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If there is not one label for each row, all of one kind.
        """
        plt = pyplot(type(self))
        codes = np.asarray(self.codes, dtype=np.float64)
        groups, numbers = grouped(self.y, len(codes))
        is_flat = codes.shape[1] == 1
        in_strips = is_flat and numbers is None
        if ax is None:
            height = _AROUND + _STRIP * len(groups) if in_strips else _SIDE
            width = _SIDE + _BESIDE * (self.y is not None)
            _, ax = plt.subplots(figsize=(width, height), layout="constrained")
        self.ax_, self.figure_ = ax, ax.figure
        self.legend_ = self.colorbar_ = None
        if is_flat:
            heights = (
                _strips(groups, len(codes))
                if numbers is None
                else _with_holes_below(numbers)
            )
            codes = np.column_stack([codes, heights])
        self._plot_points(codes, groups, None if is_flat else numbers)
        self._plot_ellipses(codes)
        self._plot_rings(is_flat)
        ax.set_xlabel(self.names[0])
        if not is_flat:
            ax.set_ylabel(self.names[1])
            self._explain(groups, numbers)
        elif in_strips:
            ax.set_yticks(
                range(len(groups)), [g.name for g in groups], parse_math=False
            )
            ax.tick_params(axis="y", length=0)
            ax.set_ylim(len(groups) - 0.5, -0.5)
        else:
            ax.set_ylabel(self.y_name, parse_math=False)
        if self.log_scale:
            ax.set(xscale="log", yscale="linear" if is_flat else "log")
        caption = self._caption(is_flat, numbers is not None and len(groups) > 1)
        ax.set_title(caption, fontsize="small")
        return self

    def _plot_points(
        self,
        codes: np.ndarray,
        groups: Sequence[Group],
        numbers: np.ndarray | None,
    ) -> None:
        """Points of each group, coloured by numbers if there are any."""
        look: dict[str, Any] = {
            "s": np.clip(40_000 / len(codes), 3, 25),
            "alpha": np.clip(3_000 / len(codes), 0.15, 0.8),
            "linewidths": 0,
            "rasterized": len(codes) > _RASTERIZED,
        }
        self.scatter_ = []
        for group in groups:
            colour: dict[str, Any] = {"color": group.colour}
            if numbers is not None and group.colour != GREY:
                colour = {"c": numbers[group.rows], "cmap": "viridis"}
            x, y = codes[group.rows].T
            self.scatter_.append(
                self.ax_.scatter(x, y, marker=group.marker, **colour, **look)
            )

    def _plot_ellipses(self, codes: np.ndarray) -> None:
        """Outlines of posteriors, with a halo where the cloud of points is dense."""
        from matplotlib.collections import LineCollection
        from matplotlib.patheffects import withStroke

        outlines = [
            outline(codes[row], np.asarray(covariance), self.log_scale)
            for row, covariance in zip(self.ellipse_rows, self.covariances, strict=True)
        ]
        self.ellipses_ = LineCollection(
            outlines,
            colors=BLACK,
            linewidths=1,
            zorder=3,
            path_effects=[withStroke(linewidth=2.4, foreground="white")],
        )
        self.ax_.add_collection(self.ellipses_)

    def _plot_rings(self, is_flat: bool) -> None:
        from matplotlib.patches import Circle

        self.rings_ = []
        if not self.has_normal_prior:
            return
        if is_flat:
            self.rings_ = [self.ax_.axvline(z, **_OF_PRIOR) for z in (-2, -1, 1, 2)]
            return
        for radius in (1, 2):
            ring = Circle((0, 0), radius, fill=False, **_OF_PRIOR)
            self.rings_.append(self.ax_.add_patch(ring))
        self.ax_.set_aspect("equal", adjustable="datalim")

    def _explain(self, groups: Sequence[Group], numbers: np.ndarray | None) -> None:
        """A colour bar, or a legend of classes."""
        if numbers is not None:
            self.colorbar_ = self.figure_.colorbar(
                self.scatter_[0], ax=self.ax_, alpha=1
            )
            self.colorbar_.ax.set_ylabel(self.y_name, parse_math=False)
        elif self.y is not None:
            self.legend_ = legend_beside(
                self.ax_,
                self.scatter_,
                [group.name for group in groups],
                title=shortened(self.y_name, _NAME),
            )
            handles: list[Any] = self.legend_.legend_handles
            for handle in handles:
                handle.set(alpha=1, sizes=[25])

    def _caption(self, is_flat: bool, has_grey: bool) -> str:
        """What the ellipses and the rings are, and points without a colour."""
        n_ellipses, parts = len(self.ellipse_rows), []
        if n_ellipses:
            parts.append(
                f"{'bars' if is_flat else 'ellipses'}: {n_ellipses} posteriors, 1 sd"
            )
        if self.has_normal_prior:
            parts.append(f"{'lines' if is_flat else 'rings'}: prior, 1 and 2 sd")
        if has_grey:
            parts.append(f"grey{', below' if is_flat else ''}: no label")
        return "; ".join(parts)


def _with_holes_below(numbers: np.ndarray) -> np.ndarray:
    """Heights of points: the numbers, and for NaN a line below them."""
    known = numbers[~np.isnan(numbers)]
    below = known.min() - _BELOW * (np.ptp(known) or 1.0)
    return np.where(np.isnan(numbers), below, numbers)


def _strips(groups: Sequence[Group], n_rows: int) -> np.ndarray:
    """Heights of points: the number of the group, and some chance."""
    heights = np.random.default_rng(0).uniform(-_SPREAD, _SPREAD, n_rows)
    for place, group in enumerate(groups):
        heights[group.rows] += place
    return heights
