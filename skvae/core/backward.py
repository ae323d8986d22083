"""The gradient of the ELBO by hand, for the models that most fits use.

In small networks most of a training step is the bookkeeping of automatic
differentiation. For perceptrons with Gaussian codes the chain rule is short enough to
write out. `covers` says for which models; the tests hold every one of them to
autograd. Without this file results would be the same, and fits slower.
"""

import torch

from skvae import likelihoods, objectives, posteriors, priors
from skvae.networks import ACTIVATIONS, Perceptron

__all__ = ["Backward", "covers"]

_aten = torch.ops.aten

#: Derivatives, from the gradient of the outcome, the input and the outcome.
_DERIVATIVES = {
    "elu": lambda g, x, y: _aten.elu_backward(g, 1.0, 1.0, 1.0, False, x),
    "gelu": lambda g, x, y: _aten.gelu_backward(g, x),
    "identity": lambda g, x, y: g,
    "logistic": lambda g, x, y: _aten.sigmoid_backward(g, y),
    "relu": lambda g, x, y: _aten.threshold_backward(g, y, 0.0),
    "silu": lambda g, x, y: _aten.silu_backward(g, x),
    "softplus": lambda g, x, y: _aten.softplus_backward(g, x, 1.0, 20.0),
    "tanh": lambda g, x, y: _aten.tanh_backward(g, y),
}
_DERIVATIVE_OF = {ACTIVATIONS[name]: rule for name, rule in _DERIVATIVES.items()}


def covers(model, objective):
    """Whether the gradient of this model's objective is written out here."""
    return (
        type(objective) is objectives.ELBO
        and type(model.posterior) is posteriors.Gaussian
        and type(model.prior) is priors.Gaussian
        and type(model.encoder) is Perceptron
        and type(model.decoder) is Perceptron
        and type(model.likelihood) in likelihoods.FAMILIES.values()
        and hasattr(model.likelihood, "value_and_gradient")
    )


class Backward:
    """Loss of a batch and its gradient, for a model that `covers` answers for.

    Parameters
    ----------
    model : Model
    flat : Tensor of shape (n_weights,)
        The weights, read anew at each call.
    """

    def __init__(self, model, flat):
        self._model = model
        self._weights = model.views(flat)
        self._gradient = torch.zeros_like(flat)
        self._gradients = model.views(self._gradient)

    def __call__(self, beta, inputs, targets, noise):
        """Loss, and its gradient as one flat vector that the next call overwrites."""
        with torch.no_grad():
            return self._run(beta, inputs, targets, noise), self._gradient

    def _run(self, beta, inputs, targets, noise):
        model = self._model
        n_draws, n_rows, n_components = noise.shape
        encoder = _Pass(model.encoder, self._weights["encoder"], inputs)
        mean, squashed, log_scale = model.posterior.unpack(*encoder.outputs)
        scale = log_scale.exp()
        shift = scale * noise
        z = (mean + shift).view(-1, n_components)
        decoder = _Pass(model.decoder, self._weights["decoder"], z)
        if n_draws > 1:
            targets = targets.repeat(n_draws, 1)
        log_likelihood, locations, others, own = model.likelihood.value_and_gradient(
            *decoder.outputs, self._weights["likelihood"], targets
        )
        for name, gradient in own.items():
            torch.mul(gradient, -1 / len(z), out=self._gradients["likelihood"][name])
        dz = decoder.backward(
            self._gradients["decoder"],
            locations.mul_(-1 / len(z)),
            others.mul_(-1 / len(z)),
            with_input=True,
        ).view(noise.shape)
        # Through z = mean + exp(log_scale) * noise, and through the closed divergence.
        weight = beta / n_rows
        d_mean = torch.add(dz.sum(0), mean, alpha=weight)
        variance = scale.square()
        d_log_scale = (dz * shift).sum(0).add_(variance, alpha=weight).sub_(weight)
        d_others = d_log_scale.mul_(1 - squashed.square())
        encoder.backward(self._gradients["encoder"], d_mean, d_others)
        kl = 0.5 * (variance.sum() + mean.square().sum() - mean.numel())
        return (kl - log_scale.sum()) * weight - log_likelihood / len(z)


class _Pass:
    """A perceptron run once, with what its gradient needs kept."""

    def __init__(self, network, weights, x):
        self._network = network
        self._weights = weights
        self._x = x
        self._before = []
        self._after = [network.bounded_input(x)]
        for layer in range(network.depth):
            self._before.append(network.affine(weights, layer, self._after[-1]))
            self._after.append(network.activation(self._before[-1]))
        self.outputs = network.outputs(weights, self._after[-1], x)

    def backward(self, gradients, locations, others, with_input=False):
        """Write the gradients of the weights; return that of the input if asked."""
        weights, depth = self._weights, self._network.depth
        gradient = torch.cat([locations, others], 1) if others.shape[1] else locations
        rule = _DERIVATIVE_OF[self._network.activation]
        for layer in range(depth, -1, -1):
            torch.mm(self._after[layer].T, gradient, out=gradients[f"weight_{layer}"])
            torch.sum(gradient, 0, out=gradients[f"bias_{layer}"])
            if layer > 0 or with_input:
                gradient = gradient @ weights[f"weight_{layer}"].T
            if layer > 0:
                gradient = rule(gradient, self._before[layer - 1], self._after[layer])
        if "linear_path" in weights:
            torch.mm(self._x.T, locations, out=gradients["linear_path"])
            if with_input:
                gradient = torch.addmm(gradient, locations, weights["linear_path"].T)
        return gradient
