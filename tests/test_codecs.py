"""How columns are written for the model: round trips, bins, and units of densities."""

import numpy as np
import pandas as pd
import pytest
from scipy import integrate, special

from skvae import VAETransformer, likelihoods
from skvae.codecs import CODECS, FURTHEST
from skvae.likelihoods import Binned

RANDOM = np.random.default_rng(0)
N_ROWS = 400
NORMAL = RANDOM.normal(3.0, 2.0, (N_ROWS, 2))
WHOLE = RANDOM.integers(0, 5, (N_ROWS, 2)).astype(float)
#: By codec: a likelihood that asks for it, and values that it can describe.
VALUES = {
    "standardized": ("gaussian", NORMAL),
    "positive": ("log_normal", np.exp(NORMAL)),
    "counts": ("poisson", WHOLE),
    "unit_interval": ("continuous_bernoulli", RANDOM.random((N_ROWS, 2))),
    "log_odds": ("beta", special.expit(NORMAL - 3.0)),
    "binary": ("bernoulli", np.where(WHOLE > 2, 7.0, -1.0)),
    "categories": ("categorical", 2 * WHOLE - 3),
    "ordered": ("ordinal", 2 * WHOLE - 3),
    "bins": ("binned", WHOLE),
    "identifiers": ("identifier", 2 * WHOLE - 3),
}
#: Those of columns that the encoder reads.
READ = [name for name in VALUES if CODECS[name].is_read]


def test_every_codec_is_here():
    assert set(VALUES) == set(CODECS)


def fitted(name, values, likelihood=None):
    """A codec fitted to some columns, read in two parts."""
    likelihood = likelihood or likelihoods.FAMILIES[VALUES[name][0]]()
    levels = [
        sorted(set(column[~np.isnan(column)].tolist()))
        if CODECS[name].has_levels
        else None
        for column in values.T
    ]

    def chunks():
        for part in np.array_split(values, 2):
            yield part.copy()

    return CODECS[name].fit(chunks, values.shape[1], likelihood, levels)


def encoded(codec, values):
    return codec.encode(values.copy(), FURTHEST["float64"])


def with_holes(values):
    return np.where(RANDOM.random(values.shape) < 0.3, np.nan, values)


# ---- every codec ---------------------------------------------------------------------


@pytest.mark.parametrize("name", CODECS)
def test_decoding_undoes_encoding(name):
    _, values = VALUES[name]
    codec = fitted(name, values)
    inputs, targets = encoded(codec, values)
    assert targets.shape == values.shape
    assert inputs.shape == (N_ROWS, 2 if codec.is_read else 0)
    np.testing.assert_allclose(codec.decode(targets), values, rtol=1e-12)


@pytest.mark.parametrize("name", READ)
def test_holes_stay_holes_and_change_nothing_else(name):
    codec = fitted(name, VALUES[name][1])
    values = VALUES[name][1]
    holes = with_holes(values)
    for found, whole in zip(encoded(codec, holes), encoded(codec, values), strict=True):
        expected = np.where(np.isnan(holes), np.nan, whole)
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", CODECS)
def test_holes_are_left_out_of_the_fit(name):
    _, values = VALUES[name]
    column = values[:, :1]
    dropped = with_holes(column)
    kept = column[~np.isnan(dropped)].reshape(-1, 1)
    for found, expected in zip(
        encoded(fitted(name, dropped), column),
        encoded(fitted(name, kept), column),
        strict=True,
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", READ)
def test_columns_are_coded_apart(name):
    _, values = VALUES[name]
    both = encoded(fitted(name, values), values)
    for j in range(2):
        alone = encoded(fitted(name, values[:, [j]]), values[:, [j]])
        for found, expected in zip(both, alone, strict=True):
            np.testing.assert_allclose(found[:, [j]], expected, rtol=1e-12)


@pytest.mark.parametrize("name", CODECS)
def test_a_codec_is_its_state(name):
    _, values = VALUES[name]
    codec = fitted(name, values)
    again = CODECS[name](**codec.get_state())
    for found, expected in zip(
        encoded(again, values), encoded(codec, values), strict=True
    ):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    "name", [name for name in READ if not CODECS[name].writes_codes]
)
def test_inputs_that_are_numbers_are_centred_and_increase(name):
    _, values = VALUES[name]
    inputs, _ = encoded(fitted(name, values), values)
    np.testing.assert_allclose(inputs.mean(axis=0), 0.0, atol=0.02)
    assert inputs.std(axis=0).max() < 1.02
    for column, given in zip(inputs.T, values.T, strict=True):
        order = np.argsort(given)
        assert (np.diff(column[order]) >= 0).all()
        changed = np.diff(given[order]) > 0
        assert (np.diff(column[order])[changed] > 0).all()


