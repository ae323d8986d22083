"""Training that runs away, and numbers far out: an error, or answers that are finite.

Never a broken model, and never a warning of NumPy's or torch's: warnings are errors
here. Why that is so, `test_finite_gradients` asks.
"""

import joblib
import numpy as np
import pytest
from sklearn.datasets import load_iris

from skvae import (
    AETransformer,
    VAEImputer,
    VAEOutlierDetector,
    VAETransformer,
    likelihoods,
    objectives,
    optimizers,
    parameters,
    posteriors,
)
from skvae.base import draw_seed

X = load_iris().data
ESTIMATORS = [VAETransformer, VAEOutlierDetector, VAEImputer, AETransformer]
METHODS = [
    (kind, method)
    for kind in ESTIMATORS
    for method in ("fit", "partial_fit")
    if hasattr(kind, method)
]
#: An identifier is not learned of, and refused by itself.
FAMILIES = [name for name in likelihoods.FAMILIES if name != "identifier"]
POSITIVE = ("log_normal", "gamma")
COUNTS = ("poisson", "negative_binomial", "zero_inflated_negative_binomial")
SHARES = ("beta", "continuous_bernoulli")
LEVELS = ("bernoulli", "ordinal", "categorical")
#: Those with values that fit need not have seen.
OF_NUMBERS = [name for name in FAMILIES if name not in LEVELS]
#: The places where one paper differs from the next, name by name.
OF_CODES = [
    *({"posterior": name} for name in posteriors.FAMILIES),
    {"prior": "standard", "posterior": "gamma"},
    *({"prior": name} for name in ("mixture", "vamp", "aggregate")),
    *({"objective": name} for name in objectives.FAMILIES),
]
PLACES = [*({"likelihood": name} for name in FAMILIES), *OF_CODES]


def table_of(family):
    """A table that the family describes."""
    if family in SHARES:
        return X / 10
    if family == "bernoulli":
        return (X > X.mean(axis=0)).astype(float)
    return np.rint(X) if family in (*COUNTS, *LEVELS) else X


#: What makes an estimator quick.
QUICK = {
    VAEOutlierDetector: {"n_estimators": 2},
    VAEImputer: {"n_importance_samples": 32},
}


def small(kind=VAETransformer, **settings):
    quick = {"max_iter": 3, "random_state": 0, **QUICK.get(kind, {})}
    return kind(**{**quick, **settings})


def for_kind(kind, table):
    """With holes for an imputer."""
    if kind is not VAEImputer:
        return table
    holes = np.random.default_rng(1).random(table.shape) < 0.1
    return np.where(holes, np.nan, table).astype(table.dtype)


def answers(estimator, table):
    """What a fitted estimator says, by name."""
    for name in ("loss_curve_", "kl_per_component_", "validation_scores_", "offset_"):
        yield name, getattr(estimator, name, 0.0)
    for name in (
        "transform",
        "score_samples",
        "score_features",
        "reconstruction_error",
    ):
        if hasattr(estimator, name):
            yield name, getattr(estimator, name)(table)
    if hasattr(estimator, "inverse_transform"):
        codes = estimator.transform(table)
        yield "inverse_transform", estimator.inverse_transform(codes)
    if hasattr(estimator, "sample"):
        yield "sample", estimator.sample(20, random_state=0)
    if isinstance(estimator, VAEImputer):
        estimator.set_params(sample_posterior=True)
        yield "drawn", estimator.transform(table)


def assert_finite(estimator, *tables):
    for table in tables:
        for name, found in answers(estimator, table):
            assert np.isfinite(np.asarray(found, dtype=float)).all(), name


def is_answered(estimator, method, table, *others):
    """Whether a fit ends in finite answers; else it is refused, and changes nothing."""
    before = joblib.hash(vars(estimator))
    try:
        getattr(estimator, method)(table)
    except ValueError as error:
        assert "Training diverged" in str(error)
        assert "column furthest out of range is" in str(error)
        assert f"lower learning_rate={estimator.learning_rate}" in str(error)
        assert joblib.hash(vars(estimator)) == before
        return False
    assert_finite(estimator, table[:20], *others)
    return True


# ---- learning rates ------------------------------------------------------------------

#: 10 is not too much everywhere. One step of 1e30 leaves nothing as it was.
RATES = (10.0, 1e3, 1e30)


@pytest.mark.parametrize("optimizer", optimizers.FAMILIES)
@pytest.mark.parametrize(("kind", "method"), METHODS)
def test_rates_of_estimators(kind, method, optimizer):
    for rate in RATES:
        estimator = small(kind, optimizer=optimizer, learning_rate=rate)
        answered = is_answered(estimator, method, for_kind(kind, X))
        assert estimator.__sklearn_is_fitted__() == answered
    assert not answered


