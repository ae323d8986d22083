"""AETransformer: PCA where it is linear, and no distribution anywhere."""

import pickle
from itertools import pairwise

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_wine
from sklearn.decomposition import PCA
from sklearn.model_selection import GridSearchCV
from sklearn.preprocessing import StandardScaler

from skvae import AETransformer, VAETransformer
from skvae.networks import MLP
from skvae.posteriors import Point

X = load_wine().data
FRAME = load_wine(as_frame=True).data
HOLES = np.where(np.random.default_rng(0).random(X.shape) < 0.1, np.nan, X)
#: The first column without a number.
EMPTY = np.where(np.arange(X.shape[1]) == 0, np.nan, X)
MODELS = {
    "deep": ({}, X),
    "linear": ({"hidden_layer_sizes": ()}, X),
    "denoising": ({"noise": 0.5}, X),
    "random_start": ({"init": "random"}, X),
    "holes": ({"noise": 0.5}, HOLES),
    "empty_column": ({}, EMPTY),
    "textbook": ({"network": MLP((8,), "tanh", linear_path=False)}, X),
    "unscaled": ({"standardize": False, "learning_rate": 1e-4}, X),
}
METHODS = ["transform", "reconstruction_error", "reconstruction_error_by_feature"]


def small(**parameters):
    return AETransformer(**{"max_iter": 5, "random_state": 0, **parameters})


def rebuilt(model, rows):
    return model.inverse_transform(model.transform(rows))


@pytest.fixture(scope="module")
def fitted():
    return {name: small(**given).fit(data) for name, (given, data) in MODELS.items()}


# ---- the linear model ------------------------------------------------------------

CASES = [
    (load, q)
    for load, widths in [(load_breast_cancer, (1, 2, 5, 10)), (load_wine, (1, 5, 13))]
    for q in widths
]


def standardized(load):
    return StandardScaler().fit_transform(load().data)


def linear(q, **parameters):
    settings = {"hidden_layer_sizes": (), "early_stopping": False, **parameters}
    return AETransformer(q, random_state=0, **settings)


@pytest.mark.parametrize("sizes", [(), (64, 32)], ids=["linear", "deep"])
@pytest.mark.parametrize(("load", "q"), CASES)
def test_start_is_the_projection_of_pca(load, q, sizes):
    T = standardized(load)
    # One epoch at a rate too small to move: the start itself.
    ae = linear(q, hidden_layer_sizes=sizes, max_iter=1, learning_rate=1e-12).fit(T)
    pca = PCA(q).fit(T)
    projected = pca.inverse_transform(pca.transform(T))
    np.testing.assert_allclose(rebuilt(ae, T), projected, atol=1e-5)
    # Codes are principal components of unit variance.
    np.testing.assert_allclose(
        np.cov(ae.transform(T).T, bias=True), np.eye(q), atol=1e-3
    )


@pytest.mark.parametrize(("load", "q"), CASES[:-1])
def test_linear_model_stays_at_pca(load, q):
    T = standardized(load)
    ae = linear(q, max_iter=150).fit(T)
    pca = PCA(q).fit(T)
    np.testing.assert_allclose(
        rebuilt(ae, T), pca.inverse_transform(pca.transform(T)), atol=0.03
    )
    # What is missed are the eigenvalues that were left out.
    missed = np.linalg.eigvalsh(np.corrcoef(T.T))[:-q].sum()
    assert -ae.score(T) == pytest.approx(missed, rel=1e-4)
    assert ae.loss_curve_[-1] == pytest.approx(missed, rel=0.01)


@pytest.mark.parametrize(("load", "q"), [(load_breast_cancer, 2), (load_wine, 5)])
def test_linear_model_reaches_pca_from_anywhere(load, q):
    T = standardized(load)
    ae = linear(q, init="random").fit(T)
    missed = np.linalg.eigvalsh(np.corrcoef(T.T))[:-q].sum()
    assert missed <= -ae.score(T) <= 1.01 * missed


def test_more_components_than_the_rank_rebuild_everything():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(200, 2)) @ rng.normal(size=(2, 6))
    ae = linear(4, max_iter=1, learning_rate=1e-12).fit(rows)
    assert -ae.score(rows) < 1e-9
    # Directions without variance are not read, and not blown up either.
    codes = ae.transform(rows + rng.normal(size=rows.shape))
    assert np.abs(codes).max() < 20


