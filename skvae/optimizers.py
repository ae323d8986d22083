"""How the weights follow the gradient of the objective.

The rules share a guard: a gradient more than twice as long as usual is shortened to
that. None of them holds the learning rate, which is the estimator's.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any, ClassVar

import torch

from skvae.core import optimizer
from skvae.settings import Settings

__all__ = ["FAMILIES", "SGD", "Adagrad", "Adam", "Optimizer"]


class Optimizer(Settings):
    """Base of the optimisers.

    Weight decay is decoupled: before each step, all weights are multiplied by
    1 - learning rate · `weight_decay`. Neither the guard nor what a rule remembers of
    earlier gradients sees it, so that every weight decays at the same rate. All are
    all: biases and the scales of a likelihood, too.

    References
    ----------
    I. Loshchilov and F. Hutter, "Decoupled Weight Decay Regularization", ICLR 2019,
    equation 1, with the learning rate times `weight_decay` for its lambda.

    Examples
    --------
    >>> import torch
    >>> from skvae.optimizers import SGD
    >>> weights, gradient = torch.zeros(3), torch.ones(3)
    >>> rule = SGD().start(weights.shape, weights.device)
    >>> rule.step(weights, gradient, 0.5)
    >>> weights
    tensor([-0.5000, -0.5000, -0.5000])
    """

    #: The update rule, which takes the settings as keywords.
    _rule: ClassVar[type[Any]]

    def start(
        self,
        shape: tuple[int, ...],
        device: torch.device,
        state: Mapping[str, Any] | None = None,
    ) -> optimizer.Rule:
        """The update rule itself, with what it remembers.

        Parameters
        ----------
        shape : tuple of int
            Of the weights: (n_weights,), or (n_members, n_weights) of an ensemble,
            whose members take each step as if each were alone.
        device : torch.device
            Where the weights are.
        state : dict or None, default=None
            From the rule's `get_state`, to go on from there; not changed.

        Returns
        -------
        rule : skvae.core.optimizer.Rule
            Its ``step(weights, gradient, learning_rate)`` moves the weights in place,
            and may overwrite the gradient.

        Raises
        ------
        ValueError
            If the state is that of another family, or of weights of another shape.
        """
        if state is None:
            return self._rule(shape, device, **self.get_params())
        return self._rule.resume(state, shape, device, **self.get_params())


@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam; with weight decay, AdamW.

    Each weight moves by its mean gradient over the root of its mean squared gradient,
    both means running and without the bias of their start: by about the learning rate,
    whatever the units of the loss.

    Parameters
    ----------
    weight_decay : float, default=0.0
        Share of each weight, times the learning rate, that a step takes away.
    beta_1 : float, default=0.9
        Share of the mean gradient that a step keeps.
    beta_2 : float, default=0.999
        Share of the mean squared gradient that a step keeps.
    epsilon : float, default=1e-8
        Added to the root, in units of the gradient.

    Raises
    ------
    ValueError
        If `weight_decay` is negative, a beta not within [0, 1), or `epsilon` not
        positive.

    References
    ----------
    D. P. Kingma and J. Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015,
    algorithm 1. I. Loshchilov and F. Hutter, "Decoupled Weight Decay Regularization",
    ICLR 2019, algorithm 2.

    Examples
    --------
    >>> from skvae.optimizers import Adam
    >>> Adam(weight_decay=0.01)
    Adam(weight_decay=0.01, beta_1=0.9, beta_2=0.999, epsilon=1e-08)
    """

    weight_decay: float = 0.0
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8

    _rule: ClassVar[type[Any]] = optimizer.Adam

    def __post_init__(self) -> None:
        _check_not_negative(self, "weight_decay")
        _check_share(self, "beta_1")
        _check_share(self, "beta_2")
        _check_positive(self, "epsilon")


