"""Bounds on log p(x), and the contract that every objective keeps."""

import math
from dataclasses import dataclass
from numbers import Integral, Real
from typing import TYPE_CHECKING, Literal, TypeAlias

import torch
from torch import Tensor

from skvae.objectives.terms import Terms
from skvae.settings import Settings

__all__ = ["ELBO", "IWAE", "Objective", "check_not_negative", "check_positive_integer"]


#: How the divergence of a bound is had: see `ELBO`.
DivergenceForm: TypeAlias = Literal["closed", "monte_carlo", "sticking_the_landing"]


class Objective(Settings):
    """Base of the objectives.

    Called with `Terms` and the weight beta of the divergence, an objective gives the
    loss of a batch: a tensor without dimensions, in nats per row. Its property
    ``bound`` is the objective by which held-out rows are judged.

    Attributes
    ----------
    n_encoder_steps : int
        How often, at most, the encoder learns for each time that the decoder does.

    Examples
    --------
    >>> from skvae.objectives import IWAE
    >>> objective = IWAE(n_samples=5)
    >>> objective.n_draws(n_mc_samples=1), objective.warm_up(0.2)
    (5, (1, 0.2))
    """

    if TYPE_CHECKING:  # for each family to say

        def __call__(self, terms: Terms, beta: float) -> Tensor: ...

    @property
    def bound(self) -> "Objective":
        """The bound by which held-out rows are judged."""
        return ELBO()

    n_encoder_steps = 1

    def n_draws(self, n_mc_samples: int) -> int:
        """Codes drawn per row and step, where the estimator asks for some number.

        Parameters
        ----------
        n_mc_samples : int
            What the estimator asks for.

        Returns
        -------
        n_draws : int
            What the objective needs.
        """
        return n_mc_samples

    def warm_up(self, kl_warmup: float) -> tuple[int, float]:
        """Cycles of training, and the share of each over which beta rises from 0.

        Parameters
        ----------
        kl_warmup : float
            What the estimator asks for: a share of the planned steps.

        Returns
        -------
        n_cycles : int
            Of equal length.
        share : float
            Between 0 and 1.
        """
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

    divergence: DivergenceForm = "closed"

    def __post_init__(self) -> None:
        known = ("closed", "monte_carlo", "sticking_the_landing")
        if self.divergence not in known:
            raise ValueError(
                f"divergence of {type(self).__name__} must be one of {known}, "
                f"got {self.divergence!r}"
            )

    def __call__(self, terms: Terms, beta: float) -> Tensor:
        """The loss of a batch: minus the evidence lower bound.

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
        """
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

    def __post_init__(self) -> None:
        check_positive_integer(self, "n_samples")

    @property
    def bound(self) -> "IWAE":
        """The bound by which held-out rows are judged: with as many draws."""
        return IWAE(self.n_samples)

    def n_draws(self, n_mc_samples: int) -> int:
        return self.n_samples

    def __call__(self, terms: Terms, beta: float) -> Tensor:
        """The loss of a batch: minus the importance-weighted bound.

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
        """
        if self.doubly_reparameterized and terms.z.requires_grad:
            return self._by_path(terms, beta)
        log_w = terms.log_likelihood + beta * terms.log_ratio
        return -terms.log_mean_exp(log_w).mean()

    def _by_path(self, terms: Terms, beta: float) -> Tensor:
        log_w = terms.log_likelihood + beta * terms.log_ratio_by_path
        share = torch.softmax(log_w.detach(), 0)
        # The decoder's gradient is weighted once, that of the draws, at beta = 1, once
        # more; where beta is 0 the encoder's density has no part in it.
        again = (1 + beta * (share - 1)).unsqueeze(-1)
        terms.z.register_hook(lambda gradient: again * gradient)
        surrogate = -(share * log_w).sum(0).mean()
        value = -terms.log_mean_exp(log_w).mean()
        return surrogate + (value - surrogate).detach()


def check_positive_integer(settings: Objective, name: str) -> None:
    value = getattr(settings, name)
    if not isinstance(value, Integral) or value < 1:
        raise ValueError(
            f"{name} of {type(settings).__name__} must be a positive integer, "
            f"got {value!r}"
        )


def check_not_negative(settings: Objective, name: str) -> None:
    value: float = getattr(settings, name)
    if not (isinstance(value, Real) and 0 <= value < math.inf):
        raise ValueError(
            f"{name} of {type(settings).__name__} must be a float from 0 on, "
            f"got {value!r}"
        )
