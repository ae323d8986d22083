"""FeatureScoreDisplay: the picture says what score_features says, and names it."""

import subprocess
import sys

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import polars as pl
import pytest
from matplotlib.colors import same_color
from scipy.sparse import csr_matrix
from sklearn.ensemble import IsolationForest
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skvae import FeatureScoreDisplay, VAEOutlierDetector, VAETransformer

N_ROWS, N_FEATURES = 300, 12
LOWERS, RAISES = "#D55E00", "#0072B2"
QUICK = {"max_iter": 20, "random_state": 0}
ESTIMATORS = {
    "detector": VAEOutlierDetector(n_estimators=2, **QUICK),
    "transformer": VAETransformer(**QUICK),
}
draw = FeatureScoreDisplay.from_estimator


def numbers():
    """Correlated columns of very different units."""
    random = np.random.default_rng(0)
    codes = random.normal(size=(N_ROWS, 3))
    table = codes @ random.normal(size=(3, N_FEATURES))
    table += 0.3 * random.normal(size=table.shape)
    return table * np.logspace(-4, 4, N_FEATURES)


def mixed_table():
    random = np.random.default_rng(0)
    age = random.normal(50, 10, N_ROWS)
    table = pd.DataFrame(
        {
            "age": age,
            "ward": np.where(age > 50, "surgery", "internal medicine"),
            "cost in $ (not in $ per day)": np.exp(age / 20 + random.normal(size=300)),
            "beds": random.integers(1, 5, N_ROWS),
            "a very long name of a column, as questionnaires have, part A": age,
        },
        index=[f"patient {i}" for i in range(N_ROWS)],
    )
    table.iloc[3, [0, 1]] = np.nan, None
    table.iloc[5:40, 2] = np.nan
    return table


X = numbers()
TABLE = mixed_table()


@pytest.fixture(autouse=True)
def figures_closed():
    yield
    plt.close("all")


@pytest.fixture(scope="module", params=ESTIMATORS)
def fitted(request):
    return ESTIMATORS[request.param].fit(X)


@pytest.fixture(scope="module")
def detector():
    return VAEOutlierDetector(n_estimators=2, **QUICK).fit(X)


@pytest.fixture(scope="module")
def transformer():
    return VAETransformer(**QUICK).fit(X)


@pytest.fixture(scope="module")
def transformer_of_table():
    return VAETransformer(**QUICK).fit(TABLE)


@pytest.fixture(scope="module")
def of_table():
    return VAEOutlierDetector(n_estimators=2, **QUICK).fit(TABLE)


def ticks(ax):
    return [tick.get_text() for tick in ax.get_yticklabels()]


#: Of X, 200 rows evenly spaced: what is typical.
EVENLY = np.linspace(0, N_ROWS - 1, 200).round().astype(int)


def lengths(bars):
    return [bar.get_width() for bar in bars]


# ---- what the bars say ---------------------------------------------------------------


def test_bars_of_a_transformer_sum_to_the_score_less_the_medians(transformer):
    medians = np.median(transformer.score_features(X[EVENLY]), axis=0)
    display = draw(transformer, X, rows=[7, 100], n_features=4)
    scores = transformer.score_samples(X)[[7, 100]]
    for bars, score in zip(display.bars_, scores, strict=True):
        assert len(bars) == 4 + 2
        assert sum(lengths(bars)) == pytest.approx(score - medians.sum())
    np.testing.assert_allclose(display.medians, medians)
    np.testing.assert_allclose(display.scores, scores)
    assert display.ax_.get_xlabel() == ""
    assert display.axes_[-1].get_xlabel() == (
        "contribution to the score, relative to the median row (nats)"
    )


def test_bars_of_a_detector_sum_to_the_score_less_the_median_score(detector):
    typical = np.median(detector.score_samples(X))
    display = draw(detector, X, rows=[7, 100], n_features=4)
    scores = detector.score_samples(X)[[7, 100]]
    for bars, score in zip(display.bars_, scores, strict=True):
        assert len(bars) == 4 + 2
        assert sum(lengths(bars)) == pytest.approx(score - typical)
    np.testing.assert_allclose(display.medians, [*np.zeros(N_FEATURES), typical])
    np.testing.assert_allclose(display.scores, scores)
    assert display.axes_[-1].get_xlabel() == (
        "contribution to the score, relative to a typical training row (nats)"
    )


def test_raw_contributions_stay(fitted):
    display = draw(fitted, X, rows=[7, 100])
    np.testing.assert_allclose(
        display.contributions, fitted.score_features(X[[7, 100]]), atol=1e-8
    )
    np.testing.assert_array_equal(
        display.relative_contributions, display.contributions - display.medians
    )


