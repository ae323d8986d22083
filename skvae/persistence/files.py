"""dump and load: an estimator to a file that can be checked, and back."""

import os
import warnings
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import skops.io
from sklearn.base import BaseEstimator
from skops.io.exceptions import UntrustedTypesFoundException

from skvae import __version__
from skvae.persistence import audit
from skvae.persistence.archive import GLANCE, START
from skvae.persistence.kinds import KEEPS_RESULTS
from skvae.persistence.replacing import replace
from skvae.persistence.saving import content_of, strange_types
from skvae.persistence.schema import parts_of

__all__ = ["dump", "load"]

File: TypeAlias = str | os.PathLike[str] | BinaryIO


def dump(estimator: BaseEstimator, file: File) -> None:
    """Save an estimator in a file that `load` can check.

    The file is one of skops, which ``skops.io.load`` reads as well, and ends in a
    SHA-256 of all that comes before. It is read back, and compared with what was given,
    before it takes the place of an older one. That happens at once: there is no time at
    which the file is half written. The new one has the older one's permissions.

    Anything can be saved that reads back as it was, also what `load` builds only where
    it is trusted, such as the trees of a forest in a pipeline.

    Parameters
    ----------
    estimator : estimator
        One of skvae, or one of scikit-learn that holds some, such as a pipeline or a
        search; fitted or not.
    file : str, path or binary file object
        Where to. A path is overwritten, unless it is read-only; ".skops" is a customary
        ending.

    Raises
    ------
    TypeError
        If it is no estimator, or `file` is neither a path nor a file.
    ValueError
        If it holds something that cannot be saved without a pickle, such as a module of
        torch, or would be read as something else, such as an enumeration, or has
        callbacks, or a pipeline's `memory`. The message names the first such part.
    OSError
        If the file cannot be written: FileNotFoundError, PermissionError.

    Warns
    -----
    UserWarning
        If a model of skvae holds objects, such as labels, of types that `load` wants to
        be trusted.

    See Also
    --------
    load : Reads it again.

    Examples
    --------
    >>> import tempfile
    >>> from sklearn.datasets import load_wine
    >>> from skvae import VAETransformer, persistence
    >>> vae = VAETransformer(2, max_iter=5, random_state=0).fit(load_wine().data)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     persistence.dump(vae, f"{folder}/wine.skops")
    ...     persistence.load(f"{folder}/wine.skops").n_components_
    2
    """
    if not isinstance(estimator, BaseEstimator) or isinstance(estimator, type):
        kind = type(estimator).__name__
        raise TypeError(f"dump saves estimators of scikit-learn's kind, got {kind}.")
    if not isinstance(file, str | os.PathLike) and not hasattr(file, "write"):
        kind = type(file).__name__
        raise TypeError(f"file must be a path or a binary file object, got {kind}.")
    content = content_of(estimator)
    strange = sorted(strange_types(estimator, content))
    if strange:
        warnings.warn(
            f"load will build this with trusted={strange} only: the model holds "
            "objects of these types, as labels or parameters. Text and numbers need "
            "no trust.",
            stacklevel=2,
        )
    if isinstance(file, str | os.PathLike):
        replace(Path(file), content)
    else:
        file.write(content)


