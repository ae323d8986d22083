"""Files and states that somebody made to do harm: with a checksum that is right."""

import functools
import json
from unittest.mock import patch
from zipfile import ZIP_STORED

import numpy as np
import skops.io
from saved.damaged import archive_of, members_of, models, one_of, whole

from skvae import VAETransformer
from skvae.persistence.archive import SCHEMA, sealed
from skvae.saved import STATE_FORMAT, _checksum

COMMAND = "touch executed"
#: What a file might have called.
TARGETS = (
    "os.system",
    "posix.system",
    "subprocess.Popen",
    "builtins.eval",
    "builtins.exec",
    "builtins.open",
    "builtins.getattr",
    "builtins.__import__",
    "importlib.import_module",
    "functools.partial",
    "operator.methodcaller",
    "operator.attrgetter",
    "types.FunctionType",
    "types.CodeType",
    "pickle.loads",
    "joblib.load",
    "torch.load",
    "numpy.load",
    "numpy.save",
    "numpy.fromfile",
    "numpy.savetxt",
    "numpy.memmap",
    "numpy.void",
    "numpy.random.set_state",
    "scipy.io.loadmat",
    "ctypes.CDLL",
    "runpy.run_path",
    "shutil.rmtree",
    "webbrowser.open",
    "antigravity.fly",
    "sklearn.tree._tree.Tree",
    "sklearn.datasets._base.load_files",
)


def packed(schema, members, way=ZIP_STORED):
    """A file of a description and other members."""
    if not isinstance(schema, bytes):
        schema = json.dumps(schema).encode()
    return sealed(archive_of({**members, SCHEMA: schema}, way))


def unpacked(content):
    """The description of a file, and its other members."""
    members = members_of(content)
    return json.loads(members.pop(SCHEMA)), members


# ---- parts that would be called ------------------------------------------------------


def part(name, kind, content=None, **others):
    """What a description says of one part."""
    module, _, name = name.rpartition(".")
    named = {"__class__": name, "__module__": module, "__loader__": kind}
    return {**named, "__id__": None, "content": content, **others}


def text(value):
    return part("builtins.str", "JsonNode", json.dumps(value))


def listed(*parts):
    return part("builtins.list", "ListNode", list(parts))


def mapped(key_type=None, **parts):
    key_type = key_type or part("builtins.str", "TypeNode")
    types = listed(*[key_type for _ in parts])
    return part("builtins.dict", "DictNode", parts, key_types=types)


@functools.cache
def calls():
    """By kind: a part that would call a target, or use it otherwise, once built."""
    command = part("builtins.tuple", "TupleNode", [text(COMMAND)])
    content = {"DictNode": {COMMAND: text(1)}}
    content |= dict.fromkeys(("ListNode", "TupleNode", "SetNode"), command["content"])
    reduced = {"args": command}

    def use(kind):
        def make(target):
            given = content.get(kind, command)
            types = listed(part(target, "FunctionNode"))
            return part(
                target,
                kind,
                given,
                key_types=types,
                attrs=command,
                type="json",
                shape=command,
                file="1.npz",
                __reduce__=reduced,
            )

        return make

    def method(target):
        owner, _, name = target.rpartition(".")
        return part(owner, "MethodNode", {"func": name, "obj": part(owner, "TypeNode")})

    def partial(target):
        parts = {"args": command, "kwds": mapped(), "namespace": mapped()}
        parts["func"] = part(target, "FunctionNode")
        return part("functools.partial", "PartialNode", parts)

    def generator(target):
        name = text(target.rpartition(".")[2])
        parts = {"bit_generator": mapped(bit_generator=name), "seed_seq": mapped()}
        return part("numpy.random._generator.Generator", "RandomGeneratorNode", parts)

    kinds = "Cached ConstructorFromReduce DType Dict Function Json List Loss NdArray"
    kinds += " Object OperatorFunc RandomState Set SparseMatrix Tree Tuple Type Unknown"
    return {
        **{kind: use(f"{kind}Node") for kind in kinds.split()},
        "Method": method,
        "Partial": partial,
        "RandomGenerator": generator,
        "DefaultDict": lambda target: part(
            "collections.defaultdict",
            "DefaultDictNode",
            {"main": mapped(), "default_factory": part(target, "FunctionNode")},
        ),
        "key": lambda target: mapped(part(target, "TypeNode"), **{COMMAND: text(1)}),
    }


def places(schema):
    """Where parts stand in a description: what holds them, and under which key."""
    waiting = [schema]
    while waiting:
        value = waiting.pop()
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        for key, child in pairs:
            if isinstance(child, dict | list):
                waiting.append(child)
                if isinstance(child, dict) and "__loader__" in child:
                    yield value, key


def naming(rng):
    """A file that names, somewhere, what should not be called."""
    schema, members = unpacked(whole(one_of(models(), rng), "skops"))
    within, key = one_of(places(schema), rng)
    within[key] = one_of(calls().values(), rng)(one_of(TARGETS, rng))
    return packed(schema, {**members, "1.npz": b""})


