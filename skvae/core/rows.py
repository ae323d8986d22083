"""Rows gathered chunk by chunk, straight from the user's array."""

import math
import mmap
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeAlias, TypeVar

import numpy as np
import torch
from torch import Tensor

__all__ = [
    "Batch",
    "DeviceRows",
    "EncodedRows",
    "Rows",
    "ShuffledRows",
    "gather",
    "select",
    "split",
    "to_tensor",
    "to_tensors",
]

#: Inputs, targets and observed; the first two may be one, the last is None where there
#: are no holes.
Rows: TypeAlias = tuple[Tensor, Tensor, Tensor | None]
#: The same, and the noise that their codes are drawn with.
Batch: TypeAlias = tuple[Tensor, Tensor, Tensor | None, Tensor]
EncodedRows: TypeAlias = tuple[np.ndarray, np.ndarray, np.ndarray | None]

Part = TypeVar("Part")

#: Cells of a table that is encoded once and kept: 8 MB in float32.
_KEPT_CELLS = 2_000_000
#: Rows read at once: enough to hide the cost of a chunk, and small beside the data.
_CHUNK_ROWS = 8_192
_CHUNK_ENTRIES = 2_000_000
#: Neighbouring rows that are read together from a file.
_BLOCK_ROWS = 256
#: Rows anywhere in a file that are read before its pages are released: with each, the
#: system may map as much as 2 MB.
_SCATTERED_ROWS = 128


class ShuffledRows:
    """Every row once an epoch, in random order, a chunk copied at a time.

    Each call iterates over an epoch. A small table is encoded once and kept. A memory
    map is read in contiguous blocks, in random order, and shuffled within a chunk.

    Parameters
    ----------
    X : ndarray or sparse matrix of shape (n_samples, n_features)
        Never written to. A sparse one is made dense a chunk at a time.
    rows : ndarray of shape (n_rows,)
        The rows to take, in ascending order.
    encode : callable
        From some rows of X to (inputs, targets, observed), float32 arrays. The first
        two may be one array, the last may be None.
    rng : numpy.random.Generator
    batch_size : int
        Chunks are multiples of it.
    device : torch.device
    n_members : int or None, default=None
        Of an ensemble: each has the rows of a chunk in an order of its own, along a
        dimension before that of the rows.
    """

    def __init__(
        self,
        X: Any,
        rows: np.ndarray,
        encode: Callable[[np.ndarray], EncodedRows],
        rng: np.random.Generator,
        batch_size: int,
        device: torch.device,
        n_members: int | None = None,
    ) -> None:
        self._X = X
        self._rows = rows
        self._encode = encode
        self._rng = rng
        self._device = device
        self._n_members = n_members
        self._chunk_rows = _rows_of_chunk(batch_size, X.shape[1])
        self._kept: Rows | None = None
        if len(rows) * X.shape[1] <= _KEPT_CELLS:
            self._kept = self._read(rows)

    def __call__(self) -> Iterator[Rows]:
        if self._kept is not None:
            yield from self._shuffled(self._kept)
            return
        order = self._order()
        for start in range(0, len(order), self._chunk_rows):
            chunk = self._read(order[start : start + self._chunk_rows])
            if self._n_members is None:
                yield chunk
            else:
                yield from self._shuffled(chunk)

    def _shuffled(self, tensors: Rows) -> Iterator[Rows]:
        """Chunks of rows in random order, or in one for each member."""
        n_members = self._n_members
        orders = [self._rng.permutation(len(tensors[0])) for _ in range(n_members or 1)]
        return _in_order(
            tensors,
            torch.from_numpy(np.stack(orders)).to(self._device),
            self._chunk_rows,
            n_members,
        )

    def _order(self) -> np.ndarray:
        if memmap_of(self._X) is None:
            return self._rng.permutation(self._rows)
        n_blocks = math.ceil(len(self._rows) / _BLOCK_ROWS)
        blocks = np.array_split(self._rows, n_blocks)
        return np.concatenate([blocks[i] for i in self._rng.permutation(n_blocks)])

    def _read(self, rows: np.ndarray) -> Rows:
        values = gather(self._X, rows)
        if memmap_of(self._X) is not None:
            values = values[self._rng.permutation(len(values))]
        return to_tensors(self._encode(values), self._device)


