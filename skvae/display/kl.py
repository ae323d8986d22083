"""KLDisplay: which components of the code are in use. A picture of diagnostics."""

import math
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from skvae.display.components import priors_of_fit
from skvae.display.style import BLACK, BLUE, VERMILLION, check_has, pyplot
from skvae.frames import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

    from skvae.base import BaseVAE

__all__ = ["KLDisplay"]

#: Mean KL divergence of a component, in nats, below which it is not in use: as in
#: PosteriorCollapseWarning.
_LEAST_KL = 0.01
#: What the axis reaches at least, so that a code that is not in use looks like one.
_LEAST_TOP = 0.1
#: Points of width that the number of a component takes level; the least that it takes
#: upright; and the size of its font for each of these points, at most the largest.
_LEVEL, _UPRIGHT, _SIZE, _LARGEST = 15, 5, 1.2, 10


class KLDisplay:
    """Which components of the code are in use: the mean KL divergence of each.

    KL(q(z|x) || p(z)) of a component, averaged over rows, is how many nats its code
    takes. The most informative component comes first, under its number: its column in
    `transform`, from 0. Components that are not in use have a hatched bar and a cross,
    since a bar near 0 cannot be seen. Not in use is, in the rows of fit, a component
    below 0.01 nats; in rows that are given, one whose activity is at most 0.01: see
    `diagnostics`.

    Where the divergence does not fall apart into components (under "dirichlet" and
    "categorical" posteriors, and under priors that are learned or aggregated) bars are
    activities: the variance of the posterior mean over rows, as a share of the prior's.
    That takes rows.

    The members of an ensemble have a code each, and the first component of one has
    nothing to do with the first of another. So components are sorted within each
    member, and a bar is the mean over members of the largest divergence, of the second
    largest, and so on; lines go from the least of them to the greatest.

    Make one with `from_estimator`. All parameters are stored as attributes.

    Parameters
    ----------
    kl_per_component : array-like of shape (n_components,) or (n_members, n_components)
        Mean divergence of each component, in nats, in the order of the columns of
        `transform`. NaN where there is only that of all together.
    activity : array-like of shape (n_components,) or None, default=None
        Variance of the posterior mean of each component, as a share of the prior's;
        drawn if the divergences are NaN.
    active : array-like of bool of shape (n_components,) or None, default=None
        Whether a component is in use. None: whether its divergence, on average over
        members, is 0.01 nats or more.
    total : float or None, default=None
        Divergence of all components together, in nats. None is their sum, on average
        over members; there is no title then if it is NaN.

    Attributes
    ----------
    order_ : ndarray of shape (n_components,)
        The components as they stand, from left to right; of an ensemble their ranks
        from 1.
    bars_ : BarContainer
        Their bars.
    crosses_ : matplotlib Line2D
        The crosses on those that are not in use.
    ranges_ : matplotlib LineCollection or None
        The ranges over members; None where there is one.
    ax_ : matplotlib Axes
        The axes.
    figure_ : matplotlib Figure
        The figure that holds them.

    See Also
    --------
    diagnostics : The numbers behind the picture, and the information of the code.
    LossCurveDisplay : The divergence in the course of training.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sklearn.datasets import load_wine
    >>> from skvae import KLDisplay, VAETransformer
    >>> X = load_wine().data
    >>> vae = VAETransformer(4, max_iter=20, random_state=0).fit(X)
    >>> display = KLDisplay.from_estimator(vae, X)
    >>> len(display.bars_)
    4
    >>> display.ax_.get_ylabel()
    'KL divergence (nats per row)'
    >>> plt.close(display.figure_)
    """

    crosses_: "Line2D"

    def __init__(
        self,
        kl_per_component: ArrayLike,
        *,
        activity: ArrayLike | None = None,
        active: ArrayLike | None = None,
        total: float | None = None,
    ) -> None:
        self.kl_per_component = kl_per_component
        self.activity = activity
        self.active = active
        self.total = total

    @classmethod
    def from_estimator(
        cls,
        estimator: "BaseVAE",
        X: Table | None = None,
        *,
        ax: "Axes | None" = None,
    ) -> Self:
        """Draw the divergences of the fit, or of rows.

        Parameters
        ----------
        estimator : VAETransformer, VAEImputer or VAEOutlierDetector
            Fitted. Of a pipeline, give the last step, and the rows that it sees.
        X : array-like, sparse matrix or data frame of shape (n_samples, n_features) \
                or None, default=None
            Rows for `diagnostics`, which judges by them which components are active.
            None draws `kl_per_component_`, of the rows of fit. A detector takes none.
            Nothing is changed.
        ax : matplotlib Axes or None, default=None
            Where to draw. None makes a figure.

        Returns
        -------
        display : KLDisplay
            Made and drawn.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        NotFittedError
            If the estimator is not fitted.
        TypeError
            If the estimator has no divergences.
        ValueError
            If X is given for an ensemble, or if it is left out and there is no
            divergence of single components from the prior.
        """
        pyplot(cls)
        check_is_fitted(estimator)
        check_has(
            estimator,
            ["kl_per_component_"],
            "has no kl_per_component_, which VAETransformer, VAEImputer and "
            "VAEOutlierDetector have",
        )
        if X is None:
            _check_divergences(estimator)
            return cls(estimator.kl_per_component_).plot(ax)
        if estimator.kl_per_component_.ndim > 1:
            raise ValueError(
                f"X is for models with one code, and {type(estimator).__name__} is an "
                "ensemble. Leave X out, to draw the divergences in the rows of fit."
            )
        from skvae.inspection import diagnostics  # brings torch along

        table = diagnostics(estimator, X)
        places = np.argsort(table.component)  # back to the columns of transform
        display = cls(
            table.kl_per_component[places],
            activity=table.activity[places],
            active=table.active[places],
            total=table.kl,
        )
        return display.plot(ax)

    def plot(self, ax: "Axes | None" = None) -> Self:
        """Draw a bar for each component.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Where to draw. None makes a figure.

        Returns
        -------
        display : KLDisplay
            Itself, drawn.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If the divergences are NaN and there are no activities.
        """
        plt = pyplot(type(self))
        kl = np.asarray(self.kl_per_component, dtype=np.float64)
        by_activity = bool(np.isnan(kl).any())
        if by_activity and self.activity is None:
            raise ValueError(
                "kl_per_component holds NaN: there is no divergence of single "
                "components. Give activity, which is drawn then."
            )
        is_ensemble = kl.ndim == 2
        heights = np.asarray(self.activity) if by_activity else kl
        if is_ensemble:
            members = -np.sort(-kl, axis=1)
            heights = members.mean(axis=0)
        active = heights >= _LEAST_KL if self.active is None else self.active
        order = np.argsort(-heights, kind="stable")
        self.order_ = order + 1 if is_ensemble else order
        if ax is None:
            _, ax = plt.subplots(layout="constrained")
        self.figure_, self.ax_ = ax.figure, ax
        self._plot_bars(heights[order], np.asarray(active, dtype=bool)[order])
        self.ranges_ = None
        if is_ensemble and len(kl) > 1:
            self.ranges_ = ax.vlines(
                np.arange(len(order)),
                members.min(axis=0),
                members.max(axis=0),
                color=BLACK,
                label=f"range over {len(kl)} members",
            )
        self._label_components(is_ensemble)
        ax.set_ylabel(
            "activity (share of the prior's variance)"
            if by_activity
            else "KL divergence (nats per row)"
        )
        total = kl.sum(axis=-1).mean() if self.total is None else self.total
        if not np.isnan(total):
            ax.set_title(f"all components: {total:.3g} nats per row", fontsize="medium")
        ax.legend()
        return self

    def _plot_bars(self, heights: np.ndarray, active: np.ndarray) -> None:
        """A bar each; one that is not in use is hatched, and has a cross on top."""
        words = "active", "inactive"
        if self.active is None:
            words = f"{_LEAST_KL} nats or more", f"below {_LEAST_KL} nats"
        places, unused = np.arange(len(heights)), ~active
        self.bars_ = self.ax_.bar(places, heights, color=BLUE)
        for place in places[unused]:
            self.bars_[place].set(facecolor="none", edgecolor=VERMILLION, hatch="/////")
        if active.any():
            self.bars_[active.argmax()].set_label(f"{words[0]}: {active.sum()}")
        (self.crosses_,) = self.ax_.plot(
            places[unused],
            heights[unused],
            "x",
            color=VERMILLION,
            markersize=5,
            clip_on=False,
        )
        if unused.any():
            self.crosses_.set_label(f"{words[1]}: {unused.sum()}")

    def _label_components(self, is_ensemble: bool) -> None:
        """Number the components: all of them, if they can be made to fit."""
        ax, n_components = self.ax_, len(self.order_)
        top = max(ax.get_ylim()[1], _LEAST_TOP)
        ax.set(xlim=(-0.7, n_components - 0.3), ylim=(0, top))
        ax.set_xlabel("component, the most informative first")
        points = ax.get_window_extent().width / self.figure_.dpi * 72 / n_components
        each = math.ceil(_UPRIGHT / points)
        ax.set_xticks(np.arange(n_components)[::each], self.order_[::each])
        if is_ensemble:
            ax.set_xlabel("rank of the component in its member")
        if points < _LEVEL:
            size = min(_SIZE * max(points, _UPRIGHT), _LARGEST)
            ax.tick_params(axis="x", labelrotation=90, labelsize=size)


def _check_divergences(estimator: "BaseVAE") -> None:
    """Refuse where `kl_per_component_` is not of components, or not from the prior."""
    posterior, prior, standard = priors_of_fit(estimator)
    kl = estimator.kl_per_component_
    if prior == standard and kl.shape[-1] == estimator.n_components_:
        return
    remedy = "Give X, such as the rows of fit, to draw what diagnostics knows of them."
    if kl.ndim > 1:
        remedy = "Of an ensemble there is nothing else to draw."
    raise ValueError(
        f"Under posterior={posterior!r} and prior={prior!r} kl_per_component_ is not "
        f"the divergence of single components from the prior. {remedy}"
    )
