"""Small files that would fill memory, take forever, or do what they should not.

Each is a model's file with one thing changed, and a checksum that is right. Where a
part of the description is changed, the state has no checksum, so that this finds
nothing.
"""

import copy
import functools
import io
import json
import struct
import zlib
from itertools import islice
from zipfile import ZIP_BZIP2, ZIP_DEFLATED, ZIP_LZMA, ZipFile

import numpy as np
from saved.crafted import COMMAND, listed, mapped, packed, part, text, unpacked
from saved.damaged import archive_of, evil_array, whole, written

from skvae.persistence.archive import SCHEMA, sealed

MIB = 2**20


def with_part(new, way=ZIP_DEFLATED, **others):
    """A trap in which the first parameter is another part, with members of its own."""

    def make(schema, members):
        schema = copy.deepcopy(schema)
        state = schema["content"]
        assert [*state["content"]][-1] == "_checksum"
        del state["content"]["_checksum"], state["key_types"]["content"][-1]
        state["content"][next(iter(state["content"]))] = new
        more = {name.replace("_", "."): member for name, member in others.items()}
        return packed(schema, {**members, **more}, way)

    return make


def with_array(content):
    """A trap in which the largest array is something else."""

    def make(schema, members):
        largest = max(members, key=lambda name: len(members[name]))
        return packed(schema, {**members, largest: content})

    return make


def with_member(name, content=b"content"):
    """A trap with a further member."""
    return lambda schema, members: packed(schema, {**members, name: content})


def array(name="numpy.ndarray", file="1.npy"):
    """What a description says of an array in a member."""
    return part(name, "NdArrayNode", type="numpy", file=file, __id__=77)


def stored(values):
    """An array as a member."""
    return written(lambda file: np.save(file, values))


def header(shape, dtype="<f4", n_bytes=64):
    """An array that says that it has some shape, followed by a few numbers."""
    said = {"descr": dtype, "fortran_order": False, "shape": shape}
    said = str(said).ljust(117).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(said)) + said + bytes(n_bytes)


def laughing(schema, members):
    """Each list holds the next one twice, the second time by its identity alone."""
    inner = {**listed(text(1)), "__id__": 100}
    for identity in range(101, 160):
        stub = {**inner, "content": []}
        inner = {**listed(inner, stub), "__id__": identity}
    return with_part(inner)(schema, members)


def laughing_by_identity(schema, members):
    """The same, where nothing but the identity is said the second time."""
    inner = {**listed(text(1)), "__id__": 100}
    for identity in range(101, 123):
        inner = {**listed(inner, {"__id__": identity - 1}), "__id__": identity}
    return with_part(inner)(schema, members)


def laughing_inside(schema, members):
    """The state of an object is another part, by its identity alone."""
    state = {**mapped(), "__id__": 100}
    objects = (
        part("skvae.networks.mlp.MLP", "ObjectNode", s) for s in ({"__id__": 100},)
    )
    return with_part(listed(state, *objects))(schema, members)


def read_often(schema, members):
    reading = (
        part("builtins.bytes", "BytesNode", file="1.bin", __id__=10 + i)
        for i in range(10_000)
    )
    return with_part(listed(*reading), **{"1_bin": bytes(1_000)})(schema, members)


def object_array(shape, *parts):
    """An array of objects that says that it has some shape."""
    sizes = part("builtins.tuple", "TupleNode", [text(size) for size in shape])
    kind = "numpy.ndarray", "NdArrayNode"
    return part(*kind, [*parts], type="json", shape=sizes)


def random_state(place):
    """A generator of numbers that goes on at some place among 624 of them."""
    state = mapped(key=array(), pos=text(place))
    parts = {"bit_generator": text("MT19937"), "state": state}
    parts |= {"has_gauss": text(0), "gauss": text(0.0)}
    kind = "numpy.random.mtrand.RandomState", "RandomStateNode"
    return with_part(part(*kind, mapped(**parts)), **{"1_npy": stored(_KEY)})


_KEY = np.random.RandomState(0).get_state()[1]


def pipeline(**parameters):
    """A pipeline of scikit-learn's, with nothing in it."""
    attributes = mapped(steps=listed(), verbose=text(False), **parameters)
    return part("sklearn.pipeline.Pipeline", "ObjectNode", attributes)


