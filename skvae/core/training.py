"""Training as a generator: gradients here, callbacks and estimators elsewhere.

`train` moves a flat weight vector in place and yields a record at every look at the
held-out rows and at the end of every epoch. Whoever drives it may stop at any record:
closing the generator leaves the best weights seen in place.

The optimiser runs at a constant rate, and the model is the running average of its
weights (Polyak and Juditsky, 1992). Averaging does what a decaying rate does, without
having to know in advance when training will stop.
"""

import math
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from skvae.core import backward
from skvae.core.aggressive import Pace
from skvae.core.course import Course, Divergence, Probe, Together, averaged
from skvae.core.model import Model, Weights
from skvae.core.optimizer import Adam, Rule
from skvae.core.rows import Batch, Rows, select, split
from skvae.objectives import Objective

__all__ = ["HeldOut", "Plan", "Record", "train"]

#: Steps over which the learning rate rises to its value: Adam's second moments are
#: known by then.
_RISE_STEPS = 50
#: Share of the running average of the weights that a step keeps: about 200 steps.
_AVERAGING = 0.995
#: Held-out terms per look, by drawing several codes a row where rows are few.
_TERMS_PER_LOOK = 1024
#: Outputs of the decoder that a look holds at once.
_OUTPUTS_AT_ONCE = 2_000_000
#: Least number of steps between looks.
_STEPS_PER_LOOK = 50


@dataclass(frozen=True)
class Plan:
    """How long and how fast to train.

    Attributes
    ----------
    n_rows : int
        Rows in an epoch.
    batch_size : int
        Largest batch. Rows are dealt evenly over the batches of an epoch.
    max_epochs : int
    learning_rate : float
        It rises over the first 50 steps and stays.
    n_draws : int
        Codes drawn per row and step.
    beta : float
        Weight of the divergence from the prior.
    kl_warmup : float
        Share of each cycle over which that weight rises from zero.
    n_cycles : int
        Cycles that the planned steps are divided into.
    n_encoder_steps : int
        Steps of the encoder for each of the decoder, at most, while the code learns.
    patience : int
        Looks without an improvement by `tolerance` after which training stops.
    tolerance : float
        In nats per row.
    input_noise : float
        Standard deviation of the normal noise that is added to what the encoder reads;
        all columns are numbers then. The targets stay as they are.
    going_on : bool
        Whether the steps go on from earlier ones (`partial_fit`): the learning rate
        does not rise, and the weights are not averaged.
    """

    n_rows: int
    batch_size: int
    max_epochs: int
    learning_rate: float
    n_draws: int = 1
    beta: float = 1.0
    kl_warmup: float = 0.0
    n_cycles: int = 1
    n_encoder_steps: int = 1
    patience: int = 12
    tolerance: float = 1e-4
    input_noise: float = 0.0
    going_on: bool = False

    @cached_property
    def steps_per_epoch(self) -> int:
        return math.ceil(self.n_rows / self.batch_size)

    @cached_property
    def n_steps(self) -> int:
        return self.max_epochs * self.steps_per_epoch

    @cached_property
    def rows_per_step(self) -> int:
        return math.ceil(self.n_rows / self.steps_per_epoch)

    @cached_property
    def warm_up_steps(self) -> float:
        """Steps after which the divergence has its full weight for good."""
        before = self.n_cycles - 1 if self.kl_warmup else 0
        return (before + self.kl_warmup) / self.n_cycles * self.n_steps

    def one_pass(self) -> Self:
        """The plan of `partial_fit`: an epoch, without rise, average or warm-up."""
        return replace(
            self, max_epochs=1, going_on=True, kl_warmup=0.0, n_encoder_steps=1
        )

    def learning_rate_at(self, step: int) -> float:
        if self.going_on:
            return self.learning_rate
        return self.learning_rate * min(1.0, (step + 1) / _RISE_STEPS)

    def averaging_at(self, step: int) -> float:
        """Share of the running average that is kept: first the plain mean."""
        return 0.0 if self.going_on else min(_AVERAGING, step / (step + 10))

    def beta_at(self, step: int) -> float:
        if step >= self.warm_up_steps:
            return self.beta
        position = step * self.n_cycles / self.n_steps % 1
        return self.beta * min(1.0, position / self.kl_warmup)


class Record(NamedTuple):
    """Where training stands."""

    epoch: int  # counted from one
    step: int
    epoch_ended: bool
    loss: float  # mean objective per row since the epoch began
    log_likelihood: float  # likewise E_q[log p(x|z)], and KL(q(z|x) || p(z))
    kl: float
    validation_score: float | None  # held-out bound at beta = 1, where a look was taken


