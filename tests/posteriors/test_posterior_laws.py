"""Densities, means and draws of every posterior, against scipy.stats."""

import numpy as np
import pytest
import torch
from posterior_cases import (
    BY_QUANTILES,
    CONTINUOUS,
    INDEPENDENT,
    MARGINAL,
    N_COMPONENTS,
    STANDARD,
    array,
    codes_of,
    draws,
    family,
    outputs,
    uniforms,
)
from scipy import stats
from scipy.special import softmax

from skvae import posteriors
from skvae.core.draws import shared_uniforms

#: From one tail to the other.
LEVELS = np.array([1e-9, 1e-3, 0.2, 0.5, 0.8, 1 - 1e-3, 1 - 1e-9])


def test_every_family_is_tested():
    assert {*CONTINUOUS, "categorical"} == {*posteriors.FAMILIES}


@pytest.mark.parametrize("name", INDEPENDENT)
def test_log_density_of_independent_components(name):
    q = codes_of(name)
    law = INDEPENDENT[name](q)
    z = law.ppf(LEVELS[:, None, None])
    expected = law.logpdf(z).sum(2)
    np.testing.assert_allclose(array(q.log_prob(torch.tensor(z))), expected, rtol=1e-9)


def test_log_density_of_correlated_normal_components():
    q = codes_of("full_gaussian")
    z = array(draws("full_gaussian", q, 50))
    z[:5] *= 100  # far out
    covariance = array(q.factor) @ array(q.factor).transpose(0, 2, 1)
    for i, mean in enumerate(array(q.mean)):
        law = stats.multivariate_normal(mean, covariance[i])
        found = array(q.log_prob(torch.tensor(z)))[:, i]
        np.testing.assert_allclose(found, law.logpdf(z[:, i]), rtol=1e-9)


def test_log_density_of_shares():
    q = codes_of("dirichlet")
    z = draws("dirichlet", q, 50)
    found = array(q.log_prob(z))
    for i, concentration in enumerate(array(q.concentration)):
        expected = stats.dirichlet.logpdf(array(z)[:, i].T, concentration)
        np.testing.assert_allclose(found[:, i], expected, rtol=1e-9)


def test_probabilities_of_classes():
    logits, nothing = outputs("categorical")
    q = codes_of("categorical")
    probabilities = softmax(logits.numpy(), axis=1)
    assert nothing.shape[1] == 0
    np.testing.assert_allclose(array(q.mean), probabilities, rtol=1e-12)
    every = draws("categorical", q, 8)
    np.testing.assert_array_equal(array(every)[:, 0], np.eye(N_COMPONENTS))
    np.testing.assert_allclose(array(q.log_prob(every)), np.log(probabilities.T))
    np.testing.assert_allclose(array(q.log_shares()), np.log(probabilities.T))


@pytest.mark.parametrize("name", CONTINUOUS)
def test_mean(name):
    q = codes_of(name)
    law = MARGINAL[name](q)
    # Cauchy numbers have no mean.
    expected = law.median() if name == "cauchy" else law.mean()
    np.testing.assert_allclose(array(q.mean), expected, rtol=1e-9)


@pytest.mark.parametrize("name", BY_QUANTILES)
def test_scoring_draws_are_quantiles(name):
    q = codes_of(name)
    edges = np.array([2.0**-31, 2.0**-20, 0.01, 0.5, 0.99, 1 - 2.0**-20, 1 - 2.0**-31])
    noise = family(name).carry(torch.tensor(edges)[:, None, None])
    expected = MARGINAL[name](q).ppf(edges[:, None, None])
    # The tangent of a number near pi / 2 has fewer digits.
    rtol = 1e-6 if name == "cauchy" else 1e-9
    # Positive codes are no smaller than exp(-60).
    found = array(q.rsample(noise))
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=1e-25)


@pytest.mark.parametrize("name", CONTINUOUS)
def test_training_draws_follow_the_law(name):
    q, n_draws = codes_of(name), 4_000
    generator = torch.Generator().manual_seed(2)
    shape = n_draws, len(q.mean), family(name).n_noise(N_COMPONENTS)
    noise = family(name).noise(shape, generator)
    assert noise.dtype == torch.float32
    assert noise.shape == shape
    z = array(q.rsample(noise.double()))
    law = MARGINAL[name](q)
    # Probabilities of draws are evenly spread, component by component.
    levels = law.cdf(z).reshape(n_draws, -1)
    assert stats.kstest(levels, stats.uniform.cdf).pvalue.min() > 1e-4
    error = levels.std(0) / np.sqrt(n_draws)
    assert (abs(levels.mean(0) - 0.5) < 5 * error).all()


