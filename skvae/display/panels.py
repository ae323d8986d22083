"""The panels of SampleDisplay: a column by itself, and a pair of columns.

A column is described once, with its bins and limits, and then drawn in all its panels.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from skvae.display.rows import evenly_spaced
from skvae.display.style import BLACK, BLUE, VERMILLION, column_name, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["OF_SAMPLES", "OF_X", "Column", "described", "draw_marginal", "draw_pair"]

#: The colours of X and of samples.
OF_X, OF_SAMPLES = BLUE, VERMILLION
#: Points of a panel, at most, and how wide they are scattered around levels and whole
#: numbers.
_POINTS, _SCATTER = 1_000, 0.56
#: Whole numbers of so few values are drawn as levels, and of so few their points are
#: scattered; of labels, so many have a place.
_WHOLE_VALUES, _NEAR_VALUES, _LEVELS = 6, 30, 8
#: Bins of a histogram, at least and at most.
_BINS = 5, 30
#: Letters of a level.
_LETTERS = 12


class Column(NamedTuple):
    """A column to be drawn: X and samples, of numbers or of places of levels.

    The edges are those of bins, or stand around the places; the limits are an axis'.
    Points are scattered, of X and of samples, where many would have one place.
    """

    name: str
    parts: Sequence[np.ndarray]
    levels: list[str] | None
    edges: np.ndarray
    limits: tuple[float, float]
    is_scattered: tuple[bool, ...]


def described(
    values: np.ndarray, samples: np.ndarray, name: Any, levels: list[Any] | None
) -> Column:
    """What is needed to draw a column.

    Parameters
    ----------
    values : ndarray of shape (n_rows,)
        The column in X: NaN for holes, labels as the positions of their levels.
    samples : ndarray of shape (n_samples,)
        Likewise in the samples.
    name : object
        What it is called.
    levels : list or None
        Its labels; None of numbers.

    Returns
    -------
    column : Column
    """
    parts: Sequence[np.ndarray] = (values, samples)
    name = column_name(name)
    known = [part[np.isfinite(part)] for part in parts]
    distinct = np.unique(np.concatenate(known))
    are_whole = [(part % 1 == 0).all() for part in known]
    if levels is None and all(are_whole) and 0 < len(distinct) <= _WHOLE_VALUES:
        levels = [f"{value:.0f}" for value in distinct]
        parts = [_places(part, distinct) for part in parts]
    if levels is not None:
        parts, levels = _commonest(parts, levels)
        edges = np.arange(len(levels) + 1) - 0.5
        limits = -0.6, len(levels) - 0.4
        return Column(name, parts, levels, edges, limits, (True, True))
    n_values = len(np.unique(known[0]))
    is_whole = are_whole[0] and (are_whole[1] or n_values > _WHOLE_VALUES)
    edges = _edges(distinct, min(map(len, known)), is_whole)
    margin = 0.04 * (edges[-1] - edges[0])
    limits = edges[0] - margin, edges[-1] + margin
    is_scattered = tuple(whole and n_values <= _NEAR_VALUES for whole in are_whole)
    return Column(name, parts, None, edges, limits, is_scattered)


def _places(values: np.ndarray, distinct: np.ndarray) -> np.ndarray:
    """The place of each number among the distinct ones, NaN for holes."""
    return np.where(np.isnan(values), np.nan, np.searchsorted(distinct, values))


def _commonest(
    parts: Sequence[np.ndarray], levels: Sequence[Any]
) -> tuple[tuple[np.ndarray, ...], list[str]]:
    """Places of labels, and their names; of many, rare ones share the last place."""
    levels = [shortened(level, _LETTERS) for level in levels]
    if len(levels) <= _LEVELS:
        return tuple(parts), levels
    known = parts[0][~np.isnan(parts[0])].astype(np.int64)
    counts = np.bincount(known, minlength=len(levels))
    kept = np.sort(np.argsort(-counts, kind="stable")[: _LEVELS - 1])
    places = np.full(len(levels) + 1, len(kept), dtype=np.float64)
    places[kept], places[-1] = np.arange(len(kept)), np.nan
    parts = [places[np.where(np.isnan(p), -1, p).astype(np.int64)] for p in parts]
    names = [levels[place] for place in kept]
    return tuple(parts), [*names, f"{len(levels) - len(kept)} others"]


def _edges(distinct: np.ndarray, n_rows: int, is_whole: bool) -> np.ndarray:
    """Edges of bins over the range of some numbers, around whole ones if they are."""
    low, high = (distinct[0], distinct[-1]) if len(distinct) else (0.0, 0.0)
    n_bins = int(np.clip(np.sqrt(n_rows), *_BINS))
    if is_whole:
        low, n_values = np.floor(low) - 0.5, np.ceil(high) - np.floor(low) + 1
        width = 1 if n_values <= _BINS[1] else np.ceil(n_values / n_bins)
        return low + width * np.arange(np.ceil(n_values / width) + 1)
    if low == high:
        low, high = low - 0.5, high + 0.5
    return np.linspace(low, high, n_bins + 1)


def draw_marginal(panel: "Axes", column: Column) -> tuple[Any, ...]:
    """Draw shares of X and of samples in each bin, or of each level.

    Returns
    -------
    artists : tuple of matplotlib StepPatch or BarContainer
        Of X and of samples.
    """
    artists: list[Any] = []
    for part, colour, shift in zip(
        column.parts, (OF_X, OF_SAMPLES), (-0.2, 0.2), strict=True
    ):
        known = part[np.isfinite(part)]
        shares = np.histogram(known, column.edges)[0] / max(len(known), 1)
        if column.levels is not None:
            places = np.arange(len(column.levels)) + shift
            artists.append(panel.bar(places, shares, 0.4, color=colour))
            continue
        style: dict[str, Any] = {"linewidth": 1.6}
        if colour == OF_X:
            style = {"fill": True, "alpha": 0.45}
        artists.append(panel.stairs(shares, column.edges, color=colour, **style))
    return tuple(artists)


def draw_pair(panels: "tuple[Axes, Axes]", first: Column, second: Column) -> list[Any]:
    """Draw a pair of columns of X, and of samples, whose panel is mirrored.

    Parameters
    ----------
    panels : tuple of matplotlib Axes
        That of X, with the first column across, and that of samples, with it upwards.
    first, second : Column
        The columns.

    Returns
    -------
    artists : list of matplotlib PathCollection or BarContainer
        Of X and of samples.
    """
    pairs = []
    for u, v in zip(first.parts, second.parts, strict=True):
        known = np.isfinite(u) & np.isfinite(v)
        pairs.append((u[known], v[known]))
    if first.levels is not None and second.levels is not None:
        edges = first.edges, second.edges
        counts = [np.histogram2d(*pair, edges)[0] for pair in pairs]
        shares = [count / max(count.sum(), 1) for count in counts]
        largest = max(share.max() for share in shares) or 1.0
        return [
            _draw_squares(panels[0], shares[0] / largest, OF_X),
            _draw_squares(panels[1], shares[1].T / largest, OF_SAMPLES),
        ]
    n_points = min(_POINTS, *(len(u) for u, _ in pairs))
    return [
        _draw_points(panels[0], pairs[0], (first, second), 0, n_points),
        _draw_points(panels[1], pairs[1][::-1], (second, first), 1, n_points),
    ]


def _draw_squares(panel: "Axes", areas: np.ndarray, colour: str) -> Any:
    """A square for each pair of levels, of an area between 0 and 1."""
    x, y = (places.ravel() for places in np.indices(areas.shape))
    sides = 0.94 * np.sqrt(areas.ravel())
    return panel.bar(x, sides, sides, bottom=y - sides / 2, color=colour)


def _draw_points(
    panel: "Axes",
    pair: tuple[np.ndarray, np.ndarray],
    columns: tuple[Column, Column],
    which: int,
    n_points: int,
) -> Any:
    """Evenly chosen rows of X or of samples as points, with the medians at levels."""
    rows = evenly_spaced(len(pair[0]), n_points)
    scatter = np.random.default_rng(0).uniform(-0.5, 0.5, (2, n_points)) * _SCATTER
    x, y = (
        part[rows] + column.is_scattered[which] * shift
        for part, column, shift in zip(pair, columns, scatter, strict=True)
    )
    style: dict[str, Any] = {
        "s": 9,
        "color": (OF_X, OF_SAMPLES)[which],
        "alpha": 0.45,
        "linewidths": 0,
    }
    points = panel.scatter(x, y, **style)
    for part, other, column, lines in (
        (*pair, columns[0], panel.hlines),
        (*pair[::-1], columns[1], panel.vlines),
    ):
        if column.levels is not None:
            there = np.unique(part)
            medians = [np.median(other[part == place]) for place in there]
            lines(medians, there - 0.35, there + 0.35, color=BLACK, linewidth=1.6)
    return points
