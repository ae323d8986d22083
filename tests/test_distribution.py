"""What is handed out: versions that it runs with, and files that it holds."""

import io
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
from check_distribution import problems_of_sdist, problems_of_wheel
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def required(*extras):
    """What skvae needs, and these extras with those that they name."""
    found = [Requirement(line) for line in PROJECT["dependencies"]]
    for extra in extras:
        for line in PROJECT["optional-dependencies"][extra]:
            need = Requirement(line)
            found += required(*need.extras) if need.name == "skvae" else [need]
    return found


def pinned(file):
    """The version of each package that a file of constraints names."""
    lines = (ROOT / file).read_text().splitlines()
    pins = (line.split("==") for line in lines if "==" in line)
    return {name: Version(version) for name, version in pins}


def floor(need):
    (least,) = (part.version for part in need.specifier if part.operator == ">=")
    return Version(least)


def test_the_oldest_versions_allowed_are_those_tested():
    pins = pinned("constraints-oldest.txt")
    floors = {(need.name, floor(need)) for need in required("test")}
    assert floors == {(name, pins.get(name)) for name, _ in floors}


def test_what_a_clone_installs_is_pinned_to_versions_allowed():
    pins = pinned("constraints.txt")
    needs = required("dev", "docs")
    assert {need.name for need in needs} <= set(pins)
    assert [need for need in needs if pins[need.name] not in need.specifier] == []


# ---- the checks of `make dist` -------------------------------------------------------

TRACKED = {"LICENSE", "skvae/__init__.py", "skvae/py.typed", "tests/test_it.py"}
IN_SDIST = TRACKED | {"PKG-INFO"}
INFORMATION = {"METADATA", "RECORD", "WHEEL", "licenses/LICENSE"}
IN_WHEEL = {"skvae/__init__.py", "skvae/py.typed"} | {
    f"skvae-1.0.dist-info/{name}" for name in INFORMATION
}


def sdist(folder, names):
    path = folder / "skvae-1.0.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name in names:
            archive.addfile(tarfile.TarInfo(f"skvae-1.0/{name}"), io.BytesIO())
    return path


def wheel(folder, names, dependencies):
    fields = ["name", "license", "requires-python"]
    headers = ["Name", "License-Expression", "Requires-Python"]
    lines = [f"{h}: {PROJECT[f]}" for h, f in zip(headers, fields, strict=True)]
    lines += [f"Requires-Dist: {line}" for line in dependencies]
    lines += ['Requires-Dist: pandas; extra == "test"']
    path = folder / "skvae-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            text = "\n".join(lines) if name.endswith("METADATA") else ""
            archive.writestr(name, text)
    return path


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (IN_SDIST, []),
        (IN_SDIST - {"tests/test_it.py"}, ["lacks tests/test_it.py"]),
        (IN_SDIST | {"notes.txt"}, ["should not hold notes.txt"]),
    ],
    ids=["whole", "lacking", "too_much"],
)
def test_an_sdist_holds_what_git_does(tmp_path, names, found):
    path = sdist(tmp_path, names)
    wanted = [f"{path.name}: {problem}" for problem in found]
    assert list(problems_of_sdist(path, TRACKED)) == wanted


@pytest.mark.parametrize(
    ("names", "dependencies", "found"),
    [
        (IN_WHEEL, PROJECT["dependencies"], []),
        (IN_WHEEL - {"skvae/py.typed"}, PROJECT["dependencies"], ["lacks"]),
        (IN_WHEEL | {"tests/test_it.py"}, PROJECT["dependencies"], ["should not hold"]),
        (IN_WHEEL, ["numpy"], ["Requires-Dist is"]),
    ],
    ids=["whole", "lacking", "too_much", "other_needs"],
)
def test_a_wheel_holds_the_package_alone(tmp_path, names, dependencies, found):
    path = wheel(tmp_path, names, dependencies)
    problems = list(problems_of_wheel(path, TRACKED, PROJECT))
    assert len(problems) == len(found)
    assert all(map(str.__contains__, problems, found))
