"""Objectives: equal where the maths says so, unbiased, and at home in the estimator."""

import math
import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits, load_wine
from sklearn.model_selection import train_test_split

from skvae import VAEOutlierDetector, VAETransformer, objectives, parameters
from skvae import likelihoods as families
from skvae.core.model import Model
from skvae.core.ppca import probabilistic_pca
from skvae.core.reader import Reader
from skvae.core.training import HeldOut, _Autograd
from skvae.networks import MLP
from skvae.objectives import (
    ELBO,
    IWAE,
    MMD,
    Aggressive,
    CyclicalWarmup,
    FreeBits,
    Terms,
    TotalCorrelation,
)
from skvae.objectives.together import squared_discrepancy, total_correlation
from skvae.posteriors import FAMILIES as POSTERIORS
from skvae.posteriors.gaussian import GaussianCodes
from skvae.priors import FAMILIES as PRIORS
from skvae.settings import from_state, to_state

N_ROWS, N_FEATURES, N_COMPONENTS = 6, 4, 2
DIVERGENCES = ("closed", "monte_carlo", "sticking_the_landing")
#: One of each family, and those whose estimators differ.
OBJECTIVES = [
    *(ELBO(divergence) for divergence in DIVERGENCES),
    IWAE(3),
    IWAE(3, doubly_reparameterized=True),
    FreeBits(0.3),
    TotalCorrelation(3.0),
    MMD(10.0),
    MMD(10.0, kl_weight=0.1, bandwidth=1.0),
    CyclicalWarmup(2),
    Aggressive(3),
]
#: Those that ask nothing of the codes.
FOR_ALL_CODES = [
    objective
    for objective in OBJECTIVES
    if not isinstance(objective, TotalCorrelation | MMD)
]
each_objective = pytest.mark.parametrize("objective", OBJECTIVES, ids=str)


