"""p(z): where codes lie before a row is seen."""

import math
from dataclasses import dataclass
from numbers import Integral
from typing import ClassVar

import torch

from skvae.settings import Settings

__all__ = [
    "Aggregate",
    "Categorical",
    "Distribution",
    "Gaussian",
    "Mixture",
    "MixtureOfCodes",
    "MixtureOfNormals",
    "Prior",
    "Standard",
    "VampPrior",
    "closed_kl",
]


class Prior(Settings):
    """Base of the priors: the contract, and what most of them share.

    A prior gives ``log_prob(z)``, from (..., n_components) to (...), and
    ``sample(n_samples, n_components, generator)``, of shape (n_samples, n_components)
    in float64. One with weights of its own gives them where it is bound to weights.
    """

    #: Where codes may lie: see `Posterior.support`; None is anywhere.
    support: ClassVar[str | None] = "real"

    @property
    def in_training(self):
        """The prior that the model is trained with; None is what goes with q(z|x)."""
        return self

    def beside(self, posterior):
        """The prior of a model with this posterior."""
        return self

    def is_standard_of(self, family):
        """Whether this is the standard member of a family of posteriors."""
        return False

    def own_shapes(self, n_components, n_inputs):
        """Shapes of the prior's own weights, by name.

        Parameters
        ----------
        n_components : int
        n_inputs : int
            Width of what the encoder network reads.
        """
        return {}

    def start(self, own, generator, inputs, mean):
        """Where its own weights begin, in place.

        Parameters
        ----------
        own : dict of str to Tensor
        generator : torch.Generator
        inputs : Tensor of shape (n_rows, n_inputs)
            What the encoder network reads of some training rows.
        mean : Tensor of shape (n_rows, n_components)
            The codes of these rows.
        """

    def bound(self, own, encode, posterior):
        """The distribution with these weights.

        Parameters
        ----------
        own : dict of str to Tensor
        encode : callable
            From what the encoder network reads to the codes of rows.
        posterior : Posterior
            The family of these codes.
        """
        return self

    def after_training(self, codes, posterior):
        """The prior once the codes of some training rows are known."""
        return self


@dataclass(frozen=True)
class Gaussian(Prior):
    """Standard normal: zero mean, unit variance, independent components.

    Examples
    --------
    >>> from skvae.priors import Gaussian
    >>> Gaussian()
    Gaussian()
    """

    def log_prob(self, z):
        """Log-density, summed over components: (..., n_components) to (...)."""
        normalizer = 0.5 * math.log(2 * math.pi) * z.shape[-1]
        return -0.5 * z.square().sum(-1) - normalizer

    def sample(self, n_samples, n_components, generator):
        """Draws of shape (n_samples, n_components), in float64."""
        return torch.randn(
            (n_samples, n_components),
            generator=generator,
            dtype=torch.float64,
            device=generator.device,
        )


@dataclass(frozen=True)
class Standard(Prior):
    """The standard member of the posterior's own family, such as Exponential(1).

    What ``prior="auto"`` means for posteriors of other numbers than all real ones.

    Examples
    --------
    >>> from skvae.priors import Standard
    >>> Standard()
    Standard()
    """

    support: ClassVar[str | None] = None

    def beside(self, posterior):
        return _StandardOf(posterior)


class _StandardOf(Prior):
    """The standard member of a family of posteriors."""

    support = None

    def __init__(self, posterior):
        self._posterior = posterior

    def is_standard_of(self, family):
        return type(self._posterior) is family

    def log_prob(self, z):
        return self._posterior.standard(z.shape[-1], z).log_prob(z)

    def sample(self, n_samples, n_components, generator):
        shape = n_samples, self._posterior.n_noise(n_components)
        noise = self._posterior.noise(shape, generator).double()
        return self._posterior.standard(n_components, noise).rsample(noise)


