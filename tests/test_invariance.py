"""What a model's answers depend on, and what they leave alone."""

import os
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

import joblib
import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_wine

from skvae import VAETransformer
from skvae.core.draws import shared_uniforms
from skvae.likelihoods import Gaussian

X = load_wine().data
BINARY = (X > X.mean(axis=0)).astype(float)
HOLES = np.where(np.random.default_rng(0).random(X.shape) < 0.1, np.nan, X)
METHODS = ["score_samples", "transform", "score_features"]
#: One of each of the other families.
BLOCKS = {
    0: "binned",
    1: "categorical",
    2: "ordinal",
    3: "poisson",
    4: "negative_binomial",
    5: "log_normal",
}
MODELS = {
    "gaussian": ({}, X),
    "shared": ({"likelihood": Gaussian("shared")}, X),
    "linear": ({"hidden_layer_sizes": ()}, X),
    "random_start": ({"init": "random"}, X),
    "bernoulli": ({"likelihood": "bernoulli"}, BINARY),
    "held_out": ({"early_stopping": True}, X),
    "two_draws": ({"n_mc_samples": 2, "batch_size": 50}, X),
    "holes": ({}, HOLES),
    "blocks": ({"likelihood": BLOCKS}, np.rint(HOLES)),
}


def small(**parameters):
    return VAETransformer(**{"max_iter": 5, "random_state": 0, **parameters})


@pytest.fixture(scope="module")
def fitted():
    return {name: small(**given).fit(data) for name, (given, data) in MODELS.items()}


# ---- rows ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_two_calls_give_the_same_bits(fitted, name, method, dtype):
    data = MODELS[name][1].astype(dtype)
    answer = getattr(fitted[name], method)
    np.testing.assert_array_equal(answer(data), answer(data), strict=True)


def permuted(answer, data):
    order = np.random.default_rng(0).permutation(len(data))
    return answer(data[order])[np.argsort(order)]


def in_parts(answer, data):
    return np.concatenate([answer(part) for part in np.array_split(data, 7)])


def alone(answer, data):
    return np.concatenate([answer(data[i : i + 1]) for i in range(len(data))])


def repeated(answer, data):
    """Across the boundary of the batches that rows are scored in."""
    return answer(np.tile(data, (30, 1)))[-len(data) :]


def beside_others(answer, data):
    others = np.random.default_rng(0).permuted(data, axis=0)
    return answer(np.concatenate([others, data]))[len(others) :]


@pytest.mark.parametrize(
    "arrange", [permuted, in_parts, alone, repeated, beside_others]
)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["gaussian", "linear", "bernoulli", "holes", "blocks"])
def test_a_row_is_answered_whatever_stands_beside_it(fitted, name, method, arrange):
    data, answer = MODELS[name][1], getattr(fitted[name], method)
    expected = answer(data)
    found = arrange(answer, data)
    # Relative to a row's largest entry: parts of a score may cancel to nothing.
    size = np.abs(expected).reshape(len(data), -1).max(axis=1)
    error = np.abs(found - expected).reshape(len(data), -1).max(axis=1)
    assert (error <= 1e-9 * size).all()


@pytest.mark.parametrize("name", MODELS)
def test_scores_are_the_sums_of_their_parts(fitted, name):
    data = MODELS[name][1]
    np.testing.assert_allclose(
        fitted[name].score_features(data).sum(axis=1),
        fitted[name].score_samples(data),
        rtol=1e-12,
    )
    assert fitted[name].score(data) == fitted[name].score_samples(data).mean()


def test_threads_give_the_bits_of_one(fitted):
    model = fitted["gaussian"]
    parts = [X[i::4] for i in range(4)] * 8
    expected = [model.score_samples(part) for part in parts]
    shared_uniforms.cache_clear()
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(model.score_samples, parts))
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_threads_fit_as_one_does():
    with ThreadPoolExecutor(2) as pool:
        models = list(pool.map(lambda seed: small(random_state=seed).fit(X), [0, 1, 0]))
    for seed, model in zip([0, 1, 0], models, strict=True):
        expected = small(random_state=seed).fit(X)
        np.testing.assert_array_equal(model.transform(X), expected.transform(X))


