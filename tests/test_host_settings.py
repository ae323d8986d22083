"""Whatever a host program has set: the same answers, and its settings left alone.

`tests/test_invariance.py` has the modes of torch and the models of numbers; here are
the other settings, and the estimators, likelihoods, priors and tables that make tensors
of their own.
"""

import warnings
from contextlib import contextmanager
from functools import partial

import numpy as np
import pandas as pd
import pytest
import sklearn
import torch
from sklearn.datasets import load_wine

from skvae import (
    AETransformer,
    VAEImputer,
    VAEOutlierDetector,
    VAETransformer,
    posteriors,
)
from skvae.core import reader
from skvae.core.course import Course, Together, averaged
from skvae.core.draws import shared_uniforms
from skvae.likelihoods import levels
from skvae.objectives import IWAE

X = load_wine().data[::2]
N_ROWS = len(X)
HOLES = np.where(np.random.default_rng(0).random(X.shape) < 0.1, np.nan, X)
#: One of each of the families of tables.
BLOCKS = {
    0: "binned",
    1: "categorical",
    2: "ordinal",
    3: "poisson",
    4: "negative_binomial",
    5: "log_normal",
}


def mixed():
    """Numbers, labels of two kinds and truth values, made under the host's settings."""
    rows = np.arange(N_ROWS)
    table = pd.DataFrame(HOLES[:, :3], columns=["a", "b", "c"])
    table["label"] = np.array(["red", "green", "blue"])[rows % 3]
    table.loc[::9, "label"] = None
    table["level"] = pd.Categorical(np.array(["low", "high"])[rows % 2])
    table["flag"] = rows % 2 == 0
    return table


FEW = {"n_components": 2, "max_iter": 1, "random_state": 0}
TRANSFORMER = partial(VAETransformer, n_importance_samples=8, **FEW)
IMPUTER = partial(VAEImputer, n_importance_samples=8, **FEW)
DETECTOR = partial(VAEOutlierDetector, n_estimators=2, **FEW)
MODELS = {
    "mixed": (TRANSFORMER, mixed),
    "blocks": (partial(TRANSFORMER, likelihood=BLOCKS), lambda: np.rint(HOLES)),
    "vamp": (partial(TRANSFORMER, prior="vamp", objective=IWAE(2)), lambda: X),
    "aggregate": (
        partial(TRANSFORMER, prior="aggregate", posterior="laplace"),
        lambda: X,
    ),
    "beta": (partial(TRANSFORMER, posterior="beta"), lambda: X),
    "float32": (TRANSFORMER, lambda: X.astype(np.float32)),
    "detector": (DETECTOR, mixed),
    "novelty": (
        partial(DETECTOR, novelty=True, calibration_fraction=0.2),
        lambda: HOLES,
    ),
    "imputer": (IMPUTER, mixed),
    "draws": (partial(IMPUTER, sample_posterior=True), lambda: HOLES),
    "autoencoder": (partial(AETransformer, noise=0.1, **FEW), lambda: HOLES),
}
METHODS = (
    "transform",
    "score_samples",
    "score_features",
    "reconstruction_error",
    "predict",
)


def answers(name):
    """Whatever a model says, fitted and asked under the settings of now."""
    for made_once in (shared_uniforms, reader._starts, levels._places):
        made_once.cache_clear()
    make, data = MODELS[name]
    rows = data()
    model = make().fit(rows)
    found = {
        method: cells(getattr(model, method)(rows))
        for method in METHODS
        if hasattr(model, method)
    }
    if hasattr(model, "partial_fit"):
        codes = np.asarray(model.partial_fit(rows).transform(rows))
        found["means"] = cells(model.inverse_transform(codes))
    if hasattr(model, "sample"):
        found["draws"] = cells(model.sample(5, random_state=0))
    return {**found, "losses": model.loss_curve_}


def cells(table):
    """The cells as text, in which digits are exact and holes are equal."""
    if hasattr(table, "to_pandas"):
        table = table.to_pandas()
    return [str(cell) for cell in np.asarray(table, dtype=object).ravel().tolist()]


@pytest.fixture(scope="module")
def expected():
    return {name: answers(name) for name in MODELS}