@pytest.mark.parametrize(
    "name", ["standardized", "positive", "unit_interval", "log_odds"]
)
def test_log_jacobian_is_the_derivative(name):
    _, values = VALUES[name]
    codec = fitted(name, values)
    step = 1e-6 * np.abs(values)
    slope = encoded(codec, values + step)[1] - encoded(codec, values - step)[1]
    np.testing.assert_allclose(
        np.broadcast_to(codec.log_jacobian(values), values.shape),
        np.log(slope / (2 * step)),
        atol=1e-5,
    )


@pytest.mark.parametrize("name", ["counts", "binary", "categories", "ordered"])
def test_probabilities_have_no_jacobian(name):
    _, values = VALUES[name]
    assert not fitted(name, values).log_jacobian(values).any()


@pytest.mark.parametrize("name", ["binary", "categories", "ordered"])
def test_values_that_are_no_level_are_known_as_such(name):
    _, values = VALUES[name]
    codec = fitted(name, values)
    assert not codec.unknown(values).any()
    other = np.array([[0.25, np.nan], [values[0, 0], 1e9], [-1e9, values[0, 1]]])
    expected = [[True, False], [False, True], [True, False]]
    np.testing.assert_array_equal(codec.unknown(other), expected)


@pytest.mark.parametrize("size", [1e-300, 1e300])
def test_positive_numbers_decode_to_positive_numbers_however_far(size):
    codec = fitted("positive", size * np.exp(NORMAL))
    decoded = codec.decode(np.array([[1e-34, 1e34]]))
    assert np.isfinite(decoded).all() and (decoded > 0).all()


def test_counts_are_told_apart_as_far_as_float64_tells_them():
    counts = np.array([[3.0, 1e14], [1e18, 1e300]])
    targets = encoded(fitted("counts", WHOLE), counts)[1]
    np.testing.assert_array_equal(targets, [[3.0, 1e14], [1e15, 1e15]])


def test_log_odds_are_finite_up_to_the_ends_and_decode_to_less_than_1():
    column = np.array([[5e-324], [1e-300], [0.5], [1 - 2.0**-53]])
    codec = fitted("log_odds", column)
    _, targets = encoded(codec, column)
    assert np.isfinite(targets).all() and (np.diff(targets[:, 0]) > 0).all()
    far = np.array([[-1e11], [-100.0], [17.0], [1e11]])
    for dtype in (np.float32, np.float64):
        decoded = codec.decode(far).astype(dtype)
        assert (decoded > 0).all() and (decoded < 1).all()


# ---- bins ----------------------------------------------------------------------------

#: By name: a column, and the number of bins asked for.
COLUMNS = {
    "normal": (RANDOM.normal(5.0, 2.0, 2_000), 100),
    "few_bins": (RANDOM.normal(5.0, 2.0, 2_000), 5),
    "long_tail": (RANDOM.lognormal(0.0, 2.0, 2_000), 100),
    "spike": (np.where(RANDOM.random(2_000) < 0.4, 0.0, RANDOM.normal(size=2_000)), 50),
    "spike_below": (
        np.where(RANDOM.random(2_000) < 0.4, 0.0, RANDOM.exponential(size=2_000)),
        50,
    ),
    "two_spikes": (
        np.where(
            RANDOM.random(2_000) < 0.5,
            RANDOM.choice([-1.0, 1.0], 2_000),
            RANDOM.uniform(-1, 1, 2_000),
        ),
        50,
    ),
    "few_numbers": (RANDOM.integers(0, 6, 500) / 4, 100),
    "whole": (RANDOM.poisson(500.0, 2_000).astype(float), 30),
    "whole_with_spike": (
        np.where(RANDOM.random(2_000) < 0.4, 0.0, RANDOM.poisson(500.0, 2_000)),
        30,
    ),
    "few_rows": (np.array([1.0, 2.5, 2.5, 7.0]), 2),
}


