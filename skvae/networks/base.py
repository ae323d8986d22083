"""What every network is: the contract, and what several of them share."""

import math
from collections.abc import Callable, Iterable, Mapping
from numbers import Integral
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from skvae.settings import Settings, Shapes

__all__ = [
    "ACTIVATIONS",
    "INPUT_BOUND",
    "Network",
    "NetworkFunction",
    "check_activation",
    "check_size",
    "check_sizes",
    "draw_in",
    "member_by_member",
    "plus_product",
    "start_glorot",
]

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "elu": functional.elu,
    "gelu": functional.gelu,
    "identity": lambda x: x,
    "logistic": torch.sigmoid,
    "relu": torch.relu,
    "silu": functional.silu,
    "softplus": functional.softplus,
    "tanh": torch.tanh,
}

#: Standardised inputs further out than this are drawn in, smoothly, on their way into
#: the encoder's hidden layers: far from the data the encoder then goes on as the
#: linear path does, and not as whatever the hidden layers extrapolate to.
INPUT_BOUND = 4.0


class NetworkFunction(Protocol):
    """An encoder or a decoder. `Network` says what each of these does.

    Attributes
    ----------
    shapes : dict of str to tuple
        Names and shapes of the weights that it needs.
    can_start_linear : bool
        Whether there is a `start_linear`.

    Examples
    --------
    >>> from skvae.networks import MLP
    >>> encoder = MLP((16,)).encoder(n_inputs=4, n_locations=2, n_others=2)
    >>> encoder.shapes["weight_0"], encoder.can_start_linear
    ((4, 16), True)
    """

    @property
    def shapes(self) -> Shapes:
        """Names and shapes of the weights that it needs."""

    @property
    def can_start_linear(self) -> bool:
        """Whether there is a `start_linear`."""

    def start_random(
        self, weights: Mapping[str, Tensor], generator: torch.Generator
    ) -> None:
        """Write first weights, in place.

        Parameters
        ----------
        weights : dict of str to Tensor
            By the names of `shapes`.
        generator : torch.Generator
            The only source of chance.
        """

    def __call__(
        self, weights: Mapping[str, Tensor], x: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Outputs for rows, each of which depends on its row and the weights alone.

        Parameters
        ----------
        weights : dict of str to Tensor
            By the names of `shapes`.
        x : Tensor of shape (n_rows, n_inputs)
            Rows or codes.

        Returns
        -------
        locations : Tensor of shape (n_rows, n_locations)
            Outputs with the linear path.
        others : Tensor of shape (n_rows, n_others)
            The other outputs.
        """


class Network(Settings):
    """Base of the networks: settings that make an encoder and a decoder.

    A family is a frozen dataclass with the two methods below. What they return holds
    no weights and has

    ``shapes`` : dict of str to tuple
        Names and shapes of the weights that it needs, none of them ``()``. The weights
        that it is handed are views, by these names, of one flat vector: in float32
        on the training device, in the precision of the answer when rows are scored.
    ``can_start_linear`` : bool
        Whether there is a `start_linear`. Where both networks have one, ``init="pca"``
        starts there; else training starts at random.
    ``start_random(weights, generator)``
        Write first weights, in place, with the generator as the only source of chance.
    ``start_linear(weights, generator, matrix, locations, others)``
        Write weights, in place, at which locations are ``x @ matrix + locations``, and
        others the same for every row. `matrix` is (n_inputs, n_locations), `locations`
        (n_locations,) and `others` (n_others,), all in float64.
    ``__call__(weights, x)``
        Locations (n_rows, n_locations) and others (n_rows, n_others) of rows
        (n_rows, n_inputs), differentiable in weights and rows. What a row gives
        depends on nothing but the row and the weights: not on chance, on other rows,
        or on earlier calls. Of an ensemble, weights, rows and both outputs have a
        dimension of members in front.

    Nothing else is asked of it, and nothing of where its outputs go.

    Attributes
    ----------
    uses_threads : bool
        Whether steps are long enough for torch's threads, which then are left as they
        are; else calls are limited to one thread.

    Examples
    --------
    >>> import torch
    >>> from skvae.networks import MLP
    >>> network = MLP((16,))
    >>> decoder = network.decoder(n_components=2, n_locations=4, n_others=4)
    >>> weights = {name: torch.empty(shape) for name, shape in decoder.shapes.items()}
    >>> decoder.start_random(weights, torch.Generator().manual_seed(0))
    >>> locations, others = decoder(weights, torch.zeros(5, 2))
    >>> locations.shape, others.shape
    (torch.Size([5, 4]), torch.Size([5, 4]))
    """

    uses_threads: ClassVar[bool] = False

    def encoder(
        self, n_inputs: int, n_locations: int, n_others: int
    ) -> NetworkFunction:
        """The map from rows to the posterior's outputs.

        Parameters
        ----------
        n_inputs : int
            Numbers that are read of a row: a number a column, a mark for each column
            with holes, indicators or looked-up vectors for levels.
        n_locations, n_others : int
            Outputs that the posterior wants: means and, of a Gaussian, log-scales.

        Returns
        -------
        encoder : NetworkFunction
            It holds no weights.
        """
        raise TypeError(f"{type(self).__name__} must define encoder")

    def decoder(
        self, n_components: int, n_locations: int, n_others: int
    ) -> NetworkFunction:
        """The map from codes to the likelihood's outputs.

        Parameters
        ----------
        n_components : int
            Width of the code.
        n_locations, n_others : int
            Outputs that the likelihood wants: for example means, and raw scales.

        Returns
        -------
        decoder : NetworkFunction
            It holds no weights.
        """
        raise TypeError(f"{type(self).__name__} must define decoder")


def check_size(name: str, size: Any) -> None:
    """Raise a ValueError, by the name of the setting, unless it is positive."""
    if not isinstance(size, Integral) or size < 1:
        raise ValueError(f"{name} must be a positive integer, got {size!r}")


def check_sizes(name: str, sizes: Iterable[Any]) -> None:
    """Raise a ValueError, by the name of the setting, unless all are positive."""
    for size in sizes:
        if not isinstance(size, Integral) or size < 1:
            raise ValueError(f"{name} must hold positive integers, got {sizes!r}")


def check_activation(activation: str) -> None:
    """Raise a ValueError unless there is an activation of that name."""
    if activation not in ACTIVATIONS:
        raise ValueError(
            f"activation must be one of {sorted(ACTIVATIONS)}, got {activation!r}"
        )


def draw_in(x: Tensor) -> Tensor:
    """What the hidden layers of an encoder read of standardised rows."""
    return x * (1 + (x * (1 / INPUT_BOUND)).square()).rsqrt()


def plus_product(added: Tensor, x: Tensor, matrix: Tensor) -> Tensor:
    """``added + x @ matrix``, of one network or of each of several.

    Parameters
    ----------
    added : Tensor of shape (n_outputs,) or (n_rows, n_outputs)
        Such as biases.
    x : Tensor of shape (n_rows, n_inputs)
        What the layer reads.
    matrix : Tensor of shape (n_inputs, n_outputs)
        Its weights. Of several networks all three have a dimension of them in front.

    Returns
    -------
    sum : Tensor of shape (n_rows, n_outputs)
        In one pass over memory.

    Examples
    --------
    >>> import torch
    >>> from skvae.networks import plus_product
    >>> plus_product(torch.ones(2), torch.ones(1, 3), torch.ones(3, 2))
    tensor([[4., 4.]])
    """
    fused = torch.addmm if x.ndim == 2 else torch.baddbmm
    return fused(added, x, matrix)


def start_glorot(weights: Mapping[str, Tensor], generator: torch.Generator) -> None:
    """Glorot-uniform matrices and kernels and zero biases, in place.

    References
    ----------
    X. Glorot and Y. Bengio, "Understanding the difficulty of training deep feedforward
    neural networks", AISTATS 2010, equation 16.
    """
    for tensor in weights.values():
        if tensor.ndim == 1:
            tensor.zero_()
        else:
            n_positions = math.prod(tensor.shape[2:])
            bound = math.sqrt(6 / (n_positions * sum(tensor.shape[:2])))
            tensor.uniform_(-bound, bound, generator=generator)


def member_by_member(
    network: Callable[[Mapping[str, Tensor], Tensor], tuple[Tensor, Tensor]],
    weights: Mapping[str, Tensor],
    x: Tensor,
) -> tuple[Tensor, Tensor]:
    """Locations and others of an ensemble's members, run one after the other."""
    outputs = [
        network({name: weight[e] for name, weight in weights.items()}, rows)
        for e, rows in enumerate(x)
    ]
    locations, others = zip(*outputs, strict=True)
    return torch.stack(locations), torch.stack(others)
