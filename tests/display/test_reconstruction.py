"""ReconstructionDisplay: what is drawn is what the model gives, and named."""

import sys

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import polars as pl
import pytest
from matplotlib.colors import same_color
from scipy.sparse import csr_matrix
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.metrics import r2_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skvae import (
    AETransformer,
    ReconstructionDisplay,
    VAEImputer,
    VAEOutlierDetector,
    VAETransformer,
)

QUICK = {"max_iter": 5, "random_state": 0}
NUMBERS, LABELS, BLACK = "#0072B2", "#009E73", "#000000"
N_ROWS = 200
draw = ReconstructionDisplay.from_estimator


def numbers():
    """Seven columns of three codes; the last has the most noise."""
    random = np.random.default_rng(0)
    table = random.normal(size=(N_ROWS, 3)) @ random.normal(size=(3, 7))
    return table + np.linspace(0.1, 3, 7) * random.normal(size=(N_ROWS, 7))


def mixed_table():
    random = np.random.default_rng(0)
    age = random.normal(50, 10, N_ROWS)
    table = pd.DataFrame(
        {
            "age": age,
            "ward": np.where(age > 50, "surgery", "internal"),
            "cost in $ (not in $ per day)": np.exp(age / 20),
            "is_insured": random.integers(0, 2, N_ROWS),
            "clinic": 3.5,
            "grade": random.choice(["a", "b", "c"], N_ROWS, p=[0.7, 0.2, 0.1]),
            "name": [f"patient {i}" for i in range(N_ROWS)],
        },
        index=[f"patient {i}" for i in range(N_ROWS)],
    )
    table.iloc[3, [0, 1]] = np.nan, None
    table.iloc[5:40, 2] = np.nan
    return table


X = numbers()
TABLE = mixed_table()
DIGITS = load_digits().data[:100]


@pytest.fixture(autouse=True)
def figures_closed():
    yield
    plt.close("all")


@pytest.fixture(
    scope="module", params=[VAETransformer(3, **QUICK), AETransformer(3, **QUICK)]
)
def fitted(request):
    return request.param.fit(X)


@pytest.fixture(scope="module")
def vae():
    return VAETransformer(3, **QUICK).fit(X)


@pytest.fixture(scope="module")
def of_table():
    return VAETransformer(3, **QUICK).fit(TABLE)


@pytest.fixture(scope="module")
def of_digits():
    return VAETransformer(4, **QUICK).fit(DIGITS)


def ticks(ax):
    return [tick.get_text() for tick in ax.get_yticklabels()]


def lengths(display):
    return np.array([bar.get_width() for bar in display.bars_])


def rebuilt_by(estimator, X):
    return estimator.inverse_transform(estimator.transform(X))


def texts(display):
    """The words beside the bars, by the names of the bars."""
    words = [text.get_text() for text in display.ax_.texts]
    return dict(zip(ticks(display.ax_), words, strict=True))


# ---- columns -------------------------------------------------------------------------


def test_bars_are_r2_the_least_on_top(fitted):
    display = draw(fitted, X)
    expected = r2_score(X, rebuilt_by(fitted, X), multioutput="raw_values")
    np.testing.assert_allclose(display.scores_, expected)
    np.testing.assert_allclose(lengths(display), np.sort(expected))
    assert ticks(display.ax_) == [f"column {j}" for j in np.argsort(expected)]
    low, high = display.ax_.get_ylim()
    assert low > high  # 0 is the top
    assert display.ax_.get_xlabel() == (
        "explained share of the variance (R²), 200 rows"
    )
    assert display.images_ is None


def test_values_and_reconstructions_stay(fitted):
    display = draw(fitted, X, rows=[7, 2])
    np.testing.assert_array_equal(display.values, X[[7, 2]])
    np.testing.assert_allclose(display.reconstructions, rebuilt_by(fitted, X[[7, 2]]))
    assert display.labels == [7, 2]


