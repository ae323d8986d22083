"""Three distributions and two networks, put together over one flat vector."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor

from skvae.core.passes import Forward
from skvae.core.reader import Reader
from skvae.likelihoods import Blocks, Likelihood
from skvae.likelihoods.base import Columns
from skvae.networks import Network, NetworkFunction, Perceptron
from skvae.objectives import Terms
from skvae.posteriors import Posterior
from skvae.posteriors.base import Codes
from skvae.priors import OfMembers, Prior
from skvae.settings import Shapes

if TYPE_CHECKING:  # which imports scipy.linalg
    from skvae.core.ppca import FactorModel

__all__ = ["Model", "Weights", "own_of_members", "rows_of_members"]

#: By part of the model, then by name: see `Model.views`.
Weights: TypeAlias = Mapping[str, Mapping[str, Tensor]]


class Model:
    """A variational autoencoder as a set of functions of its weights.

    The model holds no weights. They live in one flat vector, which `views` cuts into
    named tensors; every other method takes those.

    Parameters
    ----------
    reader : Reader
        What the encoder network reads of the raw inputs.
    n_features : int
        Number of columns that the likelihood describes.
    n_components : int
        Width of the code.
    network, likelihood, posterior, prior : settings objects
        The five places where papers differ, less the objective.
    """

    def __init__(
        self,
        reader: Reader,
        n_features: int,
        n_components: int,
        *,
        network: Network,
        likelihood: Likelihood | Blocks,
        posterior: Posterior,
        prior: Prior,
    ) -> None:
        self.reader = reader
        self.n_features = n_features
        self.n_components = n_components
        self.likelihood = likelihood
        self.posterior = posterior
        self.prior = prior
        self.encoder: NetworkFunction = network.encoder(
            reader.n_outputs, *posterior.n_outputs(n_components)
        )
        self.decoder: NetworkFunction = network.decoder(
            n_components, *likelihood.n_outputs(n_features)
        )
        self._shapes: dict[str, Shapes] = {
            "encoder": self.encoder.shapes,
            "decoder": self.decoder.shapes,
            "likelihood": likelihood.own_shapes(n_features),
            "reader": reader.shapes,
            "prior": prior.own_shapes(n_components, reader.n_outputs),
        }

    @property
    def n_weights(self) -> int:
        """Length of the flat vector."""
        return sum(
            math.prod(shape)
            for shapes in self._shapes.values()
            for shape in shapes.values()
        )

    @property
    def can_start_linear(self) -> bool:
        """Whether both networks can begin as affine maps, with codes to match."""
        return (
            self.posterior.can_start_linear
            and self.encoder.can_start_linear
            and self.decoder.can_start_linear
        )

    def views(self, flat: Tensor) -> dict[str, dict[str, Tensor]]:
        """The flat vector as named tensors that share its memory.

        Parameters
        ----------
        flat : Tensor of shape (n_weights,) or (n_members, n_weights)
            The latter is an ensemble, whose members run at once: weights and rows then
            have a dimension of members, the codes of rows one of draws before it.

        Returns
        -------
        weights : dict of str to dict of str to Tensor
            By part of the model ("encoder", "decoder", "likelihood", "reader",
            "prior"), then by name.
        """
        weights: dict[str, dict[str, Tensor]] = {}
        for part, whole in self.parts(flat).items():
            weights[part], offset = {}, 0
            for name, shape in self._shapes[part].items():
                size = math.prod(shape)
                cut = whole[..., offset : offset + size]
                weights[part][name] = cut.unflatten(-1, shape)
                offset += size
        return weights

    def parts(self, flat: Tensor) -> dict[str, Tensor]:
        """The flat vector cut into one for each part of the model, likewise."""
        sizes = [
            sum(math.prod(shape) for shape in shapes.values())
            for shapes in self._shapes.values()
        ]
        return dict(zip(self._shapes, flat.split(sizes, -1), strict=True))

    def run_in_buffers(self, flat: Tensor) -> None:
        """Have perceptrons keep what they compute in, for calls with these weights.

        For one model, and one thread at a time.
        """
        parts = self.parts(flat)
        # From here on they are called, and not asked for more.
        if type(self.encoder) is Perceptron:
            encoder = Forward(self.encoder, parts["encoder"])
            self.encoder = encoder  # type: ignore[assignment]  # only called
        if type(self.decoder) is Perceptron:
            decoder = Forward(self.decoder, parts["decoder"])
            self.decoder = decoder  # type: ignore[assignment]  # only called

    def encode(self, weights: Weights, inputs: Tensor) -> Codes:
        """q(z|x) for raw inputs of shape (n_rows, n_inputs)."""
        return self._encode_read(weights, self.reader(weights["reader"], inputs))

    def _encode_read(self, weights: Weights, rows: Tensor) -> Codes:
        return self.posterior(*self.encoder(weights["encoder"], rows))

    def prior_of(self, weights: Weights) -> Prior:
        """p(z)."""
        shapes, own = self._shapes["prior"], weights["prior"]
        if any(own[name].ndim > len(shape) for name, shape in shapes.items()):
            n_members = len(next(iter(own.values())))
            members = [_of_member(weights, e) for e in range(n_members)]
            return OfMembers([self.prior_of(member) for member in members])
        return self.prior.bound(
            own, lambda rows: self._encode_read(weights, rows), self.posterior
        )

    def decode(self, weights: Weights, z: Tensor) -> Columns:
        """p(x|z) for codes of shape (..., n_rows, n_components)."""
        z = self.posterior.features(z)
        if z.ndim == 4:
            return self._decode_members(weights, z)
        outputs = self.decoder(weights["decoder"], z.reshape(-1, self.n_components))
        locations, others = (
            part.view(*z.shape[:-1], part.shape[-1]) for part in outputs
        )
        return self.likelihood(locations, others, weights["likelihood"])

    def _decode_members(self, weights: Weights, z: Tensor) -> Columns:
        """The same, for codes of shape (n_draws, n_members, n_rows, n_components)."""
        outputs = self.decoder(weights["decoder"], rows_of_members(z))
        locations, others = (
            part.unflatten(1, (len(z), -1)).transpose(0, 1) for part in outputs
        )
        return self.likelihood(locations, others, own_of_members(weights))

    def terms(
        self,
        weights: Weights,
        inputs: Tensor,
        targets: Tensor,
        observed: Tensor | None,
        noise: Tensor,
    ) -> Terms:
        """What the objectives are made of.

        Parameters
        ----------
        inputs : Tensor of shape (n_rows, n_inputs)
        targets : Tensor of shape (n_rows, n_features)
        observed : Tensor of shape (n_rows, n_features) or None
            1 for a cell that counts, 0 for a hole. None: there are no holes.
        noise : Tensor of shape (n_draws, n_rows, n_noise)
            Of an ensemble, all have a dimension of members before that of rows.

        Returns
        -------
        terms : Terms
        """
        codes = self.encode(weights, inputs)
        z = codes.rsample(noise)
        log_likelihood = self.decode(weights, z).log_prob(targets)
        if observed is not None:
            log_likelihood = log_likelihood * observed
        return Terms(log_likelihood.sum(-1), codes, self.prior_of(weights), z)

    def start_random(
        self, flat: Tensor, generator: torch.Generator, mean: Tensor, variance: Tensor
    ) -> None:
        """The textbook start: random matrices; scales as if the code said nothing."""
        weights = self.views(flat)
        self.encoder.start_random(weights["encoder"], generator)
        self.decoder.start_random(weights["decoder"], generator)
        self.reader.start(weights["reader"], generator)
        n_inputs = self.likelihood.n_inputs(self.n_features)
        loadings = mean.new_zeros((self.n_components, n_inputs))
        unit = mean.new_ones(n_inputs)
        start = self.likelihood.start(mean, variance, loadings, unit)
        _fill(weights["likelihood"], start.own)

    def start_linear(
        self,
        flat: Tensor,
        generator: torch.Generator,
        factors: "FactorModel",
        mean: Tensor,
        variance: Tensor,
    ) -> None:
        """The closed-form start: decoder and encoder of a linear-Gaussian model.

        Parameters
        ----------
        factors : FactorModel
            Of what the encoder reads first, as many columns as the likelihood's
            `n_inputs`.
        mean, variance : Tensor of shape (n_means,)
            Moments of the targets' statistic.
        """
        weights = self.views(flat)
        input_mean, loadings, residual = (torch.from_numpy(part) for part in factors)
        if self.posterior.is_skewed:
            # The long tail of a component goes with large numbers, as a rule.
            loadings = loadings * torch.where(loadings.sum(1) < 0, -1.0, 1.0)[:, None]
        start = self.likelihood.start(mean, variance, loadings, residual)
        _fill(weights["likelihood"], start.own)
        self.decoder.start_linear(  # type: ignore[attr-defined]  # can_start_linear
            weights["decoder"], generator, start.weight, start.locations, start.others
        )
        self.reader.start(weights["reader"], generator)
        matrix, locations, others = self.posterior.linear_start(
            loadings, start.variance
        )
        # What the encoder reads beside these columns says nothing yet.
        n_beside = self.reader.n_outputs - len(matrix)
        whole = torch.cat([matrix, matrix.new_zeros((n_beside, matrix.shape[1]))])
        self.encoder.start_linear(  # type: ignore[attr-defined]  # can_start_linear
            weights["encoder"],
            generator,
            whole,
            locations - input_mean @ matrix,
            others,
        )

    def start_prior(
        self, flat: Tensor, generator: torch.Generator, inputs: Tensor
    ) -> None:
        """The start of the prior's own weights, the networks having theirs.

        Parameters
        ----------
        inputs : Tensor of shape (n_rows, n_inputs)
            Raw inputs of some training rows.
        """
        weights = self.views(flat)
        rows = self.reader(weights["reader"], inputs)
        mean = self._encode_read(weights, rows).mean
        self.prior.start(weights["prior"], generator, rows, mean)


def _of_member(weights: Weights, e: int) -> Weights:
    """The weights of one member of an ensemble."""
    return {
        part: {name: weight[e] for name, weight in named.items()}
        for part, named in weights.items()
    }


def rows_of_members(z: Tensor) -> Tensor:
    """Codes (n_draws, n_members, n_rows, .) as (n_members, n_draws * n_rows, .)."""
    return z.transpose(0, 1).flatten(1, 2)


def own_of_members(weights: Weights) -> dict[str, Tensor]:
    """The likelihood's own weights of each member, to be broadcast over its rows."""
    return {name: own.unsqueeze(1) for name, own in weights["likelihood"].items()}


def _fill(weights: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
    for name, value in values.items():
        weights[name].copy_(value)
