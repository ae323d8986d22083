"""Fitted estimators over datasets that no machine holds: codes, scores and new rows.

Each actor holds the estimator, and the rows come past in blocks.
"""

from collections.abc import Callable, Sequence
from copy import deepcopy
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import ray.data
from ray.data import ActorPoolStrategy
from sklearn.base import BaseEstimator
from sklearn.utils import check_scalar
from sklearn.utils.validation import check_is_fitted

from skvae.base import BaseVAE, draw_seed
from skvae.frames import Table
from skvae.ray.tables import BATCH_FORMAT, to_frame

if TYPE_CHECKING:
    from ray.data import Dataset

__all__ = ["sample_dataset", "score_dataset", "transform_dataset"]

#: Methods that give each row a number or, the last one, a row of numbers.
_METHODS = (
    "score_samples",
    "decision_function",
    "predict",
    "p_values",
    "reconstruction_error",
    "score_features",
)
#: Bytes that an actor takes with a small model: torch above all.
_MEMORY = 512 * 2**20


def transform_dataset(
    estimator: BaseEstimator,
    dataset: "Dataset",
    *,
    passthrough: Sequence[str] | None = None,
    batch_size: int = 8192,
    concurrency: int | tuple[int, int] | None = None,
) -> "Dataset":
    """Codes of the rows of a Ray dataset.

    Parameters
    ----------
    estimator : fitted estimator
        Of this package, or a pipeline that ends in one. It gets its columns by name, in
        the order of `fit`; if it was fitted without names, all that `passthrough` does
        not name.
    dataset : ray.data.Dataset of n_samples rows
        With the columns of `fit`, and others or none.
    passthrough : list of str or None, default=None
        Columns that come along unchanged, such as identifiers. None is all columns that
        the estimator does not read.
    batch_size : int, default=8192
        Rows that are transformed at once.
    concurrency : int, (int, int) or None, default=None
        Number of actors, or the least and the greatest. None is from 1 up to the number
        of CPUs that the cluster has at the time of the call.

    Returns
    -------
    codes : ray.data.Dataset of n_samples rows
        Lazy. The columns of `passthrough`, then those of
        ``estimator.get_feature_names_out()``. Ray does not keep the order of rows.

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.
    AttributeError
        If the estimator does not transform.
    ValueError
        If columns are missing, or as many as fit had are not to be found, or one that
        comes along has the name of a new one; or if each row has several imputations.

    See Also
    --------
    score_dataset : Scores of rows, where the notes on both are.

    Notes
    -----
    The result of VAEImputer is the table with its holes filled. If holes are drawn, by
    ``sample_posterior=True``, leave its `random_state` at None: from a seed each block
    would draw the same numbers.

    Examples
    --------
    Codes of all rows of a table, and the identifiers of these::

        rows = ray.data.read_parquet("s3://bucket/table")
        codes = transform_dataset(vae, rows, passthrough=["id"])
        codes.write_parquet("s3://bucket/codes")
    """
    check_is_fitted(estimator)
    if getattr(estimator, "n_imputations", 1) > 1:
        raise ValueError(
            f"n_imputations={estimator.n_imputations} gives several tables, and a "
            "dataset is one. Set n_imputations=1, and transform once for each of them."
        )
    transform = estimator.transform
    names = list(estimator.get_feature_names_out())
    return _answered(
        estimator, transform, names, dataset, passthrough, batch_size, concurrency
    )


