"""Posteriors as ellipses: of which rows, their covariances and their outlines."""

from typing import TYPE_CHECKING

import numpy as np

from skvae.display.components import has_positive_codes
from skvae.display.rows import evenly_spaced
from skvae.frames import Matrix

if TYPE_CHECKING:
    from skvae.fitted import FittedModel

__all__ = ["outline", "posteriors_of_rows"]

#: Ellipses, if nobody says how many: at most, of so many rows each, at least.
_MOST, _ROWS_EACH, _LEAST = 25, 10, 3
#: Share of the box around the codes that all ellipses together may cover then.
_COVERED = 0.1
#: Draws behind the covariance of a posterior without a closed form.
_DRAWS = 4_096
#: Corners of an outline, the last of which is the first.
_CORNERS = 73


def posteriors_of_rows(
    fitted: "FittedModel",
    X: Matrix,
    codes: np.ndarray,
    components: np.ndarray,
    n_ellipses: int | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Rows, evenly spaced, and the covariances of their posteriors.

    Parameters
    ----------
    fitted : FittedModel
    X : ndarray or sparse matrix of shape (n_samples, n_features)
        Validated.
    codes : ndarray of shape (n_samples, n_drawn)
        The components that are drawn, of each row's code.
    components : ndarray of shape (n_drawn,)
        Which these are.
    n_ellipses : int or None
        How many rows, at most. None goes by how much of the picture they would cover.

    Returns
    -------
    rows : ndarray of shape (n_ellipses,)
        Positions; none where posteriors have no covariance.
    covariances : ndarray of shape (n_ellipses, n_drawn, n_drawn)
        Of the logarithms of positive codes.
    """
    n_most = n_ellipses
    if n_most is None:
        n_most = int(np.clip(len(codes) // _ROWS_EACH, _LEAST, _MOST))
    rows = evenly_spaced(len(codes), n_most)
    covariances = _covariances(fitted, X, rows, components)
    if n_ellipses is None:
        flat = np.log(codes) if has_positive_codes(fitted) else codes
        kept = evenly_spaced(len(covariances), _n_apart(covariances, flat))
        rows, covariances = rows[kept], covariances[kept]
    return rows[: len(covariances)], covariances


def _n_apart(covariances: np.ndarray, codes: np.ndarray) -> int:
    """How many ellipses cover no more than their share; bars cover nothing."""
    n_ellipses, n_drawn = covariances.shape[:2]
    if n_drawn == 1 or n_ellipses <= _LEAST:
        return n_ellipses
    area = np.pi * np.sqrt(np.linalg.det(covariances).clip(0)).mean()
    box = np.ptp(codes, axis=0).prod()
    covered = area * np.arange(1, n_ellipses + 1)
    return max(_LEAST, int(np.count_nonzero(covered <= _COVERED * box)))


def _covariances(
    fitted: "FittedModel", X: Matrix, rows: np.ndarray, components: np.ndarray
) -> np.ndarray:
    """Covariances of the posteriors of some rows, or of none where there are none.

    Of the logarithms of positive codes.
    """
    from skvae import posteriors
    from skvae.core import evaluation
    from skvae.core.rows import gather, to_tensors
    from skvae.posteriors.gaussian import FullGaussianCodes, GaussianCodes

    model = fitted.model
    without = isinstance(model.posterior, posteriors.Point | posteriors.Cauchy)
    if without or model.posterior.is_discrete or not len(rows):
        return np.empty((0, len(components), len(components)))
    encoded = fitted.table.encode(gather(X, rows), fitted.dtype)
    inputs, *_ = to_tensors(encoded, fitted.device)
    code = evaluation.codes(model, fitted.weights, inputs)
    if isinstance(code, GaussianCodes):
        covariances = (2 * code.log_scale).exp().diag_embed()
    elif isinstance(code, FullGaussianCodes):
        covariances = code.factor @ code.factor.mT
    else:
        drawn = code.rsample(evaluation.shared_noise(model, _DRAWS, inputs))
        drawn = drawn.log() if has_positive_codes(fitted) else drawn
        centered = drawn - drawn.mean(0)
        covariances = centered.movedim(0, -1) @ centered.movedim(0, 1) / _DRAWS
    return covariances.numpy(force=True)[:, components][:, :, components]


def outline(code: np.ndarray, covariance: np.ndarray, log_scale: bool) -> np.ndarray:
    """Points one standard deviation from a code: on an ellipse, or the ends of a bar.

    Parameters
    ----------
    code : ndarray of shape (2,)
        Where it is drawn.
    covariance : ndarray of shape (2, 2) or (1, 1)
        Of the posterior, in the components that are drawn.
    log_scale : bool
        Whether it is of the logarithms of codes.

    Returns
    -------
    points : ndarray of shape (n_points, 2)
    """
    variances, axes = np.linalg.eigh(covariance)
    lengths = np.sqrt(variances.clip(0))
    if len(axes) == 1:
        steps = lengths * np.array([[-1, 0], [1, 0]])
    else:
        angles = np.linspace(0, 2 * np.pi, _CORNERS)
        steps = np.column_stack([np.cos(angles), np.sin(angles)]) @ (axes * lengths).T
    return code * np.exp(steps) if log_scale else code + steps
