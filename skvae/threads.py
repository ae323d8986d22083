"""How many threads a call uses: one, unless the network's steps are long.

The steps of small networks are too short to be shared out. NumPy and torch have a pool
of threads each, and threads that wait keep a core busy: both pools at work, or one of
them beside a busy neighbour, cost more than the second core gives. Measurements are on
the page of the user guide on speed. What is changed is restored after each call.
"""

import threading
from collections.abc import Callable
from contextlib import ContextDecorator
from functools import wraps
from typing import Any, TypeVar, cast

import torch

from skvae.compat import threadpool_controller

__all__ = ["in_few_threads", "limited"]

Function = TypeVar("Function", bound=Callable[..., Any])


class _Pools:
    """The pools of the process, limited while any call is inside.

    Those of NumPy's and SciPy's BLAS belong to the process. Torch's number belongs to
    each thread, so that every caller's own is set and set back.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._n_inside = 0

    def enter(self) -> None:
        with self._lock:
            if not self._n_inside:
                controller = threadpool_controller()
                _let_go(controller)
                self._limiter = controller.limit(limits=1, user_api="blas")
                _let_go(controller)
                # A thread that is new asks for the number of those that are inside.
                self.n_torch_threads = torch.get_num_threads()
            self._n_inside += 1

    def leave(self) -> None:
        with self._lock:
            self._n_inside -= 1
            if not self._n_inside:
                self._limiter.restore_original_limits()
                _let_go(threadpool_controller())


def _let_go(controller: Any) -> None:
    """Let any thread set the limits: the last one inside restores the first one's.

    Newer versions of threadpoolctl leave both to the thread that came first.
    """
    for library in controller.lib_controllers:
        if hasattr(library, "clear_controlling_thread"):
            library.clear_controlling_thread(force=True)


_pools = _Pools()


class _Limited(threading.local, ContextDecorator):
    def __init__(self, torch_too: bool) -> None:
        self._torch_too = torch_too
        self._depth = 0

    def __enter__(self) -> None:
        self._depth += 1
        if self._depth == 1:
            _pools.enter()
            if self._torch_too:
                torch.set_num_threads(1)

    def __exit__(self, *error: object) -> None:
        self._depth -= 1
        if not self._depth:
            if self._torch_too:
                torch.set_num_threads(_pools.n_torch_threads)
            _pools.leave()


_TO_ONE, _BLAS_TO_ONE = _Limited(torch_too=True), _Limited(torch_too=False)


def limited(network: object) -> _Limited:
    """A context in which BLAS has one thread, and torch if the network wants no more.

    Parameters
    ----------
    network : Network, str or None
        As the parameter of an estimator.
    """
    return _BLAS_TO_ONE if getattr(network, "uses_threads", False) else _TO_ONE


def in_few_threads(function: Function) -> Function:
    """Limit a function whose first argument is an estimator."""

    @wraps(function)
    def wrapper(estimator: Any, *args: Any, **kwargs: Any) -> Any:
        with limited(getattr(estimator, "network", None)):
            return function(estimator, *args, **kwargs)

    return cast(Function, wrapper)