def load(file: File, *, trusted: Iterable[str | type] = ()) -> Any:
    """Load an estimator from a file of `dump`, or of skops.

    The file is checked before anything of it is built: its checksum, which finds every
    flipped bit and every cut, that it does not unpack to much more than it has bytes,
    and the types that it names. Those of skvae, most estimators of scikit-learn, and
    what searches and pipelines are made of, are built by setting attributes. Nothing
    else that the file names is called but plain types of Python and NumPy, with keys
    and arrays, and `torch.device`. The fitted state is checked last.

    A file that skops wrote by itself has checksums of its parts only. They find flipped
    bits in what is loaded.

    Parameters
    ----------
    file : str, path or binary file object
        Where from.
    trusted : iterable of str or type, default=()
        Further types, such as "mypackage.module.MyEstimator", that may be built, by
        code of theirs. Trust none that you have not looked up.

    Returns
    -------
    estimator : estimator
        As it was saved.

    Raises
    ------
    ValueError
        If the file is no such model, was damaged, or was saved by a newer version, or
        if a pipeline in it keeps results in a folder, from which it would unpickle
        them. The message says what it seems to be.
    TypeError
        If it names types that are not trusted; the message lists them. If `file` or
        `trusted` is of another type than it may be.
    OSError
        If it cannot be read: FileNotFoundError, PermissionError.

    Warns
    -----
    InconsistentVersionWarning
        If it was saved by another version of skvae or scikit-learn.

    See Also
    --------
    dump : Writes such files.

    Examples
    --------
    >>> import io
    >>> import pickle
    >>> from skvae import VAETransformer, persistence
    >>> persistence.load(io.BytesIO(pickle.dumps(VAETransformer())))
    Traceback (most recent call last):
        ...
    ValueError: The file is not a model that skvae can read: it seems to be a pickle...
    """
    names = _names_of(trusted)
    refusal = "The file is not a model that skvae can read"
    if isinstance(file, str | os.PathLike):
        refusal = f"{os.fspath(file)} is not a model that skvae can read"
        if os.path.isdir(file):
            raise ValueError(f"{refusal}: it is a folder.")
    content = _read(file)
    try:
        return _built(content, names)
    except (UntrustedTypesFoundException, Warning):
        raise
    except Exception as error:
        raise ValueError(f"{refusal}: {_reason(error)}.") from error


def _names_of(trusted: Iterable[str | type]) -> set[str]:
    if isinstance(trusted, str) or not isinstance(trusted, Iterable):
        raise TypeError(f"trusted must be a list of types or names, got {trusted!r}.")
    kinds = list(trusted)
    for kind in kinds:
        if not isinstance(kind, str | type):
            raise TypeError(f"trusted must hold types or their names, got {kind!r}.")
    return {kind if isinstance(kind, str) else audit.name_of(kind) for kind in kinds}


def _reason(error: Exception) -> str:
    kind = "" if type(error) is ValueError else f"{type(error).__name__}: "
    return kind + str(error).rstrip(".")


def _built(content: bytes, trusted: Collection[str]) -> BaseEstimator:
    """The estimator that a file holds, if it names no type but those trusted."""
    parts = parts_of(content)
    keeping = {name for kind, name in parts if kind == KEEPS_RESULTS}
    parts = {part for part in parts if part[0] != KEEPS_RESULTS}
    strange = audit.untrusted(parts, trusted)
    if later := audit.of_later_versions(strange):
        raise ValueError(
            f"it was saved by a newer version of skvae: {__version__} has no "
            f"{', '.join(later)}. Upgrade skvae"
        )
    if strange:
        raise UntrustedTypesFoundException(sorted(strange))
    for name in sorted(keeping - set(trusted)):
        raise ValueError(
            f"its {name} keeps results in a folder, and would unpickle what is there. "
            "Set memory=None before it is saved, or trust this type"
        )
    names = {name for _, name in parts}
    estimator = skops.io.loads(content, trusted=[*names.union(trusted)])
    if not isinstance(estimator, BaseEstimator):
        raise ValueError(f"it holds a {type(estimator).__name__}, not an estimator")
    return estimator


def _read(file: File) -> bytes:
    """All of a file, or its beginning if that shows that it is of another kind."""
    if isinstance(file, str | os.PathLike):
        with open(file, "rb") as stream:
            start = stream.read(GLANCE)
            return start + stream.read() if start.startswith(START) else start
    if not hasattr(file, "read"):
        kind = type(file).__name__
        raise TypeError(f"file must be a path or a binary file object, got {kind}.")
    content = file.read()
    if not isinstance(content, bytes):
        kind = type(content).__name__
        raise TypeError(f"file must be opened to read bytes, but it gives {kind}.")
    return content
