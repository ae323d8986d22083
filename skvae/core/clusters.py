"""Class means: where the network starts under a discrete code."""

import numpy as np
from scipy.cluster import vq

from skvae.core.ppca import FactorModel

__all__ = ["class_means"]

#: Starts of k-means, of which the best is kept.
_N_STARTS = 5


def class_means(X: np.ndarray, n_classes: int, seed: int) -> FactorModel:
    """k-means as a model of indicators: x = mean + z @ loadings + noise.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Standardised rows, float64.
    n_classes : int
        Classes beyond the number of distinct rows share means.
    seed : int

    Returns
    -------
    model : FactorModel
        Its loadings are the means of classes, less the mean of all rows; its residual
        variance that of rows around the mean of their class.

    References
    ----------
    D. Arthur and S. Vassilvitskii, "k-means++: the advantages of careful seeding",
    SODA 2007.
    """
    rng = np.random.default_rng(seed)
    mean = X.mean(axis=0)
    centered = X - mean
    distinct = np.unique(centered, axis=0)
    starts = [_k_means(centered, distinct, n_classes, rng) for _ in range(_N_STARTS)]
    means, squares = min(starts, key=lambda start: start[1].sum())
    return FactorModel(mean, means, squares / len(X))


def _k_means(
    X: np.ndarray, distinct: np.ndarray, n_classes: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Means of classes, and sums of squares around them by column."""
    chosen = rng.permutation(distinct)
    if len(chosen) > n_classes:
        chosen = chosen[:n_classes]
        try:
            chosen, _ = vq.kmeans2(X, n_classes, minit="++", rng=rng, missing="raise")
        except vq.ClusterError:
            pass  # a class has lost its rows: as many rows at random will do
    means = np.resize(chosen, (n_classes, X.shape[1]))
    nearest, _ = vq.vq(X, means)
    return means, np.square(X - means[nearest]).sum(axis=0)
