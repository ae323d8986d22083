"""Models that are saved, today or by earlier versions, and read as what they were."""

import functools
import io
import os
import pickle
import subprocess
import sys
import warnings
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
import skops.io
import torch
from saved import crafted, damaged, write
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.datasets import load_iris
from sklearn.exceptions import InconsistentVersionWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from skvae import (
    VAETransformer,
    __version__,
    likelihoods,
    networks,
    objectives,
    optimizers,
    persistence,
    posteriors,
    priors,
    saved,
)

X = damaged.X
y = np.arange(len(X)) % 2
FRAME = load_iris(as_frame=True).data[: len(X)]
QUICK = damaged.QUICK
LOADERS = {
    ".skops": persistence.load,
    ".joblib": joblib.load,
    ".pickle": lambda path: pickle.loads(path.read_bytes()),
}


def dumped(estimator):
    return damaged.written(persistence.dump, estimator)


def loaded(content, **keywords):
    return persistence.load(io.BytesIO(content), **keywords)


# ---- what earlier versions saved -----------------------------------------------------

FOLDERS = sorted(write.FOLDER.glob("format_*"))
FILES = sorted(
    path for folder in FOLDERS for path in folder.iterdir() if path.suffix in LOADERS
)


@functools.cache
def kept(folder):
    with np.load(folder / "answers.npz") as answers:
        return dict(answers)


def test_there_are_models_of_every_state_format():
    formats = range(1, saved.STATE_FORMAT + 1)
    assert {folder.name for folder in FOLDERS} == {f"format_{n}" for n in formats}
    assert all(len([*folder.glob("*.skops")]) >= 10 for folder in FOLDERS)


def of(name, answers):
    """Those answers that begin with a name."""
    return {
        key.removeprefix(f"{name}."): array
        for key, array in answers.items()
        if key.startswith(f"{name}.")
    }


@pytest.mark.parametrize(
    "path", FILES, ids=lambda path: f"{path.parent.name}-{path.name}"
)
def test_what_a_model_said_when_it_was_saved_it_says_today(path):
    answers = kept(path.parent)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = LOADERS[path.suffix](path)
    is_of_today = answers["version"] == __version__
    expected = set() if is_of_today else {InconsistentVersionWarning}
    assert {warning.category for warning in caught} == expected
    _, table = write.models()[path.stem]
    rows = write.tables(of("rows", answers))[table][: write.N_ROWS]
    found, wanted = write.answers(model, rows), of(path.stem, answers)
    assert found.keys() == wanted.keys() and len(found) >= 2
    for name, array in wanted.items():
        if array.dtype.kind == "U":
            np.testing.assert_array_equal(found[name], array, err_msg=name)
        else:
            np.testing.assert_allclose(
                found[name], array, rtol=1e-9, atol=1e-12, err_msg=name
            )


# ---- there and back ------------------------------------------------------------------


def vae(**parameters):
    return VAETransformer(2, **{**QUICK, **parameters})


@functools.cache
def containers():
    """By name: what holds estimators of ours, fitted."""
    grid = {"n_components": [1, 2], "likelihood": ["gaussian", likelihoods.Gaussian()]}
    chosen = make_column_selector(pattern="petal")
    columns = make_column_transformer(
        (vae(), chosen), (StandardScaler(), slice(0, 2)), remainder="passthrough"
    )
    pipeline = make_pipeline(FunctionTransformer(np.tanh), vae(), LogisticRegression())
    return {
        "pipeline": pipeline.fit(X, y),
        "columns": columns.fit(FRAME),
        "search": GridSearchCV(vae(), grid, cv=2).fit(X),
        "search_by_scores": GridSearchCV(
            pipeline,
            {"logisticregression__C": [0.1, 1.0]},
            cv=KFold(2),
            scoring=["accuracy", "neg_log_loss"],
            refit="accuracy",
        ).fit(X, y),
    }


@pytest.mark.parametrize("name", ["pipeline", "columns", "search", "search_by_scores"])
def test_what_holds_our_estimators_is_saved(name):
    estimator = containers()[name]
    again = loaded(dumped(estimator))
    method = "predict_proba" if hasattr(estimator, "predict_proba") else "transform"
    rows = FRAME if name == "columns" else X
    found, wanted = (getattr(each, method)(rows) for each in (again, estimator))
    np.testing.assert_array_equal(found, wanted)


FAMILIES = {
    "likelihood": likelihoods,
    "network": networks,
    "objective": objectives,
    "optimizer": optimizers,
    "posterior": posteriors,
    "prior": priors,
}
SETTINGS = [
    (place, family())
    for place, module in FAMILIES.items()
    for family in module.FAMILIES.values()
]


@pytest.mark.parametrize(
    ("place", "settings"),
    [*SETTINGS, ("network", networks.ConvNet((1, 2, 2)))],
    ids=lambda part: part if isinstance(part, str) else type(part).__name__,
)
def test_settings_objects_of_every_family_need_no_trust(place, settings):
    again = loaded(dumped(vae(**{place: settings})))
    assert getattr(again, place) == settings


@pytest.mark.parametrize(
    "parameters",
    [
        {"device": torch.device("cpu")},
        {"likelihood": {"a": "gaussian", 1: "poisson", np.int64(2): "binned"}},
        {"likelihood": [("gaussian", ["a", "\ud800"]), ("poisson", (1, 2))]},
        {"beta": np.float64(0.5), "n_components": np.int64(3), "tol": float("nan")},
    ],
    ids=["device", "dict", "list", "numpy"],
)
def test_parameters_of_other_types_are_saved(parameters):
    estimator = vae().set_params(**parameters)
    again = loaded(dumped(estimator))
    assert joblib.hash(again.get_params()) == joblib.hash(estimator.get_params())


