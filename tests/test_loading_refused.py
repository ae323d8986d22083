"""Files that are no models, and those that were made to do harm: each is refused."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import skops.io
from saved import crafted, damaged, traps, watch
from sklearn.cluster import KMeans
from sklearn.linear_model import Lasso, Perceptron, SGDClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.svm import SVC

from skvae import VAETransformer, persistence


def vae():
    return VAETransformer(2, **damaged.QUICK)


def dumped(estimator):
    return damaged.written(persistence.dump, estimator)


def loaded(content, **keywords):
    return persistence.load(io.BytesIO(content), **keywords)


# ---- what is trusted -----------------------------------------------------------------


class Stranger(VAETransformer):
    """An estimator that skvae knows nothing of."""


@pytest.mark.parametrize("trusted", [[Stranger], [f"{__name__}.Stranger"]], ids=str)
def test_types_of_others_are_built_when_they_are_trusted(trusted):
    content = dumped(Stranger(2))
    with pytest.raises(TypeError, match=rf"\['{__name__}\.Stranger'\]"):
        loaded(content)
    assert type(loaded(content, trusted=trusted)) is Stranger


@pytest.mark.parametrize(
    "trusted", [True, "os.system", Stranger, None, 1, [1], [Stranger, b"x"]], ids=str
)
def test_trust_is_given_to_a_list_of_types(trusted):
    with pytest.raises(TypeError, match=r"trusted must (be a list of|hold) types"):
        loaded(dumped(vae()), trusted=trusted)


@pytest.mark.parametrize(
    ("file", "says"),
    [
        (b"PK", "file must be a path or a binary file object, got bytes"),
        (None, "file must be a path or a binary file object, got NoneType"),
        (io.StringIO("PK"), "file must be opened to read bytes, but it gives str"),
    ],
    ids=["bytes", "none", "text"],
)
def test_only_paths_and_binary_files_are_read(file, says):
    with pytest.raises(TypeError, match=says):
        persistence.load(file)


@pytest.mark.parametrize(
    "kind", [SVC, KNeighborsClassifier, KMeans, Lasso, SGDClassifier, Perceptron]
)
def test_what_follows_fitted_arrays_in_compiled_code_must_be_trusted(kind):
    content = dumped(make_pipeline(vae(), kind()))
    with pytest.raises(TypeError, match=kind.__name__):
        loaded(content)
    again = loaded(content, trusted=[kind])
    assert type(again[-1]) is kind


@pytest.mark.parametrize(
    ("name", "error", "says"),
    [
        ("skvae.priors.later.Later", ValueError, "Upgrade skvae"),
        ("skvae.priors.learned.Later", ValueError, "Upgrade skvae"),
        ("skvae.Later", ValueError, "Upgrade skvae"),
        ("skvae.callbacks.LogLikelihoodMonitor", TypeError, "Untrusted types"),
        ("skvae.table.TableEncoder", TypeError, "Untrusted types"),
    ],
)
def test_types_of_later_versions_are_told_from_those_not_trusted(name, error, says):
    there = crafted.part(name, "ObjectNode", crafted.mapped())
    schema, members = crafted.unpacked(dumped(vae()))
    with pytest.raises(error, match=says):
        loaded(traps.with_part(there)(schema, members))


def test_pipelines_that_keep_results_must_be_trusted():
    content = skops.io.dumps(make_pipeline(vae(), memory="executed"))
    with pytest.raises(ValueError, match=r"Pipeline keeps results.*Set memory=None"):
        loaded(content)
    assert loaded(content, trusted=[Pipeline]).memory == "executed"


# ---- what a file is ------------------------------------------------------------------

SEEMS = {
    "pickle": r"pickle; nothing of it was read.*joblib\.load",
    "joblib": "seems to be a pickle",
    "gzip": "compressed by gzip, and may be a pickle",
    "zlib": "compressed by zlib, and may be a pickle",
    "torch": r"torch\.save, which holds a pickle",
    "npy": r"numpy\.save",
    "npz": r"numpy\.savez",
    "csv": "text",
    "text": "text",
    "empty": "empty",
    "zip": r"schema\.json is not among them",
    "png": "picture",
    "program": "no file of skops",
    "skops_of_a_dict": "holds a dict, not an estimator",
    "commented": "cut short, damaged or added to",
}


@pytest.mark.parametrize("name", SEEMS)
def test_what_a_file_seems_to_be_is_said(name):
    with pytest.raises(ValueError, match=f"skvae can read: .*{SEEMS[name]}"):
        loaded(damaged.foreign()[name])


NOT_WRITTEN = "part of type '{}' that skops does not write"
TRAPS = {
    "bomb": "would have 268,4.* when unpacked",
    "lying_member": "Bad CRC-32",
    "boasting_member": r"1\.bin has not the 2,097,152 bytes",
    "long_description": "would have 21,.* when unpacked",
    "full_description": "too many values",
    "many_parts": "more parts, or more types, than a model has",
    "unknown_key": "has a part with '__dict__'",
    "many_members": "50,002 members",
    "of_one_name": "two of one name",
    "program": r"a member of the name 'executed\.py'",
    "parent_folder": r"a member of the name '\.\./executed'",
    "lzma": "compressed otherwise",
    "huge_array": r"of shape \(1000000000000,\) and type float32 has 64 bytes",
    "negative_array": r"of shape \(-1, -16\) and type float32 has 64 bytes",
    "array_without_bytes": r"of shape \(1000000000,\) and type \|S0 has 0 bytes",
    "array_without_columns": r"of shape \(1000000000, 0\) and type float32 has 0",
    "pickle_in_array": r"array \d+\.npy holds a pickle",
    "array_in_bytes": r"kind NdArrayNode is made of '1\.bin'",
    "arrays_for_an_array": r"kind NdArrayNode is made of '1\.npz'",
    "bytes_of_a_number": NOT_WRITTEN.format("bytes_"),
    "number_of_many": NOT_WRITTEN.format("float64"),
    "array_of_fewer": NOT_WRITTEN.format("ndarray"),
    "copies_in_array": NOT_WRITTEN.format("ndarray"),
    "copies_in_square": NOT_WRITTEN.format("ndarray"),
    "copies": r"too many parts of it are made of the same '1\.npy'",
    "read_often": "two parts of it are made of the same",
    "laughing": "two parts of it claim to be the same object",
    "laughing_by_identity": "holds what is no part",
    "laughing_inside": "refers to parts by their identity alone",
    "colliding_keys": NOT_WRITTEN.format("dict"),
    "colliding_set": NOT_WRITTEN.format("set"),
    "colliding_identities": r"is identified by an odd \d{20}",
    "text_as_wide_as_long": NOT_WRITTEN.format("MaskedArray"),
    "function_of_keys": NOT_WRITTEN.format("dict"),
    "random_state_before": NOT_WRITTEN.format("RandomState"),
    "random_state_beyond": NOT_WRITTEN.format("RandomState"),
    "pipeline_of_nothing": NOT_WRITTEN.format("Pipeline"),
    "pipeline_of_pickles": r"would unpickle what is there\. Set memory=None",
    "of_later_versions": r"skvae\.posteriors\.spherical\.Spherical\. Upgrade skvae",
    "old_protocol": "protocol 0 of skops",
    "new_protocol": "protocol 1000 of skops",
    "swapped_members": "was damaged since it was saved",
}


@pytest.mark.parametrize("name", TRAPS)
def test_what_is_wrong_with_a_file_is_said(name):
    with pytest.raises(ValueError, match=f"skvae can read: .*{TRAPS[name]}"):
        loaded(traps.trap(name))


# ---- damage --------------------------------------------------------------------------


def test_every_flipped_bit_and_every_cut_is_found():
    content = dumped(vae())
    flips = (
        content[:i] + bytes([content[i] ^ (1 << bit)]) + content[i + 1 :]
        for i in range(len(content))
        for bit in range(8)
    )
    cuts = (content[:i] for i in range(len(content)))
    for changed in (*flips, *cuts):
        with pytest.raises(ValueError, match="is not a model that skvae can read"):
            loaded(changed)


@pytest.mark.parametrize("name", ["transformer", "detector"])
def test_every_part_of_a_state_counts(name):
    model, rng = damaged.models()[name], np.random.default_rng(0)
    state = model.__getstate__()
    paths = [*damaged.leaves(state)]
    assert len(paths) > 50
    for path in paths:
        with pytest.raises(ValueError, match=r"was damaged since|Upgrade skvae"):
            revive(model, damaged.with_a_flip(state, path, rng))


def revive(model, state):
    """What unpickling makes of a state."""
    copy = type(model).__new__(type(model))
    copy.__setstate__(state)
    return copy


WRONG = {
    "none": "of type NoneType, not a mapping",
    "no_weights": "its state lacks weights",
    "nan": "its weights are not all finite",
    "too_few": r"its weights have the shape \(\d+,\), not \(\.\.\., \d+\)",
    "in_float64": "its weights are of type float64, not an array of float32",
    "other_columns": "n_features_in_ is 5, but its model has 4",
    "text_for_the_format": "its state format is '1'",
    "newer_format": "Upgrade skvae",
    "a_number_for_the_checksum": "not what the checksum was taken of",
    "lacks_a_parameter": "beta",
    "deep_network": "n_blocks of its network is 1000000, for 108 weights",
    "column_out_of_range": r"its columns are \[1000000000000, 0, 1, 2\]",
    "columns_of_text": "its columns are not all of them numbered",
    "hole_out_of_range": "holes in columns that it does not have",
    "whole_column_out_of_range": "whole numbers in columns that it does not have",
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_with_a_state_is_said(name):
    model = damaged.models()["transformer"]
    with pytest.raises(ValueError, match=WRONG[name]):
        revive(model, crafted.wrong_state(name, with_checksum=True))


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """By kind of file, what came of loading some hundred of each kind together."""
    folder = tmp_path_factory.mktemp("watched")
    command = [sys.executable, "-m", "saved.watch", "--json", "--count", "150"]
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,  # or a file takes forever
    )
    assert done.returncode == 0, done.stderr
    assert [*folder.iterdir()] == []
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(results) > 300
    return results


#: What may still be the model that it was: where only the book-keeping is damaged.
MAY_BE_THE_SAME = {"damaged, of skops", "one detail changed"}


@pytest.mark.parametrize("kind", watch.KINDS)
def test_no_file_is_loaded_as_what_it_is_not(outcomes, kind):
    some = [result for result in outcomes if result["kind"] == kind]
    found = {(each["name"], each["outcome"]) for each in some}
    allowed = {"refused", *(["the same"] if kind in MAY_BE_THE_SAME else [])}
    assert found and {pair for pair in found if pair[1] not in allowed} == set()


def test_no_file_has_anything_executed(outcomes):
    heard = {result["name"]: result["events"] for result in outcomes}
    assert {name: events for name, events in heard.items() if events} == {}


def test_no_file_takes_long(outcomes):
    seconds = {result["name"]: result["seconds"] for result in outcomes}
    assert max(seconds.values()) < watch.MOST_SECONDS, max(seconds, key=seconds.get)


def test_no_file_fills_the_memory(outcomes):
    grown = {result["name"]: result["memory"] for result in reversed(outcomes)}
    assert max(grown.values()) < watch.MOST_MEMORY, max(grown, key=grown.get)
