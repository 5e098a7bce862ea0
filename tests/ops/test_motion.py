"""Warping against shifts and closed forms."""

import math

import pytest
import torch

from vsrkd_plugin.ops.motion import pixel_grid, rotate, sample_at, warp


def test_a_whole_flow_is_a_shift() -> None:
    images = torch.rand(2, 3, 8, 9)
    flow = torch.zeros(2, 2, 8, 9)
    flow[:, 0], flow[:, 1] = 2, -1
    out = warp(images, flow)
    torch.testing.assert_close(out[:, :, 1:, :-2], images[:, :, :-1, 2:], rtol=0, atol=1e-5)
    torch.testing.assert_close(out[:, :, 1:, -1], images[:, :, :-1, -1], rtol=0, atol=1e-5)  # the border is repeated


def test_a_plane_is_sampled_exactly_between_pixels() -> None:
    grid = pixel_grid(9, 10, dtype=torch.float64)
    image = (0.3 * grid[..., 0] - 0.2 * grid[..., 1])[None, None]
    places = grid[2:-3, 2:-3] + torch.tensor([0.25, 0.6], dtype=torch.float64)
    expected = 0.3 * places[..., 0] - 0.2 * places[..., 1]
    torch.testing.assert_close(sample_at(image, places[None])[0, 0], expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize('mode', ['bilinear', 'bicubic'])
def test_pixels_are_sampled_as_they_are(mode: str) -> None:
    image, grid = torch.rand(1, 2, 6, 7), pixel_grid(6, 7)
    torch.testing.assert_close(sample_at(image, grid[None], mode), image, rtol=0, atol=1e-5)
    mirrored = sample_at(image, grid[None] - torch.tensor([7.0, 0.0]), mode, 'reflection')
    torch.testing.assert_close(mirrored, image.flip(3), rtol=0, atol=1e-5)


def test_gradient_of_a_warp() -> None:
    torch.manual_seed(0)
    images = torch.rand(1, 2, 5, 5, dtype=torch.float64, requires_grad=True)
    flow = (torch.rand(1, 2, 5, 5, dtype=torch.float64) * 0.6 + 0.2).requires_grad_()  # off the kinks at pixels
    assert torch.autograd.gradcheck(lambda x, f: warp(x, f)[..., 1:-2, 1:-2], (images, flow))


def test_rotation() -> None:
    quarter = rotate(torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor(math.pi / 2))
    torch.testing.assert_close(quarter, torch.tensor([[0.0, 1.0], [-2.0, 0.0]]))


def test_shapes_must_fit() -> None:
    with pytest.raises(ValueError, match='expected a flow'):
        warp(torch.rand(1, 3, 4, 4), torch.zeros(1, 2, 4, 5))
