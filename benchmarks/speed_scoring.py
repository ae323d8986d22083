"""How fast a fitted model answers: rows per second, and microseconds for one row.

The textbook passes the whole matrix through its modules, and for `score_samples` does
so once for every draw, with the densities of torch.distributions. Its weights are
random: only the time counts. Rows, draws and precision are the same for all; our
precision follows that of the rows.
"""

import math

import numpy as np
import torch
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler
from speed_contenders import make_ours, make_textbook
from speed_floor import (
    N_DRAWS,
    floors,
    of_inverse_transform,
    of_score_samples,
    of_transform,
)
from speed_timing import NO_PATH, OURS, print_table, report, take_turns
from speed_workloads import make_rows
from torch.distributions import Bernoulli, Normal

FULL_PASSES = "full passes"
#: Rows to be fitted, rows and cells to be answered for, rows and cells to be scored.
FITTED_ROWS = 5_000
READ_ROWS, READ_CELLS = 50_000, 10_000_000
SCORED_ROWS, SCORED_CELLS = 8_192, 1_000_000
#: Calls of a single row, and how many calls of the short methods stand for one.
N_CALLS, SHORT = 200, 5


class Textbook:
    """A module of the textbook with the methods of an estimator."""

    def __init__(self, workload, X):
        self._model = make_textbook(workload).to(torch.from_numpy(X[:1]).dtype)
        self._binary = workload.binary
        self._scaler = None if workload.binary else StandardScaler().fit(X)

    def _read(self, X):
        return torch.from_numpy(X if self._binary else self._scaler.transform(X))

    def transform(self, X):
        with torch.no_grad():
            return self._model.encode(self._read(X))[0].numpy()

    def inverse_transform(self, Z):
        with torch.no_grad():
            outputs = self._model.decode(torch.from_numpy(Z))
        if self._binary:
            return outputs.sigmoid().numpy()
        return self._scaler.inverse_transform(outputs.numpy())

    def score_samples(self, X):
        with torch.no_grad():
            x = self._read(X)
            log_weights = torch.stack([self._log_weight(x) for _ in range(N_DRAWS)])
            return (torch.logsumexp(log_weights, 0) - math.log(N_DRAWS)).numpy()

    def _log_weight(self, x):
        mu, log_var = self._model.encode(x)
        posterior = Normal(mu, torch.exp(0.5 * log_var))
        z = posterior.rsample()
        outputs = self._model.decode(z)
        columns = Bernoulli(logits=outputs) if self._binary else Normal(outputs, 1.0)
        prior = Normal(torch.zeros_like(mu), torch.ones_like(mu))
        ratio = prior.log_prob(z) - posterior.log_prob(z)
        return columns.log_prob(x).sum(-1) + ratio.sum(-1)


def fitted(workload, X, seed):
    """Ours with and without the linear path, after an epoch."""
    workload = workload._replace(n_epochs=1)
    return {
        OURS + ending: make_ours(workload, seed, linear_path=linear_path)
        .set_params(n_importance_samples=N_DRAWS)
        .fit(X[:FITTED_ROWS])
        for ending, linear_path in (("", True), (NO_PATH, False))
    }


def rate(name, workload, repeats, seed):
    """Rows per second of the three methods, in both precisions."""
    X = make_rows(workload, seed)
    models = fitted(workload, X, seed)
    n_read = min(len(X), READ_ROWS, READ_CELLS // workload.n_columns)
    n_scored = min(len(X), SCORED_ROWS, SCORED_CELLS // workload.n_columns)
    for dtype in (np.float32, np.float64):
        rows = X[:n_read].astype(dtype)
        codes = np.random.default_rng(seed).normal(size=(n_read, workload.n_components))
        models[FULL_PASSES] = Textbook(workload, rows)
        plans = {
            "transform": (rows, SHORT * repeats, of_transform),
            "inverse_transform": (
                codes.astype(dtype),
                SHORT * repeats,
                of_inverse_transform,
            ),
            "score_samples": (rows[:n_scored], repeats, of_score_samples),
        }
        for method, (given, n_calls, products_of) in plans.items():
            calls = {key: caller(models[key], method, given) for key in models}
            calls |= floors(products_of, workload, len(given), dtype)
            title = f"{name}, {method}, {dtype.__name__}, {len(given):,} rows"
            report(title)
            for call in calls.values():
                call(0)
            seconds = take_turns(calls, dict.fromkeys(calls, n_calls))
            print_table(title, seconds, n_rows=len(given))


def caller(model, method, given):
    def call(repeat):
        getattr(model, method)(given)

    return call


def latency(name, workload, seed):
    """Time of a single row, beside the textbook's modules and scikit-learn's PCA."""
    X = make_rows(workload._replace(n_rows=min(workload.n_rows, FITTED_ROWS)), seed)
    models = {
        FULL_PASSES: Textbook(workload, X),
        "sklearn's PCA": PCA(workload.n_components).fit(X),
        **fitted(workload, X, seed),
    }
    for method in ("transform", "score_samples"):
        calls = {key: caller(model, method, X[:1]) for key, model in models.items()}
        seconds = take_turns(calls, dict.fromkeys(calls, N_CALLS))
        title = f"{name}, {method} of one row, {N_CALLS} calls"
        print_table(title, seconds, unit="µs")