@dataclass(frozen=True)
class Categorical(Prior):
    """Uniform over as many classes as there are components.

    For codes that are the indicator of a class, as under ``posterior="categorical"``.

    Examples
    --------
    >>> from skvae.priors import Categorical
    >>> Categorical()
    Categorical()
    """

    support: ClassVar[str | None] = "classes"

    def log_prob(self, z):
        """Log-probability of indicators: (..., n_components) to (...)."""
        return torch.full_like(z[..., 0], -math.log(z.shape[-1]))

    def sample(self, n_samples, n_components, generator):
        """Indicators of shape (n_samples, n_components), in float64."""
        device = generator.device
        classes = torch.randint(
            n_components, (n_samples,), generator=generator, device=device
        )
        return torch.eye(n_components, dtype=torch.float64, device=device)[classes]


@dataclass(frozen=True)
class Mixture(Prior):
    """Normal distributions with independent components, mixed, all of it learned.

    Parameters
    ----------
    n_clusters : int, default=10
        Number of normal distributions.

    Raises
    ------
    ValueError
        If `n_clusters` is not a positive integer.

    References
    ----------
    N. Dilokthanakul et al., "Deep Unsupervised Clustering with Gaussian Mixture
    Variational Autoencoders", 2016. J. M. Tomczak and M. Welling, "VAE with a
    VampPrior", AISTATS 2018, equation 8.

    Examples
    --------
    >>> from skvae.priors import Mixture
    >>> Mixture(n_clusters=3)
    Mixture(n_clusters=3)
    """

    n_clusters: int = 10

    def __post_init__(self):
        _check_count(self, "n_clusters")

    def own_shapes(self, n_components, n_inputs):
        shape = self.n_clusters, n_components
        return {"logits": shape[:1], "mean": shape, "raw_scale": shape}

    def start(self, own, generator, inputs, mean):
        # Around the codes of some rows, so that the clusters share out the rows.
        own["logits"].zero_()
        own["mean"].copy_(_some_rows(mean, self.n_clusters, generator))
        own["raw_scale"].zero_()

    def bound(self, own, encode, posterior):
        log_weights = torch.log_softmax(own["logits"], 0)
        log_scale = 5 * torch.tanh(own["raw_scale"] / 5)
        return MixtureOfNormals(own["mean"], log_scale, log_weights)


@dataclass(frozen=True)
class VampPrior(Prior):
    """The posteriors of learned rows, mixed: q(z|u) averaged over pseudo-inputs u.

    The prior that would make the bound largest is the posterior averaged over the
    training rows; a few learned rows stand for them.

    Parameters
    ----------
    n_pseudo_inputs : int, default=50
        Number of learned rows.

    Raises
    ------
    ValueError
        If `n_pseudo_inputs` is not a positive integer.

    References
    ----------
    J. M. Tomczak and M. Welling, "VAE with a VampPrior", AISTATS 2018, equation 9.

    Examples
    --------
    >>> from skvae.priors import VampPrior
    >>> VampPrior(n_pseudo_inputs=20)
    VampPrior(n_pseudo_inputs=20)
    """

    support: ClassVar[str | None] = None

    n_pseudo_inputs: int = 50

    def __post_init__(self):
        _check_count(self, "n_pseudo_inputs")

    def own_shapes(self, n_components, n_inputs):
        return {"pseudo_inputs": (self.n_pseudo_inputs, n_inputs)}

    def start(self, own, generator, inputs, mean):
        rows = _some_rows(inputs, self.n_pseudo_inputs, generator)
        own["pseudo_inputs"].copy_(rows)

    def bound(self, own, encode, posterior):
        return posterior.mixture(encode(own["pseudo_inputs"]))


@dataclass(frozen=True)
class Aggregate(Prior):
    """The posteriors of training rows, mixed, in place of the normal after training.

    The model is trained with the standard normal, or what goes with its posterior. Then
    p(z) becomes the mean of q(z|x_i) over a fixed set of training rows: the prior that
    maximises the evidence lower bound for that encoder. It closes the gap between the
    codes that the decoder was trained on and those that it is asked to decode.

    A draw starts at the code of one training row: do not use it where membership in the
    training table is a secret.

    Parameters
    ----------
    n_rows : int, default=20_000
        Training rows, at most. Samples come closer to the table with more of them, and
        scores take longer.

    Raises
    ------
    ValueError
        If `n_rows` is not a positive integer.

    References
    ----------
    M. D. Hoffman and M. J. Johnson, "ELBO surgery", 2016. J. M. Tomczak and M. Welling,
    "VAE with a VampPrior", AISTATS 2018, section 2. P. Ghosh et al., "From variational
    to deterministic autoencoders", ICLR 2020, for fitting a density after training.

    Examples
    --------
    >>> from skvae.priors import Aggregate
    >>> Aggregate(n_rows=2_000)
    Aggregate(n_rows=2000)
    """

    support: ClassVar[str | None] = None

    n_rows: int = 20_000

    def __post_init__(self):
        _check_count(self, "n_rows")

    @property
    def in_training(self):
        return None

    def after_training(self, codes, posterior):
        return posterior.mixture(codes)


