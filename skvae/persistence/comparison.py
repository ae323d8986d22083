"""Where an object differs from what was read of it, down to the bits of its arrays.

Objects are taken apart as pickle and copy do it, so that this knows of no class.
"""

import copyreg
import reprlib
from collections.abc import Iterable
from types import BuiltinFunctionType, FunctionType
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

__all__ = ["Difference", "difference"]

_PLAIN = (str, bool, int, float, complex, bytes, type(None))
#: Of which there is one each, so that another is a different one.
_SINGLE = (type, FunctionType, BuiltinFunctionType)


class Difference(NamedTuple):
    """A part that was read as another."""

    path: str  #: as Python would lead there, such as ".steps[1]"
    given: Any
    read: Any


def difference(given: Any, read: Any) -> Difference | None:
    """The first part that differs, or None.

    Parameters
    ----------
    given, read : object
        NaN is the same as NaN. Objects may hold themselves, or one thing twice.
    """
    return _Comparison().of(given, read, "")


class _Comparison:
    """What was compared, lest things that hold themselves be compared forever."""

    def __init__(self) -> None:
        # The objects are kept, since another one may get the address of a freed one.
        self._seen: dict[tuple[int, int], tuple[Any, Any]] = {}

    def of(self, given: Any, read: Any, path: str) -> Difference | None:
        """The first difference, of two objects that are found at this path."""
        if given is read:
            return None
        here = Difference(path, given, read)
        if type(given) is not type(read) or isinstance(given, _SINGLE):
            return here
        if type(given) in _PLAIN:
            return None if given == read or repr(given) == repr(read) else here
        pair = id(given), id(read)
        if pair in self._seen:
            return None
        self._seen[pair] = given, read
        rest, parts = _taken_apart(given)
        other_rest, other_parts = _taken_apart(read)
        if len(parts) != len(other_parts) or self.of(rest, other_rest, path):
            return here
        for (name, part), (_, other) in zip(parts, other_parts, strict=True):
            if found := self.of(part, other, path + name):
                return found
        return None


# ---- what objects consist of ---------------------------------------------------------


def _taken_apart(value: Any) -> tuple[Any, list[tuple[str, Any]]]:
    """What makes a value besides its parts, in plainer terms, and these by name."""
    if type(value) in (list, tuple):
        return None, _items(value)
    if isinstance(value, set | frozenset):
        return sorted(value, key=lambda item: (type(item).__name__, repr(item))), []
    if isinstance(value, np.ma.MaskedArray):
        return (value.data, np.ma.getmaskarray(value), value.fill_value), []
    if isinstance(value, np.ndarray | np.generic):
        return _of_array(np.asarray(value)), []
    if isinstance(value, sparse.sparray | sparse.spmatrix):
        return (value.shape, value.dtype.str, *sparse.find(value)), []
    if isinstance(value, np.random.RandomState):  # its seed is nothing that it uses
        return value.get_state(legacy=False), []
    return _reduced(value)


def _of_array(array: np.ndarray) -> tuple[Any, ...]:
    """Type, shape and content, of which no byte is undefined, as those of gaps are."""
    content: Any
    if array.dtype.names:
        content = [(name, array[name]) for name in array.dtype.names]
    elif array.dtype.hasobject:
        content = array.ravel().tolist()
    elif array.dtype.char in "gG":
        content = [*map(repr, array.ravel())]
    else:
        content = array.tobytes()
    return array.dtype.str, array.shape, content


def _reduced(value: Any) -> tuple[Any, list[tuple[str, Any]]]:
    reduce = copyreg.dispatch_table.get(type(value))
    reduced = reduce(value) if reduce else value.__reduce_ex__(4)
    if isinstance(reduced, str):
        return reduced, []
    function, arguments, state, items, pairs = (*reduced, None, None, None)[:5]
    rest, parts = [function, arguments], _items(items or ())
    if isinstance(state, dict) and all(isinstance(name, str) for name in state):
        parts += [(f".{name}", state[name]) for name in sorted(state, key=_rank)]
        rest.append(sorted(state))
    else:
        rest.append(state)
    content = [*(pairs or ())]
    rest.append([key for key, _ in content])
    return rest, parts + [(f"[{reprlib.repr(key)}]", part) for key, part in content]


def _items(values: Iterable[Any]) -> list[tuple[str, Any]]:
    return [(f"[{i}]", value) for i, value in enumerate(values)]


def _rank(name: str) -> tuple[bool, bool, str]:
    """Parameters before what `fit` learned, and before what is private."""
    return name.startswith("_"), name.endswith("_"), name
