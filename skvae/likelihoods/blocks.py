"""Columns of several families side by side, independent given the code."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor

from skvae.core.arrays import Array, ValueAndGradient, namespace
from skvae.likelihoods.base import Columns, Likelihood, LinearStart
from skvae.settings import Shapes

__all__ = ["Blocks"]


class Blocks:
    """The likelihood of a table whose columns stand in blocks, one family each.

    It keeps the contract of a likelihood. The decoder's locations hold those of the
    first block, then those of the next; so do the others, targets and means.

    Parameters
    ----------
    parts : sequence of (Likelihood, int)
        Each block's likelihood and number of columns.

    Attributes
    ----------
    known_variance : float or None
        None: a noise that is known is a block's, not the table's.
    least_variance : float
        The largest of the blocks', in squared standardised units.
    robust : Blocks
        The blocks in their robust families.

    Examples
    --------
    >>> from skvae.likelihoods import Bernoulli, Blocks, Gaussian
    >>> table = Blocks([(Gaussian(), 3), (Bernoulli(), 2)])
    >>> table.n_outputs(5)
    (5, 3)
    """

    known_variance: float | None = None

    def __init__(self, parts: Sequence[tuple[Likelihood, int]]) -> None:
        self._parts = list(parts)
        self._families = [likelihood for likelihood, _ in self._parts]
        self._n_features = [n for _, n in self._parts]
        outputs = [family.n_outputs(n) for family, n in self._parts]
        self._n_locations = [n_locations for n_locations, _ in outputs]
        self._n_others = [n_others for _, n_others in outputs]
        sizes = self._n_locations, self._n_others, self._n_features
        self._slices = list(zip(*map(_neighbours, sizes), strict=True))
        self.least_variance = max(family.least_variance for family in self._families)

    def n_outputs(self, n_features: int) -> tuple[int, int]:
        """Number of outputs that the decoder must give, those of all blocks.

        Parameters
        ----------
        n_features : int
            Number of columns; the blocks know theirs.

        Returns
        -------
        n_locations, n_others : int
            Outputs with the linear path, and without.
        """
        return sum(self._n_locations), sum(self._n_others)

    def n_means(self, n_features: int) -> int:
        """Width of `mean`, that of all blocks.

        Parameters
        ----------
        n_features : int
            Number of columns; the blocks know theirs.

        Returns
        -------
        n_means : int
            Numbers a row.
        """
        return sum(family.n_means(n) for family, n in self._parts)

    def n_inputs(self, n_features: int) -> int:
        """Width of what the encoder's linear path reads, that of all blocks.

        Parameters
        ----------
        n_features : int
            Number of columns; the blocks know theirs.

        Returns
        -------
        n_inputs : int
            Numbers a row.
        """
        return sum(family.n_inputs(n) for family, n in self._parts)

    @property
    def robust(self) -> "Blocks":
        """The blocks in their robust families."""
        return Blocks([(family.robust, n) for family, n in self._parts])

    def indicators(self) -> list[bool]:
        """Which inputs are 1 for one level and 0 for the others.

        Returns
        -------
        indicators : list of bool
            One for each input.
        """
        return [
            family.inputs_are_indicators
            for family, n in self._parts
            for _ in range(family.n_inputs(n))
        ]

    def own_shapes(self, n_features: int) -> Shapes:
        """Shapes of the blocks' own weights, such as "0.raw_scale" of the first.

        Parameters
        ----------
        n_features : int
            Number of columns; the blocks know theirs.

        Returns
        -------
        shapes : dict of str to tuple
            By the number of the block and the name in it.
        """
        return {
            f"{block}.{name}": shape
            for block, (family, n) in enumerate(self._parts)
            for name, shape in family.own_shapes(n).items()
        }

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
            The starts of the blocks, side by side.
        """
        n_means = [family.n_means(n) for family, n in self._parts]
        n_inputs = [family.n_inputs(n) for family, n in self._parts]
        starts = [
            family.start(*arguments)
            for family, *arguments in zip(
                self._families,
                mean.split(n_means),
                variance.split(n_means),
                loadings.split(n_inputs, 1),
                residual_variance.split(n_inputs),
                strict=True,
            )
        ]
        weights, locations, others, owns, variances = zip(*starts, strict=True)
        return type(starts[0])(
            torch.cat(weights, 1),
            torch.cat(locations),
            torch.cat(others),
            _joined(owns),
            torch.cat(variances),
        )

    def __call__(
        self, locations: Tensor, others: Tensor, own: Mapping[str, Tensor]
    ) -> Columns:
        """The distribution of the targets: see `Likelihood`.

        Parameters
        ----------
        locations : Tensor of shape (..., n_rows, n_locations)
            Decoder outputs with the linear path.
        others : Tensor of shape (..., n_rows, n_others)
            The other decoder outputs.
        own : dict of str to Tensor
            The blocks' own weights, by the names of `own_shapes`.

        Returns
        -------
        distribution : Columns
            All columns, independent given the outputs.
        """
        return BlockColumns(
            [
                family(*arguments)
                for family, *arguments in zip(
                    self._families,
                    locations.split(self._n_locations, -1),
                    others.split(self._n_others, -1),
                    self._owns(own),
                    strict=True,
                )
            ],
            self._n_features,
        )

    def value_and_gradient(
        self,
        locations: Array,
        others: Array,
        own: Mapping[str, Array],
        targets: Array,
        observed: Array | None,
    ) -> ValueAndGradient[Array]:
        """Log-probabilities of rows, and the gradients of their sum: see `Likelihood`.

        Parameters
        ----------
        locations : Tensor or ndarray of shape (n_rows, n_locations)
            Decoder outputs with the linear path.
        others : Tensor or ndarray of shape (n_rows, n_others)
            The other decoder outputs.
        own : dict of str to Tensor or ndarray
            The blocks' own weights, by the names of `own_shapes`.
        targets : Tensor or ndarray of shape (n_rows, n_features)
            What the columns are, as their codecs give it.
        observed : Tensor or ndarray of shape (n_rows, n_features) or None
            1 for a cell that counts, 0 for a hole. None: there are no holes.

        Returns
        -------
        log_prob : Tensor or ndarray of shape (n_rows,)
            Of the observed cells of each row, in nats.
        d_locations : Tensor or ndarray of shape (n_rows, n_locations)
            Gradients with respect to the locations.
        d_others : Tensor or ndarray of shape (n_rows, n_others)
            Gradients with respect to the other outputs.
        d_own : dict of str to Tensor or ndarray
            Gradients with respect to the blocks' own weights.
        """
        parts = [
            family.value_and_gradient(
                locations[..., of_locations],
                others[..., of_others],
                block_own,
                targets[..., of_columns],
                None if observed is None else observed[..., of_columns],
            )
            for family, (of_locations, of_others, of_columns), block_own in zip(
                self._families, self._slices, self._owns(own), strict=True
            )
        ]
        log_probs, d_locations, d_others, owns = zip(*parts, strict=True)
        concatenate = namespace(locations).concatenate
        log_prob: Any = sum(log_probs)
        return (
            log_prob,
            concatenate(d_locations, -1),
            concatenate(d_others, -1),
            _joined(owns),
        )

    def _owns(self, own: Mapping[str, Array]) -> Iterator[dict[str, Array]]:
        for block in range(len(self._parts)):
            prefix = f"{block}."
            yield {
                name.removeprefix(prefix): weight
                for name, weight in own.items()
                if name.startswith(prefix)
            }


class BlockColumns:
    """Independent columns of several families."""

    def __init__(self, parts: Sequence[Columns], n_features: Sequence[int]) -> None:
        self._parts = parts
        self._n_features = n_features

    @property
    def mean(self) -> Tensor:
        return torch.cat([part.mean for part in self._parts], -1)

    def log_prob(self, targets: Tensor) -> Tensor:
        targets = targets.split(self._n_features, -1)
        return torch.cat(
            [
                part.log_prob(target)
                for part, target in zip(self._parts, targets, strict=True)
            ],
            -1,
        )

    def sample(self, generator: torch.Generator) -> Tensor:
        return torch.cat([part.sample(generator) for part in self._parts], -1)


def _neighbours(sizes: Sequence[int]) -> list[slice]:
    """Slices of these sizes, one after the other."""
    return [slice(*ends) for ends in pairwise(accumulate(sizes, initial=0))]


def _joined(owns: Iterable[Mapping[str, Array]]) -> dict[str, Array]:
    return {
        f"{block}.{name}": value
        for block, own in enumerate(owns)
        for name, value in own.items()
    }
