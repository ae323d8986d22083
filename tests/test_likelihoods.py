"""Each likelihood against scipy.stats: value, mean, variance, moments of samples."""

import numpy as np
import pytest
import torch
from scipy import stats

from skvae.likelihoods import FAMILIES, Bernoulli, Gaussian

N_ROWS, N_FEATURES, N_DRAWS = 5, 3, 200_000

SETTINGS = [
    Gaussian(0.7),
    Gaussian("shared"),
    Gaussian("feature"),
    Gaussian("conditional"),
    Gaussian("conditional", floor=0.5),
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
        return stats.norm(locations.numpy(), likelihood.scale)
    raw = others if likelihood.scale == "conditional" else own["raw_scale"]
    scale = likelihood.floor + np.logaddexp(0, raw.numpy())
    return stats.norm(locations.numpy(), scale)


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
    np.testing.assert_allclose(draws.var(0), expected.var()[0], rtol=0.03)


@pytest.mark.parametrize("scale", ["shared", "feature", "conditional"])
def test_scale_is_bounded_below_and_never_overflows(scale):
    likelihood = Gaussian(scale, floor=0.2)
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
    if isinstance(likelihood, Gaussian) and likelihood.floor < residual[0].sqrt():
        expected = likelihood.known_variance or 0.4
        scale = distribution.scale.expand(1, 3)[0]
        torch.testing.assert_close(scale.square(), torch.full_like(mean, expected))


@pytest.mark.parametrize(
    "arguments",
    [{"scale": 0.0}, {"scale": -1.0}, {"scale": "wide"}, {"scale": True}, {"floor": 0}],
    ids=str,
)
def test_bad_settings_are_refused(arguments):
    with pytest.raises(ValueError, match="of Gaussian must be"):
        Gaussian(**arguments)


@pytest.mark.parametrize("family", FAMILIES.values(), ids=str)
def test_settings_compare_by_value_and_are_frozen(family):
    assert family() == family()
    assert family(**family().get_params()) == family()
    with pytest.raises(AttributeError, match="frozen"):
        family().set_params(anything=1)
