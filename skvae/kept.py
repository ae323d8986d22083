"""What is made from a fitted state, kept until the state changes.

An estimator's state is plain data; the functions that answer from it are built from
that. For a single row the building would take longer than the answer. Each thread has
its own, since fitted models compute in buffers, and drops it as it next answers from
another state.
"""

import threading
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary

from skvae.core.interrupts import UsualModes, call_within

if TYPE_CHECKING:
    from skvae.base import BaseVAE

__all__ = ["kept", "share"]

Built = TypeVar("Built")


class _Kept(threading.local):
    """By estimator: a state, and what is made from it. Each thread has its own."""

    def __init__(self) -> None:
        self.by_estimator: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()


_kept = _Kept()


def kept(
    estimator: "BaseVAE", key: Hashable, build: Callable[[dict[str, Any]], Built]
) -> Built:
    """What `build` returns; in a thread the same object until there is another state.

    Parameters
    ----------
    estimator : BaseVAE
        Fitted. Nothing is written to it.
    key : hashable
        What, beside the fitted state, the outcome depends on.
    build : callable
        Called with the state.
    """
    state = estimator._state
    parts = _parts(estimator, state)
    if key not in parts:
        # Tensors made in inference mode could not be used outside of it.
        parts[key] = call_within((UsualModes(),), build, state)
    return parts[key]


def share(estimator: "BaseVAE", other: "BaseVAE") -> None:
    """Have another estimator, of the same state if any, keep what this one does."""
    state = other.__dict__.get("_state")
    if state is not None:
        _kept.by_estimator[other] = state, _parts(estimator, state)


def _parts(estimator: "BaseVAE", state: dict[str, Any]) -> dict[Hashable, Any]:
    """What is kept for an estimator and a state; nothing for any other state."""
    of_state, parts = _kept.by_estimator.get(estimator, (None, None))
    if of_state is not state:
        parts = {}
        _kept.by_estimator[estimator] = state, parts
    return parts
