"""Bad input gets a clear error and changes nothing, or a defined and finite answer."""

import datetime
from contextlib import contextmanager

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy.sparse import csc_array, csr_array
from sklearn.datasets import load_iris

from skvae import VAETransformer
from skvae.frames import taken
from skvae.likelihoods import Gaussian

FRAME = load_iris(as_frame=True).data.set_axis(["a", "b", "c", "d"], axis=1)
POLARS = pl.DataFrame(FRAME.to_dict("list"))
X = FRAME.to_numpy()
BINARY = (X > X.mean(axis=0)).astype(float)
COLORS = np.array(["red", "green", "blue"])[np.arange(150) % 3]
TEXT_FRAME = FRAME.assign(c=COLORS)
TEXT_POLARS = POLARS.with_columns(c=pl.Series(COLORS.tolist()))
TEXT_OBJECTS = TEXT_FRAME.to_numpy(dtype=object)
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


#: Mostly different, and long.
PROSE = [f"a review of nine words or so, number {i}" for i in range(150)]

#: By name: parameters, data, and what the message of fit must match.
REFUSED = {
    "infinity": ({}, with_value(-np.inf), "infinity in column 2"),
    "infinity_in_float32": (
        {},
        with_value(np.inf, dtype="float32"),
        "infinity in column 2",
    ),
    "infinity_in_float16": (
        {},
        with_value(np.inf, dtype="float16"),
        "infinity in column 2",
    ),
    "infinity_among_objects": (
        {},
        with_value(np.inf, dtype=object),
        "infinity in column 2",
    ),
    "infinity_in_pandas": (
        {},
        FRAME.mask(FRAME > 7.8, np.inf),
        "infinity in column 'a'",
    ),
    "infinity_in_polars": (
        {},
        POLARS.with_columns(b=pl.Series([np.inf, *X[1:, 1]])),
        "infinity in column 'b'",
    ),
    "infinity_beside_text": (
        {},
        TEXT_FRAME.assign(d=FRAME["d"].mask(FRAME["d"] > 2, np.inf)),
        "infinity in column 'd'",
    ),
    "infinity_in_sparse": (
        {},
        csr_array(np.where(BINARY * (np.arange(4) == 2) > 0, np.inf, BINARY)),
        "infinity in column 2",
    ),
    "dates_in_pandas": (
        {},
        FRAME.assign(c=pd.Timestamp("2024-01-01")),
        "Column 'c' holds dates",
    ),
    "dates_in_polars": (
        {},
        POLARS.with_columns(c=pl.lit(datetime.date(2024, 1, 1))),
        "Column 'c' holds dates",
    ),
    "dates_among_objects": (
        {},
        FRAME.assign(c=datetime.date(2024, 1, 1)).to_numpy(dtype=object),
        "Column 2 holds dates",
    ),
    "dates_array": (
        {},
        np.full((150, 2), np.datetime64("2024-01-01")),
        "Column 0 holds dates",
    ),
    "free_text_in_pandas": ({}, FRAME.assign(c=PROSE), "Column 'c' holds free text"),
    "free_text_in_polars": (
        {},
        POLARS.with_columns(c=pl.Series(PROSE)),
        "Column 'c' holds free text",
    ),
    "text_among_numbers": (
        {},
        with_value("cat", dtype=object),
        "Column 2 holds numbers and text",
    ),
    "text_as_gaussian": (
        {"likelihood": "gaussian"},
        TEXT_FRAME,
        "Column 'c' holds 'blue'",
    ),
    "three_levels_as_bernoulli": (
        {"likelihood": {"c": "bernoulli"}},
        TEXT_FRAME,
        "Column 'c' has 3 levels",
    ),
    "no_such_column": (
        {"likelihood": {"q": "gaussian"}},
        TEXT_FRAME,
        "column 'q', which X does not have",
    ),
    "complex": ({}, X + 1j, "Complex data not supported"),
    "complex_in_pandas": ({}, FRAME.assign(c=1j), "Column 'c' holds complex numbers"),
    "complex_among_objects": (
        {},
        with_value(1j, dtype=object),
        "Column 2 holds complex numbers",
    ),
    "labels_without_an_order": (
        {},
        FRAME.assign(c=pd.Series([True, "a", "b"] * 50, dtype=object)),
        "Column 'c' holds numbers and text",
    ),
    "labels_of_several_types": (
        {},
        FRAME.assign(c=pd.Series([b"a", "a", "b"] * 50, dtype=object)),
        "Column 'c' holds",
    ),
    "beyond_float64": (
        {},
        with_value(10**400, dtype=object),
        "Column 2 holds a number too large",
    ),
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
    "infinity": ({}, X, with_value(np.inf), "infinity in column 2"),
    "infinity_in_pandas": (
        {},
        FRAME,
        FRAME.mask(FRAME > 7.8, np.inf),
        "infinity in column 'a'",
    ),
    "text_in_pandas": (
        {},
        FRAME,
        FRAME.assign(c="cat"),
        "Column 'c' holds 'cat', which is not a number",
    ),
    "text_in_polars": (
        {},
        POLARS,
        POLARS.with_columns(c=pl.lit("cat")),
        "Column 'c' holds 'cat', which is not a number",
    ),
    "text_among_numbers": (
        {},
        X,
        with_value("cat", dtype=object),
        "Column 2 holds numbers and text",
    ),
    "dates_in_pandas": (
        {},
        FRAME,
        FRAME.assign(c=pd.Timestamp("2024-01-01")),
        "Column 'c' holds dates",
    ),
    "unseen_category": (
        {},
        TEXT_FRAME,
        TEXT_FRAME.replace({"c": {"blue": "mauve"}}),
        r"Column 'c' holds 'mauve' \(row 2\)",
    ),
    "unseen_category_in_polars": (
        {},
        TEXT_POLARS,
        TEXT_POLARS.with_columns(pl.col("c").replace("blue", "mauve")),
        r"Column 'c' holds 'mauve' \(row 2\)",
    ),
    "unseen_category_among_objects": (
        {},
        TEXT_OBJECTS,
        np.where(TEXT_OBJECTS == "blue", "mauve", TEXT_OBJECTS),
        r"Column 2 holds 'mauve' \(row 2\)",
    ),
    "unseen_number": (
        {"likelihood": "categorical"},
        np.rint(X),
        np.rint(with_value(77)),
        r"Column 2 holds 77.0 \(row 3\)",
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
    "constant_categorical_columns": ({"likelihood": "categorical"}, np.ones((30, 3))),
    "constant_ordinal_columns": ({"likelihood": "ordinal"}, np.ones((30, 3))),
    "constant_ordinal_column": (
        {"likelihood": "ordinal"},
        np.where(np.arange(4) == 2, 7, np.rint(X)),
    ),
    "constant_binned_columns": ({"likelihood": "binned"}, np.ones((30, 3))),
    "constant_counts": ({"likelihood": "negative_binomial"}, np.zeros((30, 3))),
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
    "hole": ({}, with_value(np.nan)),
    "hole_in_float32": ({}, with_value(np.nan, dtype="float32")),
    "hole_in_float16": ({}, with_value(np.nan, dtype="float16")),
    "nan_among_objects": ({}, with_value(np.nan, dtype=object)),
    "none_among_objects": ({}, with_value(None, dtype=object)),
    "holes_in_pandas": ({}, FRAME.mask(FRAME > 7)),
    "nulls_in_polars": ({}, POLARS.with_columns(b=pl.Series([None, *X[1:, 1]]))),
    "holes_in_bernoulli_columns": (
        {"likelihood": "bernoulli"},
        np.where(X > 6, np.nan, BINARY),
    ),
    "row_of_holes": ({}, np.where(np.arange(150)[:, None] == 3, np.nan, X)),
    "nearly_all_holes": ({}, np.where(RANDOM.random(X.shape) < 0.95, np.nan, X)),
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
        name
        for name, found in answers.items()
        if not np.isfinite(np.asarray(found, dtype=float)).all()
    ] == []
    assert answers["inverse_transform"].shape == data.shape
    assert answers["sample"].shape == (7, data.shape[1])


@pytest.mark.parametrize("likelihood", ["gaussian", "log_normal", "binned"])
def test_a_column_of_holes_stays_one(likelihood):
    table = np.rint(10 * X)
    empty = np.where(np.arange(4) == 2, np.nan, table)
    estimator = small(likelihood=likelihood).fit(empty)
    codes = estimator.transform(empty)
    assert np.isfinite(codes).all()
    for rows in (estimator.inverse_transform(codes), estimator.sample(7)):
        np.testing.assert_array_equal(np.isnan(rows), np.isnan(empty[: len(rows)]))
    parts = estimator.score_features(empty)
    assert np.isfinite(parts).all()
    assert not parts[:, 2].any()
    # What it holds later says nothing.
    scores = estimator.score_samples(empty)
    np.testing.assert_array_equal(estimator.score_samples(table), scores)


#: By name: a table with labels, the column they stand in, and the labels.
WITH_LABELS = {
    "text_in_pandas": (TEXT_FRAME, "c", {"red", "green", "blue"}),
    "one_text_in_pandas": (FRAME.assign(c="cat"), "c", {"cat"}),
    "categories_in_pandas": (
        FRAME.assign(c=pd.Categorical([1, 2, 3] * 50)),
        "c",
        {1, 2, 3},
    ),
    "text_of_numpy_in_pandas": (
        # As `astype(str)` leaves a column of categories with holes before pandas 3.
        FRAME.assign(c=pd.Series(["red", np.str_("green"), "blue"] * 50, dtype=object)),
        "c",
        {"red", "green", "blue"},
    ),
    "text_in_polars": (TEXT_POLARS, "c", {"red", "green", "blue"}),
    "categories_in_polars": (
        TEXT_POLARS.with_columns(pl.col("c").cast(pl.Categorical)),
        "c",
        {"red", "green", "blue"},
    ),
    "text_among_objects": (TEXT_OBJECTS, 2, {"red", "green", "blue"}),
    "text_array": (np.column_stack([COLORS, COLORS]), 1, {"red", "green", "blue"}),
}


@pytest.mark.parametrize(
    ("table", "column", "levels"), WITH_LABELS.values(), ids=WITH_LABELS
)
def test_labels_are_answered(table, column, levels):
    estimator = small().fit(table)
    entry = next(e for e in estimator.likelihood_ if e["column"] == column)
    assert entry["family"] == "categorical"
    assert set(entry["levels"]) == levels
    codes, scores = estimator.transform(table), estimator.score_samples(table)
    assert codes.shape == (150, estimator.n_components_)
    assert np.isfinite(codes).all() and np.isfinite(scores).all()
    np.testing.assert_allclose(
        estimator.score_features(table).sum(axis=1), scores, rtol=1e-9
    )
    means, drawn = (
        estimator.inverse_transform(codes),
        estimator.sample(60, random_state=0),
    )
    for rows in (means, drawn):
        assert type(rows) is type(table)
        values = rows[:, column] if isinstance(rows, np.ndarray) else rows[column]
        assert set(values) <= levels
    assert (
        set(drawn[:, column] if isinstance(drawn, np.ndarray) else drawn[column])
        == levels
    )


@pytest.mark.parametrize(
    ("training", "rows"),
    [
        (X, with_value(np.nan)),
        (X, with_value(None, dtype=object)),
        (BINARY, np.where(X > 6, np.nan, BINARY)),
        (FRAME, FRAME.mask(FRAME > 7)),
        (POLARS, POLARS.with_columns(b=pl.Series([None, *X[1:, 1]]))),
        (TEXT_FRAME, TEXT_FRAME.mask(FRAME > 4)),
    ],
    ids=["array", "objects", "binary", "pandas", "polars", "text"],
)
def test_holes_not_seen_in_fit_are_answered(training, rows):
    estimator = small().fit(training)
    with unchanged(estimator):
        for method in METHODS:
            assert np.isfinite(getattr(estimator, method)(rows)).all()
    assert np.isfinite(estimator.partial_fit(rows).score(rows))


@pytest.mark.parametrize(
    ("parameters", "training", "value", "hole"),
    [
        ({}, TEXT_FRAME, "mauve", None),
        ({"likelihood": "bernoulli"}, BINARY, 0.5, np.nan),
        ({"likelihood": "bernoulli"}, BINARY.astype("float32"), 0.5, np.nan),
    ],
    ids=["text", "binary", "float32"],
)
def test_unknown_levels_are_holes_if_so_asked(parameters, training, value, hole):
    estimator = small(handle_unknown="missing", **parameters).fit(training)

    def rows_with(value):
        rows = training[:5].copy()
        if isinstance(rows, pd.DataFrame):
            rows.loc[3, "c"] = value
        else:
            rows[3, 2] = value
        return rows

    for method in METHODS:
        found = getattr(estimator, method)(rows_with(value))
        expected = getattr(estimator, method)(rows_with(hole))
        np.testing.assert_array_equal(found, expected, strict=True)


def test_unknown_levels_of_sparse_rows_are_holes_if_so_asked():
    parameters = {"handle_unknown": "missing", "likelihood": "bernoulli"}
    estimator = small(**parameters).fit(csr_array(BINARY))
    rows = np.where(np.arange(4) == 2, 0.5, BINARY)
    with unchanged(estimator):
        np.testing.assert_array_equal(
            estimator.score_samples(csr_array(rows)), estimator.score_samples(rows)
        )


def test_cells_are_found_far_down_in_a_long_table():
    long = np.resize(BINARY, (5_000, BINARY.shape[1])).astype(float)
    odd, holed, negative = long.copy(), long.copy(), long.copy()
    odd[4_500, 2], holed[4_500, 2], negative[4_500, 2] = 0.5, np.nan, -1
    estimator = small(likelihood="bernoulli", handle_unknown="missing").fit(BINARY)
    np.testing.assert_array_equal(estimator.transform(odd), estimator.transform(holed))
    estimator.set_params(handle_unknown="error")
    with pytest.raises(ValueError, match=r"Column 2 holds 0\.5 \(row 4500\)"):
        estimator.transform(odd)
    counts = small(likelihood="poisson").fit(BINARY)
    with pytest.raises(ValueError, match=r"Column 2 holds -1\.0 \(row 4500\)"):
        counts.transform(negative)


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


def test_rows_in_lists_keep_numbers_beside_text():
    rows = TEXT_OBJECTS.copy()
    rows[3, 0] = np.nan
    listed, plain = small().fit(rows.tolist()), small().fit(rows)
    assert listed.likelihood_ == plain.likelihood_
    np.testing.assert_array_equal(
        listed.score_samples(rows.tolist()), plain.score_samples(rows)
    )
    assert taken(rows.tolist(), np.array([3])).tolist()[0][1:] == rows[3, 1:].tolist()


def test_cells_that_are_no_values_are_refused_wherever_they_stand():
    table = X.astype(object)
    table[7, 1] = [1, 2]
    with pytest.raises(TypeError, match=r"Column 1 holds \[1, 2\]"):
        small().fit(table)


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
    [
        X,
        np.asfortranarray(X),
        X.astype("float32"),
        FRAME,
        POLARS,
        with_value(np.nan),
        TEXT_FRAME,
        TEXT_OBJECTS,
    ],
    ids=[
        "c_order",
        "fortran_order",
        "float32",
        "pandas",
        "polars",
        "holes",
        "text",
        "objects",
    ],
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
    with pytest.raises(ValueError, match="infinity in column 12 "):
        small().fit(frame.astype(float).replace({12: {1.4: np.inf}}))


@pytest.mark.parametrize("container", [csr_array, csc_array])
def test_sparse_rows_are_refused_where_fit_saw_labels(container):
    labels = np.where(BINARY > 0, "yes", "no").astype(object)
    estimator = small().fit(labels)
    with unchanged(estimator), pytest.raises(ValueError, match="Column 0 holds"):
        estimator.score_samples(container(BINARY))


@pytest.mark.parametrize("container", [csr_array, csc_array])
def test_sparse_rows_are_answered_where_fit_saw_objects(container):
    estimator = small().fit(BINARY.astype(object))
    np.testing.assert_allclose(
        estimator.score_samples(container(BINARY)), estimator.score_samples(BINARY)
    )
