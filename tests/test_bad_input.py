"""Bad input gets a clear error and changes nothing, or a defined and finite answer."""

from contextlib import contextmanager

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.datasets import load_iris

from skvae import VAETransformer
from skvae.likelihoods import Gaussian

FRAME = load_iris(as_frame=True).data.set_axis(["a", "b", "c", "d"], axis=1)
POLARS = pl.DataFrame(FRAME.to_dict("list"))
X = FRAME.to_numpy()
BINARY = (X > X.mean(axis=0)).astype(float)
METHODS = ["transform", "score_samples", "score", "score_features"]


def with_value(value, row=3, column=2, dtype=float):
    changed = X.astype(dtype)
    changed[row, column] = value
    return changed


def blown_up(factor):
    return X * np.where(np.arange(4) == 2, factor, 1.0)


def small(**parameters):
    return VAETransformer(**{"max_iter": 3, "random_state": 0, **parameters})


@contextmanager
def unchanged(estimator):
    names, before = list(vars(estimator)), joblib.hash(vars(estimator))
    yield
    assert list(vars(estimator)) == names
    assert joblib.hash(vars(estimator)) == before


#: By name: parameters, data, and what the message of fit must match.
REFUSED = {
    "nan": ({}, with_value(np.nan), "NaN in column 2"),
    "infinity": ({}, with_value(-np.inf), "infinity in column 2"),
    "nan_in_float32": ({}, with_value(np.nan, dtype="float32"), "NaN in column 2"),
    "nan_in_float16": ({}, with_value(np.nan, dtype="float16"), "NaN in column 2"),
    "nan_among_objects": ({}, with_value(np.nan, dtype=object), "NaN in column 2"),
    "nan_in_pandas": ({}, FRAME.mask(FRAME > 7.8), "NaN in column 'a'"),
    "null_in_polars": (
        {},
        POLARS.with_columns(b=pl.Series([None, *X[1:, 1]])),
        "NaN in column 'b'",
    ),
    "text_in_pandas": ({}, FRAME.assign(c="cat"), "'c'.* do not hold numbers"),
    "dates_in_pandas": (
        {},
        FRAME.assign(c=pd.Timestamp("2024-01-01")),
        "'c'.* do not hold numbers",
    ),
    "categories_in_pandas": (
        {},
        FRAME.assign(c=pd.Categorical([1, 2, 3] * 50)),
        "'c'.* do not hold numbers",
    ),
    "text_in_polars": (
        {},
        POLARS.with_columns(c=pl.lit("cat")),
        "'c'.* do not hold numbers",
    ),
    "text_among_objects": ({}, with_value("cat", dtype=object), "(?i)column.* 2.*cat"),
    "text_array": ({}, X.astype(str)[:, :2].astype("U9"), "numeric"),
    "complex": ({}, X + 1j, "Complex data not supported"),
    "one_row": ({}, X[:1], r"1 sample.*minimum of 2"),
    "no_rows": ({}, X[:0], r"0 sample"),
    "one_dimension": ({}, X[:, 0], "Expected 2D array"),
    "not_binary": ({"likelihood": "bernoulli"}, X, r"Column 0 holds 5.1 \(row 0\)"),
    "not_binary_in_pandas": (
        {"likelihood": "bernoulli"},
        pd.DataFrame(BINARY, columns=[*"abcd"]).replace({"c": {1.0: 2.0}}),
        "Column 'c' holds 2.0",
    ),
    "no_components": ({"n_components": 0}, X, "'n_components' parameter"),
    "unknown_likelihood": (
        {"likelihood": "gausian"},
        X,
        "(?=.*'likelihood' parameter)(?=.*'gaussian')(?=.*'bernoulli')",
    ),
    "unknown_device": ({"device": "abacus"}, X, "device='abacus'"),
    "overflowing_variance": ({}, blown_up(1e200), "Column 2 holds values too large"),
    "too_large_for_training": (
        {"standardize": False},
        blown_up(1e30),
        "column furthest out of range is 2.*learning_rate",
    ),
    "too_large_for_training_in_pandas": (
        {"standardize": False},
        FRAME.assign(c=1e30 * FRAME["c"]),
        "column furthest out of range is 'c'.*learning_rate",
    ),
    "too_fast": ({"learning_rate": 1e6}, X, "column furthest.*learning_rate=1000000"),
    "far_too_fast": ({"learning_rate": 1e30}, X, "column furthest.*learning_rate=1e"),
    "warm_up_beyond_one": ({"kl_warmup": 1.5}, X, "'kl_warmup' parameter"),
}


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize(
    ("parameters", "data", "message"), REFUSED.values(), ids=REFUSED
)
def test_refused_by_an_unfitted_estimator(parameters, data, message, method):
    estimator = small(**parameters)
    with unchanged(estimator), pytest.raises(ValueError, match=message):
        getattr(estimator, method)(data)
    assert not estimator.__sklearn_is_fitted__()


