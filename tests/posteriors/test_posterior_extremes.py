"""Whatever the encoder says: draws, densities, divergences and gradients are finite."""

import pytest
import torch
from posterior_cases import N_COMPONENTS, family

from skvae import posteriors, priors
from skvae.core.draws import shared_uniforms

#: Means and locations of numbers without bounds are as the encoder gives them.
FURTHEST_LOCATION = 1e4
FURTHEST = 1e30


def extreme_outputs(name):
    """Rows of every pair of extremes, in single precision."""
    free = family(name).support == "real" or name == "lognormal"
    n_locations, n_others = family(name).n_outputs(N_COMPONENTS)
    furthest = FURTHEST_LOCATION if free else FURTHEST
    locations, others = torch.cartesian_prod(
        torch.tensor([-furthest, -1e4, -30.0, 0.0, 30.0, 1e4, furthest]),
        torch.tensor([-FURTHEST, -1e4, -30.0, 0.0, 30.0, 1e4, FURTHEST]),
    ).unbind(1)
    weights = torch.tensor([1.0, -1.0, 0.5])
    rows = [
        part.unsqueeze(1) * weights.repeat(n)[:n]
        for part, n in ((locations, n_locations), (others, n_others))
    ]
    if name == "full_gaussian":  # the others below the diagonal are free as well
        rows[1][:, N_COMPONENTS:] = rows[1][:, N_COMPONENTS:].clamp(-30, 30)
    return [part.requires_grad_() for part in rows]


@pytest.mark.parametrize("name", posteriors.FAMILIES)
def test_extreme_outputs(name):
    parts = extreme_outputs(name)
    q = family(name)(*parts)
    noise = family(name).carry(shared_uniforms(64, family(name).n_noise(N_COMPONENTS)))
    z = q.rsample(noise.float().unsqueeze(1))
    prior = priors.FAMILIES[family(name).prior]().beside(family(name))
    found = {
        "mean": q.mean,
        "z": z,
        "features": family(name).features(z),
        "kl": q.kl_divergence(prior),
        "prior": prior.log_prob(z),
        "log_prob": q.log_prob(z),
    }
    if name == "categorical":
        # The logarithm of a probability of 0, which nothing is ever multiplied by.
        del found["log_prob"]
    for what, values in found.items():
        assert torch.isfinite(values).all(), what
        if values.requires_grad:
            gradients = torch.autograd.grad(
                values.sum(), parts, retain_graph=True, materialize_grads=True
            )
            assert all(torch.isfinite(part).all() for part in gradients), what


@pytest.mark.parametrize("name", posteriors.FAMILIES)
def test_noise_of_training_is_finite_in_single_precision(name):
    shape = 1_000, 20, family(name).n_noise(N_COMPONENTS)
    noise = family(name).noise(shape, torch.Generator().manual_seed(0))
    assert noise.dtype == torch.float32
    assert torch.isfinite(noise).all()
    locations, others = family(name).n_outputs(N_COMPONENTS)
    z = family(name)(torch.zeros(20, locations), torch.zeros(20, others)).rsample(noise)
    assert torch.isfinite(family(name).features(z)).all()
