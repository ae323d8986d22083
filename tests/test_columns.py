"""Which likelihood a column gets, by the rules of "auto" or by name."""

import numpy as np
import pandas as pd
import polars as pl
import pytest

from skvae import VAEImputer, VAETransformer, likelihoods

RANDOM = np.random.default_rng(0)
NORMAL = RANDOM.normal(size=1_000)


def small(estimator=VAETransformer, **parameters):
    return estimator(1, hidden_layer_sizes=(), max_iter=1, random_state=0, **parameters)


def imputer(**parameters):
    return VAEImputer(hidden_layer_sizes=(), max_iter=1, random_state=0, **parameters)


def spiked(share):
    """Numbers of which one fills a share of 1,000 cells."""
    return np.where(np.arange(1_000) < share * 1_000, 0.0, NORMAL)


def with_holes(values, n_holes):
    return np.concatenate([values, np.full(n_holes, np.nan)])


ORDERED = pd.CategoricalDtype(["low", "mid", "high"], ordered=True)
#: By rule: a column, its family under "auto", and its levels (not looked at of bins).
RULES = {
    "two_labels": (["no", "yes"] * 10, "bernoulli", ["no", "yes"]),
    "two_labels_in_few_rows": (["yes", "no"], "bernoulli", ["no", "yes"]),
    "three_labels": (["b", "a", "c"] * 3, "categorical", ["a", "b", "c"]),
    "one_label": (["a"] * 9, "categorical", ["a"]),
    "labels_and_holes": (["b", None, "a", "c"] * 3, "categorical", ["a", "b", "c"]),
    "two_labels_and_holes": (["b", None, "a"] * 3, "bernoulli", ["a", "b"]),
    "ordered": (
        pd.Categorical(["mid", "high", "low"] * 3, dtype=ORDERED),
        "ordinal",
        ["low", "mid", "high"],
    ),
    "ordered_with_a_level_not_there": (
        pd.Categorical(["mid", "high", "mid"] * 3, dtype=ORDERED),
        "ordinal",
        ["low", "mid", "high"],
    ),
    "two_ordered": (
        pd.Categorical(["b", "a"] * 3, categories=["b", "a"], ordered=True),
        "bernoulli",
        ["b", "a"],
    ),
    "categories_that_are_numbers": (
        pd.Categorical([3, 1, 2] * 3),
        "categorical",
        [1, 2, 3],
    ),
    "enum_of_polars": (
        pl.Series(["b", "a", "c"] * 3, dtype=pl.Enum(["c", "b", "a"])),
        "ordinal",
        ["c", "b", "a"],
    ),
    "category_of_polars": (
        pl.Series(["b", "a", "c"] * 3, dtype=pl.Categorical),
        "categorical",
        ["a", "b", "c"],
    ),
    "two_whole_numbers": ([3.0, 7.0] * 10, "bernoulli", [3.0, 7.0]),
    "two_integers": ([-1, 4] * 10, "bernoulli", [-1.0, 4.0]),
    "two_whole_numbers_in_too_few_rows": ([3.0, 7.0] * 9, "gaussian", None),
    "two_whole_numbers_and_holes": (
        with_holes([3.0, 7.0] * 10, 9),
        "bernoulli",
        [3.0, 7.0],
    ),
    "holes_are_no_cells": (with_holes([3.0, 7.0] * 9, 9), "gaussian", None),
    "two_numbers_not_whole": ([0.5, 7.0] * 10, "gaussian", None),
    "three_whole_numbers": ([3.0, 7.0, 8.0] * 10, "gaussian", None),
    "booleans": ([True, False, True], "bernoulli", [0.0, 1.0]),
    "booleans_of_one_kind": ([True, True, True], "bernoulli", [0.0, 1.0]),
    "booleans_and_holes": (
        pd.array([True, None, False], dtype="boolean"),
        "bernoulli",
        [0.0, 1.0],
    ),
    "integers": (np.arange(1_000) % 50, "binned", None),
    "whole_floats": (np.arange(1_000) % 50.0, "binned", None),
    "integers_and_holes": (
        pd.array([*range(1_000), None], dtype="Int64"),
        "binned",
        None,
    ),
    "integers_in_too_few_rows": (np.arange(999) % 50, "gaussian", None),
    "integers_in_too_few_cells": (
        with_holes(np.arange(999) % 50, 9),
        "gaussian",
        None,
    ),
    "one_integer": (np.full(1_000, 5), "gaussian", None),
    "spiked": (spiked(0.1), "binned", None),
    "not_spiked_enough": (spiked(0.099), "gaussian", None),
    "spiked_in_too_few_rows": (spiked(0.1)[:999], "gaussian", None),
    "numbers": (NORMAL, "gaussian", None),
    "only_holes": ([np.nan] * 9, "gaussian", None),
}


