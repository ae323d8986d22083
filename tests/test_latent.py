"""Walks among codes stay where codes are."""

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_iris
from sklearn.decomposition import PCA

from skvae import VAETransformer, interpolate, traverse

FRAME = load_iris(as_frame=True).data
A, B = np.array([1.0, -2.0, 0.5]), np.array([0.0, 1.0, 3.0])


def fitted(**parameters):
    return VAETransformer(3, max_iter=3, random_state=0, **parameters).fit(FRAME)


@pytest.mark.parametrize("spherical", [False, True])
@pytest.mark.parametrize("n", [2, 7])
def test_ways_begin_and_end_where_they_should(spherical, n):
    way = interpolate(A, B, n, spherical=spherical)
    assert way.shape == (n, 3)
    np.testing.assert_allclose(way[[0, -1]], [A, B], atol=1e-15)


def test_a_straight_line_has_equal_steps():
    np.testing.assert_allclose(np.diff(interpolate(A, B, 6), axis=0), [(B - A) / 5] * 5)


def test_an_arc_keeps_its_distance_and_turns_by_equal_angles():
    b = B * np.linalg.norm(A) / np.linalg.norm(B)
    way = interpolate(A, b, 6, spherical=True)
    lengths = np.linalg.norm(way, axis=1)
    np.testing.assert_allclose(lengths, np.linalg.norm(A))
    cosines = (way[1:] * way[:-1]).sum(axis=1) / lengths[0] ** 2
    np.testing.assert_allclose(cosines, cosines[0])


@pytest.mark.parametrize("b", [3 * A, 0 * A], ids=["one direction", "origin"])
def test_an_arc_is_a_line_where_there_is_no_angle(b):
    arc = interpolate(A, b, 5, spherical=True)
    np.testing.assert_allclose(arc, interpolate(A, b, 5))


def test_there_is_no_shortest_arc_to_the_opposite_direction():
    with pytest.raises(ValueError, match="opposite"):
        interpolate(A, -2 * A, 5, spherical=True)


@pytest.mark.parametrize("name", ["gaussian", "gamma", "beta", "pareto", "dirichlet"])
def test_straight_lines_stay_where_codes_are(name):
    vae = fitted(posterior=name)
    a, b = vae.transform(FRAME)[[0, 100]]
    rows = vae.inverse_transform(interpolate(a, b, 5))
    assert np.isfinite(rows.to_numpy()).all()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((A, B[:2], 3), "a has 3 components, and b has 2"),
        ((A, [B], 3), "b must be one code"),
        ((A, B, 1), "n == 1"),
        ((A, [np.nan, 0, 0], 3), "NaN"),
    ],
    ids=["widths", "rows", "number", "holes"],
)
def test_what_is_no_way_is_refused(arguments, reason):
    with pytest.raises(ValueError, match=reason):
        interpolate(*arguments)


def test_a_traversal_moves_one_component():
    vae = fitted()
    values = [-1.0, 0.0, 2.0]
    codes = np.tile(A, (3, 1))
    codes[:, 1] = values
    found = traverse(vae, A, 1, values)
    pd.testing.assert_frame_equal(found, vae.inverse_transform(codes))


def test_other_transformers_are_traversed():
    pca = PCA(2).fit(FRAME)
    codes = np.array([[0.5, -1.0], [0.5, 1.0]])
    found = traverse(pca, [0.5, 0.0], 1, [-1.0, 1.0])
    np.testing.assert_array_equal(found, pca.inverse_transform(codes))


@pytest.mark.parametrize("name", ["dirichlet", "categorical"])
@pytest.mark.parametrize(
    ("z", "others"),
    [([0.2, 0.6, 0.2], [0.75, 0.25]), ([1.0, 0.0, 0.0], [0.5, 0.5])],
    ids=["shares", "corner"],
)
def test_shares_go_on_summing_to_one(name, z, others):
    vae = fitted(posterior=name)
    z = np.array(z)
    found = traverse(vae, z, 0, [0.0, 0.5])
    codes = np.array([[0.0, *others], [0.5, *(np.array(others) / 2)]])
    pd.testing.assert_frame_equal(found, vae.inverse_transform(codes))


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((A, 3, [0.0]), "component == 3"),
        ((A, -1, [0.0]), "component == -1"),
        ((A[:2], 0, [0.0]), "expecting codes of n_components_=3"),
        ((A, 0, [[0.0]]), "values must be one number a row"),
    ],
    ids=["beyond", "below", "width", "values"],
)
def test_what_is_no_traversal_is_refused(arguments, reason):
    with pytest.raises(ValueError, match=reason):
        traverse(fitted(), *arguments)


def test_values_where_there_are_no_codes_are_refused():
    vae = fitted(posterior="gamma")
    with pytest.raises(ValueError, match="positive"):
        traverse(vae, [1.0, 1.0, 1.0], 0, [-1.0])
