"""Rows that the model draws: rates, dtypes and ranges, given cells, other priors."""

import pickle
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from scipy import stats
from scipy.special import logsumexp
from sklearn.base import clone
from sklearn.datasets import load_iris

from skvae import VAETransformer
from skvae.likelihoods import Gaussian
from skvae.priors import Aggregate, MixtureOfNormals, mixtures

RANDOM = np.random.default_rng(0)
N_DRAWS = 20_000


def small(**parameters):
    return VAETransformer(**{"max_iter": 5, "random_state": 0, **parameters})


# ---- rates ---------------------------------------------------------------------------


@pytest.mark.parametrize("prior", ["gaussian", "aggregate"])
def test_a_rare_label_is_drawn_as_rarely(prior):
    """Of a column that depends on none of the others."""
    n_rows, rate = 3_000, 0.088
    table = pd.DataFrame(
        RANDOM.normal(size=(n_rows, 3)) @ RANDOM.normal(size=(3, 3)), columns=[*"xyz"]
    )
    labels = np.where(RANDOM.random(n_rows) < rate, "rare", "usual")
    labels = np.where((labels == "usual") & (RANDOM.random(n_rows) < 0.3), "b", labels)
    model = small(max_iter=40, prior=prior).fit(table.assign(label=labels))
    drawn = model.sample(N_DRAWS, random_state=0)["label"]
    for label in ("rare", "usual", "b"):
        share = (labels == label).mean()
        error = np.sqrt(share * (1 - share) * (1 / n_rows + 1 / N_DRAWS))
        assert abs((drawn == label).mean() - share) < 3 * error


# ---- dtypes, levels, ranges ----------------------------------------------------------

N_ROWS = 200
MIXED = pd.DataFrame(
    {
        "whole": RANDOM.integers(3, 40, N_ROWS),
        "small": RANDOM.integers(0, 200, N_ROWS).astype("uint8"),
        "label": pd.Categorical(
            np.array([*"ab"])[RANDOM.integers(0, 2, N_ROWS)], [*"bca"]
        ),
        "grade": pd.Categorical(
            np.array([*"abc"])[RANDOM.integers(0, 3, N_ROWS)], [*"cab"], ordered=True
        ),
        "text": np.array(["x", "y", "z"])[RANDOM.integers(0, 3, N_ROWS)],
        "yes": RANDOM.random(N_ROWS) < 0.3,
        "number": RANDOM.normal(size=N_ROWS).astype("float32"),
    }
)
HOLED = MIXED.astype({"whole": "Int64", "small": "UInt8", "yes": "boolean"}).mask(
    pd.DataFrame(RANDOM.random(MIXED.shape) < 0.2, columns=MIXED.columns)
)


@pytest.mark.parametrize(
    "likelihood", ["auto", {"whole": "poisson", "small": "binned"}]
)
@pytest.mark.parametrize("table", [MIXED, HOLED], ids=["whole", "holed"])
def test_draws_have_the_dtypes_levels_and_ranges_of_the_table(table, likelihood):
    drawn = small(likelihood=likelihood).fit(table).sample(2_000, random_state=0)
    pd.testing.assert_series_equal(drawn.dtypes, table.dtypes)
    assert not drawn.isna().to_numpy().any()
    for name in ("whole", "small"):
        assert drawn[name].min() >= table[name].min()
        assert drawn[name].max() <= table[name].max()
    assert set(drawn["text"]) == {*"xyz"}
    assert set(drawn["grade"]) == {*"abc"}
    # A category without a row may be drawn, as rarely as its share of a half says.
    assert (drawn["label"] == "c").mean() < 0.02


@pytest.mark.parametrize("dtype", ["int8", "uint16", "int64"])
def test_draws_of_whole_arrays_stay_in_their_range(dtype):
    table = RANDOM.integers(0, 100, (N_ROWS, 3)).astype(dtype)
    drawn = small().fit(table).sample(2_000, random_state=0)
    assert drawn.dtype == dtype
    assert (drawn.min(axis=0) >= table.min(axis=0)).all()
    assert (drawn.max(axis=0) <= table.max(axis=0)).all()


