"""to_onnx: one method of a fitted estimator as an ONNX model."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import DTypeLike
from onnx import ModelProto, ValueInfoProto, checker, helper
from sklearn.utils.validation import check_is_fitted

from skvae import AETransformer, VAEOutlierDetector, VAETransformer, __version__
from skvae.onnx.graph import OPSET, Graph
from skvae.onnx.methods import METHODS, n_columns

__all__ = ["to_onnx"]

#: The format of the file that goes with the operators, read by onnxruntime 1.14 on.
_IR_VERSION = 8


def to_onnx(
    estimator: VAETransformer | AETransformer | VAEOutlierDetector,
    method: str = "transform",
    *,
    dtype: DTypeLike = np.float32,
) -> ModelProto:
    """One method of a fitted estimator as an ONNX model.

    The model has one input, "X", and one output, named after the method. It computes
    what the method does, holes (NaN) included, in float32 or float64. It does not
    check rows as the method does: numbers out of all range, such as infinity, are read
    as very far out.

    Parameters
    ----------
    estimator : VAETransformer, AETransformer or VAEOutlierDetector
        Fitted on numbers, with one likelihood of "gaussian", "student_t" or "laplace"
        for all columns, a perceptron and a Gaussian posterior, as by default.
    method : str, default="transform"
        "transform", "inverse_transform" or "score_samples"; of a detector
        "score_samples", "decision_function" or "predict".
    dtype : {numpy.float32, numpy.float64}, default=numpy.float32
        Precision of the input and of the arithmetic. Scores and decisions are float64,
        labels int64.

    Returns
    -------
    model : onnx.ModelProto
        To be saved by ``onnx.save(model, file)``, or run by
        ``onnxruntime.InferenceSession(model.SerializeToString())``.

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.
    ValueError
        If the estimator has no such method, or was fitted with what has no graph; the
        message names the column or the parameter.

    References
    ----------
    The operators of ONNX, opset 18: https://onnx.ai/onnx/operators.

    Examples
    --------
    >>> import numpy as np
    >>> import onnxruntime
    >>> from sklearn.datasets import load_breast_cancer
    >>> from skvae import VAETransformer
    >>> from skvae.onnx import to_onnx
    >>> X = load_breast_cancer().data.astype(np.float32)
    >>> vae = VAETransformer(2, max_iter=20, random_state=0).fit(X)
    >>> model = to_onnx(vae, "score_samples")
    >>> session = onnxruntime.InferenceSession(model.SerializeToString())
    >>> (scores,) = session.run(None, {"X": X})
    >>> np.allclose(scores, vae.score_samples(X), rtol=1e-5)
    True
    """
    check_is_fitted(estimator)
    name = type(estimator).__name__
    # A subclass may compute something else.
    if type(estimator) not in (VAETransformer, AETransformer, VAEOutlierDetector):
        raise ValueError(
            f"{name} cannot be exported to ONNX by itself: VAETransformer, "
            "AETransformer and VAEOutlierDetector can. A pipeline that holds them is "
            "converted by skl2onnx.to_onnx(pipeline, X[:1]) once skvae.onnx is "
            "imported."
        )
    known = [entry for entry in METHODS if hasattr(estimator, entry)]
    if method not in known:
        raise ValueError(f"method of {name} must be one of {known}, got {method!r}.")
    if dtype not in (np.float32, np.float64, "float32", "float64"):
        raise ValueError(
            f"dtype must be numpy.float32 or numpy.float64, got {dtype!r}."
        )
    graph = Graph(np.dtype(dtype))
    output = METHODS[method](graph, estimator, "X")
    graph("Identity", output, output=method)
    kinds: dict[str, DTypeLike] = {
        "score_samples": np.float64,
        "decision_function": np.float64,
        "predict": np.int64,
    }
    shape: list[int | str] = ["n_samples"]
    if method == "transform":
        shape = ["n_samples", estimator.n_components_]
    elif method == "inverse_transform":
        shape = ["n_samples", estimator.n_features_in_]
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            type(estimator).__name__,
            [_value("X", dtype, ["n_samples", n_columns(estimator, method)])],
            [_value(method, kinds.get(method, dtype), shape)],
            graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=_IR_VERSION,
        producer_name="skvae",
        producer_version=__version__,
    )
    checker.check_model(model, full_check=True)
    return model


def _value(name: str, dtype: DTypeLike, shape: Sequence[int | str]) -> ValueInfoProto:
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    return helper.make_tensor_value_info(name, kind, shape)
