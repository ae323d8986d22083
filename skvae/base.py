"""What the estimators share: tables in, the course of a fit, state in and out."""

import math
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import DTypeLike
from sklearn.base import BaseEstimator
from sklearn.utils import Tags, check_random_state, check_scalar
from sklearn.utils.validation import check_array, check_is_fitted, validate_data
from torch.distributions import Distribution

from skvae import columns, frames, labels, parameters, run, validation
from skvae.collapse import warn_of_collapse
from skvae.compat import CallbackSupportMixin, in_container
from skvae.core.course import Divergence
from skvae.core.training import Record
from skvae.fitted import FittedModel, member_states
from skvae.frames import Layout, Matrix, Table
from skvae.kept import kept
from skvae.priors import Prior
from skvae.saved import checked, marked, telling_of_damage
from skvae.table import TableEncoder

if TYPE_CHECKING:  # importing it takes care: see `compat`
    from sklearn.callback import CallbackContext

__all__ = ["BaseVAE", "draw_seed", "is_mixed"]


def draw_seed(random_state: int | np.random.RandomState | None) -> int:
    """A seed, as scikit-learn has it: from an int always the same one."""
    return int(check_random_state(random_state).randint(np.iinfo(np.int32).max))


class BaseVAE(CallbackSupportMixin, BaseEstimator):
    """Base of the variational autoencoders."""

    # Where the HTML representation leads; without a link it shows no tooltips.
    _doc_link_module = "skvae"
    _doc_link_template = (
        "https://skvae.readthedocs.io/en/stable/api/generated/"
        "skvae.{estimator_name}.html"
    )
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = parameters.CONSTRAINTS
    #: What columns of numbers are under likelihood="auto".
    _numbers: ClassVar[columns.Numbers] = columns.Numbers()
    _accept_sparse: ClassVar[str | Literal[False]] = "csr"
    #: Fitted attributes that hold a number an epoch, and what that is in a record.
    _parts_of_loss: ClassVar[dict[str, str]] = {
        "loss_curve_": "loss",
        "reconstruction_curve_": "log_likelihood",
        "kl_curve_": "kl",
    }
    #: What `verbose` calls the score of held-out rows, and its unit.
    _words: ClassVar[tuple[str, str]] = "bound", "nats"
    #: The links between columns of different kinds are learned late: on adult the error
    #: of conditional draws falls from 4.6 to 2.5 points between 3,000 and 10,000 steps.
    _length: ClassVar[parameters.Length] = parameters.Length(
        steps=3_000, steps_if_mixed=10_000, epochs=10
    )

    #: The fitted state, as plain data.
    _state: dict[str, Any]
    n_components_: int
    n_features_in_: int

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_state")

    @property
    def _n_members(self) -> int | None:
        """Members of an ensemble, trained in one pass; None is one model."""
        return None

    @property
    def _fraction_apart(self) -> float:
        """Share of the rows that is neither trained on nor stopped by."""
        return 0.0

    @property
    def _input_noise(self) -> float:
        """Standard deviation of noise on what the encoder reads in training."""
        return 0.0

    @property
    def _scoring_prior(self) -> str | Prior | Distribution:
        """The prior of scores and samples."""
        return self.prior

    # ---- tables in -----------------------------------------------------------------

    def _validate(
        self, X: Table, *, reset: bool = False, min_samples: int = 1
    ) -> tuple[Matrix, Layout]:
        """X as an array or CSR matrix of numbers, not copied where it is one.

        Returns
        -------
        X : ndarray or CSR matrix of shape (n_samples, n_features)
            Labels as the numbers of their levels, holes as NaN.
        layout : dict
            The kind of table that was given in fit, from `frames.describe`.

        Raises
        ------
        TypeError, ValueError
            Naming the column, where X holds dates, free text, infinity or, after fit,
            labels that fit had not seen.
        """
        X = frames.as_table(X)
        own_columns = hasattr(X, "columns")
        if not own_columns:
            X = validate_data(
                self,
                X,
                reset=reset,
                dtype=None,
                accept_sparse=self._accept_sparse,
                ensure_all_finite=False,
                ensure_min_samples=min_samples,
            )
        layout = frames.describe(X) if reset else self._state["table"]["layout"]
        if layout["levels"] or not frames.holds_numbers(X):
            if own_columns:
                validate_data(self, X, reset=reset, skip_check_array=True)
                validation.check_shape(X, min_samples)
            X = labels.to_numbers(X, layout["levels"], self.handle_unknown)
        elif own_columns:
            X = validate_data(
                self,
                X,
                reset=reset,
                dtype="numeric",
                ensure_all_finite=False,
                ensure_min_samples=min_samples,
            )
        validation.check_finite(X, layout)
        return X, layout

    # ---- training ------------------------------------------------------------------

    def _fit(self, X: Table, y: object) -> None:
        """Train from new weights or, warm, from the fitted ones."""
        warm = self.warm_start and self.__sklearn_is_fitted__()
        if not warm:  # an earlier model is none of the columns that X may have
            self.__dict__.pop("_state", None)
        array, layout = self._validate(X, reset=not warm, min_samples=2)
        seed = draw_seed(self.random_state)
        split_rng = np.random.default_rng(seed)
        rows, held_out_rows, apart = parameters.split(self, array.shape[0], split_rng)
        if warm:
            array, state = self._fitted_state(array)
            state.pop("optimizer", None)  # the schedule starts anew
            apart = apart[:0]  # an earlier fit may have seen them
        else:
            state = self._new_state(array, rows, layout, seed)
        plan = parameters.plan(self, len(rows), is_mixed(state))
        training = run.Run(self, array, rows, held_out_rows, state, plan, [seed, 1])
        history = run.History(type(self).__name__, plan, self.verbose, self._words)

        def attributes() -> dict[str, Any]:
            return {
                **self._summary(training.state(), array, apart),
                **self._curves(history.epochs, before=False),
                "validation_scores_": [look.validation_score for look in history.looks],
                "validation_epochs_": [
                    look.step / plan.steps_per_epoch for look in history.looks
                ],
            }

        def watched() -> dict[str, Any]:
            return {**attributes(), "_held_out_rows": held_out_rows}

        context = self._init_callback_context(max_subtasks=plan.max_epochs)
        task_arguments = {"estimator": self, "X": X, "y": y}
        context.call_on_fit_task_begin(**task_arguments)
        self._follow(training, history, context, task_arguments, watched)
        self.__dict__.update(attributes())
        context.call_on_fit_task_end(
            **task_arguments,
            reconstruction_attributes={"_held_out_rows": held_out_rows},
        )
        warn_of_collapse(self, array, rows)

    def _follow(
        self,
        training: run.Run,
        history: run.History,
        context: "CallbackContext",
        task_arguments: dict[str, Any],
        attributes: Callable[[], dict[str, Any]],
    ) -> None:
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
                    training.end()
                    break
        except Divergence as error:
            raise ValueError(
                self._explain(error, training.table, training.X)
            ) from error
        finally:
            training.records.close()

    def _partial_fit(self, X: Table) -> None:
        """One pass at a constant rate, from where the last call ended."""
        first = not self.__sklearn_is_fitted__()
        array, layout = self._validate(X, reset=first, min_samples=2 if first else 1)
        rows = np.arange(array.shape[0])
        state: dict[str, Any] = {}
        if not first:
            array, state = self._fitted_state(array)
        if first or "optimizer" not in state:
            seed, n_steps = draw_seed(self.random_state), 0
        else:
            seed, n_steps = (state["optimizer"][key] for key in ("seed", "n_steps"))
        if first:
            state = self._new_state(array, rows, layout, seed)
        plan = parameters.plan(self, len(rows), is_mixed(state)).one_pass()
        training = run.Run(self, array, rows, rows[:0], state, plan, [seed, 2, n_steps])
        try:
            (record,) = training.records
        except Divergence as error:
            raise ValueError(
                self._explain(error, training.table, training.X)
            ) from error
        new_state = training.state()
        new_state["optimizer"] = {"seed": seed, **training.optimizer_state()}
        looks = ("validation_scores_", "validation_epochs_")
        self.__dict__.update(
            {
                **self._summary(new_state, array, rows[:0]),
                **self._curves([record], before=not first),
                **{name: [] if first else getattr(self, name) for name in looks},
            }
        )

    def _curves(self, epochs: Sequence[Record], before: bool) -> dict[str, Any]:
        """What grows by a number an epoch: after what there was before, or anew."""
        curves = {
            name: [
                *(getattr(self, name) if before else ()),
                *(getattr(record, part) for record in epochs),
            ]
            for name, part in self._parts_of_loss.items()
        }
        return {"n_iter_": len(curves["loss_curve_"]), **curves}

    def _new_state(
        self, X: Matrix, rows: np.ndarray, layout: Layout, seed: int
    ) -> dict[str, Any]:
        table = self._new_table(X, rows, layout)
        state = run.start(self, table, X, rows, seed)
        return {**state, "likelihood": columns.plain(self.likelihood)}

    def _new_table(self, X: Matrix, rows: np.ndarray, layout: Layout) -> TableEncoder:
        """What each column is described by, learned from the training rows."""
        chosen = columns.choose(
            self.likelihood,
            layout,
            lambda j: _observed(X, j),
            X.shape[1],
            self._numbers,
        )
        validation.check_possible(X, layout, chosen)
        table = TableEncoder.fit(X, rows, chosen, self.standardize, layout)
        validation.check_levels(X, table, "error")
        return table

    def _fitted_state(self, X: Matrix) -> tuple[Matrix, dict[str, Any]]:
        """Rows that fit the fitted state, and the state, if it is still asked for.

        Raises
        ------
        ValueError
            Naming the parameter that has changed.
        """
        asked = {
            **run.geometry(self, X.shape[1]),
            "likelihood": columns.plain(self.likelihood),
            "n_estimators": self._n_members,
        }
        weights = self._state["weights"]
        fitted = {
            **self._state["geometry"],
            "likelihood": self._state["likelihood"],
            "n_estimators": None if weights.ndim == 1 else len(weights),
        }
        for name, value in asked.items():
            if value != fitted[name]:
                raise ValueError(
                    f"The fitted model has {name}={fitted[name]}, the parameters now "
                    f"ask for {value}. Going on from fitted weights needs the same "
                    "model: set the parameter back, or fit with warm_start=False."
                )
        return self._check_values(X), dict(self._state)

    def _summary(
        self, state: dict[str, Any], X: Matrix, apart: np.ndarray
    ) -> dict[str, Any]:
        """The fitted attributes that a state amounts to.

        Parameters
        ----------
        state : dict
        X : ndarray or sparse matrix of shape (n_samples, n_features)
            Validated.
        apart : ndarray of int
            The rows that were neither trained on nor stopped by.
        """
        members = [FittedModel(member, np.float32) for member in member_states(state)]
        kl = np.stack([fitted.kl_per_component(X) for fitted in members])
        return {
            "_state": state,
            "n_components_": members[0].model.n_components,
            "kl_per_component_": kl[0] if self._n_members is None else kl,
            "likelihood_": members[0].table.describe(),
        }

    def _explain(self, reason: object, table: TableEncoder, X: Matrix) -> str:
        """Say which column is furthest from what the table was fitted to."""
        j, distance = run.furthest_column(table, X)
        label = frames.column_labels(table.layout, j + 1)[j]
        return (
            f"Training diverged ({reason}). The column furthest out of range is "
            f"{label!r}, which reaches {distance:.3g} standardised units: scale "
            "it or remove its outliers. If its range is sound, lower learning_rate="
            f"{self.learning_rate}."
        )

    # ---- inference -----------------------------------------------------------------

    def _n_draws(self) -> int:
        """Draws a score takes: a parameter that may have been set after the fit."""
        return check_scalar(
            self.n_importance_samples, "n_importance_samples", Integral, min_val=1
        )

    def _named(self, contributions: np.ndarray, X: Table, last: str) -> Table:
        """What features and the rest contribute, in the container that is asked for."""
        layout = self._state["table"]["layout"]
        labels = [
            label if isinstance(label, str) else f"x{label}"
            for label in frames.column_labels(layout, self.n_features_in_)
        ]
        while last in labels:
            last += "_"
        return in_container(self, contributions, X, [*labels, last])

    def _fitted_model(self, dtype: DTypeLike) -> FittedModel:
        """The model in float32 for float32 data, in float64 for everything else."""
        precision = np.float32 if dtype == np.float32 else np.float64
        return kept(
            self,
            (precision, str(self.device)),
            lambda state: FittedModel(state, precision, self.device),
        )

    def _table(self) -> TableEncoder:
        return kept(
            self, "table", lambda state: TableEncoder.from_state(state["table"])
        )

    def _decoded(self, X: Table) -> Table:
        """Rows that codes stand for, in the container that fit was given."""
        check_is_fitted(self)
        index = getattr(X, "index", None) if hasattr(X, "iloc") else None
        Z = check_array(X, dtype=[np.float64, np.float32], input_name="X")
        if Z.shape[1] != self.n_components_:
            raise ValueError(
                f"X has {Z.shape[1]} columns, but {type(self).__name__} is expecting "
                f"codes of n_components_={self.n_components_} columns."
            )
        fitted = self._fitted_model(Z.dtype)
        posterior = fitted.model.posterior
        if not posterior.contains(Z).all():
            raise ValueError(
                f"X holds codes that are not {posterior.support}, as those of "
                f"posterior={posterior!r} are."
            )
        return frames.restore(
            fitted.means(Z), fitted.table.layout, dtypes=False, index=index
        )

    def _check_rows(self, X: Table) -> Matrix:
        """Rows to be scored or encoded, checked against the fitted table."""
        check_is_fitted(self)
        return self._check_values(self._validate(X)[0])

    def _check_values(self, X: Matrix) -> Matrix:
        """Rows whose values the fitted likelihoods can describe."""
        table = self._table()
        validation.check_possible(X, table.layout, table.chosen())
        return validation.check_levels(X, table, self.handle_unknown)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = True
        tags.input_tags.sparse = bool(self._accept_sparse)
        return tags

    # ---- state ---------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        return marked(super().__getstate__())

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        attributes = checked(type(self).__name__, state)
        with telling_of_damage(type(self).__name__):
            super().__setstate__({**self._not_kept(attributes), **attributes})
            self.get_params(deep=False)  # which fails where one is lacking

    def _not_kept(self, state: Mapping[str, Any]) -> dict[str, list[float]]:
        """What a fit did not keep when older models were saved: unknown, NaN."""
        curves = dict.fromkeys(self._parts_of_loss, "loss_curve_")
        curves["validation_epochs_"] = "validation_scores_"
        return {
            name: [math.nan] * len(state[beside])
            for name, beside in curves.items()
            if beside in state
        }


def is_mixed(state: Mapping[str, Any]) -> bool:
    """Whether the columns have likelihoods of several families."""
    return len(state["table"]["blocks"]) > 1


def _observed(X: Matrix, j: int) -> np.ndarray:
    """The numbers of a column, less its holes."""
    column = X[:, [j]].toarray().ravel() if hasattr(X, "toarray") else X[:, j]
    return column[~np.isnan(column)].astype(np.float64)