@pytest.mark.parametrize(
    ("kind", "n_asked"), [("detector", [2]), ("transformer", [200, 2])]
)
def test_contributions_are_asked_of_few_rows(request, monkeypatch, kind, n_asked):
    estimator, asked = request.getfixturevalue(kind), []
    score_features = type(estimator).score_features

    def counted(self, rows):
        asked.append(rows.shape[0])
        return score_features(self, rows)

    monkeypatch.setattr(type(estimator), "score_features", counted)
    draw(estimator, X, rows=[7, 100])
    assert asked == n_asked


@pytest.mark.parametrize("planted", [0, 5, N_FEATURES - 1])
def test_planted_column_is_on_top(fitted, planted):
    row = X[20].copy()
    row[planted] += 8 * X[:, planted].std()
    display = draw(fitted, np.vstack([row, X]), rows=0)
    assert ticks(display.ax_)[0].startswith(f"column {planted} = ")
    assert display.ax_.get_ylim()[0] > display.ax_.get_ylim()[1]  # 0 is the top
    assert display.bars_[0][0].get_width() < -1


def test_units_do_not_decide_what_is_on_top(fitted):
    """A transformer's raw contributions have the largest numbers' column first."""
    if isinstance(fitted, VAETransformer):
        raw = fitted.score_features(X)[:, :-1]
        assert (raw.argmin(axis=1) == N_FEATURES - 1).mean() > 0.9
    shown = draw(fitted, X, n_rows=8, n_features=1)
    tops = {ticks(ax)[0].split(" = ")[0] for ax in shown.axes_}
    assert tops != {f"column {N_FEATURES - 1}"}


def test_columns_stand_in_order_then_others_then_the_last(fitted):
    last = "code" if isinstance(fitted, VAETransformer) else "rest"
    display = draw(fitted, X, rows=7, n_features=4)
    relative = np.sort(display.relative_contributions[0, :-1])
    expected = [*relative[:4], relative[4:].sum()]
    expected.append(display.relative_contributions[0, -1])
    np.testing.assert_allclose(lengths(display.bars_[0]), expected)
    assert ticks(display.ax_)[4:] == ["8 others", last]
    assert len(display.plot(n_features=11).bars_[0]) == 13
    assert ticks(display.ax_)[11:] == ["1 other", last]
    assert len(display.plot(n_features=12).bars_[0]) == 13
    assert ticks(display.ax_)[12:] == [last]


def test_colours_tell_what_lowers_from_what_raises(detector):
    display = draw(detector, X, rows=[0, 1, 2], n_features=N_FEATURES)
    bars = [bar for row in display.bars_ for bar in row]
    assert {bar.get_width() < 0 for bar in bars} == {True, False}
    for bar in bars:
        colour = LOWERS if bar.get_width() < 0 else RAISES
        assert same_color(bar.get_facecolor(), colour)


def test_reference_says_what_is_typical(transformer):
    display = draw(transformer, X[:4], reference=X[100:], rows=0)
    medians = np.median(transformer.score_features(X[100:]), axis=0)
    np.testing.assert_allclose(display.medians, medians)


def test_a_detector_takes_no_reference_and_a_row_alone(detector):
    with pytest.raises(ValueError, match="reference is for VAETransformer"):
        draw(detector, X, reference=X)
    alone, beside = draw(detector, X[7:8]), draw(detector, X, rows=7)
    np.testing.assert_allclose(
        alone.relative_contributions, beside.relative_contributions, rtol=1e-6
    )


def test_errors_of_reconstruction_have_no_unit():
    errors = VAEOutlierDetector(
        n_estimators=1, score_function="reconstruction_error", **QUICK
    ).fit(X)
    display = draw(errors, X)
    assert "nats" not in display.ax_.get_title()
    assert display.axes_[-1].get_xlabel() == "contribution to the score"
    assert "0.0" not in display.ax_.texts[0].get_text()
    np.testing.assert_allclose(
        display.relative_contributions[:, :-1].sum(axis=1), display.scores
    )


# ---- which rows, and what they are called --------------------------------------------


def test_default_rows_have_the_lowest_scores(fitted):
    display = draw(fitted, X)
    lowest = np.argsort(fitted.score_samples(X))[:3]
    assert display.labels == lowest.tolist()
    assert len(display.axes_) == 3
    assert display.ax_ is display.axes_[0]
    assert display.ax_.get_title().startswith(f"row {lowest[0]}: score = ")
    assert display.ax_.get_title().endswith(" nats")
    assert len(draw(fitted, X[:2]).axes_) == 2


@pytest.mark.parametrize("rows", [5, np.int64(5), [5], (5,), np.array([5], "uint8")])
def test_rows_are_an_int_or_a_sequence(detector, rows):
    assert draw(detector, X, rows=rows).labels == [5]


def test_rows_keep_their_order(detector):
    assert draw(detector, X, rows=[9, 2, 9]).labels == [9, 2, 9]


