"""What a file says that it holds, before anything of it is built.

The description is a tree of parts. Each has a kind, which says how skops builds it, and
a type; what is within it are other parts. An object that occurs twice is written out
twice, and built once: the second time skops looks at the part's identity alone.
"""

import functools
import hashlib
import json
import re
import reprlib
from collections.abc import Mapping
from typing import Any, TypeAlias

import skops.io

from skvae.persistence import kinds
from skvae.persistence.archive import Member, opened

__all__ = ["parts_of"]

Part: TypeAlias = dict[str, Any]

#: The oldest protocol in which every part names its own type.
_LEAST_PROTOCOL = 2
#: What skops writes of one part or another.
_NAMES = frozenset(
    "__class__ __module__ __loader__ __id__ __reduce__ _skops_version attrs content "
    "file is_json key_types protocol shape type".split()
)
#: An array may occur several times; its checksum is then taken as often.
_MOST_READ_PER_BYTE = 10
_ALWAYS_READ = 2**24
#: Of a model with thousands of labels, there are some 15 bytes in a file for each part.
_LEAST_BYTES_OF_PARTS = 8
_ALWAYS_PARTS = 50_000
#: Each part keeps the names of all types, in skops.
_MOST_TYPES = 128
#: Numbers, parts and lists; of text there are some 48 bytes for each.
_LEAST_BYTES_OF_VALUES = 10
_TEXT = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)


def parts_of(content: bytes) -> set[tuple[str, str]]:
    """Kinds and types of all parts that skops would build of a file.

    Parameters
    ----------
    content : bytes
        All of the file.

    Raises
    ------
    ValueError
        If something was damaged since it was written, if it is nothing that skops
        writes, or if it would grow to much more than the file has bytes.
    """
    description, members = opened(content)
    schema = _schema(description)
    protocol, newest = schema.get("protocol"), _newest_protocol()
    if type(protocol) is not int or not _LEAST_PROTOCOL <= protocol <= newest:
        raise ValueError(
            f"it was written in protocol {protocol!r} of skops, and skvae reads "
            f"{_LEAST_PROTOCOL} to {newest} with the skops that is installed"
        )
    found = _Parts(members, len(content))
    found.form_of(schema)
    return found.types


def _schema(description: bytes) -> Part:
    """The description, which does not take much more memory than it has bytes."""
    outside = _TEXT.sub(b"", description)
    n_values = sum(map(outside.count, (b",", b"[", b"{")))
    if n_values * _LEAST_BYTES_OF_VALUES > len(description):
        raise ValueError("its description is none of an object: it has too many values")
    schema: Any = json.loads(description.decode())
    if not isinstance(schema, dict) or "__loader__" not in schema:
        raise ValueError("its description is none of an object")
    return schema


@functools.cache
def _newest_protocol() -> int:
    """The protocol in which skops writes."""
    return _schema(opened(skops.io.dumps(None))[0])["protocol"]


class _Parts:
    """The parts of a file, which are counted, and compared where they say the same.

    Parameters
    ----------
    members : dict of str to Member
        Of the archive.
    n_bytes : int
        Length of the file.
    """

    def __init__(self, members: Mapping[str, Member], n_bytes: int) -> None:
        self.types: set[tuple[str, str]] = set()
        self._members = members
        self._n_parts_left = _ALWAYS_PARTS + n_bytes // _LEAST_BYTES_OF_PARTS
        n_unpacked = sum(member.n_bytes for member in members.values())
        self._n_read_left = _ALWAYS_READ + _MOST_READ_PER_BYTE * n_unpacked
        self._by_identity: dict[Any, bytes] = {}
        self._by_file: dict[str, Any] = {}

    def form_of(self, part: Part) -> bytes:
        """A digest of what a part says, but for identities and the names of members."""
        strange = part.keys() - _NAMES
        if strange:
            name = reprlib.repr(min(strange))
            raise ValueError(f"its description has a part with {name}")
        kind, name = part["__loader__"], f"{part['__module__']}.{part['__class__']}"
        self.types.add((kind, name))
        self._n_parts_left -= 1
        if self._n_parts_left < 0 or len(self.types) > _MOST_TYPES:
            raise ValueError("it has more parts, or more types, than a model has")
        member = self._read(part)
        kinds.check(part, member)
        if kinds.keeps_results(part):
            self.types.add((kinds.KEEPS_RESULTS, name))
        said = [
            (key, self._said(value))
            for key, value in part.items()
            if key not in ("__id__", "file")
        ]
        form = hashlib.sha256(repr((said, member)).encode()).digest()
        identity = part.get("__id__")
        if identity and self._by_identity.setdefault(identity, form) != form:
            raise ValueError("two parts of it claim to be the same object")
        return form

    def _said(self, value: Any, within: bool = False) -> Any:
        """What is spelled in the same way for values that say the same."""
        if isinstance(value, dict) and "__loader__" in value:
            return self.form_of(value)
        if not isinstance(value, dict | list):
            return value
        if within:
            raise ValueError("its description holds what is no part")
        if isinstance(value, list):
            return [self._said(each, within=True) for each in value]
        # skops takes whatever has an identity for the part that had it before.
        if not isinstance(value.get("__id__", {}), dict):
            raise ValueError("its description refers to parts by their identity alone")
        return [(key, self._said(each, within=True)) for key, each in value.items()]

    def _read(self, part: Part) -> Member | None:
        """The member that a part is made of, which no other part may be."""
        file, identity = part.get("file"), part.get("__id__")
        if file is None:
            return None
        if file not in self._members:
            raise ValueError(f"it has no member {reprlib.repr(file)}")
        if file in self._by_file and (not identity or identity != self._by_file[file]):
            raise ValueError(f"two parts of it are made of the same {file!r}")
        self._by_file[file] = identity
        member = self._members[file]
        self._n_read_left -= member.n_bytes
        if self._n_read_left < 0:
            raise ValueError(f"too many parts of it are made of the same {file!r}")
        return member