def test_remaining_columns_share_a_bar(vae):
    display = draw(vae, X, n_features=2)
    expected = np.sort(display.scores_)
    np.testing.assert_allclose(lengths(display), [*expected[:2], expected[2:].mean()])
    assert ticks(display.ax_)[2] == "mean of 5 others"
    assert display.ax_.get_yticklabels()[2].get_style() == "italic"
    display.plot(n_features=6)
    assert ticks(display.ax_)[6] == "mean of 1 other"
    assert len(display.plot(n_features=7).bars_) == 7


@pytest.mark.parametrize("n_features", [3, 300])
def test_few_and_many_columns(n_features):
    random = np.random.default_rng(0)
    X = random.normal(size=(60, n_features))
    display = draw(PCA(2).fit(X), X)
    assert len(display.bars_) == min(n_features, 20 + 1)


def test_labels_have_the_share_of_right_ones(of_table):
    display = draw(of_table, TABLE)
    rebuilt = rebuilt_by(of_table, TABLE)
    names = ticks(display.ax_)
    assert display.categorical_features == [1, 5, 6]
    for name in ("ward", "grade"):
        observed = TABLE[name].notna()
        right = (TABLE[name] == rebuilt[name].to_numpy())[observed].mean()
        bar = display.bars_[names.index(name)]
        assert bar.get_width() == pytest.approx(right)
        assert same_color(bar.get_facecolor(), LABELS)
        (marks,) = (line for line in display.ax_.lines if len(line.get_xdata()) > 2)
        mark = marks.get_xdata()[names.index(name)]
        assert mark == TABLE[name].value_counts(normalize=True).max()
    assert same_color(display.bars_[names.index("age")].get_facecolor(), NUMBERS)
    assert [text.get_text() for text in display.ax_.get_legend().get_texts()] == [
        "numbers: explained variance (R²)",
        "labels: right ones",
        "labels: the commonest, right by guessing",
    ]
    assert display.ax_.get_xlabel() == "share that comes back, 200 rows"


def test_numbers_stand_above_labels(of_table):
    names = ticks(draw(of_table, TABLE).ax_)
    assert set(names[:4]) == {
        "age",
        "is_insured",
        "clinic",
        "cost in $ (not in $ per day)",
    }


def test_labels_alone_have_no_legend_of_numbers():
    labels = TABLE[["ward", "grade"]]
    display = draw(VAETransformer(1, **QUICK).fit(labels), labels)
    words = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert words[0] == "labels: right ones"
    assert len(words) == 2


def test_numbers_under_a_categorical_likelihood_are_labels():
    codes = np.random.default_rng(0).integers(0, 3, (100, 2)).astype(float)
    vae = VAETransformer(1, likelihood="categorical", **QUICK).fit(codes)
    display = draw(vae, codes)
    right = (rebuilt_by(vae, codes) == codes).mean(axis=0)
    np.testing.assert_allclose(display.scores_, right)


def test_columns_without_a_share_say_why(of_table):
    table = TABLE.assign(age=np.nan)
    display = draw(of_table, table)
    words = texts(display)
    assert words["clinic"] == "constant"
    assert words["name"] == "not rebuilt"  # it tells rows apart
    assert words["age"] == "no values"
    places = [list(TABLE).index(name) for name in ("clinic", "name", "age")]
    assert np.isnan(display.scores_[places]).all()
    np.testing.assert_array_equal(
        lengths(display)[[ticks(display.ax_).index(TABLE.columns[j]) for j in places]],
        0,
    )


def test_holes_do_not_count(of_table):
    display = draw(of_table, TABLE)
    known = TABLE.iloc[:, 2].notna().to_numpy()
    rebuilt = rebuilt_by(of_table, TABLE).iloc[:, 2]
    expected = r2_score(TABLE.iloc[:, 2][known], rebuilt[known])
    assert display.scores_[2] == pytest.approx(expected)


def test_names_are_taken_as_they_are(of_table):
    labels = draw(of_table, TABLE).ax_.get_yticklabels()
    assert "cost in $ (not in $ per day)" in [label.get_text() for label in labels]
    assert not any(label.get_parse_math() for label in labels)


