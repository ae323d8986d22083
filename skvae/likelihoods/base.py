"""What every likelihood is: the contract."""

from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple, Protocol, Self

import numpy as np
import torch
from torch import Tensor

from skvae.core.arrays import ValueAndGradient, on_tensors
from skvae.settings import Settings, Shapes

__all__ = ["Columns", "Likelihood", "LinearStart"]


class Columns(Protocol):
    """The distribution of some columns given the code: what a likelihood returns."""

    @property
    def mean(self) -> Tensor:
        """Means, (..., n_rows, n_means)."""

    def log_prob(self, targets: Tensor, /) -> Tensor:
        """A term a cell, (..., n_rows, n_features)."""

    def sample(self, generator: torch.Generator, /) -> Tensor:
        """Draws, (..., n_rows, n_features)."""


class LinearStart(NamedTuple):
    """Decoder outputs, affine in z, and the likelihood's own weights, to start from.

    Attributes
    ----------
    weight : Tensor of shape (n_components, n_locations)
        Slopes of the locations in z.
    locations : Tensor of shape (n_locations,)
        Locations at z = 0.
    others : Tensor of shape (n_others,)
        Other outputs, the same for every z.
    own : dict of str to Tensor
        The likelihood's own weights, by the names of `own_shapes`.
    variance : Tensor of shape (n_inputs,)
        Variance of the noise in the inputs that this stands for, in squared units of
        the inputs.

    Examples
    --------
    >>> import torch
    >>> from skvae.likelihoods import Gaussian
    >>> mean, variance, loadings = torch.zeros(3), torch.ones(3), torch.ones(2, 3) / 2
    >>> start = Gaussian().start(mean, variance, loadings, variance / 2)
    >>> start.weight.shape
    torch.Size([2, 3])
    """

    weight: Tensor  # (n_components, n_locations)
    locations: Tensor  # (n_locations,)
    others: Tensor  # (n_others,)
    own: dict[str, Tensor]
    variance: Tensor  # the noise in the inputs that this stands for, (n_inputs,)


