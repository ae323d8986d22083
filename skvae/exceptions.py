"""Warnings: those of the package's own by name, and where they point to."""

import sys
import warnings

__all__ = ["PosteriorCollapseWarning", "warn_caller"]

#: Packages whose lines say nothing to whoever called the first of them.
_BETWEEN = ("skvae", "sklearn", "joblib")


class PosteriorCollapseWarning(UserWarning):
    """Training ended with a code that says nothing of the rows.

    The posterior of every row is the prior: no component costs as much as 0.01 nats.
    `transform` then gives much the same code for all rows. That is as it should be
    where the columns have nothing in common; otherwise the message names what may help.

    References
    ----------
    S. R. Bowman et al., "Generating Sentences from a Continuous Space", CoNLL 2016,
    section 3.1. J. Lucas et al., "Don't Blame the ELBO! A Linear VAE Perspective on
    Posterior Collapse", NeurIPS 2019.

    Examples
    --------
    >>> import warnings
    >>> from skvae import PosteriorCollapseWarning
    >>> warnings.simplefilter("ignore", PosteriorCollapseWarning)
    """


def warn_caller(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn of the line that called the package, however it came here.

    Parameters
    ----------
    message : str
    category : type of Warning, default=UserWarning
    """
    frame, level = sys._getframe(1), 2
    while (
        frame.f_back is not None
        and frame.f_globals.get("__name__", "").partition(".")[0] in _BETWEEN
    ):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)
