"""A fitted model, built from plain data: arrays in, arrays out.

The estimator's state holds NumPy arrays and settings only. Inference is in float64
where X is, so that a row scores alike whatever stands beside it.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

import numpy as np
import torch
from torch import Tensor

from skvae import priors
from skvae.core import evaluation
from skvae.core.conditional import conditional_codes
from skvae.core.interrupts import call_within
from skvae.core.model import Model
from skvae.core.rows import Rows, gather, to_tensor, to_tensors
from skvae.frames import Matrix
from skvae.likelihoods.base import Columns
from skvae.parameters import PLACES, training_device
from skvae.posteriors.base import Codes
from skvae.settings import from_state
from skvae.table import TableEncoder, chunks
from skvae.threads import limited

__all__ = ["FittedModel", "build_model", "member_states"]

Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")

_ROWS_AT_ONCE, _ENTRIES_AT_ONCE = 2_048, 1_000_000
#: Times that a cell left out is filled in by the others, each from the last.
_FILLINGS = 4
#: Rows from which the divergence per component is averaged.
_SUMMARY_ROWS = 5_000


def build_model(geometry: Mapping[str, Any], table: TableEncoder) -> Model:
    """The functions of a model in training, from the plain data that fixes them."""
    places = {
        place: from_state(geometry[place], families)
        for place, families in PLACES.items()
    }
    posterior, prior = places["posterior"], places["prior"].in_training
    if prior is None:
        prior = priors.FAMILIES[posterior.prior]()
    places["prior"] = prior.beside(posterior)
    return Model(
        table.reader(),
        table.n_features,
        geometry["n_components"],
        likelihood=table.likelihood,
        **places,
    )


def member_states(state: dict[str, Any]) -> list[dict[str, Any]]:
    """The states of an ensemble's members, or that of the one model there is."""
    if state["weights"].ndim == 1:
        return [state]
    members = [{**state, "weights": weights} for weights in state["weights"]]
    if "prior" in state:
        for e, member in enumerate(members):
            member["prior"] = {name: part[e] for name, part in state["prior"].items()}
    return members


