"""LossCurveDisplay: the curves are the estimator's, and so is the best look."""

import subprocess
import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline

from skvae import (
    AETransformer,
    LossCurveDisplay,
    VAEImputer,
    VAEOutlierDetector,
    VAETransformer,
)

X = np.random.default_rng(0).normal(size=(200, 6)) @ np.random.default_rng(1).normal(
    size=(6, 6)
)
QUICK = {"max_iter": 60, "random_state": 0}
ESTIMATORS = {
    "transformer": VAETransformer(2, **QUICK),
    "detector": VAEOutlierDetector(n_estimators=2, early_stopping=True, **QUICK),
    "imputer": VAEImputer(max_iter=30, random_state=0),
    "autoencoder": AETransformer(2, **QUICK),
}
draw = LossCurveDisplay.from_estimator


@pytest.fixture(autouse=True)
def figures_closed():
    yield
    plt.close("all")


@pytest.fixture(scope="module", params=ESTIMATORS)
def fitted(request):
    return ESTIMATORS[request.param].fit(X)


@pytest.fixture(scope="module")
def transformer():
    return VAETransformer(2, **QUICK).fit(X)


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def check_curves(display, estimator):
    """Losses, and parts where there are some, as the estimator has them."""
    epochs = np.arange(1, estimator.n_iter_ + 1)
    expected = {
        "loss": (epochs, estimator.loss_curve_),
        "validation": (
            estimator.validation_epochs_,
            np.negative(estimator.validation_scores_),
        ),
    }
    if not isinstance(estimator, AETransformer):
        reconstruction = np.negative(estimator.reconstruction_curve_)
        expected["reconstruction"] = epochs, reconstruction
        expected["kl"] = epochs, estimator.kl_curve_
    assert list(display.lines_) == list(expected)
    for key, line in display.lines_.items():
        np.testing.assert_array_equal(line.get_data(), expected[key])


# ---- what the curves say -------------------------------------------------------------


def test_curves_are_the_estimators(fitted):
    display = draw(fitted)
    check_curves(display, fitted)
    assert len(fitted.validation_scores_) > 1
    losses, parts = display.axes_[0], display.axes_[1:]
    assert display.ax_ is losses
    assert display.figure_ is losses.figure
    assert losses.get_lines()[:2] == [display.lines_[k] for k in ("loss", "validation")]
    assert legend(losses)[:2] == ["training loss", "held-out loss"]
    assert [legend(ax) for ax in parts] == (
        []
        if isinstance(fitted, AETransformer)
        else [["reconstruction", "KL divergence"]]
    )


def test_one_ax_holds_all_curves(fitted):
    figure, ax = plt.subplots()
    display = draw(fitted, ax=ax)
    check_curves(display, fitted)
    assert display.axes_.tolist() == [ax]
    assert figure.axes == [ax]
    assert plt.get_fignums() == [figure.number]
    assert ax.get_xlabel() == "epoch"
    assert len(legend(ax)) == len(display.lines_) + 1


def test_the_best_look_is_marked(fitted):
    display = draw(fitted)
    best = np.argmax(fitted.validation_scores_)
    epoch = fitted.validation_epochs_[best]
    assert len(display.best_lines_) == len(display.axes_)
    for line in display.best_lines_:
        assert set(line.get_xdata()) == {epoch}
    x, y = display.lines_["validation"].get_data()
    assert x[best] == epoch
    assert y[best] == y.min()
    assert legend(display.ax_)[-1] == f"best held-out loss: epoch {epoch:.4g}"


def test_the_best_look_is_the_one_with_the_highest_bound():
    curves = {"validation_scores": [-3.0, -1.0, -2.0], "validation_epochs": [1, 2, 3]}
    display = LossCurveDisplay([3.0, 2.0, 1.0], **curves).plot()
    assert set(display.best_lines_[0].get_xdata()) == {2}