def keyed(n_keys):
    """A dict, all of whose keys have the same place."""
    keys = {str(i * (2**61 - 1)): text(1) for i in range(1, n_keys)}
    return mapped(part("builtins.int", "TypeNode"), **keys)


def inflating(n_mebibytes, said=None):
    """A trap of a member of so many MiB, or one that says that it has fewer bytes."""

    def make(schema, members):
        content = io.BytesIO(archive_of({**members, SCHEMA: json.dumps(schema)}))
        with ZipFile(content, "a", ZIP_DEFLATED, compresslevel=1) as archive:
            with archive.open("1.bin", "w") as member:
                for _ in range(n_mebibytes):
                    member.write(bytes(MIB))
        content = bytearray(content.getvalue())
        if said is not None:
            entry = content.rindex(b"PK\x01\x02")
            read = bytes(min(said, n_mebibytes * MIB))
            struct.pack_into("<I", content, entry + 16, zlib.crc32(read))
            struct.pack_into("<I", content, entry + 24, said)
        return sealed(bytes(content))

    return make


def beside(text, n_times):
    """A trap of a description with something beside that is read, and not used."""

    def make(schema, members):
        said = json.dumps(schema)[:-1] + ', "shape": [' + text * n_times + "0]}"
        return packed(said.encode(), members, ZIP_DEFLATED)

    return make


def swapped_members(schema, members):
    first, second = sorted(members, key=lambda name: len(members[name]))[-2:]
    exchanged = {first: members[second], second: members[first]}
    return packed(schema, {**members, **exchanged})


def of_one_name(schema, members):
    """The description twice; the first is another one than the second."""
    content = packed(schema, {**members, "schema_json": b"[]"})
    return resealed(content.replace(b"schema_json", SCHEMA.encode()))


def encrypted(schema, members):
    content = bytearray(packed(schema, members))
    content[content.rindex(b"PK\x01\x02") + 8] |= 1
    return resealed(bytes(content))


def resealed(content):
    """The same file when it has been changed, with a checksum that is right again."""
    return sealed(content[: -len(sealed(b""))] + b"\x00\x00")


