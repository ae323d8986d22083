"""Which likelihood each column has: what the user says, and the rules of "auto".

The rules look at dtypes first. A numeric array has one dtype for all columns, which
says nothing of any of them: it is Gaussian throughout, or Bernoulli if it is boolean.
The columns of a data frame, or of an object array, are judged one by one:

1. labels with two levels: Bernoulli; with more: categorical, or ordinal if the dtype
   says that they are ordered, or an identifier if they are 20 or more with fewer than
   two cells each on average;
2. numbers with exactly two distinct values, both whole, in 20 cells or more: Bernoulli;
3. whole numbers, and numbers of which one value fills a tenth of the cells, in 1,000
   cells or more: binned (where the estimator models the shape of columns);
4. other numbers: Gaussian.

Whole numbers are those of an integer dtype, and floats that are all whole: pandas has
no other way to hold integers with holes.
"""

from collections.abc import Callable, Iterable, Iterator
from numbers import Number
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from skvae import frames, likelihoods
from skvae.labels import is_hole, shortened
from skvae.settings import resolve, to_state

if TYPE_CHECKING:
    from skvae.table import TableEncoder

__all__ = ["Chosen", "Numbers", "asked", "choose", "partial_row", "plain"]

_LEAST_CELLS_FOR_TWO_VALUES = 20
_LEAST_NAMES = 20
_LEAST_CELLS_FOR_BINS = 1_000
_SHARE_OF_A_SPIKE = 0.1


class Chosen(NamedTuple):
    """The likelihood of a column, and its levels as numbers, or None."""

    likelihood: likelihoods.Likelihood
    levels: list[float] | None


class Numbers(NamedTuple):
    """What "auto" makes of numbers: a likelihood, and whether shapes are binned."""

    likelihood: likelihoods.Likelihood = likelihoods.Gaussian()
    binned: bool = True


def choose(
    parameter: str | likelihoods.Likelihood | dict[Any, Any] | list[Any],
    layout: frames.Layout,
    column: Callable[[int], np.ndarray],
    n_features: int,
    numbers: Numbers,
) -> list[Chosen]:
    """The likelihood of every column.

    Parameters
    ----------
    parameter : str, Likelihood, dict or list
        The estimator's `likelihood`.
    layout : dict
        From `frames.describe`.
    column : callable
        From a column's number to its observed values, as numbers.
    n_features : int
    numbers : Numbers
        What numbers are under "auto".

    Returns
    -------
    chosen : list of Chosen

    Raises
    ------
    ValueError
        Naming the column, if there is none of that name, if it is given two
        likelihoods, or one that cannot describe it.
    """
    wishes = asked(parameter, layout, n_features)
    chosen = []
    for j, likelihood in enumerate(wishes):
        if likelihood == "auto" and not layout["judged"]:
            is_bool = layout["dtype"] == "bool"
            likelihood = "bernoulli" if is_bool else numbers.likelihood
        if likelihood == "auto":
            chosen.append(_judge(j, layout, column, numbers))
            continue
        likelihood = resolve(likelihood, likelihoods.FAMILIES)
        chosen.append(Chosen(likelihood, _levels(likelihood, j, layout, column)))
    if all(isinstance(choice.likelihood, likelihoods.Identifier) for choice in chosen):
        raise ValueError(
            "Every column tells rows apart, and none says anything about them. Add "
            'columns, or set likelihood="categorical".'
        )
    return chosen


def partial_row(given: dict[Any, Any], table: "TableEncoder") -> np.ndarray:
    """A row of numbers, (1, n_features), with the given cells and holes elsewhere.

    Parameters
    ----------
    given : dict
        Values by column label.
    table : TableEncoder

    Raises
    ------
    ValueError
        Naming the column, if there is none of that name, or the label is no level.
    """
    labels = list(frames.column_labels(table.layout, table.n_features))
    row = np.full((1, table.n_features), np.nan)
    if not isinstance(given, dict) or not given:
        raise ValueError(
            f"given must be a dict of values by column label, got {given!r}."
        )
    for label, value in given.items():
        if label not in labels:
            raise ValueError(
                f"given names a column {label!r}, which the fitted table does not "
                f"have. Its columns are {labels[:10]}{' ...' if labels[10:] else ''}."
            )
        j = labels.index(label)
        levels = table.layout["levels"].get(j)
        if is_hole(value) or (levels is None and not isinstance(value, Number)):
            kind = "numbers" if levels is None else "labels"
            raise ValueError(
                f"given holds {value!r} for column {label!r}, which holds {kind}: give "
                "one of them, or leave the column out."
            )
        if levels is not None and value not in levels:
            raise ValueError(
                f"given holds {value!r} for column {label!r}, which was not there in "
                f"fit; the levels are {shortened(levels)}."
            )
        row[0, j] = value if levels is None else levels.index(value)
        whole = j in table.whole[0]
        if not np.isfinite(row[0, j]) or (whole and row[0, j] % 1):
            raise ValueError(
                f"given holds {value!r} for column {label!r}, which holds "
                f"{'whole' if whole else 'finite'} numbers."
            )
    return row


