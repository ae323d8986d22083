"""What is built from a fitted state: kept between calls, and never out of date."""

import copy
import gc
import pickle
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError

from skvae import VAEImputer, VAETransformer, base, refine
from skvae.kept import kept
from skvae.networks import MLP

X = load_iris().data
LABELS = np.array(["red", "green", "blue"])[np.arange(150) % 3]
#: Numbers and labels, with holes.
MIXED = np.column_stack([X[:, :3], LABELS]).astype(object)
MIXED[::7, 1] = None
SETTINGS = {
    "numbers": ({}, X),
    "deep": ({"network": MLP((6, 4), "relu")}, X),
    "mixed": ({}, MIXED),
    "vamp": ({"prior": "vamp"}, X),
}
N_THREADS = 8


def fitted(data=X, estimator=VAETransformer, **parameters):
    settings = {"max_iter": 2, "random_state": 0, "n_importance_samples": 8}
    return estimator(n_components=2, **settings, **parameters).fit(data)


def answers(model, data=X):
    return model.transform(data), model.score_samples(data)


def answers_anew(model, data=X):
    """By an estimator that nothing was kept for."""
    return answers(pickle.loads(pickle.dumps(model)), data)


def assert_equal(ours, theirs):
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one, other)


def built(model):
    return model._fitted_model(np.float64)


# ---- kept ----------------------------------------------------------------------------


class Stub:
    """As much of an estimator as is read."""

    def __init__(self):
        self._state = {}


def test_built_once_for_each_state_and_key():
    stub, other, calls = Stub(), Stub(), []

    def build(state):
        calls.append(state)
        return object()

    first = kept(stub, "a", build)
    assert kept(stub, "a", build) is first
    assert kept(stub, "b", build) is not first
    assert kept(other, "a", build) is not first
    assert kept(stub, "a", build) is first
    assert [id(state) for state in calls] == [
        id(owner._state) for owner in (stub, stub, other)
    ]
    stub._state = dict(stub._state)  # an equal one, but another
    assert kept(stub, "a", build) is not first
    assert vars(stub).keys() == {"_state"}


def test_what_fails_is_not_kept():
    stub = Stub()

    def fail(state):
        raise RuntimeError

    with pytest.raises(RuntimeError):
        kept(stub, "a", fail)
    assert kept(stub, "a", lambda state: 1) == 1


def test_precisions_are_kept_apart():
    model = fitted()
    wide, narrow = built(model), model._fitted_model(np.float32)
    assert built(model) is wide
    assert model._fitted_model(np.float32) is narrow
    assert wide.dtype == np.float64
    assert narrow.dtype == np.float32
    assert model._table() is model._table()


# ---- never out of date ---------------------------------------------------------------

OTHER = X[::-1] * np.array([2.0, -1.0, 0.5, 3.0])


def refit(model):
    model.fit(OTHER)


def fit_warm(model):
    model.set_params(warm_start=True).fit(X)


def go_on(model):
    model.partial_fit(X)


def unpickle_into(model):
    model.__setstate__(fitted(OTHER).__getstate__())


@pytest.mark.parametrize("change", [refit, fit_warm, go_on, unpickle_into])
def test_another_state_has_other_answers(change):
    model = fitted()
    before, model_before = answers(model), built(model)
    change(model)
    after = answers(model)
    assert built(model) is not model_before
    for one, other in zip(before, after, strict=True):
        assert not np.array_equal(one, other)
    assert_equal(after, answers_anew(model))


@pytest.mark.parametrize("copied", [copy.deepcopy, copy.copy])
def test_copies_go_their_own_way(copied):
    model = fitted()
    before = answers(model)
    other = copied(model)
    assert_equal(answers(other), before)
    assert built(other) is not built(model)
    other.fit(OTHER)
    assert_equal(answers(model), before)
    assert_equal(answers(other), answers_anew(other))


def test_a_clone_has_nothing_to_answer_from():
    model = fitted()
    answers(model)
    with pytest.raises(NotFittedError):
        clone(model).transform(X)


def test_another_device_is_another_model(monkeypatch):
    model = fitted()
    monkeypatch.setattr(
        base, "FittedModel", lambda state, dtype, device: SimpleNamespace(device=device)
    )
    for device in ("cuda", "cuda:1", None, "cuda"):
        assert built(model.set_params(device=device)).device == device


