"""p(x|z): what a column is, given the code.

A likelihood turns the decoder's outputs for its features into a distribution. The
decoder gives two kinds of output: *locations*, which have the linear path, and
*others*, such as log-variances, which have not. A likelihood says how many of each it
needs, which weights of its own it keeps in the model's flat parameter vector, and
where the model starts.
"""

from skvae.likelihoods.base import Likelihood, LinearStart
from skvae.likelihoods.bernoulli import Bernoulli
from skvae.likelihoods.blocks import Blocks
from skvae.likelihoods.counts import (
    NegativeBinomial,
    Poisson,
    ZeroInflatedNegativeBinomial,
)
from skvae.likelihoods.gamma import Gamma
from skvae.likelihoods.gaussian import Gaussian, Laplace, LogNormal, StudentT
from skvae.likelihoods.interval import Beta, ContinuousBernoulli
from skvae.likelihoods.levels import Binned, Categorical, Identifier, Ordinal

__all__ = [
    "Bernoulli",
    "Beta",
    "Binned",
    "Blocks",
    "Categorical",
    "ContinuousBernoulli",
    "Gamma",
    "Gaussian",
    "Identifier",
    "Laplace",
    "Likelihood",
    "LinearStart",
    "LogNormal",
    "NegativeBinomial",
    "Ordinal",
    "Poisson",
    "StudentT",
    "ZeroInflatedNegativeBinomial",
]

#: What a name may stand for.
FAMILIES: dict[str, type[Likelihood]] = {
    "gaussian": Gaussian,
    "student_t": StudentT,
    "laplace": Laplace,
    "log_normal": LogNormal,
    "gamma": Gamma,
    "beta": Beta,
    "continuous_bernoulli": ContinuousBernoulli,
    "binned": Binned,
    "bernoulli": Bernoulli,
    "ordinal": Ordinal,
    "poisson": Poisson,
    "negative_binomial": NegativeBinomial,
    "zero_inflated_negative_binomial": ZeroInflatedNegativeBinomial,
    "categorical": Categorical,
    "identifier": Identifier,
}
