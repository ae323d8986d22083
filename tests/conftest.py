"""The roads that gradients may take: the whole suite runs on each.

``pytest`` takes NumPy's, which is the one on a CPU. ``pytest --road torch`` runs the
passes that are written by hand in torch, as on other devices, and ``--road autograd``
leaves every gradient to autograd.
"""

import pytest

from skvae.core import backward, optimizer, passes


def pytest_addoption(parser):
    parser.addoption("--road", choices=("numpy", "torch", "autograd"), default="numpy")


@pytest.fixture(scope="session", autouse=True)
def road(request):
    chosen = request.config.getoption("--road")
    with pytest.MonkeyPatch.context() as patch:
        if chosen == "torch":
            for module in (backward, optimizer, passes):
                patch.setattr(module, "as_array", lambda tensor: tensor)
        if chosen == "autograd":
            patch.setattr(backward, "covers", lambda model, objective: False)
        yield chosen


@pytest.fixture
def on_numpys_road(road):
    if road != "numpy":
        pytest.skip("the other process takes NumPy's road: last digits differ")
