"""What a call changes of its thread and process is set back, also by an interrupt.

An interrupt, such as Ctrl-C, may fall into any call of Python's, and so into the
entering or leaving of a `with` statement, which then does not leave what was entered.
"""

import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np
import torch

__all__ = ["UsualModes", "call_within", "in_usual_modes"]

Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")
_Contexts = Sequence[AbstractContextManager[object]]

#: Kinds of device that torch may be told to compute on in fewer digits.
_DEVICES = ("cpu", "cuda", "mps", "xpu")
#: What NumPy does about errors in floating point, unless it is told otherwise.
_USUAL_ERRORS: Any = {
    **dict.fromkeys(("divide", "over", "invalid"), "warn"),
    "under": "ignore",
}


def call_within(
    contexts: _Contexts,
    function: Callable[Arguments, Answer],
    *args: Arguments.args,
    **kwargs: Arguments.kwargs,
) -> Answer:
    """Call a function within contexts that are left for certain.

    Parameters
    ----------
    contexts : sequence of context managers
        Their ``__exit__`` sets back as much as has been changed, which may be nothing:
        it is called without ``__enter__`` if that of another context is interrupted,
        and once more if there is an exception, since that may come out of it.
    function : callable
    *args, **kwargs
        Of the function.

    Returns
    -------
    answer : object
        What the function returns.
    """
    try:
        try:
            for context in contexts:
                context.__enter__()
            return function(*args, **kwargs)
        finally:
            _leave(contexts)
    except BaseException:
        _leave(contexts)
        raise


def _leave(contexts: _Contexts) -> None:
    for context in reversed(contexts):
        context.__exit__(*sys.exc_info())


class UsualModes:
    """Torch and NumPy out of the modes that their caller may have put them in.

    So tensors are usual ones with all their digits, gradients are possible, and what
    underflows is zero. All is set back; what NumPy does also where an `np.errstate`
    within was not left.
    """

    def __init__(self) -> None:
        # It sets back the modes of gradients too, in which it leaves torch.
        self._modes = torch.inference_mode(False)
        self._errors = np.geterr()
        # Its own context manager counts how often it is left.
        self._autocast = [kind for kind in _DEVICES if torch.is_autocast_enabled(kind)]

    def __enter__(self) -> None:
        self._modes.__enter__()
        np.seterr(**_USUAL_ERRORS)
        for kind in self._autocast:
            torch.set_autocast_enabled(kind, False)

    def __exit__(self, *error: object) -> None:
        with suppress(AttributeError):  # of modes that were never entered
            self._modes.__exit__(None, None, None)
        np.seterr(**self._errors)
        for kind in self._autocast:
            torch.set_autocast_enabled(kind, True)


def in_usual_modes(
    function: Callable[Arguments, Answer],
) -> Callable[Arguments, Answer]:
    """Have tensors made that are of use outside of inference mode too."""

    @wraps(function)
    def wrapper(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Answer:
        return call_within((UsualModes(),), function, *args, **kwargs)

    return wrapper
