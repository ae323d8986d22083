"""The estimator among scikit-learn's others, pandas and polars."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.base import clone
from sklearn.callback import FitCallback, ProgressBar
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from skvae import VAETransformer
from skvae.likelihoods import Gaussian
from skvae.networks import MLP

IRIS = load_iris(as_frame=True)
FRAME = IRIS.data.set_axis(["a", "b", "c", "d"], axis=1)
FRAME.index = [f"row {i}" for i in range(150)]
X, Y = FRAME.to_numpy(), IRIS.target.to_numpy()
POLARS = pl.DataFrame(FRAME.to_dict("list"))


def small(**parameters):
    return VAETransformer(**{"max_iter": 5, "random_state": 0, **parameters})


# ---- pipelines and searches ----------------------------------------------------------


def test_grid_search_of_a_classifying_pipeline():
    pipeline = Pipeline(
        [
            ("scale", StandardScaler()),
            ("vae", small(max_iter=50)),
            ("classify", LogisticRegression()),
        ]
    )
    grid = {
        "vae__n_components": [1, 3],
        "vae__likelihood": ["gaussian", Gaussian("shared")],
    }
    search = GridSearchCV(pipeline, grid, n_jobs=2, cv=2, error_score="raise")
    search.fit(*load_breast_cancer(return_X_y=True))
    assert len(search.cv_results_["params"]) == 4
    # Classifying all rows as the larger class scores 0.63.
    assert search.best_score_ > 0.9


def test_grid_search_by_likelihood_without_a_target():
    folds = KFold(3, shuffle=True, random_state=0)
    search = GridSearchCV(small(max_iter=100), {"beta": [0.5, 1.0, 50.0]}, cv=folds)
    search.fit(X)
    scores = search.cv_results_["mean_test_score"]
    assert np.isfinite(scores).all()
    assert scores[2] == scores.min()  # the code is unused
    assert search.score(X) == search.best_estimator_.score(X)


def test_inverse_transform_of_a_pipeline():
    pipeline = make_pipeline(StandardScaler(), small(max_iter=200)).fit(X)
    back = pipeline.inverse_transform(pipeline.transform(X))
    assert back.shape == X.shape
    # Nearer than any constant is, column by column, and in the units of X.
    assert (np.square(back - X).mean(axis=0) < 0.5 * X.var(axis=0)).all()


def test_cross_val_score_without_a_target():
    scores = cross_val_score(small(), X, cv=3)
    assert scores.shape == (3,)
    held_out = small().fit(X[50:]).score(X[:50])
    assert scores[0] == pytest.approx(held_out, rel=1e-9)


def test_frozen_estimator():
    fitted = small().fit(X)
    frozen = FrozenEstimator(fitted)
    frozen.fit(X[:10], Y[:10])
    np.testing.assert_array_equal(frozen.transform(X), fitted.transform(X))
    pipeline = make_pipeline(frozen, LogisticRegression()).fit(X, Y)
    assert pipeline[0].estimator is fitted
    assert clone(frozen).estimator is fitted


def test_clone():
    estimator = small(likelihood=Gaussian("feature"), network=MLP((4,))).fit(X)
    copy = clone(estimator)
    assert copy.get_params() == estimator.get_params()
    assert not copy.__sklearn_is_fitted__()
    np.testing.assert_array_equal(copy.fit(X).transform(X), estimator.transform(X))


def test_fit_transform_is_fit_and_transform():
    np.testing.assert_array_equal(small().fit_transform(X), small().fit(X).transform(X))


def test_in_a_feature_union():
    union = FeatureUnion([("vae", small(n_components=2)), ("scale", StandardScaler())])
    union.set_output(transform="pandas").fit(FRAME)
    names = [
        "vae__vaetransformer0",
        "vae__vaetransformer1",
        *(f"scale__{c}" for c in "abcd"),
    ]
    assert list(union.transform(FRAME).columns) == names


# ---- frames in, frames out -----------------------------------------------------------


@pytest.mark.parametrize(
    ("container", "table", "kind"),
    [
        ("pandas", FRAME, pd.DataFrame),
        ("polars", POLARS, pl.DataFrame),
        ("default", FRAME, np.ndarray),
    ],
    ids=["pandas", "polars", "default"],
)
def test_set_output(container, table, kind):
    estimator = small(n_components=2).set_output(transform=container).fit(table)
    codes = estimator.transform(table)
    assert isinstance(codes, kind)
    np.testing.assert_array_equal(
        np.asarray(codes), small(n_components=2).fit(table).transform(table)
    )
    if container != "default":
        assert list(codes.columns) == ["vaetransformer0", "vaetransformer1"]
        assert list(codes.columns) == list(estimator.get_feature_names_out())
    if container == "pandas":
        assert codes.index.equals(table.index)
    means = estimator.inverse_transform(codes)
    np.testing.assert_array_equal(
        np.asarray(means), np.asarray(estimator.inverse_transform(np.asarray(codes)))
    )


def test_pandas_comes_back_with_columns_and_index():
    estimator = small().set_output(transform="pandas").fit(FRAME)
    back = estimator.inverse_transform(estimator.transform(FRAME))
    assert isinstance(back, pd.DataFrame)
    assert back.columns.equals(FRAME.columns)
    assert back.index.equals(FRAME.index)
    assert (back.dtypes == "float64").all()
    from_array = estimator.inverse_transform(np.zeros((2, 2)))
    assert isinstance(from_array, pd.DataFrame)
    assert list(from_array.index) == [0, 1]
    drawn = estimator.sample(5, random_state=0)
    assert isinstance(drawn, pd.DataFrame)
    assert drawn.columns.equals(FRAME.columns)


def test_polars_comes_back_with_columns():
    estimator = small().set_output(transform="polars").fit(POLARS)
    back = estimator.inverse_transform(estimator.transform(POLARS))
    drawn = estimator.sample(5, random_state=0)
    for table in [back, drawn]:
        assert isinstance(table, pl.DataFrame)
        assert table.schema == POLARS.schema
    assert back.shape == (150, 4)
    assert drawn.shape == (5, 4)


def test_numbered_columns_come_back_as_numbers():
    estimator = small().fit(FRAME.set_axis(range(10, 14), axis=1))
    assert list(estimator.sample(2, random_state=0).columns) == [10, 11, 12, 13]
    assert [entry["column"] for entry in estimator.likelihood_] == [10, 11, 12, 13]


MIXED = FRAME.assign(
    a=np.rint(10 * FRAME["a"]).astype("int64"),
    b=FRAME["b"].astype("float32"),
    c=FRAME["c"] > 4,
    d=np.rint(10 * FRAME["d"]).astype("uint8"),
)


@pytest.mark.parametrize(
    "table",
    [
        MIXED,
        MIXED.astype({"a": "Int64", "b": "Float32", "c": "boolean"}),
        pl.DataFrame(MIXED.to_dict("series")),
    ],
    ids=["pandas", "pandas_nullable", "polars"],
)
def test_rows_drawn_have_the_dtypes_and_means_are_float(table):
    estimator = small(max_iter=100).fit(table)
    drawn = estimator.sample(2_000, random_state=0)
    assert list(drawn.dtypes) == list(table.dtypes)
    assert drawn["a"].min() >= 0
    assert 0.3 < drawn["c"].mean() < 0.9  # 0.58 of the rows
    assert abs(drawn["a"].mean() - table["a"].mean()) < 2
    means = estimator.inverse_transform(estimator.transform(table))
    assert type(means) is type(table)
    for column in "abcd":
        assert means[column].to_numpy().dtype.kind == "f"
    assert (means["c"].to_numpy() % 1 != 0).any()


def test_decimals_of_polars_can_be_drawn():
    table = POLARS.with_columns(pl.col("a").cast(pl.Decimal(10, 2)))
    drawn = small().fit(table).sample(3, random_state=0)
    assert isinstance(drawn, pl.DataFrame)
    assert drawn.columns == table.columns
    assert drawn["a"].dtype.is_numeric()


def test_arrays_drawn_have_the_dtype():
    for dtype in ["float64", "float32", "int64", "int16"]:
        table = np.rint(10 * X).astype(dtype)
        estimator = small().fit(table)
        assert estimator.sample(3, random_state=0).dtype == dtype
        assert estimator.inverse_transform(estimator.transform(table)).dtype.kind == "f"


# ---- callbacks -----------------------------------------------------------------------


class Recorder:
    """Names and numbers of the tasks, in a meta-estimator's parts as well."""

    max_propagation_depth = None

    def __init__(self):
        self.begun, self.ended = [], []

    def setup(self, estimator, context):
        pass

    def teardown(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        self.begun.append((context.estimator_name, context.task_name, context.task_id))

    def on_fit_task_end(self, estimator, context):
        self.ended.append((context.estimator_name, context.task_name, context.task_id))


class StopsAfter(Recorder):
    def __init__(self, n_epochs):
        super().__init__()
        self.n_epochs = n_epochs

    def on_fit_task_end(self, estimator, context):
        super().on_fit_task_end(estimator, context)
        return context.task_name == "epoch" and context.task_id + 1 == self.n_epochs


class KeepsModels(Recorder):
    def __init__(self):
        super().__init__()
        self.models = []

    def on_fit_task_end(self, estimator, context, *, X=None, fitted_estimator=None):
        super().on_fit_task_end(estimator, context)
        self.models.append(fitted_estimator)
        self.rows = X


def epochs(tasks):
    return [number for _, name, number in tasks if name == "epoch"]


PIPELINE = Pipeline([("scale", StandardScaler()), ("vae", small())])


@pytest.mark.parametrize(
    ("estimator", "find"),
    [
        (small(), lambda fitted: fitted),
        (small(max_iter=1), lambda fitted: fitted),
        (
            small(max_iter=300, n_iter_no_change=1, tol=1.0),
            lambda fitted: fitted,
        ),
        (PIPELINE, lambda fitted: fitted["vae"]),
        (
            make_pipeline(PIPELINE, LogisticRegression()),
            lambda fitted: fitted["pipeline"]["vae"],
        ),
    ],
    ids=["alone", "one_epoch", "stopped_early", "in_pipeline", "nested"],
)
def test_a_callback_sees_every_epoch(estimator, find):
    recorder = Recorder()
    assert isinstance(recorder, FitCallback)
    estimator = clone(estimator).set_callbacks(recorder).fit(X, Y)
    vae = find(estimator)
    assert epochs(recorder.begun) == list(range(vae.n_iter_))
    assert epochs(recorder.ended) == list(range(vae.n_iter_))
    assert len(vae.loss_curve_) == vae.n_iter_
    owners = {owner for owner, name, _ in recorder.ended if name == "epoch"}
    assert owners == {"VAETransformer"}
    assert sorted(recorder.begun) == sorted(recorder.ended)


def test_the_case_of_early_stopping_above_is_one():
    assert small(max_iter=300, n_iter_no_change=1, tol=1.0).fit(X).n_iter_ < 300


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("n_epochs", [1, 3])
def test_a_callback_stops_the_fit(n_epochs, early_stopping):
    stopper = StopsAfter(n_epochs)
    estimator = small(max_iter=20, early_stopping=early_stopping)
    estimator.set_callbacks(stopper).fit(X)
    assert estimator.n_iter_ == len(estimator.loss_curve_) == n_epochs
    assert epochs(stopper.ended) == list(range(n_epochs))
    assert np.isfinite(estimator.score(X))


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("fitted_before", [False, True])
def test_a_callback_gets_a_usable_estimator_each_epoch(early_stopping, fitted_before):
    keeper = KeepsModels()
    estimator = small(early_stopping=early_stopping)
    if fitted_before:
        estimator.fit(X[:60, :2])
    estimator.set_callbacks(keeper).fit(X)
    *of_epochs, last = keeper.models
    assert keeper.rows is X
    assert [model.n_iter_ for model in of_epochs] == [1, 2, 3, 4, 5]
    scores = [model.score(X) for model in of_epochs]
    assert len(set(scores)) == 5  # snapshots, not the model in training
    for model in keeper.models:
        assert model is not estimator
        assert model.transform(X).shape == (150, 2)
        assert model.sample(2, random_state=0).shape == (2, 4)
    assert last.score(X) == estimator.score(X)
    if not early_stopping:  # otherwise the best weights are restored at the end
        assert scores[-1] == estimator.score(X)


def test_a_callback_does_not_change_the_model():
    watched = small().set_callbacks(KeepsModels()).fit(X)
    np.testing.assert_array_equal(watched.transform(X), small().fit(X).transform(X))


def test_progress_bar_of_a_pipeline(capsys):
    clone(PIPELINE).set_callbacks(ProgressBar(max_propagation_depth=None)).fit(X)
    shown = capsys.readouterr().out
    assert "VAETransformer" in shown
    assert "100%" in shown


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_progress_bar_of_a_grid_search(capsys, n_jobs):
    search = GridSearchCV(
        clone(PIPELINE), {"vae__n_components": [1, 2]}, cv=2, n_jobs=n_jobs
    )
    search.set_callbacks(ProgressBar(max_propagation_depth=None)).fit(X)
    shown = capsys.readouterr().out
    assert "GridSearchCV" in shown
    assert "VAETransformer" in shown
    assert search.best_estimator_["vae"].n_iter_ == 5


# ---- verbose -------------------------------------------------------------------------


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("verbose", [True, 1])
def test_verbose_prints_about_ten_lines(capsys, verbose, early_stopping):
    estimator = small(max_iter=200, verbose=verbose, early_stopping=early_stopping)
    estimator.set_params(n_iter_no_change=1_000).fit(X)
    lines = capsys.readouterr().out.splitlines()
    assert 8 <= len(lines) <= 12
    for line in lines:
        assert line.startswith("[VAETransformer] epoch ")
        assert "/200" in line
    assert ("held-out bound" in lines[-1]) == early_stopping


@pytest.mark.parametrize("verbose", [False, 0])
def test_not_verbose_prints_nothing(capfd, verbose):
    small(verbose=verbose).fit(X).partial_fit(X).score(X)
    assert capfd.readouterr() == ("", "")


def test_repeated_labels_are_refused_by_name():
    with pytest.raises(ValueError, match=r"unique column names(.|\n)*'a' 2 times"):
        small().fit(pd.DataFrame(X, columns=["a", "b", "a", "d"]))


def test_nullable_dtypes_are_restored():
    frame = FRAME.round().astype({"a": "Int64", "b": "Float64", "c": "UInt8"})
    drawn = small().fit(frame).sample(3)
    assert list(drawn.dtypes) == list(frame.dtypes)
