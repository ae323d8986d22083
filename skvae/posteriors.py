"""q(z|x): what the encoder believes about the code of a row.

A posterior turns the encoder's outputs into a distribution over z. Its draws are a
smooth function of the outputs and of noise that does not depend on them, so that
gradients pass (the reparameterisation of Kingma and Welling, 2014). In training the
noise is random; in scoring it is carried from fixed uniform points by inverse CDF.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch

from skvae import priors
from skvae.settings import Settings

__all__ = ["Gaussian", "Posterior"]

_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)

#: Bound of the log-scales: exp(+-8) covers every posterior that data can call for,
#: and keeps exp and its gradient finite whatever the encoder's input.
_LOG_SCALE_BOUND = 8.0


class Posterior(Settings):
    """Base of the posteriors."""


@dataclass(frozen=True)
class Gaussian(Posterior):
    """Normal posterior with independent components.

    References
    ----------
    D. P. Kingma and M. Welling, "Auto-Encoding Variational Bayes", ICLR 2014,
    equation 9 and appendix B.

    Examples
    --------
    >>> from skvae.posteriors import Gaussian
    >>> Gaussian()
    Gaussian()
    """

    def n_outputs(self, n_components):
        """Number of (locations, others) that the encoder must give."""
        return n_components, n_components

    def start(self, scale):
        """The others at which every row has these scales, of shape (n_components,)."""
        return _LOG_SCALE_BOUND * torch.atanh(scale.log() / _LOG_SCALE_BOUND)

    def noise(self, shape, generator):
        """Noise for training draws, float32, on the generator's device."""
        return torch.randn(
            shape, generator=generator, dtype=torch.float32, device=generator.device
        )

    def carry(self, uniforms):
        """Noise for scoring: the uniforms carried by the inverse CDF."""
        return torch.special.ndtri(uniforms)

    def unpack(self, locations, others):
        """Means, squashed others in (-1, 1), and the log-scales that they make."""
        squashed = torch.tanh(others / _LOG_SCALE_BOUND)
        return locations, squashed, _LOG_SCALE_BOUND * squashed

    def __call__(self, locations, others):
        """The posterior of each row, from outputs of shape (n_rows, n_components)."""
        mean, _, log_scale = self.unpack(locations, others)
        return GaussianCodes(mean, log_scale)


class GaussianCodes(NamedTuple):
    """Independent normal components, for each row."""

    mean: torch.Tensor
    log_scale: torch.Tensor

    def rsample(self, noise):
        """Draws of shape (n_draws, n_rows, n_components), smooth in the parameters."""
        return self.mean + self.log_scale.exp() * noise

    def log_prob(self, z):
        """Log-density of z, summed over components: (n_draws, n_rows)."""
        standardized = (z - self.mean) * (-self.log_scale).exp()
        terms = -0.5 * standardized.square() - (self.log_scale + _HALF_LOG_2PI)
        return terms.sum(-1)

    def kl_divergence(self, prior):
        """Closed KL to the prior, (n_rows, n_components); None where none is known."""
        if not isinstance(prior, priors.Gaussian):
            return None
        variance = (2 * self.log_scale).exp()
        return 0.5 * (variance + self.mean.square() - 1) - self.log_scale


FAMILIES = {"gaussian": Gaussian}
