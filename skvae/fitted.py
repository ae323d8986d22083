"""A fitted model, rebuilt from plain data for each call: arrays in, arrays out.

The estimator's state holds NumPy arrays and settings only. Inference is in float64
where X is, so that a row scores alike whatever stands beside it.
"""

import numpy as np
import torch
from sklearn.utils import gen_batches

from skvae.core import evaluation
from skvae.core.model import Model
from skvae.core.rows import to_tensor
from skvae.parameters import PLACES, training_device
from skvae.settings import from_state
from skvae.table import TableEncoder

__all__ = ["FittedModel", "build_model"]

_ROWS_AT_ONCE = 4_096
#: Rows from which the divergence per component is averaged.
_SUMMARY_ROWS = 10_000


def build_model(geometry, n_features):
    """The functions of a model, from the plain data that fixes them."""
    return Model(
        n_features,
        n_features,
        geometry["n_components"],
        **{
            place: from_state(geometry[place], families)
            for place, families in PLACES.items()
        },
    )


class FittedModel:
    """Model, weights and table, ready to answer in one precision.

    Parameters
    ----------
    state : dict
        "geometry", "table" and "weights", as plain data.
    dtype : {np.float64, np.float32}
        Precision of the arithmetic and of the answers.
    device : str, torch.device or None
        The CPU where the device is not to be had, or has no such precision.
    """

    def __init__(self, state, dtype, device=None):
        self.table = TableEncoder.from_state(state["table"])
        self.model = build_model(state["geometry"], len(self.table.scale))
        self.dtype = np.dtype(dtype)
        self.device = _inference_device(device)
        flat = to_tensor(state["weights"].astype(self.dtype), self.device)
        self.weights = self.model.views(flat)

    def codes(self, X):
        """Posterior means, (n_samples, n_components)."""
        blocks = [
            self._posterior(X[batch]).mean.numpy(force=True)
            for batch in self._batches(X)
        ]
        return np.concatenate(blocks)

    def means(self, Z):
        """Decoder means in the units of X, (n_samples, n_features)."""
        blocks = [
            self._decode(to_tensor(Z[batch].copy(), self.device)).mean.numpy(force=True)
            for batch in self._batches(Z)
        ]
        return self.table.decode(np.concatenate(blocks))

    def draws(self, n_samples, seed):
        """Rows drawn from the likelihood at codes drawn from the prior."""
        generator = torch.Generator(self.device).manual_seed(seed)
        Z = self.model.prior.sample(n_samples, self.model.n_components, generator)
        blocks = [
            self._decode(Z[batch]).sample(generator).numpy(force=True)
            for batch in self._batches(Z)
        ]
        return self.table.decode(np.concatenate(blocks))

    def log_likelihood(self, X, n_draws):
        """log p(x) in nats and the units of X, (n_samples,), float64."""
        blocks = [self._score(X[b], n_draws).log_likelihood for b in self._batches(X)]
        total = torch.cat(blocks).numpy(force=True).astype(np.float64)
        return total + self.table.log_jacobian.sum()

    def log_likelihood_by_feature(self, X, n_draws):
        """log p(x) split over features and the code: (n_samples, n_features + 1).

        The last column is minus the divergence of the code's posterior from its prior.
        """
        blocks = [self._score(X[b], n_draws, True) for b in self._batches(X)]
        total = torch.cat([b.log_likelihood for b in blocks]).double()
        features = torch.cat([b.features for b in blocks]).double()
        code = total - features.sum(1)
        features = features.numpy(force=True) + self.table.log_jacobian
        return np.column_stack([features, code.numpy(force=True)])

    def kl_per_component(self, X):
        """Mean divergence of the posterior from the prior, (n_components,), in nats."""
        rows = X[:: max(1, len(X) // _SUMMARY_ROWS)]
        return (
            self._posterior(rows)
            .kl_divergence(self.model.prior)
            .mean(0)
            .numpy(force=True)
        )

    def _score(self, X, n_draws, by_feature=False):
        inputs, targets = self._tensors(X)
        return evaluation.score(
            self.model, self.weights, inputs, targets, n_draws, by_feature
        )

    def _posterior(self, X):
        return evaluation.codes(self.model, self.weights, self._tensors(X)[0])

    def _decode(self, Z):
        with torch.no_grad():
            return self.model.decode(self.weights, Z)

    def _tensors(self, X):
        inputs, targets = self.table.encode(X, self.dtype)
        tensor = to_tensor(inputs, self.device)
        if targets is inputs:
            return tensor, tensor
        return tensor, to_tensor(targets, self.device)

    @staticmethod
    def _batches(X):
        return gen_batches(len(X), _ROWS_AT_ONCE)


def _inference_device(device):
    try:
        device = training_device(device)
    except ValueError:
        return torch.device("cpu")
    # Apple's device has no float64.
    return torch.device("cpu") if device.type == "mps" else device