def test_worse_than_the_mean_is_below_zero():
    values = np.column_stack([np.arange(4.0), np.arange(4.0)])
    rebuilt = np.column_stack([np.arange(4.0)[::-1], [1.0, 0.0, 3.0, 2.0]])
    display = ReconstructionDisplay(values, rebuilt, feature_names=["a", "b"]).plot()
    np.testing.assert_allclose(display.scores_, [-3.0, 0.2])
    np.testing.assert_allclose(lengths(display), [-1.0, 0.2])
    assert texts(display) == {"a": "< -1", "b": "0.20"}


def test_made_by_hand_counts_columns():
    display = ReconstructionDisplay(X, X).plot()
    assert ticks(display.ax_) == [f"column {j}" for j in range(7)]
    np.testing.assert_array_equal(display.scores_, 1.0)


def test_containers_show_the_same(of_table, vae):
    in_pandas = draw(of_table, TABLE)
    cells = TABLE.astype(object).where(TABLE.notna(), None)
    frame = pl.DataFrame({name: cells[name].tolist() for name in cells})
    np.testing.assert_allclose(draw(of_table, frame).scores_, in_pandas.scores_)
    expected = draw(vae, X).scores_
    np.testing.assert_allclose(draw(vae, X.tolist()).scores_, expected)
    np.testing.assert_allclose(draw(vae, csr_matrix(X)).scores_, expected)


@pytest.mark.parametrize("container", ["pandas", "polars"])
def test_set_output_changes_nothing(container):
    table = pd.DataFrame(X, columns=[f"x{j}" for j in range(7)])
    vae = VAETransformer(2, **QUICK).fit(table)
    plain = draw(vae, table).scores_
    typed = draw(vae.set_output(transform=container), table).scores_
    np.testing.assert_array_equal(plain, typed)


@pytest.mark.parametrize(
    "estimator",
    [PCA(2), make_pipeline(StandardScaler(), VAETransformer(2, **QUICK))],
)
def test_other_transformers_and_pipelines_will_do(estimator):
    display = draw(estimator.fit(X), X)
    expected = r2_score(X, rebuilt_by(estimator, X), multioutput="raw_values")
    np.testing.assert_allclose(display.scores_, expected)


# ---- images --------------------------------------------------------------------------


def test_images_are_rows_reconstructions_and_differences(of_digits):
    display = draw(of_digits, DIGITS, rows=[4, 1, 4], image_shape=(8, 8))
    rows = DIGITS[[4, 1, 4]].reshape(3, 8, 8)
    rebuilt = rebuilt_by(of_digits, DIGITS[[4, 1, 4]]).reshape(3, 8, 8)
    assert display.images_.shape == (3, 3)
    for line, expected in zip(
        display.images_, (rows, rebuilt, rebuilt - rows), strict=True
    ):
        for image, pixels in zip(line, expected, strict=True):
            np.testing.assert_allclose(image.get_array(), pixels)
    assert display.bars_ is None
    assert ticks(display.ax_) == ["X", "reconstruction", "reconstruction\nless X"]
    labels = [tick.get_text() for tick in display.ax_.get_xticklabels()]
    assert labels == ["4", "1", "4"]
    assert display.ax_.get_xlabel() == "row of X"
    scales = display.ax_.child_axes
    assert [scale.get_ylabel() for scale in scales] == ["units of X"] * 2


def test_images_stand_one_above_the_other(of_digits):
    display = draw(of_digits, DIGITS, n_rows=3, image_shape=(8, 8))
    extents = np.array([[i.get_extent() for i in line] for line in display.images_])
    left, right, bottom, top = np.moveaxis(extents, -1, 0)
    np.testing.assert_array_equal(left, np.tile(left[0], (3, 1)))
    assert (left[:, 1:] > right[:, :-1]).all()
    assert (top[1:] > bottom[:-1]).all()
    assert display.ax_.get_ylim() == (bottom.max(), 0)  # 0 is the top


