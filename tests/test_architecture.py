"""Who may import whom, and what importing the package may not bring along."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import skvae

PACKAGE = Path(skvae.__file__).parent
ENGINE = [
    *sorted((PACKAGE / "core").glob("*.py")),
    *sorted((PACKAGE / "likelihoods").glob("*.py")),
    *sorted((PACKAGE / "networks").glob("*.py")),
    *sorted((PACKAGE / "posteriors").glob("*.py")),
    *sorted((PACKAGE / "priors").glob("*.py")),
    *sorted((PACKAGE / "objectives").glob("*.py")),
    PACKAGE / "optimizers.py",
]
ALLOWED_IN_ENGINE = {"torch", "numpy", "scipy", "skvae", *sys.stdlib_module_names}
BELOW_ENGINE = {
    "skvae.core",
    "skvae.likelihoods",
    "skvae.networks",
    "skvae.objectives",
    "skvae.optimizers",
    "skvae.posteriors",
    "skvae.priors",
    "skvae.settings",
}


def imports(path):
    """Modules that a file imports, at any depth of its code."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            submodules = (f"{node.module}.{alias.name}" for alias in node.names)
            yield from submodules if node.module == "skvae" else [node.module]


def is_private(module):
    return module.startswith("sklearn") and any(
        part.startswith("_") for part in module.split(".")
    )


@pytest.mark.parametrize("path", ENGINE, ids=lambda path: path.stem + path.parent.stem)
def test_engine_imports_nothing_above_it(path):
    for module in imports(path):
        assert module.split(".")[0] in ALLOWED_IN_ENGINE
        if module.startswith("skvae"):
            assert any(module.startswith(allowed) for allowed in BELOW_ENGINE)


def test_private_names_of_scikit_learn_come_through_compat_only():
    for path in PACKAGE.rglob("*.py"):
        if path.name != "compat.py":
            assert not [module for module in imports(path) if is_private(module)], path
            assert "import _fit_context" not in path.read_text()


FRESH = """
import sys
import skvae
assert "torch" not in sys.modules
import numpy as np
import sklearn.base, sklearn.callback, sklearn.preprocessing, sklearn.utils.validation
already = set(sys.modules)
from skvae import VAETransformer
X = np.random.default_rng(0).standard_normal((60, 3))
VAETransformer(max_iter=2).fit(X).score(X)
heavy = {"torch._dynamo", "torch._inductor", "pandas", "polars", "matplotlib"}
found = heavy & (set(sys.modules) - already)
assert not found, found
assert not hasattr(skvae, "missing")
"""


def test_importing_and_fitting_bring_nothing_heavy_along():
    subprocess.run([sys.executable, "-W", "error", "-c", FRESH], check=True)
