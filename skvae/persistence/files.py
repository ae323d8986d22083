"""dump and load: an estimator to a file that can be checked, and back."""

import functools
import io
import json
import os
import secrets
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile

import skops.io
from sklearn.base import BaseEstimator
from skops.io.exceptions import UntrustedTypesFoundException

from skvae.persistence import audit
from skvae.persistence.archive import GLANCE, SCHEMA, START, opened, sealed

__all__ = ["dump", "load"]

File: TypeAlias = str | os.PathLike[str] | BinaryIO


def dump(estimator: BaseEstimator, file: File) -> None:
    """Save an estimator in a file that `load` can check.

    The file is one of skops, which ``skops.io.load`` reads as well, and ends in a
    SHA-256 of all that comes before. It is read back before it takes the place of an
    older one, which then happens at once: there is no time at which the file is half
    written.

    Parameters
    ----------
    estimator : estimator
        One of skvae, or one of scikit-learn that holds some, such as a pipeline or a
        search; fitted or not.
    file : str, path or binary file object
        Where to. A path is overwritten; ".skops" is a customary ending.

    Raises
    ------
    TypeError
        If it is no estimator.
    ValueError
        If it holds something that cannot be saved without a pickle, such as a module of
        torch.

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
    name = type(estimator).__name__
    if not isinstance(estimator, BaseEstimator) or isinstance(estimator, type):
        raise TypeError(f"dump saves estimators of scikit-learn's kind, got {name}.")
    try:
        content = sealed(_packed(skops.io.dumps(estimator)))
        ours = {name for _, name in _parts_of(content)}
        _built(content, ours.union(skops.io.get_untrusted_types(data=content)))
    except Exception as error:
        raise ValueError(
            f"This {name} cannot be saved without a pickle: {_reason(error)}. "
            "joblib.dump saves it as one."
        ) from error
    if isinstance(file, str | os.PathLike):
        _write(content, Path(file))
    else:
        file.write(content)


def load(file: File, *, trusted: Iterable[str | type] = ()) -> Any:
    """Load an estimator from a file of `dump`, or of skops.

    The file is checked before anything of it is built: its checksum, which finds every
    flipped bit and every cut, that it does not unpack to much more than it says, and
    the types that it names. Those of skvae, the estimators of scikit-learn, and what
    searches and pipelines are made of, are built by setting attributes, without a call
    to anything that the file names. The fitted state is checked last.

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
        If the file is no such model, was damaged, or was saved by a newer version. The
        message says what it seems to be.
    TypeError
        If it names types that are not trusted; the message lists them.
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
    if isinstance(trusted, str | type | bool):
        raise TypeError(f"trusted must be a list of types or names, got {trusted!r}.")
    names = {kind if isinstance(kind, str) else audit.name_of(kind) for kind in trusted}
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


def _reason(error: Exception) -> str:
    kind = "" if type(error) is ValueError else f"{type(error).__name__}: "
    return kind + str(error).rstrip(".")


def _built(content: bytes, trusted: Collection[str]) -> BaseEstimator:
    """The estimator that a file holds, if it names no type but those trusted."""
    parts = _parts_of(content)
    strange = audit.untrusted(parts, trusted)
    if strange:
        raise UntrustedTypesFoundException(sorted(strange))
    names = {name for _, name in parts}
    estimator = skops.io.loads(content, trusted=[*names.union(trusted)])
    if not isinstance(estimator, BaseEstimator):
        raise ValueError(f"it holds a {type(estimator).__name__}, not an estimator")
    return estimator


def _parts_of(content: bytes) -> set[tuple[str, str]]:
    """Kinds and types of the parts of a file."""
    return audit.parts_of(_schema(content), _newest_protocol())


def _schema(content: bytes) -> Any:
    with opened(content) as archive:
        return json.loads(archive.read(SCHEMA).decode())


@functools.cache
def _newest_protocol() -> int:
    """The protocol in which skops writes."""
    return _schema(skops.io.dumps(None))["protocol"]


def _packed(archive: bytes) -> bytes:
    """The same archive with its description compressed, which is most of small ones."""
    packed = io.BytesIO()
    with ZipFile(io.BytesIO(archive)) as given, ZipFile(packed, "w") as kept:
        for name in given.namelist():
            way = ZIP_DEFLATED if name == SCHEMA else ZIP_STORED
            kept.writestr(name, given.read(name), way)
    return packed.getvalue()


def _read(file: File) -> bytes:
    """All of a file, or its beginning if that shows that it is of another kind."""
    if not isinstance(file, str | os.PathLike):
        return file.read()
    with open(file, "rb") as stream:
        start = stream.read(GLANCE)
        return start + stream.read() if start.startswith(START) else start


def _write(content: bytes, path: Path) -> None:
    """Write a file beside, and put it in the place of an older one in one step."""
    path = path.resolve()  # a link keeps leading there
    if path.exists() and not path.is_file():
        path.write_bytes(content)  # which a folder refuses, and a device takes
        return
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with open(beside, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
