"""Searches on a cluster: what they find is found here, and the table is sent once."""

import copy
import os
import pickle

import joblib
import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csc_array, csr_array, csr_matrix
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skvae import AETransformer, VAETransformer
from skvae.callbacks import LogLikelihoodMonitor

ray = pytest.importorskip(
    "ray", reason='Ray is not installed: pip install "skvae[ray]"'
)

from skvae.ray import search  # noqa: E402
from skvae.ray.search import RayTuneReport, put  # noqa: E402

pytestmark = pytest.mark.ray

X = load_breast_cancer().data[:, :6]
FRAME = load_breast_cancer(as_frame=True).data.iloc[:, :6]
LABELLED = FRAME.assign(grade=np.where(X[:, 0] > 14, "high", "low"))
QUICK = {"hidden_layer_sizes": (8,), "max_iter": 4, "random_state": 0}
KINDS = {
    "array": X,
    "in Fortran's order": np.asfortranarray(X),
    "objects": LABELLED.to_numpy(),
    "a y": X[:, 0],
    "frame": LABELLED,
    "csr_array": csr_array(X),
    "csr_matrix": csr_matrix(X),
}
each_kind = pytest.mark.parametrize("table", KINDS.values(), ids=KINDS)

needs_cluster = pytest.mark.usefixtures("ray_cluster")
same_digits = pytest.mark.usefixtures("on_numpys_road")


def dense(table):
    table = table.toarray() if hasattr(table, "toarray") else table
    return np.asarray(table)


# ---- searches of scikit-learn --------------------------------------------------------


@pytest.fixture
def on_every_node(ray_cluster):
    from ray.util.joblib import register_ray

    register_ray()
    # A CPU for each process, of which each node has one.
    with joblib.parallel_config(
        backend="ray", n_jobs=2, ray_remote_args={"num_cpus": 1}
    ):
        yield


def new_search():
    def score_and_place(estimator, rows, y=None):
        node = ray.get_runtime_context().get_node_id()
        return {"score": estimator.score(rows), "node": int(node[:8], 16)}

    return GridSearchCV(
        make_pipeline(StandardScaler(), VAETransformer(**QUICK)),
        {"vaetransformer__n_components": [1, 2, 3]},
        cv=2,
        scoring=score_and_place,
        refit="score",
    )


@same_digits
def test_a_search_finds_what_it_finds_here(on_every_node):
    there = new_search().fit(put(FRAME))
    with joblib.parallel_config("sequential"):
        here = new_search().fit(FRAME)
    assert there.best_params_ == here.best_params_
    for name in ("split0_test_score", "split1_test_score"):
        assert there.cv_results_[name].tolist() == here.cv_results_[name].tolist()
    nodes = [there.cv_results_[f"split{i}_test_node"] for i in (0, 1)]
    assert len(np.unique(nodes)) == 2


@same_digits
def test_scores_of_folds_are_those_of_here(on_every_node):
    vae = VAETransformer(2, **QUICK)
    there = cross_val_score(vae, X, cv=3)
    with joblib.parallel_config("sequential"):
        assert there.tolist() == cross_val_score(vae, X, cv=3).tolist()


# ---- put -----------------------------------------------------------------------------


@needs_cluster
@each_kind
def test_what_is_put_is_the_table_and_pickles_as_a_reference(table):
    kept = put(table)
    assert isinstance(kept, type(table))
    assert kept.shape == table.shape
    assert np.array_equal(dense(kept), dense(table))
    assert len(pickle.dumps(kept)) < 150
    again = pickle.loads(pickle.dumps(kept))
    assert type(again) is type(kept)
    assert np.array_equal(dense(again), dense(table))
    assert len(pickle.dumps(again)) < 150


@needs_cluster
def test_a_frame_that_was_changed_can_be_put_again():
    kept = put(FRAME)
    name = FRAME.columns[0]
    kept[name] = 0.0
    changed = put(kept)  # held on to, or the store lets go of it
    assert (pickle.loads(pickle.dumps(changed))[name] == 0).all()


@needs_cluster
@each_kind
def test_what_is_made_of_it_pickles_with_its_values(table):
    kept = put(table)
    made = [copy.copy(kept), copy.deepcopy(kept), kept.copy(), kept[3:5], kept + kept]
    for part in made:
        again = pickle.loads(pickle.dumps(part))
        assert type(again) is type(table)
        assert np.array_equal(dense(again), dense(part))
    assert np.array_equal(dense(made[3]), dense(table[3:5]))


@needs_cluster
def test_the_memory_is_that_of_the_store():
    many = np.tile(X, (10, 1))  # what is small does not go there
    kept = put(many)
    assert np.shares_memory(kept, pickle.loads(pickle.dumps(kept)))
    frame = put(pd.DataFrame(many))
    again = pickle.loads(pickle.dumps(frame))
    assert np.shares_memory(frame[0].to_numpy(), again[0].to_numpy())


