"""Bars of columns, from top to bottom, between their names and their numbers."""

from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.container import BarContainer

__all__ = ["axes_of_bars", "draw_bars", "fit_names"]

#: Inches: the width of the bars' place, to which that of the names is added; the height
#: of a bar, and of what stands above and below the bars.
_WIDTH, _BAR, _AROUND = 5.2, 0.27, 0.8


def axes_of_bars(
    plt: ModuleType, n_bars: int, *, n_axes: int = 1, legend: float = 0.0
) -> np.ndarray:
    """The axes of a new figure, one below the other, of the height of their bars.

    Parameters
    ----------
    plt : module
        matplotlib.pyplot.
    n_bars : int
        Bars of each axes.
    n_axes : int, default=1
        Number of axes.
    legend : float, default=0.0
        Inches above them for a legend.

    Returns
    -------
    axes : ndarray of shape (n_axes,) of matplotlib Axes
    """
    height = n_axes * (n_bars * _BAR + _AROUND) + legend
    figure, axes = plt.subplots(
        n_axes, figsize=(2 * _WIDTH, height), layout="constrained", squeeze=False
    )
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08)
    return axes[:, 0]


def fit_names(axes: np.ndarray) -> None:
    """Make the figure of `axes_of_bars` as wide as the names and the bars need."""
    figure = axes[0].figure
    names = [name for ax in axes for name in ax.get_yticklabels()]
    widest = max(name.get_window_extent().width for name in names)
    figure.set_figwidth(_WIDTH + widest / figure.dpi)


def draw_bars(
    ax: "Axes",
    lengths: Sequence[float] | np.ndarray,
    names: Sequence[str],
    numbers: Sequence[str],
    *,
    colours: Sequence[str],
    of_columns: Sequence[bool],
) -> "BarContainer":
    """Draw bars, and set all of an axes but the limits along them.

    Parameters
    ----------
    ax : matplotlib Axes
    lengths : sequence of float of length n_bars
        From the top.
    names, numbers, colours : sequence of str of length n_bars
        What stands on their left and at their ends, and their colours.
    of_columns : sequence of bool of length n_bars
        Whether a bar is that of a column. Names of others are in italics.

    Returns
    -------
    bars : BarContainer
    """
    places = np.arange(len(lengths))
    bars = ax.barh(places, lengths, color=colours)
    ax.bar_label(bars, numbers, padding=3, fontsize="small")
    ax.axvline(0, color="0.3", linewidth=0.8)
    keywords: dict[str, Any] = {"parse_math": False}  # a name may hold "$"
    ax.set_yticks(places, names, **keywords)
    for tick, of_column in zip(ax.get_yticklabels(), of_columns, strict=True):
        tick.set_fontstyle("normal" if of_column else "italic")
    ax.tick_params(axis="y", length=0)
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.set_ylim(len(places) - 0.4, -0.6)
    return bars
