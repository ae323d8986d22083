"""p(z): where codes lie before a row is seen.

What `prior="auto"` stands for is the posterior's to say. A prior may be fixed, learned
with the model, made of the codes of training rows, or any distribution of torch's.
"""

from skvae.priors.base import Prior
from skvae.priors.fixed import Categorical, Gaussian, Standard
from skvae.priors.given import Distribution, closed_kl
from skvae.priors.learned import Aggregate, Mixture, VampPrior
from skvae.priors.mixtures import MixtureOfCodes, MixtureOfNormals, OfMembers

__all__ = [
    "Aggregate",
    "Categorical",
    "Distribution",
    "Gaussian",
    "Mixture",
    "MixtureOfCodes",
    "MixtureOfNormals",
    "OfMembers",
    "Prior",
    "Standard",
    "VampPrior",
    "closed_kl",
]

#: What a name may stand for.
FAMILIES: dict[str, type[Prior]] = {
    "gaussian": Gaussian,
    "standard": Standard,
    "mixture": Mixture,
    "vamp": VampPrior,
    "categorical": Categorical,
    "aggregate": Aggregate,
}
