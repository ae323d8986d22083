"""Priors that are learned: with the model, or from its codes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Integral
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from skvae.priors.base import Prior
from skvae.priors.mixtures import MixtureOfNormals
from skvae.settings import Shapes

if TYPE_CHECKING:
    from skvae.posteriors.base import Codes, Posterior

__all__ = ["Aggregate", "Mixture", "VampPrior"]


@dataclass(frozen=True)
class Mixture(Prior):
    """Normal distributions with independent components, mixed, all of it learned.

    Parameters
    ----------
    n_clusters : int, default=10
        Number of normal distributions.

    Raises
    ------
    ValueError
        If `n_clusters` is not a positive integer.

    References
    ----------
    N. Dilokthanakul et al., "Deep Unsupervised Clustering with Gaussian Mixture
    Variational Autoencoders", 2016. J. M. Tomczak and M. Welling, "VAE with a
    VampPrior", AISTATS 2018, equation 8.

    Examples
    --------
    >>> from skvae.priors import Mixture
    >>> Mixture(n_clusters=3)
    Mixture(n_clusters=3)
    """

    n_clusters: int = 10

    def __post_init__(self) -> None:
        _check_count(self, "n_clusters")

    def own_shapes(self, n_components: int, n_inputs: int) -> Shapes:
        shape = self.n_clusters, n_components
        return {"logits": shape[:1], "mean": shape, "raw_scale": shape}

    def start(
        self,
        own: Mapping[str, Tensor],
        generator: torch.Generator,
        inputs: Tensor,
        mean: Tensor,
    ) -> None:
        # Around the codes of some rows, so that the clusters share out the rows.
        own["logits"].zero_()
        own["mean"].copy_(_some_rows(mean, self.n_clusters, generator))
        own["raw_scale"].zero_()

    def bound(
        self,
        own: Mapping[str, Tensor],
        encode: Callable[[Tensor], Codes],
        posterior: Posterior,
    ) -> Prior:
        log_weights = torch.log_softmax(own["logits"], 0)
        log_scale = 5 * torch.tanh(own["raw_scale"] / 5)
        return MixtureOfNormals(own["mean"], log_scale, log_weights)


@dataclass(frozen=True)
class VampPrior(Prior):
    """The posteriors of learned rows, mixed: q(z|u) averaged over pseudo-inputs u.

    The prior that would make the bound largest is the posterior averaged over the
    training rows; a few learned rows stand for them.

    Parameters
    ----------
    n_pseudo_inputs : int, default=50
        Number of learned rows.

    Raises
    ------
    ValueError
        If `n_pseudo_inputs` is not a positive integer.

    References
    ----------
    J. M. Tomczak and M. Welling, "VAE with a VampPrior", AISTATS 2018, equation 9.

    Examples
    --------
    >>> from skvae.priors import VampPrior
    >>> VampPrior(n_pseudo_inputs=20)
    VampPrior(n_pseudo_inputs=20)
    """

    support: ClassVar[str | None] = None

    n_pseudo_inputs: int = 50

    def __post_init__(self) -> None:
        _check_count(self, "n_pseudo_inputs")

    def check(self, posterior: Posterior, n_components: int) -> None:
        _check_edges(self, posterior)

    def own_shapes(self, n_components: int, n_inputs: int) -> Shapes:
        return {"pseudo_inputs": (self.n_pseudo_inputs, n_inputs)}

    def start(
        self,
        own: Mapping[str, Tensor],
        generator: torch.Generator,
        inputs: Tensor,
        mean: Tensor,
    ) -> None:
        rows = _some_rows(inputs, self.n_pseudo_inputs, generator)
        own["pseudo_inputs"].copy_(rows)

    def bound(
        self,
        own: Mapping[str, Tensor],
        encode: Callable[[Tensor], Codes],
        posterior: Posterior,
    ) -> Prior:
        return posterior.mixture(encode(own["pseudo_inputs"]))


@dataclass(frozen=True)
class Aggregate(Prior):
    """The posteriors of training rows, mixed, in place of the normal after training.

    The model is trained with the standard normal, or what goes with its posterior. Then
    p(z) becomes the mean of q(z|x_i) over a fixed set of training rows: the prior that
    maximises the evidence lower bound for that encoder. It closes the gap between the
    codes that the decoder was trained on and those that it is asked to decode.

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

    support: ClassVar[str | None] = None

    n_rows: int = 20_000

    def __post_init__(self) -> None:
        _check_count(self, "n_rows")

    @property
    def in_training(self) -> Prior | None:
        return None

    def check(self, posterior: Posterior, n_components: int) -> None:
        _check_edges(self, posterior)

    def after_training(self, codes: Codes, posterior: Posterior) -> Prior:
        return posterior.mixture(codes)


def _some_rows(rows: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """As many rows as asked for, at random; again and again where there are too few."""
    n_rounds = math.ceil(n / len(rows))
    device = generator.device
    order = [
        torch.randperm(len(rows), generator=generator, device=device)
        for _ in range(n_rounds)
    ]
    return rows[torch.cat(order)[:n]]


def _check_edges(prior: Prior, posterior: Posterior) -> None:
    """Refuse to mix posteriors of rows under which other rows' codes are impossible."""
    if posterior.has_edges:
        raise ValueError(
            f"prior={prior!r} mixes the posteriors of rows, and codes of one row are "
            f"impossible under that of another with posterior={posterior!r}. Set "
            f'prior="auto", which is "{posterior.prior}" here.'
        )


def _check_count(settings: Prior, name: str) -> None:
    value = getattr(settings, name)
    if not isinstance(value, Integral) or value < 1:
        raise ValueError(
            f"{name} of {type(settings).__name__} must be a positive integer, "
            f"got {value!r}"
        )
