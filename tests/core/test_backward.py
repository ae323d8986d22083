"""The hand-written gradient against autograd, for everything that it claims."""

import pytest
import torch

from skvae import likelihoods, networks, posteriors, priors
from skvae.core.backward import Backward, covers
from skvae.core.model import Model
from skvae.core.reader import Reader
from skvae.core.training import _Autograd
from skvae.objectives import (
    ELBO,
    IWAE,
    Aggressive,
    CyclicalWarmup,
    FreeBits,
)

N_ROWS, N_FEATURES, N_COMPONENTS = 9, 5, 3

N_LEVELS = (3, 3, 2, 5, 4)
LIKELIHOODS = [
    likelihoods.Gaussian(0.7),
    likelihoods.Gaussian("shared"),
    likelihoods.Gaussian("feature"),
    likelihoods.Gaussian("conditional"),
    likelihoods.Bernoulli(),
]
OTHER_LIKELIHOODS = [
    likelihoods.LogNormal(),
    likelihoods.LogNormal("feature"),
    likelihoods.Laplace(0.7),
    likelihoods.Laplace("shared"),
    likelihoods.Laplace("feature"),
    likelihoods.Laplace(),
    likelihoods.Gamma(),
    likelihoods.Beta(),
    likelihoods.ContinuousBernoulli(),
    likelihoods.Poisson(),
    likelihoods.NegativeBinomial(),
    likelihoods.ZeroInflatedNegativeBinomial(),
    likelihoods.Categorical(N_LEVELS),
    likelihoods.Binned(n_levels=N_LEVELS),
    likelihoods.Ordinal(N_LEVELS),
]
BLOCKS = likelihoods.Blocks(
    [
        (likelihoods.Gaussian("feature"), 1),
        (likelihoods.Bernoulli(), 1),
        (likelihoods.NegativeBinomial(), 1),
        (likelihoods.Categorical(N_LEVELS[3:]), 2),
    ]
)
NETWORKS = [
    networks.MLP(()),
    networks.MLP((6,), "relu", linear_path=False),
    *(networks.MLP((7, 4), activation) for activation in sorted(networks.ACTIVATIONS)),
]
#: Numbers, the mark of a hole, and codes of levels, two columns of them very many.
WIDE_READER = Reader(2, 1, (3, 300, 400))

generator = torch.Generator()


def normal(*shape):
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def targets_of(likelihood, x):
    """Some that the likelihood can describe."""
    if isinstance(likelihood, likelihoods.Blocks):
        parts = [
            (likelihoods.Gaussian(), x[:, :1]),
            (likelihoods.Bernoulli(), x[:, 1:2]),
        ]
        parts += [(likelihoods.Poisson(), x[:, 2:3])]
        parts += [(likelihoods.Categorical(N_LEVELS[3:]), x[:, 3:])]
        return torch.cat([targets_of(*part) for part in parts], 1)
    if likelihood.codec in ("standardized", "log_odds"):
        return x
    if likelihood.codec == "unit_interval":
        return x.sigmoid()
    if likelihood.codec == "positive":
        return x.exp()
    if likelihood.codec == "binary":
        return (x > 0).double()
    if likelihood.codec == "counts":
        return x.abs().round()
    return (10 * x.abs()).floor() % torch.tensor(likelihood.n_levels)


def assert_gradients_agree(model, flat, objective, beta, *rows, n_draws=2):
    noise = normal(objective.n_draws(n_draws), N_ROWS, N_COMPONENTS)
    assert covers(model, objective)
    batch = beta, *rows, noise
    loss, gradient = Backward(model, objective, flat)(*batch)
    expected, autograd = _Autograd(model, flat, objective)(*batch)
    assert float(loss) == pytest.approx(float(expected), rel=1e-12, abs=1e-12)
    error = (gradient - autograd).norm() / autograd.norm()
    assert error < 1e-12


def model_and_weights(likelihood, network, reader=None):
    model = Model(
        reader or Reader(N_FEATURES),
        N_FEATURES,
        N_COMPONENTS,
        network=network,
        likelihood=likelihood,
        posterior=posteriors.Gaussian(),
        prior=priors.Gaussian(),
    )
    generator.manual_seed(0)
    return model, 0.5 * normal(model.n_weights)


