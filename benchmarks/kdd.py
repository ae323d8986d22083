"""KDD Cup 99 as DAGMM had it: precision, recall and F1 beside what is published.

Run it on the 10 per cent file, ``DIR/kdd/kdd_cup_dagmm.npz``, in the 119 columns of a
public implementation of DAGMM (danieltan07/dagmm), the last of them the label::

    OMP_NUM_THREADS=1 python benchmarks/kdd.py --data DIR
    OMP_NUM_THREADS=1 python benchmarks/kdd.py --data DIR --rows 5000 --seeds 0

Attacks are four fifths of the rows and play the normal class (label 0); the normal
traffic (label 1) is what is to be found. Half of the attacks, drawn with the seed, are
trained on. Columns that are constant in training are dropped. Two ways to test:

paper
    Zong et al. (ICLR 2018) keep a random half of all rows for the test: the other
    attacks and half of the normal traffic here. A row is flagged if its score is below
    the 20th percentile of the scores of the test rows.
pooled
    As that implementation has it: the other attacks and all of the normal traffic are
    tested, and the threshold is the 20th percentile of the scores of all attacks and
    all normal traffic, the half that was trained on included.

Rows that tie with the threshold are not flagged. With 19.7 % of outliers in 20 % of
flagged rows, F1 cannot be above 0.992. Published figures are the paper's, of 20 runs,
in the first case, and that implementation's in the second.

VAEOutlierDetector has novelty=True, IsolationForest its defaults. The mixture has 4
components, as DAGMM, full covariances, a reg_covar of 1e-3, standardised columns, and
is fitted on 20,000 of the training rows at most. Seconds are of the process; a score's
are for 100,000 rows.
"""

import argparse
import sys
import time
import warnings
from pathlib import Path

import numpy as np
from sklearn.ensemble import IsolationForest
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import precision_recall_fscore_support, roc_auc_score
from sklearn.mixture import GaussianMixture
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

FLAGGED = 20
MIXTURE_ROWS = 20_000
#: Precision, recall and F1.
PUBLISHED = {
    "paper": ("DAGMM, published", (0.9297, 0.9442, 0.9369)),
    "pooled": ("DAGMM, danieltan07", (0.9677, 0.9538, 0.9607)),
}


class Split:
    """Half of the attacks, the others, and normal traffic, all in random order.

    The model is fitted on the first ``most_rows`` of the half.
    """

    def __init__(self, table, seed, most_rows):
        rng = np.random.default_rng(seed)
        rows, labels = table[:, :-1], table[:, -1]
        attacks = rng.permutation(np.flatnonzero(labels == 0))
        normal = rng.permutation(np.flatnonzero(labels == 1))
        half, others = np.split(attacks, [len(attacks) // 2])
        varies = np.ptp(rows[half[:most_rows]], axis=0) > 0
        self.half, self.attacks, self.normal = (
            rows[part][:, varies] for part in (half, others, normal)
        )
        self.train = self.half[:most_rows]


def fit_ours(rows, seed):
    from skvae import VAEOutlierDetector

    return VAEOutlierDetector(novelty=True, random_state=seed).fit(rows)


def fit_forest(rows, seed):
    return IsolationForest(random_state=seed).fit(rows)


def fit_mixture(rows, seed):
    model = GaussianMixture(4, reg_covar=1e-3, random_state=seed)
    return make_pipeline(StandardScaler(), model).fit(rows[:MIXTURE_ROWS])


MODELS = {
    "VAEOutlierDetector": fit_ours,
    "IsolationForest": fit_forest,
    "GaussianMixture": fit_mixture,
}


def quality(test, labels, threshold_of):
    """Precision, recall, F1 and AUROC of low scores."""
    flagged = test < np.percentile(threshold_of, FLAGGED)
    first = precision_recall_fscore_support(
        labels, flagged, average="binary", zero_division=0
    )[:3]
    return [*first, roc_auc_score(labels, -test)]


def measure(split, fit, seed):
    """For each way to test: the quality, seconds of the fit and of the scores."""
    began = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = fit(split.train, seed)
    fitted = time.process_time()
    half, attacks, normal = (
        model.score_samples(rows) for rows in (split.half, split.attacks, split.normal)
    )
    n_scored = len(half) + len(attacks) + len(normal)
    seconds = (time.process_time() - fitted) / n_scored * 100_000
    results = {}
    for way, found in (("paper", normal[: len(normal) // 2]), ("pooled", normal)):
        test = np.concatenate([attacks, found])
        labels = np.repeat([0, 1], [len(attacks), len(found)])
        pool = test if way == "paper" else np.concatenate([half, test])
        results[way] = [*quality(test, labels, pool), fitted - began, seconds]
    return results


def main():
    arguments = parse_arguments()
    with np.load(arguments.data / "kdd" / "kdd_cup_dagmm.npz") as file:
        table = file["kdd"]
    values = {way: {} for way in PUBLISHED}
    for seed in arguments.seeds:
        split = Split(table, seed, arguments.rows)
        for name in arguments.models:
            results = measure(split, MODELS[name], seed)
            for way, row in results.items():
                values[way].setdefault(name, []).append(row)
            text = ", ".join(f"{value:.4f}" for value in results["paper"])
            print(f"seed {seed}, {name}: {text}", file=sys.stderr)
    print(f"{len(split.train)} training rows of {split.train.shape[1]} columns")
    for way, columns in values.items():
        print_means(way, columns)


def print_means(way, columns):
    n_seeds = len(next(iter(columns.values())))
    print(f"\n**{way}: mean of {n_seeds} seeds (standard deviation of F1)**\n")
    print("| | precision | recall | F1 | AUROC | fit, s | score, s |")
    print("|---|---|---|---|---|---|---|")
    for name, rows in columns.items():
        means = np.mean(rows, axis=0)
        cells = [f"{value:.4f}" for value in means[:4]]
        if n_seeds > 1:
            cells[2] += f" ({np.std(rows, axis=0, ddof=1)[2]:.4f})"
        cells += [f"{value:.3g}" for value in means[4:]]
        print(f"| {name} | " + " | ".join(cells) + " |")
    name, figures = PUBLISHED[way]
    cells = [f"{value:.4f}" for value in figures]
    print(f"| {name} | " + " | ".join(cells) + " | - | - | - |")


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", type=Path, required=True, help="folder that holds kdd")
    add("--seeds", type=int, nargs="+", default=[0, 1, 2])
    add("--models", nargs="+", choices=MODELS, default=list(MODELS))
    add("--rows", type=int, help="train on so many at most, for a quick look")
    return parser.parse_args()


if __name__ == "__main__":
    main()
