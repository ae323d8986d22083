"""TraversalDisplay: the picture shows what traverse gives, and names it."""

import itertools
import subprocess
import sys

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from scipy.special import ndtr
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skvae import (
    AETransformer,
    TraversalDisplay,
    VAEImputer,
    VAEOutlierDetector,
    VAETransformer,
    diagnostics,
    traverse,
)

DIGITS = load_digits().data[:300]
FRAME = load_breast_cancer(as_frame=True).data
STEPS = np.linspace(-2, 2, 9)
QUICK = {"max_iter": 5, "random_state": 0}
IMAGES = {"image_shape": (8, 8)}
draw = TraversalDisplay.from_estimator


def mixed_table():
    random = np.random.default_rng(0)
    n = 300
    age = random.normal(50, 10, n)
    near = age + random.normal(0, 4, n)
    table = pd.DataFrame(
        {
            "age": age,
            "ward": np.select([near > 55, near > 45], ["surgery", "_ear"], "other"),
            "cost in $ (not in $ per day)": np.exp(age / 20 + random.normal(size=n)),
            "sex": np.where(near + random.normal(0, 9, n) > 50, "m", "f"),
            "constant": 1.0,
        },
        index=[f"patient {i}" for i in range(n)],
    )
    table.iloc[3, [0, 1]] = np.nan, None
    return table


TABLE = mixed_table()


@pytest.fixture(autouse=True)
def figures_closed():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def of_digits():
    return VAETransformer(10, **QUICK).fit(DIGITS)


@pytest.fixture(scope="module")
def of_frame():
    return VAETransformer(4, **QUICK).fit(FRAME)


@pytest.fixture(scope="module")
def of_table():
    return VAETransformer(2, max_iter=60, random_state=0).fit(TABLE)


def ticks(axis):
    return [tick.get_text() for tick in axis.get_ticklabels()]


def component_of(name):
    return int(name.split()[1])


