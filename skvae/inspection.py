"""What a fitted model's code holds, and what it costs: diagnostics and compression."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import ArrayLike

from skvae import frames, priors
from skvae.base import BaseVAE
from skvae.core import evaluation
from skvae.core.aggressive import mutual_information
from skvae.core.draws import shared_uniforms
from skvae.core.rows import gather, to_tensors
from skvae.fitted import FittedModel
from skvae.frames import Matrix, Table
from skvae.inference import encoded_rows, model_and_rows
from skvae.table import chunks
from skvae.threads import in_few_threads

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Compression",
    "Diagnostics",
    "compression",
    "diagnostics",
    "rate_distortion",
]

#: Variance of a component's posterior means over rows, as a share of the prior's, above
#: which it is active.
_ACTIVE = 0.01
#: Draws from a prior that tell its variance.
_PRIOR_DRAWS = 4_096
#: Rows by which the information is judged, and pairs of a draw and a row's posterior.
_INFORMATION_ROWS, _INFORMATION_PAIRS = 2_048, 2**24


@dataclass(frozen=True, eq=False, repr=False)
class Diagnostics:
    """What the code of a fitted model holds: see `diagnostics`.

    All but shares and activities is in nats, averaged over rows. Arrays have one entry
    for each component, the most informative first.

    Attributes
    ----------
    component : ndarray of int of shape (n_components,)
        Which column of `transform` it is.
    kl_per_component : ndarray of shape (n_components,)
        KL(q(z|x) || p(z)), in nats. NaN where it does not fall apart into components:
        under "dirichlet" and "categorical" posteriors and under priors that are learned
        or aggregated.
    share : ndarray of shape (n_components,)
        The same, as a share of the sum.
    activity : ndarray of shape (n_components,)
        Variance over rows of the posterior mean, as a share of the prior's variance: of
        what the decoder reads, which for positive codes is their logarithm. Under the
        standard normal prior it is the variance of a column of `transform`.
    active : ndarray of bool of shape (n_components,)
        Whether that is above 0.01.
    n_active : int
        Number of active components.
    log_likelihood : float
        The importance-weighted log p(x), in nats and in the units of X, as `score` has
        it.
    elbo : float
        Evidence lower bound, in nats: `reconstruction` less `kl`.
    reconstruction : float
        E[log p(x|z)] under q(z|x), in nats and in the units of X.
    kl : float
        KL(q(z|x) || p(z)) of all components together, in nats: `mutual_information` and
        `aggregate_kl`.
    mutual_information : float
        I(x; z) between a row of X and its code, in nats.
    information_limit : float
        What that estimate is at most, in nats: the logarithm of the number of rows it
        is of.
    aggregate_kl : float
        KL(q(z) || p(z)), in nats, where q(z) is the mean of the rows' posteriors.
    n_samples : int
        Number of rows.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skvae import VAETransformer, diagnostics
    >>> X = load_iris().data
    >>> vae = VAETransformer(2, max_iter=20, random_state=0).fit(X)
    >>> table = diagnostics(vae, X)
    >>> round(table.elbo - (table.reconstruction - table.kl), 6)
    0.0
    >>> table.to_frame().shape
    (2, 4)
    """

    component: np.ndarray
    kl_per_component: np.ndarray
    share: np.ndarray
    activity: np.ndarray
    active: np.ndarray
    log_likelihood: float
    elbo: float
    reconstruction: float
    kl: float
    mutual_information: float
    information_limit: float
    aggregate_kl: float
    n_samples: int

    @property
    def n_active(self) -> int:
        """Number of active components."""
        return int(self.active.sum())

    def to_frame(self) -> "pd.DataFrame":
        """The arrays as a pandas DataFrame, a row a component.

        Returns
        -------
        frame : pandas.DataFrame of shape (n_components, 4)
            `kl_per_component`, in nats, `share`, `activity` and `active`, by
            `component`.
        """
        import pandas as pd

        columns = ("kl_per_component", "share", "activity", "active")
        index = pd.Index(self.component, name="component")
        return pd.DataFrame(
            {name: getattr(self, name) for name in columns}, index=index
        )

    def __repr__(self) -> str:
        lines = [
            f"Diagnostics, mean of {self.n_samples} rows, in nats",
            f"{'component':>9} {'KL':>10} {'share':>8} {'activity':>10}  active",
        ]
        for values in zip(
            self.component,
            self.kl_per_component,
            self.share,
            self.activity,
            self.active,
            strict=True,
        ):
            component, kl, share, activity, active = values
            lines.append(
                f"{component:>9} {kl:>10.3f} {share:>8.1%} {activity:>10.3f}  "
                f"{'yes' if active else 'no'}"
            )
        at_most = f"I(x; z), at most {self.information_limit:.2f}"
        totals = (
            ("log p(x)", self.log_likelihood),
            ("ELBO", self.elbo),
            ("  reconstruction", self.reconstruction),
            ("  less KL(q(z|x) || p(z))", self.kl),
            (f"    {at_most}", self.mutual_information),
            ("    KL(q(z) || p(z))", self.aggregate_kl),
        )
        lines += [f"{name:<32} {value:>10.3f}" for name, value in totals]
        lines.append(f"active components: {self.n_active} of {len(self.component)}")
        return "\n".join(lines)


@in_few_threads
def diagnostics(estimator: BaseVAE, X: Table) -> Diagnostics:
    """What the code of a fitted model holds, component by component and in all.

    ELBO = E[log p(x|z)] - KL(q(z|x) || p(z)), and the second term is I(x; z) +
    KL(q(z) || p(z)): what a code tells of its row, and how far the codes of all rows
    together are from the prior. Expectations are by `n_importance_samples` draws a row,
    divergences in closed form where there is one.

    Parameters
    ----------
    estimator : VAETransformer or VAEImputer
        Fitted.
    X : array-like, sparse matrix or data frame of shape (n_samples, n_features)
        Rows, as the estimator's `transform` takes them.

    Returns
    -------
    table : Diagnostics
        Printed, it is a table. Components are in the order of their divergences, or of
        their activities where there are no divergences of single ones.

    Raises
    ------
    TypeError
        If the estimator is an ensemble, or its codes are points.

    Notes
    -----
    The estimate of I(x; z) takes q(z) as the mean posterior of the rows given, 2,048
    of them at most. It cannot exceed the logarithm of their number, whatever the code:
    near this limit it says that the rows' posteriors do not overlap, and no more.

    The bound has its divergence in closed form, log p(x) has none: where the encoder is
    nearly exact, the first may come out above the second by the error of the draws.

    References
    ----------
    M. D. Hoffman and M. J. Johnson, "ELBO surgery", 2016, section 2, for the split.
    Y. Burda, R. Grosse and R. Salakhutdinov, "Importance Weighted Autoencoders", ICLR
    2016, section 5.2, for active components.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skvae import VAETransformer, diagnostics
    >>> X = load_iris().data
    >>> vae = VAETransformer(2, max_iter=20, random_state=0).fit(X)
    >>> table = diagnostics(vae, X)
    >>> print(table)
    Diagnostics, mean of 150 rows, in nats
    component         KL    share   activity  active
    ...
    active components: ... of 2
    >>> bool(table.log_likelihood == vae.score(X))
    True
    """
    fitted, X = model_and_rows(estimator, X)
    n_draws = estimator._n_draws()
    bounds = fitted.bound_by_feature(X, n_draws)
    reconstruction = float(bounds[:, :-1].sum(axis=1).mean())
    kl = -float(bounds[:, -1].mean())
    activity = _activity(fitted, X)
    per_component = _kl_per_component(fitted, X, kl)
    split = not np.isnan(per_component).any()
    order = np.argsort(-(per_component if split else activity), kind="stable")
    information, limit = _information(fitted, X)
    total = per_component.sum()
    return Diagnostics(
        component=order,
        kl_per_component=per_component[order],
        share=(per_component / total if total else per_component)[order],
        activity=activity[order],
        active=activity[order] > _ACTIVE,
        log_likelihood=float(fitted.log_likelihood(X, n_draws).mean()),
        elbo=reconstruction - kl,
        reconstruction=reconstruction,
        kl=kl,
        mutual_information=information,
        information_limit=limit,
        aggregate_kl=kl - information,
        n_samples=X.shape[0],
    )


def _kl_per_component(fitted: FittedModel, X: Matrix, kl: float) -> np.ndarray:
    """Mean divergence of each component; NaN where there is that of all alone."""
    model, weights = fitted.model, fitted.weights
    if model.n_components == 1:
        return np.array([kl])
    prior = model.prior_of(weights)
    total = np.zeros(model.n_components)
    for _, (inputs, *_) in encoded_rows(fitted, X):
        part = evaluation.codes(model, weights, inputs).kl_divergence(prior)
        if part is None or part.shape[1] != model.n_components:
            return np.full(model.n_components, np.nan)
        total += part.sum(0).numpy(force=True)
    return total / X.shape[0]


def _activity(fitted: FittedModel, X: Matrix) -> np.ndarray:
    """Variance of the posterior means over rows, in units of the prior's."""
    posterior = fitted.model.posterior
    read = posterior.features(torch.from_numpy(fitted.codes(X))).var(0, correction=0)
    standard = priors.FAMILIES[posterior.prior]().beside(posterior)
    if isinstance(standard, priors.Gaussian):
        return read.numpy()
    generator = torch.Generator("cpu").manual_seed(0)
    drawn = standard.sample(_PRIOR_DRAWS, fitted.model.n_components, generator)
    spread = posterior.features(drawn).var(0).mean()
    return (read / spread).numpy()


