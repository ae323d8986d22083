"""One fitted model in many threads, which may fit it, too."""

import copy
import pickle
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import cycle, product

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_wine

from skvae import (
    AETransformer,
    VAEImputer,
    VAEOutlierDetector,
    VAETransformer,
    compression,
    diagnostics,
    inference_gap,
    refine,
)
from skvae.callbacks import LogLikelihoodMonitor
from skvae.core import passes
from skvae.core.draws import shared_uniforms

WINE = load_wine().data
N_ROWS = len(WINE)
HOLES = np.where(np.random.default_rng(0).random(WINE.shape) < 0.1, np.nan, WINE)

#: The promise is kept for 1,000 calls a thread; so many are made in each run.
N_THREADS, N_CALLS = 8, 25
#: Rows that a call is about.
N_ROWS_ASKED = (1, 2, 7, 33, 100)


def frame(levels=("red", "green", "blue")):
    """Numbers, labels, counts and truth values, with holes."""
    rows = np.arange(N_ROWS)
    table = pd.DataFrame(HOLES[:, :3], columns=["a", "b", "c"])
    labels = np.array(["red", "green", "blue"])[rows % 3]
    table["label"] = pd.Categorical(labels, categories=levels)
    table.loc[::11, "label"] = None
    table["count"] = np.random.default_rng(1).poisson(3, N_ROWS)
    table["flag"] = rows % 2 == 0
    return table


MIXED = frame()


class Slow(torch.distributions.Laplace):
    """Drawn from by torch's global generator, in two steps."""

    def sample(self, shape):
        first = super().sample(shape)
        time.sleep(1e-3)
        return first + super().sample(shape)


SETTINGS = {"max_iter": 1, "random_state": 0}
TRANSFORMER = partial(VAETransformer, 2, n_importance_samples=8, **SETTINGS)
DETECTOR = partial(VAEOutlierDetector, n_components=2, n_estimators=2, **SETTINGS)
IMPUTER = partial(VAEImputer, n_components=2, n_importance_samples=8, **SETTINGS)
AUTOENCODER = partial(AETransformer, 2, **SETTINGS)

OF_TRANSFORMER = "transform", "score_samples", "score_features", "inverse", "sample"
OF_DETECTOR = "score_samples", "decision_function", "predict"
OF_AUTOENCODER = "transform", "reconstruction_error", "inverse"
MODELS = {
    "numbers": (TRANSFORMER, WINE, OF_TRANSFORMER),
    "mixed": (TRANSFORMER, MIXED, OF_TRANSFORMER),
    "given_prior": (partial(TRANSFORMER, prior=Slow(0.0, 1.0)), WINE, ("sample",)),
    "detector": (DETECTOR, HOLES[:, :4], (*OF_DETECTOR, "score_features")),
    "mixed_detector": (DETECTOR, MIXED, OF_DETECTOR),
    "imputer": (IMPUTER, HOLES, ("transform",)),
    "mixed_draws": (partial(IMPUTER, sample_posterior=True), MIXED, ("transform",)),
    "autoencoder": (AUTOENCODER, HOLES, OF_AUTOENCODER),
}


def answer(model, method, rows):
    """What a method says of some rows, as numbers."""
    if method == "sample":
        found = model.sample(len(rows), random_state=len(rows))
    elif method == "inverse":
        found = model.inverse_transform(np.ones((len(rows), 2), rows_dtype(rows)))
    else:
        found = getattr(model, method)(rows)
    return as_numbers(found)


def rows_dtype(rows):
    return np.float32 if getattr(rows, "dtype", None) == np.float32 else np.float64


def as_numbers(found):
    if not hasattr(found, "columns"):
        return np.asarray(found)
    columns = [
        found[name].cat.codes if found[name].dtype == "category" else found[name]
        for name in found
    ]
    return np.column_stack([column.to_numpy(np.float64) for column in columns])


def requests(data, methods):
    """Of every method, of few rows and many, in float64 and in float32."""
    kinds = [data]
    if isinstance(data, np.ndarray):
        kinds.append(data.astype(np.float32))
    return [
        (method, kind[start : start + n_rows])
        for start, (method, kind, n_rows) in enumerate(
            product(methods, kinds, N_ROWS_ASKED)
        )
    ]


def answers_from_threads(model, data, methods, n_threads=N_THREADS, n_calls=N_CALLS):
    """Largest difference between what threads are answered and what one thread is.

    The threads come to a model that has not answered yet at once, and each asks in an
    order of its own. Relative to the largest number of an answer.
    """
    asked = requests(data, methods)
    alone = pickle.loads(pickle.dumps(model))
    expected = [answer(alone, *request) for request in asked]
    cold = pickle.loads(pickle.dumps(model))
    shared_uniforms.cache_clear()
    together = threading.Barrier(n_threads)

    def ask(seed):
        order = np.random.default_rng(seed).integers(len(asked), size=n_calls)
        together.wait()
        return max(difference(answer(cold, *asked[i]), expected[i]) for i in order)

    with ThreadPoolExecutor(n_threads) as pool:
        return max(pool.map(ask, range(n_threads)))


