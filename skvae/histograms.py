"""Each column by itself: what a row is worth if the columns are independent.

A histogram for each column knows nothing of how columns go together, and so errs on
other rows than a joint model does. Between the middles of its bins the log-density is
interpolated, so that it has no jumps.
"""

import numpy as np

from skvae.table import chunks

__all__ = ["fit_histograms", "log_densities"]

_LEAST_WIDTH = 1e-12


def fit_histograms(X, rows):
    """Histograms of some rows, as plain data.

    Parameters
    ----------
    X : ndarray or sparse matrix of shape (n_samples, n_features)
        NaN for holes.
    rows : ndarray of shape (n_rows,)

    Returns
    -------
    histograms : dict
        "first" and "width": the middle of each column's first bin, and the distance to
        the next, (n_features,). "log_density" at the middles, (n_features, n_bins + 2):
        first and last come those of an empty bin on either side. In nats, in the units
        of X.

    References
    ----------
    M. Goldstein and A. Dengel, "Histogram-based Outlier Score", 2012.
    """
    n_bins = 1 + int(np.ceil(1.5 * len(rows) ** (1 / 3)))
    low, high = np.full(X.shape[1], np.inf), np.full(X.shape[1], -np.inf)
    for values in chunks(X, rows):
        low = np.fmin(low, np.fmin.reduce(values, axis=0))
        high = np.fmax(high, np.fmax.reduce(values, axis=0))
    first, last = (
        np.where(np.isfinite(end), end, 0.0).astype(np.float64) for end in (low, high)
    )
    # Divided first: the difference of float64's ends is no float64.
    width = last / (n_bins - 1) - first / (n_bins - 1)
    size = np.maximum(np.abs(first), np.abs(last))
    width = np.maximum(width, _LEAST_WIDTH * np.where(size > 0, size, 1.0))
    counts = np.zeros((X.shape[1], n_bins + 2))
    for values in chunks(X, rows):
        places = _places(values, first, width, n_bins)
        for j, column in enumerate(places.T):
            bins = np.rint(column[~np.isnan(column)]).astype(np.intp)
            counts[j] += np.bincount(bins, minlength=n_bins + 2)
    # Half a row in each bin beforehand, so that nothing is impossible.
    shares = (counts + 0.5) / (counts + 0.5).sum(axis=1, keepdims=True)
    log_density = np.log(shares) - np.log(width)[:, None]
    return {"first": first, "width": width, "log_density": log_density}


def log_densities(X, histograms):
    """Log-density of each cell in its column's histogram, 0 for a hole.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features)
    histograms : dict

    Returns
    -------
    log_densities : ndarray of shape (n_rows, n_features)
    """
    log_density = histograms["log_density"]
    n_bins = log_density.shape[1] - 2
    places = _places(X, histograms["first"], histograms["width"], n_bins)
    holes = np.isnan(places)
    places[holes] = 0.0
    below = np.minimum(places.astype(np.intp), n_bins)
    columns = np.arange(X.shape[1])
    left, right = log_density[columns, below], log_density[columns, below + 1]
    return np.where(holes, 0.0, left + (places - below) * (right - left))


def _places(values, first, width, n_bins):
    """Where cells lie among the middles of bins, the empty one below being 0."""
    with np.errstate(over="ignore"):
        places = (values.astype(np.float64) - first) / width + 1
    return np.clip(places, 0, n_bins + 1)
