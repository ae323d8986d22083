"""Remedies for codes that are not used: free bits, warm-up in cycles, aggression."""

from dataclasses import dataclass, field
from numbers import Real

from torch import Tensor

from skvae.objectives.bounds import (
    ELBO,
    DivergenceForm,
    Objective,
    check_not_negative,
    check_positive_integer,
)
from skvae.objectives.terms import Terms


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

    def __post_init__(self) -> None:
        check_not_negative(self, "nats")

    def __call__(self, terms: Terms, beta: float) -> Tensor:
        """The loss of a batch: minus the bound with its first nats free.

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
        kl = terms.kl_per_component.mean(-2).clamp_min(self.nats).sum(-1).mean()
        return beta * kl - terms.expected(terms.log_likelihood).mean()


@dataclass(frozen=True)
class CyclicalWarmup(ELBO):
    """Evidence lower bound whose divergence is weighed up again and again.

    Parameters
    ----------
    n_cycles : int, default=4
        Number of cycles, of equal length. Early stopping looks from the end of the last
        rise on. `kl_warmup` of the estimator has no say.
    rise : float, default=0.5
        Share of each cycle over which the weight rises from 0.
    divergence : {"closed", "monte_carlo", "sticking_the_landing"}, default="closed"
        See `ELBO`.

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
    >>> CyclicalWarmup(2)
    CyclicalWarmup(divergence='closed', n_cycles=2, rise=0.5)
    """

    divergence: DivergenceForm = field(default="closed", kw_only=True)
    n_cycles: int = 4
    rise: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive_integer(self, "n_cycles")
        if not (isinstance(self.rise, Real) and 0 <= self.rise <= 1):
            raise ValueError(
                f"rise of CyclicalWarmup must lie within 0 and 1, got {self.rise!r}"
            )

    def warm_up(self, kl_warmup: float) -> tuple[int, float]:
        return self.n_cycles, self.rise


@dataclass(frozen=True)
class Aggressive(ELBO):
    """Evidence lower bound, with the encoder trained ahead of the decoder at first.

    While the code's information about the row, I(x; z), still grows, and for 1,500
    steps at most, the encoder makes several steps for each of the decoder, until its
    loss falls no more. So it does not lag behind the model's true posterior, which is
    when a decoder learns to do without the code. Then both go on together. Steps of
    either count towards `max_iter`; early stopping looks from then on.

    Parameters
    ----------
    n_encoder_steps : int, default=10
        Steps of the encoder for each of the decoder, at most. At 1 it is `ELBO`.
    divergence : {"closed", "monte_carlo", "sticking_the_landing"}, default="closed"
        See `ELBO`.

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
    >>> Aggressive(5)
    Aggressive(divergence='closed', n_encoder_steps=5)
    """

    divergence: DivergenceForm = field(default="closed", kw_only=True)
    n_encoder_steps: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive_integer(self, "n_encoder_steps")
