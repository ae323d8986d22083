"""KLDisplay: the bars are the divergences of the components, the largest first."""

import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.colors import same_color
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline

from skvae import (
    AETransformer,
    KLDisplay,
    VAEImputer,
    VAEOutlierDetector,
    VAETransformer,
    diagnostics,
)

random = np.random.default_rng(0)
#: Two directions and noise: two components of four are enough.
X = random.normal(size=(200, 2)) @ random.normal(size=(2, 8)) * [1, 2, 3, 4, 5, 6, 7, 8]
X += 0.5 * random.normal(size=X.shape)
QUICK = {"max_iter": 20, "random_state": 0}
BLUE, VERMILLION = "#0072B2", "#D55E00"
draw = KLDisplay.from_estimator


@pytest.fixture(autouse=True)
def figures_closed():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def transformer():
    return VAETransformer(4, **QUICK).fit(X)


@pytest.fixture(scope="module")
def detector():
    return VAEOutlierDetector(n_components=4, n_estimators=3, **QUICK).fit(X)


def heights(display):
    return [bar.get_height() for bar in display.bars_]


def ticks(display):
    return [tick.get_text() for tick in display.ax_.get_xticklabels()]


def legend(display):
    return [text.get_text() for text in display.ax_.get_legend().get_texts()]


# ---- what the bars say ---------------------------------------------------------------


@pytest.mark.parametrize("estimator", [VAETransformer, VAEImputer])
def test_bars_of_the_fit_are_its_divergences_in_order(estimator):
    fitted = estimator(n_components=4, **QUICK).fit(X)
    kl = fitted.kl_per_component_
    display = draw(fitted)
    assert heights(display) == sorted(kl, reverse=True)
    np.testing.assert_array_equal(kl[display.order_], heights(display))
    assert ticks(display) == [str(component) for component in display.order_]
    assert display.ax_.get_ylabel() == "KL divergence (nats per row)"
    assert display.ax_.get_xlabel() == "component, the most informative first"
    assert display.ax_.get_title() == f"all components: {kl.sum():.3g} nats per row"
    n_used = (kl >= 0.01).sum()
    assert legend(display)[0] == f"0.01 nats or more: {n_used}"
    assert display.ranges_ is None


def test_bars_of_rows_are_those_of_diagnostics(transformer):
    table = diagnostics(transformer, X[:50])
    display = draw(transformer, X[:50])
    assert heights(display) == table.kl_per_component.tolist()
    assert display.order_.tolist() == table.component.tolist()
    places = table.component
    np.testing.assert_array_equal(display.activity[places], table.activity)
    np.testing.assert_array_equal(display.active[places], table.active)
    assert display.ax_.get_title() == f"all components: {table.kl:.3g} nats per row"
    assert legend(display)[0] == f"active: {table.n_active}"


@pytest.mark.parametrize(
    "settings",
    [{"posterior": "dirichlet"}, {"posterior": "categorical"}, {"prior": "mixture"}],
    ids=str,
)
def test_bars_are_activities_where_there_are_no_divergences(settings):
    vae = VAETransformer(4, **settings, **QUICK).fit(X)
    table = diagnostics(vae, X)
    assert np.isnan(table.kl_per_component).all()
    display = draw(vae, X)
    assert heights(display) == sorted(table.activity, reverse=True)
    assert display.ax_.get_ylabel() == "activity (share of the prior's variance)"
    assert display.ax_.get_title() == f"all components: {table.kl:.3g} nats per row"
    with pytest.raises(ValueError, match="Give X, such as the rows of fit"):
        draw(vae)


def test_a_prior_that_is_given_takes_rows():
    """The fit's own divergences are from the standard normal, whatever the prior."""
    prior = torch.distributions.Normal(0.0, 3.0)
    vae = VAETransformer(4, prior=prior, **QUICK).fit(X)
    with pytest.raises(ValueError, match="not the divergence of single components"):
        draw(vae)
    display = draw(vae, X)
    assert sum(heights(display)) == pytest.approx(diagnostics(vae, X).kl)


def test_an_aggregate_prior_is_none_of_training():
    vae = VAETransformer(4, prior="aggregate", **QUICK).fit(X)
    assert heights(draw(vae)) == sorted(vae.kl_per_component_, reverse=True)


def test_members_of_an_ensemble_are_sorted_each(detector):
    kl = -np.sort(-detector.kl_per_component_, axis=1)
    display = draw(detector)
    np.testing.assert_allclose(heights(display), kl.mean(axis=0))
    ranges = [segment[:, 1] for segment in display.ranges_.get_segments()]
    np.testing.assert_allclose(ranges, np.transpose([kl.min(axis=0), kl.max(axis=0)]))
    assert ticks(display) == ["1", "2", "3", "4"]
    assert display.ax_.get_xlabel() == "rank of the component in its member"
    total = kl.sum(axis=1).mean()
    assert display.ax_.get_title() == f"all components: {total:.3g} nats per row"
    assert legend(display)[-1] == "range over 3 members"


def test_one_member_has_no_range():
    kl = np.array([[0.5, 2.0]])
    display = KLDisplay(kl).plot()
    assert heights(display) == [2.0, 0.5]
    assert display.ranges_ is None


def test_what_is_not_in_use_is_hatched_and_crossed():
    display = KLDisplay([0.0, 2.0, 0.01, 0.009]).plot()
    assert display.order_.tolist() == [1, 2, 3, 0]
    assert [bool(bar.get_hatch()) for bar in display.bars_] == [0, 0, 1, 1]
    assert same_color(display.bars_[0].get_facecolor(), BLUE)
    assert same_color(display.bars_[3].get_edgecolor(), VERMILLION)
    x, y = display.crosses_.get_data()
    assert (x.tolist(), y.tolist()) == ([2, 3], [0.009, 0.0])
    assert legend(display) == ["0.01 nats or more: 2", "below 0.01 nats: 2"]


