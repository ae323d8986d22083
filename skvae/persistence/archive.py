"""The bytes of a file: whole, as large as they say, and what they seem to be.

A file is a zip archive of arrays, each in NumPy's own format, and of a description in
JSON of what they are parts of. Nothing in it is built here.
"""

import copy
import hashlib
import io
import math
import re
import reprlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

import numpy as np

__all__ = ["GLANCE", "SCHEMA", "START", "Member", "opened", "sealed"]

#: The member that describes the others.
SCHEMA = "schema.json"
#: What zip archives begin with.
START = b"PK\x03\x04"
#: So many bytes show what a file is.
GLANCE = 256

_SEAL = b"skvae sha256 "
_END = b"PK\x05\x06"
#: Length of what closes an archive, the comment aside; its last two bytes say how long
#: the comment is.
_LENGTH_OF_END = 22
_LENGTH_OF_SEAL = len(_SEAL) + 64  # hexadecimal digits

#: `dump` compresses the description alone. What is much larger unpacked is a trap.
_MOST_UNPACKED_PER_BYTE = 100
_ALWAYS_UNPACKED = 2**24
#: Descriptions of thousands of labels shrink to a 47th; objects made of one are larger.
_MOST_DESCRIBED_PER_BYTE = 60
_ALWAYS_DESCRIBED = 2**21
_MOST_MEMBERS = 50_000
#: So many entries may an array have that has no bytes, such as rows without columns.
_MOST_HOLLOW = 2**22
_NAME = re.compile(r"[\w-]+\.(npy|npz|bin)")

#: How files begin that are taken for models, and what they are.
_OTHERS = (
    (b"\x80", "a pickle"),
    (b"\x1f\x8b", "compressed by gzip, and may be a pickle of joblib"),
    (
        (b"x\x01", b"x\x5e", b"x\x9c", b"x\xda"),
        "compressed by zlib, and may be a pickle of joblib",
    ),
    (b"BZh", "compressed by bzip2, and may be a pickle of joblib"),
    (b"\xfd7zXZ", "compressed by xz, and may be a pickle of joblib"),
    (b"\x5d\x00\x00", "compressed by lzma, and may be a pickle of joblib"),
    (b"\x04\x22\x4d\x18", "compressed by lz4, and may be a pickle of joblib"),
    (b"\x93NUMPY", "an array of numpy.save"),
    (b"\x89HDF", "a file of HDF5, as Keras writes"),
    (b"PAR1", "a Parquet table"),
    (b"\x89PNG", "a picture"),
)
#: Control characters, less those of white space.
_NOT_IN_TEXT = {*range(9), *range(14, 32)}
_OF_PICKLES = (
    "; nothing of it was read, since loading a pickle executes what is in it. If it "
    "comes from somebody whose programs you run, take joblib.load, or torch.load for "
    "weights of PyTorch, and save the model by skvae.persistence.dump"
)


# ---- the seal ------------------------------------------------------------------------


def sealed(archive: bytes) -> bytes:
    """A zip archive without a comment, with its checksum as the comment."""
    content = archive[:-2] + _LENGTH_OF_SEAL.to_bytes(2, "little")
    return content + _SEAL + hashlib.sha256(content).hexdigest().encode()


def _check_seal(content: bytes) -> None:
    """Raise unless the archive ends as it must, and is what the checksum was taken of.

    One without a comment, as skops writes it, has only the checksums of its members.
    """
    end = content[-_LENGTH_OF_END:]
    if end.startswith(_END) and end.endswith(b"\x00\x00"):
        return
    end = content[-_LENGTH_OF_END - _LENGTH_OF_SEAL :]
    if not end.startswith(_END) or not end[_LENGTH_OF_END:].startswith(_SEAL):
        raise ValueError(
            "it was cut short, damaged or added to, or is no file of skops. Load "
            "another copy or fit anew"
        )
    digest = hashlib.sha256(memoryview(content)[:-_LENGTH_OF_SEAL])
    if not content.endswith(digest.hexdigest().encode()):
        raise ValueError(
            "it was damaged since it was saved: it is not what its checksum was taken "
            "of. Load another copy or fit anew"
        )


# ---- the members ---------------------------------------------------------------------


class Member(NamedTuple):
    """What is known of a member of the archive."""

    n_bytes: int
    #: Of arrays alone.
    shape: tuple[int, ...] | None = None
    dtype: np.dtype | None = None