class DeviceRows:
    """Every row once an epoch, in random order, from the memory of a device.

    The order is drawn there as well, so that an epoch does not wait for the host.

    Parameters
    ----------
    tensors : tuple of Tensor
        Inputs, targets and observed of all rows, on the device.
    generator : torch.Generator
        On the device.
    batch_size, n_members : int
        As for `ShuffledRows`.
    """

    def __init__(
        self,
        tensors: Rows,
        generator: torch.Generator,
        batch_size: int,
        n_members: int | None = None,
    ) -> None:
        self._tensors = tensors
        self._generator = generator
        self._n_members = n_members
        self._chunk_rows = _rows_of_chunk(batch_size, tensors[0].shape[1])

    def __call__(self) -> Iterator[Rows]:
        inputs = self._tensors[0]
        order = torch.stack(
            [
                torch.randperm(
                    len(inputs), generator=self._generator, device=inputs.device
                )
                for _ in range(self._n_members or 1)
            ]
        )
        yield from _in_order(self._tensors, order, self._chunk_rows, self._n_members)


def _in_order(
    tensors: Rows, orders: Tensor, chunk_rows: int, n_members: int | None
) -> Iterator[Rows]:
    """Chunks of rows in the order that each member, or the only one, has."""
    for some in orders.split(chunk_rows, 1):
        index = some[0] if n_members is None else some
        yield _each(tensors, partial(_taken, index=index))


def _taken(part: Tensor, index: Tensor) -> Tensor:
    """``part[index]``, several times as fast."""
    return part.index_select(0, index.flatten()).unflatten(0, index.shape)


def _rows_of_chunk(batch_size: int, n_columns: int) -> int:
    """A multiple of the batch, neither large nor so small that chunks cost much."""
    n_rows = min(_CHUNK_ROWS, _CHUNK_ENTRIES // n_columns)
    return batch_size * max(1, n_rows // batch_size)


def gather(X: Any, rows: slice | np.ndarray) -> np.ndarray:
    """Some rows of a dense or sparse matrix, dense.

    Parameters
    ----------
    rows : slice or ndarray of int
    """
    file = memmap_of(X)
    if file is not None:
        _release(file)
        if not isinstance(rows, slice):
            return _from_file(X, rows, file)
    if isinstance(rows, np.ndarray) and _is_plain(X):
        return X.take(rows, axis=0)
    taken = X[rows]
    return taken.toarray() if hasattr(taken, "toarray") else taken


def _is_plain(X: Any) -> bool:
    """Whether `take`, twice as fast as an index, would not copy the whole first."""
    return isinstance(X, np.ndarray) and X.flags.c_contiguous


def _from_file(X: np.ndarray, rows: np.ndarray, file: np.memmap) -> np.ndarray:
    """Scattered rows of a file, of whose pages few are in memory at any time."""
    taken = np.empty((len(rows), *X.shape[1:]), X.dtype)
    for start in range(0, len(rows), _SCATTERED_ROWS):
        some = slice(start, start + _SCATTERED_ROWS)
        taken[some] = X[rows[some]]
        _release(file)
    return taken


def _release(file: np.memmap) -> None:
    """Take the pages of a file that were read out of the process's memory."""
    # A private copy of a page ("c") would be lost.
    if file.mode != "c" and hasattr(mmap, "MADV_DONTNEED"):
        pages: Any = file.base
        pages.madvise(mmap.MADV_DONTNEED)


def memmap_of(X: Any) -> np.memmap | None:
    """The memory map that an array is a view of, at any depth, or None."""
    while X is not None and not isinstance(X, np.memmap):
        X = getattr(X, "base", None)
    # A view of a memory map is one too; the first of them holds the file.
    while isinstance(X, np.memmap) and isinstance(X.base, np.memmap):
        X = X.base
    return X


def to_tensor(array: np.ndarray, device: torch.device) -> Tensor:
    """A writable array as a tensor; on the CPU it shares the memory."""
    return torch.from_numpy(np.ascontiguousarray(array)).to(device)


def to_tensors(encoded: EncodedRows, device: torch.device) -> Rows:
    """Inputs, targets and observed as tensors; what is one array remains one tensor."""
    inputs, targets, observed = encoded
    tensor = to_tensor(inputs, device)
    return (
        tensor,
        tensor if targets is inputs else to_tensor(targets, device),
        None if observed is None else to_tensor(observed, device),
    )


def select(tensors: Rows, index: Tensor | slice) -> Rows:
    """The same rows of inputs, targets and observed."""
    return _each(tensors, lambda part: part[index])


def split(tensors: Rows, n_rows: int) -> Iterator[Rows]:
    """Inputs, targets and observed, some rows at a time; of an ensemble likewise."""
    inputs, targets, observed = _each(tensors, lambda part: part.split(n_rows, -2))
    if observed is None:
        observed = [None] * len(inputs)
    return zip(inputs, targets, observed, strict=True)


def _each(
    tensors: Rows, function: Callable[[Tensor], Part]
) -> tuple[Part, Part, Part | None]:
    """A function of inputs, targets and observed; what is one tensor remains one."""
    inputs, targets, observed = tensors
    result = function(inputs)
    return (
        result,
        result if targets is inputs else function(targets),
        None if observed is None else function(observed),
    )
