"""LatentSpaceDisplay: points are codes, outlines are posteriors, names say which."""

import sys

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from matplotlib.colors import same_color
from sklearn.datasets import load_wine
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skvae import (
    AETransformer,
    LatentSpaceDisplay,
    VAEImputer,
    VAEOutlierDetector,
    VAETransformer,
    diagnostics,
)
from skvae.display.components import measured

WINE = load_wine(as_frame=True)
FRAME, TARGET = WINE.data, WINE.target
X = FRAME.to_numpy()
SPECIES = np.array(["barolo", "grignolino", "barbera"], dtype=object)[TARGET]
NO_BARBERA = np.where(TARGET == 2, None, SPECIES)
N = len(X)
QUICK = {"max_iter": 5, "random_state": 0}
draw = LatentSpaceDisplay.from_estimator


@pytest.fixture(autouse=True)
def figures_closed():
    yield
    plt.close("all")


def fitted(n_components=2, **parameters):
    return VAETransformer(n_components, **QUICK, **parameters).fit(X)


@pytest.fixture(scope="module")
def vae():
    return fitted(4)


@pytest.fixture(scope="module")
def of_one():
    return fitted(1)


def points(collection):
    return np.asarray(collection.get_offsets())


def outlines(display):
    return np.array(display.ellipses_.get_segments())


def legend_texts(display):
    return [text.get_text() for text in display.legend_.get_texts()]


# ---- points --------------------------------------------------------------------------


@pytest.mark.parametrize("estimator", [VAETransformer, AETransformer])
@pytest.mark.parametrize("components", [None, (3, 1), np.array([0, 2])])
def test_points_are_codes(estimator, components):
    model = estimator(4, **QUICK).fit(X)
    display = draw(model, X, components=components)
    labels = display.ax_.get_xlabel(), display.ax_.get_ylabel()
    shown = [int(label.split()[1]) for label in labels]
    assert components is None or shown == list(components)
    np.testing.assert_allclose(
        points(display.scatter_[0]), model.transform(X)[:, shown], rtol=1e-5, atol=1e-6
    )


def test_an_imputer_has_codes_of_rows_with_holes():
    holed = X.copy()
    holed[::3, 2] = np.nan
    model = VAEImputer(n_components=2, **QUICK).fit(holed)
    display = draw(model, holed, n_ellipses=25)
    assert np.isfinite(points(display.scatter_[0])).all()
    assert len(outlines(display)) == 25


def test_the_most_informative_pair_is_drawn_and_its_nats_are_named(vae):
    table = diagnostics(vae, X)
    best = sorted(table.component[:2])
    nats = dict(zip(table.component, table.kl_per_component, strict=True))
    display = draw(vae, X)
    names = [f"component {j} ({nats[j]:.2f} nats)" for j in best]
    assert [display.ax_.get_xlabel(), display.ax_.get_ylabel()] == names
    assert display.names == names


@pytest.mark.parametrize("changes", [{"posterior": "dirichlet"}, {"prior": "mixture"}])
def test_activities_stand_in_for_divergences(changes):
    model = fitted(3, **changes)
    table = diagnostics(model, X)
    assert np.isnan(table.kl_per_component).all()
    activity = dict(zip(table.component, table.activity, strict=True))
    assert draw(model, X).names == [
        f"component {j} (activity {activity[j]:.2f})"
        for j in sorted(table.component[:2])
    ]


def test_of_an_autoencoder_the_pair_is_what_reconstructions_need():
    model = AETransformer(4, **QUICK).fit(X)
    Z = model.transform(X)
    whole = model.inverse_transform(Z)
    lost = []
    for component in range(4):
        without = Z.copy()
        without[:, component] = Z[:, component].mean()
        change = (model.inverse_transform(without) - whole) / whole.std(axis=0)
        lost.append(np.square(change).sum())
    best = sorted(np.argsort(lost)[-2:])
    assert draw(model, X).names == [f"component {j}" for j in best]


def test_what_reconstructions_lose_is_in_units_of_their_variances():
    model = AETransformer(3, **QUICK).fit(X)
    codes, worth, _ = measured(model, X)
    Z = model.transform(X)
    np.testing.assert_allclose(codes, Z)
    whole = model.inverse_transform(Z)
    for component, lost in enumerate(worth):
        without = Z.copy()
        without[:, component] = Z[:, component].mean()
        change = (model.inverse_transform(without) - whole) / whole.std(axis=0)
        assert lost == pytest.approx(np.square(change).mean())


