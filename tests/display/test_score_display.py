"""ScoreDisplay: every row is counted, on its side of the threshold."""

import sys

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy.sparse import csr_matrix
from sklearn.ensemble import IsolationForest
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline

from skvae import (
    AETransformer,
    ScoreDisplay,
    VAEImputer,
    VAEOutlierDetector,
    VAETransformer,
)

random = np.random.default_rng(0)
X = random.normal(size=(300, 2)) @ random.normal(size=(2, 6))
X += 0.3 * random.normal(size=X.shape)
X[:20] *= 6
QUICK = {"max_iter": 10, "random_state": 0}
draw = ScoreDisplay.from_estimator


@pytest.fixture(autouse=True)
def figures_closed():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def detector():
    return VAEOutlierDetector(n_estimators=2, **QUICK).fit(X)


@pytest.fixture(scope="module")
def transformer():
    return VAETransformer(2, **QUICK).fit(X)


def values(display):
    return [histogram.get_data().values for histogram in display.histograms_]


def legend(display):
    return [text.get_text() for text in display.ax_.get_legend().get_texts()]


def tick_labels(display):
    return [tick.get_text() for tick in display.ax_.get_xticklabels()]


# ---- what the histogram says ---------------------------------------------------------


def test_a_detectors_histogram_and_threshold(detector):
    display = draw(detector, X)
    scores, offset = detector.score_samples(X), detector.offset_
    (counts,) = values(display)
    np.testing.assert_array_equal(display.scores, scores)
    assert counts.sum() == len(X)
    assert set(display.line_.get_xdata()) == {offset}
    below = display.edges_[1:] <= offset
    assert counts[below].sum() == (detector.predict(X) == -1).sum()
    share = 100 * (detector.predict(X) == -1).mean()
    assert legend(display) == [
        f"300 rows, {share:.3g} % below",
        f"threshold: {offset:.4g} nats",
    ]
    assert display.classes_ is None
    assert display.ax_.get_xlabel() == "score (nats)"
    assert display.ax_.get_ylabel() == "rows"


def test_a_transformer_has_no_threshold(transformer):
    display = draw(transformer, X)
    np.testing.assert_array_equal(display.scores, transformer.score_samples(X))
    assert values(display)[0].sum() == len(X)
    assert display.line_ is None
    assert legend(display) == ["300 rows"]


def test_errors_of_reconstruction_are_no_nats():
    errors = VAEOutlierDetector(
        n_estimators=1, score_function="reconstruction_error", **QUICK
    ).fit(X)
    display = draw(errors, X)
    assert display.ax_.get_xlabel() == "score (squared standard deviations)"
    assert not any("nats" in text for text in legend(display))


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (["odd", "usual"], ["odd", "usual"]),
        ([-1, 1], ["-1", "1"]),
        ([False, True], ["False", "True"]),
        ([0.0, 1.0], ["0", "1"]),
        (["$10", "_$20"], ["$10", "_$20"]),
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", [np.array, list, pd.Series, pd.Categorical])
def test_classes_are_of_any_kind(detector, labels, names, kind):
    which = np.r_[np.zeros(20, int), np.ones(280, int)]
    display = draw(detector, X, kind([labels[i] for i in which]))
    assert display.classes_ == labels
    outliers = detector.predict(X) == -1
    below = [100 * outliers[which == i].mean() for i in range(2)]
    assert legend(display)[:2] == [
        f"class {names[0]}: 20 rows, {below[0]:.3g} % below",
        f"class {names[1]}: 280 rows, {below[1]:.3g} % below",
    ]
    assert display.ax_.get_ylabel() == "share of the class (%)"
    scores = detector.score_samples(X)
    under = display.edges_[1:] <= detector.offset_
    for i, shares in enumerate(values(display)):
        assert shares.sum() == pytest.approx(100)
        assert shares[under].sum() == pytest.approx(below[i])
        own = scores[which == i]
        inside = (own >= display.edges_[10]) & (own < display.edges_[20])
        assert shares[10:20].sum() == pytest.approx(100 * inside.mean())
    for histogram in display.histograms_:
        np.testing.assert_array_equal(histogram.get_data().edges, display.edges_)
    assert not any(t.get_parse_math() for t in display.ax_.get_legend().get_texts())


@pytest.mark.parametrize("hole", [None, np.nan, pd.NA])
def test_rows_without_a_label_are_a_class(hole):
    y = np.array(["b", "a", "b", hole], dtype=object)
    display = ScoreDisplay([1.0, 2.0, 3.0, 4.0], y).plot()
    assert display.classes_ == ["a", "b", None]
    assert legend(display) == [
        "class a: 1 row",
        "class b: 2 rows",
        "without class: 1 row",
    ]


