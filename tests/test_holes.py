"""A row with holes scores the log-density of its observed cells."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import multivariate_normal, norm

from skvae import VAETransformer
from skvae.likelihoods import Gaussian

RANDOM = np.random.default_rng(0)
N_ROWS, N_FEATURES, N_COMPONENTS = 1_000, 5, 2


def factor_table():
    """Rows of a factor model, with all their cells."""
    loadings = RANDOM.normal(size=(N_COMPONENTS, N_FEATURES))
    codes = RANDOM.normal(size=(N_ROWS, N_COMPONENTS))
    noise = 0.5 * RANDOM.normal(size=(N_ROWS, N_FEATURES))
    return 10 + (codes @ loadings + noise) * np.logspace(-1, 1, N_FEATURES)


def with_holes(table, share=0.3):
    return np.where(RANDOM.random(table.shape) < share, np.nan, table)


def linear_vae(**parameters):
    return VAETransformer(
        N_COMPONENTS,
        hidden_layer_sizes=(),
        likelihood=Gaussian("shared"),
        n_importance_samples=4_096,
        random_state=0,
        **parameters,
    )


def exact_moments(vae):
    """Mean and covariance of x in a linear-Gaussian model, in the units of x."""
    fitted = vae._fitted_model(np.float64)
    points = np.vstack([np.zeros(N_COMPONENTS), np.eye(N_COMPONENTS)])
    mean, *ends = fitted.means(points)
    loadings = np.array(ends) - mean
    raw = fitted.weights["likelihood"]["raw_scale"].item()
    noise = (0.05 + np.logaddexp(0, raw)) * fitted.table._codecs[0].scale
    return mean, loadings.T @ loadings + np.diag(noise**2)


def exact_scores(vae, rows):
    mean, covariance = exact_moments(vae)
    scores = np.zeros(len(rows))
    for i, row in enumerate(rows):
        there = ~np.isnan(row)
        if there.any():
            marginal = mean[there], covariance[np.ix_(there, there)]
            scores[i] = multivariate_normal(*marginal).logpdf(row[there])
    return scores


WHOLE = factor_table()
HOLES = with_holes(WHOLE)


@pytest.fixture(scope="module")
def models():
    return {"whole": linear_vae().fit(WHOLE), "holes": linear_vae().fit(HOLES)}


# ---- the closed form -----------------------------------------------------------------


def test_scores_are_the_exact_marginals_of_the_fitted_model(models):
    vae, rows = models["holes"], HOLES[:200]
    error = vae.score_samples(rows) - exact_scores(vae, rows)
    assert np.abs(error).mean() < 0.02
    assert np.abs(error).max() < 0.1


def test_scores_are_so_where_fit_had_seen_no_holes(models):
    """The encoder is too sure of such rows; the draws that do not trust it make up."""
    vae, rows = models["whole"], HOLES[:200]
    error = vae.score_samples(rows) - exact_scores(vae, rows)
    assert np.abs(error).mean() < 0.02
    assert np.abs(error).max() < 0.2


@pytest.mark.parametrize("trained_on", ["whole", "holes"])
def test_rows_without_holes_are_scored_exactly(models, trained_on):
    vae, rows = models[trained_on], WHOLE[:200]
    error = vae.score_samples(rows) - exact_scores(vae, rows)
    assert np.abs(error).mean() < 0.02
    assert np.abs(error).max() < 0.1


def test_a_row_of_holes_scores_nothing(models):
    row = np.full((1, N_FEATURES), np.nan)
    for vae in models.values():
        assert vae.score_samples(row)[0] == pytest.approx(0.0, abs=1e-9)


def test_a_single_cell_scores_its_columns_density(models):
    """All columns but one are holes, column by column."""
    vae = models["holes"]
    mean, covariance = exact_moments(vae)
    for j in range(N_FEATURES):
        rows = np.full((50, N_FEATURES), np.nan)
        rows[:, j] = WHOLE[:50, j]
        exact = norm(mean[j], np.sqrt(covariance[j, j])).logpdf(WHOLE[:50, j])
        np.testing.assert_allclose(vae.score_samples(rows), exact, atol=0.1)


def test_fitting_on_holes_finds_the_same_distribution(models):
    """Holes at random lose some of the information, and none of the truth."""
    fresh = np.linalg.inv(exact_moments(models["whole"])[1])
    learned = exact_moments(models["holes"])[1]
    # The divergence of one covariance from the other, a column.
    product = fresh @ learned
    divergence = np.trace(product) - N_FEATURES - np.linalg.slogdet(product)[1]
    assert 0 <= divergence / 2 / N_FEATURES < 0.05


# ---- labels --------------------------------------------------------------------------

LABELS = np.array([*"abcd"])[RANDOM.choice(4, 2_000, p=[0.5, 0.3, 0.15, 0.05])]


def mean_probabilities(vae, n_draws=100_000):
    """Of a model's levels, over codes drawn from the prior."""
    fitted = vae._fitted_model(np.float64)
    Z = RANDOM.normal(size=(n_draws, vae.n_components_))
    return fitted._decode(torch.from_numpy(Z)).mean.numpy().mean(axis=0)