def plain(parameter: Any) -> Any:
    """The parameter as plain data, for comparing and for saving."""
    if isinstance(parameter, dict):
        return {label: plain(likelihood) for label, likelihood in parameter.items()}
    if isinstance(parameter, list | tuple):
        return [plain(entry) for entry in parameter]
    if parameter in likelihoods.FAMILIES or isinstance(
        parameter, likelihoods.Likelihood
    ):
        resolved = resolve(parameter, likelihoods.FAMILIES)
        return to_state(resolved, likelihoods.FAMILIES)
    return parameter


def asked(parameter: Any, layout: frames.Layout, n_features: int) -> list[Any]:
    """What the parameter says of each column: a name, an object or "auto"."""
    if not isinstance(parameter, dict | list):
        return [parameter] * n_features
    pairs = parameter.items() if isinstance(parameter, dict) else _listed(parameter)
    labels = list(frames.column_labels(layout, n_features))
    asked = ["auto"] * n_features
    given = set()
    for label, likelihood in pairs:
        if label in labels:
            j = labels.index(label)
        elif isinstance(label, int | np.integer) and -n_features <= label < n_features:
            j = int(label) % n_features
        else:
            raise ValueError(
                f"likelihood names a column {label!r}, which X does not have. Its "
                f"columns are {labels[:10]}{' ...' if n_features > 10 else ''}."
            )
        if j in given:
            raise ValueError(f"likelihood names column {label!r} twice.")
        given.add(j)
        names = ["auto", *likelihoods.FAMILIES]
        if likelihood not in names and not isinstance(
            likelihood, likelihoods.Likelihood
        ):
            raise ValueError(
                f"likelihood of column {label!r} must be one of "
                f"{names} or an object of "
                f"skvae.likelihoods, got {likelihood!r}."
            )
        asked[j] = likelihood
    return asked


def _listed(parameter: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
    """(column, likelihood) pairs of a list of (likelihood, columns)."""
    for entry in parameter:
        if not isinstance(entry, tuple | list) or len(entry) != 2:
            raise ValueError(
                "likelihood as a list must hold pairs (likelihood, columns), got "
                f"{entry!r}."
            )
        likelihood, columns = entry
        for label in [columns] if isinstance(columns, str | int) else columns:
            yield label, likelihood


def _judge(
    j: int,
    layout: frames.Layout,
    column: Callable[[int], np.ndarray],
    numbers: Numbers,
) -> Chosen:
    """The rules of "auto" for one column of a data frame or object array."""
    values = column(j)
    if j in layout["levels"]:
        levels = layout["levels"][j]
        family: type[likelihoods.Likelihood]
        if not levels:
            family = likelihoods.Gaussian
        elif len(levels) == 2:
            family = likelihoods.Bernoulli
        elif len(values) < 2 * len(levels) and len(levels) >= _LEAST_NAMES:
            family = likelihoods.Identifier
        elif layout["ordered"][j]:
            family = likelihoods.Ordinal
        else:
            family = likelihoods.Categorical
        return Chosen(family(), [float(code) for code in range(len(levels))] or None)
    whole = j in layout["whole"] or (len(values) > 0 and (values % 1 == 0).all())
    distinct, counts = np.unique(values, return_counts=True)
    if whole and len(distinct) == 2 and len(values) >= _LEAST_CELLS_FOR_TWO_VALUES:
        return Chosen(likelihoods.Bernoulli(), distinct.tolist())
    if j in layout["whole"] and _is_yes_or_no(j, layout):
        return Chosen(likelihoods.Bernoulli(), [0.0, 1.0])
    if numbers.binned and len(values) >= _LEAST_CELLS_FOR_BINS and len(distinct) > 2:
        if whole or counts.max() >= _SHARE_OF_A_SPIKE * len(values):
            return Chosen(likelihoods.Binned(), None)
    return Chosen(numbers.likelihood, None)


def _is_yes_or_no(j: int, layout: frames.Layout) -> bool:
    dtypes = layout.get("dtypes")
    return dtypes is not None and dtypes[j].lower().startswith("bool")


def _levels(
    likelihood: likelihoods.Likelihood,
    j: int,
    layout: frames.Layout,
    column: Callable[[int], np.ndarray],
) -> list[float] | None:
    """The levels that an explicit likelihood has in a column.

    Raises
    ------
    ValueError
        If the column and the likelihood do not go together.
    """
    label = frames.column_labels(layout, j + 1)[j]
    text = layout["levels"].get(j)
    if likelihood.codec in ("categories", "ordered", "identifiers"):
        if text is not None:
            return [float(code) for code in range(len(text))] or None
        return np.unique(column(j)).tolist()
    if likelihood.codec == "binary":
        if text is not None and len(text) != 2:
            raise ValueError(
                f"Column {label!r} has {len(text)} levels, but {likelihood!r} "
                'describes two. Choose likelihood "categorical".'
            )
        return [0.0, 1.0]
    if text:
        raise ValueError(
            f"Column {label!r} holds {text[0]!r}, but {likelihood!r} describes "
            f'{likelihood.support}. Choose likelihood "categorical" or "auto".'
        )
    return None
