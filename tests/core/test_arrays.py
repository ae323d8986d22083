"""Functions of arrays and tensors alike, against SciPy and against each other."""

import numpy as np
import pytest
import torch
from scipy import special

from skvae.core import arrays
from skvae.core.arrays import as_array, as_tensor, column_sums, namespace, row_sums
from skvae.likelihoods import Binned, Categorical

KINDS = {"array": np.asarray, "tensor": torch.as_tensor}
both_kinds = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
both_precisions = pytest.mark.parametrize("dtype", [np.float64, np.float32])

#: Each function, what it is by SciPy or NumPy, and how near 0 it is exact to a digit.
FUNCTIONS = {
    "sigmoid": (special.expit, 1e-15),
    "softplus": (lambda x: np.logaddexp(0, x), 0.0),
    "tanh": (np.tanh, 0.0),
}
each_function = pytest.mark.parametrize("name", FUNCTIONS)
POINTS = np.concatenate([np.linspace(-50, 50, 1_001), [-700.0, 700.0, -1e-9, 1e-300]])
EXTREMES = np.array([-1e30, -1e3, 1e3, 1e30])


# ---- functions -----------------------------------------------------------------------


@both_kinds
@each_function
def test_functions_are_those_of_scipy(name, kind):
    exact, near_zero = FUNCTIONS[name]
    x = kind(POINTS.copy())
    found = getattr(arrays, name)(x)
    assert type(found) is type(x)
    np.testing.assert_allclose(found, exact(POINTS), rtol=1e-14, atol=near_zero)
    np.testing.assert_array_equal(x, POINTS)


@both_precisions
@both_kinds
@each_function
def test_extremes(name, kind, dtype):
    found = getattr(arrays, name)(kind(EXTREMES.astype(dtype)))
    assert np.asarray(found).dtype == dtype
    limits = {
        "sigmoid": [0, 0, 1, 1],
        "softplus": [0, 0, *EXTREMES[2:].astype(dtype)],
        "tanh": [-1, -1, 1, 1],
    }
    np.testing.assert_array_equal(found, limits[name])


def test_gradients_pass_through_tanh():
    x = torch.linspace(-3, 3, 7, dtype=torch.float64, requires_grad=True)
    arrays.tanh(x).sum().backward()
    np.testing.assert_allclose(x.grad, np.cosh(x.detach().numpy()) ** -2, rtol=1e-13)


@both_precisions
@both_kinds
@pytest.mark.parametrize("shape", [(4, 3), (2, 4, 3), (4, 1), (2, 0, 3)])
def test_sums(kind, shape, dtype):
    x = np.random.default_rng(0).standard_normal((*shape[:-1], 2 * shape[-1]))
    x = x.astype(dtype)[..., ::2]  # as a slice of outputs may lie in memory
    tolerance = 10 * np.finfo(dtype).eps
    for sums, axis in ((row_sums, -1), (column_sums, -2)):
        found = sums(kind(x))
        assert np.asarray(found).dtype == dtype
        np.testing.assert_allclose(found, x.sum(axis), atol=tolerance)


# ---- memory --------------------------------------------------------------------------


def test_arrays_and_tensors_share_their_memory():
    tensor = torch.zeros(3, 4)[:, 1:3]
    array = as_array(tensor)
    array[1, 0] = 5.0
    assert tensor[1, 0] == 5.0
    as_tensor(array)[2, 1] = 7.0
    assert tensor[2, 1] == 7.0
    assert as_tensor(tensor) is tensor
    assert namespace(array) is np
    assert namespace(tensor) is torch


def test_tensors_on_other_devices_stay_tensors():
    elsewhere = torch.zeros(3, device="meta")
    assert as_array(elsewhere) is elsewhere