@pytest.fixture(scope="module")
def bins():
    return {
        name: fitted("bins", column[:, None], Binned(n_bins))
        for name, (column, n_bins) in COLUMNS.items()
    }


def edges(codec):
    return codec.lower[0], codec.upper[0]


@pytest.mark.parametrize("name", COLUMNS)
def test_cells_tile_the_range(bins, name):
    column, _ = COLUMNS[name]
    lower, upper = edges(bins[name])
    assert (lower <= upper).all()
    assert (np.diff(lower) > 0).all()
    # Atoms stand alone or between bins; a bin ends where the next cell's gap begins.
    assert (upper[:-1] <= lower[1:]).all()
    assert lower[0] <= column.min() and column.max() <= upper[-1]
    _, codes = encoded(bins[name], column[:, None])
    assert codes.min() == 0 and codes.max() == len(lower) - 1
    found = codes[:, 0].astype(int)
    assert (lower[found] <= column).all() and (column <= upper[found]).all()
    is_bin = lower < upper
    neighbours = is_bin[:-1] & is_bin[1:]
    np.testing.assert_array_equal(upper[:-1][neighbours], lower[1:][neighbours])


@pytest.mark.parametrize("name", COLUMNS)
def test_cells_hold_about_equal_mass_or_are_atoms(bins, name):
    column, n_bins = COLUMNS[name]
    lower, upper = edges(bins[name])
    _, codes = encoded(bins[name], column[:, None])
    counts = np.bincount(codes[:, 0].astype(int), minlength=len(lower))
    assert counts.sum() == len(column) and counts.min() > 0
    is_bin = lower < upper
    assert len(lower) <= 2 * n_bins
    distinct, repeats = np.unique(column, return_counts=True)
    heavy = set(distinct[repeats * n_bins >= len(column)])
    if len(distinct) <= n_bins:
        heavy = set(distinct)
    assert set(lower[~is_bin]) >= heavy
    if is_bin.sum() > 3:
        # A bin is closed before the value that takes it past its share.
        share = counts[is_bin].sum() / max(1, n_bins - len(heavy))
        assert counts[is_bin].max() <= 2 * share


@pytest.mark.parametrize("name", COLUMNS)
def test_shares_centers_and_points(bins, name):
    column, _ = COLUMNS[name]
    codec = bins[name]
    assert codec.shares[0].sum() == pytest.approx(1.0, rel=1e-12)
    _, codes = encoded(codec, column[:, None])
    found = codes[:, 0].astype(int)
    means = np.bincount(found, column) / np.bincount(found)
    np.testing.assert_allclose(codec.centers[0], means, rtol=1e-9, atol=1e-9)
    shares = np.bincount(found) / len(column)
    points = codec.points(shares[None, :])
    assert points[0, 0] == pytest.approx(column.mean(), rel=1e-9)


@pytest.mark.parametrize("name", COLUMNS)
def test_a_cells_fractions_decode_into_the_cell(bins, name):
    codec = bins[name]
    lower, upper = edges(codec)
    places = np.arange(len(lower))
    for fraction in (0.0, 0.3, 0.999):
        decoded = codec.decode((places + fraction)[:, None])[:, 0]
        np.testing.assert_allclose(decoded, lower + fraction * (upper - lower))
        _, codes = encoded(codec, decoded[:, None])
        np.testing.assert_array_equal(codes[:, 0], places)


@pytest.mark.parametrize("name", COLUMNS)
def test_the_density_integrates_to_one(bins, name):
    codec = bins[name]
    lower, upper = edges(codec)
    probability = RANDOM.dirichlet(np.ones(len(lower)))

    def density(x):
        values = np.atleast_1d(x)[:, None]
        _, codes = encoded(codec, values)
        inside = probability[codes.astype(int)]
        return (inside * np.exp(codec.log_jacobian(values)))[:, 0]

    is_bin = lower < upper
    middle = density((lower + upper) / 2)
    mass = np.where(is_bin, middle * (upper - lower), middle).sum()
    # What lies between cells, below them and above them.
    middles = (upper[:-1] + lower[1:]) / 2
    breaks = [
        *zip(upper[:-1], middles, strict=True),
        *zip(middles, lower[1:], strict=True),
    ]
    gaps = [gap for gap in breaks if gap[0] < gap[1]]
    outside = sum(
        integrate.quad(lambda x: density(x)[0], low, high, limit=200)[0]
        for low, high in [(-np.inf, lower[0]), *gaps, (upper[-1], np.inf)]
    )
    assert mass + outside == pytest.approx(1.0, abs=1e-6)
    # Laplace's rule of succession, for the cells that have something around them.
    assert 0 < outside < 1 / (len(COLUMNS[name][0]) + 2) + 1e-6


