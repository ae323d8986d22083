"""Diagnostics and compression, by closed forms and by what must add up."""

import copy
import math

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_wine
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from skvae import (
    AETransformer,
    VAEImputer,
    VAEOutlierDetector,
    VAETransformer,
    compression,
    diagnostics,
    posteriors,
)
from skvae.coding import rate_distortion
from skvae.likelihoods import Gaussian

X = StandardScaler().fit_transform(load_wine().data)
#: Families whose divergence is one number for all components together.
JOINT = ("dirichlet", "categorical")


def small(**parameters):
    return VAETransformer(3, max_iter=3, random_state=0).set_params(**parameters)


def rows_with_variances(variances, n_rows=500):
    """Rows whose covariance has exactly these eigenvalues."""
    rng = np.random.default_rng(0)
    scores = rng.standard_normal((n_rows, len(variances)))
    scores, _ = np.linalg.qr(scores - scores.mean(axis=0))
    rotation, _ = np.linalg.qr(rng.standard_normal((len(variances),) * 2))
    return scores * np.sqrt(n_rows * np.asarray(variances)) @ rotation


def linear_vae(n_components, X):
    return VAETransformer(
        n_components,
        hidden_layer_sizes=(),
        likelihood=Gaussian("shared"),
        standardize=False,
        early_stopping=False,
        learning_rate=1e-3,
        batch_size=len(X),
        max_iter=500,
        n_mc_samples=4,
        random_state=0,
    ).fit(X)


#: Three spikes above noise that is equal in all directions.
VARIANCES = [4.0, 2.0, 1.0, *[0.25] * 5]


@pytest.fixture(scope="module")
def spiked():
    X = rows_with_variances(VARIANCES)
    return linear_vae(3, X), X


# ---- diagnostics ---------------------------------------------------------------------


def test_components_of_a_linear_model_have_their_closed_divergences(spiked):
    table = diagnostics(*spiked)
    closed = 0.5 * np.log(np.array(VARIANCES[:3]) / 0.25)
    np.testing.assert_allclose(table.kl_per_component, closed, atol=0.04)
    # The variance of E[z|x] and of z given x are 1 together.
    np.testing.assert_allclose(
        table.activity, 1 - 0.25 / np.array(VARIANCES[:3]), atol=0.03
    )
    np.testing.assert_allclose(table.share, closed / closed.sum(), atol=0.02)
    assert table.active.all()


def test_normal_rows_tell_their_codes_apart_as_a_normal_channel_does():
    # Of normal rows the codes are normal altogether: all of the divergence is
    # information.
    X = rows_with_variances([1.0, 0.25, 0.25], n_rows=2_000)
    table = diagnostics(linear_vae(1, X), X)
    assert table.mutual_information == pytest.approx(0.5 * math.log(4), abs=0.05)
    assert table.aggregate_kl == pytest.approx(0, abs=0.03)


@pytest.mark.parametrize("name", posteriors.FAMILIES)
def test_the_table_adds_up_under_every_posterior(name):
    vae = small(posterior=name).fit(X)
    table = diagnostics(vae, X)
    assert table.elbo == pytest.approx(table.reconstruction - table.kl)
    assert table.kl == pytest.approx(table.mutual_information + table.aggregate_kl)
    assert table.log_likelihood == vae.score(X)
    assert table.mutual_information <= table.information_limit == math.log(len(X))
    assert sorted(table.component) == [0, 1, 2]
    assert (table.activity >= 0).all()
    if name in JOINT:
        assert np.isnan(table.kl_per_component).all()
        order = table.activity
    else:
        assert table.kl_per_component.sum() == pytest.approx(table.kl)
        assert table.share.sum() == pytest.approx(1)
        order = table.kl_per_component
    assert (np.diff(order) <= 0).all()


@pytest.mark.parametrize("prior", ["mixture", "vamp", "aggregate"])
def test_priors_without_a_closed_divergence_order_components_by_activity(prior):
    table = diagnostics(small(prior=prior).fit(X), X)
    assert np.isnan(table.kl_per_component).all()
    assert (np.diff(table.activity) <= 0).all()
    assert math.isfinite(table.kl)


def test_one_component_has_the_whole_divergence_under_any_prior():
    table = diagnostics(small(n_components=1, prior="mixture").fit(X), X)
    np.testing.assert_array_equal(table.kl_per_component, [table.kl])


def test_the_aggregate_prior_leaves_nothing_but_information():
    # p(z) is q(z) itself.
    table = diagnostics(small(prior="aggregate", early_stopping=False).fit(X), X)
    assert table.aggregate_kl == pytest.approx(0, abs=0.05)


def test_numbers_are_those_of_the_fitted_attributes_and_codes():
    vae = small().fit(X)
    table = diagnostics(vae, X)
    np.testing.assert_allclose(
        table.kl_per_component, vae.kl_per_component_[table.component], rtol=1e-4
    )
    variances = vae.transform(X).var(axis=0)[table.component]
    np.testing.assert_allclose(table.activity, variances)


def test_a_code_that_does_not_depend_on_the_row_has_no_information():
    vae = copy.deepcopy(small().fit(X))
    fitted = vae._fitted_model(np.float32)
    flat = torch.from_numpy(vae._state["weights"])
    for name, weights in fitted.model.views(flat)["encoder"].items():
        if not name.startswith("bias"):
            weights.zero_()
    table = diagnostics(vae, X)
    assert table.n_active == 0
    assert table.mutual_information == pytest.approx(0, abs=1e-9)
    np.testing.assert_allclose(table.activity, 0, atol=1e-9)


