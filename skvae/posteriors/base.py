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

    Called with the encoder's outputs, a posterior gives the `Codes` of each row. A
    family is a frozen dataclass that defines ``__call__``, and whatever else differs
    from here.

    Attributes
    ----------
    support : str
        Where codes lie: "real", "positive", "above 1", "unit interval", "simplex" or
        "classes".
    prior : str
        Name of the prior that goes with the support.
    is_discrete : bool
        Whether the codes take finitely many values, which are gone through.
    has_edges : bool
        Whether codes of one row may be impossible under the posterior of another.
    is_skewed : bool
        Whether a component and its negative are different things to the family.
    can_start_linear : bool
        Whether the network may begin at the posterior of a linear-Gaussian model.

    Examples
    --------
    >>> import torch
    >>> from skvae.posteriors import Gaussian
    >>> family, generator = Gaussian(), torch.Generator().manual_seed(0)
    >>> family.n_outputs(2)
    (2, 2)
    >>> codes = family(torch.zeros(5, 2), torch.zeros(5, 2))
    >>> z = codes.rsample(family.noise((3, 5, 2), generator))
    >>> codes.log_prob(z).shape
    torch.Size([3, 5])
    """

    support: ClassVar[str] = "real"
    prior: ClassVar[str] = "standard"
    is_discrete: ClassVar[bool] = False
    has_edges: ClassVar[bool] = False
    is_skewed: ClassVar[bool] = False
    can_start_linear: ClassVar[bool] = False

    def n_outputs(self, n_components: int) -> tuple[int, int]:
        """Number of outputs that the encoder must give.

        Parameters
        ----------
        n_components : int
            Width of the code.

        Returns
        -------
        n_locations, n_others : int
            Outputs with the linear path, and without.
        """
        return n_components, n_components

    def n_noise(self, n_components: int) -> int:
        """Width of the noise that a draw is made of.

        Parameters
        ----------
        n_components : int
            Width of the code.

        Returns
        -------
        n_noise : int
            Numbers a draw.
        """
        return n_components

    def linear_start(
        self, loadings: Tensor, noise_variance: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Encoder outputs, affine in the centred inputs, of a linear-Gaussian model.

        Parameters
        ----------
        loadings : Tensor of shape (n_components, n_inputs)
            Rows of the factor loading matrix.
        noise_variance : Tensor of shape (n_inputs,)
            Variances that the loadings leave unexplained.

        Returns
        -------
        matrix : Tensor of shape (n_inputs, n_locations)
            Slopes of the locations in the inputs.
        locations : Tensor of shape (n_locations,)
            Locations where the centred inputs are 0.
        others : Tensor of shape (n_others,)
            Other outputs, the same for every row.
        """
        raise TypeError(f"{type(self).__name__} has no linear start")

    def noise(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """Noise for training draws, at random.

        Parameters
        ----------
        shape : tuple of int
            (n_draws, ..., n_noise).
        generator : torch.Generator
            The only source of chance.

        Returns
        -------
        noise : Tensor of shape (n_draws, ..., n_noise)
            Of dtype float32, on the generator's device. A discrete family gives each of
            its values once, whatever n_draws is.
        """
        uniforms = torch.rand(
            shape, generator=generator, dtype=torch.float64, device=generator.device
        )
        # Away from 0 and 1, where quantiles are infinite.
        return self.carry(uniforms * (1 - 2**-30) + 2**-31).float()

    def carry(self, uniforms: Tensor) -> Tensor:
        """Noise for scoring: the uniforms carried by the inverse CDF.

        Parameters
        ----------
        uniforms : Tensor of shape (n_draws, n_noise)
            Above 0 and below 1.

        Returns
        -------
        noise : Tensor of shape (n_draws, n_noise)
            As `noise` has it, of the dtype of the uniforms; of a discrete family each
            of its values once.
        """
        return torch.special.ndtri(uniforms)

    def sample(self, codes: Codes, generator: torch.Generator) -> Tensor:
        """A code of each row, at random.

        Parameters
        ----------
        codes : Codes
            Of the rows.
        generator : torch.Generator
            The only source of chance.

        Returns
        -------
        z : Tensor of shape (n_rows, n_components)
            Of dtype float64.
        """
        n_rows, n_components = codes.mean.shape
        noise = self.noise((n_rows, self.n_noise(n_components)), generator)
        return codes.rsample(noise.double()).double()

    def unit(self, n_components: int, like: Tensor) -> Codes:
        """The codes of one row at the family's standard member, such as Exponential(1).

        It is the prior that goes with the family where that has no other.

        Parameters
        ----------
        n_components : int
            Width of the code.
        like : Tensor of shape (...)
            Gives the dtype and the device.

        Returns
        -------
        codes : Codes
            Of one row.
        """
        zeros = (like.new_zeros((1, n)) for n in self.n_outputs(n_components))
        return self(*zeros)

    def standard(self, n_components: int, like: Tensor) -> Codes:
        """The codes of one row of which nothing is known: the prior, or nearly so.

        Where the family does not have its prior, a member that leaves nothing of it
        out.

        Parameters
        ----------
        n_components : int
            Width of the code.
        like : Tensor of shape (...)
            Gives the dtype and the device.

        Returns
        -------
        codes : Codes
            Of one row.
        """
        return self.unit(n_components, like)

    def features(self, z: Tensor) -> Tensor:
        """What the decoder reads of codes: something with finite moments.

        Parameters
        ----------
        z : Tensor of shape (..., n_components)
            Codes.

        Returns
        -------
        features : Tensor of shape (..., n_components)
            By default the codes themselves.
        """
        return z

    def mixture(self, codes: Codes) -> priors.Prior:
        """The distribution of the code of a row taken at random, as a prior.

        Parameters
        ----------
        codes : Codes
            Of the rows.

        Returns
        -------
        prior : Prior
            Their posteriors, mixed.
        """
        return priors.MixtureOfCodes(codes, self)

    def contains(self, Z: np.ndarray) -> np.ndarray:
        """Mask of the codes that lie in the support, entry by entry.

        Parameters
        ----------
        Z : ndarray of shape (n_samples, n_components)
            Numbers that may be codes.

        Returns
        -------
        mask : ndarray of shape (n_samples, n_components)
            Whether they are.
        """
        return Z == Z

    def __call__(self, locations: Tensor, others: Tensor) -> Codes:
        """The codes of each row.

        Parameters
        ----------
        locations : Tensor of shape (n_rows, n_locations)
            Encoder outputs with the linear path.
        others : Tensor of shape (n_rows, n_others)
            The other encoder outputs.

        Returns
        -------
        codes : Codes
            Distributions over z.
        """
        raise TypeError(f"{type(self).__name__} must define __call__")


class Positive(Posterior):
    """Posteriors of positive codes: the decoder reads their logarithms.

    They are standardised by their moments under the family's standard member, so that
    networks find them as they find normal codes.

    Attributes
    ----------
    log_mean : float
        Mean of the logarithm of a code of the standard member.
    log_deviation : float
        Standard deviation of that logarithm.
    """

    is_skewed: ClassVar[bool] = True
    support: ClassVar[str] = "positive"
    log_mean: ClassVar[float] = -EULER
    log_deviation: ClassVar[float] = math.pi / math.sqrt(6)

    def features(self, z: Tensor) -> Tensor:
        return (z.log() - self.log_mean) / self.log_deviation

    def contains(self, Z: np.ndarray) -> np.ndarray:
        return Z > 0
