"""Each likelihood against scipy.stats: value, mean, variance, moments of samples."""

import numpy as np
import pytest
import torch
from scipy import stats

from skvae import VAETransformer
from skvae.likelihoods import (
    FAMILIES,
    Bernoulli,
    Blocks,
    Categorical,
    Gaussian,
    Laplace,
    LogNormal,
    Poisson,
    StudentT,
)

N_ROWS, N_FEATURES, N_DRAWS = 5, 3, 200_000

SETTINGS = [
    Gaussian(0.7),
    Gaussian("shared"),
    Gaussian("feature"),
    Gaussian("conditional"),
    Gaussian("conditional", floor=0.5),
    StudentT(0.7),
    StudentT("shared", df=30.0),
    StudentT("feature", df=5.0),
    StudentT("conditional"),
    StudentT("conditional", df=2.5),
    Laplace(0.7),
    Laplace("shared"),
    Laplace("feature"),
    Laplace("conditional"),
    Laplace("conditional", floor=0.5),
    Bernoulli(),
]


def outputs(likelihood, n_rows=N_ROWS):
    """Random decoder outputs and own weights of a likelihood."""
    generator = torch.Generator().manual_seed(0)
    n_locations, n_others = likelihood.n_outputs(N_FEATURES)
    locations = torch.randn(n_rows, n_locations, generator=generator).double()
    others = torch.randn(n_rows, n_others, generator=generator).double()
    own = {
        name: torch.randn(shape, generator=generator).double()
        for name, shape in likelihood.own_shapes(N_FEATURES).items()
    }
    return locations, others, own


def reference(likelihood, locations, others, own):
    """The frozen scipy distribution of the same outputs."""
    if isinstance(likelihood, Bernoulli):
        return stats.bernoulli(1 / (1 + np.exp(-locations.numpy())))
    if isinstance(likelihood.scale, float):
        scale = likelihood.scale
    else:
        raw = others if likelihood.scale == "conditional" else own["raw_scale"]
        scale = likelihood.floor + np.logaddexp(0, raw.numpy())
    if isinstance(likelihood, StudentT):
        return stats.t(likelihood.df, locations.numpy(), scale)
    family = stats.laplace if isinstance(likelihood, Laplace) else stats.norm
    return family(locations.numpy(), scale)


def log_density(scipy_distribution, x):
    is_discrete = hasattr(scipy_distribution, "pmf")
    return (scipy_distribution.logpmf if is_discrete else scipy_distribution.logpdf)(x)


@pytest.mark.parametrize("likelihood", SETTINGS, ids=str)
def test_log_prob_and_mean(likelihood):
    parts = outputs(likelihood)
    distribution, expected = likelihood(*parts), reference(likelihood, *parts)
    x = expected.rvs(random_state=0).astype(float)
    ours = distribution.log_prob(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(ours, log_density(expected, x), rtol=1e-12)
    np.testing.assert_allclose(distribution.mean.numpy(), expected.mean(), rtol=1e-12)


@pytest.mark.parametrize("likelihood", SETTINGS, ids=str)
def test_moments_of_samples(likelihood):
    locations, others, own = outputs(likelihood, n_rows=1)
    shape = (N_DRAWS, -1)
    distribution = likelihood(locations.expand(shape), others.expand(shape), own)
    draws = distribution.sample(torch.Generator().manual_seed(1)).numpy()
    expected = reference(likelihood, locations, others, own)
    deviation = np.ravel(expected.std()) / np.sqrt(N_DRAWS)
    np.testing.assert_array_less(
        np.abs(draws.mean(0) - expected.mean()[0]), 5 * deviation
    )
    if getattr(likelihood, "df", np.inf) > 4:  # the variance of a variance is finite
        np.testing.assert_allclose(draws.var(0), expected.var()[0], rtol=0.03)


@pytest.mark.parametrize("df", [2.5, 4.0, 30.0])
def test_draws_have_the_tails_of_student_t(df):
    likelihood = StudentT(0.7, df=df)
    distribution = likelihood(torch.full((N_DRAWS, 1), 2.0).double(), None, {})
    draws = distribution.sample(torch.Generator().manual_seed(1)).numpy()
    assert stats.kstest(draws[:, 0], stats.t(df, 2.0, 0.7).cdf).pvalue > 1e-3


@pytest.mark.parametrize("family", [Gaussian, Laplace])
@pytest.mark.parametrize("scale", ["shared", "feature", "conditional"])
def test_scale_is_bounded_below_and_never_overflows(family, scale):
    likelihood = family(scale, floor=0.2)
    for raw in (-1e30, 1e30):
        extreme = torch.full((1, N_FEATURES), raw)
        own = {"raw_scale": extreme[0]}
        distribution = likelihood(torch.zeros(1, N_FEATURES), extreme, own)
        assert (distribution.scale >= 0.2).all()
        assert torch.isfinite(distribution.log_prob(torch.ones(1, N_FEATURES))).all()


@pytest.mark.parametrize("likelihood", SETTINGS, ids=str)
def test_start_reproduces_the_means(likelihood):
    mean = torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64)
    loadings = torch.zeros((2, 3), dtype=torch.float64)
    residual = torch.full((3,), 0.4, dtype=torch.float64)
    variance = mean * (1 - mean) if likelihood == Bernoulli() else torch.ones_like(mean)
    start = likelihood.start(mean, variance, loadings, residual)
    row = (start.locations.unsqueeze(0), start.others.unsqueeze(0), start.own)
    distribution = likelihood(*row)
    torch.testing.assert_close(distribution.mean[0], mean)
    if isinstance(likelihood, Gaussian) and likelihood.least_variance < residual[0]:
        expected = likelihood.known_variance or 0.4
        if isinstance(likelihood, Laplace):
            expected /= 2  # its variance is twice the square of its scale
        scale = distribution.scale.expand(1, 3)[0]
        torch.testing.assert_close(scale.square(), torch.full_like(mean, expected))