@pytest.mark.parametrize(
    ("parameters", "data", "message"), REFUSED.values(), ids=REFUSED
)
def test_refused_by_a_fitted_estimator(parameters, data, message):
    estimator = small().fit(X)
    scores = estimator.score_samples(X)
    estimator.set_params(**parameters)
    with unchanged(estimator), pytest.raises(ValueError, match=message):
        estimator.fit(data)
    np.testing.assert_array_equal(estimator.score_samples(X), scores)


#: By name: parameters, training data, rows, and what the message must match.
REFUSED_ROWS = {
    "nan": ({}, X, with_value(np.nan), "NaN in column 2"),
    "infinity": ({}, X, with_value(np.inf), "infinity in column 2"),
    "nan_in_pandas": ({}, FRAME, FRAME.mask(FRAME > 7.8), "NaN in column 'a'"),
    "text_in_pandas": ({}, FRAME, FRAME.assign(c="cat"), "'c'.* do not hold numbers"),
    "text_in_polars": (
        {},
        POLARS,
        POLARS.with_columns(c=pl.lit("cat")),
        "'c'.* do not hold numbers",
    ),
    "text_among_objects": (
        {},
        X,
        with_value("cat", dtype=object),
        "(?i)column.* 2.*cat",
    ),
    "missing_column": ({}, X, X[:, :3], "X has 3 features.*expecting 4 features"),
    "surplus_column": ({}, X, X[:, [0, 1, 2, 3, 0]], "X has 5 features.*expecting 4"),
    "missing_name": ({}, FRAME, FRAME[["a", "b", "c"]], "(?s)now missing.*- d"),
    "renamed": ({}, FRAME, FRAME.rename(columns={"a": "q"}), "(?s)unseen.*- q.*- a"),
    "reordered": ({}, FRAME, FRAME[["b", "a", "c", "d"]], "must be in the same order"),
    "reordered_in_polars": (
        {},
        POLARS,
        POLARS[["b", "a", "c", "d"]],
        "must be in the same order",
    ),
    "not_binary": (
        {"likelihood": "bernoulli"},
        BINARY,
        np.where(np.arange(4) == 1, 0.5, BINARY),
        r"Column 1 holds 0.5 \(row 0\)",
    ),
    "no_rows": ({}, X, X[:0], "0 sample"),
}


@pytest.mark.parametrize("method", [*METHODS, "partial_fit"])
@pytest.mark.parametrize(
    ("parameters", "training", "rows", "message"),
    REFUSED_ROWS.values(),
    ids=REFUSED_ROWS,
)
def test_rows_refused_after_fit(parameters, training, rows, message, method):
    estimator = small(**parameters).fit(training)
    with unchanged(estimator), pytest.raises(ValueError, match=message):
        getattr(estimator, method)(rows)


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        (np.zeros((2, 3)), "X has 3 columns.*n_components_=2"),
        (np.full((2, 2), np.nan), "NaN"),
    ],
    ids=["width", "nan"],
)
def test_codes_refused(codes, message):
    estimator = small(n_components=2).fit(X)
    with unchanged(estimator), pytest.raises(ValueError, match=message):
        estimator.inverse_transform(codes)


@pytest.mark.parametrize("n_samples", [0, -1])
def test_number_of_samples_refused(n_samples):
    estimator = small().fit(X)
    with unchanged(estimator), pytest.raises(ValueError, match="n_samples =="):
        estimator.sample(n_samples)


def test_two_rows_are_too_few_to_hold_one_out():
    estimator = small(early_stopping=True)
    with unchanged(estimator), pytest.raises(ValueError, match="early_stopping"):
        estimator.fit(X[:2])


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_divergence_in_the_last_step_is_noticed(method):
    estimator = small(learning_rate=1e30, max_iter=1, early_stopping=False)
    with unchanged(estimator), pytest.raises(ValueError, match="learning_rate=1e"):
        getattr(estimator, method)(X[:20])


class Interrupts:
    """Ctrl-C at the end of the second epoch."""

    def setup(self, estimator, context):
        pass

    def teardown(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context):
        if context.task_name == "epoch" and context.task_id == 1:
            raise KeyboardInterrupt


