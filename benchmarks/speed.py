"""How fast fits and scores are, beside peers and beside the bare matrix products.

Run it on a machine with nothing else to do; the peers come with ``.[bench]``::

    python benchmarks/speed.py --adult adult_train.csv.gz --adbench FOLDER
    python benchmarks/speed.py --threads 1 2 --parts fit --workloads W1 W2

Contenders take turns, so that a change in the load of the machine meets all of them;
each is called once before it is timed. A table has the median and the fastest call,
and ratios of medians: how many times as long as ours with and without the linear path,
and as the floor. Peers that are not installed are named, and left out. One pass is made
for each number of threads; two of them beside a busy core wait for each other, and the
figures then say nothing. Progress goes to stderr.

fit
    Whole fits from a float64 array, standardising included, at equal widths, epochs,
    batch size and activation, nothing held out: W1 to W4, of numbers, and of 0 and 1
    under a Bernoulli likelihood. W5, a frame of numbers and labels with holes, wants
    ``--adult``; speed_mixed.py says how the textbook treats it. Losses of others are
    squared error (or cross-entropy); ours has a learned scale for every column, which
    is more work. PyOD's fit ends in a pass that scores its rows.
    The floor is the products of all steps in float32, forward and backward, and nothing
    else; with the linear path for ours with it, without for all others.
scoring
    `transform`, `inverse_transform` and `score_samples` (64 draws), float32 and
    float64, beside passes of the whole matrix through the textbook's modules, 64 of
    them for the scores, and the floor in the same precision in batches of 4,096 rows
    times draws. That of `transform` leaves out the posterior's scales.
latency
    `transform` and `score_samples` of one row.
memory
    Peak memory of a fit above X on W3, and on a file of ``--memmap-gb`` that is
    written to the folder for temporary files; Linux only.
import
    Seconds of imports in fresh processes.
growth
    Seconds a row of 10,000, 100,000 and 1,000,000 rows at equal epochs.
defaults
    Fits of `VAETransformer`, `VAEOutlierDetector` and PyOD's VAE at their defaults on
    the tables of ``--adbench``, npz files with the rows under X, 10,000 of them drawn
    where there are more; none is standardised beforehand.
"""

import argparse
import functools
from pathlib import Path

import speed_defaults
import speed_memory
import speed_mixed
import speed_scoring
import torch
from speed_contenders import PEERS, contenders, missing_packages
from speed_floor import floors, of_fit
from speed_timing import print_table, report, take_turns
from speed_workloads import WORKLOADS, describe_machine, make_rows
from threadpoolctl import threadpool_limits

PARTS = ("fit", "scoring", "latency", "memory", "import", "growth", "defaults")


def fit_numbers(name, arguments):
    """Fits of an array: contenders and floors."""
    workload = WORKLOADS[name]
    fits = contenders()
    small = workload._replace(n_rows=2 * workload.batch_size, n_epochs=1)
    for fit in fits.values():
        fit(small, make_rows(small, arguments.seed), arguments.seed)
    calls = bound(fits, workload, make_rows(workload, arguments.seed), arguments.seed)
    calls |= floors(of_fit, workload)
    print_fits(f"{name}, {workload}", calls, arguments)


def fit_mixed(arguments):
    """Fits of a frame."""
    frame = speed_mixed.read_table(arguments.adult, arguments.seed)
    workload = speed_mixed.workload_of(frame)
    small = workload._replace(n_epochs=1)
    for fit in speed_mixed.CONTENDERS.values():
        fit(small, frame[:1_000], arguments.seed)
    calls = bound(speed_mixed.CONTENDERS, workload, frame, arguments.seed)
    print_fits(f"W5, {workload}", calls, arguments)


def bound(fits, workload, X, seed):
    """Calls that want the number of the repeat, which is added to the seed."""

    def call(fit, repeat):
        fit(workload, X, seed + repeat)

    return {name: functools.partial(call, fit) for name, fit in fits.items()}


def print_fits(title, calls, arguments):
    repeats = dict.fromkeys(calls, arguments.repeats)
    repeats |= {name: arguments.peer_repeats for name in calls if name in PEERS}
    print_table(title, take_turns(calls, repeats, title))


def run(part, threads, arguments):
    """A part, at a number of threads that is already set."""
    seed, repeats = arguments.seed, arguments.repeats
    numbers = [name for name in arguments.workloads if name in WORKLOADS]
    match part:
        case "fit":
            for name in numbers:
                fit_numbers(name, arguments)
            if "W5" in arguments.workloads and arguments.adult:
                fit_mixed(arguments)
        case "scoring":
            for name in numbers:
                speed_scoring.rate(name, WORKLOADS[name], repeats, seed)
        case "latency":
            for name in numbers:
                speed_scoring.latency(name, WORKLOADS[name], seed)
        case "memory":
            speed_memory.measure(threads, seed, arguments.memmap_gb)
        case "import":
            speed_defaults.imports(repeats)
        case "growth":
            speed_defaults.growth(repeats, seed)
        case "defaults":
            speed_defaults.defaults(arguments.adbench, repeats, seed)


def introduce(arguments):
    """The machine, the configurations, and what is left out."""
    for line in describe_machine():
        print(f"- {line}")
    print(
        f"- repeats {arguments.repeats}, of peers {arguments.peer_repeats}, "
        f"seed {arguments.seed}"
    )
    for name, fit in contenders().items():
        if not isinstance(fit, functools.partial):
            print(f"- {name}: {fit.__doc__}")
    for package in missing_packages():
        print(f"- left out: {package}, not installed")
    if "fit" in arguments.parts and "W5" in arguments.workloads and not arguments.adult:
        print("- left out: W5, for want of --adult")
    if "defaults" in arguments.parts and not arguments.adbench:
        print("- left out: fits at defaults, for want of --adbench")


def main():
    arguments = parse_arguments()
    introduce(arguments)
    parts = [
        part for part in arguments.parts if part != "defaults" or arguments.adbench
    ]
    for threads in arguments.threads:
        torch.set_num_threads(threads)
        with threadpool_limits(threads):
            for part in parts:
                print(f"\n### {part}, threads {threads}", flush=True)
                report(f"{part}, threads {threads}")
                run(part, threads, arguments)


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    names = [*WORKLOADS, "W5"]
    add("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="all by default")
    add("--workloads", nargs="+", choices=names, default=names, help="all by default")
    add("--repeats", type=int, default=5, help="timed calls of each contender")
    add("--peer-repeats", type=int, help="timed fits of PyOD, pythae and skorch")
    add("--threads", type=int, nargs="+", default=[1], help="of torch and of BLAS")
    add("--seed", type=int, default=0, help="of the rows and the fits")
    add("--adult", type=Path, help="the CSV of the adult census, for W5")
    add("--adbench", type=Path, help="folder of npz files, for the part `defaults`")
    add("--memmap-gb", type=float, default=4.0, help="of the file of the part `memory`")
    arguments = parser.parse_args()
    if arguments.peer_repeats is None:
        arguments.peer_repeats = arguments.repeats
    return arguments


if __name__ == "__main__":
    main()
