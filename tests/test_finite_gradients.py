"""Scales are bounded by construction, and gradients finite in float32.

Whatever the networks give, whatever rows the table may hand to training, and with any
weights that training reaches before its guard looks.
"""

import math
from operator import attrgetter

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from skvae import likelihoods, objectives, posteriors, priors
from skvae.codecs import FURTHEST
from skvae.core.arrays import LARGEST_SOFTPLUS
from skvae.core.backward import Backward, covers
from skvae.core.model import Model
from skvae.core.reader import Reader
from skvae.core.training import _Autograd
from skvae.networks import MLP

FURTHEST_INPUT = FURTHEST["float32"]
#: Outputs of networks: nothing, far out, and as far as a float32 goes.
EXTREMES = torch.tensor([0.0, 1e3, -1e3, 1e30, -1e30, 3.4028235e38, -3.4028235e38])
#: Locations that may be any number: of these the guard on the loss takes care.
MODERATE = EXTREMES.clamp(-1e15, 1e15)
FREE_LOCATIONS = "standardized", "positive"

FLOOR = likelihoods.Gaussian().floor
#: By likelihood: what says how wide its distribution is, and the bounds of that.
WIDTHS = {
    **{
        family(scale): (attribute, FLOOR, FLOOR + LARGEST_SOFTPLUS)
        for family, attribute in (
            (likelihoods.Gaussian, "scale"),
            (likelihoods.StudentT, "scale"),
            (likelihoods.Laplace, "scale"),
            (likelihoods.LogNormal, "logarithm.scale"),
        )
        for scale in ("shared", "feature", "conditional")
    },
    likelihoods.Gamma(): ("log_shape", -5, 9),
    likelihoods.Beta(): ("log_precision", -5, 11),
    likelihoods.NegativeBinomial(): ("log_shape", -7, 9),
    likelihoods.ZeroInflatedNegativeBinomial(): ("counts.log_shape", -7, 9),
    likelihoods.Poisson(): ("log_rate", -27, 27),
    likelihoods.ContinuousBernoulli(): ("log_odds", -1000, 1000),
}
#: By codec: the targets that it gives in float32, from the least to the largest.
TARGETS = {
    "standardized": (-FURTHEST_INPUT, 0.0, FURTHEST_INPUT),
    "positive": (math.exp(-80), 1.0, math.exp(80)),
    "log_odds": (-745.0, 0.0, 37.0),
    "unit_interval": (0.0, 0.5, 1.0),
    "counts": (0.0, 1.0, 1e15),
}


def assert_within(found, low, high):
    rounding = 1e-6 * max(abs(low), abs(high), 1.0) if low < 0 else 1e-6 * found
    assert ((found >= low - rounding) & (found <= high + rounding)).all()


# ---- bounds --------------------------------------------------------------------------


@pytest.mark.parametrize("likelihood", WIDTHS, ids=str)
def test_scales_of_likelihoods(likelihood):
    attribute, *bounds = WIDTHS[likelihood]
    targets = torch.tensor(TARGETS[likelihood.codec]).unsqueeze(1)
    _, n_others = likelihood.n_outputs(1)
    own_shapes = likelihood.own_shapes(1)
    free = likelihood.codec in FREE_LOCATIONS
    for location in MODERATE if free else EXTREMES:
        for extreme in EXTREMES if n_others or own_shapes else EXTREMES[:1]:
            arguments = (
                location.expand(3, 1),
                extreme.expand(3, n_others),
                {name: extreme.expand(shape) for name, shape in own_shapes.items()},
            )
            columns = likelihood(*arguments)
            assert_within(attrgetter(attribute)(columns), *bounds)
            for values in (columns.mean, columns.sample(torch.Generator())):
                assert values.isfinite().all()
                assert likelihood.codec != "positive" or (values > 0).all()
            assert_gradients_finite(likelihood, *arguments, targets)


