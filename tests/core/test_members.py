"""Members of an ensemble, run at once, are each what it would be alone."""

import math

import numpy as np
import pytest
import torch

from skvae import likelihoods, networks, posteriors, priors
from skvae.core.backward import Backward, covers
from skvae.core.model import Model
from skvae.core.optimizer import Adam
from skvae.core.reader import Reader
from skvae.core.rows import ShuffledRows
from skvae.core.training import Divergence, HeldOut, Plan, _Autograd, train
from skvae.objectives import ELBO, IWAE

CPU = torch.device("cpu")
N_MEMBERS, N_ROWS, N_FEATURES, N_COMPONENTS = 3, 9, 5, 2

N_LEVELS = (3, 3, 2, 5, 4)
BLOCKS = likelihoods.Blocks(
    [
        (likelihoods.Gaussian("feature"), 1),
        (likelihoods.Bernoulli(), 1),
        (likelihoods.NegativeBinomial(), 1),
        (likelihoods.Ordinal(N_LEVELS[3:4]), 1),
        (likelihoods.Identifier(N_LEVELS[4:]), 1),
    ]
)
#: By what a batch of targets looks like.
NUMBERS, POSITIVE, BINARY, COUNTS, LEVELS, MIXED = range(6)
LIKELIHOODS = [
    (likelihoods.Gaussian(0.7), NUMBERS),
    (likelihoods.Gaussian("shared"), NUMBERS),
    (likelihoods.Gaussian("feature"), NUMBERS),
    (likelihoods.Gaussian("conditional"), NUMBERS),
    (likelihoods.StudentT("shared"), NUMBERS),
    (likelihoods.StudentT("feature"), NUMBERS),
    (likelihoods.StudentT("conditional"), NUMBERS),
    (likelihoods.LogNormal("feature"), POSITIVE),
    (likelihoods.Bernoulli(), BINARY),
    (likelihoods.Poisson(), COUNTS),
    (likelihoods.NegativeBinomial(), COUNTS),
    (likelihoods.Categorical(N_LEVELS), LEVELS),
    (likelihoods.Binned(n_levels=N_LEVELS), LEVELS),
    (likelihoods.Ordinal(N_LEVELS), LEVELS),
    (BLOCKS, MIXED),
]
OBJECTIVES = [(ELBO(), 1), (ELBO(), 3), (IWAE(4), 4)]

generator = torch.Generator()


def normal(*shape):
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def targets_of(kind):
    """Rows of each member, (n_members, n_rows, n_features)."""
    x = normal(N_MEMBERS, N_ROWS, N_FEATURES)
    levels = (10 * x.abs()).floor() % torch.tensor(N_LEVELS)
    by_kind = {
        NUMBERS: 3 * x,
        POSITIVE: x.exp(),
        BINARY: (x > 0).double(),
        COUNTS: x.abs().round(),
        LEVELS: levels,
    }
    by_kind[MIXED] = torch.cat(
        [
            by_kind[NUMBERS][..., :1],
            by_kind[BINARY][..., 1:2],
            by_kind[COUNTS][..., 2:3],
            levels[..., 3:],
        ],
        -1,
    )
    return by_kind[kind]


def model_and_weights(
    likelihood, network=None, reader=None, posterior="gaussian", prior=None
):
    posterior = posteriors.FAMILIES[posterior]()
    prior = priors.FAMILIES[prior or posterior.prior]()
    model = Model(
        reader or Reader(N_FEATURES),
        N_FEATURES,
        N_COMPONENTS,
        network=network or networks.MLP((7, 4)),
        likelihood=likelihood,
        posterior=posterior,
        prior=prior.beside(posterior),
    )
    generator.manual_seed(0)
    return model, 0.5 * normal(N_MEMBERS, model.n_weights)


def of_member(batch, e):
    """One member's rows and noise; the first dimension of noise is of draws."""
    *rows, noise = batch
    return *(None if part is None else part[e] for part in rows), noise[:, e]


