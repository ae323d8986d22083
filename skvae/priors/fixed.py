"""Priors that nothing is learned of: the standard member of a family."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from skvae.priors.base import Prior

if TYPE_CHECKING:
    from skvae.posteriors.base import Posterior

__all__ = ["Categorical", "Gaussian", "Standard"]


@dataclass(frozen=True)
class Gaussian(Prior):
    """Standard normal: zero mean, unit variance, independent components.

    Examples
    --------
    >>> from skvae.priors import Gaussian
    >>> Gaussian()
    Gaussian()
    """

    def log_prob(self, z: Tensor) -> Tensor:
        """Log-density of codes.

        Parameters
        ----------
        z : Tensor of shape (..., n_components)
            Codes.

        Returns
        -------
        log_prob : Tensor of shape (...)
            In nats, summed over components.
        """
        normalizer = 0.5 * math.log(2 * math.pi) * z.shape[-1]
        return -0.5 * z.square().sum(-1) - normalizer

    def sample(
        self, n_samples: int, n_components: int, generator: torch.Generator
    ) -> Tensor:
        """Draws at random.

        Parameters
        ----------
        n_samples : int
            Number of draws.
        n_components : int
            Width of the code.
        generator : torch.Generator
            The only source of chance.

        Returns
        -------
        z : Tensor of shape (n_samples, n_components)
            Codes, of dtype float64, on the generator's device.
        """
        return torch.randn(
            (n_samples, n_components),
            generator=generator,
            dtype=torch.float64,
            device=generator.device,
        )


@dataclass(frozen=True)
class Standard(Prior):
    """The standard member of the posterior's own family, such as Exponential(1).

    What ``prior="auto"`` means for posteriors of other numbers than all real ones.

    Examples
    --------
    >>> from skvae.priors import Standard
    >>> Standard()
    Standard()
    """

    support: ClassVar[str | None] = None

    def check(self, posterior: Posterior, n_components: int) -> None:
        if posterior.has_edges and posterior.prior != "standard":
            raise ValueError(
                f"prior={self!r} has bounds, and most codes of posterior={posterior!r} "
                f'lie beyond them. Set prior="auto", which is "{posterior.prior}" here.'
            )

    def beside(self, posterior: Posterior) -> Prior:
        return _StandardOf(posterior)


class _StandardOf(Prior):
    """The standard member of a family of posteriors."""

    support = None

    def __init__(self, posterior: Posterior) -> None:
        self._posterior = posterior

    def is_standard_of(self, family: type[Posterior]) -> bool:
        return type(self._posterior) is family

    def log_prob(self, z: Tensor) -> Tensor:
        return self._posterior.unit(z.shape[-1], z).log_prob(z)

    def sample(
        self, n_samples: int, n_components: int, generator: torch.Generator
    ) -> Tensor:
        like = torch.zeros((), dtype=torch.float64, device=generator.device)
        unit = self._posterior.unit(n_components, like)
        rows = unit.mapped(lambda part: part.expand(n_samples, *part.shape[1:]))
        return self._posterior.sample(rows, generator)


@dataclass(frozen=True)
class Categorical(Prior):
    """Uniform over as many classes as there are components.

    For codes that are the indicator of a class, as under ``posterior="categorical"``.

    Examples
    --------
    >>> from skvae.priors import Categorical
    >>> Categorical()
    Categorical()
    """

    support: ClassVar[str | None] = "classes"

    def log_prob(self, z: Tensor) -> Tensor:
        """Log-probability of indicators.

        Parameters
        ----------
        z : Tensor of shape (..., n_components)
            Indicators of classes.

        Returns
        -------
        log_prob : Tensor of shape (...)
            In nats.
        """
        return torch.full_like(z[..., 0], -math.log(z.shape[-1]))

    def sample(
        self, n_samples: int, n_components: int, generator: torch.Generator
    ) -> Tensor:
        """Indicators of classes at random.

        Parameters
        ----------
        n_samples : int
            Number of draws.
        n_components : int
            Width of the code.
        generator : torch.Generator
            The only source of chance.

        Returns
        -------
        z : Tensor of shape (n_samples, n_components)
            Indicators, of dtype float64, on the generator's device.
        """
        device = generator.device
        classes = torch.randint(
            n_components, (n_samples,), generator=generator, device=device
        )
        return torch.eye(n_components, dtype=torch.float64, device=device)[classes]
