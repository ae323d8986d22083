"""The documentation: nothing public is left out of it, and dead links are found."""

import importlib
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
REFERENCE = (DOCS / "api" / "index.rst").read_text()
LISTED = set(re.findall(r"^   ([\w.]+)$", REFERENCE, re.M))
#: Of the public modules, what only those need who write a family or a network.
INSIDE = {
    "skvae": {"__version__"},
    "skvae.likelihoods": {"Blocks", "LinearStart"},
    "skvae.networks": {"ACTIVATIONS", "NetworkFunction", "Perceptron", "plus_product"},
    "skvae.objectives": set(),
    "skvae.optimizers": {"FAMILIES"},
    "skvae.posteriors": set(),
    "skvae.priors": {"MixtureOfCodes", "MixtureOfNormals", "OfMembers", "closed_kl"},
    "skvae.callbacks": set(),
    "skvae.onnx": set(),
    "skvae.persistence": set(),
}
HAS_RAY = find_spec("ray") is not None
if HAS_RAY:
    INSIDE["skvae.ray"] = set()


@pytest.mark.parametrize("module", INSIDE)
def test_every_public_name_is_in_the_reference(module):
    prefix = module.removeprefix("skvae").lstrip(".")
    names = set(importlib.import_module(module).__all__) - INSIDE[module]
    assert {f"{prefix}.{name}".lstrip(".") for name in names} <= LISTED


def test_what_the_reference_lists_is_there():
    for name in LISTED:
        if name.startswith("ray.") and not HAS_RAY:
            continue
        module, _, attribute = f"skvae.{name}".rpartition(".")
        assert hasattr(importlib.import_module(module), attribute), name


@pytest.mark.parametrize("folder", ["user_guide", "coming_from", "benchmarks"])
def test_every_page_is_in_the_table_of_contents(folder):
    contents = (DOCS / folder / "index.md").read_text()
    listed = "\n".join(re.findall(r"\{toctree\}.*?(?:```|:::)", contents, re.S)).split()
    pages = {path.stem for path in (DOCS / folder).glob("*.md")} - {"index"}
    assert pages <= set(listed)


def test_files_that_the_readme_links_to_are_there():
    addresses = re.findall(r"\]\(([^)#]+)\)", (ROOT / "README.md").read_text())
    internal = [address for address in addresses if "://" not in address]
    assert internal
    assert [address for address in internal if not (ROOT / address).exists()] == []


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ('<a href="other.html#there">x</a>', ""),
        ('<a href="https://example.org">x</a>', ""),
        ('<a href="missing.html">x</a>', "index.html: no missing.html"),
        ('<a href="other.html#gone">x</a>', "no anchor other.html#gone"),
        ('<img src="missing.png">', "no missing.png"),
        ('<script src="https://example.org/a.js"></script>', "loads https"),
    ],
    ids=["anchor", "outside", "page", "no_anchor", "picture", "script"],
)
def test_dead_links_of_a_site_are_found(tmp_path, body, found):
    (tmp_path / "index.html").write_text(f"<html><body>{body}</body></html>")
    (tmp_path / "other.html").write_text('<html><body><p id="there"></body></html>')
    command = [sys.executable, DOCS / "check_links.py", tmp_path]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == bool(found)
    assert found in checked.stdout
