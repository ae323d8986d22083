"""Whether memory stays flat: fits of random tables in one process, for an hour.

``make soak`` runs it. Each fit is followed by all that the fitted estimator can do, as
in the robustness tests; the memory that the process holds is printed every minute, and
at the end how much it moved after the first five.
"""

import argparse
import gc
import time
import warnings
from dataclasses import replace
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings
from random_settings import estimator_plans
from random_tables import table_plans
from robustness import outcomes

#: Minutes until every kind of table has been seen, and caches are full.
_WARM_UP = 5
_N_PLANS = 500


def plans():
    """Pairs of plans, drawn once: what draws them keeps notes, which take memory."""
    drawn = []

    @seed(0)
    @settings(
        max_examples=_N_PLANS,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(estimator_plans(), table_plans())
    def draw(estimator_plan, table_plan):
        drawn.append((estimator_plan, table_plan))

    draw()
    return drawn


def resident():
    """Megabytes of memory that this process holds (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60)
    minutes = parser.parse_args().minutes
    drawn = plans()
    began = time.monotonic()
    n_fits, seen = 0, []
    print(f"{'minutes':>7} {'fits':>7} {'MB':>8}", flush=True)
    while len(seen) <= minutes:
        estimator_plan, table_plan = drawn[n_fits % len(drawn)]
        table_plan = replace(table_plan, seed=n_fits)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for _ in outcomes(estimator_plan.make(), table_plan, table_plan.make()):
                pass
        n_fits += 1
        if time.monotonic() - began >= 60 * len(seen):
            gc.collect()
            seen.append(resident())
            print(f"{len(seen) - 1:7} {n_fits:7} {seen[-1]:8.1f}", flush=True)
    warm = seen[_WARM_UP:]
    print(
        f"After {_WARM_UP} minutes: from {warm[0]:.1f} to {warm[-1]:.1f} MB, all "
        f"within {max(warm) - min(warm):.1f} MB."
    )


if __name__ == "__main__":
    main()
