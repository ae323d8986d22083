"""Probabilistic PCA against scikit-learn's PCA."""

import numpy as np
import pytest
from sklearn.datasets import load_wine
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from skvae.core.ppca import probabilistic_pca


def data():
    return StandardScaler().fit_transform(load_wine().data)


@pytest.mark.parametrize("n_components", [1, 4, 12])
def test_covariance_is_that_of_pca(n_components):
    X = data()
    factors = probabilistic_pca(X.copy(), n_components)
    ours = factors.loadings.T @ factors.loadings
    ours += factors.residual_variance.mean() * np.eye(X.shape[1])
    # scikit-learn divides by n - 1, maximum likelihood by n.
    theirs = PCA(n_components).fit(X).get_covariance() * (len(X) - 1) / len(X)
    np.testing.assert_allclose(ours, theirs, atol=1e-10)


def test_wide_data_have_the_axes_of_their_transpose():
    X = data()[:8]
    X = X - X.mean(axis=0)
    axes = np.linalg.svd(X, full_matrices=False)[2][:3]
    loadings = probabilistic_pca(X.copy(), 3).loadings
    cosines = np.abs(np.sum(loadings * axes, axis=1)) / np.linalg.norm(loadings, axis=1)
    np.testing.assert_allclose(cosines, 1, atol=1e-10)


def test_surplus_components_have_no_loadings():
    factors = probabilistic_pca(data(), 20)
    assert factors.loadings.shape == (20, 13)
    assert not factors.loadings[13:].any()


def test_known_noise_shrinks_the_loadings():
    X = data()
    factors = probabilistic_pca(X.copy(), 3, noise_variance=0.5)
    eigenvalues = PCA().fit(X).explained_variance_[:3] * (len(X) - 1) / len(X)
    strengths = np.square(factors.loadings).sum(axis=1)
    np.testing.assert_allclose(strengths, eigenvalues - 0.5)


def test_noise_has_a_floor_where_the_loadings_explain_all():
    X = data()[:, :2] @ np.random.default_rng(0).standard_normal((2, 5))
    strengths = np.sort(np.linalg.eigvalsh(np.cov(X.T, bias=True)))[:-3:-1]
    loadings = probabilistic_pca(X.copy(), 2, least_variance=0.01).loadings
    np.testing.assert_allclose(np.square(loadings).sum(axis=1), strengths - 0.01)


def test_weights_decide_on_the_axes_and_leave_the_units_alone():
    X, weights = 3 + data(), np.linspace(0.5, 2, 13)
    factors = probabilistic_pca(X.copy(), 3, weights=weights)
    weighted = probabilistic_pca(X * weights, 3)
    np.testing.assert_allclose(factors.mean, X.mean(axis=0))
    np.testing.assert_allclose(factors.loadings * weights, weighted.loadings)
    explained = np.square(factors.loadings).sum(axis=0)
    np.testing.assert_allclose(explained + factors.residual_variance, X.var(axis=0))
