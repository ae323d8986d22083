"""What every prior is: the contract."""

from typing import ClassVar

from skvae.settings import Settings

__all__ = ["Prior"]


class Prior(Settings):
    """Base of the priors: the contract, and what most of them share.

    A prior gives ``log_prob(z)``, from (..., n_components) to (...), and
    ``sample(n_samples, n_components, generator)``, of shape (n_samples, n_components)
    in float64. One with weights of its own gives them where it is bound to weights.
    """

    #: Where codes may lie: see `Posterior.support`; None is anywhere.
    support: ClassVar[str | None] = "real"

    @property
    def in_training(self):
        """The prior that the model is trained with; None is what goes with q(z|x)."""
        return self

    def beside(self, posterior):
        """The prior of a model with this posterior."""
        return self

    def is_standard_of(self, family):
        """Whether this is the standard member of a family of posteriors."""
        return False

    def own_shapes(self, n_components, n_inputs):
        """Shapes of the prior's own weights, by name.

        Parameters
        ----------
        n_components : int
        n_inputs : int
            Width of what the encoder network reads.
        """
        return {}

    def start(self, own, generator, inputs, mean):
        """Where its own weights begin, in place.

        Parameters
        ----------
        own : dict of str to Tensor
        generator : torch.Generator
        inputs : Tensor of shape (n_rows, n_inputs)
            What the encoder network reads of some training rows.
        mean : Tensor of shape (n_rows, n_components)
            The codes of these rows.
        """

    def bound(self, own, encode, posterior):
        """The distribution with these weights.

        Parameters
        ----------
        own : dict of str to Tensor
        encode : callable
            From what the encoder network reads to the codes of rows.
        posterior : Posterior
            The family of these codes.
        """
        return self

    def after_training(self, codes, posterior):
        """The prior once the codes of some training rows are known."""
        return self

    def check(self, posterior, n_components):
        """Refuse a posterior whose codes cannot come from this prior.

        Parameters
        ----------
        posterior : Posterior
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
