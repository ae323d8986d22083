"""What dump refuses: what would be read as something else, or could not be read."""

import collections
import copy
import decimal
import enum
import io
import os
import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
from saved import damaged
from sklearn.gaussian_process import GaussianProcessClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, ShuffleSplit
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from skvae import VAETransformer, networks, persistence
from skvae.callbacks import LogLikelihoodMonitor
from skvae.persistence.audit import name_of
from skvae.persistence.comparison import difference

X = damaged.X
y = np.arange(len(X)) % 2
NUMBERS = np.linspace(-1.0, 1.0, 30)


def vae(**parameters):
    return VAETransformer(2, **{**damaged.QUICK, **parameters})


def dumped(estimator):
    return damaged.written(persistence.dump, estimator)


def holding(value):
    """A pipeline, of which a parameter of another's estimator is this value."""
    return make_pipeline(FunctionTransformer(kw_args={"value": value}), vae())


def refused(estimator):
    """Why dump refuses an estimator."""
    with pytest.raises(ValueError, match=r"cannot be saved.*joblib") as caught:
        dumped(estimator)
    return str(caught.value)


# ---- what would be read as something else --------------------------------------------

WEIGHTS = {True: 5.0, False: 1.0}


class Kind(enum.StrEnum):
    NORMAL = "gaussian"


class Level(enum.IntEnum):
    LOW = 1


READ_AS_ANOTHER = {
    "keys that become one": (
        make_pipeline(vae(), LogisticRegression(class_weight=WEIGHTS)),
        "steps[1][1].class_weight, of type dict",
    ),
    "such keys in a search": (
        GridSearchCV(LogisticRegression(), {"class_weight": [None, WEIGHTS]}),
        "param_grid['class_weight'][1], of type dict",
    ),
    "numbers beside their names": (
        vae(likelihood={1: "gaussian", "1": "poisson"}),
        "likelihood, of type dict ({1: 'gaussian', '1': 'poisson'} would be read as "
        "{1: 'poisson'})",
    ),
    "enumeration of text": (
        vae(likelihood=Kind.NORMAL),
        "likelihood, of type Kind (<Kind.NORMAL: 'gaussian'> would be read as "
        "'gaussian')",
    ),
    "enumeration of numbers": (holding([0, Level.LOW]), "['value'][1], of type Level"),
    "within settings": (
        vae(network=networks.ConvNet((Level.LOW, 2, 2))),
        "its network.image_shape[0], of type Level",
    ),
    "shape without cells": (
        holding(np.empty((0, 3), dtype=object)),
        "['value'], of type ndarray",
    ),
    "a queue": (holding(collections.deque([1])), "['value'], of type deque"),
    "what a mask is filled with": (
        holding(np.ma.masked_array([1, 2], [False, True], fill_value=9)),
        "['value'], of type MaskedArray",
    ),
}


@pytest.mark.parametrize("name", READ_AS_ANOTHER)
def test_what_would_be_read_as_something_else_is_refused(name):
    estimator, part = READ_AS_ANOTHER[name]
    reason = refused(estimator)
    assert part in reason and "would be read as" in reason


def test_a_fitted_model_is_refused_for_a_parameter_and_leaves_the_file(tmp_path):
    path = tmp_path / "model.skops"
    persistence.dump(vae(), path)
    weighted = make_pipeline(vae(), LogisticRegression(class_weight=WEIGHTS)).fit(X, y)
    with pytest.raises(ValueError, match=re.escape("steps[1][1].class_weight")):
        persistence.dump(weighted, path)
    assert persistence.load(path).n_components == 2


# ---- what cannot be read at all ------------------------------------------------------


def nested(depth):
    value = "gaussian"
    for _ in range(depth):
        value = [value]
    return value


def endless():
    value = ["gaussian"]
    value.append(value)
    return value


def modules():
    return networks.Modules(torch.nn.Linear(4, 4), torch.nn.Linear(2, 8))


