"""How fast a fit is, beside the loop that a PyTorch tutorial would write.

Run it on a machine with nothing else to do::

    OMP_NUM_THREADS=1 python benchmarks/speed.py
    OMP_NUM_THREADS=2 python benchmarks/speed.py --threads 2

Each workload is fitted by a textbook loop (modules, a shuffling DataLoader,
torch.optim.Adam, ``loss.item()`` every step) and by `VAETransformer`, with and without
the linear path, at equal widths, epochs and batch size. Standardising the columns and
the step from float64 to float32 count for all. The textbook's loss is squared error;
ours has a learned scale for every column, which is a little more work. The fits take
turns, so that a change in the load of the machine meets all of them.

It prints a Markdown table for each workload: median seconds, fastest fit, and how many
times as fast as the textbook loop, as the ratio of medians, then of fastest fits.
Imports, and each contender's first call, are not timed. Progress goes to stderr.
"""

import argparse
import functools
import itertools
import platform
import statistics
import sys
import time
from typing import NamedTuple

import numpy as np
import sklearn
import torch
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

import skvae
from skvae import VAETransformer
from skvae.likelihoods import Gaussian
from skvae.networks import MLP


class Workload(NamedTuple):
    n_rows: int
    n_columns: int
    sizes: tuple
    n_components: int
    batch_size: int
    n_epochs: int

    def __str__(self):
        return (
            f"{self.n_rows:,} x {self.n_columns}, {self.sizes} -> {self.n_components}, "
            f"batch {self.batch_size}, epochs {self.n_epochs}"
        )


WORKLOADS = {
    "small": Workload(2_000, 10, (64, 32), 4, 128, 20),
    "medium": Workload(50_000, 30, (128, 64), 10, 256, 2),
    "large": Workload(500_000, 50, (128, 64), 10, 512, 1),
}
TEXTBOOK = "textbook loop"


def make_rows(workload, seed):
    """Float64 rows near a curved surface, with noise and uneven scales."""
    rng = np.random.default_rng(seed)
    code = rng.normal(size=(workload.n_rows, workload.n_components))
    X = np.tanh(code @ rng.normal(size=(workload.n_components, workload.n_columns)))
    X += 0.3 * rng.normal(size=X.shape)
    return 3.0 + X * rng.uniform(0.5, 20.0, size=workload.n_columns)


# ---- the textbook -------------------------------------------------------------------


class TextbookVAE(nn.Module):
    def __init__(self, n_columns, sizes, n_components):
        super().__init__()
        self.encoder = hidden_layers((n_columns, *sizes))
        self.mu = nn.Linear(sizes[-1], n_components)
        self.log_var = nn.Linear(sizes[-1], n_components)
        self.decoder = hidden_layers((n_components, *sizes[::-1]))
        self.output = nn.Linear(sizes[0], n_columns)

    def forward(self, x):
        hidden = self.encoder(x)
        mu, log_var = self.mu(hidden), self.log_var(hidden)
        z = mu + torch.exp(0.5 * log_var) * torch.randn_like(mu)
        return self.output(self.decoder(z)), mu, log_var


def hidden_layers(widths):
    layers = []
    for fan_in, fan_out in itertools.pairwise(widths):
        layers += [nn.Linear(fan_in, fan_out), nn.ReLU()]
    return nn.Sequential(*layers)


def textbook_loss(x, reconstruction, mu, log_var):
    error = functional.mse_loss(reconstruction, x, reduction="sum")
    kl = -0.5 * torch.sum(1 + log_var - mu.pow(2) - log_var.exp())
    return (error + kl) / len(x)


def fit_textbook(workload, X, seed):
    torch.manual_seed(seed)
    rows = torch.from_numpy(StandardScaler().fit_transform(X).astype(np.float32))
    batches = DataLoader(TensorDataset(rows), workload.batch_size, shuffle=True)
    model = TextbookVAE(workload.n_columns, workload.sizes, workload.n_components)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    curve = []
    for _ in range(workload.n_epochs):
        total = 0.0
        for (x,) in batches:
            optimizer.zero_grad()
            loss = textbook_loss(x, *model(x))
            loss.backward()
            optimizer.step()
            total += loss.item()
        curve.append(total / len(batches))
    return curve


# ---- ours ---------------------------------------------------------------------------


def fit_ours(workload, X, seed, linear_path):
    model = VAETransformer(
        workload.n_components,
        network=MLP(workload.sizes, activation="relu", linear_path=linear_path),
        likelihood=Gaussian("feature"),
        batch_size=workload.batch_size,
        max_iter=workload.n_epochs,
        early_stopping=False,
        random_state=seed,
    )
    return model.fit(X).loss_curve_


CONTENDERS = {
    TEXTBOOK: fit_textbook,
    "ours": functools.partial(fit_ours, linear_path=True),
    "ours, no linear path": functools.partial(fit_ours, linear_path=False),
}


# ---- timing -------------------------------------------------------------------------


def take_turns(name, workload, repeats, seed):
    """Seconds of every fit, by contender."""
    seconds = {contender: [] for contender in CONTENDERS}
    X = make_rows(workload, seed)
    for repeat in range(repeats):
        for contender, fit in CONTENDERS.items():
            began = time.perf_counter()
            fit(workload, X, seed + repeat)
            seconds[contender].append(time.perf_counter() - began)
        latest = ", ".join(f"{key} {value[-1]:.3f} s" for key, value in seconds.items())
        report(f"{name}: repeat {repeat + 1} of {repeats}: {latest}")
    return seconds


def print_table(workload, seconds):
    print(f"\n**{workload}**\n")
    print("| | median s | fastest s | times as fast | fastest / fastest |")
    print("|---|---|---|---|---|")
    median, fastest = statistics.median(seconds[TEXTBOOK]), min(seconds[TEXTBOOK])
    for contender, values in seconds.items():
        print(
            f"| {contender} | {statistics.median(values):.3f} | {min(values):.3f} | "
            f"{median / statistics.median(values):.2f} | {fastest / min(values):.2f} |"
        )


def report(line):
    print(line, file=sys.stderr, flush=True)


def main():
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    with threadpool_limits(arguments.threads):
        for fit in CONTENDERS.values():
            warm_up = Workload(256, 10, (64, 32), 4, 128, 1)
            fit(warm_up, make_rows(warm_up, arguments.seed), arguments.seed)
        print(
            f"Repeats {arguments.repeats}, seed {arguments.seed}, threads "
            f"{arguments.threads}; Python {platform.python_version()}, skvae "
            f"{skvae.__version__}, torch {torch.__version__}, scikit-learn "
            f"{sklearn.__version__}, numpy {np.__version__}."
        )
        for name in arguments.workloads:
            workload = WORKLOADS[name]
            seconds = take_turns(name, workload, arguments.repeats, arguments.seed)
            print_table(workload, seconds)


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5, help="fits of each contender")
    parser.add_argument("--threads", type=int, default=1, help="of torch and of BLAS")
    parser.add_argument("--seed", type=int, default=0, help="of the rows and the fits")
    parser.add_argument(
        "--workloads",
        nargs="+",
        choices=WORKLOADS,
        default=list(WORKLOADS),
        help="which to run, all by default",
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