@dataclass(frozen=True)
class SGD(Optimizer):
    """Stochastic gradient descent, with momentum or without.

    The velocity is `momentum` times itself plus the gradient, and the weights move
    against it by the learning rate: under a constant gradient, by up to
    1 / (1 - momentum) times what a plain step would move them. Steps are in units of
    the loss, so that the learning rate is another for every table.

    Parameters
    ----------
    momentum : float, default=0.0
        Share of the velocity that a step keeps.
    nesterov : bool, default=False
        Whether to take the gradient as if the weights had already gone on by the
        velocity.
    weight_decay : float, default=0.0
        Share of each weight, times the learning rate, that a step takes away. Without
        momentum that is a penalty of half the squared weights, weighted by it.

    Raises
    ------
    ValueError
        If `momentum` is not within [0, 1), `nesterov` no bool or True without momentum,
        or `weight_decay` negative.

    References
    ----------
    B. T. Polyak, "Some methods of speeding up the convergence of iteration methods",
    USSR Computational Mathematics and Mathematical Physics 4 (1964). I. Sutskever et
    al., "On the importance of initialization and momentum in deep learning", ICML
    2013, equations 1 to 4. For the decay: Loshchilov and Hutter, ICLR 2019,
    algorithm 1.

    Examples
    --------
    >>> from skvae.optimizers import SGD
    >>> SGD(momentum=0.9)
    SGD(momentum=0.9, nesterov=False, weight_decay=0.0)
    """

    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0

    _rule: ClassVar[type[Any]] = optimizer.SGD

    def __post_init__(self) -> None:
        _check_share(self, "momentum")
        _check_not_negative(self, "weight_decay")
        if not isinstance(self.nesterov, bool):
            raise ValueError(f"nesterov of SGD must be a bool, got {self.nesterov!r}")
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov of SGD needs a momentum above 0")


@dataclass(frozen=True)
class Adagrad(Optimizer):
    """Adagrad, with which auto-encoding variational Bayes was first trained.

    Each weight moves by its gradient over the root of the sum of its squared gradients
    so far: steps become short like one over the root of their number, without a
    schedule. The learning rate has to be larger than Adam's; that paper chose it among
    0.01, 0.02 and 0.1. Its weight decay, from a standard normal prior of the weights,
    was part of the gradient, and is not the one here.

    Parameters
    ----------
    epsilon : float, default=1e-10
        Added to the root, in units of the gradient.
    weight_decay : float, default=0.0
        Share of each weight, times the learning rate, that a step takes away.

    Raises
    ------
    ValueError
        If `epsilon` is not positive or `weight_decay` negative.

    References
    ----------
    J. Duchi, E. Hazan and Y. Singer, "Adaptive Subgradient Methods for Online Learning
    and Stochastic Optimization", JMLR 12 (2011), figure 1, for diagonal matrices. D. P.
    Kingma and M. Welling, "Auto-Encoding Variational Bayes", ICLR 2014, algorithm 1
    and section 5. For the decay: Loshchilov and Hutter, ICLR 2019.

    Examples
    --------
    >>> from skvae.optimizers import Adagrad
    >>> Adagrad()
    Adagrad(epsilon=1e-10, weight_decay=0.0)
    """

    epsilon: float = 1e-10
    weight_decay: float = 0.0

    _rule: ClassVar[type[Any]] = optimizer.Adagrad

    def __post_init__(self) -> None:
        _check_positive(self, "epsilon")
        _check_not_negative(self, "weight_decay")


def _check_not_negative(settings: Optimizer, name: str) -> None:
    _check(settings, name, lambda value: 0 <= value < math.inf, "from 0 on")


def _check_positive(settings: Optimizer, name: str) -> None:
    _check(settings, name, lambda value: 0 < value < math.inf, "above 0")


def _check_share(settings: Optimizer, name: str) -> None:
    _check(settings, name, lambda value: 0 <= value < 1, "from 0 to below 1")


def _check(
    settings: Optimizer, name: str, holds: Callable[[Any], bool], expected: str
) -> None:
    value = getattr(settings, name)
    if not (isinstance(value, Real) and holds(value)):
        raise ValueError(
            f"{name} of {type(settings).__name__} must be a float {expected}, "
            f"got {value!r}"
        )


#: What a name may stand for.
FAMILIES: dict[str, type[Optimizer]] = {"adam": Adam, "sgd": SGD, "adagrad": Adagrad}
