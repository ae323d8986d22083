"""A call that is stopped anywhere changes nothing, and leaves nothing behind.

A first run notes the lines of the package that a call executes, a second one raises an
exception before one of them. Half of the points are drawn from all that are executed,
most of which are in training, half of them from the lines of the source.
"""

import copy
import os
import random
import signal
import sys
import tempfile
import threading
import warnings
from contextlib import contextmanager, nullcontext, suppress
from functools import cache, partial
from linecache import getline
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn import get_config
from threadpoolctl import ThreadpoolController, threadpool_limits
from torch.autograd import grad_mode

import skvae
from skvae import AETransformer, VAEImputer, VAEOutlierDetector, VAETransformer
from skvae.core import interrupts, passes
from skvae.priors import given
from skvae.threads import limited

PACKAGE = str(Path(skvae.__file__).parent) + os.sep
#: What enters and leaves contexts, where an interrupt does harm if anywhere.
CONTEXTS = [
    *(PACKAGE + name for name in ("handover.py", "kept.py", "threads.py")),
    *(module.__file__ for module in (interrupts, given, grad_mode)),
    *(sys.modules[part.__module__].__file__ for part in (np.errstate, get_config)),
]
# Left out: a trace function may raise where `with` is about to release a lock, which
# then stays locked. No interrupt comes there. Python looks for signals as a function of
# its own begins, after calls and where it jumps back, and the release is a call of C.
OF_LOCKS = "with self.lock:"

N_DRAWS = 6
N_THREADS = 2
ERRORS = [KeyboardInterrupt, MemoryError]
#: Modes of torch that a caller may be in.
MODES = [nullcontext, torch.no_grad, torch.inference_mode]

RANDOM = np.random.default_rng(0)
NUMBERS = RANDOM.normal(size=(40, 3)) @ RANDOM.normal(size=(3, 3))
HOLES = np.where(RANDOM.random(NUMBERS.shape) < 0.1, np.nan, NUMBERS)
MIXED = pd.DataFrame(
    {
        "number": HOLES[:, 0],
        "label": np.array(["red", "green", "blue"])[RANDOM.integers(3, size=40)],
        "count": RANDOM.poisson(3, size=40),
    }
)
MIXED.loc[::9, "label"] = None

FEW = {
    "n_components": 2,
    "hidden_layer_sizes": 4,
    "batch_size": 16,
    "max_iter": 2,
    "random_state": 0,
}
#: By name: an estimator and its rows.
CASES = {
    "transformer": (VAETransformer(early_stopping=True, **FEW), NUMBERS),
    "transformer_mixed": (
        VAETransformer(prior="vamp", n_importance_samples=8, **FEW),
        MIXED,
    ),
    "transformer_given": (  # which is drawn from by torch's global generator
        VAETransformer(prior=torch.distributions.Normal(0.0, 1.0), **FEW),
        NUMBERS,
    ),
    "detector": (VAEOutlierDetector(n_estimators=2, **FEW), NUMBERS),
    "detector_mixed": (VAEOutlierDetector(n_estimators=2, novelty=True, **FEW), MIXED),
    "imputer": (VAEImputer(n_importance_samples=8, **FEW), MIXED),
    "autoencoder": (AETransformer(noise=0.1, **FEW), HOLES),
}
#: Those that can be compared: what torch holds has another hash in each object.
COMPARED = [case for case in CASES if case != "transformer_given"]
#: By name: what is called first, and then; whether fits go on from fitted weights.
TRAININGS = {
    "fit": (None, "fit", False),
    "fit_again": ("fit", "fit", False),
    "fit_warm": ("fit", "fit", True),
    "partial_fit": (None, "partial_fit", False),
    "partial_fit_again": ("partial_fit", "partial_fit", False),
}
#: What reads a fitted model.
ANSWERS = {
    "inverse_transform": lambda model, rows: model.inverse_transform(
        np.zeros((len(rows), 2))
    ),
    "sample": lambda model, rows: model.sample(len(rows), random_state=1),
    "sample_given": lambda model, rows: model.sample(
        len(rows), given={"label": "red"}, random_state=1
    ),
    **{
        name: lambda model, rows, name=name: getattr(model, name)(rows)
        for name in (
            "predict",
            "reconstruction_error",
            "score_features",
            "score_samples",
            "transform",
        )
    },
}


# ---- where to stop -------------------------------------------------------------------


def in_package(path):
    return path.startswith(PACKAGE)