def test_superfluous_components_are_last_and_inactive():
    X = rows_with_variances([4.0, *[0.25] * 7])
    table = diagnostics(linear_vae(3, X), X)
    assert table.n_active == 1
    assert list(table.active) == [True, False, False]


def test_rows_far_apart_are_told_apart_up_to_the_limit():
    rows = rows_with_variances([1e4, 1e4, 0.01], n_rows=40)
    table = diagnostics(linear_vae(2, rows), rows)
    assert table.mutual_information > 0.95 * table.information_limit


def test_the_order_of_rows_is_of_no_account():
    vae = small().fit(X)
    one, other = diagnostics(vae, X), diagnostics(vae, X[::-1])
    np.testing.assert_allclose(one.kl_per_component, other.kl_per_component)
    assert one.mutual_information == pytest.approx(other.mutual_information, abs=0.05)


def test_the_table_as_text_and_as_a_frame():
    table = diagnostics(small().fit(X), X)
    frame = table.to_frame()
    assert isinstance(frame, pd.DataFrame)
    assert list(frame.index) == list(table.component)
    np.testing.assert_array_equal(frame["activity"], table.activity)
    lines = str(table).splitlines()
    assert len(lines) == 2 + 3 + 6 + 1
    assert f"{table.elbo:.3f}" in str(table)


def test_an_imputer_has_a_code_to_look_into():
    imputer = VAEImputer(n_components=2, max_iter=3, random_state=0).fit(X)
    assert len(diagnostics(imputer, X).component) == 2
    assert compression(imputer, X).bits > 0


def test_mixed_tables_with_holes_have_a_table_too():
    frame = pd.DataFrame(
        {"a": X[:, 0], "b": X[:, 1], "c": np.where(X[:, 2] > 0, *"xy")}
    )
    frame.loc[::5, "a"] = np.nan
    table = diagnostics(small(n_components=2).fit(frame), frame)
    assert math.isfinite(table.elbo + table.mutual_information)


# ---- compression ---------------------------------------------------------------------


def test_a_linear_model_codes_at_the_rate_of_pca(spiked):
    figures = compression(*spiked)
    closed = 0.5 * np.log(np.array(VARIANCES[:3]) / 0.25).sum()
    assert figures.nats == pytest.approx(closed, abs=0.05)
    assert figures.distortion == pytest.approx(0.25 * len(VARIANCES), abs=0.05)
    # With noise that is equal in all directions no code does better.
    assert figures.pca_nats == pytest.approx(closed, abs=0.1)
    assert figures.bits == figures.nats / math.log(2)


def test_principal_components_are_as_many_as_the_error_asks_for():
    vae = small(max_iter=20).fit(X)
    figures = compression(vae, X)

    def error(n):
        pca = PCA(n).fit(X)
        back = pca.inverse_transform(pca.transform(X))
        return np.square(X - back).sum(axis=1).mean()

    assert error(figures.pca_n_components) <= figures.distortion
    assert error(figures.pca_n_components - 1) > figures.distortion


def test_units_are_of_no_account_where_columns_are_standardised():
    factor = 10.0 ** np.arange(X.shape[1])
    one, other = (compression(small().fit(rows), rows) for rows in (X, X * factor))
    assert one.distortion == pytest.approx(other.distortion, rel=1e-3)
    assert one.pca_nats == pytest.approx(other.pca_nats, rel=1e-3)


@pytest.mark.parametrize("name", ["categorical", "dirichlet", "gamma"])
def test_other_codes_have_figures_too(name):
    vae = small(posterior=name).fit(X)
    figures = compression(vae, X)
    assert 0 < figures.distortion
    assert f"{figures.bits:.2f}" in str(figures)
    if name == "categorical":
        assert 0 <= figures.bits <= math.log2(3)


@pytest.mark.parametrize("n", [1, 4])
def test_equal_variances_take_the_rate_of_one_times_their_number(n):
    rate = rate_distortion(np.full(n, 3.0), 0.5 * n)
    assert rate == pytest.approx(n * 0.5 * math.log(6))


def test_variances_below_the_level_are_left_out():
    variances = np.array([5.0, 0.1, 2.0, 0.3])
    for level in (0.05, 0.2, 1.0, 3.0):
        distortion = np.minimum(variances, level).sum()
        expected = 0.5 * np.log(np.maximum(variances / level, 1)).sum()
        assert rate_distortion(variances, distortion) == pytest.approx(expected)


def test_what_nothing_costs_is_nothing():
    assert rate_distortion([2.0, 1.0], 3.0) == 0
    assert rate_distortion([2.0, 1.0], 4.0) == 0
    assert rate_distortion([0.0, 0.0], 0.0) == 0


@pytest.mark.parametrize("distortion", [-1.0, 0.0, math.nan])
def test_no_finite_rate_has_no_error_at_all(distortion):
    with pytest.raises(ValueError, match="distortion must be above 0, got"):
        rate_distortion([1.0, 2.0], distortion)


def test_labels_and_holes_have_no_squared_error():
    frame = pd.DataFrame({"a": X[:, 0], "colour": np.where(X[:, 2] > 0, *"xy")})
    with pytest.raises(ValueError, match="'colour' holds labels"):
        compression(small(n_components=1).fit(frame), frame)
    holes = X.copy()
    holes[3, 2] = np.nan
    with pytest.raises(ValueError, match="Column 2 has holes"):
        compression(small().fit(holes), holes)


@pytest.mark.parametrize("function", [diagnostics, compression])
@pytest.mark.parametrize(
    "kind", [VAEOutlierDetector, AETransformer], ids=["ensemble", "points"]
)
def test_estimators_without_one_posterior_are_refused(function, kind):
    estimator = kind(max_iter=1).fit(X)
    with pytest.raises(TypeError, match=kind.__name__):
        function(estimator, X)
