"""Each column by itself: what a row is worth if the columns are independent.

A histogram for each column knows nothing of how columns go together, and so errs on
other rows than a joint model does. Between the middles of its bins the log-density is
interpolated, so that it has no jumps. A column of few values has a bin for each.
"""

from collections.abc import Mapping

import numpy as np

from skvae.frames import Matrix
from skvae.table import chunks

__all__ = ["fit_histograms", "log_densities"]

_LEAST_WIDTH = 1e-12
#: Values beyond this are read as this far out: their distances are then finite.
_FURTHEST = 1e300


def fit_histograms(X: Matrix, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Histograms of some rows, as plain data.

    Parameters
    ----------
    X : ndarray or sparse matrix of shape (n_samples, n_features)
        NaN for holes.
    rows : ndarray of shape (n_rows,)

    Returns
    -------
    histograms : dict
        "middles" of bins, in ascending order, with an empty bin on either side, and
        their "log_density", both (n_features, n_bins + 2). In nats, in the units of X.

    References
    ----------
    M. Goldstein and A. Dengel, "Histogram-based Outlier Score", 2012.
    """
    n_bins = 1 + int(np.ceil(1.5 * len(rows) ** (1 / 3)))
    columns = [_Values(n_bins) for _ in range(X.shape[1])]
    for values in chunks(X, rows):
        for column, cells in zip(columns, values.T, strict=True):
            column.add(_bounded(cells[~np.isnan(cells)]))
    middles = np.stack([column.middles() for column in columns])
    counts = np.zeros(middles.shape)
    for values in chunks(X, rows):
        for j, cells in enumerate(values.T):
            cells = _bounded(cells[~np.isnan(cells)])
            counts[j] += np.bincount(_nearest(cells, middles[j]), minlength=n_bins + 2)
    # Half a row in each bin beforehand, so that nothing is impossible.
    shares = (counts + 0.5) / (counts + 0.5).sum(axis=1, keepdims=True)
    width = [column.width for column in columns]
    log_density = np.log(shares) - np.log(width)[:, None]
    return {"middles": middles, "log_density": log_density}


def log_densities(X: np.ndarray, histograms: Mapping[str, np.ndarray]) -> np.ndarray:
    """Log-density of each cell in its column's histogram, 0 for a hole.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features)
    histograms : dict

    Returns
    -------
    log_densities : ndarray of shape (n_rows, n_features)
    """
    pairs = zip(histograms["middles"], histograms["log_density"], strict=True)
    found = [
        np.interp(_bounded(cells), middles, log_density)
        for cells, (middles, log_density) in zip(X.T, pairs, strict=True)
    ]
    return np.nan_to_num(np.stack(found, axis=1))


class _Values:
    """What is seen of a column: its range, and its values while they are few."""

    def __init__(self, n_bins: int) -> None:
        self._n_bins = n_bins
        self._few: np.ndarray | None = np.empty(0)
        self._low, self._high = np.inf, -np.inf

    def add(self, cells: np.ndarray) -> None:
        """Take note of some cells."""
        if not len(cells):
            return
        self._low = min(self._low, cells.min())
        self._high = max(self._high, cells.max())
        if self._few is not None:
            self._few = np.union1d(self._few, cells)
            if len(self._few) > self._n_bins:
                self._few = None

    @property
    def width(self) -> float:
        """Mean distance of the middles."""
        n_gaps = (self._n_bins if self._few is None else len(self._few)) - 1
        low, high = (self._low, self._high) if np.isfinite(self._low) else (0.0, 0.0)
        # Divided first: the difference of float64's ends is no float64.
        width = high / n_gaps - low / n_gaps if n_gaps > 0 else 0.0
        return width or _LEAST_WIDTH * (abs(low) or 1.0)

    def middles(self) -> np.ndarray:
        """Middles of the bins, with those of empty ones on either side."""
        if self._few is None:
            steps = np.arange(-1, self._n_bins + 1)
            return self._low + self.width * steps
        inner = self._few if len(self._few) else np.zeros(1)
        after = np.full(self._n_bins + 1 - len(inner), inner[-1] + self.width)
        return np.concatenate([[inner[0] - self.width], inner, after])


def _bounded(cells: np.ndarray) -> np.ndarray:
    return np.clip(cells.astype(np.float64), -_FURTHEST, _FURTHEST)


def _nearest(cells: np.ndarray, middles: np.ndarray) -> np.ndarray:
    """Number of the bin that each cell is in."""
    edges = middles[:-1] / 2 + middles[1:] / 2
    return np.searchsorted(edges, cells)
