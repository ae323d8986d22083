"""What scipy.stats calls the distributions that the posteriors give."""

import numpy as np
import torch
from scipy import stats

from skvae import posteriors

N_ROWS, N_COMPONENTS = 5, 3


def array(tensor):
    return tensor.numpy(force=True)


def exp(tensor):
    return np.exp(array(tensor))


#: The law of each component, from codes: frozen, of shape (n_rows, n_components).
INDEPENDENT = {
    "gaussian": lambda q: stats.norm(array(q.mean), exp(q.log_scale)),
    "laplace": lambda q: stats.laplace(array(q.location), exp(q.log_scale)),
    "logistic": lambda q: stats.logistic(array(q.location), exp(q.log_scale)),
    "student_t": lambda q: stats.t(5.0, array(q.location), exp(q.log_scale)),
    "uniform": lambda q: stats.uniform(
        array(q.location) - exp(q.log_scale), 2 * exp(q.log_scale)
    ),
    "gumbel": lambda q: stats.gumbel_r(array(q.location), exp(q.log_scale)),
    "cauchy": lambda q: stats.cauchy(array(q.location), exp(q.log_scale)),
    "exponential": lambda q: stats.expon(scale=exp(q.log_scale)),
    "rayleigh": lambda q: stats.rayleigh(scale=exp(q.log_scale) / np.sqrt(2)),
    "weibull": lambda q: stats.weibull_min(exp(q.log_shape), scale=exp(q.log_scale)),
    "pareto": lambda q: stats.pareto(array(q.shape), scale=exp(q.log_least)),
    "lognormal": lambda q: stats.lognorm(
        exp(q.logarithm.log_scale), scale=exp(q.logarithm.mean)
    ),
    "gamma": lambda q: stats.gamma(exp(q.log_shape), scale=1 / exp(q.log_rate)),
    "chi2": lambda q: stats.chi2(2 * exp(q.log_shape)),
    "beta": lambda q: stats.beta(array(q.first), array(q.second)),
}


def _marginal_shares(q):
    concentration = array(q.concentration)
    return stats.beta(
        concentration, concentration.sum(1, keepdims=True) - concentration
    )


#: The law of each component by itself, whether or not they are independent.
MARGINAL = {
    **INDEPENDENT,
    "full_gaussian": lambda q: stats.norm(
        array(q.mean), np.linalg.norm(array(q.factor), axis=2)
    ),
    "dirichlet": _marginal_shares,
}

#: The prior that goes with each family: the law of a component.
STANDARD = {
    "cauchy": stats.cauchy(),
    "exponential": stats.expon(),
    "rayleigh": stats.rayleigh(),
    "weibull": stats.expon(),
    "pareto": stats.pareto(2.0),
    "lognormal": stats.lognorm(1.0),
    "gamma": stats.expon(),
    "chi2": stats.chi2(2),
    "beta": stats.uniform(),
    "dirichlet": stats.beta(1.0, N_COMPONENTS - 1.0),
}

#: Families with one number of noise a component, carried by the inverse CDF.
BY_QUANTILES = [name for name in INDEPENDENT if name != "beta"]
#: Families whose codes take any value, and those that are gone through.
CONTINUOUS = list(MARGINAL)


def family(name):
    return posteriors.FAMILIES[name]()


def outputs(name, dtype=torch.float64, n_rows=N_ROWS):
    """Some outputs of an encoder, the same in every call."""
    generator = torch.Generator().manual_seed(0)
    parts = [
        torch.randn(n_rows, width, generator=generator, dtype=torch.float64)
        for width in family(name).n_outputs(N_COMPONENTS)
    ]
    if name in ("beta", "dirichlet"):
        # The last that there are raise the shapes: shares that small ones give are
        # kept a millionth away from 0 and 1.
        parts[name == "beta"] += 1.5
    if name == "pareto":
        parts[1] += 2  # codes have a variance
    return [part.to(dtype) for part in parts]


def codes_of(name, **kwargs):
    return family(name)(*outputs(name, **kwargs))


def uniforms(name, n_draws, seed=1):
    """Random points of the open unit cube, one for each draw: for `carry`."""
    generator = torch.Generator().manual_seed(seed)
    shape = n_draws, family(name).n_noise(N_COMPONENTS)
    return torch.rand(shape, generator=generator, dtype=torch.float64)


def draws(name, codes, n_draws, seed=1):
    """Draws from scoring's noise, (n_draws, n_rows, n_components)."""
    noise = family(name).carry(uniforms(name, n_draws, seed)).unsqueeze(1)
    return codes.rsample(noise.to(codes.mean.dtype))
