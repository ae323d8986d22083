"""What a trained model says of rows: log-likelihoods, their parts, codes.

All functions take weights and rows in the precision that the answer should have, and
draws shared by all rows. Rows are taken a few at a time, so that the tensors of
(n_draws, n_rows, n_features) stay small.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from skvae.core.draws import shared_uniforms
from skvae.core.model import Model, Weights
from skvae.core.rows import Rows, split
from skvae.likelihoods.base import Columns
from skvae.objectives import Terms
from skvae.posteriors.base import Codes

__all__ = [
    "Scores",
    "bound",
    "codes",
    "expected",
    "log_weights",
    "redrawn",
    "score",
    "without_each",
]

#: Draws times rows in one pass, what a processor's cache holds, and how many outputs of
#: the decoder they may amount to.
_TERMS_PER_PASS = 4096
_OUTPUTS_PER_PASS = 1_000_000
#: Of the draws for a row with holes, the share that does not trust the encoder.
DEFENSIVE_SHARE = 0.25


class Scores(NamedTuple):
    """What rows are worth, one entry a row, and what of that their features are."""

    total: Tensor  # (n_rows,)
    features: Tensor | None  # E[log p(x_j|z)], (n_rows, n_features)


def codes(model: Model, weights: Weights, inputs: Tensor) -> Codes:
    """Posterior of each row, without gradients."""
    with torch.no_grad():
        return model.encode(weights, inputs)


def shared_noise(
    model: Model, n_draws: int, like: Tensor, scrambling: int = 0
) -> Tensor:
    """Noise of shape (n_draws, 1, n_noise), the same for every row.

    As many draws as there are values, where codes are discrete.
    """
    n_noise = model.posterior.n_noise(model.n_components)
    uniforms = shared_uniforms(n_draws, n_noise, scrambling)
    return model.posterior.carry(uniforms).to(like).unsqueeze(1)


class Weighted(NamedTuple):
    """Codes drawn from the posterior, and how much each is worth."""

    log_w: Tensor  # log p(x|z) + log p(z) - log q(z|x), (n_draws, n_rows)
    features: Tensor  # log p(x_j|z), 0 for a hole, (n_draws, n_rows, n_features)
    z: Tensor  # (n_draws, n_rows, n_components)
    columns: Columns  # p(x|z)


def log_weights(
    model: Model, weights: Weights, rows: Rows, noise: Tensor, defended: bool = True
) -> Weighted:
    """Log importance weights, and what they are made of.

    The mean of the log weights over draws is the evidence lower bound, their
    log-mean-exp the importance-weighted bound.

    Parameters
    ----------
    rows : tuple of Tensor
        Inputs, targets and observed, as `core.rows` gives them.
    noise : Tensor of shape (n_draws, n_rows or 1, n_components)
    defended : bool, default=True
        Whether some of the draws for rows with holes are from the standard member of
        the posterior's family.

    Returns
    -------
    weighted : Weighted
    """
    inputs, targets, observed = rows
    with torch.no_grad():
        posterior = model.encode(weights, inputs)
        z = posterior.rsample(noise)
        if model.posterior.is_discrete:
            # Each value stands for itself alone.
            log_q = z.new_tensor(-math.log(len(z)))
        else:
            log_q = posterior.log_prob(z)
            if observed is not None and defended:
                standard = model.posterior.standard(model.n_components, z)
                z, log_q = _defended(posterior, standard, z, log_q, observed, noise)
        columns = model.decode(weights, z)
        features = columns.log_prob(targets)
        if observed is not None:
            features = features * observed
        log_prior = model.prior_of(weights).log_prob(z) - log_q
        return Weighted(features.sum(-1) + log_prior, features, z, columns)


def _defended(
    posterior: Codes,
    standard: Codes,
    z: Tensor,
    log_q: Tensor,
    observed: Tensor,
    noise: Tensor,
) -> tuple[Tensor, Tensor]:
    """Draws for rows with holes, some from a standard code, and their density.

    The encoder may be surer of a row than what was observed of it allows. The share of
    other draws bounds their weights; a row without observed cells has those alone.

    References
    ----------
    T. Hesterberg, "Weighted average importance sampling and defensive mixture
    distributions", Technometrics 37 (1995).
    """
    n_observed = observed.sum(-1)
    has_holes, empty = n_observed < observed.shape[-1], n_observed == 0
    n_draws = len(z)
    n_defensive = round(DEFENSIVE_SHARE * n_draws)
    defensive = torch.arange(n_draws, device=z.device) >= n_draws - n_defensive
    taken = (defensive.unsqueeze(1) & has_holes) | empty
    z = torch.where(taken.unsqueeze(-1), standard.rsample(noise), z)
    share = torch.where(empty, z.new_tensor(1.0), z.new_tensor(n_defensive / n_draws))
    log_mixture = torch.logaddexp(
        posterior.log_prob(z) + torch.log1p(-share), standard.log_prob(z) + share.log()
    )
    return z, torch.where(has_holes, log_mixture, log_q)


def rows_per_pass(model: Model, n_draws: int) -> int:
    """How many rows to take at a time."""
    widest = sum(model.likelihood.n_outputs(model.n_features))
    terms = min(_TERMS_PER_PASS, _OUTPUTS_PER_PASS // widest)
    return max(1, terms // n_draws)


def score(
    model: Model,
    weights: Weights,
    rows: Rows,
    n_draws: int,
    by_feature: bool = False,
    defended: bool = True,
) -> Scores:
    """Importance-weighted log-likelihood of rows.

    Parameters
    ----------
    rows : tuple of Tensor
        Inputs, targets and observed, as `core.rows` gives them.
    n_draws : int
        The more, the tighter the bound on log p(x).
    by_feature : bool, default=False
        Whether to split the score over features as well.
    defended : bool, default=True
        See `log_weights`.

    Returns
    -------
    scores : Scores

    References
    ----------
    Y. Burda, R. Grosse and R. Salakhutdinov, "Importance Weighted Autoencoders",
    ICLR 2016, equation 8.
    """
    noise = shared_noise(model, n_draws, rows[0])
    log_likelihood, by_columns = [], []
    for few in split(rows, rows_per_pass(model, len(noise))):
        log_w, features, *_ = log_weights(model, weights, few, noise, defended)
        log_likelihood.append(torch.logsumexp(log_w, 0) - math.log(len(noise)))
        if by_feature:
            share = torch.softmax(log_w, 0).unsqueeze(-1)
            by_columns.append((share * features).sum(0))
    return Scores(
        torch.cat(log_likelihood), torch.cat(by_columns) if by_feature else None
    )


def without_each(
    model: Model, weights: Weights, rows: Rows, n_draws: int
) -> tuple[Tensor, Tensor]:
    """Log-likelihood of rows, and of each row without each of its cells.

    Both by draws from the encoder's posterior given the whole row.

    Returns
    -------
    whole : Tensor of shape (n_rows,)
    without : Tensor of shape (n_rows, n_features)
        Lower bounds in expectation, loose where the cell misleads the encoder.
    """
    noise = shared_noise(model, n_draws, rows[0])
    whole, without = [], []
    for few in split(rows, rows_per_pass(model, len(noise))):
        log_w, features, *_ = log_weights(model, weights, few, noise)
        whole.append(torch.logsumexp(log_w, 0))
        without.append(torch.logsumexp(log_w.unsqueeze(-1) - features, 0))
    constant = math.log(len(noise))
    return torch.cat(whole) - constant, torch.cat(without) - constant


def bound(
    model: Model, weights: Weights, rows: Rows, n_draws: int, with_code: bool = True
) -> Scores:
    """Evidence lower bound of rows, or its first term alone.

    Parameters
    ----------
    rows : tuple of Tensor
        Inputs, targets and observed, as `core.rows` gives them.
    n_draws : int
    with_code : bool, default=True
        Whether the divergence of the code's posterior from its prior is subtracted.
        What remains without it is the reconstruction probability.

    Returns
    -------
    scores : Scores
        The expectations are under the encoder's posterior.

    References
    ----------
    D. P. Kingma and M. Welling, "Auto-Encoding Variational Bayes", ICLR 2014,
    equation 3. J. An and S. Cho, "Variational Autoencoder based Anomaly Detection using
    Reconstruction Probability", 2015, algorithm 4.
    """
    noise = shared_noise(model, n_draws, rows[0])
    totals, by_columns = [], []
    with torch.no_grad():
        for inputs, targets, observed in split(rows, rows_per_pass(model, len(noise))):
            posterior = model.encode(weights, inputs)
            z = posterior.rsample(noise)
            features = model.decode(weights, z).log_prob(targets)
            if observed is not None:
                features = features * observed
            prior = model.prior_of(weights)
            terms = Terms(features.sum(-1), posterior, prior, z)
            total = terms.expected(terms.log_likelihood)
            totals.append(total - terms.kl if with_code else total)
            by_columns.append(terms.expected(features))
    return Scores(torch.cat(totals), torch.cat(by_columns))


def expected(model: Model, weights: Weights, rows: Rows, n_draws: int) -> Tensor:
    """Mean of p(x|z) under the importance-weighted posterior, (n_rows, n_means).

    References
    ----------
    P.-A. Mattei and J. Frellsen, "MIWAE", ICML 2019, equation 12.
    """
    noise = shared_noise(model, n_draws, rows[0])
    means = []
    for few in split(rows, rows_per_pass(model, len(noise))):
        weighted = log_weights(model, weights, few, noise)
        share = torch.softmax(weighted.log_w, 0).unsqueeze(-1)
        means.append((share * weighted.columns.mean).sum(0))
    return torch.cat(means)


def redrawn(
    model: Model, weights: Weights, rows: Rows, n_draws: int, generator: torch.Generator
) -> Tensor:
    """Codes drawn from p(z|x) by importance resampling, (n_rows, n_components)."""
    noise = shared_noise(model, n_draws, rows[0])
    drawn = []
    for few in split(rows, rows_per_pass(model, len(noise))):
        weighted = log_weights(model, weights, few, noise)
        share = torch.softmax(weighted.log_w, 0).T
        index = torch.multinomial(share, 1, generator=generator).squeeze(1)
        places = torch.arange(len(index), device=index.device)
        drawn.append(weighted.z[index, places])
    return torch.cat(drawn)
