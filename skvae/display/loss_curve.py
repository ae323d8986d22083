"""LossCurveDisplay: how the training went. A picture of loss_curve_ and its kin."""

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skvae.display.style import BLUE, GREEN, GREY, PURPLE, VERMILLION, check_has, pyplot

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

    from skvae.base import BaseVAE

__all__ = ["LossCurveDisplay"]

#: Share of the epochs, from the first, that may leave the picture: they are steep, and
#: what is to be judged comes after them.
_STEEP = 0.1
#: Room above and below the curves, as a share of their range.
_MARGIN = 0.08
#: Room above the curves for the legend of all of them, as a share of their range.
_LEGEND = 0.3
#: Values up to which each is a dot.
_FEW = 20
#: The x and y of a line.
Curve: TypeAlias = tuple[np.ndarray, np.ndarray]
_STYLES: dict[str, dict[str, Any]] = {
    "loss": {"color": BLUE, "label": "training loss"},
    "validation": {
        "color": VERMILLION,
        "label": "held-out loss",
        "marker": "o",
        "markersize": 3.5,
    },
    "reconstruction": {
        "color": GREEN,
        "label": "reconstruction",
        "linestyle": "--",
    },
    "kl": {"color": PURPLE, "label": "KL divergence", "linestyle": "-."},
}


