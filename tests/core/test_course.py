"""Training that is written down and taken up again, and training by several at once."""

import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
import torch

from skvae import likelihoods, networks, posteriors, priors
from skvae.core.course import Course, Divergence, Probe, Together
from skvae.core.model import Model
from skvae.core.optimizer import Adam
from skvae.core.reader import Reader
from skvae.core.rows import ShuffledRows
from skvae.core.training import HeldOut, Plan, train
from skvae.objectives import ELBO, IWAE
from skvae.threads import limited

CPU = torch.device("cpu")
N_FEATURES, N_COMPONENTS = 5, 2
one_or_members = pytest.mark.parametrize("n_members", [None, 3])


@pytest.fixture(scope="module", autouse=True)
def few_threads():
    """As in a fit: steps as short as these wait long for pools of threads."""
    with limited("mlp"):
        yield


def small_model(posterior):
    return Model(
        Reader(N_FEATURES),
        N_FEATURES,
        N_COMPONENTS,
        network=networks.MLP((7, 4)),
        likelihood=likelihoods.Gaussian("feature"),
        posterior=posterior,
        prior=priors.Gaussian(),
    )


def normal(*shape, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=dtype)


def first_weights(model, n_members, dtype=torch.float32):
    members = () if n_members is None else (n_members,)
    return 0.3 * normal(*members, model.n_weights, dtype=dtype)


# ---- written down, and taken up again ------------------------------------------------

#: Looks are at the steps 50, 100, ... of 3 an epoch, and the best of them the third or
#: the fourth. So these ends of epochs are before any look, between looks with the
#: patience partly used up, and after the best look of some.
EPOCHS = [3, 25, 60]


def as_float32(values):
    values = values.astype(np.float32)
    return values, values, None


class Training:
    """A training that overfits: by its patience it stops within epoch 84 of 200."""

    def __init__(self, n_members=None):
        X = normal(160, 2) @ normal(2, N_FEATURES, seed=1)
        X += 0.5 * normal(160, N_FEATURES, seed=2)
        rows, kept = np.arange(60), X[60:]
        self.plan = Plan(
            n_rows=len(rows),
            batch_size=20,
            max_epochs=200,
            learning_rate=0.02,
            n_draws=4,
            kl_warmup=0.05,
            patience=4,
            tolerance=10.0,
        )
        self.model = small_model(posteriors.Gaussian())
        self.generator = torch.Generator().manual_seed(0)
        self.held_out = HeldOut(self.model, ELBO(), (kept, kept, None), self.generator)
        rng = np.random.default_rng(0)
        self.chunks = ShuffledRows(X.numpy(), rows, as_float32, rng, 20, CPU, n_members)
        self.flat = first_weights(self.model, n_members)
        self.course = Course(self.flat, self.plan.patience, self.plan.tolerance)
        self.rule = Adam(self.flat.shape, CPU)
        self.records = self.train()

    def train(self):
        return train(
            self.model,
            self.flat,
            self.chunks,
            self.plan,
            ELBO(),
            self.generator,
            self.held_out,
            self.rule,
            self.course,
        )

    def until(self, n_epochs):
        """Records up to the end of an epoch."""
        records = []
        while self.course.n_epochs < n_epochs:
            records.append(next(self.records))
        return records

    def state(self):
        return {"course": self.course.get_state(), "rule": self.rule.get_state()}

    def take_up(self, state):
        """Go on from a state, by objects that know of nothing else."""
        self.records.close()
        self.flat = torch.full_like(self.flat, torch.nan)
        self.course = Course(self.flat, self.plan.patience, self.plan.tolerance)
        self.course.set_state(state["course"])
        self.rule = Adam.resume(state["rule"], self.flat.shape, CPU)
        self.records = self.train()


@pytest.fixture(scope="module", params=[None, 3])
def in_one_go(request):
    """A number of members, their training at its end, and its records."""
    training = Training(request.param)
    return request.param, training, list(training.records)