class HeldOut:
    """Rows kept from training, scored with noise that never changes.

    Parameters
    ----------
    objective : Objective
    rows : tuple of Tensor
        Inputs, targets and observed, as `core.rows` gives them.
    generator : torch.Generator
    input_noise : float, default=0.0
        Standard deviation of the noise on their inputs, as in training.
    together : Together or None, default=None
        With it, each process scores a part of the rows.
    """

    def __init__(
        self,
        model: Model,
        objective: Objective,
        rows: Rows,
        generator: torch.Generator,
        input_noise: float = 0.0,
        together: Together | None = None,
    ) -> None:
        if input_noise:
            rows = _corrupted(rows, input_noise, generator)
        self._model = model
        self._objective = objective.bound
        n_rows = len(rows[0])
        n_draws = max(objective.n_draws(1), round(_TERMS_PER_LOOK / n_rows))
        n_noise = model.posterior.n_noise(model.n_components)
        noise = model.posterior.noise((n_draws, n_rows, n_noise), generator)
        if together is not None:
            part = together.part(n_rows)
            rows, noise = select(rows, part), noise[:, part]
        n_draws, n_rows = noise.shape[:2]
        self.n_terms = n_draws * n_rows
        widest = sum(model.likelihood.n_outputs(model.n_features))
        n_at_once = max(1, _OUTPUTS_AT_ONCE // (n_draws * widest))
        self._batches: list[Batch] = [
            (*select(rows, batch), noise[:, batch])
            for start in range(0, n_rows, n_at_once)
            for batch in [slice(start, start + n_at_once)]
        ]
        self._n_rows = n_rows

    def score(self, weights: Weights) -> float:
        """Mean bound of the rows, in nats, at beta = 1."""
        total = 0.0
        with torch.no_grad():
            for batch in self._batches:
                terms = self._model.terms(weights, *batch)
                total -= float(self._objective(terms, 1.0)) * len(batch[0])
        return total / self._n_rows


def train(
    model: Model,
    flat: Tensor,
    chunks: Callable[[], Iterator[Rows]],
    plan: Plan,
    objective: Objective,
    generator: torch.Generator,
    held_out: HeldOut | None = None,
    rule: Rule | None = None,
    course: Course | None = None,
    together: Together | None = None,
) -> Generator[Record, None, None]:
    """Minimise the objective, in place.

    Parameters
    ----------
    model : Model
    flat : Tensor of shape (n_weights,) or (n_members, n_weights)
        Float32. Training begins there; at every record it holds the averaged weights.
        The members of an ensemble take each step at once, and each as if it were alone.
    chunks : callable
        Called with nothing at the start of an epoch: an iterator of (inputs, targets,
        observed) that together hold every row once, in random order; once for each
        member, along a dimension in front.
    plan : Plan
    objective : Objective
        From `Terms` and the weight of the divergence to a number.
    generator : torch.Generator
        On the device of `flat`.
    held_out : HeldOut or None, default=None
        With it, training stops early, and the best weights are restored at the end:
        each member's own, once no member gets better any more.
    rule : Rule or None, default=None
        Of updates, to go on from earlier steps; Adam by default.
    course : Course or None, default=None
        Of `flat`: where training stands, to go on from the end of an earlier epoch, and
        to be asked at the end of each.
    together : Together or None, default=None
        With it, each step is made by the gradient of the batches of all processes, of
        which each has its own `chunks`, equally many rows of them.

    Yields
    ------
    record : Record

    Raises
    ------
    Divergence
        If the loss is not finite at a record, or at the end far above the start.
    """
    course = course or Course(flat, plan.patience, plan.tolerance)
    moving = course.moving
    rule = rule or Adam(flat.shape, flat.device)
    members = [model.views(member) for member in course.members]
    differentiate: backward.Backward | _Autograd
    if backward.covers(model, objective):
        differentiate = backward.Backward(model, objective, moving)
    else:
        differentiate = _Autograd(model, moving, objective)
    look_every = _steps_between_looks(plan, held_out)
    pace = Pace(model, moving, plan.n_encoder_steps)
    step = course.n_epochs * plan.steps_per_epoch
    try:
        if course.is_exhausted:  # when it was written down
            return
        for epoch in range(course.n_epochs + 1, plan.max_epochs + 1):
            totals: Sequence[Any] = (0.0, 0.0, 0.0)
            n_seen = 0
            for batch in _batches(model, chunks, plan, generator):
                n_rows = batch[0].shape[-2]
                if course.probe is None:
                    start = model, members, objective, plan.beta
                    course.probe = Probe(*start, batch, together)
                before = None if pace.is_over else moving.clone()
                means: Sequence[Any]
                with np.errstate(all="ignore"):  # what is not finite shows in the loss
                    means, gradient = differentiate(plan.beta_at(step), *batch)
                    if together is not None:
                        means, gradient = together.average_step(means, gradient)
                    rule.step(moving, gradient, plan.learning_rate_at(step))
                if before is not None:
                    pace.settle(moving, before, means[0], batch)
                flat.lerp_(moving, 1 - plan.averaging_at(step))
                # On a device, without waiting for it.
                totals = [t + m * n_rows for t, m in zip(totals, means, strict=True)]
                n_seen += n_rows
                step += 1
                looks = step >= plan.warm_up_steps and step % look_every == 0
                looks = looks and pace.is_over
                if held_out is not None and (looks or step == plan.n_steps):
                    scores = [held_out.score(weights) for weights in members]
                    scores = averaged(scores, together)
                    score = sum(scores) / len(scores)
                    record = Record(epoch, step, False, *_means(totals, n_seen), score)
                    _check(record)
                    course.update(scores)
                    if course.is_exhausted:
                        course.n_epochs = epoch
                        course.check()
                    yield record._replace(epoch_ended=course.is_exhausted)
                    if course.is_exhausted:
                        return
            course.n_epochs = epoch
            record = Record(epoch, step, True, *_means(totals, n_seen), None)
            _check(record)
            if epoch == plan.max_epochs:
                course.check()
            yield record
    finally:
        course.restore()


def _means(totals: Sequence[Any], n_rows: int) -> tuple[float, float, float]:
    """Loss, log-likelihood and divergence per row."""
    loss, log_likelihood, kl = (float(total) / n_rows for total in totals)
    return loss, log_likelihood, kl


def _steps_between_looks(plan: Plan, held_out: HeldOut | None) -> int:
    """Seldom enough that looks cost under a tenth of the training.

    A forward pass is about a third of a training step.
    """
    if held_out is None:
        return plan.n_steps
    ratio = held_out.n_terms / (3 * plan.n_draws * plan.rows_per_step)
    return max(_STEPS_PER_LOOK, math.ceil(10 * ratio))


def _batches(
    model: Model,
    chunks: Callable[[], Iterator[Rows]],
    plan: Plan,
    generator: torch.Generator,
) -> Iterator[Batch]:
    """Slices of the chunks, with the noise of a chunk drawn at once."""
    for chunk in chunks():
        if plan.input_noise:
            chunk = _corrupted(chunk, plan.input_noise, generator)
        *members, n_rows, _ = chunk[0].shape
        n_noise = model.posterior.n_noise(model.n_components)
        shape = (plan.n_draws, *members, n_rows, n_noise)
        noise = model.posterior.noise(shape, generator)
        noises = noise.split(plan.rows_per_step, -2)
        for rows, of_rows in zip(split(chunk, plan.rows_per_step), noises, strict=True):
            yield *rows, of_rows


def _corrupted(rows: Rows, input_noise: float, generator: torch.Generator) -> Rows:
    """Rows with noise on the observed numbers that the encoder reads.

    References
    ----------
    P. Vincent et al., "Stacked Denoising Autoencoders", JMLR 11 (2010), section 3.1.
    """
    inputs, targets, observed = rows
    noise = torch.randn(
        targets.shape,
        generator=generator,
        dtype=targets.dtype,
        device=targets.device,
    )
    if observed is not None:
        noise *= observed
    # Numbers come first; what stands beside them are the marks of holes.
    n_numbers = targets.shape[-1]
    noisy = inputs.clone()
    noisy[..., :n_numbers].add_(noise, alpha=input_noise)
    return noisy, targets, observed


class _Autograd:
    """Loss of a batch, its parts and its gradient, by automatic differentiation."""

    def __init__(self, model: Model, flat: Tensor, objective: Objective) -> None:
        self._model = model
        self._objective = objective
        self._is_ensemble = flat.ndim == 2
        self._n_members = len(flat) if self._is_ensemble else 1
        # Leaves that share the flat vector's memory.
        self._weights = {
            part: {name: view.detach().requires_grad_() for name, view in views.items()}
            for part, views in model.views(flat).items()
        }
        self._leaves = [w for part in self._weights.values() for w in part.values()]

    def __call__(
        self,
        beta: float,
        inputs: Tensor,
        targets: Tensor,
        observed: Tensor | None,
        noise: Tensor,
    ) -> tuple[backward.Means, Tensor]:
        with torch.enable_grad():
            terms = self._model.terms(self._weights, inputs, targets, observed, noise)
            loss = self._objective(terms, beta)
            # The sum over members of their means over rows.
            gradients = torch.autograd.grad(
                loss * self._n_members,
                self._leaves,
                allow_unused=True,  # such as a prior that the objective does not read
                materialize_grads=True,
            )
        with torch.no_grad():
            log_likelihood = terms.expected(terms.log_likelihood).mean()
            kl = terms.kl.mean()
        whole = [part.flatten(int(self._is_ensemble)) for part in gradients]
        means = loss.detach(), log_likelihood.detach(), kl.detach()
        return means, torch.cat(whole, -1)


def _check(record: Record) -> None:
    finite = math.isfinite(record.loss)
    if not finite or not math.isfinite(record.validation_score or 0.0):
        raise Divergence(f"loss {record.loss} at epoch {record.epoch}")
