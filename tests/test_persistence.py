"""A fitted model, saved and loaded elsewhere, is the same model."""

import copy
import pickle
import subprocess
import sys

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
import skops.io
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.exceptions import InconsistentVersionWarning

import skvae
from skvae import VAETransformer
from skvae.likelihoods import Gaussian

FRAME = load_iris(as_frame=True).data
X = FRAME.to_numpy()
TRUSTED = "skvae.transformer.VAETransformer"
BINARY = (X > X.mean(axis=0)).astype(float)
#: Numbers, three labels, yes and no, and holes.
MIXED = FRAME.assign(
    label=np.array(["red", "green", "blue"])[np.arange(150) % 3],
    yes=np.arange(150) % 2 == 0,
).mask(np.random.default_rng(0).random((150, 6)) < 0.05, None)
MIXED = MIXED.astype(object).to_numpy()

# Loads each saved model, in a process that has fitted nothing, and keeps its answers.
LOAD = f"""
import pickle, sys
from pathlib import Path
import joblib, numpy as np, skops.io
folder = Path(sys.argv[1])
answers = {{}}
for path in sorted(folder.glob("*.model")):
    name, way = path.stem.split(".")
    rows = np.load(folder / f"{{name}}.npy", allow_pickle=True)
    if way == "pickle":
        model = pickle.loads(path.read_bytes())
    elif way == "joblib":
        model = joblib.load(path, mmap_mode="r")
    else:
        model = skops.io.load(path, trusted=[{TRUSTED!r}])
    codes = model.transform(rows)
    answers[f"{{path.stem}}.scores"] = model.score_samples(rows)
    answers[f"{{path.stem}}.features"] = model.score_features(rows)
    answers[f"{{path.stem}}.codes"] = codes
    answers[f"{{path.stem}}.means"] = np.asarray(model.inverse_transform(codes))
    answers[f"{{path.stem}}.draws"] = np.asarray(model.sample(5, random_state=0))
    answers[f"{{path.stem}}.more"] = model.partial_fit(rows).score_samples(rows)
np.savez(folder / "answers.npz", **answers)
"""


def fitted(table, **parameters):
    return VAETransformer(max_iter=3, random_state=0, **parameters).fit(table)


def models():
    """By name: a fitted estimator at string parameters, and rows to score."""
    return {
        "array": (fitted(X), X),
        "pandas": (fitted(FRAME), X),
        "polars": (fitted(pl.DataFrame(FRAME.to_dict("list"))), X),
        "bernoulli": (fitted(BINARY, likelihood="bernoulli"), BINARY),
        "linear": (fitted(X, hidden_layer_sizes=()), X),
        "partial": (fitted(X).partial_fit(X), X),
        "mixed": (fitted(MIXED), MIXED),
    }


def save(model, path, way):
    if way == "pickle":
        path.write_bytes(pickle.dumps(model))
    elif way == "joblib":
        joblib.dump(model, path)
    else:
        skops.io.dump(model, path)


# Models fitted on frames are scored on the arrays that both processes can read.
@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
def test_loaded_in_another_process(tmp_path, on_numpys_road):
    expected = {}
    for name, (model, rows) in models().items():
        np.save(tmp_path / f"{name}.npy", rows)
        for way in ["pickle", "joblib", "skops"]:
            save(model, tmp_path / f"{name}.{way}.model", way)
        codes = model.transform(rows)
        expected[name] = {
            "scores": model.score_samples(rows),
            "features": model.score_features(rows),
            "codes": codes,
            "means": np.asarray(model.inverse_transform(codes)),
            "draws": np.asarray(model.sample(5, random_state=0)),
            "more": model.partial_fit(rows).score_samples(rows),
        }
    flags = ["-W", "error", "-W", "ignore:X does not have valid feature names"]
    command = [sys.executable, *flags, "-c", LOAD, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "answers.npz", allow_pickle=True) as answers:
        assert len(answers) == 7 * 3 * 6
        for key, found in answers.items():
            name, _, part = key.split(".")
            wanted = expected[name][part]
            if found.dtype == object:
                np.testing.assert_array_equal(found[:, 4:], wanted[:, 4:], err_msg=key)
                found, wanted = (rows[:, :4].astype(float) for rows in (found, wanted))
            np.testing.assert_allclose(
                found, wanted, rtol=1e-9, atol=1e-12, err_msg=key
            )


@pytest.mark.parametrize("name", models())
def test_skops_needs_one_type_only(tmp_path, name):
    model, _ = models()[name]
    skops.io.dump(model, tmp_path / "model.skops")
    assert skops.io.get_untrusted_types(file=tmp_path / "model.skops") == [TRUSTED]


def test_skops_of_settings_objects_names_their_types(tmp_path):
    model = fitted(X, likelihood=Gaussian("shared"))
    skops.io.dump(model, tmp_path / "model.skops")
    found = skops.io.get_untrusted_types(file=tmp_path / "model.skops")
    assert found == ["skvae.likelihoods.gaussian.Gaussian", TRUSTED]
    loaded = skops.io.load(tmp_path / "model.skops", trusted=found)
    assert loaded.likelihood == Gaussian("shared")
    np.testing.assert_array_equal(loaded.score_samples(X), model.score_samples(X))