@pytest.mark.parametrize("n_epochs", EPOCHS)
def test_training_taken_up_again_is_training_in_one_go(in_one_go, n_epochs):
    n_members, whole, expected = in_one_go
    parted = Training(n_members)
    records = parted.until(n_epochs)
    assert records[-1].epoch_ended and records[-1].epoch == n_epochs
    written = pickle.dumps(parted.state())
    parted.take_up(pickle.loads(written))
    records += parted.records
    assert records == expected
    assert expected[-1].epoch < whole.plan.max_epochs
    assert torch.equal(parted.flat, whole.flat)
    np.testing.assert_equal(parted.state(), whole.state())


def test_training_taken_up_after_every_epoch_is_training_in_one_go(in_one_go):
    n_members, whole, expected = in_one_go
    parted, records = Training(n_members), []
    for n_epochs in range(1, expected[-1].epoch + 1):
        records += parted.until(n_epochs)
        parted.take_up(parted.state())
    assert records == expected
    assert list(parted.records) == []  # at its end there is nothing to go on with
    assert torch.equal(parted.flat, whole.flat)


@one_or_members
def test_training_taken_up_after_its_last_epoch_has_come_to_its_end(n_members):
    training = Training(n_members)
    training.until(30)
    state = training.state()
    training.plan = Plan(n_rows=60, batch_size=20, max_epochs=30, learning_rate=1.0)
    training.take_up(state)
    assert list(training.records) == []
    best = torch.from_numpy(state["course"]["best"])
    assert torch.equal(training.flat, best.view_as(training.flat))


@one_or_members
def test_the_state_is_of_arrays_that_training_leaves_alone(n_members):
    training = Training(n_members)
    training.until(EPOCHS[1])
    state = training.course.get_state()
    assert all(type(part) is np.ndarray for part in state.values())
    n_weights = training.model.n_weights
    assert state["averaged"].shape == state["moving"].shape == training.flat.shape
    assert state["best"].shape == (n_members or 1, n_weights)
    before = pickle.dumps(state)
    training.until(EPOCHS[2])
    training.records.close()
    assert pickle.dumps(state) == before


@one_or_members
def test_before_any_look_there_is_no_best_to_restore(n_members):
    training = Training(n_members)
    records = training.until(EPOCHS[0])
    assert all(record.validation_score is None for record in records)
    state = training.course.get_state()
    assert (state["scores"] == -np.inf).all()
    assert (state["references"] == -np.inf).all()
    assert not state["n_looks"].any()
    averaged = training.flat.clone()
    training.records.close()
    assert torch.equal(training.flat, averaged)
    other = torch.zeros_like(averaged)
    course = Course(other, training.plan.patience, training.plan.tolerance)
    course.set_state(state)
    assert torch.equal(other, averaged)
    other.zero_()
    course.restore()
    assert not other.any()


@one_or_members
def test_the_best_of_looks_before_is_restored_afterwards(n_members):
    training = Training(n_members)
    training.until(EPOCHS[2])
    state, averaged = training.state(), training.flat.clone()
    training.records.close()
    best = training.flat.clone()
    assert not torch.equal(best, averaged)
    training.take_up(state)
    assert torch.equal(training.flat, averaged)
    training.course.restore()
    assert torch.equal(training.flat, best)


# ---- several at once -----------------------------------------------------------------

#: Seconds that one of several waits for the others.
TIMEOUT = 10
SEED = 7


