"""Fits and scores on a Ray cluster of two nodes on this machine, beside one process.

A table is written as a directory of Parquet files. One process fits it in memory; one
and two workers of a cluster, in turns, fit the directory for equally many epochs. All
models score the same new rows. Needs the extra ``ray``. Linux only, for the memory.
"""

import argparse
import os
import statistics
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import ray
from ray.cluster_utils import Cluster
from ray.train import RunConfig, ScalingConfig

from skvae import VAETransformer
from skvae.ray import fit_dataset, score_dataset

MIB = 2**20
SECONDS_BETWEEN_LOOKS = 0.5
N_FILES, N_FILES_SCORED = 20, 4


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--columns", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print(
        f"{options.rows:,} rows of {options.columns} columns, {options.epochs} epochs, "
        f"seed {options.seed}, medians of {options.repeats} repeats\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder, "table")
        new = write(directory, options)
        cluster = start()
        try:
            compare(directory, new, options, Path(folder, "runs"))
        finally:
            ray.shutdown()
            cluster.shutdown()


def write(directory, options):
    """A directory of the table, and further rows of the same kind."""
    rng = np.random.default_rng(options.seed)
    directory.mkdir()
    loadings = rng.normal(size=(6, options.columns))

    def rows(n_rows):
        z = rng.normal(size=(n_rows, 6))
        bent = np.tanh(z) @ loadings + 0.3 * z[:, :1] ** 2
        noise = 0.3 * rng.normal(size=bent.shape)
        return pd.DataFrame(bent + noise).rename(columns=lambda j: f"x{j}")

    for i in range(N_FILES):
        part = rows(options.rows // N_FILES)
        part.to_parquet(directory / f"part-{i:04d}.parquet", index=False)
    return rows(20_000)


def start():
    """Two nodes; of the processes that read what files hold, one is enough here."""
    os.environ["RAY_DATA_PARQUET_FOOTER_NUM_ACTORS"] = "1"
    size = {"num_cpus": 1, "object_store_memory": 400 * MIB}
    cluster = Cluster(
        initialize_head=True, head_node_args={**size, "include_dashboard": False}
    )
    cluster.add_node(**size)
    ray.init(address=cluster.address, log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    return cluster


def compare(directory, new, options, storage):
    # Looks are taken, but no model stops before another.
    estimator = VAETransformer(
        max_iter=options.epochs, n_iter_no_change=1_000, random_state=options.seed
    )
    began = time.perf_counter()
    local = estimator.fit(pd.read_parquet(directory))
    local_seconds = time.perf_counter() - began
    local_score = local.score(new)
    runs = {1: [], 2: []}
    for _ in range(options.repeats):
        for n_workers, found in runs.items():
            found.append(run(directory, estimator, n_workers, storage))
    print("                      seconds  epochs  ELBO less that of one process,")
    print("                                       nats a column, new rows")
    print(f"one process, in memory {local_seconds:6.1f}  {local.n_iter_:6d}")
    seconds = {}
    for n_workers, found in runs.items():
        seconds[n_workers] = statistics.median(each["seconds"] for each in found)
        gains = [
            (each["model"].score(new) - local_score) / new.shape[1] for each in found
        ]
        print(
            f"{n_workers} worker(s)            {seconds[n_workers]:6.1f}  "
            f"{found[0]['model'].n_iter_:6d}  {statistics.median(gains):+.4f} "
            f"({min(gains):+.4f} to {max(gains):+.4f})"
        )
    print(f"\n2 workers take {seconds[2] / seconds[1]:.2f} of the time of 1.")
    for name in ("resident", "private"):
        peak = max(each[name] for found in runs.values() for each in found)
        print(f"Peak {name} memory of a training worker: {peak:,.0f} MiB.")
    print_scores(directory, local)


def run(directory, estimator, n_workers, storage):
    """Seconds, model and peak memory of one fit, input included."""
    with Memory() as memory:
        began = time.perf_counter()
        model = fit_dataset(
            estimator,
            ray.data.read_parquet(str(directory)),
            scaling_config=ScalingConfig(num_workers=n_workers),
            run_config=RunConfig(storage_path=str(storage)),
        )
        seconds = time.perf_counter() - began
    return {"seconds": seconds, "model": model, **memory.peaks}


def print_scores(directory, model):
    """Rates of scoring a few of the files, and whether the scores are the same."""
    files = sorted(map(str, directory.glob("*.parquet")))[:N_FILES_SCORED]
    rows = pd.concat([pd.read_parquet(file) for file in files])
    began = time.perf_counter()
    local = np.sort(model.score_samples(rows))
    seconds = {"one process": time.perf_counter() - began}
    for n_actors in (1, 2):
        began = time.perf_counter()
        dataset = ray.data.read_parquet(files)
        scored = score_dataset(model, dataset, passthrough=[], concurrency=n_actors)
        scores = np.sort(scored.to_pandas()["score_samples"])
        seconds[f"{n_actors} actor(s)"] = time.perf_counter() - began
        largest = np.abs(scores - local).max()
        print(f"Largest distance of a score, {n_actors} actor(s): {largest:.1e} nats.")
    for name, time_taken in seconds.items():
        print(f"Scoring by {name}: {len(rows) / time_taken:,.0f} rows a second.")


class Memory(threading.Thread):
    """The largest memory that any training worker has had, in MiB."""

    def __init__(self):
        super().__init__(daemon=True)
        self.peaks = {"resident": 0.0, "private": 0.0}
        self._over = threading.Event()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *error):
        self._over.set()
        self.join()

    def run(self):
        while not self._over.wait(SECONDS_BETWEEN_LOOKS):
            for process in Path("/proc").glob("[0-9]*"):
                self._look(process)

    def _look(self, process):
        try:
            if b"RayTrainWorker" not in (process / "cmdline").read_bytes():
                return
            lines = (process / "status").read_text().splitlines()
        except OSError:  # it has ended
            return
        fields = dict(line.split(":", 1) for line in lines)
        for name, field in (("resident", "VmRSS"), ("private", "RssAnon")):
            mib = int(fields[field].split()[0]) / 1024
            self.peaks[name] = max(self.peaks[name], mib)


if __name__ == "__main__":
    main()