def test_a_fit_that_fails_leaves_the_old_answers(monkeypatch):
    model = fitted()
    before = answers(model)

    def fail(estimator, *arguments, **settings):
        assert not np.array_equal(estimator.transform(X), before[0])
        raise KeyboardInterrupt

    monkeypatch.setattr(base, "warn_of_collapse", fail)
    with pytest.raises(KeyboardInterrupt):
        model.fit(OTHER)
    assert_equal(answers(model), before)
    assert_equal(answers(model), answers_anew(model))
    with pytest.raises(ValueError, match="infinity"):
        model.fit(np.full_like(X, np.inf))
    assert_equal(answers(model), before)


# ---- nothing is left behind ----------------------------------------------------------


@pytest.mark.parametrize(("parameters", "data"), SETTINGS.values(), ids=SETTINGS)
def test_answers_leave_the_estimator_as_it_was(parameters, data):
    model = fitted(data, **parameters)
    attributes, pickled = dict(vars(model)), pickle.dumps(model)
    first = answers(model, data)
    assert vars(model).keys() == attributes.keys()
    assert all(vars(model)[name] is value for name, value in attributes.items())
    assert pickle.dumps(model) == pickled
    assert_equal(answers(model, data), first)


def reference_to(model):
    """Weak, to what this thread keeps for an estimator."""
    return weakref.ref(built(model))


def test_freed_with_the_estimator():
    model = fitted()
    answers(model)
    with ThreadPoolExecutor(1) as pool:
        of_thread = pool.submit(reference_to, model).result()
        gone = weakref.ref(model), reference_to(model), of_thread
        assert all(reference() is not None for reference in gone)
        del model
        gc.collect()
        assert all(reference() is None for reference in gone)


def test_freed_with_the_thread():
    model = fitted()
    here, there = reference_to(model), []
    thread = threading.Thread(target=lambda: there.append(reference_to(model)))
    thread.start()
    thread.join()
    gc.collect()
    assert there[0]() is None
    assert here() is built(model)


def test_freed_once_another_state_has_answered():
    model = fitted()
    first = reference_to(model)
    model.fit(OTHER)
    answers(model)
    gc.collect()
    assert first() is None


# ---- threads and modes ---------------------------------------------------------------


def test_each_thread_has_its_own():
    model = fitted()
    here = built(model)
    with ThreadPoolExecutor(1) as pool:
        there = pool.submit(built, model).result()
        assert there is not here
        assert pool.submit(built, model).result() is there
    assert built(model) is here


@pytest.mark.parametrize(("parameters", "data"), SETTINGS.values(), ids=SETTINGS)
def test_threads_at_once_answer_as_one(parameters, data):
    model = fitted(data, **parameters)
    parts = [data[start : start + 40 + start] for start in range(N_THREADS)]
    expected = [answers(model, part) for part in parts]
    together = threading.Barrier(N_THREADS)

    def answer(part):
        together.wait()
        return [answers(model, part) for _ in range(5)]

    with ThreadPoolExecutor(N_THREADS) as pool:
        for found, right in zip(pool.map(answer, parts), expected, strict=True):
            for one in found:
                assert_equal(one, right)


@pytest.mark.parametrize(("parameters", "data"), SETTINGS.values(), ids=SETTINGS)
def test_first_called_in_inference_mode(parameters, data):
    model = fitted(data, **parameters)
    expected = answers_anew(model, data)
    with torch.inference_mode():
        assert_equal(answers(model, data), expected)
    assert refine(model, data[:5], n_steps=2, n_draws=4).shape == (5, 2)
    assert_equal(answers(model, data), expected)
    with torch.inference_mode():
        assert_equal(answers(model, data), expected)


def test_an_imputer_answers_from_its_last_fit():
    model = fitted(with_holes(X), VAEImputer)
    holes = with_holes(X)
    first, before = model.transform(holes), built(model)
    np.testing.assert_array_equal(model.transform(holes), first)
    assert built(model) is before
    model.fit(OTHER)
    anew = pickle.loads(pickle.dumps(model)).transform(holes)
    np.testing.assert_array_equal(model.transform(holes), anew)
    assert not np.array_equal(first, anew)


def with_holes(X):
    return np.where(np.arange(X.size).reshape(X.shape) % 7 == 0, np.nan, X)
