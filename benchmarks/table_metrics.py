"""How near a table of samples is to the real one: the measures of tables.py.

Tables are pandas frames with the same columns; what is not of a number's dtype is a
category. NaN is either a level of its own, as the papers have it, or left out:
``observed=True`` compares the observed cells, in a pair those rows where both are.
"""

from itertools import combinations

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype
from scipy.stats import ks_2samp
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score

N_BINS = 10
RARE = 0.005
MOSTLY_UNIQUE = 0.5


def number_columns(frame):
    return [name for name in frame if is_numeric_dtype(frame[name])]


def category_columns(frame):
    return [name for name in frame if not is_numeric_dtype(frame[name])]


def levels_of(*columns):
    return sorted(set().union(*(column.dropna().unique() for column in columns)))


def codes(column, levels):
    """The place of every cell among the levels, from 1; 0 is a missing cell."""
    return pd.Categorical(column, categories=levels).codes.astype(np.intp) + 1


def bins(column, real):
    """Equal widths between the real extremes, the ends open; 0 is a missing cell."""
    inner = np.linspace(real.min(), real.max(), N_BINS + 1)[1:-1]
    values = column.to_numpy(np.float64)
    return np.where(np.isnan(values), 0, 1 + np.searchsorted(inner, values, "right"))


def total_variation(real, other):
    size = max(real.max(initial=0), other.max(initial=0)) + 1
    shares = [np.bincount(c, minlength=size) / max(len(c), 1) for c in (real, other)]
    return np.abs(shares[0] - shares[1]).sum() / 2


# ---- columns and pairs of them ------------------------------------------------------


def shape_error(real, other, observed):
    """Mean over columns, in %: Kolmogorov-Smirnov of numbers, else total variation."""
    errors = []
    for name in real:
        a, b = real[name], other[name]
        if is_numeric_dtype(a):
            ks = ks_2samp(a.dropna(), b.dropna().astype(np.float64), method="asymp")
            errors.append(ks.statistic)
        else:
            a, b = (codes(column, levels_of(a, b)) for column in (a, b))
            errors.append(
                total_variation(a[a > 0], b[b > 0])
                if observed
                else total_variation(a, b)
            )
    return 100 * float(np.mean(errors))


def pair_error(real, other, observed):
    """Mean over pairs of columns, in %, as SDMetrics has it but for the bins.

    Half the difference of the correlations of two numbers; else the total variation of
    the two contingency tables, a number in 10 bins between the real extremes.
    """
    numbers = set(number_columns(real))
    gap = (real[list(numbers)].corr() - other[list(numbers)].corr()).abs().fillna(0) / 2
    coded = {}
    for name in real:
        a, b = real[name], other[name]
        if name in numbers:
            coded[name] = bins(a, a), bins(b, a)
        else:
            levels = levels_of(a, b)
            coded[name] = codes(a, levels), codes(b, levels)
    errors = []
    for first, second in combinations(real, 2):
        if first in numbers and second in numbers:
            errors.append(gap.loc[first, second])
        else:
            errors.append(contingency_error(coded[first], coded[second], observed))
    return 100 * float(np.mean(errors))


def contingency_error(first, second, observed):
    """Total variation of the table of two columns, each (real, other) in codes."""
    width = max(column.max() for column in second) + 1
    joint = []
    for a, b in zip(first, second, strict=True):
        keep = (a > 0) & (b > 0) if observed else slice(None)
        joint.append((a * width + b)[keep])
    return total_variation(*joint)


def rare_levels(real):
    """(column, level) for every category in less than 0.5 % of the rows."""
    pairs = []
    for name in category_columns(real):
        counts = real[name].value_counts()
        pairs += [(name, level) for level in counts.index[counts < RARE * len(real)]]
    return pairs


def rare_mass(frame, pairs):
    """Mean number of these levels in a row, in %."""
    return 100 * sum(float((frame[name] == level).mean()) for name, level in pairs)


# ---- copies -------------------------------------------------------------------------


