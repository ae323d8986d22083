"""What every posterior is: the contract."""

import math
from collections.abc import Callable
from dataclasses import Field, fields
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from skvae import priors
from skvae.settings import Settings

__all__ = [
    "EULER",
    "LARGEST_LOGARITHM",
    "Codes",
    "Positive",
    "Posterior",
    "bounded",
    "unbounded",
]

#: Positive codes lie within exp(+-60), and no density has exp of more: numbers and
#: gradients remain finite in float32.
LARGEST_LOGARITHM = 60.0
EULER = 0.57721566490153286


def bounded(raw: Tensor, low: float = -8.0, high: float = 8.0) -> Tensor:
    """A smooth number in (low, high) that is ``raw`` where that is small.

    exp of the result and its gradient are finite whatever the encoder's output; the
    defaults cover every posterior scale that data can call for.
    """
    return torch.where(
        raw > 0, high * torch.tanh(raw / high), low * torch.tanh(raw / low)
    )


def unbounded(value: Tensor, low: float = -8.0, high: float = 8.0) -> Tensor:
    """Inverse of `bounded`; what is beyond the bounds is taken just within them."""
    value = value.clamp(0.99 * low, 0.99 * high)
    return torch.where(
        value > 0,
        high * torch.atanh(value.clamp_min(0) / high),
        low * torch.atanh(value.clamp_max(0) / low),
    )


class Codes:
    """Base of the distributions that posteriors give: dataclasses of tensors.

    They have

    - ``mean``, (n_rows, n_components), or the median where there is no mean;
    - ``rsample(noise)``, draws of shape (n_draws, n_rows, n_components);
    - ``log_prob(z)``, summed over components, (n_draws, n_rows);
    - ``kl_divergence(prior)``, closed: (n_rows, n_components), or (n_rows, 1) where
      components depend on each other; None where no closed form is known.
    """

    #: Subclasses are dataclasses, and `fields` may read them.
    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    if TYPE_CHECKING:  # a property would stand in the way of a field of that name

        @property
        def mean(self) -> Tensor: ...

        def rsample(self, noise: Tensor) -> Tensor: ...

        def log_prob(self, z: Tensor) -> Tensor: ...

        def kl_divergence(self, prior: priors.Prior) -> Tensor | None: ...

    def mapped(self, function: Callable[[Tensor], Tensor]) -> Self:
        """The same with a function applied to each tensor."""
        parts = [getattr(self, field.name) for field in fields(self)]
        return type(self)(
            *(
                part.mapped(function)
                if isinstance(part, Codes)
                else function(part)
                if torch.is_tensor(part)
                else part
                for part in parts
            )
        )

    def log_shares(self) -> Tensor | None:
        """Logarithm of what each draw stands for, (n_draws, n_rows).

        None where all draws stand for as much; the posterior's own probabilities where
        the draws are all the values that there are.
        """
        return None


class Posterior(Settings):
    """Base of the posteriors: the contract, and what most of them share.

    Called with the encoder's outputs, a posterior gives the `Codes` of each row.
    """

    #: Where codes lie: "real", "positive", "above 1", "unit interval", "simplex" or
    #: "classes".
    support: ClassVar[str] = "real"
    #: Name of the prior that goes with the support.
    prior: ClassVar[str] = "standard"
    #: Whether the codes take finitely many values, which are gone through.
    is_discrete: ClassVar[bool] = False
    #: Whether codes of one row may be impossible under the posterior of another.
    has_edges: ClassVar[bool] = False
    #: Whether a component and its negative are different things to the family.
    is_skewed: ClassVar[bool] = False
    #: Whether the network may begin at the posterior of a linear-Gaussian model.
    can_start_linear: ClassVar[bool] = False

    def n_outputs(self, n_components: int) -> tuple[int, int]:
        """Number of (locations, others) that the encoder must give."""
        return n_components, n_components

    def n_noise(self, n_components: int) -> int:
        """Width of the noise that a draw is made of."""
        return n_components

    def linear_start(
        self, loadings: Tensor, noise_variance: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Encoder outputs, affine in the centred inputs, of a linear-Gaussian model.

        Parameters
        ----------
        loadings : Tensor of shape (n_components, n_inputs)
        noise_variance : Tensor of shape (n_inputs,)

        Returns
        -------
        matrix : Tensor of shape (n_inputs, n_locations)
        locations : Tensor of shape (n_locations,)
        others : Tensor of shape (n_others,)
        """
        raise TypeError(f"{type(self).__name__} has no linear start")

    def noise(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """Noise for training draws, float32, on the generator's device."""
        uniforms = torch.rand(
            shape, generator=generator, dtype=torch.float64, device=generator.device
        )
        # Away from 0 and 1, where quantiles are infinite.
        return self.carry(uniforms * (1 - 2**-30) + 2**-31).float()

    def carry(self, uniforms: Tensor) -> Tensor:
        """Noise for scoring: the uniforms carried by the inverse CDF."""
        return torch.special.ndtri(uniforms)

    def sample(self, codes: Codes, generator: torch.Generator) -> Tensor:
        """A code of each row, (n_rows, n_components), in float64."""
        n_rows, n_components = codes.mean.shape
        noise = self.noise((n_rows, self.n_noise(n_components)), generator)
        return codes.rsample(noise.double()).double()

    def unit(self, n_components: int, like: Tensor) -> Codes:
        """The codes of one row at the family's standard member, such as Exponential(1).

        It is the prior that goes with the family where that has no other.
        """
        zeros = (like.new_zeros((1, n)) for n in self.n_outputs(n_components))
        return self(*zeros)

    def standard(self, n_components: int, like: Tensor) -> Codes:
        """The codes of one row of which nothing is known: the prior, or nearly so.

        Where the family does not have its prior, a member that leaves nothing of it
        out.
        """
        return self.unit(n_components, like)

    def features(self, z: Tensor) -> Tensor:
        """What the decoder reads of codes: something with finite moments."""
        return z

    def mixture(self, codes: Codes) -> priors.Prior:
        """The distribution of the code of a row taken at random, as a prior."""
        return priors.MixtureOfCodes(codes, self)

    def contains(self, Z: np.ndarray) -> np.ndarray:
        """Mask of the codes that lie in the support, of an array's entries."""
        return Z == Z

    def __call__(self, locations: Tensor, others: Tensor) -> Codes:
        """The codes of each row, from outputs of shape (n_rows, .)."""
        raise TypeError(f"{type(self).__name__} must define __call__")


class Positive(Posterior):
    """Posteriors of positive codes: the decoder reads their logarithms.

    They are standardised by their moments under the family's standard member, so that
    networks find them as they find normal codes.
    """

    is_skewed: ClassVar[bool] = True
    support: ClassVar[str] = "positive"
    #: Mean and standard deviation of the logarithm of a code of the standard member.
    log_mean: ClassVar[float] = -EULER
    log_deviation: ClassVar[float] = math.pi / math.sqrt(6)

    def features(self, z: Tensor) -> Tensor:
        return (z.log() - self.log_mean) / self.log_deviation

    def contains(self, Z: np.ndarray) -> np.ndarray:
        return Z > 0