def holes():
    return (normal(N_ROWS, N_FEATURES) > -1).double()


@pytest.mark.parametrize("network", NETWORKS, ids=str)
@pytest.mark.parametrize("likelihood", LIKELIHOODS, ids=str)
@pytest.mark.parametrize(
    ("n_draws", "beta", "with_holes"),
    [(1, 1.0, False), (3, 0.4, False), (3, 0.4, True)],
)
def test_loss_and_gradient_are_those_of_autograd(
    network, likelihood, n_draws, beta, with_holes
):
    setting = model_and_weights(likelihood, network)
    inputs = 3 * normal(N_ROWS, N_FEATURES)
    targets = targets_of(likelihood, inputs)
    observed = holes() if with_holes else None
    assert_gradients_agree(
        *setting, ELBO(), beta, inputs, targets, observed, n_draws=n_draws
    )


@pytest.mark.parametrize(
    "likelihood",
    [*OTHER_LIKELIHOODS, BLOCKS],
    ids=lambda likelihood: str(likelihood).partition(" object")[0],
)
@pytest.mark.parametrize("with_holes", [False, True])
def test_every_other_likelihood(likelihood, with_holes):
    setting = model_and_weights(likelihood, networks.MLP((7, 4)))
    inputs = normal(N_ROWS, N_FEATURES)
    targets = targets_of(likelihood, inputs)
    observed = holes() if with_holes else None
    assert_gradients_agree(*setting, ELBO(), 0.7, inputs, targets, observed)


@pytest.mark.parametrize(
    "likelihood",
    [
        likelihoods.Gaussian(),
        likelihoods.Bernoulli(),
        likelihoods.Categorical(N_LEVELS),
    ],
    ids=str,
)
@pytest.mark.parametrize("beta", [1.0, 0.4])
@pytest.mark.parametrize("with_holes", [False, True])
def test_importance_weighted_bound(likelihood, beta, with_holes):
    setting = model_and_weights(likelihood, networks.MLP((7, 4)))
    inputs = 3 * normal(N_ROWS, N_FEATURES)
    targets = targets_of(likelihood, inputs)
    observed = holes() if with_holes else None
    assert_gradients_agree(*setting, IWAE(4), beta, inputs, targets, observed)


@pytest.mark.parametrize("network", [networks.MLP(()), networks.MLP((7, 4))], ids=str)
def test_looked_up_vectors(network):
    setting = model_and_weights(likelihoods.Gaussian(), network, WIDE_READER)
    targets = 3 * normal(N_ROWS, N_FEATURES)
    # Level 5 occurs thrice, and some cells hold no level.
    codes = [
        [0, -1, 1, 2, 0, 1, 2, -1, 2],
        [5, -1, 299, 2, 5, 0, 5, 9, -1],
        [0, 399, -1, 7, 7, 1, 2, 3, 398],
    ]
    inputs = torch.cat([targets[:, :3], torch.tensor(codes).T.double()], 1)
    assert_gradients_agree(*setting, ELBO(), 1.0, inputs, targets, None)


@pytest.mark.parametrize("objective", [Aggressive(), CyclicalWarmup()], ids=str)
def test_objectives_that_differ_in_their_course_alone(objective):
    setting = model_and_weights(likelihoods.Gaussian(), networks.MLP((7, 4)))
    inputs = normal(N_ROWS, N_FEATURES)
    assert_gradients_agree(*setting, objective, 0.7, inputs, inputs, None)


@pytest.mark.parametrize(
    "objective",
    [
        ELBO("monte_carlo"),
        ELBO("sticking_the_landing"),
        Aggressive(divergence="sticking_the_landing"),
        IWAE(4, doubly_reparameterized=True),
        FreeBits(),
    ],
    ids=str,
)
def test_objectives_with_gradients_of_their_own_are_left_to_autograd(objective):
    model, _ = model_and_weights(likelihoods.Gaussian(), networks.MLP((7, 4)))
    assert not covers(model, objective)