def modules_within(value):
    """Names of the packages of the types found anywhere in a nested value."""
    found = {type(value).__module__.split(".")[0]}
    if isinstance(value, dict):
        children = [*value, *value.values()]
    elif isinstance(value, (list, tuple, set)):
        children = list(value)
    elif isinstance(value, np.ndarray) and value.dtype == object:
        children = value.ravel().tolist()
    else:
        children = list(getattr(value, "__dict__", {}).values())
    return found.union(*map(modules_within, children))


@pytest.mark.parametrize("name", models())
def test_the_state_holds_plain_data_only(name):
    model, _ = models()[name]
    assert modules_within(model.__getstate__()) <= {"builtins", "numpy"}
    assert b"torch" not in pickle.dumps(model)


def test_a_device_object_leaves_no_torch_object_in_the_fitted_state():
    import torch

    model = fitted(X, device=torch.device("cpu"))
    fitted_part = {
        name: value
        for name, value in model.__getstate__().items()
        if name not in model.get_params()
    }
    assert modules_within(fitted_part) <= {"builtins", "numpy"}


def reloaded(model, **changes):
    """The model by way of a state with some entries changed, and no checksum."""
    copy = VAETransformer.__new__(VAETransformer)
    state = {**model.__getstate__(), **changes}
    del state["_checksum"]
    copy.__setstate__(state)
    return copy


def test_state_says_its_format_and_version():
    for model in [VAETransformer(), fitted(X)]:
        state = pickle.loads(pickle.dumps(model.__getstate__()))
        assert isinstance(state["_state_format"], int)
        assert state["_skvae_version"] == skvae.__version__
        assert vars(reloaded(model)).keys() == vars(model).keys()


def test_a_newer_format_is_refused():
    model = fitted(X)
    newer = model.__getstate__()["_state_format"] + 1
    with pytest.raises(ValueError, match=rf"9\.9.*format {newer}.*Upgrade skvae"):
        reloaded(model, _state_format=newer, _skvae_version="9.9")


def test_models_from_before_the_parts_of_the_loss_were_kept_go_on():
    X = load_iris().data
    vae = VAETransformer(2, max_iter=3, random_state=0).fit(X)
    state = vae.__getstate__()
    younger = ("reconstruction_curve_", "kl_curve_", "validation_epochs_")
    for name in (*younger, "_checksum"):
        del state[name]
    old = VAETransformer.__new__(VAETransformer)
    old.__setstate__(state)
    assert np.isnan(old.kl_curve_).all() and len(old.kl_curve_) == 3
    assert np.isnan(old.validation_epochs_).all()
    assert np.isfinite(old.partial_fit(X).kl_curve_[-1])
    assert len(old.kl_curve_) == old.n_iter_ == 4
    unfitted = VAETransformer.__new__(VAETransformer)
    unfitted.__setstate__(VAETransformer().__getstate__())
    assert not hasattr(unfitted, "kl_curve_")


def test_another_version_is_warned_of():
    model = fitted(X)
    with pytest.warns(InconsistentVersionWarning, match=r"0\.0\.1 of skvae"):
        loaded = reloaded(model, _skvae_version="0.0.1")
    np.testing.assert_array_equal(loaded.score_samples(X), model.score_samples(X))


@pytest.mark.parametrize(
    "change",
    [
        {"n_components": 1},
        {"hidden_layer_sizes": (3,)},
        {"activation": "relu"},
        {"likelihood": "bernoulli"},
        {"standardize": False},
        {"random_state": 7},
        {"beta": 9.0},
        {"learning_rate": 1.0},
        {"batch_size": 5},
        {"device": "cpu"},
    ],
    ids=str,
)
def test_parameters_set_after_fit_do_not_change_the_fitted_model(change):
    model = fitted(X)
    scores, codes = model.score_samples(X), model.transform(X)
    draws = model.sample(3, random_state=0)
    model.set_params(**change)
    for same in [model, pickle.loads(pickle.dumps(model))]:
        np.testing.assert_array_equal(same.score_samples(X), scores)
        np.testing.assert_array_equal(same.transform(X), codes)
        np.testing.assert_array_equal(same.sample(3, random_state=0), draws)


def test_frames_come_back_from_a_loaded_model():
    table = FRAME.astype({"sepal width (cm)": "float32"}).assign(
        whole=np.arange(150), yes=np.arange(150) % 2 == 0
    )
    loaded = pickle.loads(pickle.dumps(fitted(table)))
    drawn = loaded.sample(3, random_state=0)
    pd.testing.assert_series_equal(drawn.dtypes, table.dtypes)


def test_unfitted_estimators_are_saved_as_such():
    loaded = pickle.loads(pickle.dumps(VAETransformer(n_components=3)))
    assert not loaded.__sklearn_is_fitted__()
    assert loaded.get_params() == VAETransformer(n_components=3).get_params()
    assert not clone(fitted(X)).__sklearn_is_fitted__()


@pytest.mark.parametrize("name", models())
def test_the_hash_of_a_fitted_model_survives_a_copy(name):
    """joblib's caches recognise it."""
    model, _ = models()[name]
    assert joblib.hash(pickle.loads(pickle.dumps(model))) == joblib.hash(model)


class KeepsEstimator:
    """A callback that holds the estimator, which holds the callback."""

    def setup(self, estimator, context):
        self.estimator = estimator

    def teardown(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context):
        pass


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))]
)
def test_a_model_whose_callback_holds_it_is_copied_whole(copied):
    model = VAETransformer(2, max_iter=1, random_state=0).set_callbacks(
        KeepsEstimator()
    )
    again = copied(model.fit(X))
    np.testing.assert_array_equal(again.score_samples(X), model.score_samples(X))
