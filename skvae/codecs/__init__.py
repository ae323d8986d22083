"""How columns are written for the model: one codec for each kind of likelihood.

A codec is fitted to a block of columns and writes their values twice: as *inputs*, what
the encoder network reads, and as *targets*, what the likelihood describes. Holes are
NaN and stay NaN. It turns targets and means back into values, and knows what densities
of targets become in the units of the values.
"""

from skvae.codecs.base import FURTHEST, Codec
from skvae.codecs.bins import Bins
from skvae.codecs.levels import Binary, Categories, Identifiers, Ordered
from skvae.codecs.numeric import (
    Counts,
    LogOdds,
    Positive,
    Standardized,
    TooLarge,
    UnitInterval,
)

__all__ = ["CODECS", "FURTHEST", "Codec", "Standardized", "TooLarge"]

#: By the names that likelihoods ask for.
CODECS: dict[str, type[Codec]] = {
    "standardized": Standardized,
    "positive": Positive,
    "counts": Counts,
    "unit_interval": UnitInterval,
    "log_odds": LogOdds,
    "binary": Binary,
    "categories": Categories,
    "identifiers": Identifiers,
    "ordered": Ordered,
    "bins": Bins,
}
