"""What the constructor's parameters stand for: names and "auto" resolved."""

import math
from collections.abc import Mapping
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from skvae import likelihoods, networks, objectives, optimizers, posteriors, priors
from skvae.compat import Interval, StrOptions
from skvae.core.training import Plan
from skvae.settings import Settings, resolve

if TYPE_CHECKING:
    from skvae.base import BaseVAE

__all__ = [
    "CONSTRAINTS",
    "PLACES",
    "Length",
    "kept_out",
    "plan",
    "settings",
    "split",
    "training_device",
]

#: The places that make a model, less the likelihood, which the table chooses column by
#: column, and the families that a name in them may stand for: each has its own.
PLACES: dict[str, Mapping[str, type[Any]]] = {
    "network": networks.FAMILIES,
    "posterior": posteriors.FAMILIES,
    "prior": priors.FAMILIES,
}

_AT_LEAST_ONE = Interval(Integral, 1, None, closed="left")
_NOT_NEGATIVE = Interval(Real, 0, None, closed="left")
_AUTO = StrOptions({"auto"})

#: What every variational autoencoder's parameters may be.
CONSTRAINTS: dict[str, list[Any]] = {
    "n_components": [_AT_LEAST_ONE, _AUTO],
    "hidden_layer_sizes": ["array-like", _AT_LEAST_ONE],
    "activation": [StrOptions(set(networks.ACTIVATIONS))],
    "network": [StrOptions(set(networks.FAMILIES)), networks.Network, None],
    "likelihood": [
        StrOptions({"auto", *likelihoods.FAMILIES}),
        likelihoods.Likelihood,
        dict,
        list,
    ],
    "handle_unknown": [StrOptions({"error", "missing"})],
    "posterior": [StrOptions(set(posteriors.FAMILIES)), posteriors.Posterior],
    "prior": [
        StrOptions({"auto", *priors.FAMILIES}),
        priors.Prior,
        torch.distributions.Distribution,
    ],
    "objective": [StrOptions(set(objectives.FAMILIES)), objectives.Objective],
    "beta": [_NOT_NEGATIVE],
    "kl_warmup": [Interval(Real, 0, 1, closed="both")],
    "standardize": ["boolean"],
    "init": [StrOptions({"pca", "random"})],
    "optimizer": [StrOptions(set(optimizers.FAMILIES)), optimizers.Optimizer],
    "learning_rate": [Interval(Real, 0, None, closed="neither")],
    "batch_size": [_AT_LEAST_ONE, _AUTO],
    "max_iter": [_AT_LEAST_ONE, _AUTO],
    "early_stopping": ["boolean", _AUTO],
    "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
    "n_iter_no_change": [_AT_LEAST_ONE],
    "tol": [_NOT_NEGATIVE],
    "n_mc_samples": [_AT_LEAST_ONE],
    "n_importance_samples": [_AT_LEAST_ONE],
    "warm_start": ["boolean"],
    "device": [str, torch.device, None],
    "random_state": ["random_state"],
    "verbose": ["verbose"],
}

_MOST_COMPONENTS_BY_DEFAULT = 16
#: Below this, a tenth of the rows is too few to tell a better model from a worse one.
_LEAST_ROWS_FOR_STOPPING = 50
#: Enough to see a change of a hundredth of a nat; more would be better trained on.
_MOST_HELD_OUT_ROWS = 5_000
#: p-values in steps of a ten-thousandth.
_MOST_CALIBRATION_ROWS = 10_000


class Length(NamedTuple):
    """How long max_iter="auto" trains, at least."""

    steps: int
    steps_if_mixed: int
    epochs: int


def settings(estimator: "BaseVAE", n_features: int) -> tuple[int, dict[str, Settings]]:
    """The width of the code, and the settings objects of the model's places.

    Returns
    -------
    n_components : int
    settings : dict
        By the names of `PLACES`.

    Raises
    ------
    ValueError
        If the prior and the posterior do not go together.
    """
    n_components = estimator.n_components
    if n_components == "auto":
        n_components = min(_MOST_COMPONENTS_BY_DEFAULT, math.ceil(n_features / 2))
    network = estimator.network
    if network is None:
        sizes = np.atleast_1d(np.asarray(estimator.hidden_layer_sizes, dtype=object))
        network = networks.MLP(tuple(sizes.tolist()), estimator.activation)
    posterior = resolve(estimator.posterior, posteriors.FAMILIES)
    chosen: dict[str, Settings] = {
        "network": resolve(network, networks.FAMILIES),
        "posterior": posterior,
        "prior": _prior(estimator._scoring_prior, posterior, int(n_components)),
    }
    return int(n_components), chosen


