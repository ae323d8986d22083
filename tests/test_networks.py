"""The contract of every network, and perceptrons with and without residual blocks."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from torch import nn

from skvae import VAETransformer, likelihoods, posteriors, priors
from skvae.core.model import Model
from skvae.core.reader import Reader
from skvae.core.training import _Autograd
from skvae.networks import (
    ACTIVATIONS,
    FAMILIES,
    MLP,
    ConvNet,
    Linear,
    Modules,
    Network,
    Residual,
)
from skvae.networks.base import start_glorot
from skvae.objectives import ELBO

IMAGE = (2, 3, 5)
N_INPUTS, N_COMPONENTS, N_ROWS, N_MEMBERS = 30, 4, 7, 3


def hidden(n_inputs, n_outputs):
    return nn.Sequential(nn.Linear(n_inputs, 6), nn.Tanh(), nn.Linear(6, n_outputs))


NETWORKS = {
    "linear": Linear(),
    "mlp": MLP((8, 6)),
    "mlp_alone": MLP((8,), "relu", linear_path=False),
    "residual": Residual(8, 2),
    "residual_alone": Residual(6, 1, "tanh", linear_path=False),
    "convolutional": ConvNet(IMAGE, (4, 3)),
    "convolutional_alone": ConvNet(IMAGE, (4,), 5, "elu", linear_path=False),
    "modules": Modules(
        hidden(N_INPUTS, 2 * N_COMPONENTS), hidden(N_COMPONENTS, 2 * N_INPUTS)
    ),
}
STARTS_LINEAR = ["linear", "mlp", "residual", "convolutional"]
over_networks = pytest.mark.parametrize("name", NETWORKS)
over_roles = pytest.mark.parametrize("role", ["encoder", "decoder"])

generator = torch.Generator()


def normal(*shape):
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def sizes_of(role):
    """Numbers of inputs, locations and others, all three different."""
    if role == "encoder":
        return N_INPUTS, N_COMPONENTS, N_COMPONENTS
    return N_COMPONENTS, N_INPUTS, N_INPUTS


def network_and_weights(settings, role, *members):
    """A network at weights of which none is zero, and rows for it."""
    generator.manual_seed(0)
    network = getattr(settings, role)(*sizes_of(role))
    weights = {
        name: 0.5 * normal(*members, *shape) for name, shape in network.shapes.items()
    }
    return network, weights, normal(*members, N_ROWS, sizes_of(role)[0])


# ---- the contract --------------------------------------------------------------------


@over_networks
@over_roles
def test_rows_become_locations_and_others(name, role):
    network, weights, x = network_and_weights(NETWORKS[name], role)
    locations, others = network(weights, x)
    assert locations.shape == (N_ROWS, sizes_of(role)[1])
    assert others.shape == (N_ROWS, sizes_of(role)[2])


@over_networks
@over_roles
def test_a_row_is_mapped_by_itself(name, role):
    network, weights, x = network_and_weights(NETWORKS[name], role)
    together = torch.cat(network(weights, x), 1)
    order = torch.tensor([4, 2, 0, 6, 1, 3, 5])
    permuted = torch.cat(network(weights, x[order]), 1)
    torch.testing.assert_close(permuted, together[order])
    alone = [torch.cat(network(weights, row), 1) for row in x.split(1)]
    torch.testing.assert_close(torch.cat(alone), together)


@over_networks
@over_roles
def test_members_of_an_ensemble_are_mapped_as_if_alone(name, role):
    network, weights, x = network_and_weights(NETWORKS[name], role, N_MEMBERS)
    together = network(weights, x)
    for e in range(N_MEMBERS):
        own = {key: weight[e] for key, weight in weights.items()}
        for found, expected in zip(together, network(own, x[e]), strict=True):
            torch.testing.assert_close(found[e], expected)


@over_networks
@over_roles
def test_every_weight_and_input_has_a_part_in_the_outputs(name, role):
    network, weights, x = network_and_weights(NETWORKS[name], role)
    leaves = [leaf.requires_grad_() for leaf in (x, *weights.values())]
    outputs = torch.cat(network(weights, x), 1)
    gradients = torch.autograd.grad((outputs * normal(*outputs.shape)).sum(), leaves)
    for gradient in gradients:
        assert gradient.norm() > 0


@over_networks
@over_roles
def test_starts_are_repeatable_and_in_place(name, role):
    network, weights, x = network_and_weights(NETWORKS[name], role)
    starts = []
    for _ in range(2):
        network.start_random(weights, torch.Generator().manual_seed(0))
        starts.append(torch.cat(network(weights, x), 1).clone())
    assert torch.equal(*starts)
    assert starts[0].std() > 0


@pytest.mark.parametrize("shape", [(300, 200), (30, 20, 3, 5)])
def test_random_start_has_the_variance_of_glorot(shape):
    weights = {"matrix": torch.empty(shape), "bias": torch.empty(shape[0])}
    start_glorot(weights, torch.Generator().manual_seed(0))
    # Two over the sum of what goes in and what comes out, at every position.
    n_ways = sum(shape[:2]) * int(np.prod(shape[2:]))
    variance = weights["matrix"].square().mean().item()
    assert variance == pytest.approx(2 / n_ways, rel=0.02)
    assert not weights["bias"].any()


@pytest.mark.parametrize("name", STARTS_LINEAR)
@over_roles
def test_linear_start_is_affine_to_the_bit(name, role):
    network, weights, x = network_and_weights(NETWORKS[name], role)
    n_inputs, n_locations, n_others = sizes_of(role)
    matrix, locations = normal(n_inputs, n_locations), normal(n_locations)
    others = normal(n_others)
    assert network.can_start_linear
    network.start_linear(weights, generator, matrix, locations, others)
    found_locations, found_others = network(weights, x)
    expected = torch.addmm(locations, x, matrix)
    assert torch.equal(found_others, others.expand(N_ROWS, -1))
    if name == "linear":  # one wider product, which may be rounded otherwise
        torch.testing.assert_close(found_locations, expected)
    else:
        assert torch.equal(found_locations, expected)


@pytest.mark.parametrize("name", sorted(set(NETWORKS) - set(STARTS_LINEAR)))
@over_roles
def test_without_a_linear_path_there_is_no_linear_start(name, role):
    network = getattr(NETWORKS[name], role)(*sizes_of(role))
    assert not network.can_start_linear
    assert "linear_path" not in network.shapes


@pytest.mark.parametrize(
    "settings",
    [
        MLP((6,), "relu", linear_path=False),
        Residual(6, 2, "relu", linear_path=False),
        ConvNet(IMAGE, (4,), activation="relu", linear_path=False),
    ],
    ids=lambda settings: type(settings).__name__,
)
def test_hidden_layers_of_the_encoder_are_bounded_far_from_the_data(settings):
    network, weights, x = network_and_weights(settings, "encoder")
    near, _ = network(weights, 1e6 * x)
    far, _ = network(weights, 1e9 * x)
    torch.testing.assert_close(near, far, rtol=1e-4, atol=1e-4)


@over_networks
def test_gradients_of_an_ensemble_are_those_of_each_member_alone(name):
    model = Model(
        Reader(N_INPUTS),
        N_INPUTS,
        N_COMPONENTS,
        network=NETWORKS[name],
        likelihood=likelihoods.Gaussian(),
        posterior=posteriors.Gaussian(),
        prior=priors.Gaussian(),
    )
    generator.manual_seed(0)
    flat = 0.3 * normal(N_MEMBERS, model.n_weights)
    x = normal(N_MEMBERS, N_ROWS, N_INPUTS)
    noise = normal(2, N_MEMBERS, N_ROWS, N_COMPONENTS)
    _, together = _Autograd(model, flat, ELBO())(1.0, x, x, None, noise)
    for e in range(N_MEMBERS):
        member = _Autograd(model, flat[e].clone(), ELBO())
        _, alone = member(1.0, x[e], x[e], None, noise[:, e])
        assert alone.norm() > 0
        assert (together[e] - alone).norm() / alone.norm() < 1e-9


def test_a_family_without_networks_says_so():
    class Nothing(Network):
        pass

    with pytest.raises(TypeError, match="Nothing must define encoder"):
        Nothing().encoder(3, 2, 2)
    with pytest.raises(TypeError, match="Nothing must define decoder"):
        Nothing().decoder(2, 3, 0)


# ---- perceptrons ---------------------------------------------------------------------


@pytest.mark.parametrize("settings", [MLP, Residual])
@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_linear_start_with_every_activation(settings, activation):
    network, weights, x = network_and_weights(
        settings(activation=activation), "encoder"
    )
    matrix, locations = normal(N_INPUTS, N_COMPONENTS), normal(N_COMPONENTS)
    network.start_linear(weights, generator, matrix, locations, locations)
    assert torch.equal(network(weights, x)[0], torch.addmm(locations, x, matrix))


def test_decoder_mirrors_the_encoder():
    encoder = MLP((6, 4)).encoder(N_INPUTS, 2, 2)
    decoder = MLP((6, 4)).decoder(2, N_INPUTS, 0)
    assert encoder.shapes["weight_0"] == (N_INPUTS, 6)
    assert decoder.shapes["weight_0"] == (2, 4)
    assert decoder.shapes["weight_2"] == (6, N_INPUTS)


@over_roles
def test_linear_is_the_perceptron_without_hidden_layers(role):
    linear, weights, x = network_and_weights(Linear(), role)
    perceptron = getattr(MLP(()), role)(*sizes_of(role))
    assert linear.shapes == perceptron.shapes
    # The same class: the hand-written gradient covers it.
    assert type(linear) is type(perceptron)
    for found, expected in zip(linear(weights, x), perceptron(weights, x), strict=True):
        assert torch.equal(found, expected)


@over_roles
def test_residual_blocks_add_to_what_they_read(role):
    network, weights, x = network_and_weights(Residual(8, 2, "elu"), role)
    h = network.bounded_input(x) @ weights["weight_0"] + weights["bias_0"]
    for first, second in ((1, 2), (3, 4)):
        inner = nn.ELU()(h) @ weights[f"weight_{first}"] + weights[f"bias_{first}"]
        h = h + nn.ELU()(inner) @ weights[f"weight_{second}"]
        h = h + weights[f"bias_{second}"]
    outputs = nn.ELU()(h) @ weights["weight_5"] + weights["bias_5"]
    outputs[:, : sizes_of(role)[1]] += x @ weights["linear_path"]
    torch.testing.assert_close(torch.cat(network(weights, x), 1), outputs)


@pytest.mark.parametrize("n_blocks", [1, 5])
def test_residual_blocks_begin_as_the_identity(n_blocks):
    network, weights, x = network_and_weights(Residual(8, n_blocks), "encoder")
    network.start_random(weights, generator)
    shallow = MLP((8,)).encoder(*sizes_of("encoder"))
    last = 1 + 2 * n_blocks
    same = {
        "weight_0": weights["weight_0"],
        "bias_0": weights["bias_0"],
        "weight_1": weights[f"weight_{last}"],
        "bias_1": weights[f"bias_{last}"],
        "linear_path": weights["linear_path"],
    }
    for found, expected in zip(network(weights, x), shallow(same, x), strict=True):
        assert torch.equal(found, expected)


@pytest.mark.parametrize(
    ("settings", "arguments"),
    [
        (MLP, {"hidden_layer_sizes": (0,)}),
        (MLP, {"hidden_layer_sizes": (2.5,)}),
        (MLP, {"activation": "sigmoid"}),
        (Residual, {"width": 0}),
        (Residual, {"width": (64, 64)}),
        (Residual, {"n_blocks": 0}),
        (Residual, {"n_blocks": 1.5}),
        (Residual, {"activation": "sigmoid"}),
    ],
    ids=str,
)
def test_bad_settings_are_refused(settings, arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        settings(**arguments)


# ---- in an estimator -----------------------------------------------------------------

DIGITS = load_digits().data[:200]
FITTED = {
    **{name: name for name in FAMILIES},
    "convolutional": ConvNet((1, 8, 8), (4, 6)),
    "convolutional_alone": ConvNet((1, 8, 8), (4,), linear_path=False),
    "modules": Modules(hidden(64, 2 * N_COMPONENTS), hidden(N_COMPONENTS, 2 * 64)),
}


def small(network):
    return VAETransformer(
        N_COMPONENTS, network=network, max_iter=2, warm_start=True, random_state=0
    )


@pytest.mark.parametrize("name", FITTED)
def test_digits_are_fitted_scored_cloned_and_pickled(name):
    model = small(FITTED[name]).fit(DIGITS)
    scores = model.score_samples(DIGITS)
    assert np.isfinite(scores).all()
    assert len(model.sample(3, random_state=0)) == 3
    order = np.random.default_rng(0).permutation(len(DIGITS))
    np.testing.assert_allclose(
        model.score_samples(DIGITS[order]), scores[order], rtol=1e-9
    )
    refitted = clone(model).fit(DIGITS)
    np.testing.assert_array_equal(refitted.score_samples(DIGITS), scores)
    loaded = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(loaded.score_samples(DIGITS), scores)
    # The loaded model knows its network again, and goes on.
    loaded.fit(DIGITS)
    model.fit(DIGITS)
    np.testing.assert_array_equal(
        loaded.score_samples(DIGITS), model.score_samples(DIGITS)
    )


@pytest.mark.parametrize("name", FITTED)
def test_going_on_with_another_network_is_refused(name):
    model = small(FITTED[name]).fit(DIGITS)
    with pytest.raises(ValueError, match="network"):
        model.set_params(network=MLP((3,))).fit(DIGITS)