@pytest.mark.parametrize("name", ["full_gaussian", "dirichlet"])
def test_draws_of_dependent_components_covary(name):
    q = codes_of(name)
    z = array(draws(name, q, 2**14))
    if name == "full_gaussian":
        expected = array(q.factor) @ array(q.factor).transpose(0, 2, 1)
    else:
        expected = np.stack([stats.dirichlet(c).cov() for c in array(q.concentration)])
    centered = z - array(q.mean)
    products = np.einsum("kri,krj->krij", centered, centered)
    error = products.std(0) / np.sqrt(len(z))
    assert (abs(products.mean(0) - expected) < 5 * error).all()


@pytest.mark.parametrize("name", CONTINUOUS)
def test_gradient_of_draws_is_their_slope(name):
    parts = [part.requires_grad_() for part in outputs(name, n_rows=2)]
    noise = family(name).carry(uniforms(name, 4)).unsqueeze(1)
    # Torch's gradient of a gamma draw by its shape is good to some four digits.
    is_gamma = name in ("gamma", "chi2", "beta", "dirichlet")
    torch.autograd.gradcheck(
        lambda *parts: family(name)(*parts).rsample(noise),
        parts,
        rtol=3e-3 if is_gamma else 1e-6,
        atol=1e-4 if is_gamma else 1e-7,
    )


@pytest.mark.parametrize("name", [name for name in CONTINUOUS if name != "cauchy"])
def test_mean_gradient_of_draws_is_that_of_the_mean(name):
    n_draws = 4_000
    parts = [part.repeat(n_draws, 1) for part in outputs(name, n_rows=1)]
    noise = family(name).carry(uniforms(name, n_draws))
    # A draw for each row, so that every draw has a slope of its own.
    leaves = [part.requires_grad_() for part in parts]
    q = family(name)(*leaves)
    slopes, mean_slopes = (
        torch.cat(
            torch.autograd.grad(
                z.sum(), leaves, retain_graph=True, materialize_grads=True
            ),
            1,
        )
        for z in (q.rsample(noise), q.mean)
    )
    error = slopes.std(0) / n_draws**0.5
    assert ((slopes - mean_slopes).mean(0).abs() <= 5 * error + 1e-9).all()


@pytest.mark.parametrize("name", ["gaussian", "full_gaussian", "lognormal"])
def test_raw_inverts_the_bound_on_the_scale(name):
    scale = torch.tensor([[1e-3, 0.3, 1.0]], dtype=torch.float64)
    others = scale.new_zeros((1, family(name).n_outputs(3)[1]))
    others[:, :3] = family(name).raw(scale)
    law = MARGINAL[name](family(name)(torch.zeros_like(scale), others))
    medians = (1 if name == "lognormal" else 0) + 0 * scale
    np.testing.assert_allclose(law.median(), medians, atol=1e-12)
    one_scale_up = law.ppf(stats.norm.cdf(1.0))
    expected = scale.exp() if name == "lognormal" else scale
    np.testing.assert_allclose(one_scale_up, expected, rtol=1e-9)


CAN_START_LINEAR = [
    name
    for name in CONTINUOUS
    if family(name).can_start_linear and name != "cauchy"  # which has no moments
]


@pytest.mark.parametrize("name", CAN_START_LINEAR)
def test_linear_start_is_the_posterior_of_a_linear_gaussian_model(name):
    # Loadings at right angles: the exact posterior has independent components.
    loadings = torch.tensor([[2.0, 0, 0, 0], [0, 0.5, 0, 0], [0, 0, 0, 1]]).double()
    noise_variance = torch.tensor([0.5, 1.0, 1.0, 2.0], dtype=torch.float64)
    matrix, *start = family(name).linear_start(loadings, noise_variance)
    rows = torch.tensor([[0.0, 0, 0, 0], [1, -1, 2, 1], [-2, 0, 0, 0.5]]).double()
    others = start[1].expand(len(rows), -1)
    q = family(name)(rows @ matrix + start[0], others)
    precision = 1 + (loadings.square() / noise_variance).sum(1)
    mean = rows @ (loadings / noise_variance).T / precision
    # What the decoder reads is normal codes, as far as two moments can tell.
    read = family(name).features(draws(name, q, 2**14))
    error = read.std(0) / 2**7
    # Bounds on the locations bend them a little.
    assert ((read.mean(0) - mean).abs() < 5 * error + 0.01).all()
    if others.numel():
        expected = precision.rsqrt().expand_as(mean)
        torch.testing.assert_close(read.std(0), expected, rtol=0.05, atol=0)


