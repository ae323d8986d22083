"""Warnings of the package's own, so that they can be filtered by name."""

__all__ = ["PosteriorCollapseWarning"]


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