def test_colour_scales_are_shared_and_symmetric(of_digits):
    display = draw(of_digits, DIGITS, image_shape=(8, 8))
    both = np.concatenate([display.values, display.reconstructions])
    for image in display.images_[:2].ravel():
        assert image.get_clim() == (both.min(), both.max())
    most = np.abs(display.reconstructions - display.values).max()
    for image in display.images_[2]:
        assert image.get_clim() == (-most, most)


def test_images_are_of_rows_evenly_spaced(of_digits):
    display = draw(of_digits, DIGITS, n_rows=4, image_shape=(8, 8))
    assert display.labels == [0, 33, 66, 99]
    few = draw(of_digits, DIGITS[:3], image_shape=[8, 8])
    assert few.labels == [0, 1, 2]


def test_images_of_colours():
    random = np.random.default_rng(0)
    rows = random.uniform(0, 255, (30, 3 * 2 * 4))
    pca = PCA(2).fit(rows)
    display = draw(pca, rows, rows=[5], image_shape=(3, 2, 4))
    both = np.concatenate([display.values, display.reconstructions])
    shown = display.images_[0, 0].get_array()
    assert shown.shape == (2, 4, 3)
    expected = (rows[5] - both.min()) / (both.max() - both.min())
    np.testing.assert_allclose(shown[..., 1].ravel(), expected[8:16])
    difference = (display.reconstructions - display.values).reshape(3, 2, 4).mean(0)
    np.testing.assert_allclose(display.images_[2, 0].get_array(), difference)
    assert len(display.ax_.child_axes) == 1  # colours have no scale


def test_one_channel_is_grey(of_digits):
    display = draw(of_digits, DIGITS, rows=2, image_shape=(1, 8, 8))
    assert display.images_[0, 0].get_array().shape == (8, 8)


@pytest.mark.parametrize("image_shape", [(8, 8), (3, 4, 5)])
def test_holes_of_images_are_hatched(image_shape):
    rows = np.random.default_rng(0).normal(size=(30, np.prod(image_shape)))
    rows[2, :4] = np.nan
    vae = VAETransformer(2, **QUICK).fit(rows)
    display = draw(vae, rows, rows=[1, 2], image_shape=image_shape)
    hatched = [patch for patch in display.ax_.collections if patch.get_hatch()]
    assert len(hatched) == 2  # the row and the difference
    assert all(
        patch.get_zorder() < display.images_[0, 1].get_zorder() for patch in hatched
    )
    pixels = display.images_[0, 1].get_array()
    if len(image_shape) == 2:
        seen = ~np.ma.getmaskarray(pixels)
    else:
        seen = pixels[..., 3]
    np.testing.assert_array_equal(seen.ravel()[:5], [0, 0, 0, 0, 1])


def test_a_row_of_holes_is_hatched_and_has_no_difference(of_digits):
    rows = np.vstack([DIGITS[:1], np.full((1, 64), np.nan)])
    display = draw(of_digits, rows, rows=1, image_shape=(8, 8))
    assert np.ma.getmaskarray(display.images_[2, 0].get_array()).all()
    assert not np.ma.getmaskarray(display.images_[1, 0].get_array()).any()
    display.figure_.canvas.draw()


def test_frames_of_pixels_name_rows(of_digits):
    frame = pd.DataFrame(DIGITS, index=[f"a handwritten digit {i}" for i in range(100)])
    display = draw(PCA(2).fit(frame), frame, rows=[3], image_shape=(8, 8))
    assert display.labels == ["a handwritten digit 3"]
    assert len(display.ax_.get_xticklabels()[0].get_text()) <= 9


# ---- axes and figures ----------------------------------------------------------------


@pytest.mark.parametrize("keywords", [{}, {"image_shape": (1, 7)}])
def test_ax_is_used(vae, keywords):
    figure, ax = plt.subplots()
    display = draw(vae, X, ax=ax, **keywords)
    assert display.ax_ is ax
    assert display.figure_ is figure
    assert plt.get_fignums() == [figure.number]


