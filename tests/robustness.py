"""What an estimator may do with any table whatever: answer rightly, or say why not.

`outcomes` takes an estimator through all of its public methods and tells of each call
whether it answered or refused. Anything else is a `Wrong` outcome: an answer that is
not finite or of another shape, an error of another type or whose text names neither a
column nor a parameter, a warning that is not the package's own, a call that does not
end, a table that was changed, an estimator that was changed by a failed call.
"""

import pickle
import re
import signal
import warnings
from contextlib import contextmanager
from numbers import Number

import joblib
import numpy as np
import pandas as pd
import polars as pl
import torch
from scipy.sparse import issparse
from sklearn.base import clone

from skvae import parameters
from skvae.exceptions import PosteriorCollapseWarning
from skvae.frames import taken

__all__ = ["Wrong", "outcomes"]

#: Seconds after which a call is said to hang; most take hundredths.
_LONGEST_CALL = 60
#: Warnings that are answers: what they say is meant.
_MEANT = [
    r"With \d+ calibration rows no p-value is below",
    r"The draws given .* are worth only",
    r"pandas.DataFrame with sparse columns found",  # scikit-learn's
    r"X (does not have valid feature names|has feature names)",
]
#: How scikit-learn speaks of X as a whole: its shape, its names, its type.
_OF_X = re.compile(
    r"\bX\b|Found array with|Expected 2D array|feature names|Complex data not supp"
    r"|sparse data|at least one array or dtype|inhomogeneous shape"
)
#: What messages of refusal have in common, by the kind that they are counted under.
_KINDS = {
    "infinity": r"infinity",
    "dates or times": r"dates or times",
    "numbers and text in one column": r"numbers and text in one|of several types",
    "free text": r"free text",
    "cells neither number nor text": r"must be a string or a number",
    "label not seen in fit": r"not there in fit",
    "label where numbers go": r"not a number, as the column|rebuilds numbers",
    "value the likelihood cannot have": r"describes|has \d+ levels|tells? rows apart",
    "values too large": r"too large|too small|too far",
    "training diverged": r"diverged",
    "other columns": r"features, but|feature names|X has \d+ col|names a column",
    "too few rows or columns": r"Found array with|a minimum of|needs at least",
    "complex numbers": r"Complex",
    "container": r"Expected 2D|sparse|masked|one container|Object",
    "parameter": r"",
}


class Wrong(AssertionError):
    """An outcome of the wrong kind."""


class _Hangs(BaseException):
    """A call took longer than any should."""


def outcomes(estimator, plan, rows):
    """Fit an estimator on a table, then ask it everything about some rows.

    Parameters
    ----------
    estimator : estimator
        Not fitted.
    plan : TablePlan
        Of the table that is fitted on.
    rows : table
        What is asked about afterwards.

    Yields
    ------
    method : str
    kind : str
        "answered", or what was refused.
    """
    X = plan.make()
    labels = set(map(repr, _labels(X))) | set(map(repr, _labels(rows)))
    call = _Caller(estimator, labels, X)
    kind = yield from call("fit", X)
    is_fitted = kind == "answered"
    yield from call("fit again" if is_fitted else "fit", X)
    if hasattr(estimator, "partial_fit"):
        yield from call("partial_fit", rows)
        yield from call("partial_fit of a new one", rows, on=clone(estimator))
    for name in ("fit_transform", "fit_predict"):
        if hasattr(estimator, name):
            yield from call(name, X, on=clone(estimator))
    if not is_fitted:
        return
    for table in (X, rows):
        for name, check in _OF_ROWS.items():
            if hasattr(estimator, name):
                yield from call(name, table, check=check)
    for name, (arguments, check) in _OF_THE_MODEL.items():
        if hasattr(estimator, name):
            for given, keywords in arguments(estimator, X):
                yield from call(name, *given, check=check, **keywords)
    if estimator.get_params().get("sample_posterior") is not True:
        yield from call("pickle", X, function=_pickled)