def normal(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def small_model(posterior="gaussian", network=None):
    posterior = POSTERIORS[posterior]()
    return Model(
        Reader(N_FEATURES),
        N_FEATURES,
        N_COMPONENTS,
        network=network or MLP((5,)),
        likelihood=families.Gaussian("shared"),
        posterior=posterior,
        prior=PRIORS[posterior.prior]().beside(posterior),
    )


def start_linear(model, X):
    """Weights at which the encoder gives the exact posterior."""
    flat = torch.zeros(model.n_weights, dtype=torch.float64)
    factors = probabilistic_pca(X.numpy().copy(), N_COMPONENTS, None, 1e-4)
    moments = X.mean(0), X.var(0, correction=0)
    model.start_linear(flat, torch.Generator().manual_seed(0), factors, *moments)
    return flat


def of_part(model, part):
    """Mask of the weights of a part of the model."""
    mask = torch.zeros(model.n_weights, dtype=torch.bool)
    for view in model.views(mask)[part].values():
        view.fill_(True)
    return mask


def gradients(model, flat, objective, X, n_draws, n_repeats, beta=1.0, seed=0):
    """Gradients under noise that is new in each repeat, (n_repeats, n_weights)."""
    differentiate = _Autograd(model, flat, objective)
    generator = torch.Generator().manual_seed(seed)
    n_noise = model.posterior.n_noise(N_COMPONENTS)
    shape = n_draws, len(X), n_noise
    noises = (model.posterior.noise(shape, generator) for _ in range(n_repeats))
    return torch.stack(
        [differentiate(beta, X, X, None, noise.double())[1] for noise in noises]
    )


def assert_same_mean(one, other):
    """Means of two samples of gradients differ by their standard errors, no more."""
    error = torch.sqrt((one.var(0) + other.var(0)) / len(one))
    difference = one.mean(0) - other.mean(0)
    assert (difference.abs() <= 5 * error + 1e-9).all()
    assert difference.norm() < 2 * error.norm()
    # Errors so small that a wrong estimator would show.
    assert error.norm() < 0.05 * one.mean(0).norm()


def terms_of(mean, scale, n_draws=1, log_likelihood=0.0):
    """Terms of normal codes under the standard normal prior."""
    codes = GaussianCodes(mean, torch.full_like(mean, math.log(scale)))
    z = codes.rsample(normal(n_draws, *mean.shape, seed=1))
    shape = n_draws, *mean.shape[:-1]
    return Terms(torch.full(shape, log_likelihood), codes, PRIORS["gaussian"](), z)


def test_importance_weighted_bound_of_classes_is_the_sum_over_them():
    model, X = small_model("categorical"), normal(N_ROWS, N_FEATURES)
    weights = model.views(0.5 * normal(model.n_weights))
    every_class = torch.eye(N_COMPONENTS, dtype=torch.float64)
    noise = every_class.unsqueeze(1).expand(-1, N_ROWS, -1)
    terms = model.terms(weights, X, X, None, noise)
    exact = torch.logsumexp(terms.log_likelihood, 0) - math.log(N_COMPONENTS)
    torch.testing.assert_close(-IWAE()(terms, 1.0), exact.mean())
    assert -ELBO()(terms, 1.0) < exact.mean()


# ---- the evidence lower bound, three ways --------------------------------------------


def test_both_estimates_of_the_divergence_are_one_number_and_right_in_the_mean():
    model, X = small_model(), normal(N_ROWS, N_FEATURES)
    weights = model.views(0.5 * normal(model.n_weights))
    terms = model.terms(weights, X, X, None, normal(4_000, N_ROWS, N_COMPONENTS))
    assert torch.equal(terms.log_ratio, terms.log_ratio_by_path)
    values = [ELBO(divergence)(terms, 0.7) for divergence in DIVERGENCES[1:]]
    assert values[0] == values[1]
    error = terms.log_ratio.std(0) / math.sqrt(4_000)
    assert (abs(-terms.log_ratio.mean(0) - terms.kl) < 4 * error).all()


@pytest.mark.parametrize("divergence", DIVERGENCES[1:])
@pytest.mark.parametrize("posterior", ["gaussian", "full_gaussian", "gamma"])
def test_every_estimate_of_the_bound_has_the_same_mean_gradient(divergence, posterior):
    model, X = small_model(posterior), normal(N_ROWS, N_FEATURES)
    flat = 0.5 * normal(model.n_weights)
    closed, estimated = (
        gradients(model, flat, ELBO(way), X, 200, 30, seed=seed)
        for seed, way in enumerate(["closed", divergence])
    )
    assert_same_mean(closed, estimated)


def test_the_landing_sticks_where_the_posterior_is_exact():
    model = small_model(network=MLP(()))
    X = normal(200, N_COMPONENTS) @ normal(N_COMPONENTS, N_FEATURES, seed=1)
    X += 0.5 * normal(200, N_FEATURES, seed=2)
    flat, encoder = start_linear(model, X), of_part(model, "encoder")
    by_way = {
        way: gradients(model, flat, ELBO(way), X, 1, 5)[:, encoder]
        for way in DIVERGENCES
    }
    # The path of a draw is flat: log p(x, z) - log q(z|x) is log p(x) at any z.
    assert by_way["sticking_the_landing"].abs().max() < 1e-10
    assert by_way["closed"].std(0).max() > 1e-3
    assert by_way["monte_carlo"].std(0).max() > 1e-3


# ---- the importance-weighted bound ---------------------------------------------------


@pytest.mark.parametrize("beta", [1.0, 0.4])
def test_both_gradients_are_those_of_one_value(beta):
    model, X = small_model(), normal(N_ROWS, N_FEATURES)
    flat = 0.5 * normal(model.n_weights)
    batch = beta, X, X, None, normal(4, N_ROWS, N_COMPONENTS, seed=1)
    plain, doubly = (_Autograd(model, flat, IWAE(4, way))(*batch) for way in (0, 1))
    torch.testing.assert_close(doubly[0], plain[0], rtol=1e-14, atol=0)
    # The decoder's gradient is the same in each draw, the encoder's in the mean alone.
    for part, is_same in (("decoder", True), ("likelihood", True), ("encoder", False)):
        mask = of_part(model, part)
        assert torch.allclose(doubly[1][mask], plain[1][mask], rtol=1e-9) == is_same


@pytest.mark.parametrize("beta", [1.0, 0.4, 0.0])
@pytest.mark.parametrize("posterior", ["gaussian", "laplace", "gamma"])
def test_doubly_reparameterized_gradient_is_unbiased(posterior, beta):
    model = small_model(posterior)
    X = normal(1, N_FEATURES).expand(400, -1)  # one row, under so much noise
    flat = 0.3 * normal(model.n_weights)
    plain, doubly = (
        gradients(model, flat, IWAE(3, bool(way)), X, 3, 40, beta, seed=way)
        for way in (0, 1)
    )
    for part in ("encoder", "decoder"):
        mask = of_part(model, part)
        assert_same_mean(plain[:, mask], doubly[:, mask])


def test_signal_of_the_encoder_drowns_or_grows_with_the_draws():
    # Rainforth et al., "Tighter variational bounds are not necessarily better", ICML
    # 2018, theorem 1: plain, the ratio falls like 1 / sqrt(K). Tucker et al., 2019:
    # doubly reparameterised, it rises like sqrt(K).
    model = small_model(network=MLP(()))
    X = normal(200, N_COMPONENTS) @ normal(N_COMPONENTS, N_FEATURES, seed=1)
    X += 0.5 * normal(200, N_FEATURES, seed=2)
    flat, encoder = start_linear(model, X), of_part(model, "encoder")
    # Codes beside the exact ones, and wider: the weights are bounded.
    beside = torch.tensor([1.0, -1.0, 1.0, 1.0])
    model.views(flat)["encoder"]["bias_0"] += 0.3 * beside

    def signal_to_noise(way, n_samples):
        found = gradients(model, flat, IWAE(n_samples, way), X[:50], n_samples, 200)
        found = found[:, encoder]
        return (found.mean(0).norm() / found.std(0).norm()).item()

    plain, doubly = (
        signal_to_noise(way, 64) / signal_to_noise(way, 16) for way in (False, True)
    )
    assert plain < 0.7  # sqrt(16 / 64) is 0.5
    assert 1.6 < doubly < 2.5  # sqrt(64 / 16) is 2


# ---- free bits -----------------------------------------------------------------------


def test_without_free_nats_it_is_the_evidence_lower_bound():
    model, X = small_model(), normal(N_ROWS, N_FEATURES)
    flat = 0.5 * normal(model.n_weights)
    batch = 0.7, X, X, None, normal(2, N_ROWS, N_COMPONENTS, seed=1)
    ours, plain = (
        _Autograd(model, flat, objective)(*batch) for objective in (FreeBits(0), ELBO())
    )
    torch.testing.assert_close(ours[0], plain[0])
    torch.testing.assert_close(ours[1], plain[1])


def test_components_below_the_free_nats_are_left_alone():
    mean = (normal(50, 3) * torch.tensor([0.1, 1.0, 3.0])).requires_grad_()
    terms = terms_of(mean, 0.8)
    kl = terms.kl_per_component.mean(0)
    nats = kl[:2].mean().item()
    loss = FreeBits(nats)(terms, 0.5)
    assert loss.item() == pytest.approx(0.5 * (nats + kl[1:].sum().item()))
    (free,) = torch.autograd.grad(loss, mean)
    (plain,) = torch.autograd.grad(ELBO()(terms_of(mean, 0.8), 0.5), mean)
    assert not free[:, 0].any() and plain[:, 0].any()
    torch.testing.assert_close(free[:, 1:], plain[:, 1:])


# ---- total correlation ---------------------------------------------------------------


def test_total_correlation_at_its_own_weight_is_the_evidence_lower_bound():
    model, X = small_model(), normal(N_ROWS, N_FEATURES)
    flat = 0.5 * normal(model.n_weights)
    batch = 0.7, X, X, None, normal(2, N_ROWS, N_COMPONENTS, seed=1)
    ours, plain = (
        _Autograd(model, flat, objective)(*batch)
        for objective in (TotalCorrelation(1.0), ELBO())
    )
    torch.testing.assert_close(ours[0], plain[0])
    torch.testing.assert_close(ours[1], plain[1])


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.8])
def test_total_correlation_of_normal_codes(correlation):
    covariance = torch.full((3, 3), correlation, dtype=torch.float64)
    covariance.fill_diagonal_(1.0)
    exact = -0.5 * torch.logdet(covariance).item()
    scale = 0.3
    of_means = covariance - scale**2 * torch.eye(3, dtype=torch.float64)
    factor = torch.linalg.cholesky(of_means)
    biases = []
    for shape in [(40, 50, 3), (4, 800, 3)]:  # batches, as members of an ensemble
        terms = terms_of(normal(*shape) @ factor.T, scale)
        biases.append(total_correlation(terms).item() - exact)
    # What all components tell together is capped at log(n_rows), so that the estimate
    # is too high, and less so in large batches.
    assert 0.05 < biases[0]
    assert abs(biases[1]) < min(0.15, biases[0] / 2)