@pytest.mark.parametrize(
    ("estimator", "unit"),
    [
        (VAETransformer(2, max_iter=2), "nats per row,\nstandardised columns"),
        (VAETransformer(2, max_iter=2, standardize=False), "nats per row"),
        (
            AETransformer(2, max_iter=2),
            "squared error per row,\nstandardised columns",
        ),
        (AETransformer(2, max_iter=2, standardize=False), "squared error per row"),
    ],
    ids=str,
)
def test_labels_hold_the_unit(estimator, unit):
    display = draw(estimator.set_params(random_state=0).fit(X))
    assert {ax.get_ylabel() for ax in display.axes_} == {unit}
    assert display.axes_[-1].get_xlabel() == "epoch"


@pytest.mark.parametrize("fit", ["partial_fit", "fit"])
def test_without_held_out_rows_there_is_no_best_look(fit):
    vae = VAETransformer(2, max_iter=1, early_stopping=False, random_state=0)
    display = draw(getattr(vae, fit)(X))
    assert list(display.lines_) == ["loss", "reconstruction", "kl"]
    assert display.best_lines_ == []
    assert legend(display.ax_) == ["training loss"]
    assert display.lines_["loss"].get_marker() == "."  # so that one epoch is seen


def test_partial_fit_goes_on_after_the_looks_of_fit():
    vae = VAETransformer(2, max_iter=30, random_state=0).fit(X)
    n_epochs, n_looks = vae.n_iter_, len(vae.validation_scores_)
    display = draw(vae.partial_fit(X).partial_fit(X))
    check_curves(display, vae)
    assert len(display.lines_["loss"].get_ydata()) == n_epochs + 2
    assert len(display.lines_["validation"].get_ydata()) == n_looks


@pytest.mark.parametrize("in_one", [False, True])
def test_what_an_earlier_version_has_not_kept_is_left_out(in_one):
    """Such curves and epochs of looks are NaN."""
    vae = VAETransformer(2, max_iter=30, random_state=0).fit(X)
    for name in ("reconstruction_curve_", "kl_curve_", "validation_epochs_"):
        setattr(vae, name, [np.nan] * len(getattr(vae, name)))
    display = draw(vae, ax=plt.subplots()[1] if in_one else None)
    assert list(display.lines_) == ["loss"]
    assert display.best_lines_ == []
    assert len(display.axes_) == 1
    assert legend(display.ax_) == ["training loss"]
    vae.partial_fit(X).partial_fit(X)
    display = draw(vae, ax=plt.subplots()[1] if in_one else None)
    for key, curve in (("kl", vae.kl_curve_), ("loss", vae.loss_curve_)):
        x, y = display.lines_[key].get_data()
        n = np.isfinite(curve).sum()
        np.testing.assert_array_equal(x, np.arange(1, vae.n_iter_ + 1)[-n:])
        np.testing.assert_array_equal(y, curve[-n:])
    assert len(display.lines_["kl"].get_ydata()) == 2


def test_looks_that_are_not_finite_are_not_the_best():
    display = LossCurveDisplay(
        [3.0, 2.0, 1.0, 0.5],
        validation_scores=[np.nan, -1.0, -2.0, 9.0],
        validation_epochs=[1, 2, 3, np.nan],
    ).plot()
    np.testing.assert_array_equal(
        display.lines_["validation"].get_data(), [[2, 3], [1, 2]]
    )
    assert set(display.best_lines_[0].get_xdata()) == {2}


# ---- axes ----------------------------------------------------------------------------


def test_a_steep_beginning_leaves_the_picture():
    losses = np.concatenate([[1e6, 1e5, 1e4], np.linspace(20, 10, 97)])
    display = LossCurveDisplay(losses).plot()
    low, high = display.ax_.get_ylim()
    assert low < 10 < 20 < high < 25
    np.testing.assert_array_equal(display.lines_["loss"].get_ydata(), losses)


@pytest.mark.parametrize(
    "losses",
    [np.linspace(20, 10, 100), np.linspace(20, 10, 100)[::-1], [5.0], [4.0, 4.0]],
)
def test_all_else_is_in_the_picture(losses):
    low, high = LossCurveDisplay(losses).plot().ax_.get_ylim()
    assert low < min(losses) <= max(losses) < high