def dated(where):
    """A table with dates for labels, or for the names of its columns."""
    dates = pd.to_datetime(["2020-01-01", "2021-01-01"])
    if where == "labels":
        return pd.DataFrame({"a": NUMBERS, "b": pd.Categorical([*dates] * 15)})
    return pd.DataFrame(X[:, :2], columns=dates)


NOT_READ = {
    "modules": (lambda: vae(network=modules()), "network, of type Modules"),
    "modules of a fit": (
        lambda: make_pipeline(vae(network=modules())).fit(X),
        "steps[0][1].network, of type Modules",
    ),
    "prior of torch": (
        lambda: vae(
            prior=torch.distributions.Normal(torch.zeros(2), torch.ones(2)),
        ),
        "prior, of type Normal",
    ),
    "lambda": (
        lambda: make_pipeline(FunctionTransformer(lambda table: table), vae()),
        "steps[0][1].func, of type function",
    ),
    "nested": (
        lambda: make_pipeline(vae(likelihood=nested(300))),
        "steps[0][1].likelihood, of type list (it holds itself, or is nested",
    ),
    "endless": (lambda: vae(likelihood=endless()), "likelihood, of type list (it"),
    "date labels": (
        lambda: vae().fit(dated("labels")),
        "likelihood_[1]['levels'][0], of type Timestamp",
    ),
    "date columns": (
        lambda: vae().fit(dated("columns")),
        "likelihood_[0]['column'], of type Timestamp",
    ),
}


@pytest.mark.parametrize("name", NOT_READ)
def test_the_part_that_cannot_be_saved_is_named(name):
    make, part = NOT_READ[name]
    assert f"because of its {part}" in refused(make())


def test_want_of_memory_is_no_fault_of_the_estimator(monkeypatch):
    def fail(value):
        raise MemoryError

    monkeypatch.setattr("skops.io.dumps", fail)
    with pytest.raises(MemoryError):
        dumped(vae())


def test_callbacks_are_refused_until_they_are_taken_off():
    model = vae()
    model.set_callbacks(LogLikelihoodMonitor(X=X))
    model.fit(X)
    assert "the callbacks (LogLikelihoodMonitor)" in refused(model)
    reason = refused(make_pipeline(model))
    assert "callbacks of its steps[0][1] (Log" in reason and "set_callbacks()" in reason
    again = persistence.load(io.BytesIO(dumped(model.set_callbacks())))
    np.testing.assert_array_equal(again.transform(X), model.transform(X))


def test_the_memory_of_a_pipeline_is_refused_until_it_is_taken_away():
    pipeline = make_pipeline(vae(), memory="results")
    assert "cannot be saved with the memory" in refused(pipeline)
    reason = refused(GridSearchCV(pipeline, {"vaetransformer__beta": [1.0]}))
    assert "the memory of its estimator" in reason and "memory=None" in reason
    persistence.load(io.BytesIO(dumped(pipeline.set_params(memory=None))))


# ---- what is read where it is trusted ------------------------------------------------

LABELS = {
    "interval": (pd.cut(NUMBERS, 3), [pd.Interval]),
    "period": (
        pd.Categorical(pd.PeriodIndex(["2020", "2021"] * 15, freq="Y")),
        [pd.Period, pd.offsets.YearEnd],
    ),
    "decimal": (
        pd.Categorical([decimal.Decimal(digit) for digit in "12"] * 15),
        [decimal.Decimal],
    ),
}


@pytest.mark.parametrize("name", LABELS)
def test_labels_that_load_will_not_read_untrusted_are_warned_of(name):
    labels, kinds = LABELS[name]
    names = sorted(map(name_of, kinds))
    model = vae().fit(pd.DataFrame({"a": NUMBERS, "b": labels}))
    with pytest.warns(UserWarning, match=re.escape(f"trusted={names}")) as caught:
        content = dumped(make_pipeline(model))
    assert len(caught) == 1 and caught[0].filename == damaged.__file__
    with pytest.raises(TypeError, match=re.escape(names[0])):
        persistence.load(io.BytesIO(content))
    again = persistence.load(io.BytesIO(content), trusted=kinds)[0]
    found, wanted = (each.sample(20, random_state=0) for each in (again, model))
    pd.testing.assert_frame_equal(found, wanted)