def assert_members_learn_as_if_alone(differentiate, model, flat, objective, batch):
    together, gradient = differentiate(model, objective, flat)(0.7, *batch)
    alone = [
        differentiate(model, objective, flat[e].clone())(0.7, *of_member(batch, e))
        for e in range(N_MEMBERS)
    ]
    means, gradients = zip(*alone, strict=True)
    expected = np.array(means, dtype=float).mean(axis=0)
    np.testing.assert_allclose([float(mean) for mean in together], expected)
    assert gradient.shape == flat.shape
    for ours, theirs in zip(gradient, gradients, strict=True):
        assert theirs.norm() > 0
        assert (ours - theirs).norm() / theirs.norm() < 1e-9


def by_autograd(model, objective, flat):
    return _Autograd(model, flat, objective)


# ---- gradients -----------------------------------------------------------------------

#: All that is trained, each in every way that can train it.
CASES = [
    pytest.param(
        likelihood,
        kind,
        objective,
        n_draws,
        way,
        id=f"{type(likelihood).__name__}_{getattr(likelihood, 'scale', '')}-"
        f"{type(objective).__name__}_{n_draws}-{way.__name__}",
    )
    for likelihood, kind in LIKELIHOODS
    for objective, n_draws in OBJECTIVES
    for way in (Backward, by_autograd)
    if way is by_autograd or covers(model_and_weights(likelihood)[0], objective)
]


@pytest.mark.parametrize("with_holes", [False, True])
@pytest.mark.parametrize(("likelihood", "kind", "objective", "n_draws", "way"), CASES)
def test_gradients_are_those_of_each_member_alone(
    likelihood, kind, objective, n_draws, way, with_holes
):
    model, flat = model_and_weights(likelihood)
    targets = targets_of(kind)
    observed = (normal(*targets.shape) > -1).double() if with_holes else None
    noise = normal(n_draws, N_MEMBERS, N_ROWS, N_COMPONENTS)
    batch = normal(*targets.shape), targets, observed, noise
    assert_members_learn_as_if_alone(way, model, flat, objective, batch)


@pytest.mark.parametrize("objective", [ELBO(), IWAE(4)], ids=str)
@pytest.mark.parametrize(
    ("posterior", "prior"),
    [
        *((name, None) for name in posteriors.FAMILIES),
        ("gaussian", "mixture"),
        ("gaussian", "vamp"),
        ("full_gaussian", "vamp"),
        ("gamma", "vamp"),
    ],
)
def test_under_every_posterior_and_learned_prior(posterior, prior, objective):
    model, flat = model_and_weights(
        likelihoods.Gaussian(), posterior=posterior, prior=prior
    )
    targets = targets_of(NUMBERS)
    shape = 4, N_MEMBERS, N_ROWS, model.posterior.n_noise(N_COMPONENTS)
    noise = model.posterior.noise(shape, generator).double()
    batch = normal(*targets.shape), targets, None, noise
    assert_members_learn_as_if_alone(by_autograd, model, flat, objective, batch)


def test_what_is_written_out_is_among_the_cases():
    written_out = [case for case in CASES if case.values[-1] is Backward]
    # Every family under the evidence lower bound.
    assert len(written_out) >= 2 * len(LIKELIHOODS)


@pytest.mark.parametrize("way", [Backward, by_autograd])
@pytest.mark.parametrize(
    "network",
    [
        networks.MLP(()),
        networks.MLP((6,), "relu", linear_path=False),
        networks.MLP((6, 4), "tanh"),
    ],
    ids=str,
)
@pytest.mark.parametrize("n_draws", [1, 3])
def test_in_networks_of_any_depth_and_from_looked_up_vectors(network, n_draws, way):
    # Numbers, the mark of a hole, and codes of levels, two columns of very many.
    reader = Reader(2, 1, (3, 300, 400))
    model, flat = model_and_weights(likelihoods.Gaussian(), network, reader)
    targets = targets_of(NUMBERS)
    random = np.random.default_rng(0)
    shape = N_MEMBERS, N_ROWS, 1
    # Few enough of the levels for some to occur twice, and some cells without one.
    codes = [random.integers(-1, n, shape) for n in (3, 4, 4)]
    codes = torch.from_numpy(np.concatenate(codes, axis=2)).double()
    inputs = torch.cat([targets[..., :3], codes], -1)
    noise = normal(n_draws, N_MEMBERS, N_ROWS, N_COMPONENTS)
    batch = inputs, targets, None, noise
    assert_members_learn_as_if_alone(way, model, flat, ELBO(), batch)