def boxes_of_texts(ax, renderer):
    labels = [*ax.get_yticklabels(), *ax.get_xticklabels(), *ax.texts]
    labels += [ax.xaxis.label, ax.yaxis.label]
    if ax.get_legend():
        labels += ax.get_legend().get_texts()
    (x0, x1), (y0, y1) = sorted(ax.get_xlim()), sorted(ax.get_ylim())
    outside = [
        tick
        for tick in (*ax.get_yticklabels(), *ax.get_xticklabels())
        if not (x0 <= tick.get_position()[0] <= x1)
        or not (y0 <= tick.get_position()[1] <= y1)
    ]
    shown = [label for label in labels if label.get_text() and label not in outside]
    return [label.get_window_extent(renderer) for label in shown]


def check_room(figure, axes):
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    boxes = [box for ax in axes for box in boxes_of_texts(ax, renderer)]
    for i, box in enumerate(boxes):
        assert figure.bbox.x0 <= box.x0 <= box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0 <= box.y1 <= figure.bbox.y1
        assert not box.count_overlaps(boxes[i + 1 :])


def test_no_words_of_bars_overlap_or_are_cut_off(of_table):
    display = draw(of_table, TABLE, n_features=4)
    check_room(display.figure_, [display.ax_])


@pytest.mark.parametrize("n_rows", [1, 3, 8])
def test_no_words_of_images_overlap_or_are_cut_off(of_digits, n_rows):
    frame = pd.DataFrame(DIGITS, index=[f"digit number {i}" for i in range(100)])
    display = draw(of_digits, frame, n_rows=n_rows, image_shape=(8, 8))
    check_room(display.figure_, [display.ax_, *display.ax_.child_axes])


# ---- what it refuses, and leaves alone -----------------------------------------------


@pytest.mark.parametrize(
    ("keywords", "error", "words"),
    [
        ({"rows": [3, 200]}, ValueError, "rows holds 200, but X has 200 rows"),
        ({"rows": -1}, ValueError, "rows holds -1, .* from 0 to 199"),
        ({"rows": []}, ValueError, "at least one"),
        ({"rows": 1.0}, TypeError, "whole numbers"),
        ({"rows": np.zeros(200, bool)}, TypeError, "flatnonzero"),
        ({"n_rows": 0}, ValueError, "n_rows"),
        ({"n_features": 2.5}, TypeError, "n_features"),
        ({"image_shape": (2, 4)}, ValueError, "8 numbers a row, but X has 7 columns"),
        ({"image_shape": (2, 1, 7)}, ValueError, "1 or 3 channels"),
        ({"image_shape": 7}, ValueError, r"\(height, width\)"),
        ({"image_shape": (7, 0)}, ValueError, r"\(height, width\)"),
    ],
)
def test_bad_arguments_are_named(vae, keywords, error, words):
    with pytest.raises(error, match=words):
        draw(vae, X, **keywords)
    assert not plt.get_fignums()


def test_labels_are_no_images(of_table):
    with pytest.raises(ValueError, match="columns of labels"):
        draw(of_table, TABLE, image_shape=(1, 7))


@pytest.mark.parametrize(
    ("estimator", "method"),
    [(VAEOutlierDetector(), "transform"), (VAEImputer(), "inverse_transform")],
)
def test_estimators_without_codes_are_refused(estimator, method):
    with pytest.raises(TypeError, match=f"has no {method}, .*AETransformer have"):
        draw(estimator, X)


def test_unfitted_estimators_are_refused():
    with pytest.raises(NotFittedError):
        draw(VAETransformer(), X)


def test_shapes_must_agree():
    with pytest.raises(ValueError, match=r"\(200, 7\), and reconstructions \(2, 7\)"):
        ReconstructionDisplay(X, X[:2]).plot()


def test_nothing_is_written_to_the_estimator_or_the_rows(of_table):
    table, attributes = TABLE.copy(), dict(vars(of_table))
    draw(of_table, TABLE)
    assert all(vars(of_table)[name] is value for name, value in attributes.items())
    pd.testing.assert_frame_equal(TABLE, table)


def test_matplotlib_is_asked_for_by_name(vae, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"ReconstructionDisplay .*skvae\[plot\]"):
        draw(vae, X)
