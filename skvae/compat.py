"""The only file that imports private names of scikit-learn, or works around it.

Scikit-learn's issue 34001 asks for the private names to be published: third-party
estimators need them for parameter errors that read as scikit-learn's own.
"""

import random

from sklearn.base import _fit_context as fit_context
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils._set_output import _get_output_config

__all__ = [
    "CallbackSupportMixin",
    "Interval",
    "StrOptions",
    "fit_context",
    "output_is_set",
]


def output_is_set(estimator):
    """Whether `transform` is to give another container than it would by itself."""
    return _get_output_config("transform", estimator)["dense"] != "default"


def _import_callback_support():
    # It imports rich where that is installed, which draws from Python's global state.
    state = random.getstate()
    from sklearn.callback import CallbackSupportMixin

    random.setstate(state)
    return CallbackSupportMixin


CallbackSupportMixin = _import_callback_support()
