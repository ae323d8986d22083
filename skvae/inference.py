"""Inference beyond the encoder: posteriors refined row by row, and what that gains.

The encoder gives the posterior of any row at once, and pays for it: the bound lies
below log p(x) because the family of q(z|x) does not hold the true posterior, and
because the encoder does not find the best member of the family. A few steps of
gradient ascent for each row tell the two apart.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from numbers import Integral, Real
from typing import TYPE_CHECKING

import numpy as np
from sklearn.utils import check_scalar

from skvae.base import BaseVAE, draw_seed
from skvae.core import refinement
from skvae.core.rows import Rows, to_tensors
from skvae.fitted import FittedModel
from skvae.frames import Matrix, Table
from skvae.handover import from_one_fit
from skvae.posteriors import Point
from skvae.table import chunks

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["InferenceGap", "encoded_rows", "inference_gap", "model_and_rows", "refine"]


@dataclass(frozen=True, eq=False)
class InferenceGap:
    """How far the bound of each row is below log p(x), and why: see `inference_gap`.

    Attributes
    ----------
    log_likelihood : ndarray of shape (n_samples,)
        The importance-weighted log p(x), in nats, in the units of X.
    elbo_refined : ndarray of shape (n_samples,)
        The evidence lower bound under the row's refined posterior, in nats.
    elbo_amortized : ndarray of shape (n_samples,)
        The same, in nats, under the encoder's.
    approximation_gap : ndarray of shape (n_samples,)
        The first less the second, in nats: what the family of q(z|x) costs a row.
    amortization_gap : ndarray of shape (n_samples,)
        The second less the third, in nats: what sharing an encoder costs a row.
    codes : ndarray of shape (n_samples, n_components)
        Means of the refined posteriors.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skvae import VAETransformer, inference_gap
    >>> X = load_iris().data
    >>> vae = VAETransformer(2, max_iter=20, random_state=0).fit(X)
    >>> inference_gap(vae, X[:5], n_steps=10).to_frame().columns.tolist()
    ['log_likelihood', 'approximation_gap', 'elbo_refined', 'amortization_gap', \
'elbo_amortized']
    """

    log_likelihood: np.ndarray
    elbo_refined: np.ndarray
    elbo_amortized: np.ndarray
    codes: np.ndarray

    @property
    def approximation_gap(self) -> np.ndarray:
        """What the family of q(z|x) costs a row, in nats.

        It is log p(x) less the refined bound.
        """
        return self.log_likelihood - self.elbo_refined

    @property
    def amortization_gap(self) -> np.ndarray:
        """What sharing an encoder costs a row, in nats.

        It is the refined bound less the encoder's.
        """
        return self.elbo_refined - self.elbo_amortized

    def to_frame(self) -> "pd.DataFrame":
        """The five numbers of each row, as a pandas DataFrame.

        Returns
        -------
        frame : pandas.DataFrame of shape (n_samples, 5)
            All in nats, by their names as attributes, in the order in which gaps are
            added to bounds.
        """
        import pandas as pd

        return pd.DataFrame({name: getattr(self, name) for name in _COLUMNS})

    def __repr__(self) -> str:
        lines = [f"Inference gap, mean of {len(self.codes)} rows, in nats"]
        lines += [
            f"{name:<18} {getattr(self, name).mean():>12.3f}" for name in _COLUMNS
        ]
        return "\n".join(lines)


#: In the order in which they are added up.
_COLUMNS = (
    "log_likelihood",
    "approximation_gap",
    "elbo_refined",
    "amortization_gap",
    "elbo_amortized",
)


@from_one_fit
def inference_gap(
    estimator: BaseVAE,
    X: Table,
    *,
    n_steps: int = 200,
    learning_rate: float = 0.1,
    n_draws: int = 64,
    n_importance_samples: int = 5_000,
    random_state: int | np.random.RandomState | None = None,
) -> InferenceGap:
    """Split what the bound of each row loses between the family and the encoder.

    log p(x) - ELBO = (log p(x) - ELBO of the refined q) + (ELBO of the refined q - ELBO
    of the encoder's q), the approximation gap and the amortisation gap. The refined q
    is the encoder's, moved by gradient ascent on the row's own bound: see `refine`.
    The numbers come from other draws than those that q was refined by.

    Parameters
    ----------
    estimator : VAETransformer or VAEImputer
        Fitted.
    X : array-like, sparse matrix or data frame of shape (n_samples, n_features)
        Rows, as the estimator's `transform` takes them.
    n_steps : int, default=200
        Steps of the ascent.
    learning_rate : float, default=0.1
        Of its first step, in units of the encoder's outputs.
    n_draws : int, default=64
        Codes of a row in the ascent. With too few, q fits the draws, and the gap
        between refined and amortised comes out too small, even negative: a
        "full_gaussian" posterior needs many times as many as components.
    n_importance_samples : int, default=5_000
        Codes of a row behind each number that is reported.
    random_state : int, RandomState instance or None, default=None
        None takes the fixed draws of scoring, so that a row's numbers are always the
        same. A seed takes others, to see how much they matter.

    Returns
    -------
    gap : InferenceGap
        Its log-likelihoods are importance-weighted bounds with draws from the refined
        q: where the encoder is poor, better ones than `score_samples` gives.

    Raises
    ------
    TypeError
        If the estimator is an ensemble, or its codes are points.

    References
    ----------
    C. Cremer, X. Li and D. Duvenaud, "Inference Suboptimality in Variational
    Autoencoders", ICML 2018, table 1.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skvae import VAETransformer, inference_gap
    >>> X = load_iris().data
    >>> vae = VAETransformer(2, max_iter=20, random_state=0).fit(X)
    >>> gap = inference_gap(vae, X[::10])
    >>> gap.approximation_gap.shape
    (15,)
    >>> bool(gap.amortization_gap.mean() > 0)
    True
    """
    _check_climb(n_steps, learning_rate, n_draws)
    check_scalar(n_importance_samples, "n_importance_samples", Integral, min_val=1)
    seed = 0 if random_state is None else draw_seed(random_state)
    parts = []
    fitted, X = model_and_rows(estimator, X)
    model, weights = fitted.model, fitted.weights
    for values, rows in encoded_rows(fitted, X):
        start = refinement.encoded(model, weights, rows[0])
        # Other draws to climb by than those to judge by.
        refined = refinement.refine(
            model, weights, rows, n_draws, n_steps, learning_rate, seed + 1
        )
        before, after = (
            refinement.bounds(model, weights, rows, outputs, n_importance_samples, seed)
            for outputs in (start, refined)
        )
        jacobian = fitted.table.log_jacobian(values).sum(axis=1)
        parts.append(
            (
                after.importance_weighted.numpy(force=True) + jacobian,
                after.elbo.numpy(force=True) + jacobian,
                before.elbo.numpy(force=True) + jacobian,
                refinement.means(model, refined).numpy(force=True),
            )
        )
    return InferenceGap(*(np.concatenate(part) for part in zip(*parts, strict=True)))


@from_one_fit
def refine(
    estimator: BaseVAE,
    X: Table,
    *,
    n_steps: int = 200,
    learning_rate: float = 0.1,
    n_draws: int = 64,
) -> np.ndarray:
    """Codes of rows beyond the encoder: the means of posteriors refined row by row.

    The parameters of a row's q(z|x), such as means and scales, start where the encoder
    puts them and climb the row's own evidence lower bound: Adam, at a rate that falls
    to nothing, over fixed draws that all rows share. A row keeps the best point that
    it has passed, so that by these draws none ends worse than it began, and its code
    depends on nothing but the row. Worth its time where the encoder is asked for rows
    unlike those of training, with many holes, say.

    Parameters
    ----------
    estimator : VAETransformer or VAEImputer
        Fitted.
    X : array-like, sparse matrix or data frame of shape (n_samples, n_features)
        Rows, as the estimator's `transform` takes them.
    n_steps : int, default=200
        Steps of the ascent.
    learning_rate : float, default=0.1
        Of its first step, in units of the encoder's outputs.
    n_draws : int, default=64
        Codes of a row in the ascent: see `inference_gap`.

    Returns
    -------
    Z : ndarray of shape (n_samples, n_components)
        What `transform` would give if the encoder were perfect; of dtype float64.

    Raises
    ------
    TypeError
        If the estimator is an ensemble, or its codes are points.

    References
    ----------
    M. D. Hoffman et al., "Stochastic Variational Inference", JMLR 14 (2013). Y. Kim et
    al., "Semi-Amortized Variational Autoencoders", ICML 2018, section 3.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skvae import VAETransformer, refine
    >>> X = load_iris().data
    >>> vae = VAETransformer(2, max_iter=20, random_state=0).fit(X)
    >>> refine(vae, X[:5]).shape
    (5, 2)
    """
    _check_climb(n_steps, learning_rate, n_draws)
    fitted, X = model_and_rows(estimator, X)
    codes = [
        refinement.means(
            fitted.model,
            refinement.refine(
                fitted.model, fitted.weights, rows, n_draws, n_steps, learning_rate
            ),
        ).numpy(force=True)
        for _, rows in encoded_rows(fitted, X)
    ]
    return np.concatenate(codes)


def model_and_rows(estimator: BaseVAE, X: Table) -> tuple[FittedModel, Matrix]:
    """The one model of an estimator, in float64, and rows checked against it.

    Parameters
    ----------
    estimator : VAETransformer or VAEImputer
        Fitted.
    X : array-like, sparse matrix or data frame of shape (n_samples, n_features)
        Rows, as the estimator's `transform` takes them.

    Returns
    -------
    fitted : FittedModel
        Weights and table, in float64.
    X : ndarray or CSR matrix of shape (n_samples, n_features)
        The rows as numbers.

    Raises
    ------
    TypeError
        If there are several models, or one whose codes are points.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skvae import VAETransformer
    >>> from skvae.inference import model_and_rows
    >>> X = load_iris().data
    >>> vae = VAETransformer(2, max_iter=2, random_state=0).fit(X)
    >>> fitted, rows = model_and_rows(vae, X)
    >>> rows.shape
    (150, 4)
    """
    name = type(estimator).__name__
    if not isinstance(estimator, BaseVAE):
        raise TypeError(
            f"estimator must be one of skvae's, such as VAETransformer, got {name}: of "
            "a pipeline, give the last step and the rows that it sees."
        )
    X = estimator._check_rows(X)
    if estimator._state["weights"].ndim > 1:
        raise TypeError(
            f"{name} is an ensemble of models, each with codes of its own: give a "
            "VAETransformer."
        )
    fitted = estimator._fitted_model(np.float64)
    if isinstance(fitted.model.posterior, Point):
        raise TypeError(
            f"The codes of {name} are points: without a posterior there is no bound to "
            "look into. Give a VAETransformer."
        )
    return fitted, X


def encoded_rows(fitted: FittedModel, X: Matrix) -> Iterator[tuple[np.ndarray, Rows]]:
    """Rows of a matrix, some at a time: dense, and as the model's tensors.

    Parameters
    ----------
    fitted : FittedModel
        The model that reads them.
    X : ndarray or CSR matrix of shape (n_samples, n_features)
        Rows as numbers, from `model_and_rows`.

    Yields
    ------
    values : ndarray of shape (n_rows, n_features)
        Some rows.
    rows : tuple of Tensor of shape (n_rows, ...)
        Inputs, targets, and which cells are observed; None for the last if all are.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skvae import VAETransformer
    >>> from skvae.inference import encoded_rows, model_and_rows
    >>> X = load_iris().data
    >>> vae = VAETransformer(2, max_iter=2, random_state=0).fit(X)
    >>> [values.shape for values, rows in encoded_rows(*model_and_rows(vae, X))]
    [(150, 4)]
    """
    for values in chunks(X, np.arange(X.shape[0])):
        yield (
            values,
            to_tensors(fitted.table.encode(values, fitted.dtype), fitted.device),
        )


def _check_climb(n_steps: int, learning_rate: float, n_draws: int) -> None:
    check_scalar(n_steps, "n_steps", Integral, min_val=0)
    check_scalar(
        learning_rate, "learning_rate", Real, min_val=0, include_boundaries="neither"
    )
    check_scalar(n_draws, "n_draws", Integral, min_val=1)
