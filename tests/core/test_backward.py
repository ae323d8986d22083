"""The hand-written gradient against autograd, for everything that it claims."""

import pytest
import torch

from skvae import likelihoods, networks, posteriors, priors
from skvae.core import arrays, backward, optimizer, passes
from skvae.core.backward import Backward, covers
from skvae.core.model import Model
from skvae.core.optimizer import SGD
from skvae.core.reader import Reader
from skvae.core.training import _Autograd
from skvae.objectives import ELBO, IWAE, Aggressive, CyclicalWarmup, FreeBits

N_ROWS, N_FEATURES, N_COMPONENTS = 9, 5, 3
N_MEMBERS = 3

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
EVERY_LIKELIHOOD = [*LIKELIHOODS, *OTHER_LIKELIHOODS, BLOCKS]
NETWORKS = [
    networks.MLP(()),
    networks.MLP((6,), "relu", linear_path=False),
    *(networks.MLP((7, 4), activation) for activation in sorted(networks.ACTIVATIONS)),
]
#: Numbers, the mark of a hole, and codes of levels, two columns of them very many.
WIDE_READER = Reader(2, 1, (3, 300, 400))

alone_and_together = pytest.mark.parametrize("members", [(), (N_MEMBERS,)], ids=str)
generator = torch.Generator()


def normal(*shape):
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def targets_of(likelihood, x):
    """Some that the likelihood can describe."""
    if isinstance(likelihood, likelihoods.Blocks):
        parts = [
            (likelihoods.Gaussian(), x[..., :1]),
            (likelihoods.Bernoulli(), x[..., 1:2]),
            (likelihoods.Poisson(), x[..., 2:3]),
            (likelihoods.Categorical(N_LEVELS[3:]), x[..., 3:]),
        ]
        return torch.cat([targets_of(*part) for part in parts], -1)
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
    noise = normal(objective.n_draws(n_draws), *rows[0].shape[:-1], N_COMPONENTS)
    assert covers(model, objective)
    batch = beta, *rows, noise
    means, gradient = Backward(model, objective, flat)(*batch)
    expected, autograd = _Autograd(model, flat, objective)(*batch)
    assert floats(means) == pytest.approx(floats(expected), rel=1e-11, abs=1e-12)
    assert distance(gradient, autograd) < 1e-12


def floats(means):
    return [float(mean) for mean in means]


def distance(gradient, expected):
    """Relative, of each member's gradient if there are several."""
    return ((gradient - expected).norm(dim=-1) / expected.norm(dim=-1)).max()


def model_and_weights(likelihood, network, reader=None, members=()):
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
    return model, 0.5 * normal(*members, model.n_weights)


def rows_of(likelihood, *members, with_holes=False):
    """Inputs, targets and observed."""
    inputs = 3 * normal(*members, N_ROWS, N_FEATURES)
    observed = (normal(*inputs.shape) > -1).double() if with_holes else None
    return inputs, targets_of(likelihood, inputs), observed


#: Every likelihood under each kind of bound that is written out for it.
CASES = [
    pytest.param(
        likelihood,
        objective,
        id=f"{str(likelihood).partition(' object')[0]}-{type(objective).__name__}",
    )
    for likelihood in EVERY_LIKELIHOOD
    for objective in (ELBO(), IWAE(4))
    if type(objective) is ELBO or not likelihood.own_shapes(N_FEATURES)
]


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
    rows = rows_of(likelihood, with_holes=with_holes)
    assert_gradients_agree(*setting, ELBO(), beta, *rows, n_draws=n_draws)


@alone_and_together
@pytest.mark.parametrize("with_holes", [False, True])
@pytest.mark.parametrize(("likelihood", "objective"), CASES)
def test_every_likelihood_under_every_bound(likelihood, objective, members, with_holes):
    setting = model_and_weights(likelihood, networks.MLP((7, 4)), members=members)
    rows = rows_of(likelihood, *members, with_holes=with_holes)
    assert_gradients_agree(*setting, objective, 0.7, *rows)


@alone_and_together
@pytest.mark.parametrize(
    ("objective", "size"),
    # Within the bound of the hidden layers, and far beyond it.
    [(ELBO(), 1.0), (ELBO(), 100.0), (IWAE(4), 1.0)],
    ids=str,
)
@pytest.mark.parametrize("network", NETWORKS[:3], ids=str)
@pytest.mark.parametrize("with_holes", [False, True])
def test_looked_up_vectors(network, objective, members, size, with_holes):
    likelihood = likelihoods.Gaussian()
    model, flat = model_and_weights(likelihood, network, WIDE_READER, members)
    model.views(flat)["reader"]["embedding"].mul_(size)
    inputs, targets, observed = rows_of(likelihood, *members, with_holes=with_holes)
    # Level 5 occurs thrice, and some cells hold no level.
    codes = [
        [0, -1, 1, 2, 0, 1, 2, -1, 2],
        [5, -1, 299, 2, 5, 0, 5, 9, -1],
        [0, 399, -1, 7, 7, 1, 2, 3, 398],
    ]
    codes = torch.tensor(codes).T.double().expand(*members, -1, -1)
    inputs = torch.cat([size * inputs[..., :3], codes], -1)
    assert_gradients_agree(model, flat, objective, 1.0, inputs, targets, observed)


