"""SampleDisplay: the panels hold X and what `sample` gives, on the same scales."""

import sys

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import polars as pl
import pytest
from matplotlib.colors import same_color
from scipy.sparse import csr_matrix
from sklearn.datasets import load_wine
from sklearn.exceptions import NotFittedError
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skvae import (
    AETransformer,
    SampleDisplay,
    VAEImputer,
    VAEOutlierDetector,
    VAETransformer,
)

QUICK = {"max_iter": 5, "random_state": 0}
BLUE, VERMILLION = "#0072B2", "#D55E00"
N_ROWS = 200
WINE = load_wine(as_frame=True).data
draw = SampleDisplay.from_estimator


def mixed_table():
    random = np.random.default_rng(0)
    age = random.normal(50, 10, N_ROWS)
    table = pd.DataFrame(
        {
            "name": [f"patient {i}" for i in range(N_ROWS)],
            "age (years)": age,
            "clinic": 3.5,
            "ward": np.where(age > 50, "surgery", "internal medicine"),
            "cost in $ (not in $ per day)": np.exp(age / 20),
            "is_insured": random.binomial(1, 0.8, N_ROWS),
            "visits": random.poisson(5.0, N_ROWS),
            "village": random.choice([f"village {i}" for i in range(15)], N_ROWS),
        }
    )
    table.iloc[3, [1, 3]] = np.nan, None
    table.iloc[5:40, 4] = np.nan
    table.iloc[50:60, 7] = None
    return table


TABLE = mixed_table()
AGE, WARD, COST, INSURED, VISITS, VILLAGE = 1, 3, 4, 5, 6, 7
#: Columns of labels stand by the positions of their levels.
WARDS = ["internal medicine", "surgery"]


@pytest.fixture(autouse=True)
def figures_closed():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def vae():
    return VAETransformer(3, **QUICK).fit(WINE)


@pytest.fixture(scope="module")
def of_table():
    likelihood = {"visits": "poisson"}
    return VAETransformer(3, likelihood=likelihood, **QUICK).fit(TABLE)


def drawn(estimator, X, features, **keywords):
    keywords = {"random_state": 0, **keywords}
    return draw(estimator, X, features=features, **keywords)


def points(artist):
    return np.asarray(artist.get_offsets())


def tick_names(labels):
    return [label.get_text() for label in labels]


# ---- the diagonal --------------------------------------------------------------------


def test_histograms_have_common_bins_and_sum_to_one(vae):
    display = drawn(vae, WINE, ["alcohol", "ash"], n_samples=500)
    samples = vae.sample(500, random_state=0)
    for name, pair in zip(["alcohol", "ash"], display.marginals_, strict=True):
        for part, artist, colour in zip(
            (WINE[name], samples[name]), pair, (BLUE, VERMILLION), strict=True
        ):
            shares, edges, _ = artist.get_data()
            np.testing.assert_array_equal(edges, pair[0].get_data().edges)
            expected = np.histogram(part, edges)[0] / len(part)
            np.testing.assert_allclose(shares, expected)
            assert shares.sum() == pytest.approx(1)
            paint = (
                artist.get_facecolor() if artist.get_fill() else artist.get_edgecolor()
            )
            assert same_color(paint[:3], colour)


def test_levels_have_bars_side_by_side(of_table):
    display = drawn(of_table, TABLE, [WARD])
    samples = of_table.sample(N_ROWS, random_state=0)
    places = []
    for part, bars in zip((TABLE, samples), display.marginals_[0], strict=True):
        expected = part["ward"].value_counts(normalize=True)[WARDS]
        np.testing.assert_allclose([bar.get_height() for bar in bars], expected)
        places.append([(bar.get_x(), bar.get_x() + bar.get_width()) for bar in bars])
    ends, starts = [end for _, end in places[0]], [start for start, _ in places[1]]
    np.testing.assert_allclose(ends, starts, atol=1e-12)
    names = tick_names(display.axes_[0, 0].get_xticklabels())
    assert names == ["interna…cine", "surgery"]


