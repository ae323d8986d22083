"""Load files that are no models, and watch what Python does meanwhile.

    cd tests && python -m saved.watch --count 1000 --seed 0

prints a table: for each kind of file, how many were refused, how many loaded as what
they were, and whatever else came of it. The suite does so with fewer.
"""

import argparse
import io
import json
import os
import resource
import sys
import time
from collections import Counter

import numpy as np
from saved import crafted, damaged, traps

from skvae import persistence

#: Nothing may take longer, in seconds of a processor.
MOST_SECONDS = 5.0
#: All together may not take more memory at once, in MiB beside what was there before.
MOST_MEMORY = 300.0
#: What Python tells its audit hooks of, and no file may bring about.
FORBIDDEN = (
    "code.__new__",
    "ctypes.",
    "exec",
    "marshal.",
    "os.",
    "pickle.",
    "pty.",
    "shutil.",
    "socket.",
    "subprocess.",
    "webbrowser.",
    "winreg.",
)
HARMLESS = ("os.listdir", "os.scandir")


#: Kinds of files, and of states that never were in a file.
KINDS = (
    "of other kinds",
    "traps",
    "wrong states",
    "damaged, of dump",
    "damaged, of skops",
    "naming what to call",
    "one detail changed",
    "noise",
    "states",
)


class Watch:
    """Notes events of Python's, once and for all: audit hooks cannot be taken away."""

    def __init__(self):
        self.events = None
        sys.addaudithook(self._hear)

    def __enter__(self):
        self.events = []
        return self.events

    def __exit__(self, *error):
        self.events = None

    def _hear(self, event, arguments):
        if self.events is None:
            return
        writes = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
        if event == "open" and arguments[2] & writes:
            self.events.append(f"open {arguments[0]!r} for writing")
        elif event == "import":
            self.events.append(f"import {arguments[0]}")
        elif event.startswith(FORBIDDEN) and event not in HARMLESS:
            self.events.append(event)


def files(count, seed):
    """Kinds of files: a name, what to load, and the model that it may still be."""
    rng = np.random.default_rng(seed)
    for name, content in damaged.foreign().items():
        yield "of other kinds", name, content, None
    for name in traps.TRAPS:
        yield "traps", name, traps.trap(name), None
    for name in crafted.WRONG_STATES:
        content = crafted.file_of_state(crafted.wrong_state(name, True))
        yield "wrong states", name, content, None
    makers = {
        "damaged, of dump": lambda: damaged.damaged("dump", rng),
        "damaged, of skops": lambda: damaged.damaged("skops", rng),
        "naming what to call": lambda: (None, crafted.naming(rng)),
        "one detail changed": lambda: crafted.meddled(rng),
        "noise": lambda: (None, rng.bytes(int(rng.integers(1, 2_000)))),
    }
    shares = {"noise": 0.05, "damaged, of dump": 0.2}
    for kind, make in makers.items():
        for i in range(round(count * shares.get(kind, 0.25))):
            name, content = make()
            of_dump = kind == "damaged, of dump"
            yield kind, str(i), content, None if of_dump else name


def states(count, seed):
    """Names, classes and states that are wrong."""
    rng = np.random.default_rng(seed)
    for name in crafted.WRONG_STATES:
        for with_checksum in (False, True):
            state = crafted.wrong_state(name, with_checksum)
            yield name, damaged.VAETransformer, state
    for i in range(count):
        yield str(i), *damaged.damaged_state(rng)


def outcome(call, same):
    """What came of loading: "refused", "the same", or what is wrong."""
    try:
        model = call()
    except (ValueError, TypeError) as error:
        says_why = len(str(error).split()) > 5
        return "refused" if says_why else f"says only {error}"
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    return "the same" if same(model) else "LOADED"


def is_same(name):
    """Whether a model answers as the one of this name does."""

    def same(model):
        scores = damaged.models()[name].score_samples(damaged.X)
        return np.array_equal(model.score_samples(damaged.X), scores)

    return (lambda model: False) if name is None else same


def watched(count, seed):
    """Load everything: dicts of a kind, a name, an outcome, events, seconds, MiB."""
    watch = Watch()
    whole = damaged.whole("pipeline", "dump")
    persistence.load(io.BytesIO(whole))  # which imports what is imported late
    loads = [
        (kind, name, lambda c=content: persistence.load(io.BytesIO(c)), is_same(model))
        for kind, name, content, model in files(count, seed)
    ]
    loads += [
        ("states", name, lambda c=cls, s=state: revived(c, s), is_same(None))
        for name, cls, state in states(count // 5, seed)
    ]
    before = peak()
    for kind, name, load, same in loads:
        began = time.process_time()
        with watch as events:
            found = outcome(load, same)
        seconds = time.process_time() - began
        yield {
            "kind": kind,
            "name": name,
            "outcome": found,
            "events": events,
            "seconds": seconds,
            "memory": peak() - before,
        }


def peak():
    """The most memory that this process ever had, in MiB."""
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def revived(cls, state):
    """What unpickling makes of a state."""
    model = cls.__new__(cls)
    model.__setstate__(state)
    return model


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print all, a line each")
    arguments = parser.parse_args()
    results = []
    for result in watched(arguments.count, arguments.seed):
        results.append(result)
        if arguments.json:
            print(json.dumps(result))
    if not arguments.json:
        report(results)


def report(results):
    for kind in KINDS:
        some = [result for result in results if result["kind"] == kind]
        counts = Counter(result["outcome"] for result in some)
        slowest = max(result["seconds"] for result in some)
        print(f"{kind:22s}{len(some):6d}  {dict(counts)}, at most {slowest:.2f} s")
    heard = Counter(event for result in results for event in result["events"])
    print(f"{len(results)} in all; events: {dict(heard)}")
    memory = max(result["memory"] for result in results)
    print(f"executed: {os.path.exists('executed')}; at most {memory:.0f} MiB more")


if __name__ == "__main__":
    main()
