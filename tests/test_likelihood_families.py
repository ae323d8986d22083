"""The likelihoods of counts, levels and positive numbers against scipy.stats."""

from typing import NamedTuple

import numpy as np
import pytest
import torch
from scipy import special, stats

from skvae.codecs import CODECS
from skvae.likelihoods import (
    Bernoulli,
    Beta,
    Binned,
    Blocks,
    Categorical,
    ContinuousBernoulli,
    Gamma,
    Gaussian,
    Identifier,
    Laplace,
    LogNormal,
    NegativeBinomial,
    Ordinal,
    Poisson,
    ZeroInflatedNegativeBinomial,
)

N_ROWS, N_DRAWS = 5, 200_000
N_LEVELS = (2, 4, 4, 1, 7)
N_FEATURES = len(N_LEVELS)

NUMBERS = [
    LogNormal(0.7),
    LogNormal("shared"),
    LogNormal("feature"),
    LogNormal("conditional"),
    LogNormal("conditional", floor=0.5),
    Gamma(),
    Beta(),
    ContinuousBernoulli(),
    Poisson(),
    NegativeBinomial(),
    ZeroInflatedNegativeBinomial(),
]
COUNTS = [Poisson(), NegativeBinomial(), ZeroInflatedNegativeBinomial()]
LEVELS = [
    Categorical(N_LEVELS),
    Ordinal(N_LEVELS),
    Binned(n_levels=N_LEVELS),
    Identifier(N_LEVELS),
]
BLOCKS = Blocks([(Poisson(), 2), (Categorical((3,)), 1), (Gaussian("feature"), 2)])


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
    locations = locations.numpy()
    if isinstance(likelihood, Poisson):
        return stats.poisson(np.exp(locations))
    if isinstance(likelihood, NegativeBinomial):
        shape = np.exp(own["log_shape"].numpy())
        counts = stats.nbinom(shape, shape / (shape + np.exp(locations)))
        if isinstance(likelihood, ZeroInflatedNegativeBinomial):
            return Inflated(special.expit(others.numpy()), counts)
        return counts
    if isinstance(likelihood, Gamma):
        shape = np.exp(own["log_shape"].numpy())
        return stats.gamma(shape, scale=np.exp(locations) / shape)
    if isinstance(likelihood, Beta):
        precision = np.exp(own["log_precision"].numpy())
        mean = special.expit(locations)
        return stats.beta(precision * mean, precision * (1 - mean))
    if isinstance(likelihood, ContinuousBernoulli):
        return Greys(locations)
    scale = likelihood.scale
    if not isinstance(scale, float):
        raw = others if scale == "conditional" else own["raw_scale"]
        scale = likelihood.floor + np.logaddexp(0, raw.numpy())
    return stats.lognorm(scale, scale=np.exp(locations))


class Inflated(NamedTuple):
    """Counts of which a share is zero for another reason."""

    share: np.ndarray
    counts: object

    def logpmf(self, x):
        p = (1 - self.share) * self.counts.pmf(x)
        is_zero = np.broadcast_to(x == 0, p.shape)
        drawn = np.log1p(-self.share) + self.counts.logpmf(x)
        return np.where(is_zero, np.log(p + self.share), drawn)

    def rvs(self, random_state):
        random = np.random.default_rng(random_state)
        drawn = self.counts.rvs(random_state=random)
        return np.where(random.random(drawn.shape) < self.share, 0, drawn)

    def mean(self):
        return (1 - self.share) * self.counts.mean()

    def var(self):
        within = self.counts.var() + self.share * self.counts.mean() ** 2
        return (1 - self.share) * within


class Greys(NamedTuple):
    """The continuous Bernoulli as an exponential, cut off, from its likelier end."""

    log_odds: np.ndarray

    @property
    def distance(self):
        rate = np.abs(self.log_odds)
        return stats.truncexpon(rate, scale=1 / rate)

    def _mirrored(self, x):
        return np.where(self.log_odds < 0, x, 1 - x)

    def logpdf(self, x):
        return self.distance.logpdf(self._mirrored(x))

    def rvs(self, random_state):
        return self._mirrored(self.distance.rvs(random_state=random_state))

    def mean(self):
        return self._mirrored(self.distance.mean())

    def var(self):
        return self.distance.var()

    def isf(self, p):
        upper = self._mirrored(self.distance.ppf(p))
        return np.where(self.log_odds < 0, self.distance.isf(p), upper)


