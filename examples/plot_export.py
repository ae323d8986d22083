"""
======================================
Deployment: a detector without PyTorch
======================================

A :class:`~skvae.VAEOutlierDetector` is trained once, and then answers for rows as they
come in, on a machine where PyTorch is not wanted. :func:`skvae.onnx.to_onnx` makes it
a file of the ONNX format, which onnxruntime reads, from Python and from other
languages. This example checks that the numbers are the same, converts a pipeline as a
whole, runs a file in a process without torch, and times single rows. It needs the
extra ``onnx``: ``pip install "skvae[onnx]"``.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import joblib
import matplotlib.pyplot as plt
import numpy as np
import onnx
import onnxruntime
import skl2onnx
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skvae import VAEOutlierDetector, VAETransformer
from skvae.onnx import to_onnx

BLUE, ORANGE = "#3f90da", "#e76300"

# %%
# The same numbers
# ----------------
# An exported model has one input, "X", and one output, named after the method. In
# float64 it differs from Python in the last digits, in float32 in the seventh. A row
# whose score is nearer than that to the threshold may change its label.

X_train, X_test = train_test_split(load_breast_cancer().data, random_state=0)
detector = VAEOutlierDetector(contamination=0.05, random_state=0).fit(X_train)


def session_of(model):
    """One thread: rows are few."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options)


print(f"== {len(X_test)} new rows, Python and ONNX\n")
differences = {}
for dtype in (np.float32, np.float64):
    rows = X_test.astype(dtype)
    answers = {}
    for method in ("score_samples", "predict"):
        session = session_of(to_onnx(detector, method, dtype=dtype).SerializeToString())
        (answers[method],) = session.run(None, {"X": rows})
    differences[dtype.__name__] = np.abs(
        answers["score_samples"] - detector.score_samples(rows)
    )
    n_equal = (answers["predict"] == detector.predict(rows)).sum()
    print(
        f"{dtype.__name__}: scores differ by {differences[dtype.__name__].max():.0e} "
        f"nats at most, {n_equal} labels are equal"
    )

# %%
# A pipeline
# ----------
# Importing ``skvae.onnx`` has told skl2onnx of the estimators, so that pipelines that
# hold them are converted whole. The detector gives what scikit-learn's detectors give
# there: labels, and ``decision_function`` as "scores". The option adds
# ``score_samples``.

pipeline = make_pipeline(StandardScaler(), VAETransformer(4, random_state=0))
pipeline.fit(X_train)
converted = skl2onnx.to_onnx(
    pipeline, X_train[:1], options={VAETransformer: {"score_samples": True}}
)
codes, scores = session_of(converted.SerializeToString()).run(None, {"X": X_test})
of_codes = np.abs(codes - pipeline.transform(X_test)).max()
of_scores = np.abs(scores[:, 0] - pipeline.score_samples(X_test)).max()
print(
    f"\n== A pipeline's outputs: {[output.name for output in converted.graph.output]}"
)
print(f"\nlargest difference of codes {of_codes:.0e}, of scores {of_scores:.0e} nats")

# %%
# Another process
# ---------------
# What runs there knows NumPy and onnxruntime, and nothing else. Below it, the same
# answer by way of a pickle, which needs scikit-learn, torch and skvae, and takes its
# time to load them.

BY_ONNX = """
import sys
import numpy as np, onnxruntime
session = onnxruntime.InferenceSession("detector.onnx")
(scores,) = session.run(None, {"X": np.load("rows.npy")})
np.save("by_onnx.npy", scores)
assert not {"torch", "sklearn", "skvae"} & set(sys.modules)
"""
BY_PICKLE = """
import joblib, numpy as np
detector = joblib.load("detector.joblib")
np.save("by_pickle.npy", detector.score_samples(np.load("rows.npy")))
"""


def seconds_of(program, folder):
    called = time.perf_counter()
    subprocess.run([sys.executable, "-c", program], cwd=folder, check=True)
    return time.perf_counter() - called