def copied_values(train, other):
    """Share, in %, of the values of mostly distinct numbers that training rows have."""
    copied = [
        np.isin(other[name].dropna(), train[name]).mean()
        for name in number_columns(train)
        if train[name].nunique() > MOSTLY_UNIQUE * len(train)
    ]
    return 100 * float(np.mean(copied))


def closer_to_training(samples, train, held_out, seed, n_samples=1000):
    """Share, in %, of samples nearer to a training row than to any held-out row.

    Both sides have equally many rows, drawn at random; a tie counts one half. The
    distance is the sum over columns of |difference| / range, or of the mismatch.
    Returns the share and its standard error.
    """
    size = min(len(train), len(held_out))
    rng = np.random.default_rng(seed)
    queries, *sides = (
        frame.sample(min(n, len(frame)), random_state=rng)
        for frame, n in ((samples, n_samples), (train, size), (held_out, size))
    )
    near, far = (nearest(queries, rows, train) for rows in sides)
    tied = np.isclose(near, far, rtol=0, atol=1e-6)
    share = np.where(tied, 0.5, near < far).mean()
    return 100 * share, 100 * np.sqrt(share * (1 - share) / len(near))


def nearest(queries, rows, train, batch=200):
    """Distance of every query to the nearest of the rows."""
    columns = []
    for name in train:
        if is_numeric_dtype(train[name]):
            scale = max(float(np.ptp(train[name].dropna())), 1e-12)
            pair = [
                frame[name].to_numpy(np.float64) / scale for frame in (queries, rows)
            ]
        else:
            levels = levels_of(queries[name], rows[name])
            pair = [codes(f[name], levels) for f in (queries, rows)]
        columns.append((is_numeric_dtype(train[name]), *pair))
    distances = []
    for start in range(0, len(queries), batch):
        total = np.zeros((min(batch, len(queries) - start), len(rows)), np.float32)
        for is_number, a, b in columns:
            a = a[start : start + batch, None]
            total += mismatch(a, b) if is_number else a != b
        distances.append(total.min(axis=1))
    return np.concatenate(distances)


def mismatch(a, b):
    """|a - b|, or 1 where one of the two is missing and 0 where both are."""
    missing = np.isnan(a) ^ np.isnan(b)
    return np.where(missing, 1.0, np.nan_to_num(np.abs(a - b))).astype(np.float32)


# ---- use ----------------------------------------------------------------------------


def auc_when_trained_on(rows, test, target, positive, seed):
    """AUC on the test rows of a HistGradientBoostingClassifier, at its defaults."""
    inputs = [rows.drop(columns=target), test.drop(columns=target)]
    for name in category_columns(test.drop(columns=target)):
        kind = pd.CategoricalDtype(levels_of(*(frame[name] for frame in inputs)))
        inputs = [frame.astype({name: kind}) for frame in inputs]
    model = HistGradientBoostingClassifier(random_state=seed)
    model.fit(inputs[0], rows[target] == positive)
    scores = model.predict_proba(inputs[1])[:, 1]
    return float(roc_auc_score(test[target] == positive, scores))


# ---- two sites ----------------------------------------------------------------------


def connected_frequencies(symbols, alphabet):
    """f_ij(a, b) - f_i(a) f_j(b) for all i < j, a and b, in one vector."""
    n_rows, n_sites = symbols.shape
    onehot = (symbols[:, :, None] == alphabet).reshape(n_rows, -1).astype(np.float32)
    joint = (onehot.T @ onehot).astype(np.float64) / n_rows
    single = onehot.mean(axis=0, dtype=np.float64)
    site = np.repeat(np.arange(n_sites), len(alphabet))
    return (joint - np.outer(single, single))[site[:, None] < site]


def independent_sites(train, symbols, alphabet):
    """Log p of every row where sites are independent, with one more of each letter."""
    counts = 1 + (train[:, :, None] == alphabet).sum(axis=0)
    log_shares = np.log(counts / counts.sum(axis=1, keepdims=True))
    places = np.searchsorted(alphabet, symbols)
    return log_shares[np.arange(symbols.shape[1]), places].sum(axis=1)