def test_a_member_has_vectors_of_its_own():
    reader = Reader(0, 0, (300,))
    weights = normal(N_MEMBERS, *reader.shapes["embedding"])
    codes = torch.tensor([[[0.0], [299.0]], [[7.0], [-1.0]], [[7.0], [0.0]]])
    rows = reader({"embedding": weights}, codes.double())
    for e in range(N_MEMBERS):
        alone = reader({"embedding": weights[e]}, codes[e].double())
        assert torch.equal(rows[e], alone)


# ---- steps ---------------------------------------------------------------------------


def test_each_member_has_a_length_of_gradient():
    generator.manual_seed(0)
    gradients = normal(20, N_MEMBERS, 7).float()
    gradients[10, 1] *= 1000  # is shortened, and no other
    together, adam = torch.zeros(N_MEMBERS, 7), Adam((N_MEMBERS, 7), CPU)
    alone = torch.zeros(N_MEMBERS, 7)
    adams = [Adam((7,), CPU) for _ in range(N_MEMBERS)]
    for gradient in gradients:
        for e in range(N_MEMBERS):
            adams[e].step(alone[e], gradient[e].clone(), 0.01)
        adam.step(together, gradient.clone(), 0.01)
    torch.testing.assert_close(together, alone, rtol=1e-6, atol=1e-8)
    lengths = torch.stack([each.length for each in adams])
    torch.testing.assert_close(adam.length, lengths)


# ---- training ------------------------------------------------------------------------

N_TRAINING_ROWS, N_EPOCHS = 40, 15


def setting(**plan):
    """A model, weights and rows of each member, in float64, ready to train."""
    model, _ = model_and_weights(likelihoods.Gaussian("feature"))
    flat = 0.3 * normal(N_MEMBERS, model.n_weights)
    rows = normal(N_EPOCHS, N_MEMBERS, N_TRAINING_ROWS, N_FEATURES)
    plan = {"batch_size": 10, "max_epochs": N_EPOCHS, "learning_rate": 0.01} | plan
    return model, flat, rows, Plan(n_rows=N_TRAINING_ROWS, **plan)


class SameNoise:
    """Noise that depends on the epoch and the member, and on nothing else."""

    def __init__(self):
        self.epoch, self.member = 0, None

    def __call__(self, posterior, shape, unused):
        n_draws, *members, n_rows, n_components = shape
        own = torch.Generator().manual_seed(self.epoch)
        self.epoch += 1
        shape = n_draws, N_MEMBERS, n_rows, n_components
        noise = torch.randn(shape, generator=own, dtype=torch.float64)
        return noise if members else noise[:, self.member]


def run(model, flat, rows, plan):
    """Train on epochs of rows: a record each, and the weights in place."""
    epochs = iter(rows)

    def chunks():
        epoch = next(epochs)
        yield epoch, epoch, None

    shape = (2, *flat.shape)
    adam = Adam(flat.shape, CPU, torch.zeros(shape, dtype=torch.float64))
    return list(train(model, flat, chunks, plan, ELBO(), generator, None, adam))


