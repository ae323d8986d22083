"""How well outliers are found, beside the peers, in labelled tables of numbers.

Run it on the tables of ADBench, ``DIR/adbench/NUMBER_NAME.npz`` with rows under X and
labels under y, and at the same time or later ask for what is in the file of results::

    OMP_NUM_THREADS=1 python benchmarks/outliers.py --data DIR --results FILE.csv
    OMP_NUM_THREADS=1 python benchmarks/outliers.py --data DIR --results FILE.csv \\
        --protocol DTE-semi --published DIR/reference_tables

outlier_data.py says what the protocols are: U scores the rows that it is fitted on, S
is fitted on half of the normal rows. The repeat (0, 1, ...; 3 of them, 5 for DTE) is
the seed of the split and of the model. A method is at its defaults but for what
follows; all of them get standardised columns.

KNN5, mean5NN    distance to the 5th nearest of the training rows, or the mean of the
                 five; a training row is no neighbour of its own in U
KNN32            to the 32nd: what is published as kNN for DTE-unsup
LOF              20 neighbours, as a detector of novelty but in U
OneClassSVM      fitted on 2,000 of the rows at most
GMM5             5 components of full covariance, diagonal above 60 columns, a
                 reg_covar of 1e-3: never worse than scikit-learn's 1e-6 by more
                 than 0.001 of AUCPR, and mostly better, on nine tables in S
pPCA             log density of PCA with 90 % of the variance
ECOD, PyOD ...   pyod's; ECOD pools the rows to be scored with those fitted on

VAEOutlierDetector is told novelty=True where the protocol says that training rows are
normal. Methods take turns within a table, from another one in each repeat, so that
load of the machine meets all of them. Each is called once on noise before it is timed.
Seconds are of the process (the file of results has those of the wall as well), for a
fit and the scores of the test rows; pyod scores training rows within its fit.

A finished fit is a line of the results and is not done again: delete the lines of a
method that has changed. Means are over tables that all methods shown have finished,
of the mean over repeats; ranks are by table (1 is best). Average precision in four
tables (few outliers, or nearly all found by all) swings by chance: there are columns
without them.
"""

import argparse
import csv
import functools
import sys
import time
import warnings
from pathlib import Path

import numpy as np
from outlier_data import (
    PROTOCOLS,
    RESAMPLED_TO,
    Task,
    make_task,
    published_name,
    read_published,
    read_table,
    table_names,
)
from scipy.stats import rankdata
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import LocalOutlierFactor, NearestNeighbors
from sklearn.svm import OneClassSVM

OURS = "VAEOutlierDetector"
REPEATS = {"U": 3, "S": 3, "DTE-semi": 5, "DTE-unsup": 5}
SWINGING = ("25_musk", "34_smtp", "21_Lymphography", "42_WBC")
METRICS = ("auroc", "aucpr")
SECONDS = ("fit_seconds", "score_seconds", "fit_wall", "score_wall")
KEY = ("protocol", "table", "repeat", "method")


# ---- methods: fitted on a task with a seed, they return what scores its test rows ----


def ours(task, seed):
    from skvae import VAEOutlierDetector

    model = VAEOutlierDetector(novelty=task.clean, random_state=seed).fit(task.train)
    return lambda: -model.score_samples(task.test)


def isolation_forest(task, seed):
    model = IsolationForest(random_state=seed).fit(task.train)
    return lambda: -model.score_samples(task.test)


def neighbours(task, seed, reduce, n_neighbors=5):
    model = NearestNeighbors(n_neighbors=n_neighbors).fit(task.train)
    return lambda: reduce(model.kneighbors(None if task.same else task.test)[0])


def furthest(distances):
    return distances[:, -1]


def local_outlier_factor(task, seed):
    model = LocalOutlierFactor(n_neighbors=20, novelty=not task.same).fit(task.train)
    if task.same:
        return lambda: -model.negative_outlier_factor_
    return lambda: -model.score_samples(task.test)


def one_class_svm(task, seed):
    order = np.random.default_rng(seed).permutation(len(task.train))
    model = OneClassSVM().fit(task.train[order[:2_000]])
    return lambda: -model.score_samples(task.test)


def mixture(task, seed):
    kind = "full" if task.train.shape[1] <= 60 else "diag"
    model = GaussianMixture(5, covariance_type=kind, reg_covar=1e-3, random_state=seed)
    model.fit(task.train)
    return lambda: -model.score_samples(task.test)


