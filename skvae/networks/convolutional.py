"""Convolutional networks, for images given as flat rows of pixels."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from numbers import Integral
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from skvae.networks.base import (
    ACTIVATIONS,
    Network,
    check_activation,
    check_sizes,
    draw_in,
    member_by_member,
    plus_product,
    start_glorot,
)
from skvae.settings import Shapes

__all__ = ["ConvNet"]

#: Rows and columns of pixels from one place of a kernel to the next.
_STRIDE = 2


@dataclass(frozen=True)
class ConvNet(Network):
    """Convolutions that halve the image layer by layer; the decoder mirrors them.

    Rows of X are images, a column a pixel, in the order of ``array.ravel()`` of an
    array (channel, row, column). All columns have likelihoods of one family, with a
    location a pixel, and one other output a pixel or none. Images of any size will do:
    a layer leaves ``ceil(size / 2)`` of either side.

    A last affine map of the encoder reads all that the convolutions leave, and a first
    one of the decoder brings codes to that shape. The decoder has a bias for each pixel
    of its own in place of one a channel.

    Parameters
    ----------
    image_shape : tuple of int
        (channels, height, width) of an image.
    channels : tuple of int, default=(32, 64)
        Channels that the encoder's convolutions give, from the image inwards.
    kernel_size : int, default=3
        Side of the kernels, an odd number.
    activation : str, default="silu"
        "elu", "gelu", "identity", "logistic", "relu", "silu", "softplus" or "tanh".
    linear_path : bool, default=True
        Whether a linear map from all pixels to the code's mean, and from the code to
        all means, stands beside the convolutions. It is what ``init="pca"`` starts
        from.

    Raises
    ------
    ValueError
        If `image_shape` or `channels` hold anything but positive integers, three in the
        former and at least one in the latter, `kernel_size` is not an odd positive
        integer, or the activation is unknown. In fit, if the columns are no such
        images.

    References
    ----------
    A. Radford, L. Metz and S. Chintala, "Unsupervised representation learning with deep
    convolutional generative adversarial networks", ICLR 2016, section 3, for strides in
    place of pooling. V. Dumoulin and F. Visin, "A guide to convolution arithmetic for
    deep learning", 2016, relationships 5 and 14, for the sizes.

    Examples
    --------
    >>> from skvae.networks import ConvNet
    >>> ConvNet((1, 28, 28), channels=(16, 32))
    ConvNet(image_shape=(1, 28, 28), channels=(16, 32), kernel_size=3, \
activation='silu', linear_path=True)
    """

    uses_threads: ClassVar[bool] = True

    image_shape: tuple[int, int, int]
    channels: tuple[int, ...] = (32, 64)
    kernel_size: int = 3
    activation: str = "silu"
    linear_path: bool = True

    def __post_init__(self) -> None:
        shape, channels = self.image_shape, self.channels
        if not isinstance(shape, tuple | list) or len(shape) != 3:
            raise ValueError(
                f"image_shape must be a tuple (channels, height, width), got {shape!r}"
            )
        if not isinstance(channels, tuple | list) or not channels:
            raise ValueError(
                f"channels must be a tuple of one integer a layer, got {channels!r}"
            )
        check_sizes("image_shape", shape)
        check_sizes("channels", channels)
        size = self.kernel_size
        if not isinstance(size, Integral) or size < 1 or size % 2 == 0:
            raise ValueError(
                f"kernel_size must be an odd positive integer, got {size!r}"
            )
        check_activation(self.activation)

    def encoder(self, n_inputs: int, n_locations: int, n_others: int) -> "ConvEncoder":
        """The map from images to the posterior's outputs.

        Parameters
        ----------
        n_inputs : int
            Numbers that are read of a row: one for each pixel.
        n_locations, n_others : int
            Outputs that the posterior wants: means and, of a Gaussian, log-scales.

        Returns
        -------
        encoder : NetworkFunction
            It holds no weights.

        Raises
        ------
        ValueError
            If a row has another number of inputs than an image has pixels.
        """
        n_pixels = math.prod(self.image_shape)
        if n_inputs != n_pixels:
            raise ValueError(
                f"The network's image_shape={tuple(self.image_shape)} has {n_pixels} "
                f"pixels, but the encoder reads {n_inputs} numbers a row. X must have "
                "one column of numbers for each pixel, in the order channel, row, "
                "column, and no holes in fit: each column with holes, and each level "
                "of a column of labels, adds a number that belongs to no pixel."
            )
        return ConvEncoder(self, n_locations, n_others)

    def decoder(
        self, n_components: int, n_locations: int, n_others: int
    ) -> "ConvDecoder":
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

        Raises
        ------
        ValueError
            If the likelihood wants other outputs than one or two images.
        """
        n_pixels = math.prod(self.image_shape)
        if n_locations != n_pixels or n_others not in (0, n_pixels):
            raise ValueError(
                f"The network's image_shape={tuple(self.image_shape)} has {n_pixels} "
                f"pixels, but the likelihood wants {n_locations} locations and "
                f"{n_others} other outputs: ConvNet gives a location a pixel, and "
                "another output for each pixel or for none. Give all columns one "
                'likelihood, such as "gaussian", "bernoulli" or "poisson".'
            )
        return ConvDecoder(self, n_components, n_others)


