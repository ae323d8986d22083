"""Objectives of the codes of all rows together: total correlation and MMD."""

import math
from dataclasses import dataclass
from numbers import Real

import torch
from torch import Tensor

from skvae import priors
from skvae.objectives.bounds import Objective, check_not_negative
from skvae.objectives.terms import Terms
from skvae.posteriors.gaussian import GaussianCodes

__all__ = ["MMD", "TotalCorrelation", "squared_discrepancy", "total_correlation"]


@dataclass(frozen=True)
class TotalCorrelation(Objective):
    """Evidence lower bound with a further price on dependence between components.

    The divergence of a batch is the information of the code about the row, plus the
    total correlation of the components, plus their divergence from the prior one by
    one; the second is weighted by `weight`. The densities of the code of a row taken
    at random are those of the batch's posteriors, mixed.

    Parameters
    ----------
    weight : float, default=6.0
        Of the total correlation. At 1 it is the evidence lower bound.

    Raises
    ------
    ValueError
        If `weight` is negative; in training, if the posterior's components are not
        independent and normal.

    References
    ----------
    R. T. Q. Chen et al., "Isolating Sources of Disentanglement in Variational
    Autoencoders", NeurIPS 2018, equations 2 and 4.

    Examples
    --------
    >>> from skvae.objectives import TotalCorrelation
    >>> TotalCorrelation(weight=3.0)
    TotalCorrelation(weight=3.0)
    """

    weight: float = 6.0

    def __post_init__(self) -> None:
        check_not_negative(self, "weight")

    def __call__(self, terms: Terms, beta: float) -> Tensor:
        """The loss of a batch, dependence between components included.

        Parameters
        ----------
        terms : Terms
            What the model knows of the batch.
        beta : float
            Weight of the divergence.

        Returns
        -------
        loss : Tensor of shape ()
            To be minimised, in nats per row.

        Raises
        ------
        ValueError
            If the posterior's components are not independent and normal.
        """
        kl = terms.kl.mean() + (self.weight - 1) * total_correlation(terms)
        return beta * kl - terms.expected(terms.log_likelihood).mean()


def total_correlation(terms: Terms) -> Tensor:
    """KL of the batch's code from its components shuffled, in nats.

    An estimate from the first draw of each row. It is too high where codes are narrow
    and batches small: what all components together tell of a row is capped at
    log(n_rows), long before what each of them tells is.
    """
    if not isinstance(terms.posterior, GaussianCodes):
        raise ValueError(
            "TotalCorrelation needs components that are independent and normal: "
            'set posterior="gaussian".'
        )
    mean = terms.posterior.mean.unsqueeze(-3)
    log_scale = terms.posterior.log_scale.unsqueeze(-3)
    # (..., n_rows, n_rows, n_components): of each code under the posterior of each row
    noise = (terms.z[0].unsqueeze(-2) - mean) * (-log_scale).exp()
    log_prob = -0.5 * noise.square() - log_scale
    joint = log_prob.sum(-1).logsumexp(-1)
    single = log_prob.logsumexp(-2).sum(-1)
    n_rows, n_components = mean.shape[-2:]
    return (joint - single).mean() + (n_components - 1) * math.log(n_rows)


@dataclass(frozen=True)
class MMD(Objective):
    """InfoVAE: the codes of all rows together, not of each, are drawn to the prior.

    Minus E_q[log p(x|z)], plus `weight` times the squared maximum mean discrepancy
    between the batch's codes and the prior, under a normal kernel, plus `kl_weight`
    times the divergence of each row's code. Expectations under the standard normal
    prior are in closed form: nothing is drawn from it. The code is free to tell
    everything of a row, so that nothing collapses, and nothing is bounded.

    Parameters
    ----------
    weight : float, default=100.0
        In the paper's terms alpha + lambda - 1.
    kl_weight : float, default=0.0
        In the paper's terms 1 - alpha. Scores need posteriors that are not points:
        0.01 keeps them so.
    bandwidth : float or None, default=None
        Standard deviation of the kernel, in units of the code; None is the square root
        of n_components.

    Raises
    ------
    ValueError
        If a weight is negative or the bandwidth not positive; in training, under
        another prior than "gaussian".

    References
    ----------
    S. Zhao, J. Song and S. Ermon, "InfoVAE: Balancing Learning and Inference in
    Variational Autoencoders", AAAI 2019, equation 6. R. M. Rustamov, "Closed-form
    expressions for maximum mean discrepancy with applications to Wasserstein
    auto-encoders", Stat 10 (2021).

    Examples
    --------
    >>> from skvae.objectives import MMD
    >>> MMD(weight=10.0)
    MMD(weight=10.0, kl_weight=0.0, bandwidth=None)
    """

    weight: float = 100.0
    kl_weight: float = 0.0
    bandwidth: float | None = None

    def __post_init__(self) -> None:
        check_not_negative(self, "weight")
        check_not_negative(self, "kl_weight")
        if self.bandwidth is not None and not (
            isinstance(self.bandwidth, Real) and 0 < self.bandwidth < math.inf
        ):
            raise ValueError(
                f"bandwidth of MMD must be a positive float or None, "
                f"got {self.bandwidth!r}"
            )

    def __call__(self, terms: Terms, beta: float) -> Tensor:
        """The loss of a batch: errors and discrepancy.

        Parameters
        ----------
        terms : Terms
            What the model knows of the batch.
        beta : float
            Weight of the divergence.

        Returns
        -------
        loss : Tensor of shape ()
            To be minimised, in nats per row.

        Raises
        ------
        ValueError
            If the prior is not the standard normal.
        """
        if not isinstance(terms.prior, priors.Gaussian):
            raise ValueError(
                "MMD needs codes that are any numbers and a standard normal prior: set "
                'posterior="gaussian" and prior="gaussian".'
            )
        n_components = terms.z.shape[-1]
        bandwidth = self.bandwidth or math.sqrt(n_components)
        discrepancy = squared_discrepancy(terms.z[0], bandwidth).mean()
        kl = self.kl_weight * terms.kl.mean() + self.weight * discrepancy
        return beta * kl - terms.expected(terms.log_likelihood).mean()


def squared_discrepancy(z: Tensor, bandwidth: float) -> Tensor:
    """Squared maximum mean discrepancy of rows from N(0, I), without bias.

    Parameters
    ----------
    z : Tensor of shape (..., n_rows, n_components)
    bandwidth : float
        Standard deviation of the normal kernel.

    Returns
    -------
    discrepancy : Tensor of shape (...)
    """
    n_rows, n_components = z.shape[-2:]
    square = bandwidth**2
    distances = (z.unsqueeze(-2) - z.unsqueeze(-3)).square().sum(-1)
    kernel = torch.exp(distances / (-2 * square))
    among = (kernel.sum((-2, -1)) - n_rows) / max(1, n_rows * (n_rows - 1))
    to_prior = (square / (square + 1)) ** (n_components / 2)
    between = to_prior * torch.exp(z.square().sum(-1) / (-2 * (square + 1))).mean(-1)
    within = (square / (square + 2)) ** (n_components / 2)
    return among - 2 * between + within
