"""The code of a deterministic autoencoder: a point, and no distribution."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from skvae.posteriors.base import Codes, Posterior
from skvae.posteriors.gaussian import Gaussian

__all__ = ["Point"]


@dataclass(frozen=True)
class Point(Posterior):
    """All mass at one code. It has no density, and no divergence from a prior.

    Examples
    --------
    >>> from skvae.posteriors import Point
    >>> Point()
    Point()
    """

    prior: ClassVar[str] = "gaussian"
    can_start_linear: ClassVar[bool] = True

    def n_outputs(self, n_components):
        return n_components, 0

    def linear_start(self, loadings, noise_variance):
        matrix, locations, _ = Gaussian().linear_start(loadings, noise_variance)
        return matrix, locations, locations.new_empty(0)

    def noise(self, shape, generator):
        return torch.zeros((1, *shape[1:]), device=generator.device)

    def __call__(self, locations, others):
        return PointCodes(locations)


@dataclass(frozen=True)
class PointCodes(Codes):
    """A code for each row."""

    mean: torch.Tensor

    def rsample(self, noise):
        return self.mean + noise

    def kl_divergence(self, prior):
        return torch.zeros_like(self.mean)