def test_a_single_component_has_no_total_correlation():
    assert float(total_correlation(terms_of(normal(40, 1), 0.3))) == pytest.approx(0)


def test_total_correlation_is_of_components_in_any_order_and_units():
    mean = normal(60, 3) @ normal(3, 3, seed=2)
    terms = terms_of(mean, 0.5)
    codes = terms.posterior
    units = torch.tensor([1.0, 10.0, 0.1])
    others = GaussianCodes(codes.mean * units, codes.log_scale + units.log())
    changed = Terms(terms.log_likelihood, others, terms.prior, terms.z * units)
    turned = Terms(
        terms.log_likelihood,
        codes.mapped(lambda part: part.flip(-1)),
        terms.prior,
        terms.z.flip(-1),
    )
    for same in (changed, turned):
        torch.testing.assert_close(total_correlation(same), total_correlation(terms))


# ---- maximum mean discrepancy --------------------------------------------------------


@pytest.mark.parametrize("bandwidth", [0.5, 2.0])
def test_discrepancy_of_the_prior_from_itself_is_zero_in_the_mean(bandwidth):
    found = squared_discrepancy(normal(2_000, 20, 3), bandwidth)
    assert (found < 0).any()  # without bias, it cannot be positive always
    assert abs(found.mean()) < 4 * found.std() / math.sqrt(len(found))


