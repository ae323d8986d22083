"""An ensemble of fitted models, and what it says of rows under each named score."""

import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import torch
from sklearn.utils import gen_batches

from skvae.core.rows import gather
from skvae.fitted import FittedModel, member_states
from skvae.frames import Matrix
from skvae.histograms import log_densities

__all__ = ["SCORES", "Ensemble"]

_ROWS_AT_ONCE, _ENTRIES_AT_ONCE = 16_384, 1_000_000
#: Weight in the robust score of the columns by themselves, beside the members. On 21
#: contaminated tables, two seeds, average precision was 43.3 % without them and 44.6 %
#: at a fifth; it falls from a third on.
SHARE_OF_COLUMNS = 0.2
#: Rows that tell what is typical of a column.
_TYPICAL_ROWS = 1_000

#: What one model says of rows, given the number of draws.
Score: TypeAlias = Callable[[FittedModel, Matrix, int], np.ndarray]


def _bound(
    fitted: FittedModel, X: Matrix, n_draws: int, with_code: bool = True
) -> np.ndarray:
    return fitted.bound_by_feature(X, n_draws, with_code).sum(axis=1)


def _error(fitted: FittedModel, X: Matrix, n_draws: int) -> np.ndarray:
    return -fitted.errors_by_feature(X).sum(axis=1)


#: By name, what one model gives a row.
SCORES: dict[str, Score] = {
    "log_likelihood": FittedModel.log_likelihood,
    "elbo": _bound,
    "robust": _bound,
    "reconstruction_probability": partial(_bound, with_code=False),
    "reconstruction_error": _error,
}


class Ensemble:
    """Fitted members, whose scores are averaged.

    The mean of their log-densities is a lower bound on the log-density of their
    mixture.

    Parameters
    ----------
    state : dict
        "geometry", "table", "weights" of shape (n_members, n_weights), maybe "prior",
        and "histograms" if it is the robust score that is asked for, as plain data.
    dtype : {np.float64, np.float32}
    device : str, torch.device or None
    n_draws : int
        Codes drawn per row and member.
    """

    def __init__(
        self,
        state: dict[str, Any],
        dtype: type[np.floating],
        device: str | torch.device | None,
        n_draws: int,
    ) -> None:
        self._state = state
        self._dtype = dtype
        self._device = device
        self._n_draws = n_draws

    def score(self, X: Matrix, name: str) -> np.ndarray:
        """One number a row, float64; higher is more normal.

        Parameters
        ----------
        X : ndarray or sparse matrix of shape (n_samples, n_features)
        name : str
            A key of `SCORES`.
        """
        members = self._members(self._state, robust=name == "robust")
        scores = self._mean(SCORES[name], members, X)
        if name != "robust":
            return scores
        return scores + SHARE_OF_COLUMNS * (self._independent(X) - scores)

    def _independent(self, X: Matrix) -> np.ndarray:
        """Log-density of rows under the histograms of the columns."""
        blocks = [
            log_densities(gather(X, batch), self._state["histograms"]).sum(axis=1)
            for batch in gen_batches(X.shape[0], _rows_at_once(X))
        ]
        return np.concatenate(blocks)

    def errors(self, X: Matrix) -> np.ndarray:
        """Minus the reconstruction error of each cell, (n_samples, n_features)."""
        members = self._members(self._state)
        return -np.mean([fitted.errors_by_feature(X) for fitted in members], axis=0)

    def conditionals(self, X: Matrix) -> np.ndarray:
        """log p of each cell given the others of its row, (n_samples, n_features).

        In nats, in the units of X; NaN for a hole. The prior is the one of training,
        which covers the codes of rows unlike those of training too.
        """
        members = self._members(self._state_in_training)
        return self._mean(FittedModel.conditionals, members, X)

    def typical(self, X: Matrix, rows: np.ndarray) -> np.ndarray:
        """Median of log p of each cell given the code, (n_features,); 0 without cells.

        Over at most 1,000 of some rows.
        """
        rows = gather(X, rows[:: math.ceil(len(rows) / _TYPICAL_ROWS)])
        members = self._members(self._state_in_training)
        given_code = self._mean(FittedModel.log_likelihood_by_feature, members, rows)
        cells = np.ma.masked_array(given_code[:, :-1], np.isnan(rows))
        return np.ma.median(cells, axis=0).filled(0.0)

    @property
    def _state_in_training(self) -> dict[str, Any]:
        return {name: part for name, part in self._state.items() if name != "prior"}

    def _mean(
        self, function: Score, members: Iterable[FittedModel], X: Matrix
    ) -> np.ndarray:
        return np.mean([function(fitted, X, self._n_draws) for fitted in members], 0)

    def _members(
        self, state: dict[str, Any], robust: bool = False
    ) -> list[FittedModel]:
        return [
            FittedModel(member, self._dtype, self._device, robust=robust)
            for member in member_states(state)
        ]


def _rows_at_once(X: Matrix) -> int:
    return max(1, min(_ROWS_AT_ONCE, _ENTRIES_AT_ONCE // X.shape[1]))
