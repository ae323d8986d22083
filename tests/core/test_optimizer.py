"""Update rules: torch's own and closed forms, the guard, and going on."""

import copy
from functools import partial

import numpy as np
import pytest
import torch

from skvae.core.optimizer import SGD, Adagrad, Adam

CPU = torch.device("cpu")
N_WEIGHTS, N_MEMBERS, RATE = 7, 3, 0.01

RULES = {
    "adam": Adam,
    "adam_other": partial(Adam, beta_1=0.8, beta_2=0.99, epsilon=1e-3),
    "sgd": partial(SGD, momentum=0.0, nesterov=False),
    "momentum": partial(SGD, momentum=0.9, nesterov=False),
    "nesterov": partial(SGD, momentum=0.9, nesterov=True),
    "adagrad": partial(Adagrad, epsilon=1e-10),
}
REFERENCES = {
    "adam": torch.optim.AdamW,
    "adam_other": partial(torch.optim.AdamW, betas=(0.8, 0.99), eps=1e-3),
    "sgd": torch.optim.SGD,
    "momentum": partial(torch.optim.SGD, momentum=0.9),
    "nesterov": partial(torch.optim.SGD, momentum=0.9, nesterov=True),
    "adagrad": torch.optim.Adagrad,
}
every_rule = pytest.mark.parametrize("rule", RULES.values(), ids=RULES)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def gradients(n_steps=20):
    return normal(n_steps, N_WEIGHTS)


def follow(rule, weights, gradients):
    """Weights after a step for each gradient; the arguments are not changed."""
    weights = weights.clone()
    for gradient in gradients:
        rule.step(weights, gradient.clone(), RATE)
    return weights


# ---- the rules -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "weight_decay"),
    # Without momentum, decoupled decay is the penalty that torch's SGD has.
    [
        *((name, 0.0) for name in RULES),
        ("adam", 0.5),
        ("adam_other", 0.5),
        ("sgd", 0.5),
    ],
)
def test_a_quadratic_is_descended_as_by_torch(name, weight_decay):
    curvature, centre = normal(N_WEIGHTS).exp(), normal(N_WEIGHTS, seed=1)
    weights, theirs = torch.ones(N_WEIGHTS), torch.ones(N_WEIGHTS)
    rule = RULES[name]((N_WEIGHTS,), CPU, weight_decay=weight_decay)
    reference = REFERENCES[name](
        [theirs.requires_grad_()], lr=RATE, weight_decay=weight_decay
    )
    for _ in range(50):
        for w in (weights, theirs):
            # Of constant length, so that the guard has nothing to shorten.
            w.grad = torch.nn.functional.normalize(
                curvature * (w.detach() - centre), dim=0
            )
        rule.step(weights, weights.grad, RATE)
        reference.step()
    assert (weights - 1).abs().max() > 0.05
    torch.testing.assert_close(weights, theirs.detach(), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "distance"),
    [
        ("adam", 40),
        ("sgd", 40 * 2.0),
        # The velocity is 2 (1 - 0.9^t) / 0.1 after t steps.
        ("momentum", 20 * (40 - 9 * (1 - 0.9**40))),
        ("nesterov", 20 * (40 - 8.1 * (1 - 0.9**40))),
        ("adagrad", sum(t**-0.5 for t in range(1, 41))),
    ],
)
def test_distance_gone_under_a_constant_gradient(name, distance):
    constant = torch.full((40, N_WEIGHTS), 2.0)
    rule = RULES[name]((N_WEIGHTS,), CPU)
    moved = follow(rule, torch.zeros(N_WEIGHTS), constant)
    torch.testing.assert_close(moved, torch.full_like(moved, -RATE * distance))


def test_fused_and_plain_steps_of_adam_agree(monkeypatch):
    adam, plain = (RULES["adam_other"]((N_WEIGHTS,), CPU) for _ in range(2))
    weights = follow(adam, torch.ones(N_WEIGHTS), gradients())
    monkeypatch.delattr(torch, "_fused_adam_")
    others = follow(plain, torch.ones(N_WEIGHTS), gradients())
    torch.testing.assert_close(weights, others)
    torch.testing.assert_close(adam.moments, plain.moments)


# ---- weight decay --------------------------------------------------------------------


@every_rule
def test_weights_without_gradient_decay_by_rate_times_decay(rule):
    weights = normal(N_WEIGHTS)
    decayed = follow(
        rule((N_WEIGHTS,), CPU, weight_decay=0.1), weights, torch.zeros(1, N_WEIGHTS)
    )
    assert torch.equal(decayed, weights * (1 - RATE * 0.1))


