"""What every prior is: the contract."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from skvae.settings import Settings, Shapes

if TYPE_CHECKING:
    from skvae.posteriors.base import Codes, Posterior

__all__ = ["Prior"]


class Prior(Settings):
    """Base of the priors: the contract, and what most of them share.

    A prior gives ``log_prob(z)``, from (..., n_components) to (...), and
    ``sample(n_samples, n_components, generator)``, of shape (n_samples, n_components)
    in float64. One with weights of its own gives them where it is bound to weights.

    Attributes
    ----------
    support : str or None
        Where codes may lie: see `skvae.posteriors.Posterior`. None is anywhere.
    in_training : Prior or None
        The prior that the model is trained with. None is what goes with q(z|x).

    Examples
    --------
    >>> import torch
    >>> from skvae.priors import Gaussian
    >>> prior, generator = Gaussian(), torch.Generator().manual_seed(0)
    >>> z = prior.sample(5, 2, generator)
    >>> prior.log_prob(z).shape
    torch.Size([5])
    """

    support: ClassVar[str | None] = "real"

    if TYPE_CHECKING:  # not every prior has them before it is bound

        def log_prob(self, z: Tensor) -> Tensor: ...

        def sample(
            self, n_samples: int, n_components: int, generator: torch.Generator
        ) -> Tensor: ...

    @property
    def in_training(self) -> Prior | None:
        """The prior that the model is trained with; None is what goes with q(z|x)."""
        return self

    def beside(self, posterior: Posterior) -> Prior:
        """The prior of a model with this posterior.

        Parameters
        ----------
        posterior : Posterior
            The family of the model's codes.

        Returns
        -------
        prior : Prior
            Itself, unless it depends on the family.
        """
        return self

    def is_standard_of(self, family: type[Posterior]) -> bool:
        """Whether this is the standard member of a family of posteriors.

        Parameters
        ----------
        family : type of Posterior
            The class of the posterior.

        Returns
        -------
        is_standard : bool
            If so, divergences from it may have a closed form.
        """
        return False

    def own_shapes(self, n_components: int, n_inputs: int) -> Shapes:
        """Shapes of the prior's own weights, by name.

        Parameters
        ----------
        n_components : int
            Width of the code.
        n_inputs : int
            Width of what the encoder network reads.

        Returns
        -------
        shapes : dict of str to tuple
            Empty where nothing is learned.
        """
        return {}

    def start(
        self,
        own: Mapping[str, Tensor],
        generator: torch.Generator,
        inputs: Tensor,
        mean: Tensor,
    ) -> None:
        """Where its own weights begin, in place.

        Parameters
        ----------
        own : dict of str to Tensor
            These weights, by the names of `own_shapes`.
        generator : torch.Generator
            The only source of chance.
        inputs : Tensor of shape (n_rows, n_inputs)
            What the encoder network reads of some training rows.
        mean : Tensor of shape (n_rows, n_components)
            The codes of these rows.
        """

    def bound(
        self,
        own: Mapping[str, Tensor],
        encode: Callable[[Tensor], Codes],
        posterior: Posterior,
    ) -> Prior:
        """The distribution with these weights.

        Parameters
        ----------
        own : dict of str to Tensor
            Its own weights, by the names of `own_shapes`.
        encode : callable
            From what the encoder network reads to the codes of rows.
        posterior : Posterior
            The family of these codes.

        Returns
        -------
        prior : Prior
            With `log_prob` and `sample`.
        """
        return self

    def after_training(self, codes: Codes, posterior: Posterior) -> Prior:
        """The prior once the codes of some training rows are known.

        Parameters
        ----------
        codes : Codes
            Of these rows.
        posterior : Posterior
            Their family.

        Returns
        -------
        prior : Prior
            Itself, unless it is made of codes.
        """
        return self

    def check(self, posterior: Posterior, n_components: int) -> None:
        """Refuse a posterior whose codes cannot come from this prior.

        Parameters
        ----------
        posterior : Posterior
            The family of the model's codes.
        n_components : int
            Width of the code.

        Raises
        ------
        ValueError
            If codes lie elsewhere, or if this prior has no density for some of them.
        """
        if self.support not in (None, posterior.support):
            raise ValueError(
                f"prior={self!r} is one of codes that are {self.support}, but those of "
                f"posterior={posterior!r} are {posterior.support}. Set "
                f'prior="auto", which is "{posterior.prior}" here.'
            )
