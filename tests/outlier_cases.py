"""Tables, small detectors and their members, for the tests of the detector."""

from functools import cache

import numpy as np
import pandas as pd
from sklearn.datasets import load_wine

from skvae import VAEOutlierDetector, parameters
from skvae.base import draw_seed
from skvae.ensemble import SCORES
from skvae.fitted import FittedModel, member_states
from skvae.likelihoods import Gaussian

X = load_wine().data
DENSITIES = sorted(set(SCORES) - {"reconstruction_error"})


def small(**parameters):
    given = {"max_iter": 5, "hidden_layer_sizes": (8,), "n_estimators": 2}
    return VAEOutlierDetector(**{**given, "random_state": 0, **parameters})


def mixed_table(n_rows=200):
    """Numbers, labels, yes and no, small whole numbers, and holes in each."""
    rng = np.random.default_rng(0)
    level = rng.normal(size=n_rows)
    noise = rng.normal(size=(n_rows, 3))
    table = pd.DataFrame(
        {
            "label": np.array([*"abc"])[np.digitize(level + noise[:, 0], [-1, 1])],
            "number": level + noise[:, 1],
            "yes": pd.array(level > 0, dtype="boolean"),
            "other": 100 * (noise[:, 2] - level),
            "count": rng.poisson(np.exp(level)).astype(float),
        },
        index=[f"row {i}" for i in range(n_rows)],
    )
    holes = rng.random(table.shape) < 0.15
    return table.mask(pd.DataFrame(holes, index=table.index, columns=table.columns))


MIXED = mixed_table()


@cache
def fitted_by_score():
    """By name of the score: fitted detectors of two members, and of mixed tables."""
    return {
        name: (
            small(score_function=name, calibration_fraction=0.1).fit(X),
            small(score_function=name, calibration_fraction=0.1).fit(MIXED),
        )
        for name in SCORES
    }


def split_of(detector, n_rows):
    """Rows of a fit that trained, that stopped it, and that calibrated it."""
    seed = draw_seed(detector.random_state)
    return parameters.split(detector, n_rows, np.random.default_rng(seed))


def fitted_members(detector, robust=False, in_training=False):
    """Members, under the prior of scores or the one of training."""
    state = dict(detector._state)
    if in_training:
        state.pop("prior", None)
    return [FittedModel(s, np.float64, robust=robust) for s in member_states(state)]


def one_member(score_function, **parameters):
    given = {"n_estimators": 1, "likelihood": Gaussian("feature"), "max_iter": 20}
    return small(score_function=score_function, **{**given, **parameters}).fit(X)


def linear(score_function, **parameters):
    """A linear-Gaussian model, by default not trained to its optimum."""
    given = {
        "n_components": 2,
        "hidden_layer_sizes": (),
        "likelihood": Gaussian("shared"),
        "init": "random",
        "max_iter": 10,
        "learning_rate": 0.02,
        "n_importance_samples": 4096,
        "calibration_fraction": 0,
    }
    return one_member(score_function, **{**given, **parameters})


def normal_of(member):
    """Mean, loadings and scale of the normal that a linear model is, standardised."""
    weights = member.weights
    scale = 0.05 + np.logaddexp(0, weights["likelihood"]["raw_scale"].item())
    decoder = weights["decoder"]
    return decoder["bias_0"].numpy(), decoder["weight_0"].numpy(), scale
