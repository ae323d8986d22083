"""q(z|x): what the encoder believes about the code of a row.

A posterior turns the encoder's outputs into a distribution over z. Its draws are a
smooth function of the outputs and of noise that does not depend on them, so that
gradients pass (Kingma and Welling, 2014, section 2.4, name three roads: a location and
a scale, an inverse distribution function, and compositions of these). In training the
noise is random; in scoring it is carried from fixed uniform points by inverse CDF. A
discrete code needs no draws: all its values are gone through.
"""

from skvae.posteriors.base import Posterior
from skvae.posteriors.discrete import Categorical
from skvae.posteriors.gamma import Beta, ChiSquared, Dirichlet, Gamma
from skvae.posteriors.gaussian import FullGaussian, Gaussian, LogNormal
from skvae.posteriors.inverse_cdf import Exponential, Pareto, Rayleigh, Weibull
from skvae.posteriors.location_scale import (
    Cauchy,
    Gumbel,
    Laplace,
    Logistic,
    StudentT,
    Uniform,
)
from skvae.posteriors.point import Point

__all__ = [
    "Beta",
    "Categorical",
    "Cauchy",
    "ChiSquared",
    "Dirichlet",
    "Exponential",
    "FullGaussian",
    "Gamma",
    "Gaussian",
    "Gumbel",
    "Laplace",
    "LogNormal",
    "Logistic",
    "Pareto",
    "Point",
    "Posterior",
    "Rayleigh",
    "StudentT",
    "Uniform",
    "Weibull",
]

#: What a name may stand for.
FAMILIES: dict[str, type[Posterior]] = {
    "gaussian": Gaussian,
    "full_gaussian": FullGaussian,
    "laplace": Laplace,
    "logistic": Logistic,
    "student_t": StudentT,
    "uniform": Uniform,
    "gumbel": Gumbel,
    "cauchy": Cauchy,
    "exponential": Exponential,
    "rayleigh": Rayleigh,
    "weibull": Weibull,
    "pareto": Pareto,
    "lognormal": LogNormal,
    "gamma": Gamma,
    "chi2": ChiSquared,
    "beta": Beta,
    "dirichlet": Dirichlet,
    "categorical": Categorical,
}