def assert_gradients_finite(likelihood, locations, others, own, targets):
    """Of log-probabilities, by autograd and by hand, in NumPy and in torch."""
    leaves = [
        part.clone().requires_grad_() for part in (locations, others, *own.values())
    ]
    columns = likelihood(*leaves[:2], dict(zip(own, leaves[2:], strict=True)))
    log_prob = columns.log_prob(targets)
    found = [
        log_prob.detach(),
        *torch.autograd.grad(
            log_prob.sum(), leaves, allow_unused=True, materialize_grads=True
        ),
    ]
    for kind in (torch.Tensor.numpy, torch.Tensor.clone):
        own_parts = {name: kind(part.clone()) for name, part in own.items()}
        parts = (kind(part.clone()) for part in (locations, others))
        with np.errstate(all="ignore"):  # as in training
            *by_hand, by_own = likelihood.value_and_gradient(
                *parts, own_parts, kind(targets.clone()), None
            )
        found += [*by_hand, *by_own.values()]
    assert all(np.isfinite(np.asarray(part)).all() for part in found)


#: Of codes that are any number.
LOG_SCALE = {"log_scale": (-8, 8)}
#: By posterior: what says how wide it is, and the bounds of that.
WIDTHS_OF_CODES = {
    "gaussian": LOG_SCALE,
    "full_gaussian": {**LOG_SCALE, "factor": (-100 * math.exp(8), 100 * math.exp(8))},
    "laplace": LOG_SCALE,
    "logistic": LOG_SCALE,
    "student_t": LOG_SCALE,
    "uniform": LOG_SCALE,
    "gumbel": LOG_SCALE,
    "cauchy": LOG_SCALE,
    "exponential": {"log_scale": (-20, 20)},
    "rayleigh": {"log_scale": (-20, 20.5)},
    "weibull": {"log_scale": (-20, 20), "log_shape": (-1.5, 6)},
    "pareto": {"log_least": (0, 20), "shape": (1 + math.exp(-6), 1 + math.exp(6))},
    "lognormal": {"logarithm.log_scale": (-8, 8)},
    "gamma": {"log_shape": (-3, 8), "log_rate": (-23, 28)},
    "chi2": {"log_shape": (-3, 8)},
    "beta": {name: (math.exp(-3), math.exp(8)) for name in ("first", "second")},
    "dirichlet": {"concentration": (math.exp(-3), math.exp(8))},
    "categorical": {"mean": (0, 1)},
}


@pytest.mark.parametrize("name", posteriors.FAMILIES)
def test_scales_of_posteriors(name):
    family = posteriors.FAMILIES[name]()
    leaves = [
        (part.unsqueeze(1) * torch.tensor([1.0, -1.0, 0.5])[:n]).requires_grad_()
        for part, n in zip(
            torch.cartesian_prod(EXTREMES, EXTREMES).unbind(1),
            family.n_outputs(2),
            strict=True,
        )
    ]
    codes = family(*leaves)
    for attribute, bounds in WIDTHS_OF_CODES[name].items():
        found = attrgetter(attribute)(codes)
        assert_within(found.detach(), *bounds)
        gradients = torch.autograd.grad(
            found.sum(), leaves, retain_graph=True, materialize_grads=True
        )
        assert all(part.isfinite().all() for part in gradients)


# ---- gradients -----------------------------------------------------------------------

N_FEATURES, N_COMPONENTS, N_ROWS = 3, 2, 3
#: What weights may reach in 60 steps of Adam at its default rate, which move each by
#: 3.2 times the rate at most: at the start none is above 2, but for those by which the
#: linear path reads weak components, 9 at the most (half the inverse of the floor).
LARGEST_WEIGHT, LARGEST_SLOPE = 3.0, 10.0
LIKELIHOODS = [
    likelihoods.Gaussian(FLOOR),
    *(likelihoods.Gaussian(scale) for scale in ("shared", "feature")),
    *(
        family()
        for name, family in likelihoods.FAMILIES.items()
        if name != "identifier"
    ),
]
#: Positive codes are read by their logarithms, whose slope at the least code is 1e26.
POSTERIORS = [
    name
    for name, family in posteriors.FAMILIES.items()
    if family.support in ("real", "unit interval", "classes")
]
OBJECTIVES = [objectives.ELBO(), objectives.IWAE(3)]


