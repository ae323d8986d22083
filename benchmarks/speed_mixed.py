"""W5: a table of numbers and labels with holes, by a textbook loop and by ours.

The table is the adult census, of which 5 % of the cells are hidden at random on top of
its own holes. The textbook standardises the numbers, writes labels as one-hot vectors,
fills holes with 0 and marks them in the input; its loss is squared error and softmax
cross-entropy over the observed cells. Ours has the same likelihoods, with a learned
scale for every number, and once more those that it chooses by itself.
"""

import functools

import numpy as np
import pandas as pd
import torch
from sklearn.preprocessing import StandardScaler
from speed_contenders import LEARNING_RATE, TEXTBOOK, TextbookVAE, divergence
from speed_timing import NO_PATH, OURS
from speed_workloads import Workload
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from skvae import VAETransformer
from skvae.likelihoods import Gaussian
from skvae.networks import MLP

HIDDEN_SHARE = 0.05


def read_table(path, seed):
    """The frame, with further holes."""
    frame = pd.read_csv(path)
    hidden = np.random.default_rng(seed).random(frame.shape) < HIDDEN_SHARE
    return frame.mask(hidden)


def workload_of(frame):
    return Workload(*frame.shape, (128, 64), 10, 256, 5)


def columns_of(frame):
    """Names of the columns of numbers, and of labels."""
    numbers = frame.select_dtypes("number").columns
    return list(numbers), list(frame.columns.difference(numbers, sort=False))


# ---- the textbook -------------------------------------------------------------------


def prepared(frame):
    """Inputs, numbers, their marks, and labels with -1 for a hole; levels of each."""
    numbers, labels = columns_of(frame)
    observed = frame.notna().to_numpy(np.float32)
    values = StandardScaler().fit_transform(frame[numbers].to_numpy(np.float64))
    values = np.nan_to_num(values).astype(np.float32)
    coded = [pd.factorize(frame[name]) for name in labels]
    codes = np.column_stack([code for code, _ in coded])
    n_levels = [len(levels) for _, levels in coded]
    one_hot = [
        np.eye(n + 1, dtype=np.float32)[code][:, :n]  # a hole, -1, is the row dropped
        for (code, _), n in zip(coded, n_levels, strict=True)
    ]
    inputs = np.column_stack([values, *one_hot, 1 - observed])
    of_numbers = observed[:, frame.columns.get_indexer(numbers)]
    return [torch.from_numpy(a) for a in (inputs, values, of_numbers, codes)], n_levels


def textbook_loss(numbers, of_numbers, codes, n_levels, outputs, mu, log_var):
    locations, *logits = outputs.split([numbers.shape[1], *n_levels], dim=1)
    error = torch.sum((locations - numbers).square() * of_numbers)
    for part, code in zip(logits, codes.T, strict=True):
        error = error + functional.cross_entropy(
            part, code, ignore_index=-1, reduction="sum"
        )
    return (error + divergence(mu, log_var)) / len(mu)


def fit_textbook(workload, frame, seed):
    """As on numbers; a cross-entropy for each column of labels."""
    torch.manual_seed(seed)
    parts, n_levels = prepared(frame)
    n_outputs = parts[1].shape[1] + sum(n_levels)
    model = TextbookVAE(
        parts[0].shape[1], workload.sizes, workload.n_components, n_outputs
    )
    batches = DataLoader(TensorDataset(*parts), workload.batch_size, shuffle=True)
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    curve = []
    for _ in range(workload.n_epochs):
        total = 0.0
        for inputs, *targets in batches:
            optimizer.zero_grad()
            loss = textbook_loss(*targets, n_levels, *model(inputs))
            loss.backward()
            optimizer.step()
            total += loss.item()
        curve.append(total / len(batches))
    return curve


# ---- ours ---------------------------------------------------------------------------


def fit_ours(workload, frame, seed, linear_path=True, by_default=False):
    numbers, labels = columns_of(frame)
    likelihood = [(Gaussian("feature"), numbers), ("categorical", labels)]
    return VAETransformer(
        workload.n_components,
        network=MLP(workload.sizes, activation="relu", linear_path=linear_path),
        likelihood="auto" if by_default else likelihood,
        learning_rate=LEARNING_RATE,
        batch_size=workload.batch_size,
        max_iter=workload.n_epochs,
        early_stopping=False,
        random_state=seed,
    ).fit(frame)


CONTENDERS = {
    TEXTBOOK: fit_textbook,
    OURS: fit_ours,
    OURS + NO_PATH: functools.partial(fit_ours, linear_path=False),
    f'{OURS}, likelihood="auto"': functools.partial(fit_ours, by_default=True),
}