def _information(fitted: FittedModel, X: Matrix) -> tuple[float, float]:
    """I(x; z) by some rows of X, spread over all of it, and the most it can be."""
    model = fitted.model
    n_rows = min(X.shape[0], _INFORMATION_ROWS)
    places = np.linspace(0, X.shape[0] - 1, n_rows).round().astype(int)
    encoded = fitted.table.encode(gather(X, places), fitted.dtype)
    inputs, *_ = to_tensors(encoded, fitted.device)
    if model.posterior.is_discrete:
        noise = evaluation.shared_noise(model, 1, inputs)
    else:
        # Draws of its own for each row: their errors average out.
        n_draws = min(64, max(1, _INFORMATION_PAIRS // n_rows**2))
        n_noise = model.posterior.n_noise(model.n_components)
        uniforms = shared_uniforms(n_draws * n_rows, n_noise)
        noise = model.posterior.carry(uniforms).to(inputs)
        noise = noise.view(n_draws, n_rows, n_noise)
    information = mutual_information(model, fitted.weights, inputs, noise)
    return information, math.log(n_rows)


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


@in_few_threads
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

    References
    ----------
    T. M. Cover and J. A. Thomas, "Elements of Information Theory" (2006), theorem
    10.3.3.

    Examples
    --------
    >>> from skvae.inspection import rate_distortion
    >>> round(rate_distortion([4.0, 4.0, 0.5], 2.5), 3)  # the level is 1: log 4
    1.386
    """
    variances = np.sort(variances)
    if distortion >= variances.sum():
        return 0.0
    below = np.concatenate([[0.0], variances[:-1].cumsum()])
    # The level, if the first 0, 1, ... variances lie below it.
    levels = (distortion - below) / np.arange(len(variances), 0, -1)
    level = levels[np.argmax(levels <= variances)]
    return float(0.5 * np.log(variances[variances > level] / level).sum())
