"""Constants of densities, and gamma functions, that several families share."""

import math

import torch
from torch import Tensor

__all__ = [
    "HALF_LOG_2PI",
    "LARGEST_LOGARITHM",
    "log_gamma_remainder",
    "log_standard_gamma",
]

HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)
#: exp of it is finite in float32, and so is the inverse.
LARGEST_LOGARITHM = 80.0
#: From here on the series below is exact to the digits of float64.
_LARGE = 10.0
#: Coefficients of the odd powers of 1 / x: Bernoulli numbers B_2n / (2n (2n - 1)).
_SERIES = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360)


def log_gamma_remainder(x: Tensor) -> Tensor:
    """What log Gamma(x) has above Stirling's (x - 1/2) log x - x + log(2 pi) / 2.

    The densities of peaked distributions are differences of log Gamma at large
    arguments. Written with remainders, their large terms cancel on paper.

    Parameters
    ----------
    x : Tensor
        Above 0.

    Returns
    -------
    remainder : Tensor
        Like x; about 1 / (12 x) where x is large.

    References
    ----------
    M. Abramowitz and I. A. Stegun, "Handbook of Mathematical Functions" (1964),
    equation 6.1.40.

    Examples
    --------
    >>> import torch
    >>> from skvae.likelihoods.special import log_gamma_remainder
    >>> log_gamma_remainder(torch.tensor([1.0, 1e6]))
    tensor([8.1061e-02, 8.3333e-08])
    """
    inverse = x.clamp_min(_LARGE).reciprocal()
    square = inverse.square()
    series = torch.zeros_like(x)
    for coefficient in reversed(_SERIES):
        series = series * square + coefficient
    small = x.clamp_max(_LARGE)
    stirling = (small - 0.5) * small.log() - small + HALF_LOG_2PI
    return torch.where(x > _LARGE, series * inverse, torch.lgamma(small) - stirling)


def log_standard_gamma(shape: Tensor, generator: torch.Generator) -> Tensor:
    """Logarithms of draws from gamma distributions of scale 1.

    For small shapes the draws themselves would be 0 in floating point.

    Parameters
    ----------
    shape : Tensor
    generator : torch.Generator

    Returns
    -------
    logarithms : Tensor
        Like `shape`.

    References
    ----------
    G. Marsaglia and W. W. Tsang, "A simple method for generating gamma variables", ACM
    TOMS 26 (2000), section 6: a draw of shape a is one of shape a + 1 times U^(1 / a).

    Examples
    --------
    >>> import torch
    >>> from skvae.likelihoods.special import log_standard_gamma
    >>> generator = torch.Generator().manual_seed(0)
    >>> draws = log_standard_gamma(torch.full((1000,), 1e-3), generator)
    >>> bool(draws.isfinite().all())
    True
    """
    above = torch._standard_gamma(shape + 1, generator=generator).log()
    return above - torch.empty_like(shape).exponential_(generator=generator) / shape
