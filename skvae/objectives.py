"""What training minimises.

An objective maps the terms of a batch to one number. The convention everywhere: sum
over features, sum over components, mean over rows, in nats, constants kept.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from numbers import Integral, Real

import torch

from skvae import priors
from skvae.settings import Settings

__all__ = [
    "ELBO",
    "IWAE",
    "MMD",
    "Aggressive",
    "CyclicalWarmup",
    "FreeBits",
    "Objective",
    "Terms",
    "TotalCorrelation",
]


class Terms:
    """What the model knows of a batch under its posterior.

    Parameters
    ----------
    log_likelihood : Tensor of shape (n_draws, n_rows)
        log p(x|z) of the observed cells.
    posterior, prior : object
        q(z|x) and p(z).
    z : Tensor of shape (n_draws, n_rows, n_components)
        Draws from the posterior, or all the values that there are.
    """

    def __init__(self, log_likelihood, posterior, prior, z):
        self.log_likelihood = log_likelihood
        self.posterior, self.prior, self.z = posterior, prior, z
        self._log_shares = posterior.log_shares()

    def expected(self, values):
        """Mean under the posterior, (n_rows, ...), of values of each draw."""
        if self._log_shares is None:
            return values.mean(0)
        shares = self._log_shares.exp()
        return (
            shares.view(*shares.shape, *[1] * (values.ndim - shares.ndim)) * values
        ).sum(0)

    def log_mean_exp(self, log_values):
        """Logarithm of the mean of exp under the posterior, (n_rows,)."""
        if self._log_shares is None:
            return torch.logsumexp(log_values, 0) - math.log(len(log_values))
        return torch.logsumexp(log_values + self._log_shares, 0)

    @cached_property
    def log_prior(self):
        """log p(z) of each draw, (n_draws, n_rows)."""
        return self.prior.log_prob(self.z)

    @cached_property
    def log_ratio(self):
        """log p(z) - log q(z|x) of each draw, (n_draws, n_rows)."""
        return self.log_prior - self.posterior.log_prob(self.z)

    @cached_property
    def log_ratio_by_path(self):
        """The same, with gradients of the encoder through the draws alone."""
        still = self.posterior.mapped(torch.Tensor.detach)
        return self.log_prior - still.log_prob(self.z)

    @cached_property
    def kl_per_component(self):
        """KL(q(z|x) || p(z)), (n_rows, n_components); of all together, (n_rows, 1).

        Closed where a closed form is known, averaged over draws otherwise.
        """
        kl = self.posterior.kl_divergence(self.prior)
        return -self.expected(self.log_ratio).unsqueeze(-1) if kl is None else kl

    @cached_property
    def kl(self):
        """The same, summed, (n_rows,)."""
        return self.kl_per_component.sum(-1)


class Objective(Settings):
    """Base of the objectives.

    Called with `Terms` and the weight beta of the divergence, an objective gives the
    loss of a batch: a tensor without dimensions, in nats per row.
    """

    #: The bound by which held-out rows are judged.
    @property
    def bound(self):
        return ELBO()

    #: How often, at most, the encoder learns for each time that the decoder does.
    n_encoder_steps = 1

    def n_draws(self, n_mc_samples):
        """Codes drawn per row and step, where the estimator asks for some number."""
        return n_mc_samples

    def warm_up(self, kl_warmup):
        """Cycles of training, and the share of each over which beta rises from 0."""
        return 1, kl_warmup


@dataclass(frozen=True)
class ELBO(Objective):
    """Evidence lower bound, with its divergence weighted by beta.

    The number to minimise is minus E_q[log p(x|z)] plus beta KL(q(z|x) || p(z)),
    averaged over rows. At beta = 1 it bounds minus the mean of log p(x) from above.
    Below 1 the divergence is weakened, above 1 the model is a beta-VAE.

    Parameters
    ----------
    divergence : {"closed", "monte_carlo", "sticking_the_landing"}, default="closed"
        How the divergence is had:

        - ``"closed"``: in closed form, where one is known for the posterior and the
          prior, otherwise as below;
        - ``"monte_carlo"``: averaged over the draws;
        - ``"sticking_the_landing"``: the same number, but the gradient goes through
          the draws alone. Its noise vanishes as the posterior becomes exact.

    Raises
    ------
    ValueError
        If `divergence` is none of these.

    References
    ----------
    D. P. Kingma and M. Welling, "Auto-Encoding Variational Bayes", ICLR 2014,
    equations 3 and 7. I. Higgins et al., "beta-VAE", ICLR 2017, equation 4. G. Roeder,
    Y. Wu and D. Duvenaud, "Sticking the Landing", NeurIPS 2017, equation 8.

    Examples
    --------
    >>> from skvae.objectives import ELBO
    >>> ELBO("sticking_the_landing")
    ELBO(divergence='sticking_the_landing')
    """

    divergence: str = "closed"

    def __post_init__(self):
        known = ("closed", "monte_carlo", "sticking_the_landing")
        if self.divergence not in known:
            raise ValueError(
                f"divergence of ELBO must be one of {known}, got {self.divergence!r}"
            )

    def __call__(self, terms, beta):
        if self.divergence == "closed":
            kl = terms.kl
        elif self.divergence == "monte_carlo":
            kl = -terms.expected(terms.log_ratio)
        else:
            kl = -terms.expected(terms.log_ratio_by_path)
        return beta * kl.mean() - terms.expected(terms.log_likelihood).mean()


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
    doubly_reparameterized : bool, default=False
        Whether the encoder learns by the estimator whose signal does not drown in
        noise as the codes become many. Slower, since it is not written out by hand.

    Raises
    ------
    ValueError
        If `n_samples` is not a positive integer.

    References
    ----------
    Y. Burda, R. Grosse and R. Salakhutdinov, "Importance Weighted Autoencoders", ICLR
    2016, equation 8. P.-A. Mattei and J. Frellsen, "MIWAE", ICML 2019, equation 4.
    G. Tucker et al., "Doubly Reparameterized Gradient Estimators for Monte Carlo
    Objectives", ICLR 2019, equation 8.

    Examples
    --------
    >>> from skvae.objectives import IWAE
    >>> IWAE(n_samples=5)
    IWAE(n_samples=5, doubly_reparameterized=False)
    """

    n_samples: int = 20
    doubly_reparameterized: bool = False

    def __post_init__(self):
        _check_positive_integer(self, "n_samples")

    @property
    def bound(self):
        return IWAE(self.n_samples)

    def n_draws(self, n_mc_samples):
        return self.n_samples

    def __call__(self, terms, beta):
        if self.doubly_reparameterized and terms.z.requires_grad:
            return self._by_path(terms, beta)
        log_w = terms.log_likelihood + beta * terms.log_ratio
        return -terms.log_mean_exp(log_w).mean()

    def _by_path(self, terms, beta):
        log_w = terms.log_likelihood + beta * terms.log_ratio_by_path
        share = torch.softmax(log_w.detach(), 0)
        # The decoder's gradient is weighted once, that of the draws once more.
        terms.z.register_hook(lambda gradient: share.unsqueeze(-1) * gradient)
        surrogate = -(share * log_w).sum(0).mean()
        value = -terms.log_mean_exp(log_w).mean()
        return surrogate + (value - surrogate).detach()


