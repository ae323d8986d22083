"""NumPy beside torch: arrays and tensors that share memory.

On the CPU a call of NumPy costs a third of one of torch's, which is what small networks
spend their time on, and its products and logarithms are faster on some processors. The
hand-written passes are written in what both have under one name, as ``xp``: NumPy on
the CPU, torch on other devices. `benchmarks/speed.py` measures what that gains.
"""

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, TypeAlias, TypeVar

import numpy as np
import torch
from torch import Tensor

__all__ = [
    "LARGEST_SOFTPLUS",
    "Array",
    "ValueAndGradient",
    "as_array",
    "as_tensor",
    "column_sums",
    "namespace",
    "on_tensors",
    "row_sums",
    "sigmoid",
    "softplus",
    "tanh",
]

#: What a function for both libraries is given, and gives: all of one kind.
Array = TypeVar("Array", np.ndarray, Tensor)
#: Upper bound of learned scales: their inverses, and draws, are finite in float32.
LARGEST_SOFTPLUS = 1e30
#: Of a likelihood: log-probabilities of rows, then gradients with respect to locations,
#: others and own weights.
ValueAndGradient: TypeAlias = tuple[Array, Array, Array, dict[str, Array]]


def namespace(array: np.ndarray | Tensor) -> Any:
    """The module that the functions of an array, or of a tensor, are in."""
    return np if isinstance(array, np.ndarray) else torch


def as_array(tensor: Tensor) -> Any:
    """A tensor without gradients as an array of the same memory, if on the CPU."""
    return tensor.numpy() if tensor.device.type == "cpu" else tensor


def as_tensor(array: np.ndarray | Tensor) -> Tensor:
    """Inverse of `as_array`; what is a tensor remains itself."""
    return torch.from_numpy(array) if isinstance(array, np.ndarray) else array


def row_sums(x: Array) -> Array:
    """Sums over the last dimension, as a product: many times as fast as NumPy's sum."""
    return x @ _ones(x, x.shape[-1])


def column_sums(x: Array) -> Array:
    """Sums over rows, the last dimension but one, likewise."""
    return _ones(x, x.shape[-2]) @ x


def _ones(x: Array, n: int) -> Array:
    if isinstance(x, np.ndarray):
        return np.ones(n, x.dtype)
    return x.new_ones(n)


def tanh(x: Array) -> Array:
    """Of an array or a tensor: torch's takes many times as long on some processors."""
    if isinstance(x, np.ndarray):
        return np.tanh(x)
    if x.requires_grad or x.device.type != "cpu":
        return torch.tanh(x)
    return torch.from_numpy(np.tanh(x.numpy()))


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)), of an array or a tensor."""
    value = tanh(x / 2)
    value += 1
    value /= 2
    return value


def softplus(x: Array) -> Array:
    """log(1 + exp(x)), and `LARGEST_SOFTPLUS` at most, of an array or a tensor."""
    xp = namespace(x)
    return x.clip(0.0, LARGEST_SOFTPLUS) + xp.log1p(xp.exp(-abs(x)))


def on_tensors(
    value_and_gradient: Callable[
        [Any, Tensor, Tensor, Mapping[str, Tensor], Tensor, Tensor | None],
        ValueAndGradient[Tensor],
    ],
) -> Callable[
    [Any, Array, Array, Mapping[str, Array], Array, Array | None],
    ValueAndGradient[Array],
]:
    """Let a likelihood's method of this name, written in torch, take arrays too."""

    @wraps(value_and_gradient)
    def wrapper(
        self: Any,
        locations: Any,
        others: Any,
        own: Mapping[str, Any],
        targets: Any,
        observed: Any,
    ) -> Any:
        log_prob, d_locations, d_others, d_own = value_and_gradient(
            self,
            as_tensor(locations),
            as_tensor(others),
            {name: as_tensor(weight) for name, weight in own.items()},
            as_tensor(targets),
            None if observed is None else as_tensor(observed),
        )
        if namespace(locations) is torch:
            return log_prob, d_locations, d_others, d_own
        return (
            as_array(log_prob),
            as_array(d_locations),
            as_array(d_others),
            {name: as_array(gradient) for name, gradient in d_own.items()},
        )

    return wrapper
