"""Any table, any valid parameters: a right answer, or an error that says why not.

`make fuzz` plays 10,000 cases; here a few hundred, always the same ones.
"""

import time
import warnings

import numpy as np
import pytest
import robustness
from hypothesis import HealthCheck, Phase, given, settings
from random_settings import ESTIMATORS, EstimatorPlan, estimator_plans
from random_tables import (
    CHANGES,
    ColumnPlan,
    TablePlan,
    changed,
    changes,
    table_plans,
)

from skvae import VAETransformer

PLAN = TablePlan((ColumnPlan("normal"), ColumnPlan("skewed")), n_rows=20)


@settings(
    max_examples=250,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],  # a case prints as what makes it again, shrunk or not
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(estimator_plans(), table_plans(), changes())
def test_any_table_is_answered_or_refused(estimator_plan, table_plan, changes):
    rows = changed(table_plan, *changes)
    for _, kind in robustness.outcomes(estimator_plan.make(), table_plan, rows):
        assert kind == "answered" or kind.startswith("refused")


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", ESTIMATORS)
def test_rows_that_differ_from_those_of_fit(name, change):
    estimator = EstimatorPlan(name).make()
    for _ in robustness.outcomes(estimator, PLAN, changed(PLAN, change)):
        pass


def _warns(self, X):
    warnings.warn("of torch's making", stacklevel=2)


def _writes(self, X):
    X[0] = 0.0
    return np.zeros(len(X))


def _sleeps(self, X):
    time.sleep(5)


def _marks(self, X):
    self.mark_ = 1
    return np.zeros(len(X))


def _raises(error):
    def score_samples(self, X):
        raise error

    return score_samples


WRONG = {
    "nan": (lambda self, X: np.full(len(X), np.nan), "not finite"),
    "shape": (lambda self, X: np.zeros((len(X), 1)), "shape"),
    "by_place": (lambda self, X: np.arange(1.0, len(X) + 1) / len(X), "alone"),
    "warning": (_warns, "UserWarning"),
    "type": (_raises(KeyError("X")), "KeyError"),
    "text": (_raises(ValueError("oh no")), "neither a column nor a parameter"),
    "writes": (_writes, "changed what it was given"),
    "marks": (_marks, "changed the estimator"),
    "hangs": (_sleeps, "took more than"),
}


@pytest.mark.parametrize(("method", "message"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_found(monkeypatch, method, message):
    monkeypatch.setattr(VAETransformer, "score_samples", method)
    monkeypatch.setattr(robustness, "_LONGEST_CALL", 0.5)
    estimator = EstimatorPlan("VAETransformer").make()
    with pytest.raises(robustness.Wrong, match=message):
        list(robustness.outcomes(estimator, PLAN, PLAN.make()))
