"""What training minimises.

An objective maps the terms of a batch to one number. The convention everywhere: sum
over features, sum over components, mean over rows, in nats, constants kept.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch

from skvae.settings import Settings

__all__ = ["ELBO", "Objective", "Terms"]


class Terms(NamedTuple):
    """What the model knows of a batch under its posterior."""

    log_likelihood: torch.Tensor  # log p(x|z), (n_draws, n_rows)
    kl: torch.Tensor  # KL(q(z|x) || p(z)), closed or averaged over draws, (n_rows,)


class Objective(Settings):
    """Base of the objectives."""


@dataclass(frozen=True)
class ELBO(Objective):
    """Evidence lower bound, with its divergence weighted by beta.

    The number to minimise is minus E_q[log p(x|z)] plus beta KL(q(z|x) || p(z)),
    averaged over rows. At beta = 1 it bounds minus the mean of log p(x) from above.

    References
    ----------
    D. P. Kingma and M. Welling, "Auto-Encoding Variational Bayes", ICLR 2014,
    equation 3. I. Higgins et al., "beta-VAE", ICLR 2017, equation 4.

    Examples
    --------
    >>> from skvae.objectives import ELBO
    >>> ELBO()
    ELBO()
    """

    def __call__(self, terms, beta):
        """Loss of a batch: a tensor without dimensions, in nats per row."""
        return beta * terms.kl.mean() - terms.log_likelihood.mean()


FAMILIES = {"elbo": ELBO}