@functools.cache
def bytes_of_zeros():
    """An array of a MiB."""
    return stored(np.zeros(MIB // 8))


def nested(start, end, depth):
    return start.encode() * depth + end.encode() * depth


LIST = '{"__class__":"list","__module__":"builtins","__loader__":"ListNode","content":['
#: By name, from the description of a model and its other members.
TRAPS = {
    "bomb": inflating(256),
    "lying_member": inflating(400, said=10),
    "boasting_member": inflating(1, said=2 * MIB),
    "long_description": beside("[],", 7_000_000),
    "full_description": beside("[],", 700_000),
    "full_part": beside("1,", 100_000),
    "many_members": lambda s, m: packed(s, {f"{i}.bin": b"" for i in range(50_001)}),
    "nested_lists": lambda s, m: packed(nested("[", "]", 100_000), m),
    "nested_parts": lambda s, m: packed(
        LIST.encode() * 20_000 + b"]," + b'"protocol":2}' * 20_000, m
    ),
    "deep_parts": with_part(
        functools.reduce(lambda inner, _: listed(inner), range(300), text(1))
    ),
    "nested_text": with_part(part("builtins.str", "JsonNode", "[" * 100_000)),
    "large_number": with_part(part("builtins.str", "JsonNode", "9" * 10_000)),
    "large_slice": with_part(
        part("builtins.slice", "SliceNode", {"start": [], "stop": {}, "step": None})
    ),
    "no_json": lambda s, m: packed(b"\x00\x01", m),
    "a_list": lambda s, m: packed([s], m),
    "a_number": lambda s, m: packed(1, m),
    "no_part": lambda s, m: packed({"protocol": 2}, m),
    "old_protocol": lambda s, m: packed({**s, "protocol": 0}, m),
    "true_protocol": lambda s, m: packed({**s, "protocol": True}, m),
    "new_protocol": lambda s, m: packed({**s, "protocol": 1_000}, m),
    "not_an_estimator": lambda s, m: packed({**listed(text(1)), "protocol": 2}, m),
    "huge_array": with_array(header((10**12,))),
    "huge_item": with_array(header((), "<V1000000000000")),
    "negative_array": with_array(header((-1, -16))),
    "many_dimensions": with_array(header((1,) * 1_000)),
    "python_in_array": with_array(header(f"__import__('os').system({COMMAND!r})")),
    "pickle_in_array": with_array(
        written(lambda file: np.save(file, evil_array(), allow_pickle=True))
    ),
    "no_array": with_array(b"no array"),
    "many_parts": with_part(
        listed(*[dict(islice(text(1).items(), 3), content="1")] * 75_000),
        **{"1_bin": np.random.default_rng(0).bytes(2**16)},
    ),
    "unknown_key": with_part({**text(1), "__dict__": 1}),
    "laughing": laughing,
    "laughing_by_identity": laughing_by_identity,
    "laughing_inside": laughing_inside,
    "read_often": read_often,
    "copies": with_part(listed(*[array()] * 2_000), **{"1_npy": bytes_of_zeros()}),
    "copies_in_array": with_part(
        object_array((100, 2**17), *[array()] * 100), **{"1_npy": bytes_of_zeros()}
    ),
    "copies_in_square": with_part(
        object_array((1, 100), listed(*[array()] * 100)), **{"1_npy": bytes_of_zeros()}
    ),
    "array_of_fewer": with_part(object_array((10**12,), text(1))),
    "array_without_shape": with_part(object_array((), text(1))),
    "array_without_bytes": with_part(
        array(), **{"1_npy": header((10**9,), "|S0", n_bytes=0)}
    ),
    "array_without_columns": with_part(
        array(), **{"1_npy": header((10**9, 0), n_bytes=0)}
    ),
    "bytes_of_a_number": with_part(
        array("numpy.bytes_"), **{"1_npy": stored(np.array(2**30))}
    ),
    "number_of_many": with_part(
        array("numpy.float64"), **{"1_npy": stored(np.zeros(9))}
    ),
    "array_in_bytes": with_part(array(file="1.bin"), **{"1_bin": header((10**10,))}),
    "arrays_for_an_array": with_part(
        array(file="1.npz"),
        **{"1_npz": written(lambda file: np.savez(file, np.zeros(3)))},
    ),
    "colliding_keys": with_part(keyed(10_000)),
    "colliding_set": with_part(
        part(
            "builtins.set",
            "SetNode",
            [text(i * (2**61 - 1)) for i in range(1, 15_000)],
        )
    ),
    "colliding_identities": with_part(
        listed(*[{**text(1), "__id__": i * (2**61 - 1)} for i in range(1, 10_000)])
    ),
    "text_as_wide_as_long": with_part(
        part(
            "numpy.ma.MaskedArray",
            "MaskedArrayNode",
            {"data": listed(*[text("a" * MIB), *[text("a")] * 200]), "mask": text(0)},
        )
    ),
    "function_of_keys": with_part(
        mapped(part("numpy.tanh", "FunctionNode"), a=text(1))
    ),
    "random_state_before": random_state(-(10**9)),
    "random_state_beyond": random_state(10**9),
    "pipeline_of_pickles": with_part(pipeline(memory=text("executed"))),
    "pipeline_of_nothing": with_part(part("sklearn.pipeline.Pipeline", "ObjectNode")),
    "follows_arrays": with_part(
        part("sklearn.svm._classes.SVC", "ObjectNode", mapped())
    ),
    "of_later_versions": with_part(
        part("skvae.posteriors.spherical.Spherical", "ObjectNode", mapped())
    ),
    "swapped_members": swapped_members,
    "missing_members": lambda s, m: packed(s, {}),
    "parent_folder": with_member("../executed"),
    "absolute_name": with_member("/tmp/executed"),
    "program": with_member("executed.py"),
    "of_one_name": of_one_name,
    "encrypted": encrypted,
    "bzip2": lambda s, m: packed(s, m, ZIP_BZIP2),
    "lzma": lambda s, m: packed(s, m, ZIP_LZMA),
}


def trap(name):
    """A file, by the name of the trap."""
    return TRAPS[name](*unpacked(whole("transformer", "skops")))
