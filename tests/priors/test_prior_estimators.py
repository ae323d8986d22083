"""Every prior as a user has it: by its name, in VAETransformer."""

import pickle
from functools import cache

import numpy as np
import pytest
import torch
from sklearn.base import clone
from torch import distributions

from skvae import VAEOutlierDetector, VAETransformer, priors
from skvae.core import evaluation
from skvae.fitted import FittedModel

RNG = np.random.default_rng(0)
X = RNG.standard_normal((60, 2)) @ RNG.standard_normal((2, 4))
X += 0.3 * RNG.standard_normal(X.shape) + 5
WITH_HOLES = np.where(RNG.random(X.shape) < 0.25, np.nan, X)
WITH_HOLES[0] = np.nan

PETALS = distributions.MixtureSameFamily(
    distributions.Categorical(torch.tensor([1.0, 2.0])),
    distributions.MultivariateNormal(
        torch.tensor([[1.0, 0.0], [-1.0, 0.0]]), torch.eye(2).repeat(2, 1, 1)
    ),
)
#: Priors, and the posteriors that they are tried with.
CASES = {
    "auto": ("auto", "gaussian"),
    "gaussian": ("gaussian", "gaussian"),
    "mixture": (priors.Mixture(3), "gaussian"),
    "mixture of laplace": ("mixture", "laplace"),
    "vamp": (priors.VampPrior(4), "gaussian"),
    "vamp of gamma": (priors.VampPrior(4), "gamma"),
    "vamp of classes": (priors.VampPrior(4), "categorical"),
    "aggregate": ("aggregate", "gaussian"),
    "aggregate of correlated": ("aggregate", "full_gaussian"),
    "aggregate of shares": ("aggregate", "dirichlet"),
    "aggregate of classes": ("aggregate", "categorical"),
    "standard": ("standard", "gumbel"),
    "standard class": ("standard", "categorical"),
    "categorical": ("categorical", "categorical"),
    "torch laplace": (distributions.Laplace(0.0, 1.0), "gaussian"),
    "torch row": (distributions.Normal(torch.zeros(2), torch.ones(2)), "logistic"),
    "torch independent": (
        distributions.Independent(
            distributions.Normal(torch.zeros(2), torch.ones(2)), 1
        ),
        "gaussian",
    ),
    "torch covariance": (
        distributions.MultivariateNormal(torch.zeros(2), torch.eye(2)),
        "full_gaussian",
    ),
    "torch covariance in double": (
        distributions.MultivariateNormal(
            torch.zeros(2).double(), torch.eye(2).double()
        ),
        "gaussian",
    ),
    "torch mixture": (PETALS, "gaussian"),
    "torch gamma": (distributions.Gamma(3.0, 2.0), "gamma"),
    "torch shares": (distributions.Dirichlet(torch.tensor([2.0, 3.0])), "dirichlet"),
    "torch classes": (
        distributions.OneHotCategorical(torch.tensor([0.3, 0.7])),
        "categorical",
    ),
}
EVERY_CASE = pytest.mark.parametrize("case", CASES)


def vae_of(case, **parameters):
    prior, posterior = CASES[case]
    return VAETransformer(
        2, prior=prior, posterior=posterior, max_iter=4, random_state=0, **parameters
    )


@cache
def fitted(case):
    return vae_of(case).fit(X)


def test_every_name_is_tested():
    names = {prior for prior, _ in CASES.values() if isinstance(prior, str)}
    kinds = {type(prior) for prior, _ in CASES.values()}
    for name, kind in priors.FAMILIES.items():
        assert name in names or kind in kinds


@EVERY_CASE
@pytest.mark.parametrize("rows", [X, WITH_HOLES], ids=["whole", "holes"])
def test_scores_depend_on_the_row_alone(case, rows):
    vae = fitted(case)
    scores = vae.score_samples(rows)
    assert np.isfinite(scores).all()
    order = np.random.default_rng(1).permutation(len(rows))
    np.testing.assert_allclose(vae.score_samples(rows[order]), scores[order], rtol=1e-9)
    alone = [vae.score_samples(row[None])[0] for row in rows[:3]]
    np.testing.assert_allclose(alone, scores[:3], rtol=1e-9, atol=1e-12)
    single = vae.score_samples(rows.astype(np.float32))
    np.testing.assert_allclose(single, scores, atol=0.02)


