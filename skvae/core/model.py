"""Three distributions and two networks, put together over one flat vector."""

import math

import torch

from skvae.objectives import Terms

__all__ = ["Model"]


class Model:
    """A variational autoencoder as a set of functions of its weights.

    The model holds no weights. They live in one flat vector, which `views` cuts into
    named tensors; every other method takes those.

    Parameters
    ----------
    n_inputs : int
        Width of what the encoder reads.
    n_features : int
        Number of columns that the likelihood describes.
    n_components : int
        Width of the code.
    network, likelihood, posterior, prior : settings objects
        The five places where papers differ, less the objective.
    """

    def __init__(
        self,
        n_inputs,
        n_features,
        n_components,
        *,
        network,
        likelihood,
        posterior,
        prior,
    ):
        self.n_features = n_features
        self.n_components = n_components
        self.likelihood = likelihood
        self.posterior = posterior
        self.prior = prior
        self.encoder = network.encoder(n_inputs, *posterior.n_outputs(n_components))
        self.decoder = network.decoder(n_components, *likelihood.n_outputs(n_features))
        self._shapes = {
            "encoder": self.encoder.shapes,
            "decoder": self.decoder.shapes,
            "likelihood": likelihood.own_shapes(n_features),
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

        Returns
        -------
        weights : dict of str to dict of str to Tensor
            By part of the model ("encoder", "decoder", "likelihood"), then by name.
        """
        weights, offset = {}, 0
        for part, shapes in self._shapes.items():
            weights[part] = {}
            for name, shape in shapes.items():
                size = math.prod(shape)
                weights[part][name] = flat[offset : offset + size].view(shape)
                offset += size
        return weights

    def encode(self, weights, inputs):
        """q(z|x) for inputs of shape (n_rows, n_inputs)."""
        return self.posterior(*self.encoder(weights["encoder"], inputs))

    def decode(self, weights, z):
        """p(x|z) for codes of shape (..., n_rows, n_components)."""
        outputs = self.decoder(weights["decoder"], z.reshape(-1, self.n_components))
        locations, others = (
            part.view(*z.shape[:-1], part.shape[-1]) for part in outputs
        )
        return self.likelihood(locations, others, weights["likelihood"])

    def terms(self, weights, inputs, targets, noise):
        """What the objectives are made of.

        Parameters
        ----------
        inputs : Tensor of shape (n_rows, n_inputs)
        targets : Tensor of shape (n_rows, n_features)
        noise : Tensor of shape (n_draws, n_rows, n_components)

        Returns
        -------
        terms : Terms
        """
        codes = self.encode(weights, inputs)
        z = codes.rsample(noise)
        log_likelihood = self.decode(weights, z).log_prob(targets).sum(-1)
        kl = codes.kl_divergence(self.prior)
        if kl is None:
            kl = (codes.log_prob(z) - self.prior.log_prob(z)).mean(0)
        else:
            kl = kl.sum(-1)
        return Terms(log_likelihood, kl)

    def start_random(self, flat, generator):
        """The textbook start: random matrices, unit noise."""
        weights = self.views(flat)
        self.encoder.start_random(weights["encoder"], generator)
        self.decoder.start_random(weights["decoder"], generator)
        mean = flat.new_zeros(self.n_features)
        loadings = flat.new_zeros((self.n_components, self.n_features))
        start = self.likelihood.start(mean, loadings, torch.ones_like(mean))
        _fill(weights["likelihood"], start.own)

    def start_linear(self, flat, generator, factors, target_mean):
        """The closed-form start: decoder and encoder of a linear-Gaussian model.

        Parameters
        ----------
        factors : FactorModel
            Of the inputs.
        target_mean : ndarray of shape (n_features,)
            Means of the targets, in the likelihood's own units.
        """
        weights = self.views(flat)
        mean, loadings, residual = (torch.from_numpy(part) for part in factors)
        target_mean = torch.from_numpy(target_mean)
        start = self.likelihood.start(target_mean, loadings, residual)
        _fill(weights["likelihood"], start.own)
        self.decoder.start_linear(
            weights["decoder"], generator, start.weight, start.locations, start.others
        )
        # The posterior of a linear-Gaussian model: its mean is exact, its variances
        # are the best independent ones (exact where the loadings are orthogonal).
        weighted = loadings / start.variance
        precision = torch.eye(self.n_components, dtype=torch.float64, device="cpu")
        precision += weighted @ loadings.T
        matrix = torch.linalg.solve(precision, weighted).T
        scale = precision.diagonal().rsqrt()
        self.encoder.start_linear(
            weights["encoder"],
            generator,
            matrix,
            -mean @ matrix,
            self.posterior.start(scale),
        )


def _fill(weights, values):
    for name, value in values.items():
        weights[name].copy_(value)
