"""Priors that the user brings: any distribution of torch's."""

from __future__ import annotations

import copy
import os
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from skvae.core.interrupts import call_within
from skvae.priors.base import Prior

if TYPE_CHECKING:
    from skvae.posteriors.base import Posterior

__all__ = ["Distribution", "closed_kl"]

#: Of torch's global generator, which one draw at a time may seed and put back. Held
#: while the process forks: a fork in the middle of a draw could do neither.
_SEEDING = threading.RLock()
if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(
        before=_SEEDING.acquire,
        after_in_parent=_SEEDING.release,
        after_in_child=_SEEDING.release,
    )


@dataclass(frozen=True)
class Distribution(Prior):
    """Any distribution of torch's as the prior.

    Parameters
    ----------
    distribution : torch.distributions.Distribution
        Of codes of the model's width; one of single numbers holds for each component.

    Examples
    --------
    >>> import torch
    >>> from skvae.priors import Distribution
    >>> prior = Distribution(torch.distributions.Laplace(0.0, 1.0))
    >>> prior.log_prob(torch.zeros(1, 2))
    tensor([-1.3863])
    """

    support: ClassVar[str | None] = None

    distribution: torch.distributions.Distribution

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
        log_prob = _like(self.distribution, z).log_prob(z)
        return log_prob if self.distribution.event_shape else log_prob.sum(-1)

    def sample(
        self, n_samples: int, n_components: int, generator: torch.Generator
    ) -> Tensor:
        """Draws at random.

        Torch's distributions know no private generator: the global one is seeded for
        the length of the draw, and put back.

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
        double = torch.zeros((), dtype=torch.float64, device="cpu")
        distribution = _like(self.distribution, double)
        is_whole_row = distribution.batch_shape or distribution.event_shape
        shape = (n_samples,) if is_whole_row else (n_samples, n_components)
        seed = torch.randint(2**62, (), generator=generator, device=generator.device)
        with _SEEDING, torch.no_grad():
            drawn = call_within((_Seeded(int(seed)),), distribution.sample, shape)
        return drawn.double().to(generator.device)

    def check(self, posterior: Posterior, n_components: int) -> None:
        """Refuse a distribution that is not one of the posterior's codes.

        Parameters
        ----------
        posterior : Posterior
            The family of the model's codes.
        n_components : int
            Width of the code.

        Raises
        ------
        ValueError
            If it has another width, or lies elsewhere than the codes.
        """
        shape = (*self.distribution.batch_shape, *self.distribution.event_shape)
        if shape not in ((), (n_components,)):
            raise ValueError(
                f"prior={self.distribution} is one of codes of shape {shape}, those "
                f"of posterior={posterior!r} have n_components={n_components}. Give a "
                "distribution of single numbers, or of one row of that width."
            )
        codes = _codes_far_and_near(posterior, n_components)
        possible = _possible(self.distribution, posterior, codes)
        if not (possible and torch.isfinite(self.log_prob(codes)).all()):
            raise ValueError(
                f"prior={self.distribution} is not one of the codes of "
                f"posterior={posterior!r}, which are {posterior.support}. Choose a "
                'distribution on that support, or prior="auto".'
            )


class _Seeded:
    """Torch's global generator, seeded and put back."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._before = torch.default_generator.get_state()

    def __enter__(self) -> None:
        torch.default_generator.manual_seed(self._seed)

    def __exit__(self, *error: object) -> None:
        torch.default_generator.set_state(self._before)


def _codes_far_and_near(posterior: Posterior, n_components: int) -> Tensor:
    """Codes all over the support, (n_codes, n_components), in float64."""
    like = torch.zeros((), dtype=torch.float64, device="cpu")
    levels = like.new_tensor([2.0**-30, 0.05, 0.3, 0.5, 0.7, 0.95, 1 - 2.0**-30])
    n_noise = posterior.n_noise(n_components)
    uniforms = torch.stack([levels.roll(shift) for shift in range(n_noise)], 1)
    noise = posterior.carry(uniforms).unsqueeze(1)
    codes = posterior.standard(n_components, like).rsample(noise)
    # Numbers without bounds go as far as an encoder takes them.
    codes = torch.cat([codes, 10 * codes]) if posterior.support == "real" else codes
    return codes.squeeze(1)


def _possible(
    distribution: torch.distributions.Distribution, posterior: Posterior, codes: Tensor
) -> bool:
    """Whether a support has these codes, and none that is not the posterior's."""
    others = torch.cat([-codes, 3 * codes, codes / 3])
    inside = posterior.contains(others.numpy()).all(1)
    others = others[~torch.from_numpy(inside)]
    distribution = _like(distribution, codes)
    try:
        support: Any = distribution.support
        is_discrete = support.is_discrete
        here, elsewhere = (_within(distribution, z) for z in (codes, others))
    except NotImplementedError:  # torch does not say
        return True
    kept = is_discrete == posterior.is_discrete and here.all() and not elsewhere.any()
    return bool(kept)


def _within(distribution: torch.distributions.Distribution, z: Tensor) -> Tensor:
    """Mask of the codes (n_codes, n_components) that lie in the support."""
    if not len(z):  # torch cannot tell how many entries such a tensor has
        return torch.zeros(0, dtype=torch.bool, device="cpu")
    support: Any = distribution.support
    return support.check(z).view(len(z), -1).all(1)


def _like(value: Any, like: Tensor) -> Any:
    """A distribution with parameters in the precision, and where, a tensor is.

    In mixed precision densities fail, or lose digits. The copy leaves it to `check`
    whether values lie in the support: a sum of shares may be rounded.
    """
    if torch.is_tensor(value):
        return value.to(like) if value.is_floating_point() else value.to(like.device)
    if isinstance(value, list):
        return [_like(part, like) for part in value]
    kinds = torch.distributions.Distribution, torch.distributions.Transform
    if not isinstance(value, kinds):
        return value
    converted = copy.copy(value)
    for name, part in vars(converted).items():
        vars(converted)[name] = _like(part, like)
    if isinstance(converted, torch.distributions.Distribution):
        converted._validate_args = False
    return converted


def closed_kl(q: torch.distributions.Distribution, prior: Prior) -> Tensor | None:
    """KL(q || p) where torch knows it in closed form.

    Parameters
    ----------
    q : torch.distributions.Distribution
        Of batch shape (n_rows, n_components), or (n_rows,) with events.
    prior : Prior
        The distribution p; only `Distribution` may be known.

    Returns
    -------
    kl : Tensor of shape (n_rows, n_components) or (n_rows, 1), or None
        In nats: of each component, or of all together where they depend on each other.
        None where torch has no closed form.

    Examples
    --------
    >>> import torch
    >>> from skvae.priors import Distribution, closed_kl
    >>> q = torch.distributions.Normal(torch.ones(5, 2), 1.0)
    >>> prior = Distribution(torch.distributions.Normal(0.0, 1.0))
    >>> closed_kl(q, prior)[0]
    tensor([0.5000, 0.5000])
    """
    if not isinstance(prior, Distribution):
        return None
    p = _like(prior.distribution, q.mean)
    if isinstance(p, torch.distributions.Independent) and not q.event_shape:
        p = p.base_dist
    if p.event_shape and isinstance(q, torch.distributions.Normal):
        factor = torch.diag_embed(q.scale)
        q = torch.distributions.MultivariateNormal(
            q.mean, scale_tril=factor, validate_args=False
        )
    if len(p.event_shape) != len(q.event_shape):
        return None
    try:
        kl = torch.distributions.kl_divergence(q, p)
    except NotImplementedError:
        return None
    return kl.unsqueeze(-1) if q.event_shape else kl