@pytest.mark.parametrize("bandwidth", [0.5, 2.0])
def test_discrepancy_is_that_of_two_samples(bandwidth):
    z, prior = 0.5 * normal(30, 3) + 0.3, normal(2, 3_000, 3, seed=1)

    def kernel(one, other):
        return torch.exp(-torch.cdist(one, other).square() / (2 * bandwidth**2))

    among = kernel(z, z).fill_diagonal_(0).sum() / (30 * 29)
    between, within = kernel(z, prior[0]).mean(0), kernel(*prior)
    expected = among - 2 * between.mean() + within.mean()
    error = (2 * between.std() + within.mean(0).std()) / math.sqrt(3_000)
    assert abs(squared_discrepancy(z, bandwidth) - expected) < 4 * error


def test_discrepancy_of_shifted_codes_is_positive_and_grows():
    z = normal(100, 20, 3)
    near, far = (squared_discrepancy(z + shift, 1.7) for shift in (1.0, 2.0))
    assert (near > 0).all() and (far > near).all()


# ---- ensembles -----------------------------------------------------------------------


@each_objective
def test_members_of_an_ensemble_learn_as_if_alone(objective):
    model, n_members = small_model(), 3
    flat = 0.5 * normal(n_members, model.n_weights)
    X = normal(n_members, N_ROWS, N_FEATURES, seed=1)
    noise = normal(3, n_members, N_ROWS, N_COMPONENTS, seed=2)
    means, gradient = _Autograd(model, flat, objective)(0.7, X, X, None, noise)
    alone = [
        _Autograd(model, flat[e].clone(), objective)(0.7, X[e], X[e], None, noise[:, e])
        for e in range(n_members)
    ]
    means_alone, separate = zip(*alone, strict=True)
    torch.testing.assert_close(means, tuple(torch.tensor(means_alone).mean(0)))
    torch.testing.assert_close(gradient, torch.stack(separate))


@each_objective
def test_the_detector_trains_by_any_objective(objective):
    detector = VAEOutlierDetector(
        objective=objective, n_estimators=2, max_iter=4, random_state=0
    ).fit(load_wine().data)
    assert np.isfinite(detector.score_samples(load_wine().data)).all()


# ---- warm-up, and what held-out rows are judged by -----------------------------------


def plan(**given):
    estimator = VAETransformer(max_iter=40, batch_size=10, **given)
    return parameters.plan(estimator, 100, False)  # 400 steps


def test_cyclical_warm_up_rises_again_and_again():
    cyclical = plan(objective=CyclicalWarmup(4, rise=0.5), beta=2.0)
    weights = [cyclical.beta_at(step) for step in range(400)]
    assert [weights[step] for step in (0, 25, 50, 99)] == [0.0, 1.0, 2.0, 2.0]
    cycles = np.reshape(weights, (4, 100))
    np.testing.assert_allclose(cycles, np.tile(cycles[0], (4, 1)))
    assert cyclical.warm_up_steps == 350
    at_once = plan(objective=CyclicalWarmup(3, rise=0.0))
    assert at_once.warm_up_steps == 0 and at_once.beta_at(0) == 1.0


def test_one_cycle_is_the_warm_up_of_the_estimator():
    one = plan(objective=CyclicalWarmup(1, rise=0.3), kl_warmup=0.9)
    other = plan(kl_warmup=0.3)
    weights = [other.beta_at(step) for step in range(400)]
    assert weights == [one.beta_at(step) for step in range(400)]
    np.testing.assert_allclose(weights[:120], np.arange(120) / 120)
    assert set(weights[120:]) == {1.0}