def test_holes_do_not_count(of_table):
    display = drawn(of_table, TABLE, [COST, AGE])
    shares = display.marginals_[0][0].get_data().values
    assert shares.sum() == pytest.approx(1)
    both = TABLE.iloc[:, [COST, AGE]].dropna()
    assert len(points(display.pairs_[1, 0])) == len(both) == 164
    np.testing.assert_array_equal(points(display.pairs_[1, 0]), both)


def test_counts_have_a_bin_for_each_number(of_table):
    display = drawn(of_table, TABLE, "visits")
    edges = display.marginals_[0][0].get_data().edges
    np.testing.assert_array_equal(np.diff(edges), 1)
    assert set(edges % 1) == {0.5}
    samples = of_table.sample(N_ROWS, random_state=0)["visits"]
    shares = display.marginals_[0][1].get_data().values
    for value, share in zip(edges[:-1] + 0.5, shares, strict=True):
        assert share == pytest.approx((samples == value).mean())


def test_far_whole_numbers_share_whole_bins():
    values = np.random.default_rng(0).integers(0, 1000, (400, 1)).astype(float)
    display = SampleDisplay(values, values[:100], ["x"]).plot()
    edges = display.marginals_[0][0].get_data().edges
    assert len(edges) <= 31
    assert set(edges % 1) == {0.5}
    assert len(set(np.diff(edges))) == 1


@pytest.mark.parametrize(
    "values", [TABLE[["is_insured"]], TABLE[["is_insured"]].astype(bool)]
)
def test_yes_and_no_are_levels(values):
    vae = VAETransformer(1, **QUICK).fit(values)
    display = drawn(vae, values, [0])
    assert tick_names(display.axes_[0, 0].get_xticklabels()) == ["0", "1"]
    heights = [bar.get_height() for bar in display.marginals_[0][0]]
    share = TABLE["is_insured"].mean()
    np.testing.assert_allclose(heights, [1 - share, share])


def test_zeros_and_ones_are_numbers_where_samples_are_not_whole():
    values = TABLE[["is_insured"]].to_numpy(dtype=float)
    vae = VAETransformer(1, **QUICK).fit(values)  # an array is Gaussian
    display = drawn(vae, values, [0])
    edges = display.marginals_[0][0].get_data().edges
    samples = vae.sample(N_ROWS, random_state=0)
    assert edges[0] == min(0, samples.min())
    assert edges[-1] == max(1, samples.max())


def test_rare_levels_share_a_place(of_table):
    display = drawn(of_table, TABLE, "village")
    names = tick_names(display.axes_[0, 0].get_xticklabels())
    counts = TABLE["village"].value_counts()
    assert len(names) == 8
    assert names[-1] == "8 others"
    assert counts[names[:-1]].min() >= counts.drop(names[:-1]).max()
    for bars in display.marginals_[0]:
        assert sum(bar.get_height() for bar in bars) == pytest.approx(1)
    rest = counts.drop(names[:-1]).sum() / counts.sum()
    assert display.marginals_[0][0][-1].get_height() == pytest.approx(rest)


# ---- pairs ---------------------------------------------------------------------------


def test_points_are_the_rows_and_the_samples(vae):
    display = drawn(vae, WINE, ["alcohol", "ash", "proline"])
    samples = vae.sample(len(WINE), random_state=0)
    names = display.feature_names
    for i, j in ((1, 0), (2, 0), (2, 1)):
        below, above = display.pairs_[i, j], display.pairs_[j, i]
        np.testing.assert_array_equal(points(below), WINE[[names[j], names[i]]])
        np.testing.assert_allclose(points(above), samples[[names[i], names[j]]])
        assert same_color(below.get_facecolor()[0, :3], BLUE)
        assert same_color(above.get_facecolor()[0, :3], VERMILLION)
        assert below.axes is display.axes_[i, j]
        assert above.axes is display.axes_[j, i]
    assert display.pairs_[1, 1] is None


def test_both_have_the_same_limits(of_table):
    display = drawn(of_table, TABLE, [AGE, WARD, COST, VISITS])
    for (i, j), panel in np.ndenumerate(display.axes_):
        assert panel.get_xlim() == display.axes_[0, j].get_xlim()
        if i != j:
            mirrored = display.axes_[j, i]
            assert panel.get_xlim() == mirrored.get_ylim()
            assert panel.get_ylim() == mirrored.get_xlim()
            for artist, ax in (
                (display.pairs_[i, j], panel),
                (display.pairs_[j, i], mirrored),
            ):
                low, high = np.transpose([ax.get_xlim(), ax.get_ylim()])
                assert (points(artist) >= low).all()
                assert (points(artist) <= high).all()