@pytest.mark.parametrize(("values", "family", "levels"), RULES.values(), ids=RULES)
def test_rules_of_auto(values, family, levels):
    make = pl.DataFrame if isinstance(values, pl.Series) else pd.DataFrame
    table = make({"x": values})
    (found,) = small().fit(table).likelihood_
    assert (found["column"], found["family"]) == ("x", family)
    if family != "binned":
        assert found["levels"] == levels


@pytest.mark.parametrize("name", ["integers", "whole_floats", "spiked"])
def test_shapes_of_columns_are_left_aside_where_means_fill_holes(name):
    (found,) = imputer().fit(pd.DataFrame({"x": RULES[name][0]})).likelihood_
    assert found["family"] == "gaussian"


@pytest.mark.parametrize("name", ["three_labels", "two_whole_numbers", "booleans"])
def test_other_rules_hold_for_the_imputer(name):
    values, family, levels = RULES[name]
    (found,) = imputer().fit(pd.DataFrame({"x": values})).likelihood_
    assert found == {"column": "x", "family": family, "levels": levels}


@pytest.mark.parametrize(
    ("dtype", "family"),
    [
        ("float64", "gaussian"),
        ("float32", "gaussian"),
        ("int64", "gaussian"),
        ("uint8", "gaussian"),
        ("bool", "bernoulli"),
    ],
)
def test_an_array_has_one_dtype_which_says_nothing_of_its_columns(dtype, family):
    table = (np.arange(2_000).reshape(1_000, 2) % 3 > 0).astype(dtype)
    found = small().fit(table).likelihood_
    assert [entry["family"] for entry in found] == [family, family]
    assert [entry["column"] for entry in found] == [0, 1]


def test_columns_of_an_object_array_are_judged_one_by_one():
    table = np.empty((1_000, 5), dtype=object)
    table[:, 0] = NORMAL
    table[:, 1] = np.arange(1_000) % 9
    table[:, 2] = np.array(["a", "b", "c"])[np.arange(1_000) % 3]
    table[:, 3] = np.arange(1_000) % 2 == 0
    table[:, 4] = [None, *np.arange(999) % 2]
    found = small().fit(table).likelihood_
    families = ["gaussian", "binned", "categorical", "bernoulli", "bernoulli"]
    assert [entry["family"] for entry in found] == families


def test_levels_of_bins_are_numbers_and_intervals():
    table = pd.DataFrame({"x": spiked(0.3), "k": np.arange(1_000) % 7})
    spike, few = small().fit(table).likelihood_
    assert few["levels"] == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    assert 0.0 in spike["levels"]
    pairs = [level for level in spike["levels"] if isinstance(level, tuple)]
    assert len(pairs) > 50
    assert all(low < high for low, high in pairs)


NAMES = [f"name {i}" for i in range(5_000)]