@both_kinds
@pytest.mark.parametrize("with_holes", [False, True])
def test_methods_written_in_torch_take_arrays(kind, with_holes):
    seen = []

    class Family:
        @arrays.on_tensors
        def value_and_gradient(self, locations, others, own, targets, observed):
            seen.extend([locations, others, own["scale"], targets])
            seen.extend([] if observed is None else [observed])
            return locations, others, targets, own

    given = [kind(np.full(3, float(n))) for n in range(5)]
    locations, others, scale, targets, observed = given
    found = Family().value_and_gradient(
        locations, others, {"scale": scale}, targets, observed if with_holes else None
    )
    assert all(isinstance(part, torch.Tensor) for part in seen)
    assert [float(part[0]) for part in seen] == [0, 1, 2, 3, 4][: 4 + with_holes]
    for part, expected in zip(
        (*found[:3], found[3]["scale"]),
        (locations, others, targets, scale),
        strict=True,
    ):
        assert type(part) is type(expected)
        np.testing.assert_array_equal(part, expected)


# ---- levels --------------------------------------------------------------------------

N_LEVELS = (3, 1, 4, 2, 2)
N_ROWS = 7


def logits(kind, shape):
    """Of columns whose sizes differ, and of levels that do."""
    values = np.random.default_rng(0).standard_normal((*shape, sum(N_LEVELS)))
    if kind == "far_columns":
        values += np.repeat([0.0, 500.0, 500.0, -500.0, 0.0], N_LEVELS)
    if kind == "far_levels":
        values[..., ::2] += 500.0
    return values


@pytest.mark.parametrize("with_holes", [False, True])
@pytest.mark.parametrize("members", [(), (3,)], ids=str)
@pytest.mark.parametrize("kind", ["near", "far_columns", "far_levels"])
@pytest.mark.parametrize(
    "likelihood", [Categorical(N_LEVELS), Binned(n_levels=N_LEVELS)], ids=str
)
def test_levels_are_one_thing_in_arrays_and_in_tensors(
    likelihood, kind, members, with_holes
):
    rng = np.random.default_rng(1)
    locations = logits(kind, (*members, N_ROWS))
    targets = rng.integers(0, N_LEVELS, (*members, N_ROWS, len(N_LEVELS))).astype(float)
    observed = (rng.random(targets.shape) < 0.7).astype(float)
    observed[..., 0, :] = 0.0  # nothing is known of the first row
    given = [locations, targets, observed if with_holes else None]
    copies = [None if part is None else part.copy() for part in given]
    others = np.empty((*members, N_ROWS, 0))

    def answer(convert):
        head, targets, observed = (None if p is None else convert(p) for p in given)
        return likelihood.value_and_gradient(
            head, convert(others), {}, targets, observed
        )

    log_prob, gradient, *_ = answer(np.asarray)
    expected, expected_gradient, *_ = answer(torch.from_numpy)
    assert isinstance(gradient, np.ndarray)
    np.testing.assert_allclose(log_prob, expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-12, atol=1e-12)
    # Of each column gradients sum to zero, and those of its one level are zero.
    by_column = np.add.reduceat(gradient, np.cumsum((0, *N_LEVELS[:-1])), axis=-1)
    np.testing.assert_allclose(by_column, 0, atol=1e-14)
    assert not gradient[..., N_LEVELS[0]].any()
    if with_holes:
        assert not log_prob[..., 0].any()
        assert not gradient[..., 0, :].any()
    for part, copied in zip(given, copies, strict=True):
        np.testing.assert_array_equal(part, copied)


def test_levels_in_float32_stay_float32():
    locations = logits("far_columns", (N_ROWS,)).astype(np.float32)
    targets = np.zeros((N_ROWS, len(N_LEVELS)), np.float32)
    others = np.empty((N_ROWS, 0), np.float32)
    log_prob, gradient, *_ = Categorical(N_LEVELS).value_and_gradient(
        locations, others, {}, targets, None
    )
    assert (log_prob.dtype, gradient.dtype) == (np.float32, np.float32)