@pytest.mark.parametrize(
    ("y", "classes"),
    [
        (["red", np.nan, "blue"], ["blue", "red", None]),
        (
            pd.Categorical(["low", "high", "low"], ["low", "none", "high"], True),
            ["low", "high"],
        ),
        (pl.Series(["b", "a", None]), ["a", "b", None]),
        (pd.array([True, None, False], dtype="boolean"), [False, True, None]),
        ([0.5, 2.0, np.nan], [0.5, 2.0, None]),
        ([None] * 3, [None]),
    ],
    ids=["list", "ordered", "polars", "nullable", "floats", "none"],
)
def test_classes_are_in_their_order_the_missing_last(y, classes):
    assert ScoreDisplay([1.0, 2.0, 3.0], y).plot().classes_ == classes


def test_a_row_at_the_threshold_is_not_below_it():
    display = ScoreDisplay([1.0, 2.0, 3.0, 4.0], offset=2.0).plot()
    assert legend(display)[0] == "4 rows, 25 % below"


def test_classes_differ_in_colour_and_line():
    y = np.arange(100) % 12
    display = ScoreDisplay(np.arange(100.0), y).plot()
    looks = {(h.get_edgecolor(), h.get_linestyle()) for h in display.histograms_}
    assert len(looks) == 12
    pairs = zip(display.histograms_, display.histograms_[1:], strict=False)
    for one, other in pairs:
        assert one.get_edgecolor() != other.get_edgecolor()
        assert one.get_linestyle() != other.get_linestyle()


# ---- bins ----------------------------------------------------------------------------


def test_tails_are_in_a_bin_at_the_end():
    bulk = np.random.default_rng(0).normal(size=1_000)
    display = ScoreDisplay(np.r_[bulk, -1e5, -300.0, -200.0, 1e4]).plot()
    (counts,) = values(display)
    edges = display.edges_
    assert counts[0] == 3
    assert counts[-1] == 1
    assert counts.sum() == 1_004
    assert edges[1] <= bulk.min()
    assert edges[-2] >= bulk.max()
    assert edges[-1] - edges[0] < 20
    low, high = (
        f"{edge:.4g}".replace("-", "\N{MINUS SIGN}") for edge in edges[[1, -2]]
    )
    assert tick_labels(display)[-2:] == [f"≤ {low}", f"≥ {high}"]
    first, last = display.ax_.get_xticks()[-2:]
    assert edges[0] < first < edges[1]
    assert edges[-2] < last < edges[-1]


def test_without_tails_there_are_no_ends():
    display = ScoreDisplay(np.arange(100.0)).plot()
    assert display.edges_[[0, -1]].tolist() == [0, 99]
    assert not any("≤" in label or "≥" in label for label in tick_labels(display))


@pytest.mark.parametrize("offset", [-50.0, 0.0, 33.3, 99.0, 500.0])
def test_the_threshold_is_shown_and_no_bin_is_on_both_sides(offset):
    scores = np.arange(100.0)
    display = ScoreDisplay(scores, offset=offset).plot()
    low, high = display.ax_.get_xlim()
    assert low <= offset <= high
    assert offset in display.edges_
    (counts,) = values(display)
    assert counts[display.edges_[1:] <= offset].sum() == (scores < offset).sum()
    assert counts.sum() == 100


@pytest.mark.parametrize("bins", [1, 7, 30])
@pytest.mark.parametrize("offset", [None, 0.0])
def test_number_of_bins(bins, offset):
    scores = np.random.default_rng(0).uniform(-1, 1, 500)
    display = ScoreDisplay(scores, offset=offset).plot(bins=bins)
    assert bins <= len(values(display)[0]) <= bins + (offset is not None)
    assert values(display)[0].sum() == 500


@pytest.mark.parametrize(
    "scores",
    [[5.0], [5.0] * 9, [5.0] * 90 + [7.0] * 10, 1e6 + 1e-12 * np.arange(10), [-1e30]],
)
@pytest.mark.parametrize("offset", [None, 5.0])
def test_scores_that_hardly_differ(scores, offset):
    display = ScoreDisplay(scores, offset=offset).plot()
    assert values(display)[0].sum() == len(scores)


# ---- axes ----------------------------------------------------------------------------


def test_it_goes_where_it_is_told(detector):
    figure, ax = plt.subplots()
    display = draw(detector, X, bins=5, ax=ax)
    assert display.ax_ is ax
    assert display.figure_ is figure
    assert plt.get_fignums() == [figure.number]


@pytest.mark.parametrize("side", [-1, 1])
@pytest.mark.parametrize("n_classes", [None, 2, 12])
@pytest.mark.parametrize("layout", ["constrained", None])
def test_the_legend_is_above_the_bars(side, n_classes, layout):
    random = np.random.default_rng(0)
    scores = side * random.exponential(size=1_000)
    y = None if n_classes is None else random.integers(n_classes, size=1_000)
    ax = None if layout else plt.subplots()[1]
    display = ScoreDisplay(scores, y, offset=np.median(scores)).plot(ax)
    display.figure_.canvas.draw()
    box = display.ax_.get_legend().get_window_extent()
    for histogram in display.histograms_:
        data = histogram.get_data()
        corners = [data.edges[:-1], data.values], [data.edges[1:], data.values]
        for x, y in corners:
            points = display.ax_.transData.transform(np.column_stack([x, y]))
            beside = (points[:, 0] < box.x0) | (points[:, 0] > box.x1)
            assert (beside | (points[:, 1] < box.y0)).all()


