"""p-values by rank among rows that no training has seen."""

import numpy as np

__all__ = ["conformal_p_values"]

#: Scores nearer than this, relatively, are ties: rows beside one another change them in
#: the last bits.
_TIE = 1e-9


def conformal_p_values(
    scores: np.ndarray, calibration_scores: np.ndarray
) -> np.ndarray:
    """Share of calibration rows that score no higher, the row counted among them.

    Parameters
    ----------
    scores : ndarray of shape (n_samples,)
        Higher is more normal.
    calibration_scores : ndarray of shape (n_calibration_rows,)
        In ascending order.

    Returns
    -------
    p_values : ndarray of shape (n_samples,)

    References
    ----------
    V. Vovk, A. Gammerman and G. Shafer, "Algorithmic Learning in a Random World"
    (2005), section 4.1. S. Bates et al., "Testing for outliers with conformal
    p-values", Annals of Statistics 51 (2023).

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.conformal import conformal_p_values
    >>> conformal_p_values(np.array([-5.0, 0.5, 9.0]), np.array([-1.0, 0.0, 1.0]))
    array([0.25, 0.75, 1.  ])
    """
    scores = scores + _TIE * np.maximum(1.0, np.abs(scores))
    n_as_low = np.searchsorted(calibration_scores, scores, side="right")
    return (n_as_low + 1) / (len(calibration_scores) + 1)
