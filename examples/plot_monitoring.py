"""
==========================================
Watching fits, and stopping bad ones early
==========================================

A search makes many fits, and most of them can be seen to be bad long before they end.
Callbacks watch a fit from epoch to epoch. scikit-learn's own draws progress bars,
:class:`~skvae.callbacks.LogLikelihoodMonitor` logs the log-likelihood of rows that are
not trained on, and :class:`~skvae.callbacks.OptunaPruning` ends fits in which it stays
behind that of others. Here they watch a grid search over a pipeline, and a study of
Optuna, which comes with the extra ``optuna``.
"""

import time

import matplotlib.pyplot as plt
import numpy as np
import optuna
from sklearn.callback import ProgressBar
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, ShuffleSplit, train_test_split
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from skvae import VAETransformer
from skvae.callbacks import LogLikelihoodMonitor, OptunaPruning

optuna.logging.set_verbosity(optuna.logging.WARNING)

# %%
# A search that is watched
# ------------------------
# The rows are digits, without the pixels that are nearly always empty. The candidates
# are compared on one split: all of them are judged by the same rows, so that a fit that
# is behind is a worse one, and not one on a harder fold.
#
# Looking takes time, once an epoch. By default a score averages over 64 draws of the
# code of each row, which takes longer than the epoch itself; eight are enough for a
# comparison.

X = load_digits().data.astype(np.float32)
X = X[:, X.std(axis=0) > 1]
EPOCHS = 60
GRID = {
    "vae__learning_rate": [5e-3, 2e-3, 5e-4],
    "vae__n_components": [2, 4, 8, 16],
}


def searched(*callbacks):
    """A grid search with callbacks on the VAE, and its seconds."""
    vae = VAETransformer(max_iter=EPOCHS, n_importance_samples=8, random_state=0)
    search = GridSearchCV(
        Pipeline([("scale", StandardScaler()), ("vae", vae.set_callbacks(*callbacks))]),
        GRID,
        cv=ShuffleSplit(1, random_state=0),
        refit=False,
    )
    search.set_callbacks(ProgressBar(max_propagation_depth=0))
    began = time.perf_counter()
    search.fit(X)
    return search, time.perf_counter() - began


# %%
# ``ProgressBar`` goes on the outermost estimator. In a terminal its bars grow as the
# search goes on; a page has what they end as. At depth 0 they are those of the search
# alone; by default each fit has one, too, and ``max_propagation_depth=None`` adds the
# steps of the pipeline, of which the VAE counts its epochs. The monitor goes on the VAE
# itself, and every clone that the search makes reports to it.

monitor = LogLikelihoodMonitor()
unwatched, seconds_unwatched = searched()
watched, seconds_watched = searched(monitor)

# %%
# The same search, pruned
# -----------------------
# Given a study of Optuna, ``OptunaPruning`` makes every fit a trial of it, and asks its
# pruner at every epoch. The median pruner lets the first four fits pass, gives each
# later one five epochs, and then ends those below the median of the others at the same
# epoch. So it pays to have good candidates first. The model is kept as it is by then,
# and the search goes on with its score.
#
# The saving in seconds is smaller than that in epochs, since looks are paid for. It is
# the larger, the longer an epoch takes beside a look: with long tables and wide layers.

study = optuna.create_study(
    direction="maximize",
    pruner=optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=5),
)
pruned, seconds_pruned = searched(OptunaPruning(study))

epochs = [trial.last_step for trial in study.trials]
is_pruned = [trial.state.name == "PRUNED" for trial in study.trials]
print(f"\n{sum(is_pruned)} of {len(epochs)} fits pruned\n")
print(f"{'':12} {'epochs':>7} {'seconds':>8}  best parameters")
for name, search, n_epochs, seconds in (
    ("unwatched", unwatched, EPOCHS * len(epochs), seconds_unwatched),
    ("watched", watched, EPOCHS * len(epochs), seconds_watched),
    ("pruned", pruned, sum(epochs), seconds_pruned),
):
    best = {key.removeprefix("vae__"): v for key, v in search.best_params_.items()}
    print(f"{name:12} {n_epochs:>7} {seconds:>8.1f}  {best}")

