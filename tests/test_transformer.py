"""What the transformer promises beyond the scikit-learn contract."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_breast_cancer, load_digits, load_iris
from sklearn.decomposition import PCA

from skvae import VAETransformer, parameters
from skvae.base import draw_seed
from skvae.likelihoods import Bernoulli, Gaussian
from skvae.networks import MLP
from skvae.posteriors import Gaussian as Normal


def iris():
    return load_iris().data


def test_beta_changes_the_model():
    X = iris()
    plain, heavy = (
        VAETransformer(2, beta=beta, max_iter=30, random_state=0).fit(X)
        for beta in (1.0, 8.0)
    )
    assert heavy.kl_per_component_.sum() < 0.8 * plain.kl_per_component_.sum()


def test_components_are_active_on_digits():
    X = load_digits().data
    vae = VAETransformer(random_state=0).fit(X)
    active = vae.transform(X).var(axis=0) > 0.01
    assert active.mean() >= 0.5


def test_start_is_pca():
    X = load_breast_cancer().data
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    # One epoch at a rate too small to move: the start itself.
    vae = VAETransformer(
        3, likelihood=Gaussian("shared"), max_iter=1, learning_rate=1e-9, random_state=0
    ).fit(X)
    codes, scores = vae.transform(X), PCA(3).fit_transform(X)
    correlations = [
        abs(np.corrcoef(code, component)[0, 1])
        for code, component in zip(codes.T, scores.T, strict=True)
    ]
    assert min(correlations) > 0.98


def test_start_is_centred_where_what_is_read_is_not():
    # Labels are read as indicators, whose means are shares.
    X = np.random.default_rng(0).choice(3, size=(200, 4), p=[0.7, 0.2, 0.1])
    vae = VAETransformer(
        2,
        likelihood="categorical",
        early_stopping=False,
        max_iter=1,
        learning_rate=1e-9,
        random_state=0,
    ).fit(X)
    codes = vae.transform(X)
    assert (codes.std(axis=0) > 0.1).all()
    np.testing.assert_allclose(codes.mean(axis=0), 0, atol=1e-6)


@pytest.mark.parametrize(
    "parameters",
    [
        {"init": "random"},
        {"network": MLP((16,), "relu", linear_path=False)},
        {"hidden_layer_sizes": 16},
        {"hidden_layer_sizes": [16, 8], "activation": "tanh"},
        {"standardize": False},
        {"n_mc_samples": 3},
        {"kl_warmup": 0.5},
        {"batch_size": 7},
        {"beta": 0.0},
        {"early_stopping": True, "validation_fraction": 0.3},
        {"likelihood": Gaussian(0.5)},
    ],
    ids=str,
)
def test_settings_give_a_finite_model(parameters):
    X = iris()
    vae = VAETransformer(2, max_iter=3, random_state=0).set_params(**parameters).fit(X)
    for answer in (vae.transform(X), vae.score_samples(X), vae.sample(5)):
        assert np.isfinite(answer).all()
    assert vae.n_iter_ == len(vae.loss_curve_) == 3


def test_auto_components_and_iterations():
    X = load_breast_cancer().data
    vae = VAETransformer(early_stopping=False, random_state=0, max_iter=2).fit(X)
    assert vae.n_components_ == 15
    assert VAETransformer(max_iter=2).fit(iris()).n_components_ == 2
    small = iris()[:40]
    # 40 rows make one batch: 3,000 steps are 3,000 epochs.
    assert VAETransformer(hidden_layer_sizes=()).fit(small).n_iter_ == 3000


def test_early_stopping_is_on_from_50_rows():
    X = iris()
    assert not VAETransformer(max_iter=2).fit(X[:49]).validation_scores_
    assert VAETransformer(max_iter=2).fit(X[:50]).validation_scores_


def test_early_stopping_ends_before_the_last_epoch():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((300, 5))
    vae = VAETransformer(random_state=0).fit(X)
    planned = -(-3000 // -(-270 // 128))
    assert vae.n_iter_ < planned
    assert max(vae.validation_scores_) > vae.validation_scores_[-1]


@pytest.mark.parametrize("beta", [1.0, 0.3])
@pytest.mark.parametrize("posterior", ["gaussian", "laplace"])  # by hand, and not
def test_the_loss_falls_apart_into_its_curves(beta, posterior):
    vae = VAETransformer(2, beta=beta, posterior=posterior, max_iter=4).fit(iris())
    reconstruction, kl = map(np.array, (vae.reconstruction_curve_, vae.kl_curve_))
    np.testing.assert_allclose(vae.loss_curve_, beta * kl - reconstruction, rtol=1e-4)
    assert (kl > 0).all()
    vae.partial_fit(iris())
    assert len(vae.loss_curve_) == len(vae.kl_curve_) == vae.n_iter_ == 5


def test_looks_have_their_place_in_the_course_of_the_fit():
    vae = VAETransformer(2, batch_size=45, max_iter=60, random_state=0).fit(iris())
    # 135 training rows make 3 steps an epoch; a look each 76 steps, and at the end.
    expected = [76 / 3, 152 / 3, 60]
    np.testing.assert_allclose(vae.validation_epochs_, expected)
    assert len(vae.validation_scores_) == 3


def test_no_single_held_out_cell_decides_when_to_stop():
    X = load_breast_cancer().data
    vae = VAETransformer(3, max_iter=60, random_state=0)
    split_rng = np.random.default_rng(draw_seed(0))
    rows, held_out, _ = parameters.split(vae, len(X), split_rng)
    odd = X[:, 0].mean() + 100 * X[:, 0].std()
    answers = []
    for cell in (odd, 10 * odd):
        X[held_out[0], 0] = cell
        answers.append([*vae.fit(X).validation_scores_, vae.score(X[rows])])
    assert answers[0] == answers[1]


def test_the_seed_decides_on_the_start_and_on_the_noise(monkeypatch):
    drawn, noise = [], Normal.noise

    def recorded(self, shape, generator):
        drawn.append(noise(self, shape, generator))
        return drawn[-1]

    monkeypatch.setattr(Normal, "noise", recorded)
    starts = []
    for seed in (0, 1):
        # Of one epoch, at a rate too small to move.
        vae = VAETransformer(2, max_iter=1, learning_rate=1e-12, random_state=seed)
        vae.set_params(early_stopping=False).fit(iris())
        starts.append(vae._state["weights"])
    assert not np.allclose(*starts, atol=0.1)
    assert not torch.equal(*drawn)


def test_a_seed_in_an_instance_advances():
    X = iris()
    state = np.random.RandomState(0)
    vae = VAETransformer(2, max_iter=3, random_state=state)
    assert not np.array_equal(vae.fit(X).transform(X), vae.fit(X).transform(X))


def test_draws_differ_unless_seeded():
    vae = VAETransformer(2, max_iter=3, random_state=0).fit(iris())
    assert not np.array_equal(vae.sample(3), vae.sample(3))
    np.testing.assert_array_equal(
        vae.sample(3, random_state=1), vae.sample(3, random_state=1)
    )
    with pytest.raises(ValueError, match="n_samples"):
        vae.sample(0)


def test_draws_have_the_noise_that_means_have_not():
    X = load_breast_cancer().data
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    vae = VAETransformer(2, likelihood=Gaussian("feature"), random_state=0).fit(X)

    def distance_to_manifold(rows):
        return np.square(rows - vae.inverse_transform(vae.transform(rows))).mean()

    drawn = distance_to_manifold(vae.sample(5000, random_state=0))
    assert drawn == pytest.approx(distance_to_manifold(X), rel=0.3)
    assert distance_to_manifold(vae.inverse_transform(vae.transform(X))) < drawn / 4


def test_bernoulli_means_are_probabilities_and_draws_are_zeros_and_ones():
    X = (load_digits().data > 7).astype(float)
    vae = VAETransformer(8, likelihood="bernoulli", max_iter=20, random_state=0).fit(X)
    means = vae.inverse_transform(vae.transform(X))
    assert ((means > 0) & (means < 1)).all()
    drawn = vae.sample(2000, random_state=0)
    assert set(np.unique(drawn)) == {0.0, 1.0}
    np.testing.assert_allclose(drawn.mean(axis=0), X.mean(axis=0), atol=0.08)
    # Better than independent columns, whose density is exact.
    p = X.mean(axis=0).clip(1e-3, 1 - 1e-3)
    independent = (X * np.log(p) + (1 - X) * np.log(1 - p)).sum(axis=1).mean()
    assert vae.score(X) > independent + 3
    assert vae.likelihood_[0] == {
        "column": 0,
        "family": "bernoulli",
        "levels": [0.0, 1.0],
    }
    assert VAETransformer(2, likelihood=Bernoulli(), max_iter=1).fit(X)


# ---- going on: warm_start and partial_fit ------------------------------------------


def scale_of(vae):
    """Of the columns, all Gaussian."""
    (block,) = vae._state["table"]["blocks"]
    return block["state"]["scale"]


def test_warm_start_goes_on_from_the_fitted_weights():
    X = iris()
    vae = VAETransformer(
        2, max_iter=200, early_stopping=False, warm_start=True, random_state=0
    ).fit(X)
    table, loss = vae._state["table"], vae.loss_curve_[-1]
    vae.set_params(max_iter=1).fit(X)
    assert vae.loss_curve_[0] == pytest.approx(loss, abs=0.3)
    assert scale_of(vae) is table["blocks"][0]["state"]["scale"]


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize(
    "change",
    [{"n_components": 3}, {"hidden_layer_sizes": (3,)}, {"likelihood": "bernoulli"}],
    ids=str,
)
def test_going_on_with_another_model_is_refused(method, change):
    X = iris()
    vae = VAETransformer(2, max_iter=2, warm_start=True).fit(X)
    before = vae.score_samples(X)
    vae.set_params(**change)
    name = "network" if "hidden_layer_sizes" in change else next(iter(change))
    with pytest.raises(ValueError, match=f"fitted model has {name}="):
        getattr(vae, method)(X)
    np.testing.assert_array_equal(vae.score_samples(X), before)


def test_partial_fit_learns_and_fixes_the_scaling_at_the_first_call():
    X = load_breast_cancer().data
    vae = VAETransformer(4, random_state=0).partial_fit(X[:100])
    scale = scale_of(vae)
    first = vae.score(X)
    for _ in range(30):
        vae.partial_fit(X)
    assert vae.score(X) > first + 1
    assert vae.n_iter_ == len(vae.loss_curve_) == 31
    np.testing.assert_array_equal(scale_of(vae), scale)
    np.testing.assert_allclose(scale, X[:100].std(axis=0))


def test_partial_fit_is_repeatable_and_survives_a_copy():
    from copy import deepcopy

    X = iris()

    def passes(n, vae):
        for _ in range(n):
            vae.partial_fit(X)
        return vae

    whole = passes(4, VAETransformer(2, random_state=0))
    half = passes(2, VAETransformer(2, random_state=0))
    rest = passes(2, deepcopy(half))
    np.testing.assert_array_equal(whole.score_samples(X), rest.score_samples(X))


def test_partial_fit_counts_its_steps_and_never_repeats_its_noise():
    X = iris()
    vae = VAETransformer(2, batch_size=50, random_state=0)
    steps = [vae.partial_fit(X)._state["optimizer"]["n_steps"] for _ in range(3)]
    assert steps == [3, 6, 9]
    # At a rate too small to move, losses differ by order and noise alone.
    still = VAETransformer(2, learning_rate=1e-12, random_state=0)
    losses = [still.partial_fit(X).loss_curve_[-1] for _ in range(3)]
    assert len(set(losses)) == 3


def test_partial_fit_goes_on_from_fit_one_row_at_a_time():
    X = iris()
    vae = VAETransformer(2, max_iter=5, random_state=0).fit(X)
    before = vae.score_samples(X)
    vae.partial_fit(X[:1])
    assert vae.n_iter_ == 6
    assert not np.array_equal(vae.score_samples(X), before)


def test_partial_fit_needs_two_rows_at_first():
    with pytest.raises(ValueError, match="minimum of 2"):
        VAETransformer().partial_fit(iris()[:1])