@dataclass(frozen=True)
class Distribution(Prior):
    """Any distribution of torch's as the prior.

    Parameters
    ----------
    distribution : torch.distributions.Distribution
        Of codes of the model's width; one of single numbers holds for each component.

    Examples
    --------
    >>> import torch
    >>> from skvae.priors import Distribution
    >>> prior = Distribution(torch.distributions.Laplace(0.0, 1.0))
    >>> prior.log_prob(torch.zeros(1, 2))
    tensor([-1.3863])
    """

    support: ClassVar[str | None] = None

    distribution: torch.distributions.Distribution

    def log_prob(self, z):
        """Log-density, summed over components: (..., n_components) to (...)."""
        log_prob = self.distribution.log_prob(z)
        return log_prob if self.distribution.event_shape else log_prob.sum(-1)

    def sample(self, n_samples, n_components, generator):
        """Draws of shape (n_samples, n_components), in float64.

        Torch's distributions know no private generator: the global one is seeded for
        the length of the draw, and put back.
        """
        n_given = sum(self.distribution.batch_shape + self.distribution.event_shape)
        shape = (n_samples,) if n_given else (n_samples, n_components)
        seed = torch.randint(2**62, (), generator=generator, device=generator.device)
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.default_generator.manual_seed(int(seed))
            drawn = self.distribution.sample(shape)
        return drawn.double().to(generator.device)

    def check(self, posterior, n_components):
        """Refuse a distribution that is not one of the posterior's codes.

        Raises
        ------
        ValueError
            If it has another width, or no density where the codes lie.
        """
        batch, event = self.distribution.batch_shape, self.distribution.event_shape
        if (*batch, *event) not in ((), (n_components,)):
            raise ValueError(
                f"prior has batch_shape={tuple(batch)} and event_shape={tuple(event)}, "
                f"but codes have n_components={n_components}. Give a distribution of "
                "single numbers, or of one row of that width."
            )
        like = torch.zeros((1, posterior.n_noise(n_components)), dtype=torch.float64)
        levels = torch.linspace(0.05, 0.95, 9, dtype=torch.float64).unsqueeze(1)
        noise = posterior.carry(levels.expand(-1, like.shape[1]))
        codes = posterior.standard(n_components, like).rsample(noise)
        if not torch.isfinite(_log_prob_or_nan(self, codes)).all():
            raise ValueError(
                f"prior={self.distribution} has no density for some codes of "
                f"{type(posterior).__name__}, which are {posterior.support}. Choose a "
                'distribution on that support, or prior="auto".'
            )


def _log_prob_or_nan(prior, z):
    try:
        return prior.log_prob(z)
    except ValueError:  # torch's own check of the support
        return z.new_tensor(math.nan)


def closed_kl(q, prior):
    """KL(q || p) where torch knows it, (n_rows, n_components or 1); otherwise None.

    Parameters
    ----------
    q : torch.distributions.Distribution
        Of batch shape (n_rows, n_components), or (n_rows,) with events.
    prior : Prior
    """
    if not isinstance(prior, Distribution):
        return None
    p = prior.distribution
    if p.event_shape and not q.event_shape:
        if not isinstance(q, torch.distributions.Normal):
            return None
        factor = torch.diag_embed(q.scale)
        q = torch.distributions.MultivariateNormal(
            q.mean, scale_tril=factor, validate_args=False
        )
    if len(p.event_shape) != len(q.event_shape):
        return None
    try:
        kl = torch.distributions.kl_divergence(q, p)
    except NotImplementedError:
        return None
    return kl.unsqueeze(-1) if q.event_shape else kl


