"""The only file that imports private names of scikit-learn, or works around it.

Scikit-learn's issue 34001 asks for the private names to be published: third-party
estimators need them for parameter errors that read as scikit-learn's own.
"""

import random
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from sklearn.base import BaseEstimator, _fit_context
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils._set_output import ADAPTERS_MANAGER, _get_output_config
from sklearn.utils.parallel import _get_threadpool_controller as threadpool_controller

__all__ = [
    "CallbackSupportMixin",
    "Interval",
    "StrOptions",
    "fit_context",
    "in_container",
    "output_is_set",
    "set_output_config",
    "threadpool_controller",
]

Method = TypeVar("Method", bound=Callable[..., Any])

#: With its type, which scikit-learn does not give: a method stays what it is.
fit_context: Callable[..., Callable[[Method], Method]] = _fit_context


def output_is_set(estimator: BaseEstimator) -> bool:
    """Whether `transform` is to give another container than it would by itself."""
    return _get_output_config("transform", estimator)["dense"] != "default"


def in_container(
    estimator: BaseEstimator, values: np.ndarray, X: Any, columns: list[str]
) -> Any:
    """An array as the kind of table that `set_output`, or the global setting, wants."""
    if not output_is_set(estimator):
        return values
    container = _get_output_config("transform", estimator)["dense"]
    return ADAPTERS_MANAGER.adapters[container].create_container(values, X, columns)


def set_output_config(estimator: BaseEstimator, transform: str | None) -> None:
    """What `set_output` does, for an estimator that does not transform."""
    if transform is not None:
        estimator._sklearn_output_config = {"transform": transform}


def _import_callback_support() -> Any:
    # It imports rich where that is installed, which draws from Python's global state.
    state = random.getstate()
    from sklearn.callback import CallbackSupportMixin

    random.setstate(state)
    return CallbackSupportMixin


CallbackSupportMixin = _import_callback_support()
