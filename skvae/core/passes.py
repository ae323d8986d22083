"""Perceptrons run forwards and backwards, by hand, in buffers that are used again.

In memory a layer's biases follow its matrix: both together are one matrix, of inputs
with a last column of ones. So a layer is one product, and so is its gradient.
"""

from collections.abc import Callable, Mapping
from itertools import pairwise, zip_longest
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from skvae.core.arrays import as_array, as_tensor, namespace
from skvae.core.interrupts import UsualModes, call_within
from skvae.networks import ACTIVATIONS, Perceptron
from skvae.networks.base import INPUT_BOUND

__all__ = ["Forward", "Pass"]

_aten = torch.ops.aten

#: Rows of a buffer begin at multiples of so many numbers: a cache line of float32.
_ALIGNMENT = 16

#: Activations, from the input x to where the outcome y goes: in the place of x where
#: the derivative reads y alone. NumPy's hyperbolic tangent is many times as fast as
#: torch's on processors that are not Intel's.
_FUNCTIONS = {
    "elu": lambda x, y: _aten.elu.out(x, out=y),
    # In torch 2.13 `gelu.out` fills float32 rows that are apart in memory wrongly.
    "gelu": lambda x, y: y.copy_(functional.gelu(x)),
    "identity": lambda x, y: y,
    "logistic": lambda x, y: torch.sigmoid_(y),
    "relu": lambda x, y: torch.relu_(y),
    "silu": lambda x, y: _aten.silu.out(x, out=y),
    "softplus": lambda x, y: _aten.softplus.out(x, out=y),
    "tanh": lambda x, y: _tanh_(as_array(y)),
}
#: Their derivatives: the gradient g of the outcome becomes that of the input x, in
#: place. Those that read the outcome y alone can do without the input.
_DERIVATIVES_BY_OUTCOME = {
    "identity": lambda g, y: g,
    "logistic": lambda g, y: _aten.sigmoid_backward.grad_input(g, y, grad_input=g),
    "relu": lambda g, y: _aten.threshold_backward.grad_input(g, y, 0.0, grad_input=g),
    "tanh": lambda g, y: _aten.tanh_backward.grad_input(g, y, grad_input=g),
}
_DERIVATIVES_BY_INPUT = {
    "elu": lambda g, x: _aten.elu_backward.grad_input(
        g, 1.0, 1.0, 1.0, False, x, grad_input=g
    ),
    "gelu": lambda g, x: _aten.gelu_backward.grad_input(g, x, grad_input=g),
    "silu": lambda g, x: _aten.silu_backward.grad_input(g, x, grad_input=g),
    "softplus": lambda g, x: _aten.softplus_backward.grad_input(
        g, x, 1.0, 20.0, grad_input=g
    ),
}
_NAME_OF = {function: name for name, function in ACTIVATIONS.items()}


def _tanh_(y: Any) -> None:
    namespace(y).tanh(y, out=y)


