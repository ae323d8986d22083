"""Check the sdist and the wheel: they hold what the repository holds, and no more.

Usage: python tests/check_distribution.py dist
"""

import email
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent


def tracked_files():
    """What git knows of: a new file that nobody added would be lost, or slip in."""
    command = ["git", "ls-files", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    return set(listed.stdout.decode().split("\0")) - {""}


def differences(archive, found, wanted):
    yield from (f"{archive}: lacks {name}" for name in sorted(wanted - found))
    yield from (f"{archive}: should not hold {name}" for name in sorted(found - wanted))


def problems_of_sdist(path, tracked):
    with tarfile.open(path) as archive:
        found = {name.partition("/")[2] for name in archive.getnames()}
    yield from differences(path.name, found, tracked | {"PKG-INFO"})


def problems_of_wheel(path, tracked, project):
    with zipfile.ZipFile(path) as archive:
        found = set(archive.namelist())
        information = "-".join(path.name.split("-")[:2]) + ".dist-info"
        metadata = email.message_from_bytes(archive.read(f"{information}/METADATA"))
    package = {name for name in tracked if name.startswith("skvae/")}
    beside = {"METADATA", "RECORD", "WHEEL", "licenses/LICENSE"}
    wanted = package | {"skvae/py.typed"} | {f"{information}/{name}" for name in beside}
    yield from differences(path.name, found, wanted)
    required = set(map(Requirement, metadata.get_all("Requires-Dist", [])))
    always = {need for need in required if need.marker is None}
    said = {
        "Name": (metadata["Name"], project["name"]),
        "License-Expression": (metadata["License-Expression"], project["license"]),
        "Requires-Python": (metadata["Requires-Python"], project["requires-python"]),
        "Requires-Dist": (always, set(map(Requirement, project["dependencies"]))),
    }
    for field, (found, wanted) in said.items():
        if found != wanted:
            yield f"{path.name}: {field} is {found}, not {wanted}"


def main():
    folder = Path(sys.argv[1])
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    tracked = tracked_files()
    found = [
        *problems_of_sdist(sdist, tracked),
        *problems_of_wheel(wheel, tracked, project),
    ]
    print("\n".join(found) or f"{sdist.name} and {wheel.name} hold what they should.")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
