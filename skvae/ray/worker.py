"""What each worker of a fit does: rows to its own disk, and then the package's loop.

The gradients of all workers are averaged at each step, one message of the length of the
weights. What it takes to go on is written down after each epoch.
"""

import logging
import pickle
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile, mkdtemp
from typing import IO, Any

import numpy as np
import pandas as pd
import ray.train
import torch
from ray.train import Checkpoint
from ray.train.torch import get_device
from torch import Tensor, distributed

from skvae import parameters, run
from skvae.base import BaseVAE, is_mixed
from skvae.core.course import Divergence, Together
from skvae.core.training import Plan
from skvae.ray.tables import BATCH_FORMAT, to_frame
from skvae.threads import limited

__all__ = ["Task", "read", "work"]

_FILE = "fit.pkl"
#: Rows, and entries of them, that are checked and written at once.
_ROWS_AT_ONCE, _ENTRIES_AT_ONCE = 65_536, 2_000_000
#: Rows a worker and step, where it has many: a step then takes longer than its message.
_LARGE_BATCH, _MANY_ROWS = 8_192, 500_000

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Task:
    """What all workers are told.

    Attributes
    ----------
    model : BaseVAE
        Its state is the table and the first weights.
    kept_out : ndarray of shape (n_kept_out, n_features)
        Validated rows of the dataset that are not trained on.
    n_held_out : int
        The first so many of them are those to stop by.
    seed : int
    """

    model: BaseVAE
    kept_out: np.ndarray
    n_held_out: int
    seed: int


def work(config: dict[str, Any]) -> None:
    """Train, together with the other workers, from the last checkpoint if any."""
    task: Task = config["task"]
    checkpoint = ray.train.get_checkpoint()
    before = None if checkpoint is None else read(checkpoint)
    if before is not None and "progress" not in before:
        return  # it had come to its end
    if get_device().type != "cpu":
        task.model.device = get_device()
    with limited(task.model.network), TemporaryFile() as file:
        X, n_own = _stage(task, file)
        _train(task, X, n_own, before)


# ---- rows ----------------------------------------------------------------------------