def values_of(likelihood, targets):
    """What targets stand for: log-odds are those of numbers between 0 and 1."""
    is_beta = isinstance(likelihood, Beta)
    return CODECS["log_odds"]().decode(targets) if is_beta else targets


def log_density(likelihood, parts, x):
    """Of values and not of targets."""
    if not isinstance(likelihood, Beta):
        return likelihood(*parts).log_prob(torch.from_numpy(x)).numpy()
    log_prob = likelihood(*parts).log_prob(torch.from_numpy(special.logit(x)))
    return log_prob.numpy() - np.log(x) - np.log1p(-x)


def expected_log_density(expected, x):
    is_discrete = hasattr(expected, "logpmf")
    return expected.logpmf(x) if is_discrete else expected.logpdf(x)


def probabilities(likelihood, locations, others, own):
    """Of the levels of each column: a list of arrays (n_rows, n_levels)."""
    locations = locations.numpy()
    if isinstance(likelihood, Identifier):
        return [np.full((len(locations), n), 1 / n) for n in N_LEVELS]
    if not isinstance(likelihood, Ordinal):
        parts = np.split(locations, np.cumsum(N_LEVELS)[:-1], axis=1)
        return [special.softmax(part, axis=1) for part in parts]
    n_thresholds = np.array(N_LEVELS) - 1
    raw = np.split(own["raw_thresholds"].numpy(), np.cumsum(n_thresholds)[:-1])
    columns = []
    for location, values in zip(locations.T, raw, strict=True):
        steps = np.concatenate([values[:1], np.logaddexp(0, values[1:]) + 1e-4])
        edges = np.concatenate([[-np.inf], np.cumsum(steps), [np.inf]])
        columns.append(np.diff(stats.logistic.cdf(edges, location[:, None]), axis=1))
    return columns


def expanded(likelihood, n_rows):
    """The same outputs in every row."""
    locations, others, own = outputs(likelihood, n_rows=1)
    return locations.expand(n_rows, -1), others.expand(n_rows, -1), own


# ---- numbers -------------------------------------------------------------------------


@pytest.mark.parametrize("likelihood", NUMBERS, ids=str)
def test_log_prob_and_mean_of_numbers(likelihood):
    parts = outputs(likelihood)
    distribution, expected = likelihood(*parts), reference(likelihood, *parts)
    x = expected.rvs(random_state=0).astype(float)
    ours = log_density(likelihood, parts, x)
    np.testing.assert_allclose(ours, expected_log_density(expected, x), rtol=1e-10)
    np.testing.assert_allclose(distribution.mean.numpy(), expected.mean(), rtol=1e-12)


@pytest.mark.parametrize("likelihood", NUMBERS, ids=str)
@pytest.mark.parametrize("chance", [1e-3, 1e-9, 1e-15])
def test_log_prob_far_in_the_tails(likelihood, chance):
    parts = outputs(likelihood)
    expected = reference(likelihood, *parts)
    if isinstance(expected, Inflated):
        tails = [expected.counts.isf(chance)]
    elif isinstance(expected, Greys):
        tails = [expected.isf(chance), expected.isf(1 - chance)]
    else:
        tails = [expected.ppf(chance), expected.isf(chance)]
    for x in tails:
        inside = ~likelihood.impossible(x)  # the quantile may be 1 in floating point
        x = np.where(inside, x, 0.5).astype(float)
        ours = log_density(likelihood, parts, x)
        theirs = expected_log_density(expected, x)
        assert np.isfinite(ours).all()
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("likelihood", NUMBERS, ids=str)
def test_moments_of_numbers_drawn(likelihood):
    parts = expanded(likelihood, N_DRAWS)
    draws = likelihood(*parts).sample(torch.Generator().manual_seed(1)).numpy()
    draws = values_of(likelihood, draws)
    expected = reference(likelihood, *outputs(likelihood, n_rows=1))
    assert draws.shape == (N_DRAWS, N_FEATURES)
    # Of the logarithms of log-normal draws, which have a normal's moments.
    if isinstance(likelihood, LogNormal):
        draws, scale = np.log(draws), np.log(expected.kwds["scale"])
        mean, variance = scale, np.square(np.broadcast_to(expected.args[0], (1, 5)))
    else:
        mean, variance = expected.mean(), expected.var()
    deviation = np.sqrt(variance / N_DRAWS)
    assert (np.abs(draws.mean(0) - mean) < 5 * deviation).all()
    # The variance of a variance, from the fourth moment.
    spread = np.square(draws - draws.mean(0)).std(0) / np.sqrt(N_DRAWS)
    assert (np.abs(draws.var(0) - variance) < 5 * spread).all()