@pytest.mark.parametrize("warm_start", [False, True])
@pytest.mark.parametrize("fitted", [False, True])
def test_interrupt(fitted, warm_start):
    estimator = small(warm_start=warm_start)
    if fitted:
        scores = estimator.fit(X).score_samples(X)
    estimator.set_callbacks(Interrupts())
    with unchanged(estimator), pytest.raises(KeyboardInterrupt):
        estimator.fit(X)
    assert estimator.__sklearn_is_fitted__() == fitted
    if fitted:
        np.testing.assert_array_equal(estimator.score_samples(X), scores)


RANDOM = np.random.default_rng(0)
WIDE = RANDOM.normal(size=(20, 2_000))

#: Unusual, and not wrong: parameters and data.
ANSWERED = {
    "constant_column": ({}, np.where(np.arange(4) == 2, 7.3, X)),
    "constant_columns": ({}, np.full((30, 3), 1e5 + 0.1)),
    "constant_bernoulli_columns": ({"likelihood": "bernoulli"}, np.ones((30, 3))),
    "constant_column_unscaled": (
        {"standardize": False},
        np.where(np.arange(4) == 2, 7.3, X),
    ),
    "one_column": ({}, X[:, :1]),
    "more_components_than_columns": ({"n_components": 9}, X),
    "more_components_than_rows": ({"n_components": 9}, RANDOM.normal(size=(5, 12))),
    "fewer_rows_than_the_batch": ({"batch_size": 1_000}, X),
    "two_rows": ({}, X[:2]),
    "two_rows_alike": ({}, X[[0, 0]]),
    "three_rows": ({}, X[:3]),
    "three_rows_one_held_out": ({"early_stopping": True}, X[:3]),
    "three_rows_bernoulli": ({"likelihood": "bernoulli"}, BINARY[[0, 60, 110]]),
    "two_thousand_columns": ({"max_iter": 2}, WIDE),
    "two_thousand_bernoulli_columns": (
        {"max_iter": 2, "likelihood": "bernoulli"},
        (WIDE > 0).astype(float),
    ),
    "duplicated_columns": ({}, X[:, [0, 0, 1, 2, 3, 3]]),
    "duplicated_columns_shared_scale": (
        {"likelihood": Gaussian("shared"), "hidden_layer_sizes": ()},
        X[:, [0, 0, 0, 0]],
    ),
    "large_beside_small": ({}, X * [1e8, 1e-8, 1.0, 1e-8]),
    "outlier": ({}, with_value(1e12)),
}


@pytest.mark.parametrize(("parameters", "data"), ANSWERED.values(), ids=ANSWERED)
def test_answers_are_finite(parameters, data):
    estimator = small(**parameters).fit(data)
    codes = estimator.transform(data)
    assert codes.shape == (len(data), estimator.n_components_)
    answers = {
        "transform": codes,
        "inverse_transform": estimator.inverse_transform(codes),
        "score_samples": estimator.score_samples(data),
        "score_features": estimator.score_features(data),
        "sample": estimator.sample(7, random_state=0),
        "loss_curve_": estimator.loss_curve_,
        "kl_per_component_": estimator.kl_per_component_,
    }
    assert [
        name for name, found in answers.items() if not np.isfinite(found).all()
    ] == []
    assert answers["inverse_transform"].shape == data.shape
    assert answers["sample"].shape == (7, data.shape[1])


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