# ---- units ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["gaussian", "shared", "linear", "held_out"])
@pytest.mark.parametrize("factor", [1_000.0, 1e-3])
def test_a_column_in_other_units(fitted, name, factor):
    units = np.where(np.arange(X.shape[1]) == 4, factor, 1.0)
    rescaled = small(**MODELS[name][0]).fit(X * units)
    fall = fitted[name].score_samples(X) - rescaled.score_samples(X * units)
    np.testing.assert_allclose(fall, np.log(factor), atol=1e-3)
    np.testing.assert_allclose(
        rescaled.transform(X * units), fitted[name].transform(X), atol=1e-3
    )


# ---- seeds ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_an_integer_seed_gives_the_same_model(fitted, name):
    given, data = MODELS[name]
    again = small(**given).fit(data)
    for method in METHODS:
        np.testing.assert_array_equal(
            getattr(again, method)(data), getattr(fitted[name], method)(data)
        )
    assert again.loss_curve_ == fitted[name].loss_curve_
    np.testing.assert_array_equal(
        again.sample(9, random_state=3), fitted[name].sample(9, random_state=3)
    )


@pytest.mark.parametrize("name", ["gaussian", "random_start", "held_out"])
def test_another_seed_gives_another_model(fitted, name):
    given, data = MODELS[name]
    other = small(**given, random_state=1).fit(data)
    assert not np.array_equal(other.transform(data), fitted[name].transform(data))


def test_without_a_seed_numpys_global_state_is_used():
    np.random.seed(5)
    first = small(random_state=None).fit(X)
    first_draws = first.sample(3)
    np.random.seed(5)
    second = small(random_state=None).fit(X)
    np.testing.assert_array_equal(second.sample(3), first_draws)
    np.testing.assert_array_equal(second.transform(X), first.transform(X))
    third = small(random_state=None).fit(X)
    assert not np.array_equal(third.transform(X), first.transform(X))


FIT_ELSEWHERE = """
import random, sys
import numpy as np
import torch
from sklearn.datasets import load_wine
random.seed(11), np.random.seed(12), torch.manual_seed(13)
from skvae import VAETransformer
X = load_wine().data
model = VAETransformer(max_iter=5, random_state=0).fit(X)
arrays = [model.score_samples(X), model.transform(X), model.sample(4, random_state=1)]
np.savez(sys.argv[1], *arrays)
"""


def test_another_process_with_other_global_seeds_fits_the_same_model(
    fitted, tmp_path, on_numpys_road
):
    command = [sys.executable, "-W", "error", "-c", FIT_ELSEWHERE]
    environment = {**os.environ, "PYTHONHASHSEED": "17"}
    subprocess.run([*command, str(tmp_path / "a.npz")], check=True, env=environment)
    model = fitted["gaussian"]
    expected = [
        model.score_samples(X),
        model.transform(X),
        model.sample(4, random_state=1),
    ]
    with np.load(tmp_path / "a.npz") as found:
        for ours, theirs in zip(found.values(), expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)


# ---- the host's settings -------------------------------------------------------------


def host_state():
    """Everything global that a library might touch, as one hash."""
    return joblib.hash(
        [
            random.getstate(),
            np.random.get_state(),
            torch.get_rng_state().numpy(),
            str(torch.get_default_dtype()),
            str(torch.get_default_device()),
            torch.get_num_threads(),
            torch.is_grad_enabled(),
            torch.is_inference_mode_enabled(),
            torch.are_deterministic_algorithms_enabled(),
            np.geterr(),
        ]
    )


def everything(model):
    """All that a model answers, from construction on."""
    model.fit(X).partial_fit(X)
    return {
        "codes": model.transform(X),
        "scores": model.score_samples(X),
        "features": model.score_features(X),
        "means": model.inverse_transform(np.zeros((2, model.n_components_))),
        "draws": model.sample(4, random_state=0),
        "losses": model.loss_curve_,
        "divergences": model.kl_per_component_,
    }


@pytest.mark.parametrize("name", MODELS)
def test_global_states_are_left_alone(name):
    given, data = MODELS[name]
    before = host_state()
    model = small(**given).fit(data)
    assert host_state() == before
    model.partial_fit(data).score_samples(data)
    model.score_features(data)
    model.inverse_transform(model.transform(data))
    model.sample(4, random_state=0)
    assert host_state() == before


# The progress bar that scikit-learn imports takes a number from random's global state.
IMPORT = """
import random
import numpy as np, torch
import sklearn.callback
def state():
    return [
        random.getstate(),
        np.random.get_state()[1].tolist(),
        torch.get_rng_state().tolist(),
        torch.get_default_dtype(),
        torch.get_num_threads(),
        np.geterr(),
    ]
torch.set_num_threads(2)
before = state()
import skvae
from skvae import VAETransformer
VAETransformer(random_state=0)
assert state() == before
"""


