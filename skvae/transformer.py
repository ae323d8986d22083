"""VAETransformer: the variational autoencoder as a scikit-learn transformer."""

from collections.abc import Sequence
from numbers import Integral
from typing import Any, Literal, Self

import numpy as np
import torch
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import Tags, check_scalar
from sklearn.utils.validation import check_is_fitted
from torch.distributions import Distribution

from skvae import columns, frames
from skvae.base import BaseVAE, draw_seed
from skvae.compat import fit_context
from skvae.exceptions import warn_caller
from skvae.frames import Table
from skvae.handover import all_or_nothing, methods_from_one_fit
from skvae.likelihoods import Likelihood
from skvae.networks import Network
from skvae.objectives import Objective
from skvae.optimizers import Optimizer
from skvae.posteriors import Posterior
from skvae.priors import Prior

__all__ = ["VAETransformer"]

#: Effective sample size below which conditional draws come with a warning.
_LEAST_EFFECTIVE = 100


@methods_from_one_fit(
    "transform",
    "inverse_transform",
    "sample",
    "score_samples",
    "score",
    "score_features",
)
class VAETransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseVAE):
    """Variational autoencoder for tables of numbers, labels, counts and holes.

    A latent-variable model p(x) = integral of p(x|z) p(z) dz, whose likelihood
    p(x|z) is given by a decoder network, fitted together with an encoder network
    that approximates the posterior q(z|x). One fitted model gives codes
    (`transform`), reconstructions (`inverse_transform`), log-densities in the units
    of X (`score_samples`), new rows (`sample`), and what each column contributes
    (`score_features`).

    Each column has a likelihood of its own, chosen by its dtype or named. Holes (NaN,
    None, pandas.NA) are left out of the likelihood: the score of a row is the
    log-density of what was observed. The networks have a linear path beside the hidden
    layers and start at the probabilistic-PCA solution, so that the model starts where
    PCA ends. Numbers are standardised inside.

    Read more in the :doc:`user guide </user_guide/index>`.

    Parameters
    ----------
    n_components : int or "auto", default="auto"
        Width of the code z. "auto" is ``min(16, ceil(n_features / 2))``.
    hidden_layer_sizes : tuple of int, default=(64, 32)
        Widths of the encoder's hidden layers; the decoder mirrors them. ``()`` is the
        purely linear model.
    activation : str, default="silu"
        "elu", "gelu", "identity", "logistic", "relu", "silu", "softplus" or "tanh".
    network : str, settings object or None, default=None
        Overrides `hidden_layer_sizes` and `activation`: "linear", "residual", or an
        object of `skvae.networks` such as ``MLP((64, 32), linear_path=False)``,
        ``ConvNet((1, 28, 28))`` or ``Modules(encoder, decoder)``.
    likelihood : str, settings object, dict or list, default="auto"
        The likelihood p(x|z): "gaussian", "student_t", "laplace", "log_normal",
        "gamma", "beta", "continuous_bernoulli", "binned", "bernoulli", "ordinal",
        "poisson", "negative_binomial", "zero_inflated_negative_binomial",
        "categorical" or "identifier", or an object of `skvae.likelihoods` such as
        ``Gaussian("shared")``, for all columns; a dict by column; or a list of
        (likelihood, columns). "auto", also for columns that a dict or list leaves out:
        columns of a numeric array are Gaussian (Bernoulli where it is boolean); those
        of data frames and object arrays are judged one by one.
        Labels are categorical, ordinal where the dtype has an order, Bernoulli where
        they are two; numbers with two whole values are Bernoulli; whole numbers, and
        numbers of which one value fills a tenth of the cells, are binned from 1,000
        cells up; others are Gaussian.
    handle_unknown : {"error", "missing"}, default="error"
        What becomes, after fit, of values that are none of their column's levels.
        "missing" makes them holes.
    posterior : str or settings object, default="gaussian"
        The posterior q(z|x): "gaussian", normal with independent components;
        "full_gaussian", "laplace", "logistic", "student_t", "uniform", "gumbel" and
        "cauchy" for codes that are any numbers; "exponential", "rayleigh", "weibull",
        "pareto", "lognormal", "gamma" and "chi2" for positive ones; "beta", "dirichlet"
        (shares that sum to 1), or "categorical" (one of `n_components` classes); or an
        object of `skvae.posteriors`.
    prior : str, settings object or distribution, default="auto"
        The prior p(z). "auto" is what goes with the posterior: standard normal, or the
        standard member of its family, or equally likely classes. "mixture" learns
        normal clusters, "vamp" the posteriors of some pseudo-inputs. "aggregate" puts
        the mixture of the training rows' posteriors in the prior's place once training
        is over: samples come closer to the table, scores take longer, and draws start
        at training rows' codes. An object of `skvae.priors` or any
        ``torch.distributions.Distribution`` of the right width will do.
    objective : str or settings object, default="elbo"
        What training maximises: the evidence lower bound; "iwae", the
        importance-weighted bound with 20 draws, tighter and slower; or an object of
        `skvae.objectives`, such as ``FreeBits(0.1)`` or ``Aggressive()``.
    beta : float, default=1.0
        Weight of the KL divergence in training. Scores do not use it.
    kl_warmup : float, default=0.0
        Share of the planned steps over which that weight rises from 0.
    standardize : bool, default=True
        Whether columns are centred and scaled to unit variance inside. Columns with
        values in {0, 1} under a Bernoulli likelihood are centred for the encoder
        only.
    init : {"pca", "random"}, default="pca"
        Where training starts: at the probabilistic-PCA solution, or at random
        (always so for a network without a linear path).
    optimizer : str or settings object, default="adam"
        "adam", "sgd", "adagrad", or an object of `skvae.optimizers`.
    learning_rate : float, default=5e-3
        Step size of the optimiser. It rises over the first 50 steps and stays; the
        fitted model is the running average of the weights over about 200 steps, which
        does what a falling rate would do.
    batch_size : int or "auto", default="auto"
        Rows a step, at most. "auto" is 128 below 20,000 training rows, 256 below
        100,000 and 512 from there.
    max_iter : int or "auto", default="auto"
        Epochs, at most. "auto" makes about 3,000 steps, and at least 10 epochs; 10,000
        steps where columns are of several kinds and a step draws one code a row.
    early_stopping : bool or "auto", default="auto"
        Whether to hold rows out, look at their bound every 50 steps or so, stop when
        it no longer rises, and go back to the best weights. "auto" does so from 50
        rows up.
    validation_fraction : float, default=0.1
        Share of the rows held out for early stopping, 5,000 rows at most.
    n_iter_no_change : int, default=12
        Looks without an improvement by `tol` after which training stops.
    tol : float, default=1e-4
        In nats per row.
    n_mc_samples : int, default=1
        Codes drawn per row and training step.
    n_importance_samples : int, default=64
        Draws per row in `score_samples`: the more, the tighter the bound.
    warm_start : bool, default=False
        Whether `fit` goes on from the fitted weights and scaling, with a new
        schedule. The model must be the same.
    device : str, torch.device or None, default=None
        Where to compute, such as "cuda". None is the CPU. A model saved on one device
        is loaded on any.
    random_state : int, RandomState instance or None, default=None
        Seeds the held-out rows, the start, the order of rows and the training noise.
        Scores never depend on it.
    verbose : bool or int, default=False
        Whether to print about ten lines a fit.

    Attributes
    ----------
    n_components_ : int
        Width of the code.
    kl_per_component_ : ndarray of shape (n_components,) or (1,)
        Mean KL divergence of each component's posterior from the standard normal, or
        from the prior that goes with its family, over some 10,000 rows of X, in nats.
        Near 0: the component is not used. A single number where components depend on
        each other ("dirichlet", "categorical").
    loss_curve_ : list of float
        The objective, per epoch, in nats per row of the standardised columns.
    reconstruction_curve_ : list of float
        How likely training rows are given their codes: E[log p(x|z)] under q(z|x), per
        epoch, in nats per row of the standardised columns. Higher is better.
    kl_curve_ : list of float
        KL(q(z|x) || p(z)) of training rows, per epoch, in nats per row. Under
        objective="elbo" and beta = 1, once `kl_warmup` is over, the loss is this less
        the former.
    validation_scores_ : list of float
        The held-out bound at beta = 1, per look, in nats per row of the standardised
        columns, with cells beyond 10 standard deviations read as 10. Empty without
        early stopping.
    validation_epochs_ : list of float
        Where these looks were, in epochs from the start.
    n_iter_ : int
        Epochs begun.
    likelihood_ : list of dict
        "column", "family" and "levels" of each column: labels, numbers, or for bins
        their edges as pairs; None without levels.
    n_features_in_ : int
        Number of columns seen in fit.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the columns, where X had names that are all strings.

    See Also
    --------
    sklearn.decomposition.PCA : The linear model, in closed form.
    sklearn.decomposition.FactorAnalysis : The same with a noise for each column.
    sklearn.mixture.GaussianMixture : Density estimation by clusters.
    VAEImputer : The same model, made to fill holes.

    References
    ----------
    D. P. Kingma and M. Welling, "Auto-Encoding Variational Bayes", ICLR 2014.

    D. J. Rezende, S. Mohamed and D. Wierstra, "Stochastic Backpropagation and
    Approximate Inference in Deep Generative Models", ICML 2014.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skvae import VAETransformer
    >>> X = load_iris().data
    >>> vae = VAETransformer(n_components=2, random_state=0).fit(X)
    >>> vae.transform(X).shape
    (150, 2)
    >>> vae.inverse_transform(vae.transform(X)).shape
    (150, 4)
    >>> vae.score_samples(X).shape
    (150,)
    >>> vae.sample(5, random_state=0).shape
    (5, 4)
    """

    def __init__(
        self,
        n_components: int | Literal["auto"] = "auto",
        *,
        hidden_layer_sizes: int | Sequence[int] = (64, 32),
        activation: str = "silu",
        network: str | Network | None = None,
        likelihood: str | Likelihood | dict[Any, Any] | list[Any] = "auto",
        handle_unknown: Literal["error", "missing"] = "error",
        posterior: str | Posterior = "gaussian",
        prior: str | Prior | Distribution = "auto",
        objective: str | Objective = "elbo",
        beta: float = 1.0,
        kl_warmup: float = 0.0,
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
        n_mc_samples: int = 1,
        n_importance_samples: int = 64,
        warm_start: bool = False,
        device: str | torch.device | None = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: bool | int = False,
    ) -> None:
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
        """Fit the model to rows.

        Parameters
        ----------
        X : array-like, sparse matrix or data frame of shape (n_samples, n_features)
            Numbers and labels; NaN, None and pandas.NA are holes. A numeric array is
            never copied whole, a sparse matrix never made dense whole; nothing is
            changed.
        y : Ignored
            Present for scikit-learn's sake.

        Returns
        -------
        self : VAETransformer
            Itself, fitted.

        Raises
        ------
        ValueError
            If X holds dates, free text, infinity or values that the likelihood cannot
            have produced, or if training diverges; the message names the column. The
            estimator is left as it was, as it is when the fit is interrupted.
        TypeError
            If a cell is neither a number nor a label; the message names the column.

        Warns
        -----
        PosteriorCollapseWarning
            If no component of the code is in use, each with a divergence below 0.01
            nats in `kl_per_component_`, though the columns have variance in common.
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
        self : VAETransformer
            Itself, fitted.

        Raises
        ------
        ValueError
            As in `fit`, or if a parameter that shapes the model has changed.
        """
        self._partial_fit(X)
        return self

    def transform(self, X: Table) -> np.ndarray:
        """Codes of rows: the posterior means.

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
        """Rows that codes stand for: the decoder's means.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_components)
            Codes.

        Returns
        -------
        X_original : array or data frame of shape (n_samples, n_features)
            In the units of the data. A data frame with its columns where the
            estimator was fitted on one, with the index of the codes if they have one.
            Numbers are means, so that a column of 0 and 1 gives the probability of a
            1; labels are the likeliest.

        Raises
        ------
        ValueError
            If the codes have another width than `n_components_`, or lie where the
            posterior's family has no codes, such as below 0 under "gamma".
        """
        return self._decoded(X)

    def sample(
        self,
        n_samples: int = 1,
        *,
        given: dict[Any, Any] | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> Table:
        """New rows, drawn from the model, noise included.

        Parameters
        ----------
        n_samples : int, default=1
            Number of rows.
        given : dict or None, default=None
            Values of some columns, by label: the others are drawn from their
            distribution given these, by importance resampling of the code.
        random_state : int, RandomState instance or None, default=None
            Seed of the draws. None takes one from NumPy's global state.

        Returns
        -------
        X : array or data frame of shape (n_samples, n_features)
            With the columns, dtypes and levels that the estimator was fitted on, and
            without holes: columns of whole numbers are rounded, and stay within the
            range seen in fit. A column without an observed cell in fit is all holes.

        Raises
        ------
        ValueError
            If `n_samples` is below 1, or `given` names a column that there is not, or
            a value that its likelihood cannot produce.

        Warns
        -----
        UserWarning
            If the draws under `given` are worth fewer than 100 independent ones.
        """
        check_is_fitted(self)
        check_scalar(n_samples, "n_samples", Integral, min_val=1)
        fitted = self._fitted_model(np.float64)
        seed = draw_seed(random_state)
        if given is None:
            rows = fitted.draws(n_samples, seed)
        else:
            row = self._check_values(columns.partial_row(given, fitted.table))
            rows, effective = fitted.draws_given(n_samples, row, seed)
            if effective < _LEAST_EFFECTIVE:
                warn_caller(
                    f"The draws given {given!r} are worth only {effective:.0f} "
                    "independent ones: the model hardly ever produces such rows. Take "
                    "them with caution, or give fewer columns."
                )
        return frames.restore(rows, fitted.table.layout, dtypes=True)

    def score_samples(self, X: Table) -> np.ndarray:
        """Log-likelihood of each row.

        The importance-weighted estimate with `n_importance_samples` draws: a lower
        bound on log p(x) in expectation over draws. The draws are fixed and shared by
        all rows, so that a row's score depends on nothing but the row.

        Parameters
        ----------
        X : array-like, sparse matrix or data frame of shape (n_samples, n_features)
            Rows, with the columns of `fit`.

        Returns
        -------
        log_likelihood : ndarray of shape (n_samples,)
            The log-density log p(x) in nats, in the units of X, float64; of the
            observed cells where there are holes. Levels and counts have probabilities,
            numbers densities. Higher is more normal.
        """
        X = self._check_rows(X)
        return self._fitted_model(X.dtype).log_likelihood(X, self._n_draws())

    def score(self, X: Table, y: object = None) -> float:
        """Mean log-likelihood of rows, for comparing models on held-out rows.

        Parameters
        ----------
        X : array-like, sparse matrix or data frame of shape (n_samples, n_features)
            Rows, with the columns of `fit`.
        y : Ignored
            Present for scikit-learn's sake.

        Returns
        -------
        log_likelihood : float
            In nats per row, in the units of X.
        """
        return float(self.score_samples(X).mean())

    def score_features(self, X: Table) -> Table:
        """What each column, and the code, contribute to a row's log-likelihood.

        log p(x) = sum over j of E[log p(x_j|z)] - KL(p(z|x) || p(z)), with
        expectations under the importance-weighted posterior.

        Parameters
        ----------
        X : array-like, sparse matrix or data frame of shape (n_samples, n_features)
            Rows, with the columns of `fit`.

        Returns
        -------
        contributions : ndarray or data frame of shape (n_samples, n_features + 1)
            In nats, float64: a column a feature, 0 for a hole, then minus the cost of
            the code. Rows sum to `score_samples`. A data frame, its last column named
            "code", where `set_output` asks `transform` for one.
        """
        rows = self._check_rows(X)
        fitted = self._fitted_model(rows.dtype)
        contributions = fitted.log_likelihood_by_feature(rows, self._n_draws())
        return self._named(contributions, X, "code")

    @property
    def _n_features_out(self) -> int:
        return self.n_components_

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
