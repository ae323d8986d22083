"""Random tables through every method of every estimator: a table of what came of it.

``make fuzz`` runs 10,000 cases. A wrong outcome is printed with the plans that make it
again, and the script ends with status 1.
"""

import argparse
import math
import sys
import time
from collections import Counter

from hypothesis import HealthCheck, Phase, given, seed, settings
from joblib import Parallel, delayed
from random_settings import ESTIMATORS, estimator_plans
from random_tables import changed, changes, table_plans
from robustness import outcomes


def play(n_cases, random_state):
    """Count outcomes by (estimator, kind), and collect the wrong ones.

    Returns
    -------
    counts : Counter
    wrong : list of str
    cases : Counter
        By estimator.
    """
    counts, wrong, cases = Counter(), [], Counter()

    @seed(random_state)
    @settings(
        max_examples=n_cases,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(estimator_plans(), table_plans(), changes())
    def case(estimator_plan, table_plan, changes):
        name = estimator_plan.name
        cases[name] += 1
        rows = changed(table_plan, *changes)
        try:
            for _, kind in outcomes(estimator_plan.make(), table_plan, rows):
                counts[name, kind] += 1
        except Exception as error:
            counts[name, "wrong"] += 1
            reason = f"{type(error).__name__}: {error}"
            wrong.append(f"{reason}\n{estimator_plan!r}\n{table_plan!r}\n{changes!r}\n")

    case()
    return counts, wrong, cases


def table(counts, cases):
    """The counts as Markdown."""
    kinds = Counter()
    for (_, kind), n in counts.items():
        kinds[kind] += n
    kinds["wrong"] += 0
    order = sorted(kinds, key=lambda kind: (kind == "wrong", -kinds[kind]))
    lines = [
        f"| | {' | '.join(ESTIMATORS)} | all |",
        f"|---{'|---:' * (len(ESTIMATORS) + 1)}|",
    ]
    rows = [("cases", cases, sum(cases.values()))]
    for kind in order:
        by_name = {name: counts[name, kind] for name in ESTIMATORS}
        rows.append((kind, by_name, kinds[kind]))
    for kind, by_name, total in rows:
        cells = " | ".join(f"{by_name[name]:,}" for name in ESTIMATORS)
        lines.append(f"| {kind} | {cells} | {total:,} |")
    return "\n".join(lines)


def main():
    """Play the cases, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0, help="of the first process")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    arguments = parser.parse_args()
    began = time.monotonic()
    n_cases = math.ceil(arguments.cases / arguments.jobs)
    played = Parallel(arguments.jobs)(
        delayed(play)(n_cases, arguments.seed + job) for job in range(arguments.jobs)
    )
    counts, wrong, cases = (
        sum(parts[1:], parts[0]) for parts in zip(*played, strict=True)
    )
    print(*wrong, sep="\n")
    print(f"Calls by outcome, seeds from {arguments.seed}:\n")
    print(table(counts, cases))
    print(f"\n{(time.monotonic() - began) / 60:.1f} minutes; {len(wrong)} wrong.")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