def test_import_and_construction_leave_global_states_alone():
    subprocess.run([sys.executable, "-W", "error", "-c", IMPORT], check=True)


def test_import_alone_does_not_import_torch():
    code = "import sys, skvae; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@contextmanager
def default_dtype(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def default_device(device):
    torch.set_default_device(device)
    try:
        yield
    finally:
        torch.set_default_device(None)


HOSTS = {
    "float64": partial(default_dtype, torch.float64),
    "float16": partial(default_dtype, torch.float16),
    "meta": partial(default_device, "meta"),
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
}

HOST_MODELS = {
    "gaussian": {},
    "random_start": {"init": "random", "early_stopping": True},
    "shared": {"likelihood": Gaussian("shared"), "n_mc_samples": 2},
    "fixed": {"likelihood": Gaussian(0.5), "hidden_layer_sizes": (8,)},
    "one_draw": {"n_importance_samples": 1},
}


@pytest.fixture
def no_draws_kept():
    """Draws made in one test must not serve another."""
    shared_uniforms.cache_clear()
    yield
    shared_uniforms.cache_clear()


@pytest.fixture(scope="module")
def expected():
    shared_uniforms.cache_clear()
    return {name: everything(small(**given)) for name, given in HOST_MODELS.items()}


@pytest.mark.parametrize("name", HOST_MODELS)
@pytest.mark.parametrize("host", HOSTS)
def test_answers_do_not_depend_on_the_hosts_settings(
    expected, no_draws_kept, name, host
):
    with HOSTS[host]():
        before = host_state()
        found = everything(small(**HOST_MODELS[name]))
        assert host_state() == before
    for part, value in expected[name].items():
        np.testing.assert_array_equal(found[part], value, err_msg=part)


@pytest.mark.parametrize("host", HOSTS)
def test_draws_first_made_under_a_hosts_settings_serve_later(
    fitted, no_draws_kept, host
):
    """The cache of shared draws outlives the mode that filled it."""
    model = fitted["gaussian"]
    scores = model.score_samples(X)
    shared_uniforms.cache_clear()
    with HOSTS[host]():
        model.score_samples(X[:1])
    np.testing.assert_array_equal(model.score_samples(X), scores)
    np.testing.assert_array_equal(clone(model).fit(X).score_samples(X), scores)


# ---- draws ---------------------------------------------------------------------------

N_DRAWS = 20_000


def test_draws_resemble_the_table():
    table = load_breast_cancer().data
    model = VAETransformer(random_state=0).fit(table)
    drawn = model.sample(N_DRAWS, random_state=0)
    distance = np.abs(drawn.mean(axis=0) - table.mean(axis=0)) / table.std(axis=0)
    assert distance.max() < 0.1
    ratio = drawn.var(axis=0) / table.var(axis=0)
    # A few columns have long tails, which normal noise does not reach.
    assert np.abs(ratio - 1).mean() < 0.15
    assert np.abs(ratio - 1).max() < 0.6
    pairs = np.triu_indices(table.shape[1], 1)
    difference = np.corrcoef(drawn.T)[pairs] - np.corrcoef(table.T)[pairs]
    assert np.abs(difference).mean() < 0.08


def test_rare_ones_are_drawn_as_rarely():
    rates = np.array([0.03, 0.1, 0.3, 0.5, 0.7, 0.97])
    n_rows = 5_000
    table = (np.random.default_rng(0).random((n_rows, 6)) < rates).astype(float)
    model = VAETransformer(likelihood="bernoulli", random_state=0).fit(table)
    drawn = model.sample(N_DRAWS, random_state=0)
    assert set(np.unique(drawn)) == {0.0, 1.0}
    error = np.sqrt(rates * (1 - rates) * (1 / n_rows + 1 / N_DRAWS))
    assert (np.abs(drawn.mean(axis=0) - rates) < 3 * error).all()
    assert (np.abs(drawn.mean(axis=0) - table.mean(axis=0)) < 3 * error).all()


@pytest.mark.parametrize("name", ["gaussian", "bernoulli"])
def test_draws_with_a_seed_repeat_and_vary_with_it(fitted, name):
    model = fitted[name]
    first = model.sample(50, random_state=0)
    np.testing.assert_array_equal(model.sample(50, random_state=0), first)
    assert not np.array_equal(model.sample(50, random_state=1), first)
    if name == "gaussian":
        assert len(np.unique(first, axis=0)) == 50
