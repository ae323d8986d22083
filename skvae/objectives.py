"""What training minimises.

An objective maps the terms of a batch to one number. The convention everywhere: sum
over features, sum over components, mean over rows, in nats, constants kept.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from numbers import Integral

import torch

from skvae.settings import Settings

__all__ = ["ELBO", "IWAE", "Objective", "Terms"]


class Terms:
    """What the model knows of a batch under its posterior.

    Parameters
    ----------
    log_likelihood : Tensor of shape (n_draws, n_rows)
        log p(x|z) of the observed cells.
    posterior, prior : object
        q(z|x) and p(z).
    z : Tensor of shape (n_draws, n_rows, n_components)
        Draws from the posterior.
    """

    def __init__(self, log_likelihood, posterior, prior, z):
        self.log_likelihood = log_likelihood
        self._posterior, self._prior, self._z = posterior, prior, z

    @cached_property
    def log_ratio(self):
        """log p(z) - log q(z|x) of each draw, (n_draws, n_rows)."""
        return self._prior.log_prob(self._z) - self._posterior.log_prob(self._z)

    @cached_property
    def kl(self):
        """KL(q(z|x) || p(z)), closed or averaged over draws, (n_rows,)."""
        kl = self._posterior.kl_divergence(self._prior)
        return -self.log_ratio.mean(0) if kl is None else kl.sum(-1)


class Objective(Settings):
    """Base of the objectives."""

    def n_draws(self, n_mc_samples):
        """Codes drawn per row and step, where the estimator asks for some number."""
        return n_mc_samples


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


@dataclass(frozen=True)
class IWAE(Objective):
    """Importance-weighted bound: tighter than the evidence lower bound.

    Minus the log of the mean importance weight p(x, z) / q(z|x) over several codes.
    With holes in x it is the bound of MIWAE. At another beta than 1 the weights are
    p(x|z) (p(z) / q(z|x))^beta, and nothing is bounded.

    Parameters
    ----------
    n_samples : int, default=20
        Codes per row and step.

    Raises
    ------
    ValueError
        If `n_samples` is not a positive integer.

    References
    ----------
    Y. Burda, R. Grosse and R. Salakhutdinov, "Importance Weighted Autoencoders", ICLR
    2016, equation 8. P.-A. Mattei and J. Frellsen, "MIWAE", ICML 2019, equation 4.

    Examples
    --------
    >>> from skvae.objectives import IWAE
    >>> IWAE(n_samples=5)
    IWAE(n_samples=5)
    """

    n_samples: int = 20

    def __post_init__(self):
        if not isinstance(self.n_samples, Integral) or self.n_samples < 1:
            raise ValueError(
                f"n_samples of IWAE must be a positive integer, got {self.n_samples!r}"
            )

    def n_draws(self, n_mc_samples):
        return self.n_samples

    def __call__(self, terms, beta):
        """Loss of a batch: a tensor without dimensions, in nats per row."""
        log_w = terms.log_likelihood + beta * terms.log_ratio
        return math.log(len(log_w)) - torch.logsumexp(log_w, 0).mean()


FAMILIES = {"elbo": ELBO, "iwae": IWAE}