def difference(found, expected):
    if found.shape != expected.shape or found.dtype != expected.dtype:
        return np.inf
    if not np.array_equal(np.isnan(found), np.isnan(expected)):
        return np.inf
    size = max(1e-300, np.nanmax(np.abs(expected)))
    return float(np.nanmax(np.abs(np.subtract(found, expected, dtype=float)) / size))


@pytest.fixture
def switching_often():
    """Threads take turns a thousand times as often as usual."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(5e-6)
    yield
    sys.setswitchinterval(before)


# ---- scores in threads ---------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_threads_are_answered_as_one_is(switching_often, name):
    make, data, methods = MODELS[name]
    before = torch.get_rng_state()
    assert answers_from_threads(make().fit(data), data, methods) == 0
    assert torch.get_rng_state().equal(before)


def while_scoring(model, data, methods, work, n_times, accepted):
    """Do some work time and again; meanwhile every answer must be an accepted one."""
    over = threading.Event()

    def ask(method):
        n_answers = 0
        while not over.is_set() or not n_answers:
            found = answer(model, method, data)
            assert any(np.array_equal(found, one) for one in accepted[method]), method
            n_answers += 1

    with ThreadPoolExecutor(len(methods)) as pool:
        asking = [pool.submit(ask, method) for method in methods]
        try:
            for _ in range(n_times):
                work()
        finally:
            over.set()
        for one in asking:
            one.result()


@pytest.mark.parametrize("name", ["mixed", "detector"])
def test_copies_are_made_and_callbacks_set_while_others_score(switching_often, name):
    make, data, methods = MODELS[name]
    model, rows = make().fit(data), data[:9]
    accepted = {method: [answer(model, method, rows)] for method in methods}

    def work():
        model.set_callbacks(LogLikelihoodMonitor(data))
        for copied in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
            assert np.array_equal(
                answer(copied, methods[0], rows), accepted[methods[0]][0]
            )
        assert clone(model).get_params() == model.get_params()
        assert repr(model)
        model.set_callbacks()

    while_scoring(model, rows, methods, work, 5, accepted)


# ---- fits beside scores --------------------------------------------------------------

OTHER_LEVELS = frame(("blue", "red", "green", "black"))
REFITS = {
    "codes": (TRANSFORMER, MIXED, OTHER_LEVELS, OF_TRANSFORMER),
    "threshold": (DETECTOR, HOLES[:, :4], 3 * HOLES[:, :4] + 1, OF_DETECTOR),
    "filled": (IMPUTER, MIXED, OTHER_LEVELS, ("transform",)),
    "errors": (AUTOENCODER, WINE, 3 * WINE + 1, OF_AUTOENCODER),
}


@pytest.mark.parametrize("name", REFITS)
def test_a_score_is_of_one_fit_while_another_thread_fits(switching_often, name):
    make, data, other, methods = REFITS[name]
    rows = data[:9]
    fits = [make().fit(table) for table in (data, other)]
    accepted = {
        method: [answer(fit, method, rows) for fit in fits] for method in methods
    }
    assert not np.array_equal(*accepted[methods[0]])
    model, tables = make().fit(data), cycle([other, data])
    while_scoring(model, rows, methods, lambda: model.fit(next(tables)), 10, accepted)


def test_a_score_is_of_one_pass_while_another_thread_goes_on(switching_often):
    n_passes, rows = 12, WINE[:9]
    model = TRANSFORMER().fit(WINE)
    ahead = copy.deepcopy(model)
    accepted = {method: [answer(ahead, method, rows)] for method in OF_TRANSFORMER}
    for _ in range(n_passes):
        ahead.partial_fit(WINE)
        for method in OF_TRANSFORMER:
            accepted[method].append(answer(ahead, method, rows))
    go_on = partial(model.partial_fit, WINE)
    while_scoring(model, rows, OF_TRANSFORMER, go_on, n_passes, accepted)
    assert np.array_equal(answer(model, "transform", rows), accepted["transform"][-1])


def test_a_score_has_the_parameters_of_before_or_of_after(switching_often):
    model, rows = TRANSFORMER().fit(WINE), WINE[:9]
    numbers = [8, 4, 16]
    methods = "score_samples", "score_features"
    accepted = {method: [] for method in methods}
    for n, method in product(numbers, methods):
        model.set_params(n_importance_samples=n)
        accepted[method].append(answer(model, method, rows))
    following = cycle(numbers)

    def work():
        model.set_params(n_importance_samples=next(following))
        time.sleep(1e-3)

    while_scoring(model, rows, methods, work, 100, accepted)


def test_the_width_of_codes_may_change_while_they_are_put_into_frames(
    switching_often,
):
    model = TRANSFORMER().set_output(transform="pandas").fit(WINE)
    wider = clone(model).set_params(n_components=3).fit(WINE)
    expected = {
        found.shape[1]: found
        for found in (one.transform(WINE) for one in (model, wider))
    }
    over = threading.Event()

    def ask():
        while not over.is_set():
            found = model.transform(WINE)
            assert found.equals(expected[found.shape[1]])

    with ThreadPoolExecutor(2) as pool:
        asking = [pool.submit(ask) for _ in range(2)]
        for width in 5 * [3, 2]:
            model.set_params(n_components=width).fit(WINE)
        over.set()
        for one in asking:
            one.result()


class DuringFit(LogLikelihoodMonitor):
    """Calls a function after each epoch."""

    def __init__(self, function):
        super().__init__(WINE)
        self.function = function

    def on_fit_task_end(self, estimator, context, **told):
        self.function()


def test_a_fit_under_way_is_not_seen():
    model = TRANSFORMER().fit(MIXED)
    expected, seen = model.transform(MIXED), []
    model.set_callbacks(DuringFit(lambda: seen.append(model.transform(MIXED))))
    model.fit(MIXED[["c", "label", "a"]].rename(columns={"c": "other"}))
    assert seen
    for found in seen:
        np.testing.assert_array_equal(found, expected)
    assert model.n_features_in_ == 3


def test_a_parameter_set_during_a_fit_stays_set():
    model = TRANSFORMER()
    set_it = partial(model.set_params, n_importance_samples=3)
    model.set_callbacks(DuringFit(set_it)).fit(WINE)
    assert model.n_importance_samples == 3
    assert model.n_components_ == 2


def test_of_two_fits_that_overlap_the_later_one_stays():
    model, once = TRANSFORMER().fit(WINE), []

    def fit_other():
        if not once:
            once.append(model.set_callbacks().fit(MIXED))

    model.set_callbacks(DuringFit(fit_other)).fit(WINE[:, :4])
    model.set_callbacks()
    expected = TRANSFORMER().fit(WINE[:, :4])
    for found in (model, pickle.loads(pickle.dumps(model))):
        assert found.n_features_in_ == 4 and not hasattr(found, "feature_names_in_")
        np.testing.assert_array_equal(
            found.transform(WINE[:, :4]), expected.transform(WINE[:, :4])
        )


@pytest.mark.parametrize("look", [compression, diagnostics, inference_gap, refine])
def test_a_look_into_a_model_is_of_one_fit(monkeypatch, look):
    steps = {"n_steps": 2} if look in (inference_gap, refine) else {}
    model = TRANSFORMER().fit(WINE)
    expected, check_rows, once = look(model, WINE, **steps), model._check_rows, []

    def fit_anew(self, X):
        rows = check_rows(X)
        if not once:
            once.append(model.set_params(n_components=3).fit(2 * WINE))
        return rows

    monkeypatch.setattr(VAETransformer, "_check_rows", fit_anew)
    found = look(model, WINE, **steps)
    assert once and joblib.hash(found) == joblib.hash(expected)


def test_a_handler_of_signals_may_ask_the_model_that_is_answering(monkeypatch):
    model, few = TRANSFORMER().fit(WINE), WINE[:9]
    expected, forward, once = model.score_samples(few), passes.Pass.forward, []

    def interrupted(self, x):
        outputs = forward(self, x)
        if not once:
            once.append(True)
            for rows in (2 * few, WINE):
                model.score_samples(rows)
        return outputs

    monkeypatch.setattr(passes.Pass, "forward", interrupted)
    np.testing.assert_array_equal(model.score_samples(few), expected)
    assert once


# ---- threads of torch ----------------------------------------------------------------


@contextmanager
def a_fit_under_way():
    """Another thread is in a fit for as long."""
    inside, over = threading.Event(), threading.Event()

    def wait():
        inside.set()
        assert over.wait(60)

    with ThreadPoolExecutor(1) as pool:
        fit = pool.submit(TRANSFORMER().set_callbacks(DuringFit(wait)).fit, WINE)
        assert inside.wait(60)
        try:
            yield
        finally:
            over.set()
        fit.result()


@pytest.fixture
def threads_of_torch():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_each_thread_keeps_its_number_of_torchs_threads(threads_of_torch):
    model = TRANSFORMER().fit(WINE)

    def ask():
        torch.set_num_threads(3)
        model.score_samples(WINE)
        return torch.get_num_threads()

    with a_fit_under_way(), ThreadPoolExecutor(1) as pool:
        assert pool.submit(ask).result() == 3


def test_new_threads_have_the_hosts_number_of_torchs_threads(threads_of_torch):
    model = TRANSFORMER().fit(WINE)
    with ThreadPoolExecutor(1) as pool:
        with a_fit_under_way():  # from which the pool's thread takes its number
            pool.submit(torch.get_num_threads).result()
        pool.submit(model.score_samples, WINE).result()
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(torch.get_num_threads).result() == 2
