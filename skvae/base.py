"""What the estimators share: validation, the course of a fit, state in and out."""

import functools
import warnings

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.exceptions import InconsistentVersionWarning
from sklearn.utils import check_random_state, gen_batches
from sklearn.utils.validation import check_is_fitted, validate_data

from skvae import __version__, frames, likelihoods, parameters, run
from skvae.compat import CallbackSupportMixin
from skvae.core.training import Divergence
from skvae.fitted import FittedModel
from skvae.settings import from_state

__all__ = ["BaseVAE", "all_or_nothing", "draw_seed"]

#: Raised when the meaning of the fitted state changes; an older package refuses it.
STATE_FORMAT = 1

_ROWS_AT_ONCE = 4_096


def all_or_nothing(method):
    """Leave the estimator as it was if the method does not come to its end.

    Torch is taken out of the modes that the caller may have put it in, since
    gradients are needed.
    """

    @functools.wraps(method)
    def wrapper(self, *args, **kwargs):
        before = vars(self).copy()
        try:
            with torch.inference_mode(False), torch.enable_grad():
                return method(self, *args, **kwargs)
        except BaseException:
            vars(self).clear()
            vars(self).update(before)
            raise

    return wrapper


def draw_seed(random_state):
    """A seed, as scikit-learn has it: from an int always the same one."""
    return int(check_random_state(random_state).randint(np.iinfo(np.int32).max))


