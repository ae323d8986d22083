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
    """Decoder outputs, affine in z, and the likelihood's own weights, to start from."""

    weight: Tensor  # (n_components, n_locations)
    locations: Tensor  # (n_locations,)
    others: Tensor  # (n_others,)
    own: dict[str, Tensor]
    variance: Tensor  # the noise in the inputs that this stands for, (n_inputs,)


class Likelihood(Settings):
    """Base of the likelihoods: the contract, and what most of them share."""

    #: How the table codes the columns that the likelihood is given: a name in
    #: `skvae.codecs.CODECS`.
    codec: ClassVar[str] = "standardized"
    #: In words, the values that the likelihood can produce.
    support: ClassVar[str] = "the real numbers"
    #: Whether the inputs are 1 for one level and 0 for the others.
    inputs_are_indicators: ClassVar[bool] = False
    #: Noise variance where it is a setting and not learned, in standardised units.
    known_variance: ClassVar[float | None] = None
    #: Least noise variance that the likelihood starts from, in standardised units.
    least_variance: ClassVar[float] = 0.0

    def with_levels(self, n_levels: Sequence[int]) -> Self:
        """The likelihood of columns with these numbers of levels.

        Parameters
        ----------
        n_levels : sequence of int
            One for each column; families without levels do not need them.
        """
        return self

    def n_outputs(self, n_features: int) -> tuple[int, int]:
        """Number of (locations, others) that the decoder must give."""
        return n_features, 0

    def n_means(self, n_features: int) -> int:
        """Width of `mean`: a number a column, or a probability a level."""
        return n_features

    def n_inputs(self, n_features: int) -> int:
        """Width of what the encoder's linear path reads of the columns."""
        return n_features

    def own_shapes(self, n_features: int) -> Shapes:
        """Shapes of the likelihood's own weights, by name."""
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
        """What of the targets `start` wants the moments of: an array like them."""
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
        """
        raise TypeError(f"{type(self).__name__} must define start")

    def __call__(
        self, locations: Tensor, others: Tensor, own: Mapping[str, Tensor]
    ) -> Columns:
        """The distribution of the targets.

        Parameters
        ----------
        locations : Tensor of shape (..., n_rows, n_locations)
        others : Tensor of shape (..., n_rows, n_others)
        own : dict of str to Tensor
            The likelihood's own weights.

        Returns
        -------
        distribution : Columns
            With ``log_prob(targets)`` of shape (..., n_rows, n_features), ``mean`` of
            shape (..., n_rows, n_means), and ``sample(generator)``.
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
        others : Tensor of shape (n_rows, n_others)
        own : dict of str to Tensor
        targets : Tensor of shape (n_rows, n_features)
        observed : Tensor of shape (n_rows, n_features) or None
            1 for a cell that counts, 0 for a hole. None: there are no holes.

        Returns
        -------
        log_prob : Tensor of shape (n_rows,)
            Of the observed cells of each row.
        locations, others : Tensor
            Gradients with respect to the decoder's outputs.
        own : dict of str to Tensor
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