def _limited(
    method: Callable[Concatenate["FittedModel", Arguments], Answer],
) -> Callable[Concatenate["FittedModel", Arguments], Answer]:
    """Run a method of a fitted model in as few threads as do."""

    @wraps(method)
    def wrapper(
        self: "FittedModel", *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> Answer:
        return call_within((limited(self._network),), method, self, *args, **kwargs)

    return wrapper


class FittedModel:
    """Model, weights and table, ready to answer in one precision.

    Parameters
    ----------
    state : dict
        "geometry", "table", "weights" and maybe "prior", as plain data.
    dtype : {np.float64, np.float32}
        Precision of the arithmetic and of the answers.
    device : str, torch.device or None
        The CPU where the device is not to be had, or has no such precision.
    robust : bool, default=False
        Whether the columns have the heavier tails of their likelihoods' `robust`.
    """

    def __init__(
        self,
        state: Mapping[str, Any],
        dtype: type[np.floating],
        device: str | torch.device | None = None,
        robust: bool = False,
    ) -> None:
        self.table = TableEncoder.from_state(state["table"])
        self.model = build_model(state["geometry"], self.table)
        if robust:
            self.model.likelihood = self.model.likelihood.robust
        self._network = from_state(state["geometry"]["network"], PLACES["network"])
        self.dtype = np.dtype(dtype)
        self.device = _inference_device(device)
        flat = to_tensor(state["weights"].astype(self.dtype), self.device)
        self.weights = self.model.views(flat)
        self.model.run_in_buffers(flat)
        if "prior" in state:
            settings = from_state(state["geometry"]["prior"], priors.FAMILIES)
            posterior = self.model.posterior
            outputs = (
                to_tensor(state["prior"][name].astype(self.dtype), self.device)
                for name in ("locations", "others")
            )
            self.model.prior = settings.after_training(posterior(*outputs), posterior)

    @_limited
    def codes(self, X: Matrix) -> np.ndarray:
        """Posterior means, (n_samples, n_components)."""
        blocks = [
            self._posterior(rows).mean.numpy(force=True) for rows in self._read(X)
        ]
        return np.concatenate(blocks)

    @_limited
    def means(self, Z: np.ndarray) -> np.ndarray:
        """Decoder means in the units of X, (n_samples, n_features)."""
        blocks = [
            self.table.points(
                self._decode(to_tensor(z.copy(), self.device)).mean.numpy(force=True)
            )
            for z in np.array_split(Z, math.ceil(len(Z) / self._rows_at_once))
        ]
        return _within(np.concatenate(blocks), Z.dtype)

    @_limited
    def draws(self, n_samples: int, seed: int) -> np.ndarray:
        """Rows drawn from the likelihood at codes drawn from the prior."""
        generator = torch.Generator(self.device).manual_seed(seed)
        with torch.no_grad():
            prior = self.model.prior_of(self.weights)
            Z = prior.sample(n_samples, self.model.n_components, generator)
        return self.draws_at(Z, generator)

    @_limited
    def draws_given(
        self, n_samples: int, row: np.ndarray, seed: int
    ) -> tuple[np.ndarray, float]:
        """Rows drawn given the observed cells of one row, and how good the draws are.

        Returns
        -------
        rows : ndarray of shape (n_samples, n_features)
        effective : float
            Effective sample size of the codes.
        """
        generator = torch.Generator(self.device).manual_seed(seed)
        Z, effective = conditional_codes(
            self.model, self.weights, self._tensors(row), n_samples, generator
        )
        rows = self.draws_at(Z, generator)
        known = ~np.isnan(row[0])
        rows[:, known] = row[0, known]
        return rows, effective

    @_limited
    def draws_at(self, Z: Tensor, generator: torch.Generator) -> np.ndarray:
        """Rows drawn from the likelihood, one at each code."""
        blocks = [
            self.table.decode(self._decode(z).sample(generator).numpy(force=True))
            for z in Z.split(self._rows_at_once)
        ]
        return self.table.restrict(np.concatenate(blocks))

    @_limited
    def log_likelihood(self, X: Matrix, n_draws: int) -> np.ndarray:
        """log p(x) in nats and the units of X, (n_samples,), float64."""
        blocks = [
            self._score(rows, n_draws).total.numpy(force=True)
            + self.table.log_jacobian(rows).sum(axis=1)
            for rows in self._read(X)
        ]
        return np.concatenate(blocks).astype(np.float64)

    @_limited
    def log_likelihood_by_feature(self, X: Matrix, n_draws: int) -> np.ndarray:
        """log p(x) split over features and the code: (n_samples, n_features + 1).

        The last column is minus the divergence of the code's posterior from its prior.
        """
        blocks = []
        for rows in self._read(X):
            scores = self._score(rows, n_draws, by_feature=True)
            blocks.append(self._by_feature(rows, scores))
        return np.concatenate(blocks)

    @_limited
    def bound_by_feature(
        self, X: Matrix, n_draws: int, with_code: bool = True
    ) -> np.ndarray:
        """The evidence lower bound, split likewise, or without the code's cost."""
        blocks = []
        for rows in self._read(X):
            tensors = self._tensors(rows)
            scores = evaluation.bound(
                self.model, self.weights, tensors, n_draws, with_code
            )
            blocks.append(self._by_feature(rows, scores))
        return np.concatenate(blocks)

    def _by_feature(self, X: np.ndarray, scores: evaluation.Scores) -> np.ndarray:
        """Scores in the units of X, a column a feature, then one for the code."""
        features = scores.features.double()  # type: ignore[union-attr]  # asked for
        code = scores.total.double() - features.sum(1)
        features = self.table.by_column(features.numpy(force=True))
        features = features + self.table.log_jacobian(X)
        return np.column_stack([features, code.numpy(force=True)])

    @_limited
    def conditionals(self, X: Matrix, n_draws: int) -> np.ndarray:
        """log p of each cell given the others of its row, (n_samples, n_features).

        In nats, in the units of X; NaN for a hole. The likelihood without a cell is the
        greater of two lower bounds: by the code of the whole row, and by that of the
        row with the cell filled in by the others.
        """
        blocks = []
        for rows in self._read(X):
            rows = rows.astype(np.result_type(rows.dtype, np.float32))
            parts = evaluation.without_each(
                self.model, self.weights, self._tensors(rows), n_draws
            )
            whole, without = (part.double().numpy(force=True) for part in parts)
            without = self.table.by_column(without)
            for j in np.flatnonzero(~np.isnan(rows).all(axis=0)):
                filled = self._without(rows, j, n_draws)
                without[:, j] = np.maximum(without[:, j], filled)
            conditionals = whole[:, None] - without + self.table.log_jacobian(rows)
            blocks.append(np.where(np.isnan(rows), np.nan, conditionals))
        return np.concatenate(blocks)

    def _without(self, X: np.ndarray, j: int | np.integer, n_draws: int) -> np.ndarray:
        """Log-likelihood of targets but those of a column, by codes without it."""
        hole = X.copy()
        hole[:, j] = np.nan
        filled = hole
        for _ in range(_FILLINGS):
            inputs = self._tensors(filled)[0]
            code = evaluation.codes(self.model, self.weights, inputs).mean
            means = self._decode(code).mean.numpy(force=True)
            filled = hole.copy()
            points = self.table.points(means, modes=True)
            filled[:, j] = _within(points[:, j], filled.dtype)
        _, targets, observed = self._tensors(hole)
        rows = self._tensors(filled)[0], targets, observed
        scores = evaluation.score(
            self.model, self.weights, rows, n_draws, defended=False
        )
        return scores.total.double().numpy(force=True)

    @_limited
    def errors_by_feature(self, X: Matrix) -> np.ndarray:
        """How far the decoder's mean at the code is from each cell.

        Squared, in standardised units, for numbers; one minus the probability of the
        level for levels; 0 for a hole.
        """
        blocks = []
        for rows in self._read(X):
            inputs, targets, _ = self._tensors(rows)
            posterior = evaluation.codes(self.model, self.weights, inputs)
            columns = self._decode(posterior.mean)
            probabilities = columns.log_prob(targets).exp().numpy(force=True)
            blocks.append(
                self.table.errors(
                    rows,
                    self.table.points(columns.mean.numpy(force=True)),
                    self.table.by_column(probabilities),
                )
            )
        return np.concatenate(blocks)

    @_limited
    def expected(self, X: Matrix, n_draws: int) -> np.ndarray:
        """What rows are likely to be, holes included, in the units of X.

        Means of numbers and modes of levels, given the observed cells.
        """
        blocks = [
            evaluation.expected(
                self.model, self.weights, self._tensors(rows), n_draws
            ).numpy(force=True)
            for rows in self._read(X)
        ]
        return np.concatenate([self.table.points(b, modes=True) for b in blocks])

    @_limited
    def redrawn(self, X: Matrix, n_draws: int, seed: int) -> np.ndarray:
        """Rows drawn from the model given the observed cells of X."""
        generator = torch.Generator(self.device).manual_seed(seed)
        Z = [
            evaluation.redrawn(
                self.model, self.weights, self._tensors(rows), n_draws, generator
            )
            for rows in self._read(X)
        ]
        return self.draws_at(torch.cat(Z), generator)

    @_limited
    def posteriors(self, X: Matrix, rows: np.ndarray) -> dict[str, np.ndarray]:
        """What the encoder says of some rows: float32 arrays "locations", "others"."""
        parts = []
        for values in chunks(X, rows):
            with torch.no_grad():
                read = self.model.reader(
                    self.weights["reader"], self._tensors(values)[0]
                )
                parts.append(self.model.encoder(self.weights["encoder"], read))
        return {
            name: torch.cat(some).numpy(force=True).astype(np.float32)
            for name, some in zip(
                ("locations", "others"), zip(*parts, strict=True), strict=True
            )
        }

    @_limited
    def kl_per_component(self, X: Matrix) -> np.ndarray:
        """Mean divergence of the codes from what goes with their family, in nats.

        Of shape (n_components,), or (1,) where components depend on each other.
        """
        posterior = self.model.posterior
        standard = priors.FAMILIES[posterior.prior]().beside(posterior)
        n_rows = X.shape[0]
        some = np.arange(0, n_rows, max(1, n_rows // _SUMMARY_ROWS))
        total: Any = 0.0
        for rows in self._read(X, some):
            kl: Any = self._posterior(rows).kl_divergence(standard)  # never None
            total = total + kl.double().sum(0)
        return (total / len(some)).numpy(force=True)

    def _score(
        self, X: np.ndarray, n_draws: int, by_feature: bool = False
    ) -> evaluation.Scores:
        rows = self._tensors(X)
        return evaluation.score(self.model, self.weights, rows, n_draws, by_feature)

    def _posterior(self, X: np.ndarray) -> Codes:
        return evaluation.codes(self.model, self.weights, self._tensors(X)[0])

    def _decode(self, Z: Tensor) -> Columns:
        with torch.no_grad():
            return self.model.decode(self.weights, Z)

    def _tensors(self, X: np.ndarray) -> Rows:
        return to_tensors(self.table.encode(X, self.dtype), self.device)

    @property
    def _rows_at_once(self) -> int:
        """So many that neither inputs nor outputs are large."""
        widest = sum(self.model.likelihood.n_outputs(self.table.n_features))
        return max(1, min(_ROWS_AT_ONCE, _ENTRIES_AT_ONCE // widest))

    def _read(self, X: Matrix, rows: np.ndarray | None = None) -> Iterator[np.ndarray]:
        """All rows of a dense or sparse matrix, or some, a few at a time and dense."""
        n_rows, n_at_once = (
            X.shape[0] if rows is None else len(rows),
            self._rows_at_once,
        )
        for start in range(0, n_rows, n_at_once):
            few = slice(start, start + n_at_once)
            yield gather(X, few if rows is None else rows[few])


def _within(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Numbers in a precision; what is beyond its range is at its end."""
    ends = np.finfo(dtype)
    return values.clip(ends.min, ends.max).astype(dtype, copy=False)


def _inference_device(device: str | torch.device | None) -> torch.device:
    try:
        device = training_device(device)
    except ValueError:
        return torch.device("cpu")
    # Apple's device has no float64.
    return torch.device("cpu") if device.type == "mps" else device
