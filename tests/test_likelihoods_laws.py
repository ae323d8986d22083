"""What holds of every likelihood: gradients, mass, starts, and fits that find it."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import integrate, special, stats

from skvae import VAETransformer
from skvae.likelihoods import FAMILIES, Likelihood
from skvae.likelihoods.special import log_gamma_remainder

N_ROWS, N_LEVELS = 6, (3, 2, 5)
N_FEATURES = len(N_LEVELS)
#: Targets that the family can describe, from normal numbers; by codec.
TARGETS = {
    "standardized": lambda x: 2 * x,
    "positive": lambda x: x.exp(),
    "counts": lambda x: (3 * x.abs()).floor(),
    "unit_interval": lambda x: x.sigmoid(),
    "log_odds": lambda x: 2 * x,
    "binary": lambda x: (x > 0).double(),
}


def family(name):
    likelihood = FAMILIES[name]()
    return likelihood.with_levels(N_LEVELS)


def outputs(likelihood, n_rows=N_ROWS):
    """Random decoder outputs, own weights and targets."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    n_locations, n_others = likelihood.n_outputs(N_FEATURES)
    locations, others = normal(n_rows, n_locations), normal(n_rows, n_others)
    shapes = likelihood.own_shapes(N_FEATURES)
    own = {name: normal(*shape) for name, shape in shapes.items()}
    x = normal(n_rows, N_FEATURES)
    if likelihood.codec in TARGETS:
        return locations, others, own, TARGETS[likelihood.codec](x)
    return locations, others, own, (10 * x.abs()).floor() % torch.tensor(N_LEVELS)


# ---- gradients -----------------------------------------------------------------------


@pytest.mark.parametrize("name", FAMILIES)
def test_gradients_are_those_of_differences(name):
    likelihood = family(name)
    locations, others, own, targets = outputs(likelihood)
    leaves = [leaf.requires_grad_() for leaf in (locations, others, *own.values())]

    def log_prob(locations, others, *own_values):
        by_name = dict(zip(own, own_values, strict=True))
        return likelihood(locations, others, by_name).log_prob(targets)

    if name == "identifier":  # whose outputs are none
        assert not log_prob(*leaves).requires_grad
    else:
        assert torch.autograd.gradcheck(log_prob, leaves)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("with_holes", [False, True])