@pytest.mark.parametrize("likelihood", COUNTS, ids=str)
def test_probabilities_of_counts_sum_to_one(likelihood):
    counts = torch.arange(3_000.0, dtype=torch.float64).unsqueeze(1)
    log_prob = likelihood(*expanded(likelihood, 3_000)).log_prob(
        counts.expand(-1, N_FEATURES)
    )
    np.testing.assert_allclose(log_prob.exp().sum(0), 1.0, rtol=1e-9)


def test_negative_binomial_of_a_large_shape_is_poisson():
    locations, others, _ = outputs(Poisson())
    own = {"log_shape": torch.full((N_FEATURES,), 9.0).double()}
    counts = torch.arange(5.0).double().unsqueeze(1).expand(-1, N_FEATURES)
    np.testing.assert_allclose(
        NegativeBinomial()(locations, others, own).log_prob(counts),
        Poisson()(locations, others, {}).log_prob(counts),
        atol=2e-2,
    )


# ---- levels --------------------------------------------------------------------------


@pytest.mark.parametrize("likelihood", LEVELS, ids=str)
def test_log_prob_and_mean_of_levels(likelihood):
    parts = outputs(likelihood)
    distribution, expected = likelihood(*parts), probabilities(likelihood, *parts)
    np.testing.assert_allclose(
        distribution.mean, np.concatenate(expected, axis=1), rtol=1e-11
    )
    random = np.random.default_rng(0)
    codes = np.column_stack([random.integers(0, n, N_ROWS) for n in N_LEVELS])
    ours = distribution.log_prob(torch.from_numpy(codes).double())
    rows = np.arange(N_ROWS)
    for j, column in enumerate(expected):
        theirs = np.log(column[rows, codes[:, j]])
        np.testing.assert_allclose(ours[:, j], theirs, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("likelihood", LEVELS, ids=str)
def test_levels_are_drawn_as_often_as_their_probability_says(likelihood):
    distribution = likelihood(*expanded(likelihood, N_DRAWS))
    draws = distribution.sample(torch.Generator().manual_seed(1)).numpy()
    assert draws.shape == (N_DRAWS, N_FEATURES)
    expected = probabilities(likelihood, *outputs(likelihood, n_rows=1))
    for column, (p,) in zip(np.floor(draws).T.astype(int), expected, strict=True):
        counts = np.bincount(column, minlength=len(p))
        assert len(counts) == len(p)
        if len(p) > 1:
            assert stats.chisquare(counts, N_DRAWS * p).pvalue > 1e-4
    if isinstance(likelihood, Binned):
        # The fraction is the place inside the bin.
        fractions = (draws % 1).ravel()
        assert stats.kstest(fractions[::10], "uniform").pvalue > 1e-4
    else:
        assert (draws % 1 == 0).all()


def test_binned_inside_is_categorical():
    parts = outputs(Categorical(N_LEVELS))
    codes = torch.zeros(N_ROWS, N_FEATURES, dtype=torch.float64)
    torch.testing.assert_close(
        Binned(n_levels=N_LEVELS)(*parts).log_prob(codes),
        Categorical(N_LEVELS)(*parts).log_prob(codes),
    )


def test_a_constant_added_to_a_columns_logits_changes_nothing():
    locations, others, own = outputs(Categorical(N_LEVELS))
    added = torch.randn(N_FEATURES, generator=torch.Generator().manual_seed(2)).double()
    moved = locations + added.repeat_interleave(torch.tensor(N_LEVELS))
    torch.testing.assert_close(
        Categorical(N_LEVELS)(moved, others, own).mean,
        Categorical(N_LEVELS)(locations, others, own).mean,
    )


def test_a_larger_location_means_higher_ordered_levels():
    locations, others, own = outputs(Ordinal(N_LEVELS), n_rows=1)
    steps = torch.linspace(-6, 6, 25, dtype=torch.float64).unsqueeze(1)
    means = Ordinal(N_LEVELS)(locations + steps, others, own).mean
    for column in means.split(N_LEVELS, 1):
        # The distribution moves up: every cumulative probability falls.
        below = column.cumsum(1)[:, :-1]
        assert (below.diff(dim=0) < 0).all()


# ---- several families side by side ---------------------------------------------------


def test_blocks_are_their_parts_side_by_side():
    locations, others, own = outputs(BLOCKS)
    assert locations.shape[1] == 7 and others.shape[1] == 0
    parts = [
        Poisson()(locations[:, :2], others, {}),
        Categorical((3,))(locations[:, 2:5], others, {}),
        Gaussian("feature")(
            locations[:, 5:], others, {"raw_scale": own["2.raw_scale"]}
        ),
    ]
    targets = torch.tensor([[3, 1, 2, 0.3, -4]], dtype=torch.float64).expand(5, -1)
    distribution = BLOCKS(locations, others, own)
    torch.testing.assert_close(
        distribution.mean, torch.cat([part.mean for part in parts], 1)
    )
    expected = [
        part.log_prob(target)
        for part, target in zip(parts, targets.split([2, 1, 2], 1), strict=True)
    ]
    torch.testing.assert_close(distribution.log_prob(targets), torch.cat(expected, 1))
    draws = distribution.sample(torch.Generator().manual_seed(0))
    assert draws.shape == (5, 5)
    assert (draws[:, :3] % 1 == 0).all()


# ---- extremes ------------------------------------------------------------------------

#: The least and the largest target that each can be given in training, in float32.
EXTREMES = {
    LogNormal(): (np.exp(-80), np.exp(80)),
    LogNormal("shared"): (np.exp(-80), np.exp(80)),
    Gamma(): (np.exp(-80), np.exp(80)),
    Laplace(): (-1e12, 1e12),
    Laplace("shared"): (-1e12, 1e12),
    Beta(): (-745.0, 37.0),
    ContinuousBernoulli(): (0.0, 1.0),
    Poisson(): (0.0, 1e9),
    NegativeBinomial(): (0.0, 1e9),
    ZeroInflatedNegativeBinomial(): (0.0, 1e9),
    Bernoulli(): (0.0, 1.0),
    Categorical((3, 3, 3, 3, 3)): (0.0, 2.0),
    Ordinal((3, 3, 3, 3, 3)): (0.0, 2.0),
    Binned(n_levels=(3, 3, 3, 3, 3)): (0.0, 2.0),
    Identifier((3, 3, 3, 3, 3)): (0.0, 2.0),
}


@pytest.mark.parametrize("size", [1e2, 1e4, 1e6])
@pytest.mark.parametrize("likelihood", EXTREMES, ids=str)
def test_values_and_gradients_are_finite_at_extremes(likelihood, size):
    signs = torch.tensor([[-1.0], [1.0]])
    n_locations, n_others = likelihood.n_outputs(N_FEATURES)
    for target in EXTREMES[likelihood]:
        targets = torch.full((2, N_FEATURES), target, dtype=torch.float32)
        for sign in (-1.0, 1.0):
            arguments = (
                # Neighbouring logits far apart, not only all of them far out.
                signs * size * torch.linspace(0.5, 1, n_locations),
                (sign * size * signs).expand(2, n_others),
                {
                    name: torch.full(shape, sign * size)
                    for name, shape in likelihood.own_shapes(N_FEATURES).items()
                },
            )
            log_prob, *gradients, own = likelihood.value_and_gradient(
                *arguments, targets, None
            )
            mean = likelihood(*arguments).mean
            for found in (log_prob, *gradients, *own.values(), mean):
                assert torch.isfinite(found).all()


@pytest.mark.parametrize("likelihood", [*NUMBERS, *LEVELS], ids=str)
def test_draws_are_possible_values(likelihood):
    draws = likelihood(*expanded(likelihood, 1_000)).sample(
        torch.Generator().manual_seed(0)
    )
    impossible = likelihood.impossible(values_of(likelihood, draws.numpy()))
    assert impossible is None or not impossible.any()


@pytest.mark.parametrize(
    "likelihood", [Binned(n_bins=50), Categorical(), Ordinal(), Identifier()]
)
def test_numbers_of_levels_are_filled_in_by_the_table(likelihood):
    filled = likelihood.with_levels([3, 4])
    assert filled.n_levels == (3, 4)
    assert filled != likelihood
    assert type(likelihood)(**likelihood.get_params()) == likelihood
    assert filled.n_means(2) == 7


def test_too_few_bins_are_refused():
    with pytest.raises(ValueError, match="n_bins of Binned"):
        Binned(n_bins=1)