def executed(call, is_ours=in_package, stop=None, error=None):
    """The lines that a call executes; or an exception before one of them.

    Parameters
    ----------
    call : callable
    is_ours : callable, default=in_package
        Whether the lines of a file count.
    stop : int or None, default=None
        Before which of the lines the exception is raised.
    error : type or None, default=None
        Of the exception.
    """
    lines = []

    def at_call(frame, event, arg):
        return at_line if is_ours(frame.f_code.co_filename) else None

    def at_line(frame, event, arg):
        line = frame.f_code.co_filename, frame.f_lineno
        if event == "line" and getline(*line).strip() != OF_LOCKS:
            if len(lines) == stop:
                raise error
            lines.append(line)
        return at_line

    tracer = sys.gettrace()  # such as that of coverage
    sys.settrace(at_call)
    try:
        call()
    finally:
        sys.settrace(tracer)
    return lines


def drawn(lines, draw):
    """A number among the lines that were executed, at random."""
    rng = np.random.default_rng([draw, len(lines)])
    stop = int(rng.integers(len(lines)))
    if draw % 2:
        places = sorted(set(lines))
        place = places[rng.integers(len(places))]
        stop = int(rng.choice([i for i, line in enumerate(lines) if line == place]))
    return stop


# ---- what shall not change -----------------------------------------------------------


@cache
def pools():
    return ThreadpoolController()


def open_files():
    """What the process has open: paths, and pipes by their numbers."""
    found = set()
    for descriptor in Path("/proc/self/fd").glob("*"):  # Linux alone has it
        with suppress(FileNotFoundError):  # that by which the folder was read
            found.add(os.readlink(descriptor))
    return found


def belongings():
    """What a call could leave behind.

    What was there before may go meanwhile: earlier tests are being cleared away.
    """
    threads, files = threading.enumerate(), os.listdir(tempfile.gettempdir())
    return {*threads, *files, *open_files()}


