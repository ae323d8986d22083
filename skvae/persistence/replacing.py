"""Files that take the place of older ones at once, and with their permissions."""

import errno
import os
import secrets
import shutil
import stat
from pathlib import Path

__all__ = ["replace"]


def replace(path: Path, content: bytes) -> None:
    """Write a file beside, and put it in the place of an older one in one step.

    Parameters
    ----------
    path : Path
        Where to. A link keeps leading where it did, and a device stays one.
    content : bytes
        All of the file.

    Raises
    ------
    OSError
        If it cannot be written, or the older file is read-only. The path is the one
        that was given.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        mode = None
    if mode is not None and not stat.S_ISREG(mode):
        path.write_bytes(content)  # which a folder refuses, and a device takes
        return
    # Renaming asks for the folder's permissions alone, and root has them all.
    if mode is not None and not (mode & 0o222 and os.access(path, os.W_OK)):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(path))
    try:
        _replace(path.resolve(), content, keeps_mode=mode is not None)
    except OSError as error:  # of the file beside, of which nobody has heard
        raise OSError(error.errno, error.strerror, os.fspath(path)) from None


def _replace(path: Path, content: bytes, *, keeps_mode: bool) -> None:
    beside = path.with_name(f".skvae-{secrets.token_hex(8)}")
    try:
        with open(beside, "xb") as file:
            if keeps_mode:  # before there is anything to be read
                shutil.copymode(path, beside)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
