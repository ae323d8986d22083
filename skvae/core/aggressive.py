"""The encoder ahead of the decoder, while the code still learns.

Early in training the encoder lags behind the posterior that the decoder implies, and
the decoder may learn to do without a code. Here the encoder makes several steps for
each of the decoder, until the information of the code about the row grows no more.
"""

import math

import torch
from torch import Tensor

from skvae.core.model import Model, Weights
from skvae.core.rows import Batch

__all__ = ["Pace", "mutual_information"]

#: Encoder steps whose mean loss must fall for the encoder to go on.
_STEPS_PER_WINDOW = 5
#: Decoder steps between looks at the information, and looks without growth to the end.
_DECODER_STEPS_PER_LOOK, _PATIENCE = 10, 3
#: Steps of both after which the encoder is ahead no longer, growth or not: half of what
#: max_iter="auto" makes. In the setting of benchmarks/collapse.py the information grew
#: for 3,000 to 6,000 steps. Phases of 1,000 to 1,500 left about as many units active, 7
#: of 32 in place of 8, at the same log p.
_MOST_STEPS = 1_500
#: Rows by which the information is judged: it reads as log of these at most.
_ROWS = 1_024


class Pace:
    """Whose turn a step is: the encoder's, the decoder's, or, in the end, of both.

    Parameters
    ----------
    model : Model
    flat : Tensor of shape (n_weights,) or (n_members, n_weights)
        Members of an ensemble take turns together: by the means of their losses and of
        their information.
    n_encoder_steps : int
        For each of the decoder, at most; 1 is both at once from the beginning.

    Attributes
    ----------
    is_over : bool
        Whether both go together.

    References
    ----------
    J. He et al., "Lagging Inference Networks and Posterior Collapse in Variational
    Autoencoders", ICLR 2019, algorithm 1.
    """

    def __init__(self, model: Model, flat: Tensor, n_encoder_steps: int) -> None:
        self.is_over = n_encoder_steps == 1
        if self.is_over:
            return
        self._model = model
        members = flat.unsqueeze(0) if flat.ndim == 1 else flat
        self._weights = [model.views(member) for member in members]
        self._of_encoder = _encoder_mask(model, flat)
        self._n_encoder_steps = n_encoder_steps
        self._rows: list[tuple[Tensor, Tensor]] = []
        self._n_rows = 0
        self._best, self._n_looks = -math.inf, 0
        self._n_steps, self._n_decoder_steps = 0, 0
        self._begin_turn()

    def _begin_turn(self) -> None:
        self._n_steps_of_turn, self._window, self._last = 0, 0.0, math.inf
        self._encoder_is_done = False

    def settle(
        self,
        moving: Tensor,
        before: Tensor,
        loss: float | Tensor,
        batch: Batch,
    ) -> None:
        """Put back, in place, the weights whose turn it is not.

        Parameters
        ----------
        moving, before : Tensor of the shape of `flat`
            The weights after the step of the optimiser, and before.
        loss : float or Tensor
            Of the batch.
        batch : tuple
            Inputs, targets, observed and noise.
        """
        self._remember(batch)
        mine = ~self._of_encoder if self._encoder_is_done else self._of_encoder
        torch.where(mine, moving, before, out=moving)
        self._n_steps += 1
        if self._encoder_is_done:
            self._end_turn()
        else:
            self._follow(float(loss))
        self.is_over |= self._n_steps >= _MOST_STEPS

    def _end_turn(self) -> None:
        self._n_decoder_steps += 1
        if self._n_decoder_steps % _DECODER_STEPS_PER_LOOK == 0:
            self._look()
        self._begin_turn()

    def _follow(self, loss: float) -> None:
        """Take note of the encoder's loss: has it fallen since the last window?"""
        self._n_steps_of_turn += 1
        self._window += loss / _STEPS_PER_WINDOW
        if self._n_steps_of_turn % _STEPS_PER_WINDOW == 0:
            self._encoder_is_done = self._window >= self._last
            self._window, self._last = 0.0, self._window
        self._encoder_is_done |= self._n_steps_of_turn >= self._n_encoder_steps

    def _remember(self, batch: Batch) -> None:
        """Keep the first rows: the information is always judged by the same ones."""
        if self._n_rows >= _ROWS:
            return
        inputs, *_, noise = batch
        if not self._model.posterior.is_discrete:  # of draws, one will do
            noise = noise[:1]
        self._rows.append((inputs.clone(), noise.clone()))
        self._n_rows += inputs.shape[-2]

    def _look(self) -> None:
        inputs, noise = (
            torch.cat(parts, -2) for parts in zip(*self._rows, strict=True)
        )
        if inputs.ndim == 2:
            inputs, noise = inputs.unsqueeze(0), noise.unsqueeze(1)
        of_members = [
            mutual_information(self._model, weights, inputs[i], noise[:, i])
            for i, weights in enumerate(self._weights)
        ]
        information = sum(of_members) / len(of_members)
        self._n_looks = 0 if information > self._best else self._n_looks + 1
        self._best = max(self._best, information)
        self.is_over = self._n_looks >= _PATIENCE


def mutual_information(
    model: Model, weights: Weights, inputs: Tensor, noise: Tensor
) -> float:
    """I(x; z) under the encoder, in nats, log(n_rows) at most.

    The mean of log q(z|x) - log q(z), q(z) being the mean posterior of these rows.

    Parameters
    ----------
    inputs : Tensor of shape (n_rows, n_inputs)
    noise : Tensor of shape (n_draws, n_rows or 1, n_noise)

    References
    ----------
    M. D. Hoffman and M. J. Johnson, "ELBO surgery", 2016, section 2.
    """
    with torch.no_grad():
        codes = model.encode(weights, inputs)
        z = codes.rsample(noise)
        log_ratio = codes.log_prob(z) - model.posterior.mixture(codes).log_prob(z)
        shares = codes.log_shares()
        if shares is None:
            return float(log_ratio.mean())
        return float((shares.exp() * log_ratio).sum(0).mean())


def _encoder_mask(model: Model, flat: Tensor) -> Tensor:
    """Which of the weights make the code of a row."""
    mask = torch.zeros(flat.shape, dtype=torch.bool, device=flat.device)
    views = model.views(mask)
    for part in ("encoder", "reader"):
        for view in views[part].values():
            view.fill_(True)
    return mask
