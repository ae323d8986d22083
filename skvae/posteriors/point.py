"""The code of a deterministic autoencoder: a point, and no distribution."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from skvae import priors
from skvae.posteriors.base import Codes, Posterior

__all__ = ["Point"]

#: Loadings weaker than the strongest by this factor are rounding, and are not read.
_WEAKEST = 1e-6


@dataclass(frozen=True)
class Point(Posterior):
    """All mass at one code. It has no density, and no divergence from a prior.

    That of `AETransformer`; a variational autoencoder can be trained with it, but has
    no scores then.

    Examples
    --------
    >>> from skvae.posteriors import Point
    >>> Point()
    Point()
    """

    prior: ClassVar[str] = "gaussian"
    can_start_linear: ClassVar[bool] = True

    def n_outputs(self, n_components: int) -> tuple[int, int]:
        return n_components, 0

    def linear_start(
        self, loadings: Tensor, noise_variance: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        # Least squares: the projection, which does not shrink as a posterior mean does.
        matrix = torch.linalg.pinv(loadings, rtol=_WEAKEST)
        return matrix, matrix.new_zeros(len(loadings)), matrix.new_empty(0)

    def noise(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        return torch.zeros(
            (1, *shape[1:]), dtype=torch.float32, device=generator.device
        )

    def __call__(self, locations: Tensor, others: Tensor) -> Codes:
        return PointCodes(locations)


@dataclass(frozen=True)
class PointCodes(Codes):
    """A code for each row."""

    mean: Tensor

    def rsample(self, noise: Tensor) -> Tensor:
        return self.mean.unsqueeze(0)

    def log_prob(self, z: Tensor) -> Tensor:
        raise TypeError(
            "A point has no density: with posterior=Point() there are neither scores "
            "nor importance weights."
        )

    def kl_divergence(self, prior: priors.Prior) -> Tensor | None:
        # Counted as nothing, so that the bound is the reconstruction alone.
        return torch.zeros_like(self.mean)
