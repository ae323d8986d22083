"""Codes that are one of a number of classes: gone through, not drawn."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from skvae import priors
from skvae.posteriors.base import Codes, Posterior

__all__ = ["Categorical"]


@dataclass(frozen=True)
class Categorical(Posterior):
    """One of n_components classes; the code of a row is its class's indicator.

    The sum over classes is exact: bounds have no noise, and log p(x) is its value, not
    an estimate. `transform` gives the probability of each class. With a linear decoder
    and a normal likelihood the model is a Gaussian mixture with equal weights.

    References
    ----------
    C. M. Bishop, "Pattern Recognition and Machine Learning" (2006), section 9.2.

    Examples
    --------
    >>> from skvae.posteriors import Categorical
    >>> Categorical()
    Categorical()
    """

    support: ClassVar[str] = "classes"
    prior: ClassVar[str] = "categorical"
    is_discrete: ClassVar[bool] = True
    can_start_linear: ClassVar[bool] = True

    def n_outputs(self, n_components: int) -> tuple[int, int]:
        return n_components, 0

    def linear_start(
        self, loadings: Tensor, noise_variance: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        # The log-odds of classes around means that are the loadings.
        weighted = loadings / noise_variance
        offsets = -0.5 * (weighted * loadings).sum(1)
        return weighted.T, offsets, offsets.new_empty(0)

    def noise(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        classes = torch.eye(shape[-1], dtype=torch.float32, device=generator.device)
        single = classes.view(-1, *(1 for _ in shape[1:-1]), shape[-1])
        return single.expand(-1, *shape[1:])

    def carry(self, uniforms: Tensor) -> Tensor:
        return torch.eye(uniforms.shape[1], dtype=uniforms.dtype, device="cpu")

    def sample(self, codes: Codes, generator: torch.Generator) -> Tensor:
        drawn = torch.multinomial(codes.mean.double(), 1, generator=generator)
        return torch.zeros_like(codes.mean, dtype=torch.float64).scatter(1, drawn, 1.0)

    def contains(self, Z: np.ndarray) -> np.ndarray:
        return (Z >= 0) & (abs(Z.sum(1, keepdims=True) - 1) < 1e-3)

    def __call__(self, locations: Tensor, others: Tensor) -> Codes:
        return CategoricalCodes(torch.log_softmax(locations, -1))


@dataclass(frozen=True)
class CategoricalCodes(Codes):
    """Probabilities of classes, for each row."""

    log_probabilities: Tensor

    @property
    def mean(self) -> Tensor:
        return self.log_probabilities.exp()

    def rsample(self, noise: Tensor) -> Tensor:
        """Every class: of shape (n_classes, n_rows, n_classes)."""
        return noise.expand(len(noise), *self.log_probabilities.shape)

    def log_prob(self, z: Tensor) -> Tensor:
        # A product with a one-hot vector would be NaN where the logarithm is -inf.
        log_probabilities, z = torch.broadcast_tensors(self.log_probabilities, z)
        return log_probabilities.gather(-1, z.argmax(-1, keepdim=True)).squeeze(-1)

    def log_shares(self) -> Tensor | None:
        return self.log_probabilities.movedim(-1, 0)

    def kl_divergence(self, prior: priors.Prior) -> Tensor | None:
        if not isinstance(prior, priors.Categorical):
            return None
        log_ratio = self.log_probabilities + math.log(self.log_probabilities.shape[-1])
        return (self.mean * log_ratio).sum(-1, keepdim=True)
