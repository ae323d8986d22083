"""Perceptrons run by hand in buffers, against the same ones run by torch."""

import math
from types import SimpleNamespace

import pytest
import torch

from skvae import likelihoods, networks, posteriors, priors
from skvae.core import arrays, passes
from skvae.core.model import Model
from skvae.core.passes import Forward, Pass
from skvae.core.reader import Reader
from skvae.networks import ACTIVATIONS, Perceptron

N_ROWS, N_INPUTS, N_LOCATIONS, N_OTHERS = 6, 5, 4, 2
N_MEMBERS = 3
#: Of single rows: up to a million standard deviations from the middle.
SIZES_OF_ROWS = torch.tensor([0.0, 1e-2, 1.0, 10.0, 1e3, 1e6], dtype=torch.float64)
TOLERANCES = {torch.float64: 1e-12, torch.float32: 1e-5}

generator = torch.Generator()

every_activation = pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
every_geometry = pytest.mark.parametrize("bounded", [True, False])(
    pytest.mark.parametrize("linear_path", [True, False])(
        pytest.mark.parametrize("sizes", [(), (7,), (7, 3)], ids=str)(
            pytest.mark.parametrize("n_members", [None, N_MEMBERS])(every_activation)
        )
    )
)


def normal(*shape):
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def perceptron(sizes=(7, 3), activation="silu", linear_path=True, bounded=True):
    return Perceptron(
        N_INPUTS,
        sizes,
        N_LOCATIONS,
        N_OTHERS,
        activation=ACTIVATIONS[activation],
        linear_path=linear_path,
        bounded=bounded,
    )


def weights_of(network, n_members=None, dtype=torch.float64):
    generator.manual_seed(0)
    n_weights = sum(math.prod(shape) for shape in network.shapes.values())
    return 0.5 * normal(*_members(n_members), n_weights).to(dtype)


def rows(n_members=None, dtype=torch.float64):
    x = normal(*_members(n_members), N_ROWS, N_INPUTS)
    return (x * SIZES_OF_ROWS[:, None]).to(dtype)


def _members(n_members):
    return () if n_members is None else (n_members,)


def named(network, flat):
    """The weights by name, views of the flat vector."""
    sizes = [math.prod(shape) for shape in network.shapes.values()]
    parts = flat.split(sizes, -1)
    return {
        name: part.unflatten(-1, shape)
        for (name, shape), part in zip(network.shapes.items(), parts, strict=True)
    }


def by_hand(x):
    """What a pass reads and writes, on the road that is being tested."""
    return passes.as_array(x)


def by_autograd(network, flat, x, *gradients):
    """Gradients of the weights, by name, and of the rows."""
    weights = {
        name: w.clone().requires_grad_() for name, w in named(network, flat).items()
    }
    x = x.clone().requires_grad_()
    outputs = network(weights, x)
    total = sum((part * g).sum() for part, g in zip(outputs, gradients, strict=True))
    found = torch.autograd.grad(
        total, [*weights.values(), x], allow_unused=True, materialize_grads=True
    )
    return dict(zip(weights, found, strict=False)), found[-1]


def assert_rows_agree(ours, theirs, tolerance):
    """Each row to within a share of its largest entry."""
    ours = arrays.as_tensor(ours)
    assert ours.shape == theirs.shape
    largest = theirs.abs().amax(-1, keepdim=True)
    assert ((ours - theirs).abs() <= tolerance * largest).all()


# ---- forwards ------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@every_geometry
def test_outputs_are_those_of_torch(
    activation, n_members, sizes, linear_path, bounded, dtype
):
    network = perceptron(sizes, activation, linear_path, bounded)
    flat = weights_of(network, n_members, dtype)
    in_buffers = Pass(network, flat, N_ROWS)
    before = flat.clone()
    for _ in range(2):
        x = rows(n_members, dtype)
        given = x.clone()
        outputs = in_buffers.forward(by_hand(x))
        expected = network(named(network, flat), x)
        for part, theirs in zip(outputs, expected, strict=True):
            assert_rows_agree(part, theirs, TOLERANCES[dtype])
        assert torch.equal(x, given)
    assert torch.equal(flat, before)


def test_weights_are_read_anew():
    network = perceptron()
    flat, x = weights_of(network), rows()
    in_buffers = Pass(network, flat, N_ROWS)
    in_buffers.forward(by_hand(x))
    flat *= -0.5
    expected = network(named(network, flat), x)
    for part, theirs in zip(in_buffers.forward(by_hand(x)), expected, strict=True):
        assert_rows_agree(part, theirs, 1e-12)


# ---- backwards -----------------------------------------------------------------------


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@every_geometry
def test_gradients_are_those_of_autograd(
    activation, n_members, sizes, linear_path, bounded, dtype
):
    network = perceptron(sizes, activation, linear_path, bounded)
    flat = weights_of(network, n_members, dtype)
    gradient = torch.full_like(flat, math.nan)
    in_buffers = Pass(network, flat, N_ROWS, gradient)
    before = flat.clone()
    for _ in range(2):
        x = rows(n_members, dtype)
        given = x.clone()
        outputs = in_buffers.forward(by_hand(x))
        g = [normal(*part.shape).to(dtype) for part in outputs]
        for part, place, values in zip(
            outputs, (in_buffers.d_locations, in_buffers.d_others), g, strict=True
        ):
            part[...] = math.nan  # the outputs may be changed
            place[...] = by_hand(values)
        d_x = in_buffers.backward(with_input=True)
        weights, expected = by_autograd(network, flat, x, *g)
        assert_weights_agree(named(network, gradient), weights, TOLERANCES[dtype])
        # Autograd's own slope of a bounded cell is a difference of numbers near 1.
        assert_rows_agree(d_x, expected, TOLERANCES[dtype])
        assert torch.equal(x, given)
    assert torch.equal(flat, before)