@pytest.mark.parametrize("n_draws", [1, 3])
def test_members_trained_at_once_are_those_trained_alone(monkeypatch, n_draws):
    noise = SameNoise()
    monkeypatch.setattr(
        posteriors.Gaussian, "noise", lambda self, *shape: noise(self, *shape)
    )
    model, start, rows, plan = setting(n_draws=n_draws, kl_warmup=0.3)
    rows[N_EPOCHS // 2, 1, 5] *= 1000  # whose gradient is shortened, in one member
    together = start.clone()
    records = run(model, together, rows, plan)
    losses = []
    for e in range(N_MEMBERS):
        noise.epoch, noise.member = 0, e
        alone = start[e].clone()
        losses.append([r.loss for r in run(model, alone, rows[:, e], plan)])
        assert (together[e] - alone).norm() < 1e-9 * (alone - start[e]).norm()
    np.testing.assert_allclose([r.loss for r in records], np.mean(losses, axis=0))


class Scripted:
    """In place of held-out rows, scores of each member at each look."""

    n_terms = 0

    def __init__(self, looks):
        self._scores = iter(np.ravel(looks))

    def score(self, weights):
        return next(self._scores)


def test_each_member_keeps_its_own_best_weights_and_the_last_one_stops():
    model, flat, rows, plan = setting(max_epochs=200, patience=2)
    looks = [[3.0, 0.0, 0.0], [2.0, 1.0, 5.0], [1.0, 2.0, 4.0], [0.0, 1.0, 3.0]]
    looks += [[0.0, 0.0, 0.0], [9.0, 9.0, 9.0]]

    def chunks():
        yield rows[0].float(), rows[0].float(), None

    flat = flat.float()
    snapshots, scores = [], []
    for record in train(model, flat, chunks, plan, ELBO(), generator, Scripted(looks)):
        if record.validation_score is not None:
            snapshots.append(flat.clone())
            scores.append(record.validation_score)
    # Patience is 2 looks: the second member's ends at the fifth.
    np.testing.assert_allclose(scores, np.mean(looks[:5], axis=1))
    assert record.epoch_ended
    for e, best in enumerate([0, 2, 1]):
        assert torch.equal(flat[e], snapshots[best][e])
        assert not torch.equal(flat[e], snapshots[-1][e])


def test_held_out_scores_are_the_mean_over_members():
    model, flat, rows, plan = setting(max_epochs=15)
    flat, rows = flat.float(), rows.float()
    kept = rows[0, 0]
    held_out = HeldOut(model, ELBO(), (kept, kept, None), generator)

    def chunks():
        yield rows[1], rows[1], None

    records = list(train(model, flat, chunks, plan, ELBO(), generator, held_out))
    best = [held_out.score(model.views(member)) for member in flat]
    assert len(set(best)) == N_MEMBERS
    found = [r.validation_score for r in records if r.validation_score is not None]
    assert max(found) <= np.mean(best)  # each member at its own best look


def test_one_member_that_diverges_ends_the_training_of_all():
    model, flat, rows, plan = setting()
    flat[1, 0] = math.nan
    with pytest.raises(Divergence, match="epoch 1"):
        run(model, flat, rows, plan)


# ---- rows ----------------------------------------------------------------------------


def as_float32(values):
    values = values.astype(np.float32)
    return values, values, None


@pytest.mark.parametrize("n_rows", [2_000, 40_000])  # in one chunk, and in three
@pytest.mark.parametrize("mapped", [False, True])
def test_every_member_has_every_row_once_an_epoch(tmp_path, n_rows, mapped):
    X = np.arange(2.0 * n_rows).reshape(n_rows, 2)
    if mapped:
        np.save(tmp_path / "X.npy", X)
        X = np.load(tmp_path / "X.npy", mmap_mode="r")
    rng = np.random.default_rng(0)
    taken = np.arange(0, n_rows, 3) if n_rows < 10_000 else np.arange(n_rows)
    shuffled = ShuffledRows(X, taken, as_float32, rng, 100, CPU, N_MEMBERS)
    orders = []
    for _ in range(2):
        epoch = torch.cat([inputs for inputs, *_ in shuffled()], 1)
        assert epoch.shape == (N_MEMBERS, len(taken), 2)
        assert torch.equal(epoch[..., 1], epoch[..., 0] + 1)  # rows stay together
        for member in epoch[..., 0]:
            seen = member.sort().values.numpy()
            np.testing.assert_array_equal(seen, X[taken, 0])
            orders.append(member)
    # Of 100 places in two random orders of so many rows about none agree.
    for i, one in enumerate(orders):
        for other in orders[:i]:
            assert (one == other).float().mean() < 0.01


def test_one_member_is_an_ensemble_too():
    X = np.arange(20.0).reshape(10, 2)
    rng = np.random.default_rng(0)
    (chunk,) = ShuffledRows(X, np.arange(10), as_float32, rng, 5, CPU, 1)()
    assert chunk[0].shape == (1, 10, 2)
