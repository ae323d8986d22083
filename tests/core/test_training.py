"""Training: the plan, the looks, the best weights, the guard."""

import numpy as np
import pytest
import torch

from skvae import likelihoods, networks, posteriors, priors
from skvae.core.model import Model
from skvae.core.optimizer import Rule
from skvae.core.reader import Reader
from skvae.core.rows import ShuffledRows
from skvae.core.training import (
    Divergence,
    HeldOut,
    Plan,
    _corrupted,
    _steps_between_looks,
    train,
)
from skvae.objectives import ELBO

CPU = torch.device("cpu")


def as_float32(values):
    values = values.astype(np.float32)
    return values, values, None


def setting(n_rows=400, n_held_out=100, encode=as_float32, **plan):
    """A small model on correlated rows, ready to train."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n_rows, 2)) @ rng.standard_normal((2, 5))
    X += 0.3 * rng.standard_normal(X.shape)
    model = Model(
        Reader(5),
        5,
        2,
        network=networks.MLP((8,)),
        likelihood=likelihoods.Gaussian("feature"),
        posterior=posteriors.Gaussian(),
        prior=priors.Gaussian(),
    )
    flat = torch.zeros(model.n_weights)
    generator = torch.Generator().manual_seed(0)
    mean, variance = torch.from_numpy(X.mean(axis=0)), torch.from_numpy(X.var(axis=0))
    model.start_random(flat, generator, mean, variance)
    rows = np.arange(n_held_out, n_rows)
    plan = {"max_epochs": 30, "learning_rate": 0.01} | plan
    plan = Plan(n_rows=len(rows), batch_size=32, **plan)
    chunks = ShuffledRows(X, rows, encode, rng, plan.rows_per_step, CPU)
    held_out = None
    if n_held_out:
        kept = torch.from_numpy(X[:n_held_out].astype(np.float32))
        held_out = HeldOut(model, ELBO(), (kept, kept, None), generator)
    return model, flat, chunks, plan, ELBO(), generator, held_out


def test_rows_are_dealt_evenly_and_no_batch_is_longer_than_asked():
    plan = Plan(n_rows=513, batch_size=128, max_epochs=1, learning_rate=1.0)
    assert plan.steps_per_epoch == 5
    assert plan.rows_per_step == 103


def test_weight_of_the_divergence_rises_and_stays():
    plan = Plan(
        n_rows=100, batch_size=10, max_epochs=10, learning_rate=1.0, kl_warmup=0.5
    )
    weights = [plan.beta_at(step) for step in range(100)]
    assert weights[0] == 0 and weights[25] == 0.5 and set(weights[50:]) == {1.0}
    assert plan.one_pass().beta_at(0) == 1.0


def test_loss_falls_and_looks_are_recorded():
    parts = setting()
    records = list(train(*parts))
    losses = [record.loss for record in records if record.epoch_ended]
    assert losses[-1] < losses[0] - 0.5
    steps = [r.step for r in records if r.validation_score is not None]
    assert len(set(np.diff([0, *steps])[:-1])) == 1
    assert 50 <= steps[0] and steps[-1] == parts[3].n_steps


def test_best_weights_are_restored():
    # So few rows that they are soon known by heart.
    parts = setting(n_rows=130, max_epochs=300, learning_rate=0.05, n_draws=4)
    model, flat, held_out = parts[0], parts[1], parts[-1]
    records = [r for r in train(*parts) if r.validation_score is not None]
    scores = [record.validation_score for record in records]
    assert scores[-1] < max(scores)
    assert held_out.score(model.views(flat)) == max(scores)


def test_looks_never_change_what_is_scored():
    parts = setting()
    held_out, views = parts[-1], parts[0].views(parts[1])
    assert held_out.score(views) == held_out.score(views)


def test_held_out_rows_are_scored_by_their_bound():
    model, flat, *_, held_out = setting()
    weights = model.views(flat)
    # A decoder that reads no codes has a likelihood without the noise of draws.
    for name in ("weight_0", "linear_path"):
        weights["decoder"][name].zero_()
    ((X, *_),) = held_out._batches
    columns = model.decode(weights, torch.zeros(len(X), 2))
    kl = model.encode(weights, X).kl_divergence(priors.Gaussian()).sum(1)
    expected = columns.log_prob(X).sum(1) - kl
    assert kl.mean() > 0.1
    assert held_out.score(weights) == pytest.approx(float(expected.mean()), rel=1e-5)


class Counting(Rule):
    """In the place of an update rule: all weights become the number of the step."""

    def __init__(self, shape):
        super().__init__(0, shape, CPU)
        self.rates = []

    def _move(self, weights, gradient, learning_rate):
        weights.fill_(self.n_steps / 1000)
        self.rates.append(learning_rate)


def test_the_model_is_an_average_of_the_weights_and_the_rate_rises():
    model, flat, *parts = setting(n_held_out=0, max_epochs=20)
    rule = Counting(flat.shape)
    *_, last = train(model, flat, *parts, rule=rule)
    assert last.step == 260
    # Where a step keeps s / (s + 10) of the average, that follows 1, 2, ... 260 at ten
    # elevenths of their pace.
    average = (1 + 259 * 10 / 11) / 1000
    torch.testing.assert_close(flat, torch.full_like(flat, average))
    expected = 0.01 * np.minimum(np.arange(1, 261) / 50, 1)
    np.testing.assert_allclose(rule.rates, expected)


def test_a_pass_of_partial_fit_has_neither_average_nor_rise():
    model, flat, chunks, plan, *parts = setting(n_held_out=0, kl_warmup=0.5)
    rule = Counting(flat.shape)
    (record,) = train(model, flat, chunks, plan.one_pass(), *parts, rule=rule)
    assert record.step == 13
    torch.testing.assert_close(flat, torch.full_like(flat, 13 / 1000))
    assert rule.rates == [0.01] * 13


def test_patience_counts_looks():
    parts = setting(max_epochs=200, patience=2, tolerance=1e9)
    records = list(train(*parts))
    # The first look improves on nothing at all; two more are without improvement.
    looks = [record for record in records if record.validation_score is not None]
    assert len(looks) == 3
    assert records[-1] is looks[-1]
    assert records[-1].epoch_ended


def test_looks_cost_under_a_tenth_of_the_training():
    plan, held_out = (part for i, part in enumerate(setting()) if i in (3, 6))
    between = _steps_between_looks(plan, held_out)
    # A step is about three forward passes of its rows.
    assert held_out.n_terms <= 0.1 * between * 3 * plan.rows_per_step


def test_looks_begin_after_the_warm_up():
    parts = setting(kl_warmup=0.8)
    plan = parts[3]
    steps = [r.step for r in train(*parts) if r.validation_score is not None]
    assert min(steps) >= 0.8 * plan.n_steps


def test_closing_the_generator_leaves_the_best_weights():
    parts = setting(max_epochs=60)
    model, flat, held_out = parts[0], parts[1], parts[-1]
    records, scores = train(*parts), []
    for record in records:
        if record.validation_score is not None:
            scores.append(record.validation_score)
        if record.step > 300:
            break
    records.close()
    assert held_out.score(model.views(flat)) == max(scores)


def test_a_loss_that_is_no_number_stops_the_training():
    def broken(values):
        return as_float32(np.full_like(values, np.nan))

    parts = setting(n_held_out=0, encode=broken)
    with pytest.raises(Divergence, match="epoch 1"):
        list(train(*parts))


@pytest.mark.parametrize("kept_cells", [2_000_000, 0])
def test_every_row_once_an_epoch_from_arrays_and_from_files(
    tmp_path, monkeypatch, kept_cells
):
    # Of tables that are encoded once and kept, and of those that are read every time.
    monkeypatch.setattr("skvae.core.rows._KEPT_CELLS", kept_cells)
    X = np.arange(80_000, dtype=float).reshape(40_000, 2)
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    rows = np.arange(0, 40_000, 3)
    many = np.arange(40_000)
    for source, taken in [(X, rows), (mapped, rows), (X, many), (mapped, many)]:
        rng = np.random.default_rng(0)
        chunks = ShuffledRows(source, taken, as_float32, rng, 100, CPU)
        epochs = [torch.cat([inputs for inputs, *_ in chunks()]) for _ in range(2)]
        for epoch in epochs:
            seen = epoch[:, 0].sort().values.numpy()
            np.testing.assert_array_equal(seen, X[taken, 0])
        assert not torch.equal(*epochs)


def test_noise_on_inputs_leaves_holes_their_marks_and_the_targets_alone():
    generator = torch.Generator().manual_seed(0)
    numbers = torch.randn(200, 3, generator=generator)
    observed = (torch.rand(200, 3, generator=generator) < 0.7).float()
    inputs = torch.cat([numbers * observed, observed], 1)
    noisy, targets, same = _corrupted((inputs, numbers, observed), 0.5, generator)
    assert targets is numbers and same is observed
    added = noisy - inputs
    assert not added[:, :3][observed == 0].any()
    assert not added[:, 3:].any()
    assert added[:, :3][observed == 1].std() == pytest.approx(0.5, rel=0.1)