CLASSIFIERS = [
    KNeighborsClassifier(),
    DecisionTreeClassifier(),
    GaussianProcessClassifier(),
    SVC(random_state=np.random.RandomState(0)),
    MLPClassifier((3,), max_iter=300, tol=0.1, random_state=np.random.RandomState(0)),
]


@pytest.mark.parametrize(
    "classifier", CLASSIFIERS, ids=lambda each: type(each).__name__
)
def test_estimators_of_others_are_saved_without_a_word(classifier):
    pipeline = make_pipeline(vae(), classifier).fit(X, y)
    content = dumped(pipeline)
    try:
        again = persistence.load(io.BytesIO(content))
    except TypeError as error:
        names = re.findall(r"'(sklearn\.[\w.]+)'", str(error))
        again = persistence.load(io.BytesIO(content), trusted=names)
    np.testing.assert_array_equal(again.predict(X), pipeline.predict(X))


# ---- the comparison ------------------------------------------------------------------

RECORDS = np.array(
    [(1, np.nan)], dtype=np.dtype([("a", "i1"), ("b", "f8")], align=True)
)
THINGS = {
    "nan": float("nan"),
    "numbers": [1, -0.0, 2.5, 1j, True, None, 10**400, np.float32(0.1), np.int8(3)],
    "text": ["a", "\ud800", b"\x00", np.str_("a")],
    "long": np.array(["0.1"], dtype=np.longdouble),
    "array": np.array([[np.nan, -0.0], [1.0, np.inf]], order="F")[:, ::-1],
    "objects": np.array([[None, "a"], [np.nan, [2]]], dtype=object),
    "records": RECORDS,
    "masked": np.ma.masked_array([1.0, 2.0], [False, True]),
    "dates": np.array(["2020-01-01", "NaT"], dtype="M8[D]"),
    "dict": {1: "a", "1": "b", None: (), ("a", 1): [{}]},
    "sets": [{"a", "b", 1}, frozenset({2.0})],
    "ordered": collections.OrderedDict(a=1, b=2),
    "counted": collections.Counter("abba"),
    "sparse": scipy.sparse.csr_array([[0.0, np.nan], [1.0, 0.0]]),
    "random": [np.random.RandomState(0), np.random.default_rng(0)],
    "functions": [np.tanh, len, re.compile("a"), VAETransformer, slice(1, 2)],
    "settings": networks.ConvNet((1, 2, 2)),
    "search": GridSearchCV(vae(), {"beta": [1.0]}, cv=ShuffleSplit(random_state=0)),
    "endless": endless(),
    "twice": [X, X],
}


@pytest.mark.parametrize("name", THINGS)
def test_a_copy_is_the_same(name):
    assert difference(THINGS[name], copy.deepcopy(THINGS[name])) is None


def test_the_order_of_what_has_none_does_not_count():
    assert difference({0, 8}, {8, 0}) is None  # which collide, and stand as they came
    first, second = SimpleNamespace(a=1, b=2), SimpleNamespace(b=2, a=1)
    assert difference(first, second) is None


@pytest.mark.skipif(
    np.finfo(np.longdouble).nmant != 63, reason="has no undefined bytes"
)
def test_undefined_bytes_do_not_count():
    number = np.array(["0.1"], dtype=np.longdouble)
    other = number.copy()
    other.view(np.uint8)[-1] ^= 1
    assert difference(number, other) is None
    assert difference(number, np.array([0.1], dtype=np.longdouble))


def test_a_fitted_model_is_the_same_as_its_copy():
    model = damaged.models()["pipeline"]
    assert difference(model, copy.deepcopy(model)) is None