def test_hidden_layers_rebuild_what_a_projection_misses():
    t = np.linspace(-1, 1, 400)
    parabola = np.column_stack([t, t**2])
    straight = linear(1, max_iter=20).fit(parabola)
    bent = linear(1, max_iter=100, hidden_layer_sizes=(32,)).fit(parabola)
    # The columns are uncorrelated: a line holds one of them, a curve both.
    assert straight.score(parabola) == pytest.approx(-1, abs=0.01)
    assert bent.score(parabola) > -0.01


# ---- denoising -------------------------------------------------------------------


def low_rank(n_rows):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(n_rows, 3)) @ rng.normal(size=(3, 6))
    return (rows - rows.mean(axis=0)) / rows.std(axis=0)


@pytest.mark.parametrize("sizes", [(), (16,)], ids=["linear", "deep"])
@pytest.mark.parametrize("early_stopping", [False, True])
def test_denoising_shrinks_as_the_best_linear_denoiser_does(sizes, early_stopping):
    clean, s = low_rank(2_000), 1.0
    noisy = clean + s * np.random.default_rng(1).normal(size=clean.shape)
    covariance = np.cov(clean.T, bias=True)
    # E[x | x + noise]: the rows are normal, so that no denoiser is better.
    best = noisy @ np.linalg.solve(covariance + s**2 * np.eye(6), covariance)
    least = np.square(best - clean).sum(axis=1).mean()

    def error(noise):
        ae = AETransformer(
            3,
            noise=noise,
            hidden_layer_sizes=sizes,
            early_stopping=early_stopping,
            max_iter=100,
            random_state=0,
        ).fit(clean)
        return np.square(rebuilt(ae, noisy) - clean).sum(axis=1).mean()

    assert error(s) == pytest.approx(least, rel=0.03)
    # A projection on 3 components keeps the noise of 3.
    assert error(0.0) == pytest.approx(3 * s**2, rel=0.05)
    assert least < 2


def test_no_noise_is_the_plain_model_to_the_bit():
    plain, zero, some = small(), small(noise=0), small(noise=0.1)
    codes = [model.fit(X).transform(X) for model in (plain, zero, some)]
    np.testing.assert_array_equal(codes[1], codes[0])
    assert not np.array_equal(codes[2], codes[0])
    assert zero.loss_curve_ == plain.loss_curve_
    assert zero.validation_scores_ == plain.validation_scores_


@pytest.mark.parametrize("early_stopping", [False, True])
def test_the_noise_is_in_units_of_the_standardised_columns(early_stopping):
    units = np.logspace(-3, 3, X.shape[1])
    model = small(noise=0.5, early_stopping=early_stopping)
    codes = clone(model).fit(X).transform(X)
    np.testing.assert_allclose(
        clone(model).fit(X * units).transform(X * units), codes, atol=1e-4
    )


def test_the_noise_may_change_between_warm_fits():
    model = small(warm_start=True).fit(X)
    assert model.set_params(noise=0.3).fit(X).n_iter_ == 5


# ---- no distribution ---------------------------------------------------------------


@pytest.mark.parametrize("name", ["sample", "score_samples", "score_features"])
@pytest.mark.parametrize("is_fitted", [False, True])
def test_what_needs_a_distribution_is_missing_and_says_why(fitted, name, is_fitted):
    model = fitted["deep"] if is_fitted else AETransformer()
    assert not hasattr(model, name)
    assert not hasattr(AETransformer, name)
    assert name not in dir(model)
    assert hasattr(VAETransformer(), name)
    with pytest.raises(AttributeError, match=f"{name}.*p\\(x\\).*VAETransformer has"):
        getattr(model, name)


@pytest.mark.parametrize("name", ["kl_per_component_", "likelihood_", "nothing"])
def test_other_missing_attributes_are_missing_as_usual(fitted, name):
    with pytest.raises(AttributeError, match=f"has no attribute '{name}'"):
        getattr(fitted["deep"], name)


def test_a_point_has_no_density():
    codes = Point()(torch.zeros(4, 2), torch.zeros(4, 0))
    assert codes.rsample(torch.ones(3, 4, 2)).shape == (1, 4, 2)
    with pytest.raises(TypeError, match="no density"):
        codes.log_prob(torch.zeros(1, 4, 2))