def test_draws_of_polars_have_its_schema():
    table = pl.DataFrame(
        {
            "enum": pl.Series([*"abc"] * 50, dtype=pl.Enum([*"cab"])),
            "category": pl.Series([*"abc"] * 50, dtype=pl.Categorical),
            "whole": pl.Series([1, None, 3] * 50, dtype=pl.Int16),
            "yes": pl.Series([True, None, False] * 50),
            "number": pl.Series(RANDOM.normal(size=150), dtype=pl.Float32),
        }
    )
    drawn = small().fit(table).sample(50, random_state=0)
    assert drawn.schema == table.schema
    assert sum(drawn.null_count().row(0)) == 0


def test_draws_of_a_category_with_arguments_are_categories():
    # An order in polars of old, a name since.
    grades = pl.Series([*"abc"] * 50, dtype=pl.Categorical("lexical"))
    drawn = small().fit(pl.DataFrame({"grade": grades})).sample(50, random_state=0)
    assert drawn["grade"].dtype == pl.Categorical
    assert set(drawn["grade"]) == {*"abc"}


# ---- given some cells ----------------------------------------------------------------

LOADINGS = np.array([[1.0, -2.0, 1.5, 0.5], [0.5, 1.0, -1.0, 2.0]])
FACTORS = RANDOM.normal(size=(1_000, 2)) @ LOADINGS
FACTORS = pd.DataFrame(
    3 + FACTORS + 0.5 * RANDOM.normal(size=FACTORS.shape), columns=[*"abcd"]
)


@pytest.fixture(scope="module")
def linear():
    return VAETransformer(
        2, hidden_layer_sizes=(), likelihood=Gaussian("shared"), random_state=0
    ).fit(FACTORS)


def exact_moments(vae):
    """Mean and covariance of x in a linear-Gaussian model, in the units of x."""
    fitted = vae._fitted_model(np.float64)
    mean, *ends = fitted.means(np.vstack([np.zeros(2), np.eye(2)]))
    loadings = np.array(ends) - mean
    raw = fitted.weights["likelihood"]["raw_scale"].item()
    noise = (0.05 + np.logaddexp(0, raw)) * fitted.table._codecs[0].scale
    return mean, loadings.T @ loadings + np.diag(noise**2)


@pytest.mark.parametrize(
    "given",
    [{"a": 4.0}, {"b": 8.0}, {"c": 1.0, "a": 3.5}, {"d": 3.0, "b": 0.0, "a": 5.0}],
)
def test_draws_given_cells_have_the_conditional_moments(linear, given):
    mean, covariance = exact_moments(linear)
    known = np.array([name in given for name in "abcd"])
    values = np.array([given[name] for name in "abcd" if name in given])
    gain = covariance[np.ix_(~known, known)] @ np.linalg.inv(
        covariance[np.ix_(known, known)]
    )
    expected = mean[~known] + gain @ (values - mean[known])
    left = covariance[np.ix_(~known, ~known)] - gain @ covariance[np.ix_(known, ~known)]
    drawn = linear.sample(N_DRAWS, given=given, random_state=0)
    # Given values come back as they are.
    for name, value in given.items():
        assert (drawn[name] == value).all()
    rest = drawn.to_numpy()[:, ~known]
    deviation = np.sqrt(np.diag(left))
    # Resampled codes repeat: the draws are worth fewer than there are of them.
    np.testing.assert_allclose(rest.mean(0), expected, atol=0.06 * deviation.max())
    found = np.atleast_2d(np.cov(rest.T))
    scale = np.outer(deviation, deviation)
    np.testing.assert_allclose(found / scale, left / scale, atol=0.06)


