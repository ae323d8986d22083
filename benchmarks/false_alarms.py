"""Whether p-values keep their word: false alarms on normal rows not seen in training.

Run it on five tables of ADBench, ``DIR/adbench/NAME.npz``::

    OMP_NUM_THREADS=1 python benchmarks/false_alarms.py --data DIR
    OMP_NUM_THREADS=1 python benchmarks/false_alarms.py --data DIR --splits 5

In every split, `VAEOutlierDetector(novelty=True)`, the split as its random state, is
fitted on a random half of the normal rows. A false alarm at level a is one of the other
normal rows with a p-value of a or less; the share caught is that of the outliers.

Printed are means over splits. The standard error of the rate counts both the m normal
rows tested and the n calibrated on: among n + 1 scores in random order, a row is
flagged if it is among the lowest k = floor(a (n + 1)), so the rate of one split, given
its calibration rows, is Beta(k, n + 1 - k), and the number of alarms beta-binomial; its
standard deviation over m, divided by the root of the number of splits, is the standard
error. It takes splits as independent, though they share a table. The word is kept if
the rate is at most a + 2 standard errors; the expected rate is k / (n + 1), which is
below a where n is small. The observed deviation between splits stands beside the
expected one.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from outlier_data import half_of_normals, read_table
from scipy.stats import betabinom

TABLES = ("22_magic.gamma", "28_pendigits", "27_PageBlocks", "12_fault", "40_vowels")
LEVELS = (0.01, 0.05, 0.1)


def measure(X, y, seed):
    """Rates at each level among normal rows and outliers; numbers of m and n."""
    from skvae import VAEOutlierDetector

    train, others = half_of_normals(y, np.random.default_rng(seed))
    model = VAEOutlierDetector(novelty=True, random_state=seed).fit(X[train])
    rates = [
        [np.mean(p_values <= level) for level in LEVELS]
        for p_values in (model.p_values(X[others]), model.p_values(X[y == 1]))
    ]
    return *rates, len(others), len(model.calibration_scores_)


def expected(level, n_tested, n_calibrated):
    """Mean of the rate of a split, and its standard deviation."""
    # a product such as 0.1 * 190 may fall short of the whole number that it is
    k = int(np.floor(level * (n_calibrated + 1) + 1e-9))
    if k == 0:
        return 0.0, 0.0
    alarms = betabinom(n_tested, k, n_calibrated + 1 - k)
    return alarms.mean() / n_tested, alarms.std() / n_tested


def table_lines(name, X, y, n_splits):
    false, caught, sizes = [], [], []
    for seed in range(n_splits):
        alarms, finds, *size = measure(X, y, seed)
        false.append(alarms)
        caught.append(finds)
        sizes.append(size)
        text = ", ".join(f"{rate:.3f}" for rate in alarms)
        print(f"{name}, split {seed}: {text}", file=sys.stderr)
    n_tested, n_calibrated = sizes[0]
    for j, level in enumerate(LEVELS):
        mean, deviation = expected(level, n_tested, n_calibrated)
        rate, error = np.mean(false, axis=0)[j], deviation / np.sqrt(n_splits)
        observed = np.std(false, axis=0, ddof=min(1, n_splits - 1))[j]
        numbers = [rate, error, mean, observed, deviation, np.mean(caught, axis=0)[j]]
        kept = "yes" if rate <= level + 2 * error else "**no**"
        cells = [f"{number:.4f}" for number in numbers]
        yield [name, n_tested, n_calibrated, level, *cells, kept]


def main():
    arguments = parse_arguments()
    header = ["", "m", "n", "a", "rate", "standard error", "expected rate"]
    header += ["deviation of a split", "expected deviation", "caught", "kept"]
    print("| " + " | ".join(header) + " |")
    print("|---" * len(header) + "|")
    for name in arguments.tables:
        X, y = read_table(arguments.data / "adbench", name)
        for line in table_lines(name, X, y, arguments.splits):
            print("| " + " | ".join(map(str, line)) + " |", flush=True)


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", type=Path, required=True, help="folder that holds adbench")
    add("--tables", nargs="+", default=list(TABLES))
    add("--splits", type=int, default=50, help="random halves of each table")
    return parser.parse_args()


if __name__ == "__main__":
    main()
