"""
==================================
A directory of files, on a cluster
==================================

Starts a Ray cluster of two nodes with one CPU each on this machine, writes a table as a
directory of Parquet files, fits a model to the directory by two workers, scores it, and
draws a new table, each with its rate. On a real cluster, ``ray.init("auto")`` takes the
place of `start`, and the directory and the checkpoints lie where all machines reach
them. It takes about two minutes, and needs the extra ``ray``:
``pip install "skvae[ray]"``.
"""

import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import ray
from ray.cluster_utils import Cluster
from ray.train import RunConfig, ScalingConfig

from skvae import VAETransformer
from skvae.ray import fit_dataset, sample_dataset, score_dataset

N_ROWS, N_FILES, N_EPOCHS = 200_000, 8, 5


def start():
    """Two nodes, as two machines would be."""
    size = {"num_cpus": 1, "object_store_memory": 300 * 2**20}
    cluster = Cluster(
        initialize_head=True, head_node_args={**size, "include_dashboard": False}
    )
    cluster.add_node(**size)
    ray.init(address=cluster.address, log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    return cluster


def write(directory):
    """Purchases: an amount, a number of items, a country, holes, and some oddities."""
    rng = np.random.default_rng(0)
    for i in range(N_FILES):
        n_rows = N_ROWS // N_FILES
        wealth = rng.normal(size=n_rows)
        purchases = pd.DataFrame(
            {
                "purchase": np.arange(i * n_rows, (i + 1) * n_rows),
                "amount": np.exp(3 + wealth + 0.3 * rng.normal(size=n_rows)),
                "items": rng.poisson(np.exp(0.5 + 0.5 * wealth)),
                "age": 45 + 8 * wealth + 10 * rng.normal(size=n_rows),
                "country": rng.choice(["FR", "DE", "IT"], n_rows),
            }
        )
        purchases.loc[rng.random(n_rows) < 0.05, "age"] = np.nan
        odd = rng.random(n_rows) < 0.001  # many items for next to nothing
        purchases.loc[odd, ["amount", "items"]] = [0.5, 30]
        purchases.to_parquet(directory / f"part-{i}.parquet", index=False)


def timed(name, n_rows, call):
    began = time.perf_counter()
    result = call()
    seconds = time.perf_counter() - began
    print(f"{name:<32}{seconds:6.1f} s{n_rows / seconds:12,.0f} rows a second")
    return result


def main(table, storage):
    print(f"{N_ROWS:,} rows in {N_FILES} Parquet files, two nodes of one CPU\n")
    rows = ray.data.read_parquet(str(table))
    vae = timed(
        f"Fit by 2 workers, {N_EPOCHS} epochs",
        N_EPOCHS * N_ROWS,
        lambda: fit_dataset(
            VAETransformer(max_iter=N_EPOCHS, random_state=0),
            rows.drop_columns(["purchase"]),
            scaling_config=ScalingConfig(num_workers=2),
            run_config=RunConfig(storage_path=str(storage)),
        ),
    )
    scores = timed("Scores", N_ROWS, lambda: score_dataset(vae, rows).to_pandas())
    new = sample_dataset(vae, N_ROWS, random_state=0)
    drawn = timed("New rows", N_ROWS, lambda: new.to_pandas())

    least = scores.nsmallest(5, "score_samples")["purchase"]
    whole = pd.read_parquet(table).set_index("purchase")
    print("\nThe five least likely purchases:\n", whole.loc[least].to_string())
    print("\nMeans of purchases, and of drawn ones:")
    means = {"read": whole.mean(numeric_only=True)}
    means["drawn"] = drawn.mean(numeric_only=True)
    print(pd.DataFrame(means).round(2).to_string())


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        table, storage = Path(folder, "table"), Path(folder, "runs")
        table.mkdir()
        write(table)
        cluster = start()
        try:
            main(table, storage)
        finally:
            ray.shutdown()
            cluster.shutdown()
