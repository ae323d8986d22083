"""Callbacks: what they log is what score says of rows that are not trained on."""

import pickle

import numpy as np
import optuna
import pandas as pd
import pytest
from joblib import parallel_config
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skvae import AETransformer, VAEOutlierDetector, VAETransformer
from skvae.callbacks import LogLikelihoodMonitor, OptunaPruning

optuna.logging.set_verbosity(optuna.logging.WARNING)

X = load_breast_cancer(as_frame=True).data.iloc[:, :6]
QUICK = {"hidden_layer_sizes": (8,), "max_iter": 4, "random_state": 0}


def epochs_of(monitor):
    return [row for row in monitor.get_logs().data if row["task_name"] == "epoch"]


# ---- the monitor ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "estimator",
    [
        VAETransformer(2, **QUICK),
        VAEOutlierDetector(n_estimators=2, early_stopping=True, **QUICK),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_each_epoch_has_the_score_of_given_rows(estimator):
    monitor = LogLikelihoodMonitor(X[400:])
    estimator.set_callbacks(monitor).fit(X[:400])
    logged = epochs_of(monitor)
    assert [row["task_id"] for row in logged] == list(range(estimator.n_iter_))
    (at_the_end,) = (r for r in monitor.get_logs().data if r["task_name"] == "fit")
    assert at_the_end["log_likelihood"] == estimator.score(X[400:])
    assert logged[0]["log_likelihood"] < logged[-1]["log_likelihood"]


@pytest.mark.parametrize("rows", [X, X.to_numpy(), X.to_numpy().tolist()], ids=type)
def test_by_default_the_rows_are_those_that_the_fit_holds_out(rows):
    seen = []

    class Keeps(LogLikelihoodMonitor):
        def on_fit_task_end(
            self, estimator, context, *, X=None, y=None, fitted_estimator=None
        ):
            seen.append((X, fitted_estimator._held_out_rows))
            super().on_fit_task_end(
                estimator, context, X=X, fitted_estimator=fitted_estimator
            )

    monitor = Keeps()
    vae = VAETransformer(2, **QUICK).set_callbacks(monitor).fit(rows)
    _, held_out = seen[-1]
    assert len(held_out) == round(0.1 * len(X))
    (at_the_end,) = (r for r in monitor.get_logs().data if r["task_name"] == "fit")
    final = vae.score(X.iloc[held_out] if rows is X else X.to_numpy()[held_out])
    assert at_the_end["log_likelihood"] == final
    assert not hasattr(vae, "_held_out_rows")


@pytest.mark.parametrize("every", [1, 2, 3, 9])
def test_looks_are_as_seldom_as_is_asked_for(every):
    monitor = LogLikelihoodMonitor(every=every)
    study = study_that_prunes()
    vae = VAETransformer(2, **QUICK).set_callbacks(
        monitor, OptunaPruning(study, every=every)
    )
    vae.fit(X)
    epochs = [n for n in (1, 2, 3, 4) if n % every == 0]
    if epochs:
        assert [row["task_id"] + 1 for row in epochs_of(monitor)] == epochs
    (trial,) = study.trials
    assert sorted(trial.intermediate_values) == epochs
    (final,) = (r for r in monitor.get_logs().data if r["task_name"] == "fit")
    assert trial.value == final["log_likelihood"]


def test_looks_are_made_at_some_epochs():
    with pytest.raises(ValueError, match="every"):
        LogLikelihoodMonitor(every=0)
    with pytest.raises(ValueError, match="every"):
        OptunaPruning(study_that_prunes(), every=0)


def test_the_monitor_works_in_a_search_over_a_pipeline():
    monitor = LogLikelihoodMonitor()
    vae = VAETransformer(**QUICK).set_callbacks(monitor)
    search = GridSearchCV(
        make_pipeline(StandardScaler(), vae),
        {"vaetransformer__n_components": [1, 2]},
        cv=2,
        n_jobs=2,
    ).fit(X)
    table = pd.DataFrame(epochs_of(monitor))
    # Two candidates on two folds, and the best once more, of four epochs each.
    assert table.groupby("parent_task_id_path").size().tolist() == [4] * 5
    assert np.isfinite(table["log_likelihood"]).all()
    assert search.best_params_ == {"vaetransformer__n_components": 2}


@pytest.mark.parametrize("callback", [LogLikelihoodMonitor, OptunaPruning])
def test_without_rows_to_score_the_fit_says_what_to_do(callback):
    study = optuna.create_study(direction="maximize")
    callback = callback() if callback is LogLikelihoodMonitor else callback(study)
    vae = VAETransformer(2, early_stopping=False, **QUICK).set_callbacks(callback)
    with pytest.raises(ValueError, match=r"early_stopping=True.*X=\.\.\."):
        vae.fit(X)
    assert not hasattr(vae, "loss_curve_")
    assert all(trial.state == TrialState.FAIL for trial in study.trials)


@pytest.mark.parametrize("trial", [None, "study"])
def test_what_is_neither_trial_nor_study_is_refused(trial):
    with pytest.raises(TypeError, match="trial"):
        OptunaPruning(trial)


def test_a_study_of_several_objectives_is_refused():
    study = optuna.create_study(directions=["maximize", "maximize"])
    with pytest.raises(ValueError, match='direction="maximize"'):
        pipeline(OptunaPruning(study)).fit(X)


@pytest.mark.parametrize(
    "callback",
    [LogLikelihoodMonitor(), OptunaPruning(optuna.create_study(direction="maximize"))],
    ids=lambda callback: type(callback).__name__,
)
def test_an_autoencoder_has_no_likelihood_to_watch(callback):
    with pytest.raises(TypeError, match="VAETransformer"):
        AETransformer(2, **QUICK).set_callbacks(callback).fit(X)


# ---- the pruner ----------------------------------------------------------------------


class Below(optuna.pruners.BasePruner):
    """Prunes trials whose last value is below that of the first at the same step."""

    def prune(self, study, trial):
        first = study.get_trials(deepcopy=False)[0]
        value = first.intermediate_values.get(trial.last_step)
        if first.number == trial.number or value is None:
            return False
        return trial.intermediate_values[trial.last_step] < value


def study_that_prunes(**storage):
    return optuna.create_study(direction="maximize", pruner=Below(), **storage)


def pipeline(callback, **parameters):
    vae = VAETransformer(2, **{**QUICK, **parameters}).set_callbacks(callback)
    return make_pipeline(StandardScaler(), vae)


def test_a_trial_that_is_worse_is_pruned():
    def objective(trial):
        rate = [5e-3, 1e-5][trial.number]
        model = pipeline(OptunaPruning(trial), learning_rate=rate)
        scores = cross_val_score(model, X, cv=2, error_score="raise")
        return scores.mean()

    study = study_that_prunes()
    study.optimize(objective, n_trials=2)
    good, bad = study.trials
    assert (good.state, bad.state) == (TrialState.COMPLETE, TrialState.PRUNED)
    second = [1_000_000 + epoch for epoch in range(1, 5)]
    assert sorted(good.intermediate_values) == [1, 2, 3, 4, *second]
    assert len(bad.intermediate_values) < 8


def test_folds_are_compared_with_the_same_fold_of_other_trials():
    def objective(trial):
        model = pipeline(OptunaPruning(trial), max_iter=[2, 4][trial.number])
        return cross_val_score(model, X, cv=2, error_score="raise").mean()

    study = optuna.create_study(direction="maximize", pruner=optuna.pruners.NopPruner())
    study.optimize(objective, n_trials=2)
    steps = [set(trial.intermediate_values) for trial in study.trials]
    assert steps[0] == {1, 2, 1_000_001, 1_000_002}
    assert steps[0] < steps[1]


def test_threads_report_each_fold_by_itself():
    study = optuna.create_study(direction="maximize", pruner=optuna.pruners.NopPruner())
    trial = study.ask()
    with parallel_config("threading", n_jobs=2):
        cross_val_score(pipeline(OptunaPruning(trial)), X, cv=4, error_score="raise")
    (trial,) = study.trials
    expected = {1_000_000 * fold + n for fold in range(4) for n in range(1, 5)}
    assert set(trial.intermediate_values) == expected


def test_what_is_pruned_by_a_trial_is_as_it_was():
    study = study_that_prunes()
    first, second = study.ask(), study.ask()
    model = pipeline(OptunaPruning(first))[-1].fit(X)
    study.tell(first, model.score(X))
    before = model.transform(X)
    model.set_params(learning_rate=1e-5).set_callbacks(OptunaPruning(second))
    with pytest.raises(optuna.TrialPruned):
        model.fit(X)
    np.testing.assert_array_equal(model.transform(X), before)


@pytest.mark.parametrize("backend", ["sequential", "threading"])
def test_in_a_search_bad_fits_end_early(backend):
    study = study_that_prunes()
    grid = {"vaetransformer__learning_rate": [5e-3, 1e-5]}
    search = GridSearchCV(pipeline(OptunaPruning(study)), grid, cv=2)
    with parallel_config(backend, n_jobs=1 if backend == "sequential" else 2):
        search.fit(X)
    states = [trial.state for trial in study.trials]
    assert len(states) == 4  # the refit is none of them
    assert states.count(TrialState.PRUNED) >= 1
    assert search.best_params_ == {"vaetransformer__learning_rate": 5e-3}
    assert search.best_estimator_[-1].n_iter_ == QUICK["max_iter"]
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    complete = [t for t in study.trials if t.state == TrialState.COMPLETE]
    assert max(t.value for t in complete) == study.best_value
    assert len(complete) + states.count(TrialState.PRUNED) == 4


def test_processes_share_a_study_by_its_storage(tmp_path):
    backend = JournalFileBackend(str(tmp_path / "journal"))
    study = study_that_prunes(storage=JournalStorage(backend))
    grid = {"vaetransformer__learning_rate": [5e-3, 1e-5]}
    model = pipeline(OptunaPruning(study))
    GridSearchCV(model, grid, cv=2, n_jobs=2, refit=False).fit(X)
    assert len(study.trials) == 4
    assert all(trial.state.is_finished() for trial in study.trials)


@pytest.mark.parametrize("as_trial", [False, True])
def test_a_study_in_the_memory_of_another_process_is_refused(as_trial):
    study = study_that_prunes()
    callback = OptunaPruning(study.ask() if as_trial else study)
    model = pickle.loads(pickle.dumps(pipeline(callback)))
    with pytest.raises(ValueError, match=r"JournalStorage.*set_callbacks\(\)"):
        model.fit(X)
    model[-1].set_callbacks()
    assert model.fit(X)[-1].n_iter_ == QUICK["max_iter"]


def test_nothing_of_a_fit_is_kept():
    study = study_that_prunes()
    callback = OptunaPruning(study)
    held = []

    class Pickles(LogLikelihoodMonitor):
        def on_fit_task_end(self, estimator, context, *, X=None, fitted_estimator=None):
            held.append((len(callback._fits), callback.__getstate__()["_fits"]))

    vae = VAETransformer(2, **QUICK).set_callbacks(callback, Pickles())
    vae.fit(X)
    assert held == [(1, {})] * 5
    assert not callback._fits
    assert study.trials[0].user_attrs == {"estimator": repr(vae)}


@pytest.mark.parametrize("as_trial", [False, True])
def test_a_study_that_minimises_is_refused(as_trial):
    study = optuna.create_study()
    callback = OptunaPruning(study.ask() if as_trial else study)
    with pytest.raises(ValueError, match="maximize"):
        pipeline(callback).fit(X)


def test_a_fit_that_fails_is_a_failed_trial():
    study = study_that_prunes()
    model = pipeline(OptunaPruning(study, X=X.to_numpy()[:, :2]))
    with pytest.raises(ValueError, match="features"):
        model.fit(X)
    assert [trial.state for trial in study.trials] == [TrialState.FAIL]
