"""
========================
A grid search in seconds
========================

A model is seldom fitted once. Its width and its noise are chosen by many small fits;
the one that is kept then answers for many rows, or for single rows as they come in; and
one day the table no longer fits in memory. This example does all three on the breast
cancer data of scikit-learn, and prints what each takes on the machine that it runs on.
"""

import tempfile
import time
import tracemalloc
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from skvae import VAETransformer
from skvae.likelihoods import Gaussian

# %%
# Many small fits
# ---------------
# Five widths of the code, and two kinds of noise: one level for each column, as in
# factor analysis, or a level that depends on the code. ``score`` is the mean
# log-likelihood of rows, so that the search needs neither labels nor ``scoring``.
#
# The model standardises inside. The scaler before it only changes the units of log p,
# and does so for all candidates alike. Scores with and without it could not be
# compared, so it is no part of the grid.

WIDTHS = (1, 2, 4, 8, 16)
NOISES = {
    "a level for each column": Gaussian("feature"),
    "a level that depends on the code": Gaussian("conditional"),
}
N_FOLDS, N_JOBS = 3, 2

X_train, X_test = train_test_split(load_breast_cancer().data, random_state=0)
search = GridSearchCV(
    Pipeline([("scale", StandardScaler()), ("vae", VAETransformer(random_state=0))]),
    {"vae__likelihood": list(NOISES.values()), "vae__n_components": WIDTHS},
    cv=N_FOLDS,
    n_jobs=N_JOBS,
)
search_began = time.perf_counter()
search.fit(X_train)
search_took = time.perf_counter() - search_began

# %%
# Each fit limits itself to one thread, and sets the number back when it is done. The
# steps of small networks are too short to be shared out, and threads that wait for the
# next step keep a core busy: they would take it from the fit next door. So ``n_jobs``
# processes keep as many cores busy, and no more. What the search takes beyond its share
# of the fits is mostly the start of the processes, each of which loads torch; a second
# search finds them running.
#
# Folds are hard or easy for all candidates alike. So the two kinds of noise are also
# compared fold by fold, which the error bars do not show.

results = search.cv_results_
# Candidates come with the width changing fastest.
folds = np.stack([results[f"split{k}_test_score"] for k in range(N_FOLDS)])
by_column, by_code = np.split(folds, len(NOISES), axis=1)
means = results["mean_test_score"].reshape(len(NOISES), -1)
errors = results["std_test_score"].reshape(len(NOISES), -1) / np.sqrt(N_FOLDS - 1)
seconds = results["mean_fit_time"]
n_fits = N_FOLDS * len(seconds)

print("== Grid search: log p of held-out rows, mean of 3 folds ± standard error")
print("   (nats per row of standardised columns; higher is better)\n")
print(f"{'components':>10} " + " ".join(f"{name:>34}" for name in NOISES))
for i, width in enumerate(WIDTHS):
    cells = (f"{means[j, i]:.2f} ± {errors[j, i]:.2f}" for j in range(len(NOISES)))
    print(f"{width:>10} " + " ".join(f"{cell:>34}" for cell in cells))
print(
    f"\nNoise that depends on the code is ahead in {(by_code > by_column).sum()} of "
    f"{by_code.size} pairs of fits"
)
print(f"Best: {search.best_params_}")
print(f"Rows that the search has not seen: {search.score(X_test):.2f}")
print(
    f"{n_fits} fits of {seconds.min():.2f} to {seconds.max():.2f} s by candidate, "
    f"{N_FOLDS * seconds.sum():.1f} s in all;\n"
    f"the search took {search_took:.1f} s with {N_JOBS} processes"
)

figure, ax = plt.subplots(figsize=(7, 4.2), layout="constrained")
for name, mean, error, colour in zip(
    NOISES, means, errors, ("#3f90da", "#e76300"), strict=True
):
    ax.errorbar(
        WIDTHS,
        mean,
        error,
        marker="o",
        markersize=4,
        capsize=3,
        color=colour,
        label=name,
    )
ax.set_xscale("log", base=2)
ax.set_xticks(WIDTHS, labels=map(str, WIDTHS))
ax.minorticks_off()
ax.set(
    xlabel="components",
    ylabel="log p of held-out rows, nats",
    title=f"Breast cancer: {len(seconds)} candidates, mean and error of 3 folds",
)
_ = ax.legend(frameon=False, title="noise")

