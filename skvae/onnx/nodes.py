"""What a fitted model computes, as nodes of an ONNX graph.

It says again, in the operators of ONNX, what `skvae.fitted` and the engine do for
tables of numbers and perceptrons; tests hold the two to each other. Columns are
standardised in float64, as ever; the rest is in the precision of the graph.
"""

import math
from typing import Any

import numpy as np

from skvae import frames, likelihoods, posteriors, priors
from skvae.autoencoder import SquaredError
from skvae.codecs import FURTHEST
from skvae.core import evaluation
from skvae.core.arrays import LARGEST_SOFTPLUS
from skvae.core.passes import Forward
from skvae.fitted import FittedModel
from skvae.likelihoods.special import HALF_LOG_2PI
from skvae.networks.base import ACTIVATIONS, INPUT_BOUND
from skvae.onnx.graph import Graph, Operand
from skvae.posteriors.gaussian import LOG_SCALE_BOUND
from skvae.table import TableEncoder

__all__ = ["MemberNodes", "Rows", "check"]


def _gelu(graph: Graph, x: str) -> str:
    share = graph("Add", _erf(graph, graph("Mul", x, math.sqrt(0.5))), 1.0)
    return graph("Mul", graph("Mul", x, 0.5), share)


def _erf(graph: Graph, x: str) -> str:
    """The error function; in float64, where onnxruntime has none, by quadrature."""
    if graph.dtype == np.float32:
        return graph("Erf", x)
    # Beyond 6 it is 1 to the last digit. Of the even integrand half the points do.
    points, weights = (part[20:] for part in np.polynomial.legendre.leggauss(40))
    x = graph("Clip", x, -6.0, 6.0)
    squares = graph("Mul", x, x)
    integral: Operand = 0.0
    for point, weight in zip(points, weights * 2 / math.sqrt(math.pi), strict=True):
        integrand = graph("Exp", graph("Mul", squares, -(point**2)))
        integral = graph("Add", graph("Mul", integrand, weight), integral)
    return graph("Mul", x, integral)


def _elu(graph: Graph, x: str) -> str:
    below = graph("Sub", graph("Exp", graph("Min", x, 0.0)), 1.0)
    return graph("Add", graph("Max", x, 0.0), below)


def _silu(graph: Graph, x: str) -> str:
    if graph.dtype == np.float32:
        return graph("Mul", x, graph("Sigmoid", x))
    # Those nodes onnxruntime fuses, before 1.31 also in float64, where it then fails.
    return graph("Div", x, graph("Add", graph("Exp", graph("Neg", x)), 1.0))


_NODES = {
    "elu": _elu,
    "gelu": _gelu,
    "identity": lambda graph, x: x,
    "logistic": lambda graph, x: graph("Sigmoid", x),
    "relu": lambda graph, x: graph("Relu", x),
    "silu": _silu,
    "softplus": lambda graph, x: graph.softplus(x),
    "tanh": lambda graph, x: graph("Tanh", x),
}
_ACTIVATIONS = {ACTIVATIONS[name]: nodes for name, nodes in _NODES.items()}


def _gaussian(graph: Graph, standardized: str, likelihood: Any) -> str:
    halves = graph("Mul", graph("Mul", standardized, standardized), -0.5)
    return graph("Sub", halves, HALF_LOG_2PI)


def _laplace(graph: Graph, standardized: str, likelihood: Any) -> str:
    return graph("Sub", graph("Neg", graph("Abs", standardized)), math.log(2))


def _student_t(graph: Graph, standardized: str, likelihood: Any) -> str:
    df = likelihood.df
    squares = graph("Div", graph("Mul", standardized, standardized), df)
    tails = graph("Mul", graph("Log", graph("Add", squares, 1.0)), -0.5 * (df + 1))
    constant = math.lgamma(df / 2 + 0.5) - math.lgamma(df / 2)
    return graph("Add", tails, constant - 0.5 * math.log(df * math.pi))


#: Log-densities at unit scale of the likelihoods of numbers that have a graph.
_LOG_DENSITIES = {
    likelihoods.Gaussian: _gaussian,
    likelihoods.Laplace: _laplace,
    likelihoods.StudentT: _student_t,
}


