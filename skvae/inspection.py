"""What a fitted model's code holds, component by component: diagnostics."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from skvae import priors
from skvae.base import BaseVAE
from skvae.core import evaluation
from skvae.core.aggressive import mutual_information
from skvae.core.draws import shared_uniforms
from skvae.core.rows import gather, to_tensors
from skvae.fitted import FittedModel
from skvae.frames import Matrix, Table
from skvae.handover import from_one_fit
from skvae.inference import encoded_rows, model_and_rows

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Diagnostics", "diagnostics"]

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


@from_one_fit
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
    activity = activities(fitted, X)
    per_component = divergences(fitted, X, n_draws)
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


def divergences(fitted: FittedModel, X: Matrix, n_draws: int) -> np.ndarray:
    """Mean divergence of each component; NaN where there is that of all alone.

    Of one component it is estimated by draws where there is no closed form.
    """
    model, weights = fitted.model, fitted.weights
    prior = model.prior_of(weights)
    total = np.zeros(model.n_components)
    for _, (inputs, *_) in encoded_rows(fitted, X):
        part = evaluation.codes(model, weights, inputs).kl_divergence(prior)
        if part is None and model.n_components == 1:
            return np.array([-fitted.bound_by_feature(X, n_draws)[:, -1].mean()])
        if part is None or part.shape[1] != model.n_components:
            return np.full(model.n_components, np.nan)
        total += part.sum(0).numpy(force=True)
    return total / X.shape[0]


def activities(fitted: FittedModel, X: Matrix) -> np.ndarray:
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
