"""Whether training has ended with a code that says nothing, where it need not have."""

import math
from typing import TYPE_CHECKING

import numpy as np
import torch

from skvae.core.reader import Reader
from skvae.core.rows import gather
from skvae.exceptions import PosteriorCollapseWarning, warn_caller
from skvae.fitted import FittedModel
from skvae.frames import Matrix

if TYPE_CHECKING:
    from skvae.base import BaseVAE

__all__ = ["warn_of_collapse"]

#: Mean KL divergence of a component, in nats, below which it is not in use.
_LEAST_KL = 0.01
#: Rows that tell whether the columns have anything in common, how often they are
#: shuffled, and how many times what chance gives their common variance must be.
_ROWS, _SHUFFLINGS, _MARGIN = 500, 3, 1.5


def warn_of_collapse(estimator: "BaseVAE", X: Matrix, rows: np.ndarray) -> None:
    """Warn if a fitted model has no component in use, though the columns ask for one.

    Parameters
    ----------
    estimator : BaseVAE
        Fitted. An ensemble is passed over, and so are codes without a divergence.
    X : ndarray or sparse matrix of shape (n_samples, n_features)
        Validated.
    rows : ndarray of int
        Training rows.

    References
    ----------
    J. Lucas et al., "Don't Blame the ELBO! A Linear VAE Perspective on Posterior
    Collapse", NeurIPS 2019. J. L. Horn, "A rationale and test for the number of factors
    in factor analysis", Psychometrika 30 (1965).
    """
    kl = vars(estimator).get("kl_per_component_")
    if kl is None or kl.ndim > 1 or kl.max() >= _LEAST_KL:
        return
    if not _calls_for_a_code(
        FittedModel(estimator._state, np.float64), X, rows, estimator.beta
    ):
        return
    remedies = ["objective=FreeBits() or Aggressive() of skvae.objectives"]
    if not estimator.kl_warmup:
        remedies.append("kl_warmup=0.3")
    remedies.append(f"beta below {min(1.0, estimator.beta):g}")
    if estimator.init != "pca":
        remedies.append('init="pca", with a network that has a linear path')
    if not estimator.standardize:
        remedies.append("standardize=True")
    warn_caller(
        "No component of the code is active: none has a KL divergence of "
        f"{_LEAST_KL} nats, so that codes say nothing of rows. Unless the columns are "
        f"independent of each other, try {'; '.join(remedies)}.",
        PosteriorCollapseWarning,
    )


def _calls_for_a_code(
    fitted: FittedModel, X: Matrix, rows: np.ndarray, beta: float
) -> bool:
    """Whether a linear model, its code unused, would clearly gain by using it.

    With its code unused each standardised column is noise of unit variance, and the
    bound then rises with a component along a direction whose variance is above beta.
    How much of such a variance is chance, the same columns tell when each is shuffled
    by itself: Horn's parallel analysis.
    """
    some = rows[:: math.ceil(len(rows) / _ROWS)]
    inputs = fitted.table.encode(gather(X, some), np.float64)[0]
    reader, rng = fitted.model.reader, np.random.default_rng(0)
    by_chance = max(
        _largest_variance(reader, rng.permuted(inputs, axis=0))
        for _ in range(_SHUFFLINGS)
    )
    return _largest_variance(reader, inputs) > _MARGIN * beta * by_chance


def _largest_variance(reader: Reader, inputs: np.ndarray) -> float:
    """Of what is read of rows, standardised, along any direction; 0 of constants."""
    read = reader.first(torch.from_numpy(inputs)).numpy()
    spread = read.std(axis=0)
    # That of a constant may be rounding, that of numbers all but 0 may be 0.
    varies = (np.ptp(read, axis=0) > 0) & (spread > 0)
    if not varies.any():
        return 0.0
    read, spread = read[:, varies], spread[varies]
    standardized = (read - read.mean(axis=0)) / spread
    return float(np.linalg.norm(standardized, 2) ** 2 / len(standardized))
