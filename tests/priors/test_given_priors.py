"""Any distribution of torch's as a prior: densities, draws, and what is refused."""

import pytest
import torch
from scipy import stats
from torch import distributions
from torch.distributions import Independent, Normal

from skvae import posteriors, priors


def generator():
    return torch.Generator().manual_seed(0)


PETALS = distributions.MixtureSameFamily(
    distributions.Categorical(torch.ones(4)),
    distributions.MultivariateNormal(torch.eye(4)[:, :3], torch.eye(3).repeat(4, 1, 1)),
)
GIVEN = {
    "laplace": distributions.Laplace(0.0, 2.0),
    "row of student_t": distributions.StudentT(torch.full((3,), 4.0)),
    "independent": Independent(Normal(torch.zeros(3), torch.ones(3)), 1),
    "normal": distributions.MultivariateNormal(torch.zeros(3), torch.eye(3)),
    "normal in double": distributions.MultivariateNormal(
        torch.zeros(3).double(), torch.eye(3).double()
    ),
    "mixture": PETALS,
    "transformed": distributions.TransformedDistribution(
        Normal(torch.zeros(3), torch.ones(3)),
        [distributions.AffineTransform(torch.tensor(1.0), torch.tensor(2.0))],
    ),
}
OF_GIVEN = pytest.mark.parametrize("given", GIVEN.values(), ids=GIVEN)


@OF_GIVEN
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_density_of_a_given_distribution(given, dtype):
    prior = priors.Distribution(given)
    prior.check(posteriors.Gaussian(), 3)
    z = torch.randn(4, 5, 3, generator=generator(), dtype=dtype)
    found = prior.log_prob(z)
    assert found.dtype == dtype
    expected = given.log_prob(z.float()).float()
    if not given.event_shape:
        expected = expected.sum(-1)
    torch.testing.assert_close(found.float(), expected)


@OF_GIVEN
def test_draws_of_a_given_distribution(given):
    prior = priors.Distribution(given)
    before, shared = given.__dict__.copy(), torch.random.get_rng_state()
    draws = prior.sample(4_000, 3, generator())
    assert torch.equal(torch.random.get_rng_state(), shared)
    assert torch.equal(prior.sample(4_000, 3, generator()), draws)
    assert draws.shape == (4_000, 3)
    assert draws.dtype == torch.float64
    theirs = given.sample(
        (4_000,) if given.batch_shape + given.event_shape else (4_000, 3)
    )
    for ours, column in zip(draws.T, theirs.T, strict=True):
        assert stats.ks_2samp(ours, column).pvalue > 1e-4
    prior.log_prob(draws)
    assert given.__dict__.keys() == before.keys()
    assert all(given.__dict__[name] is before[name] for name in before)


@pytest.mark.parametrize(
    "given",
    [
        Normal(torch.zeros(2), torch.ones(2)),
        distributions.MultivariateNormal(torch.zeros(2), torch.eye(2)),
        Normal(torch.zeros(3, 3), torch.ones(3, 3)),
        Normal(torch.zeros(1), torch.ones(1)),
    ],
    ids=["row", "event", "matrix", "single"],
)
def test_a_distribution_of_another_width_is_refused(given):
    with pytest.raises(ValueError, match=r"prior=.*posterior=Gaussian.*n_components=3"):
        priors.Distribution(given).check(posteriors.Gaussian(), 3)


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("gaussian", distributions.Gamma(2.0, 1.0)),
        ("gaussian", distributions.Exponential(1.0, validate_args=False)),
        ("laplace", distributions.Uniform(-3.0, 3.0)),
        ("gaussian", distributions.Poisson(3.0)),
        ("gamma", distributions.Normal(5.0, 0.5)),
        ("pareto", distributions.Gamma(5.0, 1.0)),
        ("beta", distributions.Gamma(5.0, 100.0)),
        ("gamma", distributions.Beta(2.0, 2.0)),
        ("gamma", distributions.Pareto(1.0, 2.0)),
        ("pareto", distributions.Uniform(0.0, 5.0)),
        ("categorical", distributions.Dirichlet(torch.ones(3))),
        ("dirichlet", distributions.OneHotCategorical(torch.ones(3))),
        ("beta", distributions.OneHotCategorical(torch.ones(3))),
    ],
)
def test_a_distribution_on_another_support_is_refused(name, given):
    posterior = posteriors.FAMILIES[name]()
    with pytest.raises(ValueError, match="is not one of the codes of posterior="):
        priors.Distribution(given).check(posterior, 3)


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("gamma", distributions.Weibull(1.0, 2.0)),
        ("weibull", distributions.HalfNormal(1.0)),
        ("pareto", distributions.Pareto(1.0, 3.0)),
        ("beta", distributions.Beta(2.0, 3.0)),
        ("beta", distributions.Uniform(0.0, 1.0)),
        ("dirichlet", distributions.Dirichlet(torch.ones(3))),
        ("categorical", distributions.OneHotCategorical(torch.tensor([1.0, 2.0, 3.0]))),
        ("cauchy", distributions.StudentT(3.0)),
    ],
)
def test_a_distribution_on_the_support_is_taken(name, given):
    priors.Distribution(given).check(posteriors.FAMILIES[name](), 3)
