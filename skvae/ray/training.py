"""Fits to datasets that no machine holds, by several workers at once."""

import dataclasses
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer
from sklearn.base import clone

from skvae import columns, likelihoods, objectives, parameters, run
from skvae.base import BaseVAE, draw_seed
from skvae.collapse import warn_of_collapse
from skvae.frames import Matrix
from skvae.ray.survey import Survey, survey
from skvae.ray.worker import Task, read, work
from skvae.settings import resolve
from skvae.threads import limited

if TYPE_CHECKING:
    from ray.data import Dataset

__all__ = ["fit_dataset"]

Estimator = TypeVar("Estimator", bound=BaseVAE)

#: Times that Ray begins anew from the last checkpoint, where nothing else is said.
_MAX_FAILURES = 3
#: Share of the sample of rows that may be kept out of training, for each purpose.
_MOST_KEPT_OUT = 0.25


def fit_dataset(
    estimator: Estimator,
    dataset: "Dataset",
    *,
    scaling_config: ScalingConfig | None = None,
    run_config: RunConfig | None = None,
) -> Estimator:
    """Fit an estimator to a Ray dataset, such as a directory of Parquet files.

    One pass over the dataset finds means, variances, labels, ranges and holes, and a
    uniform sample of rows. A second one gives each worker its share of the rows, which
    it writes to a temporary file of its own. The workers then train as `fit` does,
    their gradients averaged at every step, and stop by held-out rows of which each
    scores a part. After every epoch there is a checkpoint, from which Ray goes on when
    a worker or a node is lost.

    Parameters
    ----------
    estimator : VAETransformer, VAEOutlierDetector, VAEImputer or AETransformer
        Not changed; a fit of its own is not gone on from. Its callbacks are not called.
        A `batch_size` is one of each worker, as in PyTorch's data parallelism; "auto"
        is that of `fit` for as many rows as a worker has, or 8,192 from 500,000 rows
        up.
    dataset : ray.data.Dataset of n_samples rows and n_features columns
        Of numbers and labels, with holes or without, and with no other columns than
        those that are to be modelled: leave identifiers out by ``drop_columns``. It is
        read twice, and again where a worker was lost, and has to give the same rows
        each time: ``materialize`` one that is drawn at random.
    scaling_config : ray.train.ScalingConfig or None, default=None
        How many workers there are; one by default. Where it names no resources the
        workers ask for no CPU, so that reading is never starved by them, and are spread
        over the nodes.
    run_config : ray.train.RunConfig or None, default=None
        Where checkpoints go: on several machines to a storage that all of them reach.
        Ray begins anew up to three times, unless its `failure_config` names another
        number than Ray's default, which is 0.

    Returns
    -------
    fitted : estimator
        A fitted estimator of the same class and parameters, which needs no Ray.

    Raises
    ------
    ValueError
        As `fit`, naming the column or parameter; if a column has more than 100,000
        different labels; or if training diverges.
    ray.train.TrainingFailedError
        If workers were lost, or failed, more often than the `run_config` allows.

    Warns
    -----
    PosteriorCollapseWarning
        As `fit`.

    See Also
    --------
    score_dataset : Scores of the rows of a dataset.

    Notes
    -----
    Bins, the start of training, and what is learned from scores, such as the threshold
    of VAEOutlierDetector, are those of the sample: of 50,000 rows, or 5,000,000 numbers
    if that is less. `random_state` seeds the sample, the first weights, the order of
    rows and the noise; which rows a worker gets, and in which order, is Ray's matter,
    so that two runs differ as two seeds do.

    References
    ----------
    S. Li et al., "PyTorch Distributed: Experiences on Accelerating Data Parallel
    Training", VLDB 2020.

    Examples
    --------
    A table of any length, by eight workers::

        rows = ray.data.read_parquet("s3://bucket/table").drop_columns(["id"])
        vae = fit_dataset(
            VAETransformer(random_state=0),
            rows,
            scaling_config=ScalingConfig(num_workers=8),
            run_config=RunConfig(storage_path="s3://bucket/runs"),
        )
    """
    model = clone(estimator)
    model.set_callbacks()
    model._validate_params()
    with limited(model.network):
        return _fit(model, dataset, scaling_config, run_config)


