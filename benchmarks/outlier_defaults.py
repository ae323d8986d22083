"""What the defaults of `VAEOutlierDetector` rest on: scores, and steps of training.

Run it with the folder that holds adbench, and a task::

    OMP_NUM_THREADS=1 python benchmarks/outlier_defaults.py --data DIR --task scores
    OMP_NUM_THREADS=1 python benchmarks/outlier_defaults.py --data DIR --task steps

scores
    Every `score_function` on contaminated rows (U) and on clean ones (S, with
    novelty=True): mean AUROC and average precision in %, as outliers.py has them.
steps
    Protocol S after some numbers of steps, and with the training of `VAETransformer`:
    early stopping within 3,000 steps from the PCA start. Beside the ranking stand the
    held-out log-likelihood of normal test rows under the standard normal prior, in nats
    per column, the median over tables, and the seconds of the process for all fits.

Other figures are means over tables and repeats (seeds 0, 1, ...).
"""

import argparse
import math
import sys
import time
from pathlib import Path

import numpy as np
from outlier_data import make_task, table_names
from sklearn.metrics import average_precision_score, roc_auc_score

from skvae import VAEOutlierDetector

SCORES = [
    "robust",
    "elbo",
    "log_likelihood",
    "reconstruction_probability",
    "reconstruction_error",
]
STEPS = [75, 150, 300, 600, 1_000, 3_000]
BATCH = 128


def measure(task, **parameters):
    """AUROC, average precision, nats per column, seconds of the fit."""
    began = time.process_time()
    detector = VAEOutlierDetector(novelty=task.clean, **parameters).fit(task.train)
    seconds = time.process_time() - began
    scores = detector.score_samples(task.test)
    plain = VAEOutlierDetector(calibration_fraction=0.05, **parameters).fit(task.train)
    nats = plain.score(task.test[task.labels == 0]) / task.test.shape[1]
    return (
        100 * roc_auc_score(task.labels, -scores),
        100 * average_precision_score(task.labels, -scores),
        nats,
        seconds,
    )


def settings(task):
    """Rows of the table: a label, a protocol, and parameters by number of rows."""
    if task == "scores":
        for protocol in ("U", "S"):
            for name in SCORES:
                yield name, protocol, lambda n, name=name: {"score_function": name}
        return
    for steps in STEPS:

        def of_length(n, steps=steps):
            return {"max_iter": math.ceil(steps / math.ceil(n / min(n, BATCH)))}

        yield f"{steps:,} steps", "S", of_length

    def of_transformer(n):
        return {**of_length(n, 3_000), "early_stopping": "auto", "init": "pca"}

    yield "as VAETransformer", "S", of_transformer


def main():
    arguments = parse_arguments()
    tables = table_names(arguments.data / "adbench")
    print("|  | protocol | AUROC | AUCPR | nats per column | seconds |")
    print("|---|---|---|---|---|---|")
    for label, protocol, parameters in settings(arguments.task):
        rows = []
        for table in tables:
            for repeat in range(arguments.repeats):
                task = make_task(arguments.data / "adbench", table, protocol, repeat)
                chosen = parameters(len(task.train))
                rows.append(measure(task, random_state=repeat, **chosen))
        auroc, aucpr, _, _ = np.mean(rows, axis=0)
        nats = np.median(rows, axis=0)[2]
        seconds = np.sum(rows, axis=0)[3] / arguments.repeats
        print(
            f"| {label} | {protocol} | {auroc:.1f} | {aucpr:.1f} | {nats:.3f} | "
            f"{seconds:.1f} |",
            flush=True,
        )
        print(f"{label}, {protocol}: done", file=sys.stderr)


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", type=Path, required=True, help="folder that holds adbench")
    add("--task", choices=["scores", "steps"], required=True)
    add("--repeats", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    main()
