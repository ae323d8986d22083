"""Perceptrons run by hand in buffers, against the same ones run by torch."""

import math
from itertools import product

import pytest
import torch

from skvae import likelihoods, networks, posteriors, priors
from skvae.core import passes
from skvae.core.arrays import as_tensor
from skvae.core.model import Model
from skvae.core.passes import Forward, Pass
from skvae.core.reader import Reader
from skvae.networks import ACTIVATIONS, Perceptron
from skvae.networks.base import INPUT_BOUND

N_ROWS, N_INPUTS, N_LOCATIONS, N_OTHERS = 6, 5, 4, 2
MEMBERS = 3
#: Of single rows: up to a million standard deviations from the middle.
SIZES_OF_ROWS = torch.tensor([0.0, 1e-2, 1.0, 10.0, 1e3, 1e6], dtype=torch.float64)
TOLERANCES = {torch.float64: 1e-12, torch.float32: 1e-5}

#: Activation, hidden layers, linear path, bounded or not.
GEOMETRIES = list(
    product(sorted(ACTIVATIONS), [(), (7,), (7, 3)], [True, False], [True, False])
)
every_activation = pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
every_geometry = pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
alone_and_together = pytest.mark.parametrize("members", [(), (MEMBERS,)], ids=str)
both_precisions = pytest.mark.parametrize("dtype", TOLERANCES, ids=str)

generator = torch.Generator()


def normal(*shape):
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def perceptron(activation="silu", sizes=(7, 3), linear_path=True, bounded=True):
    return Perceptron(
        N_INPUTS,
        sizes,
        N_LOCATIONS,
        N_OTHERS,
        activation=ACTIVATIONS[activation],
        linear_path=linear_path,
        bounded=bounded,
    )


def weights_of(network, *members):
    generator.manual_seed(0)
    n_weights = sum(math.prod(shape) for shape in network.shapes.values())
    return 0.5 * normal(*members, n_weights)


def rows(*members, furthest=1e6):
    sizes = SIZES_OF_ROWS.clamp(max=furthest)
    return normal(*members, N_ROWS, N_INPUTS) * sizes[:, None]


def named(network, flat):
    """The weights by name, views of the flat vector."""
    sizes = [math.prod(shape) for shape in network.shapes.values()]
    parts = zip(network.shapes.items(), flat.split(sizes, -1), strict=True)
    return {name: part.unflatten(-1, shape) for (name, shape), part in parts}


def autograd(network, flat, x, gradients, run=None):
    """Gradients of the flat vector and of the rows, given those of the outputs."""
    leaves = [part.clone().requires_grad_() for part in (flat, x)]
    weights = named(network, leaves[0])
    outputs = (run or network)(weights, leaves[1])
    total = sum((part * g).sum() for part, g in zip(outputs, gradients, strict=True))
    return torch.autograd.grad(total, leaves)


def assert_agree(ours, theirs, tolerance=1e-12, dim=None):
    """To within a share of the largest entry, or of that along a dimension."""
    ours = as_tensor(ours)
    assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
    largest = theirs.abs().amax(dim, keepdim=True)
    assert ((ours - theirs).abs() <= tolerance * largest).all()


def assert_outputs_agree(ours, theirs, tolerance=1e-12):
    for one, other in zip(ours, theirs, strict=True):
        assert_agree(one, other, tolerance, dim=-1)


# ---- forwards and backwards ----------------------------------------------------------


@both_precisions
@alone_and_together
@every_geometry
def test_outputs_are_those_of_torch(geometry, members, dtype):
    network = perceptron(*geometry)
    flat = weights_of(network, *members).to(dtype)
    in_buffers, before = Pass(network, flat, N_ROWS), flat.clone()
    for _ in range(2):
        x = rows(*members).to(dtype)
        given = x.clone()
        outputs = in_buffers.forward(passes.as_array(x))
        expected = network(named(network, flat), x)
        assert_outputs_agree(outputs, expected, TOLERANCES[dtype])
        assert torch.equal(x, given)
    assert torch.equal(flat, before)


@both_precisions
@alone_and_together
@every_geometry
def test_gradients_are_those_of_autograd(geometry, members, dtype):
    network = perceptron(*geometry)
    flat = weights_of(network, *members).to(dtype)
    gradient, before = torch.full_like(flat, math.nan), flat.clone()
    in_buffers = Pass(network, flat, N_ROWS, gradient)
    # Far out float32 does not tell the slope of a hyperbolic tangent from 0.
    furthest = 1e6 if dtype == torch.float64 else 10.0
    for _ in range(2):
        x = rows(*members, furthest=furthest).to(dtype)
        given = x.clone()
        outputs = in_buffers.forward(passes.as_array(x))
        g = [normal(*part.shape).to(dtype) for part in outputs]
        for part in outputs:
            part[...] = math.nan  # they may be changed
        in_buffers.d_locations[...], in_buffers.d_others[...] = map(passes.as_array, g)
        d_x = in_buffers.backward(with_input=True)
        expected, d_x_expected = autograd(network, flat, x, g)
        for name, theirs in named(network, expected).items():
            assert_agree(named(network, gradient)[name], theirs, TOLERANCES[dtype])
        assert_agree(d_x, d_x_expected, TOLERANCES[dtype])
        assert torch.equal(x, given)
    assert torch.equal(flat, before)


@every_activation
@pytest.mark.parametrize("sizes", [(), (7, 3)], ids=str)
def test_the_gradient_of_the_rows_is_left_out_unless_asked_for(activation, sizes):
    network = perceptron(activation, sizes)
    flat, x = weights_of(network), rows()
    found = []
    for with_input in (False, True):
        gradient = torch.full_like(flat, math.nan)
        in_buffers = Pass(network, flat, N_ROWS, gradient)
        in_buffers.forward(passes.as_array(x))
        in_buffers.d_locations[...], in_buffers.d_others[...] = 1.0, -2.0
        d_x = in_buffers.backward(with_input=with_input)
        assert (d_x is not None) == with_input
        found.append(gradient)
    assert torch.equal(*found)


