"""p(z): where codes lie before a row is seen."""

import math
from dataclasses import dataclass
from numbers import Integral

import torch

from skvae.settings import Settings

__all__ = ["Aggregate", "Gaussian", "Mixture", "Prior"]


class Prior(Settings):
    """Base of the priors."""

    @property
    def in_training(self):
        """The prior that the model is trained with."""
        return self

    def after_training(self, mean, log_scale):
        """The prior once the posteriors of some training rows are known.

        Parameters
        ----------
        mean, log_scale : Tensor of shape (n_rows, n_components)
        """
        return self


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


@dataclass(frozen=True)
class Aggregate(Prior):
    """The posteriors of training rows, mixed, in place of the normal after training.

    The model is trained with the standard normal. Then p(z) becomes the mean of
    q(z|x_i) over a fixed set of training rows: the prior that maximises the evidence
    lower bound for that encoder. It closes the gap between the codes that the decoder
    was trained on and those that it is asked to decode.

    A draw starts at the code of one training row: do not use it where membership in the
    training table is a secret.

    Parameters
    ----------
    n_rows : int, default=20_000
        Training rows, at most. Samples come closer to the table with more of them, and
        scores take longer.

    Raises
    ------
    ValueError
        If `n_rows` is not a positive integer.

    References
    ----------
    M. D. Hoffman and M. J. Johnson, "ELBO surgery", 2016. J. M. Tomczak and M. Welling,
    "VAE with a VampPrior", AISTATS 2018, section 2. P. Ghosh et al., "From variational
    to deterministic autoencoders", ICLR 2020, for fitting a density after training.

    Examples
    --------
    >>> from skvae.priors import Aggregate
    >>> Aggregate(n_rows=2_000)
    Aggregate(n_rows=2000)
    """

    n_rows: int = 20_000

    def __post_init__(self):
        if not isinstance(self.n_rows, Integral) or self.n_rows < 1:
            raise ValueError(
                f"n_rows of Aggregate must be a positive integer, got {self.n_rows!r}"
            )

    @property
    def in_training(self):
        return Gaussian()

    def after_training(self, mean, log_scale):
        return Mixture(mean, log_scale)


class Mixture:
    """Equally likely normal distributions with independent components.

    Parameters
    ----------
    mean, log_scale : Tensor of shape (n_members, n_components)
    """

    def __init__(self, mean, log_scale):
        # In float64: narrow members far from 0 cancel in what follows.
        mean, log_scale = mean.double(), log_scale.double()
        self._mean, self._scale = mean, log_scale.exp()
        precision = (-2 * log_scale).exp()
        # Distances as one matrix product: (z - m)^2 / s^2, multiplied out.
        self._factors = torch.cat([-0.5 * precision, mean * precision], 1).T
        constant = math.log(len(mean)) + 0.5 * math.log(2 * math.pi) * mean.shape[1]
        self._offset = -0.5 * (mean.square() * precision).sum(1) - log_scale.sum(1)
        self._offset -= constant

    def log_prob(self, z):
        """Log-density, summed over components: (..., n_components) to (...)."""
        z, dtype = z.double(), z.dtype
        rows = torch.cat([z.square(), z], -1).view(-1, len(self._factors))
        parts = [
            torch.addmm(self._offset, few, self._factors).logsumexp(1)
            for few in rows.split(max(1, _ENTRIES_AT_ONCE // len(self._offset)))
        ]
        return torch.cat(parts).view(z.shape[:-1]).to(dtype)

    def sample(self, n_samples, n_components, generator):
        """Draws of shape (n_samples, n_components), in float64."""
        device = generator.device
        member = torch.randint(
            len(self._mean), (n_samples,), generator=generator, device=device
        )
        noise = Gaussian().sample(n_samples, n_components, generator)
        return self._mean[member] + self._scale[member] * noise


#: What a processor's cache holds: a third of the time of four times as many.
_ENTRIES_AT_ONCE = 250_000

FAMILIES = {"gaussian": Gaussian, "aggregate": Aggregate}
