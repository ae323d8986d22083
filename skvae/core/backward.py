"""The gradients of the bounds by hand, for the models that most fits use.

In small networks most of a training step is the bookkeeping of automatic
differentiation. For perceptrons with Gaussian codes the chain rule is short enough to
write out. `covers` says for which models; the tests hold every one of them to
autograd. Without this file results would be the same, and fits slower.
"""

import math

import torch

from skvae import objectives, posteriors, priors
from skvae.core.model import own_of_members, rows_of_members
from skvae.networks import ACTIVATIONS, Perceptron, plus_product

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


#: Objectives whose loss is the evidence lower bound; they differ in how they train.
_BOUNDS = (objectives.ELBO, objectives.CyclicalWarmup, objectives.Aggressive)


def covers(model, objective):
    """Whether the gradient of this model's objective is written out here."""
    own = model.likelihood.own_shapes(model.n_features)
    return (
        # The importance weights scale the gradient of each row; that of the
        # likelihood's own weights is summed over rows before they are known.
        (
            (type(objective) in _BOUNDS and objective.divergence == "closed")
            or (
                type(objective) is objectives.IWAE
                and not objective.doubly_reparameterized
                and not own
            )
        )
        and type(model.posterior) is posteriors.Gaussian
        and type(model.prior) is priors.Gaussian
        and type(model.encoder) is Perceptron
        and type(model.decoder) is Perceptron
        and hasattr(model.likelihood, "value_and_gradient")
    )


class Backward:
    """Loss of a batch and its gradient, for a model that `covers` answers for.

    Parameters
    ----------
    model : Model
    objective : ELBO or IWAE
    flat : Tensor of shape (n_weights,) or (n_members, n_weights)
        The weights, read anew at each call. The loss of an ensemble is the mean of its
        members' losses; the gradient is that of their sum, so that each learns as if
        it were alone.
    """

    def __init__(self, model, objective, flat):
        self._model = model
        self._is_ensemble = flat.ndim == 2
        self._average = _iwae if type(objective) is objectives.IWAE else _elbo
        self._weights = model.views(flat)
        self._gradient = torch.zeros_like(flat)
        self._gradients = model.views(self._gradient)

    def __call__(self, beta, inputs, targets, observed, noise):
        """Loss, and its gradient, like `flat`, which the next call overwrites."""
        with torch.no_grad():
            loss = self._run(beta, inputs, targets, observed, noise)
            return loss, self._gradient

    def _run(self, beta, inputs, targets, observed, noise):
        model, weights, gradients = self._model, self._weights, self._gradients
        n_draws = len(noise)
        rows = model.reader(weights["reader"], inputs)
        encoder = _Pass(model.encoder, weights["encoder"], rows)
        mean, squashed, log_scale = model.posterior.unpack(*encoder.outputs)
        scale = log_scale.exp()
        shift = scale * noise
        z = mean + shift
        decoder = _Pass(model.decoder, weights["decoder"], self._as_rows(z))
        if n_draws > 1:
            targets = self._repeated(targets, n_draws)
            observed = None if observed is None else self._repeated(observed, n_draws)
        own = own_of_members(weights) if self._is_ensemble else weights["likelihood"]
        log_prob, locations, others, own = model.likelihood.value_and_gradient(
            *decoder.outputs, own, targets, observed
        )
        # The gradients of the loss: by each draw's log-likelihood, by z where it is
        # not through that, and by the posterior directly; that by the mean, in means.
        loss, share, dz, d_mean, d_log_scale = self._average(
            beta, self._by_draw(log_prob, n_draws), mean, log_scale, scale, noise, z
        )
        if torch.is_tensor(share):
            share = self._as_rows(share.unsqueeze(-1))
        for name, gradient in own.items():
            place = gradients["likelihood"][name]
            torch.mul(gradient.view_as(place), share, out=place)
        through_decoder = decoder.backward(
            gradients["decoder"],
            locations.mul_(share),
            others.mul_(share),
            with_input=True,
        )
        through_decoder = self._by_draw(through_decoder, n_draws)
        dz = through_decoder if dz is None else dz.add_(through_decoder)
        d_mean = torch.add(dz.sum(0), mean, alpha=d_mean)
        d_log_scale = (dz * shift).sum(0).add_(d_log_scale)
        d_others = d_log_scale.mul_(1 - squashed.square())
        d_rows = encoder.backward(
            gradients["encoder"], d_mean, d_others, model.reader.has_weights
        )
        if model.reader.has_weights:
            model.reader.backward(gradients["reader"], inputs, d_rows)
        return loss

    def _as_rows(self, z):
        """(n_draws, ..., n_rows, .) as rows of a network: all draws one after other."""
        return rows_of_members(z) if self._is_ensemble else z.flatten(0, 1)

    def _by_draw(self, rows, n_draws):
        """Inverse of `_as_rows`."""
        if not self._is_ensemble:
            return rows.unflatten(0, (n_draws, -1))
        return rows.unflatten(1, (n_draws, -1)).transpose(0, 1)

    def _repeated(self, rows, n_draws):
        return self._as_rows(rows.expand(n_draws, *rows.shape))


def _elbo(beta, log_prob, mean, log_scale, scale, noise, z):
    """Loss and gradients of the evidence lower bound, its divergence closed."""
    n_rows = mean.shape[-2]
    n_members = mean.numel() // (n_rows * mean.shape[-1])
    weight = beta / n_rows
    share = -n_members / log_prob.numel()
    variance = scale.square()
    kl = 0.5 * (variance.sum() + mean.square().sum() - mean.numel()) - log_scale.sum()
    loss = (kl * weight + log_prob.sum() * share) / n_members
    return loss, share, None, weight, variance.sub_(1).mul_(weight)


def _iwae(beta, log_prob, mean, log_scale, scale, noise, z):
    """Loss and gradients of the importance-weighted bound."""
    n_draws, n_rows = len(log_prob), log_prob.shape[-1]
    # The constants of the two normal densities cancel.
    log_ratio = 0.5 * (noise.square() - z.square()).sum(-1) + log_scale.sum(-1)
    log_w = log_prob + beta * log_ratio
    loss = math.log(n_draws) - torch.logsumexp(log_w, 0).mean()
    share = torch.softmax(log_w, 0).div_(-n_rows)
    dz = -beta * share.unsqueeze(-1) * z
    return loss, share, dz, 0.0, -beta / n_rows


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
        product = torch.mm if self._x.ndim == 2 else torch.bmm
        gradient = torch.cat([locations, others], -1) if others.numel() else locations
        rule = _DERIVATIVE_OF[self._network.activation]
        for layer in range(depth, -1, -1):
            product(self._after[layer].mT, gradient, out=gradients[f"weight_{layer}"])
            torch.sum(gradient, -2, out=gradients[f"bias_{layer}"])
            if layer > 0 or with_input:
                gradient = gradient @ weights[f"weight_{layer}"].mT
            if layer > 0:
                gradient = rule(gradient, self._before[layer - 1], self._after[layer])
        if with_input:
            gradient = self._network.through_bound(self._x, gradient)
        if "linear_path" in weights:
            product(self._x.mT, locations, out=gradients["linear_path"])
            if with_input:
                back = weights["linear_path"].mT
                gradient = plus_product(gradient, locations, back)
        return gradient
