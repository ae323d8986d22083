"""Estimators with valid parameters drawn at random, for the robustness tests."""

import copy
from dataclasses import dataclass

import numpy as np
import torch
from hypothesis import strategies as st

import skvae
from skvae import (
    likelihoods,
    networks,
    objectives,
    optimizers,
    posteriors,
    priors,
)

__all__ = ["ESTIMATORS", "EstimatorPlan", "estimator_plans"]

ESTIMATORS = {
    name: getattr(skvae, name)
    for name in ("VAETransformer", "VAEOutlierDetector", "VAEImputer", "AETransformer")
}
#: Small and soon done: what is tested is what comes back, not how good it is.
_SMALL = {
    "max_iter": 2,
    "hidden_layer_sizes": (6,),
    "n_importance_samples": 4,
    "n_estimators": 2,
    "random_state": 0,
}
#: Valid values by parameter; a combination of them may still be refused.
_VALUES = {
    "n_components": [1, 2, 7, np.int64(3), "auto"],
    "hidden_layer_sizes": [(), 5, [4, 3], np.array([4])],
    "activation": sorted(networks.ACTIVATIONS),
    "network": [
        *networks.FAMILIES,
        networks.MLP((5,), linear_path=False),
        networks.Residual(4, n_blocks=1),
        networks.ConvNet((1, 2, 3), channels=(2,)),
    ],
    "likelihood": [
        *likelihoods.FAMILIES,
        likelihoods.Gaussian("shared"),
        likelihoods.Gaussian("feature", floor=1e-3),
        likelihoods.Gaussian(0.5),
        likelihoods.StudentT(df=2.5),
        likelihoods.Binned(7),
        {"column 0": "binned", -1: "categorical"},
        {0: likelihoods.Laplace(), 1: "ordinal"},
        [("identifier", 0), (likelihoods.Poisson(), [1])],
    ],
    "handle_unknown": ["error", "missing"],
    "posterior": [*posteriors.FAMILIES, posteriors.StudentT(3.0)],
    "prior": [
        *("auto", *priors.FAMILIES),
        priors.Mixture(3),
        priors.VampPrior(4),
        priors.Aggregate(10),
        torch.distributions.Normal(torch.zeros(2), torch.ones(2)),
    ],
    "objective": [
        *objectives.FAMILIES,
        objectives.IWAE(3, doubly_reparameterized=True),
        objectives.ELBO("monte_carlo"),
        objectives.ELBO("sticking_the_landing"),
        objectives.FreeBits(1.0),
    ],
    "beta": [0, 0.5, 4.0, 1e6],
    "kl_warmup": [0.0, 0.5, 1.0],
    "standardize": [False],
    "init": ["pca", "random"],
    "optimizer": [*optimizers.FAMILIES, optimizers.SGD(0.9, nesterov=True)],
    "learning_rate": [1e-8, 0.1, 1.0, 10.0, 1e4],
    "batch_size": [1, 2, 7, 10_000, "auto"],
    "max_iter": [1, 5],
    "early_stopping": [False, True, "auto"],
    "validation_fraction": [1e-6, 0.5, 0.999],
    "n_iter_no_change": [1, 100],
    "tol": [0, 10.0],
    "n_mc_samples": [2, 5],
    "n_importance_samples": [1, 30],
    "warm_start": [True],
    "device": [None, "cpu", torch.device("cpu")],
    "random_state": [None, 1, np.random.RandomState(0)],
    # Of one estimator only.
    "contamination": [1e-6, 0.3, 0.5],
    "novelty": [True],
    "score_function": ["log_likelihood", "robust", "reconstruction_error"],
    "n_estimators": [1, 3],
    "calibration_fraction": [0.0, 0.3, 0.9],
    "sample_posterior": [True],
    "n_imputations": [1, 2],
    "add_indicator": [True],
    "noise": [0.0, 0.3, 10.0],
}


@dataclass(frozen=True)
class EstimatorPlan:
    """Which estimator, and the parameters that are not those of `_SMALL`."""

    name: str
    parameters: tuple[tuple[str, object], ...] = ()

    def make(self):
        """The estimator, not fitted."""
        estimator = ESTIMATORS[self.name]()
        known = estimator.get_params()
        # Copied, since a random state that is drawn from is another one.
        chosen = copy.deepcopy({**_SMALL, **dict(self.parameters)})
        return estimator.set_params(
            **{name: value for name, value in chosen.items() if name in known}
        )


def estimator_plans():
    """A strategy: any estimator, with up to six parameters changed."""

    def changes(name):
        known = [p for p in _VALUES if p in ESTIMATORS[name]().get_params()]
        # The parts of the model that have most values come up more often.
        often = sorted(known, key=lambda p: -len(_VALUES[p]))[: len(known) // 3]
        parameters = st.lists(
            st.sampled_from([*known, *often, *often]).flatmap(
                lambda p: st.tuples(st.just(p), st.sampled_from(_VALUES[p]))
            ),
            max_size=6,
            unique_by=lambda pair: pair[0],
        )
        # Half of the draws leave them alone, so that tables are seen as well.
        return st.builds(
            EstimatorPlan,
            name=st.just(name),
            parameters=st.one_of(st.just(()), parameters.map(tuple)),
        )

    return st.sampled_from([*ESTIMATORS]).flatmap(changes)