def model_of(likelihood, posterior="gaussian"):
    family = posteriors.FAMILIES[posterior]()
    if hasattr(likelihood, "n_levels"):
        likelihood = likelihood.with_levels((2, 3, 3))
    return Model(
        Reader(N_FEATURES),
        N_FEATURES,
        N_COMPONENTS,
        network=MLP((4,)),
        likelihood=likelihood,
        posterior=family,
        prior=priors.FAMILIES[family.prior]().beside(family),
    )


def targets_of(likelihood, inputs):
    """Some that are as far out as the inputs."""
    if likelihood.codec == "standardized":
        return inputs
    if likelihood.codec not in TARGETS:  # levels
        return (inputs > 0).float()
    low, _, high = TARGETS[likelihood.codec]
    targets = low + (inputs / FURTHEST_INPUT + 1) / 2 * (high - low)
    return targets.round() if likelihood.codec == "counts" else targets


def assert_finite_gradient(model, objective, rows, weights):
    inputs, flat = torch.from_numpy(rows), torch.from_numpy(weights)
    model.views(flat)["encoder"]["linear_path"].mul_(LARGEST_SLOPE / LARGEST_WEIGHT)
    targets = targets_of(model.likelihood, inputs)
    shape = objective.n_draws(1), N_ROWS, model.posterior.n_noise(N_COMPONENTS)
    noise = model.posterior.noise(shape, torch.Generator().manual_seed(0))
    roads = [_Autograd(model, flat, objective)]
    if covers(model, objective):
        roads.append(Backward(model, objective, flat))
    for differentiate in roads:
        with np.errstate(all="ignore"):  # as in training
            _, gradient = differentiate(1.0, inputs, targets, None, noise)
        assert gradient.isfinite().all()


def numbers(shape, furthest):
    return arrays(np.float32, shape, elements=st.floats(-furthest, furthest, width=32))


def any_case(data, model):
    rows = data.draw(numbers((N_ROWS, N_FEATURES), FURTHEST_INPUT))
    weights = data.draw(numbers(model.n_weights, LARGEST_WEIGHT))
    assert_finite_gradient(model, data.draw(st.sampled_from(OBJECTIVES)), rows, weights)


some_examples = settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.parametrize("likelihood", LIKELIHOODS, ids=str)
@some_examples
@given(st.data())
def test_any_rows_and_weights(likelihood, data):
    any_case(data, model_of(likelihood))


@pytest.mark.parametrize("posterior", POSTERIORS)
@some_examples
@given(st.data())
def test_any_rows_and_weights_under_other_posteriors(posterior, data):
    any_case(data, model_of(likelihoods.Gaussian(), posterior))


@pytest.mark.parametrize("objective", OBJECTIVES, ids=str)
@pytest.mark.parametrize("likelihood", LIKELIHOODS, ids=str)
def test_rows_and_weights_at_their_bounds(likelihood, objective):
    model = model_of(likelihood)
    for sign in (1.0, -1.0):
        rows = np.full((N_ROWS, N_FEATURES), sign * FURTHEST_INPUT, dtype="float32")
        weights = np.full(model.n_weights, LARGEST_WEIGHT, dtype="float32")
        # Scales near their floor, while all that makes them is far out: the worst case.
        n_locations, _ = model.likelihood.n_outputs(N_FEATURES)
        decoder = model.views(torch.from_numpy(weights))["decoder"]
        for name in ("weight_1", "bias_1"):
            decoder[name][..., n_locations:] = 0.0
        assert_finite_gradient(model, objective, rows, weights)