class _Convolutions:
    """What encoder and decoder share: sizes, the linear path, the start.

    Attributes
    ----------
    shapes : dict of str to tuple
        The weights that it needs. Matrices are (n_inputs, n_outputs), kernels have the
        shapes that torch gives them.
    """

    shapes: Shapes

    def __init__(self, settings: ConvNet, n_locations: int) -> None:
        self.n_locations = n_locations
        self._image_shape = tuple(settings.image_shape)
        self._channels = tuple(settings.channels)
        self._activation = ACTIVATIONS[settings.activation]
        self._kernel_size = settings.kernel_size
        self._padding = settings.kernel_size // 2
        #: Height and width of the image, and of what each layer leaves of it.
        self._sizes = [self._image_shape[1:]]
        for _ in self._channels:
            self._sizes.append(tuple(-(-side // _STRIDE) for side in self._sizes[-1]))
        #: Shape of what lies furthest from the image.
        self._inner_shape = (self._channels[-1], *self._sizes[-1])

    def _kernel(self, first: int, second: int) -> tuple[int, int, int, int]:
        return (first, second, self._kernel_size, self._kernel_size)

    @property
    def can_start_linear(self) -> bool:
        """Whether the network can begin as an affine map."""
        return "linear_path" in self.shapes

    def __call__(
        self, weights: Mapping[str, Tensor], x: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Outputs for rows x of shape (n_rows, n_inputs).

        Where weights and rows have a further dimension in front, of the members of an
        ensemble, so have the outputs.

        Returns
        -------
        locations : Tensor of shape (n_rows, n_locations)
        others : Tensor of shape (n_rows, n_others)
        """
        if x.ndim == 3:
            # Faster on the CPU than kernels in groups, which is how vmap would do it.
            return member_by_member(self, weights, x)
        outputs = self._outputs(weights, x)
        locations = outputs[:, : self.n_locations]
        if "linear_path" in weights:
            locations = plus_product(locations, x, weights["linear_path"])
        return locations, outputs[:, self.n_locations :]

    def _outputs(self, weights: Mapping[str, Tensor], x: Tensor) -> Tensor:
        """What comes through the convolutions: locations, then others."""
        raise NotImplementedError

    def start_random(
        self, weights: Mapping[str, Tensor], generator: torch.Generator
    ) -> None:
        """Glorot-uniform matrices and kernels and zero biases, in place."""
        start_glorot(weights, generator)

    def start_linear(
        self,
        weights: Mapping[str, Tensor],
        generator: torch.Generator,
        matrix: Tensor,
        locations: Tensor,
        others: Tensor,
    ) -> None:
        """Begin as ``x @ matrix + locations`` with constant others, in place."""
        self.start_random(weights, generator)
        weights["last_weight"].zero_()
        weights["last_bias"].copy_(torch.cat([locations, others]))
        weights["linear_path"].copy_(matrix)


class ConvEncoder(_Convolutions):
    """From images to means and others."""

    def __init__(self, settings: ConvNet, n_locations: int, n_others: int) -> None:
        super().__init__(settings, n_locations)
        n_inputs, n_outputs = math.prod(self._image_shape), n_locations + n_others
        self.shapes = {}
        layers = pairwise((self._image_shape[0], *self._channels))
        for layer, (n_read, n_given) in enumerate(layers):
            self.shapes[f"weight_{layer}"] = self._kernel(n_given, n_read)
            self.shapes[f"bias_{layer}"] = (n_given,)
        self.shapes["last_weight"] = (math.prod(self._inner_shape), n_outputs)
        self.shapes["last_bias"] = (n_outputs,)
        if settings.linear_path:
            self.shapes["linear_path"] = (n_inputs, n_locations)

    def _outputs(self, weights: Mapping[str, Tensor], x: Tensor) -> Tensor:
        hidden = draw_in(x).unflatten(1, self._image_shape)
        for layer in range(len(self._channels)):
            hidden = functional.conv2d(
                hidden,
                weights[f"weight_{layer}"],
                weights[f"bias_{layer}"],
                stride=_STRIDE,
                padding=self._padding,
            )
            hidden = self._activation(hidden)
        return plus_product(
            weights["last_bias"], hidden.flatten(1), weights["last_weight"]
        )


class ConvDecoder(_Convolutions):
    """From codes to one image of locations, and perhaps one of others."""

    def __init__(self, settings: ConvNet, n_components: int, n_others: int) -> None:
        n_pixels = math.prod(settings.image_shape)
        super().__init__(settings, n_pixels)
        n_inner = math.prod(self._inner_shape)
        self.shapes = {
            "first_weight": (n_components, n_inner),
            "first_bias": (n_inner,),
        }
        for layer, (n_read, n_given) in enumerate(pairwise(self._channels[::-1])):
            self.shapes[f"weight_{layer}"] = self._kernel(n_read, n_given)
            self.shapes[f"bias_{layer}"] = (n_given,)
        n_given = self._image_shape[0] * (1 + n_others // n_pixels)
        self.shapes["last_weight"] = self._kernel(self._channels[0], n_given)
        self.shapes["last_bias"] = (n_pixels + n_others,)
        if settings.linear_path:
            self.shapes["linear_path"] = (n_components, n_pixels)

    def _outputs(self, weights: Mapping[str, Tensor], x: Tensor) -> Tensor:
        hidden = plus_product(weights["first_bias"], x, weights["first_weight"])
        hidden = self._activation(hidden.unflatten(1, self._inner_shape))
        *inner_sizes, image_size = self._sizes[-2::-1]
        for layer, size in enumerate(inner_sizes):
            kernel, bias = weights[f"weight_{layer}"], weights[f"bias_{layer}"]
            hidden = self._activation(self._enlarged(hidden, size, kernel, bias))
        image = self._enlarged(hidden, image_size, weights["last_weight"])
        return image.flatten(1) + weights["last_bias"]

    def _enlarged(
        self,
        hidden: Tensor,
        size: tuple[int, ...],
        kernel: Tensor,
        bias: Tensor | None = None,
    ) -> Tensor:
        """A transposed convolution, to an even or odd size."""
        least = [_STRIDE * (side - 1) + 1 for side in hidden.shape[2:]]
        return functional.conv_transpose2d(
            hidden,
            kernel,
            bias,
            stride=_STRIDE,
            padding=self._padding,
            output_padding=[side - low for side, low in zip(size, least, strict=True)],
        )