def opened(content: bytes) -> tuple[bytes, Mapping[str, Member]]:
    """The description in a file, and its members, which unpack to what they say.

    Parameters
    ----------
    content : bytes
        All of the file.

    Returns
    -------
    description : bytes
    members : dict of str to Member
        The others, by name.

    Raises
    ------
    ValueError, BadZipFile
        If something was damaged since it was written, or unpacks to much more than the
        file has bytes.
    """
    if not content.startswith(START):
        raise ValueError(_described(content))
    _check_seal(content)
    description, members = b"", {}
    with ZipFile(io.BytesIO(content)) as archive:
        _check_members(archive.infolist(), len(content))
        for member in archive.infolist():
            part = _unpacked(archive, member)
            if member.filename == SCHEMA:
                description = part
            elif member.filename.endswith(".npy"):
                members[member.filename] = _array(member.filename, part)
            else:
                members[member.filename] = Member(len(part))
    return description, members


def _check_members(members: Sequence[ZipInfo], n_bytes: int) -> None:
    """Raise unless they are those of a file of skops, and as large as that may be."""
    names = [member.filename for member in members]
    if SCHEMA not in names:
        raise ValueError(_described_archive(names))
    if len(names) > _MOST_MEMBERS or len(set(names)) < len(names):
        raise ValueError(f"it has {len(names):,} members, or two of one name")
    strange = [name for name in names if name != SCHEMA and not _NAME.fullmatch(name)]
    if strange:
        raise ValueError(f"it has a member of the name {reprlib.repr(strange[0])}")
    if any(m.compress_type not in (ZIP_STORED, ZIP_DEFLATED) for m in members):
        raise ValueError("a member is compressed otherwise than by deflate")
    unpacked = sum(member.file_size for member in members)
    if unpacked > _ALWAYS_UNPACKED + _MOST_UNPACKED_PER_BYTE * n_bytes:
        raise ValueError(
            f"it has {n_bytes:,} bytes, and would have {unpacked:,} when unpacked"
        )
    described = members[names.index(SCHEMA)].file_size
    if described > _ALWAYS_DESCRIBED + _MOST_DESCRIBED_PER_BYTE * n_bytes:
        raise ValueError(
            f"it has {n_bytes:,} bytes, and a description of {described:,}"
        )


def _unpacked(archive: ZipFile, member: ZipInfo) -> bytes:
    """A member, of which no more is unpacked than it says that there is.

    Its own checksum is compared on the way.
    """
    longer = copy.copy(member)
    longer.file_size += 1  # zipfile would cut off silently what is more
    with archive.open(longer) as stream:
        part = stream.read(longer.file_size)
    if len(part) != member.file_size:
        raise ValueError(
            f"its member {member.filename} has not the {member.file_size:,} bytes that "
            "it says"
        )
    return part


def _array(name: str, content: bytes) -> Member:
    """What an array is like, if it is one of plain values, as large as it says."""
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    else:
        shape, _, dtype = np.lib.format.read_array_header_2_0(file)
    if dtype.hasobject:
        raise ValueError(f"its array {name} holds a pickle")
    n_bytes, n_entries = len(content) - file.tell(), math.prod(n or 1 for n in shape)
    is_hollow = not n_bytes and n_entries > (_MOST_HOLLOW if dtype.itemsize else 1)
    is_other = math.prod(shape) * dtype.itemsize != n_bytes
    if is_hollow or is_other or min(shape, default=0) < 0:
        raise ValueError(
            f"its array {name} of shape {reprlib.repr(shape)} and type {dtype} has "
            f"{n_bytes:,} bytes"
        )
    return Member(max(n_bytes, n_entries), shape, dtype)


# ---- what else a file may be ---------------------------------------------------------


def _described(content: bytes) -> str:
    """What a file that is no zip archive seems to be, and what to do with it.

    Parameters
    ----------
    content : bytes
        Of its beginning, at least.
    """
    if not content:
        return "it is empty. Save the model again"
    for start, kind in _OTHERS:
        if content.startswith(start):
            advice = _OF_PICKLES if "pickle" in kind else ""
            return f"it seems to be {kind}{advice}"
    if not set(content[:GLANCE]) & _NOT_IN_TEXT:
        return "it seems to be text, such as a table"
    return "it is no file of skops"


def _described_archive(names: Sequence[str]) -> str:
    if any(name.endswith("data.pkl") for name in names):
        return "it seems to be a file of torch.save, which holds a pickle" + _OF_PICKLES
    if names and all(name.endswith(".npy") for name in names):
        return "it seems to be a file of numpy.savez"
    return f"it is a zip archive of other things: {SCHEMA} is not among them"
