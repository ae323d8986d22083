"""A user's own modules as encoder and decoder."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.parameter import is_lazy

from skvae.networks.base import Network, member_by_member

__all__ = ["Modules"]

_DROPOUTS = (
    nn.Dropout,
    nn.Dropout1d,
    nn.Dropout2d,
    nn.Dropout3d,
    nn.AlphaDropout,
    nn.FeatureAlphaDropout,
)


@dataclass(frozen=True, eq=False)
class Modules(Network):
    """Two torch modules of the user's: an encoder and a decoder.

    The encoder module maps rows (n_rows, n_inputs) to (n_rows, n_locations +
    n_others), and the decoder module codes (n_rows, n_components) likewise: first the
    locations of all columns, then the others of all. The Gaussian posterior wants
    n_components of either from the encoder. What the decoder must give depends on the
    likelihood: n_features locations, and for a Gaussian of ``scale="conditional"``,
    which is the default, as many others. An error in fit says which widths are needed.

    Training starts at the parameters that the modules have, so that they may have been
    trained before; the members of an ensemble all start there, and differ in the order
    of rows and in the noise. Parameters with ``requires_grad=False`` stay as they are.
    There is no linear path: ``init`` makes no difference.

    The modules are copied, here and wherever they are used, and never changed. They run
    in evaluation mode throughout, training included, since the score of a row may
    depend on nothing but the row. Buffers are refused for the same reason: what
    ``BatchNorm`` keeps in them depends on the rows that came before. ``LayerNorm`` and
    ``GroupNorm`` have none. Dropout is refused since it would do nothing.

    Two are equal if their modules have the same classes, print alike, and have
    parameters of the same names and shapes; the values of those that are trained make
    no difference, since they only say where training starts.

    Parameters
    ----------
    encoder_module, decoder_module : torch.nn.Module
        To be pickled along with the estimator, their classes must be importable.

    Raises
    ------
    ValueError
        If one of them is no module, or has buffers, dropout or lazy parameters. In
        fit, if one cannot read rows of the width there is in float64, gives another
        width than is needed, or gives a row other outputs beside other rows or when
        called again.

    Examples
    --------
    >>> from torch import nn
    >>> from skvae.networks import Modules
    >>> encoder = nn.Sequential(nn.Linear(64, 50), nn.Tanh(), nn.Linear(50, 2 * 3))
    >>> decoder = nn.Sequential(nn.Linear(3, 50), nn.Tanh(), nn.Linear(50, 64))
    >>> network = Modules(encoder, decoder)
    >>> network.encoder(n_inputs=64, n_locations=3, n_others=3).shapes["0.weight"]
    (50, 64)
    """

    uses_threads: ClassVar[bool] = True

    encoder_module: nn.Module
    decoder_module: nn.Module

    def __post_init__(self) -> None:
        for name in ("encoder_module", "decoder_module"):
            module = getattr(self, name)
            _check_module(name, module)
            # The user's own may be trained further, or changed, after this.
            object.__setattr__(self, name, copy.deepcopy(module).cpu().eval())

    def __sklearn_clone__(self) -> Self:
        """Itself: nothing changes it, so that estimators may share it."""
        return self

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self._architecture() == other._architecture()

    def __hash__(self) -> int:
        return hash(self._architecture())

    def _architecture(self) -> tuple[Any, ...]:
        return tuple(
            (
                repr(module),
                *map(type, module.modules()),
                *(
                    (name, tuple(parameter.shape), _fixed_value(parameter))
                    for name, parameter in module.named_parameters()
                ),
            )
            for module in (self.encoder_module, self.decoder_module)
        )

    def encoder(
        self, n_inputs: int, n_locations: int, n_others: int
    ) -> "ModuleFunction":
        """The map from rows to the posterior's outputs.

        Parameters
        ----------
        n_inputs : int
            Numbers that are read of a row.
        n_locations, n_others : int
            Outputs that the posterior wants: means and, of a Gaussian, log-scales.

        Returns
        -------
        encoder : NetworkFunction
            It holds no weights.

        Raises
        ------
        ValueError
            If the encoder module is no such map.
        """
        return ModuleFunction(
            "encoder_module", self.encoder_module, n_inputs, n_locations, n_others
        )

    def decoder(
        self, n_components: int, n_locations: int, n_others: int
    ) -> "ModuleFunction":
        """The map from codes to the likelihood's outputs.

        Parameters
        ----------
        n_components : int
            Width of the code.
        n_locations, n_others : int
            Outputs that the likelihood wants: for example means, and raw scales.

        Returns
        -------
        decoder : NetworkFunction
            It holds no weights.

        Raises
        ------
        ValueError
            If the decoder module is no such map.
        """
        return ModuleFunction(
            "decoder_module", self.decoder_module, n_components, n_locations, n_others
        )


class ModuleFunction:
    """A module as a function of weights that live outside it.

    Attributes
    ----------
    shapes : dict of str to tuple
        Of the module's parameters that are trained, by their names in it.
    """

    can_start_linear = False

    def __init__(
        self,
        name: str,
        module: nn.Module,
        n_inputs: int,
        n_locations: int,
        n_others: int,
    ) -> None:
        self.n_locations = n_locations
        # A call swaps the parameters while it runs, and threads may share the settings.
        self._module = copy.deepcopy(module)
        self._start: dict[str, Tensor] = {}
        self._fixed: dict[str, Tensor] = {}
        for key, parameter in self._module.named_parameters():
            part = self._start if parameter.requires_grad else self._fixed
            part[key] = parameter.detach()
        # A view of the flat vector has one dimension at least.
        self.shapes = {key: tuple(p.shape) or (1,) for key, p in self._start.items()}
        self._check(name, n_inputs, n_others)

    def __call__(
        self, weights: Mapping[str, Tensor], x: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Outputs for rows x of shape (n_rows, n_inputs).

        Where weights and rows have a further dimension in front, of the members of an
        ensemble, so have the outputs.

        Returns
        -------
        locations : Tensor of shape (n_rows, n_locations)
        others : Tensor of shape (n_rows, n_others)
        """
        if x.ndim == 3:
            # Not every module can be run by vmap, a recurrent one for example.
            return member_by_member(self, weights, x)
        outputs = self._run(weights, x)
        return outputs[:, : self.n_locations], outputs[:, self.n_locations :]

    def _run(self, weights: Mapping[str, Tensor], x: Tensor) -> Tensor:
        parameters = {name: fixed.to(x) for name, fixed in self._fixed.items()}
        for name, start in self._start.items():
            parameters[name] = weights[name].view(start.shape)
        return functional_call(self._module, parameters, (x,))

    def start_random(
        self, weights: Mapping[str, Tensor], generator: torch.Generator
    ) -> None:
        """The module's own parameters, in place; nothing is drawn."""
        for name, weight in weights.items():
            weight.copy_(self._start[name].view(weight.shape))

    def _check(self, name: str, n_inputs: int, n_others: int) -> None:
        """Raise a ValueError unless rows are mapped as they must be, each by itself."""
        generator = torch.Generator("cpu").manual_seed(0)
        rows = torch.randn(
            (3, n_inputs), generator=generator, dtype=torch.float64, device="cpu"
        )
        weights = {key: start.to(rows) for key, start in self._start.items()}
        try:
            with torch.no_grad():
                together = self._run(weights, rows)
                alone = self._run(weights, rows[:1])
        except Exception as error:
            raise ValueError(
                f"{name} of Modules cannot read rows of {n_inputs} numbers in float64: "
                f"{type(error).__name__}: {error}"
            ) from error
        width = self.n_locations + n_others
        for outputs, n_rows in ((together, 3), (alone, 1)):
            given = _described(outputs, n_rows)
            if given != width:
                raise ValueError(
                    f"{name} of Modules must give {width} outputs a row, "
                    f"{self.n_locations} locations and then {n_others} others, but it "
                    f"gave {given}."
                )
        if not torch.allclose(together[:1], alone, rtol=1e-6, equal_nan=True):
            raise ValueError(
                f"{name} of Modules gave a row other outputs by itself than beside "
                "other rows. A score may depend on nothing but its row: leave out what "
                "looks across rows, such as BatchNorm, and what draws at random."
            )


