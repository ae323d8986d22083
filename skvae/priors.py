"""p(z): where codes lie before a row is seen."""

import math
from dataclasses import dataclass

import torch

from skvae.settings import Settings

__all__ = ["Gaussian", "Prior"]


class Prior(Settings):
    """Base of the priors."""


@dataclass(frozen=True)
class Gaussian(Prior):
    """Standard normal: zero mean, unit variance, independent components.

    Examples
    --------
    >>> from skvae.priors import Gaussian
    >>> Gaussian()
    Gaussian()
    """

    def log_prob(self, z):
        """Log-density, summed over components: (..., n_components) to (...)."""
        normalizer = 0.5 * math.log(2 * math.pi) * z.shape[-1]
        return -0.5 * z.square().sum(-1) - normalizer

    def sample(self, n_samples, n_components, generator):
        """Draws of shape (n_samples, n_components), in float64."""
        return torch.randn(
            (n_samples, n_components),
            generator=generator,
            dtype=torch.float64,
            device=generator.device,
        )


FAMILIES = {"gaussian": Gaussian}