def test_activity_decides_where_it_is_known():
    display = KLDisplay([0.3, 0.4], active=[False, True]).plot()
    assert legend(display) == ["active: 1", "inactive: 1"]
    assert [bool(bar.get_hatch()) for bar in display.bars_] == [False, True]


def test_without_a_total_there_is_no_title():
    activity = {"activity": [0.5, 0.9]}
    display = KLDisplay([np.nan, np.nan], **activity).plot()
    assert heights(display) == [0.9, 0.5]
    assert display.ax_.get_title() == ""
    display = KLDisplay([np.nan, np.nan], **activity, total=1.5).plot()
    assert display.ax_.get_title() == "all components: 1.5 nats per row"


def test_a_code_that_is_not_in_use_looks_like_one():
    display = KLDisplay([1e-7, 1e-9]).plot()
    assert display.ax_.get_ylim() == (0.0, 0.1)
    assert legend(display) == ["below 0.01 nats: 2"]


# ---- axes ----------------------------------------------------------------------------


def test_it_goes_where_it_is_told(transformer):
    figure, ax = plt.subplots()
    display = draw(transformer, X, ax=ax)
    assert display.ax_ is ax
    assert display.figure_ is figure
    assert plt.get_fignums() == [figure.number]


@pytest.mark.parametrize("n_components", [3, 30, 64, 300])
@pytest.mark.parametrize("grid", [None, 1, 2])
def test_numbers_do_not_overlap(n_components, grid):
    ax = plt.subplots(grid, grid, squeeze=False)[1][0, 0] if grid else None
    kl = 3 * 0.9 ** np.arange(n_components)
    display = KLDisplay(np.random.default_rng(0).permutation(kl)).plot(ax)
    figure = display.figure_
    figure.canvas.draw()
    labels = display.ax_.get_xticklabels()
    boxes = [label.get_window_extent() for label in labels]
    # In points: upright digits leave room above and below, of their line.
    centres = [(box.x0 + box.x1) / 2 * 72 / figure.dpi for box in boxes]
    sizes = [
        0.75 * label.get_fontsize()
        if label.get_rotation()
        else box.width * 72 / figure.dpi
        for label, box in zip(labels, boxes, strict=True)
    ]
    assert all(np.diff(centres) > sizes[0])
    for label, place in zip(labels, display.ax_.get_xticks(), strict=True):
        assert label.get_text() == str(display.order_[int(place)])
    if n_components <= 64 and grid != 2:
        assert len(labels) == n_components


def test_nothing_is_cut_off(transformer, detector):
    for display in (draw(transformer, X), draw(detector)):
        figure, ax = display.figure_, display.ax_
        figure.canvas.draw()
        for text in (ax.xaxis.label, ax.yaxis.label, ax.title, ax.get_legend()):
            box = text.get_window_extent()
            assert figure.bbox.x0 <= box.x0 <= box.x1 <= figure.bbox.x1
            assert figure.bbox.y0 <= box.y0 <= box.y1 <= figure.bbox.y1


# ---- what it refuses, and leaves alone -----------------------------------------------


def test_unfitted_estimators_and_others_are_refused():
    with pytest.raises(NotFittedError):
        draw(VAETransformer())
    with pytest.raises(TypeError, match="AETransformer has no kl_per_component_"):
        draw(AETransformer(2, max_iter=1, random_state=0).fit(X))
    with pytest.raises(TypeError, match="PCA has no kl_per_component_"):
        draw(PCA().fit(X), X)
    pipeline = make_pipeline(VAETransformer(2, max_iter=1, random_state=0)).fit(X)
    with pytest.raises(TypeError, match="Of a pipeline, give the last step"):
        draw(pipeline, X)
    assert not plt.get_fignums()


def test_an_ensemble_takes_no_rows(detector):
    with pytest.raises(ValueError, match="VAEOutlierDetector is an ensemble"):
        draw(detector, X)


def test_an_ensemble_without_divergences_has_nothing_to_draw():
    detector = VAEOutlierDetector(posterior="dirichlet", n_estimators=2, **QUICK)
    with pytest.raises(ValueError, match="Of an ensemble there is nothing else"):
        draw(detector.fit(X))


def test_rows_of_another_width_are_refused(transformer):
    with pytest.raises(ValueError, match="features"):
        draw(transformer, X[:, :3])
    assert not plt.get_fignums()


def test_nan_needs_activities():
    with pytest.raises(ValueError, match="Give activity"):
        KLDisplay([np.nan, np.nan]).plot()
    assert not plt.get_fignums()


def test_nothing_is_written_to_the_estimator_or_the_rows(transformer):
    attributes, rows = dict(vars(transformer)), X.copy()
    kl = transformer.kl_per_component_.copy()
    draw(transformer, X)
    draw(transformer)
    assert list(vars(transformer)) == list(attributes)
    assert all(vars(transformer)[name] is value for name, value in attributes.items())
    np.testing.assert_array_equal(X, rows)
    np.testing.assert_array_equal(transformer.kl_per_component_, kl)


def test_matplotlib_is_asked_for_by_name(transformer, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"KLDisplay.*skvae\[plot\]"):
        draw(transformer)
    with pytest.raises(ImportError, match=r"skvae\[plot\]"):
        KLDisplay([1.0]).plot()