@pytest.mark.parametrize("changes", [{}, {"prior": "mixture"}])
def test_one_component_is_worth_what_diagnostics_says(changes):
    model = fitted(1, **changes)
    (kl,) = diagnostics(model, X).kl_per_component
    assert draw(model, X).names == [f"component 0 ({kl:.2f} nats)"]


def test_many_rows_are_small_faint_pixels():
    many = np.random.default_rng(0).normal(size=(20_000, 3))
    display = draw(VAETransformer(2, max_iter=1, random_state=0).fit(many), many)
    (scatter,) = display.scatter_
    assert len(points(scatter)) == 20_000
    assert scatter.get_rasterized()
    assert scatter.get_alpha() < 0.2
    assert display.ellipses_.get_zorder() > scatter.get_zorder()


# ---- posteriors ----------------------------------------------------------------------


def posteriors_of(model, rows):
    kept = model._fitted_model(np.float64)
    with torch.no_grad():
        inputs = torch.from_numpy(kept.table.encode(rows, np.float64)[0])
        return kept.model.encode(kept.weights, inputs)


def test_outlines_are_as_wide_as_the_encoders_scales(vae):
    display = draw(vae, X, components=(2, 0), n_ellipses=7)
    rows = np.linspace(0, N - 1, 7).round().astype(int)
    assert list(display.ellipse_rows) == rows.tolist()
    scales = posteriors_of(vae, X[rows]).log_scale.exp().numpy()[:, [2, 0]]
    shapes = outlines(display)
    np.testing.assert_allclose(np.ptp(shapes, axis=1), 2 * scales, rtol=1e-6)
    centres = (shapes.min(axis=1) + shapes.max(axis=1)) / 2
    np.testing.assert_allclose(centres, display.codes[rows], atol=1e-9)


def test_outlines_of_correlated_components_are_tilted():
    model = fitted(3, posterior="full_gaussian")
    display = draw(model, X, components=(0, 2), n_ellipses=4)
    factor = posteriors_of(model, X[display.ellipse_rows]).factor.numpy()
    covariances = (factor @ factor.swapaxes(1, 2))[:, [0, 2]][:, :, [0, 2]]
    assert np.abs(covariances[:, 0, 1]).min() > 0
    centres = display.codes[display.ellipse_rows]
    for shape, centre, covariance in zip(
        outlines(display), centres, covariances, strict=True
    ):
        steps = shape - centre
        distances = np.einsum("ij,jk,ik->i", steps, np.linalg.inv(covariance), steps)
        np.testing.assert_allclose(distances, 1)


@pytest.mark.parametrize("name", ["laplace", "uniform", "gumbel", "beta", "dirichlet"])
def test_covariances_are_those_of_draws(name):
    model = fitted(3, posterior=name)
    display = draw(model, X, components=(0, 1), n_ellipses=3)
    noise = model._fitted_model(np.float64).model.posterior.noise
    shape = 20_000, 3, 6 if name == "beta" else 3
    noise = noise(shape, torch.Generator().manual_seed(1)).double()
    drawn = posteriors_of(model, X[display.ellipse_rows]).rsample(noise).numpy()
    for i, covariance in enumerate(display.covariances):
        expected = np.cov(drawn[:, i, :2].T)
        np.testing.assert_allclose(covariance, expected, atol=0.05 * expected.max())


@pytest.mark.parametrize("name", ["gamma", "lognormal", "pareto"])
def test_positive_codes_are_drawn_by_their_logarithms(name):
    model = fitted(2, posterior=name)
    display = draw(model, X, n_ellipses=3)
    assert display.ax_.get_xscale() == display.ax_.get_yscale() == "log"
    shapes = outlines(display)
    assert (shapes > 0).all()
    deviations = np.sqrt(np.diagonal(display.covariances, axis1=1, axis2=2))
    np.testing.assert_allclose(np.ptp(np.log(shapes), axis=1), 2 * deviations, 1e-3)
    if name == "lognormal":
        code = posteriors_of(model, X[display.ellipse_rows]).logarithm
        np.testing.assert_allclose(deviations, code.log_scale.exp(), rtol=0.02)


@pytest.mark.parametrize(
    "model",
    [
        AETransformer(2, **QUICK),
        VAETransformer(2, posterior="categorical", **QUICK),
        VAETransformer(2, posterior="cauchy", **QUICK),
    ],
    ids=["points", "classes", "no variance"],
)
def test_codes_without_a_covariance_have_no_outlines(model):
    display = draw(model.fit(X), X)
    assert not len(outlines(display))
    assert "ellipses" not in display.ax_.get_title()


