"""Fits and scores in other processes: searches, pools of workers, forks."""

import subprocess
import sys

import joblib
import numpy as np
import pytest
from joblib.externals.loky import get_reusable_executor
from sklearn.datasets import load_wine
from sklearn.model_selection import GridSearchCV

from skvae import VAETransformer

WINE = load_wine().data

# ---- searches ------------------------------------------------------------------------

GRID = {"n_components": [1, 2], "beta": [0.5, 1.0]}


def searched(backend, n_jobs):
    model = VAETransformer(max_iter=2, n_importance_samples=8, random_state=0)
    with joblib.parallel_config(backend, n_jobs=n_jobs):
        return GridSearchCV(model, GRID, cv=2).fit(WINE)


# Of Python, and of older versions of polars: there are threads in this process.
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.filterwarnings(r"ignore:Using fork\(\) can cause Polars:RuntimeWarning")
@pytest.mark.parametrize("backend", ["threading", "multiprocessing", "loky"])
def test_a_search_finds_the_same_on_every_backend(capfd, on_numpys_road, backend):
    expected = searched("sequential", 1)
    found = searched(backend, 2)
    get_reusable_executor().shutdown()
    assert found.best_params_ == expected.best_params_
    for name in ("split0_test_score", "split1_test_score"):
        np.testing.assert_array_equal(
            found.cv_results_[name], expected.cv_results_[name]
        )
    assert capfd.readouterr() == ("", "")


# ---- other processes -----------------------------------------------------------------

#: Run by itself, so that a process that hangs takes nothing else along.
IN_PROCESSES = """
import multiprocessing, os, signal, sys, threading, time
import numpy as np
import torch
from sklearn.datasets import load_digits
from threadpoolctl import threadpool_info, threadpool_limits
from skvae import VAEOutlierDetector, VAETransformer
from skvae.networks import ConvNet

X = load_digits().data[:200]
few = {"max_iter": 1, "random_state": 0, "early_stopping": False}
models = [
    VAETransformer(2, **few),
    VAEOutlierDetector(n_components=2, n_estimators=2, **few),
    VAETransformer(2, network=ConvNet((1, 8, 8), channels=(8,)), **few),
]
torch.set_num_threads(2)
threadpool_limits(2, user_api="blas")
scores = [model.fit(X).score_samples(X) for model in models]
torch.ones(500, 500) @ torch.ones(500, 500)  # the host has used torch's threads too


def check():
    for model, expected in zip(models, scores):
        assert np.array_equal(model.score_samples(X), expected)
        # Two threads add up the gradients of convolutions in another order than one.
        again = model.fit(X).score_samples(X)
        np.testing.assert_allclose(again, expected, rtol=1e-5)


def pools():
    blas = {p["num_threads"] for p in threadpool_info() if p["user_api"] == "blas"}
    return blas, torch.get_num_threads()


def ends_well(function):
    child = os.fork()
    if not child:
        try:
            function()
            os._exit(0)
        except BaseException as error:
            print(repr(error), flush=True)
            os._exit(1)
    began = time.monotonic()
    while time.monotonic() < began + 60:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status == 0
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def fork():
    assert ends_well(check)


def fork_among_threads():
    stop = threading.Event()

    def score():
        while not stop.is_set():
            models[0].score_samples(X)

    def check_pools():
        assert np.array_equal(models[0].score_samples(X), scores[0])
        assert pools() == ({2}, 2), pools()

    threads = [threading.Thread(target=score) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        assert all(ends_well(check_pools) for _ in range(5))
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert pools() == ({2}, 2)


class Forks:
    def setup(self, estimator, context):
        pass

    def teardown(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context, *, fitted_estimator):
        assert ends_well(check_alone)


def check_alone():
    for model in models:
        model.set_callbacks()
    check()


def fork_within(model):
    model.set_callbacks(Forks()).fit(X)
    model.set_callbacks()
    assert pools() == ({2}, 2), pools()


def pool(method):
    with multiprocessing.get_context(method).Pool(1) as pool:
        for model, expected in zip(models, scores):
            scored = pool.apply_async(model.score_samples, (X,))
            refit = pool.apply_async(model.fit, (X,))
            assert np.array_equal(scored.get(60), expected)
            again = refit.get(60).score_samples(X)
            np.testing.assert_allclose(again, expected, rtol=1e-5)


if sys.argv[1] == "fork":
    fork()
    fork_among_threads()
    fork_within(models[0])
    fork_within(models[2])
pool(sys.argv[1])
"""


@pytest.mark.parametrize("how", ["fork", "spawn"])
def test_other_processes_fit_and_score_alike(how):
    if how == "fork" and sys.platform in ("darwin", "win32"):
        pytest.skip("Processes are not forked here, or not safely.")
    # Python's own warning, of any process that has threads when it is forked.
    own = "ignore:This process:DeprecationWarning"
    command = [sys.executable, "-W", "error", "-W", own, "-c", IN_PROCESSES, how]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=240, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
