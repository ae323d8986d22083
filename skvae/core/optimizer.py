"""Adam over one flat vector, without ``torch.optim``.

Importing ``torch.optim`` pulls in a compiler and costs more than many fits. The fused
kernel beneath it is private to torch, so the same update is written out beside it.
"""

import torch

__all__ = ["Adam"]

_BETA_1, _BETA_2, _EPSILON = 0.9, 0.999, 1e-8
#: Gradients longer than this many times their usual length are shortened to it.
_LONGEST = 2.0
#: Weight of a new length in the running mean of lengths.
_LENGTH_RATE = 0.02


class Adam:
    """Adam, in place on a flat vector, with a guard against outlying batches.

    A batch with a wild row has a gradient many times as long as usual, and would
    spoil the second moments for a thousand steps. It is shortened to twice the
    running mean of lengths.

    Parameters
    ----------
    shape : tuple of int
        Of the weights: (n_weights,), or (n_members, n_weights) of an ensemble, whose
        members have a length of gradient each.
    device : torch.device
    moments : Tensor of shape (2, *shape) or None, default=None
        First and second moment to go on from; zeros by default.
    n_steps : int, default=0
        Number of updates behind the moments.
    length : float, default=0.0
        Running mean of gradient lengths to go on from.

    References
    ----------
    D. P. Kingma and J. Ba, "Adam", ICLR 2015, algorithm 1. R. Pascanu, T. Mikolov and
    Y. Bengio, "On the difficulty of training recurrent neural networks", ICML 2013,
    for the shortening.
    """

    def __init__(self, shape, device, moments=None, n_steps=0, length=0.0):
        if moments is None:
            moments = torch.zeros((2, *shape), dtype=torch.float32, device=device)
        self.moments = moments
        self.n_steps = n_steps
        self.length = moments.new_full((*shape[:-1], 1), length)
        self._counter = moments.new_full((), float(n_steps))

    def step(self, weights, gradient, learning_rate):
        """Move the weights against the gradient, both of the shape of the weights."""
        self._shorten(gradient)
        self.n_steps += 1
        if hasattr(torch, "_fused_adam_"):
            self._fused_step(weights, gradient, learning_rate)
        else:
            self._plain_step(weights, gradient, learning_rate)

    def _shorten(self, gradient):
        length = gradient.norm(dim=-1, keepdim=True)
        usual = torch.where(self.length > 0, self.length, length)
        kept = torch.minimum(length, _LONGEST * usual)
        # A gradient of zeros has no length to divide by, and stays as it is.
        gradient.mul_(kept / length.clamp_min(torch.finfo(length.dtype).tiny))
        self.length = torch.lerp(usual, kept, _LENGTH_RATE)

    def _fused_step(self, weights, gradient, learning_rate):
        self._counter += 1
        torch._fused_adam_(
            [weights],
            [gradient],
            [self.moments[0]],
            [self.moments[1]],
            [],
            [self._counter],
            lr=learning_rate,
            beta1=_BETA_1,
            beta2=_BETA_2,
            weight_decay=0.0,
            eps=_EPSILON,
            amsgrad=False,
            maximize=False,
        )

    def _plain_step(self, weights, gradient, learning_rate):
        first, second = self.moments
        first.lerp_(gradient, 1 - _BETA_1)
        second.mul_(_BETA_2).addcmul_(gradient, gradient, value=1 - _BETA_2)
        root = (second / (1 - _BETA_2**self.n_steps)).sqrt_().add_(_EPSILON)
        weights.addcdiv_(
            first, root, value=-learning_rate / (1 - _BETA_1**self.n_steps)
        )