@pytest.mark.parametrize("grid", [None, 1, 2])
@pytest.mark.parametrize("far", [1, 1e4, 1e9])
def test_numbers_do_not_overlap_and_nothing_is_cut_off(grid, far):
    ax = plt.subplots(grid, grid, squeeze=False)[1][-1, -1] if grid else None
    scores = far * np.random.default_rng(0).standard_t(2, size=1_000)
    display = ScoreDisplay(scores, offset=-2 * far).plot(ax)
    figure, ax = display.figure_, display.ax_
    figure.canvas.draw()
    labels = [label for label in ax.get_xticklabels() if label.get_text()]
    assert len(labels) >= 2
    boxes = [label.get_window_extent() for label in labels]
    for i, box in enumerate(boxes):
        assert not box.count_overlaps(boxes[i + 1 :])
    boxes += [text.get_window_extent() for text in (ax.xaxis.label, ax.yaxis.label)]
    for box in boxes:
        assert figure.bbox.x0 <= box.x0 <= box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0 <= box.y1 <= figure.bbox.y1


# ---- what it refuses, and leaves alone -----------------------------------------------


@pytest.mark.parametrize("y", [np.zeros(299), ["a"], []])
def test_labels_must_go_with_the_rows(detector, y):
    words = rf"one label for each of 300 rows, got shape \({len(y)},\)"
    with pytest.raises(ValueError, match=words):
        draw(detector, X, y)
    assert not plt.get_fignums()


def test_labels_of_two_columns_or_too_many_are_refused(detector):
    with pytest.raises(ValueError, match="one label for each of 300 rows"):
        draw(detector, X, np.zeros((300, 2)))
    with pytest.raises(ValueError, match="300 different labels"):
        draw(detector, X, np.arange(300))
    assert not plt.get_fignums()


@pytest.mark.parametrize(
    "y",
    [
        ["a", 1],
        pd.to_datetime(["2020-01-01", "2020-01-02"]),
        [{"a": 1}, {"b": 2}],
        ["this is a sentence, and no label at all", "and so is this one, all the more"],
    ],
    ids=["mixed", "dates", "dicts", "sentences"],
)
def test_labels_are_of_one_kind(y):
    with pytest.raises(ValueError, match="y must hold text") as error:
        ScoreDisplay([1.0, 2.0], y).plot()
    assert "column" not in str(error.value)


@pytest.mark.parametrize("scores", [[], [1.0, np.nan], [-np.inf, 0.0], [[1.0], [2.0]]])
def test_scores_are_a_finite_number_a_row(scores):
    with pytest.raises(ValueError, match="scores must be a finite number"):
        ScoreDisplay(scores).plot()
    assert not plt.get_fignums()


@pytest.mark.parametrize(("bins", "error"), [(0, ValueError), (2.5, TypeError)])
def test_bins_are_a_number(detector, bins, error):
    with pytest.raises(error, match="bins"):
        draw(detector, X, bins=bins)
    assert not plt.get_fignums()


def test_unfitted_estimators_and_others_are_refused():
    with pytest.raises(NotFittedError):
        draw(VAEOutlierDetector(), X)
    for other in (IsolationForest(), AETransformer(), VAEImputer()):
        with pytest.raises(TypeError, match=f"{type(other).__name__} has no scores"):
            draw(other, X)
    with pytest.raises(TypeError, match="the last step, and the rows that it sees"):
        draw(make_pipeline(VAETransformer()), X)
    assert not plt.get_fignums()


def test_nothing_is_written_to_the_estimator_or_the_rows(detector):
    attributes, rows, y = dict(vars(detector)), X.copy(), np.arange(300) % 2
    draw(detector, X, y)
    assert list(vars(detector)) == list(attributes)
    assert all(vars(detector)[name] is value for name, value in attributes.items())
    np.testing.assert_array_equal(X, rows)
    np.testing.assert_array_equal(y, np.arange(300) % 2)


@pytest.mark.parametrize("container", [csr_matrix, pd.DataFrame, np.ndarray.tolist])
def test_rows_in_any_container(transformer, container):
    dense = values(draw(transformer, X))
    vae = VAETransformer(2, **QUICK).fit(container(X))
    np.testing.assert_array_equal(values(draw(vae, container(X))), dense)


def test_matplotlib_is_asked_for_by_name(detector, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"ScoreDisplay.*skvae\[plot\]"):
        draw(detector, X)
    with pytest.raises(ImportError, match=r"skvae\[plot\]"):
        ScoreDisplay([1.0]).plot()
