"""What lines of decoded rows are drawn of: numbers, and probabilities of labels."""

from typing import TYPE_CHECKING

import numpy as np
from sklearn.preprocessing import StandardScaler

from skvae.frames import Matrix

if TYPE_CHECKING:
    from skvae.fitted import FittedModel

__all__ = ["DecodedColumns"]


class DecodedColumns:
    """The columns of a decoder: numbers first, and then labels one by one.

    Labels that tell rows apart, as names do, are left out.

    Parameters
    ----------
    fitted : FittedModel

    Attributes
    ----------
    names : list
        What columns are called, labels as "column = label".
    """

    def __init__(self, fitted: "FittedModel") -> None:
        self._fitted = fitted
        described = fitted.table.describe()
        levels = fitted.table.layout["levels"]
        self._numbers = [j for j in range(len(described)) if j not in levels]
        #: Columns of labels, and the place of a level; of two the second tells all.
        self._levels = [
            (j, k)
            for j in levels
            if described[j]["family"] != "identifier"
            for k in range(int(len(levels[j]) == 2), len(levels[j]))
        ]
        self.names = [described[j]["column"] for j in self._numbers]
        self.names += [
            f"{described[j]['column']} = {levels[j][k]}" for j, k in self._levels
        ]

    def decoded(self, Z: np.ndarray) -> np.ndarray:
        """Means of numbers, probabilities of levels, (n_codes, n_features)."""
        means = self._fitted.means(Z)
        if not self._levels:
            return means
        return np.hstack([means[:, self._numbers], self._probabilities(Z, means)])

    def _probabilities(self, Z: np.ndarray, means: np.ndarray) -> np.ndarray:
        """Of levels, (n_codes, n_levels)."""
        import torch

        from skvae.core.rows import to_tensor, to_tensors

        fitted, cells = self._fitted, means.copy()
        with torch.no_grad():
            columns = fitted.model.decode(fitted.weights, to_tensor(Z, fitted.device))
        probabilities = np.empty((len(Z), len(self._levels)))
        for place, (j, k) in enumerate(self._levels):
            cells[:, j] = k
            encoded = fitted.table.encode(cells, fitted.dtype)
            _, targets, _ = to_tensors(encoded, fitted.device)
            found = columns.log_prob(targets).exp().numpy(force=True)
            probabilities[:, place] = fitted.table.by_column(found)[:, j]
        return probabilities

    def deviations(self, X: Matrix) -> np.ndarray:
        """Standard deviations over rows, of a level those of its indicator.

        NaN of columns that are constant, which have no unit.

        Raises
        ------
        ValueError
            If all are.
        """
        from skvae.table import chunks

        scaler = StandardScaler()
        with np.errstate(invalid="ignore", divide="ignore"):
            for values in chunks(X, np.arange(X.shape[0])):
                indicators = [
                    np.where(np.isnan(values[:, j]), np.nan, values[:, j] == k)
                    for j, k in self._levels
                ]
                scaler.partial_fit(
                    np.column_stack([values[:, self._numbers], *indicators])
                )
        is_constant = ~np.isclose(scaler.scale_**2, scaler.var_, atol=0)
        if is_constant.all():
            raise ValueError(
                "No column of X varies, so that there are no standard deviations to "
                "draw changes in. Give more rows, such as those of fit."
            )
        return np.where(is_constant, np.nan, scaler.scale_)