@EVERY_CASE
def test_samples(case):
    vae = fitted(case)
    shared = torch.random.get_rng_state()
    rows = vae.sample(100, random_state=0)
    given = vae.sample(20, given={1: X[0, 1]}, random_state=0)
    assert torch.equal(torch.random.get_rng_state(), shared)
    assert rows.shape == (100, 4)
    assert np.isfinite(rows).all()
    assert np.isfinite(given).all()
    assert (given[:, 1] == X[0, 1]).all()
    np.testing.assert_array_equal(rows, vae.sample(100, random_state=0))


@EVERY_CASE
def test_fits_repeat_themselves(case):
    vae = fitted(case)
    again = clone(vae).fit(X)
    loaded = pickle.loads(pickle.dumps(vae))
    for other in (again, loaded):
        np.testing.assert_array_equal(other.score_samples(X), vae.score_samples(X))
        np.testing.assert_array_equal(
            other.sample(3, random_state=0), vae.sample(3, random_state=0)
        )


@EVERY_CASE
def test_training_goes_on(case):
    vae = vae_of(case)
    for rows in (X[:30], WITH_HOLES[30:], X):
        vae.partial_fit(rows)
    assert np.isfinite(vae.loss_curve_).all()
    warm = vae_of(case, warm_start=True)
    assert np.isfinite(warm.fit(X).fit(X).score(X))


@EVERY_CASE
def test_fits_leave_the_prior_as_it_was(case):
    prior, _ = CASES[case]
    vae = fitted(case)
    assert vae.prior is prior
    if isinstance(prior, distributions.Distribution):
        before = dict(vars(prior))
        vae_of(case).fit(X).sample(2, random_state=0)
        assert all(vars(prior)[name] is part for name, part in before.items())


def posterior_and_prior(case):
    fitted_model = FittedModel(fitted(case)._state, np.float64)
    model, weights = fitted_model.model, fitted_model.weights
    return fitted_model, model, model.prior_of(weights)


def test_the_aggregate_is_the_mean_of_the_posteriors_of_training_rows():
    fitted_model, model, prior = posterior_and_prior("aggregate")
    z = torch.randn(5, 2, generator=torch.Generator().manual_seed(0)).double()
    rows = np.sort(np.random.default_rng(0).permutation(60))
    inputs = fitted_model._tensors(X[rows])[0]
    codes = evaluation.codes(model, fitted_model.weights, inputs)
    # Rows held out for stopping are not among the members.
    density = codes.log_prob(z[:, None])
    members = len(prior._mean)
    assert members == 54
    assert (prior.log_prob(z) <= density.logsumexp(1) - np.log(members) + 1e-5).all()


def test_the_aggregate_raises_the_training_bound():
    plain, after = fitted("gaussian"), fitted("aggregate")
    np.testing.assert_array_equal(plain._state["weights"], after._state["weights"])
    assert after.score(X) > plain.score(X)


@pytest.mark.parametrize("case", ["mixture", "vamp"])
def test_the_prior_learns(case):
    untrained = vae_of(case).set_params(learning_rate=1e-12).fit(X)
    own = [
        FittedModel(vae._state, np.float32).weights["prior"]
        for vae in (untrained, fitted(case))
    ]
    for name in own[0]:
        assert not torch.equal(own[0][name], own[1][name])


@pytest.mark.parametrize(
    ("prior", "posterior", "words"),
    [
        ("mixture", "gamma", "Mixture.*positive.*Gamma|Mixture.*real.*Gamma"),
        ("categorical", "gaussian", "Categorical.*classes.*Gaussian"),
        ("gaussian", "dirichlet", "Gaussian.*Dirichlet.*simplex"),
        (distributions.Gamma(2.0, 1.0), "gaussian", "Gamma.*Gaussian"),
        (PETALS, "gamma", "MixtureSameFamily.*Gamma"),
        (distributions.Normal(torch.zeros(3), torch.ones(3)), "gaussian", "Normal"),
    ],
)
def test_pairs_that_cannot_be(prior, posterior, words):
    vae = VAETransformer(2, prior=prior, posterior=posterior)
    with pytest.raises(ValueError, match=f"(?s){words}"):
        vae.fit(X)


@pytest.mark.parametrize("case", CASES)
def test_members_of_an_ensemble_have_it_too(case):
    prior, posterior = CASES[case]
    detector = VAEOutlierDetector(
        n_components=2,
        prior=prior,
        posterior=posterior,
        n_estimators=2,
        max_iter=2,
        random_state=0,
    ).fit(X)
    scores = detector.score_samples(X)
    assert np.isfinite(scores).all()
    np.testing.assert_allclose(detector.score_samples(X[3:4]), scores[3:4], rtol=1e-9)