def test_whole_numbers_are_rounded_evenly():
    """Each of the numbers of a bin is drawn equally often."""
    column = np.repeat(np.arange(200.0), 5)
    codec = fitted("bins", column[:, None], Binned(20))
    lower, upper = edges(codec)
    np.testing.assert_array_equal(lower % 1, 0.5)
    np.testing.assert_array_equal(upper % 1, 0.5)
    fractions = (np.arange(10_000) + 0.5) / 10_000
    targets = (np.arange(len(lower))[:, None] + fractions).ravel()
    drawn = np.rint(codec.decode(targets[:, None])[:, 0])
    for low, high in zip(lower, upper, strict=True):
        _, counts = np.unique(drawn[(drawn > low) & (drawn < high)], return_counts=True)
        assert len(counts) == high - low
        np.testing.assert_allclose(counts * (high - low), 10_000, atol=2 * len(counts))


# ---- scores in other units -----------------------------------------------------------

N = 1_000
NUMBER = np.exp(RANDOM.normal(size=N))
TABLE = pd.DataFrame(
    {
        "number": NUMBER,
        "count": RANDOM.poisson(3 * NUMBER),
        "label": np.array([*"abc"])[RANDOM.integers(0, 3, N)],
        "spiked": np.where(RANDOM.random(N) < 0.3, 0.0, NUMBER),
    }
)


def scores(table, **likelihood):
    model = VAETransformer(
        2,
        likelihood={"count": "poisson", **likelihood},
        max_iter=5,
        n_importance_samples=16,
        random_state=0,
    )
    return model.fit(table).score_features(table)


@pytest.mark.parametrize("factor", [1_024.0, 2.0**-10])
@pytest.mark.parametrize(
    "likelihood", ["gaussian", "laplace", "log_normal", "gamma", "binned"]
)
def test_scores_of_a_continuous_column_fall_by_the_log_of_its_factor(
    likelihood, factor
):
    before = scores(TABLE, number=likelihood)
    after = scores(TABLE.assign(number=factor * NUMBER), number=likelihood)
    fall = before - after
    np.testing.assert_allclose(fall[:, 0], np.log(factor), atol=1e-3)
    np.testing.assert_allclose(fall[:, 1:], 0.0, atol=1e-3)


@pytest.mark.parametrize("factor", [1_024.0, 2.0**-10])
def test_an_atom_is_an_atom_in_all_units(factor):
    before = scores(TABLE, spiked="binned")
    after = scores(TABLE.assign(spiked=factor * TABLE["spiked"]), spiked="binned")
    expected = np.where(TABLE["spiked"] == 0, 0.0, np.log(factor))
    np.testing.assert_allclose((before - after)[:, 3], expected, atol=1e-3)


@pytest.mark.parametrize("likelihood", ["categorical", "ordinal", "binned"])
def test_levels_that_are_numbers_may_be_any_numbers(likelihood):
    levels = TABLE["count"].clip(upper=5)
    before = scores(TABLE.assign(spiked=levels), spiked=likelihood)
    after = scores(TABLE.assign(spiked=1_024 * levels - 7), spiked=likelihood)
    np.testing.assert_array_equal(after, before)


def test_labels_may_be_renamed():
    renamed = TABLE.assign(label=TABLE["label"].map({"a": "x", "b": "y", "c": "z"}))
    np.testing.assert_array_equal(scores(renamed), scores(TABLE))


@pytest.mark.parametrize(
    "likelihood", ["log_normal", "gamma", "gaussian", "laplace", "binned", "poisson"]
)
def test_values_far_outside_have_a_defined_score(likelihood):
    table = np.rint(1 + 10 * NUMBER)[:, None]
    model = VAETransformer(1, likelihood=likelihood, max_iter=5, random_state=0)
    model.fit(table)
    far = np.array([[1e12], [1e9]])
    found = model.score_samples(far)
    assert np.isfinite(found).all()
    assert found[0] < found[1] < model.score_samples(table).min()
