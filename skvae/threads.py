"""How many threads a call uses: one, unless the network's steps are long.

The steps of small networks are too short to be shared out. NumPy and torch have a pool
of threads each, and threads that wait keep a core busy: both pools at work, or one of
them beside a busy neighbour, cost more than the second core gives. Measurements are on
the page of the user guide on speed. What is changed is restored after each call.

Torch gives a thread, when that first needs it, the number that any thread set last. So
a thread whose number is 1 while others are inside has taken that from them, or has it
of its own: torch cannot tell, and it is given the number from before.
"""

import os
import threading
from typing import Any, TypeAlias

import torch

from skvae.compat import threadpool_controller

__all__ = ["limited"]

#: A thread that limits the pools, and whether torch's too.
_Caller: TypeAlias = tuple[int, bool]


class _Pools:
    """The pools of the process, limited while any call is inside.

    Those of NumPy's and SciPy's BLAS belong to the process. Torch's number belongs to
    each thread, so that every caller's own is set and set back.
    """

    def __init__(self) -> None:
        # A handler of signals may fork while its own thread is in here.
        self.lock = threading.RLock()
        self._inside: set[_Caller] = set()
        #: The libraries and their numbers of threads, and torch's of the first caller.
        self._before: list[tuple[Any, int]] = []
        self._n_torch_threads = 1
        #: Whether the process is a fork: those threads of torch that wait for work are
        #: not in it, and it would wait for them for ever.
        self.is_fork = False

    def __contains__(self, caller: _Caller) -> bool:
        return caller in self._inside

    def enter(self, caller: _Caller) -> None:
        with self.lock:
            is_first = not self._inside
            if is_first:
                libraries = threadpool_controller().lib_controllers
                self._before = [
                    (library, library.num_threads)
                    for library in libraries
                    if library.user_api == "blas"
                ]
                self._n_torch_threads = torch.get_num_threads()
            # Before anything is changed, so that `leave` undoes a half of it too.
            self._inside.add(caller)
            if is_first:
                for library, _ in self._before:
                    _set_number(library, 1)

    def leave(self, caller: _Caller) -> None:
        """Set back what was changed; without effect where the caller is not inside."""
        with self.lock:
            if self._inside == {caller}:
                self._restore()
            # Last: an interrupted call may be made again.
            self._inside.discard(caller)

    def n_torch_threads(self) -> int:
        """The number of this thread, as it would be without those that are inside."""
        own = torch.get_num_threads()
        return self._n_torch_threads if own == 1 and self._inside else own

    def start_in_fork(self) -> None:
        """Go on in a process that has one of its parent's threads."""
        self.is_fork = True
        here, n_torch_threads = threading.get_ident(), self.n_torch_threads()
        of_parent = self._inside
        self._inside = {caller for caller in of_parent if caller[0] == here}
        if self._inside:
            # For calls within that one too, at whose end all is set back.
            torch.set_num_threads(1)
            self._n_torch_threads = 1
        elif of_parent:
            self._restore()
            torch.set_num_threads(n_torch_threads)

    def _restore(self) -> None:
        for library, n_threads in self._before:
            _set_number(library, n_threads)


def _set_number(library: Any, n_threads: int) -> None:
    """Set it from any thread: the last one inside restores the first one's.

    Newer versions of threadpoolctl leave it to the thread that came first.
    """
    let_go = getattr(library, "clear_controlling_thread", lambda force: None)
    let_go(force=True)
    library.set_num_threads(n_threads)
    let_go(force=True)


_pools = _Pools()


class _Limited:
    """A call that limits the pools, unless one around it in the same thread does."""

    def __init__(self, torch_too: bool) -> None:
        self._caller = threading.get_ident(), torch_too
        self._is_outermost = False
        self._n_torch_threads = _pools.n_torch_threads()

    def __enter__(self) -> None:
        self._is_outermost = self._caller not in _pools
        if self._is_outermost:
            _pools.enter(self._caller)
            if self._torch_too:
                self._set_torch(1)

    def __exit__(self, *error: object) -> None:
        if self._is_outermost and self._caller in _pools:
            if self._torch_too:
                self._set_torch(self._n_torch_threads)
            _pools.leave(self._caller)

    def _set_torch(self, n_threads: int) -> None:
        if self._n_torch_threads > 1:  # else new threads would be given that 1
            torch.set_num_threads(n_threads)

    @property
    def _torch_too(self) -> bool:
        return self._caller[1] or _pools.is_fork


def _start_in_fork() -> None:
    _pools.start_in_fork()
    _pools.lock.release()


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(
        before=_pools.lock.acquire,
        after_in_parent=_pools.lock.release,
        after_in_child=_start_in_fork,
    )


def limited(network: object) -> _Limited:
    """A context in which BLAS has one thread, and torch if the network wants no more.

    Parameters
    ----------
    network : Network, str or None
        As the parameter of an estimator.

    Returns
    -------
    context : context manager
        For one use. `call_within` may leave it more than once.
    """
    return _Limited(torch_too=not getattr(network, "uses_threads", False))
