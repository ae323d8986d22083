"""The hand-written gradient against autograd, for everything that it claims."""

import pytest
import torch

from skvae import likelihoods, networks, posteriors, priors
from skvae.core.backward import Backward, covers
from skvae.core.model import Model
from skvae.core.training import _Autograd
from skvae.objectives import ELBO

N_ROWS, N_FEATURES, N_COMPONENTS = 9, 5, 3

LIKELIHOODS = [
    likelihoods.Gaussian(0.7),
    likelihoods.Gaussian("shared"),
    likelihoods.Gaussian("feature"),
    likelihoods.Gaussian("conditional"),
    likelihoods.Bernoulli(),
]
NETWORKS = [
    networks.MLP(()),
    networks.MLP((6,), "relu", linear_path=False),
    *(networks.MLP((7, 4), activation) for activation in sorted(networks.ACTIVATIONS)),
]


@pytest.mark.parametrize("network", NETWORKS, ids=str)
@pytest.mark.parametrize("likelihood", LIKELIHOODS, ids=str)
@pytest.mark.parametrize(("n_draws", "beta"), [(1, 1.0), (3, 0.4)])
def test_loss_and_gradient_are_those_of_autograd(network, likelihood, n_draws, beta):
    model = Model(
        N_FEATURES,
        N_FEATURES,
        N_COMPONENTS,
        network=network,
        likelihood=likelihood,
        posterior=posteriors.Gaussian(),
        prior=priors.Gaussian(),
    )
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    flat = 0.5 * normal(model.n_weights)
    inputs, noise = (
        3 * normal(N_ROWS, N_FEATURES),
        normal(n_draws, N_ROWS, N_COMPONENTS),
    )
    targets = inputs if likelihood.standardized else (inputs > 0).double()
    assert covers(model, ELBO())
    loss, gradient = Backward(model, flat)(beta, inputs, targets, noise)
    expected, autograd = _Autograd(model, flat, ELBO())(beta, inputs, targets, noise)
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=1e-12)
    error = (gradient - autograd).norm() / autograd.norm()
    assert error < 1e-12