PAIRS = {
    "kind of number": ([1], [1.0], "[0]"),
    "truth": ({"a": True}, {"a": 1}, "['a']"),
    "scalar": ([np.float32(1)], [np.float64(1)], "[0]"),
    "text": (("a", "b"), ("a", "c"), "[1]"),
    "one bit": (np.array([1.0]), np.nextafter([1.0], 2.0), ""),
    "byte order": (np.array([1], "<i4"), np.array([1], ">i4"), ""),
    "kind of array": (np.array([1], "i8"), np.array([1], "u8"), ""),
    "shape": (np.empty((0, 3)), np.empty((3, 0)), ""),
    "object": (np.array([None, 1], object), np.array([None, True], object), ""),
    "field": (RECORDS, np.zeros_like(RECORDS), ""),
    "mask": (np.ma.masked_array([1], [True]), np.ma.masked_array([1], [False]), ""),
    "length": ({"a": [1]}, {"a": [1, 2]}, "['a']"),
    "order of keys": ({"a": 1, "b": 2}, {"b": 2, "a": 1}, ""),
    "keys": ([{"1": "a"}], [{1: "a"}], "[0]"),
    "set": ({1, 2}, {1, 3}, ""),
    "sparse": (scipy.sparse.eye_array(2), scipy.sparse.eye_array(2, k=1), ""),
    "random": (np.random.RandomState(0), np.random.RandomState(1), ""),
    "function": ([np.tanh, len], [np.tanh, max], "[1]"),
    "function of Python": ([dumped], [holding], "[0]"),
    "type": ([int], [float], "[0]"),
    "attributes": (SimpleNamespace(a=1), SimpleNamespace(b=1), ""),
    "parameter": (
        make_pipeline(vae(beta=1.0)),
        make_pipeline(vae(beta=2.0)),
        ".steps[0][1].beta",
    ),
    "settings": (
        networks.ConvNet((1, 2, 2)),
        networks.ConvNet((1, 2, 3)),
        ".image_shape[2]",
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_another_is_not_the_same(name):
    given, read, path = PAIRS[name]
    assert difference(given, read).path == path


# ---- files ---------------------------------------------------------------------------

posix = pytest.mark.skipif(os.name != "posix", reason="permissions are those of POSIX")


@posix
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o666])
def test_a_file_keeps_its_permissions(tmp_path, monkeypatch, mode):
    path = tmp_path / "model.skops"
    persistence.dump(vae(), path)
    path.chmod(mode)
    seen, sync = [], os.fsync

    def look(file):
        seen.append(os.fstat(file).st_mode & 0o777)
        sync(file)

    monkeypatch.setattr(os, "fsync", look)
    persistence.dump(vae(beta=2.0), path)
    assert path.stat().st_mode & 0o777 == mode and seen == [mode]
    assert persistence.load(path).beta == 2.0


def test_a_read_only_file_is_not_replaced(tmp_path):
    path = tmp_path / "model.skops"
    persistence.dump(vae(), path)
    path.chmod(0o444)
    with pytest.raises(PermissionError, match=re.escape(repr(str(path)))):
        persistence.dump(vae(beta=2.0), path)
    assert persistence.load(path).beta == 1.0
    assert [*tmp_path.iterdir()] == [path]


@pytest.mark.parametrize("file", [None, b"model.skops"], ids=str)
def test_a_file_is_a_path_or_a_file(file):
    with pytest.raises(TypeError, match="path or a binary file object, got"):
        persistence.dump(vae(), file)


def test_errors_name_the_file_that_was_meant(tmp_path):
    path = tmp_path / "missing" / "model.skops"
    with pytest.raises(FileNotFoundError) as caught:
        persistence.dump(vae(), path)
    assert caught.value.filename == str(path)
    assert str(caught.value).endswith(f"directory: {str(path)!r}")


@posix
def test_a_name_may_be_as_long_as_those_of_files(tmp_path):
    path = tmp_path / ("a" * 250)
    persistence.dump(vae(), path)
    assert persistence.load(path).n_components == 2


@posix
def test_links_that_lead_nowhere_are_an_error(tmp_path):
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    with pytest.raises(OSError, match="loop"):
        persistence.dump(vae(), loop)
    assert loop.is_symlink()