# ---- errors and scores ---------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_errors_are_those_of_the_reconstructions(fitted, name):
    model, rows = fitted[name], MODELS[name][1]
    table = small(**MODELS[name][0], early_stopping=False).fit(rows)
    for ae in (model, table):
        by_feature = ae.reconstruction_error_by_feature(rows)
        assert by_feature.shape == rows.shape
        assert (by_feature[np.isnan(rows)] == 0).all()
        errors = ae.reconstruction_error(rows)
        np.testing.assert_array_equal(errors, by_feature.sum(axis=1))
        assert ae.score(rows) == -errors.mean()
    observed = ~np.isnan(rows)
    scale = np.ones(rows.shape[1])
    some = observed.any(axis=0)
    if model.standardize:
        scale[some] = np.nanstd(rows[:, some], axis=0)
    expected = np.square((rebuilt(table, rows) - rows) / scale)
    np.testing.assert_allclose(
        table.reconstruction_error_by_feature(rows)[observed],
        expected[observed],
        rtol=1e-6,
        atol=1e-12,
    )


def test_a_row_without_an_observed_cell_has_no_error(fitted):
    assert fitted["holes"].reconstruction_error(np.full((1, 13), np.nan)) == 0


def test_cells_of_a_column_that_was_empty_in_fit_count_as_holes(fitted):
    model = fitted["empty_column"]
    np.testing.assert_array_equal(model.transform(X), model.transform(EMPTY))
    np.testing.assert_array_equal(
        model.reconstruction_error_by_feature(X),
        model.reconstruction_error_by_feature(EMPTY),
    )
    assert np.isnan(rebuilt(model, X)[:, 0]).all()


@pytest.mark.parametrize("name", ["deep", "holes", "empty_column"])
def test_the_loss_is_the_error_of_the_observed_cells(name):
    rows = MODELS[name][1]
    # One epoch at a rate too small to move: the loss is that of the fitted model.
    model = small(max_iter=1, learning_rate=1e-12, early_stopping=False).fit(rows)
    assert model.loss_curve_[0] == pytest.approx(-model.score(rows), rel=1e-5)


def test_validation_scores_are_scores_of_rows():
    ae = AETransformer(2, hidden_layer_sizes=(), random_state=0).fit(X)
    assert max(ae.validation_scores_) == pytest.approx(ae.score(X), rel=0.4)
    assert all(score < 0 for score in ae.validation_scores_)


def test_a_wider_code_has_the_better_score():
    scores = [linear(q, max_iter=20).fit(X).score(X) for q in (1, 2, 4, 8)]
    assert all(wide > narrow for narrow, wide in pairwise(scores))


def test_it_can_be_searched_over():
    search = GridSearchCV(small(), {"n_components": [1, 4], "noise": [0.0]}, cv=2)
    assert search.fit(X).best_params_["n_components"] == 4


# ---- rows, units, seeds, state -------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", MODELS)
def test_a_row_is_answered_whatever_stands_beside_it(fitted, name, method):
    rows, answer = MODELS[name][1], getattr(fitted[name], method)
    expected = answer(rows)
    alone = np.concatenate([answer(rows[i : i + 1]) for i in range(len(rows))])
    backwards = answer(rows[::-1])[::-1]
    size = np.abs(expected).reshape(len(rows), -1).max(axis=1, keepdims=True)
    for found in (alone, backwards):
        error = np.abs(found - expected).reshape(len(rows), -1)
        assert (error <= 1e-9 * size).all()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", MODELS)
def test_a_saved_model_is_the_same_model(fitted, name, method):
    loaded = pickle.loads(pickle.dumps(fitted[name]))
    rows = MODELS[name][1]
    np.testing.assert_array_equal(
        getattr(loaded, method)(rows), getattr(fitted[name], method)(rows)
    )


@pytest.mark.parametrize("name", MODELS)
def test_a_clone_with_the_seed_is_the_same_model(fitted, name):
    rows = MODELS[name][1]
    again = clone(fitted[name]).fit(rows)
    codes = fitted[name].transform(rows)
    np.testing.assert_array_equal(again.transform(rows), codes)
    assert again.loss_curve_ == fitted[name].loss_curve_
    other = clone(again).set_params(random_state=1).fit(rows)
    assert not np.array_equal(other.transform(rows), codes)


