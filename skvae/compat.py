"""The only file that imports private names of scikit-learn.

The project asks for them to be published in scikit-learn issue 34001; third-party
estimators need them for parameter errors that read as scikit-learn's own.
"""

from sklearn.base import _fit_context as fit_context
from sklearn.utils._param_validation import Interval, StrOptions

__all__ = ["Interval", "StrOptions", "fit_context"]
