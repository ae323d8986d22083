"""A fit is seen whole or not at all: by its caller, and by other threads.

A fit works on a stand-in for the estimator, and what it has made is handed over at its
end. An answer is given by a stand-in too, taken as it begins. Both steps cannot be
interrupted, and copy references only.
"""

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from sklearn import get_config, set_config

from skvae.core.interrupts import UsualModes, call_within
from skvae.kept import share
from skvae.threads import limited

if TYPE_CHECKING:
    from skvae.base import BaseVAE

__all__ = ["all_or_nothing", "from_one_fit"]

Estimator = TypeVar("Estimator", bound="BaseVAE")
Class = TypeVar("Class", bound="type[BaseVAE]")
Arguments = ParamSpec("Arguments")


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
            _hand_over(before, fitting.__dict__, self.__dict__)
            return self
        except BaseException:
            self.__dict__ = own  # an interrupt, which cannot fall between
            raise

    return wrapper


class _Configuration:
    """Scikit-learn's, which a fit that is interrupted may not have set back."""

    def __init__(self) -> None:
        self._before = get_config()

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if kind is not None:
            set_config(**self._before)


def from_one_fit(*names: str) -> Callable[[Class], Class]:
    """Have methods of a class answer from one fit, whatever another thread does.

    Applied to the class, so that what scikit-learn wraps around a method is inside.

    Parameters
    ----------
    *names : str
        Of methods that return anything but the estimator.
    """

    def decorated(cls: Class) -> Class:
        for name in names:
            setattr(cls, name, _from_one_fit(getattr(cls, name)))
        return cls

    return decorated


def _from_one_fit(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def wrapper(self: "BaseVAE", *args: Any, **kwargs: Any) -> Any:
        answering = _stand_in(self)
        share(self, answering)
        contexts = limited(self.network), UsualModes()
        return call_within(contexts, method, answering, *args, **kwargs)

    return wrapper


def _stand_in(estimator: Estimator) -> Estimator:
    """Another estimator with the same attributes."""
    cls = type(estimator)
    other = cls.__new__(cls)
    other.__dict__.update(estimator.__dict__)
    return other


def _hand_over(
    before: dict[str, Any], after: dict[str, Any], own: dict[str, Any]
) -> None:
    """Give an estimator what a fit has changed, and no more.

    A parameter that was set meanwhile stays as it was set.
    """
    # First, since names of columns that are gone are no part of any answer.
    for name in before.keys() - after.keys():
        own.pop(name, None)
    own.update(
        {
            name: value
            for name, value in after.items()
            if name not in before or before[name] is not value
        }
    )