POSITIVE = [
    name for name in CONTINUOUS if family(name).support in ("positive", "above 1")
]


@pytest.mark.parametrize("name", POSITIVE)
def test_positive_codes_are_read_standardised(name):
    standard = family(name).unit(1, torch.zeros(1, dtype=torch.float64))
    read = family(name).features(draws(name, standard, 2**14))
    assert float(read.mean()) == pytest.approx(0, abs=0.05)
    assert float(read.std()) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("name", STANDARD)
def test_standard_member(name):
    like = torch.zeros(1, dtype=torch.float64)
    q = family(name).standard(N_COMPONENTS, like)
    assert q.mean.shape == (1, N_COMPONENTS)
    law = MARGINAL[name](q)
    levels = LEVELS[:, None, None]
    expected = STANDARD[name].ppf(levels) * np.ones((1, 1, N_COMPONENTS))
    np.testing.assert_allclose(law.ppf(levels), expected, rtol=1e-9)


@pytest.mark.parametrize("name", posteriors.FAMILIES)
def test_draws_in_single_precision_lie_in_the_support(name):
    q = codes_of(name, dtype=torch.float32)
    noise = family(name).carry(shared_uniforms(64, family(name).n_noise(N_COMPONENTS)))
    z = q.rsample(noise.float().unsqueeze(1))
    assert z.dtype == torch.float32
    assert torch.isfinite(z).all()
    assert torch.isfinite(q.log_prob(z)).all()
    assert torch.isfinite(family(name).features(z)).all()
    assert family(name).contains(array(z).reshape(-1, N_COMPONENTS)).all()


def test_codes_below_the_least_are_impossible():
    q = codes_of("pareto")
    least = q.log_least.exp()
    assert torch.isfinite(q.log_prob(least[None])).all()
    assert (q.log_prob(0.999 * least[None]) == -np.inf).all()


def test_shares_sum_to_one_however_small_some_are():
    locations = torch.tensor([[6.0, -6.0, -6.0]], dtype=torch.float64)
    q = posteriors.Dirichlet()(locations, locations[:, :0])
    z = q.rsample(family("dirichlet").carry(shared_uniforms(64, 3)).unsqueeze(1))
    assert z.min() < 2e-6
    np.testing.assert_allclose(array(z.sum(-1)), 1, rtol=1e-12)


@pytest.mark.parametrize(
    ("name", "outside"),
    [
        ("gamma", [[1.0, 0.0]]),
        ("lognormal", [[1.0, -1.0]]),
        ("weibull", [[-1e-9, 1.0]]),
        ("pareto", [[0.9, 2.0]]),
        ("beta", [[0.5, 1.0]]),
        ("dirichlet", [[0.5, 0.6]]),
        ("dirichlet", [[-0.5, 1.5]]),
        ("categorical", [[0.5, 0.4]]),
    ],
)
def test_codes_outside_the_support_are_told(name, outside):
    assert not family(name).contains(np.array(outside)).all()


@pytest.mark.parametrize("name", ["gaussian", "full_gaussian"])
def test_codes_start_at_the_best_posterior_of_the_linear_model(name):
    # Loadings that are not orthogonal, and a noise of each column's own.
    generator = torch.Generator().manual_seed(0)
    loadings, x = (
        torch.randn(n, 5, generator=generator, dtype=torch.float64) for n in (3, 4)
    )
    noise_variance = torch.linspace(0.2, 1.5, 5, dtype=torch.float64)
    weighted = loadings / noise_variance
    precision = torch.eye(3) + weighted @ loadings.T
    covariance = torch.linalg.inv(precision)
    matrix, locations, others = family(name).linear_start(loadings, noise_variance)
    codes = family(name)(x @ matrix + locations, others.expand(4, -1))
    torch.testing.assert_close(codes.mean, x @ weighted.T @ covariance)
    if name == "gaussian":  # the variances at which the KL from it is least
        found, expected = (2 * codes.log_scale).exp(), 1 / precision.diagonal()
    else:
        found, expected = codes.factor @ codes.factor.mT, covariance
    torch.testing.assert_close(found, expected.expand_as(found))


def test_correlated_codes_start_where_columns_differ_by_twenty_orders():
    loadings = torch.tensor([[1e20, 1e20, 1.0], [1e20, 1e20, 2.0]]).double()
    matrix, _, others = posteriors.FullGaussian().linear_start(
        loadings, torch.full((3,), 0.01).double()
    )
    assert torch.isfinite(matrix).all() and torch.isfinite(others).all()
