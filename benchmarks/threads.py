"""What more threads do to a fit, on free cores and beside a busy process.

Run it on a machine of several cores with nothing else to do::

    python benchmarks/threads.py --threads 2

A fit limits itself to one thread; here the limit is lifted. Fits take turns with one
thread, with several in the pools of both NumPy and torch, and with several in one of
them: NumPy's for perceptrons, whose products it makes, torch's for convolutions. Then
once more beside a process that keeps a core busy. The table has medians over those
with one thread: above 1 is slower.
"""

import argparse
import contextlib
import multiprocessing
import statistics
from unittest import mock

import numpy as np
import torch
from speed_contenders import make_ours
from speed_timing import print_rows, report, seconds_of
from speed_workloads import WORKLOADS, describe_machine, make_rows
from threadpoolctl import threadpool_limits

from skvae import VAETransformer
from skvae.networks import ConvNet

#: Rows of the larger workloads: less than in the benchmark of speed.
MOST_ROWS = {"W1": 2_000, "W2": 50_000, "W3": 100_000, "W4": 12_000}
IMAGE = (1, 28, 28)
N_IMAGES, N_EPOCHS = 3_000, 2


def fits(seed):
    """By name: a fit, and the pool that it may use by itself."""
    calls = {}
    for name, workload in WORKLOADS.items():
        workload = workload._replace(n_rows=MOST_ROWS[name])
        X = make_rows(workload, seed)
        calls[f"{name}, {len(X):,} rows"] = make_ours(workload, seed), X, "NumPy"
    images = make_rows(WORKLOADS["W4"]._replace(n_rows=N_IMAGES), seed)
    model = VAETransformer(
        network=ConvNet(IMAGE),
        likelihood="bernoulli",
        max_iter=N_EPOCHS,
        early_stopping=False,
        random_state=seed,
    )
    calls[f"ConvNet, {N_IMAGES:,} images of {np.prod(IMAGE)}"] = model, images, "torch"
    return calls


def seconds(model, X, of_numpy, of_torch):
    """Of a fit with these numbers of threads."""
    unlimited = mock.patch("skvae.base.limited", lambda _: contextlib.nullcontext())
    with unlimited, threadpool_limits(of_numpy, user_api="blas"):
        torch.set_num_threads(of_torch)
        return seconds_of(model.fit, X)


def ratios(model, X, pool, n_threads, repeats):
    """Medians over that of one thread: both pools, and the one alone."""
    alone = (n_threads, 1) if pool == "NumPy" else (1, n_threads)
    cases = [(1, 1), (n_threads, n_threads), alone]
    times = {case: [] for case in cases}
    for _ in range(repeats):
        for case in cases:
            times[case].append(seconds(model, X, *case))
    one, *several = (statistics.median(times[case]) for case in cases)
    return [value / one for value in several]


@contextlib.contextmanager
def busy_process():
    process = multiprocessing.get_context("spawn").Process(target=run_forever)
    process.start()
    try:
        yield
    finally:
        process.kill()
        process.join()


def run_forever():
    while True:
        pass


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    for line in describe_machine():
        print(f"- {line}")
    print(f"- repeats {arguments.repeats}, seed {arguments.seed}")
    rows = {}
    for neighbour in (contextlib.nullcontext(), busy_process()):
        with neighbour:
            for name, (model, X, pool) in fits(arguments.seed).items():
                model.fit(X[:256])
                found = ratios(model, X, pool, arguments.threads, arguments.repeats)
                report(f"{name}: {found}")
                rows.setdefault(name, [pool]).extend(f"{r:.2f}" for r in found)
    header = ["pool", "both pools", "this pool"]
    beside = [f"{name}, beside a busy process" for name in header[1:]]
    title = f"{arguments.threads} threads over one"
    print_rows(title, [*header, *beside], [[name, *row] for name, row in rows.items()])


if __name__ == "__main__":
    main()