@dataclass(frozen=True)
class FreeBits(Objective):
    """Evidence lower bound in which a component's first nats cost nothing.

    The divergence of each component, averaged over the batch, counts as `nats` where it
    is less: there is nothing to gain by switching a component off.

    Parameters
    ----------
    nats : float, default=0.1
        Free nats of each component; of all components together where the divergence
        of single ones has no closed form.

    Raises
    ------
    ValueError
        If `nats` is negative.

    References
    ----------
    D. P. Kingma et al., "Improved Variational Inference with Inverse Autoregressive
    Flow", NeurIPS 2016, equation 15.

    Examples
    --------
    >>> from skvae.objectives import FreeBits
    >>> FreeBits(nats=0.5)
    FreeBits(nats=0.5)
    """

    nats: float = 0.1

    def __post_init__(self):
        _check_not_negative(self, "nats")

    def __call__(self, terms, beta):
        kl = terms.kl_per_component.mean(0).clamp_min(self.nats).sum()
        return beta * kl - terms.expected(terms.log_likelihood).mean()


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

    def __post_init__(self):
        _check_not_negative(self, "weight")

    def __call__(self, terms, beta):
        kl = terms.kl.mean() + (self.weight - 1) * total_correlation(terms)
        return beta * kl - terms.expected(terms.log_likelihood).mean()


def total_correlation(terms):
    """KL of the batch's code from its components shuffled, in nats.

    An estimate from the first draw of each row, biased downwards in small batches.
    """
    mean = terms.posterior.mean
    log_scale = getattr(terms.posterior, "log_scale", None)
    if log_scale is None or terms.z.ndim != 3:
        raise ValueError(
            "TotalCorrelation needs components that are independent and normal: "
            'set posterior="gaussian".'
        )
    noise = (terms.z[0].unsqueeze(1) - mean) * (-log_scale).exp()
    # (n_rows, n_rows, n_components): of each code under the posterior of each row
    log_prob = -0.5 * noise.square() - log_scale
    joint = log_prob.sum(-1).logsumexp(1) - math.log(len(mean))
    single = log_prob.logsumexp(1) - math.log(len(mean))
    return (joint - single.sum(-1)).mean()


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

    def __post_init__(self):
        _check_not_negative(self, "weight")
        _check_not_negative(self, "kl_weight")
        if self.bandwidth is not None and not self.bandwidth > 0:
            raise ValueError(
                f"bandwidth of MMD must be a positive float or None, "
                f"got {self.bandwidth!r}"
            )

    def __call__(self, terms, beta):
        if not isinstance(terms.prior, priors.Gaussian) or terms.z.ndim != 3:
            raise ValueError('MMD needs prior="gaussian" and a single model.')
        n_components = terms.z.shape[-1]
        bandwidth = self.bandwidth or math.sqrt(n_components)
        discrepancy = squared_discrepancy(terms.z[0], bandwidth)
        kl = self.kl_weight * terms.kl.mean() + self.weight * discrepancy
        return beta * kl - terms.expected(terms.log_likelihood).mean()


