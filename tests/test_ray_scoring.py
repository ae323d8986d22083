"""Scoring datasets: what one machine computes, whichever machines are lost."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skvae import AETransformer, VAEImputer, VAEOutlierDetector, VAETransformer

NO_RAY = 'Ray is not installed: pip install "skvae[ray]"'
pa = pytest.importorskip("pyarrow", reason=NO_RAY)
scoring = pytest.importorskip("skvae.ray.scoring", reason=NO_RAY, exc_type=ImportError)

pytestmark = pytest.mark.ray

#: Ray reads small files together, and their footers by 32 processes, unless told so.
FILES_APART = {
    "RAY_DATA_PARQUET_BIN_PACKING_BYTES": "1",
    "RAY_DATA_PARQUET_FOOTER_NUM_ACTORS": "1",
}
#: What is no feature: identifiers, one of them beyond what a float holds.
CARRIED = ["row", "account", "day"]


class Here:
    """What a dataset does with an actor, done in this process."""

    def __init__(self, table):
        self._table = pa.Table.from_pandas(table, preserve_index=False)

    def columns(self):
        return self._table.column_names

    def select_columns(self, names):
        self._table = self._table.select(names)
        return self

    def map_batches(self, actor, *, fn_constructor_args, batch_size, **options):
        self.options = options
        actor = actor(*fn_constructor_args)
        starts = range(0, len(self._table), batch_size)
        blocks = [self._table.slice(start, batch_size) for start in starts]
        if options["batch_format"] == "numpy":
            blocks = [block.to_pydict() for block in blocks]
        return pa.concat_tables(actor(block) for block in blocks).to_pandas()


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """Parquet files of columns of all kinds; holes are in the first of them alone."""
    rng = np.random.default_rng(0)
    n = 600
    z = rng.normal(size=n)
    table = pd.DataFrame(
        {
            "number": z + rng.normal(size=n),
            "single": rng.normal(size=n).astype(np.float32),
            "count": pd.array(rng.poisson(3, size=n), dtype="Int64"),
            "flag": z > 0,
            "answer": pd.Series(z > rng.normal(size=n), dtype=object),
            "text": rng.choice(["red", "green", "blue"], size=n),
            "grade": pd.Categorical(
                rng.choice(["low", "mid", "high"], size=n),
                ["low", "mid", "high"],
                ordered=True,
            ),
            "row": np.arange(n),
            "account": pd.array(2**60 + np.arange(n), dtype="Int64"),
            "day": pd.date_range("2020-01-01", periods=n, tz="UTC"),
        }
    )
    for name in table.columns.difference(["flag", "row"]):
        table.loc[np.flatnonzero(rng.random(200) < 0.2), name] = None
    path = tmp_path_factory.mktemp("mixed")
    for i in range(3):
        table[200 * i : 200 * (i + 1)].to_parquet(path / f"{i}.parquet")
    return path


@pytest.fixture(scope="module")
def table(directory):
    return pd.read_parquet(directory).sort_values("row", ignore_index=True)


@pytest.fixture(scope="module")
def X(table):
    return table.drop(columns=CARRIED)


@pytest.fixture(scope="module")
def vae(X):
    return VAETransformer(2, max_iter=3, random_state=0).fit(X)


@pytest.fixture(scope="module")
def detector(X):
    return VAEOutlierDetector(
        novelty=True, calibration_fraction=0.3, max_iter=3, random_state=0
    ).fit(X)


@pytest.fixture(scope="module")
def numbers(X):
    return X[["number", "single"]].assign(more=X["count"].astype(float))


@pytest.fixture
def dataset(ray_cluster, directory, monkeypatch):
    import ray.data

    for name, value in FILES_APART.items():
        monkeypatch.setenv(name, value)
    return ray.data.read_parquet(str(directory))


def together(dataset):
    """The blocks of a dataset, in the order of rows that they had."""
    blocks = dataset.iter_batches(batch_size=None, batch_format="pyarrow")
    return pa.concat_tables(blocks).sort_by("row")


# ---- on a cluster --------------------------------------------------------------------


def test_mixed_tables_score_as_on_one_machine(dataset, directory, X, vae):
    scores = scoring.score_dataset(
        vae, dataset, passthrough=["account", "row"], batch_size=150, concurrency=1
    )
    found = together(scores)
    assert found.column_names == ["account", "row", "score_samples"]
    expected = vae.score_samples(X)
    np.testing.assert_allclose(found["score_samples"], expected, rtol=0, atol=1e-9)
    carried = pa.parquet.read_table(directory, columns=["account", "row"])
    assert found.select(["account", "row"]).equals(carried.sort_by("row"))


def test_arrays_score_by_the_order_of_columns(ray_cluster, numbers):
    import ray.data

    detector = VAEOutlierDetector(max_iter=3, random_state=0).fit(numbers.to_numpy())
    rows = numbers.assign(row=np.arange(len(numbers)))
    dataset = ray.data.from_pandas([rows[:250], rows[250:]])
    found = together(scoring.score_dataset(detector, dataset, passthrough=["row"]))
    assert found.column_names == ["row", "score_samples"]
    expected = detector.score_samples(numbers.to_numpy())
    np.testing.assert_allclose(found["score_samples"], expected, rtol=0, atol=1e-9)


def test_new_rows_are_those_of_one_call_a_block(ray_cluster, X, vae):
    dataset = scoring.sample_dataset(
        vae, 250, random_state=3, batch_size=100, concurrency=1
    )
    blocks = [
        vae.sample(n, random_state=np.random.SeedSequence([3, i]).generate_state(1)[0])
        for i, n in enumerate([100, 100, 50])
    ]
    expected = pa.Table.from_pandas(pd.concat(blocks), preserve_index=False)
    schema = dataset.schema()
    assert dict(zip(schema.names, schema.types, strict=True)) == dict(
        zip(expected.column_names, expected.schema.types, strict=True)
    )
    found = pa.concat_tables(
        dataset.iter_batches(batch_size=None, batch_format="pyarrow")
    )
    assert found.sort_by("number").equals(expected.sort_by("number"))


def test_errors_of_rows_tell_what_the_estimator_says(ray_cluster, table, vae):
    import ray.data

    dataset = ray.data.from_pandas(table.assign(text="violet"))
    scores = scoring.score_dataset(vae, dataset, concurrency=1)
    with pytest.raises(ray.exceptions.UserCodeException) as caught:
        scores.take_all()
    assert "ValueError: Column 'text' holds 'violet'" in str(caught.value)


LOSE_A_NODE = """
import numpy as np
import pandas as pd
import ray
from ray.cluster_utils import Cluster

