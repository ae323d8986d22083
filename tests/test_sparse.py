"""Sparse tables: the answers of dense ones, and never dense whole."""

import numpy as np
import pytest
from scipy import sparse

from skvae import VAEImputer, VAETransformer

RANDOM = np.random.default_rng(0)
N_ROWS, N_FEATURES = 200, 12
COUNTS = RANDOM.poisson(np.exp(RANDOM.normal(-1, 1, (N_ROWS, 1)))) * np.ones(N_FEATURES)
COUNTS = RANDOM.poisson(0.2 + COUNTS).astype(float)
HOLES = np.where(RANDOM.random(COUNTS.shape) < 0.1, np.nan, COUNTS)
#: By name: parameters, and a dense table.
MODELS = {
    "gaussian": ({}, COUNTS),
    "poisson": ({"likelihood": "poisson"}, COUNTS),
    "bernoulli": ({"likelihood": "bernoulli"}, (COUNTS > 0).astype(float)),
    "binned": ({"likelihood": "binned"}, COUNTS),
    "holes": ({"likelihood": "negative_binomial"}, HOLES),
    "mixed": ({"likelihood": {0: "categorical", 5: "ordinal", 7: "poisson"}}, COUNTS),
    "held_out": ({"early_stopping": True, "prior": "aggregate"}, COUNTS),
}
FORMS = {
    "csr_matrix": sparse.csr_matrix,
    "csr_array": sparse.csr_array,
    "csc_matrix": sparse.csc_matrix,
    "csc_array": sparse.csc_array,
    "coo_array": sparse.coo_array,
    "lil_array": sparse.lil_array,
}
METHODS = ["transform", "score_samples", "score_features"]


def small(**parameters):
    return VAETransformer(
        **{"max_iter": 3, "n_importance_samples": 8, "random_state": 0, **parameters}
    )


def assert_same_answers(found, expected, rows, dense):
    for method in METHODS:
        np.testing.assert_allclose(
            getattr(found, method)(rows),
            getattr(expected, method)(dense),
            rtol=1e-9,
            atol=1e-9,
        )
    assert found.score(rows) == pytest.approx(expected.score(dense), rel=1e-9)


@pytest.mark.parametrize(("parameters", "dense"), MODELS.values(), ids=MODELS)
def test_answers_are_those_of_the_dense_table(parameters, dense):
    rows = sparse.csr_array(dense)
    assert rows.nnz < dense.size or parameters.get("likelihood") == "binned"
    found, expected = small(**parameters).fit(rows), small(**parameters).fit(dense)
    assert_same_answers(found, expected, rows, dense)
    assert found.loss_curve_ == expected.loss_curve_
    np.testing.assert_array_equal(
        found.sample(5, random_state=0), expected.sample(5, random_state=0)
    )
    found.partial_fit(rows), expected.partial_fit(dense)
    assert_same_answers(found, expected, rows, dense)


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_every_form_of_sparse_matrix(form):
    dense = MODELS["poisson"][1]
    rows, model = form(dense), small(likelihood="poisson")
    assert_same_answers(
        model.fit(rows), small(likelihood="poisson").fit(dense), rows, dense
    )


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8", "float32", "bool"])
def test_every_dtype(dtype):
    dense = np.minimum(COUNTS, 1) if dtype == "bool" else COUNTS
    parameters = {"likelihood": "bernoulli" if dtype == "bool" else "poisson"}
    rows = sparse.csr_array(dense.astype(dtype))
    found, expected = (
        small(**parameters).fit(rows),
        small(**parameters).fit(dense.astype(dtype)),
    )
    assert_same_answers(found, expected, rows, dense.astype(dtype))


def test_an_explicit_zero_is_a_zero():
    rows = sparse.csr_array(COUNTS)
    explicit = rows.copy()
    explicit.data = explicit.data.copy()
    row, column = np.argwhere(COUNTS == 0)[0]
    places = rows.tocoo()
    explicit = sparse.csr_array(
        (
            np.append(places.data, 0.0),
            (np.append(places.row, row), np.append(places.col, column)),
        ),
        shape=rows.shape,
    )
    assert explicit.nnz == rows.nnz + 1
    model = small(likelihood="poisson")
    assert_same_answers(model.fit(explicit), model, rows, COUNTS)


def test_a_hole_is_an_explicit_nan():
    rows = sparse.csr_array(HOLES)
    parts = small(likelihood="poisson").fit(rows).score_features(rows)
    np.testing.assert_array_equal(parts[:, :-1][np.isnan(HOLES)], 0.0)


def test_rows_of_nothing_but_zeros():
    dense = np.where(np.arange(N_ROWS)[:, None] % 3 == 0, 0.0, COUNTS)
    rows = sparse.csr_array(dense)
    model = small(likelihood="poisson").fit(rows)
    assert_same_answers(model, model, rows[:1], dense[:1])


@pytest.mark.parametrize(
    "change",
    [lambda rows: rows.sort_indices(), lambda rows: rows.sum_duplicates()],
    ids=["unsorted", "duplicates"],
)
def test_the_table_is_not_written_to(change):
    places = sparse.coo_array(COUNTS)
    order = RANDOM.permutation(places.nnz)
    # Entries in any order, and some of them twice.
    index = np.concatenate([order, order[:20]])
    given = sparse.csr_array(
        (places.data[index], (places.row[index], places.col[index])),
        shape=places.shape,
    )
    before = [given.data.copy(), given.indices.copy(), given.indptr.copy()]
    model = small().fit(given)
    model.score_features(given)
    for ours, theirs in zip(
        [given.data, given.indices, given.indptr], before, strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)
    tidy = given.copy()
    change(tidy)
    assert_same_answers(model, model, given, tidy.toarray())


@pytest.mark.parametrize("likelihood", ["gaussian", "poisson", "bernoulli"])
def test_never_dense_whole(monkeypatch, likelihood):
    """At most 5,000,000 cells at a time, of 9,000,000 here."""
    shape = 3_000, 3_000
    rows = sparse.random_array(shape, density=0.001, format="csr", rng=RANDOM)
    rows.data[:] = 1.0
    made_dense = []
    original = sparse.csr_array.toarray

    def watched(matrix, *args, **kwargs):
        made_dense.append(matrix.shape)
        return original(matrix, *args, **kwargs)

    monkeypatch.setattr(sparse.csr_array, "toarray", watched)
    model = small(
        n_components=1,
        hidden_layer_sizes=(4,),
        likelihood=likelihood,
        n_importance_samples=1,
        max_iter=1,
        early_stopping=False,
        init="random",
    )
    model.fit(rows)
    model.transform(rows), model.score_samples(rows)
    assert made_dense
    assert max(np.prod(size) for size in made_dense) <= 5_000_000


def test_the_imputer_refuses_them():
    with pytest.raises(TypeError, match="Sparse data was passed"):
        VAEImputer(max_iter=1).fit(sparse.csr_array(COUNTS))