def _prior(
    prior: str | priors.Prior | torch.distributions.Distribution,
    posterior: posteriors.Posterior,
    n_components: int,
) -> priors.Prior:
    """The prior's settings object, if codes of the posterior can come from it."""
    if isinstance(prior, torch.distributions.Distribution):
        prior = priors.Distribution(prior)
    if isinstance(prior, str):
        prior = resolve(posterior.prior if prior == "auto" else prior, priors.FAMILIES)
    prior.check(posterior, n_components)
    return prior


def plan(estimator: "BaseVAE", n_rows: int, mixed: bool) -> Plan:
    """How to train on some number of rows, of columns of one kind or mixed."""
    objective = resolve(estimator.objective, objectives.FAMILIES)
    n_draws = objective.n_draws(estimator.n_mc_samples)
    batch_size = estimator.batch_size
    if batch_size == "auto":
        batch_size = 128 if n_rows < 20_000 else 256 if n_rows < 100_000 else 512
    batch_size = min(batch_size, n_rows)
    max_iter = estimator.max_iter
    if max_iter == "auto":
        steps_per_epoch = math.ceil(n_rows / batch_size)
        # A step of many draws costs, and teaches, as much as several.
        long = mixed and n_draws == 1
        length = estimator._length
        least_steps = length.steps_if_mixed if long else length.steps
        max_iter = max(length.epochs, math.ceil(least_steps / steps_per_epoch))
    n_cycles, kl_warmup = objective.warm_up(estimator.kl_warmup)
    return Plan(
        n_rows=n_rows,
        batch_size=batch_size,
        max_epochs=max_iter,
        learning_rate=estimator.learning_rate,
        n_draws=n_draws,
        beta=estimator.beta,
        kl_warmup=kl_warmup,
        n_cycles=n_cycles,
        n_encoder_steps=objective.n_encoder_steps,
        patience=estimator.n_iter_no_change,
        tolerance=estimator.tol,
        input_noise=estimator._input_noise,
    )


def split(
    estimator: "BaseVAE", n_samples: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows to train on, to stop by, and to calibrate by, each in ascending order.

    Raises
    ------
    ValueError
        If early stopping is asked for and the rows are too few.
    """
    n_held_out, n_apart = kept_out(estimator, n_samples)
    if not n_held_out and not n_apart:
        return np.arange(n_samples), np.arange(0), np.arange(0)
    order = rng.permutation(n_samples)
    n_kept = n_samples - n_held_out - n_apart
    held_out, apart, rows = np.split(order, [n_held_out, n_samples - n_kept])
    return np.sort(rows), np.sort(held_out), np.sort(apart)


def kept_out(estimator: "BaseVAE", n_samples: int) -> tuple[int, int]:
    """Numbers of rows to stop by and to calibrate by; raises as `split` does."""
    n_apart = min(
        round(estimator._fraction_apart * n_samples),
        _MOST_CALIBRATION_ROWS,
        n_samples - 2,
    )
    n_left = n_samples - n_apart
    stopping = estimator.early_stopping
    if stopping == "auto":
        stopping = n_left >= _LEAST_ROWS_FOR_STOPPING
    if not stopping:
        return 0, n_apart
    if n_left < 3:
        raise ValueError(
            f"early_stopping=True needs at least 3 rows, got n_samples={n_left}: 2 "
            "to train on and 1 to hold out. Set early_stopping=False."
        )
    n_held_out = min(
        max(1, round(estimator.validation_fraction * n_left)),
        _MOST_HELD_OUT_ROWS,
        n_left - 2,
    )
    return n_held_out, n_apart


def training_device(device: str | torch.device | None) -> torch.device:
    """The device that a parameter names.

    Raises
    ------
    ValueError
        If torch does not know the device, or has none here.
    """
    device = torch.device("cpu") if device is None else device
    try:
        device = torch.device(device)
        torch.Generator(device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).partition(". ")[0]
        raise ValueError(
            f"device={str(device)!r} is not to be had here ({reason}). Use "
            "device=None for the CPU."
        ) from error
    return device
