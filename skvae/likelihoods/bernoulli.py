"""The Bernoulli likelihood: yes or no."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from skvae.core.arrays import Array, ValueAndGradient, namespace, row_sums, sigmoid
from skvae.likelihoods.base import Columns, Likelihood, LinearStart

__all__ = ["Bernoulli"]


@dataclass(frozen=True)
class Bernoulli(Likelihood):
    """Yes or no: columns of values in {0, 1}, with the log-odds as decoder output.

    Other values are refused. Greys between 0 and 1 have a density only under a
    distribution that is normalised over the interval.

    References
    ----------
    D. P. Kingma and M. Welling, "Auto-Encoding Variational Bayes", ICLR 2014,
    appendix C.1.

    Examples
    --------
    >>> from skvae.likelihoods import Bernoulli
    >>> Bernoulli()
    Bernoulli()
    """

    codec: ClassVar[str] = "binary"
    support: ClassVar[str] = "{0, 1}"
    inputs_are_indicators: ClassVar[bool] = True
    #: Also the least p (1 - p) by which a slope in x becomes one in the log-odds.
    least_variance: ClassVar[float] = 0.05

    def start(
        self,
        mean: Tensor,
        variance: Tensor,
        loadings: Tensor,
        residual_variance: Tensor,
    ) -> LinearStart:
        p = mean.clamp(1e-3, 1 - 1e-3)
        slope = 1 / (p * (1 - p)).clamp_min(self.least_variance)
        noise = residual_variance.clamp_min(self.least_variance)
        nothing = mean.new_empty(0)
        return LinearStart(loadings * slope, torch.logit(p), nothing, {}, noise)

    def __call__(
        self, locations: Tensor, others: Tensor, own: Mapping[str, Tensor]
    ) -> Columns:
        return BernoulliColumns(locations)

    def value_and_gradient(
        self,
        locations: Array,
        others: Array,
        own: Mapping[str, Array],
        targets: Array,
        observed: Array | None,
    ) -> ValueAndGradient[Array]:
        xp = namespace(locations)
        # softplus(l) = log(1 + exp(-|l|)) + (l + |l|) / 2, in as few passes as may be.
        distance = abs(locations)
        softplus = xp.exp(-distance)
        softplus += 1
        softplus = xp.log(softplus, out=softplus)
        distance += locations
        distance /= 2
        softplus += distance
        log_prob = targets * locations
        log_prob -= softplus
        gradient = targets - sigmoid(locations)
        if observed is not None:
            log_prob *= observed
            gradient *= observed
        return row_sums(log_prob), gradient, others, {}


class BernoulliColumns(NamedTuple):
    """Independent columns of zeros and ones."""

    logits: Tensor

    @property
    def mean(self) -> Tensor:
        return self.logits.sigmoid()

    def log_prob(self, targets: Tensor) -> Tensor:
        return targets * self.logits - functional.softplus(self.logits)

    def sample(self, generator: torch.Generator) -> Tensor:
        return torch.bernoulli(self.mean, generator=generator)