with tempfile.TemporaryDirectory() as name:
    folder = Path(name)
    joblib.dump(detector, folder / "detector.joblib")
    onnx.save(to_onnx(detector, "score_samples"), folder / "detector.onnx")
    np.save(folder / "rows.npy", X_test.astype(np.float32))
    taken = [seconds_of(program, folder) for program in (BY_ONNX, BY_PICKLE)]
    found, wanted = (np.load(folder / f"by_{way}.npy") for way in ("onnx", "pickle"))
    sizes = [(folder / f"detector.{end}").stat().st_size for end in ("onnx", "joblib")]

print("\n== A process of its own, from its start to the scores of all rows\n")
for way, seconds, size in zip(("ONNX", "pickle"), taken, sizes, strict=True):
    print(f"{way:6} {seconds:.1f} s, a file of {size / 1024:.0f} KiB")
print(f"largest difference {np.abs(found - wanted).max():.0e} nats")

# %%
# One row at a time
# -----------------
# For a single row most of Python's time goes into checks and calls, not into
# arithmetic; the exported model does without either. Python and onnxruntime take turns.

N_CALLS = 200


def median_microseconds(calls):
    """Of each call, in turns."""
    taken = {name: [] for name in calls}
    for _ in range(N_CALLS):
        for name, call in calls.items():
            called = time.perf_counter()
            call()
            taken[name].append(time.perf_counter() - called)
    return {name: 1e6 * np.median(values) for name, values in taken.items()}


vae = VAETransformer(random_state=0).fit(X_train)
row = X_test[:1].astype(np.float32)
latencies = {}
for model, method in (
    (vae, "transform"),
    (vae, "score_samples"),
    (detector, "score_samples"),
    (detector, "predict"),
):
    session = session_of(to_onnx(model, method).SerializeToString())
    latencies[f"{type(model).__name__}\n{method}"] = median_microseconds(
        {
            "Python": lambda model=model, method=method: getattr(model, method)(row),
            "ONNX": lambda session=session: session.run(None, {"X": row}),
        }
    )

print(f"\n== Microseconds for one float32 row, medians of {N_CALLS} calls\n")
print(f"{'':34} {'Python':>8} {'ONNX':>8} {'ratio':>6}")
for name, values in latencies.items():
    python, exported = values.values()
    name = name.replace("\n", ".")
    print(f"{name:34} {python:>8.0f} {exported:>8.0f} {python / exported:>6.1f}")

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4), layout="constrained")
exact = detector.score_samples(X_test)
for (name, values), colour in zip(differences.items(), (ORANGE, BLUE), strict=True):
    values = np.maximum(values, 1e-15)  # equal ones need a place on the axis
    left.scatter(exact, values, s=14, color=colour, label=name)
left.set(yscale="log", title="Scores of new rows: ONNX beside Python")
left.set(xlabel="score_samples, nats", ylabel="difference, nats")
_ = left.legend(frameon=False)

places = np.arange(len(latencies))
for shift, way, colour in ((-0.2, "Python", BLUE), (0.2, "ONNX", ORANGE)):
    heights = [values[way] for values in latencies.values()]
    bars = right.barh(places + shift, heights, 0.4, color=colour, label=way)
    right.bar_label(bars, fmt="%.0f", padding=3)
right.set_yticks(places, labels=latencies)
right.invert_yaxis()
right.set(xscale="log", xlabel="µs", title="One row")
right.margins(x=0.15)
_ = right.legend(frameon=False)

# %%

# sphinx_gallery_start_ignore
# A script keeps its pictures; in the gallery they are closed by now.
for number in plt.get_fignums():
    script = Path(__file__)
    folder = script.with_name("pictures")
    folder.mkdir(exist_ok=True)
    plt.figure(number).savefig(folder / f"{script.stem}_{number}.png", dpi=120)
    print(f"Picture: examples/pictures/{script.stem}_{number}.png")
# sphinx_gallery_end_ignore
