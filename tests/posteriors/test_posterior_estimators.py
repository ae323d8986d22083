"""Every posterior as a user has it: by its name, in VAETransformer."""

import pickle
from functools import cache

import numpy as np
import pytest
import torch
from posterior_cases import CONTINUOUS, family
from sklearn.base import clone

from skvae import VAETransformer, posteriors
from skvae.core import evaluation
from skvae.fitted import FittedModel

RNG = np.random.default_rng(0)
X = RNG.standard_normal((60, 2)) @ RNG.standard_normal((2, 4))
X += 0.3 * RNG.standard_normal(X.shape) + 5
WITH_HOLES = np.where(RNG.random(X.shape) < 0.25, np.nan, X)
WITH_HOLES[0] = np.nan

FAMILIES = [*posteriors.FAMILIES]


def vae_of(name, **parameters):
    parameters = {"n_components": 2, "max_iter": 4, "random_state": 0} | parameters
    return VAETransformer(posterior=name, **parameters)


@cache
def fitted(name):
    return vae_of(name).fit(X)


@pytest.mark.parametrize("name", FAMILIES)
def test_codes_lie_in_the_support_and_stand_for_rows(name):
    vae = fitted(name)
    Z = vae.transform(X)
    assert Z.shape == (60, 2)
    assert family(name).contains(Z).all()
    assert np.isfinite(vae.inverse_transform(Z)).all()
    single = vae.transform(X.astype(np.float32))
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, Z, rtol=1e-3, atol=1e-4)
    assert np.isfinite(vae.inverse_transform(single)).all()


@pytest.mark.parametrize("name", FAMILIES)
def test_codes_outside_the_support_are_refused(name):
    Z = np.full((1, 2), -3.0)
    if family(name).support == "real":
        assert np.isfinite(fitted(name).inverse_transform(Z)).all()
        return
    with pytest.raises(ValueError, match=f"posterior={family(name)}".replace("()", "")):
        fitted(name).inverse_transform(Z)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("rows", [X, WITH_HOLES], ids=["whole", "holes"])
def test_scores_depend_on_the_row_alone(name, rows):
    vae = fitted(name)
    scores = vae.score_samples(rows)
    assert np.isfinite(scores).all()
    order = np.random.default_rng(1).permutation(len(rows))
    np.testing.assert_allclose(vae.score_samples(rows[order]), scores[order], rtol=1e-9)
    alone = [vae.score_samples(row[None])[0] for row in rows[:4]]
    np.testing.assert_allclose(alone, scores[:4], rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(vae.score_samples(rows), scores)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_whole_is_the_sum_of_its_parts(name):
    vae = fitted(name)
    parts = vae.score_features(WITH_HOLES)
    assert np.isfinite(parts).all()
    scores = vae.score_samples(WITH_HOLES)
    np.testing.assert_allclose(parts.sum(axis=1), scores, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", FAMILIES)
def test_nothing_observed_has_probability_one(name):
    # Where the prior is not the standard member, this is an average over draws.
    assert abs(fitted(name).score_samples(WITH_HOLES[:1])[0]) < 0.05


@pytest.mark.parametrize("name", FAMILIES)
def test_single_precision_scores(name):
    vae = fitted(name)
    single = vae.score_samples(X.astype(np.float32))
    np.testing.assert_allclose(single, vae.score_samples(X), atol=0.02)


@pytest.mark.parametrize("name", FAMILIES)
def test_samples(name):
    vae = fitted(name)
    rows = vae.sample(200, random_state=0)
    assert rows.shape == (200, 4)
    assert np.isfinite(rows).all()
    np.testing.assert_array_equal(rows, vae.sample(200, random_state=0))
    assert not (rows == vae.sample(200, random_state=1)).any()


@pytest.mark.parametrize("name", FAMILIES)
def test_samples_given_a_cell(name):
    rows = fitted(name).sample(50, given={1: X[0, 1]}, random_state=0)
    assert rows.shape == (50, 4)
    assert np.isfinite(rows).all()
    assert (rows[:, 1] == X[0, 1]).all()


@pytest.mark.parametrize("name", FAMILIES)
def test_fits_repeat_themselves(name):
    vae = fitted(name)
    again = clone(vae).fit(X)
    loaded = pickle.loads(pickle.dumps(vae))
    for other in (again, loaded):
        np.testing.assert_array_equal(other.score_samples(X), vae.score_samples(X))
        np.testing.assert_array_equal(
            other.sample(3, random_state=0), vae.sample(3, random_state=0)
        )


@pytest.mark.parametrize("name", FAMILIES)
def test_training_goes_on(name):
    vae = vae_of(name)
    for rows in (X[:30], WITH_HOLES[30:], X):
        vae.partial_fit(rows)
    assert np.isfinite(vae.loss_curve_).all()
    assert np.isfinite(vae.score_samples(X)).all()
    n_summands = 1 if name in ("dirichlet", "categorical") else 2
    assert vae.kl_per_component_.shape == (n_summands,)
    assert (vae.kl_per_component_ >= 0).all()


@pytest.mark.parametrize("name", FAMILIES)
def test_other_objectives_train_it(name):
    for objective in ("iwae", "elbo"):
        vae = vae_of(name, objective=objective, n_mc_samples=3, max_iter=2).fit(X)
        assert np.isfinite(vae.score_samples(X)).all()


@pytest.mark.parametrize("name", CONTINUOUS)
def test_chain_of_bounds(name):
    model = FittedModel(fitted(name)._state, np.float64)
    rows = model._tensors(X[:12])
    chain = []
    for scrambling in range(10):
        noise = evaluation.shared_noise(model.model, 512, rows[0], scrambling)
        log_w = evaluation.log_weights(model.model, model.weights, rows, noise).log_w
        log_mean_exp = [torch.logsumexp(log_w[:k], 0) - np.log(k) for k in (8, 512)]
        elbo = log_w.mean(0)
        assert (elbo <= log_mean_exp[1] + 1e-12).all()
        chain.append([elbo.mean(), log_mean_exp[0].mean(), log_mean_exp[1].mean()])
    steps = np.diff(np.array(chain), axis=1)
    error = steps.std(axis=0, ddof=1) / np.sqrt(len(steps))
    assert steps[:, 0].mean() > 0
    assert (steps.mean(axis=0) > -3 * error).all()


def as_lognormal(vae):
    """The same weights, read as those of a model of log-normal codes."""
    other = clone(vae).fit(X)
    geometry = {
        **vae._state["geometry"],
        "posterior": {"name": "lognormal", "params": {}},
        "prior": {"name": "standard", "params": {}},
    }
    other._state = {**vae._state, "geometry": geometry}
    return other


@pytest.mark.parametrize("rows", [X, WITH_HOLES], ids=["whole", "holes"])
def test_log_normal_codes_are_normal_codes_in_other_units(rows):
    normal = fitted("gaussian")
    positive = as_lognormal(normal)
    expected = normal.score_samples(rows)
    np.testing.assert_allclose(
        positive.score_samples(rows), expected, rtol=1e-9, atol=1e-9
    )
    # Training takes the same steps, but for the rounding of single precision.
    np.testing.assert_allclose(
        fitted("lognormal").loss_curve_, normal.loss_curve_, rtol=1e-5
    )


def test_codes_of_a_cauchy_posterior_are_its_medians():
    model = FittedModel(fitted("cauchy")._state, np.float64)
    q = evaluation.codes(model.model, model.weights, model._tensors(X)[0])
    np.testing.assert_array_equal(fitted("cauchy").transform(X), q.location.numpy())
