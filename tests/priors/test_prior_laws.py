"""Built-in priors: densities and draws, against scipy.stats and torch."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import distributions
from torch.distributions import Independent, Normal

from skvae import posteriors, priors
from skvae.priors import MixtureOfCodes, MixtureOfNormals

N_COMPONENTS = 3


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def normal_numbers(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def assert_draws_have_the_law(draws, cdf):
    """Each component by itself, by its distribution function."""
    assert draws.dtype == torch.float64
    for j, column in enumerate(draws.numpy().T):
        assert stats.kstest(column, lambda z, j=j: cdf(z, j)).pvalue > 1e-4


def test_log_prob_is_that_of_the_standard_normal():
    z = torch.randn(4, 5, 3, generator=generator())
    expected = Independent(Normal(torch.zeros(3), torch.ones(3)), 1).log_prob(z)
    torch.testing.assert_close(priors.Gaussian().log_prob(z), expected)


def test_draws_have_its_moments():
    draws = priors.Gaussian().sample(100_000, 2, generator())
    assert draws.dtype == torch.float64
    torch.testing.assert_close(
        draws.mean(0), torch.zeros(2).double(), atol=0.02, rtol=0
    )
    torch.testing.assert_close(draws.T.cov(), torch.eye(2).double(), atol=0.02, rtol=0)


def test_uniform_classes():
    draws = priors.Categorical().sample(9_000, N_COMPONENTS, generator())
    assert (draws.sum(1) == 1).all()
    assert stats.chisquare(draws.sum(0).numpy()).pvalue > 1e-3
    expected = torch.full((9_000,), -math.log(3), dtype=torch.float64)
    torch.testing.assert_close(priors.Categorical().log_prob(draws), expected)


LAWS_OF_STANDARD = {
    "exponential": stats.expon,
    "rayleigh": stats.rayleigh,
    "lognormal": stats.lognorm(1.0),
    "cauchy": stats.cauchy,
    "gamma": stats.expon,
    "chi2": stats.chi2(2),
    "pareto": stats.pareto(2),
    "gaussian": stats.norm,
    "full_gaussian": stats.norm,
    "beta": stats.uniform,
    "dirichlet": stats.beta(1, 2),
}


@pytest.mark.parametrize("name", LAWS_OF_STANDARD)
def test_the_standard_member_of_a_family(name):
    prior = priors.Standard().beside(posteriors.FAMILIES[name]())
    law = LAWS_OF_STANDARD[name]
    draws = prior.sample(4_000, N_COMPONENTS, generator())
    assert_draws_have_the_law(draws, lambda z, j: law.cdf(z))
    expected = law.logpdf(draws.numpy()).sum(1)
    if name == "dirichlet":  # uniform on the triangle, whose corners are its own
        expected = np.full(4_000, math.log(2))
    np.testing.assert_allclose(prior.log_prob(draws), expected, rtol=1e-7, atol=1e-9)


def test_the_standard_class():
    prior = priors.Standard().beside(posteriors.Categorical())
    draws = prior.sample(9_000, N_COMPONENTS, generator())
    assert stats.chisquare(draws.sum(0).numpy()).pvalue > 1e-3
    torch.testing.assert_close(
        prior.log_prob(draws), priors.Categorical().log_prob(draws)
    )


def own_of_mixture(n_clusters=4):
    return {
        "logits": normal_numbers(n_clusters, seed=1),
        "mean": 2 * normal_numbers(n_clusters, N_COMPONENTS, seed=2),
        "raw_scale": normal_numbers(n_clusters, N_COMPONENTS, seed=3),
    }


def torch_mixture(own):
    scale = (5 * torch.tanh(own["raw_scale"] / 5)).exp()
    return distributions.MixtureSameFamily(
        distributions.Categorical(logits=own["logits"]),
        Independent(Normal(own["mean"], scale), 1),
    )


def test_mixture_of_normals():
    own = own_of_mixture()
    bound = priors.Mixture(4).bound(own, None, posteriors.Gaussian())
    z = normal_numbers(6, 5, N_COMPONENTS)
    expected = torch_mixture(own).log_prob(z)
    torch.testing.assert_close(bound.log_prob(z), expected)
    draws = bound.sample(4_000, N_COMPONENTS, generator())
    share = torch.softmax(own["logits"], 0).numpy()
    laws = stats.norm(own["mean"].numpy(), bound._scale.numpy())
    assert_draws_have_the_law(
        draws, lambda z, j: (laws.cdf(z.reshape(-1, 1, 1)) @ np.eye(3)[j]) @ share
    )


def test_shapes_and_start_of_a_mixture():
    prior = priors.Mixture(n_clusters=4)
    own = {
        name: torch.full(shape, torch.nan)
        for name, shape in prior.own_shapes(N_COMPONENTS, 7).items()
    }
    codes = normal_numbers(3, N_COMPONENTS).float()  # fewer rows than clusters
    prior.start(own, generator(), None, codes)
    assert all(torch.isfinite(part).all() for part in own.values())
    # Every row is taken once before one is taken again.
    assert torch.equal(own["mean"].unique(dim=0), codes.unique(dim=0))
    bound = prior.bound(own, None, None)
    assert torch.isfinite(bound.log_prob(codes)).all()


def test_densities_of_narrow_far_members_keep_their_digits():
    mean = torch.tensor([[100.0], [-100.0]], dtype=torch.float64)
    log_scale = torch.full((2, 1), math.log(1e-3), dtype=torch.float64)
    z = torch.tensor([[100.001]], dtype=torch.float64)
    found = MixtureOfNormals(mean, log_scale).log_prob(z)
    expected = stats.norm(100.0, 1e-3).logpdf(z.item()) - math.log(2)
    assert found.item() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("family", [posteriors.Gaussian(), posteriors.Laplace()])
def test_mixture_of_pseudo_inputs(family):
    matrix = normal_numbers(5, N_COMPONENTS)
    own = {"pseudo_inputs": normal_numbers(8, 5, seed=1)}

    def encode(rows):
        return family(rows @ matrix, rows[:, :N_COMPONENTS])

    prior = priors.VampPrior(8)
    assert prior.own_shapes(N_COMPONENTS, 5) == {"pseudo_inputs": (8, 5)}
    bound = prior.bound(own, encode, family)
    z = normal_numbers(6, 4, N_COMPONENTS, seed=2)
    every = encode(own["pseudo_inputs"]).log_prob(z.unsqueeze(2))
    expected = torch.logsumexp(every, 2) - math.log(8)
    torch.testing.assert_close(bound.log_prob(z), expected)


def test_pseudo_inputs_start_at_rows():
    own = {"pseudo_inputs": torch.zeros(8, 5)}
    rows = normal_numbers(6, 5).float()
    priors.VampPrior(8).start(own, generator(), rows, None)
    assert torch.equal(own["pseudo_inputs"].unique(dim=0), rows.unique(dim=0))


def test_the_two_mixtures_agree_where_both_apply():
    mean, log_scale = normal_numbers(7, N_COMPONENTS), normal_numbers(7, N_COMPONENTS)
    codes = posteriors.gaussian.GaussianCodes(mean, log_scale)
    z = normal_numbers(50, N_COMPONENTS, seed=1)
    torch.testing.assert_close(
        MixtureOfCodes(codes, posteriors.Gaussian()).log_prob(z),
        posteriors.Gaussian().mixture(codes).log_prob(z),
    )


@pytest.mark.parametrize("name", sorted({*posteriors.FAMILIES} - {"categorical"}))
def test_draws_of_mixed_codes_follow_the_density(name):
    family = posteriors.FAMILIES[name]()
    n_locations, n_others = family.n_outputs(2)
    codes = family(normal_numbers(3, n_locations), normal_numbers(3, n_others) + 1)
    mixture = family.mixture(codes)
    z = mixture.sample(4_000, 2, generator())
    assert family.contains(z.numpy()).all()
    # Under its own density p, draws have E[r(z) / p(z)] = 1 for another density r.
    member = codes.mapped(lambda part: part[:1])
    ratio = (member.log_prob(z) - mixture.log_prob(z)).exp()
    error = ratio.std() / len(ratio) ** 0.5
    assert (ratio.mean() - 1).abs() < 5 * error


def test_draws_of_mixed_classes():
    codes = posteriors.Categorical()(normal_numbers(4, N_COMPONENTS), None)
    z = MixtureOfCodes(codes, posteriors.Categorical()).sample(
        9_000, N_COMPONENTS, generator()
    )
    assert ((z == 1).sum(1) == 1).all()
    expected = 9_000 * codes.mean.mean(0).numpy()
    assert stats.chisquare(z.sum(0).numpy(), expected).pvalue > 1e-3


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (priors.Mixture, "n_clusters"),
        (priors.VampPrior, "n_pseudo_inputs"),
        (priors.Aggregate, "n_rows"),
    ],
)
@pytest.mark.parametrize("value", [0, -1, 2.5, None])
def test_counts_must_be_positive_integers(kind, name, value):
    with pytest.raises(ValueError, match=f"{name} of {kind.__name__}"):
        kind(**{name: value})


@pytest.mark.parametrize(
    ("prior", "name"),
    [
        ("mixture", "gamma"),
        ("gaussian", "dirichlet"),
        ("categorical", "gaussian"),
        ("gaussian", "categorical"),
        ("vamp", "uniform"),
        ("vamp", "pareto"),
        ("aggregate", "uniform"),
        ("aggregate", "pareto"),
        ("standard", "uniform"),
    ],
)
def test_pairs_that_cannot_be(prior, name):
    prior, posterior = priors.FAMILIES[prior](), posteriors.FAMILIES[name]()
    with pytest.raises(ValueError, match=r"prior=\w+\(.*posterior=\w+\("):
        prior.check(posterior, 2)