def test_both_have_as_many_points(vae):
    few = drawn(vae, WINE, [0, 1], n_samples=50)
    assert len(points(few.pairs_[1, 0])) == len(points(few.pairs_[0, 1])) == 50
    many = np.random.default_rng(0).normal(size=(3000, 2))
    display = SampleDisplay(many, many[:2000], ["a", "b"]).plot()
    assert len(points(display.pairs_[1, 0])) == 1000
    np.testing.assert_array_equal(points(display.pairs_[1, 0])[[0, -1]], many[[0, -1]])


def test_points_are_scattered_around_levels(of_table):
    display = drawn(of_table, TABLE, [WARD, AGE])
    known = TABLE.iloc[:, [WARD, AGE]].dropna()
    x, y = points(display.pairs_[1, 0]).T
    np.testing.assert_array_equal(y, known["age (years)"])
    codes = (known["ward"] == "surgery").to_numpy()
    assert np.abs(x - codes).max() < 0.3
    assert len(np.unique(x)) == len(x)
    y, x = points(display.pairs_[0, 1]).T
    samples = of_table.sample(N_ROWS, random_state=0)["age (years)"]
    assert len(y) == len(known)  # as many as in X
    assert np.isin(y, samples).all()
    assert np.abs(x - np.rint(x)).max() < 0.3


def test_points_are_scattered_around_whole_numbers(of_table):
    display = drawn(of_table, TABLE, [VISITS, AGE])
    known = TABLE.iloc[:, [VISITS, AGE]].dropna().to_numpy()
    shifts = points(display.pairs_[1, 0]) - known
    assert (shifts[:, 1] == 0).all()
    assert 0.2 < np.abs(shifts[:, 0]).max() < 0.3
    visits = points(display.pairs_[0, 1])[:, 1]
    assert 0.2 < np.abs(visits - np.rint(visits)).max() < 0.3


def test_medians_stand_at_levels(of_table):
    display = drawn(of_table, TABLE, [WARD, AGE])
    samples = of_table.sample(N_ROWS, random_state=0)
    for part, panel, axis in (
        (TABLE, display.axes_[1, 0], 1),
        (samples, display.axes_[0, 1], 0),
    ):
        _, lines = panel.collections
        medians = part.groupby("ward")["age (years)"].median()[WARDS]
        ends = np.array(lines.get_segments())
        expected = np.column_stack([medians, medians])
        np.testing.assert_allclose(ends[..., axis], expected)
        np.testing.assert_allclose(ends[..., 1 - axis].mean(axis=1), [0, 1])


def test_squares_are_shares_of_pairs_of_levels(of_table):
    display = drawn(of_table, TABLE, ["ward", "is_insured"])
    samples = of_table.sample(N_ROWS, random_state=0)
    tables = [
        pd.crosstab(part["ward"], part["is_insured"], normalize="all").loc[WARDS]
        for part in (TABLE, samples)
    ]
    largest = max(table.to_numpy().max() for table in tables)
    for bars, shares in (
        (display.pairs_[1, 0], tables[0]),
        (display.pairs_[0, 1], tables[1].T),
    ):
        areas = {
            (round(x), round(y)): bar.get_width() * bar.get_height()
            for bar in bars
            for x, y in [bar.get_center()]
        }
        assert len(areas) == 4
        expected = 0.94**2 * shares.to_numpy() / largest
        for place, area in areas.items():
            assert area == pytest.approx(expected[place])


# ---- which columns -------------------------------------------------------------------


def test_first_columns_are_drawn_but_constants_and_names(of_table):
    display = draw(of_table, TABLE, random_state=0)
    names = list(TABLE)
    assert display.feature_names == [names[j] for j in (AGE, WARD, COST, INSURED)]


