"""What a row costs as a code, beside PCA at equal error: compression."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from skvae import frames
from skvae.base import BaseVAE
from skvae.core import evaluation
from skvae.fitted import FittedModel
from skvae.frames import Matrix, Table
from skvae.handover import from_one_fit
from skvae.inference import encoded_rows, model_and_rows
from skvae.table import chunks

__all__ = ["Compression", "compression", "rate_distortion"]


@dataclass(frozen=True, eq=False, repr=False)
class Compression:
    """What a row costs as a code, beside PCA at equal error: see `compression`.

    Attributes
    ----------
    nats : float
        Length of a row's code, in nats: KL(q(z|x) || p(z)), averaged over rows.
    bits : float
        The same, in bits.
    distortion : float
        Squared error of the row that the code is read as, summed over columns,
        averaged over rows; in units of the columns' variances over X if the estimator
        standardises.
    n_features : int
        Number of columns.
    pca_n_components : int
        Fewest principal components whose squared error is no larger.
    pca_nats : float
        Length of the best code of these components, and others, at that error, in nats.
    pca_bits : float
        The same, in bits.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from skvae import VAETransformer, compression
    >>> X = load_wine().data
    >>> vae = VAETransformer(2, max_iter=20, random_state=0).fit(X)
    >>> figures = compression(vae, X)
    >>> round(figures.nats / figures.bits, 3)
    0.693
    """

    nats: float
    distortion: float
    n_features: int
    pca_n_components: int
    pca_nats: float

    @property
    def bits(self) -> float:
        """Length of a row's code, in bits."""
        return self.nats / math.log(2)

    @property
    def pca_bits(self) -> float:
        """Length of PCA's, in bits."""
        return self.pca_nats / math.log(2)

    def __repr__(self) -> str:
        return "\n".join(
            [
                f"Compression of rows of {self.n_features} columns",
                f"{'squared error of a row':<28} {self.distortion:>10.3f}",
                f"{'bits of its code':<28} {self.bits:>10.2f}",
                f"{'bits of PCA at that error':<28} {self.pca_bits:>10.2f}",
                f"{'components of PCA':<28} {self.pca_n_components:>10}",
            ]
        )


@from_one_fit
def compression(estimator: BaseVAE, X: Table) -> Compression:
    """How many bits a row's code takes, and how many PCA takes at equal error.

    A sender and a receiver who share the model can pass on a draw from q(z|x) in
    KL(q(z|x) || p(z)) nats a row, by coding with bits back. The receiver reads the row
    as the decoder's mean at this draw. Its squared error, in units of the columns'
    standard deviations over X if the estimator standardises, is the distortion D.

    PCA of the rows of X is given the same D. What it costs is the rate-distortion
    function of a normal distribution with their covariance: each principal component
    whose variance v is above a level t takes log(v / t) / 2 nats, and t is such that
    the errors, t or v, sum to D. It is the most that rows of this covariance can take.

    Parameters
    ----------
    estimator : VAETransformer or VAEImputer
        Fitted.
    X : array-like, sparse matrix or data frame of shape (n_samples, n_features)
        Numbers alone, without holes.

    Returns
    -------
    figures : Compression
        Printed, it is a table.

    Raises
    ------
    TypeError
        If the estimator is an ensemble, or its codes are points.
    ValueError
        If X has labels or holes, which have no squared error.

    References
    ----------
    G. E. Hinton and D. van Camp, "Keeping Neural Networks Simple by Minimizing the
    Description Length of the Weights", COLT 1993; J. Townsend, T. Bird and D. Barber,
    "Practical Lossless Compression with Latent Variables using Bits Back Coding", ICLR
    2019, for the code. T. M. Cover and J. A. Thomas, "Elements of Information Theory"
    (2006), theorem 10.3.3, for PCA's.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from skvae import VAETransformer, compression
    >>> X = load_wine().data
    >>> vae = VAETransformer(2, max_iter=20, random_state=0).fit(X)
    >>> figures = compression(vae, X)
    >>> bool(figures.bits > 0)
    True
    """
    fitted, X = model_and_rows(estimator, X)
    _check_numbers(fitted, X)
    n_draws = estimator._n_draws()
    covariance = _covariance(X)
    scale = np.ones(X.shape[1])
    if estimator.standardize:
        deviation = np.sqrt(covariance.diagonal())
        scale = np.where(deviation > 0, deviation, 1.0)
    variances = np.linalg.eigvalsh(covariance / np.outer(scale, scale)).clip(0)
    errors = _errors_of_draws(fitted, X, scale, n_draws)
    distortion = float(errors.mean())
    # What is left by the most components, ..., by one, and by none.
    left = np.concatenate([[0.0], variances.cumsum()])
    n_left = np.flatnonzero(left <= distortion)[-1]
    return Compression(
        nats=-float(fitted.bound_by_feature(X, n_draws)[:, -1].mean()),
        distortion=distortion,
        n_features=X.shape[1],
        pca_n_components=int(len(variances) - n_left),
        pca_nats=rate_distortion(variances, distortion),
    )


