"""What every posterior is: the contract."""

from dataclasses import fields
from typing import ClassVar

import torch

from skvae import priors
from skvae.settings import Settings

__all__ = ["LARGEST_LOGARITHM", "Codes", "Posterior", "bounded"]

#: Positive codes lie within exp(+-60), and no density has exp of more: numbers and
#: gradients remain finite in float32.
LARGEST_LOGARITHM = 60.0


def bounded(raw, low=-8.0, high=8.0):
    """A smooth number in (low, high) that is ``raw`` where that is small.

    exp of the result and its gradient are finite whatever the encoder's output; the
    defaults cover every posterior scale that data can call for.
    """
    return torch.where(
        raw > 0, high * torch.tanh(raw / high), low * torch.tanh(raw / low)
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

    def mapped(self, function):
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

    def log_shares(self):
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
    #: Whether the network may begin at the posterior of a linear-Gaussian model.
    can_start_linear: ClassVar[bool] = False

    def n_outputs(self, n_components):
        """Number of (locations, others) that the encoder must give."""
        return n_components, n_components

    def n_noise(self, n_components):
        """Width of the noise that a draw is made of."""
        return n_components

    def linear_start(self, loadings, noise_variance):
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

    def noise(self, shape, generator):
        """Noise for training draws, float32, on the generator's device."""
        uniforms = torch.rand(
            shape, generator=generator, dtype=torch.float64, device=generator.device
        )
        # Away from 0 and 1, where quantiles are infinite.
        return self.carry(uniforms * (1 - 2**-30) + 2**-31).float()

    def carry(self, uniforms):
        """Noise for scoring: the uniforms carried by the inverse CDF."""
        return torch.special.ndtri(uniforms)

    def standard(self, n_components, like):
        """The codes of one row at the family's standard member.

        It is the prior that goes with the family, and what the codes of a row are when
        nothing of it is known.
        """
        zeros = (like.new_zeros((1, n)) for n in self.n_outputs(n_components))
        return self(*zeros)

    def features(self, z):
        """What the decoder reads of codes: something with finite moments."""
        return z

    def mixture(self, codes):
        """The distribution of the code of a row taken at random, as a prior."""
        return priors.MixtureOfCodes(codes, self)

    def contains(self, Z):
        """Mask of the codes that lie in the support, of an array's entries."""
        return Z == Z

    def __call__(self, locations, others):
        """The codes of each row, from outputs of shape (n_rows, .)."""
        raise TypeError(f"{type(self).__name__} must define __call__")