def at_once(task, n_processes=2):
    """What a task gives to each of several `Together`, which run in threads.

    Raises
    ------
    ExceptionGroup
        Of the exceptions of all that raised one; `BrokenBarrierError` is that of who
        waited in vain.
    """
    barrier = threading.Barrier(n_processes, timeout=TIMEOUT)
    sent = [None] * n_processes

    def average(rank, tensor):
        sent[rank] = tensor.clone()
        barrier.wait()
        mean = torch.stack(sent).mean(0)
        barrier.wait()  # until all have read
        return mean

    def run(together):
        with limited("mlp"):  # a thread has its own number of torch's threads
            return task(together)

    with ThreadPoolExecutor(n_processes) as pool:
        futures = [
            pool.submit(run, Together(partial(average, rank), rank, n_processes, SEED))
            for rank in range(n_processes)
        ]
    raised = [future.exception() for future in futures]
    if any(raised):
        raise ExceptionGroup("of threads", [error for error in raised if error])
    return [future.result() for future in futures]


N_EPOCHS, N_STEPS, N_HALF = 12, 6, 8


def without_noise(self, shape, generator):
    return torch.zeros(shape, dtype=torch.float64)


@pytest.fixture(params=["point", "gaussian"])
def noiseless(request, monkeypatch):
    """A posterior that draws none: one by nature, one with its gradient by hand."""
    monkeypatch.setattr(posteriors.Gaussian, "noise", without_noise)
    return posteriors.Point() if request.param == "point" else posteriors.Gaussian()


