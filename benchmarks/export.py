"""How fast an exported model answers beside Python: one row, and a thousand.

Run it on a machine with nothing else to do::

    OMP_NUM_THREADS=1 python benchmarks/export.py

Models are fitted to the breast cancer table of scikit-learn at their defaults, for a
few epochs: only the time of answers counts. Python and onnxruntime, one thread each,
take turns call by call, and medians are compared; above 1 the exported model is the
quicker. Alone, models are exported by `skvae.onnx.to_onnx`; pipelines, with a
`StandardScaler` in front, are converted by skl2onnx as a whole, and with
``score_samples`` give codes or labels in the same call. Differences are relative to
the value or to the standard deviation of the answers, which is larger.
"""

import argparse
import statistics

import numpy as np
import onnxruntime
import skl2onnx
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from speed_timing import digits, print_rows, report, take_turns
from speed_workloads import describe_machine, version

from skvae import VAEOutlierDetector, VAETransformer
from skvae.onnx import to_onnx

N_EPOCHS = 5
#: Rows of the larger calls, and how many calls of one row stand for one of them.
N_ROWS, SHORT = 1_000, 20
METHODS = {
    VAETransformer: ("transform", "score_samples"),
    VAEOutlierDetector: ("score_samples", "predict"),
}
#: What a converted pipeline calls the answers of a method.
OUTPUTS = {"transform": "variable", "predict": "label"}
HEADER = (
    "µs a row, Python",
    "ONNX",
    "ratio",
    f"rows a second of {N_ROWS:,}, Python",
    "ONNX",
    "ratio",
    "KiB",
    "largest difference",
)


def fitted(X, seed):
    """By name: estimators alone, and behind a scaler."""
    models = {}
    for kind in METHODS:
        model = kind(max_iter=N_EPOCHS, random_state=seed)
        scaled = make_pipeline(StandardScaler(), clone(model))
        models[kind.__name__] = model.fit(X)
        models[f"Pipeline, {kind.__name__}"] = scaled.fit(X)
    return models


def exported(model, method, X):
    """The model in ONNX, and the name of the output that the method has there."""
    if not isinstance(model, Pipeline):
        return to_onnx(model, method, dtype=X.dtype), method
    options = None
    if method == "score_samples":
        options = {type(model[-1]): {"score_samples": True}}
    converted = skl2onnx.to_onnx(model, X[:1], options=options)
    return converted, OUTPUTS.get(method, method)


def session_of(model):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def compared(model, method, X, repeats):
    """The cells of a row of the table."""
    converted, output = exported(model, method, X)
    session = session_of(converted)
    cells = []
    for rows, n_calls in ((X[:1], SHORT * repeats), (X, repeats)):
        calls = {
            "Python": lambda _, rows=rows: getattr(model, method)(rows),
            "ONNX": lambda _, rows=rows: session.run([output], {"X": rows}),
        }
        for call in calls.values():
            call(0)
        seconds = take_turns(calls, dict.fromkeys(calls, n_calls))
        python, onnx = (statistics.median(taken) for taken in seconds.values())
        if len(rows) == 1:
            cells += [digits(1e6 * python), digits(1e6 * onnx)]
        else:
            cells += [f"{len(rows) / taken:,.0f}" for taken in (python, onnx)]
        cells.append(f"{python / onnx:.2f}")
    wanted = getattr(model, method)(X)
    (found,) = session.run([output], {"X": X})
    size = converted.ByteSize() / 1024
    difference = largest_difference(found.reshape(wanted.shape), wanted)
    return [*cells, f"{size:,.0f}", f"{difference:.0e}"]


def largest_difference(found, wanted):
    return (abs(found - wanted) / np.maximum(abs(wanted), wanted.std(axis=0))).max()


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    for line in describe_machine():
        print(f"- {line}")
    packages = ("onnx", "onnxruntime", "skl2onnx")
    print(f"- {', '.join(f'{name} {version(name)}' for name in packages)}")
    print(
        f"- repeats {arguments.repeats}, of one row {SHORT * arguments.repeats}, "
        f"seed {arguments.seed}"
    )
    X = load_breast_cancer().data
    models = fitted(X, arguments.seed)
    rng = np.random.default_rng(arguments.seed)
    many = X[rng.integers(len(X), size=N_ROWS)]
    for dtype in (np.float32, np.float64):
        table = []
        for name, model in models.items():
            kind = type(model[-1] if isinstance(model, Pipeline) else model)
            for method in METHODS[kind]:
                report(f"{name}, {method}, {dtype.__name__}")
                rows = many.astype(dtype)
                cells = compared(model, method, rows, arguments.repeats)
                table.append([f"{name}, `{method}`", *cells])
        print_rows(dtype.__name__, HEADER, table)


if __name__ == "__main__":
    main()
