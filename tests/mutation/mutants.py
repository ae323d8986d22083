"""Break the package on purpose, one line at a time, and see whether a test fails.

A mutant is a line that is wrong: a sign, a term left out, a draw in place of a mean.
They are listed in the `*.toml` files beside this one, and each is put into a copy of
the checkout, which itself is never touched. The tests that the list names run first;
if they pass, the rest of the suite without Ray does. A mutant that survives is a fact
that no test asserts.

Usage: python tests/mutation/mutants.py [--only NAME ...] [--quick] [--jobs N]

In the copies this file is a plugin of pytest, which tells the test that failed, and
refuses to test any package but the copy.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
#: What the tests need of the checkout.
COPIED = ("skvae", "tests", "pyproject.toml", "README.md")
#: They need what is not copied, or a cluster.
LEFT_OUT = ("test_docs.py", "test_ray_*.py")
#: After all others, since they take long and know little of the engine.
LAST = ("display", "test_common.py", "test_every_name.py", "test_onnx.py")
#: Where the plugin writes which tests failed, in the copy.
FAILURES = "failures.txt"
#: How many times as long as the named tests the rest of the suite may take.
REST = 10


@dataclass(frozen=True)
class Mutant:
    """A wrong line, and where it goes.

    Attributes
    ----------
    name : str
    file : str
        Within the package.
    old, new : str
        A text that stands in the file once, and what takes its place.
    why : str
        What is wrong with it.
    tests : list of str
        Those that should fail, the quickest first: files within `tests`, or single
        tests of them.
    which : int
        Of several places where the old text stands, the number of the one, from 1.
    """

    name: str
    file: str
    old: str
    new: str
    why: str
    tests: list[str]
    which: int = 0

    def put_into(self, text):
        """The text of the file with the wrong line in it."""
        pieces = text.split(self.old)
        n_places = len(pieces) - 1
        if self.new == self.old or not (
            n_places == 1 if not self.which else self.which <= n_places
        ):
            raise Stale(
                f"{self.name} is stale: {self.old!r} stands {n_places} times in "
                f"skvae/{self.file}. Mend the list."
            )
        place = self.which or 1
        before, after = self.old.join(pieces[:place]), self.old.join(pieces[place:])
        return before + self.new + after


class Stale(Exception):
    """The list does not fit the package any more."""


class Broken(Exception):
    """The tests did not run, so that nothing is known of the mutant."""


def listed(only):
    """The mutants of the list, or those with the names that were given."""
    entries = [
        entry
        for path in sorted(HERE.glob("*.toml"))
        for entry in tomllib.loads(path.read_text())["mutant"]
    ]
    mutants = {entry["name"]: Mutant(**entry) for entry in entries}
    if len(mutants) < len(entries):
        names = [entry["name"] for entry in entries]
        raise Stale(f"two mutants are called {max(names, key=names.count)}")
    unknown = set(only) - set(mutants)
    if unknown:
        raise Stale(f"no mutant is called {', '.join(sorted(unknown))}")
    return [mutants[name] for name in only or mutants]


# ---- the copies ------------------------------------------------------------------


def copied(source, target):
    """A copy of what the tests need, without the caches of bytecode."""
    target.mkdir()
    for name in COPIED:
        if (source / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source / name, target / name, ignore=ignored)
        else:
            shutil.copy2(source / name, target / name)
    return target


def check(mutants, source):
    """Raise unless each mutant fits the package, and its tests are there."""
    for mutant in mutants:
        mutant.put_into((source / "skvae" / mutant.file).read_text())
        for test in mutant.tests:
            if not (source / "tests" / test.partition("::")[0]).exists():
                raise Stale(f"{mutant.name} is stale: there is no tests/{test}")


def rest_of_suite(copy, named):
    """The test files that are not named, about in the order of their speed."""
    tests = copy / "tests"
    paths = set(tests.rglob("test_*.py"))
    for pattern in LEFT_OUT:
        paths -= set(tests.glob(pattern))
    names = {str(path.relative_to(tests)) for path in paths} - set(named)

    def place(name):
        return name.startswith(LAST), not name.startswith("core"), name

    return sorted(names, key=place)


def first_failure(copy, tests, timeout, *options):
    """The tests that fail in a copy, a line each; empty where all pass."""
    (copy / FAILURES).write_text("")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    command += ["-p", "mutants", "-m", "not ray and not faults", *options]
    command += [f"tests/{test}" for test in tests]
    paths = copy, copy / HERE.relative_to(ROOT)
    environment = {
        "OMP_NUM_THREADS": "1",
        "MPLBACKEND": "Agg",
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, paths)),  # before the installed package
    }
    with (copy / "log.txt").open("w+") as log:
        process = subprocess.Popen(
            command,
            cwd=copy,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # so that what the tests start ends with them
        )
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            return f"no end within {timeout} s"
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        failures = (copy / FAILURES).read_text().strip()
        if code < 0 and not failures:
            return f"{signal.Signals(-code).name} ended it"
        if code and not failures:
            log.seek(0)
            raise Broken(f"pytest ended with {code}:\n{log.read()[-2_000:]}")
    return failures


def outcome(mutant, source, folder, quick, timeout):
    """What kills a mutant, or nothing if it survives; and how long that took."""
    began = time.perf_counter()
    copy = copied(source, folder / mutant.name)
    try:
        path = copy / "skvae" / mutant.file
        path.write_text(mutant.put_into(path.read_text()))
        killer = first_failure(copy, mutant.tests, timeout, "-x")
        if not killer and not quick:
            rest = rest_of_suite(copy, mutant.tests)
            killer = first_failure(copy, rest, REST * timeout, "-x")
    finally:
        shutil.rmtree(copy)
    return killer, time.perf_counter() - began


# ---- the plugin ------------------------------------------------------------------


def pytest_configure(config):
    """An installed package would pass for every mutant: see that it is the copy."""
    import skvae

    if not Path(skvae.__file__).resolve().is_relative_to(Path.cwd().resolve()):
        raise pytest.UsageError(f"{skvae.__file__} is not the copy's package")


def pytest_runtest_logreport(report):
    if report.failed:
        _write(report.nodeid)


def pytest_collectreport(report):
    if report.failed:
        _write(report.nodeid)


def _write(name):
    with Path(FAILURES).open("a") as failures:
        failures.write(f"{name}\n")


# ---- the table -------------------------------------------------------------------


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME")
    parser.add_argument("--jobs", type=int, default=1, help="mutants at once")
    parser.add_argument(
        "--quick", action="store_true", help="run the tests that the list names alone"
    )
    parser.add_argument(
        "--timeout", type=int, default=600, help="seconds for the named tests"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        # The checkout may change while this runs.
        source = copied(ROOT, Path(folder) / "source")
        mutants = listed(arguments.only)
        check(mutants, source)
        killers, survivors, broken = tried(mutants, source, Path(folder), arguments)
        tests = [k.removeprefix("tests/") for k in killers if k.startswith("tests/")]
        of_untouched = (
            first_failure(source, sorted({*tests}), REST * 600) if tests else ""
        )
    share = len(killers) / len(mutants)
    print(f"\n{len(killers)} of {len(mutants)} mutants killed: {share:.1%}")
    for words, names in (("survived", survivors), ("not tested", broken)):
        if names:
            print(f"{words}: {', '.join(names)}")
    if of_untouched:
        print(f"these tests fail without any mutant:\n{of_untouched}")
    return bool(survivors or broken or of_untouched)


def tried(mutants, source, folder, arguments):
    """What killed mutants, and the names of those that live and that did not run."""
    killers, survivors, broken = [], [], []
    width = max(len(mutant.name) for mutant in mutants)
    with ThreadPoolExecutor(arguments.jobs) as pool:
        pending = {
            pool.submit(
                outcome, mutant, source, folder, arguments.quick, arguments.timeout
            ): mutant
            for mutant in mutants
        }
        for done in as_completed(pending):
            mutant = pending[done]
            try:
                killer, seconds = done.result()
            except Broken as error:
                broken.append(mutant.name)
                print(f"{mutant.name:<{width}}  {error}", flush=True)
                continue
            first = killer.partition("\n")[0]
            (killers if first else survivors).append(first or mutant.name)
            told = first.removeprefix("tests/") or f"SURVIVED ({mutant.why})"
            print(f"{mutant.name:<{width}}  {seconds:5.0f} s  {told}", flush=True)
    return killers, survivors, broken


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Stale as error:
        sys.exit(str(error))