class LossCurveDisplay:
    """How the training went, epoch by epoch: the lower, the better.

    The loss is what training minimises, a mean over the rows of an epoch. The held-out
    loss is minus the bound of rows that are not trained on, at each look at them, at
    beta = 1. Where it rises while the training loss still falls, the model overfits.
    The best look is marked: `fit` keeps its weights. Of an ensemble curves are means
    over members, and each member keeps the weights of its own best look.

    The loss has two parts, drawn below it, since their sizes are others:
    reconstruction, which is minus the expected log-likelihood E[log p(x|z)] under
    q(z|x), and the KL divergence of q(z|x) from p(z), without its weight beta. Under
    ``objective="elbo"`` at beta = 1, once `kl_warmup` is over, the loss is their sum. A
    divergence that ends near 0 is a code that says nothing of its row.

    Where the first tenth of the epochs would take more than half of the height, it
    leaves the picture, so that what comes after it can be read. What is not finite is
    left out, such as what a model saved by an earlier version does not know.

    Make one with `from_estimator`. All parameters are stored as attributes.

    Parameters
    ----------
    loss_curve : sequence of float
        The loss of each epoch, in `unit`.
    reconstruction_curve : sequence of float or None, default=None
        The mean E[log p(x|z)] of each epoch, in `unit`: higher is better. None leaves
        it out.
    kl_curve : sequence of float or None, default=None
        The mean KL(q(z|x) || p(z)) of each epoch, in `unit`. None leaves it out.
    validation_scores : sequence of float, default=()
        The held-out bound at each look, in `unit`: higher is better.
    validation_epochs : sequence of float, default=()
        The epochs that have passed at each look.
    unit : str, default="nats per row, standardised columns"
        Unit of all of them.

    Attributes
    ----------
    lines_ : dict of str to matplotlib Line2D
        The curves: "loss", "validation", "reconstruction" and "kl", those that there
        are.
    best_lines_ : list of matplotlib Line2D
        The vertical line at the best look, in each axes; empty without looks.
    axes_ : ndarray of shape (n_axes,) of matplotlib Axes
        One with the losses and one with the parts; or the one that everything is in.
    ax_ : matplotlib Axes
        The first of them.
    figure_ : matplotlib Figure
        The figure that holds them.

    See Also
    --------
    KLDisplay : The divergence of each component after training.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sklearn.datasets import load_wine
    >>> from skvae import LossCurveDisplay, VAETransformer
    >>> vae = VAETransformer(4, max_iter=60, random_state=0).fit(load_wine().data)
    >>> display = LossCurveDisplay.from_estimator(vae)
    >>> sorted(display.lines_)
    ['kl', 'loss', 'reconstruction', 'validation']
    >>> display.ax_.get_ylabel()
    'nats per row,\\nstandardised columns'
    >>> plt.close(display.figure_)
    """

    lines_: "dict[str, Line2D]"
    best_lines_: "list[Line2D]"

    def __init__(
        self,
        loss_curve: Sequence[float],
        *,
        reconstruction_curve: Sequence[float] | None = None,
        kl_curve: Sequence[float] | None = None,
        validation_scores: Sequence[float] = (),
        validation_epochs: Sequence[float] = (),
        unit: str = "nats per row, standardised columns",
    ) -> None:
        self.loss_curve = loss_curve
        self.reconstruction_curve = reconstruction_curve
        self.kl_curve = kl_curve
        self.validation_scores = validation_scores
        self.validation_epochs = validation_epochs
        self.unit = unit

    @classmethod
    def from_estimator(cls, estimator: "BaseVAE", *, ax: "Axes | None" = None) -> Self:
        """Draw the curves of a fitted estimator.

        Parameters
        ----------
        estimator : VAETransformer, VAEOutlierDetector, VAEImputer or AETransformer
            Fitted. Of a pipeline, give the last step. An `AETransformer` has one loss,
            the squared error, and no parts.
        ax : matplotlib Axes or None, default=None
            Where to draw all curves. None makes a figure with two axes, the parts of
            the loss in the lower one.

        Returns
        -------
        display : LossCurveDisplay
            Made and drawn.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        NotFittedError
            If the estimator is not fitted.
        TypeError
            If it is none of skvae's.
        """
        pyplot(cls)
        check_is_fitted(estimator)
        check_has(
            estimator,
            ["loss_curve_", "validation_scores_", "validation_epochs_"],
            "has no loss curves as skvae's estimators have",
        )
        has_parts = hasattr(estimator, "kl_curve_")
        unit = "nats per row" if has_parts else "squared error per row"
        parts = {}
        if has_parts:
            parts["reconstruction_curve"] = estimator.reconstruction_curve_
            parts["kl_curve"] = estimator.kl_curve_
        display = cls(
            estimator.loss_curve_,
            validation_scores=estimator.validation_scores_,
            validation_epochs=estimator.validation_epochs_,
            unit=f"{unit}, standardised columns" if estimator.standardize else unit,
            **parts,
        )
        return display.plot(ax)

    def plot(self, ax: "Axes | None" = None) -> Self:
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Where to draw all curves. None makes a figure with two axes, the parts of
            the loss in the lower one.

        Returns
        -------
        display : LossCurveDisplay
            Itself, drawn.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If there is no epoch with a finite loss, or if curves of epochs, or the
            looks and their epochs, differ in length.
        """
        plt = pyplot(type(self))
        losses, parts = self._curves()
        if ax is None:
            panels = [losses, parts] if parts else [losses]
            self.figure_, axes = plt.subplots(
                len(panels),
                sharex=True,
                squeeze=False,
                height_ratios=(3, 2)[: len(panels)],
                layout="constrained",
            )
            self.axes_ = axes[:, 0]
        else:
            panels = [losses | parts]
            self.figure_, self.axes_ = ax.figure, np.array([ax], dtype=object)
        self.ax_ = self.axes_[0]
        self.lines_, self.best_lines_ = {}, []
        for own, curves in zip(self.axes_, panels, strict=True):
            self._plot_panel(own, curves, _best_look(losses))
        self.axes_[-1].set_xlabel("epoch")
        return self

    def _curves(self) -> tuple[dict[str, Curve], dict[str, Curve]]:
        """The losses, and the parts: where they are finite, the lower the better."""
        epochs = np.arange(1, len(self.loss_curve) + 1)
        losses: dict[str, Curve] = {"loss": (epochs, np.asarray(self.loss_curve))}
        if len(self.validation_scores):
            losses["validation"] = (
                np.asarray(self.validation_epochs),
                np.negative(self.validation_scores),
            )
        parts: dict[str, Curve] = {}
        if self.reconstruction_curve is not None:
            parts["reconstruction"] = epochs, np.negative(self.reconstruction_curve)
        if self.kl_curve is not None:
            parts["kl"] = epochs, np.asarray(self.kl_curve)
        for key, (x, y) in (losses | parts).items():
            if not len(y) or len(x) != len(y):
                raise ValueError(
                    f"The {_STYLES[key]['label']} has {len(y)} values for {len(x)} "
                    "epochs: one each is needed, and one epoch at least."
                )
        losses, parts = _finite(losses), _finite(parts)
        if "loss" not in losses:
            raise ValueError("loss_curve holds no finite loss.")
        return losses, parts

    def _plot_panel(
        self, ax: "Axes", curves: Mapping[str, Curve], best: float | None
    ) -> None:
        """Draw some curves in one axes, and mark the best look."""
        from matplotlib.ticker import MaxNLocator

        for key, (x, y) in curves.items():
            few = {"marker": "."} if len(x) <= _FEW else {}
            (self.lines_[key],) = ax.plot(x, y, **{**few, **_STYLES[key]})
        if best is not None:
            line = ax.axvline(best, color=GREY, linestyle=":", zorder=1)
            if "validation" in curves:
                line.set_label(f"best held-out loss: epoch {best:.4g}")
            self.best_lines_.append(line)
        low, high = _limits(curves.values())
        ax.set_ylim(low, high)
        ax.xaxis.set_major_locator(
            MaxNLocator("auto", steps=(1, 2, 5, 10), integer=True, min_n_ticks=1)
        )
        ax.set_ylabel(self.unit.replace(", ", ",\n"))
        if len(curves) <= 2:
            ax.legend()
        else:  # no corner is free
            ax.set_ylim(top=high + _LEGEND * (high - low))
            ax.legend(loc="upper center", ncols=2, fontsize="small")


def _finite(curves: Mapping[str, Curve]) -> dict[str, Curve]:
    """The finite points of the curves that have some."""
    finite = {}
    for key, curve in curves.items():
        x, y = np.asarray(curve, dtype=np.float64)
        is_finite = np.isfinite(x) & np.isfinite(y)
        if is_finite.any():
            finite[key] = x[is_finite], y[is_finite]
    return finite


def _best_look(losses: Mapping[str, Curve]) -> float | None:
    """The epochs that have passed at the look with the least held-out loss."""
    if "validation" not in losses:
        return None
    x, y = losses["validation"]
    return x[np.argmin(y)]


def _limits(curves: Collection[Curve]) -> tuple[float, float]:
    """What y shows of some curves: all, unless the beginning would take half of it."""
    beginning = _STEEP * max(x.max() for x, _ in curves)
    later = np.concatenate([y[x > beginning] for x, y in curves])
    low, high = later.min(), later.max()
    lowest = min(y.min() for _, y in curves)
    highest = max(y.max() for _, y in curves)
    if highest - lowest < 2 * (high - low):
        low, high = lowest, highest
    margin = _MARGIN * (high - low) or 1.0
    return low - margin, high + margin
