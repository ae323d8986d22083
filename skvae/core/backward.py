"""The gradients of the bounds by hand, for the models that most fits use.

In small networks most of a training step is the bookkeeping of automatic
differentiation. For perceptrons with Gaussian codes the chain rule is short enough to
write out. `covers` says for which models; the tests hold every one of them to
autograd. Without this file results would be the same, and fits slower.
"""

import math
from collections.abc import Mapping
from typing import Any, TypeAlias, cast

import torch
from torch import Tensor

from skvae import objectives, posteriors, priors
from skvae.core.arrays import Array, as_array, as_tensor, namespace
from skvae.core.model import Model, own_of_members
from skvae.core.passes import Pass
from skvae.networks import Perceptron

__all__ = ["Backward", "Means", "covers"]

#: Per row of a batch: the loss, E_q[log p(x|z)] and KL(q(z|x) || p(z)); numbers, or
#: tensors without dimensions.
Means: TypeAlias = tuple[Any, Any, Any]

#: Objectives whose loss is the evidence lower bound; they differ in how they train.
_BOUNDS = (objectives.ELBO, objectives.CyclicalWarmup, objectives.Aggressive)


def covers(model: Model, objective: objectives.Objective) -> bool:
    """Whether the gradient of this model's objective is written out here."""
    own = model.likelihood.own_shapes(model.n_features)
    return (
        # The importance weights scale the gradient of each row; that of the
        # likelihood's own weights is summed over rows before they are known.
        (
            (
                isinstance(objective, objectives.ELBO)
                and type(objective) in _BOUNDS
                and objective.divergence == "closed"
            )
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
    """What a batch costs, and the gradient of that, for models that `covers` allows.

    Parameters
    ----------
    model : Model
    objective : ELBO or IWAE
    flat : Tensor of shape (n_weights,) or (n_members, n_weights)
        The weights, read anew at each call. The loss of an ensemble is the mean of its
        members' losses; the gradient is that of their sum, so that each learns as if
        it were alone.
    """

    def __init__(
        self, model: Model, objective: objectives.Objective, flat: Tensor
    ) -> None:
        self._model = model
        self._is_ensemble = flat.ndim == 2
        self._average = _iwae if type(objective) is objectives.IWAE else _elbo
        self._parts = model.parts(flat)
        self._gradient = torch.zeros_like(flat)
        self._of_parts = model.parts(self._gradient)
        weights, gradients = model.views(flat), model.views(self._gradient)
        self._reader, self._d_reader = weights["reader"], gradients["reader"]
        own = own_of_members(weights) if self._is_ensemble else weights["likelihood"]
        self._own = {name: as_array(weight) for name, weight in own.items()}
        self._d_own = {
            name: as_array(gradient)
            for name, gradient in gradients["likelihood"].items()
        }
        self._passes: dict[tuple[int, int], tuple[Pass, Pass]] = {}

    def __call__(
        self,
        beta: float,
        inputs: Tensor,
        targets: Tensor,
        observed: Tensor | None,
        noise: Tensor,
    ) -> tuple[Means, Tensor]:
        """Means over rows, and the gradient of the first of them.

        Returns
        -------
        means : tuple of float or Tensor
            The loss, E_q[log p(x|z)] and KL(q(z|x) || p(z)).
        gradient : Tensor
            Like `flat`; the next call overwrites it.
        """
        n_draws, n_rows = len(noise), noise.shape[-2]
        if (n_draws, n_rows) not in self._passes:
            self._passes[n_draws, n_rows] = self._new_passes(n_draws, n_rows)
        passes = self._passes[n_draws, n_rows]
        means = self._run(*passes, beta, inputs, targets, observed, noise)
        return means, self._gradient

    def _new_passes(self, n_draws: int, n_rows: int) -> tuple[Pass, Pass]:
        """Encoder and decoder with buffers for batches of this size."""
        model = self._model
        encoder, decoder = (
            Pass(cast(Perceptron, network), self._parts[part], n, self._of_parts[part])
            for network, part, n in (
                (model.encoder, "encoder", n_rows),
                (model.decoder, "decoder", n_draws * n_rows),
            )
        )
        return encoder, decoder

    def _run(
        self,
        encoder: Pass,
        decoder: Pass,
        beta: float,
        inputs: Tensor,
        targets: Any,
        observed: Any,
        noise: Any,
    ) -> Means:
        reader = self._model.reader
        posterior = cast(posteriors.Gaussian, self._model.posterior)
        n_draws, noise = len(noise), as_array(noise)
        rows = as_array(reader(self._reader, inputs))
        mean, squashed, log_scale = posterior.unpack(*encoder.forward(rows))
        scale = namespace(log_scale).exp(log_scale)
        shift = scale * noise
        z = shift + mean
        outputs = decoder.forward(self._as_rows(z))
        targets, observed = (
            None if part is None else self._repeated(as_array(part), n_draws)
            for part in (targets, observed)
        )
        log_prob, d_locations, d_others, d_own = (
            self._model.likelihood.value_and_gradient(
                *outputs, self._own, targets, observed
            )
        )
        # The gradients of the loss: by each draw's log-likelihood, by z where it is
        # not through that, and by the posterior directly; that by the mean, in means.
        means, share, dz, d_mean, d_log_scale = self._average(
            beta, self._by_draw(log_prob, n_draws), mean, log_scale, scale, noise, z
        )
        if not isinstance(share, float):
            share = self._as_rows(share[..., None])
        self._write(decoder, share, d_locations, d_others, d_own)
        through_decoder = self._by_draw(decoder.backward(with_input=True), n_draws)
        dz = through_decoder if dz is None else dz + through_decoder
        shift *= dz
        xp = namespace(z)
        xp.add(_total(dz), d_mean * mean, out=encoder.d_locations)
        slope = 1 - squashed * squashed
        xp.multiply(_total(shift) + d_log_scale, slope, out=encoder.d_others)
        d_rows = encoder.backward(with_input=reader.has_weights)
        if reader.has_weights:
            reader.backward(self._d_reader, inputs, as_tensor(d_rows))
        return means

    def _write(
        self,
        decoder: Pass,
        share: Any,
        d_locations: Array,
        d_others: Array,
        d_own: Mapping[str, Array],
    ) -> None:
        """The gradients of the decoder's outputs, and those of the likelihood."""
        xp = namespace(d_locations)
        xp.multiply(d_locations, share, out=decoder.d_locations)
        if d_others.shape[-1]:
            xp.multiply(d_others, share, out=decoder.d_others)
        for name, gradient in d_own.items():
            place = self._d_own[name]
            xp.multiply(gradient.reshape(place.shape), share, out=place)

    def _as_rows(self, z: Array) -> Array:
        """(n_draws, ..., n_rows, .) as rows of a network: all draws one after other."""
        if self._is_ensemble:
            z = z.swapaxes(0, 1)
            return z.reshape(len(z), -1, z.shape[-1])
        return z.reshape(-1, z.shape[-1])

    def _by_draw(self, rows: Array, n_draws: int) -> Array:
        """Inverse of `_as_rows`."""
        if not self._is_ensemble:
            return rows.reshape(n_draws, -1, *rows.shape[1:])
        rows = rows.reshape(len(rows), n_draws, -1, *rows.shape[2:])
        return rows.swapaxes(0, 1)

    def _repeated(self, rows: Array, n_draws: int) -> Array:
        if n_draws == 1:
            return rows
        return namespace(rows).concatenate([rows] * n_draws, -2)


def _total(by_draw: Array) -> Array:
    """The sum over draws."""
    return by_draw[0] if len(by_draw) == 1 else by_draw.sum(0)


def _elbo(
    beta: float,
    log_prob: Array,
    mean: Array,
    log_scale: Array,
    scale: Array,
    noise: Array,
    z: Array,
) -> tuple[Means, Any, Any, Any, Any]:
    """Means and gradients of the evidence lower bound, its divergence closed."""
    n_rows = mean.shape[-2]
    n_codes = math.prod(mean.shape[:-1])
    n_log_probs = math.prod(log_prob.shape)
    share = -n_codes / n_rows / n_log_probs
    variance = scale * scale
    kl = _kl(mean, variance, log_scale) / n_codes
    log_likelihood = log_prob.sum() / n_log_probs
    variance -= 1
    variance *= beta / n_rows
    means = beta * kl - log_likelihood, log_likelihood, kl
    return means, share, None, beta / n_rows, variance


def _iwae(
    beta: float,
    log_prob: Array,
    mean: Array,
    log_scale: Array,
    scale: Array,
    noise: Array,
    z: Array,
) -> tuple[Means, Any, Any, Any, Any]:
    """Means and gradients of the importance-weighted bound."""
    n_draws, n_rows = len(log_prob), log_prob.shape[-1]
    # The constants of the two normal densities cancel.
    log_ratio = 0.5 * (noise * noise - z * z).sum(-1) + log_scale.sum(-1)
    log_w = log_prob + beta * log_ratio
    xp = namespace(log_w)
    largest = xp.amax(log_w, 0)
    weights = xp.exp(log_w - largest)
    total = weights.sum(0)
    loss = math.log(n_draws) - (largest + xp.log(total)).mean()
    share = weights / (-n_rows * total)
    dz = -beta * share[..., None] * z
    kl = _kl(mean, scale * scale, log_scale) / math.prod(mean.shape[:-1])
    means = loss, log_prob.mean(), kl
    return means, share, dz, 0.0, -beta / n_rows


def _kl(mean: Array, variance: Array, log_scale: Array) -> Any:
    """Divergence of normal codes from N(0, I), summed over rows."""
    twice = mean * mean
    twice += variance
    twice -= 2 * log_scale
    return 0.5 * (twice.sum() - math.prod(mean.shape))