@pytest.mark.parametrize(
    ("given", "share"),
    [
        ({}, 0.0),
        ({"kl_warmup": 0.5}, 0.5),
        ({"objective": CyclicalWarmup(4, rise=0.5)}, 7 / 8),
    ],
    ids=str,
)
def test_looks_begin_where_the_divergence_has_its_full_weight_for_good(given, share):
    vae = VAETransformer(
        2, max_iter=400, n_iter_no_change=100, random_state=0, **given
    ).fit(load_wine().data)  # 160 rows to train on: 800 steps
    first = 50 * max(1, math.ceil(share * 800 / 50))
    assert len(vae.validation_scores_) == (800 - first) // 50 + 1


@pytest.mark.parametrize("beta", [0.0, 0.3, 4.0])
def test_the_fit_weighs_the_divergence(beta):
    def information(**given):
        vae = VAETransformer(3, max_iter=60, early_stopping=False, random_state=0)
        return vae.set_params(**given).fit(load_wine().data).kl_per_component_.sum()

    order = np.sign(information(beta=beta) - information())
    assert order == np.sign(1 - beta)


@pytest.mark.parametrize(
    ("given", "n_draws"),
    [({}, 1), ({"n_mc_samples": 3}, 3), ({"objective": IWAE(5), "n_mc_samples": 3}, 5)],
    ids=str,
)
def test_a_step_draws_as_many_codes_as_it_is_asked_for(monkeypatch, given, n_draws):
    drawn = []

    def noise(self, shape, generator):
        drawn.append(shape[0])
        return torch.zeros(shape)

    monkeypatch.setattr(POSTERIORS["gaussian"], "noise", noise)
    VAETransformer(2, max_iter=2, early_stopping=False, **given).fit(load_wine().data)
    assert drawn == 2 * [n_draws]


@each_objective
def test_held_out_rows_are_judged_by_a_bound_at_full_weight(objective):
    model, X = small_model(), normal(N_ROWS, N_FEATURES).float()
    weights = model.views(0.5 * normal(model.n_weights).float())

    def score(objective):
        generator = torch.Generator().manual_seed(0)
        return HeldOut(model, objective, (X, X, None), generator).score(weights)

    is_iwae = isinstance(objective, IWAE)
    assert score(objective) == score(IWAE(3) if is_iwae else ELBO())
    assert (score(objective) > score(ELBO())) == is_iwae


# ---- in the estimator ----------------------------------------------------------------

WINE = load_wine().data
HOLEY = np.where(np.random.default_rng(0).random(WINE.shape) < 0.1, np.nan, WINE)


def small_vae(objective, **given):
    given = {"max_iter": 6, "hidden_layer_sizes": (8,), "random_state": 0, **given}
    return VAETransformer(3, objective=objective, **given)


def assert_is_at_home(vae, X):
    """Fit, score, sample, clone, pickle, go on."""
    vae.fit(X)
    scores = vae.score_samples(X)
    assert np.isfinite(scores).all()
    assert np.isfinite(vae.sample(4, random_state=0)).all()
    again = clone(vae).fit(X)
    assert again.objective == vae.objective
    np.testing.assert_array_equal(again.score_samples(X), scores)
    loaded = pickle.loads(pickle.dumps(vae))
    np.testing.assert_array_equal(loaded.score_samples(X), scores)
    for go_on in (loaded.partial_fit, again.set_params(warm_start=True).fit):
        moved = go_on(X).score_samples(X)
        assert np.isfinite(moved).all() and (moved != scores).any()


@pytest.mark.parametrize("objective", [*objectives.FAMILIES, *OBJECTIVES], ids=str)
def test_every_objective_is_at_home_in_the_estimator(objective):
    assert_is_at_home(small_vae(objective), HOLEY)


@pytest.mark.parametrize("objective", FOR_ALL_CODES, ids=str)
@pytest.mark.parametrize("posterior", ["categorical", "gamma"])
def test_objectives_that_ask_nothing_of_the_codes(objective, posterior):
    assert_is_at_home(small_vae(objective, posterior=posterior), WINE)


