"""Histograms of the columns: densities by hand, holes, ends, units."""

import warnings

import numpy as np
import pytest
from scipy.sparse import csr_array
from scipy.stats import norm

from skvae.histograms import fit_histograms, log_densities

#: Eight rows make four bins, here around 0, 1, 2 and 3.
EIGHT = np.array([[0, 0, 0, 1, 2, 2, 2.4, 3.0]]).T
#: Half a row in each of six bins beforehand, those of the ends included.
EXPECTED = np.log(np.array([0.5, 3.5, 1.5, 3.5, 1.5, 0.5]) / 11)


def fitted(X):
    return fit_histograms(X, np.arange(X.shape[0]))


def width_of(histograms):
    """Distances of the middles, which in a column of many values are equal."""
    return histograms["middles"][:, 2] - histograms["middles"][:, 1]


def density(X, histograms):
    return log_densities(np.asarray(X, dtype=float)[:, None], histograms)[:, 0]


def normals(*shape):
    return np.random.default_rng(0).normal(size=shape)


# ---- what a density is ---------------------------------------------------------------


def test_densities_at_the_middles_of_bins_are_shares():
    found = density([-1, 0, 1, 2, 3, 4], fitted(EIGHT))
    np.testing.assert_allclose(found, EXPECTED, rtol=1e-12)
    # Of twice the width, half the density.
    found = density([-2, 0, 2, 4, 6, 8], fitted(2 * EIGHT))
    np.testing.assert_allclose(found, EXPECTED - np.log(2), rtol=1e-12)


def test_between_the_middles_the_log_density_is_a_line():
    histograms = fitted(EIGHT)
    left, right = EXPECTED[2:4]
    found = density([1, 1.25, 1.5, 2], histograms)
    lines = [left, 0.75 * left + 0.25 * right, (left + right) / 2, right]
    np.testing.assert_allclose(found, lines, rtol=1e-12)
    grid = density(np.linspace(-3, 6, 9_001), histograms)
    steepest = np.abs(np.diff(EXPECTED)).max()
    assert np.abs(np.diff(grid)).max() <= 1.001e-3 * steepest  # without a jump


def test_beyond_the_ends_it_is_that_of_an_empty_bin():
    found = density([-1e300, -50, -1, 4, 50, 1e300], fitted(EIGHT))
    np.testing.assert_allclose(found, EXPECTED[0], rtol=1e-12)


def test_bins_sum_to_one():
    histograms = fitted(normals(500, 3) ** 3)
    shares = np.exp(histograms["log_density"]) * width_of(histograms)[:, None]
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-12)


@pytest.mark.parametrize(("n_rows", "n_bins"), [(2, 3), (8, 4), (178, 10), (1000, 16)])
def test_more_rows_make_more_bins(n_rows, n_bins):
    histograms = fitted(normals(n_rows, 2))
    assert histograms["log_density"].shape == (2, n_bins + 2)
    X = normals(n_rows, 2)
    middles = histograms["middles"]
    np.testing.assert_allclose(middles[:, 1], X.min(axis=0), rtol=1e-12)
    last = n_bins if n_rows > 2 else 2  # two values have a bin each
    np.testing.assert_allclose(middles[:, last], X.max(axis=0), rtol=1e-12)


def test_a_column_of_few_values_has_a_bin_for_each():
    values = np.array([0.0, 1.0, 2.0, 50.0])
    X = np.repeat(values, [300, 200, 100, 400])[:, None]
    found = density(values, fitted(X))
    # In 16 bins and an empty one on either side; the mean distance is 50 / 3.
    shares = np.array([300.5, 200.5, 100.5, 400.5]) / (1000 + 0.5 * 18)
    np.testing.assert_allclose(found, np.log(shares / (50 / 3)), rtol=1e-12)
    equal = np.repeat(np.arange(3.0), 333)[:, None]
    assert np.ptp(density(np.arange(3.0), fitted(equal))) < 1e-12


def test_many_rows_come_near_their_density():
    X = normals(20_000, 1) * 3 + 7
    new = np.random.default_rng(1).normal(7, 3, 5_000)
    found, exact = density(new, fitted(X)), norm(7, 3).logpdf(new)
    assert abs((found - exact).mean()) < 0.02
    assert np.median(np.abs(found - exact)) < 0.05


def test_columns_do_not_know_of_one_another():
    X = normals(200, 3) * [1, 10, 100]
    together = log_densities(X, fitted(X))
    for j in range(3):
        own = log_densities(X[:, [j]], fitted(X[:, [j]]))
        np.testing.assert_array_equal(together[:, [j]], own)