def test_gradients_in_closed_form_are_those_of_autograd(name, with_holes):
    likelihood = family(name)
    *parts, targets = outputs(likelihood)
    log_prob, observed = likelihood(*parts).log_prob(targets), None
    if with_holes:
        observed = torch.ones_like(targets)
        observed[::2, 1] = 0
        log_prob = log_prob * observed
    before = targets.clone()
    ours = likelihood.value_and_gradient(*parts, targets, observed)
    torch.testing.assert_close(ours[0], log_prob.sum(-1), rtol=1e-10, atol=1e-10)
    if name == "identifier":  # whose outputs are none
        return
    theirs = Likelihood.value_and_gradient(likelihood, *parts, targets, observed)
    assert torch.equal(targets, before)
    for found, expected in zip(ours[:3], theirs[:3], strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    assert ours[3].keys() == theirs[3].keys()
    for found, expected in zip(ours[3].values(), theirs[3].values(), strict=True):
        torch.testing.assert_close(found.view_as(expected), expected)


@pytest.mark.parametrize("name", FAMILIES)
def test_members_of_an_ensemble_have_the_gradients_of_each_alone(name):
    likelihood = family(name)
    locations, others, own, targets = outputs(likelihood)
    members = [
        (locations, others, own, targets),
        (locations + 1, others - 1, {key: own[key] / 2 for key in own}, targets),
    ]
    together = likelihood.value_and_gradient(
        *(torch.stack([member[i] for member in members]) for i in (0, 1)),
        # As `own_of_members` lays them out: to be broadcast over rows.
        {key: torch.stack([m[2][key] for m in members]).unsqueeze(1) for key in own},
        torch.stack([targets, targets]),
        None,
    )
    for e, member in enumerate(members):
        alone = likelihood.value_and_gradient(*member, None)
        for found, expected in zip(together[:3], alone[:3], strict=True):
            torch.testing.assert_close(found[e], expected)
        for key, expected in alone[3].items():
            torch.testing.assert_close(together[3][key][e].view_as(expected), expected)


@pytest.mark.parametrize("log_odds", [0.0, 1e-9, -1e-4, 0.499999, -0.500001])
def test_a_grey_likelihood_is_smooth_where_its_formulas_meet(log_odds):
    likelihood = family("continuous_bernoulli")
    location = torch.tensor([[log_odds]], dtype=torch.float64)
    columns = likelihood(location, None, {})
    x = torch.tensor([[0.25]], dtype=torch.float64)

    def moment(power):
        return integrate.quad(lambda x: x**power * np.exp(log_odds * x), 0, 1)[0]

    mean = moment(1) / moment(0)
    expected = log_odds * 0.25 - np.log(moment(0))
    assert columns.log_prob(x).item() == pytest.approx(expected, rel=1e-9, abs=1e-13)
    assert columns.mean.item() == pytest.approx(mean, rel=1e-12)
    _, gradient, *_ = Likelihood.value_and_gradient(
        likelihood, location, location[:, :0], {}, x, None
    )
    assert gradient.item() == pytest.approx(0.25 - mean, rel=1e-9)


# ---- mass ----------------------------------------------------------------------------

CONTINUOUS = {
    "gaussian": (-np.inf, np.inf),
    "student_t": (-np.inf, np.inf),
    "laplace": (-np.inf, np.inf),
    "log_normal": (0.0, np.inf),
    "gamma": (0.0, np.inf),
    "beta": (-np.inf, np.inf),  # of the log-odds
    "continuous_bernoulli": (0.0, 1.0),
}


@pytest.mark.parametrize("name", CONTINUOUS)
def test_densities_integrate_to_one(name):
    likelihood = family(name)
    locations, others, own, _ = outputs(likelihood, n_rows=1)
    row = [part.expand(1, -1) for part in (locations, others)]
    columns = likelihood(*row, own)
    low, high = CONTINUOUS[name]
    middle = 0.5 if name == "continuous_bernoulli" else 1.0
    for j in range(N_FEATURES):

        def density(x, j=j):
            cells = torch.full((1, N_FEATURES), x, dtype=torch.float64)
            return columns.log_prob(cells)[0, j].exp().item()

        kink = locations[0, j].item() if name == "laplace" else middle
        mass = sum(
            integrate.quad(density, *ends, limit=200)[0]
            for ends in [(low, kink), (kink, high)]
        )
        assert mass == pytest.approx(1.0, abs=1e-6)


def test_inflated_counts_without_inflation_are_negative_binomial():
    likelihood = family("zero_inflated_negative_binomial")
    plain = family("negative_binomial")
    locations, others, own, targets = outputs(likelihood)
    never = torch.full_like(others, -1e4)
    always = torch.full_like(others, 1e4)
    torch.testing.assert_close(
        likelihood(locations, never, own).log_prob(targets),
        plain(locations, others, own).log_prob(targets),
    )
    found = likelihood(locations, always, own).log_prob(torch.zeros_like(targets))
    torch.testing.assert_close(found, torch.zeros_like(found))


def test_beta_with_one_at_both_ends_is_uniform_and_so_is_grey_at_even_odds():
    own = {"log_precision": torch.full((1,), np.log(2.0))}
    at_zero = torch.zeros(50, 1, dtype=torch.float64)
    x = torch.linspace(0.01, 0.99, 50, dtype=torch.float64).unsqueeze(1)
    of_log_odds = family("beta")(at_zero, None, own).log_prob(x.logit())
    torch.testing.assert_close(of_log_odds, (x * (1 - x)).log())
    greys = family("continuous_bernoulli")(at_zero, None, {}).log_prob(x)
    torch.testing.assert_close(greys, at_zero)


@pytest.mark.parametrize("family_name", ["gamma", "beta"])
@pytest.mark.parametrize("size", [-7.0, 30.0])
def test_precision_in_float32_is_enough_for_peaks(family_name, size):
    """Where log Gamma is thousands, its differences keep the digits of a density."""
    likelihood = family(family_name)
    *parts, _ = outputs(likelihood)
    (name,) = parts[2]
    own = {name: torch.full((N_FEATURES,), size, dtype=torch.float64)}
    exact = likelihood(*parts[:2], own)
    drawn = exact.sample(torch.Generator().manual_seed(0))
    single = likelihood(parts[0].float(), parts[1].float(), {name: own[name].float()})
    torch.testing.assert_close(
        single.log_prob(drawn.float()).double(),
        exact.log_prob(drawn),
        rtol=1e-4,
        atol=0.02,
    )


def test_remainder_of_log_gamma_below_and_above_where_its_series_begins():
    x = np.array([0.1, 1.0, 5.0, 9.9, 10.1, 20.0])
    stirling = (x - 0.5) * np.log(x) - x + 0.5 * np.log(2 * np.pi)
    found = log_gamma_remainder(torch.from_numpy(x))
    np.testing.assert_allclose(found, special.gammaln(x) - stirling, atol=1e-13)


# ---- starts --------------------------------------------------------------------------

#: Columns without a code: what they are drawn from, and what the start is to find.
DRAWN = {
    "laplace": stats.laplace(0, np.sqrt(0.5)),
    "gamma": stats.gamma(3.0, scale=0.5),
    "beta": stats.beta(2.0, 5.0),
    "continuous_bernoulli": stats.truncexpon(4.0, scale=0.25),
}


@pytest.mark.parametrize("name", DRAWN)
def test_the_start_of_a_column_alone_is_close_to_it(name):
    likelihood, expected = family(name), DRAWN[name]
    x = expected.rvs((50_000, 1), random_state=0)
    targets = special.logit(x) if name == "beta" else x
    statistic = torch.from_numpy(likelihood.statistic(targets))
    start = likelihood.start(
        statistic.mean(0),
        statistic.var(0),
        torch.zeros((2, 1), dtype=torch.float64),
        torch.ones(1, dtype=torch.float64),
    )
    columns = likelihood(start.locations[None], start.others[None], start.own)
    score = columns.log_prob(torch.from_numpy(targets)).mean().item()
    if name == "beta":
        score -= (np.log(x) + np.log1p(-x)).mean()
    assert score > expected.logpdf(x).mean() - 0.01


# ---- fits ----------------------------------------------------------------------------

RANDOM = np.random.default_rng(0)
N_TRAINING, N_HELD_OUT = 500, 1_000
_SHAPE = (N_TRAINING + N_HELD_OUT, 3)


class Drawn:
    """A table of independent columns, and its mean log-density per row."""

    def __init__(self, values, log_density):
        self.training, held_out = np.split(values, [N_TRAINING])
        self.held_out = held_out
        self.score = log_density(held_out).sum(axis=1).mean()


def continuous(distribution):
    return Drawn(distribution.rvs(_SHAPE, RANDOM), distribution.logpdf)


def inflated_counts():
    counts = stats.nbinom(2.0, 0.25)
    is_zero = RANDOM.random(_SHAPE) < 0.3
    values = np.where(is_zero, 0.0, counts.rvs(_SHAPE, RANDOM))
    return Drawn(values, lambda x: np.log(0.3 * (x == 0) + 0.7 * counts.pmf(x)))


TABLES = {
    "laplace": continuous(stats.laplace(3.0, 20.0)),
    "gamma": continuous(stats.gamma(2.5, scale=100.0)),
    "beta": continuous(stats.beta(0.7, 3.0)),
    "continuous_bernoulli": continuous(stats.truncexpon(4.0, scale=0.25)),
    "zero_inflated_negative_binomial": inflated_counts(),
}


@pytest.fixture(scope="module")
def fits():
    return {
        name: VAETransformer(1, likelihood=name, max_iter=40, random_state=0).fit(
            table.training
        )
        for name, table in TABLES.items()
    }


@pytest.mark.parametrize("name", TABLES)
def test_a_fit_comes_close_to_the_density_that_the_table_was_drawn_from(fits, name):
    table = TABLES[name]
    gap = table.score - fits[name].score(table.held_out)
    assert abs(gap) < 0.05


@pytest.mark.parametrize("name", TABLES)
def test_samples_and_means_are_values_that_the_family_describes(fits, name):
    table = TABLES[name]
    drawn = fits[name].sample(2_000, random_state=0)
    impossible = family(name).impossible(drawn)
    assert impossible is None or not impossible.any()
    deviation = table.training.std(axis=0)
    error = np.abs(drawn.mean(axis=0) - table.training.mean(axis=0))
    assert (error < 0.15 * deviation).all()
    means = fits[name].inverse_transform(fits[name].transform(table.held_out))
    error = np.abs(means.mean(axis=0) - table.training.mean(axis=0))
    assert (error < 0.15 * deviation).all()


@pytest.mark.parametrize(
    ("name", "value", "support"),
    [
        ("gamma", 0.0, "the positive numbers"),
        ("gamma", -1.5, "the positive numbers"),
        ("beta", 0.0, "the numbers above 0 and below 1"),
        ("beta", 1.0, "the numbers above 0 and below 1"),
        ("continuous_bernoulli", -0.01, "the numbers from 0 to 1"),
        ("continuous_bernoulli", 1.5, "the numbers from 0 to 1"),
        ("zero_inflated_negative_binomial", 0.5, "the whole numbers from 0"),
        ("zero_inflated_negative_binomial", -1.0, "the whole numbers from 0"),
    ],
)
def test_values_that_a_family_cannot_produce_are_refused_by_column(
    fits, name, value, support
):
    table = pd.DataFrame(TABLES[name].training, columns=["a", "b", "c"])
    table.loc[7, "b"] = value
    message = rf"Column 'b' holds {value} \(row 7\).*{support}"
    with pytest.raises(ValueError, match=message):
        VAETransformer(likelihood=name).fit(table)
    row = TABLES[name].held_out[:1].copy()
    row[0, 1] = value
    with pytest.raises(ValueError, match=rf"Column 1 holds {value} \(row 0\)"):
        fits[name].score_samples(row)


@pytest.mark.parametrize("name", TABLES)
def test_holes_are_left_out_and_a_constant_column_has_a_finite_score(name):
    table = TABLES[name].training[:60].copy()
    table[::3, 0] = np.nan
    table[:, 1] = table[0, 1]
    model = VAETransformer(1, likelihood=name, max_iter=5, random_state=0).fit(table)
    assert np.isfinite(model.score_features(table)).all()
    assert (model.score_features(table)[::3, 0] == 0).all()
