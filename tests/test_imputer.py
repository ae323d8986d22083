"""VAEImputer: holes filled, all else left alone."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from skvae import VAEImputer, VAETransformer
from skvae.likelihoods import Gaussian

RANDOM = np.random.default_rng(0)
N_ROWS = 120


def small(**parameters):
    return VAEImputer(
        **{
            "hidden_layer_sizes": (8,),
            "max_iter": 3,
            "n_importance_samples": 16,
            "random_state": 0,
            **parameters,
        }
    )


@parametrize_with_checks(
    [VAEImputer(max_iter=2, n_importance_samples=16)], xfail_strict=True
)
def test_check_estimator(estimator, check):
    check(estimator)


# ---- what is observed stays ----------------------------------------------------------


def holed(values, share=0.2):
    """A list with None at some places."""
    values = np.asarray(values).tolist()
    for i in np.flatnonzero(RANDOM.random(len(values)) < share):
        values[i] = None
    return values


COLUMNS = {
    "number": holed(RANDOM.normal(size=N_ROWS)),
    "whole": holed(RANDOM.integers(-2, 90, N_ROWS)),
    "label": holed(np.array([*"abc"])[RANDOM.integers(0, 3, N_ROWS)]),
    "yes": holed(RANDOM.random(N_ROWS) < 0.5),
    "full": RANDOM.normal(size=N_ROWS).tolist(),
}
OBJECTS = pd.DataFrame(COLUMNS, dtype=object)
FRAME = OBJECTS.astype(
    {
        "number": float,
        "whole": "Int64",
        "label": "category",
        "yes": "boolean",
        "full": "float32",
    }
)
X = load_iris().data
HOLES = np.where(RANDOM.random(X.shape) < 0.2, np.nan, X)
TABLES = {
    "array": HOLES,
    "float32": HOLES.astype("float32"),
    "float16": HOLES.astype("float16"),
    "fortran": np.asfortranarray(HOLES),
    "whole": X,
    "objects": OBJECTS.to_numpy(),
    "pandas": FRAME,
    "pandas_str": FRAME.assign(label=pd.Series(COLUMNS["label"], dtype="str")),
    "pandas_string": FRAME.astype({"label": "string"}),
    "pandas_objects": OBJECTS,
    "pandas_indexed": FRAME.set_axis([f"row {i}" for i in range(N_ROWS)]),
    "pandas_indexed_alike": FRAME.set_axis([0] * N_ROWS),
    "pandas_ordered": FRAME.assign(
        label=FRAME["label"].cat.set_categories([*"cab"], ordered=True)
    ),
    "pandas_numbered_columns": FRAME.set_axis(range(5), axis=1),
    "pandas_floats_only": pd.DataFrame(HOLES, columns=[*"abcd"]),
    "polars": pl.DataFrame(COLUMNS),
    "polars_dtypes": pl.DataFrame(COLUMNS).with_columns(
        pl.col("label").cast(pl.Enum([*"abc"])),
        pl.col("whole").cast(pl.Int8),
        pl.col("number").cast(pl.Float32),
    ),
    "polars_categories": pl.DataFrame(COLUMNS).with_columns(
        pl.col("label").cast(pl.Categorical)
    ),
}


def is_hole(table):
    if isinstance(table, pl.DataFrame):
        return table.select(pl.all().is_null()).to_numpy()
    return pd.isna(pd.DataFrame(table)).to_numpy()


def cells(table):
    """Every cell as a Python object."""
    if isinstance(table, pl.DataFrame):
        return np.array(table.rows(), dtype=object)
    return pd.DataFrame(table).astype(object).to_numpy()


@pytest.mark.parametrize("sample_posterior", [False, True])
@pytest.mark.parametrize("name", TABLES)
def test_observed_cells_and_dtypes_are_kept_and_holes_filled(name, sample_posterior):
    table = TABLES[name]
    before, holes = cells(table).copy(), is_hole(table)
    filled = small(sample_posterior=sample_posterior).fit_transform(table)
    assert type(filled) is type(table)
    assert filled.shape == table.shape
    if isinstance(table, np.ndarray):
        assert filled.dtype == table.dtype
        assert not np.shares_memory(filled, table)
    else:
        assert list(filled.columns) == list(table.columns)
        assert list(filled.dtypes) == list(table.dtypes)
    if isinstance(table, pd.DataFrame):
        pd.testing.assert_index_equal(filled.index, table.index)
    assert not is_hole(filled).any()
    found = cells(filled)
    assert (found[~holes] == before[~holes]).all()
    # And the table that was given is as it was.
    np.testing.assert_array_equal(is_hole(table), holes)
    assert (cells(table)[~holes] == before[~holes]).all()


@pytest.mark.parametrize("name", ["pandas", "pandas_objects", "polars", "objects"])
@pytest.mark.parametrize("sample_posterior", [False, True])
def test_holes_are_filled_with_what_the_column_can_hold(name, sample_posterior):
    table = TABLES[name]
    filled = small(sample_posterior=sample_posterior).fit_transform(table)
    new = [
        [cell for cell, hole in zip(column, marks, strict=True) if hole]
        for column, marks in zip(cells(filled).T, is_hole(table).T, strict=True)
    ]
    assert all(new[:4]) and not new[4]
    assert set(new[2]) <= {*"abc"}
    assert all(cell in (True, False) for cell in new[3])
    if name in ("pandas", "polars"):
        assert all(isinstance(cell, int) for cell in new[1])


def test_a_table_without_holes_comes_back_as_it_is():
    model = small().fit(FRAME)
    whole = model.transform(FRAME)
    pd.testing.assert_frame_equal(model.transform(whole), whole)


# scikit-learn says so where names are there only once.
@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
@pytest.mark.filterwarnings("ignore:X has feature names, but")
@pytest.mark.parametrize("used_on", ["pandas", "pandas_str", "polars", "objects"])
@pytest.mark.parametrize("fitted_on", ["pandas", "pandas_objects", "polars", "objects"])
def test_fitted_on_one_container_and_used_on_another(fitted_on, used_on):
    model, table = small().fit(TABLES[fitted_on]), TABLES[used_on]
    filled = model.transform(table)
    assert type(filled) is type(table)
    assert not is_hole(filled).any()
    observed = ~is_hole(table)
    assert (cells(filled)[observed] == cells(table)[observed]).all()
    if isinstance(table, pl.DataFrame):
        assert list(filled.dtypes) == list(table.dtypes)
    # What is filled in depends on the fit alone.
    own = model.transform(TABLES[fitted_on])
    assert (cells(filled)[:, 2:4] == cells(own)[:, 2:4]).all()


def test_numbers_among_objects_come_back_as_numbers():
    model = small().fit(HOLES)
    filled = model.transform(HOLES.astype(object))
    np.testing.assert_array_equal(filled, model.transform(HOLES), strict=True)


def test_drawn_holes_of_whole_numbers_are_whole_in_a_table_of_floats_too():
    model = small(sample_posterior=True).fit(FRAME)
    assert FRAME["whole"].dtype == "Int64"
    filled = model.transform(FRAME.astype({"whole": float}))["whole"]
    assert FRAME["whole"].isna().any() and (filled % 1 == 0).all()


def test_a_column_of_holes_stays_one():
    table = np.where(np.arange(4) == 2, np.nan, HOLES)
    filled = small().fit_transform(table)
    np.testing.assert_array_equal(np.isnan(filled), np.isnan(X) | (np.arange(4) == 2))
    frame = FRAME.assign(label=None)
    filled = small().fit_transform(frame)
    np.testing.assert_array_equal(
        is_hole(filled), np.tile(np.arange(5) == 2, (N_ROWS, 1))
    )


def test_a_column_of_the_null_dtype_stays_one():
    table = TABLES["polars"].with_columns(label=pl.lit(None))
    assert table.schema["label"] == pl.Null
    filled = small().fit_transform(table)
    assert filled["label"].is_null().all() or filled["label"].is_nan().all()


EMPTY = [None] * 3
#: Columns that hold nothing, by what made them so.
OF_NOTHING = {
    **{
        f"pandas_{dtype}": pd.Series(EMPTY, dtype=dtype)
        for dtype in ("float64", "object", "boolean", "Int64", "string", "category")
    },
    **{
        f"polars_{dtype}": pl.Series(EMPTY, dtype=dtype)
        for dtype in (pl.Null, pl.String, pl.Float64, pl.Boolean, pl.Int8, pl.Object)
    },
}


@pytest.mark.filterwarnings("ignore:X has feature names, but")  # fitted on an array
@pytest.mark.parametrize("fitted_on", ["pandas", "pandas_objects", "polars", "objects"])
@pytest.mark.parametrize("column", OF_NOTHING.values(), ids=OF_NOTHING)
def test_a_column_that_holds_nothing_is_filled_whatever_its_dtype(fitted_on, column):
    table = TABLES[fitted_on]
    model = small().fit(table)
    as_frame = pd.DataFrame if isinstance(column, pd.Series) else pl.DataFrame
    numbers = pd.DataFrame(cells(table)[:3], columns=FRAME.columns).to_dict("list")
    for name, kind in {
        "number": (int, float),
        "label": str,
        "yes": (int, float),
    }.items():
        filled = model.transform(as_frame({**numbers, name: column}))
        assert not is_hole(filled).any()
        found = cells(filled)[:, list(FRAME.columns).index(name)]
        assert all(isinstance(cell, kind) for cell in found)


def test_a_row_of_holes_is_filled():
    table = HOLES.copy()
    table[3] = np.nan
    filled = small(max_iter=50).fit_transform(table)
    assert np.isfinite(filled).all()
    assert (np.abs(filled[3] - X.mean(0)) < 3 * X.std(0)).all()


# ---- what is filled in ---------------------------------------------------------------

LOADINGS = np.array([[1.0, -2.0, 1.5, 0.5, 1.0], [0.5, 1.0, -1.0, 2.0, 0.0]])
FACTORS = RANDOM.normal(size=(1_000, 2)) @ LOADINGS
FACTORS = 5 + FACTORS + 0.5 * RANDOM.normal(size=(1_000, 5))
FACTORS_HOLED = np.where(RANDOM.random(FACTORS.shape) < 0.2, np.nan, FACTORS)


def linear(**parameters):
    return VAEImputer(
        n_components=2,
        hidden_layer_sizes=(),
        likelihood=Gaussian("shared"),
        random_state=0,
        **parameters,
    )


@pytest.fixture(scope="module")
def factor_model():
    return linear(max_iter=40).fit(FACTORS_HOLED)


def conditional_moments(model, rows):
    """Means and variances of the holes of a fitted linear model, given the rest."""
    fitted = model._fitted_model(np.float64)
    mean, *ends = fitted.means(np.vstack([np.zeros(2), np.eye(2)]))
    loadings = np.array(ends) - mean
    raw = fitted.weights["likelihood"]["raw_scale"].item()
    noise = (0.05 + np.logaddexp(0, raw)) * fitted.table._codecs[0].scale
    covariance = loadings.T @ loadings + np.diag(noise**2)
    means, variances = np.zeros(rows.shape), np.zeros(rows.shape)
    for i, row in enumerate(rows):
        hole = np.isnan(row)
        cross = covariance[np.ix_(hole, ~hole)]
        gain = cross @ np.linalg.inv(covariance[np.ix_(~hole, ~hole)])
        means[i, hole] = mean[hole] + gain @ (row - mean)[~hole]
        left = covariance[np.ix_(hole, hole)] - gain @ cross.T
        variances[i, hole] = np.diag(left)
    return means, variances


def test_a_hole_is_filled_with_its_mean_given_the_rest(factor_model):
    rows = FACTORS_HOLED[:300]
    holes = np.isnan(rows)
    means, variances = conditional_moments(factor_model, rows)
    filled = factor_model.transform(rows)
    assert np.corrcoef(filled[holes], means[holes])[0, 1] > 0.99
    error = (filled - means)[holes] / np.sqrt(variances[holes])
    assert np.abs(error).mean() < 0.05


def test_drawn_holes_have_the_moments_of_the_conditional(factor_model):
    rows = FACTORS_HOLED[:100]
    holes = np.isnan(rows)
    means, variances = conditional_moments(factor_model, rows)
    model = factor_model.set_params(sample_posterior=True, n_imputations=200)
    try:
        drawn = np.array(model.transform(rows))
    finally:
        model.set_params(sample_posterior=False, n_imputations=1)
    assert drawn.shape == (200, *rows.shape)
    standardized = (drawn - means)[:, holes] / np.sqrt(variances[holes])
    assert standardized.mean() == pytest.approx(0.0, abs=0.03)
    assert standardized.var() == pytest.approx(1.0, abs=0.05)
    # Cell by cell: 200 draws have a variance within a tenth or so.
    ratio = drawn.var(axis=0, ddof=1)[holes] / variances[holes]
    assert np.abs(ratio - 1).mean() < 0.15
    assert ratio.min() > 0.5 and ratio.max() < 2


@pytest.mark.parametrize(
    ("load", "margin"), [(load_iris, 0.6), (load_breast_cancer, 0.6)]
)
def test_nearer_to_the_truth_than_column_means(load, margin):
    table = StandardScaler().fit_transform(load().data)
    holes = np.random.default_rng(1).random(table.shape) < 0.2
    given = np.where(holes, np.nan, table)
    filled = VAEImputer(random_state=0, max_iter=60).fit_transform(given)
    plain = SimpleImputer().fit_transform(given)
    ours, theirs = (
        np.sqrt(np.square(found - table)[holes].mean()) for found in (filled, plain)
    )
    assert ours < margin * theirs


def test_nearer_to_the_truth_than_the_most_frequent_label():
    truth = np.array([*"abc"])[load_iris().target]
    holes = np.random.default_rng(1).random(len(truth)) < 0.3
    table = load_iris(as_frame=True).data.assign(kind=truth)
    table.loc[holes, "kind"] = None
    filled = VAEImputer(random_state=0, max_iter=60).fit_transform(table)
    assert (filled["kind"][holes] == truth[holes]).mean() > 0.8


# ---- several tables, and seeds -------------------------------------------------------


def test_a_list_of_completed_tables():
    model = small(sample_posterior=True, n_imputations=3)
    tables = model.fit_transform(HOLES)
    assert isinstance(tables, list) and len(tables) == 3
    holes = np.isnan(HOLES)
    for table in tables:
        np.testing.assert_array_equal(table[~holes], HOLES[~holes])
        assert np.isfinite(table).all()
    assert not np.array_equal(tables[0], tables[1])
    again = model.transform(HOLES)
    np.testing.assert_array_equal(np.array(again), np.array(tables))


def test_several_tables_have_no_output_to_set():
    model = small(sample_posterior=True, n_imputations=2).fit(HOLES)
    with pytest.raises(ValueError, match=r"n_imputations=2 .* list, which"):
        model.set_output(transform="pandas").transform(HOLES)


def test_several_tables_that_would_be_the_same_are_refused():
    with pytest.raises(ValueError, match="n_imputations=3 tables"):
        small(n_imputations=3).fit(HOLES)


@pytest.mark.parametrize("parameters", [{"n_imputations": 0}, {"sample_posterior": 2}])
def test_bad_parameters_are_refused(parameters):
    with pytest.raises(ValueError, match="parameter of VAEImputer"):
        small(**parameters).fit(HOLES)


@pytest.mark.parametrize("sample_posterior", [False, True])
def test_an_integer_seed_gives_the_same_table(sample_posterior):
    model = small(sample_posterior=sample_posterior).fit(FRAME)
    again = small(sample_posterior=sample_posterior).fit(FRAME)
    pd.testing.assert_frame_equal(model.transform(FRAME), again.transform(FRAME))
    other = small(sample_posterior=sample_posterior, random_state=1).fit_transform(
        FRAME
    )
    assert not other.equals(model.transform(FRAME))


def test_draws_advance_with_an_instance():
    state = np.random.RandomState(0)
    model = small(sample_posterior=True, random_state=state).fit(HOLES)
    assert not np.array_equal(model.transform(HOLES), model.transform(HOLES))


def test_means_do_not_depend_on_the_rows_beside():
    model = small().fit(HOLES)
    alone = np.concatenate([model.transform(HOLES[i : i + 1]) for i in range(40)])
    np.testing.assert_allclose(alone, model.transform(HOLES)[:40], rtol=1e-9)


# ---- among scikit-learn's others -----------------------------------------------------


@pytest.mark.parametrize("name", ["array", "float32", "pandas_floats_only"])
def test_indicator_is_that_of_scikit_learn(name):
    table = TABLES[name]
    # Holes in two of the four columns.
    table = np.where([True, False, True, False], X, HOLES) if name == "array" else table
    model = small(add_indicator=True).fit(table)
    filled = model.transform(table)
    expected = MissingIndicator(features="missing-only").fit(table)
    n_marked = len(expected.features_)
    assert filled.shape == (150, 4 + n_marked)
    np.testing.assert_array_equal(
        np.asarray(filled)[:, 4:].astype(bool), expected.transform(table)
    )
    names = model.get_feature_names_out()
    assert list(names[4:]) == list(expected.get_feature_names_out())
    if isinstance(filled, pd.DataFrame):
        assert list(filled.columns) == list(names)


def test_indicator_beside_labels():
    model = small(add_indicator=True).fit(FRAME)
    filled = model.transform(FRAME)
    assert list(filled.columns) == list(model.get_feature_names_out())
    assert list(filled.columns[:5]) == list(FRAME.columns)
    marks = filled.iloc[:, 5:].to_numpy(dtype=bool)
    np.testing.assert_array_equal(marks, FRAME.isna().to_numpy()[:, :4])
    assert list(filled.dtypes[:5]) == list(FRAME.dtypes)
    in_polars = small(add_indicator=True).fit_transform(TABLES["polars"])
    assert in_polars.columns == list(filled.columns)


def test_names_are_those_of_the_columns():
    assert list(small().fit(FRAME).get_feature_names_out()) == list(FRAME.columns)
    assert list(small().fit(HOLES).get_feature_names_out()) == ["x0", "x1", "x2", "x3"]


def test_in_a_pipeline_with_pandas_output():
    pipeline = make_pipeline(small(), StandardScaler()).set_output(transform="pandas")
    frame = TABLES["pandas_floats_only"]
    found = pipeline.fit_transform(frame)
    assert isinstance(found, pd.DataFrame)
    assert list(found.columns) == [*"abcd"]
    assert not found.isna().to_numpy().any()
    classifier = make_pipeline(
        small(add_indicator=True), LogisticRegression(max_iter=999)
    )
    assert (
        classifier.fit(frame, load_iris().target).score(frame, load_iris().target) > 0.8
    )


@pytest.mark.parametrize("name", ["array", "pandas", "polars", "objects"])
@pytest.mark.parametrize("add_indicator", [False, True])
def test_output_is_pandas_where_asked_for(name, add_indicator):
    model = small(add_indicator=add_indicator).set_output(transform="pandas")
    found = model.fit_transform(TABLES[name])
    assert isinstance(found, pd.DataFrame)
    assert list(found.columns) == list(model.get_feature_names_out())


@pytest.mark.parametrize("handle_unknown", ["error", "missing"])
def test_unknown_labels_are_refused_or_filled(handle_unknown):
    rows = FRAME.astype({"label": object}).head(9).copy()
    rows.loc[3, "label"] = "mauve"
    model = small(handle_unknown=handle_unknown).fit(FRAME)
    if handle_unknown == "error":
        with pytest.raises(ValueError, match="Column 'label' holds 'mauve'"):
            model.transform(rows)
    else:
        assert model.transform(rows)["label"].isin([*"abc"]).all()


@pytest.mark.skipif(not hasattr(pl, "Int128"), reason="this polars has no Int128")
@pytest.mark.parametrize(
    "others", [{}, {"other": np.arange(20.0)}, {"word": [*"ab"] * 10}]
)
def test_whole_numbers_wider_than_numpys_are_filled(others):
    wide = pl.Series("wide", [10**20 + i for i in range(20)], dtype=pl.Int128)
    table = pl.DataFrame({"wide": wide, **others})
    with_hole = table.with_columns(wide=table["wide"].scatter(3, None))
    filled = small().fit_transform(with_hole)
    assert filled.schema == table.schema
    assert filled["wide"].null_count() == 0


def test_whole_columns_that_were_empty_in_fit_are_left_alone():
    table = pd.DataFrame({"a": np.arange(9.0), "b": np.nan, "c": np.arange(9.0)})
    rows = table.assign(b=np.arange(9)).mask(table.index.to_series() == 3, np.nan)
    rows["b"] = np.arange(9)
    filled = small().fit(table).transform(rows)
    assert filled["b"].tolist() == [*range(9)] and filled["a"].notna().all()


@pytest.mark.parametrize("cells", [[10**30 + i for i in range(9)], [None] * 9])
def test_columns_of_polars_objects_that_nothing_is_taken_of_stay(cells):
    table = pl.DataFrame({"a": [None, *np.arange(8.0)]})
    table = table.with_columns(pl.Series("b", cells, dtype=pl.Object))
    filled = small(likelihood={"b": "categorical"}).fit(table).transform(table)
    assert filled["b"].to_list() == cells and filled["a"].null_count() == 0
    numbers = table.with_columns(b=pl.Series(np.arange(9.0)))
    empty = table.with_columns(pl.Series("b", [None] * 9, dtype=pl.Object))
    assert small().fit(numbers).transform(empty)["b"].dtype == pl.Float64


def test_holes_of_whole_columns_that_were_empty_in_fit_stay():
    table = pl.DataFrame({"a": np.arange(9.0), "b": [None] * 9, "c": np.arange(9.0)})
    rows = table.with_columns(b=pl.Series([None, *range(8)], dtype=pl.Int8))
    assert small().fit(table).transform(rows).equals(rows)


def test_what_is_too_large_for_float32_is_its_largest():
    scale = np.array([1e60, 1.0, 1.0, 1.0])
    filled = small().fit(HOLES * scale).transform(HOLES.astype("float32"))
    assert filled.dtype == np.float32 and np.isfinite(filled).all()


def test_sparse_columns_are_filled():
    table = pd.DataFrame(HOLES).astype(pd.SparseDtype(float, np.nan))
    filled = small().fit(table).transform(table)
    np.testing.assert_allclose(filled, small().fit_transform(HOLES))


def test_arrows_decimals_are_filled_and_drawn():
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    kind = pd.ArrowDtype(pyarrow.decimal128(6, 2))
    table = pd.DataFrame({"a": X[:, 0] * 1_250, "b": X[:, 0]}).astype(kind)
    assert table["a"].max() > 9_800  # four digits are the most, and draws go further
    with_hole = table.copy()
    with_hole.loc[3, "a"] = None
    filled = small().fit_transform(with_hole)
    assert filled.dtypes.equals(table.dtypes) and filled.notna().all(axis=None)
    drawn = VAETransformer(1, max_iter=1, random_state=0).fit(table).sample(1_000)
    assert drawn.dtypes.equals(table.dtypes)
    assert float(drawn["a"].max()) == 9999.99


def test_holes_in_decimals_are_filled():
    table = pl.DataFrame({"a": [None, *np.arange(9) / 4], "b": np.arange(10) / 4})
    table = table.cast(pl.Decimal(10, 2))
    filled = small().fit(table).transform(table)
    assert filled.schema == table.schema and filled["a"].null_count() == 0


@pytest.mark.parametrize("ordered", [False, True])
def test_arrows_categories_are_filled(ordered):
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    kind = pyarrow.dictionary(pyarrow.int32(), pyarrow.string(), ordered=ordered)
    cells = [[*"aabbab"], [*"xyzxyz"]]
    table = pd.DataFrame(dict(zip("pq", cells, strict=True)))
    table = table.astype(pd.ArrowDtype(kind))
    table.loc[2, "p"] = None
    filled = small().fit_transform(table)
    assert filled.dtypes.equals(table.dtypes)
    assert filled.notna().all(axis=None)
    # And of a column of nothing that was one of numbers in fit, nothing is taken.
    table["p"] = pd.Series([None] * 6, dtype=table["q"].dtype)
    filled = small().fit(table.assign(p=np.nan)).transform(table)
    pd.testing.assert_frame_equal(filled, table)