def legend_texts(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


# ---- images --------------------------------------------------------------------------


def assert_images_are_traversals(display, estimator, start, shape=(8, 8)):
    for name, values, images in zip(
        display.names, display.values, display.images_, strict=True
    ):
        rows = traverse(estimator, start, component_of(name), values)
        shown = np.array([image.get_array() for image in images])
        np.testing.assert_allclose(shown, rows.reshape(-1, *shape), rtol=1e-6)


def test_images_are_traversals_from_the_centre(of_digits):
    display = draw(of_digits, DIGITS, **IMAGES)
    np.testing.assert_allclose(display.values, [STEPS] * 8)
    assert_images_are_traversals(display, of_digits, np.zeros(10))
    assert ticks(display.ax_.xaxis) == [f"{step:g}" for step in STEPS]
    assert display.ax_.get_xlabel() == (
        "value of the component (standard deviations of the prior)"
    )
    assert display.ax_.get_title() == "start: the centre of the codes"
    assert not display.lines_


def test_images_start_from_the_code_of_a_row(of_digits):
    display = draw(of_digits, DIGITS, row=7, **IMAGES)
    assert_images_are_traversals(display, of_digits, of_digits.transform(DIGITS)[7])
    assert display.ax_.get_title() == "start: row 7"


def test_components_come_with_the_most_informative_first(of_digits):
    table = diagnostics(of_digits, DIGITS)
    names = [
        f"component {j} ({kl:.2f} nats)"
        for j, kl in zip(table.component, table.kl_per_component, strict=True)
    ]
    display = draw(of_digits, DIGITS, **IMAGES)
    assert display.names == names[:8]
    assert ticks(display.ax_.yaxis) == names[:8]


def test_images_need_no_rows(of_digits):
    display = draw(of_digits, **IMAGES)
    kl = of_digits.kl_per_component_
    assert display.names == [
        f"component {j} ({kl[j]:.2f} nats)" for j in np.argsort(-kl)[:8]
    ]
    assert_images_are_traversals(display, of_digits, np.zeros(10))


@pytest.mark.parametrize(
    "settings",
    [{"posterior": "dirichlet"}, {"prior": torch.distributions.Normal(0.0, 3.0)}],
    ids=["together", "not from the prior"],
)
def test_the_fit_knows_no_nats_of_some_components(settings):
    model = VAETransformer(3, **settings, **QUICK).fit(DIGITS)
    names = draw(model, **IMAGES).names
    assert sorted(names) == [f"component {j}" for j in range(3)]


@pytest.mark.parametrize("components", [3, [3, 0], np.array([9])])
def test_components_and_values_can_be_chosen(of_digits, components):
    display = draw(
        of_digits, DIGITS, components=components, values=[-3, 0.25], **IMAGES
    )
    shown = [component_of(name) for name in display.names]
    assert shown == np.atleast_1d(components).tolist()
    assert_images_are_traversals(display, of_digits, np.zeros(10))
    assert ticks(display.ax_.xaxis) == ["-3", "0.25"]
    assert display.ax_.get_xlabel() == "value of the component"


def test_images_may_have_colours(of_digits):
    coloured = np.tile(DIGITS[:100], 3)
    vae = VAETransformer(2, **QUICK).fit(coloured)
    display = draw(vae, image_shape=(3, 8, 8))
    assert display.images_[0][0].get_array().shape == (8, 8, 3)
    assert display.images_[0][0].get_array().max() <= 1


# ---- where codes are not any number --------------------------------------------------


def test_an_autoencoder_goes_through_the_codes_of_the_rows():
    model = AETransformer(3, **QUICK).fit(DIGITS)
    Z = model.transform(DIGITS)
    display = draw(model, DIGITS, components=range(3), **IMAGES)
    expected = np.quantile(Z, ndtr(STEPS), axis=0).T
    np.testing.assert_allclose(display.values, expected, rtol=1e-4, atol=1e-4)
    assert_images_are_traversals(display, model, np.median(Z, axis=0))
    assert display.names == ["component 0", "component 1", "component 2"]
    assert display.ax_.get_xlabel() == (
        "value of the component (quantile of the codes of X)"
    )
    shown = ticks(display.ax_.xaxis)
    assert (shown[0], shown[4], shown[-1]) == ("2%", "50%", "98%")
    with pytest.raises(ValueError, match="X is needed: the codes of AETransformer"):
        draw(model, **IMAGES)


def test_positive_codes_go_through_the_quantiles_of_the_prior():
    model = VAETransformer(2, posterior="gamma", **QUICK).fit(DIGITS)
    display = draw(model, **IMAGES)
    exponential = -np.log1p(-ndtr(STEPS))
    np.testing.assert_allclose(display.values, [exponential] * 2, rtol=0.25)
    assert display.ax_.get_xlabel() == "value of the component (quantile of the prior)"
    with pytest.raises(ValueError, match="codes that are not positive"):
        draw(model, values=[-1, 1], **IMAGES)
    lines = draw(model, DIGITS)
    assert [ax.get_xscale() for ax in lines.axes_] == ["log", "log"]


@pytest.mark.parametrize("name", ["dirichlet", "categorical"])
def test_shares_keep_their_proportions(name):
    model = VAETransformer(3, posterior=name, **QUICK).fit(DIGITS)
    assert_images_are_traversals(draw(model, **IMAGES), model, np.full(3, 1 / 3))
    start = model.transform(DIGITS)[7]
    display = draw(model, DIGITS, row=7, **IMAGES)
    assert_images_are_traversals(display, model, start)
    assert display.values.min() >= 0
    assert display.values.max() <= 1


def test_a_learned_prior_has_quantiles_of_its_own():
    model = VAETransformer(2, prior="mixture", **QUICK).fit(DIGITS)
    kept = model._fitted_model(np.float64)
    generator = torch.Generator().manual_seed(7)
    drawn = kept.model.prior_of(kept.weights).sample(50_000, 2, generator)
    display = draw(model, **IMAGES)
    expected = np.quantile(drawn.numpy(), ndtr(STEPS), axis=0).T
    np.testing.assert_allclose(display.values, expected, atol=0.15)
    assert "quantile of the prior" in display.ax_.get_xlabel()


# ---- tables --------------------------------------------------------------------------


@pytest.mark.parametrize("row", [None, 17])
def test_lines_are_changes_in_standard_deviations(of_frame, row):
    display = draw(of_frame, FRAME, row=row)
    start = np.zeros(4) if row is None else of_frame.transform(FRAME)[row]
    origin = of_frame.inverse_transform(start[None]).iloc[0]
    assert len(display.lines_) == len(display.axes_) == 4
    for name, ax, lines in zip(
        display.names, display.axes_, display.lines_, strict=True
    ):
        values = np.linspace(-2, 2, 41)
        rows = traverse(of_frame, start, component_of(name), values)
        changes = (rows - origin) / FRAME.std(ddof=0)
        most = np.ptp(changes, axis=0)
        shown = [line.get_label() for line in lines]
        assert set(shown) == set(FRAME.columns[np.argsort(-most)[:5]])
        for line, column in zip(lines, shown, strict=True):
            np.testing.assert_allclose(line.get_xdata(), values)
            np.testing.assert_allclose(line.get_ydata(), changes[column], atol=1e-6)
        ends = {line.get_label(): line.get_ydata()[-1] for line in lines}
        assert legend_texts(ax) == sorted(ends, key=ends.get, reverse=True)
        assert ax.get_title() == name


def test_labels_of_the_axes_have_units(of_frame):
    one = draw(of_frame, FRAME, components=1, row=17)
    words = "change from row 17\n(standard deviations of the column)"
    assert one.ax_.get_ylabel() == words
    assert one.ax_.get_xlabel().endswith("(standard deviations of the prior)")
    several = draw(of_frame, FRAME)
    assert several.figure_.get_supylabel().startswith("change from the centre of the")
    assert several.figure_.get_supxlabel() == one.ax_.get_xlabel()


def test_panels_are_as_many_as_asked_for_with_as_many_lines(of_frame):
    display = draw(of_frame, FRAME, components=[0, 2, 3], n_features=2)
    assert [len(lines) for lines in display.lines_] == [2, 2, 2]
    assert len(display.figure_.axes) == 3
    assert len(display.plot(n_features=40).lines_[0]) == 30
    colours = {}
    for line in itertools.chain(*display.lines_):
        colours.setdefault(line.get_label(), set()).add(line.get_color())
    assert {len(own) for own in colours.values()} == {1}  # alike in all panels
    assert len({line.get_color() for line in display.lines_[0][:7]}) == 7


def test_columns_of_numbers_without_names_are_numbered(of_digits):
    display = draw(of_digits, DIGITS, components=0)
    assert all(text.startswith("column ") for text in legend_texts(display.ax_))


# ---- labels --------------------------------------------------------------------------


def columns_of(display):
    return {name: display.rows[..., j] for j, name in enumerate(display.feature_names)}


def test_labels_are_probabilities(of_table):
    display = draw(of_table, TABLE, row=0)
    columns = columns_of(display)
    wards = ["ward = _ear", "ward = other", "ward = surgery"]
    numbers = ["age", "cost in $ (not in $ per day)", "constant"]
    assert list(columns) == [*numbers, *wards, "sex = m"]
    probabilities = np.array([columns[name] for name in wards])
    np.testing.assert_allclose(probabilities.sum(axis=0), 1)
    start = of_table.transform(TABLE)[0]
    for i, name in enumerate(display.names):
        rows = traverse(of_table, start, component_of(name), display.values[i])
        likeliest = np.array(["_ear", "other", "surgery"])[
            probabilities[:, i].argmax(axis=0)
        ]
        np.testing.assert_array_equal(likeliest, rows["ward"])
        np.testing.assert_array_equal(columns["sex = m"][i] > 0.5, rows["sex"] == "m")
        np.testing.assert_allclose(columns["age"][i], rows["age"], rtol=1e-6)


def test_labels_change_in_deviations_of_their_indicators(of_table):
    display = draw(of_table, TABLE, n_features=9)
    known = TABLE["ward"].notna()
    share = (TABLE["ward"][known] == "other").mean()
    expected = np.sqrt(share * (1 - share))
    place = display.feature_names.index("ward = other")
    assert display.scales[place] == pytest.approx(expected)
    (line,) = (x for x in display.lines_[0] if x.get_label() == "ward = other")
    change = display.rows[0, :, place] - display.start[place]
    np.testing.assert_allclose(line.get_ydata(), change / expected)


def test_names_are_drawn_as_they_are_and_constant_columns_are_not(of_table):
    display = draw(of_table, TABLE, n_features=9)
    texts = display.ax_.get_legend().get_texts()
    assert {text.get_text() for text in texts} == {
        *(name for name in display.feature_names if name != "constant")
    }
    assert not any(text.get_parse_math() for text in texts)
    assert np.isnan(display.scales[display.feature_names.index("constant")])


def test_arrays_and_polars_show_the_same(of_table):
    in_pandas = draw(of_table, TABLE)
    cells = TABLE.astype(object).where(TABLE.notna(), None)
    frame = pl.DataFrame({name: cells[name].tolist() for name in cells})
    in_polars = draw(of_table, frame)
    np.testing.assert_allclose(in_polars.rows, in_pandas.rows)
    np.testing.assert_allclose(in_polars.scales, in_pandas.scales)
    array = cells.to_numpy(dtype=object)
    of_array = VAETransformer(2, **QUICK).fit(array)
    assert draw(of_array, array).feature_names[-1] == "3 = m"


def test_labels_that_tell_rows_apart_are_left_out():
    table = TABLE.assign(name=[f"person {i}" for i in range(len(TABLE))])
    vae = VAETransformer(2, likelihood={"name": "identifier"}, **QUICK).fit(table)
    display = draw(vae, table)
    assert not any(name.startswith("name") for name in display.feature_names)


# ---- axes and figures ----------------------------------------------------------------


def test_images_and_single_panels_go_where_they_are_told(of_digits):
    for keywords in (IMAGES, {"components": 0}):
        figure, axes = plt.subplots(1, 2)
        display = draw(of_digits, DIGITS, ax=axes[1], **keywords)
        assert display.ax_ is axes[1]
        assert display.figure_ is figure
        assert figure.axes == axes.tolist()


def test_several_panels_take_the_place_of_an_axes(of_frame):
    figure, axes = plt.subplots(1, 2, figsize=(12, 4), layout="constrained")
    display = draw(of_frame, FRAME, ax=axes[1])
    assert display.figure_ is figure
    assert plt.get_fignums() == [figure.number]
    figure.canvas.draw()
    middle = figure.bbox.width / 2
    for ax in display.axes_:
        assert ax.get_tightbbox().x0 > middle
    with pytest.raises(ValueError, match="divided into panels before"):
        draw(of_frame, FRAME, ax=axes[1])
    with pytest.raises(ValueError, match="no subplot"):
        draw(of_frame, FRAME, ax=plt.figure().add_axes((0, 0, 1, 1)))


@pytest.mark.parametrize(
    "keywords", [IMAGES, {}, {"components": [0, 1]}, {"components": 0}]
)
def test_nothing_overlaps_or_is_cut_off(of_digits, keywords):
    figure = draw(of_digits, DIGITS, row=3, **keywords).figure_
    figure.canvas.draw()
    boxes = [ax.get_tightbbox() for ax in figure.axes]
    boxes += [text.get_window_extent() for text in figure.texts]
    for i, box in enumerate(boxes):
        assert figure.bbox.x0 <= box.x0 <= box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0 <= box.y1 <= figure.bbox.y1
        assert not box.count_overlaps(boxes[i + 1 :])


def test_made_by_hand():
    rows = np.arange(24.0).reshape(1, 3, 8)
    display = TraversalDisplay(rows, [[-1, 0, 1]], ["a"]).plot(n_features=3)
    np.testing.assert_array_equal(display.lines_[0][0].get_ydata(), [-8, 0, 8])
    assert display.ax_.get_ylabel() == "change from the start"
    display = TraversalDisplay(rows, [[-1, 0, 1]], ["a"], image_shape=(2, 4)).plot()
    assert ticks(display.ax_.xaxis) == ["-1", "0", "1"]
    assert display.ax_.get_title() == ""


# ---- what it refuses, and leaves alone -----------------------------------------------


@pytest.mark.parametrize(
    ("keywords", "error", "words"),
    [
        ({"components": 4}, ValueError, "components holds 4, but codes have 4"),
        ({"components": [1, 1]}, ValueError, "different ones"),
        ({"components": 1.0}, TypeError, "whole numbers"),
        ({"row": len(FRAME)}, ValueError, "row == 569"),
        ({"row": -1}, ValueError, "row == -1"),
        ({"row": 1.5}, TypeError, "row"),
        ({"values": [[0, 1], [1, 2]]}, ValueError, "values must be a sequence of one"),
        ({"values": []}, ValueError, "values must be a sequence of one number or more"),
        ({"values": 0.5}, ValueError, "values must be a sequence .*, got 0.5"),
        ({"values": [0, np.nan]}, ValueError, "values holds codes that are not real"),
        ({"values": [0, np.inf]}, ValueError, "values holds codes that are not real"),
        ({"image_shape": (8, 8)}, ValueError, "64 numbers a row, but X has 30"),
        ({"image_shape": 30}, ValueError, "image_shape must be a tuple"),
        ({"n_features": 0}, ValueError, "n_features"),
    ],
)
def test_bad_arguments_are_named(of_frame, keywords, error, words):
    with pytest.raises(error, match=words):
        draw(of_frame, FRAME, **keywords)
    assert not plt.get_fignums()


def test_rows_are_asked_for_where_they_are_needed(of_frame, of_digits):
    with pytest.raises(ValueError, match="X is needed for tables"):
        draw(of_frame)
    with pytest.raises(ValueError, match="row is a position in X"):
        draw(of_digits, row=3, **IMAGES)
    with pytest.raises(ValueError, match="No column of X varies"):
        draw(of_frame, FRAME[:1])


def test_other_estimators_are_refused():
    with pytest.raises(NotFittedError):
        draw(VAETransformer(), FRAME)
    with pytest.raises(TypeError, match="ensemble"):
        draw(VAEOutlierDetector(n_estimators=2, **QUICK).fit(FRAME), FRAME)
    with pytest.raises(TypeError, match="VAEImputer has no inverse_transform"):
        draw(VAEImputer(n_components=2, **QUICK).fit(FRAME), FRAME)
    with pytest.raises(TypeError, match="the last step, and the rows that it sees"):
        draw(make_pipeline(StandardScaler(), VAETransformer()), FRAME)


def test_nothing_is_written_to_the_estimator_or_the_rows(of_table):
    attributes, table = dict(vars(of_table)), TABLE.copy()
    draw(of_table, TABLE, row=3)
    assert all(vars(of_table)[name] is value for name, value in attributes.items())
    pd.testing.assert_frame_equal(TABLE, table)


def test_matplotlib_is_asked_for_by_name(of_frame, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"TraversalDisplay needs.*skvae\[plot\]"):
        draw(of_frame, FRAME)


def test_importing_brings_neither_matplotlib_nor_torch_along():
    code = (
        "import sys; from skvae import LatentSpaceDisplay, TraversalDisplay;"
        "assert not {'matplotlib', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