def squared_discrepancy(z, bandwidth):
    """Squared maximum mean discrepancy of rows from N(0, I), without bias.

    Parameters
    ----------
    z : Tensor of shape (n_rows, n_components)
    bandwidth : float
        Standard deviation of the normal kernel.
    """
    n_rows, n_components = z.shape
    square = bandwidth**2
    distances = (z.unsqueeze(1) - z).square().sum(-1)
    kernel = torch.exp(distances / (-2 * square))
    among = (kernel.sum() - n_rows) / max(1, n_rows * (n_rows - 1))
    to_prior = (square / (square + 1)) ** (n_components / 2)
    between = to_prior * torch.exp(z.square().sum(-1) / (-2 * (square + 1))).mean()
    within = (square / (square + 2)) ** (n_components / 2)
    return among - 2 * between + within


@dataclass(frozen=True)
class CyclicalWarmup(ELBO):
    """Evidence lower bound whose divergence is weighed up again and again.

    Parameters
    ----------
    divergence : {"closed", "monte_carlo", "sticking_the_landing"}, default="closed"
        See `ELBO`.
    n_cycles : int, default=4
        Number of cycles, of equal length. Early stopping looks from the end of the last
        rise on. `kl_warmup` of the estimator has no say.
    rise : float, default=0.5
        Share of each cycle over which the weight rises from 0.

    Raises
    ------
    ValueError
        If `n_cycles` is not a positive integer or `rise` not within 0 and 1.

    References
    ----------
    H. Fu et al., "Cyclical Annealing Schedule: A Simple Approach to Mitigating KL
    Vanishing", NAACL 2019, equation 6.

    Examples
    --------
    >>> from skvae.objectives import CyclicalWarmup
    >>> CyclicalWarmup(n_cycles=2)
    CyclicalWarmup(divergence='closed', n_cycles=2, rise=0.5)
    """

    n_cycles: int = 4
    rise: float = 0.5

    def __post_init__(self):
        super().__post_init__()
        _check_positive_integer(self, "n_cycles")
        if not 0 <= self.rise <= 1:
            raise ValueError(
                f"rise of CyclicalWarmup must lie within 0 and 1, got {self.rise!r}"
            )

    def warm_up(self, kl_warmup):
        return self.n_cycles, self.rise


@dataclass(frozen=True)
class Aggressive(ELBO):
    """Evidence lower bound, with the encoder trained ahead of the decoder at first.

    While the code's information about the row, I(x; z), still grows, the encoder makes
    several steps for each of the decoder, until its loss falls no more. So it does not
    lag behind the model's true posterior, which is when a decoder learns to do without
    the code. Then both go on together.

    Parameters
    ----------
    divergence : {"closed", "monte_carlo", "sticking_the_landing"}, default="closed"
        See `ELBO`.
    n_encoder_steps : int, default=20
        Steps of the encoder for each of the decoder, at most.

    Raises
    ------
    ValueError
        If `n_encoder_steps` is not a positive integer.

    References
    ----------
    J. He et al., "Lagging Inference Networks and Posterior Collapse in Variational
    Autoencoders", ICLR 2019, algorithm 1.

    Examples
    --------
    >>> from skvae.objectives import Aggressive
    >>> Aggressive(n_encoder_steps=10)
    Aggressive(divergence='closed', n_encoder_steps=10)
    """

    n_encoder_steps: int = 20

    def __post_init__(self):
        super().__post_init__()
        _check_positive_integer(self, "n_encoder_steps")


def _check_positive_integer(settings, name):
    value = getattr(settings, name)
    if not isinstance(value, Integral) or value < 1:
        raise ValueError(
            f"{name} of {type(settings).__name__} must be a positive integer, "
            f"got {value!r}"
        )


def _check_not_negative(settings, name):
    value = getattr(settings, name)
    if not (isinstance(value, Real) and 0 <= value < math.inf):
        raise ValueError(
            f"{name} of {type(settings).__name__} must be a float from 0 on, "
            f"got {value!r}"
        )


#: What a name may stand for.
FAMILIES = {
    "elbo": ELBO,
    "iwae": IWAE,
    "free_bits": FreeBits,
    "total_correlation": TotalCorrelation,
    "mmd": MMD,
    "cyclical_warmup": CyclicalWarmup,
    "aggressive": Aggressive,
}