# %%
# What has been cut off
# ---------------------
# Curves are those of the search that was watched: the log-likelihood of rows that the
# fit holds out, once an epoch. A dot is where the other search ended the fit.
#
# Curves do cross: some that were ended end above one that was not. The best was not
# among them, but a pruner cannot know. The later it begins (``n_warmup_steps``), the
# less is lost, and the less is gained.

log = monitor.get_logs().data_as_pandas
log = log[log["task_name"] == "epoch"]
COLOURS = dict(zip(GRID["vae__learning_rate"], ("C0", "C1", "C2"), strict=True))
STYLES = dict(zip(GRID["vae__n_components"], (":", "-.", "--", "-"), strict=True))

figure, ax = plt.subplots(figsize=(9, 5), layout="constrained")
for parameters, trial, (_, curve) in zip(
    watched.cv_results_["params"],
    study.trials,
    log.groupby("parent_task_id_path"),
    strict=True,
):
    rate, width = parameters["vae__learning_rate"], parameters["vae__n_components"]
    ax.plot(
        curve["task_id"] + 1,
        curve["log_likelihood"],
        color=COLOURS[rate],
        linestyle=STYLES[width],
        label=f"{rate:g}, {width}",
    )
    if trial.state.name == "PRUNED":
        epoch = trial.last_step
        ax.plot(epoch, trial.intermediate_values[epoch], "o", color=COLOURS[rate])
ax.set(xlabel="epoch", ylabel="log-likelihood of held-out rows, nats")
legend = figure.legend(title="learning rate,\ncomponents", loc="outside right upper")

# %%
# A study of Optuna's own
# -----------------------
# Within an objective ``OptunaPruning`` is given the trial, and ends it in the way that
# Optuna expects. A callback of the study prints a line a trial, as each ends.

X_train, X_valid = train_test_split(X, random_state=0)


def objective(trial):
    """Log-likelihood of the validation rows."""
    vae = VAETransformer(
        n_components=trial.suggest_int("n_components", 2, 16),
        learning_rate=trial.suggest_float("learning_rate", 5e-4, 2e-2, log=True),
        max_iter=EPOCHS,
        n_importance_samples=8,
        random_state=0,
    ).set_callbacks(OptunaPruning(trial))
    model = Pipeline([("scale", StandardScaler()), ("vae", vae)])
    return model.fit(X_train).score(X_valid)


def tell(study, trial):
    """Print a line for a trial that has ended."""
    print(
        f"{trial.number:>5} {trial.params['n_components']:>11} "
        f"{trial.params['learning_rate']:>14.4f} {trial.last_step:>7} "
        f"{trial.state.name.lower():>9} {study.best_value:>8.2f}"
    )


study = optuna.create_study(
    direction="maximize",
    sampler=optuna.samplers.TPESampler(seed=0),
    pruner=optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=5),
)
print("trial  components  learning rate  epochs     state  best so far")
study.optimize(objective, n_trials=16, callbacks=[tell])
n_pruned = sum(trial.state.name == "PRUNED" for trial in study.trials)
print(f"\n{n_pruned} of {len(study.trials)} trials pruned")

# %%

# sphinx_gallery_start_ignore
# A script keeps its pictures; in the gallery they are closed by now.
from pathlib import Path

for number in plt.get_fignums():
    script = Path(__file__)
    folder = script.with_name("pictures")
    folder.mkdir(exist_ok=True)
    plt.figure(number).savefig(folder / f"{script.stem}_{number}.png", dpi=120)
    print(f"Picture: examples/pictures/{script.stem}_{number}.png")
# sphinx_gallery_end_ignore
