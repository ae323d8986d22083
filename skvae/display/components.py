"""The components of a code: how informative each is, and what that makes of its name.

Displays of codes choose the most informative components, and name all by their numbers
and what they are worth.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from skvae.display.style import check_has
from skvae.frames import Matrix
from skvae.settings import from_state

if TYPE_CHECKING:
    from skvae.base import BaseVAE
    from skvae.fitted import FittedModel
    from skvae.posteriors import Posterior
    from skvae.priors import Prior

__all__ = [
    "component_numbers",
    "has_normal_prior",
    "has_positive_codes",
    "kept_from_fit",
    "measured",
    "one_model",
    "priors_of_fit",
]

#: Names of components, by their numbers and what they are worth.
_BARE, _IN_NATS = "component {}", "component {} ({:.2f} nats)"
_BY_ACTIVITY = "component {} (activity {:.2f})"
#: Rows that tell what an autoencoder's components do for its reconstructions.
_ROWS = 2_000


def one_model(estimator: "BaseVAE") -> "FittedModel":
    """The one model of a fitted estimator, in float64.

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.
    TypeError
        If it is none of skvae's, or an ensemble.
    """
    check_has(estimator, ["_fitted_model"], "is none of skvae's estimators")
    check_is_fitted(estimator)
    if estimator._state["weights"].ndim > 1:
        raise TypeError(
            f"{type(estimator).__name__} is an ensemble of models, each with codes of "
            "its own: give a VAETransformer."
        )
    return estimator._fitted_model(np.float64)


def has_normal_prior(fitted: "FittedModel") -> bool:
    """Whether codes have a prior, and it is standard normal."""
    from skvae import posteriors, priors

    is_point = isinstance(fitted.model.posterior, posteriors.Point)
    return isinstance(fitted.model.prior, priors.Gaussian) and not is_point


def has_positive_codes(fitted: "FittedModel") -> bool:
    """Whether the decoder reads the logarithms of codes."""
    from skvae.posteriors.base import Positive

    return isinstance(fitted.model.posterior, Positive)


def component_numbers(components: ArrayLike, n_components: int) -> np.ndarray:
    """The components that are asked for, checked, as an array of whole numbers.

    Raises
    ------
    TypeError
        If they are not whole numbers.
    ValueError
        If there are none, or one twice, or codes have no such component.
    """
    numbers = np.atleast_1d(np.asarray(components))
    if numbers.ndim != 1 or not len(numbers) or len({*numbers}) < len(numbers):
        raise ValueError(
            "components must be an int or a sequence of different ones, got "
            f"{components!r}."
        )
    if numbers.dtype.kind not in "iu":
        raise TypeError(f"components must be whole numbers, got {components!r}.")
    outside = numbers[(numbers < 0) | (numbers >= n_components)]
    if len(outside):
        raise ValueError(
            f"components holds {outside[0]}, but codes have {n_components}, counted "
            f"from 0 to {n_components - 1}."
        )
    return numbers


def measured(
    estimator: "BaseVAE", X: Matrix
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Codes of rows, and what each component tells of them.

    Parameters
    ----------
    estimator : VAETransformer, VAEImputer or AETransformer
        Fitted.
    X : ndarray or sparse matrix of shape (n_samples, n_features)
        Validated.

    Returns
    -------
    codes : ndarray of shape (n_samples, n_components)
        Posterior means.
    worth : ndarray of shape (n_components,)
        Divergences in nats, or activities where there are none of single components;
        of points, what reconstructions lose without each.
    names : list of str
        What components are called: by number, with nats or activity.
    """
    from skvae.inspection import activities, divergences
    from skvae.posteriors import Point
    from skvae.threads import limited

    fitted = one_model(estimator)
    codes = fitted.codes(X)
    if isinstance(fitted.model.posterior, Point):
        worth = _lost(fitted, codes)
        return codes, worth, _named(worth, _BARE)
    with limited(estimator.network):
        worth = divergences(fitted, X, estimator._n_draws())
        if not np.isnan(worth).any():
            return codes, worth, _named(worth, _IN_NATS)
        worth = activities(fitted, X)
    return codes, worth, _named(worth, _BY_ACTIVITY)


def _lost(fitted: "FittedModel", codes: np.ndarray) -> np.ndarray:
    """What reconstructions change if a component is set to its mean over rows.

    Squared, in units of the variances of the reconstructions, averaged over columns.
    """
    some = codes[:: -(-len(codes) // _ROWS)]
    whole = fitted.means(some)
    variances = whole.var(axis=0)
    variances[variances == 0] = 1.0
    lost = np.empty(codes.shape[1])
    for component in range(len(lost)):
        without = some.copy()
        without[:, component] = some[:, component].mean()
        lost[component] = ((fitted.means(without) - whole) ** 2 / variances).mean()
    return lost


def kept_from_fit(estimator: "BaseVAE") -> tuple[np.ndarray, list[str]]:
    """What `measured` says of components, as far as the fit has kept it.

    Returns
    -------
    worth : ndarray of shape (n_components,)
        `kl_per_component_`, or zeros where it is of all components together.
    names : list of str
        With nats where these are divergences from the prior.
    """
    kl = estimator.kl_per_component_
    if len(kl) != estimator.n_components_:
        kl = np.zeros(estimator.n_components_)
        return kl, _named(kl, _BARE)
    _, prior, standard = priors_of_fit(estimator)
    return kl, _named(kl, _IN_NATS if prior == standard else _BARE)


def priors_of_fit(estimator: "BaseVAE") -> tuple["Posterior", "Prior", "Prior"]:
    """What tells whether `kl_per_component_` is of divergences from the prior.

    Returns
    -------
    posterior : Posterior
        The family of the codes.
    prior : Prior
        What the estimator was trained with.
    standard : Prior
        What goes with the family, which `kl_per_component_` always is from.
    """
    from skvae import posteriors, priors  # they bring torch along

    geometry = estimator._state["geometry"]
    posterior = from_state(geometry["posterior"], posteriors.FAMILIES)
    standard = priors.FAMILIES[posterior.prior]()
    prior = from_state(geometry["prior"], priors.FAMILIES).in_training
    return posterior, prior or standard, standard


def _named(worth: Iterable[float], name: str) -> list[str]:
    return [name.format(j, part) for j, part in enumerate(worth)]