from skvae import VAETransformer
from skvae.ray.scoring import score_dataset


def rows(batch):
    waves = {str(k): np.sin(k * batch["id"]) for k in range(1, 4)}
    return {"row": batch["id"], **waves}


size = {"num_cpus": 1, "object_store_memory": 200 * 2**20}
# A node is found dead within seconds, and not after a quarter of a minute.
impatient = {"health_check_period_ms": 500, "health_check_failure_threshold": 3}
cluster = Cluster(
    initialize_head=True,
    head_node_args={**size, "include_dashboard": False, "_system_config": impatient},
)
node = cluster.add_node(**size)
ray.init(address=cluster.address, log_to_driver=False)
X = pd.DataFrame(rows({"id": np.arange(2_000)})).drop(columns="row")
# So many draws that a block takes a while.
vae = VAETransformer(2, max_iter=1, n_importance_samples=3_000).fit(X)
dataset = ray.data.range(2_000, override_num_blocks=40).map_batches(rows)
scores = score_dataset(vae, dataset, batch_size=50, concurrency=2)
blocks = []
for block in scores.iter_batches(batch_size=None, batch_format="pandas"):
    blocks.append(block)
    if len(blocks) == 5:
        cluster.remove_node(node, allow_graceful=False)
found = pd.concat(blocks).sort_values("row")
assert len(blocks) > 30, len(blocks)
assert found["row"].tolist() == list(range(2_000))
error = np.abs(found["score_samples"].to_numpy(float) - vae.score_samples(X)).max()
assert error < 1e-9, error
ray.shutdown()
cluster.shutdown()
"""


def test_rows_of_a_lost_node_are_scored_once():
    # One of two CPUs goes: if the actors held the other one, nothing would be read.
    done = subprocess.run(
        [sys.executable, "-c", LOSE_A_NODE], capture_output=True, text=True, timeout=150
    )
    assert done.returncode == 0, done.stderr[-3000:]


# ---- what the actors do, without a cluster -------------------------------------------


@pytest.mark.parametrize(
    "method", ["score_samples", "decision_function", "predict", "score_features"]
)
def test_every_method_answers_as_on_one_machine(table, X, detector, method):
    found = scoring.score_dataset(
        detector, Here(table), method=method, passthrough=[], concurrency=1
    )
    columns = [*X.columns, "rest"] if method == "score_features" else [method]
    assert list(found.columns) == columns
    expected = getattr(detector, method)(X).reshape(len(X), -1)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


def test_pipelines_and_autoencoders_score_too(table, numbers):
    options = {"method": "score_samples", "passthrough": ["row"], "concurrency": 1}
    rows = Here(numbers.fillna(0).assign(row=table["row"]))
    vae = VAETransformer(2, max_iter=3, random_state=0)
    pipeline = make_pipeline(StandardScaler(), vae).fit(numbers.fillna(0))
    found = scoring.score_dataset(pipeline, rows, **options)
    expected = pipeline.score_samples(numbers.fillna(0))
    np.testing.assert_allclose(found["score_samples"], expected, atol=1e-9)
    options["method"] = "reconstruction_error"
    ae = AETransformer(2, max_iter=3, random_state=0).fit(numbers.fillna(0))
    found = scoring.score_dataset(ae, rows, **options)
    expected = ae.reconstruction_error(numbers.fillna(0))
    np.testing.assert_allclose(found["reconstruction_error"], expected, atol=1e-9)


def test_holes_of_tables_are_filled(table, X):
    imputer = VAEImputer(n_components=2, max_iter=3, random_state=0).fit(X)
    found = scoring.transform_dataset(imputer, Here(table), concurrency=1)
    assert list(found.columns) == [*CARRIED, *X.columns]
    assert not found[X.columns].isna().any(axis=None)
    for name in ("text", "grade"):
        assert found[name].dtype == X[name].dtype
        assert found[name].tolist() == imputer.transform(X)[name].tolist()


def test_blocks_follow_the_container_that_was_set(table, numbers):
    vae = VAETransformer(2, max_iter=3, random_state=0).fit(numbers)
    expected = vae.transform(numbers)
    for container in ("pandas", "polars"):
        vae.set_output(transform=container)
        found = scoring.transform_dataset(
            vae, Here(table.assign(more=numbers["more"])), passthrough=[], concurrency=1
        )
        np.testing.assert_allclose(found, expected, atol=1e-9)
        assert list(found.columns) == ["vaetransformer0", "vaetransformer1"]


def test_rows_of_arrays_are_named_by_number(numbers, monkeypatch):
    monkeypatch.setattr(
        "ray.data.range", lambda n: Here(pd.DataFrame({"id": np.arange(n)}))
    )
    vae = VAETransformer(2, max_iter=3, random_state=0).fit(numbers.to_numpy("f4"))
    found = scoring.sample_dataset(vae, 25, batch_size=10, concurrency=1)
    assert list(found.columns) == ["x0", "x1", "x2"]
    assert (found.dtypes == np.float32).all() and len(found.drop_duplicates()) == 25


@pytest.mark.parametrize(
    ("concurrency", "sizes"), [(3, (3, 3)), ((2, 4), (2, 4)), (None, (1, 2))]
)
def test_pools_are_as_large_as_is_asked(ray_cluster, table, vae, concurrency, sizes):
    rows = Here(table)
    scoring.score_dataset(vae, rows, concurrency=concurrency)
    pool = rows.options["compute"]
    assert (pool.min_size, pool.max_size) == sizes


@pytest.mark.parametrize(
    ("change", "options", "words"),
    [
        (lambda t: t.drop(columns="flag"), {}, r"does not have: \['flag'\]"),
        (lambda t: t[:0].iloc[:, :0], {}, r"It has \[\]"),
        (lambda t: t, {"passthrough": ["nothing"]}, r"have: \['nothing'\]"),
        (lambda t: t.assign(score_samples=0), {}, r"columns \['score_samples'\] of"),
        (lambda t: t.assign(code=0), {"method": "score_features"}, r"\['code'\]"),
        (lambda t: t, {"method": "p_values"}, r"'score_samples', 'score_features'\]"),
        (lambda t: t, {"concurrency": 0}, "size must be >= 1"),
    ],
)
def test_what_cannot_be_scored_is_refused_at_once(table, vae, change, options, words):
    with pytest.raises(ValueError, match=words):
        scoring.score_dataset(vae, Here(change(table)), **{"concurrency": 1, **options})


def test_estimators_that_cannot_answer_are_refused_at_once(table, X, vae, numbers):
    rows = Here(table)
    for answer in (scoring.score_dataset, scoring.transform_dataset):
        with pytest.raises(NotFittedError):
            answer(VAETransformer(), rows)
    with pytest.raises(NotFittedError):
        scoring.sample_dataset(VAETransformer(), 5)
    unnamed = VAETransformer(max_iter=1).fit(numbers.to_numpy())
    with pytest.raises(
        ValueError, match="on 3 columns without names, and there are 10"
    ):
        scoring.score_dataset(unnamed, rows)
    detector = VAEOutlierDetector(max_iter=1).fit(X)
    with pytest.raises(ValueError, match="kept out of training"):
        scoring.score_dataset(detector, rows, method="p_values")
    with pytest.raises(AttributeError, match="transform"):
        scoring.transform_dataset(detector, rows)
    with pytest.raises(AttributeError, match="sample"):
        scoring.sample_dataset(detector, 5)
    imputer = VAEImputer(2, sample_posterior=True, max_iter=1).fit(X)
    with pytest.raises(ValueError, match="n_imputations=2 gives several tables"):
        scoring.transform_dataset(imputer, rows)
    for options in ({"n_samples": 0}, {"batch_size": 0}, {"random_state": -1}):
        with pytest.raises(ValueError, match="must be >= "):
            scoring.sample_dataset(vae, **{"n_samples": 5, **options})