def test_columns_without_interest_are_better_than_none():
    constant = np.ones((30, 5))
    display = drawn(VAETransformer(1, **QUICK).fit(constant), constant, None)
    assert display.feature_names == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("features", "names"),
    [
        ("ash", ["ash"]),
        (2, ["ash"]),
        (np.int64(2), ["ash"]),
        (["proline", 0], ["proline", "alcohol"]),
        (np.array(["ash", "alcohol"]), ["ash", "alcohol"]),
    ],
)
def test_features_are_names_or_positions(vae, features, names):
    display = drawn(vae, WINE, features)
    assert display.feature_names == names
    np.testing.assert_array_equal(display.values, WINE[names])
    assert display.axes_.shape == (len(names), len(names))


def test_samples_are_as_many_as_rows_or_as_asked(vae, monkeypatch):
    assert len(drawn(vae, WINE[:60], [0]).samples) == 60
    assert len(drawn(vae, WINE[:60], [0], n_samples=7).samples) == 7
    asked = []
    sample = VAETransformer.sample

    def counted(self, n_samples, **keywords):
        asked.append(n_samples)
        return sample(self, 10, **keywords)

    monkeypatch.setattr(VAETransformer, "sample", counted)
    drawn(vae, pd.concat([WINE] * 60), [0])
    assert asked == [10_000]


def test_seed_decides_the_samples(vae):
    first, second, other = (
        drawn(vae, WINE, [0], random_state=seed).samples for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, second)
    assert (first != other).any()
    expected = vae.sample(len(WINE), random_state=1)[["alcohol"]]
    np.testing.assert_allclose(other, expected)


def test_containers_show_the_same(of_table):
    in_pandas = drawn(of_table, TABLE, [AGE, WARD])
    cells = TABLE.astype(object).where(TABLE.notna(), None)
    frame = pl.DataFrame({name: cells[name].tolist() for name in cells})
    of_polars = VAETransformer(3, likelihood={"visits": "poisson"}, **QUICK).fit(frame)
    in_polars = drawn(of_polars, frame, [AGE, WARD])
    np.testing.assert_array_equal(in_polars.values, in_pandas.values)
    np.testing.assert_allclose(in_polars.samples, in_pandas.samples)
    assert in_polars.levels == in_pandas.levels == [None, WARDS]
    counts = np.random.default_rng(0).poisson(1.0, (100, 3)).astype(float)
    vae = VAETransformer(1, **QUICK).fit(counts)
    for rows in (csr_matrix(counts), counts.tolist(), counts):
        display = drawn(vae, rows, [0, 2])
        np.testing.assert_array_equal(display.values, counts[:, [0, 2]])


# ---- names, axes and figures ---------------------------------------------------------


def test_outer_panels_name_the_columns(of_table):
    display = drawn(of_table, TABLE, ["age (years)", "ward", "visits"])
    names = [[panel.get_xlabel() for panel in line] for line in display.axes_]
    assert names == [[""] * 3, [""] * 3, ["age (years)", "ward", "visits"]]
    names = [[panel.get_ylabel() for panel in line] for line in display.axes_]
    assert names == [
        ["share of rows", "", "age (years)"],
        ["ward", "", ""],
        ["visits", "", ""],
    ]
    (legend,) = (ax.get_legend() for ax in display.figure_.axes if ax.get_legend())
    assert [text.get_text() for text in legend.get_texts()] == [
        "X, 200 rows: below the diagonal",
        "samples, 200 rows: above",
    ]


def test_one_column_needs_no_diagonal(vae):
    display = drawn(vae, WINE, "ash")
    (legend,) = (ax.get_legend() for ax in display.figure_.axes if ax.get_legend())
    words = [text.get_text() for text in legend.get_texts()]
    assert words == ["X, 178 rows", "samples, 178 rows"]
    assert display.axes_[0, 0].get_xlabel() == "ash"


def test_columns_without_names_have_numbers(vae):
    vae = VAETransformer(2, **QUICK).fit(WINE.to_numpy())
    display = drawn(vae, WINE.to_numpy(), [3])
    assert display.axes_[0, 0].get_xlabel() == "column 3"


def test_a_subplot_is_divided(vae):
    figure, (ax, other) = plt.subplots(1, 2, layout="constrained")
    display = drawn(vae, WINE, [0, 1], ax=ax)
    assert display.ax_ is ax
    assert display.figure_ is figure
    assert plt.get_fignums() == [figure.number]
    figure.canvas.draw()
    right = other.get_position().x0
    assert all(panel.get_position().x1 < right for panel in display.axes_.ravel())