def meddled(rng):
    """A model's name, and its file with one detail of the description changed."""
    name = one_of(models(), rng)
    schema, members = unpacked(whole(name, "skops"))
    within, key = one_of(places(schema), rng)
    detail = one_of(within[key], rng)
    junk = (None, 1, -1, 1e308, "", "x", [], {}, True, "builtins", "1e9", 10**30)
    within[key][detail] = one_of(junk, rng)
    return name, packed(schema, members)


# ---- states --------------------------------------------------------------------------


def _state(**changes):
    return lambda state: {**state, **changes}


def _within(**changes):
    """Changes of the fitted state; None takes something away."""

    def make(state):
        fitted = {**state["_state"], **changes}
        kept = {name: value for name, value in fitted.items() if value is not None}
        return {**state, "_state": kept}

    return make


def _of_weights(change):
    return lambda state: _within(weights=change(state["_state"]["weights"]))(state)


def _of_table(**changes):
    """Changes of the first block of columns, or of the table beside."""

    def make(state):
        table = state["_state"]["table"]
        first, *others = table["blocks"]
        block = {key: changes.get(key, value) for key, value in first.items()}
        beside = {key: changes.get(key, value) for key, value in table.items()}
        return _within(table={**beside, "blocks": [block, *others]})(state)

    return make


def _of_geometry(**changes):
    return lambda state: _within(geometry={**state["_state"]["geometry"], **changes})(
        state
    )


#: Those of which no checksum can be taken, or that are wrong by theirs.
UNSIGNED = ("none", "a_list", "numbers_for_names", "a_number_for_the_checksum")
#: By name, from the state of a fitted transformer.
WRONG_STATES = {
    "none": lambda state: None,
    "a_list": lambda state: [*state.items()],
    "numbers_for_names": lambda state: {**state, 1: 2},
    "text_for_the_format": _state(_state_format="1"),
    "true_for_the_format": _state(_state_format=True),
    "no_such_format": _state(_state_format=0),
    "newer_format": _state(_state_format=STATE_FORMAT + 1),
    "a_number_for_the_version": _state(_skvae_version=1),
    "a_number_for_the_checksum": _state(_checksum=1),
    "a_list_for_the_state": _state(_state=[1]),
    "a_number_for_the_curve": _state(loss_curve_=1),
    "lacks_a_parameter": lambda state: {
        name: value for name, value in state.items() if name != "beta"
    },
    "empty": lambda state: {},
    "other_columns": _state(n_features_in_=5),
    "other_components": _state(n_components_=1),
    "no_weights": _within(weights=None),
    "no_geometry": _within(geometry=None),
    "no_table": _within(table=None),
    "a_list_for_weights": _within(weights=[1.0]),
    "numbers_for_geometry": _within(geometry=[1.0]),
    "text_for_the_table": _within(table="table"),
    "nan": _of_weights(lambda weights: weights * np.float32("nan")),
    "infinity": _of_weights(lambda weights: weights + np.float32("inf")),
    "too_few": _of_weights(lambda weights: weights[1:]),
    "too_many": _of_weights(lambda weights: np.tile(weights, 2)),
    "one_weight": _of_weights(lambda weights: weights[0]),
    "too_deep": _of_weights(lambda weights: weights[None, None]),
    "in_float64": _of_weights(lambda weights: weights.astype(np.float64)),
    "as_text": _of_weights(lambda weights: weights.astype(str)),
    "as_objects": _of_weights(lambda weights: weights.astype(object)),
    "huge_code": _of_geometry(n_components=10**12),
    "no_code": _of_geometry(n_components=0),
    "text_for_the_code": _of_geometry(n_components="2"),
    "unknown_network": _of_geometry(network={"name": "os.system", "params": {}}),
    "huge_network": _of_geometry(
        network={"name": "mlp", "params": {"hidden_layer_sizes": (10**9, 10**9)}}
    ),
    "deep_network": _of_geometry(
        network={"name": "residual", "params": {"width": 1, "n_blocks": 10**6}}
    ),
    "deeper_network": _of_geometry(
        network={"name": "residual", "params": {"n_blocks": np.int64(10**9)}}
    ),
    "column_out_of_range": _of_table(columns=np.array([10**12, 0, 1, 2])),
    "column_twice": _of_table(columns=np.array([0, 1, 1, 2])),
    "column_before_the_first": _of_table(columns=np.array([-1, 0, 1, 2])),
    "columns_of_text": _of_table(columns=["a" * 2**20, *["a"] * 200]),
    "hole_out_of_range": _of_table(gaps=np.array([10**12])),
    "whole_column_out_of_range": _of_table(whole=[[4], [0.0], [1.0]]),
    "aggregate_of_nothing": _of_geometry(prior={"name": "aggregate", "params": {}}),
}


def signed(state):
    """A state with a checksum that is right."""
    return {**state, "_checksum": _checksum(state)}


def wrong_state(name, with_checksum):
    """A state that is wrong, without a checksum or with one that is right."""
    state = WRONG_STATES[name](models()["transformer"].__getstate__())
    if name in UNSIGNED:
        return state
    if with_checksum:
        return signed(state)
    return {key: value for key, value in state.items() if key != "_checksum"}


def file_of_state(state):
    """A file that holds a transformer of this state."""
    with patch.object(VAETransformer, "__getstate__", lambda self: state):
        return sealed(skops.io.dumps(VAETransformer()))
