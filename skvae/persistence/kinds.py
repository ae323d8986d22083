"""What a part must be like, by its kind, lest skops build another thing of it."""

import json
import reprlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from skvae.persistence.archive import Member
from skvae.persistence.audit import has_attributes

__all__ = ["KEEPS_RESULTS", "check", "keeps_results"]

#: A kind beside those of skops: objects that unpickle what they find in a folder.
KEEPS_RESULTS = "object that keeps results"
#: By kind, how the names of members end that parts are made of.
_ENDINGS = {"BytesNode": ".bin", "NdArrayNode": ".npy", "SparseMatrixNode": ".npz"}
#: Whole numbers with more digits may all have the same place in a dict or set, where
#: the next one is then looked for beside all that came before.
_MOST_DIGITS = 18
_TWISTER = 624  # numbers of NumPy's RandomState


def check(part: Mapping[str, Any], member: Member | None) -> None:
    """Raise a ValueError unless a part is one that skops may have written.

    Parameters
    ----------
    part : dict
        From the description. What is within it is not looked at for its own sake.
    member : Member or None
        What it is made of.
    """
    kind, identity = part["__loader__"], part.get("__id__")
    if identity is not None and not _is_address(identity):
        odd = reprlib.repr(identity)
        raise ValueError(f"its part of kind {kind} is identified by an odd {odd}")
    ending = _ENDINGS.get(kind)
    if member and not (ending and part["file"].endswith(ending)):
        raise ValueError(f"its part of kind {kind} is made of {part['file']!r}")
    look = _CHECKS.get(kind)
    if look and not look(part, member):
        name = reprlib.repr(part["__class__"])
        raise ValueError(f"it has a part of type {name} that skops does not write")


def _is_address(identity: Any) -> bool:
    """Whether few others have the same place in a dict."""
    return type(identity) is int and 0 <= identity < 2**64


def keeps_results(part: Mapping[str, Any]) -> bool:
    """Whether this is an object with a `memory`, as pipelines may have."""
    attributes = part.get("content")
    if part["__loader__"] != "ObjectNode" or not isinstance(attributes, dict):
        return False
    inside = attributes.get("content")
    memory = inside.get("memory") if isinstance(inside, dict) else None
    return memory is not None and not _is_none(memory)


def _kind(part: Any) -> Any:
    return part.get("__loader__") if isinstance(part, dict) else None


def _number(part: Any) -> Any:
    """What a part of JSON holds, if it is a number or the like; else None."""
    is_short = _kind(part) == "JsonNode" and len(part["content"]) <= _MOST_DIGITS
    return json.loads(part["content"]) if is_short else None


def _is_none(part: Any) -> bool:
    return _kind(part) == "JsonNode" and part["content"] == "null"


def _is_text(part: Mapping[str, Any], _: Member | None) -> bool:
    """Whether what is said in JSON is one value."""
    content = part["content"]
    return isinstance(content, str) and not content.lstrip().startswith(("[", "{"))


def _has_keys(part: Mapping[str, Any], _: Member | None) -> bool:
    """Whether keys are made by types alone, and have places of their own."""
    types = part["key_types"]
    if _kind(types) != "ListNode":
        return False
    pairs = zip(types["content"], part["content"], strict=False)
    return all(
        _kind(each) == "TypeNode" and _is_spread(each["__class__"], key)
        for each, key in pairs
    )


def _is_spread(name: str, key: str) -> bool:
    if name == "int":
        return len(key) <= _MOST_DIGITS
    return "complex" not in name and name != "clongdouble"


def _is_set(part: Mapping[str, Any], _: Member | None) -> bool:
    """Whether there are numbers and text in it, which have places of their own."""
    return all(
        _kind(each) == "NdArrayNode"
        or (_kind(each) == "JsonNode" and _is_short_or_text(each["content"]))
        for each in part["content"]
    )


def _is_short_or_text(content: str) -> bool:
    return content.startswith('"') or len(content) <= _MOST_DIGITS


# ---- arrays --------------------------------------------------------------------------


def _is_array(part: Mapping[str, Any], member: Member | None) -> bool:
    """Whether an array, or a number of NumPy's, is of the type that it says."""
    name = part["__class__"]
    if part["type"] == "numpy" and member:
        return name == "ndarray" or (member.shape == () and _is_of(member.dtype, name))
    if part["type"] != "json" or name != "ndarray" or member:
        return False
    shape = part["shape"]
    if _kind(shape) != "TupleNode" or not shape["content"]:
        return False
    return _is_filled(part["content"], [_number(size) for size in shape["content"]])


def _is_masked(part: Mapping[str, Any], _: Member | None) -> bool:
    """Whether there are arrays; of lists NumPy would make some, as wide as it takes."""
    return all(
        _kind(part["content"][name]) == "NdArrayNode" for name in ("data", "mask")
    )


def _is_of(dtype: np.dtype | None, name: str) -> bool:
    """Whether this is the data type of scalars of this name, of any length."""
    kind = getattr(np, name, None)
    if dtype is None or kind not in np.sctypeDict.values():
        return False
    wanted = np.dtype(kind)
    return dtype.kind == wanted.kind and wanted.itemsize in (0, dtype.itemsize)


def _is_filled(parts: list[Any], shape: list[Any], in_list: bool = False) -> bool:
    """Whether there are as many objects as the shape says, each of them one."""
    n_parts, *rest = shape
    if type(n_parts) is not int or len(parts) != n_parts:
        return False
    if rest:
        return all(
            _kind(each) == "ListNode" and _is_filled(each["content"], rest, True)
            for each in parts
        )
    # NumPy takes apart what stands in lists of lists.
    return not in_list or all(
        _kind(each) == "JsonNode" or each["__class__"] != "ndarray" for each in parts
    )


# ---- objects -------------------------------------------------------------------------


def _is_object(part: Mapping[str, Any], _: Member | None) -> bool:
    """Whether it has attributes; skops makes estimators also without them."""
    name = f"{part['__module__']}.{part['__class__']}"
    return _kind(part.get("content")) == "DictNode" or not has_attributes(name)


def _is_random_state(part: Mapping[str, Any], _: Member | None) -> bool:
    """Whether NumPy can go on from there; it does not look itself."""
    try:
        state: Any = part["content"]["content"]["state"]["content"]
    except (KeyError, TypeError):
        return False
    place = _number(state["pos"]) if state.keys() == {"key", "pos"} else None
    return type(place) is int and 0 <= place <= _TWISTER


_Look = Callable[[Mapping[str, Any], Member | None], bool]
_CHECKS: dict[str, _Look] = {
    "DictNode": _has_keys,
    "JsonNode": _is_text,
    "MaskedArrayNode": _is_masked,
    "NdArrayNode": _is_array,
    "ObjectNode": _is_object,
    "RandomStateNode": _is_random_state,
    "SetNode": _is_set,
}
