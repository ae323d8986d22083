"""The fixed, shared noise that makes scores deterministic."""

from functools import lru_cache

import torch
from scipy.stats import qmc
from torch import Tensor

__all__ = ["shared_uniforms"]

#: Half the resolution of the 30-bit Sobol points, so that no point sits on 0 or 1.
_MARGIN = 2.0**-31


@lru_cache(maxsize=32)
def shared_uniforms(n_draws: int, n_components: int, scrambling: int = 0) -> Tensor:
    """Quasi-random points in the open unit cube, the same in every call.

    Every row is scored with the same points, so that a score depends neither on the
    rows beside it nor on any seed. Scrambled Sobol points cover the cube evenly: their
    averages converge faster than those of random points.

    Parameters
    ----------
    n_draws : int
        Number of points.
    n_components : int
        Dimension of the cube.
    scrambling : int, default=0
        Which randomisation of the sequence: for measuring the error of an estimate,
        never for scoring.

    Returns
    -------
    uniforms : Tensor of shape (n_draws, n_components)
        On the CPU, in float64. Shared between callers: not to be written to.

    References
    ----------
    A. B. Owen, "Randomly permuted (t,m,s)-nets and (t,s)-sequences", 1995.

    Examples
    --------
    >>> from skvae.core.draws import shared_uniforms
    >>> shared_uniforms(64, 2).mean().round(decimals=2)
    tensor(0.5000, dtype=torch.float64)
    """
    sequence = qmc.Sobol(n_components, scramble=True, rng=scrambling)
    # SciPy warns of other numbers than powers of two; any beginning of one is even.
    points = sequence.random_base2((n_draws - 1).bit_length())[:n_draws]
    return torch.from_numpy(points.clip(_MARGIN, 1 - _MARGIN))