def _check_module(name: str, module: Any) -> None:
    """Raise a ValueError if the module is none, or one that cannot be a network."""
    if not isinstance(module, nn.Module):
        raise ValueError(f"{name} of Modules must be a torch.nn.Module, got {module!r}")
    buffers = [key for key, _ in module.named_buffers()]
    if buffers:
        raise ValueError(
            f"{name} of Modules has buffers, {buffers[:3]}, but a score may depend on "
            "nothing but its row, and they may depend on others. Use LayerNorm or "
            "GroupNorm in place of BatchNorm, and a parameter with "
            "requires_grad=False for a constant."
        )
    for key, part in module.named_modules():
        is_dropout = isinstance(part, _DROPOUTS)
        rate: float = part.p if is_dropout else getattr(part, "dropout", 0)
        if isinstance(rate, Real) and rate > 0:
            raise ValueError(
                f"{name} of Modules has dropout at {rate} in part {key!r}, which would "
                "do nothing: modules run in evaluation mode. Set it to 0, or leave it "
                "out."
            )
    if any(is_lazy(parameter) for parameter in module.parameters()):
        raise ValueError(
            f"{name} of Modules has lazy parameters, whose shapes are not known yet: "
            "call the module once on some rows first."
        )


def _fixed_value(parameter: nn.Parameter) -> bytes | None:
    """What distinguishes a parameter that is not trained, None for another."""
    if parameter.requires_grad:
        return None
    return parameter.detach().numpy().tobytes()


def _described(outputs: Any, n_rows: int) -> int | str:
    """The width of what a module gave for some rows, or in words what it gave."""
    if not isinstance(outputs, torch.Tensor):
        return f"a {type(outputs).__name__}"
    if outputs.ndim != 2 or len(outputs) != n_rows:
        return f"a tensor of shape {tuple(outputs.shape)} for {n_rows} row(s)"
    return outputs.shape[1]
