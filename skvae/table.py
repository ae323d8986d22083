"""The user's columns to inputs and targets, and back.

The encoder network reads *inputs*: standardised numbers, centred zeros and ones. The
likelihood describes *targets*: each column in the units that its likelihood has. Both
are affine in X, column by column; the logarithms of the targets' scales turn densities
of targets into densities of X.
"""

import numpy as np
from sklearn.preprocessing import StandardScaler
from sklearn.utils import gen_batches

from skvae import frames

__all__ = ["TableEncoder"]

#: Standardised values further out than this are read as this far out: sums of their
#: squares, over any floor, then stay finite in either precision.
_FURTHEST = {"float32": 1e12, "float64": 1e140}
_ROWS_AT_ONCE = 16_384


class TableEncoder:
    """Columns of X <-> inputs and targets of the model.

    Parameters
    ----------
    offset, scale : ndarray of shape (n_features,)
        Inputs are ``(X - offset) / scale``.
    standardized : bool
        Whether the targets are the inputs; otherwise they are X itself.
    layout : dict
        The kind of table that was given, from `frames.describe`.
    """

    def __init__(self, offset, scale, standardized, layout):
        self.offset = offset
        self.scale = scale
        self.standardized = standardized
        self.layout = layout

    @classmethod
    def fit(cls, X, rows, likelihood, standardize, layout):
        """Learn offsets and scales from some rows of a validated array.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features)
        rows : ndarray of shape (n_rows,)
            The training rows.
        likelihood : Likelihood
        standardize : bool
        layout : dict

        Raises
        ------
        ValueError
            If a column's variance is beyond float64; the message names the column.
        """
        n_features = X.shape[1]
        if likelihood.standardized and not standardize:
            return cls(np.zeros(n_features), np.ones(n_features), True, layout)
        scaler = StandardScaler()
        with np.errstate(over="ignore", invalid="ignore"):
            for batch in gen_batches(len(rows), _ROWS_AT_ONCE):
                scaler.partial_fit(X[rows[batch]].astype(np.float64))
        wild = ~np.isfinite(scaler.var_)
        if wild.any():
            label = frames.column_labels(layout, n_features)[int(wild.argmax())]
            raise ValueError(
                f"Column {label!r} holds values too large for its variance to be a "
                "float64: divide it by a constant first."
            )
        if likelihood.standardized:
            return cls(scaler.mean_, scaler.scale_, True, layout)
        return cls(scaler.mean_, np.ones(n_features), False, layout)

    def encode(self, X, dtype=np.float32, furthest=None):
        """Inputs and targets of rows, both of shape (n_samples, n_features).

        The arithmetic is in float64; the answer is cast last. Where the targets are
        the inputs, they are the same array. Standardised values beyond `furthest`
        are read as that far out.
        """
        X = X.astype(np.float64)
        if self.standardized:
            X -= self.offset
            X /= self.scale
            furthest = furthest or _FURTHEST[np.dtype(dtype).name]
            np.clip(X, -furthest, furthest, out=X)
            inputs = X.astype(dtype, copy=False)
            return inputs, inputs
        return (X - self.offset).astype(dtype), X.astype(dtype, copy=False)

    def decode(self, targets):
        """Targets back in the units of X, as an array in the same precision."""
        if not self.standardized:
            return targets
        X = targets.astype(np.float64) * self.scale + self.offset
        return X.astype(targets.dtype)

    @property
    def log_jacobian(self):
        """What each column adds to a log-density of targets, of shape (n_features,)."""
        if not self.standardized:
            return np.zeros(len(self.scale))
        return -np.log(self.scale)

    def get_state(self):
        """Plain data from which `from_state` makes the encoder again."""
        return dict(vars(self))

    @classmethod
    def from_state(cls, state):
        """Inverse of `get_state`."""
        return cls(**state)
