"""What a fit to a billion rows would cost by the number of workers, on paper.

Measured here, without a cluster: what a row costs in a training step, what a message
among two processes costs by its length, and what it takes to read a row, check it and
write it to disk. The rest is arithmetic: a ring of W workers passes a message on 2 (W -
1) times, and each passes on 2 (W - 1) / W of its bytes.
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet
import torch
from torch import distributed, multiprocessing

from skvae import VAETransformer

N_COLUMNS, BATCH_SIZE = 20, 8_192
SHORT, LONG = 1_000, 2_000_000
WORKERS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--latency", type=float, help="of a message, in ms, if known")
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    rows = rng.normal(size=(200_000, N_COLUMNS)) @ rng.normal(size=(N_COLUMNS,) * 2)
    n_weights, compute = step_of(rows, options)
    read = seconds_to_read(rows, options)
    short, long = messages(options.repeats)
    bandwidth = 4 * (LONG - SHORT) / (long - short)
    latency = max(0.0, (short - 4 * SHORT / bandwidth) / 2)
    if options.latency is not None:
        latency = options.latency / 1e3
    print(f"Measured, medians of {options.repeats} repeats, seed {options.seed}:")
    print(f"  {N_COLUMNS} columns, {n_weights:,} weights, {BATCH_SIZE:,} rows a step")
    print(f"  a training step: {1e6 * compute / BATCH_SIZE:.2f} µs a row")
    print(f"  reading, checking and writing: {1e6 * read:.2f} µs a row")
    print(f"  a message: {1e3 * latency:.2f} ms and {bandwidth / 1e6:,.0f} MB/s")
    print(f"\n{options.rows:,} rows:")
    print("workers  message   step  efficiency  an epoch  two readings")
    print("              ms     ms           %   minutes       minutes")
    for n_workers in WORKERS:
        message = 0.0
        if n_workers > 1:
            passed = 2 * (n_workers - 1) / n_workers * 4 * n_weights
            message = 2 * (n_workers - 1) * latency + passed / bandwidth
        step = compute + message
        epoch = options.rows / (n_workers * BATCH_SIZE) * step
        print(
            f"{n_workers:7d}  {1e3 * message:7.2f}  {1e3 * step:5.1f}  "
            f"{100 * compute / step:10.0f}  {epoch / 60:8.1f}  "
            f"{2 * options.rows * read / n_workers / 60:12.1f}"
        )
    print(
        f"\nA message takes as long as a step's arithmetic at "
        f"{1 + compute / (2 * latency):.0f} workers; an epoch has the 3,000 steps that "
        f"a fit takes up to {options.rows / BATCH_SIZE / 3_000:.0f} workers."
    )


def step_of(rows, options):
    """Number of weights, and seconds of a step."""

    def fit(n_epochs):
        began = time.perf_counter()
        model = VAETransformer(
            max_iter=n_epochs,
            batch_size=BATCH_SIZE,
            early_stopping=False,
            random_state=options.seed,
        ).fit(rows)
        return time.perf_counter() - began, model

    fit(1)
    seconds = [fit(6)[0] - fit(1)[0] for _ in range(options.repeats)]
    n_steps = 5 * -(-len(rows) // BATCH_SIZE)
    return fit(1)[1]._state["weights"].size, statistics.median(seconds) / n_steps


def seconds_to_read(rows, options):
    """Of a row in a Parquet file, to a checked row in a file of a worker."""
    frame = pd.DataFrame(rows).rename(columns=lambda j: f"x{j}")
    model = VAETransformer(max_iter=1, random_state=options.seed).fit(frame.head(1_000))
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "rows.parquet")
        frame.to_parquet(path)
        for _ in range(options.repeats):
            began = time.perf_counter()
            read = pyarrow.parquet.read_table(path, use_threads=False)
            checked = model._check_rows(read.to_pandas(ignore_metadata=True))
            Path(folder, "rows").write_bytes(np.ascontiguousarray(checked).data)
            seconds.append(time.perf_counter() - began)
    return statistics.median(seconds) / len(rows)


def messages(n_repeats):
    """Seconds of averaging a short and a long vector among two processes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "seconds")
        multiprocessing.spawn(_average, (n_repeats, str(path)), nprocs=2)
        return [float(line) for line in path.read_text().split()]


def _average(rank, n_repeats, path):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT="29533")
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", rank=rank, world_size=2)
    medians = []
    for length, n_messages in ((SHORT, 200), (LONG, 20)):
        vector = torch.zeros(length)
        seconds = []
        for _ in range(n_repeats + 1):  # the first warms up
            began = time.perf_counter()
            for _ in range(n_messages):
                distributed.all_reduce(vector)
            seconds.append((time.perf_counter() - began) / n_messages)
        medians.append(statistics.median(seconds[1:]))
    if not rank:
        Path(path).write_text("\n".join(map(str, medians)))
    distributed.destroy_process_group()


if __name__ == "__main__":
    main()
