"""The tables and networks of the speed benchmark, and the machine that it runs on."""

import importlib.metadata
import math
import os
import platform
from pathlib import Path
from typing import NamedTuple

import numpy as np

#: Packages whose versions are printed; the last three are the peers of `bench`.
PACKAGES = (
    "skvae",
    "torch",
    "numpy",
    "scipy",
    "scikit-learn",
    "pyod",
    "pythae",
    "skorch",
)


class Workload(NamedTuple):
    n_rows: int
    n_columns: int
    sizes: tuple
    n_components: int
    batch_size: int
    n_epochs: int
    binary: bool = False

    @property
    def n_steps(self):
        """Steps in an epoch."""
        return math.ceil(self.n_rows / self.batch_size)

    @property
    def rows_per_step(self):
        """Rows dealt evenly over the steps."""
        return math.ceil(self.n_rows / self.n_steps)

    def __str__(self):
        kind = ", Bernoulli" if self.binary else ""
        return (
            f"{self.n_rows:,} x {self.n_columns}, {self.sizes} -> {self.n_components}, "
            f"batch {self.batch_size}, epochs {self.n_epochs}{kind}"
        )


WORKLOADS = {
    "W1": Workload(2_000, 10, (64, 32), 4, 128, 20),
    "W2": Workload(50_000, 30, (128, 64), 10, 256, 2),
    "W3": Workload(500_000, 50, (128, 64), 10, 512, 1),
    "W4": Workload(60_000, 784, (400,), 20, 128, 1, binary=True),
}


def make_rows(workload, seed):
    """Float64 rows near a curved surface: with noise and uneven scales, or 0 and 1."""
    rng = np.random.default_rng(seed)
    code = rng.normal(size=(workload.n_rows, workload.n_components))
    X = np.tanh(code @ rng.normal(size=(workload.n_components, workload.n_columns)))
    X += 0.3 * rng.normal(size=X.shape)
    if workload.binary:
        return (X > 0).astype(np.float64)
    X *= rng.uniform(0.5, 20.0, size=workload.n_columns)
    X += 3.0
    return X


# ---- the machine --------------------------------------------------------------------


def describe_machine():
    """Processor, cores, load and versions, on a line each."""
    versions = [f"{name} {version(name)}" for name in PACKAGES if version(name)]
    lines = [
        f"{processor()}, {n_cores()} cores available, {platform.platform()}",
        ", ".join([f"Python {platform.python_version()}", *versions]),
    ]
    if hasattr(os, "getloadavg"):
        lines.insert(1, f"load average at the start {os.getloadavg()[0]:.2f}")
    return lines


def processor():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if "model name" in line]
    return names[0] if names else platform.processor() or platform.machine()


def n_cores():
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def version(package):
    """None where the package is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
