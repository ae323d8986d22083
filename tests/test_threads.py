"""The number of threads: one inside a call, and the caller's own again after it."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial, partialmethod

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits, load_iris
from threadpoolctl import threadpool_info, threadpool_limits

from skvae import VAETransformer, compression, diagnostics, inference_gap, refine
from skvae.core.model import Model
from skvae.networks import MLP, ConvNet
from skvae.objectives import ELBO
from skvae.threads import limited

X = load_iris().data
N_THREADS = 2


def of_blas():
    """Of every BLAS that is loaded."""
    return {
        pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"
    }


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(N_THREADS)
    with threadpool_limits(N_THREADS, user_api="blas"):
        yield
    torch.set_num_threads(before)


class Watched(ELBO):
    """Notes the threads that a step has; covered by no gradient written by hand."""

    seen = set()

    def __call__(self, terms, beta):
        self.seen.add((torch.get_num_threads(), *of_blas()))
        return super().__call__(terms, beta)


def fit(network=None, data=X):
    model = VAETransformer(
        2, network=network, objective=Watched(), max_iter=1, early_stopping=False
    )
    return model.fit(data)


def assert_restored():
    assert torch.get_num_threads() == N_THREADS
    assert of_blas() == {N_THREADS}


def test_a_fit_has_one_thread_and_restores_the_number(two_threads):
    Watched.seen = set()
    fit()
    assert Watched.seen == {(1, 1)}
    assert_restored()


def test_convolutions_keep_the_threads_of_torch(two_threads):
    Watched.seen = set()
    fit(ConvNet((1, 8, 8), channels=(2,)), load_digits().data[:50])
    assert Watched.seen == {(N_THREADS, 1)}
    assert_restored()


def test_restored_after_a_failure(two_threads):
    with pytest.raises(ValueError, match="infinity"):
        VAETransformer(2).fit(np.full_like(X, np.inf))
    assert_restored()


@pytest.mark.parametrize(
    "method", ["transform", "score_samples", "score_features", "sample"]
)
def test_restored_after_an_answer(two_threads, method):
    model = fit()
    getattr(model, method)(*[X] if method != "sample" else [3])
    assert_restored()


@pytest.mark.parametrize("look", [compression, diagnostics, inference_gap, refine])
def test_looks_into_a_model_have_one_thread(two_threads, monkeypatch, look):
    model, seen = fit(), set()

    def watched(method, *arguments):
        seen.add((torch.get_num_threads(), *of_blas()))
        return method(*arguments)

    for name in ("encode", "decode"):
        method = partialmethod(partial(watched, getattr(Model, name)))
        monkeypatch.setattr(Model, name, method)
    steps = {"n_steps": 2} if look in (inference_gap, refine) else {}
    look(model, X, **steps)
    assert seen == {(1, 1)}
    assert_restored()


def test_calls_within_calls_and_beside_them(two_threads):
    def call(_):
        torch.set_num_threads(N_THREADS)
        with limited(MLP()), limited(MLP()):
            with limited(None):
                pass
            inside = torch.get_num_threads(), *of_blas()
        return inside, torch.get_num_threads()

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(call, range(200)))
    assert set(found) == {((1, 1), N_THREADS)}
    assert_restored()
