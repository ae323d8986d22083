"""Which column is to blame where one cell of a row was moved into its column's tail.

Run it with the folder that holds adbench/28_pendigits.npz::

    OMP_NUM_THREADS=1 python benchmarks/planted.py --data DIR

Tables are scikit-learn's breast cancer, its benign rows (class 1) and, apart, all of
its rows, and the normal rows of pendigits. `VAEOutlierDetector(novelty=True)` is fitted
on a random half of the rows. In rows of the other half one cell is replaced by a value
that the column has in another row beyond its 0.5 % or 99.5 % quantile; quantiles and
values are of the whole table. Cells whose own value is out there already are left
alone, and so are columns with no value beyond either quantile. The cases are different
(row, column) pairs, 500 of them drawn with the seed, which also is the model's.

Printed is in what share of cases the planted column comes first, and among the first
three, by ``score_features`` without the code, least first; by how far it lies below the
column's mean over the training rows; and by absolute z-score with the training rows'
mean and standard deviation, largest first. A column that ties with the planted one does
not come before it. The last column counts the cases in which the whole row has a lower
score than it had before.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from outlier_data import read_table
from sklearn.datasets import load_breast_cancer

TAIL = 0.005
N_CASES = 500
FIRST = 3


def read_tables(data):
    X, y = load_breast_cancer(return_X_y=True)
    digits, outlier = read_table(data / "adbench", "28_pendigits")
    return {
        "breast cancer, benign": X[y == 1],
        "breast cancer, all": X,
        "pendigits": digits[outlier == 0],
    }


def plant(X, rows, rng):
    """Altered copies of some of the rows, which rows they are, and which column."""
    low, high = np.quantile(X, [TAIL, 1 - TAIL], axis=0)
    outside = (X < low) | (X > high)
    pairs = np.argwhere(~outside[rows] & outside.any(axis=0))
    drawn = rng.choice(len(pairs), min(N_CASES, len(pairs)), replace=False)
    places, columns = pairs[drawn].T
    altered = X[rows[places]]
    for case, column in enumerate(columns):
        altered[case, column] = rng.choice(X[outside[:, column], column])
    return altered, rows[places], columns


def place_of(columns, blame):
    """How many columns of each row have a greater share of blame than the planted."""
    own = np.take_along_axis(blame, columns[:, None], axis=1)
    return (blame > own).sum(axis=1)


def measure(X, seed):
    """The place of the planted column by each way to rank; lower scores; cases."""
    from skvae import VAEOutlierDetector

    rng = np.random.default_rng(seed)
    train, others = np.split(rng.permutation(len(X)), [len(X) // 2])
    X = X[:, np.ptp(X[train], axis=0) > 0]
    altered, before, columns = plant(X, others, rng)
    model = VAEOutlierDetector(novelty=True, random_state=seed).fit(X[train])
    scores = model.score_features(altered)[:, :-1]
    usual = model.score_features(X[train])[:, :-1].mean(axis=0)
    z_scores = (altered - X[train].mean(axis=0)) / X[train].std(axis=0)
    places = {
        "score_features": place_of(columns, -scores),
        "below its mean": place_of(columns, usual - scores),
        "z-score": place_of(columns, np.abs(z_scores)),
    }
    lower = model.score_samples(altered) < model.score_samples(X[before])
    return places, lower


def main():
    arguments = parse_arguments()
    header = ["", "seed", "rows", "columns", "cases"]
    for way in ("score_features", "below its mean", "z-score"):
        header += [f"{way}, first", f"in {FIRST}"]
    header.append("lower score")
    print("| " + " | ".join(header) + " |")
    print("|---" * len(header) + "|")
    for name, X in read_tables(arguments.data).items():
        for seed in arguments.seeds:
            print(f"{name}, seed {seed}", file=sys.stderr)
            places, lower = measure(X, seed)
            shares = [
                (place < limit).mean()
                for place in places.values()
                for limit in (1, FIRST)
            ]
            cells = [f"{share:.3f}" for share in [*shares, lower.mean()]]
            line = [name, seed, *X.shape, len(lower), *cells]
            print("| " + " | ".join(map(str, line)) + " |", flush=True)


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", type=Path, required=True, help="folder that holds adbench")
    add("--seeds", type=int, nargs="+", default=[0])
    return parser.parse_args()


if __name__ == "__main__":
    main()