@pytest.fixture(scope="module")
def labelled():
    table = pd.DataFrame({"s": LABELS, "t": np.roll(LABELS, 1)})
    return {
        likelihood: VAETransformer(
            1,
            likelihood=likelihood,
            n_importance_samples=4_096,
            max_iter=20,
            random_state=0,
        ).fit(table)
        for likelihood in ("categorical", "ordinal")
    }


@pytest.mark.parametrize("likelihood", ["categorical", "ordinal"])
def test_a_label_scores_the_log_of_its_probability(labelled, likelihood):
    vae = labelled[likelihood]
    rows = pd.DataFrame({"s": [*"abcd"], "t": [None] * 4})
    scores = vae.score_samples(rows)
    np.testing.assert_allclose(scores, np.log(mean_probabilities(vae)[:4]), atol=0.02)
    assert np.exp(scores).sum() == pytest.approx(1.0, abs=0.01)
    shares = [(letter == LABELS).mean() for letter in "abcd"]
    np.testing.assert_allclose(np.exp(scores), shares, atol=0.05)


@pytest.mark.parametrize("likelihood", ["categorical", "ordinal"])
def test_probabilities_of_all_rows_that_can_be_sum_to_one(labelled, likelihood):
    pairs = pd.DataFrame([(s, t) for s in "abcd" for t in "abcd"], columns=["s", "t"])
    scores = labelled[likelihood].score_samples(pairs)
    assert np.exp(logsumexp(scores)) == pytest.approx(1.0, abs=0.01)


def test_a_hole_is_the_sum_over_what_could_be_there(labelled):
    vae = labelled["categorical"]
    holes = pd.DataFrame({"s": [*"abcd"], "t": [None] * 4})
    filled = [vae.score_samples(holes.assign(t=letter)) for letter in "abcd"]
    np.testing.assert_allclose(
        vae.score_samples(holes), logsumexp(filled, axis=0), atol=0.02
    )


# ---- mixed tables --------------------------------------------------------------------


def mixed_table(n_rows=300):
    """One column of each family, and holes in all of them."""
    level = RANDOM.normal(size=n_rows)
    labels = np.array([*"abc"])
    table = pd.DataFrame(
        {
            "label": labels[np.digitize(level + RANDOM.normal(size=n_rows), [-1, 1])],
            "number": level + RANDOM.normal(size=n_rows),
            "count": RANDOM.poisson(np.exp(level)).astype(float),
            "grade": pd.Categorical(
                labels[np.digitize(level, [-1, 1])], categories=[*"abc"], ordered=True
            ),
            "yes": pd.array(level > 0, dtype="boolean"),
            "size": np.exp(level),
            "spiked": np.maximum(level, 0.0),
        }
    )
    return table.mask(pd.DataFrame(RANDOM.random(table.shape) < 0.2, columns=[*table]))


LIKELIHOOD = {"count": "poisson", "size": "log_normal", "spiked": "binned"}
TABLE = mixed_table()
METHODS = ["score_samples", "transform", "score_features"]


