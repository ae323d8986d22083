"""Perceptrons: fully connected layers, with a linear path beside them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from skvae.networks.base import (
    ACTIVATIONS,
    Network,
    check_activation,
    check_sizes,
    draw_in,
    plus_product,
    start_glorot,
)
from skvae.settings import Shapes

__all__ = ["MLP", "Linear", "Perceptron"]


@dataclass(frozen=True)
class MLP(Network):
    """Fully connected encoder; the decoder mirrors it.

    Parameters
    ----------
    hidden_layer_sizes : tuple of int, default=(64, 32)
        Widths of the encoder's hidden layers, from the data inwards. ``()`` is the
        purely linear model.
    activation : str, default="silu"
        "elu", "gelu", "identity", "logistic", "relu", "silu", "softplus" or "tanh".
    linear_path : bool, default=True
        Whether a linear map stands beside the hidden layers, in the encoder's mean
        and in the decoder's mean. It is what ``init="pca"`` starts from; without it
        the network is the textbook one, and starts at random.

    Raises
    ------
    ValueError
        If a width is not a positive integer or the activation is unknown.

    Examples
    --------
    >>> from skvae.networks import MLP
    >>> MLP((128,), activation="relu", linear_path=False)
    MLP(hidden_layer_sizes=(128,), activation='relu', linear_path=False)
    """

    hidden_layer_sizes: tuple[int, ...] = (64, 32)
    activation: str = "silu"
    linear_path: bool = True

    def __post_init__(self) -> None:
        check_sizes("hidden_layer_sizes", self.hidden_layer_sizes)
        check_activation(self.activation)

    def encoder(self, n_inputs: int, n_locations: int, n_others: int) -> "Perceptron":
        sizes = tuple(self.hidden_layer_sizes)
        return self._perceptron(n_inputs, sizes, n_locations, n_others, bounded=True)

    def decoder(
        self, n_components: int, n_locations: int, n_others: int
    ) -> "Perceptron":
        sizes = tuple(self.hidden_layer_sizes)[::-1]
        return self._perceptron(
            n_components, sizes, n_locations, n_others, bounded=False
        )

    def _perceptron(
        self,
        n_inputs: int,
        sizes: tuple[int, ...],
        n_locations: int,
        n_others: int,
        bounded: bool,
    ) -> "Perceptron":
        return Perceptron(
            n_inputs,
            sizes,
            n_locations,
            n_others,
            activation=ACTIVATIONS[self.activation],
            linear_path=self.linear_path and bool(sizes),
            bounded=bounded and bool(sizes),
        )


@dataclass(frozen=True)
class Linear(Network):
    """Encoder and decoder without hidden layers: the same model as ``MLP(())``.

    With a Gaussian likelihood of ``scale="shared"`` its optimum is that of
    probabilistic PCA, with ``scale="feature"`` that of factor analysis.

    References
    ----------
    M. E. Tipping and C. M. Bishop, "Probabilistic principal component analysis",
    Journal of the Royal Statistical Society B 61 (1999), equation 2. J. Lucas et al.,
    "Don't blame the ELBO! A linear VAE perspective on posterior collapse", NeurIPS
    2019, section 4.

    Examples
    --------
    >>> from skvae.networks import Linear
    >>> Linear()
    Linear()
    """

    def encoder(self, n_inputs: int, n_locations: int, n_others: int) -> "Perceptron":
        return MLP(()).encoder(n_inputs, n_locations, n_others)

    def decoder(
        self, n_components: int, n_locations: int, n_others: int
    ) -> "Perceptron":
        return MLP(()).decoder(n_components, n_locations, n_others)


class Perceptron:
    """One multilayer perceptron, with or without a linear path beside it.

    Parameters
    ----------
    n_inputs : int
        Numbers that are read of a row.
    sizes : tuple of int
        Widths of the hidden layers.
    n_locations, n_others : int
        Outputs with the linear path, and without.
    activation : callable
        From a tensor to one of the same shape: one of `ACTIVATIONS`.
    linear_path : bool
        Whether there is one.
    bounded : bool
        Whether the hidden layers read numbers that are far out as if they were nearer.

    Attributes
    ----------
    depth : int
        Number of hidden layers.
    can_start_linear : bool
        Whether the network can begin as an affine map.
    shapes : dict of str to tuple
        The weights that it needs. Matrices are (n_inputs, n_outputs), and a layer's
        biases follow its matrix: `core.passes` relies on this order.
    widths : tuple of int
        Of what each layer reads, and of the outputs.

    Examples
    --------
    >>> import torch
    >>> from skvae.networks import Perceptron
    >>> perceptron = Perceptron(
    ...     4, (16,), 2, 2, activation=torch.relu, linear_path=True, bounded=False
    ... )
    >>> perceptron.shapes["linear_path"]
    (4, 2)
    """

    def __init__(
        self,
        n_inputs: int,
        sizes: tuple[int, ...],
        n_locations: int,
        n_others: int,
        *,
        activation: Callable[[Tensor], Tensor],
        linear_path: bool,
        bounded: bool,
    ) -> None:
        self.n_locations = n_locations
        self.bounded = bounded
        self.activation = activation
        self.depth = len(sizes)
        self.widths = (n_inputs, *sizes, n_locations + n_others)
        self.shapes: Shapes = {}
        for layer, (fan_in, fan_out) in enumerate(pairwise(self.widths)):
            self.shapes[f"weight_{layer}"] = (fan_in, fan_out)
            self.shapes[f"bias_{layer}"] = (fan_out,)
        if linear_path:
            self.shapes["linear_path"] = (n_inputs, n_locations)

    @property
    def can_start_linear(self) -> bool:
        """Whether the network can begin as an affine map."""
        return self.depth == 0 or "linear_path" in self.shapes

    def __call__(
        self, weights: Mapping[str, Tensor], x: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Outputs for rows.

        Several perceptrons run at once where weights and rows have a further dimension,
        one entry a member of an ensemble, in front.

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
        hidden = self.bounded_input(x)
        for layer in range(self.depth):
            hidden = self.activation(self.affine(weights, layer, hidden))
        return self.outputs(weights, hidden, x)

    def bounded_input(self, x: Tensor) -> Tensor:
        """What the first hidden layer reads.

        Parameters
        ----------
        x : Tensor of shape (n_rows, n_inputs)
            Rows or codes.

        Returns
        -------
        x : Tensor of shape (n_rows, n_inputs)
            The same, drawn in where the perceptron is bounded.
        """
        return draw_in(x) if self.bounded else x

    def affine(self, weights: Mapping[str, Tensor], layer: int, x: Tensor) -> Tensor:
        """A layer before its activation.

        Parameters
        ----------
        weights : dict of str to Tensor
            By the names of `shapes`.
        layer : int
            Which one, from 0.
        x : Tensor of shape (n_rows, n_read)
            What it reads.

        Returns
        -------
        outputs : Tensor of shape (n_rows, n_given)
            What it gives.
        """
        bias, matrix = weights[f"bias_{layer}"], weights[f"weight_{layer}"]
        return plus_product(bias if x.ndim == 2 else bias.unsqueeze(1), x, matrix)

    def outputs(
        self, weights: Mapping[str, Tensor], hidden: Tensor, x: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Locations and others, from the last hidden layer and the linear path.

        Parameters
        ----------
        weights : dict of str to Tensor
            By the names of `shapes`.
        hidden : Tensor of shape (n_rows, n_read)
            The last hidden layer, after its activation.
        x : Tensor of shape (n_rows, n_inputs)
            Rows or codes.

        Returns
        -------
        locations : Tensor of shape (n_rows, n_locations)
            Outputs with the linear path.
        others : Tensor of shape (n_rows, n_others)
            The other outputs.
        """
        outputs = self.affine(weights, self.depth, hidden)
        locations = outputs[..., : self.n_locations]
        if "linear_path" in weights:
            locations = plus_product(locations, x, weights["linear_path"])
        return locations, outputs[..., self.n_locations :]

    def start_random(
        self, weights: Mapping[str, Tensor], generator: torch.Generator
    ) -> None:
        """Write Glorot-uniform matrices and zero biases, in place.

        Parameters
        ----------
        weights : dict of str to Tensor
            By the names of `shapes`.
        generator : torch.Generator
            The only source of chance.
        """
        start_glorot(weights, generator)

    def start_linear(
        self,
        weights: Mapping[str, Tensor],
        generator: torch.Generator,
        matrix: Tensor,
        locations: Tensor,
        others: Tensor,
    ) -> None:
        """Begin as ``x @ matrix + locations`` with constant others, in place.

        The hidden layers are random and their last matrix is zero, so that they
        leave the affine map untouched until training calls for them.

        Parameters
        ----------
        weights : dict of str to Tensor
            By the names of `shapes`.
        generator : torch.Generator
            The only source of chance.
        matrix : Tensor of shape (n_inputs, n_locations)
            Slopes of the locations.
        locations : Tensor of shape (n_locations,)
            Locations at x = 0.
        others : Tensor of shape (n_others,)
            Other outputs.
        """
        self.start_random(weights, generator)
        last = weights[f"weight_{self.depth}"]
        last.zero_()
        weights[f"bias_{self.depth}"].copy_(torch.cat([locations, others]))
        if self.depth == 0:
            last[:, : self.n_locations] = matrix
        else:
            weights["linear_path"].copy_(matrix)
