"""Fits to datasets: the models that `fit` gives, by workers that may be lost."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from skvae import AETransformer, VAEOutlierDetector, VAETransformer
from skvae.objectives import Aggressive

pytestmark = pytest.mark.ray


def draw(n_rows, seed):
    """Rows of all kinds of columns that hang together, with holes and a rare label."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=n_rows)
    table = pd.DataFrame(
        {
            "number": z + 0.3 * rng.normal(size=n_rows),
            "wide": 1e4 * rng.gamma(2, size=n_rows),
            "count": np.round(np.exp(z)).astype(int),
            "level": np.where(z > 0.5, "high", np.where(z > -1, "middle", "low")),
            "flag": rng.random(n_rows) < 1 / (1 + np.exp(-z)),
        }
    )
    table.loc[rng.random(n_rows) < 0.1, "number"] = np.nan
    table.loc[rng.random(n_rows) < 0.1, "level"] = None
    table.loc[n_rows // 2, "level"] = "once"
    return table


@pytest.fixture(scope="module")
def table():
    return draw(6_000, seed=0)


@pytest.fixture(scope="module")
def directory(table, tmp_path_factory):
    """The table as a directory of Parquet files, its index an identifier."""
    path = tmp_path_factory.mktemp("table")
    for i, rows in enumerate(np.array_split(np.arange(len(table)), 6)):
        part = table.iloc[rows].assign(row=rows)
        part.to_parquet(path / f"part-{i}.parquet", index=False)
    return path


@pytest.fixture
def dataset(ray_cluster, directory):
    import ray

    return ray.data.read_parquet(str(directory)).drop_columns(["row"])


@pytest.fixture
def numbers(ray_cluster, table):
    import ray

    return ray.data.from_pandas(table[["number", "wide"]].dropna())


@pytest.fixture
def options(tmp_path):
    """Keyword arguments of `fit_dataset`, by the number of workers."""
    from ray.train import RunConfig, ScalingConfig

    def options(n_workers):
        return {
            "scaling_config": ScalingConfig(num_workers=n_workers),
            "run_config": RunConfig(storage_path=str(tmp_path / "runs")),
        }

    return options


@pytest.fixture
def fit_dataset(ray_cluster):
    from skvae.ray import fit_dataset

    return fit_dataset


def test_one_worker_gives_the_model_of_fit(fit_dataset, dataset, table, options):
    estimator = VAETransformer(max_iter=15, random_state=0)
    before = estimator.get_params()
    fitted = fit_dataset(estimator, dataset, **options(0))
    local = VAETransformer(**before).fit(table)
    new = draw(4_000, seed=1)
    distance = abs(fitted.score(new) - local.score(new))
    assert distance < 0.02 * table.shape[1]
    # What the columns are is known of all rows, whatever the sample.
    for found, expected in zip(fitted.likelihood_, local.likelihood_, strict=True):
        assert (found["column"], found["family"]) == (
            expected["column"],
            expected["family"],
        )
        if isinstance(expected["levels"], list) and expected["family"] != "binned":
            assert found["levels"] == expected["levels"]
    assert fitted.n_iter_ == len(fitted.loss_curve_) == len(fitted.kl_curve_) <= 15
    assert len(fitted.validation_scores_) == len(fitted.validation_epochs_) > 0
    sample, expected = fitted.sample(50, random_state=0), local.sample(50)
    assert sample.dtypes.equals(expected.dtypes)
    assert estimator.get_params() == before and not hasattr(estimator, "n_iter_")


def test_detector_has_a_threshold_and_p_values(fit_dataset, dataset, table, options):
    detector = VAEOutlierDetector(
        novelty=True, n_estimators=2, max_iter=5, random_state=0
    )
    fitted = fit_dataset(detector, dataset, **options(0))
    assert len(fitted.calibration_scores_) == 300
    new = draw(4_000, seed=2)
    assert (fitted.predict(new) == -1).mean() == pytest.approx(0.1, abs=0.05)
    p_values = fitted.p_values(new)
    assert (p_values <= 0.1).mean() == pytest.approx(0.1, abs=0.05)


def test_divergence_names_the_column(fit_dataset, ray_cluster, options):
    import ray

    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.normal(size=(400, 3)), columns=["a", "b", "c"])
    table.loc[7, "b"] = 1e7
    wild = AETransformer(1, learning_rate=1e6, max_iter=3, random_state=0)
    with pytest.raises(ValueError, match=r"diverged .*'b'"):
        fit_dataset(wild, ray.data.from_pandas(table), **options(0))


def test_too_few_rows_for_the_workers(fit_dataset, ray_cluster, options):
    import ray

    estimator = VAETransformer(early_stopping=False)
    with pytest.raises(ValueError, match="Lower num_workers"):
        two = pd.DataFrame({"a": [0.0, 1.0], "b": [1.0, 2.0]})
        fit_dataset(estimator, ray.data.from_pandas(two), **options(3))