def test_looks_are_in_the_picture(transformer):
    display = draw(transformer)
    low, high = display.ax_.get_ylim()
    x, y = display.lines_["validation"].get_data()
    later = y[np.greater(x, transformer.n_iter_ / 10)]
    assert low < later.min() <= later.max() < high


@pytest.mark.parametrize("n_epochs", [1, 2, 5, 1_000])
def test_ticks_are_whole_epochs(n_epochs):
    display = LossCurveDisplay(np.arange(n_epochs, 0.0, -1)).plot()
    low, high = display.ax_.get_xlim()
    shown = [tick for tick in display.ax_.get_xticks() if low <= tick <= high]
    assert shown
    assert all(tick == round(tick) for tick in shown)


@pytest.mark.parametrize("in_one", [False, True])
def test_nothing_is_cut_off(fitted, in_one):
    display = draw(fitted, ax=plt.subplots()[1] if in_one else None)
    figure = display.figure_
    figure.canvas.draw()
    for ax in display.axes_:
        for text in (ax.xaxis.label, ax.yaxis.label, ax.get_legend()):
            box = text.get_window_extent()
            assert figure.bbox.x0 <= box.x0 <= box.x1 <= figure.bbox.x1
            assert figure.bbox.y0 <= box.y0 <= box.y1 <= figure.bbox.y1


def test_the_legend_of_all_curves_covers_none(transformer):
    display = draw(transformer, ax=plt.subplots()[1])
    display.figure_.canvas.draw()
    bottom = display.ax_.get_legend().get_window_extent().y0
    for line in display.lines_.values():
        shown = line.get_transform().transform(line.get_xydata())[:, 1]
        assert shown.max() < bottom


# ---- what it refuses, and leaves alone -----------------------------------------------


def test_unfitted_estimators_and_others_are_refused():
    with pytest.raises(NotFittedError):
        draw(VAETransformer())
    with pytest.raises(TypeError, match=r"PCA has no loss curves .* have\.$"):
        draw(PCA().fit(X))
    others = MLPRegressor(hidden_layer_sizes=(2,), tol=1.0).fit(X / 10, X[:, 0])
    with pytest.raises(TypeError, match="MLPRegressor has no loss curves"):
        draw(others)
    pipeline = make_pipeline(VAETransformer(2, max_iter=1, random_state=0)).fit(X)
    with pytest.raises(TypeError, match="Of a pipeline, give the last step"):
        draw(pipeline)
    assert not plt.get_fignums()


@pytest.mark.parametrize(
    "curves",
    [
        {"kl_curve": [1.0]},
        {"reconstruction_curve": [1.0, 2.0, 3.0]},
        {"validation_scores": [1.0], "validation_epochs": []},
    ],
)
def test_curves_must_go_together(curves):
    with pytest.raises(ValueError, match=r"has \d values for \d epochs"):
        LossCurveDisplay([3.0, 2.0], **curves).plot()
    with pytest.raises(ValueError, match="training loss has 0 values"):
        LossCurveDisplay([]).plot()
    with pytest.raises(ValueError, match="loss_curve holds no finite loss"):
        LossCurveDisplay([np.nan]).plot()
    assert not plt.get_fignums()


def test_nothing_is_written_to_the_estimator(fitted):
    attributes = dict(vars(fitted))
    draw(fitted)
    assert list(vars(fitted)) == list(attributes)
    assert all(vars(fitted)[name] is value for name, value in attributes.items())


def test_matplotlib_is_asked_for_by_name(transformer, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"LossCurveDisplay.*skvae\[plot\]"):
        draw(transformer)
    with pytest.raises(ImportError, match=r"skvae\[plot\]"):
        LossCurveDisplay([1.0]).plot()


def test_importing_displays_brings_neither_matplotlib_nor_torch_along():
    code = (
        "import sys; from skvae import KLDisplay, LossCurveDisplay, ScoreDisplay;"
        "assert not {'matplotlib', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
