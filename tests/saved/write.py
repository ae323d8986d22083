"""Write small models, and what they answer, for the tests of later versions.

    python tests/saved/write.py

Run once for each state format, when `STATE_FORMAT` of `skvae/saved.py` is raised; what
is there is not written again. `tests/test_saved_models.py` loads all of them, and asks
for the answers that are kept here.
"""

import pickle
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from sklearn.datasets import load_digits, load_wine

from skvae import (
    AETransformer,
    VAEImputer,
    VAEOutlierDetector,
    VAETransformer,
    __version__,
    persistence,
)
from skvae.likelihoods import Gaussian, LogNormal
from skvae.networks import ConvNet, Residual
from skvae.objectives import FreeBits
from skvae.optimizers import SGD
from skvae.posteriors import Laplace
from skvae.priors import Mixture
from skvae.saved import STATE_FORMAT

FOLDER = Path(__file__).parent
#: Of so many rows the answers are kept.
N_ROWS = 15
QUICK = {"max_iter": 2, "hidden_layer_sizes": (4,), "random_state": 0}
#: Methods whose answers are kept, and with what they are called beside the rows.
METHODS = {
    "transform": {},
    "score_samples": {},
    "score_features": {},
    "decision_function": {},
    "predict": {},
    "p_values": {"alpha": 0.5},
    "reconstruction_error_by_feature": {},
}


def columns():
    """What the models are fitted to, as arrays of numbers and text by name."""
    numbers = load_wine().data[::3, :4]
    rng = np.random.default_rng(0)
    mixed = {
        "number": numbers[:, 0].copy(),
        "count": rng.poisson(3.0, 60).astype(np.float64),
        "flag": np.arange(60) % 2.0,
        "amount": np.exp(numbers[:, 1]),
    }
    for column in mixed.values():
        column[rng.random(60) < 0.1] = np.nan
    colour = np.array(["red", "green", "blue", ""])[rng.integers(4, size=60)]
    mixed = {f"mixed.{name}": column for name, column in mixed.items()}
    images = load_digits().data[:60]
    return {"numbers": numbers, "images": images, **mixed, "mixed.colour": colour}


def tables(columns):
    """Rows by name: numbers, images, and a frame of several kinds with holes."""
    mixed = pd.DataFrame(
        {name: columns[f"mixed.{name}"] for name in ("number", "count", "amount")}
    )
    levels = {"colour": ["red", "green", "blue"], "flag": [False, True]}
    for name, names in levels.items():
        found = columns[f"mixed.{name}"]
        mixed[name] = pd.Series(
            [next((level for level in names if level == cell), None) for cell in found],
            dtype=object,
        )
    return {"numbers": columns["numbers"], "images": columns["images"], "mixed": mixed}


def models():
    """By name: an estimator that is not fitted, and the name of its rows."""
    chosen = {"number": Gaussian("shared"), "amount": LogNormal(), "count": "poisson"}
    detector = {**QUICK, "n_estimators": 2, "calibration_fraction": 0.2}
    return {
        "numbers": (VAETransformer(2, **QUICK), "numbers"),
        "mixed": (VAETransformer(2, **QUICK), "mixed"),
        "binned": (VAETransformer(2, likelihood="binned", **QUICK), "numbers"),
        "discrete": (VAETransformer(3, posterior="categorical", **QUICK), "numbers"),
        "aggregate": (VAETransformer(2, prior="aggregate", **QUICK), "mixed"),
        "images": (
            VAETransformer(2, network=ConvNet((1, 8, 8), channels=(2,)), **QUICK),
            "images",
        ),
        "settings": (
            VAETransformer(
                2,
                likelihood=chosen,
                posterior=Laplace(),
                objective=FreeBits(0.1),
                network=Residual(width=4),
                optimizer=SGD(),
                **QUICK,
            ),
            "mixed",
        ),
        "mixture": (
            VAETransformer(2, posterior="full_gaussian", prior=Mixture(2), **QUICK),
            "numbers",
        ),
        "robust": (VAEOutlierDetector(**detector), "mixed"),
        "novelty": (VAEOutlierDetector(novelty=True, **detector), "numbers"),
        "imputer": (VAEImputer(**QUICK), "mixed"),
        "autoencoder": (AETransformer(2, **QUICK), "numbers"),
    }


def answers(model, rows):
    """What a model says of rows, as arrays of numbers and text by name."""
    told = {
        name: getattr(model, name)(rows, **keywords)
        for name, keywords in METHODS.items()
        if hasattr(model, name)
    }
    if hasattr(model, "inverse_transform"):
        told["inverse_transform"] = model.inverse_transform(told["transform"])
    if hasattr(model, "sample"):
        told["sample"] = model.sample(5, random_state=0)
    return dict(pair for name, table in told.items() for pair in plain(name, table))


def plain(name, table):
    """A table as one array of numbers, or as one a column, of numbers or of text."""
    if not hasattr(table, "columns"):
        yield name, np.asarray(table)
        return
    for label, column in table.items():
        is_text = column.map(lambda cell: isinstance(cell, str)).any()
        yield f"{name}.{label}", column.to_numpy(str if is_text else np.float64)


def write(folder):
    """Fit and save all models, one of them by other ways as well."""
    folder.mkdir()
    given = columns()
    rows, kept = tables(given), {"version": np.array(__version__)}
    kept |= {f"rows.{name}": column for name, column in given.items()}
    for name, (model, table) in models().items():
        model.fit(rows[table])
        if hasattr(model, "partial_fit"):
            model.partial_fit(rows[table])
        persistence.dump(model, folder / f"{name}.skops")
        if name == "mixed":
            (folder / "mixed.pickle").write_bytes(pickle.dumps(model, protocol=4))
            joblib.dump(model, folder / "mixed.joblib")
        for part, array in answers(model, rows[table][:N_ROWS]).items():
            kept[f"{name}.{part}"] = array
    np.savez_compressed(folder / "answers.npz", **kept)


if __name__ == "__main__":
    write(FOLDER / f"format_{STATE_FORMAT}")