class Likelihood(Settings):
    """Base of the likelihoods: the contract, and what most of them share.

    A family is a frozen dataclass that defines `start` and ``__call__``, and whatever
    else differs from here.

    Attributes
    ----------
    codec : str
        How the table codes the columns that the likelihood is given: a name in
        ``skvae.codecs.CODECS``.
    support : str
        In words, the values that the likelihood can produce.
    inputs_are_indicators : bool
        Whether the inputs are 1 for one level and 0 for the others.
    known_variance : float or None
        Noise variance where it is a setting and not learned, in squared standardised
        units.
    least_variance : float
        Least noise variance that the likelihood starts from, in the same units.
    robust : Likelihood
        The family with heavier tails that reads the same outputs; else itself.

    Examples
    --------
    >>> import torch
    >>> from skvae.likelihoods import Gaussian
    >>> family = Gaussian("feature")
    >>> family.n_outputs(3), family.own_shapes(3)
    ((3, 0), {'raw_scale': (3,)})
    >>> means, own = torch.zeros(5, 3), {"raw_scale": torch.zeros(3)}
    >>> columns = family(means, torch.empty(5, 0), own)
    >>> columns.log_prob(torch.ones(5, 3)).shape
    torch.Size([5, 3])
    """

    codec: ClassVar[str] = "standardized"
    support: ClassVar[str] = "the real numbers"
    inputs_are_indicators: ClassVar[bool] = False
    known_variance: ClassVar[float | None] = None
    least_variance: ClassVar[float] = 0.0

    def with_levels(self, n_levels: Sequence[int]) -> Self:
        """The likelihood of columns with these numbers of levels.

        Parameters
        ----------
        n_levels : sequence of int
            One for each column; families without levels do not need them.

        Returns
        -------
        likelihood : Likelihood
            Of the same family; itself where it has no levels.
        """
        return self

    def n_outputs(self, n_features: int) -> tuple[int, int]:
        """Number of outputs that the decoder must give.

        Parameters
        ----------
        n_features : int
            Number of columns.

        Returns
        -------
        n_locations, n_others : int
            Outputs with the linear path, and without.
        """
        return n_features, 0

    def n_means(self, n_features: int) -> int:
        """Width of `mean`: a number a column, or a probability a level.

        Parameters
        ----------
        n_features : int
            Number of columns.

        Returns
        -------
        n_means : int
            Numbers a row.
        """
        return n_features

    def n_inputs(self, n_features: int) -> int:
        """Width of what the encoder's linear path reads of the columns.

        Parameters
        ----------
        n_features : int
            Number of columns.

        Returns
        -------
        n_inputs : int
            Numbers a row.
        """
        return n_features

    def own_shapes(self, n_features: int) -> Shapes:
        """Shapes of the likelihood's own weights, by name.

        Parameters
        ----------
        n_features : int
            Number of columns.

        Returns
        -------
        shapes : dict of str to tuple
            Empty where the decoder's outputs say everything.
        """
        return {}

    @property
    def robust(self) -> "Likelihood":
        """The family with heavier tails that reads the same outputs; else itself."""
        return self

    def impossible(self, values: np.ndarray) -> np.ndarray | None:
        """Mask of the values that the likelihood cannot have produced.

        Parameters
        ----------
        values : ndarray of shape (n_samples, n_features)
            In the units of X; NaN for holes, which are never impossible.

        Returns
        -------
        mask : ndarray of shape (n_samples, n_features) or None
            None where every real number is possible.
        """
        return None

    def statistic(self, targets: np.ndarray) -> np.ndarray:
        """What of the targets `start` wants the moments of.

        Parameters
        ----------
        targets : ndarray of shape (n_samples, n_features)
            In training rows; NaN for holes.

        Returns
        -------
        statistic : ndarray of shape (n_samples, n_features)
            By default the targets themselves.
        """
        return targets

    def start(
        self,
        mean: Tensor,
        variance: Tensor,
        loadings: Tensor,
        residual_variance: Tensor,
    ) -> LinearStart:
        """Decoder outputs at which the inputs are near ``mean + z @ loadings``.

        Parameters
        ----------
        mean, variance : Tensor of shape (n_means,)
            Moments of the targets' statistic, in training.
        loadings : Tensor of shape (n_components, n_inputs)
            Rows of the factor loading matrix, of the inputs.
        residual_variance : Tensor of shape (n_inputs,)
            Variances that the loadings leave unexplained.

        Returns
        -------
        start : LinearStart
            Weights of the decoder's last layer, and the likelihood's own.
        """
        raise TypeError(f"{type(self).__name__} must define start")

    def __call__(
        self, locations: Tensor, others: Tensor, own: Mapping[str, Tensor]
    ) -> Columns:
        """The distribution of the targets.

        Parameters
        ----------
        locations : Tensor of shape (..., n_rows, n_locations)
            Decoder outputs with the linear path.
        others : Tensor of shape (..., n_rows, n_others)
            The other decoder outputs.
        own : dict of str to Tensor
            The likelihood's own weights.

        Returns
        -------
        distribution : Columns
            With ``log_prob(targets)`` of shape (..., n_rows, n_features), in nats,
            ``mean`` of shape (..., n_rows, n_means), and ``sample(generator)``.
        """
        raise TypeError(f"{type(self).__name__} must define __call__")

    @on_tensors
    def value_and_gradient(
        self,
        locations: Tensor,
        others: Tensor,
        own: Mapping[str, Tensor],
        targets: Tensor,
        observed: Tensor | None,
    ) -> ValueAndGradient[Tensor]:
        """Log-probabilities of rows, and the gradients of their sum.

        Of the rows of several members of an ensemble where all have a further dimension
        in front.

        By automatic differentiation of the head alone; a family whose gradient is a
        line of algebra writes it out. All of them take NumPy arrays in place of
        tensors, and then give arrays: see `core.arrays`.

        Parameters
        ----------
        locations : Tensor of shape (n_rows, n_locations)
            Decoder outputs with the linear path.
        others : Tensor of shape (n_rows, n_others)
            The other decoder outputs.
        own : dict of str to Tensor
            The likelihood's own weights.
        targets : Tensor of shape (n_rows, n_features)
            What the columns are, as their codec gives it.
        observed : Tensor of shape (n_rows, n_features) or None
            1 for a cell that counts, 0 for a hole. None: there are no holes.

        Returns
        -------
        log_prob : Tensor of shape (n_rows,)
            Of the observed cells of each row, in nats.
        d_locations : Tensor of shape (n_rows, n_locations)
            Gradients with respect to the locations.
        d_others : Tensor of shape (n_rows, n_others)
            Gradients with respect to the other outputs.
        d_own : dict of str to Tensor
            Gradients with respect to the likelihood's own weights.
        """
        leaves = [locations, others, *own.values()]
        with torch.enable_grad():
            leaves = [leaf.detach().requires_grad_() for leaf in leaves]
            distribution = self(
                leaves[0], leaves[1], dict(zip(own, leaves[2:], strict=True))
            )
            log_prob = distribution.log_prob(targets)
            if observed is not None:
                log_prob = log_prob * observed
            log_prob = log_prob.sum(-1)
            found = torch.autograd.grad(log_prob.sum(), leaves, allow_unused=True)
        gradients = [
            torch.zeros_like(leaf) if gradient is None else gradient
            for leaf, gradient in zip(leaves, found, strict=True)
        ]
        by_name = dict(zip(own, gradients[2:], strict=True))
        return log_prob.detach(), gradients[0], gradients[1], by_name
