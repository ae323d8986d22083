"""p(x|z): what a column is, given the code.

A likelihood turns the decoder's outputs for its features into a distribution. The
decoder gives two kinds of output: *locations*, which have the linear path, and
*others*, such as log-variances, which have not. A likelihood says how many of each it
needs, which weights of its own it keeps in the model's flat parameter vector, and
where the model starts.
"""

import math
from dataclasses import dataclass
from numbers import Real
from typing import ClassVar, NamedTuple

import torch
from torch.nn import functional

from skvae.settings import Settings

__all__ = ["Bernoulli", "Gaussian", "Likelihood", "LinearStart"]

_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


class LinearStart(NamedTuple):
    """Decoder outputs, affine in z, and the likelihood's own weights, to start from."""

    weight: torch.Tensor  # (n_components, n_locations)
    locations: torch.Tensor  # (n_locations,)
    others: torch.Tensor  # (n_others,)
    own: dict
    variance: torch.Tensor  # the noise in x that this stands for, (n_features,)


class Likelihood(Settings):
    """Base of the likelihoods: the contract, and what most of them share."""

    #: Whether the table standardises the columns that the likelihood is given.
    standardized: ClassVar[bool] = True
    #: In words, the values that the likelihood can produce.
    support: ClassVar[str] = "the real numbers"
    #: Noise variance where it is a setting and not learned, in standardised units.
    known_variance: ClassVar[float | None] = None
    #: Least noise variance that the likelihood starts from, in standardised units.
    least_variance: ClassVar[float] = 0.0

    def n_outputs(self, n_features):
        """Number of (locations, others) that the decoder must give."""
        return n_features, 0

    def own_shapes(self, n_features):
        """Shapes of the likelihood's own weights, by name."""
        return {}

    def impossible(self, values):
        """Mask of the values that the likelihood cannot have produced.

        Parameters
        ----------
        values : ndarray of shape (n_samples, n_features)
            Targets, in the units of X.

        Returns
        -------
        mask : ndarray of shape (n_samples, n_features) or None
            None where every real number is possible.
        """
        return None

    def start(self, mean, loadings, residual_variance):
        """Decoder outputs at which x is near ``mean + z @ loadings``.

        Parameters
        ----------
        mean : Tensor of shape (n_features,)
            Means of the targets.
        loadings : Tensor of shape (n_components, n_features)
            Rows of the factor loading matrix.
        residual_variance : Tensor of shape (n_features,)
            Variances that the loadings leave unexplained.

        Returns
        -------
        start : LinearStart
        """
        raise TypeError(f"{type(self).__name__} must define start")

    def __call__(self, locations, others, own):
        """The distribution of the targets.

        Parameters
        ----------
        locations : Tensor of shape (..., n_rows, n_locations)
        others : Tensor of shape (..., n_rows, n_others)
        own : dict of str to Tensor
            The likelihood's own weights.

        Returns
        -------
        distribution : object
            With ``log_prob(targets)`` of shape (..., n_rows, n_features), ``mean``,
            and ``sample(generator)``.
        """
        raise TypeError(f"{type(self).__name__} must define __call__")