# ---- units, rows, containers ---------------------------------------------------------


@pytest.mark.parametrize("factor", [1000.0, 2.0**-20, -1.0])
def test_units_shift_the_log_density(factor):
    X = normals(300, 2)
    found = log_densities(X * factor, fitted(X * factor))
    expected = log_densities(X, fitted(X)) - np.log(abs(factor))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_small_units_shift_the_log_density():
    """Such as picofarads, in farads."""
    X = 1 + normals(300, 1) ** 2
    found = log_densities(X * 2.0**-45, fitted(X * 2.0**-45))
    np.testing.assert_allclose(found, log_densities(X, fitted(X)) + 45 * np.log(2))


def test_only_the_rows_asked_for_count():
    X, rows = normals(100, 2), np.arange(10, 60)
    changed = X.copy()
    changed[np.setdiff1d(np.arange(100), rows)] = 1e6
    one, other = fit_histograms(X, rows), fit_histograms(changed, rows)
    alone = fitted(X[rows])
    for name in ("middles", "log_density"):
        np.testing.assert_array_equal(one[name], other[name], strict=True)
        np.testing.assert_array_equal(one[name], alone[name], strict=True)


def test_the_order_of_rows_does_not_count():
    X = normals(20_000, 2)  # more than are read at once
    one, other = fitted(X), fitted(X[::-1])
    for name in one:
        np.testing.assert_array_equal(one[name], other[name])


@pytest.mark.parametrize("form", [csr_array, np.float32, np.int64])
def test_other_kinds_of_matrices(form):
    X = np.rint(5 * normals(300, 3)) * (normals(300, 3) > 0)
    expected = fitted(X)
    given = form(X) if form is csr_array else X.astype(form)
    found = fitted(given)
    for name in expected:
        assert found[name].dtype == np.float64
        np.testing.assert_array_equal(found[name], expected[name])
    if form is not csr_array:
        np.testing.assert_array_equal(
            log_densities(given, found), log_densities(X, expected), strict=True
        )


def test_nothing_is_changed():
    X = normals(50, 2)
    X[3, 1] = np.nan
    before, histograms = X.copy(), fitted(X)
    parts = {name: part.copy() for name, part in histograms.items()}
    log_densities(X, histograms)
    np.testing.assert_array_equal(X, before)
    for name, part in parts.items():
        np.testing.assert_array_equal(histograms[name], part)


# ---- holes and odd columns -----------------------------------------------------------


def test_holes_are_worth_nothing_and_do_not_count():
    X = EIGHT.repeat(2, axis=1)
    holed = np.concatenate([X, np.full_like(X, np.nan)])
    found = fit_histograms(holed, np.arange(16))
    n_bins = 1 + int(np.ceil(1.5 * 16 ** (1 / 3)))  # by rows, with holes or not
    assert found["log_density"].shape == (2, n_bins + 2)
    values = log_densities(holed, found)
    np.testing.assert_array_equal(values[8:], 0)
    n = 8 + 0.5 * (n_bins + 2)
    distance = 3 / 4  # of five values, the mean
    np.testing.assert_allclose(values[:3], np.log(3.5 / n / distance))
    empty = log_densities(np.array([[99.0, -99.0]]), found)
    np.testing.assert_allclose(empty, np.log(0.5 / n / distance))


def test_a_column_of_holes_says_the_same_of_every_cell():
    X = np.column_stack([np.full(20, np.nan), normals(20)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        histograms = fitted(X)
        values = log_densities(np.array([[0.0, 0], [1e9, 0], [-3, 0]]), histograms)
    assert np.isfinite(values).all()
    assert np.ptp(values[:, 0]) == 0


@pytest.mark.parametrize("value", [0.0, -7.5, 1e9, 1e200])
def test_a_constant_column_has_its_rows_in_one_bin(value):
    X = np.full((20, 1), value)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        histograms = fitted(X)
        at, off = density([value, value + 1 + abs(value) / 2], histograms)
    assert np.isfinite([at, off]).all()
    assert at - off == pytest.approx(np.log(20.5 / 0.5))


def test_the_ends_of_float64_are_no_end():
    largest = np.finfo(np.float64).max
    X = np.array([[-largest], [0.0], [largest], [1.0]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        histograms = fitted(X)
        values = log_densities(X, histograms)
        far = log_densities(X, fitted(EIGHT))
    assert np.isfinite(values).all()
    np.testing.assert_allclose(far[[0, 2], 0], EXPECTED[0])


def test_two_rows_are_enough():
    values = density([0, 1], fitted(np.array([[0.0], [1.0]])))
    assert np.isfinite(values).all()
    assert values[0] == values[1]
