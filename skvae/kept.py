"""What is made from a fitted state, kept until the state changes.

An estimator's state is plain data; the functions that answer from it are built from
that. For a single row the building would take longer than the answer. Each thread has
its own, since fitted models compute in buffers.
"""

import threading
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary

import torch

if TYPE_CHECKING:
    from skvae.base import BaseVAE

__all__ = ["kept"]

Built = TypeVar("Built")


class _Kept(threading.local):
    def __init__(self) -> None:
        self.by_estimator: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()


_kept = _Kept()


def kept(
    estimator: "BaseVAE", key: Hashable, build: Callable[[dict[str, Any]], Built]
) -> Built:
    """What `build` returns; the same object until the estimator is fitted again.

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
    of_state, parts = _kept.by_estimator.get(estimator, (None, None))
    if of_state is not state:
        parts = {}
        _kept.by_estimator[estimator] = state, parts
    if key not in parts:
        # Tensors made in this mode could not be used outside of it.
        with torch.inference_mode(False):
            parts[key] = build(state)
    return parts[key]
