"""Posteriors of single rows, made better than the encoder's by gradient ascent.

The encoder answers for all rows with one set of weights. Here each row has parameters
of its own, the numbers that the encoder would give for it, which start at the
encoder's answer and climb the row's own bound. No row sees another one.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from skvae.core.evaluation import rows_per_pass, shared_noise
from skvae.core.model import Model, Weights
from skvae.core.optimizer import Adam
from skvae.core.rows import Rows, split
from skvae.objectives import Terms
from skvae.posteriors.base import Codes

__all__ = ["Bounds", "bounds", "encoded", "means", "refine"]

#: The draws are the same in every step, so that gradients have no noise: the second
#: moments need no longer memory than the first, and a row that was far off still takes
#: full steps once it is near.
_BETA_2 = 0.9


class Bounds(NamedTuple):
    """Two bounds on log p(x), one entry a row."""

    elbo: Tensor  # (n_rows,)
    importance_weighted: Tensor  # (n_rows,)


def encoded(model: Model, weights: Weights, inputs: Tensor) -> Tensor:
    """What the encoder gives for rows: locations and others, side by side.

    Parameters
    ----------
    model : Model
    weights : dict
    inputs : Tensor of shape (n_rows, n_inputs)

    Returns
    -------
    outputs : Tensor of shape (n_rows, n_locations + n_others)
    """
    with torch.no_grad():
        read = model.reader(weights["reader"], inputs)
        return torch.cat(model.encoder(weights["encoder"], read), -1)


def refine(
    model: Model,
    weights: Weights,
    rows: Rows,
    n_draws: int,
    n_steps: int,
    learning_rate: float,
    scrambling: int = 0,
) -> Tensor:
    """The encoder's outputs of rows, moved to where each row's own bound is larger.

    Adam, at a rate that falls to nothing along half a cosine, on the evidence lower
    bound by draws that are fixed and the same for all rows. A row keeps the best of
    the points that it has passed, so that none ends below where it began, and a row
    whose gradient is not finite stays there.

    Parameters
    ----------
    model : Model
    weights : dict
    rows : tuple of Tensor
        Inputs, targets and observed, as `core.rows` gives them.
    n_draws : int
        Codes of a row.
    n_steps : int
    learning_rate : float
        Of the first step.
    scrambling : int, default=0
        Which draws: those of an evaluation should be others.

    Returns
    -------
    outputs : Tensor of shape (n_rows, n_locations + n_others)

    References
    ----------
    M. D. Hoffman et al., "Stochastic Variational Inference", JMLR 14 (2013), for the
    ascent of a row's own parameters. Y. Kim et al., "Semi-Amortized Variational
    Autoencoders", ICML 2018, section 3, for the start at the encoder's.
    """
    noise = shared_noise(model, n_draws, rows[0], scrambling)
    refined = []
    for few in split(rows, rows_per_pass(model, len(noise))):
        start = encoded(model, weights, few[0])
        climb = _Climb(model, weights, few, noise)
        refined.append(climb(start, n_steps, learning_rate))
    return torch.cat(refined)


def bounds(
    model: Model,
    weights: Weights,
    rows: Rows,
    outputs: Tensor,
    n_draws: int,
    scrambling: int = 0,
) -> Bounds:
    """Bounds on log p(x) under posteriors that are given by their parameters.

    Parameters
    ----------
    model : Model
    weights : dict
    rows : tuple of Tensor
        Inputs, which are not read, targets and observed.
    outputs : Tensor of shape (n_rows, n_locations + n_others)
    n_draws : int
    scrambling : int, default=0

    Returns
    -------
    bounds : Bounds
        The evidence lower bound, and the importance-weighted one with all the draws.
    """
    noise = shared_noise(model, n_draws, rows[0], scrambling)
    found, start = [], 0
    with torch.no_grad():
        for few in split(rows, rows_per_pass(model, len(noise))):
            end = start + len(few[0])
            terms = _terms(model, weights, few, outputs[start:end], noise)
            log_w = terms.log_likelihood + terms.log_ratio
            found.append((_elbo(terms), terms.log_mean_exp(log_w)))
            start = end
    return Bounds(*(torch.cat(part) for part in zip(*found, strict=True)))


def means(model: Model, outputs: Tensor) -> Tensor:
    """Means of the posteriors with these parameters, (n_rows, n_components)."""
    return _codes(model, outputs).mean


class _Climb:
    """The way of a few rows, each by itself, up its bound."""

    def __init__(
        self, model: Model, weights: Weights, rows: Rows, noise: Tensor
    ) -> None:
        self._model, self._weights = model, weights
        self._rows, self._noise = rows, noise

    def __call__(self, start: Tensor, n_steps: int, learning_rate: float) -> Tensor:
        # Rows are to the rule what members of an ensemble are: none sees another.
        moments = start.new_zeros((2, *start.shape))
        rule = Adam(start.shape, start.device, moments, beta_2=_BETA_2)
        place, best = start.clone(), start.clone()
        highest = start.new_full((len(start),), -math.inf)
        for step in range(n_steps):
            heights, gradient = self._slope(place)
            better = heights > highest
            highest = torch.where(better, heights, highest)
            best = torch.where(better.unsqueeze(1), place, best)
            falling = 0.5 + 0.5 * math.cos(math.pi * step / n_steps)
            rule.step(place, -gradient, learning_rate * falling)
        last, _ = self._slope(place)
        return torch.where((last > highest).unsqueeze(1), place, best)

    def _slope(self, place: Tensor) -> tuple[Tensor, Tensor]:
        """Bounds of the rows, and their gradients by the rows' own parameters."""
        with torch.enable_grad():
            leaf = place.clone().requires_grad_()
            terms = _terms(self._model, self._weights, self._rows, leaf, self._noise)
            heights = _elbo(terms)
            (gradient,) = torch.autograd.grad(heights.sum(), leaf)
        return heights.detach(), gradient


def _terms(
    model: Model, weights: Weights, rows: Rows, outputs: Tensor, noise: Tensor
) -> Terms:
    """What the bounds of rows are made of, under posteriors with these parameters."""
    _, targets, observed = rows
    codes = _codes(model, outputs)
    z = codes.rsample(noise)
    log_likelihood = model.decode(weights, z).log_prob(targets)
    if observed is not None:
        log_likelihood = log_likelihood * observed
    return Terms(log_likelihood.sum(-1), codes, model.prior_of(weights), z)


def _codes(model: Model, outputs: Tensor) -> Codes:
    widths = model.posterior.n_outputs(model.n_components)
    return model.posterior(*outputs.split(widths, -1))


def _elbo(terms: Terms) -> Tensor:
    return terms.expected(terms.log_likelihood) - terms.kl
