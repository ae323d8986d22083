"""What the encoder network reads: numbers as they are, levels spread out.

Rows arrive with one number a column, so that memory grows with the rows alone. A column
of levels is spread over a one-hot vector batch by batch; one with very many levels is
looked up in a learned table instead.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

import torch
from torch import Tensor

from skvae.core.interrupts import in_usual_modes
from skvae.likelihoods.levels import WIDE
from skvae.settings import Shapes

__all__ = ["Reader"]

#: Width of what a column of very many levels is looked up as.
_EMBEDDING_WIDTH = 16


class Reader:
    """From rows of raw inputs to rows for the encoder.

    Raw inputs are numbers, then codes of levels (-1 for none). What comes out is the
    numbers to begin with, then one-hot vectors, then looked-up vectors, and last the
    remaining numbers, such as the marks of holes.

    Parameters
    ----------
    n_first : int
        Numbers that come out first.
    n_last : int, default=0
        Numbers that come out last.
    n_levels : sequence of int, default=()
        Number of levels of each column of codes, in ascending order.
    """

    def __init__(
        self, n_first: int, n_last: int = 0, n_levels: Sequence[int] = ()
    ) -> None:
        self._n_first = n_first
        self._n_numbers = n_first + n_last
        self._narrow = [n for n in n_levels if n <= WIDE]
        self._wide = [n for n in n_levels if n > WIDE]
        self.n_outputs = self._n_numbers + sum(self._narrow)
        self.n_outputs += _EMBEDDING_WIDTH * len(self._wide)
        self.shapes: Shapes = {}
        if self._wide:
            self.shapes["embedding"] = (sum(self._wide), _EMBEDDING_WIDTH)

    @property
    def has_weights(self) -> bool:
        """Whether gradients are wanted here."""
        return bool(self._wide)

    def __call__(self, weights: Mapping[str, Tensor], raw: Tensor) -> Tensor:
        """Rows for the encoder, of shape (n_rows, n_outputs).

        Of each member of an ensemble where weights and rows have a further dimension in
        front.
        """
        if raw.shape[-1] == self._n_numbers:
            return raw
        parts = self._first_parts(raw)
        if self._wide:
            places, known = self._places(weights["embedding"], raw)
            vectors = weights["embedding"][places]
            parts.append((vectors * known.unsqueeze(-1)).flatten(-2))
        parts.append(raw[..., self._n_first : self._n_numbers])
        return torch.cat(parts, -1)

    def first(self, raw: Tensor) -> Tensor:
        """The first numbers and the one-hot vectors: what needs no weights."""
        parts = self._first_parts(raw)
        return torch.cat(parts, -1) if self._narrow else parts[0]

    def _first_parts(self, raw: Tensor) -> list[Tensor]:
        numbers = raw[..., : self._n_first]
        if not self._narrow:
            return [numbers]
        codes = raw[..., self._n_numbers : self._n_numbers + len(self._narrow)]
        return [numbers, self._one_hot(codes)]

    def backward(
        self, gradients: Mapping[str, Tensor], raw: Tensor, gradient: Tensor
    ) -> None:
        """Write the gradients of the weights, given that of the rows."""
        n_last = self._n_numbers - self._n_first
        width = _EMBEDDING_WIDTH * len(self._wide)
        end = gradient.shape[-1] - n_last
        places, known = self._places(gradients["embedding"], raw)
        vectors = gradient[..., end - width : end].unflatten(
            -1, (len(self._wide), _EMBEDDING_WIDTH)
        )
        vectors = vectors * known.unsqueeze(-1)
        gradients["embedding"].zero_()
        gradients["embedding"].index_put_(places, vectors, accumulate=True)

    def start(self, weights: Mapping[str, Tensor], generator: torch.Generator) -> None:
        """Unit-variance vectors, in place."""
        for tensor in weights.values():
            tensor.normal_(generator=generator)

    def _places(
        self, embedding: Tensor, raw: Tensor
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        """Indices of the vector that each wide column has, and whether it has any."""
        wide = raw[..., raw.shape[-1] - len(self._wide) :]
        index, known = _positions(wide, self._wide)
        index = index.clamp_min(0)
        if embedding.ndim == 2:
            return (index,), known
        members = torch.arange(len(embedding), device=index.device).view(-1, 1, 1)
        return (members, index), known

    def _one_hot(self, codes: Tensor) -> Tensor:
        n_outputs = sum(self._narrow)
        index, known = _positions(codes, self._narrow)
        spread = codes.new_zeros((*codes.shape[:-1], n_outputs + 1))
        # What has no level goes to a last column, which is left out.
        index = torch.where(known, index, n_outputs)
        return spread.scatter_(-1, index, 1.0)[..., :n_outputs]


def _positions(codes: Tensor, n_levels: Iterable[int]) -> tuple[Tensor, Tensor]:
    """Positions of codes among all levels laid side by side, and which are known."""
    return codes.long() + _starts(tuple(n_levels), codes.device), codes >= 0


@lru_cache(maxsize=32)
@in_usual_modes
def _starts(n_levels: tuple[int, ...], device: torch.device) -> Tensor:
    """Of each column, the first position among all levels; made once for a device."""
    sizes = torch.tensor(n_levels, dtype=torch.int64, device=device)
    return sizes.cumsum(0) - sizes
