"""Searches on a cluster: a table that is sent once, and fits that Ray Tune may end.

The searches themselves are those of scikit-learn, by Ray's backend for joblib, and of
Ray Tune. Ray's backend pickles the table anew for every fit; `put` spares that.
"""

from collections.abc import Callable
from copy import copy, deepcopy
from functools import cache
from numbers import Integral
from typing import Any, SupportsIndex

import numpy as np
import ray
from scipy.sparse import csr_array, csr_matrix
from sklearn.base import BaseEstimator
from sklearn.callback import CallbackContext
from sklearn.utils import check_scalar

from skvae.callbacks import check_has_likelihood, is_due, rows_to_score
from skvae.frames import Table

__all__ = ["RayTuneReport", "put"]

#: Seconds until a table is taken to be unknown to the cluster.
_PATIENCE = 60


def put(X: Table) -> Table:
    """The same table, once in Ray's object store, to be searched on by many fits.

    Under ``joblib.parallel_config(backend="ray")`` every fit gets the whole of X by
    itself. What this returns can be used as X is, and pickles as a reference of some
    bytes: each machine fetches it once, and the fits on it read the same memory.

    Parameters
    ----------
    X : ndarray, CSR matrix or pandas DataFrame of shape (n_samples, n_features)
        Copied as it is now: later changes of X are not seen. Arrays may have any number
        of axes, so that it takes a y, too.

    Returns
    -------
    X : ndarray, CSR matrix or pandas DataFrame of shape (n_samples, n_features)
        A view of the object store's memory, read-only, where X is one of numbers; text
        and other objects are copied for each fit. What is cut from it, copied or
        computed is a table like any other, and pickles with its values.

    Raises
    ------
    TypeError
        If X is of another kind, such as a polars DataFrame.
    RuntimeError
        Where the result is unpickled, if that is not on the cluster: a process of
        another kind of parallelism, or a model that was saved with it.

    See Also
    --------
    RayTuneReport : For searches that end what stays behind.

    Notes
    -----
    The table stays in the store as long as the result, or a copy of the reference, is
    used anywhere. Columns of a frame can be replaced; that is not seen by the fits, so
    put the changed frame again.

    ``ray.tune.with_parameters`` does the same for the trials of Ray Tune.

    Examples
    --------
    >>> import ray  # doctest: +SKIP
    >>> from joblib import parallel_config  # doctest: +SKIP
    >>> from ray.util.joblib import register_ray  # doctest: +SKIP
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.model_selection import GridSearchCV
    >>> from skvae import VAETransformer
    >>> from skvae.ray import put
    >>> X = load_breast_cancer().data
    >>> search = GridSearchCV(VAETransformer(), {"n_components": [2, 4, 8]})
    >>> ray.init(address="auto")  # doctest: +SKIP
    >>> register_ray()  # doctest: +SKIP
    >>> with parallel_config(backend="ray", n_jobs=-1):  # doctest: +SKIP
    ...     search.fit(put(X))
    """
    if isinstance(X, _StoredArray) and X._reference is not None:
        return X  # of the other kinds parts may have been replaced
    return _fetch(ray.put(_kind(X)._plain(X)))


class _Stored:
    """A table in the object store, which pickles as its reference alone.

    What is cut from it, copied or computed has no reference, and pickles as it is.
    """

    #: Makes a table of the same kind without a reference.
    _plain: Callable[[Any], Table]
    _reference: Any = None

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[Any, ...]:
        if self._reference is None:
            return self._plain, (self._plain(self),)
        return _fetch, (self._reference,)

    def __copy__(self) -> Any:
        return copy(self._plain(self))

    def __deepcopy__(self, memo: dict[int, Any] | None, /) -> Any:
        return deepcopy(self._plain(self), memo)


class _StoredArray(_Stored, np.ndarray):
    _plain = staticmethod(np.asarray)


class _StoredCSRArray(_Stored, csr_array):
    _plain = csr_array


class _StoredCSRMatrix(_Stored, csr_matrix):
    _plain = csr_matrix


@cache
def _stored_frame() -> type[_Stored]:
    import pandas as pd

    class StoredFrame(_Stored, pd.DataFrame):
        _plain = _constructor = pd.DataFrame

    return StoredFrame


def _kind(X: Table) -> type[_Stored]:
    """What a table is once it is in the object store."""
    if isinstance(X, np.ndarray):
        return _StoredArray
    if isinstance(X, csr_array):
        return _StoredCSRArray
    if isinstance(X, csr_matrix):
        return _StoredCSRMatrix
    if hasattr(X, "iloc") and hasattr(X, "columns"):
        return _stored_frame()
    raise TypeError(
        "put takes a NumPy array, a sparse matrix in CSR format or a pandas DataFrame, "
        f"got {type(X).__module__}.{type(X).__name__}. Convert it first, for example "
        "by to_pandas(), tocsr() or numpy.asarray."
    )


def _fetch(reference: Any) -> Table:
    """The table that a reference stands for; what is pickled instead of it."""
    is_here = ray.is_initialized()
    if is_here:  # of another cluster's, ray.get would wait for ever
        is_here = bool(ray.wait([reference], timeout=_PATIENCE, fetch_local=False)[0])
    if not is_here:
        raise RuntimeError(
            "A table of skvae.ray.put was pickled, as a reference to Ray's object "
            "store, and this process is not on the same cluster. Search with "
            'joblib.parallel_config(backend="ray"), or with the table itself, and take '
            "it off callbacks before a model is saved."
        )
    table: Any = ray.get(reference)
    kind: Any = _kind(table)
    if isinstance(table, np.ndarray):
        table.flags.writeable = False  # objects are copies, which could be written to
        stored = table.view(kind)
    else:
        stored = kind(table)
    stored._reference = reference
    return stored


