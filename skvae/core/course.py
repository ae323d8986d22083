"""Where training stands: the weights in motion, the best ones, and who else trains.

A course can be written down at the end of an epoch and taken up again by another
process, or by another number of processes.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from skvae.core.model import Model, Weights
from skvae.core.rows import Batch
from skvae.objectives import Objective

__all__ = ["Course", "Divergence", "Probe", "Together"]

#: How many times its size at the start the loss of a batch may have at the end.
_WORST_RATIO = 100.0


class Divergence(ArithmeticError):
    """The loss is not a finite number, or far above what it was at the start."""


class Together(NamedTuple):
    """Processes that train one model: each has rows of its own, all the same weights.

    Attributes
    ----------
    average : callable
        From a tensor to its mean over the processes, the same bits in each of them.
        All must call it equally often.
    rank : int
        The number of this process, from 0.
    n_processes : int
    seed : int
        Of the noise that all of them share.
    """

    average: Callable[[Tensor], Tensor]
    rank: int
    n_processes: int
    seed: int

    def part(self, n_rows: int) -> slice:
        """This process's share of rows that all have; of too few, every one of them."""
        n_of_each = n_rows // self.n_processes
        if not n_of_each:
            return slice(None)
        return slice(self.rank * n_of_each, (self.rank + 1) * n_of_each)

    def average_step(
        self, means: Sequence[Any], gradient: Tensor
    ) -> tuple[Sequence[Tensor], Tensor]:
        """Means and gradient of a batch averaged over all processes, in one message."""
        dtype, device = gradient.dtype, gradient.device
        own = [torch.as_tensor(mean, dtype=dtype, device=device) for mean in means]
        packed = self.average(
            torch.cat([gradient.flatten(), *(mean.reshape(1) for mean in own)])
        )
        n_weights = gradient.numel()
        return packed[n_weights:].unbind(), packed[:n_weights].view_as(gradient)


class _Best:
    """The best weights that a look has found, and how long ago."""

    def __init__(self, flat: Tensor, patience: int, tolerance: float) -> None:
        #: Of one model, or of one member of an ensemble.
        self._flat = flat
        self._tolerance = tolerance
        self._patience = patience
        self.weights: Tensor | None = None
        self.score = -math.inf
        self.reference = -math.inf
        self.n_looks = 0

    @property
    def is_exhausted(self) -> bool:
        return self.n_looks >= self._patience

    def update(self, score: float) -> None:
        if score > self.score:
            self.score = score
            self.weights = self._flat.clone()
        if score > self.reference + self._tolerance:
            self.reference = score
            self.n_looks = 0
        else:
            self.n_looks += 1

    def restore(self) -> None:
        if self.weights is not None:
            self._flat.copy_(self.weights)


class Course:
    """Where training stands, updated as it goes on.

    Parameters
    ----------
    flat : Tensor of shape (n_weights,) or (n_members, n_weights)
        The averaged weights, changed in place.
    patience : int
        Looks without an improvement by `tolerance` after which training stops.
    tolerance : float
        In nats per row.
    """

    def __init__(self, flat: Tensor, patience: int, tolerance: float) -> None:
        self._flat = flat
        #: The weights that the optimiser moves.
        self.moving = flat.clone()
        #: Of the one model, or of each member of an ensemble.
        self.members = [flat] if flat.ndim == 1 else list(flat)
        self.n_epochs = 0
        #: What tells whether training has led anywhere, from the first batch on.
        self.probe: Probe | None = None
        self._best = [_Best(member, patience, tolerance) for member in self.members]

    @property
    def is_exhausted(self) -> bool:
        """Whether every member's patience is at its end."""
        return all(member.is_exhausted for member in self._best)

    def update(self, scores: Sequence[float]) -> None:
        """Take note of a look."""
        for member, score in zip(self._best, scores, strict=True):
            member.update(score)

    def check(self) -> None:
        """Raise `Divergence` if training has led away, before it ends here."""
        if self.probe is not None:
            self.probe.check(self.n_epochs)

    def restore(self) -> None:
        """Put the best weights that were seen in place."""
        for member in self._best:
            member.restore()

    def get_state(self) -> dict[str, np.ndarray]:
        """What it takes to go on from the end of an epoch, as arrays."""
        best = [
            member if found.weights is None else found.weights
            for member, found in zip(self.members, self._best, strict=True)
        ]
        return {
            "n_epochs": np.array(self.n_epochs),
            "averaged": _to_numpy(self._flat),
            "moving": _to_numpy(self.moving),
            "best": _to_numpy(torch.stack(best)),
            "scores": np.array([found.score for found in self._best]),
            "references": np.array([found.reference for found in self._best]),
            "n_looks": np.array([found.n_looks for found in self._best]),
        }

    def set_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Go on from what `get_state` gave."""
        self.n_epochs = int(state["n_epochs"])
        self._flat.copy_(torch.from_numpy(state["averaged"]))
        self.moving.copy_(torch.from_numpy(state["moving"]))
        for i, found in enumerate(self._best):
            found.score = float(state["scores"][i])
            found.reference = float(state["references"][i])
            found.n_looks = int(state["n_looks"][i])
            if np.isfinite(found.score):
                found.weights = self._flat.new_tensor(state["best"][i])


class Probe:
    """The first batch, by which the end of training is compared with the start.

    The loss of a step is known before the step is made, so that of the last step
    says nothing of where the step has led.
    """

    def __init__(
        self,
        model: Model,
        members: Sequence[Weights],
        objective: Objective,
        beta: float,
        batch: Batch,
        together: Together | None,
    ) -> None:
        *rows, noise = batch
        if noise.ndim == 4:  # one member's batch will do for all
            rows = [None if part is None else part[0] for part in rows]
            noise = noise[:, 0]
        self._batch: list[Any] = [
            None if part is None else part.clone() for part in (*rows, noise)
        ]
        self._model, self._objective, self._beta = model, objective, beta
        self._members, self._together = members, together
        losses = [abs(loss) for loss in self._losses()]
        self._most = _WORST_RATIO * max(1.0, *losses)

    def _losses(self) -> list[float]:
        with torch.no_grad():
            losses = [
                float(
                    self._objective(
                        self._model.terms(weights, *self._batch), self._beta
                    )
                )
                for weights in self._members
            ]
        return averaged(losses, self._together)

    def check(self, epoch: int) -> None:
        """Raise if the loss of a member is now out of all proportion."""
        for loss in self._losses():
            if not loss <= self._most:
                raise Divergence(f"loss {loss:.3g} after epoch {epoch}")


def averaged(numbers: Sequence[float], together: Together | None) -> list[float]:
    """Numbers averaged over the processes, where there are several."""
    if together is None:
        return list(numbers)
    own = torch.tensor(numbers, dtype=torch.float64, device="cpu")
    return together.average(own).tolist()


def _to_numpy(tensor: Tensor) -> np.ndarray:
    return tensor.cpu().numpy().copy()