def check(fitted: FittedModel) -> None:
    """Refuse a fitted model that has no graph.

    Raises
    ------
    ValueError
        Naming the column, or the parameter, and what to fit with instead.
    """
    table, model = fitted.table, fitted.model
    names = frames.column_labels(table.layout, table.n_features)
    for j, choice in enumerate(table.chosen()):
        if type(choice.likelihood) not in (*_LOG_DENSITIES, SquaredError):
            raise ValueError(
                f"Column {names[j]!r} has likelihood {choice.likelihood!r}, which ONNX "
                'export does not know: fit with likelihood="gaussian", or encode the '
                "column as numbers first."
            )
    if len(table.blocks) > 1:
        first, other = (int(block["columns"][0]) for block in table.blocks[:2])
        raise ValueError(
            f"Column {names[other]!r} has another likelihood than {names[first]!r}: "
            "for ONNX export all columns have one. A column without a number in fit "
            "has one of its own: leave it out."
        )
    if not all(type(net) is Forward for net in (model.encoder, model.decoder)):
        raise ValueError(
            "ONNX export knows perceptrons alone: fit with network=None, MLP or Linear."
        )
    is_autoencoder = type(model.likelihood) is SquaredError
    known = posteriors.Point if is_autoencoder else posteriors.Gaussian
    if type(model.posterior) is not known:
        raise ValueError(
            f"ONNX export does not know posterior={model.posterior!r}: fit with "
            'posterior="gaussian".'
        )
    prior = model.prior_of(fitted.weights)
    if type(prior) not in (priors.Gaussian, priors.MixtureOfNormals):
        raise ValueError(
            'ONNX export knows prior="gaussian", "mixture", "vamp" and "aggregate" '
            "alone: fit with one of them."
        )


class Rows:
    """Rows of X in a graph, as the table of a fitted model encodes them.

    Parameters
    ----------
    graph : Graph
    table : TableEncoder
        Of one block.
    X : str
        Name of the rows, (n_rows, n_features), in the precision of the graph.
    """

    def __init__(self, graph: Graph, table: TableEncoder, X: str) -> None:
        (block,) = table.blocks
        offset, scale = block["state"]["offset"], block["state"]["scale"]
        self._graph = graph
        self.values = graph.cast(X, np.float64)
        standardized = graph("Div", graph("Sub", self.values, offset), scale)
        is_hole = graph("IsNaN", standardized)
        limit = FURTHEST[graph.dtype.name]
        near = graph("Clip", standardized, np.array(-limit), np.array(limit))
        #: 0 for a hole.
        self.standardized = graph.cast(
            graph("Where", is_hole, np.array(0.0), near), graph.dtype
        )
        self.observed = graph.cast(graph("Not", is_hole), graph.dtype)
        #: What the encoder reads: the numbers, then the marks of holes.
        self.inputs = self.standardized
        if len(table.gaps):
            marks = graph(
                "Gather", graph.cast(is_hole, graph.dtype), table.gaps, axis=1
            )
            self.inputs = graph("Concat", self.standardized, marks, axis=1)
        self._log_scale = np.log(scale)

    def log_jacobian(self) -> str:
        """What the observed cells of a row add to its log-density, in float64."""
        observed = self._graph.cast(self.observed, np.float64)
        return self._graph("MatMul", observed, -self._log_scale)