def test_given_a_label_others_follow_as_in_the_table():
    n_rows = 3_000
    kind = RANDOM.choice(3, n_rows, p=[0.5, 0.3, 0.2])
    table = pd.DataFrame(
        {
            "kind": np.array([*"abc"])[kind],
            "sick": RANDOM.random(n_rows) < np.array([0.1, 0.5, 0.9])[kind],
            "size": kind + 0.5 * RANDOM.normal(size=n_rows),
        }
    )
    model = small(max_iter=60).fit(table)
    for label in "abc":
        rows = table[table["kind"] == label]
        drawn = model.sample(4_000, given={"kind": label}, random_state=0)
        assert (drawn["kind"] == label).all()
        assert drawn["kind"].dtype == table["kind"].dtype
        assert drawn["sick"].mean() == pytest.approx(rows["sick"].mean(), abs=0.08)
        assert drawn["size"].mean() == pytest.approx(rows["size"].mean(), abs=0.15)
        sick = model.sample(4_000, given={"sick": True}, random_state=0)["kind"]
        share = (table["kind"][table["sick"]] == label).mean()
        assert (sick == label).mean() == pytest.approx(share, abs=0.08)


@pytest.fixture(scope="module")
def mixed():
    return small().fit(MIXED)


@pytest.mark.filterwarnings("ignore:The draws given")
@pytest.mark.parametrize(
    "given",
    [
        {"whole": 7},
        {"small": 199},
        {"label": "c"},
        {"grade": "b", "text": "x"},
        {"yes": True},
        {"number": 0.123456789},
        {"whole": 7, "small": 5, "label": "a", "grade": "c", "text": "z", "yes": False},
        {"number": 1.0, **MIXED.iloc[0].to_dict()},
    ],
    ids=str,
)
def test_given_cells_are_exact_in_the_draws(mixed, given):
    drawn = mixed.sample(50, given=given, random_state=0)
    pd.testing.assert_series_equal(drawn.dtypes, MIXED.dtypes)
    for name, value in given.items():
        expected = np.float32(value) if name == "number" else value
        assert (drawn[name] == expected).all()


def test_draws_given_cells_repeat_with_a_seed(mixed):
    first = mixed.sample(20, given={"text": "x"}, random_state=0)
    again = mixed.sample(20, given={"text": "x"}, random_state=0)
    other = mixed.sample(20, given={"text": "x"}, random_state=1)
    pd.testing.assert_frame_equal(again, first)
    assert not other.equals(first)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "given must be a dict"),
        ([("whole", 7)], "given must be a dict"),
        ({"colour": 1}, "column 'colour'.*does not have"),
        ({0: 1}, "column 0, which"),
        ({"text": "q"}, "'q' for column 'text'.*'x', 'y', 'z'"),
        ({"text": None}, "None for column 'text'"),
        ({"text": np.nan}, "nan for column 'text'"),
        ({"text": pd.NA}, "<NA> for column 'text'"),
        ({"text": ["x"]}, "'x'. for column 'text'"),
        ({"number": "many"}, "'many' for column 'number', which holds numbers"),
        ({"number": "7"}, "'7' for column 'number', which holds numbers"),
        ({"number": pd.NA}, "<NA> for column 'number'"),
        ({"number": None}, "None for column 'number'"),
        ({"number": np.nan}, "nan for column 'number'"),
        ({"number": np.inf}, "inf for column 'number'"),
        ({"number": [1.0, 2.0]}, "column 'number'"),
        ({"yes": 2}, "Column 'yes' holds 2"),
        ({"whole": 7.5}, "column 'whole'"),
    ],
    ids=str,
)
def test_given_cells_that_cannot_be_are_refused(mixed, given, message):
    with pytest.raises(ValueError, match=message):
        mixed.sample(5, given=given)


@pytest.mark.parametrize(
    ("likelihood", "value", "message"),
    [
        ("poisson", -1, "Column 'x' holds -1"),
        ("poisson", 1.5, "given holds 1.5 for column 'x'"),
        ("log_normal", 0.0, "Column 'x' holds 0.0"),
        ("categorical", 77, "Column 'x' holds 77"),
    ],
)
def test_given_numbers_that_cannot_be_are_refused(likelihood, value, message):
    table = pd.DataFrame({"x": RANDOM.integers(1, 5, 60), "y": RANDOM.normal(size=60)})
    model = small(likelihood={"x": likelihood}).fit(table)
    with pytest.raises(ValueError, match=message):
        model.sample(5, given={"x": value})
    assert (model.sample(5, given={"x": 3}, random_state=0)["x"] == 3).all()


