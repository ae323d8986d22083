"""What is saved of an estimator: marked on the way out, checked on the way in.

With one bit flipped, a file of weights is a silently different model. So a saved state
carries a checksum, and what makes a model is looked at before it is taken for one.
"""

import hashlib
import reprlib
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.exceptions import InconsistentVersionWarning

from skvae import __version__, priors
from skvae.fitted import build_model
from skvae.settings import from_state
from skvae.table import TableEncoder

__all__ = ["STATE_FORMAT", "checked", "marked", "telling_of_damage"]

#: Raised when the meaning of the fitted state changes; an older package refuses it.
STATE_FORMAT = 1


def marked(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes to be saved, with a format, a version and a checksum.

    Parameters
    ----------
    attributes : dict
        By name.

    Returns
    -------
    state : dict
        With "_state_format", "_skvae_version" and "_checksum" besides.
    """
    state = {
        **attributes,
        "_state_format": STATE_FORMAT,
        "_skvae_version": __version__,
    }
    return {**state, "_checksum": _checksum(state)}


def checked(name: str, state: Any) -> dict[str, Any]:
    """The attributes that `marked` was given, if they are still what they were.

    Those that were saved before there were checksums are checked for their parts alone.

    Parameters
    ----------
    name : str
        What errors call the estimator.
    state : object
        From a file: a mapping, if all is well.

    Returns
    -------
    attributes : dict

    Raises
    ------
    ValueError
        If something is damaged, or was saved by a newer version of skvae.

    Warns
    -----
    InconsistentVersionWarning
        If it was saved by another version.
    """
    with telling_of_damage(name):
        attributes, state_format, version = _unmarked(state)
    if state_format > STATE_FORMAT:
        raise ValueError(
            f"This {name} was saved by skvae {version} in state format "
            f"{state_format}; skvae {__version__} reads up to {STATE_FORMAT}. "
            "Upgrade skvae."
        )
    with telling_of_damage(name):
        # Others than ours, such as those that were saved earlier, may have none.
        if "_checksum" in state and state["_checksum"] != _checksum(state):
            raise ValueError("it is not what the checksum was taken of")
        if "_state" in attributes:
            _check_model(attributes)
    if version != __version__:
        warnings.warn(
            InconsistentVersionWarning(
                estimator_name=name,
                current_sklearn_version=f"{__version__} of skvae",
                original_sklearn_version=f"{version} of skvae",
            ),
            stacklevel=3,
        )
    return attributes


@contextmanager
def telling_of_damage(name: str) -> Iterator[None]:
    """Raise a ValueError that says so in place of whatever error there is."""
    try:
        yield
    except Exception as error:
        kind = "" if type(error) is ValueError else f"{type(error).__name__}: "
        raise ValueError(
            f"This {name} was damaged since it was saved: {kind}{error}; load another "
            "copy or fit anew."
        ) from error


def _unmarked(state: Any) -> tuple[dict[str, Any], int, str]:
    """Attributes, format and version."""
    if not isinstance(state, Mapping):
        raise ValueError(f"its state is of type {type(state).__name__}, not a mapping")
    if not all(isinstance(name, str) for name in state):
        raise ValueError("not all of its attributes have names")
    attributes = dict(state)
    attributes.pop("_checksum", None)
    # States without a mark are older than the marks.
    state_format = attributes.pop("_state_format", 1)
    version = attributes.pop("_skvae_version", __version__)
    if type(state_format) is not int or state_format < 1:
        raise ValueError(f"its state format is {reprlib.repr(state_format)}")
    if not isinstance(version, str):
        raise ValueError(f"its version is {reprlib.repr(version)}")
    return attributes, state_format, version


# ---- the checksum --------------------------------------------------------------------


def _checksum(state: Mapping[str, Any]) -> str:
    """SHA-256, in hexadecimal, of all that is plain data; of other things the type.

    Callbacks are left out: one that holds the estimator is not whole when that is read.
    """
    words: list[str] = []
    buffers: list[bytes | memoryview] = []
    # In the order of names, since loading may set attributes in another.
    for name in sorted(state.keys() - {"_checksum", "_skl_callbacks"}):
        _spell(name, words, buffers)
        _spell(state[name], words, buffers)
    # Half a surrogate pair is no text, but may stand in a label.
    digest = hashlib.sha256("".join(words).encode("utf-8", "surrogatepass"))
    for buffer in buffers:
        digest.update(buffer)
    return digest.hexdigest()


def _spell(value: Any, words: list[str], buffers: list[bytes | memoryview]) -> None:
    """Append a value to what is hashed; each word says how far it goes."""
    if isinstance(value, str):
        words.append(f"str {len(value)} {value}")
    elif value is None or type(value) in (bool, float):
        words.append(f"{value!r} ")
    elif type(value) is int:
        words.append(f"int {value:x} ")
    elif isinstance(value, dict):
        words.append(f"dict {len(value)} ")
        for key, part in value.items():
            _spell(key, words, buffers)
            _spell(part, words, buffers)
    elif isinstance(value, (list, tuple)):
        kind = "list" if isinstance(value, list) else "tuple"
        words.append(f"{kind} {len(value)} ")
        for part in value:
            _spell(part, words, buffers)
    elif isinstance(value, (np.ndarray, np.generic)):
        _spell_array(np.asarray(value), words, buffers)
    elif isinstance(value, bytes):
        words.append(f"bytes {len(value)} ")
        buffers.append(value)
    else:
        words.append(f"<{type(value).__name__}>")


def _spell_array(
    array: np.ndarray, words: list[str], buffers: list[bytes | memoryview]
) -> None:
    words.append(f"array {array.dtype.str} {array.shape} ")
    if array.dtype.hasobject:  # its bytes are addresses
        _spell(array.ravel().tolist(), words, buffers)
    elif array.nbytes:
        # No copy: a small file may say a thousand times that there is a large array.
        buffers.append(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)


# ---- the parts of a model ------------------------------------------------------------


def _check_model(attributes: Mapping[str, Any]) -> None:
    """Raise unless there is a model: its parts, of sizes that go together."""
    state = attributes["_state"]
    lacking = {"geometry", "table", "weights"} - set(state)
    if lacking:
        raise ValueError(f"its state lacks {', '.join(sorted(lacking))}")
    geometry, weights = state["geometry"], state["weights"]
    _check_columns(state["table"])
    _check_network(geometry["network"], np.size(weights))
    model = build_model(geometry, TableEncoder.from_state(state["table"]))
    _check_numbers("weights", weights, model.n_weights)
    if weights.ndim > 2:
        raise ValueError(f"its weights have the shape {weights.shape}")
    for name, size in (
        ("n_features_in_", model.n_features),
        ("n_components_", model.n_components),
    ):
        if attributes[name] != size:
            raise ValueError(
                f"{name} is {attributes[name]!r}, but its model has {size}"
            )
    if isinstance(from_state(geometry["prior"], priors.FAMILIES), priors.Aggregate):
        sizes = model.posterior.n_outputs(model.n_components)
        for name, size in zip(("locations", "others"), sizes, strict=True):
            _check_numbers(f"{name} of the prior", state["prior"][name], size)


def _check_columns(table: Mapping[str, Any]) -> None:
    """Raise unless each column stands in one block, and there are no others."""
    blocks = [block["columns"] for block in table["blocks"]]
    for numbers in (*blocks, table["gaps"]):
        if not isinstance(numbers, np.ndarray) or numbers.dtype.kind not in "iu":
            raise ValueError("its columns are not all of them numbered")
    columns = np.concatenate(blocks)
    if not np.array_equal(np.sort(columns), np.arange(len(columns))):
        raise ValueError(f"its columns are {reprlib.repr(columns.tolist())}")
    if not np.isin(table["gaps"], columns).all():
        raise ValueError("it has holes in columns that it does not have")
    whole, *ends = table["whole"]
    known = set(columns.tolist())
    if not known.issuperset(whole) or [*map(len, ends)] != [len(whole)] * 2:
        raise ValueError("it has whole numbers in columns that it does not have")


def _check_network(settings: Any, n_weights: int) -> None:
    """Raise if a network has more layers, or wider ones, than there are weights."""
    if not isinstance(settings, Mapping):
        return  # it is one of the user's own, of which nothing is known
    for name, value in settings["params"].items():
        sizes = value if isinstance(value, list | tuple) else [value]
        if sum(int(size) for size in sizes if isinstance(size, Integral)) > n_weights:
            raise ValueError(
                f"{name} of its network is {reprlib.repr(value)}, for {n_weights:,} "
                "weights"
            )


def _check_numbers(name: str, array: Any, width: int) -> None:
    """Raise unless it is an array of finite float32 numbers, so many side by side."""
    if not isinstance(array, np.ndarray) or array.dtype != np.float32:
        kind = getattr(array, "dtype", type(array).__name__)
        raise ValueError(f"its {name} are of type {kind}, not an array of float32")
    if not array.ndim or array.shape[-1] != width:
        raise ValueError(f"its {name} have the shape {array.shape}, not (..., {width})")
    if not np.isfinite(array).all():
        raise ValueError(f"its {name} are not all finite")