def test_partial_fit_goes_on():
    model = small(noise=0.2)
    for _ in range(3):
        model.partial_fit(X)
    assert model.n_iter_ == len(model.loss_curve_) == 3
    assert model.loss_curve_[-1] < model.loss_curve_[0]
    assert model.validation_scores_ == []


@pytest.mark.parametrize(
    "frame", [FRAME, pl.DataFrame(FRAME.to_dict("list"))], ids=["pandas", "polars"]
)
def test_data_frames(frame):
    model = small().fit(frame)
    back = rebuilt(model, frame)
    assert type(back) is type(frame)
    assert list(back.columns) == list(frame.columns)
    np.testing.assert_allclose(back.to_numpy(), rebuilt(small().fit(X), X), rtol=1e-12)


def test_sparse_rows_and_booleans_are_numbers():
    binary = X > X.mean(axis=0)
    expected = small().fit(binary.astype(float))
    for same in (binary, csr_array(binary.astype(float))):
        np.testing.assert_array_equal(
            small().fit(same).transform(same), expected.transform(same)
        )


def test_float32_rows_have_float32_codes(fitted):
    codes = fitted["deep"].transform(X.astype("float32"))
    assert codes.dtype == np.float32
    np.testing.assert_allclose(codes, fitted["deep"].transform(X), atol=1e-3)


def test_names_and_containers():
    model = small(n_components=2).set_output(transform="pandas").fit(FRAME)
    codes = model.transform(FRAME)
    names = ["aetransformer0", "aetransformer1"]
    assert list(codes.columns) == list(model.get_feature_names_out()) == names
    pd.testing.assert_index_equal(model.inverse_transform(codes).index, FRAME.index)


# ---- refusals ------------------------------------------------------------------------

LABELLED = FRAME.assign(label=np.array(["red", "white"])[np.arange(178) % 2])
REFUSED = {
    "labels": ({}, LABELLED, "Column 'label' holds 'red'.*OneHotEncoder"),
    "labels_in_polars": (
        {},
        pl.DataFrame(LABELLED.to_dict("list")),
        "Column 'label' holds 'red'",
    ),
    "categories": (
        {},
        LABELLED.astype({"label": "category"}),
        "Column 'label' holds 'red'",
    ),
    "labels_among_objects": ({}, LABELLED.to_numpy(object), "Column 13 holds 'red'"),
    "infinity": ({}, np.where(np.eye(178, 13) > 0, np.inf, X), "infinity in column"),
    "negative_noise": ({"noise": -0.1}, X, "'noise' parameter of AETransformer"),
    "infinite_noise": ({"noise": np.inf}, X, "'noise' parameter of AETransformer"),
    "too_fast": ({"learning_rate": 1e30}, X, "column furthest.*learning_rate=1e"),
    "one_row": ({}, X[:1], "1 sample"),
}


@pytest.mark.parametrize(
    ("method", "is_fitted"), [("fit", False), ("fit", True), ("partial_fit", False)]
)
@pytest.mark.parametrize(
    ("parameters", "rows", "message"), REFUSED.values(), ids=REFUSED
)
def test_refused_and_nothing_changed(parameters, rows, message, method, is_fitted):
    model = small()
    if is_fitted:
        model.fit(X)
    model.set_params(**parameters)
    before = joblib.hash(vars(model))
    with pytest.raises(ValueError, match=message):
        getattr(model, method)(rows)
    assert joblib.hash(vars(model)) == before
    assert model.__sklearn_is_fitted__() == is_fitted


def test_labels_after_fit_are_refused():
    numbers = LABELLED.assign(label=np.arange(178.0))
    with pytest.raises(ValueError, match=r"Column 'label' holds 'red'.*not a number"):
        small().fit(numbers).transform(LABELLED)


def test_codes_of_another_width_are_refused():
    with pytest.raises(ValueError, match=r"X has 3 columns.*n_components_=7"):
        small().fit(X).inverse_transform(np.zeros((2, 3)))


# ---- small print ---------------------------------------------------------------------


def test_verbose_speaks_of_deviations_and_not_of_nats(capsys):
    small(verbose=True).fit(X)
    lines = capsys.readouterr().out.splitlines()
    assert all("squared deviations a row" in line for line in lines)
    assert "held-out score" in lines[-1]