def _fit(
    model: Estimator,
    dataset: "Dataset",
    scaling_config: ScalingConfig | None,
    run_config: RunConfig | None,
) -> Estimator:
    if resolve(model.objective, objectives.FAMILIES).n_encoder_steps > 1:
        raise ValueError(
            f"objective={model.objective!r} decides whose turn it is by the rows of "
            "one process, and cannot be trained by several. Use another objective."
        )
    names = dataset.columns()
    if not names:
        raise ValueError("The dataset has no rows to fit to.")
    seed = draw_seed(model.random_state)
    whole = survey(dataset, len(names), _levelled(model, names), seed)
    X, layout = model._validate(whole.stand_in(), reset=True, min_samples=2)
    n_held_out, n_apart = _kept_out(model, whole)
    n_kept_out = n_held_out + n_apart
    placed = _placed(scaling_config)
    n_workers: Any = np.max(np.asarray(placed.num_workers, dtype=int))
    if whole.n_rows - n_kept_out < n_workers:
        raise ValueError(
            f"{n_workers} workers need a row each to train on, and of "
            f"{whole.n_rows} rows {n_kept_out} are kept out. Lower num_workers of the "
            "scaling_config, or set early_stopping=False."
        )
    rows = np.arange(n_kept_out, len(X))
    table = model._new_table(X, rows, layout)
    table.recentre(*_moments(whole, names, X, model.standardize))
    drawn = np.arange(n_kept_out, len(whole.sample))
    state = run.start(model, table, X, drawn, seed)
    state["likelihood"] = columns.plain(model.likelihood)
    model._state = state
    task = Task(model, np.ascontiguousarray(X[:n_kept_out]), n_held_out, seed)
    trainer = TorchTrainer(
        work,
        train_loop_config={"task": task},
        scaling_config=placed,
        run_config=_lasting(run_config),
        datasets={"rows": dataset},
    )
    checkpoint: Any = trainer.fit().checkpoint
    told = read(checkpoint)
    if "divergence" in told:
        raise ValueError(model._explain(told["divergence"], table, X))
    sample = X[: len(whole.sample)]
    apart = np.arange(n_held_out, n_kept_out)
    model.__dict__.update(
        {
            **model._summary(told["state"], sample, apart),
            **model._curves(told["epochs"], before=False),
            "validation_scores_": [look.validation_score for look in told["looks"]],
            "validation_epochs_": [
                look.step / told["steps_per_epoch"] for look in told["looks"]
            ],
        }
    )
    warn_of_collapse(model, sample, drawn)
    return model


def _levelled(model: BaseVAE, names: Sequence[str]) -> set[Hashable]:
    """Columns that are asked to be levels, whatever they hold."""
    wishes = columns.asked(model.likelihood, {"columns": names}, len(names))
    return {
        name
        for name, wish in zip(names, wishes, strict=True)
        if wish != "auto"
        and resolve(wish, likelihoods.FAMILIES).codec
        in ("categories", "identifiers", "ordered")
    }


def _kept_out(model: BaseVAE, whole: Survey) -> tuple[int, int]:
    """Numbers of rows of the sample to stop by, and to calibrate by."""
    most = max(1, int(_MOST_KEPT_OUT * len(whole.sample)))
    n_held_out, n_apart = parameters.kept_out(model, whole.n_rows)
    return min(n_held_out, most), min(n_apart, most)


def _moments(
    whole: Survey, names: Sequence[str], X: Matrix, standardize: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Means and scales of columns over all rows; NaN where there are none."""
    mean, scale = np.full((2, len(names)), np.nan)
    for j, name in enumerate(names):
        if name in whole.counts:
            mean[j] = whole.means[name]
            varies = np.nanmin(X[:, j]) < np.nanmax(X[:, j])
            if standardize and varies:
                scale[j] = np.sqrt(whole.squares[name] / whole.counts[name])
    return mean, scale


def _placed(scaling_config: ScalingConfig | None) -> ScalingConfig:
    """Workers that leave the CPUs to what reads, where nothing else is asked for."""
    config = ScalingConfig() if scaling_config is None else scaling_config
    if config.use_gpu or config.resources_per_worker is not None:
        return config
    is_default = config.placement_strategy == ScalingConfig().placement_strategy
    return dataclasses.replace(
        config,
        resources_per_worker={"memory": 1},  # of bytes; Ray does not allow for less
        placement_strategy="SPREAD" if is_default else config.placement_strategy,
    )


def _lasting(run_config: RunConfig | None) -> RunConfig:
    """Runs that outlive a node, where nothing else is asked for."""
    config = RunConfig() if run_config is None else run_config
    if config.failure_config not in (None, FailureConfig()):
        return config
    failure_config = FailureConfig(max_failures=_MAX_FAILURES)
    return dataclasses.replace(config, failure_config=failure_config)
