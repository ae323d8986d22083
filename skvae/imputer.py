"""VAEImputer: holes filled by a variational autoencoder."""

from collections.abc import Sequence
from numbers import Integral
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import OneToOneFeatureMixin, TransformerMixin
from sklearn.utils import Tags, check_scalar
from sklearn.utils.validation import check_is_fitted
from torch.distributions import Distribution

from skvae import columns, frames
from skvae.base import BaseVAE, draw_seed
from skvae.compat import Interval, fit_context, output_is_set
from skvae.frames import Table
from skvae.handover import all_or_nothing, methods_from_one_fit
from skvae.likelihoods import Likelihood
from skvae.networks import Network
from skvae.objectives import Objective
from skvae.optimizers import Optimizer
from skvae.posteriors import Posterior
from skvae.priors import Prior
from skvae.table import TableEncoder

__all__ = ["VAEImputer"]


@methods_from_one_fit("transform", "get_feature_names_out")
class VAEImputer(OneToOneFeatureMixin, TransformerMixin, BaseVAE):
    """Imputation of missing values by a variational autoencoder.

    The model is trained on the observed cells by the importance-weighted bound (MIWAE).
    A hole is filled with its mean given the observed cells of its row, or its likeliest
    level, by self-normalised importance sampling; or it is drawn, so that several
    completed tables carry the uncertainty along. Tables may mix numbers, categories and
    counts. Observed cells stay as they are, to the bit, and columns keep their dtypes.

    Read more in the :doc:`user guide </user_guide/missing_values>`.

    Parameters
    ----------
    n_imputations : int, default=1
        Number of completed tables that `transform` returns. More than one needs
        `sample_posterior`.
    sample_posterior : bool, default=False
        Whether holes are drawn from their distribution given the observed cells, and
        not filled with its mean or mode.
    add_indicator : bool, default=False
        Whether to append a column for each column with holes in fit: whether the cell
        was one.
    n_components : int or "auto", default="auto"
        Width of the code z: see `VAETransformer`, as for all parameters below.
    hidden_layer_sizes : tuple of int, default=(128, 128)
        Widths of the encoder's hidden layers; the decoder mirrors them.
    activation : str, default="silu"
        Activation of the hidden layers.
    network : str, settings object or None, default=None
        Overrides `hidden_layer_sizes` and `activation`.
    likelihood : str, settings object, dict or list, default="auto"
        The likelihood p(x|z) of all columns, or of each. "auto" decides by dtype;
        numbers are always Gaussian, whose mean is what fills a hole with the least
        squared error.
    handle_unknown : {"error", "missing"}, default="error"
        What becomes of labels that fit had not seen: "missing" makes them holes, which
        are then filled.
    posterior : str or settings object, default="gaussian"
        The posterior q(z|x).
    prior : str, settings object or distribution, default="auto"
        The prior p(z): what goes with the posterior.
    objective : str or settings object, default="iwae"
        What training maximises: the importance-weighted bound with 20 draws.
    beta : float, default=1.0
        Weight of the divergence in training.
    kl_warmup : float, default=0.0
        Share of the planned steps over which that weight rises from 0.
    standardize : bool, default=True
        Whether numbers are centred and scaled inside.
    init : {"pca", "random"}, default="pca"
        Where training starts.
    optimizer : str or settings object, default="adam"
        "adam", "sgd", "adagrad", or an object of `skvae.optimizers`.
    learning_rate : float, default=2e-3
        Step size of the optimiser.
    batch_size : int or "auto", default=64
        Rows a step, at most.
    max_iter : int or "auto", default="auto"
        Epochs, at most.
    early_stopping : bool or "auto", default="auto"
        Whether to hold rows out and stop by them.
    validation_fraction : float, default=0.1
        Share of the rows held out.
    n_iter_no_change : int, default=12
        Looks without an improvement after which training stops.
    tol : float, default=1e-4
        In nats per row.
    n_mc_samples : int, default=1
        Codes drawn per row and step under other objectives than "iwae".
    n_importance_samples : int, default=512
        Codes drawn per row in `transform`.
    warm_start : bool, default=False
        Whether `fit` goes on from the fitted weights.
    device : str, torch.device or None, default=None
        Where to compute. None is the CPU.
    random_state : int, RandomState instance or None, default=None
        Seeds training, and the draws of `sample_posterior`.
    verbose : bool or int, default=False
        Whether to print about ten lines a fit.

    Attributes
    ----------
    n_components_ : int
        Width of the code.
    kl_per_component_ : ndarray of shape (n_components,)
        Mean KL divergence of each component, in nats.
    loss_curve_ : list of float
        The objective, per epoch, in nats per row.
    reconstruction_curve_ : list of float
        E[log p(x|z)] of training rows under q(z|x), per epoch, in nats per row.
    kl_curve_ : list of float
        KL(q(z|x) || p(z)) of training rows, per epoch, in nats per row.
    validation_scores_ : list of float
        The held-out bound, per look, in nats per row.
    validation_epochs_ : list of float
        Where these looks were, in epochs from the start.
    n_iter_ : int
        Epochs begun.
    likelihood_ : list of dict
        "column", "family" and "levels" of each column.
    n_features_in_ : int
        Number of columns seen in fit.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the columns, where X had names that are all strings.

    See Also
    --------
    sklearn.impute.IterativeImputer : A regression for each column.
    sklearn.impute.KNNImputer : Means over the nearest rows.

    References
    ----------
    P.-A. Mattei and J. Frellsen, "MIWAE: Deep generative modelling and imputation of
    incomplete data sets", ICML 2019.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from skvae import VAEImputer
    >>> X = load_iris().data.copy()
    >>> X[::3, 2] = np.nan
    >>> filled = VAEImputer(random_state=0).fit_transform(X)
    >>> bool(np.isnan(filled).any())
    False
    >>> bool(np.abs(filled[::3, 2] - load_iris().data[::3, 2]).mean() < 0.4)
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseVAE._parameter_constraints,
        "n_imputations": [Interval(Integral, 1, None, closed="left")],
        "sample_posterior": ["boolean"],
        "add_indicator": ["boolean"],
    }
    _numbers = columns.Numbers(binned=False)
    _accept_sparse: ClassVar[str | Literal[False]] = False

    def __init__(
        self,
        n_imputations: int = 1,
        *,
        sample_posterior: bool = False,
        add_indicator: bool = False,
        n_components: int | Literal["auto"] = "auto",
        hidden_layer_sizes: int | Sequence[int] = (128, 128),
        activation: str = "silu",
        network: str | Network | None = None,
        likelihood: str | Likelihood | dict[Any, Any] | list[Any] = "auto",
        handle_unknown: Literal["error", "missing"] = "error",
        posterior: str | Posterior = "gaussian",
        prior: str | Prior | Distribution = "auto",
        objective: str | Objective = "iwae",
        beta: float = 1.0,
        kl_warmup: float = 0.0,
        standardize: bool = True,
        init: Literal["pca", "random"] = "pca",
        optimizer: str | Optimizer = "adam",
        learning_rate: float = 2e-3,
        batch_size: int | Literal["auto"] = 64,
        max_iter: int | Literal["auto"] = "auto",
        early_stopping: bool | Literal["auto"] = "auto",
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 12,
        tol: float = 1e-4,
        n_mc_samples: int = 1,
        n_importance_samples: int = 512,
        warm_start: bool = False,
        device: str | torch.device | None = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: bool | int = False,
    ) -> None:
        self.n_imputations = n_imputations
        self.sample_posterior = sample_posterior
        self.add_indicator = add_indicator
        self.n_components = n_components
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.network = network
        self.likelihood = likelihood
        self.handle_unknown = handle_unknown
        self.posterior = posterior
        self.prior = prior
        self.objective = objective
        self.beta = beta
        self.kl_warmup = kl_warmup
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
        self.n_mc_samples = n_mc_samples
        self.n_importance_samples = n_importance_samples
        self.warm_start = warm_start
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    @all_or_nothing
    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Table, y: object = None) -> Self:
        """Fit the model to the observed cells.

        Parameters
        ----------
        X : array-like or data frame of shape (n_samples, n_features)
            Holes are NaN, None or pandas.NA. Never changed.
        y : Ignored
            Present for scikit-learn's sake.

        Returns
        -------
        self : VAEImputer
            Itself, fitted.

        Raises
        ------
        ValueError
            As `VAETransformer.fit`; or if several imputations are asked for without
            `sample_posterior`, which would all be the same.
        """
        if self.n_imputations > 1 and not self.sample_posterior:
            raise ValueError(
                f"n_imputations={self.n_imputations} tables would all be the same: set "
                "sample_posterior=True to have the holes drawn."
            )
        self._fit(X, y)
        return self

    def transform(self, X: Table) -> Table:
        """Fill the holes.

        Parameters
        ----------
        X : array-like or data frame of shape (n_samples, n_features)
            Rows, with the columns of `fit`. Never changed.

        Returns
        -------
        X_filled : ndarray or data frame of shape (n_samples, n_features_out)
            A copy of X with its holes filled; a list of `n_imputations` of them where
            that is above 1. A column that had no observed cell in fit keeps its holes.
            One that has none in X keeps its dtype if that can hold what fit saw there,
            and has the dtype of the fit otherwise.

        Raises
        ------
        ValueError
            If several imputations are asked for, and `set_output` wants one container.
        """
        check_is_fitted(self)
        if self.n_imputations > 1 and output_is_set(self):
            raise ValueError(
                f"n_imputations={self.n_imputations} tables come as a list, which "
                'set_output cannot turn into one. Use set_output(transform="default"): '
                "a data frame comes back as one."
            )
        numbers = self._check_rows(X)
        if not hasattr(X, "columns"):
            labelled = self._state["table"]["layout"]["levels"]
            X = np.asarray(X, dtype=object) if labelled else numbers
        seeds = np.random.default_rng(draw_seed(self.random_state))
        tables = [
            self._completed(X, numbers, int(seeds.integers(2**31)))
            for _ in range(self.n_imputations)
        ]
        return tables if self.n_imputations > 1 else tables[0]

    def _completed(self, X: Table, numbers: np.ndarray, seed: int) -> Table:
        """One completed table."""
        n_draws = check_scalar(
            self.n_importance_samples, "n_importance_samples", Integral, min_val=1
        )
        holes = np.isnan(numbers)
        rows = np.flatnonzero(holes.any(axis=1))
        values = np.zeros(numbers.shape)
        if len(rows):
            fitted = self._fitted_model(np.float64)
            if self.sample_posterior:
                values[rows] = fitted.redrawn(numbers[rows], n_draws, seed)
            else:
                values[rows] = fitted.expected(numbers[rows], n_draws)
        layout = self._state["table"]["layout"]
        filled = frames.fill(X, holes, values, layout)
        if not self.add_indicator:
            return filled
        marked = self._marked()
        names = self._indicator_names()
        return frames.append(filled, names, holes[:, marked])

    def _marked(self) -> np.ndarray:
        """Numbers of the columns with holes in fit."""
        return TableEncoder.from_state(self._state["table"]).columns_with_gaps()

    def _indicator_names(self, names: Sequence[str] | None = None) -> list[str]:
        if names is None:
            layout = self._state["table"]["layout"]
            names = frames.column_labels(layout, self.n_features_in_)
        return [f"missingindicator_{names[j]}" for j in self._marked()]

    def get_feature_names_out(
        self, input_features: ArrayLike | None = None
    ) -> np.ndarray:
        """Names of the columns of `transform`.

        Parameters
        ----------
        input_features : array-like of str of shape (n_features,) or None, default=None
            Names of the columns of X; by default those seen in fit, or "x0", "x1", ...

        Returns
        -------
        names : ndarray of str of shape (n_features_out,)
            Those of the columns, then ``"missingindicator_..."`` ones if
            `add_indicator`.
        """
        names = super().get_feature_names_out(input_features)
        if not self.add_indicator:
            return names
        return np.concatenate([names, np.array(self._indicator_names(names), object)])

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