class Halves:
    """Batches in two halves, in float64, for one process or for each of two."""

    def __init__(self, posterior, n_members):
        self.model = small_model(posterior)
        self.start = first_weights(self.model, n_members, torch.float64)
        shape = N_EPOCHS, *self.start.shape[:-1], N_STEPS, 2, N_HALF, N_FEATURES
        self.rows = normal(*shape, dtype=torch.float64)
        # Of a batch whose gradient is shortened: that of its other half is not long.
        self.rows[N_EPOCHS // 2, ..., 3, 0, 2, :] *= 1000
        self.kept = normal(40, N_FEATURES, seed=1, dtype=torch.float64)

    def train(self, together=None):
        """Records, and the weights in the end."""
        flat, halves = self.start.clone(), slice(None)
        if together is not None:
            halves = slice(together.rank, together.rank + 1)
        epochs = iter(self.rows[..., halves, :, :].flatten(-4, -2))
        plan = Plan(
            n_rows=self.rows[0, ..., halves, :, 0].flatten(-3).shape[-1],
            batch_size=N_HALF if together else 2 * N_HALF,
            max_epochs=N_EPOCHS,
            learning_rate=0.01,
            n_draws=4,
            kl_warmup=0.1,
        )

        def chunks():
            epoch = next(epochs)
            yield epoch, epoch, None

        kept = self.kept, self.kept, None
        held_out = HeldOut(
            self.model, ELBO(), kept, torch.Generator(), together=together
        )
        moments = torch.zeros((2, *flat.shape), dtype=torch.float64)
        records = train(
            self.model,
            flat,
            chunks,
            plan,
            ELBO(),
            torch.Generator(),
            held_out,
            Adam(flat.shape, CPU, moments),
            together=together,
        )
        return list(records), flat


@one_or_members
def test_two_with_half_of_each_batch_are_one_with_the_whole(noiseless, n_members):
    halves = Halves(noiseless, n_members)
    expected, whole = halves.train()
    (records, flat), (others, other) = at_once(halves.train)
    assert torch.equal(flat, other)
    assert records == others
    assert (flat - whole).norm() < 1e-7 * (whole - halves.start).norm()
    looks = [record for record in expected if record.validation_score is not None]
    assert len(looks) > 1
    ours, theirs = (np.array(each, dtype=float) for each in (records, expected))
    np.testing.assert_allclose(ours, theirs, rtol=1e-7)  # NaN where there is no look


@one_or_members
@pytest.mark.parametrize(
    ("place", "value"),
    [("trained_on", np.nan), ("trained_on", 1e200), ("held_out", np.nan)],
)
def test_a_half_that_diverges_ends_the_training_of_both(
    noiseless, n_members, place, value
):
    halves = Halves(noiseless, n_members)
    if place == "held_out":
        halves.kept[-1, 0] = value
    else:  # one cell, of the last member if there are several
        halves.rows[0].view(-1, N_STEPS, 2, N_HALF, N_FEATURES)[-1, 3, 1, 0, 0] = value
    halves.train(Together(torch.clone, 0, 2, SEED))  # the other half is sound
    with pytest.raises(ExceptionGroup) as raised:
        at_once(halves.train)
    assert [type(error) for error in raised.value.exceptions] == 2 * [Divergence]


def probed(losses, together):
    """A probe whose objective gives losses of (start or end, process, member)."""
    model = small_model(posteriors.Gaussian())
    own = iter(np.array(losses)[:, together.rank].ravel())
    rows, noise = normal(4, N_FEATURES), normal(1, 4, N_COMPONENTS)
    batch = rows, rows, None, noise
    members = len(losses[0][0]) * [model.views(first_weights(model, None))]
    start = model, members, lambda terms, beta: next(own), 1.0
    Probe(*start, batch, together).check(5)


@pytest.mark.parametrize(
    "losses", [[[[1], [3]], [[1], [601]]], [[[1, 3], [1, 3]], [[2, 2], [600, 2]]]]
)
def test_an_end_far_above_the_start_in_the_mean_is_so_for_all(losses):
    with pytest.raises(ExceptionGroup) as raised:
        at_once(partial(probed, losses))
    assert [str(error) for error in raised.value.exceptions] == 2 * [
        "loss 301 after epoch 5"
    ]


@pytest.mark.parametrize(
    "losses", [[[[1], [3]], [[1], [398]]], [[[1, 3], [1, 3]], [[2, 2], [597, 2]]]]
)
def test_an_end_far_above_the_start_in_one_alone_is_so_for_none(losses):
    at_once(partial(probed, losses))


# ---- the parts of rows ---------------------------------------------------------------


def parts_of(n_rows, n_processes):
    return [
        Together(torch.clone, rank, n_processes, SEED).part(n_rows)
        for rank in range(n_processes)
    ]


@pytest.mark.parametrize(
    ("n_rows", "n_processes"), [(1, 1), (3, 3), (12, 3), (14, 3), (1000, 7)]
)
def test_parts_are_disjoint_and_equally_long(n_rows, n_processes):
    parts = parts_of(n_rows, n_processes)
    taken = [range(part.start, part.stop) for part in parts]
    assert {len(rows) for rows in taken} == {n_rows // n_processes}
    together = set().union(*taken)
    assert len(together) == sum(map(len, taken))
    assert together <= set(range(n_rows))


@pytest.mark.parametrize(("n_rows", "n_processes"), [(1, 2), (2, 3), (6, 7)])
def test_of_fewer_rows_than_processes_everyone_has_all(n_rows, n_processes):
    for part in parts_of(n_rows, n_processes):
        assert list(range(n_rows)[part]) == list(range(n_rows))


@pytest.mark.parametrize("objective", [ELBO(), IWAE(4)], ids=str)
@pytest.mark.parametrize("input_noise", [0.0, 0.5])
@pytest.mark.parametrize(("n_rows", "n_processes"), [(40, 2), (42, 3), (2, 3)])
def test_parts_of_held_out_rows_have_the_score_of_all(
    objective, input_noise, n_rows, n_processes
):
    model = small_model(posteriors.Gaussian())
    weights = model.views(first_weights(model, None))
    kept = normal(n_rows, N_FEATURES, seed=1)

    def score(together=None):
        generator = torch.Generator().manual_seed(SEED)
        rows = kept, kept, None
        held_out = HeldOut(model, objective, rows, generator, input_noise, together)
        return held_out.score(weights)

    scores = at_once(score, n_processes)
    assert len(set(scores)) == (1 if n_rows < n_processes else n_processes)
    assert np.mean(scores) == pytest.approx(score(), rel=1e-6)