class MemberNodes:
    """The nodes of a fitted model: of the only one, or of a member of an ensemble.

    Parameters
    ----------
    graph : Graph
    fitted : FittedModel
        One that `check` accepts, in the precision of the graph.
    """

    def __init__(self, graph: Graph, fitted: FittedModel) -> None:
        self._graph, self._fitted = graph, fitted
        self._model = fitted.model
        self._weights = {
            part: {name: weight.numpy(force=True) for name, weight in named.items()}
            for part, named in fitted.weights.items()
        }
        self._prior: Any = fitted.model.prior_of(fitted.weights)

    def codes(self, rows: Rows) -> str:
        """Means of the posteriors, or the codes that are points."""
        return self._perceptron("encoder", rows.inputs)[0]

    def points(self, Z: str) -> str:
        """Rows that codes stand for, in the units of X, in float64."""
        graph = self._graph
        (block,) = self._fitted.table.blocks
        locations, _ = self._perceptron("decoder", Z)
        scaled = graph(
            "Mul", graph.cast(locations, np.float64), block["state"]["scale"]
        )
        return graph("Add", scaled, block["state"]["offset"])

    def log_likelihood(self, rows: Rows, n_draws: int) -> str:
        """The importance-weighted log-likelihood, (n_rows,), in float64."""
        graph = self._graph
        noise = self._noise(n_draws)
        mean, log_scale = self._posterior(rows)
        z = self._drawn(mean, log_scale, noise)
        log_q = self._log_normal(z, mean, log_scale)
        z, log_q = self._defended(rows, z, log_q, mean, log_scale, noise)
        log_ratio = graph("Sub", self._log_prior(z), log_q)
        log_w = graph("Add", self._log_prob(rows, z), log_ratio)
        total = graph("Sub", graph.log_sum_exp(log_w, 0), math.log(len(noise)))
        return graph("Add", graph.cast(total, np.float64), rows.log_jacobian())

    def bound(self, rows: Rows, n_draws: int, with_code: bool = True) -> str:
        """The evidence lower bound, or without the code's cost, likewise."""
        graph = self._graph
        noise = self._noise(n_draws)
        mean, log_scale = self._posterior(rows)
        z = self._drawn(mean, log_scale, noise)
        bound = graph.mean(self._log_prob(rows, z), 0)
        if with_code:
            bound = graph("Sub", bound, self._divergence(z, mean, log_scale))
        return graph("Add", graph.cast(bound, np.float64), rows.log_jacobian())

    def minus_errors(self, rows: Rows) -> str:
        """Minus the squared standardised distance of rows to their reconstruction."""
        graph = self._graph
        locations, _ = self._perceptron("decoder", self.codes(rows))
        difference = graph("Sub", rows.standardized, locations)
        squares = graph("Mul", graph("Mul", difference, difference), rows.observed)
        return graph.cast(graph("Neg", graph.sum(squares, 1)), np.float64)

    # ---- the parts -----------------------------------------------------------------

    def _noise(self, n_draws: int) -> np.ndarray:
        """(n_draws, 1, n_components), the same as in `score_samples`."""
        like = next(iter(self._fitted.weights["decoder"].values()))
        return evaluation.shared_noise(self._model, n_draws, like).numpy(force=True)

    def _posterior(self, rows: Rows) -> tuple[str, str]:
        """Means and log-scales, both (n_rows, n_components)."""
        mean, others = self._perceptron("encoder", rows.inputs)
        assert others is not None  # points have no scores
        squashed = self._graph("Tanh", self._graph("Div", others, LOG_SCALE_BOUND))
        return mean, self._graph("Mul", squashed, LOG_SCALE_BOUND)

    def _perceptron(self, part: str, x: str) -> tuple[str, str | None]:
        """Locations, and the others or None."""
        graph, weights = self._graph, self._weights[part]
        network = getattr(self._model, part).network
        hidden = self._drawn_in(x) if network.bounded else x
        for layer in range(network.depth):
            product = graph("MatMul", hidden, weights[f"weight_{layer}"])
            product = graph("Add", product, weights[f"bias_{layer}"])
            hidden = _ACTIVATIONS[network.activation](graph, product)
        matrix = weights[f"weight_{network.depth}"]
        bias = weights[f"bias_{network.depth}"]
        n = network.n_locations
        locations = graph("Add", graph("MatMul", hidden, matrix[:, :n]), bias[:n])
        if "linear_path" in weights:
            linear = graph("MatMul", x, weights["linear_path"])
            locations = graph("Add", locations, linear)
        if n == len(bias):
            return locations, None
        return locations, graph("Add", graph("MatMul", hidden, matrix[:, n:]), bias[n:])

    def _drawn_in(self, x: str) -> str:
        graph = self._graph
        shrunk = graph("Mul", x, 1 / INPUT_BOUND)
        square = graph("Add", graph("Mul", shrunk, shrunk), 1.0)
        return graph("Div", x, graph("Sqrt", square))

    def _drawn(self, mean: str, log_scale: str, noise: np.ndarray) -> str:
        graph = self._graph
        return graph("Add", mean, graph("Mul", graph("Exp", log_scale), noise))

    def _log_normal(self, z: str, mean: str, log_scale: str) -> str:
        """log q(z|x), (n_draws, n_rows)."""
        graph = self._graph
        precision = graph("Exp", graph("Neg", log_scale))
        standardized = graph("Mul", graph("Sub", z, mean), precision)
        terms = graph("Sub", self._of_unit_normal(standardized), log_scale)
        return graph.sum(terms, -1)

    def _of_unit_normal(self, z: str) -> str:
        halves = self._graph("Mul", self._graph("Mul", z, z), -0.5)
        return self._graph("Sub", halves, HALF_LOG_2PI)

    def _defended(
        self,
        rows: Rows,
        z: str,
        log_q: str,
        mean: str,
        log_scale: str,
        noise: np.ndarray,
    ) -> tuple[str, str]:
        """Codes of rows with holes, some of them from the prior: see `evaluation`."""
        graph, n_draws = self._graph, len(noise)
        n_defensive = round(evaluation.DEFENSIVE_SHARE * n_draws)
        n_observed = graph.sum(rows.observed, 1)
        has_holes = graph("Less", n_observed, float(self._fitted.table.n_features))
        is_empty = graph("Equal", n_observed, 0.0)
        is_defensive = (np.arange(n_draws) >= n_draws - n_defensive)[:, None]
        taken = graph("Or", graph("And", has_holes, is_defensive), is_empty)
        z = graph("Where", graph("Unsqueeze", taken, np.array([-1])), noise, z)
        share = graph("Where", is_empty, 1.0, n_defensive / n_draws)
        log_mixture = graph.log_add_exp(
            graph(
                "Add",
                self._log_normal(z, mean, log_scale),
                graph("Log", graph("Sub", 1.0, share)),
            ),
            graph("Add", graph.sum(self._of_unit_normal(z), -1), graph("Log", share)),
        )
        return z, graph("Where", has_holes, log_mixture, log_q)

    def _log_prob(self, rows: Rows, z: str) -> str:
        """log p(x|z) of the observed cells, (n_draws, n_rows), of targets."""
        graph = self._graph
        likelihood: Any = self._model.likelihood
        locations, others = self._perceptron("decoder", z)
        difference = graph("Sub", rows.standardized, locations)
        scale: Operand
        log_scale: Operand
        if others is None:
            scale = constant = self._scale(likelihood)
            log_scale = np.log(constant)
        else:
            learned = graph("Min", graph.softplus(others), LARGEST_SOFTPLUS)
            scale = graph("Add", learned, float(likelihood.floor))
            log_scale = graph("Log", scale)
        standardized = graph("Div", difference, scale)
        terms = _LOG_DENSITIES[type(likelihood)](graph, standardized, likelihood)
        terms = graph("Mul", graph("Sub", terms, log_scale), rows.observed)
        return graph.sum(terms, -1)

    def _scale(self, likelihood: Any) -> np.ndarray:
        """Scales that are the same for every row: fixed, or learned."""
        if likelihood.known_variance is not None:
            return np.array(likelihood.scale, dtype=self._graph.dtype)
        raw = self._weights["likelihood"]["raw_scale"]
        return (likelihood.floor + np.logaddexp(raw, 0)).astype(self._graph.dtype)

    def _log_prior(self, z: str) -> str:
        """log p(z), (n_draws, n_rows)."""
        graph = self._graph
        if type(self._prior) is priors.Gaussian:
            return graph.sum(self._of_unit_normal(z), -1)
        # In float64, as a mixture's squares are multiplied out.
        factors, offset = (
            part.numpy(force=True) for part in (self._prior.factors, self._prior.offset)
        )
        z = graph.cast(z, np.float64)
        rows = graph("Concat", graph("Mul", z, z), z, axis=-1)
        members = graph("Add", graph("MatMul", rows, factors), offset)
        return graph.cast(graph.log_sum_exp(members, -1), graph.dtype)

    def _divergence(self, z: str, mean: str, log_scale: str) -> str:
        """KL(q(z|x) || p(z)), (n_rows,): closed, or of the draws."""
        graph = self._graph
        if type(self._prior) is not priors.Gaussian:
            log_q = self._log_normal(z, mean, log_scale)
            return graph.mean(graph("Sub", log_q, self._log_prior(z)), 0)
        variance = graph("Exp", graph("Mul", log_scale, 2.0))
        squares = graph("Add", variance, graph("Mul", mean, mean))
        terms = graph("Mul", graph("Sub", squares, 1.0), 0.5)
        return graph.sum(graph("Sub", terms, log_scale), -1)
