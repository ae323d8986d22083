"""Files that are no models, or no longer: damaged ones, and those of other kinds."""

import bz2
import functools
import gzip
import io
import lzma
import os
import pickle
import struct
import zipfile
import zlib

import joblib
import numpy as np
import skops.io
import torch
from sklearn.datasets import load_iris
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skvae import VAEOutlierDetector, VAETransformer, persistence

X = load_iris().data[:40]
QUICK = {"max_iter": 2, "hidden_layer_sizes": (4,), "random_state": 0}


@functools.cache
def models():
    """Fitted, by name."""
    return {
        "transformer": VAETransformer(2, **QUICK).fit(X),
        "detector": VAEOutlierDetector(n_estimators=2, **QUICK).fit(X),
        "pipeline": make_pipeline(StandardScaler(), VAETransformer(2, **QUICK)).fit(X),
    }


@functools.cache
def whole(name, way):
    """The file of a model, saved by "skops" or by "dump"."""
    if way == "skops":
        return skops.io.dumps(models()[name])
    return written(persistence.dump, models()[name])


def written(write, *arguments):
    """What a function writes to a file, its last argument."""
    file = io.BytesIO()
    write(*arguments, file)
    return file.getvalue()


def one_of(some, rng):
    """One of several, by chance."""
    some = [*some]
    return some[rng.integers(len(some))]


# ---- damage --------------------------------------------------------------------------


def cut(content, rng):
    return content[: rng.integers(len(content))]


def flipped(content, rng):
    damaged = bytearray(content)
    for place in rng.integers(len(content), size=rng.integers(1, 9)):
        damaged[place] ^= 1 << rng.integers(8)
    return bytes(damaged)


def swapped(content, rng):
    size = int(rng.integers(1, 512))
    first, second = (int(i) * size for i in rng.integers(len(content) // size, size=2))
    damaged = bytearray(content)
    damaged[first : first + size] = content[second : second + size]
    damaged[second : second + size] = content[first : first + size]
    return bytes(damaged)


def zeroed(content, rng):
    start = int(rng.integers(len(content)))
    end = min(len(content), start + int(rng.integers(1, 512)))
    return content[:start] + bytes(end - start) + content[end:]


def added_to(content, rng):
    more = rng.bytes(int(rng.integers(1, 300)))
    return more + content if rng.random() < 0.3 else content + more


DAMAGES = (cut, flipped, swapped, zeroed, added_to)


def damaged(way, rng):
    """A model's name, and its file when it has been damaged."""
    name = one_of(models(), rng)
    content = result = whole(name, way)
    while result == content:
        result = one_of(DAMAGES, rng)(content, rng)
    return name, result


def damaged_state(rng):
    """The class and the state of a model, of which one bit is flipped."""
    model = models()[one_of(["transformer", "detector"], rng)]
    state = model.__getstate__()
    path = one_of(leaves(state), rng)
    return type(model), with_a_flip(state, path, rng)


def leaves(value, path=()):
    """Where numbers, text and arrays stand in a nested value."""
    if isinstance(value, dict | list | tuple):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        for key, part in pairs:
            yield from leaves(part, (*path, key))
    elif value is not None and not (hasattr(value, "size") and value.size == 0):
        yield path


def with_a_flip(value, path, rng):
    """The same value with a bit flipped at a place that `leaves` gave."""
    if isinstance(value, dict):
        return {**value, path[0]: with_a_flip(value[path[0]], path[1:], rng)}
    if isinstance(value, list | tuple):
        parts = list(value)
        parts[path[0]] = with_a_flip(parts[path[0]], path[1:], rng)
        return type(value)(parts)
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value ^ (1 << int(rng.integers(31)))
    if isinstance(value, str):
        place = rng.integers(len(value))
        other = chr(ord(value[place]) ^ (1 << int(rng.integers(7))))
        return value[:place] + other + value[place + 1 :]
    raw = bytearray(struct.pack("d", value) if isinstance(value, float) else value)
    raw[rng.integers(len(raw))] ^= 1 << int(rng.integers(8))
    if isinstance(value, float):
        return struct.unpack("d", raw)[0]
    return np.frombuffer(raw, value.dtype).reshape(value.shape)


# ---- other kinds of files ------------------------------------------------------------


class Evil:
    """What executes something when it is unpickled."""

    def __reduce__(self):
        return os.system, ("touch executed",)


def evil_array():
    """An array that executes something when it is loaded with its pickle."""
    array = np.empty(1, dtype=object)
    array[0] = Evil()
    return array


def archive_of(members, way=zipfile.ZIP_STORED, comment=b""):
    """A zip archive of members by name."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", way) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        archive.comment = comment
    return file.getvalue()


def members_of(content):
    """The members of a zip archive by name."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@functools.cache
def foreign():
    """Files of other kinds, by name."""
    model = models()["transformer"]
    pickled, numbers = pickle.dumps(model), np.zeros(3, np.float32)
    evil = written(lambda file: np.save(file, evil_array(), allow_pickle=True))
    return {
        "pickle": pickled,
        "pickle_of_old": pickle.dumps(model, protocol=0),
        "evil_pickle": pickle.dumps(Evil()),
        "evil_pickle_of_old": pickle.dumps(Evil(), protocol=0),
        "joblib": written(joblib.dump, model),
        "gzip": gzip.compress(pickled),
        "zlib": zlib.compress(pickled),
        "bz2": bz2.compress(pickled),
        "xz": lzma.compress(pickled),
        "lzma": lzma.compress(pickled, format=lzma.FORMAT_ALONE),
        "torch": written(torch.save, {"weights": torch.zeros(3)}),
        "npy": written(lambda file: np.save(file, numbers)),
        "npy_of_objects": evil,
        "npz": written(lambda file: np.savez(file, numbers)),
        "csv": b"x1,x2\n1,2\n",
        "json": b'{"__class__": "system", "__module__": "os"}',
        "text": "häßliche Wörter\n".encode(),
        "empty": b"",
        "zip": archive_of({"readme.txt": "hello"}),
        "empty_zip": archive_of({}),
        "start_of_zip": b"PK\x03\x04",
        "html": b"<!DOCTYPE html><html>404</html>",
        "png": b"\x89PNG\r\n\x1a\n" + bytes(40),
        "hdf5": b"\x89HDF\r\n\x1a\n" + bytes(40),
        "program": b"\x7fELF" + bytes(60),
        "utf_16": "a,b\n1,2\n".encode("utf-16"),
        "skops_of_a_dict": skops.io.dumps({"a": 1}),
        "skops_of_an_array": skops.io.dumps(X),
        "commented": archive_of(
            members_of(skops.io.dumps(model)), comment=b"made by hand"
        ),
    }