class MixtureOfNormals(Prior):
    """Normal distributions with independent components, mixed.

    Parameters
    ----------
    mean, log_scale : Tensor of shape (n_members, n_components)
    log_weights : Tensor of shape (n_members,) or None, default=None
        None is equal weights.
    """

    def __init__(self, mean, log_scale, log_weights=None):
        # In float64: narrow members far from 0 cancel in what follows.
        mean, log_scale = mean.double(), log_scale.double()
        self._mean, self._scale = mean, log_scale.exp()
        precision = (-2 * log_scale).exp()
        # Distances as one matrix product: (z - m)^2 / s^2, multiplied out.
        self._factors = torch.cat([-0.5 * precision, mean * precision], 1).T
        if log_weights is None:
            log_weights = mean.new_full((len(mean),), -math.log(len(mean)))
        self._log_weights = log_weights.double()
        constant = 0.5 * math.log(2 * math.pi) * mean.shape[1]
        distance = -0.5 * (mean.square() * precision).sum(1) - log_scale.sum(1)
        self._offset = distance + self._log_weights - constant

    def log_prob(self, z):
        """Log-density, summed over components: (..., n_components) to (...)."""
        z, dtype = z.double(), z.dtype
        rows = torch.cat([z.square(), z], -1).view(-1, len(self._factors))
        parts = [
            torch.addmm(self._offset, few, self._factors).logsumexp(1)
            for few in rows.split(max(1, _ENTRIES_AT_ONCE // len(self._offset)))
        ]
        return torch.cat(parts).view(z.shape[:-1]).to(dtype)

    def sample(self, n_samples, n_components, generator):
        """Draws of shape (n_samples, n_components), in float64."""
        member = _members(self._log_weights, n_samples, generator)
        noise = Gaussian().sample(n_samples, n_components, generator)
        return self._mean[member] + self._scale[member] * noise


class MixtureOfCodes(Prior):
    """Equally likely codes of some rows, under posteriors of any family.

    Parameters
    ----------
    codes : Codes
        Of n_members rows.
    posterior : Posterior
        Their family.
    """

    def __init__(self, codes, posterior):
        self._codes, self._posterior = codes, posterior
        self._n_members = len(codes.mean)

    def log_prob(self, z):
        """Log-density, summed over components: (..., n_components) to (...)."""
        rows = z.reshape(-1, 1, z.shape[-1])
        n_at_once = max(1, _ENTRIES_AT_ONCE // (self._n_members * z.shape[-1]))
        parts = [
            self._codes.log_prob(few).logsumexp(1) for few in rows.split(n_at_once)
        ]
        return torch.cat(parts).view(z.shape[:-1]) - math.log(self._n_members)

    def sample(self, n_samples, n_components, generator):
        """Draws of shape (n_samples, n_components), in float64."""
        equal = torch.zeros(self._n_members, dtype=torch.float64)
        member = _members(equal.to(generator.device), n_samples, generator)
        shape = n_samples, self._posterior.n_noise(n_components)
        noise = self._posterior.noise(shape, generator).double()
        return self._codes.mapped(lambda part: part[member]).rsample(noise).double()


def _members(log_weights, n_samples, generator):
    """Members of a mixture, drawn by their weights."""
    # multinomial takes no more than 2^24 categories; a mixture never has so many.
    shares = torch.softmax(log_weights, 0)
    return torch.multinomial(shares, n_samples, True, generator=generator)


def _some_rows(rows, n, generator):
    """As many rows as asked for, at random; again and again where there are too few."""
    n_rounds = math.ceil(n / len(rows))
    order = [torch.randperm(len(rows), generator=generator) for _ in range(n_rounds)]
    return rows[torch.cat(order)[:n]]


def _check_count(settings, name):
    value = getattr(settings, name)
    if not isinstance(value, Integral) or value < 1:
        raise ValueError(
            f"{name} of {type(settings).__name__} must be a positive integer, "
            f"got {value!r}"
        )


#: What a processor's cache holds: a third of the time of four times as many.
_ENTRIES_AT_ONCE = 250_000

#: What a name may stand for.
FAMILIES = {
    "gaussian": Gaussian,
    "standard": Standard,
    "mixture": Mixture,
    "vamp": VampPrior,
    "categorical": Categorical,
    "aggregate": Aggregate,
}
