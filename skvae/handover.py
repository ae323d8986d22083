"""A fit is seen whole or not at all: by its caller, and by other threads.

A fit works on a stand-in for the estimator, and what it has made is handed over at its
end. An answer is given by a stand-in too, taken as it begins. Both steps copy
references only, and an interrupt between two of them leaves the estimator as it was.
"""

from collections.abc import Callable, Collection
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from sklearn import get_config, set_config

from skvae.base import BaseVAE
from skvae.core.interrupts import UsualModes, call_within
from skvae.kept import share
from skvae.threads import limited

__all__ = ["all_or_nothing", "from_one_fit", "methods_from_one_fit"]

Estimator = TypeVar("Estimator", bound=BaseVAE)
Class = TypeVar("Class", bound=type[BaseVAE])
Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")


def all_or_nothing(
    method: Callable[Concatenate[Estimator, Arguments], Estimator],
) -> Callable[Concatenate[Estimator, Arguments], Estimator]:
    """Leave the estimator as it was until, and unless, the method comes to its end.

    Torch is taken out of the modes that the caller may have put it in, since
    gradients are needed, and both pools of threads are limited.
    """

    @wraps(method)
    def wrapper(
        self: Estimator, *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> Estimator:
        fitting = _stand_in(self)
        before = fitting.__dict__.copy()
        contexts = limited(fitting.network), UsualModes(), _Configuration()
        call_within(contexts, method, fitting, *args, **kwargs)
        own = self.__dict__.copy()
        try:
            parameters = self.get_params(deep=False)
            _hand_over(before, fitting.__dict__, self.__dict__, parameters)
            return self  # in here, since an interrupt may fall into this line too
        except BaseException:
            self.__dict__ = own  # half of a fit may have been handed over
            raise

    return wrapper


class _Configuration:
    """Scikit-learn's, set back after a fit that failed.

    Its own context manager, interrupted as it is left, does not.
    """

    def __init__(self) -> None:
        self._before = get_config()

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if kind is not None:
            set_config(**self._before)


def methods_from_one_fit(*names: str) -> Callable[[Class], Class]:
    """Have methods of a class answer as by `from_one_fit`.

    Applied to the class, so that what scikit-learn wraps around a method is inside.

    Parameters
    ----------
    *names : str
        Of methods that return anything but the estimator. They may note nothing in it:
        what they set is set in the stand-in, and gone after the call.
    """

    def decorated(cls: Class) -> Class:
        for name in names:
            setattr(cls, name, from_one_fit(getattr(cls, name)))
        return cls

    return decorated


def from_one_fit(
    function: Callable[Concatenate[Any, Arguments], Answer],
) -> Callable[Concatenate[Any, Arguments], Answer]:
    """Have a function or method answer from one fit, whatever another thread does.

    Pools of threads and modes of torch are those that answers need. A first argument
    that is none of our estimators is left to the function.
    """

    @wraps(function)
    def wrapper(
        estimator: Any, *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> Answer:
        answering = estimator
        if isinstance(estimator, BaseVAE):
            answering = _stand_in(estimator)
            share(estimator, answering)
        contexts = limited(getattr(estimator, "network", None)), UsualModes()
        return call_within(contexts, function, answering, *args, **kwargs)

    return wrapper


def _stand_in(estimator: Estimator) -> Estimator:
    """Another estimator with the same attributes, as far as they are in its dict."""
    cls = type(estimator)
    other = cls.__new__(cls)
    other.__dict__.update(estimator.__dict__)
    return other


def _hand_over(
    before: dict[str, Any],
    after: dict[str, Any],
    own: dict[str, Any],
    parameters: Collection[str],
) -> None:
    """Give an estimator what a fit has changed, and no more.

    A parameter that was set meanwhile stays as it was set. If another fit has come to
    its end meanwhile, nothing of that one stays: two halves are no model.
    """
    changed = {
        name: value
        for name, value in after.items()
        if name not in before or before[name] is not value
    }
    gone = before.keys() - after.keys()
    if own.get("_state") is not before.get("_state"):
        changed = {k: v for k, v in after.items() if k not in parameters} | changed
        gone |= {name for name in own.keys() - after.keys() if name.endswith("_")}
    # First, since names of columns that are gone are no part of any answer.
    for name in gone:
        own.pop(name, None)
    own.update(changed)