@pytest.mark.parametrize(("p", "share"), [(0.5, 1), (0.9, 1), (0.01, 0.198)])
def test_start_of_yes_and_no_has_the_slope_of_the_inputs_if_it_is_not_steep(p, share):
    mean, loadings = torch.tensor([p]).double(), torch.tensor([[0.1]]).double()
    start = Bernoulli().start(mean, mean * (1 - mean), loadings, torch.ones(1).double())
    # A rare 1 has the slope that it would have at p (1 - p) = 0.05.
    slope = start.weight * mean * (1 - mean)
    torch.testing.assert_close(slope, share * loadings)


def test_start_of_counts_has_their_moments():
    mean = torch.tensor([0.5, 3.0, 40.0]).double()
    variance = mean + mean.square() / 2
    loadings = torch.tensor([[0.6], [0.8]]).double().expand(2, 3)
    start = Poisson().start(mean, variance, loadings, torch.ones(3).double())
    # The logarithm of a rate is normal.
    spread = start.weight.square().sum(0)
    rate = (start.locations + spread / 2).exp()
    torch.testing.assert_close(rate, mean)
    torch.testing.assert_close(rate + rate.square() * spread.expm1(), variance)


@pytest.mark.parametrize(
    "arguments",
    [{"scale": 0.0}, {"scale": -1.0}, {"scale": "wide"}, {"scale": True}, {"floor": 0}],
    ids=str,
)
def test_bad_settings_are_refused(arguments):
    for family in (Gaussian, StudentT, Laplace, LogNormal):
        with pytest.raises(ValueError, match=f"of {family.__name__} must be"):
            family(**arguments)


@pytest.mark.parametrize("df", [2.0, 0.5, -1, np.inf, np.nan, "4", None], ids=str)
def test_bad_degrees_of_freedom_are_refused(df):
    with pytest.raises(ValueError, match="df of StudentT must be a float above 2"):
        StudentT(df=df)