@pytest.mark.parametrize(
    ("values", "family"),
    [
        (NAMES[:20], "identifier"),
        (NAMES[:20] + NAMES[:19], "identifier"),
        ([*NAMES[:20], *[None] * 99], "identifier"),
        (NAMES[:19], "categorical"),
        (NAMES[:20] * 2, "categorical"),
    ],
    ids=["once", "nearly_twice", "once_and_holes", "too_few", "twice"],
)
def test_labels_that_tell_rows_apart(values, family):
    table = pd.DataFrame({"s": values, "x": NORMAL[: len(values)]})
    model = small().fit(table)
    (found, _) = model.likelihood_
    assert found["family"] == family
    assert found["levels"] == sorted({*values} - {None})
    if family == "identifier":
        # Every label is as likely as the next, and says nothing of the rest.
        parts = model.score_features(table)
        there = table["s"].notna().to_numpy()
        expected = np.where(there, -np.log(len(found["levels"])), 0.0)
        np.testing.assert_allclose(parts[:, 0], expected, rtol=1e-12)
        other = table.assign(s=table["s"].where(~there, values[0]))
        np.testing.assert_array_equal(model.transform(other), model.transform(table))


def test_nothing_but_identifiers_is_refused():
    with pytest.raises(ValueError, match="Every column tells rows apart"):
        small().fit(pd.DataFrame({"s": NAMES[:50], "t": NAMES[50:100]}))


def test_very_many_labels():
    """One number a cell is read, and written, whatever the number of levels."""
    table = pd.DataFrame({"s": NAMES * 2, "x": np.tile(NORMAL, 10)})
    model = small(n_importance_samples=1, early_stopping=False).fit(table)
    found = model.likelihood_[0]
    assert (found["family"], len(found["levels"])) == ("categorical", 5_000)
    encoded = model._fitted_model(np.float32).table.encode(np.zeros((9, 2)))
    assert [part.shape for part in encoded[:2]] == [(9, 2), (9, 2)]
    assert np.isfinite(model.score_samples(table.head(50))).all()
    assert set(model.sample(50, random_state=0)["s"]) <= {*NAMES}


@pytest.mark.parametrize("ordered", [False, True])
def test_a_label_without_a_row_is_possible(ordered):
    labels = pd.Categorical([*"ab"] * 20, categories=[*"abc"], ordered=ordered)
    model = small().fit(pd.DataFrame({"s": labels, "x": NORMAL[:40]}))
    rows = pd.DataFrame({"s": ["a", "c"], "x": 0.0})
    seen, unseen = model.score_features(rows)[:, 0]
    assert -10 < unseen < seen - 1


def test_labels_count_as_much_as_numbers_in_the_start():
    # Two columns of labels that are the same, of small variance, beside two of numbers
    # that have less in common.
    rng = np.random.default_rng(0)
    rare, (first, second) = rng.random(1_000) < 0.1, rng.normal(size=(2, 1_000))
    labels = np.where(rare, "yes", "no")
    table = pd.DataFrame(
        {"a": labels, "b": labels, "c": first, "d": 0.5 * first + second}
    )
    # One epoch at a rate too small to move: the start itself.
    codes = small(learning_rate=1e-12).fit(table).transform(table)[:, 0]
    assert abs(np.corrcoef(codes, rare)[0, 1]) > 0.95


# ---- the parameter -------------------------------------------------------------------

COUNTS = pd.DataFrame(RANDOM.poisson(3.0, (60, 3)), columns=[*"abc"]).astype(float)
#: Ways of saying the same.
WAYS = {
    "poisson": [
        "poisson",
        likelihoods.Poisson(),
        {"a": "poisson", "b": "poisson", "c": likelihoods.Poisson()},
        {0: "poisson", 1: "poisson", 2: "poisson"},
        {-1: "poisson", "a": "poisson", 1: likelihoods.Poisson()},
        [("poisson", ["a", "b", "c"])],
        [(likelihoods.Poisson(), [0, 2]), ("poisson", "b")],
        [("poisson", 0), ("poisson", (1, 2))],
    ],
    "mixed": [
        {"a": "categorical", "b": "ordinal"},
        {"b": likelihoods.Ordinal(), "a": likelihoods.Categorical(), "c": "gaussian"},
        {0: "categorical", 1: "ordinal"},
        [("ordinal", "b"), ("categorical", ["a"]), ("auto", "c")],
    ],
    "gaussian": [
        "auto",
        "gaussian",
        likelihoods.Gaussian(),
        {},
        [],
        {"b": "auto"},
        likelihoods.Gaussian("conditional"),
    ],
}


