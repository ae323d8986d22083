"""Converters for skl2onnx, so that pipelines that hold our estimators convert whole."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from onnx import TensorProto, helper
from skl2onnx import update_registered_converter
from skl2onnx.common.data_types import (
    DoubleTensorType,
    FloatTensorType,
    Int64TensorType,
)
from sklearn.utils.validation import check_is_fitted

from skvae import AETransformer, VAEOutlierDetector, VAETransformer
from skvae.onnx.graph import OPSET, Graph
from skvae.onnx.methods import labels, score_samples, transform

__all__ = ["register"]

_WITH_SCORES = {"score_samples": [True, False]}


def register() -> None:
    """Make the converters known to skl2onnx."""
    for estimator, shapes, options in (
        (AETransformer, _codes_shape, None),
        (VAETransformer, _codes_shape, _WITH_SCORES),
        (VAEOutlierDetector, _decisions_shape, _WITH_SCORES),
    ):
        alias = f"Skvae{estimator.__name__}"
        update_registered_converter(
            estimator, alias, shapes, _convert, parser=_parse, options=options
        )


def _parse(
    scope: Any, model: Any, inputs: list[Any], custom_parsers: Any = None
) -> list[Any]:
    """Declare the outputs, named as those of scikit-learn's estimators are."""
    check_is_fitted(model)
    operator = scope.declare_local_operator(f"Skvae{type(model).__name__}", model)
    operator.inputs = inputs
    numbers = DoubleTensorType if _is_double(inputs) else FloatTensorType
    if isinstance(model, VAEOutlierDetector):
        kinds = {"label": Int64TensorType, "scores": numbers}
    else:
        kinds = {"variable": numbers}
    if _asks_for_scores(scope, model):
        kinds["score_samples"] = numbers
    for name, kind in kinds.items():
        operator.outputs.append(scope.declare_local_variable(name, kind()))
    return operator.outputs


def _is_double(inputs: Sequence[Any]) -> bool:
    """Whether any is in float64; a data frame has an input for each column."""
    return any(isinstance(part.type, DoubleTensorType) for part in inputs)


def _asks_for_scores(registry: Any, model: Any) -> bool:
    if isinstance(model, AETransformer):
        return False
    return registry.get_options(model, {"score_samples": False})["score_samples"]


def _codes_shape(operator: Any) -> None:
    n_samples = operator.inputs[0].get_first_dimension()
    codes, *scores = operator.outputs
    codes.type.shape = [n_samples, operator.raw_operator.n_components_]
    for output in scores:
        output.type.shape = [n_samples, 1]


def _decisions_shape(operator: Any) -> None:
    n_samples = operator.inputs[0].get_first_dimension()
    for output in operator.outputs:
        output.type.shape = [n_samples, 1]


def _convert(scope: Any, operator: Any, container: Any) -> None:
    if container.target_opset < OPSET:
        raise RuntimeError(
            f"The graph of {type(operator.raw_operator).__name__} is written in opset "
            f"{OPSET}: set target_opset={OPSET} or above, got {container.target_opset}."
        )
    model = operator.raw_operator
    graph = Graph(
        np.float64 if _is_double(operator.inputs) else np.float32,
        prefix=scope.get_unique_variable_name("skvae") + "_",
    )
    parts = [graph.cast(part.full_name, graph.dtype) for part in operator.inputs]
    X = graph("Concat", *parts, axis=1) if len(parts) > 1 else parts[0]
    for output, result in zip(
        operator.outputs, _results(graph, model, X), strict=False
    ):
        graph("Identity", result, output=output.full_name)
    for constant in graph.constants:
        container.add_initializer(
            constant.name, constant.data_type, list(constant.dims), constant
        )
    for node in graph.nodes:
        attributes = {
            attribute.name: helper.get_attribute_value(attribute)
            for attribute in node.attribute
        }
        container.add_node(
            node.op_type,
            list(node.input),
            list(node.output),
            op_version=OPSET,
            name=scope.get_unique_operator_name(node.name),
            **attributes,
        )


def _results(graph: Graph, model: Any, X: str) -> Iterator[str]:
    """What the model computes, in the order of its outputs, scores as one column."""

    def column(name: str) -> str:
        return graph("Unsqueeze", graph.cast(name, graph.dtype), np.array([1]))

    if not isinstance(model, VAEOutlierDetector):
        yield transform(graph, model, X)
        if not isinstance(model, AETransformer):
            yield column(score_samples(graph, model, X))
        return
    scores = score_samples(graph, model, X)
    decisions = graph("Sub", scores, np.array(float(model.offset_)))
    label = graph("Unsqueeze", labels(graph, decisions), np.array([1]))
    yield graph("Cast", label, to=TensorProto.INT64)
    yield column(decisions)
    yield column(scores)