def _stage(task: Task, file: IO[bytes]) -> tuple[np.ndarray, int]:
    """This worker's rows as a memory map, then those to stop by; and their number."""
    n_features = task.model.n_features_in_
    names = list(task.model.feature_names_in_)
    surplus = _surplus(task.kept_out, _n_workers())
    n_at_once = max(1, min(_ROWS_AT_ONCE, _ENTRIES_AT_ONCE // n_features))
    n_own = 0
    shard = ray.train.get_dataset_shard("rows")
    for block in shard.iter_batches(batch_size=n_at_once, batch_format=BATCH_FORMAT):
        checked = task.model._check_rows(to_frame(block)[names])
        rows = np.ascontiguousarray(checked, task.kept_out.dtype)
        rows = rows[~_among(rows, surplus)]
        file.write(rows.data)
        n_own += len(rows)
    held_out = task.kept_out[: task.n_held_out]
    file.write(held_out.data)
    file.flush()
    shape = (n_own + len(held_out), n_features)
    if not shape[0]:
        return np.empty(shape), 0
    return np.memmap(file, held_out.dtype, "r", shape=shape), n_own


def _surplus(kept_out: np.ndarray, n_workers: int) -> Counter[int]:
    """How often a worker has to leave out each row, by its mark.

    A row that is there once is left out by whoever has it. Of equal rows each worker
    leaves out its share.
    """
    counts = Counter(_marks(kept_out).tolist())
    return Counter({mark: -(-n // n_workers) for mark, n in counts.items()})


def _marks(rows: np.ndarray) -> np.ndarray:
    """A number of 64 bits for each row, the same for the same cells."""
    return pd.util.hash_pandas_object(pd.DataFrame(rows), index=False).to_numpy()


def _among(rows: np.ndarray, surplus: Counter[int]) -> np.ndarray:
    """Mask of rows that are kept out; each is taken off the surplus.

    Of equal rows any may be taken, so rows need no number to be told apart by.
    """
    mask = np.zeros(len(rows), bool)
    if not surplus:
        return mask
    marks = _marks(rows)
    known = np.fromiter(surplus, np.uint64, len(surplus))
    for i in np.flatnonzero(np.isin(marks, known)):
        mark = int(marks[i])
        if mark in surplus:
            mask[i] = True
            surplus[mark] -= 1
            if not surplus[mark]:
                del surplus[mark]
    return mask


# ---- training ------------------------------------------------------------------------


def _train(
    task: Task, X: np.ndarray, n_own: int, before: dict[str, Any] | None
) -> None:
    together = _together(task.seed)
    rank = together.rank
    n_rows = _least(n_own)
    if not n_rows:
        raise ValueError(
            "A worker has no row to train on: the dataset is too small for so many. "
            "Lower num_workers of the scaling_config."
        )
    plan = _plan(task.model, n_rows)
    history = run.History(
        type(task.model).__name__,
        plan,
        task.model.verbose if rank == 0 else False,
        task.model._words,
    )
    n_before, progress = 0, None
    if before is not None:
        progress = before["progress"]
        n_before = int(progress["course"]["n_epochs"])
        history.epochs = before["epochs"][:n_before]
        pace = plan.steps_per_epoch / before["steps_per_epoch"]
        history.looks = [
            look._replace(step=look.step * pace) for look in before["looks"]
        ]
        if rank == 0:
            _log.warning(
                "Training was interrupted. It goes on after epoch %d, on %d worker(s) "
                "of %d rows each.",
                n_before,
                _n_workers(),
                n_rows,
            )
    training = run.Run(
        task.model,
        X,
        np.arange(n_rows),
        np.arange(n_own, len(X)),
        task.model._state,
        plan,
        [task.seed, 1, rank, n_before],
        together,
        progress,
    )
    told: dict[str, Any] = {
        "epochs": history.epochs,
        "looks": history.looks,
        "steps_per_epoch": plan.steps_per_epoch,
    }
    try:
        for record in training.records:
            history.add(record)
            if record.epoch_ended:
                _report({**told, "progress": training.progress()}, rank)
    except Divergence as error:
        told["divergence"] = str(error)
    else:
        told["state"] = training.state()
    _report(told, rank)


def _plan(model: BaseVAE, n_rows: int) -> Plan:
    """How to train: as on one machine, but with large steps where rows are many."""
    if model.batch_size == "auto" and n_rows >= _MANY_ROWS:
        model.batch_size = _LARGE_BATCH  # of this worker's own copy
    return parameters.plan(model, n_rows, is_mixed(model._state))


def _n_workers() -> int:
    return ray.train.get_context().get_world_size()


def _together(seed: int) -> Together:
    """All workers, by whom numbers are averaged; a single one keeps its own."""
    n_workers = _n_workers()
    if n_workers == 1:
        return Together(lambda tensor: tensor, 0, 1, seed)
    device = get_device()  # the only one that a group of GPUs sends from

    def average(tensor: Tensor) -> Tensor:
        total = tensor.to(device, copy=True)
        distributed.all_reduce(total)
        return total.div_(n_workers).to(tensor.device)

    rank = ray.train.get_context().get_world_rank()
    return Together(average, rank, n_workers, seed)


def _least(n_own: int) -> int:
    """The least of the numbers of rows that workers have: all take so many."""
    if _n_workers() == 1:
        return n_own
    least = torch.tensor(n_own, device=get_device())
    distributed.all_reduce(least, distributed.ReduceOp.MIN)
    return int(least)


# ---- checkpoints ---------------------------------------------------------------------


def _report(told: dict[str, Any], rank: int) -> None:
    """Tell Ray that an epoch has ended, and how to go on from it."""
    last = told["epochs"][-1] if told["epochs"] else None
    metrics = {} if last is None else {"epoch": last.epoch, "loss": last.loss}
    if told["looks"]:
        metrics["validation_score"] = told["looks"][-1].validation_score
    if rank:
        ray.train.report(metrics)
        return
    folder = mkdtemp()
    Path(folder, _FILE).write_bytes(pickle.dumps(told))
    ray.train.report(
        metrics,
        checkpoint=Checkpoint.from_directory(folder),
        delete_local_checkpoint_after_upload=True,  # to where all can read it
    )


def read(checkpoint: Checkpoint) -> dict[str, Any]:
    """What `_report` wrote: "epochs", "looks", and one of the following.

    "progress" where training goes on, "state" where it has ended, "divergence" where
    it has failed.
    """
    with checkpoint.as_directory() as folder:
        return pickle.loads(Path(folder, _FILE).read_bytes())