@pytest.mark.parametrize("place", PLACES, ids=str)
def test_rates_of_places(place):
    table = table_of(place.get("likelihood"))
    for rate in RATES:
        answered = is_answered(small(learning_rate=rate, **place), "fit", table)
    assert not answered


@pytest.mark.parametrize("optimizer", optimizers.FAMILIES)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_what_was_fitted_before_is_kept(method, optimizer):
    estimator = getattr(small(optimizer=optimizer), method)(X)
    scores = estimator.score_samples(X)
    estimator.set_params(learning_rate=1e30)
    assert not is_answered(estimator, method, X)
    np.testing.assert_array_equal(estimator.score_samples(X), scores)
    assert is_answered(estimator.set_params(learning_rate=1e-3), method, X)


class Stops:
    """A callback that ends training with the first epoch."""

    def setup(self, estimator, context):
        pass

    def teardown(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context):
        return context.task_name == "epoch"


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_a_callback_does_not_stop_training_ahead_of_the_guard(kind):
    table = for_kind(kind, X)
    one_step = {"early_stopping": False, "batch_size": 150}
    # The loss of a step is that before it: an ordinary one.
    estimator = small(kind, learning_rate=1e30, **one_step).set_callbacks(Stops())
    assert not is_answered(estimator, "fit", table)
    assert is_answered(small(kind, **one_step).set_callbacks(Stops()), "fit", table)


# ---- tables --------------------------------------------------------------------------


def with_value(table, value):
    changed = table.copy()
    changed[3, 2] = value
    return changed


IS_THIRD = np.arange(4) == 2
IS_ODD = np.arange(150)[:, None] % 2 == 1
WILD = {
    "cell": with_value(X, 1e30),
    "column": X * np.where(IS_THIRD, 1e30, 1.0),
    "all": 1e30 * X,
    "small": 1e-30 * X,
    "squares_are_0": 1e-300 * X,
    "far_apart": X * [1e30, 1e-30, 1.0, 1e15],
    "alternating": np.where(IS_THIRD, np.where(IS_ODD, 1e15, -1e15), X),
    "all_but_constant": with_value(np.full(X.shape, 7.3), 1e30),
    "row": np.where(np.arange(150)[:, None] == 3, [1e15, -1e15, 1e15, -1e15], X),
}


# Small columns that are not scaled are noise, and the code says nothing of them.
@pytest.mark.filterwarnings("ignore::skvae.PosteriorCollapseWarning")
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("kind", ESTIMATORS)
def test_wild_tables(kind, standardize, dtype):
    for name, table in WILD.items():
        table = for_kind(kind, table.astype(dtype))
        ordinary = for_kind(kind, X[:5].astype(dtype))
        estimator = small(kind, standardize=standardize, max_iter=2)
        assert is_answered(estimator, "fit", table, ordinary) or not standardize, name


def wild_tables_of(family):
    """Some with numbers as far out as the family describes."""
    if family in SHARES:
        yield np.where(IS_ODD, 1 - 2.0**-53, 5e-324) + 0 * X
        yield with_value(np.full(X.shape, 0.3), 1e-300)
    elif family in COUNTS:
        yield with_value(np.rint(X), 1e300)
        yield 1e30 * np.rint(X)
        yield with_value(0 * X, 1e15)
    else:
        yield with_value(X, 1e300)
        yield with_value(X, 5e-324)
        yield X * [1e300, 1e-300, 1.0, 1e15]
        yield with_value(np.full(X.shape, 7.3), 1e30)


@pytest.mark.parametrize("kind", [VAETransformer, VAEOutlierDetector])
@pytest.mark.parametrize("family", [*POSITIVE, *COUNTS, *SHARES, "binned"])
def test_wild_tables_of_families(family, kind):
    for table in wild_tables_of(family):
        estimator = small(kind, likelihood=family, max_iter=2)
        assert is_answered(estimator, "fit", table, table_of(family)[:5])


def test_a_variance_beyond_float64_is_refused_by_the_name_of_the_column():
    for family in ("gaussian", "student_t", "laplace"):
        with pytest.raises(ValueError, match="Column 2 holds values too large"):
            small(likelihood=family).fit(with_value(X, 1e300))


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_held_out_rows_that_are_wild(kind):
    estimator = small(kind, early_stopping=True)
    seeded = np.random.default_rng(draw_seed(0))
    rows, held_out, _ = parameters.split(estimator, len(X), seeded)
    factor = np.where(np.isin(np.arange(150), held_out), 1e30, 1.0)[:, None]
    ordinary = for_kind(kind, X)
    assert is_answered(estimator, "fit", factor * ordinary, ordinary[rows[:20]])


