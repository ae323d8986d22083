"""Update rules over one flat vector, without ``torch.optim``.

Importing ``torch.optim`` pulls in a compiler and costs more than many fits. The fused
kernel of Adam beneath it is private to torch, so the same update is written out beside
it.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from skvae.core.arrays import as_array, as_tensor, namespace

__all__ = ["SGD", "Adagrad", "Adam", "Rule"]

#: Gradients longer than this many times their usual length are shortened to it.
_LONGEST = 2.0
#: Weight of a new length in the running mean of lengths.
_LENGTH_RATE = 0.02
_TINY = torch.finfo(torch.float32).tiny


class Rule:
    """Base of the update rules: in place, with a guard against outlying batches.

    A batch with a wild row has a gradient many times as long as usual, and would
    spoil what a rule remembers for a thousand steps. It is shortened to twice the
    running mean of lengths.

    Parameters
    ----------
    n_moments : int
        Arrays of the shape of the weights that the rule remembers.
    shape : tuple of int
        Of the weights: (n_weights,), or (n_members, n_weights) of an ensemble, whose
        members have a length of gradient each.
    device : torch.device
    moments : Tensor of shape (n_moments, *shape) or None, default=None
        What is remembered of earlier steps; zeros by default.
    n_steps : int, default=0
        Number of updates behind the moments.
    length : float or ndarray of shape (n_members, 1), default=0.0
        Running mean of gradient lengths to go on from.
    weight_decay : float, default=0.0
        Share of the weights, times the learning rate, that a step takes away: apart
        from the gradient, so that neither guard nor moments see it.

    Raises
    ------
    ValueError
        If the moments are not as many as the rule remembers.

    References
    ----------
    R. Pascanu, T. Mikolov and Y. Bengio, "On the difficulty of training recurrent
    neural networks", ICML 2013, for the shortening. I. Loshchilov and F. Hutter,
    "Decoupled Weight Decay Regularization", ICLR 2019, for the decay.
    """

    #: What a saved state is marked with; one without a mark is Adam's.
    mark: ClassVar[str | None] = None

    def __init__(
        self,
        n_moments: int,
        shape: tuple[int, ...],
        device: torch.device,
        moments: Tensor | None = None,
        n_steps: int = 0,
        length: float | np.ndarray = 0.0,
        *,
        weight_decay: float = 0.0,
    ) -> None:
        if moments is None:
            moments = torch.zeros(
                (n_moments, *shape), dtype=torch.float32, device=device
            )
        elif moments.shape != (n_moments, *shape):
            raise ValueError(
                f"{type(self).__name__} remembers an array of shape "
                f"{(n_moments, *shape)}, and cannot go on from one of shape "
                f"{tuple(moments.shape)}: was the optimizer another?"
            )
        self.moments = moments
        self.n_steps = n_steps
        lengths = torch.tensor(length, dtype=moments.dtype, device=device)
        self._length = as_array(lengths.expand(*shape[:-1], 1).clone())
        self._weight_decay = float(weight_decay)

    @property
    def length(self) -> Tensor:
        """Running mean of gradient lengths, a tensor of shape (..., 1)."""
        return as_tensor(self._length)

    @classmethod
    def resume(
        cls,
        state: Mapping[str, Any],
        shape: tuple[int, ...],
        device: torch.device,
        **settings: Any,
    ) -> Self:
        """The rule that goes on from what `get_state` gave, which is not changed."""
        if state.get("rule") != cls.mark:
            raise ValueError(
                f"{cls.__name__} cannot go on from the state of another optimizer."
            )
        moments = torch.tensor(state["moments"], device=device)
        start = shape, device, moments, state["n_steps"], state["length"]
        # The rules themselves know how many moments they have.
        return cls(*start, **settings)  # type: ignore[arg-type]

    def get_state(self) -> dict[str, Any]:
        """What it takes to go on from here, as plain data.

        Returns
        -------
        state : dict
            "n_steps", an int, "length", a float, or an ndarray of shape (n_members, 1)
            of an ensemble, "moments", an ndarray of shape (n_moments, *shape), and
            "rule", the name of the rule unless it is Adam.
        """
        is_ensemble = self.length.ndim > 1
        state = {
            "n_steps": self.n_steps,
            "length": _to_numpy(self.length) if is_ensemble else float(self.length),
            "moments": _to_numpy(self.moments),
        }
        return state if self.mark is None else {**state, "rule": self.mark}

    def step(self, weights: Tensor, gradient: Tensor, learning_rate: float) -> None:
        """Move the weights against the gradient, both of the shape of the weights."""
        self._shorten(gradient)
        self.n_steps += 1
        if self._weight_decay:
            weights.mul_(1 - learning_rate * self._weight_decay)
        self._move(weights, gradient, learning_rate)

    def _move(self, weights: Tensor, gradient: Tensor, learning_rate: float) -> None:
        """The update itself; the gradient may be overwritten."""
        raise NotImplementedError

    def _shorten(self, of_weights: Tensor) -> None:
        gradient = as_array(of_weights)
        xp = namespace(gradient)
        squared = (gradient[..., None, :] @ gradient[..., None])[..., 0]
        length = xp.sqrt(squared)
        usual = xp.where(self._length > 0, self._length, length)
        kept = xp.minimum(length, _LONGEST * usual)
        # A device would wait for the look; elsewhere it saves a pass over all weights.
        if xp is torch or (kept < length).any():
            # A gradient of zeros has no length to divide by, and stays as it is.
            gradient *= kept / xp.clip(length, _TINY, None)
        self._length = usual + _LENGTH_RATE * (kept - usual)


class Adam(Rule):
    """Adam: first and second moments of the gradient, without their bias.

    Parameters
    ----------
    *start, weight_decay
        As for `Rule`, from the shape on; the moments are the first and the second.
    beta_1, beta_2, epsilon : float
        As in the paper.

    References
    ----------
    D. P. Kingma and J. Ba, "Adam", ICLR 2015, algorithm 1.
    """

    def __init__(
        self,
        *start: Any,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        **decay: Any,
    ) -> None:
        super().__init__(2, *start, **decay)
        self._betas = float(beta_1), float(beta_2)
        self._epsilon = float(epsilon)
        self._counter = self.moments.new_full((), float(self.n_steps))

    def _move(self, weights: Tensor, gradient: Tensor, learning_rate: float) -> None:
        if hasattr(torch, "_fused_adam_"):
            self._fused_step(weights, gradient, learning_rate)
        else:
            self._plain_step(weights, gradient, learning_rate)

    def _fused_step(
        self, weights: Tensor, gradient: Tensor, learning_rate: float
    ) -> None:
        self._counter += 1
        beta_1, beta_2 = self._betas
        torch._fused_adam_(
            [weights],
            [gradient],
            [self.moments[0]],
            [self.moments[1]],
            [],
            [self._counter],
            lr=learning_rate,
            beta1=beta_1,
            beta2=beta_2,
            weight_decay=0.0,  # that of the kernel would pass through the moments
            eps=self._epsilon,
            amsgrad=False,
            maximize=False,
        )

    def _plain_step(
        self, weights: Tensor, gradient: Tensor, learning_rate: float
    ) -> None:
        first, second = self.moments
        beta_1, beta_2 = self._betas
        first.lerp_(gradient, 1 - beta_1)
        second.mul_(beta_2).addcmul_(gradient, gradient, value=1 - beta_2)
        root = (second / (1 - beta_2**self.n_steps)).sqrt_().add_(self._epsilon)
        weights.addcdiv_(first, root, value=-learning_rate / (1 - beta_1**self.n_steps))


class SGD(Rule):
    """Stochastic gradient descent, with momentum or without.

    Parameters
    ----------
    *start, weight_decay
        As for `Rule`, from the shape on; the moment is the velocity, where there is
        momentum.
    momentum : float
        Share of the velocity that a step keeps.
    nesterov : bool
        Whether to look ahead by a step of the velocity.

    References
    ----------
    I. Sutskever et al., "On the importance of initialization and momentum in deep
    learning", ICML 2013, equations 1 to 4.
    """

    mark = "sgd"

    def __init__(
        self, *start: Any, momentum: float, nesterov: bool, **decay: Any
    ) -> None:
        super().__init__(int(momentum > 0), *start, **decay)
        self._momentum, self._nesterov = float(momentum), nesterov

    def _move(self, weights: Tensor, gradient: Tensor, learning_rate: float) -> None:
        for velocity in self.moments:  # one, or none without momentum
            velocity.mul_(self._momentum).add_(gradient)
            if self._nesterov:
                gradient.add_(velocity, alpha=self._momentum)
            else:
                gradient = velocity
        weights.add_(gradient, alpha=-learning_rate)


class Adagrad(Rule):
    """Adagrad: each weight by the root of the sum of its squared gradients so far.

    Parameters
    ----------
    *start, weight_decay
        As for `Rule`, from the shape on; the moment is the sum of squares.
    epsilon : float
        Added to the root.

    References
    ----------
    J. Duchi, E. Hazan and Y. Singer, "Adaptive Subgradient Methods for Online Learning
    and Stochastic Optimization", JMLR 12 (2011), figure 1, for diagonal matrices.
    """

    mark = "adagrad"

    def __init__(self, *start: Any, epsilon: float, **decay: Any) -> None:
        super().__init__(1, *start, **decay)
        self._epsilon = float(epsilon)

    def _move(self, weights: Tensor, gradient: Tensor, learning_rate: float) -> None:
        (total,) = self.moments
        total.addcmul_(gradient, gradient)
        weights.addcdiv_(
            gradient, total.sqrt().add_(self._epsilon), value=-learning_rate
        )


def _to_numpy(tensor: Tensor) -> np.ndarray:
    return tensor.cpu().numpy().copy()