# %%
# Many rows, and one
# ------------------
# The model that was chosen, without the scaler, on rows that it has drawn itself.
# float32 rows are answered in float32, which takes about half the time; log p is
# returned as float64 even then. The last column is the price: how far answers are from
# those to float64 rows, at most. A single row gains nothing from it, since its time
# goes into the call and not into the arithmetic.

N_BATCH, N_BATCHES, N_SINGLE = 5_000, 3, 300

vae = search.best_estimator_["vae"]
held_out, table = np.split(vae.sample(105_000, random_state=0), [5_000])


def median_seconds(method, parts):
    """Of one call for each of the parts."""
    method(parts[0])
    taken = []
    for rows in parts:
        called = time.perf_counter()
        method(rows)
        taken.append(time.perf_counter() - called)
    return np.median(taken)


print(f"\n== Medians of {N_BATCHES} calls of {N_BATCH:,} rows and {N_SINGLE} of one\n")
print(
    f"{'':13} {'rows':>7} {'answers':>7} {'rows a second':>13} {'µs for one row':>14} "
    f"{'furthest from float64':>21}"
)
batches = np.split(table[: N_BATCHES * N_BATCH], N_BATCHES)
for method in (vae.transform, vae.score_samples):
    exact = method(batches[0])
    for dtype in (np.float64, np.float32):
        parts = [batch.astype(dtype) for batch in batches]
        batch_took = median_seconds(method, parts)
        row_took = median_seconds(method, np.split(parts[0][:N_SINGLE], N_SINGLE))
        answers = method(parts[0])
        print(
            f"{method.__name__:13} {parts[0].dtype!s:>7} {answers.dtype!s:>7} "
            f"{N_BATCH / batch_took:>13,.0f} {1e6 * row_took:>14.0f} "
            f"{np.abs(answers - exact).max():>21.1g}"
        )

# %%
# A table on disk
# ---------------
# ``np.load(path, mmap_mode="r")`` is an array whose rows stay in the file until they
# are read. ``fit`` takes it as it is: it standardises in passes, and reads a few
# thousand rows at a time. A scaler in front would make a whole copy, so there is none
# here.
#
# Rows of a file are read in blocks of neighbours, in random order, and shuffled among
# the blocks that are read together. So a fit from the file is not the fit from memory
# with the same seed, but one with another order of the rows. To make it hard the rows
# are sorted, so that neighbours are alike. The judge is what another seed changes.
#
# ``tracemalloc`` counts the bytes of NumPy's arrays and of Python's objects, not those
# that torch holds beside them. ``benchmarks/speed.py --parts memory`` has the memory of
# the whole process, and a file of gigabytes.

SEEDS = (0, 1, 2)


def fitted(X, seed):
    """Three epochs with the settings that the search chose."""
    return clone(vae).set_params(max_iter=3, random_state=seed).fit(X)


table = table[np.argsort(table[:, 0])]
from_memory = [fitted(table, seed) for seed in SEEDS]
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "table.npy"
    np.save(path, table)
    tracemalloc.start()
    from_file = fitted(np.load(path, mmap_mode="r"), SEEDS[0])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

print(f"\n== A table on disk: {len(table):,} sorted rows, {len(held_out):,} held out\n")
scores = [model.score(held_out) for model in from_memory]
for seed, score in zip(SEEDS, scores, strict=True):
    print(f"from memory, seed {seed}: log p {score:.3f}")
file_score = from_file.score(held_out)
print(f"from the file, seed {SEEDS[0]}: log p {file_score:.3f}")
change, spread = abs(file_score - scores[0]), max(scores) - min(scores)
print(
    f"The file changes log p by {change:.3f}, seeds by up to {spread:.3f}: "
    f"{'less' if change < spread else 'no less'} than another seed."
)
print(
    f"Table: {table.nbytes / 2**20:.1f} MiB. Peak of the fit: {peak / 2**20:.1f} MiB."
)

# %%

# sphinx_gallery_start_ignore
# A script keeps its pictures; in the gallery they are closed by now.
for number in plt.get_fignums():
    script = Path(__file__)
    folder = script.with_name("pictures")
    folder.mkdir(exist_ok=True)
    plt.figure(number).savefig(folder / f"{script.stem}_{number}.png", dpi=120)
    print(f"Picture: examples/pictures/{script.stem}_{number}.png")
# sphinx_gallery_end_ignore