@pytest.mark.parametrize("name", WAYS)
def test_forms_of_the_parameter_give_the_same_model(name):
    first, *others = [
        small(likelihood=form).fit(COUNTS).score_features(COUNTS) for form in WAYS[name]
    ]
    for other in others:
        np.testing.assert_array_equal(other, first)


def test_columns_of_an_array_are_named_by_number():
    table = COUNTS.to_numpy()
    found = small(likelihood={1: "poisson", -1: "log_normal"}).fit(table + 1)
    families = [entry["family"] for entry in found.likelihood_]
    assert families == ["gaussian", "poisson", "log_normal"]


def test_numbers_that_are_labels_are_labels():
    table = COUNTS.set_axis([2, 1, 0], axis=1)
    found = small(likelihood={0: "poisson"}).fit(table).likelihood_
    assert [(entry["column"], entry["family"]) for entry in found] == [
        (2, "gaussian"),
        (1, "gaussian"),
        (0, "poisson"),
    ]


def test_the_order_of_columns_is_the_users_whatever_their_families():
    parameter = {"a": "categorical", "b": "gaussian", "c": "poisson"}
    forth = small(likelihood=parameter).fit(COUNTS)
    assert [e["column"] for e in forth.likelihood_] == ["a", "b", "c"]
    assert [e["family"] for e in forth.likelihood_] == list(parameter.values())
    means = forth.inverse_transform(forth.transform(COUNTS))
    assert set(means["a"]) <= set(COUNTS["a"])
    assert set(forth.sample(200, random_state=0)["a"]) <= set(COUNTS["a"])


#: By name: the parameter, a table, and what the message must match.
TEXT = COUNTS.assign(b=["x", "y", "z"] * 20)
REFUSED = {
    "no_such_label": ({"q": "poisson"}, COUNTS, "column 'q', which X does not have"),
    "no_such_number": ({3: "poisson"}, COUNTS, "column 3, which X does not have"),
    "no_such_negative": ({-4: "poisson"}, COUNTS, "column -4, which X does not have"),
    "no_such_in_a_list": ([("poisson", ["a", "q"])], COUNTS, "column 'q'"),
    "twice_in_a_list": (
        [("poisson", ["a"]), ("gaussian", "a")],
        COUNTS,
        "column 'a' twice",
    ),
    "by_label_and_number": (
        {"b": "poisson", 1: "gaussian"},
        COUNTS,
        "column 1 twice",
    ),
    "no_such_family": ({"a": "poison"}, COUNTS, "(?=.*'a')(?=.*'poisson')"),
    "no_family": ({"a": 3}, COUNTS, "likelihood of column 'a' must be"),
    "no_pairs": (["poisson"], COUNTS, "pairs"),
    "triples": ([("poisson", "a", "b")], COUNTS, "pairs"),
    "text_as_counts": ({"b": "poisson"}, TEXT, "Column 'b' holds 'x'"),
    "text_as_bins": ({"b": "binned"}, TEXT, "Column 'b' holds 'x'"),
    "text_as_two_levels": ({"b": "bernoulli"}, TEXT, "Column 'b' has 3 levels"),
    "fractions_as_counts": (
        {"c": "negative_binomial"},
        COUNTS.assign(c=0.5),
        r"Column 'c' holds 0.5 \(row 0\)",
    ),
    "negative_counts": ({"c": "poisson"}, COUNTS.assign(c=-1), "Column 'c' holds -1"),
    "zero_as_log_normal": (
        {"c": "log_normal"},
        COUNTS.assign(c=0.0),
        r"Column 'c' holds 0.0.*the positive numbers",
    ),
    "numbers_as_two_levels": (
        {"c": "bernoulli"},
        COUNTS.assign(c=2),
        "Column 'c' holds 2",
    ),
}


