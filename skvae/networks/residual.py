"""Residual networks: blocks that add to what they read."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from skvae.networks.base import ACTIVATIONS, Network, check_activation, check_size
from skvae.networks.mlp import Perceptron

__all__ = ["Residual"]


@dataclass(frozen=True)
class Residual(Network):
    """Residual blocks of one width, in the encoder and likewise in the decoder.

    An affine map brings rows to the width. Each block then adds
    ``a(a(h) @ W_1 + b_1) @ W_2 + b_2`` to its input h, with the activation a before
    the matrices, and a last affine map follows another activation. There is no
    normalisation: blocks begin as the identity instead, so that the depth does not
    change how training starts.

    Parameters
    ----------
    width : int, default=64
        Of the hidden layers.
    n_blocks : int, default=2
        Residual blocks, of two layers each.
    activation : str, default="silu"
        "elu", "gelu", "identity", "logistic", "relu", "silu", "softplus" or "tanh".
    linear_path : bool, default=True
        Whether a linear map stands beside the blocks, in the encoder's mean and in the
        decoder's mean. It is what ``init="pca"`` starts from.

    Raises
    ------
    ValueError
        If `width` or `n_blocks` is not a positive integer or the activation is unknown.

    References
    ----------
    K. He et al., "Identity mappings in deep residual networks", ECCV 2016, figure 4e,
    without its normalisation. H. Zhang, Y. Dauphin and T. Ma, "Fixup initialization",
    ICLR 2019, section 3, for the start.

    Examples
    --------
    >>> from skvae.networks import Residual
    >>> Residual(width=128, n_blocks=3)
    Residual(width=128, n_blocks=3, activation='silu', linear_path=True)
    """

    width: int = 64
    n_blocks: int = 2
    activation: str = "silu"
    linear_path: bool = True

    def __post_init__(self) -> None:
        check_size("width", self.width)
        check_size("n_blocks", self.n_blocks)
        check_activation(self.activation)

    def encoder(self, n_inputs: int, n_locations: int, n_others: int) -> Perceptron:
        return self._blocks(n_inputs, n_locations, n_others, bounded=True)

    def decoder(self, n_components: int, n_locations: int, n_others: int) -> Perceptron:
        return self._blocks(n_components, n_locations, n_others, bounded=False)

    def _blocks(
        self, n_inputs: int, n_locations: int, n_others: int, bounded: bool
    ) -> Perceptron:
        return ResidualPerceptron(
            n_inputs,
            (self.width,) * (1 + 2 * self.n_blocks),
            n_locations,
            n_others,
            activation=ACTIVATIONS[self.activation],
            linear_path=self.linear_path,
            bounded=bounded,
        )


class ResidualPerceptron(Perceptron):
    """A perceptron whose layers after the first are paired in residual blocks."""

    def __call__(
        self, weights: Mapping[str, Tensor], x: Tensor
    ) -> tuple[Tensor, Tensor]:
        hidden = self.affine(weights, 0, self.bounded_input(x))
        for layer in range(1, self.depth, 2):
            inner = self.affine(weights, layer, self.activation(hidden))
            added = self.affine(weights, layer + 1, self.activation(inner))
            hidden = hidden + added
        return self.outputs(weights, self.activation(hidden), x)

    def start_random(
        self, weights: Mapping[str, Tensor], generator: torch.Generator
    ) -> None:
        """Glorot-uniform matrices, but for the second of each block, which is zero."""
        super().start_random(weights, generator)
        for layer in range(2, self.depth, 2):
            weights[f"weight_{layer}"].zero_()
