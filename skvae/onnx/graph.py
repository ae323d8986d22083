"""An ONNX graph in the making: call an operator, get the name of its result."""

from typing import Any, TypeAlias

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

__all__ = ["OPSET", "Graph", "Operand"]

#: From here on the axes of every reduction are an input, and none is an attribute.
OPSET = 18


#: What an operator takes: the name of a result, or a constant.
Operand: TypeAlias = str | float | np.ndarray


class Graph:
    """Nodes and constants of an ONNX graph.

    Called with the name of an operator, its inputs and its attributes, it adds a node,
    and returns the name of the node's output. An input is such a name, or a number or
    array, which becomes a constant.

    Parameters
    ----------
    dtype : {np.float32, np.float64}
        What numbers that are no arrays become.
    prefix : str, default=""
        What all names begin with.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.onnx.graph import Graph
    >>> graph = Graph(np.float32)
    >>> doubled = graph("Mul", "X", 2.0)
    >>> [node.op_type for node in graph.nodes], len(graph.constants)
    (['Mul'], 1)
    """

    def __init__(self, dtype: np.dtype | type, prefix: str = "") -> None:
        self.dtype = np.dtype(dtype)
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []
        self._prefix = prefix

    def __call__(
        self,
        operator: str,
        *inputs: Operand,
        output: str | None = None,
        **attributes: Any,
    ) -> str:
        """Add a node with one output, and return the output's name."""
        names = [part if isinstance(part, str) else self._add(part) for part in inputs]
        output = output or f"{self._prefix}{operator.lower()}_{len(self.nodes)}"
        name = f"{output}_node"
        self.nodes.append(
            helper.make_node(operator, names, [output], name, **attributes)
        )
        return output

    def cast(self, name: str, dtype: np.dtype | type) -> str:
        """A result in another precision, or of another kind."""
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return self("Cast", name, to=kind)

    def sum(self, name: str, axis: int) -> str:
        """Sum along one axis, which is dropped."""
        return self("ReduceSum", name, np.array([axis]), keepdims=0)

    def mean(self, name: str, axis: int) -> str:
        """Mean along one axis, which is dropped."""
        return self("ReduceMean", name, np.array([axis]), keepdims=0)

    def log_sum_exp(self, name: str, axis: int) -> str:
        """Logarithm of the sum of exponentials along one axis, which is dropped."""
        axes = np.array([axis])
        largest = self("ReduceMax", name, axes, keepdims=1)
        shares = self("Exp", self("Sub", name, largest))
        total = self("Log", self("ReduceSum", shares, axes, keepdims=0))
        return self("Add", total, self("Squeeze", largest, axes))

    def log_add_exp(self, a: str, b: str) -> str:
        """Logarithm of the sum of two exponentials."""
        largest = self("Max", a, b)
        shares = (self("Exp", self("Sub", part, largest)) for part in (a, b))
        return self("Add", largest, self("Log", self("Add", *shares)))

    def softplus(self, name: str) -> str:
        """log(1 + exp(x)), for any x."""
        small = self("Exp", self("Neg", self("Abs", name)))
        return self("Add", self("Max", name, 0.0), self("Log", self("Add", small, 1.0)))

    def _add(self, value: float | np.ndarray) -> str:
        if not isinstance(value, np.ndarray):
            value = np.array(value, dtype=self.dtype)
        name = f"{self._prefix}constant_{len(self.constants)}"
        contiguous = np.ascontiguousarray(value).reshape(value.shape)
        self.constants.append(numpy_helper.from_array(contiguous, name))
        return name
