"""Which types a file may name: those of which loading does nothing but set attributes.

skops has an audit of its own, which asks whether a type is trusted, whatever is to be
done with it. Here it is asked first, of each kind of part by itself: what is harmless
as data may not be so as something to call.
"""

import functools
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from sklearn import metrics, model_selection
from sklearn.compose import make_column_selector
from sklearn.dummy import DummyClassifier
from sklearn.utils import all_estimators

from skvae import (
    AETransformer,
    VAEImputer,
    VAEOutlierDetector,
    VAETransformer,
    likelihoods,
    networks,
    objectives,
    optimizers,
    posteriors,
    priors,
)
from skvae.autoencoder import SquaredError

__all__ = ["name_of", "parts_of", "untrusted"]

#: The first whose parts all have their types beside them.
_LEAST_PROTOCOL = 2

_ESTIMATORS = (AETransformer, VAEImputer, VAEOutlierDetector, VAETransformer)
_FAMILIES = (likelihoods, networks, objectives, optimizers, posteriors, priors)
_OURS = (
    *_ESTIMATORS,
    *(family for place in _FAMILIES for family in place.FAMILIES.values()),
    # Settings objects that have no short name.
    SquaredError,
    networks.ConvNet,
    posteriors.Point,
)


def untrusted(parts: Iterable[tuple[str, str]], trusted: Collection[str]) -> set[str]:
    """Names of the types that a file would build, and that are not trusted with it.

    Parameters
    ----------
    parts : iterable of tuple
        Kind and type of each, from `parts_of`.
    trusted : collection of str
        Names of types that the caller trusts, whatever is done with them.
    """
    return {
        name
        for kind, name in parts
        if name not in trusted
        and name not in _harmless().get(kind, ())
        and not (kind == "FunctionNode" and _is_ufunc(name))
    }


def parts_of(schema: Any, newest: int) -> set[tuple[str, str]]:
    """Kinds and types of all parts that skops would build.

    Parameters
    ----------
    schema : object
        What the file says that it holds, from JSON.
    newest : int
        The newest protocol that is known to skops.

    Raises
    ------
    ValueError
        If this is nothing that skops writes.
    """
    if not isinstance(schema, dict) or "__loader__" not in schema:
        raise ValueError("its description is none of an object")
    protocol = schema.get("protocol")
    if type(protocol) is not int or not _LEAST_PROTOCOL <= protocol <= newest:
        raise ValueError(
            f"it was written in protocol {protocol!r} of skops, and skvae reads "
            f"{_LEAST_PROTOCOL} to {newest} with the skops that is installed"
        )
    found = _Parts()
    found.count(schema)
    return found.types


class _Parts:
    """Kinds and types of parts, which are counted."""

    def __init__(self) -> None:
        self.types: set[tuple[str, str]] = set()
        self._by_identity: dict[Any, tuple[str, str, int]] = {}
        self._by_file: dict[Any, Any] = {}

    def count(self, value: Any) -> int:
        """How many parts a value consists of.

        An object that occurs twice is written out twice, and built once. If a few words
        could stand for it, or for a file of the archive, then a small file could be one
        that takes forever.
        """
        if isinstance(value, list):
            return sum(map(self.count, value))
        if not isinstance(value, dict):
            return 0
        n_parts = sum(map(self.count, value.values()))
        if "__loader__" not in value:
            return n_parts
        kind, name = value["__loader__"], f"{value['__module__']}.{value['__class__']}"
        self.types.add((kind, name))
        self._check_once(value, (kind, name, n_parts))
        content = value.get("content")
        is_state = isinstance(content, dict) and content.get("__loader__") == "DictNode"
        if kind == "ObjectNode" and name in _WITH_STATE and not is_state:
            raise ValueError(f"its {value['__class__']} is one without attributes")
        return n_parts + 1

    def _check_once(self, value: dict[str, Any], part: tuple[str, str, int]) -> None:
        identity, file = value.get("__id__"), value.get("file")
        if identity and self._by_identity.setdefault(identity, part) != part:
            raise ValueError("two parts of it claim to be the same object")
        if file is None:
            return
        if self._by_file.setdefault(file, value) is not value:
            if not identity or identity != self._by_file[file].get("__id__"):
                raise ValueError(f"two parts of it are made of the same {file!r}")


def name_of(kind: type) -> str:
    """The name of a type, with its module."""
    return f"{kind.__module__}.{kind.__qualname__}"


#: skops would make these without attributes, where a file has none.
_WITH_STATE = frozenset(map(name_of, _ESTIMATORS))


@functools.cache
def _harmless() -> Mapping[str, frozenset[str]]:
    """Names of types that are harmless, by the kind of part."""
    kinds = (np.number, np.bool_, np.character, np.datetime64)
    scalars = {
        name_of(kind) for kind in np.sctypeDict.values() if issubclass(kind, kinds)
    }
    plain = {f"builtins.{name}" for name in ("bool", "float", "int", "list", "str")}
    names: dict[str, Collection[str]] = {
        "BytearrayNode": ["builtins.bytearray"],
        "BytesNode": ["builtins.bytes"],
        "ConstructorFromReduceNode": ["torch.device"],
        "DTypeNode": ["numpy.dtype"],
        "DefaultDictNode": ["collections.defaultdict"],
        "DictNode": ["builtins.dict", "collections.OrderedDict"],
        "FunctionNode": _scores(),
        "JsonNode": ["builtins.str"],
        "ListNode": ["builtins.list"],
        "MaskedArrayNode": ["numpy.ma.MaskedArray", "numpy.ma.core.MaskedArray"],
        "NdArrayNode": ["numpy.ndarray", *scalars],
        "ObjectNode": {name_of(kind) for kind in (*_OURS, *_scikit_learns())},
        "RandomStateNode": [name_of(np.random.RandomState)],
        "SetNode": ["builtins.set"],
        "SliceNode": ["builtins.slice"],
        "TupleNode": ["builtins.tuple"],
        "TypeNode": [*plain, *scalars],
    }
    return {kind: frozenset(some) for kind, some in names.items()}


def _scikit_learns() -> Iterator[type]:
    """Estimators, and what searches and column transformers hold."""
    yield from (kind for _, kind in all_estimators())
    for kind in vars(model_selection).values():
        if isinstance(kind, type) and hasattr(kind, "split"):
            yield kind
    yield type(metrics.get_scorer("accuracy"))
    yield type(metrics.check_scoring(DummyClassifier()))
    yield make_column_selector


@functools.cache
def _scores() -> frozenset[str]:
    """Names of the functions that scores by name are made of."""
    scorers = map(metrics.get_scorer, metrics.get_scorer_names())
    return frozenset(name_of(scorer._score_func) for scorer in scorers)


def _is_ufunc(name: str) -> bool:
    """Whether this is a function of numbers, such as numpy.tanh."""
    module, _, attribute = name.rpartition(".")
    if module.partition(".")[0] not in ("numpy", "scipy"):
        return False
    return isinstance(getattr(sys.modules.get(module), attribute, None), np.ufunc)