# ---- rows that come later ------------------------------------------------------------


def far_rows_of(family, dtype="float64"):
    """Rows with one number far out, or all of them."""
    values = [1e6, 1e15, -1e30, 1e150, -1e300, 1.7e308, 1e-30, 5e-324]
    if family in POSITIVE:
        values = [1e6, 1e30, 1.7e308, 1e-30, 5e-324]
    if family in COUNTS:
        values = [1e6, 1e15, 1e30, 1.7e308]
    if family in SHARES:
        values = [1 - 2.0**-24, 1e-30, 5e-324]
    if dtype == "float32":
        values = [value for value in values if 1e-37 < abs(value) < 1e38]
    rows = np.repeat(table_of(family)[:1], 2 * len(values), axis=0)
    rows[: len(values), 1] = values
    rows[len(values) :] = np.array(values)[:, None]
    return rows.astype(dtype)


FAR_CODES = 1e6 * np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("kind", [VAETransformer, VAEOutlierDetector, VAEImputer])
@pytest.mark.parametrize("family", OF_NUMBERS)
def test_later_rows_that_are_wild(family, kind, dtype):
    estimator = small(kind, likelihood=family)
    estimator.fit(for_kind(kind, table_of(family).astype(dtype)))
    assert_finite(estimator, for_kind(kind, far_rows_of(family, dtype)))


@pytest.mark.parametrize("family", POSITIVE)
def test_whatever_codes_stand_for_is_positive_and_finite(family):
    table = X * [1e300, 1e-300, 1.0, 1e15]
    estimator = small(likelihood=family).fit(table)
    rebuilt = estimator.inverse_transform(FAR_CODES)
    assert (np.isfinite(rebuilt) & (rebuilt > 0)).all()
    assert_finite(estimator, rebuilt)


@pytest.mark.parametrize("family", ["gaussian", *POSITIVE])
def test_answers_stay_within_the_range_of_float32(family):
    table = (X * [1e37, 1e30, 1.0, 1.0]).astype("float32")
    rows = (table[:8] * [1e-3, 1e-20, 1e20, 1.0]).astype("float32")
    estimator = small(likelihood=family).fit(table)
    rebuilt = estimator.inverse_transform(FAR_CODES.astype("float32"))
    assert rebuilt.dtype == np.float32 and np.isfinite(rebuilt).all()
    detector = small(VAEOutlierDetector, likelihood=family).fit(table)
    assert_finite(detector, table[:8], rows)


@pytest.mark.parametrize("place", OF_CODES, ids=str)
def test_codes_of_later_rows_that_are_wild(place):
    assert_finite(small(**place).fit(X), far_rows_of("gaussian"))


def test_errors_of_later_rows_that_are_wild():
    assert_finite(small(AETransformer).fit(X), far_rows_of("gaussian"))


@pytest.mark.parametrize("optimizer", optimizers.FAMILIES)
@pytest.mark.parametrize("family", OF_NUMBERS)
def test_a_second_batch_that_is_wild(family, optimizer):
    table = table_of(family)
    wild = table * (1e-12 if family in SHARES else 1e12)
    estimator = small(likelihood=family, optimizer=optimizer).partial_fit(table)
    is_answered(estimator, "partial_fit", wild, table[:20])
    # Either way it can be gone on with.
    is_answered(estimator, "partial_fit", table)


def test_a_wild_row_in_a_second_batch_is_passed_over():
    ordinary, other = (small(batch_size=30).partial_fit(X) for _ in range(2))
    ordinary.partial_fit(X)
    assert is_answered(other, "partial_fit", with_value(X, 1e30))
    assert other.score(X) == pytest.approx(ordinary.score(X), abs=0.5)


# ---- starts --------------------------------------------------------------------------


@pytest.mark.parametrize("posterior", ["gaussian", "full_gaussian", "lognormal"])
def test_noise_so_small_that_codes_are_certain(posterior):
    # The linear model's posterior is narrower than any that the encoder gives.
    sharp = likelihoods.Gaussian(1e-6)
    assert is_answered(small(likelihood=sharp, posterior=posterior), "fit", X)


def test_a_column_in_the_thousands_that_is_not_scaled():
    table = X * np.where(IS_THIRD, 1e3, 1.0)
    assert is_answered(small(standardize=False, max_iter=200), "fit", table)
