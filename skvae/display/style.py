"""What the displays share: colours, the way to matplotlib, rows, names and cells."""

from collections.abc import Sequence
from numbers import Integral, Number
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import issparse
from sklearn.utils.validation import check_is_fitted

from skvae.frames import Layout, Table, taken
from skvae.labels import is_hole, to_numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.legend import Legend

    from skvae.base import BaseVAE
    from skvae.fitted import FittedModel

__all__ = [
    "BLACK",
    "BLUE",
    "COLOURS",
    "GREEN",
    "GREY",
    "VERMILLION",
    "cells",
    "column_name",
    "component_numbers",
    "legend_beside",
    "numbers",
    "one_model",
    "positions",
    "pyplot",
    "row_labels",
    "shortened",
    "taken",
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


def cells(X: Table) -> np.ndarray:
    """Rows as they were given, an object array."""
    if hasattr(X, "iloc"):
        X = X.itertuples(index=False, name=None)
    elif hasattr(X, "columns"):
        X = X.rows()
    elif issparse(X):
        X = X.toarray()
    taken = list(X)
    cells = np.empty((len(taken), len(taken[0])), dtype=object)
    for i, row in enumerate(taken):
        cells[i] = row
    return cells


def numbers(X: Table, layout: Layout) -> np.ndarray:
    """A table as numbers, float64: NaN for holes, levels of labels by their places.

    Parameters
    ----------
    X : array-like, sparse matrix or data frame of shape (n_samples, n_features)
    layout : dict
        From `frames.describe`, of a table of the same columns.
    """
    if issparse(X):
        return X.toarray().astype(np.float64)
    X = X if hasattr(X, "columns") else np.asarray(X)
    if layout["levels"] or hasattr(X, "columns") or X.dtype.kind not in "buif":
        return to_numbers(X, layout["levels"], "missing")
    return X.astype(np.float64)


def positions(rows: ArrayLike, n_samples: int) -> np.ndarray:
    """The rows that are asked for, checked, as an array of whole numbers.

    Raises
    ------
    TypeError
        If rows are not whole numbers.
    ValueError
        If there are none, or X of so many samples has no such row.
    """
    places = np.atleast_1d(np.asarray(rows))
    if places.dtype == bool:
        raise TypeError(
            "rows holds True or False: give positions, such as numpy.flatnonzero(rows)."
        )
    if places.ndim != 1 or not len(places):
        raise ValueError(
            f"rows must be an int or a sequence of at least one, got {rows!r}."
        )
    if places.dtype.kind not in "iu":
        raise TypeError(
            f"rows must be whole numbers, the positions of rows, got {rows!r}."
        )
    outside = places[(places < 0) | (places >= n_samples)]
    if len(outside):
        raise ValueError(
            f"rows holds {outside[0]}, but X has {n_samples} rows, whose positions, "
            f"whatever the index, run from 0 to {n_samples - 1}."
        )
    return places


def one_model(estimator: "BaseVAE") -> "FittedModel":
    """The one model of a fitted estimator, in float64.

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.
    TypeError
        If it is none of skvae's, or an ensemble.
    """
    name = type(estimator).__name__
    if not hasattr(estimator, "_fitted_model"):
        raise TypeError(
            f"estimator must be one of skvae's, such as VAETransformer, got {name}: of "
            "a pipeline, give the last step and the rows that it sees."
        )
    check_is_fitted(estimator)
    if estimator._state["weights"].ndim > 1:
        raise TypeError(
            f"{name} is an ensemble of models, each with codes of its own: give a "
            "VAETransformer."
        )
    return estimator._fitted_model(np.float64)


def component_numbers(components: ArrayLike, n_components: int) -> np.ndarray:
    """The components that are asked for, checked, as an array of whole numbers.

    Raises
    ------
    TypeError
        If they are not whole numbers.
    ValueError
        If there are none, or one twice, or codes have no such component.
    """
    numbers = np.atleast_1d(np.asarray(components))
    if numbers.ndim != 1 or not len(numbers) or len({*numbers}) < len(numbers):
        raise ValueError(
            "components must be an int or a sequence of different ones, got "
            f"{components!r}."
        )
    if numbers.dtype.kind not in "iu":
        raise TypeError(f"components must be whole numbers, got {components!r}.")
    outside = numbers[(numbers < 0) | (numbers >= n_components)]
    if len(outside):
        raise ValueError(
            f"components holds {outside[0]}, but codes have {n_components}, counted "
            f"from 0 to {n_components - 1}."
        )
    return numbers


def row_labels(X: Table, rows: np.ndarray) -> list[Any]:
    """What rows are called: by the index, or by their positions."""
    return X.index[rows].tolist() if hasattr(X, "iloc") else rows.tolist()


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
