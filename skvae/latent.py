"""Walks among codes: from one to another, and along a component."""

from numbers import Integral
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_array, check_scalar
from sklearn.utils.validation import check_is_fitted

from skvae.frames import Table

if TYPE_CHECKING:
    from skvae.base import BaseVAE

__all__ = ["SUMS_TO_ONE", "interpolate", "traverse", "traversed_codes"]

#: The supports of posteriors whose codes sum to 1: their components are shares.
SUMS_TO_ONE = ("simplex", "classes")
#: Sine of the angle between codes, below which an arc is a straight line.
_LEAST_SINE = 1e-8


def interpolate(
    a: ArrayLike, b: ArrayLike, n: int, *, spherical: bool = False
) -> np.ndarray:
    """Codes on the way from one code to another, both ends included.

    Rows come from `inverse_transform` of them. On the straight line codes stay where
    codes can be, whatever the posterior: shares go on summing to 1, and positive codes
    are positive. Under a normal prior of many components nearly all codes lie at about
    the same distance from 0, and the middle of a straight line much nearer; the arc
    stays at that distance.

    Parameters
    ----------
    a, b : array-like of shape (n_components,)
        The ends, such as two rows of `transform`.
    n : int
        Number of codes, 2 or more.
    spherical : bool, default=False
        Whether the way is the arc around 0 instead of the straight line. Meant for the
        prior that is standard normal. Codes in one direction have a line for an arc.

    Returns
    -------
    Z : ndarray of shape (n, n_components)
        From `a`, the first, to `b`, the last.

    Raises
    ------
    ValueError
        If the ends have not one width, `n` is below 2, or the ends of an arc are in
        opposite directions, where there is no shortest one.

    References
    ----------
    T. White, "Sampling Generative Networks", 2016.

    Examples
    --------
    >>> from skvae import interpolate
    >>> interpolate([0, 2], [1, 0], 3)
    array([[0. , 2. ],
           [0.5, 1. ],
           [1. , 0. ]])
    >>> interpolate([0, 1], [1, 0], 3, spherical=True).round(3)
    array([[0.   , 1.   ],
           [0.707, 0.707],
           [1.   , 0.   ]])
    """
    a, b = _code(a, "a"), _code(b, "b")
    if len(a) != len(b):
        raise ValueError(f"a has {len(a)} components, and b has {len(b)}.")
    check_scalar(n, "n", Integral, min_val=2)
    shares = np.linspace(0, 1, n)[:, None]
    if spherical:
        from_a, from_b = _arc(a, b, shares)
        return from_a * a + from_b * b
    return (1 - shares) * a + shares * b


def _arc(
    a: np.ndarray, b: np.ndarray, shares: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """What each end counts, at shares of the angle between them."""
    lengths = np.linalg.norm(a) * np.linalg.norm(b)
    cosine = np.clip(a @ b / lengths, -1, 1) if lengths else 1.0
    angle = np.arccos(cosine)
    sine = np.sin(angle)
    if sine > _LEAST_SINE:
        return np.sin((1 - shares) * angle) / sine, np.sin(shares * angle) / sine
    if cosine < 0:
        raise ValueError(
            "a and b are in opposite directions: every arc between them is as short. "
            "Set spherical=False."
        )
    return 1 - shares, shares


def traverse(
    estimator: "BaseVAE", z: ArrayLike, component: int, values: ArrayLike
) -> Table:
    """Rows that a code stands for as one of its components takes other values.

    Parameters
    ----------
    estimator : VAETransformer
        Fitted, or any other estimator with `n_components_` and `inverse_transform`.
    z : array-like of shape (n_components,)
        The code to start from, such as a row of `transform`, or zeros.
    component : int
        Which of its components is to move, counted from 0. `diagnostics` lists the
        most informative first.
    values : array-like of shape (n_values,)
        What it is to be. Under a normal prior most codes lie between -2 and 2.

    Returns
    -------
    X : array or data frame of shape (n_values, n_features)
        The decoder's means, as `inverse_transform` gives them. Where codes are shares
        that sum to 1, the other components keep their proportions.

    Raises
    ------
    ValueError
        If there is no such component, or a code cannot be what it would become, such
        as negative under "gamma".

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from skvae import VAETransformer, traverse
    >>> X = load_iris().data
    >>> vae = VAETransformer(2, max_iter=20, random_state=0).fit(X)
    >>> traverse(vae, np.zeros(2), 0, np.linspace(-2, 2, 5)).shape
    (5, 4)
    """
    check_is_fitted(estimator)
    z = _code(z, "z")
    numbers: np.ndarray = check_array(
        values, ensure_2d=False, dtype=np.float64, input_name="values"
    )
    if numbers.ndim != 1:
        raise ValueError(f"values must be one number a row, got shape {numbers.shape}.")
    check_scalar(component, "component", Integral, min_val=0, max_val=len(z) - 1)
    support = "real"
    if hasattr(estimator, "_fitted_model"):
        support = estimator._fitted_model(np.float64).model.posterior.support
    return estimator.inverse_transform(traversed_codes(z, component, numbers, support))


def traversed_codes(
    z: np.ndarray, component: int, values: np.ndarray, support: str = "real"
) -> np.ndarray:
    """Codes on a walk along one component, which `traverse` decodes.

    Parameters
    ----------
    z : ndarray of shape (n_components,)
        The code to start from.
    component : int
        Which of its components is to move, counted from 0.
    values : ndarray of shape (n_values,)
        What it is to be.
    support : str, default="real"
        Where codes lie: see `skvae.posteriors.Posterior`. Where they sum to 1, the
        other components keep their proportions, and elsewhere their values.

    Returns
    -------
    Z : ndarray of shape (n_values, n_components)
        The codes. Whether they lie in the support is not checked.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.latent import traversed_codes
    >>> z, values = np.array([0.2, 0.6, 0.2]), np.array([0.0, 0.6])
    >>> traversed_codes(z, 0, values)
    array([[0. , 0.6, 0.2],
           [0.6, 0.6, 0.2]])
    >>> traversed_codes(z, 0, values, "simplex").round(2)
    array([[0.  , 0.75, 0.25],
           [0.6 , 0.3 , 0.1 ]])
    """
    Z = np.tile(z, (len(values), 1))
    if support in SUMS_TO_ONE:
        Z = np.outer(1 - values, _proportions(z, component))
    Z[:, component] = values
    return Z


def _proportions(z: np.ndarray, component: int) -> np.ndarray:
    """Shares of the other components in what they sum to, equal where that is 0."""
    others = np.arange(len(z)) != component
    shares = z * others if (z * others).any() else others.astype(np.float64)
    return shares / (shares.sum() or 1.0)


def _code(z: ArrayLike, name: str) -> np.ndarray:
    """One code, as an array of floats."""
    code: np.ndarray = check_array(
        z, ensure_2d=False, dtype=np.float64, input_name=name
    )
    if code.ndim != 1:
        raise ValueError(f"{name} must be one code, got shape {code.shape}.")
    return code