@pytest.mark.parametrize(
    "features",
    [[AGE], [WARD, AGE], [AGE, WARD, COST, INSURED], [VILLAGE, COST, VISITS]],
)
def test_no_words_overlap_or_are_cut_off(of_table, features):
    figure = drawn(of_table, TABLE, features).figure_
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    boxes = []
    for ax in figure.axes:
        if ax.get_legend():
            texts = ax.get_legend().get_texts()
        elif ax.axison:
            texts = [ax.xaxis.label, ax.yaxis.label]
            for axis in (ax.xaxis, ax.yaxis):
                low, high = axis.get_view_interval()
                for tick in axis.get_major_ticks():
                    if low <= tick.get_loc() <= high:
                        texts += [tick.label1, tick.label2]
        else:
            continue
        shown = [text for text in texts if text.get_visible() and text.get_text()]
        boxes += [text.get_window_extent(renderer) for text in shown]
    for i, box in enumerate(boxes):
        assert figure.bbox.x0 <= box.x0 <= box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0 <= box.y1 <= figure.bbox.y1
        assert not box.count_overlaps(boxes[i + 1 :])


# ---- what it refuses, and leaves alone -----------------------------------------------


@pytest.mark.parametrize(
    ("keywords", "words"),
    [
        ({"features": "price"}, "names a column 'price', which X does not have"),
        ({"features": 13}, "names a column 13"),
        ({"features": [1.5]}, "names a column 1.5"),
        ({"features": []}, "one column or more"),
        ({"features": ["ash", 2]}, "each once"),
        ({"features": -1}, "names a column -1"),
        ({"n_samples": 0}, "n_samples"),
    ],
)
def test_bad_arguments_are_named(vae, keywords, words):
    with pytest.raises(ValueError, match=words):
        draw(vae, WINE, **keywords)
    assert not plt.get_fignums()


@pytest.mark.parametrize("mask", [[True, False], np.arange(13) < 2, True])
def test_masks_are_refused(vae, mask):
    with pytest.raises(TypeError, match="features holds True or False"):
        draw(vae, WINE, features=mask)
    assert not plt.get_fignums()


@pytest.mark.parametrize(
    "estimator",
    [
        VAEOutlierDetector(),
        VAEImputer(),
        AETransformer(),
        GaussianMixture(),
        KernelDensity(),
        make_pipeline(StandardScaler(), VAETransformer()),
    ],
)
def test_estimators_that_sample_no_rows_are_refused(estimator):
    name = type(estimator).__name__
    with pytest.raises(TypeError, match=f"{name} is no model that rows are sampled"):
        draw(estimator, WINE)


def test_unfitted_estimators_are_refused():
    with pytest.raises(NotFittedError):
        draw(VAETransformer(), WINE)


def test_an_ax_must_be_a_subplot_and_is_divided_once(vae):
    figure = plt.figure()
    with pytest.raises(ValueError, match="no subplot"):
        drawn(vae, WINE, [0], ax=figure.add_axes((0, 0, 1, 1)))
    ax = figure.add_subplot()
    drawn(vae, WINE, [0], ax=ax)
    with pytest.raises(ValueError, match="divided into panels before"):
        drawn(vae, WINE, [0], ax=ax)


@pytest.mark.parametrize("part", ["values", "samples"])
def test_columns_must_go_with_the_names(part):
    parts = dict.fromkeys(["values", "samples"], np.ones((3, 2)))
    parts[part] = np.ones((3, 1))
    with pytest.raises(ValueError, match=f"{part} of shape"):
        SampleDisplay(**parts, feature_names=["a", "b"]).plot()


def test_nothing_is_written_to_the_estimator_or_the_rows(of_table):
    table, attributes = TABLE.copy(), dict(vars(of_table))
    draw(of_table, TABLE)
    assert all(vars(of_table)[name] is value for name, value in attributes.items())
    pd.testing.assert_frame_equal(TABLE, table)


def test_matplotlib_is_asked_for_by_name(vae, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"SampleDisplay .*skvae\[plot\]"):
        draw(vae, WINE)
