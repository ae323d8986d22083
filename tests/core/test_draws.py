"""The shared points: fixed, inside the open cube, and even."""

import torch

from skvae.core.draws import shared_uniforms


def test_points_are_fixed_even_and_inside_the_open_cube():
    points = shared_uniforms(64, 5)
    assert points.shape == (64, 5)
    assert 0 < points.min() and points.max() < 1
    torch.testing.assert_close(
        points, shared_uniforms.__wrapped__(64, 5), rtol=0, atol=0
    )
    # One point in each of 64 equal intervals, in every dimension.
    cells = (points * 64).floor().sort(dim=0).values
    expected = torch.arange(64).double().unsqueeze(1).expand(64, 5)
    torch.testing.assert_close(cells, expected)


def test_scramblings_differ():
    assert not torch.equal(shared_uniforms(8, 2), shared_uniforms(8, 2, 1))
