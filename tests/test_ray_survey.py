"""The pass before a fit to a dataset: what it keeps of the rows."""

import pickle
from functools import partial

import numpy as np
import pandas as pd
import pytest

from skvae import VAETransformer

pytestmark = pytest.mark.ray

N_SAMPLED = 300


@pytest.fixture(scope="module")
def module():
    pytest.importorskip("ray", reason='Ray is not installed: pip install "skvae[ray]"')
    from skvae.ray import survey

    return survey


@pytest.fixture(scope="module")
def table():
    """Columns of all kinds, with one odd cell each that a sample would miss."""
    rng = np.random.default_rng(0)
    n = 4_000
    table = pd.DataFrame(
        {
            "number": rng.normal(5, 2, n),
            "count": rng.poisson(3, n),
            "two": rng.integers(0, 2, n).astype(float),
            "label": rng.choice(list("abc"), n),
            "flag": rng.random(n) < 0.3,
            "constant": 7.0,
        }
    )
    table.loc[1_234, "number"] = np.nan
    table.loc[2_345, "count"] = 40
    table.loc[3_456, "two"] = 0.5
    table.loc[777, "label"] = "rare"
    table.loc[778, "label"] = None
    return table


def blocks_of(table, sizes=(1_000, 1, 1_999, 1_000)):
    ends = np.cumsum(sizes)
    return [table.iloc[end - n : end] for end, n in zip(ends, sizes, strict=True)]


@pytest.fixture(params=["in order", "from the end"])
def whole(request, module, table):
    of = partial(module.Survey.of, n_sampled=N_SAMPLED, levelled={"count"}, seed=0)
    surveys = [of(block) for block in blocks_of(table)]
    if request.param == "from the end":
        surveys.reverse()
    return module._together(iter(surveys), n_sampled=N_SAMPLED, levelled={"count"})


def test_moments_are_those_of_all_rows(whole, table):
    for name in ("number", "count", "two", "constant"):
        column = table[name].dropna()
        assert whole.counts[name] == len(column)
        assert whole.means[name] == pytest.approx(column.mean(), rel=1e-12)
        variance = whole.squares[name] / whole.counts[name]
        assert variance == pytest.approx(column.var(ddof=0), rel=1e-12, abs=1e-25)


def test_stand_in_has_what_is_rare(whole, table):
    stand_in = whole.stand_in()
    assert len(stand_in) < len(table) / 4
    assert set(stand_in["label"].dropna()) == {"a", "b", "c", "rare"}
    assert set(stand_in["count"]) == set(table["count"])
    assert set(stand_in["two"]) == {0.0, 0.5, 1.0}
    for name in ("number", "count"):
        assert stand_in[name].min() == table[name].min()
        assert stand_in[name].max() == table[name].max()
    assert stand_in.isna().any().equals(table.isna().any())
    assert stand_in.dtypes.equals(table.dtypes)


def test_columns_are_judged_as_in_a_fit_to_all_rows(whole, table):
    local = VAETransformer(max_iter=1).fit(table)
    stands_in = VAETransformer(max_iter=1).fit(whole.stand_in())
    for found, expected in zip(stands_in.likelihood_, local.likelihood_, strict=True):
        assert found["column"] == expected["column"]
        if expected["family"] != "binned":  # which needs 1,000 cells
            assert found["family"] == expected["family"]
            assert found["levels"] == expected["levels"]


def test_sample_is_uniform_over_blocks_and_rows(module):
    """Means of positions, over several seeds, are those of uniform draws."""
    position = pd.DataFrame({"position": np.arange(4_000.0)})
    means = []
    for seed in range(20):
        options = {"n_sampled": N_SAMPLED, "levelled": set()}
        surveys = (
            module.Survey.of(block, seed=seed, **options)
            for block in blocks_of(position)
        )
        whole = module._together(surveys, **options)
        assert len(whole.sample) == N_SAMPLED == whole.sample["position"].nunique()
        means.append(whole.sample["position"].mean())
    error = 4_000 / np.sqrt(12 * N_SAMPLED * 20)
    assert np.mean(means) == pytest.approx(1_999.5, abs=4 * error)
    assert np.std(means) == pytest.approx(4_000 / np.sqrt(12 * N_SAMPLED), rel=0.5)


def test_sample_does_not_depend_on_the_order_of_blocks(module, table):
    options = {"n_sampled": N_SAMPLED, "levelled": set()}
    surveys = [module.Survey.of(b, seed=3, **options) for b in blocks_of(table)]
    copies = pickle.loads(pickle.dumps(surveys[::-1]))
    first = module._together(iter(surveys), **options)
    second = module._together(iter(copies), **options)
    pd.testing.assert_frame_equal(first.sample, second.sample)


def test_too_many_labels_are_not_kept(module, monkeypatch):
    monkeypatch.setattr(module, "_MOST_LABELS", 50)
    names = pd.DataFrame({"id": [f"row {i}" for i in range(60)], "x": np.arange(60.0)})
    options = {"n_sampled": 10, "levelled": set()}
    halves = [names.iloc[:30], names.iloc[30:]]
    surveys = [module.Survey.of(half, seed=0, **options) for half in halves]
    assert not any(half.crowded for half in surveys)
    whole = module._together(iter(surveys), **options)
    assert whole.crowded == {"id"}
    assert len(whole.witnesses) < 10


def test_decimals_text_and_dates_are_left_to_the_fit(module):
    """What a fit refuses is in the stand-in, for the fit to say why."""
    from decimal import Decimal

    odd = pd.DataFrame(
        {
            "price": [Decimal("1.5"), None, Decimal("2.5")],
            "day": pd.date_range("2020-01-01", periods=3),
            "both": [1, "one", 2],
        }
    )
    survey = module.Survey.of(odd, n_sampled=1, levelled=set(), seed=0)
    assert survey.means == {"price": 2.0}
    with pytest.raises(ValueError, match="'day' holds dates"):
        VAETransformer().fit(survey.stand_in())
    with pytest.raises(ValueError, match="'both' holds numbers and text"):
        VAETransformer().fit(survey.stand_in()[["both"]])
