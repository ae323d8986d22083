"""Normal codes: independent, correlated, and those whose logarithms are normal."""

import math
from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import Tensor

from skvae import priors
from skvae.core.arrays import Array, tanh
from skvae.posteriors.base import (
    LARGEST_LOGARITHM,
    Codes,
    Positive,
    Posterior,
    unbounded,
)

__all__ = ["FullGaussian", "Gaussian", "LogNormal", "linear_gaussian_start"]

_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)

#: Bound of the log-scales: exp(+-8) covers every posterior that data can call for,
#: and keeps exp and its gradient finite whatever the encoder's input.
LOG_SCALE_BOUND = 8.0

#: Bound of the entries below the diagonal of a covariance's factor, in units of the
#: scale: at it two components have a correlation of 0.99995.
_SHEAR_BOUND = 100.0


@dataclass(frozen=True)
class Gaussian(Posterior):
    """Normal posterior with independent components.

    References
    ----------
    D. P. Kingma and M. Welling, "Auto-Encoding Variational Bayes", ICLR 2014,
    equation 9 and appendix B.

    Examples
    --------
    >>> from skvae.posteriors import Gaussian
    >>> Gaussian()
    Gaussian()
    """

    prior: ClassVar[str] = "gaussian"
    can_start_linear: ClassVar[bool] = True

    def linear_start(
        self, loadings: Tensor, noise_variance: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        matrix, locations, scale = linear_gaussian_start(loadings, noise_variance)
        return matrix, locations, self.raw(scale)

    def raw(self, scale: Tensor) -> Tensor:
        """The others at which components have these scales.

        Parameters
        ----------
        scale : Tensor of shape (..., n_components)
            Standard deviations, in units of the code.

        Returns
        -------
        others : Tensor of shape (..., n_components)
            Encoder outputs.
        """
        return unbounded(scale.log(), -LOG_SCALE_BOUND, LOG_SCALE_BOUND)

    def noise(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        return torch.randn(
            shape, generator=generator, dtype=torch.float32, device=generator.device
        )

    def unpack(self, locations: Array, others: Array) -> tuple[Array, Array, Array]:
        """Means and log-scales of components, from the encoder's outputs.

        Parameters
        ----------
        locations : Tensor or ndarray of shape (..., n_components)
            Encoder outputs with the linear path.
        others : Tensor or ndarray of shape (..., n_components)
            The other encoder outputs.

        Returns
        -------
        mean : Tensor or ndarray of shape (..., n_components)
            The locations themselves.
        squashed : Tensor or ndarray of shape (..., n_components)
            The others, between -1 and 1.
        log_scale : Tensor or ndarray of shape (..., n_components)
            Logarithms of standard deviations, which these make.
        """
        squashed = tanh(others / LOG_SCALE_BOUND)
        return locations, squashed, LOG_SCALE_BOUND * squashed

    def mixture(self, codes: Codes) -> priors.Prior:
        normals = cast("GaussianCodes", codes)
        return priors.MixtureOfNormals(normals.mean, normals.log_scale)

    def __call__(self, locations: Tensor, others: Tensor) -> Codes:
        mean, _, log_scale = self.unpack(locations, others)
        return GaussianCodes(mean, log_scale)


@dataclass(frozen=True)
class GaussianCodes(Codes):
    """Independent normal components, for each row."""

    mean: Tensor
    log_scale: Tensor

    def rsample(self, noise: Tensor) -> Tensor:
        return self.mean + self.log_scale.exp() * noise

    def log_prob(self, z: Tensor) -> Tensor:
        standardized = (z - self.mean) * (-self.log_scale).exp()
        terms = -0.5 * standardized.square() - (self.log_scale + _HALF_LOG_2PI)
        return terms.sum(-1)

    def kl_divergence(self, prior: priors.Prior) -> Tensor | None:
        if not isinstance(prior, priors.Gaussian):
            q = torch.distributions.Normal(
                self.mean, self.log_scale.exp(), validate_args=False
            )
            return priors.closed_kl(q, prior)
        variance = (2 * self.log_scale).exp()
        return 0.5 * (variance + self.mean.square() - 1) - self.log_scale


@dataclass(frozen=True)
class FullGaussian(Gaussian):
    """Normal posterior with any covariance, by its Cholesky factor.

    References
    ----------
    D. P. Kingma and M. Welling, "An Introduction to Variational Autoencoders", 2019,
    section 2.5.1.

    Examples
    --------
    >>> from skvae.posteriors import FullGaussian
    >>> FullGaussian()
    FullGaussian()
    """

    mixture = Posterior.mixture

    def n_outputs(self, n_components: int) -> tuple[int, int]:
        return n_components, n_components * (n_components + 1) // 2

    def linear_start(
        self, loadings: Tensor, noise_variance: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        # Turned round, an upper root of the precision is a lower one of the covariance.
        root, matrix = _linear_gaussian(loadings.flip(0), noise_variance)
        matrix = matrix.flip(1)
        factor = torch.linalg.inv(root).flip(0, 1)
        factor = factor * factor.diagonal().sign()
        scale = factor.diagonal()
        rows, columns = _below_diagonal(len(loadings))
        below = factor[rows, columns] / scale[rows]
        locations = matrix.new_zeros(len(loadings))
        return matrix, locations, torch.cat([self.raw(scale), below])

    def __call__(self, locations: Tensor, others: Tensor) -> Codes:
        n_components = locations.shape[-1]
        mean, _, log_scale = self.unpack(locations, others[..., :n_components])
        # Rows of a unit triangle times the scales: the determinant is their product.
        factor = torch.diag_embed(torch.ones_like(mean))
        rows, columns = _below_diagonal(n_components)
        below = others[..., n_components:].clamp(-_SHEAR_BOUND, _SHEAR_BOUND)
        factor[..., rows, columns] = below
        return FullGaussianCodes(mean, log_scale, factor * log_scale.exp()[..., None])


@dataclass(frozen=True)
class FullGaussianCodes(Codes):
    """Correlated normal components, for each row."""

    mean: Tensor
    log_scale: Tensor  # logarithm of the factor's diagonal
    factor: Tensor  # lower triangle, (n_rows, n_components, n_components)

    def rsample(self, noise: Tensor) -> Tensor:
        return self.mean + (self.factor @ noise.unsqueeze(-1)).squeeze(-1)

    def log_prob(self, z: Tensor) -> Tensor:
        centered = (z - self.mean).unsqueeze(-1)
        factor = self.factor.expand(*centered.shape[:-1], z.shape[-1])
        noise = torch.linalg.solve_triangular(factor, centered, upper=False)
        terms = -0.5 * noise.squeeze(-1).square() - (self.log_scale + _HALF_LOG_2PI)
        return terms.sum(-1)

    def kl_divergence(self, prior: priors.Prior) -> Tensor | None:
        # The divergence of N(m, S) from N(0, I), (tr S + m'm - k - log |S|) / 2, is a
        # sum over components; log |S| is twice that of the diagonal's logarithms.
        if not isinstance(prior, priors.Gaussian):
            q = torch.distributions.MultivariateNormal(
                self.mean, scale_tril=self.factor, validate_args=False
            )
            return priors.closed_kl(q, prior)
        variance = self.factor.square().sum(-1)
        return 0.5 * (variance + self.mean.square() - 1) - self.log_scale


@dataclass(frozen=True)
class LogNormal(Positive):
    """Positive codes whose logarithms are normal and independent.

    Its prior is that of exp of a standard normal number; the decoder reads the
    logarithm. It is the Gaussian model in other units: bounds and scores are the same.

    References
    ----------
    D. P. Kingma and M. Welling, "Auto-Encoding Variational Bayes", ICLR 2014,
    section 2.4, composition.

    Examples
    --------
    >>> from skvae.posteriors import LogNormal
    >>> LogNormal()
    LogNormal()
    """

    log_mean: ClassVar[float] = 0.0
    log_deviation: ClassVar[float] = 1.0
    is_skewed: ClassVar[bool] = False  # in what the decoder reads, the logarithm
    can_start_linear: ClassVar[bool] = True
    linear_start = Gaussian.linear_start
    raw = Gaussian.raw
    unpack = Gaussian.unpack
    noise = Gaussian.noise

    def __call__(self, locations: Tensor, others: Tensor) -> Codes:
        # mypy wants a Gaussian as self.
        mean, _, log_scale = self.unpack(locations, others)  # type: ignore[misc]
        return LogNormalCodes(GaussianCodes(mean, log_scale))


@dataclass(frozen=True)
class LogNormalCodes(Codes):
    """Independent log-normal components, for each row."""

    logarithm: GaussianCodes

    @property
    def mean(self) -> Tensor:
        half_variance = 0.5 * (2 * self.logarithm.log_scale).exp()
        logarithm = self.logarithm.mean + half_variance
        return logarithm.clamp(-LARGEST_LOGARITHM, LARGEST_LOGARITHM).exp()

    def rsample(self, noise: Tensor) -> Tensor:
        bounds = -LARGEST_LOGARITHM, LARGEST_LOGARITHM
        return self.logarithm.rsample(noise).clamp(*bounds).exp()

    def log_prob(self, z: Tensor) -> Tensor:
        logarithm = z.log()
        return self.logarithm.log_prob(logarithm) - logarithm.sum(-1)

    def kl_divergence(self, prior: priors.Prior) -> Tensor | None:
        if not prior.is_standard_of(LogNormal):
            return None
        return self.logarithm.kl_divergence(priors.Gaussian())


def linear_gaussian_start(
    loadings: Tensor, noise_variance: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Matrix, means at 0 and scales of the best independent normal posterior.

    The means are exact, the scales where the loadings are orthogonal.
    """
    root, matrix = _linear_gaussian(loadings, noise_variance)
    locations = matrix.new_zeros(len(loadings))
    return matrix, locations, root.square().sum(0).rsqrt()


def _linear_gaussian(loadings: Tensor, noise_variance: Tensor) -> tuple[Tensor, Tensor]:
    """Upper root of the precision of z given x, and the matrix from x to its mean.

    By least squares, without squares: columns of any range have an answer.
    """
    deviation = noise_variance.sqrt()
    weighted = (loadings / deviation).T
    identity = torch.eye(len(loadings), dtype=loadings.dtype, device=loadings.device)
    rotation, root = torch.linalg.qr(torch.cat([weighted, identity]))
    scaled = rotation[: len(weighted)].T / deviation
    return root, torch.linalg.solve_triangular(root, scaled, upper=True).T


def _below_diagonal(n: int) -> tuple[Tensor, ...]:
    """Row and column numbers of the entries below the diagonal."""
    return torch.tril_indices(n, n, -1, device="cpu").unbind()
