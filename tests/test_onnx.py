"""Exported models: the same numbers as Python's, for every method and setting."""

import importlib
import subprocess
import sys
from functools import cache

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
import skl2onnx
import torch
from onnx import helper
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer, load_wine
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import StandardScaler

from skvae import AETransformer, VAEImputer, VAEOutlierDetector, VAETransformer
from skvae.ensemble import SCORES
from skvae.likelihoods import Gaussian, Laplace, StudentT
from skvae.networks import ACTIVATIONS, MLP, ConvNet
from skvae.onnx import to_onnx
from skvae.onnx.graph import OPSET, Graph
from skvae.onnx.nodes import _NODES
from skvae.posteriors import Point
from skvae.priors import Distribution

X = load_wine().data
N_COLUMNS = X.shape[1]
HOLED = np.where(np.random.default_rng(0).random(X.shape) < 0.15, np.nan, X)
HOLED[3] = np.nan
CANCER, IS_BENIGN = load_breast_cancer(return_X_y=True)

#: In float64 the two differ by rounding. In float32 a value near 0 is the difference of
#: larger ones, and has few digits: it is compared by the spread of its column.
TOLERANCE = {np.float64: 1e-10, np.float32: 1e-5}

small = {"hidden_layer_sizes": (8,), "max_iter": 3, "random_state": 0}
#: At random, since hidden layers have no say yet where PCA starts.
transformer = {"n_components": 3, "n_importance_samples": 8, "init": "random", **small}

TRANSFORMERS = {
    **{activation: {"activation": activation} for activation in ACTIVATIONS},
    "no_hidden_layer": {"hidden_layer_sizes": ()},
    "two_hidden_layers": {"hidden_layer_sizes": (8, 4)},
    "no_linear_path": {"network": MLP((8,), linear_path=False)},
    "linear": {"network": "linear"},
    **{
        f"{family.__name__}-{scale}": {"likelihood": family(scale)}
        for family in (Gaussian, Laplace, StudentT)
        for scale in (0.5, "shared", "feature", "conditional")
    },
    "floor": {"likelihood": Gaussian("feature", floor=0.3)},
    "df": {"likelihood": StudentT(df=9.0)},
    "units_of_x": {"standardize": False},
    "beta": {"beta": 4.0},
    **{prior: {"prior": prior} for prior in ("aggregate", "vamp", "mixture")},
}
AUTOENCODERS = {
    "default": {},
    "no_hidden_layer": {"hidden_layer_sizes": ()},
    "noise": {"noise": 0.3},
    "units_of_x": {"standardize": False},
}