def test_what_cannot_be_fitted_is_refused_before_training(
    fit_dataset, numbers, ray_cluster
):
    import ray

    with pytest.raises(ValueError, match="Aggressive"):
        fit_dataset(VAETransformer(objective=Aggressive()), numbers)
    with pytest.raises(ValueError, match="names a column 'other'"):
        fit_dataset(VAETransformer(likelihood={"other": "gaussian"}), numbers)
    with pytest.raises(ValueError, match="learning_rate"):
        fit_dataset(VAETransformer(learning_rate=-1), numbers)
    dates = pd.DataFrame({"day": pd.date_range("2020-01-01", periods=20)})
    with pytest.raises(ValueError, match="'day' holds dates"):
        fit_dataset(VAETransformer(), ray.data.from_pandas(dates))
    with pytest.raises(ValueError, match="no rows"):
        fit_dataset(VAETransformer(), numbers.limit(0))


def test_rows_kept_out_are_taken_out_once_each(ray_cluster):
    from skvae.ray.worker import _among, _surplus

    rng = np.random.default_rng(0)
    rows = rng.integers(0, 3, (1_000, 3)).astype(float)
    rows[rng.random(rows.shape) < 0.1] = np.nan
    kept_out = rows[::7]
    surplus = _surplus(kept_out, 1)
    mask = np.concatenate([_among(half, surplus) for half in np.split(rows, 2)])
    assert mask.sum() == len(kept_out)

    def sorted_rows(array):
        return np.nan_to_num(array, nan=-1)[np.lexsort(array.T)]

    np.testing.assert_array_equal(sorted_rows(rows[mask]), sorted_rows(kept_out))


@pytest.mark.parametrize("n_workers", [2, 8])
def test_workers_leave_out_their_shares_of_equal_rows(ray_cluster, n_workers):
    """Rows that are there once are left out; of copies about as many as were drawn."""
    from skvae.ray.worker import _among, _surplus

    rng = np.random.default_rng(0)
    equal = rng.integers(0, 2, (6_000, 3)).astype(float)
    alone = rng.normal(size=(400, 3))
    rows = rng.permutation(np.concatenate([equal, alone]))
    is_alone = rows[:, 0] % 1 != 0
    drawn = rng.random(len(rows)) < 0.1
    parts = np.array_split(np.arange(len(rows)), n_workers)
    masks = [_among(rows[p], _surplus(rows[drawn], n_workers)) for p in parts]
    left_out = np.concatenate(masks)
    assert (left_out == drawn)[is_alone].all()
    assert drawn.sum() <= left_out.sum() <= drawn.sum() + 8 * n_workers


KILLED = """
import json
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import ray
from ray.cluster_utils import Cluster
from ray.train import RunConfig, ScalingConfig

from skvae import VAETransformer
from skvae.ray import fit_dataset

size = {"num_cpus": 1, "object_store_memory": 150 * 2**20}
cluster = Cluster(True, head_node_args={**size, "include_dashboard": False})
node = cluster.add_node(**size)
ray.init(address=cluster.address)
ray.data.DataContext.get_current().enable_progress_bars = False
storage = Path(sys.argv[1])


def kill():
    while len(list(storage.glob("*/checkpoint_*/fit.pkl"))) < 2:
        time.sleep(0.02)
    cluster.remove_node(node, allow_graceful=False)


threading.Thread(target=kill).start()
rng = np.random.default_rng(0)
noise = 0.5 * rng.normal(size=(20_000, 3))
table = pd.DataFrame(rng.normal(size=(20_000, 1)) + noise, columns=["a", "b", "c"])
estimator = VAETransformer(max_iter=40, n_iter_no_change=1_000, random_state=0)
fitted = fit_dataset(
    estimator,
    ray.data.from_pandas(table),
    scaling_config=ScalingConfig(num_workers=2),
    run_config=RunConfig(storage_path=str(storage)),
)
found = {
    "n_nodes": sum(node["Alive"] for node in ray.nodes()),
    "n_epochs": fitted.n_iter_,
    "n_looks": len(fitted.validation_scores_),
    "score": fitted.score(table.head(5_000)),
    "local": estimator.fit(table).score(table.head(5_000)),
}
Path(sys.argv[1], "found").write_text(json.dumps(found))
"""


@pytest.mark.faults
def test_node_that_dies_in_training_is_made_up_for(ray_cluster, tmp_path):
    run = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=170,
    )
    log = run.stdout + run.stderr
    path = tmp_path / "found"
    assert path.exists(), log[-3_000:]
    found = json.loads(path.read_text())
    assert found["n_nodes"] == 1 and found["n_epochs"] == 40 and found["n_looks"] > 0
    assert found["score"] == pytest.approx(found["local"], abs=0.02 * 3)
    assert "It goes on after epoch" in log