def probabilistic_pca(task, seed):
    model = PCA(n_components=0.9).fit(task.train)
    return lambda: -model.score_samples(task.test)


def pyod(task, seed, name):
    if name == "ECOD":
        from pyod.models.ecod import ECOD

        model = ECOD()
    elif name == "VAE":
        from pyod.models.vae import VAE

        model = VAE(random_state=seed, verbose=0)
    else:
        from pyod.models.auto_encoder import AutoEncoder

        model = AutoEncoder(random_state=seed, verbose=0)
    model.fit(task.train)
    if task.same:
        return lambda: model.decision_scores_
    return lambda: model.decision_function(task.test)


METHODS = {
    OURS: ours,
    "IsolationForest": isolation_forest,
    "KNN5": functools.partial(neighbours, reduce=furthest),
    "mean5NN": functools.partial(neighbours, reduce=functools.partial(np.mean, axis=1)),
    "KNN32": functools.partial(neighbours, reduce=furthest, n_neighbors=32),
    "LOF": local_outlier_factor,
    "OneClassSVM": one_class_svm,
    "ECOD": functools.partial(pyod, name="ECOD"),
    "GMM5": mixture,
    "pPCA": probabilistic_pca,
    "PyOD VAE": functools.partial(pyod, name="VAE"),
    "PyOD AutoEncoder": functools.partial(pyod, name="AutoEncoder"),
}
#: What the published tables call methods that are the same as one of these.
PUBLISHED_AS = {
    "DTE-semi": {"KNN5": "kNN", "IsolationForest": "IForest", "ECOD": "ECOD"},
    "DTE-unsup": {"KNN32": "kNN", "IsolationForest": "IForest", "ECOD": "ECOD"},
}


# ---- running ------------------------------------------------------------------------


def available(methods):
    """Those that can be imported, each called once so that no start-up is timed."""
    noise = np.random.default_rng(0).standard_normal((100, 5))
    task = Task(noise, noise, np.zeros(100), same=False, clean=True)
    usable = []
    for method in methods:
        try:
            quietly(METHODS[method], task, 0)()
        except ImportError as error:
            print(f"{method} is left out: {error}", file=sys.stderr)
        else:
            usable.append(method)
    return usable


