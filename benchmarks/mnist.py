"""The two smallest models of the importance-weighted autoencoders' table, on MNIST.

Run it with the folder that holds ``mnist/mnist.npz`` (arrays X_train and X_test of
grey images, 0 to 255), for one model or both::

    OMP_NUM_THREADS=1 python benchmarks/mnist.py --data DIR --minutes 60
    OMP_NUM_THREADS=1 python benchmarks/mnist.py --data DIR --model iwae --resume DIR2

The protocol is that of Burda et al. (2016), section 5: pixels are drawn anew at every
presentation with the grey level as the probability of a 1 (dynamic binarisation), two
tanh layers of 200 units in either network, 50 components, a Bernoulli likelihood, Adam.
The networks are plain: no linear path, random start. The bound is that of 5,000 draws
on the 10,000 test images, binarised once with the seed. What differs is the length:
the authors train for 3,280 epochs in steps of 20 rows; here the budget is an argument,
steps have 100 rows, and the learning rate falls along half a cosine to a hundredth.

The budget is in minutes of processor time, all threads together. On two free cores,
``OMP_NUM_THREADS=2`` uses up 120 such minutes in an hour. Evaluation is apart from it.
With ``--resume`` the state is written there every few minutes, and read if it is there.
It prints the bound in nats an image, the epochs, and the minutes. Progress goes to
stderr.
"""

import argparse
import sys
import time
from pathlib import Path

import joblib
import numpy as np

from skvae import VAETransformer
from skvae.networks import MLP
from skvae.objectives import IWAE

#: What the authors report, in nats: one stochastic layer, k = 1 and k = 5.
MODELS = {"vae": ("elbo", 86.76), "iwae": (IWAE(n_samples=5), 85.54)}
FIRST_RATE, LAST_SHARE = 2e-3, 0.01
SECONDS_BETWEEN_SAVES = 120
N_DRAWS = 5_000


def main():
    arguments = parse()
    with np.load(arguments.data / "mnist" / "mnist.npz") as arrays:
        grey, test = (
            arrays[name].reshape(-1, 784).astype(np.float32) / 255
            for name in ("X_train", "X_test")
        )
    lines = ["| model | nats | published | epochs | processor minutes |", "|---" * 5]
    for name in arguments.model:
        objective, published = MODELS[name]
        run = resume(arguments, name) or new_run(objective, arguments.seed)
        train(run, grey, arguments, name)
        bound = evaluate(run["model"], test[: arguments.n_test], arguments.seed)
        minutes = run["seconds"] / 60
        lines.append(
            f"| {name} | {bound:.2f} | {published} | {run['epoch']} | {minutes:.1f} |"
        )
    print("\n".join(lines))


def new_run(objective, seed):
    model = VAETransformer(
        n_components=50,
        network=MLP((200, 200), "tanh", linear_path=False),
        likelihood="bernoulli",
        objective=objective,
        init="random",
        batch_size=100,
        learning_rate=FIRST_RATE,
        n_importance_samples=N_DRAWS,
        random_state=seed,
    )
    return {"model": model, "seconds": 0.0, "epoch": 0}


def resume(arguments, name):
    path = saved(arguments, name)
    return joblib.load(path) if path and path.exists() else None


def saved(arguments, name):
    return arguments.resume and arguments.resume / f"mnist_{name}_{arguments.seed}.pkl"


def train(run, grey, arguments, name):
    """One call of `partial_fit` an epoch, until the budget is spent."""
    model, budget = run["model"], 60 * arguments.minutes
    last_save = time.monotonic()
    while run["seconds"] < budget:
        began = time.process_time()
        # An epoch's pixels depend on its number alone, so that a run can be resumed.
        rng = np.random.default_rng([arguments.seed, run["epoch"]])
        binary = (rng.random(grey.shape, dtype=np.float32) < grey).astype(np.float32)
        spent = run["seconds"] / budget
        share = LAST_SHARE + (1 - LAST_SHARE) * (1 + np.cos(np.pi * spent)) / 2
        model.set_params(learning_rate=FIRST_RATE * share).partial_fit(binary)
        run["epoch"] += 1
        run["seconds"] += time.process_time() - began
        if run["epoch"] % 10 == 0:
            progress(name, run["epoch"], run["seconds"] / 60, model.loss_curve_[-1])
        if arguments.resume and time.monotonic() > last_save + SECONDS_BETWEEN_SAVES:
            joblib.dump(run, saved(arguments, name))
            last_save = time.monotonic()
    if arguments.resume:
        joblib.dump(run, saved(arguments, name))


def evaluate(model, grey, seed):
    """Minus the mean bound of the images, in nats."""
    rng = np.random.default_rng([seed, 2**31])
    binary = (rng.random(grey.shape, dtype=np.float32) < grey).astype(np.float32)
    total = 0.0
    for start in range(0, len(binary), 500):
        total += model.score_samples(binary[start : start + 500]).sum()
        progress("test images", start + 500, -total / min(start + 500, len(binary)))
    return -total / len(binary)


def progress(*entries):
    print(
        *(f"{e:.3f}" if isinstance(e, float) else e for e in entries), file=sys.stderr
    )


def parse():
    parser = argparse.ArgumentParser(description="MNIST in nats, beside Burda et al.")
    parser.add_argument("--data", type=Path, required=True, help="holds mnist/")
    parser.add_argument(
        "--model", nargs="+", choices=list(MODELS), default=list(MODELS)
    )
    parser.add_argument("--minutes", type=float, default=60.0, help="processor time")
    parser.add_argument("--resume", type=Path, help="folder for the state of the run")
    parser.add_argument("--n-test", type=int, default=10_000, help="test images")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