# ---- gradients -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "likelihood", [s for s in SETTINGS if isinstance(s, StudentT)], ids=str
)
@pytest.mark.parametrize("with_holes", [False, True])
def test_gradients_of_student_t_are_those_in_closed_form(likelihood, with_holes):
    locations, others, own = parts = outputs(likelihood)
    x = torch.from_numpy(reference(likelihood, *parts).rvs(random_state=0))
    observed = torch.ones_like(x)
    if with_holes:
        observed[::2, 1] = 0
    log_prob, by_location, by_other, by_own = likelihood.value_and_gradient(
        *parts, x, observed if with_holes else None
    )
    scale = likelihood(*parts).scale.expand_as(x)
    t, df = (x - locations) / scale, likelihood.df
    weight = observed * (df + 1) / (df + t.square())
    cells = stats.t(df).logpdf(t.numpy()) - scale.log().numpy()
    torch.testing.assert_close(log_prob, (observed * torch.from_numpy(cells)).sum(1))
    torch.testing.assert_close(by_location, weight * t / scale)
    by_scale = (weight * t.square() - observed) / scale
    if likelihood.scale == "conditional":
        torch.testing.assert_close(by_other, by_scale * others.sigmoid())
    elif likelihood.known_variance is None:
        raw = own["raw_scale"]
        totals = by_scale.sum(0) if len(raw) > 1 else by_scale.sum().view(1)
        torch.testing.assert_close(by_own["raw_scale"], totals * raw.sigmoid())


# ---- robust relatives ----------------------------------------------------------------


@pytest.mark.parametrize("scale", [0.7, "shared", "feature", "conditional"])
def test_the_robust_relative_of_a_normal_is_student_t(scale):
    normal = Gaussian(scale, floor=0.2)
    assert normal.robust == StudentT(scale, floor=0.2, df=4.0)
    assert normal.robust.own_shapes(N_FEATURES) == normal.own_shapes(N_FEATURES)
    assert normal.robust.n_outputs(N_FEATURES) == normal.n_outputs(N_FEATURES)


@pytest.mark.parametrize(
    "family", [f for name, f in FAMILIES.items() if name != "gaussian"], ids=str
)
def test_other_families_are_their_own_robust_relatives(family):
    likelihood = family()
    assert likelihood.robust is likelihood


def test_a_student_t_of_other_tails_keeps_them():
    assert StudentT(df=7.0).robust == StudentT(df=7.0)


def test_blocks_are_robust_part_by_part():
    gaussian, others = Gaussian("feature"), [Poisson(), Categorical((3,))]
    parts = [(others[0], 1), (gaussian, 2), (others[1], 1), (Gaussian(0.5), 1)]
    robust = [(others[0], 1), (gaussian.robust, 2), (others[1], 1)]
    robust += [(StudentT(0.5), 1)]
    blocks, expected = Blocks(parts).robust, Blocks(robust)
    assert blocks.own_shapes(5) == expected.own_shapes(5) == Blocks(parts).own_shapes(5)
    assert blocks.n_outputs(5) == expected.n_outputs(5) == Blocks(parts).n_outputs(5)
    generator = torch.Generator().manual_seed(0)
    n_locations, n_others = expected.n_outputs(5)
    outputs = (
        torch.randn(N_ROWS, n_locations, generator=generator),
        torch.randn(N_ROWS, n_others, generator=generator),
        {"1.raw_scale": torch.randn(2, generator=generator)},
    )
    x = torch.tensor([[2.0, 9.0, -9.0, 1.0, 5.0]]).expand(N_ROWS, -1)
    ours = blocks(*outputs).log_prob(x)
    assert torch.equal(ours, expected(*outputs).log_prob(x))
    normal = Blocks(parts)(*outputs).log_prob(x)
    assert torch.equal(ours[:, [0, 3]], normal[:, [0, 3]])
    assert (ours[:, [1, 2, 4]] > normal[:, [1, 2, 4]]).all()


def test_student_t_describes_heavy_tails_better_than_a_normal():
    rng = np.random.default_rng(0)
    codes, loadings = rng.standard_normal((600, 1)), rng.standard_normal((1, 4))
    X = codes @ loadings + 0.3 * rng.standard_t(2.5, (600, 4))
    by_name, normal, exact = (
        VAETransformer(1, likelihood=likelihood, max_iter=60, random_state=0)
        .fit(X[:400])
        .score(X[400:])
        for likelihood in ("student_t", Gaussian(), StudentT())
    )
    assert by_name == exact
    assert by_name > normal + 0.2


@pytest.mark.parametrize("family", FAMILIES.values(), ids=str)
def test_settings_compare_by_value_and_are_frozen(family):
    assert family() == family()
    assert family(**family().get_params()) == family()
    with pytest.raises(AttributeError, match="frozen"):
        family().set_params(anything=1)
