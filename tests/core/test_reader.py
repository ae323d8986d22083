"""What the encoder reads, against a naive loop."""

import numpy as np
import pytest
import torch

from skvae.core.reader import Reader

WIDTH = 16
N_ROWS = 20

#: Numbers first, numbers last, and levels of the columns of codes.
SHAPES = [
    (3, 0, ()),
    (2, 1, ()),
    (0, 0, (3,)),
    (2, 0, (1, 3, 3)),
    (2, 2, (2, 5, 256)),
    (0, 0, (257,)),
    (1, 2, (300, 400)),
    (2, 1, (2, 5, 300, 400)),
]


def raw_rows(n_first, n_last, n_levels, share=0.3):
    """Rows with some codes missing, the first and last level among the others."""
    random = np.random.default_rng(0)
    columns = [random.normal(size=N_ROWS) for _ in range(n_first + n_last)]
    for n in n_levels:
        codes = random.integers(0, n, N_ROWS)
        codes[:2] = 0, n - 1
        columns.append(np.where(random.random(N_ROWS) < share, -1, codes))
    return torch.from_numpy(np.column_stack(columns).astype(float))


def weights_of(reader):
    generator = torch.Generator().manual_seed(0)
    weights = {
        name: torch.empty(shape).double() for name, shape in reader.shapes.items()
    }
    reader.start(weights, generator)
    return weights


def naive(n_first, n_last, n_levels, weights, raw):
    """The same, cell by cell."""
    rows = []
    for row in raw.tolist():
        numbers, codes = row[: n_first + n_last], row[n_first + n_last :]
        one_hot, vectors, first = [], [], 0
        for code, n in zip(map(int, codes), n_levels, strict=True):
            if n <= 256:
                one_hot += [float(code == level) for level in range(n)]
                continue
            known = [0.0] * WIDTH
            if code >= 0:
                known = weights["embedding"][first + code].tolist()
            vectors += known
            first += n
        rows.append(numbers[:n_first] + one_hot + vectors + numbers[n_first:])
    return torch.tensor(rows, dtype=torch.float64)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_rows_are_those_of_a_naive_loop(shape):
    reader, raw = Reader(*shape), raw_rows(*shape)
    weights = weights_of(reader)
    found = reader(weights, raw)
    assert found.shape == (N_ROWS, reader.n_outputs)
    torch.testing.assert_close(found, naive(*shape, weights, raw), rtol=0, atol=0)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_missing_codes_are_zeros(shape):
    n_first, n_last, _ = shape
    reader, raw = Reader(*shape), raw_rows(*shape, share=1.0)
    found = reader(weights_of(reader), raw)
    assert not found[:, n_first : found.shape[1] - n_last].any()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_code_is_one_entry_of_its_column(shape):
    n_first, _, n_levels = shape
    narrow = [n for n in n_levels if n <= 256]
    raw = raw_rows(*shape, share=0.0)
    one_hot = Reader(*shape).first(raw)[:, n_first:]
    assert one_hot.shape == (N_ROWS, sum(narrow))
    for column in one_hot.split(narrow, 1):
        torch.testing.assert_close(column.sum(1), torch.ones(N_ROWS).double())


@pytest.mark.parametrize("shape", [s for s in SHAPES if max((0, *s[2])) > 256], ids=str)
def test_gradient_of_the_looked_up_vectors(shape):
    reader, raw = Reader(*shape), raw_rows(*shape)
    weights = weights_of(reader)
    table = weights["embedding"].requires_grad_()
    rows = reader({"embedding": table}, raw)
    gradient = torch.randn(rows.shape, generator=torch.Generator().manual_seed(1))
    (rows * gradient).sum().backward()
    found = {"embedding": torch.full_like(table, torch.nan)}
    reader.backward(found, raw, gradient.double())
    torch.testing.assert_close(found["embedding"], table.grad)


@pytest.mark.parametrize("n_levels", [(), (256,), (256, 256)])
def test_only_very_many_levels_have_weights(n_levels):
    reader = Reader(2, 1, n_levels)
    assert not reader.has_weights and not reader.shapes
    wide = Reader(2, 1, (*n_levels, 257, 300))
    assert wide.has_weights
    assert wide.shapes == {"embedding": (557, WIDTH)}
    assert wide.n_outputs == reader.n_outputs + 2 * WIDTH


def test_very_many_levels_do_not_widen_the_rows():
    """A one-hot vector would be 5,000 wide."""
    few, many = Reader(0, 0, (300,)), Reader(0, 0, (5_000,))
    assert few.n_outputs == many.n_outputs == WIDTH
    raw = torch.arange(5_000.0).unsqueeze(1)
    weights = {"embedding": torch.randn(5_000, WIDTH)}
    rows = many(weights, raw)
    torch.testing.assert_close(rows, weights["embedding"])
    assert rows.numel() == WIDTH * len(raw)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_precision_is_that_of_the_rows(dtype):
    reader, raw = Reader(2, 1, (3, 300)), raw_rows(2, 1, (3, 300)).to(dtype)
    weights = {"embedding": torch.randn(300, WIDTH, dtype=dtype)}
    assert reader(weights, raw).dtype == reader.first(raw).dtype == dtype
