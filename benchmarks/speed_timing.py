"""Taking turns, and the tables that the speed benchmark prints."""

import statistics
import sys
import time

OURS = "ours"
NO_PATH = ", no linear path"
#: How the bare products are made; the keys of `speed_floor.LIBRARIES`.
FLOORS = ("torch.mm", "np.matmul")
_PER_SECOND = {"s": 1.0, "µs": 1e6}


def seconds_of(call, *arguments):
    began = time.perf_counter()
    call(*arguments)
    return time.perf_counter() - began


def take_turns(calls, repeats, title=None):
    """Seconds of every call, by name.

    Parameters
    ----------
    calls : dict of str to callable
        Each is given the number of the repeat.
    repeats : dict of str to int
        How often each is called.
    title : str or None, default=None
        With it, progress is reported, of calls that take long.
    """
    seconds = {name: [] for name in calls}
    most = max(repeats.values())
    for repeat in range(most):
        for name, call in calls.items():
            if repeat < repeats[name]:
                seconds[name].append(seconds_of(call, repeat))
        if title is not None:
            latest = [f"{key} {value[-1]:.4g} s" for key, value in seconds.items()]
            report(f"{title}: repeat {repeat + 1} of {most}: {', '.join(latest)}")
    return seconds


def print_table(title, seconds, *, unit="s", n_rows=None):
    """Median and fastest call, and how many times as long as ours and as the floor.

    The floor of a row has the linear path where the row has it. Ratios are of medians.
    """
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    bases = [name for name in (OURS, OURS + NO_PATH) if name in seconds]
    floors = [name for name in FLOORS if name in seconds]
    scale = _PER_SECOND[unit]
    header = [f"median {unit}", f"fastest {unit}"]
    header += ["rows per second"] if n_rows else []
    rows = []
    for name, values in seconds.items():
        median = medians[name]
        row = [name, digits(scale * median), digits(scale * min(values))]
        row += [f"{n_rows / median:,.0f}"] if n_rows else []
        ends = "" if has_linear_path(name) else NO_PATH
        others = [*bases, *(floor + ends for floor in floors)]
        rows.append([*row, *(f"{median / medians[other]:.2f}" for other in others)])
    print_rows(title, [*header, *(f"/ {name}" for name in [*bases, *floors])], rows)


def digits(value):
    """Four of them, or all that stand before the point."""
    return f"{value:,.0f}" if value >= 1_000 else f"{value:.4g}"


def has_linear_path(name):
    return name.startswith((OURS, *FLOORS)) and not name.endswith(NO_PATH)


def print_rows(title, header, rows):
    """A Markdown table; the first cell of each row is its name."""
    print(f"\n**{title}**\n")
    print(f"| | {' | '.join(header)} |")
    print("|---" * (len(header) + 1) + "|")
    for row in rows:
        print(f"| {' | '.join(row)} |")
    sys.stdout.flush()


def report(line):
    """Progress, apart from the tables."""
    print(line, file=sys.stderr, flush=True)
