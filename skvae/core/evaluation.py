"""What a trained model says of rows: log-likelihoods, their parts, codes.

All functions take weights and rows in the precision that the answer should have, and
draws shared by all rows. Rows are taken a few at a time, so that the tensors of
(n_draws, n_rows, n_features) stay small.
"""

import math
from typing import NamedTuple

import torch

from skvae.core.draws import shared_uniforms

__all__ = ["Scores", "codes", "log_weights", "score"]

#: Draws times rows in one pass: what a processor's cache holds.
_TERMS_PER_PASS = 4096


class Scores(NamedTuple):
    """Importance-weighted estimates, one entry a row."""

    log_likelihood: torch.Tensor  # log p(x), (n_rows,)
    features: torch.Tensor | None  # E[log p(x_j|z)] under p(z|x), (n_rows, n_features)


def codes(model, weights, inputs):
    """Posterior of each row, without gradients."""
    with torch.no_grad():
        return model.encode(weights, inputs)


def shared_noise(model, n_draws, like, scrambling=0):
    """Noise of shape (n_draws, 1, n_components), the same for every row."""
    uniforms = shared_uniforms(n_draws, model.n_components, scrambling)
    return model.posterior.carry(uniforms).to(like).unsqueeze(1)


def log_weights(model, weights, inputs, targets, noise):
    """Log importance weights, and the terms of each feature that they are made of.

    Returns
    -------
    log_w : Tensor of shape (n_draws, n_rows)
        log p(x|z) + log p(z) - log q(z|x): its mean over draws is the evidence lower
        bound, its log-mean-exp the importance-weighted bound.
    features : Tensor of shape (n_draws, n_rows, n_features)
        log p(x_j|z).
    """
    with torch.no_grad():
        posterior = model.encode(weights, inputs)
        z = posterior.rsample(noise)
        features = model.decode(weights, z).log_prob(targets)
        log_prior = model.prior.log_prob(z) - posterior.log_prob(z)
        return features.sum(-1) + log_prior, features


def score(model, weights, inputs, targets, n_draws, by_feature=False):
    """Importance-weighted log-likelihood of rows.

    Parameters
    ----------
    n_draws : int
        The more, the tighter the bound on log p(x).
    by_feature : bool, default=False
        Whether to split the score over features as well.

    Returns
    -------
    scores : Scores

    References
    ----------
    Y. Burda, R. Grosse and R. Salakhutdinov, "Importance Weighted Autoencoders",
    ICLR 2016, equation 8.
    """
    noise = shared_noise(model, n_draws, inputs)
    rows_per_pass = max(1, _TERMS_PER_PASS // n_draws)
    log_likelihood, by_columns = [], []
    for x, y in zip(
        inputs.split(rows_per_pass), targets.split(rows_per_pass), strict=True
    ):
        log_w, features = log_weights(model, weights, x, y, noise)
        log_likelihood.append(torch.logsumexp(log_w, 0) - math.log(n_draws))
        if by_feature:
            share = torch.softmax(log_w, 0).unsqueeze(-1)
            by_columns.append((share * features).sum(0))
    return Scores(
        torch.cat(log_likelihood), torch.cat(by_columns) if by_feature else None
    )