def settings():
    """All of the process that a call could change, by name."""
    return {
        "pools": pools().info(),
        "threads of torch": torch.get_num_threads(),
        "dtype": torch.get_default_dtype(),
        "device": torch.get_default_device(),
        "gradients": torch.is_grad_enabled(),
        "inference": torch.is_inference_mode_enabled(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "seed of torch": torch.get_rng_state().numpy().tobytes(),
        "seed of NumPy": joblib.hash(np.random.get_state()),
        "seed of Python": random.getstate(),
        "errors": np.geterr(),
        "warnings": list(warnings.filters),
        "sklearn": get_config(),
        "interrupts": signal.getsignal(signal.SIGINT),
    }


def state(estimator):
    """A hash of all that an estimator holds, but for its callbacks, which may count."""
    held = {k: v for k, v in vars(estimator).items() if k != "_skl_callbacks"}
    return joblib.hash(held)


@contextmanager
def unchanged(estimator, rows, mode=nullcontext, where=None, but=None):
    """Whatever is raised here, nothing has changed after it, in any respect but one."""
    attributes, before = dict(vars(estimator)), (state(estimator), joblib.hash(rows))
    with np.errstate(divide="raise"), mode():
        present, around = belongings(), settings()
        yield
        left_behind, left = belongings() - present, settings()
        with limited(None):
            inside = torch.get_num_threads(), *of_blas()
    assert not left_behind, where
    assert {name for name in around if left[name] != around[name]} <= {but}, where
    assert inside == (1, 1), where
    assert list(vars(estimator)) == list(attributes), where
    assert all(vars(estimator)[name] is attributes[name] for name in attributes), where
    assert (state(estimator), joblib.hash(rows)) == before, where


def of_blas():
    return {
        pool["num_threads"] for pool in pools().info() if pool["user_api"] == "blas"
    }


@pytest.fixture(autouse=True)
def host(tmp_path, monkeypatch):
    """Settings that are not those inside a call, and a folder for temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    n_threads = torch.get_num_threads()
    torch.set_num_threads(N_THREADS)
    with threadpool_limits(N_THREADS, user_api="blas"):
        yield
    torch.set_num_threads(n_threads)


# ---- training ------------------------------------------------------------------------


def trainings_of(case):
    """Names of what trains the estimator of a case."""
    has_pass = hasattr(CASES[case][0], "partial_fit")
    return [name for name in TRAININGS if has_pass or not name.startswith("partial")]


@cache
def template(case, training):
    """An estimator as it is before it is trained; not to be changed."""
    first, _, warm_start = TRAININGS[training]
    estimator, rows = CASES[case]
    estimator = copy.deepcopy(estimator).set_params(warm_start=warm_start)
    if first is not None:
        getattr(estimator, first)(rows)
    return estimator


def train(case, training, estimator):
    getattr(estimator, TRAININGS[training][1])(CASES[case][1])


@cache
def trained(case, training):
    """The state after it, the answers before it, and the lines that it executes."""
    estimator = copy.deepcopy(template(case, training))
    train(case, training, estimator)
    another = copy.deepcopy(template(case, training))
    lines = executed(lambda: train(case, training, another))
    return state(estimator), answer(template(case, training), case), lines


def answer(estimator, case):
    """What a fitted estimator says of its rows."""
    if not estimator.__sklearn_is_fitted__():
        return None
    method = "score_samples" if hasattr(estimator, "score_samples") else "transform"
    return joblib.hash(getattr(estimator, method)(CASES[case][1]))


@pytest.mark.parametrize("draw", range(N_DRAWS))
@pytest.mark.parametrize(
    ("case", "training"),
    [(case, training) for case in COMPARED for training in trainings_of(case)],
)
def test_training_that_is_stopped(case, training, draw):
    whole, before, lines = trained(case, training)
    stop, error = drawn(lines, draw), ERRORS[draw // 2 % 2]
    estimator = copy.deepcopy(template(case, training))
    with (
        unchanged(estimator, CASES[case][1], MODES[draw % 3], lines[stop]),
        pytest.raises(error),
    ):
        executed(lambda: train(case, training, estimator), stop=stop, error=error)
    assert answer(estimator, case) == before
    train(case, training, estimator)
    assert state(estimator) == whole


class Raises:
    """A callback that raises an exception at one of the calls of its hooks."""

    def __init__(self, stop, error):
        self.stop, self.error = stop, error

    def _count(self):
        self.stop -= 1
        if self.stop < 0:
            self.stop = np.inf
            raise self.error

    def setup(self, estimator, context):
        self._count()

    def teardown(self, estimator, context):
        self._count()

    def on_fit_task_begin(self, estimator, context):
        self._count()

    def on_fit_task_end(self, estimator, context, *, fitted_estimator):
        self._count()


#: The hooks of a fit of two epochs: setup, the fit begins, twice an epoch begins and
#: ends, the fit ends, teardown.
N_HOOKS = 8


@pytest.mark.parametrize("stop", range(N_HOOKS))
@pytest.mark.parametrize("training", ["fit", "fit_warm"])
@pytest.mark.parametrize("case", COMPARED)
def test_callback_that_raises(case, training, stop):
    whole, before, _ = trained(case, training)
    error = RuntimeError if (stop + (training == "fit")) % 2 else KeyboardInterrupt
    estimator = copy.deepcopy(template(case, training))
    estimator.set_callbacks(Raises(stop, error))
    with (
        unchanged(estimator, CASES[case][1], MODES[stop % 3], stop),
        pytest.raises(error),
    ):
        train(case, training, estimator)
    assert answer(estimator, case) == before
    estimator.set_callbacks()
    train(case, training, estimator)
    assert state(estimator) == whole


def test_a_fit_calls_as_many_hooks():
    callback = Raises(N_HOOKS, KeyboardInterrupt)
    estimator = copy.deepcopy(template("transformer", "fit")).set_callbacks(callback)
    train("transformer", "fit", estimator)
    assert callback.stop == 0


# ---- reading -------------------------------------------------------------------------

#: Fewer rows than before: other buffers.
N_FEWER = 7


@cache
def answered(case, name, is_first):
    """Answers for some rows and for all, and the lines that those for some execute."""
    rows, answer = CASES[case][1], ANSWERS[name]
    model = fitted(case, name, is_first)
    lines = executed(lambda: answer(model, rows[:N_FEWER]))
    model = copy.deepcopy(model)
    return hashed(answer(model, rows[:N_FEWER])), hashed(answer(model, rows)), lines


def fitted(case, name, is_first):
    """A model that nothing is kept for, or one that has answered for all rows."""
    model = copy.deepcopy(template(case, "fit_again"))
    if not is_first:
        ANSWERS[name](model, CASES[case][1])
    return model


def hashed(rows):
    return joblib.hash(np.asarray(rows))


@pytest.mark.parametrize("draw", range(N_DRAWS))
@pytest.mark.parametrize(
    ("case", "name"),
    [
        ("transformer", "transform"),
        ("transformer", "inverse_transform"),
        ("transformer", "score_features"),
        ("transformer_mixed", "score_samples"),
        ("transformer_given", "sample"),
        ("transformer_mixed", "sample_given"),
        ("detector", "predict"),
        ("detector_mixed", "score_samples"),
        ("imputer", "transform"),
        ("autoencoder", "reconstruction_error"),
    ],
)
def test_reading_that_is_stopped(case, name, draw):
    rows, answer, is_first = CASES[case][1], ANSWERS[name], draw < N_DRAWS / 2
    answered(case, name, is_first)  # what is kept for all models is there now
    few, many, lines = answered(case, name, is_first)
    stop, error = drawn(lines, draw), ERRORS[draw // 2 % 2]
    model = fitted(case, name, is_first)
    with unchanged(model, rows, MODES[draw % 3], lines[stop]), pytest.raises(error):
        executed(lambda: answer(model, rows[:N_FEWER]), stop=stop, error=error)
    assert hashed(answer(model, rows)) == many
    assert hashed(answer(model, rows[:N_FEWER])) == few


# ---- the lines where it matters most -------------------------------------------------


def of_contexts(path):
    return path in CONTEXTS


def of_buffers(path):
    return path == passes.__file__


def ends(lines):
    """Each line, when it is executed first, and when last."""
    first, last = {}, {}
    for i, line in enumerate(lines):
        first.setdefault(line, i)
        last[line] = i
    return sorted({*first.items(), *last.items()})


def set_contamination(model, rows):
    model.set_contamination(0.3)


def go_on(model, rows):
    model.partial_fit(rows)


@pytest.mark.parametrize(
    ("case", "call", "is_ours", "mode"),
    [
        *(("autoencoder", ANSWERS["transform"], of_contexts, mode) for mode in MODES),
        ("transformer_given", ANSWERS["sample"], of_contexts, torch.inference_mode),
        ("autoencoder", go_on, of_contexts, nullcontext),
        ("detector", set_contamination, in_package, nullcontext),
    ],
    ids=["transform", "no_grad", "inference", "sample", "partial_fit", "contamination"],
)
def test_contexts_are_left_wherever_a_call_is_stopped(case, call, is_ours, mode):
    rows, whole = CASES[case][1], copy.deepcopy(template(case, "fit_again"))
    for where, stop in ends(executed(lambda: call(whole, rows), is_ours)):
        model = copy.deepcopy(template(case, "fit_again"))
        with unchanged(model, rows, mode, where), pytest.raises(KeyboardInterrupt):
            executed(partial(call, model, rows), is_ours, stop, KeyboardInterrupt)


def test_buffers_are_whole_wherever_a_call_is_stopped():
    model = copy.deepcopy(template("autoencoder", "fit_again"))
    expected, few = model.transform(HOLES), HOLES[:N_FEWER]
    lines = executed(lambda: model.transform(few), of_buffers)
    for where, stop in ends(lines):
        model.transform(HOLES)
        with pytest.raises(KeyboardInterrupt):
            executed(lambda: model.transform(few), of_buffers, stop, KeyboardInterrupt)
        np.testing.assert_array_equal(model.transform(HOLES), expected, str(where))


# ---- signals -------------------------------------------------------------------------


@contextmanager
def interrupted(after):
    """Ctrl-C, after so many seconds."""
    handler = signal.signal(
        signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT)
    )
    try:
        # Again, since what stops a destructor is printed and forgotten by Python.
        signal.setitimer(signal.ITIMER_REAL, after, 1.0)
        with pytest.raises(KeyboardInterrupt):
            yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)


# An interrupt that falls into a destructor is printed by Python, which then goes on.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="Windows has no timers")
@pytest.mark.parametrize("training", ["fit", "fit_warm", "partial_fit_again"])
def test_interrupts_from_outside(training):
    whole, before, _ = trained("transformer", training)
    estimator = copy.deepcopy(template("transformer", training))
    rows = np.tile(NUMBERS, (1_000, 1))
    long = {"max_iter": 10**6, "batch_size": 1, "early_stopping": False}
    estimator.set_params(**long)
    rng = np.random.default_rng(0)
    for mode in 4 * MODES:
        # Scikit-learn's check_array leaves filters of its own if it is interrupted as
        # it sets them back. They are the process's: to set them back here would take
        # those away that other threads set.
        alike = unchanged(estimator, rows, mode, but="warnings")
        with alike, interrupted(after=rng.uniform(0, 0.1)):
            getattr(estimator, TRAININGS[training][1])(rows)
    assert answer(estimator, "transformer") == before
    estimator.set_params(**template("transformer", training).get_params())
    train("transformer", training, estimator)
    assert state(estimator) == whole