def test_cells_are_given_by_number_for_an_array(linear):
    X = FACTORS.to_numpy()
    drawn = clone(linear).set_params(max_iter=5).fit(X).sample(9, given={2: 1.5})
    assert (drawn[:, 2] == 1.5).all()
    assert len(np.unique(drawn[:, 0])) == 9


def test_a_warning_where_few_draws_count(linear):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        linear.sample(5, given={"a": 3.0}, random_state=0)
    # Columns that go together, asked to be far apart.
    hopeless = {"a": 1e3, "b": 1e3, "d": -1e3}
    with pytest.warns(UserWarning, match="worth only .* independent") as record:
        drawn = linear.sample(5, given=hopeless, random_state=0)
    assert record[0].filename == __file__
    assert (drawn["a"] == 1e3).all()


# ---- the aggregate prior -------------------------------------------------------------


def mixture(n_members=50, n_components=3):
    generator = torch.Generator().manual_seed(0)
    mean = torch.randn(n_members, n_components, generator=generator).double()
    log_scale = 0.5 * torch.randn(n_members, n_components, generator=generator).double()
    return mean, log_scale


def test_log_prob_of_a_mixture():
    mean, log_scale = mixture()
    z = 2 * torch.randn(4, 7, 3, generator=torch.Generator().manual_seed(1)).double()
    parts = torch.distributions.Normal(mean, log_scale.exp())
    expected = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(torch.ones(50).double()),
        torch.distributions.Independent(parts, 1),
    ).log_prob(z)
    torch.testing.assert_close(MixtureOfNormals(mean, log_scale).log_prob(z), expected)
    by_scipy = stats.norm(mean.numpy(), log_scale.exp().numpy()).logpdf(
        z.numpy()[:, :, None]
    )
    by_scipy = logsumexp(by_scipy.sum(-1), axis=-1) - np.log(50)
    np.testing.assert_allclose(expected, by_scipy, rtol=1e-10)


def test_log_prob_of_a_mixture_in_any_chunks(monkeypatch):
    one = MixtureOfNormals(*mixture())
    z = torch.randn(40, 3, generator=torch.Generator().manual_seed(1)).double()
    whole = one.log_prob(z)
    monkeypatch.setattr(mixtures, "_ENTRIES_AT_ONCE", 120)
    torch.testing.assert_close(one.log_prob(z), whole)


def test_narrow_members_are_summed_without_loss():
    """Squares multiplied out cancel where means are large beside scales."""
    mean, log_scale = mixture()
    log_scale = log_scale - 4
    z = mean + log_scale.exp()
    parts = torch.distributions.Normal(mean, log_scale.exp())
    expected = (
        torch.distributions.Independent(parts, 1).log_prob(z.unsqueeze(1)).logsumexp(-1)
    ) - np.log(50)
    for dtype, tolerance in [(torch.float64, 1e-8), (torch.float32, 0.05)]:
        found = MixtureOfNormals(mean.to(dtype), log_scale.to(dtype)).log_prob(
            z.to(dtype)
        )
        torch.testing.assert_close(found.double(), expected, atol=tolerance, rtol=0)


def test_draws_of_a_mixture_have_its_moments():
    mean, log_scale = mixture()
    draws = MixtureOfNormals(mean, log_scale).sample(
        100_000, 3, torch.Generator().manual_seed(0)
    )
    assert draws.dtype == torch.float64
    variance = log_scale.mul(2).exp().mean(0) + mean.var(0, correction=0)
    torch.testing.assert_close(draws.mean(0), mean.mean(0), atol=0.03, rtol=0)
    torch.testing.assert_close(draws.var(0), variance, atol=0, rtol=0.05)


BIMODAL = np.concatenate([RANDOM.normal(-3, 0.5, 300), RANDOM.normal(2, 1.0, 700)])


@pytest.mark.parametrize("prior", ["gaussian", Aggregate(n_rows=300)], ids=str)
def test_scores_are_those_of_a_proper_density(prior):
    table = BIMODAL[:, None]
    model = VAETransformer(
        1, prior=prior, max_iter=40, n_importance_samples=256, random_state=0
    ).fit(table)
    grid = np.linspace(-12, 12, 961)
    density = np.exp(model.score_samples(grid[:, None]))
    assert np.trapezoid(density, grid) == pytest.approx(1.0, abs=0.02)
    drawn = model.sample(N_DRAWS, random_state=0)[:, 0]
    # The draws have the density that the scores are the logarithm of.
    below = np.cumsum(density) * (grid[1] - grid[0])
    found = np.searchsorted(np.sort(drawn), grid) / N_DRAWS
    assert np.abs(found - below).max() < 0.03


