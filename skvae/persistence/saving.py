"""What is written of an estimator, if it can be read again as what it is.

What cannot is refused, by the name of the part that is to blame.
"""

import io
import reprlib
from collections.abc import Iterator
from typing import Any, NamedTuple
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile

import skops.io
from sklearn.base import BaseEstimator

from skvae.persistence import audit
from skvae.persistence.archive import SCHEMA, sealed
from skvae.persistence.comparison import Difference, difference
from skvae.persistence.schema import parts_of

__all__ = ["content_of", "strange_types"]

#: Where a part is looked for that is to blame; others are blamed as a whole.
_HOLDERS = (BaseEstimator, list, tuple, dict)
_SHORT = reprlib.Repr()
_SHORT.maxother = _SHORT.maxstring = 80


class _Part(NamedTuple):
    """Something that is to be saved, the way there, and why it cannot be."""

    path: str
    value: Any
    error: Exception


class _ReadAsAnotherError(ValueError):
    """A part is read as another than was written."""

    def __init__(self, found: Difference) -> None:
        given, read = (" ".join(_SHORT.repr(part).split()) for part in found[1:])
        super().__init__(f"{given} would be read as {read}")
        self.found = found


def content_of(estimator: BaseEstimator) -> bytes:
    """The bytes of a file, from which the estimator was read as it was given.

    Parameters
    ----------
    estimator : estimator

    Raises
    ------
    ValueError
        If there are none. The message names what is to blame.
    """
    name = type(estimator).__name__
    for path, each in _estimators(estimator):
        if callbacks := getattr(each, "_skl_callbacks", None):
            kinds = ", ".join(type(callback).__name__ for callback in callbacks)
            raise ValueError(
                f"This {name} cannot be saved with the callbacks{_of(path)} ({kinds}), "
                "which are no part of a model. Take them off by set_callbacks() "
                "without arguments, or take joblib.dump, which saves all as a pickle."
            )
        if getattr(each, "memory", None) is not None:
            raise ValueError(
                f"This {name} cannot be saved with the memory{_of(path)}: `load` would "
                "not trust pickles that lie in its folder. Set memory=None, or take "
                "joblib.dump, which saves all as a pickle."
            )
    try:
        return _written(estimator)
    except MemoryError:  # which says nothing about the estimator
        raise
    except Exception as error:
        part = _culprit(_Part("", estimator, error))
        raise ValueError(
            f"This {name} cannot be saved without a pickle{_because_of(part)}. Change "
            "it, or take joblib.dump, which saves all as a pickle."
        ) from error


def strange_types(estimator: BaseEstimator, content: bytes) -> set[str]:
    """Names of types in models of skvae that `load` does not build by itself.

    Those of estimators of others are theirs, and of them nothing else is expected.

    Parameters
    ----------
    estimator : estimator
    content : bytes
        Its file.
    """
    if not audit.untrusted(parts_of(content), ()):
        return set()
    ours = (each for _, each in _estimators(estimator) if _is_of_skvae(each))
    types = (parts_of(_packed(skops.io.dumps(each))) for each in ours)
    return set().union(*(audit.untrusted(some, ()) for some in types))


def _is_of_skvae(estimator: BaseEstimator) -> bool:
    return type(estimator).__module__.startswith("skvae.")


def _estimators(estimator: BaseEstimator) -> Iterator[tuple[str, BaseEstimator]]:
    """An estimator and those that it holds, and where."""
    waiting: list[tuple[str, Any]] = [("", estimator)]
    seen = set()
    while waiting:
        path, value = waiting.pop()
        if id(value) in seen or not isinstance(value, _HOLDERS):
            continue
        seen.add(id(value))
        if isinstance(value, BaseEstimator):
            yield path, value
        waiting += [(path + name, part) for name, part in reversed(_held(value))]


def _held(value: Any) -> list[tuple[str, Any]]:
    """What one of the holders holds, and how to get there."""
    if isinstance(value, BaseEstimator):
        # What is private last, since that is nothing that somebody can change.
        names = sorted(vars(value), key=lambda name: name.startswith("_"))
        return [(f".{name}", vars(value)[name]) for name in names]
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    return [(f"[{key!r}]", part) for key, part in pairs]


# ---- there and back ------------------------------------------------------------------


def _written(value: Any) -> bytes:
    """A file, from which this was read again."""
    content = sealed(_packed(skops.io.dumps(value)))
    named = {name for _, name in parts_of(content)}
    trusted = named.union(skops.io.get_untrusted_types(data=content))
    found = difference(value, skops.io.loads(content, trusted=[*trusted]))
    if found:
        raise _ReadAsAnotherError(found)
    return content


def _packed(archive: bytes) -> bytes:
    """The same archive with its description compressed, which is most of small ones."""
    packed = io.BytesIO()
    with ZipFile(io.BytesIO(archive)) as given, ZipFile(packed, "w") as kept:
        for name in given.namelist():
            way = ZIP_DEFLATED if name == SCHEMA else ZIP_STORED
            kept.writestr(name, given.read(name), way)
    return packed.getvalue()


# ---- what is to blame ----------------------------------------------------------------


def _culprit(part: _Part) -> _Part:
    """The innermost part that cannot be saved by itself either."""
    attribute, seen = part, {id(part.value)}
    while (inner := _failing_part(part)) and id(inner.value) not in seen:
        if isinstance(part.value, BaseEstimator):
            attribute = inner
        part = inner
        seen.add(id(part.value))
    # Of what is nested too deeply, the innermost is as long a way as it is useless.
    return attribute if isinstance(part.error, RecursionError) else part


def _failing_part(part: _Part) -> _Part | None:
    """The first part of a part that cannot be saved by itself."""
    if isinstance(part.value, _HOLDERS):
        for name, value in _held(part.value):
            try:
                _written(value)
            except Exception as error:
                return _Part(part.path + name, value, error)
    return None


def _because_of(part: _Part) -> str:
    """What it is, where it stands, and the reason, as the end of a clause."""
    error, path = part.error, part.path
    if isinstance(error, _ReadAsAnotherError):
        path += error.found.path
        kind, reason = type(error.found.given).__name__, str(error)
    else:
        kind, reason = type(part.value).__name__, f"{type(error).__name__}: {error}"
    if isinstance(error, RecursionError):
        reason = "it holds itself, or is nested too deeply"
    because = f", because of its {path.removeprefix('.')}, of type {kind}"
    return f"{because if path else ''} ({reason.rstrip('.')})"


def _of(path: str) -> str:
    return f" of its {path.removeprefix('.')}" if path else ""