FORMS = {
    "float32": lambda table: table.astype("float32"),
    "float16": lambda table: table.astype("float16"),
    "int64": lambda table: table.astype("int64"),
    "int8": lambda table: table.astype("int8"),
    "uint8": lambda table: table.astype("uint8"),
    "fortran": np.asfortranarray,
    "read_only": read_only,
    "strided": lambda table: np.repeat(table, 2, axis=1)[:, ::2],
    "reversed": lambda table: table[::-1][::-1],
    "big_endian": lambda table: table.astype(">f8"),
    "objects": lambda table: table.astype(object),
    "list": lambda table: table.tolist(),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_the_same_numbers_in_another_form_give_the_same_model(form):
    table = np.rint(10 * X)  # every form holds whole numbers below 127 exactly
    plain, other = small().fit(table), small().fit(form(table))
    np.testing.assert_array_equal(
        other.score_samples(table), plain.score_samples(table)
    )
    precision = 1e-4 if other.transform(form(table)).dtype == np.float32 else 1e-12
    np.testing.assert_allclose(
        other.transform(form(table)), plain.transform(table), atol=precision
    )


@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli"])
def test_booleans_are_zeros_and_ones(likelihood):
    plain = small(likelihood=likelihood).fit(BINARY)
    other = small(likelihood=likelihood).fit(BINARY.astype(bool))
    np.testing.assert_array_equal(
        other.score_samples(BINARY.astype(bool)), plain.score_samples(BINARY)
    )
    assert other.sample(3, random_state=0).dtype == bool


@pytest.mark.parametrize("n_rows", [200, 20_000], ids=["one_chunk", "two_chunks"])
def test_read_only_memory_map(tmp_path, n_rows):
    table = np.random.default_rng(0).normal(size=(n_rows, 2)) @ [[1, 0.9], [0, 0.4]]
    np.save(tmp_path / "table.npy", table)
    mapped = np.load(tmp_path / "table.npy", mmap_mode="r")
    in_memory, from_file = small().fit(table), small().fit(mapped)
    assert from_file.n_iter_ >= 1
    np.testing.assert_array_equal(
        from_file.score_samples(mapped), from_file.score_samples(table)
    )
    # Rows come in another order from a file, and that is all.
    assert from_file.score(table) == pytest.approx(in_memory.score(table), abs=0.05)
    np.testing.assert_array_equal(np.load(tmp_path / "table.npy"), table)


def test_scales_far_apart_are_standardised_away():
    scales = np.array([1e8, 1e-8, 1e4, 1.0])
    plain, scaled = small(max_iter=50).fit(X), small(max_iter=50).fit(X * scales)
    np.testing.assert_allclose(
        scaled.transform(X * scales), plain.transform(X), atol=1e-3
    )
    np.testing.assert_allclose(
        scaled.score_samples(X * scales) + np.log(scales).sum(),
        plain.score_samples(X),
        atol=1e-3,
    )


def test_offset_is_standardised_away():
    table = X / X.std(axis=0)
    plain, moved = small(max_iter=50).fit(table), small(max_iter=50).fit(table + 1e6)
    np.testing.assert_allclose(
        moved.transform(table + 1e6), plain.transform(table), atol=1e-3
    )
    np.testing.assert_allclose(
        moved.score_samples(table + 1e6), plain.score_samples(table), atol=1e-3
    )
    means = moved.inverse_transform(moved.transform(table + 1e6)) - 1e6
    np.testing.assert_allclose(
        means, plain.inverse_transform(plain.transform(table)), atol=1e-3
    )


@pytest.mark.parametrize("method", ["fit", "partial_fit", *METHODS])
@pytest.mark.parametrize("standardize", [False, True])
@pytest.mark.parametrize(
    "table",
    [X, np.asfortranarray(X), X.astype("float32"), FRAME, POLARS],
    ids=["c_order", "fortran_order", "float32", "pandas", "polars"],
)
def test_input_is_not_written_to(table, method, standardize):
    estimator = small(standardize=standardize).fit(table)
    given = table.clone() if isinstance(table, pl.DataFrame) else table.copy()
    before = joblib.hash(np.asarray(given))
    getattr(estimator, method)(given)
    assert joblib.hash(np.asarray(given)) == before


def test_codes_are_not_written_to():
    estimator = small().fit(X)
    codes = estimator.transform(X)
    before = codes.copy()
    estimator.inverse_transform(codes)
    np.testing.assert_array_equal(codes, before)


@pytest.mark.parametrize("method", ["score_samples", "score_features"])
@pytest.mark.parametrize(
    ("dtype", "factor"),
    [("float64", 1e30), ("float32", 1e30), ("float64", 1e200)],
    ids=["finite", "overflowing_float32", "overflowing_float64"],
)
def test_hopelessly_distant_rows_have_defined_scores(dtype, factor, method):
    estimator = small(max_iter=50).fit(X)
    far = getattr(estimator, method)((X * factor).astype(dtype)).reshape(150, -1)
    assert not np.isnan(far).any()
    assert far.sum(axis=1).max() < estimator.score_samples(X).min()


def test_draws_stay_within_the_range_of_the_dtype():
    table = (X * 65_000 / X.max(axis=0)).astype("float16")
    drawn = small().fit(table).sample(2_000, random_state=0)
    assert drawn.dtype == "float16"
    assert np.isfinite(drawn).all()


def test_numbered_columns_of_a_frame_are_named_by_their_labels():
    frame = FRAME.set_axis([10, 11, 12, 13], axis=1)
    with pytest.raises(ValueError, match="NaN in column 12 "):
        small().fit(frame.astype(float).replace({12: {1.4: np.nan}}))