def test_draws_come_closer_to_the_table():
    X = load_iris().data
    distances = {}
    for prior in ("gaussian", "aggregate"):
        drawn = small(max_iter=200, prior=prior).fit(X).sample(5_000, random_state=0)
        distances[prior] = np.mean(
            [
                stats.wasserstein_distance(ours, theirs) / theirs.std()
                for ours, theirs in zip(drawn.T, X.T, strict=True)
            ]
        )
    assert distances["aggregate"] <= distances["gaussian"] + 0.01
    assert distances["aggregate"] < 0.15


def test_training_is_that_with_the_normal_prior():
    X = load_iris().data
    plain, other = small().fit(X), small(prior="aggregate").fit(X)
    assert other.loss_curve_ == plain.loss_curve_
    np.testing.assert_array_equal(other.transform(X), plain.transform(X))
    assert not np.array_equal(other.score_samples(X), plain.score_samples(X))


def test_the_number_of_rows_is_bounded():
    X = load_iris().data
    few = small(prior=Aggregate(n_rows=1), early_stopping=False).fit(X)
    # All codes are drawn near that of one row.
    spread = few.sample(2_000, random_state=0).std(axis=0)
    assert (spread < small().fit(X).sample(2_000, random_state=0).std(axis=0)).all()
    for n_rows in (0, 2.5, "all"):
        with pytest.raises(ValueError, match="n_rows of Aggregate"):
            Aggregate(n_rows=n_rows)


@pytest.mark.parametrize("table", [load_iris().data, HOLED], ids=["array", "holes"])
def test_a_fitted_aggregate_is_kept_copied_and_gone_on_from(table):
    model = small(prior="aggregate", warm_start=True).fit(table)
    scores = model.score_samples(table)
    assert np.isfinite(scores).all()
    copy = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(copy.score_samples(table), scores)
    pd.testing.assert_frame_equal(
        pd.DataFrame(copy.sample(9, random_state=0)),
        pd.DataFrame(model.sample(9, random_state=0)),
    )
    np.testing.assert_allclose(
        model.score_features(table).sum(axis=1), scores, rtol=1e-12, atol=1e-12
    )
    for going_on in (copy.fit(table), copy.partial_fit(table)):
        later = going_on.score_samples(table)
        assert np.isfinite(later).all()
        assert not np.array_equal(later, scores)
    with pytest.raises(ValueError, match="prior="):
        copy.set_params(prior="gaussian").fit(table)


@pytest.mark.filterwarnings("ignore:The draws given")
def test_cells_can_be_given_under_the_aggregate():
    drawn = (
        small(prior="aggregate")
        .fit(MIXED)
        .sample(30, given={"text": "x", "number": 0.5}, random_state=0)
    )
    assert (drawn["text"] == "x").all() and (drawn["number"] == 0.5).all()


def test_a_link_between_two_columns_of_labels_is_found():
    """At the start, numbers of unit variance must not outweigh labels."""
    rng = np.random.default_rng(0)
    n = 3_000
    age = rng.normal(size=n)
    sex = np.where(rng.random(n) < 0.5, "m", "f")
    ward = rng.choice(["surgery", "general"], n)
    ward = np.where((sex == "f") & (rng.random(n) < 0.2), "maternity", ward)
    numbers = {f"x{j}": age + rng.normal(size=n) for j in range(5)}
    table = pd.DataFrame({"sex": sex, "ward": ward, "age": age, **numbers})
    model = VAETransformer(random_state=0).fit(table)
    drawn = model.sample(2_000, given={"ward": "maternity"}, random_state=0)
    assert (drawn["ward"] == "maternity").all()
    # Half of all rows are; no row of the table with this ward is.
    assert (drawn["sex"] == "m").mean() < 0.25