class _Caller:
    """Calls methods of an estimator that was given X, and judges how they end."""

    def __init__(self, estimator, labels, X):
        self._estimator = estimator
        self._labels = labels
        self._X = X

    def __call__(
        self, name, *arguments, on=None, check=None, function=None, **keywords
    ):
        """Yield the name and the kind of outcome; return the kind."""
        estimator = self._estimator if on is None else on
        method = name.split(" ")[0]
        given = [_fingerprint(argument) for argument in arguments]
        before = _state(estimator)
        try:
            with _time_limit(name), _own_warnings_only():
                if function is None:
                    answer = getattr(estimator, method)(*arguments, **keywords)
                else:
                    answer = function(estimator, *arguments)
        except (ValueError, TypeError) as error:
            if _state(estimator) != before:
                raise Wrong(f"{name} failed and changed the estimator") from error
            self._check_text(name, str(error))
            kind = _kind_of(str(error))
        except (Exception, _Hangs) as error:
            raise Wrong(f"{name} raised {type(error).__name__}: {error}") from error
        else:
            kind = "answered"
            changes = method.startswith(("fit", "partial_fit", "set_"))
            if not changes and _state(estimator) != before:
                raise Wrong(f"{name} changed the estimator")
            if check is not None:
                with _own_warnings_only():
                    check(estimator, answer, arguments, self._X)
        if [_fingerprint(argument) for argument in arguments] != given:
            raise Wrong(f"{name} changed what it was given")
        yield name, kind
        return kind

    def _check_text(self, name, text):
        parameters = [*self._estimator.get_params(), "given", "n_samples", "alpha"]
        named = any(re.search(rf"\b{parameter}\b", text) for parameter in parameters)
        column = re.search(r"[Cc]olumns?\b", text) and any(
            label in text for label in self._labels
        )
        if not (named or column or _OF_X.search(text)):
            raise Wrong(f"{name} names neither a column nor a parameter: {text}")


def _kind_of(text):
    return next(
        f"refused: {kind}" for kind, words in _KINDS.items() if re.search(words, text)
    )


@contextmanager
def _time_limit(name):
    def stop(signal_number, frame):
        raise _Hangs(f"{name} took more than {_LONGEST_CALL} s")

    earlier = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, _LONGEST_CALL)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, earlier)


@contextmanager
def _own_warnings_only():
    always = torch.is_warn_always_enabled()
    torch.set_warn_always(True)  # else some are seen once in a process, and no more
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.simplefilter("ignore", PosteriorCollapseWarning)
            for message in _MEANT:
                warnings.filterwarnings("ignore", message)
            yield
    finally:
        torch.set_warn_always(always)


# ---- what is compared before and after ----------------------------------------------


def _fingerprint(value):
    # What pandas writes into a pickle changes as it is read: by content, therefore.
    if isinstance(value, pl.DataFrame):
        return value.schema, repr(value.to_dict(as_series=False))
    if isinstance(value, pd.DataFrame):
        places = range(value.shape[1])
        cells = [repr(value.iloc[:, j].tolist()) for j in places]
        return [*map(str, value.dtypes)], cells, repr(value.axes)
    if issparse(value):  # which notes whether its indices are in order
        parts = ("data", "indices", "indptr", "coords")
        value = {part: getattr(value, part, None) for part in parts}
    return pickle.dumps(value)


def _state(estimator):
    """All that an estimator holds; a random state of the user's is drawn from."""
    held = dict(vars(estimator))
    if isinstance(held.get("random_state"), np.random.RandomState):
        del held["random_state"]
    return [*held], joblib.hash(held)


def _pickled(estimator, X):
    """Whether a model that was saved and loaded answers with the same bits."""
    again = pickle.loads(pickle.dumps(estimator))
    method = "score_samples" if hasattr(estimator, "score_samples") else "transform"
    answers = [getattr(model, method)(X) for model in (estimator, again)]
    before, after = (repr(_as_frame(answer).to_dict("split")) for answer in answers)
    if before != after:
        raise Wrong("a pickled model answers otherwise")


def _labels(X):
    if hasattr(X, "columns"):
        return list(X.columns)
    return list(range(X.shape[1] if hasattr(X, "shape") else len(X[0]) if X else 0))


# ---- what answers must be -----------------------------------------------------------


def _n_rows(X):
    return X.shape[0] if hasattr(X, "shape") else len(X)


def _check_numbers(name, answer, shape):
    values = np.asarray(answer)
    if values.shape != shape:
        raise Wrong(f"{name} gave the shape {values.shape} instead of {shape}")
    if values.dtype.kind not in "fi" or not np.isfinite(values).all():
        raise Wrong(f"{name} gave what is not finite: {values[:3]}")


def _of_rows(name, width=None):
    """A check of numbers: one a row, or `width(estimator)` of them."""

    def check(estimator, answer, given, X):
        shape = (_n_rows(given[0]),) + (() if width is None else (width(estimator),))
        _check_numbers(name, answer, shape)

    return check


def _check_features(estimator, answer, given, X):
    width = estimator.n_features_in_ + 1
    _check_numbers("score_features", answer, (_n_rows(given[0]), width))
    scores = estimator.score_samples(given[0])
    rounding = 1e-9 * (1 + np.abs(answer).max(axis=1))
    if (np.abs(answer.sum(axis=1) - scores) > rounding).any():
        raise Wrong("score_features does not sum to score_samples")


