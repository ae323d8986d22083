"""Peak memory of a fit above its rows, each in a fresh process. Linux only.

A small fit first loads everything. The figure is the growth of the peak resident set
from then on, which the kernel keeps and, asked by way of /proc, sets back. For rows on
disk the pages of the file count as resident too; anonymous memory, which is what the
process cannot give back, is therefore sampled beside it.
"""

import contextlib
import ctypes
import gc
import multiprocessing
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
from speed_contenders import contenders
from speed_timing import print_rows, report, seconds_of
from speed_workloads import WORKLOADS, Workload, make_rows
from threadpoolctl import threadpool_limits

from skvae import VAETransformer

MIB = 2**20
#: Asks the kernel to set the peak back to the present.
CLEAR = Path("/proc/self/clear_refs")
SECONDS_BETWEEN_SAMPLES = 0.005
#: Columns of the file on disk.
N_COLUMNS = 50
WARM_UP = Workload(256, 10, (64, 32), 4, 128, 1)


def measure(threads, seed, gigabytes):
    """Print both tables."""
    if not CLEAR.exists():
        print("\nMemory: left out, the peak cannot be set back on this system.")
        return
    print_fits(threads, seed)
    print_on_disk(threads, seed, gigabytes)


def print_fits(threads, seed):
    workload, rows = WORKLOADS["W3"], []
    size = 8 * workload.n_rows * workload.n_columns
    for name in contenders():
        peak, _ = in_fresh_process(growth_of_fit, name, workload, threads, seed)
        report(f"memory: {name} {peak / MIB:.0f} MiB")
        rows.append([name, f"{peak / MIB:.0f}", f"{peak / size:.2f}"])
    title = f"W3, peak memory of the fit above X, float64, {size / MIB:.0f} MiB"
    print_rows(title, ["MiB", "/ X"], rows)


def print_on_disk(threads, seed, gigabytes):
    n_rows = int(gigabytes * 1e9 / 8 / N_COLUMNS)
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "rows.npy")
        write_rows(path, n_rows, seed)
        report(f"memory: {gigabytes:g} GB written")
        peak, anonymous, seconds = in_fresh_process(
            growth_on_disk, path, n_rows, threads, seed
        )
    title = (
        f"VAETransformer(max_iter=1) on {gigabytes:g} GB of float64 on disk, "
        f"{n_rows:,} x {N_COLUMNS}"
    )
    row = ["ours", f"{anonymous / MIB:.0f}", f"{peak / MIB:.0f}", f"{seconds:.1f}"]
    print_rows(title, ["anonymous MiB", "resident MiB, file and all", "s"], [row])


def write_rows(path, n_rows, seed):
    """Rows of the usual kind, a part at a time."""
    part = make_rows(Workload(100_000, N_COLUMNS, (), 10, 1, 1), seed)
    rows = np.memmap(path, np.float64, "w+", shape=(n_rows, N_COLUMNS))
    for start in range(0, n_rows, len(part)):
        rows[start : start + len(part)] = part[: n_rows - start]
    rows.flush()


def in_fresh_process(function, *arguments):
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(function, *arguments).result()


# ---- within the process -------------------------------------------------------------


def growth_of_fit(name, workload, threads, seed):
    """Bytes that the peaks of resident and of anonymous memory grow by."""
    torch.set_num_threads(threads)
    with threadpool_limits(threads):
        fit = contenders()[name]
        fit(WARM_UP, make_rows(WARM_UP, seed), seed)
        X = make_rows(workload, seed)
        with Growth() as growth:
            fit(workload, X, seed)
    return growth.resident, growth.anonymous


def growth_on_disk(path, n_rows, threads, seed):
    """Likewise for a file that is mapped, and the seconds of the fit."""
    torch.set_num_threads(threads)
    with threadpool_limits(threads):
        model = VAETransformer(max_iter=1, random_state=seed)
        model.fit(make_rows(WARM_UP, seed))
        X = np.memmap(path, np.float64, "r", shape=(n_rows, N_COLUMNS))
        with Growth() as growth:
            seconds = seconds_of(model.fit, X)
    return growth.resident, growth.anonymous, seconds


class Growth(contextlib.AbstractContextManager):
    """How much memory peaks above where it stood: `resident` and `anonymous` bytes."""

    def __enter__(self):
        gc.collect()
        # What earlier allocations left on the heap would hide later ones.
        trim = getattr(ctypes.CDLL(None), "malloc_trim", lambda pad: None)
        trim(0)
        CLEAR.write_text("5")
        self._before = {key: status(key) for key in ("VmRSS", "RssAnon")}
        self._most, self._done = self._before["RssAnon"], threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()
        return self

    def _sample(self):
        while not self._done.is_set():
            self._most = max(self._most, status("RssAnon"))
            time.sleep(SECONDS_BETWEEN_SAMPLES)

    def __exit__(self, *exception):
        self._done.set()
        self._thread.join()
        self.resident = status("VmHWM") - self._before["VmRSS"]
        self.anonymous = self._most - self._before["RssAnon"]


def status(key):
    """A line of /proc/self/status, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return 1024 * int(line.split()[1])
    raise KeyError(key)