def score_dataset(
    estimator: BaseEstimator,
    dataset: "Dataset",
    *,
    method: str = "score_samples",
    passthrough: Sequence[str] | None = None,
    batch_size: int = 8192,
    concurrency: int | tuple[int, int] | None = None,
) -> "Dataset":
    """Scores of the rows of a Ray dataset, those that the method gives on one machine.

    Parameters
    ----------
    estimator : fitted estimator
        Of this package, or a pipeline that ends in one. It gets its columns by name, in
        the order of `fit`; if it was fitted without names, all that `passthrough` does
        not name.
    dataset : ray.data.Dataset of n_samples rows
        With the columns of `fit`, and others or none.
    method : str, default="score_samples"
        "score_samples", "decision_function", "predict", "p_values",
        "reconstruction_error" or "score_features", whichever the estimator has.
    passthrough : list of str or None, default=None
        Columns that come along unchanged, such as identifiers. None is all columns that
        the estimator does not read.
    batch_size : int, default=8192
        Rows that are scored at once.
    concurrency : int, (int, int) or None, default=None
        Number of actors, or the least and the greatest. None is from 1 up to the number
        of CPUs that the cluster has at the time of the call.

    Returns
    -------
    scores : ray.data.Dataset of n_samples rows
        Lazy. The columns of `passthrough`, then one named after the method, in nats or
        the unit that the method has; of "score_features" the columns that the method
        gives a data frame. Ray does not keep the order of rows.

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.
    ValueError
        If the estimator has no such method, if columns are missing, or as many as fit
        had are not to be found, or if one that comes along has the name of a new one.

    See Also
    --------
    transform_dataset : Codes of rows.

    Notes
    -----
    What is wrong with rows, such as a label that fit had not seen, comes up where the
    result is consumed: as Ray's error, whose text has the estimator's in it.

    Rows reach the estimator as ``pandas.read_parquet`` would give them: text and
    categories as they are, whole numbers with holes as floats. Actors ask Ray for no
    CPU, since reading could not go on where they had taken the last one, and for no
    GPU: an estimator that was fitted on one wants ``set_params(device=None)``. They are
    spread over all nodes. If a node is lost, Ray computes its rows anew, and each is
    there once.

    Examples
    --------
    The rows of a table that are least like those of fit::

        from ray.data.expressions import col

        rows = ray.data.read_parquet("s3://bucket/table")
        scores = score_dataset(detector, rows, method="p_values")
        suspects = scores.filter(expr=col("p_values") <= 0.01)
    """
    check_is_fitted(estimator)
    known = [name for name in _METHODS if hasattr(estimator, name)]
    if method not in known:
        raise ValueError(
            f"method of {type(estimator).__name__} must be one of {known}, got "
            f"{method!r}."
        )
    names = [method]
    if isinstance(estimator, BaseVAE):
        estimator = deepcopy(estimator).set_output(transform="pandas")
        # What is wrong with the estimator is to come up here, and not in the actors.
        answer = getattr(estimator, method)(_row_of_holes(estimator))
        names = list(getattr(answer, "columns", names))
    score = getattr(estimator, method)
    return _answered(
        estimator, score, names, dataset, passthrough, batch_size, concurrency
    )


