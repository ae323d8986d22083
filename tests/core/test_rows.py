"""Rows on their way into training: each once an epoch, wherever they are kept."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_diabetes, load_iris

from skvae import VAEOutlierDetector, VAETransformer, run
from skvae.core.rows import DeviceRows, gather, memmap_of

N_ROWS, BATCH_SIZE = 20_000, 100


def device_rows(n_members=None):
    """Rows that hold their own number, with holes in the odd ones."""
    numbers = torch.arange(N_ROWS, dtype=torch.float32)[:, None]
    inputs, targets = numbers.expand(-1, 3), -numbers
    generator = torch.Generator().manual_seed(0)
    tensors = inputs, targets, numbers % 2
    return DeviceRows(tensors, generator, BATCH_SIZE, n_members)


def epoch(rows):
    """Inputs, targets and observed of an epoch, and the lengths of its chunks."""
    chunks = list(rows())
    lengths = [chunk[0].shape[-2] for chunk in chunks]
    return [torch.cat(parts, -2) for parts in zip(*chunks, strict=True)], lengths


def test_rows_on_a_device_come_once_an_epoch_in_a_new_order():
    rows = device_rows()
    (first, targets, observed), lengths = epoch(rows)
    second, *_ = epoch(rows)[0]
    assert torch.equal(first[:, 0].sort().values, torch.arange(N_ROWS).float())
    assert torch.equal(targets, -first[:, :1])
    assert torch.equal(observed, first[:, :1] % 2)
    assert not torch.equal(first, second)
    assert len(lengths) > 1
    assert all(length % BATCH_SIZE == 0 for length in lengths)


def test_members_have_an_order_each():
    inputs, targets, _ = epoch(device_rows(n_members=2))[0]
    assert inputs.shape == (2, N_ROWS, 3)
    assert torch.equal(targets, -inputs[..., :1])
    for member in inputs:
        assert torch.equal(member[:, 0].sort().values, torch.arange(N_ROWS).float())
    assert not torch.equal(inputs[0], inputs[1])


@pytest.mark.parametrize("estimator", [VAETransformer, VAEOutlierDetector])
def test_a_fit_from_a_device_is_as_good(monkeypatch, estimator):
    X = load_diabetes().data
    scores = {}
    for bytes_of_room in (0, 2**30):
        monkeypatch.setattr(run, "_room", lambda device, b=bytes_of_room: b)
        model = estimator(random_state=0).fit(X)
        scores[bytes_of_room] = model.score_samples(X).mean()
    # Another order of rows, as by another seed: within a tenth of a nat a column.
    assert scores[0] != scores[2**30]
    assert abs(scores[0] - scores[2**30]) < 0.1 * X.shape[1]


@pytest.fixture
def path(tmp_path):
    np.save(tmp_path / "rows.npy", load_iris().data)
    return tmp_path / "rows.npy"


@pytest.mark.parametrize("mode", ["r", "r+", "c"])
@pytest.mark.parametrize("rows", [slice(3, 9), np.array([7, 0, 149])], ids=type)
def test_gathered_from_a_file(path, mode, rows):
    X = np.load(path, mmap_mode=mode)
    for view, expected in ((X, load_iris().data), (X[::2], load_iris().data[::2])):
        index = rows if isinstance(rows, slice) else rows // 2
        np.testing.assert_array_equal(gather(view, index), expected[index])


def test_what_was_written_to_a_private_copy_of_a_file_stays(path):
    X = np.load(path, mmap_mode="c")
    X[5] = -1.0
    gather(X, np.arange(150))
    assert (gather(X, slice(5, 6)) == -1.0).all()
    assert (np.load(path)[5] > 0).all()


def test_the_file_beneath_views(path):
    X = np.load(path, mmap_mode="r")
    assert memmap_of(np.asarray(X)[3:, ::2]).mode == "r"
    assert memmap_of(np.array(X)) is None
