"""The encoder ahead of the decoder: whose turn it is, how long, and what is judged."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from sklearn.datasets import load_wine

from skvae import VAEOutlierDetector, VAETransformer, likelihoods, networks
from skvae import posteriors as families
from skvae.core import aggressive, backward
from skvae.core.aggressive import Pace, mutual_information
from skvae.core.model import Model
from skvae.core.optimizer import Adam
from skvae.core.ppca import probabilistic_pca
from skvae.core.reader import Reader
from skvae.core.training import HeldOut, Plan, train
from skvae.objectives import ELBO, Aggressive
from skvae.priors import FAMILIES as PRIORS

N_ROWS, N_FEATURES, N_COMPONENTS = 64, 4, 2
CPU = torch.device("cpu")


def normal(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def small_model(posterior="gaussian", prior=None, network=None):
    posterior = families.FAMILIES[posterior]()
    return Model(
        Reader(N_FEATURES),
        N_FEATURES,
        N_COMPONENTS,
        network=network or networks.MLP((5,)),
        likelihood=likelihoods.Gaussian("shared"),
        posterior=posterior,
        prior=PRIORS[prior or posterior.prior]().beside(posterior),
    )


def moved_parts(model, before, after):
    """Names of the parts of the model whose weights all moved; others did not."""
    moved = set()
    parts = model.views(before).items(), model.views(after).items()
    for (name, old), (_, new) in zip(*parts, strict=True):
        changed = [(old[key] != new[key]).any().item() for key in old]
        assert all(changed) or not any(changed)
        if any(changed):
            moved.add(name)
    return moved


ENCODER, DECODER = {"encoder"}, {"decoder", "likelihood", "prior"}


class Turns:
    """A pace driven by losses that are given, without any training."""

    def __init__(self, n_encoder_steps, n_members=None):
        self.model = small_model(prior="mixture")
        members = () if n_members is None else (n_members,)
        self.flat = torch.zeros(*members, self.model.n_weights)
        self.pace = Pace(self.model, self.flat, n_encoder_steps)
        rows = normal(*members, N_ROWS, N_FEATURES).float()
        noise = normal(1, *members, N_ROWS, N_COMPONENTS).float()
        self.batch = rows, rows, None, noise

    def step(self, loss):
        """The parts that a step leaves moved."""
        before = self.flat.clone()
        self.flat += 1
        self.pace.settle(self.flat, before, torch.tensor(loss), self.batch)
        return moved_parts(self.model, before, self.flat)

    def encoder_steps(self, losses):
        """Number of steps of the encoder before the decoder's."""
        for n_steps, loss in enumerate(losses):
            moved = self.step(loss)
            if moved != ENCODER:
                assert moved == DECODER
                return n_steps
        raise AssertionError("the decoder never had its turn")


# ---- turns ---------------------------------------------------------------------------


def test_one_step_each_is_both_at_once(monkeypatch):
    assert Turns(1).pace.is_over
    # By automatic differentiation in both, which rounds in another way.
    monkeypatch.setattr(backward, "covers", lambda *_: False)
    X = load_wine().data
    plain, ours = (
        VAETransformer(2, objective=objective, max_iter=20, random_state=0).fit(X)
        for objective in (ELBO(), Aggressive(1))
    )
    np.testing.assert_array_equal(ours._state["weights"], plain._state["weights"])
    assert ours.loss_curve_ == plain.loss_curve_


@pytest.mark.parametrize("n_members", [None, 3])
def test_while_its_loss_falls_the_encoder_goes_on_to_the_most_steps(n_members):
    turns = Turns(33, n_members)
    for _ in range(3):
        assert turns.encoder_steps(-0.1 * np.arange(50)) == 33


def test_the_encoder_stops_after_a_window_without_a_fall():
    window = aggressive._STEPS_PER_WINDOW
    turns = Turns(100)
    assert turns.encoder_steps(np.zeros(50)) == 2 * window
    falling = np.repeat([3.0, 2.0, 1.0, 1.5, 0.0], window)
    assert turns.encoder_steps(falling) == 4 * window
    # A single high loss within a window is not a rise of its mean.
    noisy = np.repeat([3.0, 2.0, 2.5, 0.0], window)
    noisy[window] = 4.0
    assert turns.encoder_steps(noisy) == 3 * window