@dataclass(frozen=True)
class Gaussian(Likelihood):
    """Normal distribution of each column around the decoder's mean.

    Parameters
    ----------
    scale : float or {"shared", "feature", "conditional"}, default="conditional"
        Standard deviation of the noise, in units of the standardised columns.

        - a positive float: fixed, the tutorials' sigma_dec;
        - ``"shared"``: one learned number, the noise of probabilistic PCA;
        - ``"feature"``: one learned number a column, the noise of factor analysis;
        - ``"conditional"``: a second head of the decoder, so that the noise depends
          on the code.
    floor : float, default=0.05
        Lower bound of a learned scale, in units of the standardised columns. Without
        it the density of repeated or constant values is unbounded.

    Raises
    ------
    ValueError
        If `scale` is none of the above or `floor` is not positive.

    References
    ----------
    D. P. Kingma and M. Welling, "Auto-Encoding Variational Bayes", ICLR 2014,
    appendix C.2.

    Examples
    --------
    >>> from skvae.likelihoods import Gaussian
    >>> Gaussian("shared")
    Gaussian(scale='shared', floor=0.05)
    """

    scale: float | str = "conditional"
    floor: float = 0.05

    def __post_init__(self):
        learned = ("shared", "feature", "conditional")
        fixed = isinstance(self.scale, Real) and not isinstance(self.scale, bool)
        if not (self.scale in learned or (fixed and 0 < self.scale < math.inf)):
            raise ValueError(
                f"scale of Gaussian must be a positive float or one of {learned}, "
                f"got {self.scale!r}"
            )
        if not (isinstance(self.floor, Real) and 0 < self.floor < math.inf):
            raise ValueError(
                f"floor of Gaussian must be a positive float, got {self.floor!r}"
            )

    @property
    def known_variance(self):
        return None if isinstance(self.scale, str) else float(self.scale) ** 2

    @property
    def least_variance(self):
        # Above the floor by a margin: at the floor itself the gradient vanishes.
        return (1.1 * self.floor) ** 2

    def n_outputs(self, n_features):
        return n_features, n_features if self.scale == "conditional" else 0

    def own_shapes(self, n_features):
        n_scales = {"shared": 1, "feature": n_features}.get(self.scale)
        return {"raw_scale": (n_scales,)} if n_scales else {}

    def start(self, mean, loadings, residual_variance):
        nothing = mean.new_empty(0)
        if self.known_variance is not None:
            variance = torch.full_like(residual_variance, self.known_variance)
            return LinearStart(loadings, mean, nothing, {}, variance)
        if self.scale == "shared":
            residual_variance = residual_variance.mean(0, keepdim=True)
        variance = residual_variance.clamp_min(self.least_variance)
        raw_scale = _inverse_softplus(variance.sqrt() - self.floor)
        if self.scale == "conditional":
            return LinearStart(loadings, mean, raw_scale, {}, variance)
        own = {"raw_scale": raw_scale}
        return LinearStart(loadings, mean, nothing, own, variance.expand_as(mean))

    def __call__(self, locations, others, own):
        if self.scale == "conditional":
            return GaussianColumns(locations, self._above_floor(others))
        if self.known_variance is None:
            return GaussianColumns(locations, self._above_floor(own["raw_scale"]))
        return GaussianColumns(locations, locations.new_tensor(self.scale))

    def value_and_gradient(self, locations, others, own, targets):
        """Sum of the log-probabilities, and its gradients by hand.

        Parameters
        ----------
        locations, targets : Tensor of shape (n_rows, n_features)
        others : Tensor of shape (n_rows, n_others)
        own : dict of str to Tensor

        Returns
        -------
        log_likelihood : Tensor of shape ()
        locations, others : Tensor
            Gradients with respect to the decoder's outputs.
        own : dict of str to Tensor
            Gradients with respect to the likelihood's own weights.
        """
        scale = self(locations, others, own).scale
        inverse = scale.reciprocal()
        standardized = (targets - locations).mul_(inverse)
        squares = standardized.square()
        log_scale = scale.log().expand_as(targets).sum()
        log_likelihood = -0.5 * squares.sum() - log_scale
        log_likelihood -= _HALF_LOG_2PI * targets.numel()
        d_locations = standardized.mul_(inverse)
        if self.known_variance is not None:
            return log_likelihood, d_locations, others, {}
        if self.scale == "conditional":
            d_scale = squares.sub_(1).mul_(inverse)
            return log_likelihood, d_locations, d_scale.mul_(others.sigmoid()), {}
        raw_scale = own["raw_scale"]
        n_rows = len(targets)
        total = squares.sum(0).sub_(n_rows).mul_(inverse)
        if self.scale == "shared":
            total = total.sum(0, keepdim=True)
        return (
            log_likelihood,
            d_locations,
            others,
            {"raw_scale": total * raw_scale.sigmoid()},
        )

    def _above_floor(self, raw_scale):
        # softplus grows linearly, so no finite output of the decoder overflows.
        return self.floor + functional.softplus(raw_scale)


class GaussianColumns(NamedTuple):
    """Independent normal columns."""

    mean: torch.Tensor
    scale: torch.Tensor

    def log_prob(self, targets):
        standardized = (targets - self.mean) / self.scale
        return -0.5 * standardized.square() - (self.scale.log() + _HALF_LOG_2PI)

    def sample(self, generator):
        mean = self.mean
        noise = torch.randn(
            mean.shape, generator=generator, dtype=mean.dtype, device=mean.device
        )
        return mean + self.scale * noise


@dataclass(frozen=True)
class Bernoulli(Likelihood):
    """Yes or no: columns of values in {0, 1}, with the log-odds as decoder output.

    Other values are refused. Greys between 0 and 1 have a density only under a
    distribution that is normalised over the interval.

    References
    ----------
    D. P. Kingma and M. Welling, "Auto-Encoding Variational Bayes", ICLR 2014,
    appendix C.1.

    Examples
    --------
    >>> from skvae.likelihoods import Bernoulli
    >>> Bernoulli()
    Bernoulli()
    """

    standardized: ClassVar[bool] = False
    support: ClassVar[str] = "{0, 1}"
    #: Also the least p (1 - p) by which a slope in x becomes one in the log-odds.
    least_variance: ClassVar[float] = 0.05

    def impossible(self, values):
        return (values != 0) & (values != 1)

    def start(self, mean, loadings, residual_variance):
        p = mean.clamp(1e-3, 1 - 1e-3)
        slope = 1 / (p * (1 - p)).clamp_min(self.least_variance)
        variance = residual_variance.clamp_min(self.least_variance)
        nothing = mean.new_empty(0)
        return LinearStart(loadings * slope, torch.logit(p), nothing, {}, variance)

    def __call__(self, locations, others, own):
        return BernoulliColumns(locations)

    def value_and_gradient(self, locations, others, own, targets):
        """Sum of the log-probabilities, and its gradients by hand: see Gaussian."""
        log_likelihood = BernoulliColumns(locations).log_prob(targets).sum()
        return log_likelihood, targets - locations.sigmoid(), others, {}


class BernoulliColumns(NamedTuple):
    """Independent columns of zeros and ones."""

    logits: torch.Tensor

    @property
    def mean(self):
        return self.logits.sigmoid()

    def log_prob(self, targets):
        return targets * self.logits - functional.softplus(self.logits)

    def sample(self, generator):
        return torch.bernoulli(self.mean, generator=generator)


def _inverse_softplus(value):
    return value + torch.log(-torch.expm1(-value))


FAMILIES = {"gaussian": Gaussian, "bernoulli": Bernoulli}