class RayTuneReport:
    """Report the held-out log-likelihood of each epoch to Ray Tune.

    Set on the estimator of a trial, it calls ``ray.tune.report`` after every epoch,
    with "log_likelihood", by `score` of rows that are not trained on: mean log p(x), in
    nats per row and in the units of the X that the estimator is given; and with
    "epoch", from 1 on. A scheduler of Tune, such as ASHA, may thereupon end the trial,
    which ends the fit. One that is not ended reports once more, as the model is in the
    end.

    Parameters
    ----------
    X : array-like, sparse matrix or data frame of shape (n_samples, n_features) or \
            None, default=None
        Rows to score, as the estimator itself would be given them: of a pipeline, after
        its other steps. None: those that the fit holds out for early stopping.
    every : int, default=1
        Epochs from one report to the next.

    See Also
    --------
    skvae.callbacks.OptunaPruning : The same for the pruners of Optuna.
    skvae.callbacks.LogLikelihoodMonitor : Logs the same numbers, and stops nothing.

    Notes
    -----
    A trial is one fit: of several, such as `cross_val_score`, the epochs of the second
    would be compared with later epochs of the first. Log-likelihoods compare between
    fits that see X in the same units, and hold out the same rows: let `random_state` be
    an integer.

    A trial that is ended does not return from `fit`. ASHA ends a trial that reaches its
    `max_t`, too: let that be more than `max_iter`, if anything comes after the fit.

    References
    ----------
    L. Li et al., "A System for Massively Parallel Hyperparameter Tuning", MLSys 2020:
    the scheduler ASHA.

    Examples
    --------
    >>> from ray import tune  # doctest: +SKIP
    >>> from sklearn.datasets import load_breast_cancer
    >>> from skvae import VAETransformer
    >>> from skvae.ray import RayTuneReport
    >>> X = load_breast_cancer().data
    >>> def trial(config, X):
    ...     vae = VAETransformer(**config, max_iter=60, random_state=0)
    ...     vae.set_callbacks(RayTuneReport()).fit(X)
    >>> scheduler = tune.schedulers.ASHAScheduler(
    ...     time_attr="epoch", max_t=61, grace_period=5
    ... )  # doctest: +SKIP
    >>> results = tune.Tuner(
    ...     tune.with_parameters(trial, X=X),
    ...     param_space={"n_components": tune.grid_search([2, 4, 8])},
    ...     tune_config=tune.TuneConfig(
    ...         metric="log_likelihood", mode="max", scheduler=scheduler
    ...     ),
    ... ).fit()  # doctest: +SKIP
    """

    def __init__(self, X: Table | None = None, *, every: int = 1) -> None:
        self.X = X
        self.every = check_scalar(every, "every", Integral, min_val=1)

    def setup(self, estimator: BaseEstimator, context: CallbackContext) -> None:
        """Called by the estimator as its fit begins.

        Parameters
        ----------
        estimator : estimator instance
            The estimator whose fit it is.
        context : sklearn.callback.CallbackContext
            Its task: the fit.

        Raises
        ------
        TypeError
            If the estimator has no log-likelihood.
        """
        check_has_likelihood(self, estimator)

    def teardown(self, estimator: BaseEstimator, context: CallbackContext) -> None:
        """Called by the estimator as its fit has ended, or failed.

        Parameters
        ----------
        estimator : estimator instance
            The estimator whose fit it is.
        context : sklearn.callback.CallbackContext
            Its task: the fit.
        """

    def on_fit_task_begin(
        self, estimator: BaseEstimator, context: CallbackContext
    ) -> None:
        """Called by the estimator at the start of each epoch, and of the fit.

        Parameters
        ----------
        estimator : estimator instance
            The estimator whose fit it is.
        context : sklearn.callback.CallbackContext
            Its task: the fit, or an epoch of it.
        """

    def on_fit_task_end(
        self,
        estimator: BaseEstimator,
        context: CallbackContext,
        *,
        X: Table | None = None,
        fitted_estimator: Any = None,
    ) -> None:
        """Called by the estimator at the end of each epoch, and of the fit.

        Parameters
        ----------
        estimator : estimator instance
            The estimator whose fit it is.
        context : sklearn.callback.CallbackContext
            Its task: the fit, or an epoch of it.
        X : array-like, sparse matrix or data frame of shape (n_samples, n_features) \
                or None, default=None
            The rows of fit.
        fitted_estimator : estimator instance or None, default=None
            The estimator as it would be if the fit ended now.

        Raises
        ------
        ValueError
            If there are no rows to score.
        SystemExit
            By Ray Tune, if the trial is to end.
        """
        if not is_due(self, context):
            return
        from ray import tune  # slow to import, and not needed by fits of other searches

        rows = rows_to_score(self, X, fitted_estimator)
        score = float(fitted_estimator.score(rows))
        # The epochs so far: the curves have a value for each.
        tune.report({"log_likelihood": score, "epoch": fitted_estimator.n_iter_})
