"""Three distributions and two networks, put together over one flat vector."""

import math

import torch

from skvae.objectives import Terms

__all__ = ["Model", "own_of_members", "rows_of_members"]


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
        reader,
        n_features,
        n_components,
        *,
        network,
        likelihood,
        posterior,
        prior,
    ):
        self.reader = reader
        self.n_features = n_features
        self.n_components = n_components
        self.likelihood = likelihood
        self.posterior = posterior
        self.prior = prior
        self.encoder = network.encoder(
            reader.n_outputs, *posterior.n_outputs(n_components)
        )
        self.decoder = network.decoder(n_components, *likelihood.n_outputs(n_features))
        self._shapes = {
            "encoder": self.encoder.shapes,
            "decoder": self.decoder.shapes,
            "likelihood": likelihood.own_shapes(n_features),
            "reader": reader.shapes,
        }

    @property
    def n_weights(self):
        """Length of the flat vector."""
        return sum(
            math.prod(shape)
            for shapes in self._shapes.values()
            for shape in shapes.values()
        )

    @property
    def can_start_linear(self):
        """Whether both networks can begin as affine maps."""
        return self.encoder.can_start_linear and self.decoder.can_start_linear

    def views(self, flat):
        """The flat vector as named tensors that share its memory.

        Parameters
        ----------
        flat : Tensor of shape (n_weights,) or (n_members, n_weights)
            The latter is an ensemble, whose members run at once: weights and rows then
            have a dimension of members, the codes of rows one of draws before it.

        Returns
        -------
        weights : dict of str to dict of str to Tensor
            By part of the model ("encoder", "decoder", "likelihood", "reader"), then by
            name.
        """
        weights, offset = {}, 0
        for part, shapes in self._shapes.items():
            weights[part] = {}
            for name, shape in shapes.items():
                size = math.prod(shape)
                cut = flat[..., offset : offset + size]
                weights[part][name] = cut.unflatten(-1, shape)
                offset += size
        return weights

    def encode(self, weights, inputs):
        """q(z|x) for raw inputs of shape (n_rows, n_inputs)."""
        rows = self.reader(weights["reader"], inputs)
        return self.posterior(*self.encoder(weights["encoder"], rows))

    def decode(self, weights, z):
        """p(x|z) for codes of shape (..., n_rows, n_components)."""
        if z.ndim == 4:
            return self._decode_members(weights, z)
        outputs = self.decoder(weights["decoder"], z.reshape(-1, self.n_components))
        locations, others = (
            part.view(*z.shape[:-1], part.shape[-1]) for part in outputs
        )
        return self.likelihood(locations, others, weights["likelihood"])

    def _decode_members(self, weights, z):
        """The same, for codes of shape (n_draws, n_members, n_rows, n_components)."""
        outputs = self.decoder(weights["decoder"], rows_of_members(z))
        locations, others = (
            part.unflatten(1, (len(z), -1)).transpose(0, 1) for part in outputs
        )
        return self.likelihood(locations, others, own_of_members(weights))

    def terms(self, weights, inputs, targets, observed, noise):
        """What the objectives are made of.

        Parameters
        ----------
        inputs : Tensor of shape (n_rows, n_inputs)
        targets : Tensor of shape (n_rows, n_features)
        observed : Tensor of shape (n_rows, n_features) or None
            1 for a cell that counts, 0 for a hole. None: there are no holes.
        noise : Tensor of shape (n_draws, n_rows, n_components)
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
        return Terms(log_likelihood.sum(-1), codes, self.prior, z)

    def start_random(self, flat, generator, mean, variance):
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

    def start_linear(self, flat, generator, factors, mean, variance):
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
        start = self.likelihood.start(mean, variance, loadings, residual)
        _fill(weights["likelihood"], start.own)
        self.decoder.start_linear(
            weights["decoder"], generator, start.weight, start.locations, start.others
        )
        self.reader.start(weights["reader"], generator)
        # The posterior of a linear-Gaussian model: its mean is exact, its variances
        # are the best independent ones (exact where the loadings are orthogonal).
        weighted = loadings / start.variance
        precision = torch.eye(self.n_components, dtype=torch.float64, device="cpu")
        precision += weighted @ loadings.T
        matrix = torch.linalg.solve(precision, weighted).T
        # What the encoder reads beside these columns says nothing yet.
        n_beside = self.reader.n_outputs - len(matrix)
        whole = torch.cat([matrix, matrix.new_zeros((n_beside, self.n_components))])
        scale = precision.diagonal().rsqrt()
        self.encoder.start_linear(
            weights["encoder"],
            generator,
            whole,
            -input_mean @ matrix,
            self.posterior.start(scale),
        )


def rows_of_members(z):
    """Codes (n_draws, n_members, n_rows, .) as (n_members, n_draws * n_rows, .)."""
    return z.transpose(0, 1).flatten(1, 2)


def own_of_members(weights):
    """The likelihood's own weights of each member, to be broadcast over its rows."""
    return {name: own.unsqueeze(1) for name, own in weights["likelihood"].items()}


def _fill(weights, values):
    for name, value in values.items():
        weights[name].copy_(value)
