"""The roads that gradients may take: the whole suite runs on each.

``pytest`` takes NumPy's, which is the one on a CPU. ``pytest --road torch`` runs the
passes that are written by hand in torch, as on other devices, and ``--road autograd``
leaves every gradient to autograd.
"""

import os
import warnings

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


@pytest.fixture(scope="session")
def ray_cluster():
    """Two nodes with one CPU each: as small as any cluster on which all must run."""
    ray = pytest.importorskip(
        "ray", reason='Ray is not installed: pip install "skvae[ray]"'
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray's own, of its sockets and processes
        from ray.cluster_utils import Cluster

        # Otherwise 32 processes read what the files of a directory hold.
        os.environ["RAY_DATA_PARQUET_FOOTER_NUM_ACTORS"] = "1"
        os.environ["RAY_TRAIN_HEALTH_CHECK_INTERVAL_S"] = "0.2"
        os.environ["RAY_TRAIN_ENABLE_PREEMPTION_WATCHER"] = "0"
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        size = {"num_cpus": 1, "object_store_memory": 200 * 2**20}
        cluster = Cluster(
            initialize_head=True, head_node_args={**size, "include_dashboard": False}
        )
        cluster.add_node(**size)
        ray.init(address=cluster.address, log_to_driver=False)
        ray.data.DataContext.get_current().enable_progress_bars = False
    yield cluster
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ray.shutdown()
        cluster.shutdown()