class Watched(Adam):
    """An update rule that keeps the weights before each step."""

    def __init__(self, *start):
        super().__init__(*start)
        self.snapshots = []

    def step(self, weights, gradient, learning_rate):
        self.snapshots.append(weights.clone())
        super().step(weights, gradient, learning_rate)


def run(n_encoder_steps, n_epochs):
    """Train on one batch an epoch: records, and the weights before each step."""
    model = small_model()
    flat = 0.3 * normal(model.n_weights).float()
    X = (normal(N_ROWS, 2) @ normal(2, N_FEATURES, seed=1)).float()
    plan = Plan(
        n_rows=N_ROWS,
        batch_size=N_ROWS,
        max_epochs=n_epochs,
        learning_rate=0.01,
        n_encoder_steps=n_encoder_steps,
    )
    generator = torch.Generator().manual_seed(0)
    held_out = HeldOut(model, ELBO(), (X, X, None), generator)
    rule = Watched(flat.shape, CPU)

    def chunks():
        yield X, X, None

    records = train(model, flat, chunks, plan, ELBO(), generator, held_out, rule)
    return model, list(records), rule.snapshots


def test_weights_move_at_their_turns_alone_and_in_the_end_together(monkeypatch):
    monkeypatch.setattr(aggressive, "_MOST_STEPS", 40)
    model, _, snapshots = run(4, 60)  # fewer steps than two windows
    turns = [moved_parts(model, *pair) for pair in pairwise(snapshots)]
    decoder = {"decoder", "likelihood"}
    assert turns[:40] == 8 * [*(4 * [ENCODER]), decoder]
    assert all(turn == ENCODER | decoder for turn in turns[40:])


def test_held_out_rows_are_looked_at_once_the_decoder_keeps_pace(monkeypatch):
    monkeypatch.setattr(aggressive, "_MOST_STEPS", 205)
    _, records, _ = run(4, 400)
    looks = [r.step for r in records if r.validation_score is not None]
    assert 205 <= min(looks) < 400


# ---- the end -------------------------------------------------------------------------


def n_decoder_steps(turns):
    """Steps of the decoder until both go together."""
    n_steps = 0
    while not turns.pace.is_over:
        n_steps += turns.step(0.0) == DECODER
    return n_steps


def test_it_ends_when_the_information_grows_no_more(monkeypatch):
    looks = iter([0.0, 1.0, 2.0, 1.5, 2.5, 2.5, 2.4, 2.3, 9.0])
    monkeypatch.setattr(aggressive, "mutual_information", lambda *_: next(looks))
    # The eighth look is the third without growth.
    assert n_decoder_steps(Turns(2)) == 8 * aggressive._DECODER_STEPS_PER_LOOK


def test_it_ends_even_if_the_information_grows_forever(monkeypatch):
    looks = iter(range(10_000))
    monkeypatch.setattr(aggressive, "mutual_information", lambda *_: next(looks))
    assert n_decoder_steps(Turns(4)) == aggressive._MOST_STEPS // 5


def test_members_are_judged_by_the_mean_of_their_information(monkeypatch):
    looks = iter([1.0, 5.0, 2.0, 4.0, 3.0, 3.0, 0.0, 6.0])  # of two, 3 in the mean
    monkeypatch.setattr(aggressive, "mutual_information", lambda *_: next(looks))
    assert n_decoder_steps(Turns(2, 2)) == 4 * aggressive._DECODER_STEPS_PER_LOOK


def test_an_ensemble_trains_through_the_whole_of_it(monkeypatch):
    looked_at = []

    def look(model, weights, inputs, noise):
        looked_at.append(inputs)
        return mutual_information(model, weights, inputs, noise)

    monkeypatch.setattr(aggressive, "mutual_information", look)
    X = load_wine().data
    detector = VAEOutlierDetector(
        objective=Aggressive(2), n_estimators=2, max_iter=100, random_state=0
    ).fit(X)
    assert np.isfinite(detector.score_samples(X)).all()
    # Each member is judged by its own first rows, always the same ones.
    ours, other, *_ = looked_at
    assert len(ours) >= len(X) and not torch.equal(ours, other)
    assert all(torch.equal(again, ours) for again in looked_at[2::2][5:])


