"""Optimisers as settings: checked, cloned, compared, and started."""

import pytest
import torch
from sklearn.base import clone

from skvae.core import optimizer
from skvae.optimizers import FAMILIES, SGD, Adagrad, Adam
from skvae.settings import from_state, resolve, to_state

CPU, N_WEIGHTS = torch.device("cpu"), 7
OTHERS = {
    "adam": Adam(0.1, 0.8, 0.99, 1e-6),
    "sgd": SGD(0.9, True, 0.1),
    "adagrad": Adagrad(1e-6, 0.1),
}
each_family = pytest.mark.parametrize("name", FAMILIES)


@each_family
def test_settings_compare_by_value_and_are_cloned(name):
    settings = OTHERS[name]
    assert clone(settings) == settings
    assert hash(clone(settings)) == hash(settings)
    assert settings != FAMILIES[name]()
    assert from_state(to_state(settings, FAMILIES), FAMILIES) == settings
    assert resolve(name, FAMILIES) == FAMILIES[name]()


@each_family
@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf"), "0.1", None])
def test_a_bad_weight_decay_is_refused(name, value):
    with pytest.raises(ValueError, match=f"weight_decay of {FAMILIES[name].__name__}"):
        FAMILIES[name](weight_decay=value)


@pytest.mark.parametrize(
    ("settings", "parameter", "value"),
    [
        *((Adam, beta, bad) for beta in ("beta_1", "beta_2") for bad in (-0.1, 1.0)),
        *(
            (family, "epsilon", bad)
            for family in (Adam, Adagrad)
            for bad in (0, "tiny")
        ),
        *((SGD, "momentum", bad) for bad in (-0.1, 1.0, None)),
        *((SGD, "nesterov", bad) for bad in (1, None, True)),  # True needs momentum
    ],
)
def test_bad_settings_are_refused(settings, parameter, value):
    with pytest.raises(ValueError, match=f"{parameter} of {settings.__name__}"):
        settings(**{parameter: value})


def steps(rule, gradients):
    weights = torch.ones(N_WEIGHTS)
    for gradient in gradients:
        rule.step(weights, gradient.clone(), 0.01)
    return weights


def gradients():
    return torch.randn(20, N_WEIGHTS, generator=torch.Generator().manual_seed(0))


def test_adam_with_its_defaults_is_the_rule_without_settings():
    ours = steps(Adam().start((N_WEIGHTS,), CPU), gradients())
    plain = steps(optimizer.Adam((N_WEIGHTS,), CPU), gradients())
    assert torch.equal(ours, plain)


@pytest.mark.parametrize(
    ("settings", "other"),
    [
        *((family(), family(weight_decay=0.1)) for family in FAMILIES.values()),
        *((Adam(), Adam(**{beta: 0.5})) for beta in ("beta_1", "beta_2")),
        *((family(), family(epsilon=0.1)) for family in (Adam, Adagrad)),
        (SGD(), SGD(momentum=0.9)),
        (SGD(momentum=0.9), SGD(momentum=0.9, nesterov=True)),
    ],
    ids=str,
)
def test_every_setting_has_a_say(settings, other):
    moved, differently = (
        steps(each.start((N_WEIGHTS,), CPU), gradients()) for each in (settings, other)
    )
    assert not torch.equal(moved, differently)


@each_family
def test_start_goes_on_from_a_state(name):
    settings = OTHERS[name]
    rule = settings.start((N_WEIGHTS,), CPU)
    weights = steps(rule, gradients())
    again = settings.start((N_WEIGHTS,), CPU, rule.get_state())
    copy = weights.clone()
    rule.step(weights, torch.ones(N_WEIGHTS), 0.01)
    again.step(copy, torch.ones(N_WEIGHTS), 0.01)
    assert torch.equal(weights, copy)
    with pytest.raises(ValueError, match="cannot go on from"):
        settings.start((N_WEIGHTS + 1,), CPU, rule.get_state())