def run(model, **inputs):
    """The outputs of a model, in order."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, inputs)


def exported(estimator, method, rows):
    """The answer of an exported model, in the precision of the rows."""
    (answer,) = run(to_onnx(estimator, method, dtype=rows.dtype), X=rows)
    return answer


def assert_close(found, wanted, tolerance):
    """Relative to each value or to the spread of its column, which is larger."""
    scale = np.fmax(np.abs(wanted), wanted.std(axis=0))
    assert (found.dtype, found.shape) == (wanted.dtype, wanted.shape)
    np.testing.assert_allclose(found / scale, wanted / scale, rtol=0, atol=tolerance)


def assert_same(estimator, method, rows, tolerance):
    assert_close(
        exported(estimator, method, rows), getattr(estimator, method)(rows), tolerance
    )


def assert_same_labels(found, decisions):
    """But for those that rounding may turn over: 1e-4 nats from the threshold."""
    certain = np.abs(decisions) > 1e-4
    assert certain.mean() > 0.9
    wanted = np.where(decisions < 0, -1, 1)
    np.testing.assert_array_equal(found[certain], wanted[certain])


@cache
def fitted(name, with_holes):
    parameters = {**transformer, **TRANSFORMERS[name]}
    return VAETransformer(**parameters).fit(HOLED if with_holes else X)


# ---- the numbers ---------------------------------------------------------------------


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("with_holes", [False, True], ids=["whole", "holes"])
@pytest.mark.parametrize("name", TRANSFORMERS)
def test_transformer(name, with_holes, dtype):
    estimator, tolerance = fitted(name, with_holes), TOLERANCE[dtype]
    whole, holed = X.astype(dtype), HOLED.astype(dtype)
    for rows in (whole, holed):
        assert_same(estimator, "transform", rows, tolerance)
    assert_same(estimator, "inverse_transform", estimator.transform(whole), tolerance)
    assert_same(estimator, "score_samples", whole, tolerance)
    assert_same(estimator, "score_samples", holed, tolerance)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("n_draws", [1, 2, 64])
@pytest.mark.parametrize("name", ["silu", "vamp"])
def test_numbers_of_draws(name, n_draws, dtype):
    """Which may be set after the fit; 2 draws are too few for a defensive one."""
    estimator = fitted(name, True)
    before = estimator.n_importance_samples
    try:
        estimator.set_params(n_importance_samples=n_draws)
        assert_same(estimator, "score_samples", HOLED.astype(dtype), TOLERANCE[dtype])
    finally:
        estimator.set_params(n_importance_samples=before)


@pytest.mark.parametrize("value", [7.0, np.nan], ids=["constant", "without_a_number"])
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_columns_that_say_nothing(dtype, value):
    table = X.copy()
    table[:, 2] = value
    estimator = VAETransformer(**transformer).fit(table)
    rows, tolerance = X.astype(dtype), TOLERANCE[dtype]
    codes = estimator.transform(rows)
    assert_same(estimator, "transform", rows, tolerance)
    assert_same(estimator, "inverse_transform", codes, tolerance)
    # To the model without a number in the column its cells are holes.
    assert_same(estimator, "score_samples", rows, tolerance)


@pytest.mark.parametrize("n_estimators", [1, 3])
@pytest.mark.parametrize("novelty", [False, True])
@pytest.mark.parametrize("score_function", SCORES)
def test_detector(score_function, novelty, n_estimators):
    detector = VAEOutlierDetector(
        score_function=score_function,
        novelty=novelty,
        n_estimators=n_estimators,
        **small,
    ).fit(HOLED)
    for dtype in TOLERANCE:
        for table in (X, HOLED):
            rows, tolerance = table.astype(dtype), TOLERANCE[dtype]
            assert_same(detector, "score_samples", rows, tolerance)
            assert_same(detector, "decision_function", rows, tolerance)
            labels = exported(detector, "predict", rows)
            assert labels.dtype == np.int64
            assert_same_labels(labels, detector.decision_function(rows))


def test_the_threshold_is_that_of_the_export():
    detector = VAEOutlierDetector(contamination=0.1, **small).fit(X)
    before = to_onnx(detector, "predict", dtype=np.float64)
    detector.set_contamination(0.4)
    after = to_onnx(detector, "predict", dtype=np.float64)
    shares = [(run(model, X=X)[0] == -1).mean() for model in (before, after)]
    assert shares == pytest.approx([0.1, 0.4], abs=0.01)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", AUTOENCODERS)
def test_autoencoder(name, dtype):
    parameters = {"n_components": 3, "init": "random", **small, **AUTOENCODERS[name]}
    autoencoder = AETransformer(**parameters).fit(HOLED)
    rows, tolerance = HOLED.astype(dtype), TOLERANCE[dtype]
    assert_same(autoencoder, "transform", rows, tolerance)
    codes = autoencoder.transform(rows)
    assert_same(autoencoder, "inverse_transform", codes, tolerance)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_far_from_0(name):
    x = np.linspace(-45, 45, 9_001)
    # Torch's softplus is x from 20 on, and shares near 0 are multiplied by x here.
    for dtype, rtol, atol in ((np.float64, 2e-10, 2e-13), (np.float32, 1e-6, 5e-6)):
        graph = Graph(dtype)
        graph("Identity", _NODES[name](graph, "X"), output="Y")
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        ends = [[helper.make_tensor_value_info(end, kind, ["n"])] for end in "XY"]
        parts = helper.make_graph(graph.nodes, name, *ends, graph.constants)
        opset = helper.make_opsetid("", OPSET)
        model = helper.make_model(parts, opset_imports=[opset], ir_version=8)
        wanted = ACTIVATIONS[name](torch.from_numpy(x.astype(dtype))).numpy()
        (found,) = run(model, X=x.astype(dtype))
        np.testing.assert_allclose(found, wanted, rtol=rtol, atol=atol)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("prior", ["gaussian", "aggregate", "mixture"])
def test_infinity_is_very_far_out(prior, dtype):
    """Where Python refuses it: never NaN, and as low as a row of huge numbers."""
    estimator = VAETransformer(**{**transformer, "prior": prior}).fit(X)
    detector = VAEOutlierDetector(prior=prior, **small).fit(X)
    wild = X[:3].astype(dtype)
    wild[0, 0], wild[1], wild[2, ::2] = np.inf, -np.inf, np.inf
    largest = {np.float64: 1e300, np.float32: 1e38}[dtype]
    huge = wild.clip(-largest, largest)
    for model, method in (
        (estimator, "transform"),
        (estimator, "score_samples"),
        (detector, "score_samples"),
    ):
        found = exported(model, method, wild)
        np.testing.assert_allclose(found, getattr(model, method)(huge), rtol=1e-4)
    assert (exported(detector, "predict", wild) == -1).all()


# ---- the model that comes out --------------------------------------------------------


@pytest.mark.parametrize(
    ("estimator", "method", "n_read", "n_given"),
    [
        (VAETransformer, "transform", N_COLUMNS, 3),
        (VAETransformer, "inverse_transform", 3, N_COLUMNS),
        (VAETransformer, "score_samples", N_COLUMNS, None),
        (AETransformer, "transform", N_COLUMNS, 3),
        (VAEOutlierDetector, "decision_function", N_COLUMNS, None),
        (VAEOutlierDetector, "predict", N_COLUMNS, None),
    ],
)
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_names_shapes_and_any_number_of_rows(estimator, method, n_read, n_given, dtype):
    fitted = estimator(n_components=3, **small).fit(X)
    model = to_onnx(fitted, method, dtype=dtype)
    onnx.checker.check_model(model, full_check=True)
    (read,), (given,) = model.graph.input, model.graph.output
    assert (read.name, given.name) == ("X", method)
    widths = [
        [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in (read, given)
    ]
    rest = [] if n_given is None else [n_given]
    assert widths == [["n_samples", n_read], ["n_samples", *rest]]
    together = np.random.default_rng(0).normal(size=(1_000, n_read)).astype(dtype)
    (answers,) = run(model, X=together)
    assert answers.shape == (1_000, *rest)
    for one in (0, 999):
        (alone,) = run(model, X=together[[one]])
        np.testing.assert_allclose(alone[0], answers[one], rtol=1e-4)


LOAD = """
import sys
import numpy as np
import onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1])
rows = np.load(sys.argv[2])
np.save(sys.argv[3], session.run(None, {"X": rows})[0])
assert not {"torch", "skvae", "sklearn", "onnx"} & set(sys.modules)
"""


def test_a_file_runs_where_there_is_no_torch(tmp_path):
    estimator = fitted("vamp", False)
    paths = [tmp_path / name for name in ("model.onnx", "rows.npy", "answers.npy")]
    onnx.save(to_onnx(estimator, "score_samples", dtype=np.float64), paths[0])
    np.save(paths[1], X)
    subprocess.run([sys.executable, "-c", LOAD, *paths], check=True)
    assert_close(np.load(paths[2]), estimator.score_samples(X), 1e-10)


# ---- pipelines, by skl2onnx ----------------------------------------------------------

PIPELINE_TOLERANCE = {np.float64: 1e-10, np.float32: 1e-4}


@pytest.mark.parametrize("with_scores", [False, True])
@pytest.mark.parametrize("dtype", PIPELINE_TOLERANCE)
def test_pipeline_of_a_transformer(dtype, with_scores):
    pipeline = make_pipeline(StandardScaler(), VAETransformer(**transformer))
    pipeline.fit(CANCER)
    rows, tolerance = CANCER.astype(dtype), PIPELINE_TOLERANCE[dtype]
    options = {VAETransformer: {"score_samples": True}} if with_scores else None
    model = skl2onnx.to_onnx(pipeline, rows[:1], options=options)
    names = [output.name for output in model.graph.output]
    codes, *scores = run(model, X=rows)
    assert names == ["variable", "score_samples"][: 1 + with_scores]
    assert_close(codes, pipeline.transform(rows), tolerance)
    for column in scores:
        wanted = pipeline.score_samples(rows)[:, None].astype(dtype)
        assert_close(column, wanted, tolerance)


@pytest.mark.parametrize("with_scores", [False, True])
@pytest.mark.parametrize("dtype", PIPELINE_TOLERANCE)
def test_pipeline_of_a_detector(dtype, with_scores):
    pipeline = make_pipeline(StandardScaler(), VAEOutlierDetector(**small))
    pipeline.fit(CANCER)
    rows, tolerance = CANCER.astype(dtype), PIPELINE_TOLERANCE[dtype]
    options = {id(pipeline[-1]): {"score_samples": True}} if with_scores else None
    model = skl2onnx.to_onnx(pipeline, rows[:1], options=options)
    names = [output.name for output in model.graph.output]
    labels, *columns = run(model, X=rows)
    assert names == ["label", "scores", "score_samples"][: 2 + with_scores]
    decisions = pipeline.decision_function(rows)
    assert_same_labels(labels[:, 0], decisions)
    wanted = [decisions, pipeline.score_samples(rows)]
    for found, right in zip(columns, wanted, strict=False):
        assert_close(found, right[:, None].astype(dtype), tolerance)


def two_models():
    """Of different widths, so that a mix-up cannot pass."""
    return [
        ("wide", VAETransformer(**transformer)),
        ("narrow", AETransformer(n_components=2, **small)),
    ]


def test_union_of_two_models_before_a_classifier():
    pipeline = make_pipeline(
        StandardScaler(), FeatureUnion(two_models()), LogisticRegression()
    ).fit(CANCER, IS_BENIGN)
    model = skl2onnx.to_onnx(pipeline, CANCER[:1], options={"zipmap": False})
    onnx.checker.check_model(model, full_check=True)
    labels, probabilities = run(model, X=CANCER)
    np.testing.assert_array_equal(labels, pipeline.predict(CANCER))
    assert_close(probabilities, pipeline.predict_proba(CANCER), 1e-10)


def test_columns_for_two_models():
    places = ([0, 1, 2, 3], [9, 3, 12])
    steps = [
        (*model, columns) for model, columns in zip(two_models(), places, strict=True)
    ]
    transformer = ColumnTransformer(steps).fit(X)
    (codes,) = run(skl2onnx.to_onnx(transformer, X[:1]), X=X)
    assert_close(codes, transformer.transform(X), 1e-10)


def test_a_detector_of_codes():
    pipeline = make_pipeline(
        VAETransformer(**transformer), VAEOutlierDetector(**small)
    ).fit(X)
    labels, decisions = run(skl2onnx.to_onnx(pipeline, X[:1]), X=X)
    np.testing.assert_array_equal(labels[:, 0], pipeline.predict(X))
    assert_close(decisions[:, 0], pipeline.decision_function(X), 1e-10)


def test_a_data_frame_has_an_input_for_each_column():
    frame = pd.DataFrame({"a": X[:, 0], "b": np.arange(len(X)), "c": X[:, 2]})
    estimator = VAETransformer(**{**transformer, "n_components": 2}).fit(frame)
    model = skl2onnx.to_onnx(estimator, frame[:1])
    assert [value.name for value in model.graph.input] == ["a", "b", "c"]
    (codes,) = run(model, **{name: frame[[name]].to_numpy() for name in frame})
    assert_close(codes, estimator.transform(frame), 1e-10)


# ---- what is refused -----------------------------------------------------------------


def named(**columns):
    return pd.DataFrame(columns).assign(plain=X[:, 0])


LABELS = np.array(["red", "green", "blue"])[np.arange(len(X)) % 3]
REFUSED = {
    "levels": ({}, named(colour=LABELS), "'colour'.*Categorical"),
    "two_levels": ({}, named(yes=X[:, 1] > 2), "'yes'.*Bernoulli"),
    "binned": ({"likelihood": {"odd": "binned"}}, named(odd=X[:, 1]), "'odd'.*Binned"),
    "counts": (
        {"likelihood": {"n": "poisson"}},
        named(n=np.rint(X[:, 4])),
        "'n'.*Poisson",
    ),
    "log_normal": (
        {"likelihood": {"amount": "log_normal"}},
        named(amount=X[:, 12]),
        "'amount'.*LogNormal",
    ),
    "mixed": (
        {"likelihood": {"far": "student_t"}},
        named(far=X[:, 1]),
        "'plain' has another likelihood than 'far'",
    ),
    "without_a_number": (
        {"likelihood": Gaussian("feature")},
        named(gone=np.full(len(X), np.nan)),
        "has one of its own: leave it out",
    ),
    "residual": ({"network": "residual"}, X, "perceptrons alone"),
    "convolutions": (
        {"network": ConvNet((1, 8, 8), (2,)), "likelihood": "gaussian"},
        np.random.default_rng(0).normal(size=(20, 64)),
        "perceptrons alone",
    ),
    "posterior": ({"posterior": "laplace"}, X, r"posterior=Laplace\(\)"),
    "full_gaussian": ({"posterior": "full_gaussian"}, X, "posterior=FullGaussian"),
    "point": ({"posterior": Point()}, X, r"posterior=Point\(\)"),
    "standard_prior": ({"prior": "standard"}, X, "prior="),
    "given_prior": (
        {"prior": Distribution(torch.distributions.Laplace(0.0, 1.0))},
        X,
        "prior=",
    ),
}


# One epoch is too short for some of these codes to be in use, and refusals need none.
@pytest.mark.filterwarnings("ignore:No component of the code is active")
@pytest.mark.parametrize(
    ("parameters", "table", "message"), REFUSED.values(), ids=REFUSED
)
def test_what_has_no_graph(parameters, table, message):
    estimator = VAETransformer(n_components=1, max_iter=1, **parameters).fit(table)
    for method in ("transform", "inverse_transform", "score_samples"):
        with pytest.raises(ValueError, match=message):
            to_onnx(estimator, method)


def test_skl2onnx_passes_the_reason_on():
    pipeline = make_pipeline(StandardScaler(), VAETransformer(posterior="laplace"))
    pipeline.set_params(vaetransformer__max_iter=1).fit(X)
    with pytest.raises(ValueError, match=r"posterior=Laplace\(\)"):
        skl2onnx.to_onnx(pipeline, X[:1])


@pytest.mark.parametrize(
    "estimator", [VAETransformer(), AETransformer(), VAEOutlierDetector()]
)
def test_unfitted(estimator):
    for export in (to_onnx, lambda model: skl2onnx.to_onnx(model, X[:1])):
        with pytest.raises(NotFittedError, match=type(estimator).__name__):
            export(estimator)


@pytest.mark.parametrize(
    ("estimator", "method"),
    [
        (VAETransformer, "sample"),
        (VAETransformer, "predict"),
        (AETransformer, "score_samples"),
        (VAEOutlierDetector, "transform"),
        (VAEOutlierDetector, "p_values"),
    ],
)
def test_methods_without_a_graph(estimator, method):
    model = estimator(n_components=2, **small).fit(X)
    name = estimator.__name__
    with pytest.raises(ValueError, match=f"method of {name} must be .* got '{method}'"):
        to_onnx(model, method)


class Twice(VAETransformer):
    """A subclass whose codes are others."""

    def transform(self, X):
        return 2 * super().transform(X)


@pytest.mark.parametrize(
    "estimator",
    [
        VAEImputer(max_iter=1),
        StandardScaler(),
        Twice(1, max_iter=1),
        make_pipeline(StandardScaler(), VAETransformer(1, max_iter=1)),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_estimators_without_a_graph(estimator):
    with pytest.raises(ValueError, match=r"VAETransformer.*skl2onnx\.to_onnx"):
        to_onnx(estimator.fit(X))


@pytest.mark.parametrize("dtype", [int, np.float16, bool, None, "foo"])
def test_precisions_that_there_are_not(dtype):
    with pytest.raises(ValueError, match=r"dtype must be numpy\.float32 or"):
        to_onnx(fitted("silu", False), dtype=dtype)


@pytest.mark.parametrize("target_opset", [15, {"": 17, "ai.onnx.ml": 3}])
def test_an_opset_that_is_too_old(target_opset):
    with pytest.raises(RuntimeError, match=f"set target_opset={OPSET} or above"):
        skl2onnx.to_onnx(fitted("silu", False), X[:1], target_opset=target_opset)


@pytest.mark.parametrize("missing", ["onnx", "skl2onnx"])
def test_without_the_packages(missing, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("skvae.onnx")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match=r'pip install "skvae\[onnx\]"'):
        importlib.import_module("skvae.onnx")