@needs_cluster
@pytest.mark.parametrize("table", [X, KINDS["objects"]], ids=["numbers", "objects"])
def test_neither_it_nor_what_it_was_made_of_can_change_it(table):
    mine = table.copy()
    kept = put(mine)
    mine[0] = 0
    assert np.array_equal(kept, table)
    with pytest.raises(ValueError, match="read-only"):
        kept[0] = 0


@needs_cluster
@same_digits
@pytest.mark.parametrize("name", ["array", "frame", "csr_array"])
def test_a_fit_there_is_that_of_here(name):
    @ray.remote
    def fit_there(table):
        vae = VAETransformer(2, **QUICK).fit(table)
        return os.getpid(), vae.score_samples(table)

    table = KINDS[name]
    pid, scores = ray.get(fit_there.remote(put(table)))
    assert pid != os.getpid()
    here = VAETransformer(2, **QUICK).fit(table).score_samples(table)
    assert scores.tolist() == here.tolist()


def test_other_tables_are_refused():
    for table in (X.tolist(), csc_array(X), FRAME["mean area"]):
        with pytest.raises(TypeError, match=r"NumPy array.*CSR.*pandas"):
            put(table)


@needs_cluster
def test_elsewhere_the_reference_says_that_it_is_of_a_cluster(monkeypatch):
    pickled = pickle.dumps(put(X))
    unknown = put(X).copy()
    unknown._reference = ray.ObjectRef.from_random()
    monkeypatch.setattr(search, "_PATIENCE", 0.1)
    with pytest.raises(RuntimeError, match="not on the same cluster"):
        pickle.loads(pickle.dumps(unknown))
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with pytest.raises(RuntimeError, match="not on the same cluster"):
        pickle.loads(pickled)


# ---- Ray Tune ------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [None, X[400:]], ids=["held out", "given"])
@pytest.mark.parametrize(("every", "epochs"), [(1, [1, 2, 3, 4, 4]), (3, [3, 4])])
def test_tune_hears_what_the_monitor_logs(monkeypatch, rows, every, epochs):
    from ray import tune

    heard = []
    monkeypatch.setattr(tune, "report", heard.append)
    monitor = LogLikelihoodMonitor(rows, every=every)
    vae = VAETransformer(2, **QUICK)
    vae.set_callbacks(monitor, RayTuneReport(rows, every=every)).fit(X[:400])
    assert [report["epoch"] for report in heard] == epochs
    logged = {row["log_likelihood"] for row in monitor.get_logs().data}
    assert {report["log_likelihood"] for report in heard} == logged
    if rows is not None:
        assert heard[-1]["log_likelihood"] == vae.score(rows)


def test_what_cannot_be_reported_is_refused():
    with pytest.raises(ValueError, match="every"):
        RayTuneReport(every=0)
    with pytest.raises(TypeError, match="RayTuneReport scores by log p"):
        AETransformer(**QUICK).set_callbacks(RayTuneReport()).fit(X)
    vae = VAETransformer(early_stopping=False, **QUICK)
    with pytest.raises(ValueError, match=r"RayTuneReport\(X=\.\.\.\)"):
        vae.set_callbacks(RayTuneReport()).fit(X)


@needs_cluster
@same_digits
def test_a_scheduler_ends_the_fits_that_stay_behind(tmp_path):
    from ray import tune

    train, test = train_test_split(X, random_state=0)
    settings = {"n_components": 2, "max_iter": 12, "random_state": 0}
    finished = tmp_path / "finished"
    finished.mkdir()

    def trial(config, train, test):
        vae = VAETransformer(**config, **settings)
        vae.set_callbacks(RayTuneReport(test)).fit(train)
        (finished / str(config["learning_rate"])).touch()

    rates = [1e-2, 1e-5, 1e-6]
    results = tune.Tuner(
        tune.with_parameters(trial, train=train, test=test),
        param_space={"learning_rate": tune.grid_search(rates)},
        tune_config=tune.TuneConfig(
            metric="log_likelihood",
            mode="max",
            scheduler=tune.schedulers.ASHAScheduler(
                time_attr="epoch", max_t=13, grace_period=2, reduction_factor=2
            ),
            max_concurrent_trials=1,  # the good one comes first
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(storage_path=str(tmp_path), verbose=0),
    ).fit()
    assert not results.errors
    assert [result.metrics["epoch"] for result in results] == [12, 2, 2]
    assert [path.name for path in finished.iterdir()] == ["0.01"]
    best = results.get_best_result()
    assert best.config == {"learning_rate": 1e-2}
    here = VAETransformer(**best.config, **settings).fit(train).score(test)
    assert best.metrics["log_likelihood"] == here