def test_weights_are_read_anew():
    network = perceptron()
    flat, x = weights_of(network), rows()
    gradient = torch.zeros_like(flat)
    in_buffers = Pass(network, flat, N_ROWS, gradient)
    in_buffers.forward(passes.as_array(x))
    flat *= -0.5
    outputs = in_buffers.forward(passes.as_array(x))
    assert_outputs_agree(outputs, network(named(network, flat), x))
    in_buffers.d_locations[...], in_buffers.d_others[...] = 1.0, 1.0
    d_x = in_buffers.backward(with_input=True)
    ones = map(torch.ones_like, map(as_tensor, outputs))
    assert_agree(d_x, autograd(network, flat, x, ones)[1])


def test_slope_of_a_cell_beyond_the_bound():
    # One cell and one weight of 1: the bound is all that stands before the output.
    network = Perceptron(
        1, (), 1, 0, activation=torch.relu, linear_path=False, bounded=True
    )
    flat = torch.tensor([1.0, 0.0], dtype=torch.float64)
    x = torch.tensor([[0.0], [4.0], [-40.0], [4e3], [4e6]], dtype=torch.float64)
    in_buffers = Pass(network, flat, len(x), torch.zeros_like(flat))
    locations, _ = in_buffers.forward(passes.as_array(x))
    in_buffers.d_locations[...] = 1.0
    slope = in_buffers.backward(with_input=True)
    # f(x) = x (1 + (x / 4)^2)^(-1/2) has the slope (1 + (x / 4)^2)^(-3/2).
    root = torch.hypot(torch.ones_like(x), x / INPUT_BOUND)
    assert_agree(locations, x / root, 1e-14, dim=-1)
    assert_agree(slope, root**-3, 1e-14, dim=-1)


# ---- without gradients ---------------------------------------------------------------


def in_buffers_and_by_torch(activation="silu", sizes=(7, 3)):
    """The same function of rows twice."""
    network = perceptron(activation, sizes)
    flat = weights_of(network)
    weights, forward = named(network, flat), Forward(network, flat)
    return (lambda x: forward(weights, x)), (lambda x: network(weights, x))


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_any_number_of_rows(mode):
    ours, theirs = in_buffers_and_by_torch()
    for n_rows in (6, 2, 6, 1, 0, 3):
        x = rows()[:n_rows]
        with mode():
            assert_outputs_agree(ours(x), theirs(x))


@every_activation
@pytest.mark.parametrize("sizes", [(), (7, 3)], ids=str)
def test_buffers_made_in_inference_mode_are_used_outside_of_it(activation, sizes):
    ours, theirs = in_buffers_and_by_torch(activation, sizes)
    for mode in (torch.inference_mode, torch.no_grad, torch.inference_mode):
        x = rows()
        with mode():
            assert_outputs_agree(ours(x), theirs(x))


def test_outputs_stay_what_they_are():
    ours, theirs = in_buffers_and_by_torch()
    with torch.no_grad():
        first = ours(rows())
        copies = [part.clone() for part in first]
        second = ours(rows())
        for one, copied, other in zip(first, copies, second, strict=True):
            assert torch.equal(one, copied)
            other.fill_(math.nan)  # which spoils no buffer
        x = rows()
        assert_outputs_agree(ours(x), theirs(x))


def test_gradients_flow_where_they_are_asked_for():
    network, x = perceptron(), rows()
    flat = weights_of(network)
    forward = Forward(network, flat)
    with torch.no_grad():
        ones = [torch.ones_like(part) for part in forward(named(network, flat), x)]
    found = autograd(network, flat, x, ones, run=forward)
    for ours, theirs in zip(found, autograd(network, flat, x, ones), strict=True):
        assert torch.equal(ours, theirs)


@every_activation
@pytest.mark.parametrize("linear_path", [True, False])
@pytest.mark.parametrize("bounded", [True, False])
def test_huge_inputs_give_no_warning(activation, linear_path, bounded):
    network = perceptron(activation, (7,), linear_path, bounded)
    flat = weights_of(network).abs()  # no infinity less another one
    x = torch.full((2, N_INPUTS), 1e200, dtype=torch.float64)
    x[1] = 1e308
    with torch.no_grad():
        ours = Forward(network, flat)(named(network, flat), x)
        theirs = network(named(network, flat), x)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=0, equal_nan=True)


@pytest.mark.parametrize(
    ("network", "replaced"),
    [
        (networks.MLP((7, 3)), True),
        (networks.MLP(()), True),
        (networks.Residual(), False),
    ],
    ids=str,
)
def test_models_run_perceptrons_in_buffers_and_no_other_network(network, replaced):
    model = Model(
        Reader(N_INPUTS),
        N_INPUTS,
        2,
        network=network,
        likelihood=likelihoods.Gaussian("feature"),
        posterior=posteriors.Gaussian(),
        prior=priors.Gaussian(),
    )
    generator.manual_seed(0)
    flat = 0.3 * normal(model.n_weights)
    weights, x, z = model.views(flat), normal(N_ROWS, N_INPUTS), normal(4, N_ROWS, 2)

    def answers():
        with torch.no_grad():
            codes, columns = model.encode(weights, x), model.decode(weights, z)
        return codes.mean, codes.log_scale, columns.mean

    by_torch = answers()
    model.run_in_buffers(flat)
    for part in (model.encoder, model.decoder):
        assert isinstance(part, Forward) == replaced
    torch.testing.assert_close(answers(), by_torch)
