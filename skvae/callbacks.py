"""Callbacks that watch a fit by rows it does not train on: a monitor, and a pruner.

They are set by `set_callbacks`, also on an estimator within a pipeline or a search,
whose clones share them. `sklearn.callback.ProgressBar` is set on the outermost one.
"""

from numbers import Integral
from threading import Lock
from typing import TYPE_CHECKING, Any

from sklearn.base import BaseEstimator
from sklearn.callback import CallbackContext, ScoringMonitor
from sklearn.utils import check_scalar

from skvae.frames import Table, taken

if TYPE_CHECKING:
    from optuna import Study, Trial

__all__ = ["LogLikelihoodMonitor", "OptunaPruning"]

#: From the first step of a fit of a trial to that of the next: more than any has.
_STEPS_OF_A_FIT = 1_000_000
_COUNTING = Lock()


class LogLikelihoodMonitor(ScoringMonitor):
    """Log the held-out log-likelihood of a model at each epoch of its fit.

    Scikit-learn's `ScoringMonitor` scores the rows of training, and none where there is
    no y. This one scores rows that are not trained on, by `score`: mean log p(x), in
    nats per row and in the units of the X that the estimator is given.

    A look takes the time of summing up the model and of scoring these rows, which may
    be several times that of an epoch. Seldom looks (`every`) and few draws
    (`n_importance_samples`) make the scoring less; summed up the model is at every
    epoch, which for a detector is to score all rows.

    A model keeps its callbacks, also when it is saved: take them off first, by
    ``set_callbacks()`` without arguments.

    Parameters
    ----------
    X : array-like, sparse matrix or data frame of shape (n_samples, n_features) or \
            None, default=None
        Rows to score, as the estimator itself would be given them: of a pipeline, after
        its other steps. None: those that the fit holds out for early stopping.
    every : int, default=1
        Epochs from one look to the next.

    See Also
    --------
    OptunaPruning : Stops fits that do worse than others.
    LossCurveDisplay : The course of a fit, afterwards and without a callback.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skvae import VAETransformer
    >>> from skvae.callbacks import LogLikelihoodMonitor
    >>> monitor = LogLikelihoodMonitor()
    >>> vae = VAETransformer(2, max_iter=3, random_state=0).set_callbacks(monitor)
    >>> _ = vae.fit(load_iris().data)
    >>> [row["task_name"] for row in monitor.get_logs().data]
    ['fit', 'epoch', 'epoch', 'epoch']
    >>> bool(monitor.get_logs().data[-1]["log_likelihood"] < 0)
    True
    """

    def __init__(self, X: Table | None = None, *, every: int = 1) -> None:
        super().__init__(scoring=_log_likelihood)
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
        super().setup(estimator, context)

    def on_fit_task_end(
        self,
        estimator: BaseEstimator,
        context: CallbackContext,
        *,
        X: Table | None = None,
        y: object = None,
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
        y : object, default=None
            Not used.
        fitted_estimator : estimator instance or None, default=None
            The estimator as it would be if the fit ended now.

        Raises
        ------
        ValueError
            If there are no rows to score.
        """
        if not is_due(self, context):
            return
        rows = rows_to_score(self, X, fitted_estimator)
        # The base scores nothing without a y, which is of no matter here.
        super().on_fit_task_end(
            estimator, context, X=rows, y=(), fitted_estimator=fitted_estimator
        )


class OptunaPruning:
    """Stop fits early whose held-out log-likelihood Optuna's pruner finds too low.

    At the end of each epoch `score` of rows that are not trained on is reported: mean
    log p(x), in nats per row. Given a trial, within an objective of
    ``study.optimize``, a fit that is to be pruned is ended by ``optuna.TrialPruned``,
    as Optuna expects it; the estimator is left as it was. Given a study, every fit is
    a trial of its own, and one that is to be pruned ends as if by early stopping: so a
    `GridSearchCV` goes on with the model as it is by then, and its score. The last fit
    of a search, of the best parameters on all rows, is left alone.

    Parameters
    ----------
    trial : optuna.trial.Trial or optuna.study.Study
        To compare with. The study's direction must be "maximize".
    X : array-like, sparse matrix or data frame of shape (n_samples, n_features) or \
            None, default=None
        Rows to score, as the estimator itself would be given them: of a pipeline, after
        its other steps. None: those that the fit holds out for early stopping.
    every : int, default=1
        Epochs from one report to the next.

    Raises
    ------
    TypeError
        If `trial` is neither a trial nor a study.

    See Also
    --------
    LogLikelihoodMonitor : Logs the same numbers, and stops nothing.

    Notes
    -----
    Log-likelihoods compare between fits that see X in the same units, and hold out the
    same rows: search over scalers in other ways, and, with a study, on one split
    (``cv=ShuffleSplit(1, random_state=0)``), since the rows of some folds are harder.

    Of a trial with several fits, such as `cross_val_score` in the objective, the steps
    of the second begin at 1,000,000, those of the third at 2,000,000, so that folds are
    compared with the same fold of other trials; give it ``error_score="raise"``, so
    that scikit-learn does not hold the pruning for a failure of one fold.

    Fits in other processes (``n_jobs=2``) share a study by its storage: one in memory
    cannot be shared, and is refused there, as is a trial. Threads share any.

    A model keeps its callbacks, also when it is saved: take them off first, by
    ``set_callbacks()`` without arguments. Under `warm_start`, rows held out by this fit
    may have been trained on by an earlier one.

    References
    ----------
    T. Akiba et al., "Optuna: A Next-generation Hyperparameter Optimization Framework",
    KDD 2019, section 3.2.

    Examples
    --------
    >>> import optuna
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.model_selection import GridSearchCV
    >>> from skvae import VAETransformer
    >>> from skvae.callbacks import OptunaPruning
    >>> optuna.logging.set_verbosity(optuna.logging.WARNING)
    >>> study = optuna.create_study(
    ...     direction="maximize", pruner=optuna.pruners.MedianPruner(n_startup_trials=2)
    ... )
    >>> vae = VAETransformer(2, max_iter=20, random_state=0)
    >>> _ = vae.set_callbacks(OptunaPruning(study))
    >>> grid = {"learning_rate": [5e-3, 1e-5]}
    >>> search = GridSearchCV(vae, grid, cv=2).fit(load_iris().data)
    >>> [trial.state.name for trial in study.trials]
    ['COMPLETE', 'COMPLETE', 'PRUNED', 'PRUNED']
    """

    def __init__(
        self, trial: "Trial | Study", X: Table | None = None, *, every: int = 1
    ) -> None:
        if not (hasattr(trial, "ask") or hasattr(trial, "report")):
            raise TypeError(
                "OptunaPruning takes a trial, such as an objective is called with, or "
                f"a study, such as optuna.create_study gives, got {trial!r}."
            )
        self.trial: Any = trial
        self.X = X
        self.every = check_scalar(every, "every", Integral, min_val=1)
        self._fits: dict[BaseEstimator, _Fit] = {}
        self._n_fits = 0
        self._is_elsewhere = False

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
        ValueError
            If the study minimises or has several objectives, or if it is in the memory
            of another process, as a trial is.
        """
        check_has_likelihood(self, estimator)
        if _is_refit(context):
            return
        study = self.trial if self._asks else self.trial.study
        if [direction.name for direction in study.directions] != ["MAXIMIZE"]:
            raise ValueError(
                "OptunaPruning reports log-likelihoods, of which the higher are "
                'better: create the study with direction="maximize".'
            )
        is_in_memory = type(study._storage).__name__ == "InMemoryStorage"
        if self._is_elsewhere and (is_in_memory or not self._asks):
            raise ValueError(
                "OptunaPruning is a copy, such as other processes and saved models "
                "have: its study or trial is in the memory of the original, so that "
                "nothing would be compared. Search with n_jobs=1 or in threads, or "
                "give it a study with storage=JournalStorage(...). Of a model that was "
                "saved or copied, take it off by set_callbacks()."
            )
        if self._asks:
            trial, first_step = self.trial.ask(), 0
            trial.set_user_attr("estimator", repr(estimator))
        else:
            trial, first_step = self.trial, _STEPS_OF_A_FIT * self._count()
        self._fits[estimator] = _Fit(trial, first_step)

    def teardown(self, estimator: BaseEstimator, context: CallbackContext) -> None:
        """Called by the estimator as its fit has ended, or failed.

        Parameters
        ----------
        estimator : estimator instance
            The estimator whose fit it is.
        context : sklearn.callback.CallbackContext
            Its task: the fit.
        """
        fit = self._fits.pop(estimator, None)
        if fit is not None and self._asks:
            fit.tell(self.trial)

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
    ) -> bool:
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

        Returns
        -------
        stop : bool
            Whether the fit is to end.

        Raises
        ------
        ValueError
            If there are no rows to score.
        optuna.TrialPruned
            If a trial was given, and is to be pruned.
        """
        fit = self._fits.get(estimator)
        if fit is None:
            return False
        if not is_due(self, context):
            return False
        rows = rows_to_score(self, X, fitted_estimator)
        score = float(fitted_estimator.score(rows))
        if context.task_name != "epoch":
            fit.final_score = score
            return False
        fit.report(score, context.task_id + 1)
        if fit.is_pruned and not self._asks:
            from optuna import TrialPruned

            raise TrialPruned(f"after epoch {context.task_id + 1}")
        return fit.is_pruned

    def _count(self) -> int:
        """How many fits there were before; fits may be in several threads."""
        with _COUNTING:
            self._n_fits += 1
            return self._n_fits - 1

    @property
    def _asks(self) -> bool:
        """Whether it has a study, to be asked for a trial for each fit."""
        return hasattr(self.trial, "ask")

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_fits": {}, "_is_elsewhere": True}


class _Fit:
    """A fit, and the trial that stands for it."""

    def __init__(self, trial: "Trial", first_step: int) -> None:
        self._trial = trial
        self._first_step = first_step
        self.is_pruned = False
        #: Of the model that has been fitted; None before.
        self.final_score: float | None = None

    def report(self, score: float, epoch: int) -> None:
        self._trial.report(score, self._first_step + epoch)
        self.is_pruned = self._trial.should_prune()

    def tell(self, study: "Study") -> None:
        """Close the trial in a study that was asked for it."""
        from optuna.trial import TrialState

        if self.is_pruned:
            study.tell(self._trial, state=TrialState.PRUNED)
        elif self.final_score is not None:
            study.tell(self._trial, self.final_score)
        else:
            study.tell(self._trial, state=TrialState.FAIL)


def _log_likelihood(estimator: BaseEstimator, X: Table, y: object) -> dict[str, float]:
    """A scorer, as `ScoringMonitor` takes it."""
    return {"log_likelihood": estimator.score(X)}


def check_has_likelihood(callback: object, estimator: BaseEstimator) -> None:
    """Raise a TypeError, with advice, if the estimator does not score by log p(x)."""
    if not hasattr(estimator, "score_samples"):
        raise TypeError(
            f"{type(callback).__name__} scores by log p(x), which "
            f"{type(estimator).__name__} does not have: set it on a VAETransformer or "
            "VAEOutlierDetector, also where that is a step of a pipeline."
        )


def is_due(callback: Any, context: CallbackContext) -> bool:
    """Whether it is time to look: every so many epochs, and at the end of the fit."""
    return context.task_name != "epoch" or (context.task_id + 1) % callback.every == 0


def rows_to_score(
    callback: Any,
    X: Table | None,
    fitted_estimator: Any,
) -> Table:
    """The callback's own, or those that the fit holds out; a ValueError without any."""
    if callback.X is not None:
        return callback.X
    held_out = fitted_estimator._held_out_rows
    if not len(held_out):
        name = type(callback).__name__
        raise ValueError(
            f"{name} has no rows to score, since this fit holds none out. Set "
            f"early_stopping=True, or give it rows: {name}(X=...)."
        )
    return taken(X, held_out)


def _is_refit(context: CallbackContext | None) -> bool:
    """Whether a fit is the last one of a search, of the best parameters."""
    while context is not None:
        names = context.task_name, context.source_task_name
        if "refit-with-best-params" in names:
            return True
        context = context.parent
    return False
