"""A learned prior on data that are a mixture: as good a density as the mixture's."""

import numpy as np
import pytest
from sklearn.mixture import GaussianMixture

from skvae import VAETransformer
from skvae.likelihoods import Gaussian
from skvae.networks import MLP
from skvae.priors import Mixture


def clusters(n_samples, seed):
    """Four clusters of the plane, each with a covariance of its own."""
    fixed = np.random.default_rng(3)
    centers = 2 * fixed.standard_normal((4, 2))
    factors = 0.5 * fixed.standard_normal((4, 2, 2)) + np.eye(2)
    rng = np.random.default_rng(seed)
    which = rng.integers(4, size=n_samples)
    noise = rng.standard_normal((n_samples, 2, 1))
    return centers[which] + (factors[which] @ noise).squeeze(2)


def test_learned_mixture_is_as_good_as_a_gaussian_mixture():
    X, X_new = clusters(1_000, seed=1), clusters(2_000, seed=2)
    mixture = GaussianMixture(4, n_init=5, random_state=0).fit(X)
    scores = {
        name: VAETransformer(
            2,
            prior=prior,
            network=MLP(()),
            likelihood=Gaussian("shared"),
            objective="iwae",
            n_importance_samples=512,
            max_iter=200,
            random_state=0,
        )
        .fit(X)
        .score(X_new)
        for name, prior in (("mixture", Mixture(10)), ("gaussian", "gaussian"))
    }
    assert scores["mixture"] == pytest.approx(mixture.score(X_new), abs=0.05)
    # Under a linear decoder with a normal prior, rows are normal.
    normal = GaussianMixture(1).fit(X).score(X_new)
    assert scores["gaussian"] == pytest.approx(normal, abs=0.05)
    assert normal < mixture.score(X_new) - 0.5
