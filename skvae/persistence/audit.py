"""Which types a file may name: those of which loading does little but set attributes.

What it calls are plain types of Python and NumPy, with the text that keys are made of
and with arrays; `torch.device`; and what estimators set their state by.

skops has an audit of its own, which asks whether a type is trusted, whatever is to be
done with it. Here it is asked first, of each kind of part by itself: what is harmless
as data may not be so as something to call.
"""

import functools
import sys
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from sklearn import metrics, model_selection
from sklearn.base import BaseEstimator
from sklearn.compose import make_column_selector
from sklearn.dummy import DummyClassifier
from sklearn.utils import all_estimators

import skvae
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

__all__ = ["has_attributes", "name_of", "of_later_versions", "untrusted"]

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
#: What of scikit-learn has compiled code follow fitted arrays, wherever these lead: a
#: crafted model ends the process. So do trees, of which the type is not trusted.
_FOLLOWS_ARRAYS = (
    "sklearn.cluster.",
    "sklearn.linear_model._coordinate_descent",
    "sklearn.linear_model._stochastic_gradient",
    "sklearn.neighbors.",
    "sklearn.svm.",
)


def untrusted(parts: Iterable[tuple[str, str]], trusted: Collection[str]) -> set[str]:
    """Names of the types that a file would build, and that are not trusted with it.

    Parameters
    ----------
    parts : iterable of tuple
        Kind and type of each, from `schema.parts_of`.
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


def of_later_versions(names: Iterable[str]) -> list[str]:
    """Those of some names that only a later version of skvae can have given."""
    return sorted(
        name
        for name in names
        if name.startswith("skvae.") and not (_named(name) or _is_of_a_file(name))
    )


def name_of(kind: type) -> str:
    """The name of a type, with its module."""
    return f"{kind.__module__}.{kind.__qualname__}"


def has_attributes(name: str) -> bool:
    """Whether a type of this name is an estimator that is known: all of them have."""
    return name in _estimators()


@functools.cache
def _estimators() -> frozenset[str]:
    known = (*_ESTIMATORS, *_scikit_learns())
    return frozenset(name_of(kind) for kind in known if issubclass(kind, BaseEstimator))


@functools.cache
def _harmless() -> Mapping[str, frozenset[str]]:
    """Names of types that are harmless, by the kind of part."""
    kinds = (np.number, np.bool_, np.character, np.datetime64)
    scalars = {
        name_of(kind) for kind in np.sctypeDict.values() if issubclass(kind, kinds)
    }
    plain = {f"builtins.{name}" for name in ("bool", "float", "int", "list", "str")}
    names: dict[str, Collection[str]] = {
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


@functools.cache
def _scikit_learns() -> tuple[type, ...]:
    """Estimators, and what searches and column transformers hold."""
    return (
        *(kind for _, kind in all_estimators() if not _follows_arrays(kind)),
        *(kind for kind in vars(model_selection).values() if _is_splitter(kind)),
        type(metrics.get_scorer("accuracy")),
        type(metrics.check_scoring(DummyClassifier())),
        make_column_selector,
    )


def _follows_arrays(kind: type) -> bool:
    return any(base.__module__.startswith(_FOLLOWS_ARRAYS) for base in kind.__mro__)


def _is_splitter(kind: Any) -> bool:
    return isinstance(kind, type) and hasattr(kind, "split")


@functools.cache
def _scores() -> frozenset[str]:
    """Names of the functions that scores by name are made of."""
    scorers = map(metrics.get_scorer, metrics.get_scorer_names())
    return frozenset(name_of(scorer._score_func) for scorer in scorers)


def _is_ufunc(name: str) -> bool:
    """Whether this is a function of numbers, such as numpy.tanh."""
    is_numeric = name.partition(".")[0] in ("numpy", "scipy")
    return is_numeric and isinstance(_named(name), np.ufunc)


def _is_of_a_file(name: str) -> bool:
    """Whether it is in a module of skvae that nothing has imported so far."""
    module = name.rpartition(".")[0]
    path = Path(skvae.__file__).parents[1] / f"{module.replace('.', '/')}.py"
    return module not in sys.modules and path.exists()


def _named(name: str) -> Any:
    """What has this name in a module that is imported, or None."""
    module, _, attribute = name.rpartition(".")
    return getattr(sys.modules.get(module), attribute, None)
