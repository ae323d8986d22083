"""Imports, growth with the number of rows, and fits at defaults."""

import functools
import statistics
import subprocess
import sys
import warnings

import numpy as np
from speed_contenders import missing_packages
from speed_timing import print_rows, print_table, report, take_turns
from speed_workloads import Workload, make_rows

from skvae import VAEOutlierDetector, VAETransformer
from skvae.exceptions import PosteriorCollapseWarning

STATEMENTS = [
    "pass",
    "import sklearn",
    "import skvae",
    "import sklearn, skvae",
    "import torch",
    "from skvae import VAETransformer",
]
#: Prints whether the compiler of torch was loaded along with a fit.
AFTER_FIT = """
import sys
import numpy as np
from skvae import VAETransformer
X = np.random.default_rng(0).normal(size=(500, 5))
VAETransformer(max_iter=1).fit(X).score_samples(X)
print("torch._dynamo" in sys.modules)
"""
GROWING_ROWS = (10_000, 100_000, 1_000_000)
#: As many epochs as max_iter="auto" makes at least.
GROWING = Workload(max(GROWING_ROWS), 20, (64, 32), 4, 512, 10)
MOST_ROWS = 10_000


# ---- imports ------------------------------------------------------------------------


def imports(repeats):
    """Seconds of statements, each in a fresh process, that of the process included."""
    calls = {
        statement: functools.partial(run_statement, statement)
        for statement in STATEMENTS
    }
    for call in calls.values():  # reads the files into the system's cache
        call(0)
    seconds = take_turns(calls, dict.fromkeys(calls, repeats), "import")
    print_table("imports, in fresh processes", seconds)
    loaded = run_statement(AFTER_FIT).strip() == "True"
    print(f"\ntorch._dynamo {'is' if loaded else 'is not'} loaded after a fit.")


def run_statement(statement, repeat=0):
    command = [sys.executable, "-c", statement]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


# ---- growth -------------------------------------------------------------------------


def growth(repeats, seed):
    """Seconds a row of fits of equal epochs, as rows become more."""
    X = make_rows(GROWING, seed)
    VAETransformer(max_iter=1).fit(X[:256])
    for batch_size in (GROWING.batch_size, "auto"):
        calls = {}
        for n_rows in GROWING_ROWS:
            model = VAETransformer(
                max_iter=GROWING.n_epochs,
                batch_size=batch_size,
                early_stopping=False,
                random_state=seed,
            )
            calls[n_rows] = functools.partial(fit_rows, model, X[:n_rows])
        title = f"VAETransformer(max_iter={GROWING.n_epochs}, {batch_size=})"
        seconds = take_turns(calls, dict.fromkeys(calls, repeats), title)
        print_growth(title, seconds)


def fit_rows(model, X, repeat):
    model.fit(X)


def print_growth(title, seconds):
    medians = {n_rows: statistics.median(values) for n_rows, values in seconds.items()}
    least = min(medians)
    each = {n_rows: median / n_rows for n_rows, median in medians.items()}
    rows = [
        [
            f"{n_rows:,} rows",
            f"{median:.4g}",
            f"{1e6 * each[n_rows]:.2f}",
            f"{each[n_rows] / each[least]:.2f}",
        ]
        for n_rows, median in medians.items()
    ]
    header = ["median s", "µs a row", f"a row / a row at {least:,}"]
    print_rows(f"{title}, {GROWING.n_columns} columns", header, rows)


# ---- fits at defaults ---------------------------------------------------------------


def defaults(folder, repeats, seed):
    """Seconds of estimators at their defaults on tables of outliers, in total."""
    fits = {
        "VAETransformer()": lambda seed: VAETransformer(random_state=seed),
        "VAEOutlierDetector()": lambda seed: VAEOutlierDetector(random_state=seed),
    }
    if "pyod" not in missing_packages():
        from pyod.models.vae import VAE

        fits["PyOD VAE()"] = lambda seed: VAE(random_state=seed, verbose=0)
    small = make_rows(Workload(256, 10, (), 4, 1, 1), seed)
    for make in fits.values():
        make(seed).fit(small)
    rows, total = [], dict.fromkeys(fits, 0.0)
    for path in sorted(folder.glob("*.npz")):
        X = read_rows(path, seed)
        calls = {
            name: functools.partial(fit_at_defaults, make, X, seed)
            for name, make in fits.items()
        }
        seconds = take_turns(calls, dict.fromkeys(calls, repeats), path.stem)
        medians = {name: statistics.median(values) for name, values in seconds.items()}
        total = {name: total[name] + median for name, median in medians.items()}
        rows.append([f"{path.stem}, {X.shape[0]:,} x {X.shape[1]}", *cells(medians)])
    rows.append(["in total", *cells(total)])
    if "PyOD VAE()" in total:
        ratios = (f"{total['PyOD VAE()'] / value:.2f}" for value in total.values())
        rows.append(["PyOD VAE() / it", *ratios])
    print_rows("fits at defaults, median s", list(fits), rows)


def cells(seconds):
    return (f"{value:.2f}" for value in seconds.values())


def fit_at_defaults(make, X, seed, repeat):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PosteriorCollapseWarning)
        make(seed + repeat).fit(X)


def read_rows(path, seed):
    """Rows of a table as they are, at most so many of them."""
    with np.load(path) as file:
        X = file["X"].astype(np.float64)
    if len(X) > MOST_ROWS:
        X = X[np.random.default_rng(seed).choice(len(X), MOST_ROWS, replace=False)]
    report(f"{path.stem}: {X.shape[0]:,} x {X.shape[1]}")
    return X