@pytest.mark.parametrize("objective", FOR_ALL_CODES, ids=str)
def test_every_estimate_is_exact_where_all_codes_are_gone_through(objective):
    if isinstance(objective, FreeBits):
        objective = FreeBits(0.0)
    model, X = small_model("categorical"), normal(N_ROWS, N_FEATURES)
    flat = 0.5 * normal(model.n_weights)
    noise = model.posterior.noise((1, N_ROWS, N_COMPONENTS), torch.Generator())
    batch = 1.0, X, X, None, noise.double()
    means, gradient = _Autograd(model, flat, objective)(*batch)
    reference = IWAE() if isinstance(objective, IWAE) else ELBO()
    expected = _Autograd(model, flat, reference)(*batch)
    torch.testing.assert_close(means, expected[0])
    torch.testing.assert_close(gradient, expected[1])


@pytest.mark.parametrize(
    ("objective", "given", "advice"),
    [
        *(
            (TotalCorrelation(), {"posterior": posterior}, 'posterior="gaussian"')
            for posterior in ("full_gaussian", "laplace", "lognormal", "categorical")
        ),
        *(
            (MMD(), given, 'prior="gaussian"')
            for given in ({"prior": "mixture"}, {"posterior": "gamma"})
        ),
    ],
    ids=str,
)
def test_what_an_objective_cannot_do_is_said_and_changes_nothing(
    objective, given, advice
):
    vae = small_vae("elbo", **given).fit(WINE)
    scores = vae.score_samples(WINE)
    vae.set_params(objective=objective)
    for method in (vae.fit, vae.partial_fit):
        with pytest.raises(ValueError, match=advice):
            method(WINE)
    np.testing.assert_array_equal(vae.score_samples(WINE), scores)


def test_the_algorithm_of_auto_encoding_variational_bayes_is_one_setting():
    X = (load_digits().data > 7).astype(float)
    train, test = train_test_split(X, random_state=0)
    vae = VAETransformer(
        5,
        likelihood="bernoulli",
        network=MLP((100,), "tanh", linear_path=False),
        init="random",
        optimizer="adagrad",
        learning_rate=0.1,
        batch_size=100,
        n_mc_samples=1,
        max_iter=30,
        early_stopping=False,
        random_state=0,
    ).fit(train)
    assert np.mean(vae.loss_curve_[-5:]) < np.mean(vae.loss_curve_[:5]) - 2
    # Pixels by themselves, with a pseudo-count of each value.
    share = (train.sum(axis=0) + 1) / (len(train) + 2)
    alone = np.log(np.where(test == 1, share, 1 - share)).sum(axis=1).mean()
    assert vae.score(test) > alone + 2


# ---- settings ------------------------------------------------------------------------


@each_objective
def test_settings_compare_by_value_and_are_cloned(objective):
    assert clone(objective) == objective
    assert hash(clone(objective)) == hash(objective)
    state = to_state(objective, objectives.FAMILIES)
    assert from_state(state, objectives.FAMILIES) == objective
    assert repr(objective) == repr(eval(repr(objective), vars(objectives)))


@pytest.mark.parametrize(
    ("family", "parameter", "bad"),
    [
        *((family, "divergence", "exact") for family in (ELBO, CyclicalWarmup)),
        *((IWAE, "n_samples", bad) for bad in (0, 1.5, None)),
        *((FreeBits, "nats", bad) for bad in (-1.0, math.nan, math.inf, "0.1")),
        *((TotalCorrelation, "weight", bad) for bad in (-1.0, None)),
        *((MMD, name, -1.0) for name in ("weight", "kl_weight", "bandwidth")),
        *((MMD, "bandwidth", bad) for bad in (0.0, math.nan, math.inf, "wide")),
        *((CyclicalWarmup, "n_cycles", bad) for bad in (0, 2.5)),
        *((CyclicalWarmup, "rise", bad) for bad in (-0.1, 1.1, math.nan, "half")),
        *((Aggressive, "n_encoder_steps", bad) for bad in (0, 2.5, "many")),
    ],
)
def test_bad_settings_are_refused(family, parameter, bad):
    with pytest.raises(ValueError, match=f"{parameter} of {family.__name__}"):
        family(**{parameter: bad})


def test_several_draws_of_one_row_a_batch_are_quiet():
    always = torch.is_warn_always_enabled()
    torch.set_warn_always(True)  # else torch warns once in a process, and no more
    try:
        table = load_wine(as_frame=True).data[:10].assign(label=[*"ab"] * 5)
        vae = VAETransformer(objective="iwae", batch_size=1, max_iter=1, random_state=0)
        assert np.isfinite(vae.fit(table).score(table))
    finally:
        torch.set_warn_always(always)