def settings():
    """What a host may have set, as far as one can ask for it."""
    return {
        "dtype": torch.get_default_dtype(),
        "device": torch.get_default_device(),
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "anomalies": torch.is_anomaly_enabled(),
        "inference": torch.is_inference_mode_enabled(),
        "gradients": torch.is_grad_enabled(),
        "autocast": torch.is_autocast_enabled("cpu"),
        "denormal": float(torch.tensor(1e-310, dtype=torch.float64, device="cpu") * 1),
        "errors": np.geterr(),
        "digits": np.get_printoptions(),
        "warnings": list(warnings.filters),
        "sklearn": sklearn.get_config(),
        "strings": pd.get_option("mode.string_storage"),
        "precision": pd.get_option("display.precision"),
    }


@contextmanager
def set_to(value, setting, before):
    setting(value)
    try:
        yield
    finally:
        setting(before)


@contextmanager
def anomalies_detected():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, that it makes things slow
        torch.autograd.set_detect_anomaly(True)
    yield
    torch.autograd.set_detect_anomaly(False)


@contextmanager
def options_of_pandas(*options):
    """Also those of which pandas says that they will be gone."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pd.option_context(*options):
            warnings.simplefilter("error")
            yield
            warnings.simplefilter("ignore")


@contextmanager
def array_api():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCIPY_ARRAY_API", "1")
        with sklearn.config_context(array_api_dispatch=True):
            yield


def default_dtype(dtype):
    return set_to(dtype, torch.set_default_dtype, torch.float32)


HOSTS = {
    "float64": lambda: default_dtype(torch.float64),
    "bfloat16": lambda: default_dtype(torch.bfloat16),
    "meta": lambda: set_to("meta", torch.set_default_device, None),
    "three_threads": lambda: set_to(3, torch.set_num_threads, torch.get_num_threads()),
    "deterministic": lambda: set_to(True, torch.use_deterministic_algorithms, False),
    "no_denormals": lambda: set_to(True, torch.set_flush_denormal, False),
    "anomalies": anomalies_detected,
    "inference_mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "floating_errors": lambda: np.errstate(all="raise"),
    "digits": lambda: np.printoptions(precision=1, floatmode="fixed"),
    "pandas_output": lambda: sklearn.config_context(transform_output="pandas"),
    "polars_output": lambda: sklearn.config_context(transform_output="polars"),
    "assume_finite": lambda: sklearn.config_context(assume_finite=True),
    "routing": lambda: sklearn.config_context(enable_metadata_routing=True),
    "array_api": array_api,
    "strings": lambda: options_of_pandas("mode.string_storage", "python"),
    "other_strings": lambda: options_of_pandas(
        "future.infer_string", pd.Series(["text"]).dtype == object
    ),
    "display": lambda: options_of_pandas(
        "display.precision", 1, "display.float_format", "{:.1f}".format
    ),
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("host", HOSTS)
def test_answers_do_not_depend_on_what_the_host_has_set(expected, name, host):
    with HOSTS[host]():
        before = settings()
        found = answers(name)
        assert settings() == before
    assert found == expected[name]


@pytest.mark.parametrize("host", ["floating_errors", "no_denormals"])
@pytest.mark.parametrize("size", [1e-150, 1e150])
def test_numbers_whose_squares_are_out_of_range(host, size):
    rows = HOLES * size
    model = TRANSFORMER().fit(rows)
    with HOSTS[host]():
        again = TRANSFORMER().fit(rows)
        found = again.score_samples(rows[:9])
    np.testing.assert_array_equal(found, model.score_samples(rows[:9]))


@pytest.mark.parametrize("family", [*posteriors.FAMILIES.values(), posteriors.Point])
@pytest.mark.parametrize("host", ["float64", "bfloat16", "meta"])
def test_noise_is_in_float32_where_its_generator_is(host, family):
    generator = torch.Generator("cpu").manual_seed(0)
    with HOSTS[host]():
        noise = family().noise((2, 5, 3), generator)
    assert (noise.dtype, noise.device.type) == (torch.float32, "cpu")


@pytest.mark.parametrize("host", ["bfloat16", "meta"])
def test_what_processes_tell_each_other_keeps_its_digits(host):
    alone = Together(lambda numbers: numbers, 0, 1, 0)
    with HOSTS[host]():
        gradient = torch.tensor([0.1, 0.2], dtype=torch.float32, device="cpu")
        (mean,), averages = alone.average_step([0.3], gradient)
        assert averaged([0.1], alone) == [0.1]
        first, later = (Course(gradient.clone(), 1, 0.0) for _ in range(2))
        first.update([-1.0])
        later.set_state(first.get_state())
        later.restore()
    np.testing.assert_array_equal(mean, np.float32(0.3))
    assert later.get_state()["best"].tolist() == [gradient.tolist()]
    assert averages.equal(gradient)
