"""Convolutional networks against those of torch, and what they refuse."""

import math

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from skvae import VAETransformer
from skvae.likelihoods import Gaussian
from skvae.networks import ConvNet

IMAGES = [(1, 8, 8), (1, 28, 28), (3, 7, 5), (2, 1, 9)]
N_COMPONENTS, N_ROWS = 4, 6

generator = torch.Generator()


def normal(*shape):
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def random_weights(network):
    generator.manual_seed(0)
    return {name: 0.3 * normal(*shape) for name, shape in network.shapes.items()}


def load(layers, weights):
    """Copy weights, which are in the order of the layers' own, into torch's layers."""
    own = [parameter for layer in layers for parameter in layer.parameters()]
    with torch.no_grad():
        for parameter, weight in zip(own, weights, strict=True):
            is_matrix = weight.ndim == 2
            parameter.copy_(weight.T if is_matrix else weight)


@pytest.mark.parametrize("image_shape", IMAGES, ids=str)
@pytest.mark.parametrize("kernel_size", [1, 3, 5])
def test_encoder_is_that_of_torch(image_shape, kernel_size):
    settings = ConvNet(image_shape, (5, 3), kernel_size, "elu")
    n_pixels = math.prod(image_shape)
    network = settings.encoder(n_pixels, N_COMPONENTS, 2)
    weights = random_weights(network)
    x = normal(N_ROWS, n_pixels)
    convolution = {"stride": 2, "padding": kernel_size // 2, "dtype": x.dtype}
    layers = [
        nn.Unflatten(1, image_shape),
        nn.Conv2d(image_shape[0], 5, kernel_size, **convolution),
        nn.ELU(),
        nn.Conv2d(5, 3, kernel_size, **convolution),
        nn.ELU(),
        nn.Flatten(),
    ]
    # Far pixels are drawn in to at most four standard deviations.
    drawn_in = x / (1 + (x / 4).square()).sqrt()
    n_left = nn.Sequential(*layers)(drawn_in).shape[1]
    layers.append(nn.Linear(n_left, N_COMPONENTS + 2, dtype=x.dtype))
    path = weights.pop("linear_path")
    load(layers, weights.values())
    expected = nn.Sequential(*layers)(drawn_in)
    expected[:, :N_COMPONENTS] += x @ path
    found = network({**weights, "linear_path": path}, x)
    torch.testing.assert_close(torch.cat(found, 1), expected)


@pytest.mark.parametrize("image_shape", IMAGES, ids=str)
@pytest.mark.parametrize("kernel_size", [1, 3, 5])
@pytest.mark.parametrize("n_images", [1, 2])
def test_decoder_is_that_of_torch(image_shape, kernel_size, n_images):
    settings = ConvNet(image_shape, (5, 3), kernel_size, "elu")
    n_pixels = math.prod(image_shape)
    network = settings.decoder(N_COMPONENTS, n_pixels, (n_images - 1) * n_pixels)
    weights = random_weights(network)
    z = normal(N_ROWS, N_COMPONENTS)
    n_channels, height, width = image_shape
    halves = [(height, width)]
    for _ in range(2):
        halves.append(tuple(math.ceil(side / 2) for side in halves[-1]))
    # One more line of pixels where the larger side is even.
    even = [tuple((side + 1) % 2 for side in size) for size in halves]
    transposed = {"stride": 2, "padding": kernel_size // 2, "dtype": z.dtype}
    layers = [
        nn.Linear(N_COMPONENTS, 3 * math.prod(halves[2]), dtype=z.dtype),
        nn.Unflatten(1, (3, *halves[2])),
        nn.ELU(),
        nn.ConvTranspose2d(3, 5, kernel_size, output_padding=even[1], **transposed),
        nn.ELU(),
        nn.ConvTranspose2d(
            5,
            n_images * n_channels,
            kernel_size,
            output_padding=even[0],
            bias=False,
            **transposed,
        ),
        nn.Flatten(),
    ]
    path, bias = weights.pop("linear_path"), weights.pop("last_bias")
    load(layers, weights.values())
    expected = nn.Sequential(*layers)(z) + bias
    expected[:, :n_pixels] += z @ path
    found = network({**weights, "linear_path": path, "last_bias": bias}, z)
    torch.testing.assert_close(torch.cat(found, 1), expected)


def test_what_is_seen_moves_along_with_what_is_shown():
    """Two layers of stride 2: four pixels on, one place on."""
    network = ConvNet((1, 32, 32), (5, 3), linear_path=False).encoder(1024, 2, 0)
    weights = random_weights(network)
    # Two outputs that read the second channel, at neighbours on a diagonal.
    places = torch.zeros(3, 8, 8, 2, dtype=torch.float64)
    places[1, 3, 3, 0] = places[1, 4, 4, 1] = 1
    weights["last_weight"] = places.view(-1, 2)
    weights["last_bias"] = torch.zeros(2, dtype=torch.float64)
    image = torch.zeros(1, 1, 32, 32, dtype=torch.float64)
    image[..., 8:20, 8:20] = normal(12, 12)
    moved = image.roll((4, 4), dims=(2, 3))
    (before,), _ = network(weights, image.flatten(1))
    (after,), _ = network(weights, moved.flatten(1))
    assert before[0] != before[1]
    torch.testing.assert_close(after[1], before[0])


@pytest.mark.parametrize(
    "arguments",
    [
        {"image_shape": (8, 8)},
        {"image_shape": 64},
        {"image_shape": (1, 8, 0)},
        {"image_shape": (1, 8.0, 8)},
        {"channels": ()},
        {"channels": 32},
        {"channels": (32, 0)},
        {"kernel_size": 4},
        {"kernel_size": 0},
        {"kernel_size": 3.0},
        {"activation": "sigmoid"},
    ],
    ids=str,
)
def test_bad_settings_are_refused(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        ConvNet(**{"image_shape": (1, 8, 8), **arguments})


DIGITS = load_digits().data[:100]
HOLES = DIGITS.copy()
HOLES[::2, 5] = np.nan


@pytest.mark.parametrize(
    ("rows", "likelihood", "message"),
    [
        (DIGITS[:, 1:], "auto", "64 pixels.*63 numbers a row.*one column"),
        (HOLES, "auto", "64 pixels.*65 numbers a row.*no holes"),
        (DIGITS, {0: "bernoulli"}, "64 locations and 63 other"),
        (DIGITS, "binned", "one likelihood"),
    ],
)
def test_rows_that_are_no_images_are_refused(rows, likelihood, message):
    model = VAETransformer(4, network=ConvNet((1, 8, 8)), likelihood=likelihood)
    with pytest.raises(ValueError, match=rf"(?s)image_shape=\(1, 8, 8\).*{message}"):
        model.fit(rows)


def test_columns_that_are_put_in_another_order_are_refused():
    rows = np.where(np.arange(64) % 2, DIGITS > 7, DIGITS)
    mixed = {j: "bernoulli" if j % 2 else Gaussian("feature") for j in range(64)}
    model = VAETransformer(4, network=ConvNet((1, 8, 8)), likelihood=mixed)
    with pytest.raises(ValueError, match=r"pixels in their order.*one likelihood"):
        model.fit(rows)


@pytest.mark.parametrize(
    "likelihood", ["bernoulli", "poisson", Gaussian("feature"), Gaussian()], ids=str
)
def test_likelihoods_with_one_or_two_outputs_a_pixel(likelihood):
    rows = (DIGITS > 7).astype(float)
    network = ConvNet((1, 8, 8), (4,))
    model = VAETransformer(
        3, network=network, likelihood=likelihood, max_iter=1, random_state=0
    )
    codes = model.fit(rows).transform(rows)
    assert model.inverse_transform(codes).shape == rows.shape


def test_holes_in_later_rows_are_left_out_of_the_score():
    model = VAETransformer(
        3, network=ConvNet((1, 8, 8), (4,)), max_iter=1, random_state=0
    )
    scores = model.fit(DIGITS).score_samples(HOLES)
    assert np.isfinite(scores).all()