class Pass:
    """A perceptron and the buffers for some number of rows.

    Parameters
    ----------
    network : Perceptron
    weights : Tensor of shape (n_weights,) or (n_members, n_weights)
        The network's own part of the flat vector; read anew at each call.
    n_rows : int
    gradient : Tensor or None, default=None
        Like `weights`: where `backward` writes. None: forwards only.
    """

    def __init__(
        self,
        network: Perceptron,
        weights: Tensor,
        n_rows: int,
        gradient: Tensor | None = None,
    ) -> None:
        self.network = network
        self.n_rows = n_rows
        self._weights = _matrices(network, weights)
        self._gradient: Any = None if gradient is None else _matrices(network, gradient)
        name = _NAME_OF[network.activation]
        self._function = _FUNCTIONS[name]
        by_outcome = name in _DERIVATIVES_BY_OUTCOME
        derivatives = _DERIVATIVES_BY_OUTCOME if by_outcome else _DERIVATIVES_BY_INPUT
        self._derivative = derivatives[name]

        def buffer(width: int) -> Any:
            return as_array(weights.new_zeros((*weights.shape[:-1], n_rows, width)))

        n_inputs, *sizes, n_outputs = network.widths
        read = [_with_ones(buffer, width) for width in (n_inputs, *sizes)]
        #: What each layer reads, without the ones.
        after = [rows[..., :-1] for rows in read]
        # An outcome may take the place of its input where the input is not asked for.
        in_place = gradient is None or by_outcome
        before = after[1:] if in_place else [buffer(width) for width in sizes]
        outputs = buffer(n_outputs)
        self._inputs = after[0]
        self._layers = list(
            zip(read, self._weights["layers"], [*before, outputs], strict=True)
        )
        self._hidden = [
            (as_tensor(x), as_tensor(y)) for x, y in zip(before, after[1:], strict=True)
        ]
        self._locations = outputs[..., : network.n_locations]
        self._others = outputs[..., network.n_locations :]
        if "linear_path" in self._weights:
            self._linear = buffer(network.n_locations)
        if gradient is not None:
            self._prepare_backward(buffer, before, read)

    def _prepare_backward(
        self, buffer: Callable[[int], Any], before: list[Any], read: list[Any]
    ) -> None:
        """The buffers of `backward`, and what it goes through, from the last layer."""
        n_locations = self.network.n_locations
        gradients = [buffer(width) for width in self.network.widths]
        #: Where the gradients of the outputs are to be written.
        self.d_locations = gradients[-1][..., :n_locations]
        self.d_others = gradients[-1][..., n_locations:]
        self._d_inputs = gradients[0]
        self._through_linear = buffer(self.network.widths[0])
        of_layers = [
            (rows.mT, outcome, place, matrix[..., :-1, :].mT, inputs)
            for rows, outcome, place, matrix, inputs in zip(
                read,
                gradients[1:],
                self._gradient["layers"],
                self._weights["layers"],
                gradients[:-1],
                strict=True,
            )
        ]
        hidden = [
            (as_tensor(gradient), as_tensor(x))
            for gradient, x in zip(gradients[1:-1], before, strict=True)
        ]
        self._backwards = list(zip(of_layers, [None, *hidden], strict=True))[::-1]

    def forward(self, x: Any) -> tuple[Any, Any]:
        """Locations and others of rows x, until the next call.

        They may be changed before `backward` is called; x may not.
        """
        xp = namespace(x)
        self._x = x
        # What `draw_in` is to the networks that autograd runs.
        divisor = _root(x) if self.network.bounded else 1.0
        xp.divide(x, divisor, out=self._inputs)
        for (rows, matrix, before), hidden in zip_longest(self._layers, self._hidden):
            xp.matmul(rows, matrix, out=before)
            if hidden is not None:
                self._function(*hidden)
        if "linear_path" in self._weights:
            xp.matmul(x, self._weights["linear_path"], out=self._linear)
            self._locations += self._linear
        return self._locations, self._others

    def backward(self, with_input: bool = False) -> Any:
        """Write the gradients of the weights, from `d_locations` and `d_others`.

        Returns
        -------
        gradient : ndarray, Tensor or None
            That of the rows, if asked for; the next call overwrites it.
        """
        xp = namespace(self.d_locations)
        for (rows, outcome, place, matrix, inputs), hidden in self._backwards:
            xp.matmul(rows, outcome, out=place)
            if hidden is not None or with_input:
                xp.matmul(outcome, matrix, out=inputs)
            if hidden is not None:
                self._derivative(*hidden)
        if "linear_path" in self._weights:
            path = self._gradient["linear_path"]
            xp.matmul(self._x.mT, self.d_locations, out=path)
        return self._through_rows(xp) if with_input else None

    def _through_rows(self, xp: Any) -> Any:
        gradient = self._d_inputs
        if self.network.bounded:
            gradient = gradient / _root(self._x) ** 3
        if "linear_path" in self._weights:
            path = self._weights["linear_path"]
            xp.matmul(self.d_locations, path.mT, out=self._through_linear)
            gradient = gradient + self._through_linear
        return gradient


class Forward:
    """A perceptron that runs in buffers where no gradient is asked for.

    Parameters
    ----------
    network : Perceptron
    weights : Tensor of shape (n_weights,)
        As for `Pass`; those that it will be called with.
    """

    def __init__(self, network: Perceptron, weights: Tensor) -> None:
        self.network = network
        self._weights = weights
        self._pass: Pass | None = None

    def __call__(
        self, weights: Mapping[str, Tensor], x: Tensor
    ) -> tuple[Tensor, Tensor]:
        """As the perceptron itself."""
        if torch.is_grad_enabled():
            return self.network(weights, x)
        # Out of reach of a handler of signals, which may ask the model something.
        work, self._pass = self._pass, None
        if work is None or work.n_rows != len(x):
            # Buffers made in inference mode could not be written to outside of it.
            start = self.network, self._weights, len(x)
            work = call_within((UsualModes(),), Pass, *start)
        with np.errstate(all="ignore"):  # as torch does
            locations, others = work.forward(as_array(x))
        outputs = as_tensor(locations).clone(), as_tensor(others).clone()
        self._pass = work
        return outputs


def _matrices(network: Perceptron, flat: Tensor) -> dict[str, Any]:
    """The layers, biases last, and the linear path: views of a flat vector."""
    matrices: dict[str, Any] = {"layers": []}
    offset = 0
    for fan_in, fan_out in pairwise(network.widths):
        size = (fan_in + 1) * fan_out
        cut = flat[..., offset : offset + size].unflatten(-1, (fan_in + 1, fan_out))
        matrices["layers"].append(as_array(cut))
        offset += size
    if "linear_path" in network.shapes:
        shape = network.shapes["linear_path"]
        matrices["linear_path"] = as_array(flat[..., offset:].unflatten(-1, shape))
    return matrices


def _root(x: Any) -> Any:
    """What brings x within the bound of the hidden layers' inputs."""
    squares = x * (1 / INPUT_BOUND)
    squares *= squares
    squares += 1
    return namespace(x).sqrt(squares, out=squares)


def _with_ones(buffer: Callable[[int], Any], width: int) -> Any:
    """A buffer whose last column is, and remains, one."""
    stride = -(-(width + 1) // _ALIGNMENT) * _ALIGNMENT
    rows = buffer(stride)[..., : width + 1]
    rows[..., -1] = 1.0
    return rows