@pytest.mark.parametrize(
    ("parameter", "table", "message"), REFUSED.values(), ids=REFUSED
)
def test_refused(parameter, table, message):
    with pytest.raises(ValueError, match=message):
        small(likelihood=parameter).fit(table)


# ---- containers ----------------------------------------------------------------------


def mixed_columns():
    """Numbers, whole numbers, labels, yes and no; holes are None."""
    n_rows = 1_200
    columns = {
        "x": RANDOM.normal(size=n_rows).tolist(),
        "k": RANDOM.poisson(5, n_rows).tolist(),
        "s": np.array(["red", "green", "blue"])[RANDOM.integers(0, 3, n_rows)].tolist(),
        "b": (RANDOM.random(n_rows) < 0.3).tolist(),
        "w": RANDOM.integers(0, 9, n_rows).astype(float).tolist(),
    }
    for values in columns.values():
        for i in np.flatnonzero(RANDOM.random(n_rows) < 0.1):
            values[i] = None
    return columns


COLUMNS = mixed_columns()
FRAME = pd.DataFrame(COLUMNS)
CONTAINERS = {
    "pandas_nullable": FRAME.astype({"k": "Int64", "b": "boolean", "s": "string"}),
    "pandas_categories": FRAME.astype({"s": "category"}),
    "pandas_objects": FRAME.astype(object),
    "pandas_converted": FRAME.convert_dtypes(),
    "polars": pl.DataFrame(COLUMNS),
    "polars_categories": pl.DataFrame(COLUMNS).with_columns(
        pl.col("s").cast(pl.Categorical)
    ),
    "objects": FRAME.astype(object).where(FRAME.notna(), None).to_numpy(),
}


@pytest.fixture(scope="module")
def expected():
    model = small().fit(FRAME)
    families = [entry["family"] for entry in model.likelihood_]
    assert families == ["gaussian", "binned", "categorical", "bernoulli", "binned"]
    return model.score_features(FRAME)


@pytest.mark.parametrize("table", CONTAINERS.values(), ids=CONTAINERS)
def test_the_same_table_in_another_container_gives_the_same_scores(expected, table):
    model = small().fit(table)
    np.testing.assert_array_equal(model.score_features(table), expected)


# scikit-learn says so where names are there only once.
@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
@pytest.mark.parametrize("table", CONTAINERS.values(), ids=CONTAINERS)
def test_fitted_on_one_container_and_used_on_another(expected, table):
    np.testing.assert_array_equal(small().fit(FRAME).score_features(table), expected)


@pytest.mark.filterwarnings("ignore:X has feature names, but")
@pytest.mark.parametrize("table", CONTAINERS.values(), ids=CONTAINERS)
def test_fitted_on_another_container_and_used_on_one(expected, table):
    np.testing.assert_array_equal(small().fit(table).score_features(FRAME), expected)


@pytest.mark.parametrize("dtype", ["bool", "boolean"])
def test_yes_and_no_with_holes_are_objects_in_pandas(dtype):
    """What fit saw without holes comes with them later."""
    whole = pd.DataFrame({"b": [True, False, False] * 9}).astype(dtype)
    holes = pd.DataFrame({"b": [True, None, False]})
    assert holes["b"].dtype == object
    found = small().fit(whole).score_samples(holes)
    expected = small().fit(whole).score_samples(holes.astype("boolean"))
    np.testing.assert_array_equal(found, expected)
