"""How displays look: colours, names, legends, and the way to matplotlib."""

from collections.abc import Sequence
from numbers import Integral, Number
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from skvae.labels import is_hole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.gridspec import SubplotSpec
    from matplotlib.legend import Legend

__all__ = [
    "BLACK",
    "BLUE",
    "COLOURS",
    "GREEN",
    "GREY",
    "PURPLE",
    "VERMILLION",
    "check_has",
    "column_name",
    "legend_beside",
    "pyplot",
    "shortened",
    "vacated",
    "written",
]

#: Of Okabe and Ito's colours, which nobody mixes up, those that print well on white.
BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, BLACK = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#000000",
)
#: In the order in which groups take them.
COLOURS = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, BLACK)
#: Of lines that help to read the others.
GREY = "#7F7F7F"

#: Letters of a column's name, and of a cell's value.
_NAME, _VALUE = 30, 18
#: Numbers from here on are written with a power of ten.
_LARGE = 1e7


def pyplot(display: type) -> ModuleType:
    """matplotlib.pyplot, for the display class that asks for it.

    Raises
    ------
    ImportError
        If matplotlib is not installed, with the way to install it.
    """
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise ImportError(
            f'{display.__name__} needs matplotlib: pip install "skvae[plot]".'
        ) from error
    return pyplot


def check_has(estimator: object, attributes: Sequence[str], words: str) -> None:
    """Refuse an estimator without what a display needs.

    Parameters
    ----------
    estimator : object
    attributes : sequence of str
        What it needs.
    words : str
        What is to be said, after the estimator's name, if one of them is missing.

    Raises
    ------
    TypeError
        If one is.
    """
    if not all(hasattr(estimator, attribute) for attribute in attributes):
        remedy = " Of a pipeline, give the last step, and the rows that it sees."
        raise TypeError(
            f"{type(estimator).__name__} {words}."
            f"{remedy if hasattr(estimator, 'steps') else ''}"
        )


def vacated(ax: "Axes") -> "SubplotSpec":
    """The place of a subplot, which is left to the panels that are to stand there.

    Raises
    ------
    ValueError
        If the axes is no subplot, or has been divided before.
    """
    place = ax.get_subplotspec()
    if place is None:
        raise ValueError(
            "ax is no subplot, and cannot be divided into panels: take one from "
            "pyplot.subplots, or leave ax out."
        )
    if not ax.axison:
        raise ValueError("ax has no axis: it has been divided into panels before.")
    ax.set_axis_off()
    return place


def column_name(label: Any) -> str:
    """What a column is called; whole numbers are drawn as "column 0"."""
    label = f"column {label}" if isinstance(label, Integral) else label
    return shortened(label, _NAME)


def written(value: Any) -> str:
    """A cell in a few letters."""
    if is_hole(value):
        return "missing"
    if isinstance(value, bool | np.bool_) or not isinstance(value, Number):
        return shortened(value, _VALUE)
    number: Any = value  # of `Number` little is known
    if abs(number) < _LARGE and (number % 1 == 0 or abs(number) >= 1_000):
        return f"{number:.0f}"
    return f"{number:.4g}"


def shortened(text: object, n_letters: int) -> str:
    """One line of at most so many letters; what is left out is left out inside."""
    text = " ".join(str(text).split())
    if len(text) <= n_letters:
        return text
    end = n_letters // 3
    return f"{text[: n_letters - 1 - end].rstrip()}…{text[-end:].lstrip()}"


def legend_beside(
    ax: "Axes", handles: Sequence[Any], names: Sequence[str], **keywords: Any
) -> "Legend":
    """A legend to the right of an axes, whose names are drawn as they are.

    Parameters
    ----------
    ax : matplotlib Axes
    handles : sequence of matplotlib Artist
    names : sequence of str
    **keywords
        Further ones of `Axes.legend`.
    """
    legend = ax.legend(
        handles,
        [" "] * len(handles),
        loc="upper left",
        bbox_to_anchor=(1, 1),
        frameon=False,
        fontsize="small",
        **keywords,
    )
    legend.get_title().set_parse_math(False)
    for text, name in zip(legend.get_texts(), names, strict=True):
        # Neither a formula for its dollars nor hidden for a leading underscore.
        text.set(text=name, parse_math=False)
    return legend