class BaseVAE(CallbackSupportMixin, BaseEstimator):
    """Base of the variational autoencoders."""

    _parameter_constraints = parameters.CONSTRAINTS

    def __sklearn_is_fitted__(self):
        return hasattr(self, "_state")

    # ---- validation ----------------------------------------------------------------

    def _validate(self, X, *, reset=False, min_samples=1):
        """X as a two-dimensional array of finite numbers, not copied where it is one.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
        layout : dict
            The kind of table that was given, from `frames.describe`.

        Raises
        ------
        ValueError
            Naming the column, where X holds text, NaN or infinity.
        """
        layout = frames.describe(X)
        text = frames.non_numeric_columns(X)
        if text:
            raise ValueError(
                f"Columns {text} do not hold numbers. Encode them first, for example "
                "with sklearn.preprocessing.OneHotEncoder, or leave them out."
            )
        try:
            array = validate_data(
                self,
                X,
                reset=reset,
                dtype="numeric",
                ensure_all_finite=False,
                ensure_min_samples=min_samples,
            )
        except ValueError as error:
            found = frames.first_text(X) if "str" in str(error) else None
            if found is None:
                raise
            label, value = found
            raise ValueError(
                f"Column {label!r} holds {value!r}, which is not a number. Encode the "
                "column first, or leave it out."
            ) from error
        if array.dtype.kind == "f":
            _check_finite(array, layout)
        return array, layout

    # ---- training ------------------------------------------------------------------

    def _fit(self, X, y):
        """Train from new weights or, warm, from the fitted ones."""
        warm = self.warm_start and self.__sklearn_is_fitted__()
        array, layout = self._validate(X, reset=not warm, min_samples=2)
        seed = draw_seed(self.random_state)
        split_rng = np.random.default_rng(seed)
        rows, held_out_rows = parameters.split(self, len(array), split_rng)
        if warm:
            state = self._fitted_state(array, layout)
            state.pop("optimizer", None)  # the schedule starts anew
        else:
            state = self._new_state(array, rows, layout, seed)
        plan = parameters.plan(self, len(rows))
        training = run.Run(self, array, rows, held_out_rows, state, plan, [seed, 1])
        history = run.History(type(self).__name__, plan, self.verbose)

        def attributes():
            return {
                **self._summary(training.state(), array),
                "n_iter_": history.n_epochs,
                "loss_curve_": list(history.losses),
                "validation_scores_": list(history.scores),
            }

        context = self._init_callback_context(max_subtasks=plan.max_epochs)
        task_arguments = {"estimator": self, "X": X, "y": y}
        context.call_on_fit_task_begin(**task_arguments)
        self._follow(training, history, context, task_arguments, attributes)
        vars(self).update(attributes())
        context.call_on_fit_task_end(**task_arguments, reconstruction_attributes={})

    def _follow(self, training, history, context, task_arguments, attributes):
        """Drive the training, an epoch a task, until it ends or a callback stops it."""
        task = None
        try:
            for record in training.records:
                if task is None:
                    task = context.subcontext(task_name="epoch")
                    task.call_on_fit_task_begin(**task_arguments)
                history.add(record)
                if not record.epoch_ended:
                    continue
                stop = task.call_on_fit_task_end(
                    **task_arguments, reconstruction_attributes=attributes
                )
                task = None
                if stop:
                    break
        except Divergence as error:
            raise ValueError(self._explain(error, training)) from error
        finally:
            training.records.close()

    def _partial_fit(self, X):
        """One pass at a constant rate, from where the last call ended."""
        first = not self.__sklearn_is_fitted__()
        array, layout = self._validate(X, reset=first, min_samples=2 if first else 1)
        rows = np.arange(len(array))
        state = None if first else self._fitted_state(array, layout)
        if first or "optimizer" not in state:
            seed, n_steps = draw_seed(self.random_state), 0
        else:
            seed, n_steps = (state["optimizer"][key] for key in ("seed", "n_steps"))
        if first:
            state = self._new_state(array, rows, layout, seed)
        plan = parameters.plan(self, len(rows)).one_pass()
        training = run.Run(self, array, rows, (), state, plan, [seed, 2, n_steps])
        try:
            (record,) = training.records
        except Divergence as error:
            raise ValueError(self._explain(error, training)) from error
        new_state = training.state()
        new_state["optimizer"] = {"seed": seed, **training.optimizer_state()}
        past_losses = [] if first else self.loss_curve_
        vars(self).update(
            {
                **self._summary(new_state, array),
                "n_iter_": len(past_losses) + 1,
                "loss_curve_": [*past_losses, record.loss],
                "validation_scores_": [] if first else self.validation_scores_,
            }
        )

    def _new_state(self, X, rows, layout, seed):
        _, settings = parameters.settings(self, X.shape[1])
        _check_possible(X, layout, settings["likelihood"])
        return run.start(self, X, rows, layout, seed)

    def _fitted_state(self, X, layout):
        """The fitted state, if the parameters still describe it and X fits it.

        Raises
        ------
        ValueError
            Naming the parameter that has changed.
        """
        kept = self._state["geometry"]
        for name, value in run.geometry(self, X.shape[1]).items():
            if value != kept[name]:
                raise ValueError(
                    f"The fitted model has {name}={kept[name]}, the parameters now ask "
                    f"for {value}. Going on from fitted weights needs the same model: "
                    "set the parameter back, or fit with warm_start=False."
                )
        _check_possible(X, layout, self._fitted_likelihood())
        return dict(self._state)

    def _summary(self, state, X):
        """The fitted attributes that a state amounts to."""
        fitted = FittedModel(state, np.float32)
        family = type(fitted.model.likelihood).__name__.lower()
        return {
            "_state": state,
            "n_components_": fitted.model.n_components,
            "kl_per_component_": fitted.kl_per_component(X),
            "likelihood_": [
                {"column": label, "family": family}
                for label in frames.column_labels(fitted.table.layout, X.shape[1])
            ],
        }

    def _explain(self, error, training):
        """Say which column is furthest from what the table was fitted to."""
        j, distance = training.furthest_column()
        label = frames.column_labels(training.table.layout, j + 1)[j]
        return (
            f"Training diverged ({error}). The column furthest out of range is "
            f"{label!r}, which reaches {distance:.3g} standardised units: scale "
            "it or remove its outliers. If its range is sound, lower learning_rate="
            f"{self.learning_rate}."
        )

    # ---- inference -----------------------------------------------------------------

    def _fitted_likelihood(self):
        return from_state(self._state["geometry"]["likelihood"], likelihoods.FAMILIES)

    def _fitted_model(self, dtype):
        """The model in float32 for float32 data, in float64 for everything else."""
        precision = np.float32 if dtype == np.float32 else np.float64
        return FittedModel(self._state, precision, self.device)

    def _check_rows(self, X):
        """Rows to be scored or encoded, checked against the fitted table."""
        check_is_fitted(self)
        X, layout = self._validate(X)
        _check_possible(X, layout, self._fitted_likelihood())
        return X

    # ---- state ---------------------------------------------------------------------

    def __getstate__(self):
        return {
            **super().__getstate__(),
            "_state_format": STATE_FORMAT,
            "_skvae_version": __version__,
        }

    def __setstate__(self, state):
        state = dict(state)
        state_format = state.pop("_state_format", STATE_FORMAT)
        version = state.pop("_skvae_version", __version__)
        name = type(self).__name__
        if state_format > STATE_FORMAT:
            raise ValueError(
                f"This {name} was saved by skvae {version} in state format "
                f"{state_format}; skvae {__version__} reads up to {STATE_FORMAT}. "
                "Upgrade skvae."
            )
        if version != __version__:
            warnings.warn(
                InconsistentVersionWarning(
                    estimator_name=name,
                    current_sklearn_version=f"{__version__} of skvae",
                    original_sklearn_version=f"{version} of skvae",
                ),
                stacklevel=2,
            )
        super().__setstate__(state)


def _check_finite(X, layout):
    """Refuse NaN and infinity, by the name of the column."""
    for batch in gen_batches(len(X), _ROWS_AT_ONCE):
        with np.errstate(over="ignore", invalid="ignore"):
            suspicious = not np.isfinite(X[batch].sum())
        if suspicious and not np.isfinite(X[batch]).all():
            i, j = np.argwhere(~np.isfinite(X[batch]))[0]
            found = "NaN" if np.isnan(X[batch][i, j]) else "infinity"
            raise ValueError(
                f"Input X contains {found} in column "
                f"{frames.column_labels(layout, X.shape[1])[j]!r} (row "
                f"{batch.start + i}). Fill it, for example with "
                "sklearn.impute.SimpleImputer, or drop the row."
            )


def _check_possible(X, layout, likelihood):
    """Refuse values that the likelihood cannot have produced."""
    for batch in gen_batches(len(X), _ROWS_AT_ONCE):
        impossible = likelihood.impossible(X[batch])
        if impossible is not None and impossible.any():
            i, j = np.argwhere(impossible)[0]
            raise ValueError(
                f"Column {frames.column_labels(layout, X.shape[1])[j]!r} holds "
                f"{X[batch][i, j]} (row {batch.start + i}), but {likelihood!r} "
                f"describes values in {likelihood.support}. Choose another "
                "likelihood, or recode the column."
            )
