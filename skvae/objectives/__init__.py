"""What training minimises.

An objective maps the terms of a batch to one number. The convention everywhere: sum
over features, sum over components, mean over rows, in nats, constants kept.
"""

from skvae.objectives.bounds import ELBO, IWAE, Objective
from skvae.objectives.remedies import Aggressive, CyclicalWarmup, FreeBits
from skvae.objectives.terms import Terms
from skvae.objectives.together import MMD, TotalCorrelation

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

#: What a name may stand for.
FAMILIES: dict[str, type[Objective]] = {
    "elbo": ELBO,
    "iwae": IWAE,
    "free_bits": FreeBits,
    "total_correlation": TotalCorrelation,
    "mmd": MMD,
    "cyclical_warmup": CyclicalWarmup,
    "aggressive": Aggressive,
}
