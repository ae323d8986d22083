"""One run of training on the user's rows: what `fit` and `partial_fit` share."""

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from skvae import networks, objectives, optimizers, parameters, priors
from skvae.core.clusters import class_means
from skvae.core.course import Course, Together
from skvae.core.ppca import probabilistic_pca
from skvae.core.rows import DeviceRows, EncodedRows, ShuffledRows, gather, to_tensors
from skvae.core.training import HeldOut, Plan, Record, train
from skvae.fitted import FittedModel, build_model, member_states
from skvae.frames import Matrix
from skvae.likelihoods import Blocks, Likelihood
from skvae.settings import from_state, resolve, to_state
from skvae.table import TableEncoder, chunks

if TYPE_CHECKING:
    from skvae.base import BaseVAE

__all__ = ["History", "Run", "furthest_column", "geometry", "start"]

#: The start is computed from at most so many rows, and entries, of X.
_START_ROWS, _START_ENTRIES = 10_000, 2_500_000
#: Standard deviations beyond which a held-out cell is read as that far out, so that no
#: single cell decides when to stop.
_FURTHEST_HELD_OUT = 10.0
#: Of a cell on a device: an input, a target and whether it is observed, in float32.
_BYTES_PER_CELL = 12
#: Standard deviation below which an indicator, such as that of a rare level, is not
#: weighed up any further for the start: a share of four in a hundred.
_LEAST_SPREAD = 0.2


def geometry(estimator: "BaseVAE", n_features: int) -> dict[str, Any]:
    """What fixes the meaning of the weights, but for the columns: as plain data."""
    n_components, settings = parameters.settings(estimator, n_features)
    places = {
        place: to_state(settings[place], families)
        for place, families in parameters.PLACES.items()
    }
    return {"n_components": n_components, **places}


