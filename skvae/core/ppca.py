"""Probabilistic PCA in closed form: where the network starts."""

from typing import NamedTuple

import numpy as np
from scipy import linalg

__all__ = ["FactorModel", "probabilistic_pca"]


class FactorModel(NamedTuple):
    """x = mean + z @ loadings + noise, with z standard normal."""

    mean: np.ndarray  # (n_features,)
    loadings: np.ndarray  # (n_components, n_features)
    residual_variance: np.ndarray  # (n_features,)


def probabilistic_pca(
    X: np.ndarray,
    n_components: int,
    noise_variance: float | None = None,
    least_variance: float = 0.0,
    weights: np.ndarray | None = None,
) -> FactorModel:
    """Maximum-likelihood factors of rows under equal noise in every column.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Standardised rows, float64. Overwritten.
    n_components : int
        Components beyond the rank, or weaker than the noise, get zero loadings.
    noise_variance : float or None, default=None
        The noise where it is known; by default the mean of the variances along the
        discarded axes, its maximum-likelihood estimate.
    least_variance : float, default=0.0
        Lower bound of the estimated noise.
    weights : ndarray of shape (n_features,) or None, default=None
        The noise is equal in the columns multiplied by these.

    Returns
    -------
    model : FactorModel
        Its residual variance is what the loadings leave of each column's variance;
        the mean of it is the noise variance where that was estimated.

    References
    ----------
    M. E. Tipping and C. M. Bishop, "Probabilistic principal component analysis",
    JRSS B 61 (1999), equations 7 and 8.
    """
    n_samples, n_features = X.shape
    mean = X.mean(axis=0)
    X -= mean
    if weights is not None:
        X *= weights
    variance = np.einsum("ij,ij->j", X, X) / n_samples
    kept = min(n_components, n_samples, n_features)
    eigenvalues, axes = _leading_axes(X, kept)
    if noise_variance is None:
        n_discarded = n_features - kept
        discarded = max(variance.sum() - eigenvalues.sum(), 0.0)
        noise_variance = max(discarded / max(n_discarded, 1), least_variance)
    strength = np.sqrt(np.maximum(eigenvalues - noise_variance, 0.0))
    loadings = np.zeros((n_components, n_features))
    loadings[:kept] = strength[:, None] * axes
    residual = np.maximum(variance - np.square(loadings).sum(axis=0), 0.0)
    if weights is not None:
        loadings /= weights
        residual /= weights**2
    return FactorModel(mean, loadings, residual)


def _leading_axes(X: np.ndarray, kept: int) -> tuple[np.ndarray, np.ndarray]:
    """Largest eigenvalues of the covariance, and its eigenvectors as rows.

    The smaller of the two Gram matrices is decomposed.
    """
    n_samples, n_features = X.shape
    wide = n_features > n_samples
    gram = (X @ X.T if wide else X.T @ X) / n_samples
    order = len(gram)
    eigenvalues, vectors = linalg.eigh(
        gram, subset_by_index=(order - kept, order - 1), overwrite_a=True
    )
    eigenvalues, axes = np.maximum(eigenvalues[::-1], 0.0), vectors.T[::-1]
    if wide:
        axes = axes @ X
        axes /= np.maximum(linalg.norm(axes, axis=1, keepdims=True), 1e-300)
    return eigenvalues, axes
