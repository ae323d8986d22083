"""The methods of the estimators that have an ONNX graph, each as a function."""

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.base import is_outlier_detector

from skvae.ensemble import SHARE_OF_COLUMNS
from skvae.fitted import FittedModel, member_states
from skvae.onnx.graph import Graph
from skvae.onnx.nodes import MemberNodes, Rows, check

__all__ = ["METHODS", "n_columns"]


def transform(graph: Graph, estimator: Any, X: str) -> str:
    """Codes of rows."""
    fitted = _fitted(graph, estimator)
    return MemberNodes(graph, fitted).codes(Rows(graph, fitted.table, X))


def inverse_transform(graph: Graph, estimator: Any, Z: str) -> str:
    """Rows that codes stand for."""
    points = MemberNodes(graph, _fitted(graph, estimator)).points(Z)
    return graph.cast(points, graph.dtype)


def score_samples(graph: Graph, estimator: Any, X: str) -> str:
    """The score of each row, in float64."""
    n_draws = estimator._n_draws()
    if not is_outlier_detector(estimator):
        fitted = _fitted(graph, estimator)
        rows = Rows(graph, fitted.table, X)
        return MemberNodes(graph, fitted).log_likelihood(rows, n_draws)
    name = estimator._score_function
    members = [
        FittedModel(state, graph.dtype.type, robust=name == "robust")
        for state in member_states(estimator._state)
    ]
    for fitted in members:
        check(fitted)
    rows = Rows(graph, members[0].table, X)
    scores = [
        _SCORES[name](MemberNodes(graph, fitted), rows, n_draws) for fitted in members
    ]
    total = scores[0]
    for score in scores[1:]:
        total = graph("Add", total, score)
    mean = graph("Div", total, np.array(float(len(scores))))
    if name != "robust":
        return mean
    columns = _histograms(graph, rows.values, estimator._state["histograms"])
    difference = graph("Sub", columns, mean)
    return graph("Add", mean, graph("Mul", difference, np.array(SHARE_OF_COLUMNS)))


def decision_function(graph: Graph, estimator: Any, X: str) -> str:
    """The score of each row less the offset, in float64."""
    scores = score_samples(graph, estimator, X)
    return graph("Sub", scores, np.array(float(estimator.offset_)))


def predict(graph: Graph, estimator: Any, X: str) -> str:
    """-1 for outliers, 1 for the others."""
    return labels(graph, decision_function(graph, estimator, X))


def labels(graph: Graph, decisions: str) -> str:
    """-1 where a decision is below 0, else 1."""
    is_outlier = graph("Less", decisions, np.array(0.0))
    return graph("Where", is_outlier, np.array(-1), np.array(1))


METHODS: dict[str, Callable[[Graph, Any, str], str]] = {
    function.__name__: function
    for function in (
        transform,
        inverse_transform,
        score_samples,
        decision_function,
        predict,
    )
}

_SCORES: dict[str, Callable[[MemberNodes, Rows, int], str]] = {
    "log_likelihood": MemberNodes.log_likelihood,
    "elbo": MemberNodes.bound,
    "robust": MemberNodes.bound,
    "reconstruction_probability": lambda member, rows, n_draws: member.bound(
        rows, n_draws, with_code=False
    ),
    "reconstruction_error": lambda member, rows, n_draws: member.minus_errors(rows),
}


def n_columns(estimator: Any, method: str) -> int:
    """How many columns the method reads."""
    if method == "inverse_transform":
        return estimator.n_components_
    return estimator.n_features_in_


def _fitted(graph: Graph, estimator: Any) -> FittedModel:
    fitted = FittedModel(estimator._state, graph.dtype.type)
    check(fitted)
    return fitted


def _histograms(graph: Graph, X: str, histograms: dict[str, np.ndarray]) -> str:
    """Log-density of rows in the histograms of their columns, (n_rows,), in float64.

    Straight lines between the middles of bins, as sums of ramps: each rises from one
    middle to the next, and is level elsewhere.
    """
    middles, log_density = histograms["middles"], histograms["log_density"]
    lengths = np.diff(middles)
    rises = np.diff(log_density)
    slopes = np.divide(rises, lengths, out=np.zeros_like(rises), where=lengths > 0)
    is_hole = graph("IsNaN", X)
    known = graph("Where", is_hole, np.array(0.0), X)
    ahead = graph("Sub", graph("Unsqueeze", known, np.array([-1])), middles[:, :-1])
    gone = graph("Min", graph("Max", ahead, np.array(0.0)), lengths)
    ramps = graph.sum(graph("Mul", gone, slopes), -1)
    cells = graph("Add", ramps, log_density[:, 0])
    return graph.sum(graph("Where", is_hole, np.array(0.0), cells), 1)