def test_frames_name_rows_columns_and_cells(of_table):
    display = draw(of_table, TABLE, rows=[4])
    assert display.labels == ["patient 4"]
    assert display.ax_.get_title().startswith("row patient 4: score = ")
    age, beds = TABLE["age"].iloc[4], TABLE["beds"].iloc[4]
    cost = TABLE.iloc[4, 2]
    assert set(ticks(display.ax_)) == {
        f"age = {age:.4g}",
        f"ward = {TABLE['ward'].iloc[4]}",
        f"cost in $ (not in $ per day) = {cost:.4g}",
        f"beds = {beds}",
        f"a very long name of…ve, part A = {age:.4g}",
        "rest",
    }
    assert not any(tick.get_parse_math() for tick in display.ax_.get_yticklabels())


def test_holes_are_missing_and_hatched(of_table):
    display = draw(of_table, TABLE, rows=3)
    names = ticks(display.ax_)
    assert {"age = missing", "ward = missing"} < set(names)
    for name, bar in zip(names, display.bars_[0], strict=True):
        assert bool(bar.get_hatch()) == name.endswith("missing")


def test_holes_do_not_count_in_the_medians(transformer_of_table):
    reference = TABLE.iloc[EVENLY]
    contributions = transformer_of_table.score_features(reference)
    observed = reference["age"].notna().to_numpy()
    assert not observed.all()
    display = draw(transformer_of_table, TABLE, rows=3)
    assert display.medians[0] == np.median(contributions[observed, 0])
    assert display.relative_contributions[0, 0] == -display.medians[0]
    some = TABLE.iloc[5:40]  # a column without an observed cell
    assert draw(transformer_of_table, some, rows=0).medians[2] == 0


def test_holes_have_no_bar_in_a_detectors_row(of_table):
    display = draw(of_table, TABLE, rows=3)
    np.testing.assert_array_equal(display.relative_contributions[0, :2], 0)


def test_polars_and_object_arrays_show_the_same(of_table):
    in_pandas = draw(of_table, TABLE, rows=[3, 4])
    cells = TABLE.astype(object).where(TABLE.notna(), None)
    frame = pl.DataFrame({name: cells[name].tolist() for name in cells})
    in_polars = draw(of_table.set_output(transform="polars"), frame, rows=[3, 4])
    of_table.set_output(transform="default")
    for ours, theirs in zip(in_polars.axes_, in_pandas.axes_, strict=True):
        assert ticks(ours) == ticks(theirs)
    np.testing.assert_allclose(in_polars.contributions, in_pandas.contributions)
    assert in_polars.labels == [3, 4]
    array = TABLE.to_numpy(dtype=object)
    of_array = VAETransformer(**QUICK).fit(array)
    assert "column 1 = missing" in ticks(draw(of_array, array, rows=3).ax_)


@pytest.mark.parametrize("container", ["pandas", "polars"])
def test_set_output_changes_nothing(container):
    table = pd.DataFrame(X, columns=[f"x{j}" for j in range(N_FEATURES)])
    vae = VAETransformer(**QUICK).fit(table)
    plain = draw(vae, table, rows=0)
    typed = draw(vae.set_output(transform=container), table, rows=0)
    np.testing.assert_array_equal(plain.contributions, typed.contributions)


def test_sparse_rows_and_lists():
    counts = np.random.default_rng(0).poisson(1.0, (100, 4)).astype(float)
    vae = VAETransformer(**QUICK).fit(counts)
    dense = ticks(draw(vae, counts, rows=8).ax_)
    assert ticks(draw(vae, csr_matrix(counts), rows=8).ax_) == dense
    assert ticks(draw(vae, counts.tolist(), rows=8).ax_) == dense


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (2501.0, "2501"),
        (12345.678, "12346"),
        (0.00012345, "0.0001234"),
        (1.5e12, "1.5e+12"),
        (np.float32(0.1), "0.1"),
        (True, "True"),
        (pd.NA, "missing"),
        (None, "missing"),
        ("two\nlines", "two lines"),
    ],
)
def test_cells_are_written_short(value, written):
    display = FeatureScoreDisplay([[1.0, 2.0]], ["x"], [3.0], values=[[value]]).plot()
    assert ticks(display.ax_) == [f"x = {written}", "code"]


def test_made_by_hand_without_medians_values_or_labels():
    given = [[-3.0, 1.0, 0.5]], ["a", "b"], [-1.5]
    named = FeatureScoreDisplay(*given, last="rest", relative_to="the mean").plot()
    assert ticks(named.ax_) == ["a", "b", "rest"]
    assert named.ax_.get_xlabel().endswith("score, relative to the mean (nats)")
    display = FeatureScoreDisplay(*given).plot()
    assert ticks(display.ax_) == ["a", "b", "code"]
    assert display.ax_.get_title() == "row 0: score = -1.5 nats"
    assert display.ax_.get_xlabel() == "contribution to the score (nats)"