def sample_dataset(
    estimator: BaseEstimator,
    n_samples: int,
    *,
    random_state: int | np.random.RandomState | None = None,
    batch_size: int = 8192,
    concurrency: int | tuple[int, int] | None = None,
) -> "Dataset":
    """New rows, drawn from a model by several actors.

    Parameters
    ----------
    estimator : VAETransformer
        Fitted.
    n_samples : int
        Number of rows.
    random_state : int, RandomState instance or None, default=None
        Seed of the draws. None takes one from NumPy's global state.
    batch_size : int, default=8192
        Rows that are drawn at once.
    concurrency : int, (int, int) or None, default=None
        Number of actors, or the least and the greatest. None is from 1 up to the number
        of CPUs that the cluster has at the time of the call.

    Returns
    -------
    rows : ray.data.Dataset of n_samples rows
        Lazy. With the columns of `fit`, or "x0", "x1", ... where these have no names,
        of the types that ``estimator.sample`` gives them.

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.
    AttributeError
        If the estimator does not draw rows.
    ValueError
        If `n_samples` or `batch_size` is below 1, or `random_state` below 0.

    Notes
    -----
    The rows are those of ``estimator.sample(n, random_state=seed)`` for each block i of
    `batch_size` rows, the last one perhaps shorter, with ``seed =
    numpy.random.SeedSequence([random_state, i]).generate_state(1)[0]``. They depend on
    `random_state` and `batch_size`, and not on the number of actors. Where
    `random_state` is no int, one is drawn from it.

    Examples
    --------
    A made-up table as large as a given one::

        rows = sample_dataset(vae, 1_000_000_000, random_state=0)
        rows.write_parquet("s3://bucket/made_up")
    """
    check_is_fitted(estimator)
    sample = estimator.sample
    check_scalar(n_samples, "n_samples", Integral, min_val=1)
    check_scalar(batch_size, "batch_size", Integral, min_val=1)
    if not isinstance(random_state, Integral):
        random_state = draw_seed(random_state)
    check_scalar(random_state, "random_state", Integral, min_val=0)
    n_blocks = -(-n_samples // batch_size)
    return _mapped(
        ray.data.range(n_blocks),
        _Draws,
        (sample, n_samples, batch_size, random_state),
        batch_size=1,
        batch_format="numpy",
        concurrency=concurrency,
    )


class _Answers:
    """What a method answers to blocks of rows, beside columns that come along.

    Parameters
    ----------
    method : callable
        Of a fitted estimator.
    read : tuple of str
        Columns that the method takes.
    with_names : bool
        Whether it takes them as a data frame.
    passed : tuple of str
        Columns that come along.
    names : tuple of str
        Of the columns of the answer.
    """

    def __init__(
        self,
        method: Callable[[Table], Table],
        read: tuple[str, ...],
        with_names: bool,
        passed: tuple[str, ...],
        names: tuple[str, ...],
    ) -> None:
        self.method = method
        self.read = read
        self.with_names = with_names
        self.passed = passed
        self.names = names

    def __call__(self, rows: pa.Table) -> pa.Table:
        X = to_frame(rows.select(self.read))
        answer = _arrow(self.method(X if self.with_names else X.to_numpy()))
        columns = [*rows.select(self.passed).columns, *answer.columns]
        return pa.Table.from_arrays(columns, names=[*self.passed, *self.names])


class _Draws:
    """New rows, by the number of their block.

    Parameters
    ----------
    sample : callable
        Of a fitted estimator.
    n_samples : int
        Rows in all.
    batch_size : int
        Rows in a block.
    seed : int
    """

    def __init__(
        self, sample: Callable[..., Table], n_samples: int, batch_size: int, seed: int
    ) -> None:
        self.sample = sample
        self.n_samples = n_samples
        self.batch_size = batch_size
        self.seed = seed

    def __call__(self, batch: dict[str, np.ndarray]) -> pa.Table:
        block = int(batch["id"][0])
        (seed,) = np.random.SeedSequence([self.seed, block]).generate_state(1)
        n_rows = min(self.batch_size, self.n_samples - block * self.batch_size)
        return _arrow(self.sample(n_rows, random_state=int(seed)))


def _answered(
    estimator: BaseEstimator,
    method: Callable[[Table], Table],
    names: Sequence[str],
    dataset: "Dataset",
    passthrough: Sequence[str] | None,
    batch_size: int,
    concurrency: int | tuple[int, int] | None,
) -> "Dataset":
    """The answers of a method to the rows of a dataset."""
    present = dataset.columns() or []
    with_names = hasattr(estimator, "feature_names_in_")
    if with_names:
        read = list(estimator.feature_names_in_)
    else:
        read = [name for name in present if name not in (passthrough or [])]
    if passthrough is None:
        passed = [name for name in present if name not in read]
    else:
        passed = list(passthrough)
    _check_columns(estimator, present, read, passed, names)
    needed = list(dict.fromkeys([*read, *passed]))
    if len(needed) < len(present):
        dataset = dataset.select_columns(needed)  # the others are not even read
    return _mapped(
        dataset,
        _Answers,
        (method, tuple(read), with_names, tuple(passed), tuple(names)),
        batch_size=batch_size,
        batch_format=BATCH_FORMAT,
        concurrency=concurrency,
    )


def _check_columns(
    estimator: BaseEstimator,
    present: Sequence[str],
    read: Sequence[str],
    passed: Sequence[str],
    names: Sequence[str],
) -> None:
    name = type(estimator).__name__
    for wanted, words in ((read, f"{name} was fitted on"), (passed, "passthrough has")):
        missing = [column for column in wanted if column not in present]
        if missing:
            raise ValueError(
                f"{words} columns that the dataset does not have: {missing}. It has "
                f"{list(present)}."
            )
    if len(read) != estimator.n_features_in_:
        raise ValueError(
            f"{name} was fitted on {estimator.n_features_in_} columns without names, "
            f"and there are {len(read)} to be read: {list(read)}. Name the others in "
            "passthrough, or drop them."
        )
    taken = [column for column in names if column in passed]
    if taken:
        raise ValueError(
            f"The result has columns {taken} of its own, and the dataset has columns "
            "of that name. Rename these, or leave them out of passthrough."
        )


def _mapped(
    dataset: "Dataset",
    actor: type,
    arguments: tuple[Any, ...],
    *,
    batch_size: int,
    batch_format: str,
    concurrency: int | tuple[int, int] | None,
) -> "Dataset":
    """A dataset through a pool of actors."""
    return dataset.map_batches(
        actor,
        fn_constructor_args=arguments,
        batch_size=batch_size,
        batch_format=batch_format,
        compute=_pool(concurrency),
        # Where actors hold the last CPU, as after a node was lost, nothing is read.
        num_cpus=0,
        # Those that ask for nothing at all are placed at random.
        memory=_MEMORY,
        udf_modifying_row_count=actor is _Draws,
    )


def _pool(concurrency: int | tuple[int, int] | None) -> ActorPoolStrategy:
    if concurrency is None:
        n_cpus = int(ray.cluster_resources().get("CPU", 1))
        return ActorPoolStrategy(min_size=1, max_size=max(n_cpus, 1))
    if isinstance(concurrency, int):
        return ActorPoolStrategy(size=concurrency)
    least, greatest = concurrency
    return ActorPoolStrategy(min_size=least, max_size=greatest)


def _row_of_holes(estimator: BaseVAE) -> Table:
    holes = np.full((1, estimator.n_features_in_), np.nan)
    if not hasattr(estimator, "feature_names_in_"):
        return holes
    return pd.DataFrame(holes, columns=estimator.feature_names_in_)


def _arrow(answer: Table) -> pa.Table:
    """An array or a data frame, with columns x0, x1, ... where these have no names."""
    if hasattr(answer, "to_arrow"):  # of polars
        return answer.to_arrow()
    if not hasattr(answer, "columns"):
        columns = np.atleast_2d(np.asarray(answer).T)
        names = [f"x{j}" for j in range(len(columns))]
        return pa.table([pa.array(column) for column in columns], names=names)
    labels = [name if isinstance(name, str) else f"x{name}" for name in answer.columns]
    return pa.Table.from_pandas(
        answer.set_axis(labels, axis=1), preserve_index=False
    ).replace_schema_metadata()