@every_rule
def test_what_a_rule_remembers_does_not_see_the_decay(rule):
    with_decay = rule((N_WEIGHTS,), CPU, weight_decay=5.0)
    without = rule((N_WEIGHTS,), CPU)
    for each in (with_decay, without):
        follow(each, torch.ones(N_WEIGHTS), gradients())
    assert torch.equal(with_decay.moments, without.moments)
    assert torch.equal(with_decay.length, without.length)


# ---- the guard -----------------------------------------------------------------------


@every_rule
def test_an_outlying_gradient_is_shortened_to_twice_the_usual(rule):
    ordinary = torch.ones(6, N_WEIGHTS)
    outlying, twice = ordinary.clone(), ordinary.clone()
    outlying[-1], twice[-1] = 1000, 2
    rules = [rule((N_WEIGHTS,), CPU) for _ in range(2)]
    moved, expected = (
        follow(each, torch.zeros(N_WEIGHTS), some)
        for each, some in zip(rules, (outlying, twice), strict=True)
    )
    torch.testing.assert_close(moved, expected)
    # Nor does it change what is usual any more than that.
    torch.testing.assert_close(*(each.length for each in rules))


@every_rule
def test_a_gradient_of_zeros_does_not_stop_the_next(rule):
    started = rule((N_WEIGHTS,), CPU)
    still = follow(started, torch.zeros(N_WEIGHTS), torch.zeros(1, N_WEIGHTS))
    assert torch.equal(still, torch.zeros(N_WEIGHTS))
    moved = follow(started, still, torch.ones(1, N_WEIGHTS))
    assert (moved < 0).all()
    torch.testing.assert_close(started.length, torch.tensor([N_WEIGHTS**0.5]))


# ---- ensembles, and going on ---------------------------------------------------------


@every_rule
def test_members_step_as_if_alone(rule):
    each = normal(20, N_MEMBERS, N_WEIGHTS)
    each[10, 1] *= 1000  # is shortened, and no other
    together = rule((N_MEMBERS, N_WEIGHTS), CPU, weight_decay=0.1)
    weights = follow(together, torch.ones(N_MEMBERS, N_WEIGHTS), each)
    for e in range(N_MEMBERS):
        one = rule((N_WEIGHTS,), CPU, weight_decay=0.1)
        alone = follow(one, torch.ones(N_WEIGHTS), each[:, e])
        torch.testing.assert_close(weights[e], alone, rtol=1e-6, atol=1e-7)
        torch.testing.assert_close(together.length[e], one.length)


def resumed(rule, state, shape):
    """A rule that goes on from a state; one with settings is a partial."""
    family = getattr(rule, "func", rule)
    return family.resume(state, shape, CPU, **getattr(rule, "keywords", {}))


@every_rule
@pytest.mark.parametrize("shape", [(N_WEIGHTS,), (N_MEMBERS, N_WEIGHTS)], ids=str)
def test_going_on_from_a_state_is_never_having_stopped(rule, shape):
    each = normal(20, *shape)
    each[12] *= 1000  # by the length that was usual before
    whole = rule(shape, CPU)
    expected = follow(whole, torch.zeros(shape), each)
    first = rule(shape, CPU)
    weights = follow(first, torch.zeros(shape), each[:10])
    state = first.get_state()
    before = copy.deepcopy(state)
    second = resumed(rule, state, shape)
    assert torch.equal(follow(second, weights, each[10:]), expected)
    np.testing.assert_equal(second.get_state(), whole.get_state())
    np.testing.assert_equal(state, before)


def test_the_state_of_adam():
    adam = Adam((N_WEIGHTS,), CPU)
    follow(adam, torch.zeros(N_WEIGHTS), torch.ones(1, N_WEIGHTS))
    state = adam.get_state()
    assert list(state) == ["n_steps", "length", "moments"]
    assert state["n_steps"] == 1
    assert isinstance(state["length"], float)
    assert state["length"] == pytest.approx(N_WEIGHTS**0.5)
    expected = np.repeat([[0.1], [0.001]], N_WEIGHTS, axis=1)
    np.testing.assert_allclose(state["moments"], expected, rtol=1e-6)
    follow(adam, torch.zeros(N_WEIGHTS), torch.ones(1, N_WEIGHTS))
    np.testing.assert_allclose(state["moments"], expected, rtol=1e-6)  # a copy


@pytest.mark.parametrize(
    ("of", "into"),
    [("adam", "sgd"), ("sgd", "momentum"), ("momentum", "adagrad"), ("sgd", "adam")],
)
def test_the_state_of_another_rule_is_refused(of, into):
    state = RULES[of]((N_WEIGHTS,), CPU).get_state()
    with pytest.raises(ValueError, match="cannot go on from"):
        resumed(RULES[into], state, (N_WEIGHTS,))