@pytest.mark.parametrize("n_ellipses", [0, 1, 500])
def test_there_are_as_many_outlines_as_asked_for_and_rows(vae, n_ellipses):
    n_drawn = min(n_ellipses, N)
    display = draw(vae, X, n_ellipses=n_ellipses)
    assert len(outlines(display)) == len(display.ellipse_rows) == n_drawn
    caption = display.ax_.get_title()
    assert caption.startswith(f"ellipses: {n_drawn} post" if n_drawn else "rings")


@pytest.mark.parametrize("n_rows", [2, 10, 50, N])
@pytest.mark.parametrize("posterior", ["gaussian", "gamma"])
def test_by_default_ellipses_leave_points_to_be_seen(posterior, n_rows):
    display = draw(fitted(posterior=posterior), X[:n_rows])
    n_drawn = len(outlines(display))
    assert min(3, n_rows) <= n_drawn <= max(3, n_rows // 10)
    if n_drawn > 3:
        codes = np.log(display.codes) if display.log_scale else display.codes
        area = np.pi * np.sqrt(np.linalg.det(display.covariances)).sum()
        assert area < 0.12 * np.ptp(codes, axis=0).prod()
    rows = np.asarray(display.ellipse_rows)
    assert (rows[0], rows[-1]) == (0, n_rows - 1)
    assert np.ptp(np.diff(rows)) <= 0.2 * n_rows


def test_by_default_small_ellipses_are_as_many_as_they_were():
    random = np.random.default_rng(0)
    rows = random.normal(size=(400, 2)) @ random.normal(size=(2, 8))
    rows += 0.01 * random.normal(size=rows.shape)
    model = VAETransformer(2, max_iter=30, random_state=0).fit(rows)
    for n_rows, n_drawn in ((400, 25), (150, 15)):
        assert len(outlines(draw(model, rows[:n_rows]))) == n_drawn


def test_rings_are_of_the_standard_normal_prior_alone(vae):
    display = draw(vae, X, n_ellipses=25)
    assert [ring.get_radius() for ring in display.rings_] == [1, 2]
    assert {ring.get_center() for ring in display.rings_} == {(0, 0)}
    assert display.ax_.get_aspect() == 1
    assert display.ax_.get_title() == (
        "ellipses: 25 posteriors, 1 sd; rings: prior, 1 and 2 sd"
    )
    for other in (fitted(prior="mixture"), AETransformer(2, **QUICK).fit(X)):
        display = draw(other, X)
        assert not display.rings_
        assert display.ax_.get_aspect() == "auto"


# ---- labels --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("y", "names"),
    [
        (SPECIES, ["barbera (48)", "barolo (59)", "grignolino (71)"]),
        (SPECIES.tolist(), ["barbera (48)", "barolo (59)", "grignolino (71)"]),
        (TARGET, ["0 (59)", "1 (71)", "2 (48)"]),
        (TARGET.to_numpy() == 1, ["False (107)", "True (71)"]),
        (pl.Series("kind", SPECIES.tolist()), ["barbera (48)", "barolo (59)"]),
        (
            pd.Series(pd.Categorical(NO_BARBERA, ["grignolino", "none", "barolo"])),
            ["grignolino (71)", "barolo (59)", "no label (48)"],
        ),
        (TARGET.astype("Int64").where(TARGET > 0), ["1 (71)", "2 (48)", "no label"]),
        (NO_BARBERA, ["barolo (59)", "grignolino (71)"]),
    ],
    ids=["text", "list", "int", "bool", "polars", "category", "nullable", "None"],
)
def test_classes_are_named_and_counted(vae, y, names):
    shown = legend_texts(draw(vae, X, y))
    assert [text[: len(name)] for text, name in zip(shown, names, strict=False)] == (
        names
    )


def test_classes_have_their_points_colours_and_markers(vae):
    display = draw(vae, X, SPECIES)
    looks = set()
    for kind, scatter in zip(np.unique(SPECIES), display.scatter_, strict=True):
        np.testing.assert_array_equal(points(scatter), display.codes[kind == SPECIES])
        colour = tuple(scatter.get_facecolor()[0][:3])
        looks.add((colour, scatter.get_paths()[0].vertices.tobytes()))
    assert len({colour for colour, _ in looks}) == 3
    assert len({marker for _, marker in looks}) == 3
    assert display.legend_.get_title().get_text() == "y"