@pytest.fixture(scope="module")
def mixed():
    return VAETransformer(likelihood=LIKELIHOOD, max_iter=5, random_state=0).fit(TABLE)


def rows_of(table, index):
    return table.iloc[index].reset_index(drop=True)


def permuted(answer):
    order = np.random.default_rng(0).permutation(len(TABLE))
    return answer(rows_of(TABLE, order))[np.argsort(order)]


def in_parts(answer):
    parts = np.array_split(np.arange(len(TABLE)), 7)
    return np.concatenate([answer(rows_of(TABLE, part)) for part in parts])


def alone(answer):
    return np.concatenate([answer(rows_of(TABLE, [i])) for i in range(len(TABLE))])


def beside_others_with_other_holes(answer):
    others = rows_of(TABLE, np.arange(len(TABLE))[::-1])
    for column in others:
        others[column] = others[column].sample(frac=1, random_state=1).to_numpy()
    others = others.astype(TABLE.dtypes)
    return answer(pd.concat([others, TABLE], ignore_index=True))[-len(TABLE) :]


def beside_none_with_holes(answer):
    """Batches without a hole go another way than those with one."""
    whole = np.flatnonzero(TABLE.notna().all(axis=1))
    found = answer(TABLE).copy()
    found[whole] = answer(rows_of(TABLE, whole))
    return found


ARRANGEMENTS = [
    permuted,
    in_parts,
    alone,
    beside_others_with_other_holes,
    beside_none_with_holes,
]


@pytest.mark.parametrize("arrange", ARRANGEMENTS)
@pytest.mark.parametrize("method", METHODS)
def test_a_row_is_answered_whatever_stands_beside_it(mixed, method, arrange):
    answer = getattr(mixed, method)
    expected, found = answer(TABLE), arrange(answer)
    size = np.abs(expected).reshape(len(TABLE), -1).max(axis=1)
    error = np.abs(found - expected).reshape(len(TABLE), -1).max(axis=1)
    assert (error <= 1e-9 * size).all()


def test_the_kind_of_hole_does_not_matter(mixed):
    cells = TABLE.astype(object)
    expected = mixed.score_features(TABLE)
    for hole in (None, np.nan, pd.NA, float("nan"), np.float32("nan")):
        other = cells.where(TABLE.notna(), hole)
        np.testing.assert_array_equal(mixed.score_features(other), expected)


def test_a_hole_is_read_as_the_mean_of_its_column_or_as_no_level(mixed):
    row = pd.DataFrame({name: [None] for name in TABLE}, dtype=object)
    inputs = mixed._table().encode(mixed._check_rows(row))[0]
    model = mixed._fitted_model(np.float32)
    read = model.model.reader(model.weights["reader"], torch.from_numpy(inputs))
    # Beside it stands that it is one, for each column that had holes in fit.
    assert read[0].tolist() == [0.0] * (read.shape[1] - 7) + [1.0] * 7


def test_parts_sum_to_the_score_and_holes_say_nothing(mixed):
    parts = mixed.score_features(TABLE)
    np.testing.assert_allclose(
        parts.sum(axis=1), mixed.score_samples(TABLE), rtol=1e-12, atol=1e-12
    )
    holes = TABLE.isna().to_numpy()
    assert holes.any(axis=0).all()
    np.testing.assert_array_equal(parts[:, :-1][holes], 0.0)
    assert (parts[:, :-1][~holes] != 0).all()


def test_a_row_of_holes_has_no_parts_but_the_code(mixed):
    row = pd.DataFrame({name: [None] for name in TABLE}, dtype=object)
    parts = mixed.score_features(row)
    np.testing.assert_array_equal(parts[0, :-1], 0.0)
    # -KL(p(z|x) || p(z)), of two distributions that should be one.
    assert -1 < parts[0, -1] < 0.1


@pytest.mark.parametrize("method", METHODS)
def test_float32_answers_nearly_as_float64_does(models, method):
    ours = getattr(models["holes"], method)(HOLES[:100].astype("float32"))
    theirs = getattr(models["holes"], method)(HOLES[:100])
    np.testing.assert_allclose(ours, theirs, atol=5e-3)