@alone_and_together
@pytest.mark.parametrize("objective", [ELBO(), IWAE(4)], ids=str)
def test_batches_of_changing_sizes(objective, members):
    likelihood = BLOCKS if type(objective) is ELBO else likelihoods.Gaussian()
    model, flat = model_and_weights(likelihood, networks.MLP((7, 4)), members=members)
    by_hand = Backward(model, objective, flat)
    by_autograd = _Autograd(model, flat, objective)
    for n_rows, n_draws in [(9, 2), (4, 2), (9, 2), (9, 3), (1, 1), (9, 2)]:
        rows = rows_of(likelihood, *members, with_holes=True)
        rows = [part[..., :n_rows, :] for part in rows]
        noise = normal(n_draws, *members, n_rows, N_COMPONENTS)
        _, gradient = by_hand(0.7, *rows, noise)
        _, expected = by_autograd(0.7, *rows, noise)
        assert distance(gradient, expected) < 1e-12
        flat *= 0.9  # as a step would


@alone_and_together
@pytest.mark.parametrize("activation", sorted(networks.ACTIVATIONS))
def test_single_precision(activation, members):
    likelihood = likelihoods.Gaussian()
    network = networks.MLP((17, 8), activation)
    model, flat = model_and_weights(likelihood, network, members=members)
    rows = rows_of(likelihood, *members, with_holes=True)
    batch = *rows, normal(2, *members, N_ROWS, N_COMPONENTS)
    _, exact = _Autograd(model, flat, ELBO())(0.7, *batch)
    batch = [part.float() for part in batch]
    _, gradient = Backward(model, ELBO(), flat.float())(0.7, *batch)
    assert gradient.dtype == torch.float32
    assert distance(gradient, exact) < 1e-4


# ---- the two roads -------------------------------------------------------------------


def on_both_roads(monkeypatch, run):
    """What a function gives in NumPy, and in torch as on other devices."""
    found = []
    for as_array in (arrays.as_array, lambda tensor: tensor):
        for module in (backward, optimizer, passes):
            monkeypatch.setattr(module, "as_array", as_array)
        found.append(run())
    return found


@alone_and_together
@pytest.mark.parametrize("with_holes", [False, True])
@pytest.mark.parametrize(("likelihood", "objective"), CASES)
def test_both_roads_lead_to_one_gradient(
    monkeypatch, likelihood, objective, members, with_holes
):
    network = networks.MLP((7, 4), "tanh")
    model, flat = model_and_weights(likelihood, network, members=members)
    rows = rows_of(likelihood, *members, with_holes=with_holes)
    noise = normal(objective.n_draws(2), *members, N_ROWS, N_COMPONENTS)

    def run():
        means, gradient = Backward(model, objective, flat)(0.7, *rows, noise)
        return floats(means), gradient

    (means, gradient), (other_means, other_gradient) = on_both_roads(monkeypatch, run)
    assert means == pytest.approx(other_means, rel=1e-12)
    assert distance(gradient, other_gradient) < 1e-12


@pytest.mark.parametrize("shape", [(7,), (N_MEMBERS, 7)], ids=str)
def test_both_roads_shorten_alike(monkeypatch, shape):
    generator.manual_seed(0)
    gradients = normal(20, *shape)
    gradients[10, ..., :3] *= 1000
    gradients[15] = 0.0
    if len(shape) == 2:
        gradients[0, 1] = 0.0  # no length to go on from, in one member

    def run():
        weights, moments = torch.zeros(shape, dtype=torch.float64), normal(0, *shape)
        rule = SGD(shape, weights.device, moments, momentum=0.0, nesterov=False)
        path = []
        for gradient in gradients:
            rule.step(weights, gradient.clone(), 0.1)
            path.append(weights.clone())
        return torch.stack(path), rule.length

    for ours, theirs in zip(*on_both_roads(monkeypatch, run), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=0)


# ---- what is covered -----------------------------------------------------------------


@pytest.mark.parametrize("objective", [Aggressive(), CyclicalWarmup()], ids=str)
def test_objectives_that_differ_in_their_course_alone(objective):
    setting = model_and_weights(likelihoods.Gaussian(), networks.MLP((7, 4)))
    inputs = normal(N_ROWS, N_FEATURES)
    assert_gradients_agree(*setting, objective, 0.7, inputs, inputs, None)


@pytest.mark.parametrize(
    ("objective", "scale"),
    [
        (ELBO("monte_carlo"), 1.0),
        (ELBO("sticking_the_landing"), 1.0),
        (Aggressive(divergence="sticking_the_landing"), 1.0),
        (IWAE(4, doubly_reparameterized=True), 1.0),
        (IWAE(4), "feature"),
        (FreeBits(), 1.0),
    ],
    ids=str,
)
def test_gradients_of_another_kind_are_left_to_autograd(objective, scale):
    model, _ = model_and_weights(likelihoods.Gaussian(scale), networks.MLP((7, 4)))
    assert not covers(model, objective)
