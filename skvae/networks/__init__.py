"""Encoder and decoder: functions of named weights that live outside them.

A network says which weights it needs, starts them, and maps rows to two groups of
outputs: *locations*, which have the linear path, and *others*, which have not. The
contract is written out in `Network`.
"""

from skvae.networks.base import (
    ACTIVATIONS,
    Network,
    NetworkFunction,
    plus_product,
)
from skvae.networks.convolutional import ConvNet
from skvae.networks.mlp import MLP, Linear, Perceptron
from skvae.networks.modules import Modules
from skvae.networks.residual import Residual

__all__ = [
    "ACTIVATIONS",
    "MLP",
    "ConvNet",
    "Linear",
    "Modules",
    "Network",
    "NetworkFunction",
    "Perceptron",
    "Residual",
    "plus_product",
]

#: What a name may stand for; the others need to be told about images, or modules.
FAMILIES: dict[str, type[Network]] = {
    "mlp": MLP,
    "linear": Linear,
    "residual": Residual,
}
