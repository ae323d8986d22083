"""Perceptrons: shapes, the affine start, the linear path."""

import pytest
import torch

from skvae.networks import ACTIVATIONS, MLP

N_INPUTS, N_LOCATIONS, N_OTHERS = 5, 3, 2


def weights_of(network):
    return {name: torch.empty(shape) for name, shape in network.shapes.items()}


def rows(n_rows=7):
    return torch.randn(n_rows, N_INPUTS, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("sizes", [(), (4,), (6, 4)], ids=str)
@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_linear_start_is_affine_to_the_bit(sizes, activation):
    network = MLP(sizes, activation).encoder(N_INPUTS, N_LOCATIONS, N_OTHERS)
    weights = weights_of(network)
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(N_INPUTS, N_LOCATIONS, generator=generator)
    locations, others = torch.arange(3.0), torch.tensor([5.0, 6.0])
    network.start_linear(weights, generator, matrix, locations, others)
    found_locations, found_others = network(weights, rows())
    torch.testing.assert_close(found_locations, rows() @ matrix + locations)
    torch.testing.assert_close(found_others, others.expand(7, 2))


def test_decoder_mirrors_the_encoder():
    encoder = MLP((6, 4)).encoder(N_INPUTS, 2, 2)
    decoder = MLP((6, 4)).decoder(2, N_INPUTS, 0)
    assert encoder.shapes["weight_0"] == (N_INPUTS, 6)
    assert decoder.shapes["weight_0"] == (2, 4)
    assert decoder.shapes["weight_2"] == (6, N_INPUTS)


def test_without_a_linear_path_there_is_none():
    assert "linear_path" in MLP((4,)).encoder(5, 3, 2).shapes
    assert "linear_path" not in MLP((4,), linear_path=False).encoder(5, 3, 2).shapes
    assert "linear_path" not in MLP(()).encoder(5, 3, 2).shapes
    assert not MLP((4,), linear_path=False).encoder(5, 3, 2).can_start_linear


def test_hidden_layers_of_the_encoder_are_bounded_far_from_the_data():
    network = MLP((6,), "relu", linear_path=False).encoder(N_INPUTS, 3, 0)
    weights = weights_of(network)
    network.start_random(weights, torch.Generator().manual_seed(0))
    near, _ = network(weights, 1e3 * rows())
    far, _ = network(weights, 1e6 * rows())
    torch.testing.assert_close(near, far, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize(
    "arguments",
    [
        {"hidden_layer_sizes": (0,)},
        {"hidden_layer_sizes": (2.5,)},
        {"activation": "sigmoid"},
    ],
    ids=str,
)
def test_bad_settings_are_refused(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        MLP(**arguments)
