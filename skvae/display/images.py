"""Rows of X drawn as images, side by side in one axes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

__all__ = ["as_images", "draw_images", "frame_images"]

#: Between two images, as a share of the longer side of one.
_GAP = 0.08


def as_images(rows: np.ndarray, image_shape: Sequence[int] | None) -> np.ndarray:
    """Rows of numbers as images.

    Parameters
    ----------
    rows : ndarray of shape (n_images, n_features)
    image_shape : tuple of int
        (height, width), or (channels, height, width) as `ConvNet` has it, with 1 or 3
        channels: red, green, blue.

    Returns
    -------
    images : ndarray of shape (n_images, height, width) or (n_images, height, width, 3)

    Raises
    ------
    ValueError
        If `image_shape` is no such tuple, or has not one pixel for each column.
    """
    shape = tuple(image_shape) if isinstance(image_shape, tuple | list) else ()
    whole = all(isinstance(size, int | np.integer) and size > 0 for size in shape)
    grey_or_coloured = len(shape) == 2 or (len(shape) == 3 and shape[0] in (1, 3))
    if not whole or not grey_or_coloured:
        raise ValueError(
            "image_shape must be a tuple (height, width), or (channels, height, width) "
            f"with 1 or 3 channels, got {image_shape!r}."
        )
    if np.prod(shape) != rows.shape[1]:
        raise ValueError(
            f"image_shape={shape} stands for {np.prod(shape)} numbers a row, but X has "
            f"{rows.shape[1]} columns."
        )
    if shape[0] == 3 and len(shape) == 3:
        return np.moveaxis(rows.reshape(-1, *shape), 1, -1)
    return rows.reshape(-1, *shape[-2:])


def draw_images(
    ax: "Axes",
    images: np.ndarray,
    line: int,
    *,
    vmin: float,
    vmax: float,
    cmap: Any = "gray",
) -> "list[AxesImage]":
    """Draw images side by side, on a line of their own; lines count from the top.

    Parameters
    ----------
    ax : matplotlib Axes
    images : ndarray of shape (n_images, height, width) or (n_images, height, width, 3)
        NaN for holes, below which the axes is hatched.
    line : int
    vmin, vmax : float
        The numbers that the ends of the colour scale stand for.
    cmap : str or matplotlib Colormap, default="gray"
        Colours of the numbers in between. Images of three channels have their own.

    Returns
    -------
    artists : list of matplotlib AxesImage
    """
    height, width = images.shape[1:3]
    top = line * (height + _gap(images.shape[1:3]))
    if images.ndim == 4:
        images = ((images - vmin) / ((vmax - vmin) or 1.0)).clip(0, 1)
    artists = []
    for i, image in enumerate(images):
        left = i * (width + _gap(images.shape[1:3]))
        if np.isnan(image).any():
            ax.fill_between(
                [left, left + width],
                top,
                top + height,
                facecolor="none",
                edgecolor="0.6",
                linewidth=0,
                hatch="//////",
                zorder=-1,
            )
            if image.ndim == 3:  # transparent where a channel is a hole
                seen = ~np.isnan(image).any(axis=-1, keepdims=True)
                image = np.concatenate([np.nan_to_num(image), seen], axis=-1)
        artists.append(
            ax.imshow(
                image,
                extent=(left, left + width, top + height, top),
                vmin=vmin,
                vmax=vmax,
                cmap=cmap,
            )
        )
    return artists


def frame_images(
    ax: "Axes",
    shape: tuple[int, int],
    line_names: Sequence[str],
    image_names: Sequence[str],
) -> None:
    """Set the limits of an axes to its images, and name its lines and columns.

    Parameters
    ----------
    ax : matplotlib Axes
    shape : tuple of int
        (height, width) of an image.
    line_names, image_names : sequence of str
        From the top, and from the left.
    """
    height, width = shape
    tops = np.arange(len(line_names)) * (height + _gap(shape))
    lefts = np.arange(len(image_names)) * (width + _gap(shape))
    ax.set_xticks(lefts + width / 2, image_names, parse_math=False)
    ax.set_yticks(tops + height / 2, line_names, parse_math=False)
    ax.set(xlim=(0, lefts[-1] + width), ylim=(tops[-1] + height, 0), aspect="equal")
    ax.set_anchor("W")  # the names of lines stay where a layout has put them
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)


def _gap(shape: Sequence[int]) -> float:
    return _GAP * max(shape)
