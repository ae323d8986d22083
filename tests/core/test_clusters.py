"""The start of classes: k-means, beside scikit-learn's."""

import numpy as np
import pytest
from sklearn.cluster import KMeans

from skvae.core.clusters import class_means


def blobs(n_samples=400, n_classes=5):
    rng = np.random.default_rng(0)
    centers = 6 * rng.standard_normal((n_classes, 3))
    return centers[rng.integers(n_classes, size=n_samples)] + rng.standard_normal(
        (n_samples, 3)
    )


def test_means_are_those_of_k_means():
    X = blobs()
    model = class_means(X.copy(), 5, seed=0)
    means = model.mean + model.loadings
    theirs = KMeans(5, n_init=10, random_state=0).fit(X)
    order, their_order = np.lexsort(means.T), np.lexsort(theirs.cluster_centers_.T)
    expected = theirs.cluster_centers_[their_order]
    np.testing.assert_allclose(means[order], expected, atol=1e-3)
    residual = X - theirs.cluster_centers_[theirs.labels_]
    np.testing.assert_allclose(model.residual_variance, residual.var(axis=0), rtol=1e-3)


def test_means_and_residuals_make_up_the_variance():
    X = blobs()
    model = class_means(X.copy(), 5, seed=0)
    nearest = np.square(X[:, None] - model.mean - model.loadings).sum(2).argmin(1)
    share = np.bincount(nearest) / len(X)
    between = share @ np.square(model.loadings)
    np.testing.assert_allclose(
        between + model.residual_variance, X.var(axis=0), rtol=1e-2
    )
    np.testing.assert_allclose(share @ model.loadings, 0, atol=0.05)


def test_the_seed_decides():
    X = np.random.default_rng(0).standard_normal((200, 3))  # no classes at all
    first, again, other = (class_means(X, 6, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.loadings, again.loadings)
    assert not np.array_equal(first.loadings, other.loadings)
    assert (X == np.random.default_rng(0).standard_normal((200, 3))).all()


@pytest.mark.parametrize("n_samples", [2, 3, 5])
def test_more_classes_than_rows(n_samples):
    X = blobs()[:n_samples]
    model = class_means(X, 7, seed=0)
    assert model.loadings.shape == (7, 3)
    means = model.mean + model.loadings
    for row in X:
        assert np.isclose(means, row).all(axis=1).any()
    np.testing.assert_allclose(model.residual_variance, 0, atol=1e-20)


def test_rows_that_are_all_the_same():
    model = class_means(np.ones((20, 3)), 4, seed=0)
    np.testing.assert_array_equal(model.loadings, np.zeros((4, 3)))
    np.testing.assert_array_equal(model.residual_variance, np.zeros(3))


def test_fewer_different_rows_than_classes():
    X = np.repeat(np.eye(3), 10, axis=0)
    model = class_means(X, 5, seed=0)
    np.testing.assert_allclose(model.residual_variance, 0, atol=1e-20)