def start(
    estimator: "BaseVAE", table: TableEncoder, X: Matrix, rows: np.ndarray, seed: int
) -> dict[str, Any]:
    """State of a new model: its geometry, table and first weights.

    Parameters
    ----------
    estimator : BaseVAE
    table : TableEncoder
        Fitted.
    X : ndarray or sparse matrix of shape (n_samples, n_features)
        Validated.
    rows : ndarray of shape (n_rows,)
        Training rows.
    seed : int

    Returns
    -------
    state : dict
        "geometry", "table" and "weights", all plain data.
    """
    form = geometry(estimator, X.shape[1])
    if isinstance(form["network"], networks.ConvNet) and not table.in_order:
        raise ValueError(
            f"network={form['network']!r} reads columns as pixels in their order, but "
            "columns with likelihoods of their own are put together: give all of them "
            "one likelihood."
        )
    model = build_model(form, table)
    members = () if estimator._n_members is None else (estimator._n_members,)
    flat = torch.zeros((*members, model.n_weights), dtype=torch.float32, device="cpu")
    generator = torch.Generator("cpu").manual_seed(seed)
    n_inputs = model.likelihood.n_inputs(X.shape[1])
    n_rows = min(_START_ROWS, max(2, _START_ENTRIES // max(n_inputs, X.shape[1])))
    chosen_rows = np.random.default_rng(seed).permutation(rows)[:n_rows]
    values = gather(X, np.sort(chosen_rows))
    moments = [torch.from_numpy(part) for part in table.moments(values)]
    single = flat.view(-1, model.n_weights)
    linear = _linear_starts(estimator.init, len(single), model.can_start_linear)
    if linear:
        inputs = model.reader.first(
            torch.from_numpy(table.encode(values, np.float64)[0])
        )
        likelihood = model.likelihood
        if model.posterior.is_discrete:
            factors = class_means(inputs.numpy(), form["n_components"], seed)
        else:
            factors = probabilistic_pca(
                inputs.numpy().copy(),
                form["n_components"],
                likelihood.known_variance,
                likelihood.least_variance,
                _weights(inputs.numpy(), likelihood),
            )
        for member in single[:linear]:
            model.start_linear(member, generator, factors, *moments)
    for member in single[linear:]:
        model.start_random(member, generator, *moments)
    if model.prior.own_shapes(model.n_components, model.reader.n_outputs):
        raw = torch.from_numpy(table.encode(values, np.float32)[0])
        for member in single:
            model.start_prior(member, generator, raw)
    return {"geometry": form, "table": table.get_state(), "weights": flat.numpy()}


def _linear_starts(init: str, n_members: int, can_start_linear: bool) -> int:
    """How many of the members start as probabilistic PCA: all, the first half, none."""
    if not can_start_linear:
        return 0
    return {"pca": n_members, "mixed": (n_members + 1) // 2, "random": 0}[init]


def _weights(inputs: np.ndarray, likelihood: Likelihood | Blocks) -> np.ndarray | None:
    """What the start multiplies its inputs by: indicators shall weigh as numbers do."""
    if not isinstance(likelihood, Blocks):
        return None
    spread = np.maximum(inputs.std(axis=0), _LEAST_SPREAD)
    return np.where(likelihood.indicators(), 1 / spread, 1.0)


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
    together : Together or None, default=None
        The processes that train the model, each with rows of its own and all with the
        same held-out ones.
    progress : dict or None, default=None
        Where to go on from, of the same model: from `progress`.
    """

    def __init__(
        self,
        estimator: "BaseVAE",
        X: Matrix,
        rows: np.ndarray,
        held_out_rows: np.ndarray,
        state: Mapping[str, Any],
        plan: Plan,
        seed: int | Sequence[int],
        together: Together | None = None,
        progress: Mapping[str, Any] | None = None,
    ) -> None:
        self.X = X
        self.table = TableEncoder.from_state(state["table"])
        self._state = state
        device = parameters.training_device(estimator.device)
        rng = np.random.default_rng(seed)
        generator = torch.Generator(device).manual_seed(int(rng.integers(2**31)))
        model = build_model(state["geometry"], self.table)
        objective = resolve(estimator.objective, objectives.FAMILIES)
        self._flat = torch.tensor(state["weights"], device=device)
        optimizer = resolve(estimator.optimizer, optimizers.FAMILIES)
        self._course = Course(self._flat, plan.patience, plan.tolerance)
        before = state.get("optimizer")
        if progress is not None:
            self._course.set_state(progress["course"])
            before = progress["optimizer"]
        self._rule = optimizer.start(self._flat.shape, self._flat.device, before)
        self._prior_rows = _rows_of_prior(state, rows, seed)
        shuffled = self._shuffled(rows, rng, generator, plan, estimator._n_members)
        held_out = None
        if len(held_out_rows):
            encoded = self._encoded(held_out_rows, furthest=_FURTHEST_HELD_OUT)
            tensors = to_tensors(encoded, device)
            own = generator
            if together is not None:
                own = torch.Generator(device).manual_seed(together.seed)
            held_out = HeldOut(
                model, objective, tensors, own, plan.input_noise, together
            )
        self.records = train(
            model,
            self._flat,
            shuffled,
            plan,
            objective,
            generator,
            held_out,
            self._rule,
            self._course,
            together,
        )

    def _shuffled(
        self,
        rows: np.ndarray,
        rng: np.random.Generator,
        generator: torch.Generator,
        plan: Plan,
        n_members: int | None,
    ) -> DeviceRows | ShuffledRows:
        """What iterates over an epoch: from the device where all rows fit there."""
        batch_size, device = plan.rows_per_step, generator.device
        if _BYTES_PER_CELL * len(rows) * self.table.n_features <= _room(device):
            tensors = to_tensors(self._encoded(rows), device)
            return DeviceRows(tensors, generator, batch_size, n_members)
        encode = self.table.encode
        return ShuffledRows(self.X, rows, encode, rng, batch_size, device, n_members)

    def _encoded(self, rows: np.ndarray, furthest: float | None = None) -> EncodedRows:
        """Inputs, targets and observed of some rows."""
        return _joined(
            [
                self.table.encode(values, furthest=furthest)
                for values in chunks(self.X, rows)
            ]
        )

    def end(self) -> None:
        """End training at a record, with the best weights that were seen.

        Raises
        ------
        Divergence
            If training has led away, as at its planned end.
        """
        self._course.check()
        self.records.close()

    def state(self) -> dict[str, Any]:
        """State with the weights as they are now."""
        kept = ("geometry", "table", "likelihood")
        state = {name: self._state[name] for name in kept}
        state["weights"] = self._flat.cpu().numpy().copy()
        if self._prior_rows is not None:
            posteriors = [
                FittedModel(member, np.float32).posteriors(self.X, self._prior_rows)
                for member in member_states(state)
            ]
            is_ensemble = state["weights"].ndim == 2
            state["prior"] = _stacked(posteriors) if is_ensemble else posteriors[0]
        return state

    def optimizer_state(self) -> dict[str, Any]:
        """What `partial_fit` needs to go on from here."""
        return self._rule.get_state()

    def progress(self) -> dict[str, Any]:
        """What another run needs to go on from the end of the last epoch."""
        return {
            "course": self._course.get_state(),
            "optimizer": self.optimizer_state(),
        }


def furthest_column(table: TableEncoder, X: Matrix) -> tuple[int, float]:
    """The column furthest out of range, and how far, in standardised units."""
    rows = np.arange(X.shape[0])
    with np.errstate(over="ignore"):
        blocks = (table.standardized(block) for block in chunks(X, rows))
        distances = (np.abs(np.nan_to_num(block)) for block in blocks)
        furthest = np.max([block.max(axis=0) for block in distances], axis=0)
    return int(furthest.argmax()), float(furthest.max())


def _rows_of_prior(
    state: Mapping[str, Any], rows: np.ndarray, seed: int | Sequence[int]
) -> np.ndarray | None:
    """Some of the rows at random, sorted, if the prior is made of their posteriors."""
    prior = from_state(state["geometry"]["prior"], priors.FAMILIES)
    if not isinstance(prior, priors.Aggregate):
        return None
    n_rows = min(prior.n_rows, len(rows))
    # A generator of its own: training is the same under any prior that follows it.
    rng = np.random.default_rng([*np.atleast_1d(seed), n_rows])
    return np.sort(rng.permutation(rows)[:n_rows])


def _room(device: torch.device) -> int:
    """Bytes that rows may take of a device's memory: half of what is free.

    None on the CPU, where rows are read from where they are.
    """
    if device.type != "cuda":
        return 0
    return torch.cuda.mem_get_info(device)[0] // 2


def _joined(encoded: Sequence[EncodedRows]) -> EncodedRows:
    """Chunks of inputs, targets and observed as one; what is one array remains so."""
    inputs = np.concatenate([part[0] for part in encoded])
    targets = inputs
    if any(part[1] is not part[0] for part in encoded):
        targets = np.concatenate([part[1] for part in encoded])
    if all(part[2] is None for part in encoded):
        return inputs, targets, None
    observed = [
        np.ones_like(part[1]) if part[2] is None else part[2] for part in encoded
    ]
    return inputs, targets, np.concatenate(observed)


def _stacked(posteriors: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {
        name: np.stack([part[name] for part in posteriors]) for name in posteriors[0]
    }


class History:
    """What training has shown so far; prints a line now and then."""

    _LINES = 10

    def __init__(
        self, name: str, plan: Plan, verbose: bool | int, words: tuple[str, str]
    ) -> None:
        self.epochs: list[Record] = []
        self.looks: list[Record] = []
        self._name, self._plan, self._verbose = name, plan, verbose
        self._score_name, self._unit = words
        self._began = time.perf_counter()
        self._next_line = 0.0

    def add(self, record: Record) -> None:
        """Take note of a record."""
        if record.validation_score is not None:
            self.looks.append(record)
        if record.epoch_ended:
            self.epochs.append(record)
        if self._verbose and record.step >= self._next_line:
            self._next_line = record.step + self._plan.n_steps / self._LINES
            self._print(record)

    def _print(self, record: Record) -> None:
        held_out = ""
        if self.looks:
            score = self.looks[-1].validation_score
            held_out = f", held-out {self._score_name} {score:.3f}"
        print(
            f"[{self._name}] epoch {record.epoch}/{self._plan.max_epochs}, step "
            f"{record.step}/{self._plan.n_steps}: loss {record.loss:.3f}{held_out} "
            f"{self._unit} a row, {time.perf_counter() - self._began:.1f} s",
            flush=True,
        )