def test_a_random_state_goes_on_where_it_was():
    estimator = vae(random_state=np.random.RandomState(3))
    again = loaded(dumped(estimator))
    assert again.random_state.randint(2**31) == estimator.random_state.randint(2**31)


def test_skops_reads_what_dump_writes():
    estimator = damaged.models()["transformer"]
    names = skops.io.get_untrusted_types(data=dumped(estimator))
    again = skops.io.loads(dumped(estimator), trusted=names)
    np.testing.assert_array_equal(again.transform(X), estimator.transform(X))


def test_an_estimator_that_is_not_fitted_stays_so():
    again = loaded(dumped(vae(beta=2.0)))
    assert again.get_params() == vae(beta=2.0).get_params()
    assert not again.__sklearn_is_fitted__()


def test_another_version_is_warned_of():
    state = damaged.models()["transformer"].__getstate__()
    state = crafted.signed({**state, "_skvae_version": "0.0.1"})
    with pytest.warns(InconsistentVersionWarning, match=r"0\.0\.1 of skvae"):
        loaded(crafted.file_of_state(state))


def test_what_needs_a_pickle_is_refused_with_advice():
    network = networks.Modules(torch.nn.Linear(4, 4), torch.nn.Linear(2, 8))
    with pytest.raises(ValueError, match=r"VAETransformer cannot be saved.*joblib"):
        dumped(vae(network=network))
    with pytest.raises(TypeError, match="got dict"):
        dumped({"model": vae()})


@pytest.mark.parametrize(
    "labels",
    [
        [f"label {i}" for i in range(20_000)],
        ["a,b", '["{[', "\\", '"', "\ud800", *(i * "[,{" for i in range(1, 99))],
    ],
    ids=["many", "odd"],
)
def test_labels_of_any_kind_and_number_are_loaded(labels):
    text = pd.Series(labels, dtype=object)
    frame = pd.DataFrame({"text": text, "number": np.arange(len(text)) % 7.0})
    model = VAETransformer(1, **{**QUICK, "max_iter": 1}).fit(frame)
    again = loaded(dumped(model))
    np.testing.assert_array_equal(again.transform(frame), model.transform(frame))


def test_one_array_may_stand_in_several_places():
    sizes = np.array([4, 3])
    model = vae(hidden_layer_sizes=sizes).set_params(likelihood=[sizes] * 20)
    again = loaded(dumped(model))
    assert (
        len({id(size) for size in (*again.likelihood, again.hidden_layer_sizes)}) == 1
    )


def test_states_without_a_mark_are_of_the_first_format(monkeypatch):
    state = damaged.models()["transformer"].__getstate__()
    monkeypatch.setattr(saved, "STATE_FORMAT", 2)
    _, state_format, _ = saved._unmarked(
        {name: part for name, part in state.items() if name != "_state_format"}
    )
    assert state_format == 1


@pytest.mark.parametrize(
    "array",
    [
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.arange(8)[::2],
        np.zeros((3, 0)),
        np.array(5, ">i2"),
        np.array(["2020-01-01", "NaT"], "M8[D]"),
        np.array([(1, 2.0)], [("a", "i4"), ("b", "f4")]),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_the_checksum_is_of_the_bytes_of_arrays(array):
    words, buffers = [], []
    saved._spell_array(array, words, buffers)
    assert b"".join(buffers) == array.tobytes()


# ---- files ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [str, Path], ids=["str", "path"])
def test_a_file_takes_the_place_of_another_in_one_step(tmp_path, monkeypatch, kind):
    path = tmp_path / "model.skops"
    persistence.dump(vae(beta=1.0), kind(path))

    def fail(*paths):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "replace", fail)
        persistence.dump(vae(beta=2.0), kind(path))
    assert persistence.load(kind(path)).beta == 1.0
    persistence.dump(vae(beta=2.0), kind(path))
    assert persistence.load(kind(path)).beta == 2.0
    assert [*tmp_path.iterdir()] == [path]


def test_what_cannot_be_saved_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "model.skops"
    persistence.dump(vae(), path)
    with pytest.raises(ValueError, match="cannot be saved"):
        persistence.dump(vae(network=lambda: None), path)
    assert persistence.load(path).beta == 1.0


@pytest.mark.skipif(os.name != "posix", reason="links and devices are those of POSIX")
def test_links_lead_where_they_led_and_devices_stay(tmp_path):
    path, link = tmp_path / "model.skops", tmp_path / "link.skops"
    path.touch()
    link.symlink_to(path)
    persistence.dump(vae(), link)
    assert link.is_symlink() and persistence.load(path).n_components == 2
    persistence.dump(vae(), os.devnull)
    assert not Path(os.devnull).is_file()
    umask = os.umask(0o022)
    os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask


def test_a_path_is_named_in_errors(tmp_path):
    with pytest.raises(FileNotFoundError):
        persistence.load(tmp_path / "model.skops")
    with pytest.raises(FileNotFoundError):
        persistence.dump(vae(), tmp_path / "missing" / "model.skops")
    with pytest.raises(ValueError, match=rf"{tmp_path.name} is not.*it is a folder"):
        persistence.load(tmp_path)
    (tmp_path / "model.skops").write_bytes(pickle.dumps(vae()))
    with pytest.raises(ValueError, match=r"model\.skops is not.*seems to be a pickle"):
        persistence.load(tmp_path / "model.skops")


def test_without_skops_the_extra_is_named():
    code = "import sys; sys.modules['skops.io'] = None; from skvae import persistence"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert 'pip install "skvae[skops]"' in done.stderr.splitlines()[-1]