def _check_numbers(fitted: FittedModel, X: Matrix) -> None:
    """Refuse labels and holes."""
    layout = fitted.table.layout
    names = frames.column_labels(layout, X.shape[1])
    for j in layout["levels"]:
        raise ValueError(
            f"Column {names[j]!r} holds labels, which have no squared error: "
            "compression is for tables of numbers."
        )
    for values in chunks(X, np.arange(X.shape[0])):
        holes = np.isnan(values).any(axis=0)
        if holes.any():
            raise ValueError(
                f"Column {names[holes.argmax()]!r} has holes, which have no squared "
                "error: give rows without."
            )


def _covariance(X: Matrix) -> np.ndarray:
    """Covariance of the columns of a dense or sparse matrix, with n below the sum."""
    mean = np.asarray(X.mean(axis=0), dtype=np.float64).ravel()
    total = np.zeros((X.shape[1], X.shape[1]))
    for values in chunks(X, np.arange(X.shape[0])):
        centered = values - mean
        total += centered.T @ centered
    return total / X.shape[0]


def _errors_of_draws(
    fitted: FittedModel, X: Matrix, scale: np.ndarray, n_draws: int
) -> np.ndarray:
    """Squared error of each row, read from draws of its code, (n_samples,)."""
    model, errors = fitted.model, []
    for values, (inputs, *_) in encoded_rows(fitted, X):
        codes = evaluation.codes(model, fitted.weights, inputs)
        Z = codes.rsample(evaluation.shared_noise(model, n_draws, inputs))
        log_shares = codes.log_shares()
        shares = np.full(Z.shape[:2], 1 / len(Z))
        if log_shares is not None:
            shares = log_shares.exp().numpy(force=True)
        some = np.zeros(len(values))
        for z, share in zip(Z.numpy(force=True), shares, strict=True):
            distance = (values - fitted.means(z)) / scale
            some += share * np.square(distance).sum(axis=1)
        errors.append(some)
    return np.concatenate(errors)


def rate_distortion(variances: ArrayLike, distortion: float) -> float:
    """Fewest nats that independent normal numbers take at a given squared error.

    A level t is found at which the errors, t or the variance where that is less, sum to
    the distortion; then each variance v above t takes log(v / t) / 2.

    Parameters
    ----------
    variances : array-like of shape (n_features,)
        Of the numbers.
    distortion : float
        Sum of the squared errors, above 0, in units of the variances.

    Returns
    -------
    nats : float
        Of a row of these numbers, in nats.

    Raises
    ------
    ValueError
        If `distortion` is not above 0 and a variance is.

    References
    ----------
    T. M. Cover and J. A. Thomas, "Elements of Information Theory" (2006), theorem
    10.3.3.

    Examples
    --------
    >>> from skvae.coding import rate_distortion
    >>> round(rate_distortion([4.0, 4.0, 0.5], 2.5), 3)  # the level is 1: log 4
    1.386
    """
    variances = np.sort(variances)
    if distortion >= variances.sum():
        return 0.0
    if not distortion > 0:
        raise ValueError(f"distortion must be above 0, got {distortion!r}.")
    below = np.concatenate([[0.0], variances[:-1].cumsum()])
    # The level, if the first 0, 1, ... variances lie below it.
    levels = (distortion - below) / np.arange(len(variances), 0, -1)
    level = levels[np.argmax(levels <= variances)]
    return float(0.5 * np.log(variances[variances > level] / level).sum())