def quietly(function, *arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", "Precision loss", RuntimeWarning)  # ECOD's
        warnings.filterwarnings("ignore", "Duplicate values", UserWarning)  # LOF's
        return function(*arguments)


def timed(function, *arguments):
    """What the function returns; seconds of the process, and of the wall."""
    wall, process = time.perf_counter(), time.process_time()
    result = quietly(function, *arguments)
    return result, time.process_time() - process, time.perf_counter() - wall


def measure(task, method, seed):
    score, fit_seconds, fit_wall = timed(METHODS[method], task, seed)
    outlyingness, score_seconds, score_wall = timed(score)
    return {
        "auroc": roc_auc_score(task.labels, outlyingness),
        "aucpr": average_precision_score(task.labels, outlyingness),
        "fit_seconds": fit_seconds,
        "score_seconds": score_seconds,
        "fit_wall": fit_wall,
        "score_wall": score_wall,
    }


def run(arguments, tables, rows):
    """Add to the rows, and to the file of results, all that is not there yet."""
    folder, methods = arguments.data / "adbench", available(arguments.methods)
    done = {tuple(row[name] for name in KEY) for row in rows}
    jobs = [
        (protocol, table, repeat, method)
        for protocol in arguments.protocol
        for table in tables
        for repeat in range(arguments.repeats or REPEATS[protocol])
        for method in rotated(methods, repeat)
    ]
    task_of = functools.lru_cache(maxsize=1)(make_task)
    for protocol, table, repeat, method in tracked(
        [job for job in jobs if job not in done]
    ):
        task = task_of(folder, table, protocol, repeat)
        try:
            result = measure(task, method, repeat)
        except (ValueError, np.linalg.LinAlgError) as error:
            print(f"{method}, {table}, {protocol}: {error}", file=sys.stderr)
            continue
        job = (protocol, table, repeat, method)
        rows.append(dict(zip(KEY, job, strict=True)) | result)
        append(arguments.results, rows[-1])


def rotated(methods, repeat):
    first = repeat * (1 + len(methods) // 3) % max(len(methods), 1)
    return methods[first:] + methods[:first]


def tracked(jobs):
    """The jobs, with a bar on stderr if rich is there."""
    try:
        from rich.console import Console
        from rich.progress import track
    except ImportError:
        for number, job in enumerate(jobs, 1):
            yield job
            print(f"{number} of {len(jobs)}: {job}", file=sys.stderr)
    else:
        yield from track(jobs, "Fits", console=Console(stderr=True))


def append(path, row):
    if path is None:
        return
    is_new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, [*KEY, *METRICS, *SECONDS])
        if is_new:
            writer.writeheader()
        writer.writerow(row)


def read_results(path):
    if path is None or not path.exists():
        return []
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["repeat"] = int(row["repeat"])
        row |= {name: float(row[name]) for name in (*METRICS, *SECONDS)}
    return rows


# ---- report -------------------------------------------------------------------------


class Results:
    """Means over repeats of one protocol, an array (tables, methods) a measure."""

    def __init__(self, rows, protocol, tables, methods):
        cells = {}
        for row in rows:
            if row["protocol"] == protocol:
                cells.setdefault((row["table"], row["method"]), []).append(row)
        self.methods = [m for m in methods if any((t, m) in cells for t in tables)]
        self.tables = [t for t in tables if all((t, m) in cells for m in self.methods)]
        self.left_out = [
            t for t in tables if t not in self.tables and any(t == c[0] for c in cells)
        ]
        self.n_repeats = sorted({len(cell) for cell in cells.values()})
        self.of = {
            name: np.array(
                [
                    [np.mean([row[name] for row in cells[t, m]]) for m in self.methods]
                    for t in self.tables
                ]
            )
            for name in (*METRICS, *SECONDS)
        }

    def ranks(self, metric):
        return rankdata(-self.of[metric], axis=1)

    def seconds(self):
        return (self.of["fit_seconds"] + self.of["score_seconds"]).sum(axis=0)

    def column(self, metric, method):
        return self.of[metric][:, self.methods.index(method)]


def print_table(title, header, rows):
    print(f"\n**{title}**\n")
    print("| " + " | ".join(header) + " |")
    print("|---" * len(header) + "|")
    for row in rows:
        print("| " + " | ".join(str(cell) for cell in row) + " |")


def report(arguments, tables, rows):
    for protocol in arguments.protocol:
        results = Results(rows, protocol, tables, arguments.methods)
        if not results.tables:
            print(f"{protocol}: no table that all methods have finished")
            continue
        print_summary(protocol, results)
        if OURS in results.methods:
            print_wins(results)
        if arguments.per_table:
            print_per_table(results)
        if arguments.published and protocol.startswith("DTE"):
            folder = arguments.data / "adbench"
            print_published(arguments.published, folder, protocol, results)


def print_summary(protocol, results):
    steady = ~np.isin(results.tables, SWINGING)
    seconds = results.seconds()
    ours = results.methods.index(OURS) if OURS in results.methods else None
    lines = []
    for j, method in enumerate(results.methods):
        auroc, aucpr = (100 * results.of[metric][:, j] for metric in METRICS)
        means = [auroc.mean(), aucpr.mean(), np.median(aucpr)]
        means += [mean_of(auroc[steady]), mean_of(aucpr[steady])]
        ranks = [results.ranks(metric)[:, j].mean() for metric in METRICS]
        ratio = "-" if ours is None else f"{seconds[j] / seconds[ours]:.3g}"
        cells = [f"{value:.1f}" for value in [*means, *ranks]]
        lines.append([method, *cells, f"{seconds[j]:.3g}", ratio])
    header = ["", "AUROC", "AUCPR", "median AUCPR", "AUROC without 4"]
    header += ["AUCPR without 4", "rank AUROC", "rank AUCPR", "seconds", "to ours"]
    repeats = " or ".join(map(str, results.n_repeats))
    title = f"{protocol}: {len(results.tables)} tables, {repeats} repeats, in %"
    print_table(title, header, lines)
    if results.left_out:
        print("\nNot finished by all, left out: " + ", ".join(results.left_out))


def mean_of(values):
    return values.mean() if len(values) else np.nan


def print_wins(results):
    """Tables on which ours is ahead of each peer, and by how much on average."""
    lines = []
    for peer in results.methods:
        if peer == OURS:
            continue
        line = [peer]
        for metric in METRICS:
            gain = results.column(metric, OURS) - results.column(metric, peer)
            line.append(f"{(gain > 0).sum()}-{(gain < 0).sum()}")
            line.append(f"{100 * gain.mean():+.1f}")
        lines.append(line)
    header = ["against", "AUROC won-lost", "by", "AUCPR won-lost", "by"]
    print_table(f"{OURS}: tables won and lost", header, lines)


def print_per_table(results):
    compared = (OURS, "IsolationForest", "KNN5", "mean5NN")
    methods = [method for method in compared if method in results.methods]
    columns = [100 * results.column("aucpr", method) for method in methods]
    lines = [
        [table, *(f"{column[i]:.1f}" for column in columns)]
        for i, table in enumerate(results.tables)
    ]
    print_table("AUCPR by table, in %", ["", *methods], lines)


# ---- beside published results -------------------------------------------------------


def print_published(path, folder, protocol, results):
    """Methods measured here among the published ones, on the tables of both.

    A published rank is among the published methods; a measured one is among them and
    itself, so that adding methods here moves no rank.
    """
    published = {
        "auroc": read_published(path, protocol, "aucroc"),
        "aucpr": read_published(path, protocol, "aucpr"),
    }
    kept = np.array(
        [published_name(t) in published["auroc"]["kNN"] for t in results.tables]
    )
    tables = [t for t, keep in zip(results.tables, kept, strict=True) if keep]
    values = {}
    for metric, by_method in published.items():
        for name, column in by_method.items():
            column = np.array([column[published_name(table)] for table in tables])
            values.setdefault(name, {})[metric] = column
        for name in results.methods:
            column = 100 * results.column(metric, name)[kept]
            values.setdefault(f"**{name}, here**", {})[metric] = column
    peers = list(published["auroc"])
    names = sorted(values, key=lambda name: -values[name]["auroc"].mean())
    lines = [[name, *standing(values, name, peers)] for name in names]
    header = ["", "AUROC", "median", "rank", "AUCPR", "median", "rank"]
    title = f"{protocol}: {len(peers)} published methods and ours, {len(tables)} tables"
    print_table(title, header, lines)
    print_agreement(folder, protocol, tables, results.methods, values)


def standing(values, name, peers):
    cells = []
    for metric in METRICS:
        own = values[name][metric]
        others = [values[peer][metric] for peer in peers if peer != name]
        rank = rankdata(-np.array([own, *others]), axis=0)[0]
        cells += [f"{own.mean():.2f}", f"{np.median(own):.2f}", f"{rank.mean():.1f}"]
    return cells


def print_agreement(folder, protocol, tables, methods, values):
    """How far the peers run again are from their published selves."""
    small = np.array([len(read_table(folder, t)[1]) < RESAMPLED_TO for t in tables])
    lines = []
    for method, name in PUBLISHED_AS[protocol].items():
        if method not in methods:
            continue
        for label, rows in (("1,000 rows or more", ~small), ("fewer", small)):
            if not rows.any():
                continue
            line = [method, label, rows.sum()]
            for metric in METRICS:
                own, theirs = values[f"**{method}, here**"], values[name]
                gap = (own[metric] - theirs[metric])[rows]
                line += [f"{gap.mean():+.2f}", f"{np.abs(gap).max():.2f}"]
            lines.append(line)
    header = ["", "tables of", "number", "AUROC, mean", "largest", "AUCPR, mean"]
    print_table("Here minus published, in %", [*header, "largest"], lines)


def main():
    arguments = parse_arguments()
    tables = arguments.tables or table_names(arguments.data / "adbench")
    rows = read_results(arguments.results)
    if not arguments.report:
        run(arguments, tables, rows)
    report(arguments, tables, rows)


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", type=Path, required=True, help="folder that holds adbench")
    add("--protocol", nargs="+", choices=PROTOCOLS, default=["U", "S"])
    add("--repeats", type=int, help="seeds 0, 1, ...: else 3, or 5 for DTE")
    add("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    add("--tables", nargs="+", help="names such as 14_glass; else all of the folder")
    add("--results", type=Path, metavar="FILE", help="CSV, made, read and added to")
    add("--report", action="store_true", help="print what is there, run nothing")
    add("--per-table", action="store_true", help="AUCPR of each table as well")
    add("--published", type=Path, metavar="FILE", help="DTE_*_mean.csv or their folder")
    return parser.parse_args()


if __name__ == "__main__":
    main()
