"""scikit-learn's contract under every name that a place of the model may have."""

import pytest
from sklearn.utils.estimator_checks import check_estimator

from skvae import VAETransformer, networks, objectives, optimizers, posteriors, priors

#: Likelihoods of numbers that may be negative, as those of the checks are.
NUMERIC = ("gaussian", "student_t", "laplace", "binned")
#: Classes are the codes of one posterior alone; the rest goes with the default.
PARTNERS = {("prior", "categorical"): {"posterior": "categorical"}}
NAMES = [
    *(("likelihood", name) for name in NUMERIC),
    *(("posterior", name) for name in posteriors.FAMILIES),
    *(("prior", name) for name in priors.FAMILIES),
    *(("objective", name) for name in objectives.FAMILIES),
    *(("network", name) for name in networks.FAMILIES),
    *(("optimizer", name) for name in optimizers.FAMILIES),
]


@pytest.mark.parametrize(("place", "name"), NAMES)
def test_check_estimator(place, name):
    settings = {place: name, **PARTNERS.get((place, name), {})}
    check_estimator(VAETransformer(max_iter=2, **settings), on_skip=None)