def assert_weights_agree(ours, theirs, tolerance):
    for name, expected in theirs.items():
        error = (ours[name] - expected).abs().max()
        assert error <= tolerance * expected.abs().max(), name


@every_activation
@pytest.mark.parametrize("sizes", [(), (7, 3)], ids=str)
def test_the_gradient_of_the_rows_is_left_out_unless_asked_for(activation, sizes):
    network = perceptron(sizes, activation)
    flat, x = weights_of(network), rows()
    found = []
    for with_input in (False, True):
        gradient = torch.full_like(flat, math.nan)
        in_buffers = Pass(network, flat, N_ROWS, gradient)
        in_buffers.forward(by_hand(x))
        in_buffers.d_locations[...], in_buffers.d_others[...] = 1.0, -2.0
        d_x = in_buffers.backward(with_input=with_input)
        assert (d_x is not None) == with_input
        found.append(gradient)
    assert torch.equal(*found)


def test_slope_of_a_cell_beyond_the_bound():
    # Without hidden layers what is bounded is all that is read: one weight of 1.
    network = Perceptron(
        1, (), 1, 0, activation=torch.relu, linear_path=False, bounded=True
    )
    flat = torch.tensor([1.0, 0.0], dtype=torch.float64)
    x = torch.tensor([[0.0], [4.0], [-40.0], [4e3], [4e6]], dtype=torch.float64)
    in_buffers = Pass(network, flat, len(x), torch.zeros_like(flat))
    locations, _ = in_buffers.forward(by_hand(x))
    in_buffers.d_locations[...] = 1.0
    slope = arrays.as_tensor(in_buffers.backward(with_input=True))
    # f(x) = x (1 + (x / 4)^2)^(-1/2) has the slope (1 + (x / 4)^2)^(-3/2).
    root = torch.hypot(torch.ones_like(x), x / networks.base.INPUT_BOUND)
    torch.testing.assert_close(
        arrays.as_tensor(locations), x / root, rtol=1e-14, atol=0
    )
    torch.testing.assert_close(slope, root**-3, rtol=1e-14, atol=0)


# ---- the perceptron of a fitted model ------------------------------------------------


@pytest.fixture
def small():
    """A network, its flat vector and named weights, and the network in buffers."""
    network = perceptron()
    flat = weights_of(network)
    return SimpleNamespace(
        network=network,
        flat=flat,
        weights=named(network, flat),
        forward=Forward(network, flat),
    )


def assert_parts_agree(ours, theirs):
    for one, other in zip(ours, theirs, strict=True):
        assert_rows_agree(one, other, 1e-12)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_any_number_of_rows(small, mode):
    for n_rows in (6, 2, 6, 1, 0, 3):
        x = rows()[:n_rows]
        with mode():
            ours = small.forward(small.weights, x)
            assert_parts_agree(ours, small.network(small.weights, x))


@every_activation
@pytest.mark.parametrize("sizes", [(), (7, 3)], ids=str)
def test_buffers_made_in_inference_mode_are_used_outside_of_it(activation, sizes):
    network = perceptron(sizes, activation)
    flat = weights_of(network)
    forward, weights = Forward(network, flat), named(network, flat)
    for mode in (torch.inference_mode, torch.no_grad, torch.inference_mode):
        x = rows()
        with mode():
            assert_parts_agree(forward(weights, x), network(weights, x))


def test_outputs_stay_what_they_are(small):
    with torch.no_grad():
        first = small.forward(small.weights, rows())
        copies = [part.clone() for part in first]
        second = small.forward(small.weights, rows())
        for one, copied, other in zip(first, copies, second, strict=True):
            assert torch.equal(one, copied)
            assert not torch.equal(one, other)
            other.fill_(math.nan)
        x = rows()
        ours = small.forward(small.weights, x)
        assert_parts_agree(ours, small.network(small.weights, x))


def test_gradients_flow_where_they_are_asked_for(small):
    x = rows()
    with torch.no_grad():
        small.forward(small.weights, x)
    leaf = small.flat.clone().requires_grad_()
    read = x.clone().requires_grad_()
    outputs = small.forward(named(small.network, leaf), read)
    found = torch.autograd.grad(sum(part.sum() for part in outputs), [leaf, read])
    ones = [torch.ones_like(part) for part in outputs]
    weights, d_x = by_autograd(small.network, small.flat, x, *ones)
    assert_weights_agree(named(small.network, found[0]), weights, 1e-12)
    assert_rows_agree(found[1], d_x, 1e-12)


@every_activation
@pytest.mark.parametrize("linear_path", [True, False])
@pytest.mark.parametrize("bounded", [True, False])
def test_huge_inputs_are_treated_as_by_torch_and_give_no_warning(
    activation, linear_path, bounded
):
    network = perceptron((7,), activation, linear_path, bounded)
    flat = weights_of(network).abs()  # no infinity less another one
    x = torch.full((2, N_INPUTS), 1e200, dtype=torch.float64)
    x[1] = 1e308
    with torch.no_grad():
        ours = Forward(network, flat)(named(network, flat), x)
        theirs = network(named(network, flat), x)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=0, equal_nan=True)


# ---- models --------------------------------------------------------------------------


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
    expected = model.encode(weights, x), model.decode(weights, z)
    model.run_in_buffers(flat)
    for part in (model.encoder, model.decoder):
        assert isinstance(part, Forward) == replaced
    with torch.no_grad():
        found = model.encode(weights, x), model.decode(weights, z)
    torch.testing.assert_close(found[0].mean, expected[0].mean)
    torch.testing.assert_close(found[0].log_scale, expected[0].log_scale)
    torch.testing.assert_close(found[1].mean, expected[1].mean)