def _check_labels(estimator, answer, given, X):
    if not set(np.unique(answer)) <= {-1, 1} or len(answer) != _n_rows(given[0]):
        raise Wrong(f"predict gave {answer}")


def _check_p_values(estimator, answer, given, X):
    _check_numbers("p_values", answer, (_n_rows(given[0]),))
    if not ((answer > 0) & (answer <= 1)).all():
        raise Wrong(f"p_values gave {answer}")


def _check_transformed(estimator, answer, given, X):
    if not hasattr(estimator, "n_imputations"):
        shape = _n_rows(given[0]), estimator.n_components_
        return _check_numbers("transform", answer, shape)
    for table in answer if estimator.n_imputations > 1 else [answer]:
        _check_table("transform", estimator, table, _n_rows(given[0]), X)


def _as_frame(table):
    if isinstance(table, pl.DataFrame):
        table = table.to_dict(as_series=False)
    return pd.DataFrame(table.toarray() if issparse(table) else table)


def _unlearned(estimator, X):
    """Numbers of the columns that may hold holes: training saw nothing in them."""
    n_seen = _as_frame(X).notna().sum().to_numpy()
    identifiers = [
        column["family"] == "identifier"
        for column in getattr(estimator, "likelihood_", [])
    ] or False
    n_kept_out = sum(parameters.kept_out(estimator, _n_rows(X)))
    return np.flatnonzero((n_seen <= n_kept_out) | identifiers)


def _check_table(name, estimator, table, n_rows, X):
    """A table like X, which was fitted on, without holes."""
    frame = _as_frame(table)
    if len(frame) != n_rows or frame.shape[1] < estimator.n_features_in_:
        raise Wrong(f"{name} gave the shape {frame.shape}")
    for j in np.setdiff1d(range(frame.shape[1]), _unlearned(estimator, X)):
        cells = frame.iloc[:, j]
        infinite = any(isinstance(c, Number) and np.isinf(float(c)) for c in cells)
        if cells.isna().any() or infinite:
            raise Wrong(f"{name} gave what is not finite in column {j}: {cells[:3]}")


def _check_decoded(estimator, answer, given, X):
    _check_table("inverse_transform", estimator, answer, len(given[0]), X)


def _check_drawn(estimator, answer, given, X):
    _check_table("sample", estimator, answer, given[0], X)


def _check_scores(estimator, answer, given, X):
    """One a row, and a row alone has the one that it has among others."""
    _check_numbers("score_samples", answer, (_n_rows(given[0]),))
    alone = estimator.score_samples(taken(given[0], np.array([0])))
    precision = 1e-4 if str(getattr(given[0], "dtype", "")) == "float32" else 1e-9
    if not np.allclose(alone, answer[:1], rtol=precision, atol=precision):
        raise Wrong(f"a row scores {alone} alone, {answer[:1]} among others")


def _check_score(estimator, answer, given, X):
    _check_numbers("score", answer, ())


def _unchecked(estimator, answer, given, X):
    """Its name says all there is to ask."""


#: By method: what its answer about rows must be.
_OF_ROWS = {
    "transform": _check_transformed,
    "score_samples": _check_scores,
    "score": _check_score,
    "score_features": _check_features,
    "decision_function": _of_rows("decision_function"),
    "predict": _check_labels,
    "p_values": _check_p_values,
    "reconstruction_error": _of_rows("reconstruction_error"),
    "reconstruction_error_by_feature": _of_rows(
        "reconstruction_error_by_feature", lambda e: e.n_features_in_
    ),
}


def _codes(estimator, X):
    """Codes near and far, in another precision and of another width."""
    codes = np.random.default_rng(0).normal(size=(3, estimator.n_components_))
    for given in (codes, 1e30 * codes, codes.astype("float32"), codes[:, 1:]):
        yield (given,), {}


def _numbers_of_samples(estimator, X):
    yield (5,), {"random_state": 0}
    yield (0,), {}
    first = _as_frame(X).iloc[0, 0]
    yield (2,), {"given": {_labels(X)[0]: first}, "random_state": 0}


#: By method: its arguments, as (positional, keyword), and what its answer must be.
_OF_THE_MODEL = {
    "inverse_transform": (_codes, _check_decoded),
    "sample": (_numbers_of_samples, _check_drawn),
    "get_feature_names_out": (lambda estimator, X: [((), {})], _unchecked),
    "set_contamination": (
        lambda estimator, X: [((0.2,), {}), ((0.7,), {})],
        _unchecked,
    ),
}