# ---- mutual information --------------------------------------------------------------


def exact_codes(n_rows, noise_scale):
    """A linear model at its optimum, rows that it drew, and their information."""
    model = small_model(network=networks.MLP(()))
    loadings = torch.tensor([[2.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 1.0]]).double()
    X = normal(n_rows, 2) @ loadings + noise_scale * normal(n_rows, 4, seed=1)
    flat = torch.zeros(model.n_weights, dtype=torch.float64)
    factors = probabilistic_pca(X.numpy().copy(), N_COMPONENTS, None, 1e-8)
    moments = X.mean(0), X.var(0, correction=0)
    model.start_linear(flat, torch.Generator().manual_seed(0), factors, *moments)
    precision = torch.eye(2).double() + loadings @ loadings.T / noise_scale**2
    return model, model.views(flat), X, 0.5 * torch.logdet(precision).item()


def test_information_of_a_linear_model_is_known():
    # log q(z|x) averages to minus the entropy of N(., S^-1), log q(z) to that of the
    # prior: half the log-determinant of the posterior's precision S.
    model, weights, X, exact = exact_codes(2_000, 1.0)
    found = mutual_information(model, weights, X, normal(2, 2_000, 2, seed=2))
    assert found == pytest.approx(exact, abs=0.05)


@pytest.mark.parametrize("n_rows", [10, 100])
def test_information_is_at_most_the_logarithm_of_the_rows(n_rows):
    model, weights, X, exact = exact_codes(n_rows, 0.001)
    assert exact > 10
    found = mutual_information(model, weights, X, normal(1, n_rows, 2, seed=2))
    assert math.log(n_rows) - 0.1 < found <= math.log(n_rows) + 1e-9


def test_an_encoder_that_reads_nothing_has_no_information():
    model = small_model()
    weights = model.views(torch.zeros(model.n_weights, dtype=torch.float64))
    X, noise = normal(50, N_FEATURES), normal(2, 50, N_COMPONENTS, seed=1)
    assert mutual_information(model, weights, X, noise) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("posterior", ["full_gaussian", "laplace", "gamma"])
def test_information_of_other_codes_lies_within_its_bounds(posterior):
    model = small_model(posterior)
    weights = model.views(normal(model.n_weights))
    X = normal(200, N_FEATURES)
    shape = 1, 200, model.posterior.n_noise(N_COMPONENTS)
    noise = model.posterior.noise(shape, torch.Generator().manual_seed(0)).double()
    found = mutual_information(model, weights, X, noise)
    assert 0.05 < found <= math.log(200)


def test_information_of_classes_is_exact_in_training_too(monkeypatch):
    found = []

    def look(model, weights, inputs, noise):
        found.append(mutual_information(model, weights, inputs, noise))
        shares = model.encode(weights, inputs).mean.double()
        mean = shares.mean(0)
        # Entropy of the mean less the mean of the entropies.
        exact = (shares.xlogy(shares).sum(1).mean() - mean.xlogy(mean).sum()).item()
        assert found[-1] == pytest.approx(exact, abs=1e-5)
        return exact

    monkeypatch.setattr(aggressive, "mutual_information", look)
    VAETransformer(
        3, posterior="categorical", objective=Aggressive(2), max_iter=60, random_state=0
    ).fit(load_wine().data)
    assert 0.1 < max(found) < math.log(3)


def test_looked_up_vectors_of_levels_belong_to_the_encoder():
    model = Model(
        Reader(N_FEATURES, n_levels=(300,)),
        N_FEATURES,
        N_COMPONENTS,
        network=networks.MLP((5,)),
        likelihood=likelihoods.Gaussian("shared"),
        posterior=families.Gaussian(),
        prior=PRIORS["gaussian"](),
    )
    flat = torch.zeros(model.n_weights)
    views = model.views(aggressive._encoder_mask(model, flat))
    masks = {
        part: [view.all().item() for view in of.values()] for part, of in views.items()
    }
    assert all(masks["encoder"] + masks["reader"])
    assert masks["reader"]
    assert not any(masks["decoder"] + masks["likelihood"])
