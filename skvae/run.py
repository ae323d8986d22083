"""One run of training on the user's rows: what `fit` and `partial_fit` share."""

import time

import numpy as np
import torch

from skvae import objectives, parameters
from skvae.core.optimizer import Adam
from skvae.core.ppca import probabilistic_pca
from skvae.core.rows import ShuffledRows, to_tensor
from skvae.core.training import HeldOut, train
from skvae.fitted import build_model
from skvae.settings import resolve, to_state
from skvae.table import TableEncoder

__all__ = ["History", "Run", "geometry", "start"]

#: The start is computed from at most so many rows, and entries, of X.
_START_ROWS, _START_ENTRIES = 10_000, 10_000_000
#: Standard deviations beyond which a held-out cell is read as that far out, so that no
#: single cell decides when to stop.
_FURTHEST_HELD_OUT = 10.0


def geometry(estimator, n_features):
    """What fixes the meaning of the weights, as plain data."""
    n_components, settings = parameters.settings(estimator, n_features)
    places = {
        place: to_state(settings[place], families)
        for place, families in parameters.PLACES.items()
    }
    return {"n_components": n_components, **places}


def start(estimator, X, rows, layout, seed):
    """State of a new model: its geometry, table and first weights.

    Parameters
    ----------
    estimator : BaseVAE
    X : ndarray of shape (n_samples, n_features)
        Validated.
    rows : ndarray of shape (n_rows,)
        Training rows.
    layout : dict
        From `frames.describe`.
    seed : int

    Returns
    -------
    state : dict
        "geometry", "table" and "weights", all plain data.
    """
    n_features = X.shape[1]
    n_components, settings = parameters.settings(estimator, n_features)
    likelihood = settings["likelihood"]
    table = TableEncoder.fit(X, rows, likelihood, estimator.standardize, layout)
    form = geometry(estimator, n_features)
    model = build_model(form, n_features)
    flat = torch.zeros(model.n_weights, dtype=torch.float32, device="cpu")
    generator = torch.Generator("cpu").manual_seed(seed)
    if estimator.init == "pca" and model.can_start_linear:
        n_rows = min(_START_ROWS, max(2, _START_ENTRIES // n_features))
        chosen = np.random.default_rng(seed).permutation(rows)[:n_rows]
        inputs, targets = table.encode(X[np.sort(chosen)], np.float64)
        target_mean = targets.mean(axis=0)
        factors = probabilistic_pca(
            inputs, n_components, likelihood.known_variance, likelihood.least_variance
        )
        model.start_linear(flat, generator, factors, target_mean)
    else:
        model.start_random(flat, generator)
    return {"geometry": form, "table": table.get_state(), "weights": flat.numpy()}


class Run:
    """Model, table and rows brought together; iterating it trains.

    Parameters
    ----------
    estimator : BaseVAE
    X : ndarray of shape (n_samples, n_features)
        Validated.
    rows, held_out_rows : ndarray of int
        Rows to train on, and rows to stop by; the latter may be none.
    state : dict
        Where to begin: from `start`, or of a fitted estimator. Not changed.
    plan : Plan
    seed : int or sequence of int
        Of the order of the rows and of the noise.
    """

    def __init__(self, estimator, X, rows, held_out_rows, state, plan, seed):
        self.X = X
        self.table = TableEncoder.from_state(state["table"])
        self._state = state
        device = parameters.training_device(estimator.device)
        rng = np.random.default_rng(seed)
        generator = torch.Generator(device).manual_seed(int(rng.integers(2**31)))
        model = build_model(state["geometry"], X.shape[1])
        self._flat = torch.tensor(state["weights"], device=device)
        self._adam = _adam(self._flat, state.get("optimizer"))
        encode = self.table.encode
        chunks = ShuffledRows(X, rows, encode, rng, plan.rows_per_step, device)
        held_out = None
        if len(held_out_rows):
            encoded = encode(X[held_out_rows], furthest=_FURTHEST_HELD_OUT)
            tensors = (to_tensor(part, device) for part in encoded)
            held_out = HeldOut(model, *tensors, generator)
        self.records = train(
            model,
            self._flat,
            chunks,
            plan,
            resolve(estimator.objective, objectives.FAMILIES),
            generator,
            held_out,
            self._adam,
        )

    def state(self):
        """State with the weights as they are now."""
        weights = self._flat.cpu().numpy().copy()
        return {
            "geometry": self._state["geometry"],
            "table": self._state["table"],
            "weights": weights,
        }

    def optimizer_state(self):
        """What `partial_fit` needs to go on from here."""
        moments = self._adam.moments.cpu().numpy().copy()
        return {
            "n_steps": self._adam.n_steps,
            "length": float(self._adam.length),
            "moments": moments,
        }

    def furthest_column(self):
        """The column furthest out of range, and how far, in standardised units."""
        furthest = 0.0
        with np.errstate(over="ignore"):
            for begin in range(0, len(self.X), _START_ROWS):
                block = self.X[begin : begin + _START_ROWS]
                inputs, _ = self.table.encode(block, np.float64)
                furthest = np.maximum(furthest, np.abs(inputs).max(axis=0))
        return int(furthest.argmax()), float(furthest.max())


def _adam(flat, state):
    if state is None:
        return Adam(len(flat), flat.device)
    moments = torch.tensor(state["moments"], device=flat.device)
    return Adam(len(flat), flat.device, moments, state["n_steps"], state["length"])


class History:
    """What training has shown so far; prints a line now and then."""

    _LINES = 10

    def __init__(self, name, plan, verbose):
        self.losses, self.scores, self.n_epochs = [], [], 0
        self._name, self._plan, self._verbose = name, plan, verbose
        self._began = time.perf_counter()
        self._next_line = 0.0

    def add(self, record):
        """Take note of a record."""
        if record.validation_score is not None:
            self.scores.append(record.validation_score)
        if record.epoch_ended:
            self.losses.append(record.loss)
            self.n_epochs = record.epoch
        if self._verbose and record.step >= self._next_line:
            self._next_line = record.step + self._plan.n_steps / self._LINES
            self._print(record)

    def _print(self, record):
        held_out = f", held-out bound {self.scores[-1]:.3f}" if self.scores else ""
        print(
            f"[{self._name}] epoch {record.epoch}/{self._plan.max_epochs}, step "
            f"{record.step}/{self._plan.n_steps}: loss {record.loss:.3f}{held_out} "
            f"nats a row, {time.perf_counter() - self._began:.1f} s",
            flush=True,
        )