def test_the_legend_has_the_name_of_the_labels_as_it_is(vae):
    y = pd.Series(np.where(TARGET == 1, "_a $1$", "b $2$"), name="kind in $")
    display = draw(vae, X, y)
    assert legend_texts(display) == ["_a $1$ (71)", "b $2$ (107)"]
    title = display.legend_.get_title()
    assert title.get_text() == "kind in $"
    assert not any(text.get_parse_math() for text in display.legend_.get_texts())
    assert not title.get_parse_math()


def test_rows_without_a_label_are_grey(vae):
    y = np.where(np.arange(N) < 30, np.nan, X[:, 0])
    for labels in (y, np.where(np.isnan(y), None, SPECIES)):
        display = draw(vae, X, labels)
        np.testing.assert_array_equal(points(display.scatter_[-1]), display.codes[:30])
        colour = display.scatter_[-1].get_facecolor()[0]
        assert same_color(colour[:3], "#7F7F7F")
    assert "grey: no label" in draw(vae, X, y).ax_.get_title()


def test_rare_classes_beyond_twenty_are_drawn_together(vae):
    y = np.array([f"k{i:02}" for i in np.minimum(np.arange(N) // 4, 40)])
    names = legend_texts(draw(vae, X, y))
    assert len(names) == 21
    assert "k40 (18)" in names
    assert names[-1] == "21 others (84)"


@pytest.mark.parametrize(
    "y", [FRAME["alcohol"], FRAME["alcohol"].tolist(), np.arange(N)]
)
def test_numbers_have_a_colour_bar(vae, y):
    display = draw(vae, X, y)
    (scatter,) = display.scatter_
    np.testing.assert_array_equal(scatter.get_array(), y)
    assert scatter.get_cmap().name == "viridis"
    assert display.colorbar_.ax.get_ylabel() == getattr(y, "name", "y")
    assert display.legend_ is None


# ---- one component -------------------------------------------------------------------


def test_one_component_has_a_strip_for_each_class(of_one):
    display = draw(of_one, X, SPECIES, n_ellipses=9)
    code = of_one.transform(X)[:, 0]
    for place, kind in enumerate(np.unique(SPECIES)):
        across, up = points(display.scatter_[place]).T
        np.testing.assert_allclose(across, code[kind == SPECIES])
        assert np.abs(up - place).max() < 0.5
    names = [tick.get_text() for tick in display.ax_.get_yticklabels()]
    assert names == ["barbera (48)", "barolo (59)", "grignolino (71)"]
    assert display.ax_.get_xlabel().startswith("component 0 (")
    assert display.ax_.get_ylabel() == ""
    assert [line.get_xdata()[0] for line in display.rings_] == [-2, -1, 1, 2]
    assert len(outlines(draw(of_one, X))) == N // 10
    bars, rows = outlines(display), display.ellipse_rows
    scales = posteriors_of(of_one, X[rows]).log_scale.exp().numpy()
    np.testing.assert_allclose(np.ptp(bars[:, :, 0], axis=1), 2 * scales[:, 0])
    np.testing.assert_allclose(bars[:, :, 0].mean(axis=1), code[rows])
    np.testing.assert_array_equal(np.ptp(bars[:, :, 1], axis=1), 0)


def test_one_component_is_drawn_against_numbers(of_one):
    display = draw(of_one, X, FRAME["alcohol"])
    code = of_one.transform(X)
    np.testing.assert_allclose(
        points(display.scatter_[0]), np.column_stack([code, FRAME["alcohol"]])
    )
    assert display.ax_.get_ylabel() == "alcohol"


def test_rows_without_a_number_are_below_the_others(of_one):
    y = FRAME["alcohol"].where(np.arange(N) >= 30)
    display = draw(of_one, X, y)
    known, grey = (points(scatter) for scatter in display.scatter_)
    assert (len(known), len(grey)) == (N - 30, 30)
    np.testing.assert_allclose(grey[:, 0], of_one.transform(X)[:30, 0])
    assert np.isfinite(grey).all()
    assert grey[:, 1].max() < known[:, 1].min()
    assert np.isfinite(outlines(display)).all()
    assert display.ax_.get_title().endswith("grey, below: no label")


@pytest.mark.parametrize("components", [None, 0])
def test_without_any_label_all_rows_are_grey(vae, components):
    display = draw(vae, X, np.full(N, np.nan), components=components)
    (scatter,) = display.scatter_
    assert len(points(scatter)) == N
    assert same_color(scatter.get_facecolor()[0][:3], "#7F7F7F")


def test_one_component_of_many_can_be_asked_for(vae):
    display = draw(vae, X, components=2)
    np.testing.assert_allclose(
        points(display.scatter_[0])[:, 0], vae.transform(X)[:, 2]
    )
    assert display.ax_.get_xlabel().startswith("component 2 (")


# ---- axes and figures ----------------------------------------------------------------


def test_it_goes_where_it_is_told(vae):
    figure, ax = plt.subplots()
    display = draw(vae, X, TARGET, ax=ax)
    assert display.ax_ is ax
    assert display.figure_ is figure
    assert plt.get_fignums() == [figure.number]


@pytest.mark.parametrize("components", [None, 0])
@pytest.mark.parametrize("y", [SPECIES, FRAME["alcohol"], None])
def test_nothing_is_cut_off(vae, components, y):
    display = draw(vae, X, y, components=components)
    figure = display.figure_
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    for ax in figure.axes:
        box = ax.get_tightbbox(renderer)
        assert figure.bbox.x0 <= box.x0 <= box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0 <= box.y1 <= figure.bbox.y1
    if display.legend_ is not None:
        legend = display.legend_.get_window_extent(renderer)
        assert not legend.overlaps(display.ax_.get_window_extent(renderer))


def test_made_by_hand():
    display = LatentSpaceDisplay([[0.0, 1.0], [1.0, 0.0]], ["a", "b"]).plot()
    assert not len(outlines(display))
    assert not display.rings_
    assert display.ax_.get_title() == ""
    ellipse = {"ellipse_rows": [1], "covariances": [[[4.0, 0.0], [0.0, 1.0]]]}
    display = LatentSpaceDisplay(display.codes, ["a", "b"], **ellipse).plot()
    np.testing.assert_allclose(np.ptp(outlines(display)[0], axis=0), [4, 2])


# ---- what it refuses, and leaves alone -----------------------------------------------


@pytest.mark.parametrize(
    ("keywords", "error", "words"),
    [
        ({"components": 4}, ValueError, "components holds 4, but codes have 4"),
        ({"components": (0, -1)}, ValueError, "components holds -1"),
        ({"components": (0, 1, 2)}, ValueError, "one or two"),
        ({"components": (1, 1)}, ValueError, "different ones"),
        ({"components": []}, ValueError, "different ones"),
        ({"components": 0.0}, TypeError, "whole numbers"),
        ({"components": True}, TypeError, "whole numbers"),
        ({"y": TARGET[:-1]}, ValueError, "one label for each of 178 rows"),
        ({"y": np.zeros((N, 2))}, ValueError, "one label for each of 178 rows"),
        ({"y": ["a", 1] * (N // 2)}, ValueError, "y must hold text, categories"),
        ({"n_ellipses": -1}, ValueError, "n_ellipses"),
        ({"n_ellipses": 2.5}, TypeError, "n_ellipses"),
    ],
)
def test_bad_arguments_are_named(vae, keywords, error, words):
    with pytest.raises(error, match=words):
        draw(vae, X, **keywords)
    assert not plt.get_fignums()


def test_other_estimators_are_refused():
    with pytest.raises(NotFittedError):
        draw(VAETransformer(), X)
    with pytest.raises(TypeError, match="ensemble of models, each with codes of its"):
        draw(VAEOutlierDetector(n_estimators=2, **QUICK).fit(X), X)
    with pytest.raises(TypeError, match="the last step, and the rows that it sees"):
        draw(make_pipeline(StandardScaler(), VAETransformer()), X)


def test_nothing_is_written_to_the_estimator_or_the_rows():
    model = VAETransformer(2, **QUICK).fit(FRAME).set_output(transform="pandas")
    attributes, table, y = dict(vars(model)), FRAME.copy(), TARGET.copy()
    display = draw(model, FRAME, TARGET)
    np.testing.assert_array_equal(display.codes, model.transform(FRAME))
    assert all(vars(model)[name] is value for name, value in attributes.items())
    pd.testing.assert_frame_equal(FRAME, table)
    pd.testing.assert_series_equal(TARGET, y)


def test_matplotlib_is_asked_for_by_name(vae, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"LatentSpaceDisplay needs.*skvae\[plot\]"):
        draw(vae, X)
    with pytest.raises(ImportError, match=r"skvae\[plot\]"):
        LatentSpaceDisplay([[0.0, 1.0]], ["a", "b"]).plot()
