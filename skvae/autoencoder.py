"""AETransformer: the deterministic autoencoder, beside which a VAE can be put."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
import torch
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import Tags
from torch import Tensor

from skvae import frames
from skvae.base import BaseVAE
from skvae.compat import Interval, fit_context
from skvae.frames import Layout, Matrix, Table
from skvae.handover import all_or_nothing, methods_from_one_fit
from skvae.likelihoods import Likelihood
from skvae.likelihoods.base import Columns, LinearStart
from skvae.networks import Network
from skvae.optimizers import Optimizer
from skvae.posteriors import Point
from skvae.table import TableEncoder

__all__ = ["AETransformer", "SquaredError"]

#: What a variational autoencoder has, and an autoencoder cannot have.
_OF_A_DISTRIBUTION = ("sample", "score_samples", "score_features")


@dataclass(frozen=True)
class SquaredError(Likelihood):
    """Minus the squared distance from the decoder's output; no distribution.

    It stands where a likelihood stands, so that the model is trained in the same way.

    Examples
    --------
    >>> from skvae.autoencoder import SquaredError
    >>> SquaredError()
    SquaredError()
    """

    #: Principal components without noise: the start is the plain projection.
    known_variance: ClassVar[float] = 0.0

    def start(
        self,
        mean: Tensor,
        variance: Tensor,
        loadings: Tensor,
        residual_variance: Tensor,
    ) -> LinearStart:
        none = torch.zeros_like(residual_variance)
        return LinearStart(loadings, mean, mean.new_empty(0), {}, none)

    def __call__(
        self, locations: Tensor, others: Tensor, own: Mapping[str, Tensor]
    ) -> Columns:
        # It has no `sample`, and nothing asks for one.
        return SquaredErrorColumns(locations)  # type: ignore[return-value]


class SquaredErrorColumns(NamedTuple):
    """Columns rebuilt as these numbers."""

    mean: Tensor

    def log_prob(self, targets: Tensor) -> Tensor:
        return -(targets - self.mean).square()


@methods_from_one_fit(
    "transform",
    "inverse_transform",
    "reconstruction_error",
    "reconstruction_error_by_feature",
    "score",
)
class AETransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseVAE):
    """Deterministic autoencoder for tables of numbers.

    An encoder network maps each row to a code, a decoder network maps the code back,
    and both are trained to bring the row back with the least squared error. It is
    `VAETransformer` without its distributions: a code is a point. So it gives codes and
    reconstructions, and that is all. It has no `sample`, since nothing says which codes
    rows come from, and no `score_samples`, since nothing says how likely a row is.

    Columns are standardised inside, and holes are left out of the error. The networks
    have a linear path beside the hidden layers and start at PCA. Without hidden layers
    the autoencoder is PCA: its reconstructions are the projections on the principal
    subspace.

    Read more in the :doc:`user guide </user_guide/autoencoders>`.

    Parameters
    ----------
    n_components : int or "auto", default="auto"
        Width of the code. "auto" is ``min(16, ceil(n_features / 2))``.
    noise : float, default=0.0
        Standard deviation, in units of the standardised columns, of normal noise that
        is added to what the encoder reads in training, anew at each step. The decoder
        is still to give back the rows without it: a denoising autoencoder.
    hidden_layer_sizes : tuple of int, default=(64, 32)
        Widths of the encoder's hidden layers; the decoder mirrors them. ``()`` is the
        linear autoencoder.
    activation : str, default="silu"
        "elu", "gelu", "identity", "logistic", "relu", "silu", "softplus" or "tanh".
    network : str, settings object or None, default=None
        Overrides `hidden_layer_sizes` and `activation`: see `VAETransformer`.
    standardize : bool, default=True
        Whether columns are centred and scaled to unit variance inside, so that all
        weigh alike in the error.
    init : {"pca", "random"}, default="pca"
        Where training starts: at the projection on the leading principal components,
        or at random (always so for a network without a linear path).
    optimizer : str or settings object, default="adam"
        "adam", "sgd", "adagrad", or an object of `skvae.optimizers`.
    learning_rate : float, default=5e-3
        Step size of the optimiser. It rises over the first 50 steps and stays; the
        fitted model is a running average of the weights.
    batch_size : int or "auto", default="auto"
        Rows a step, at most: see `VAETransformer`.
    max_iter : int or "auto", default="auto"
        Epochs, at most. "auto" makes about 3,000 steps, and at least 10 epochs.
    early_stopping : bool or "auto", default="auto"
        Whether to hold rows out, look at their error every 50 steps or so, stop when
        it no longer falls, and go back to the best weights. "auto" does so from 50
        rows up.
    validation_fraction : float, default=0.1
        Share of the rows held out for early stopping, 5,000 rows at most.
    n_iter_no_change : int, default=12
        Looks without an improvement by `tol` after which training stops.
    tol : float, default=1e-4
        In units of the score: squared errors of a row, in standardised units.
    warm_start : bool, default=False
        Whether `fit` goes on from the fitted weights and scaling, with a new schedule.
        The model must be the same.
    device : str, torch.device or None, default=None
        Where to compute, such as "cuda". None is the CPU.
    random_state : int, RandomState instance or None, default=None
        Seeds the held-out rows, the start, the order of rows and the noise. Nothing
        that is asked of a fitted model depends on it.
    verbose : bool or int, default=False
        Whether to print about ten lines a fit.

    Attributes
    ----------
    n_components_ : int
        Width of the code.
    loss_curve_ : list of float
        The squared error of a row, in standardised units, summed over its observed
        columns and averaged over the rows of an epoch. With `noise`, from rows with
        noise.
    validation_scores_ : list of float
        Minus the same, in standardised units, for the rows held out, per look, with
        noise that is drawn once and cells beyond 10 standard deviations read as 10.
        Empty without early stopping.
    validation_epochs_ : list of float
        Where these looks were, in epochs from the start.
    n_iter_ : int
        Epochs begun.
    n_features_in_ : int
        Number of columns seen in fit.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the columns, where X had names that are all strings.

    See Also
    --------
    VAETransformer : The model with distributions: samples and log-densities, too.
    sklearn.decomposition.PCA : The linear autoencoder, in closed form.

    References
    ----------
    P. Baldi and K. Hornik, "Neural networks and principal component analysis: learning
    from examples without local minima", Neural Networks 2 (1989), fact 4: the linear
    autoencoder.

    G. E. Hinton and R. R. Salakhutdinov, "Reducing the dimensionality of data with
    neural networks", Science 313 (2006): the deep one.

    P. Vincent, H. Larochelle, I. Lajoie, Y. Bengio and P.-A. Manzagol, "Stacked
    denoising autoencoders", JMLR 11 (2010), section 3.1: the denoising one.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skvae import AETransformer
    >>> X = load_iris().data
    >>> ae = AETransformer(n_components=2, random_state=0).fit(X)
    >>> ae.transform(X).shape
    (150, 2)
    >>> ae.inverse_transform(ae.transform(X)).shape
    (150, 4)
    >>> bool(ae.score(X) > -0.2)  # of 4, the squared error of guessing means
    True
    >>> hasattr(ae, "sample")
    False
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **{
            name: BaseVAE._parameter_constraints[name]
            for name in (
                "n_components",
                "hidden_layer_sizes",
                "activation",
                "network",
                "standardize",
                "init",
                "optimizer",
                "learning_rate",
                "batch_size",
                "max_iter",
                "early_stopping",
                "validation_fraction",
                "n_iter_no_change",
                "tol",
                "warm_start",
                "device",
                "random_state",
                "verbose",
            )
        },
        "noise": [Interval(Real, 0, None, closed="left")],
    }
    _parts_of_loss: ClassVar[dict[str, str]] = {"loss_curve_": "loss"}
    _words = "score", "squared deviations"

    # What a variational autoencoder leaves to its user. The divergence of a point is
    # nothing, so that the bound is the reconstruction alone, whatever its weight.
    posterior, likelihood = Point(), SquaredError()
    prior, objective, beta, kl_warmup, n_mc_samples = "auto", "elbo", 1.0, 0.0, 1
    handle_unknown = "error"

    def __init__(
        self,
        n_components: int | Literal["auto"] = "auto",
        *,
        noise: float = 0.0,
        hidden_layer_sizes: int | Sequence[int] = (64, 32),
        activation: str = "silu",
        network: str | Network | None = None,
        standardize: bool = True,
        init: Literal["pca", "random"] = "pca",
        optimizer: str | Optimizer = "adam",
        learning_rate: float = 5e-3,
        batch_size: int | Literal["auto"] = "auto",
        max_iter: int | Literal["auto"] = "auto",
        early_stopping: bool | Literal["auto"] = "auto",
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 12,
        tol: float = 1e-4,
        warm_start: bool = False,
        device: str | torch.device | None = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: bool | int = False,
    ) -> None:
        self.n_components = n_components
        self.noise = noise
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.network = network
        self.standardize = standardize
        self.init = init
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.warm_start = warm_start
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def __getattr__(self, name: str) -> Any:
        """Say why an autoencoder lacks what a variational autoencoder has."""
        if name in _OF_A_DISTRIBUTION:
            raise AttributeError(
                f"{type(self).__name__} has no {name!r}: an autoencoder maps a row to "
                "a code and back, without a distribution over codes or rows. So there "
                "is nothing to draw new rows from, and no density p(x) to score rows "
                "by. VAETransformer has both; how far rows are from their "
                "reconstructions is in reconstruction_error(X)."
            )
        return self.__getattribute__(name)  # raises what it has raised before

    @all_or_nothing
    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Table, y: object = None) -> Self:
        """Fit the networks to rows.

        Parameters
        ----------
        X : array-like, sparse matrix or data frame of shape (n_samples, n_features)
            Numbers; NaN, None and pandas.NA are holes. Nothing is changed.
        y : Ignored
            Present for scikit-learn's sake.

        Returns
        -------
        self : AETransformer
            Itself, fitted.

        Raises
        ------
        ValueError
            If X holds labels, dates or infinity, or if training diverges; the message
            names the column. The estimator is left as it was, as it is when the fit is
            interrupted.
        TypeError
            If a cell is neither a number nor a label; the message names the column.
        """
        self._fit(X, y)
        return self

    @all_or_nothing
    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Table, y: object = None) -> Self:
        """Go on training: one pass over X at a constant learning rate.

        The first call, on 2 rows or more, fixes the scaling and the start; nothing is
        held out. Moments of the optimiser are kept between calls.

        Parameters
        ----------
        X : array-like, sparse matrix or data frame of shape (n_samples, n_features)
            As in `fit`.
        y : Ignored
            Present for scikit-learn's sake.

        Returns
        -------
        self : AETransformer
            Itself, fitted.

        Raises
        ------
        ValueError
            As in `fit`, or if a parameter that shapes the model has changed.
        """
        self._partial_fit(X)
        return self

    def transform(self, X: Table) -> np.ndarray:
        """Codes of rows: what the encoder makes of them.

        Parameters
        ----------
        X : array-like, sparse matrix or data frame of shape (n_samples, n_features)
            Rows, with the columns of `fit`.

        Returns
        -------
        Z : ndarray of shape (n_samples, n_components)
            Of dtype float32 where X is, float64 otherwise.
        """
        X = self._check_rows(X)
        return self._fitted_model(X.dtype).codes(X)

    def inverse_transform(self, X: Table) -> Table:
        """Rows that the decoder makes of codes.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_components)
            Codes.

        Returns
        -------
        X_original : array or data frame of shape (n_samples, n_features)
            In the units of the data. A data frame with its columns where the estimator
            was fitted on one, with the index of the codes if they have one.

        Raises
        ------
        ValueError
            If the codes have another width than `n_components_`.
        """
        return self._decoded(X)

    def reconstruction_error(self, X: Table) -> np.ndarray:
        """Squared error of each row's reconstruction.

        Parameters
        ----------
        X : array-like, sparse matrix or data frame of shape (n_samples, n_features)
            Rows, with the columns of `fit`.

        Returns
        -------
        errors : ndarray of shape (n_samples,)
            Summed over the observed columns of the row, in standardised units, so that
            columns weigh alike; float64. In the training rows of a table without holes
            or constant columns, guessing the means would cost `n_features_in_` on
            average.
        """
        return self.reconstruction_error_by_feature(X).sum(axis=1)

    def reconstruction_error_by_feature(self, X: Table) -> np.ndarray:
        """Squared error of each cell's reconstruction.

        Parameters
        ----------
        X : array-like, sparse matrix or data frame of shape (n_samples, n_features)
            Rows, with the columns of `fit`.

        Returns
        -------
        errors : ndarray of shape (n_samples, n_features)
            In standardised units, float64; 0 for a hole. Rows sum to
            `reconstruction_error`.
        """
        X = self._check_rows(X)
        return self._fitted_model(X.dtype).errors_by_feature(X)

    def score(self, X: Table, y: object = None) -> float:
        """Minus the mean squared error of rows, for comparing models.

        Parameters
        ----------
        X : array-like, sparse matrix or data frame of shape (n_samples, n_features)
            Rows, with the columns of `fit`.
        y : Ignored
            Present for scikit-learn's sake.

        Returns
        -------
        score : float
            Minus the mean of `reconstruction_error`, in standardised units: 0 at best.
            Comparable between models whose columns are standardised alike, and no
            log-likelihood: a wider code always makes it better on the training rows.
        """
        return -float(self.reconstruction_error(X).mean())

    def _new_table(self, X: Matrix, rows: np.ndarray, layout: Layout) -> TableEncoder:
        for j, levels in layout["levels"].items():
            if levels:  # a column of holes has none
                label = frames.column_labels(layout, X.shape[1])[j]
                raise ValueError(
                    f"Column {label!r} holds {levels[0]!r}, but an autoencoder "
                    "rebuilds numbers, by their squared error. Encode the column "
                    "first, by sklearn.preprocessing.OneHotEncoder for example, or "
                    "use VAETransformer, which takes labels as they are."
                )
        return super()._new_table(X, rows, layout)

    def _summary(
        self, state: dict[str, Any], X: Matrix, apart: np.ndarray
    ) -> dict[str, Any]:
        return {"_state": state, "n_components_": state["geometry"]["n_components"]}

    @property
    def _input_noise(self) -> float:
        return self.noise

    @property
    def _n_features_out(self) -> int:
        return self.n_components_

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.categorical = False
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