# ---- axes and figures ----------------------------------------------------------------


def test_one_row_goes_where_it_is_told(detector):
    figure, ax = plt.subplots()
    display = draw(detector, X, rows=7, ax=ax)
    assert display.ax_ is ax
    assert display.figure_ is figure
    assert plt.get_fignums() == [figure.number]


def text_boxes(ax, renderer):
    low, high = ax.get_xlim()
    scale = [x for x in ax.get_xticklabels() if low <= x.get_position()[0] <= high]
    texts = [*ax.get_yticklabels(), *ax.texts, *scale, ax.title, ax.xaxis.label]
    return [text.get_window_extent(renderer) for text in texts if text.get_text()]


@pytest.mark.parametrize("far", [1, 1e9])
def test_nothing_overlaps_or_is_cut_off(of_table, far):
    table = TABLE.assign(age=TABLE["age"] * far)
    table.columns = [f"{name} {'W' * 30}" for name in table.columns]
    of_table = VAETransformer(**QUICK).fit(table[50:])
    display = draw(of_table, table, rows=[3, 4, 60], n_features=3)
    figure = display.figure_
    figure.canvas.draw()
    boxes = [
        box
        for ax in display.axes_
        for box in text_boxes(ax, figure.canvas.get_renderer())
    ]
    for i, box in enumerate(boxes):
        assert figure.bbox.x0 <= box.x0 <= box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0 <= box.y1 <= figure.bbox.y1
        assert not box.count_overlaps(boxes[i + 1 :])


# ---- what it refuses, and leaves alone -----------------------------------------------


@pytest.mark.parametrize(
    ("keywords", "error", "words"),
    [
        ({"rows": [3, 300]}, ValueError, "rows holds 300, but X has 300 rows"),
        ({"rows": -1}, ValueError, "rows holds -1, .* from 0 to 299"),
        ({"rows": []}, ValueError, "at least one"),
        ({"rows": [[1, 2]]}, ValueError, "sequence"),
        ({"rows": 1.0}, TypeError, "whole numbers"),
        ({"rows": ["a"]}, TypeError, "whole numbers"),
        ({"rows": np.zeros(300, bool)}, TypeError, "flatnonzero"),
        ({"n_rows": 0}, ValueError, "n_rows"),
        ({"n_features": 0}, ValueError, "n_features"),
        ({"n_features": 2.5}, TypeError, "n_features"),
    ],
)
def test_bad_arguments_are_named(detector, keywords, error, words):
    with pytest.raises(error, match=words):
        draw(detector, X, **keywords)
    assert not plt.get_fignums()


def test_one_ax_takes_one_row(detector):
    ax = plt.figure().add_subplot()
    with pytest.raises(ValueError, match=r"3 rows do not fit one ax.*n_rows=1"):
        draw(detector, X, ax=ax)
    assert not ax.patches


def test_a_row_alone_needs_a_reference(transformer):
    with pytest.raises(ValueError, match="give reference"):
        draw(transformer, X[:1])


def test_unfitted_estimators_and_others_are_refused():
    with pytest.raises(NotFittedError):
        draw(VAEOutlierDetector(), X)
    with pytest.raises(TypeError, match="IsolationForest has no score_features"):
        draw(IsolationForest(), X)
    with pytest.raises(TypeError, match="the last step, and the rows that it sees"):
        draw(make_pipeline(StandardScaler(), VAETransformer()), X)


def test_contributions_must_go_with_the_names():
    with pytest.raises(ValueError, match="a last one for all else"):
        FeatureScoreDisplay([[1.0, 2.0]], ["a", "b"], [3.0]).plot()


@pytest.mark.parametrize("kind", ["of_table", "transformer_of_table"])
def test_nothing_is_written_to_the_estimator_or_the_rows(request, kind):
    estimator, table = request.getfixturevalue(kind), TABLE.copy()
    attributes = dict(vars(estimator))
    draw(estimator, TABLE)
    assert list(vars(estimator)) == list(attributes)
    assert all(vars(estimator)[name] is value for name, value in attributes.items())
    pd.testing.assert_frame_equal(TABLE, table)


def test_matplotlib_is_asked_for_by_name(detector, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"skvae\[plot\]"):
        draw(detector, X)
    with pytest.raises(ImportError, match=r"skvae\[plot\]"):
        FeatureScoreDisplay([[1.0, 2.0]], ["a"], [3.0]).plot()


def test_importing_brings_neither_matplotlib_nor_torch_along():
    code = (
        "import sys; from skvae import FeatureScoreDisplay;"
        "assert not {'matplotlib', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
