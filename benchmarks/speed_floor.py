"""The bare matrix products of a workload: what no fit and no score can do without.

Operands and outcomes are allocated beforehand and used again and again, so that they
lie in the processor's caches as no real rows do. Nothing else is computed: no bias, no
activation, no draw, no loss, no update.
"""

import itertools
import math

import numpy as np
import torch
from speed_timing import FLOORS, NO_PATH

#: How an array is handed over, and how a product is made.
LIBRARIES = dict(
    zip(
        FLOORS,
        [(torch.from_numpy, torch.mm), (np.asarray, np.matmul)],
        strict=True,
    )
)
#: Rows, or rows times draws, of a batch in scoring, and draws of a row.
ROWS_PER_BATCH, N_DRAWS = 4_096, 64


class Layers:
    """Buffers of a chain of layers, with or without a linear path beside it.

    Parameters
    ----------
    n_rows : int
    widths : tuple of int
    n_locations : int or None
        Width of the linear path's outcome; None without it.
    dtype : dtype
    """

    def __init__(self, n_rows, widths, n_locations, dtype):
        rng = np.random.default_rng(0)

        def normal(*shape):
            return rng.normal(size=shape).astype(dtype)

        pairs = list(itertools.pairwise(widths))
        self._rows = [normal(n_rows, width) for width in widths]
        self._gradients = [normal(n_rows, width) for width in widths]
        # Of a size that keeps the outcomes of the chain near one.
        self._weights = [normal(*pair) / np.sqrt(dtype(pair[0])) for pair in pairs]
        self._to_weights = [normal(*pair) for pair in pairs]
        self._path = None
        if n_locations is not None:
            shapes = 2 * [(widths[0], n_locations)] + 2 * [(n_rows, n_locations)]
            self._path = tuple(normal(*shape) for shape in shapes)

    def forward(self):
        """Operands and outcome of each product."""
        products = list(
            zip(self._rows[:-1], self._weights, self._rows[1:], strict=True)
        )
        if self._path is not None:
            weights, _, _, outputs = self._path
            products.append((self._rows[0], weights, outputs))
        return products

    def backward(self, with_input):
        """Likewise for the gradients, of the chain's input only where asked for."""
        products = []
        for layer in reversed(range(len(self._weights))):
            rows, gradient = self._rows[layer], self._gradients[layer + 1]
            products.append((rows.T, gradient, self._to_weights[layer]))
            if layer > 0 or with_input:
                weights, outcome = self._weights[layer], self._gradients[layer]
                products.append((gradient, weights.T, outcome))
        if self._path is not None:
            weights, to_weights, gradient, _ = self._path
            products.append((self._rows[0].T, gradient, to_weights))
            if with_input:
                products.append((gradient, weights.T, self._gradients[0]))
        return products


def encoder(workload, n_rows, n_outputs, linear_path, dtype=np.float32):
    widths = (workload.n_columns, *workload.sizes, n_outputs)
    path = workload.n_components if linear_path else None
    return Layers(n_rows, widths, path, dtype)


def decoder(workload, n_rows, linear_path, dtype=np.float32):
    widths = (workload.n_components, *workload.sizes[::-1], workload.n_columns)
    path = workload.n_columns if linear_path else None
    return Layers(n_rows, widths, path, dtype)


def multiply(library, products, n_times):
    """Make the products so many times."""
    hand_over, product = LIBRARIES[library]
    handed = [tuple(hand_over(array) for array in arrays) for arrays in products]
    for _ in range(n_times):
        for left, right, outcome in handed:
            product(left, right, out=outcome)


# ---- the products of a fit, and of scoring: lists of (products, how many times) ------


def of_fit(workload, linear_path):
    """Forward, and all gradients but that of the rows, of every step."""
    n_rows = workload.rows_per_step
    encoding = encoder(workload, n_rows, 2 * workload.n_components, linear_path)
    decoding = decoder(workload, n_rows, linear_path)
    step = [*encoding.forward(), *decoding.forward()]
    step += [*decoding.backward(with_input=True), *encoding.backward(with_input=False)]
    return [(step, workload.n_epochs * workload.n_steps)]


def of_transform(workload, linear_path, n_rows, dtype):
    """The encoder's, means alone."""
    n_times, size = batches(n_rows)
    layers = encoder(workload, size, workload.n_components, linear_path, dtype)
    return [(layers.forward(), n_times)]


def of_inverse_transform(workload, linear_path, n_rows, dtype):
    """The decoder's."""
    n_times, size = batches(n_rows)
    return [(decoder(workload, size, linear_path, dtype).forward(), n_times)]


def of_score_samples(workload, linear_path, n_rows, dtype):
    """The encoder's once a row, the decoder's once a draw."""
    n_times, size = batches(n_rows)
    layers = encoder(workload, size, 2 * workload.n_components, linear_path, dtype)
    decoding = of_inverse_transform(workload, linear_path, n_rows * N_DRAWS, dtype)
    return [(layers.forward(), n_times), *decoding]


def batches(n_rows):
    """How many, and of how many rows: dealt evenly."""
    n_batches = math.ceil(n_rows / ROWS_PER_BATCH)
    return n_batches, math.ceil(n_rows / n_batches)


def floors(products_of, workload, *arguments):
    """The floors by library, with and without the linear path: calls by name."""
    calls = {}
    for ending, linear_path in (("", True), (NO_PATH, False)):
        products = products_of(workload, linear_path, *arguments)
        for library in LIBRARIES:
            calls[library + ending] = _call(library, products)
    return calls


def _call(library, products):
    def call(repeat):
        for some, n_times in products:
            multiply(library, some, n_times)

    return call
