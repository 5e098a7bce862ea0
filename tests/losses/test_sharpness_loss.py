"""SharpnessLoss against closed forms, and for what it is there: an image that is blurred, one whose detail is moved."""

import math

import pytest
import torch
from torch.nn import functional as F

from vsrkd_plugin.losses.sharpness_loss import SharpnessLoss
from vsrkd_plugin.metrics.sharpness import sharpness
from vsrkd_plugin.ops.pyramid import halve, laplacian


def noise(seed: int, *shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def test_equal_images_have_none_and_it_is_symmetric() -> None:
    x, y = noise(0, 2, 3, 32, 32), noise(1, 2, 3, 32, 32) * 0.5
    loss = SharpnessLoss()
    assert loss(x, x) == 0
    assert loss(x, y) == pytest.approx(float(loss(y, x)), rel=1e-5) and loss(x, y) > 0.01


def test_a_checkerboard_in_closed_form() -> None:
    """Its Laplacian is 8 times its amplitude everywhere, so the loss at the first level is 8 times the difference."""
    board = (torch.arange(32)[:, None] + torch.arange(32)) % 2 * 2.0 - 1
    one, two = 0.5 + 0.1 * board[None, None], 0.5 + 0.25 * board[None, None]
    assert SharpnessLoss(levels=1)(one, two) == pytest.approx(8 * 0.15, rel=1e-3)
    assert SharpnessLoss(levels=1, loss_weight=2.0)(one, two) == pytest.approx(2 * 8 * 0.15, rel=1e-3)
    assert float(sharpness(one)) == pytest.approx(0.8, rel=1e-4)


def test_detail_that_is_moved_costs_little_and_detail_that_is_lost_costs_much() -> None:
    """Where L1 says the opposite."""
    x = noise(2, 1, 1, 64, 64)
    blurred = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode='reflect'), 3, 1)
    moved = x.roll((1, 1), (2, 3))
    loss = SharpnessLoss()
    assert loss(moved, x) < 0.3 * loss(blurred, x)
    assert F.l1_loss(moved, x) > F.l1_loss(blurred, x)


def test_detail_must_be_where_it_is() -> None:
    """In one half of the image: the loss is of places, not of the whole."""
    left = noise(3, 1, 1, 64, 64) * (torch.arange(64) < 32)
    assert SharpnessLoss(levels=1)(left.flip(3), left) > 0.5


def test_clips_are_taken_frame_by_frame() -> None:
    x, y = noise(4, 2, 3, 3, 32, 32), noise(5, 2, 3, 3, 32, 32) ** 2
    loss = SharpnessLoss()
    assert loss(x, y) == pytest.approx(float(loss(x.flatten(0, 1), y.flatten(0, 1))), rel=1e-6)


def test_its_gradient_is_right_and_finite_on_flat_images() -> None:
    loss = SharpnessLoss(levels=2, window=4)
    x, y = noise(6, 1, 1, 16, 16), noise(7, 1, 1, 16, 16)
    x.requires_grad_()
    loss(x, y).backward()
    step = torch.zeros_like(x)
    step[0, 0, 7, 9] = 1e-3
    with torch.no_grad():
        expected = (loss(x + step, y) - loss(x - step, y)) / 2e-3
    assert x.grad[0, 0, 7, 9] == pytest.approx(float(expected), rel=0.05, abs=1e-4)
    flat = torch.full((1, 1, 16, 16), 0.5, requires_grad=True)
    loss(flat, y).backward()
    assert torch.isfinite(flat.grad).all()


def test_small_images_leave_levels_out_and_bad_arguments_are_told() -> None:
    assert SharpnessLoss(levels=5)(noise(8, 1, 3, 12, 12), noise(9, 1, 3, 12, 12)) > 0
    with pytest.raises(ValueError, match='levels must be at least 1 and window 2, got 0 and 8'):
        SharpnessLoss(levels=0)
    with pytest.raises(ValueError, match='shapes differ'):
        SharpnessLoss()(noise(1, 1, 1, 16, 16), noise(1, 1, 3, 16, 16))


def test_halving_keeps_the_mean_and_takes_away_what_would_alias() -> None:
    flat = torch.full((1, 2, 9, 8), 0.3)
    assert torch.allclose(halve(flat), torch.full((1, 2, 5, 4), 0.3))
    board = ((torch.arange(16)[:, None] + torch.arange(16)) % 2).float()[None, None]
    assert (halve(board) - 0.5).abs().max() < 1e-6


def test_the_laplacian_of_a_parabola_is_four() -> None:
    y, x = torch.meshgrid(torch.arange(7.0), torch.arange(6.0), indexing='ij')
    assert torch.allclose(laplacian((x**2 + y**2)[None, None]), torch.full((1, 1, 5, 4), 4.0))
    assert math.isclose(float(sharpness((x + y)[None, None])), 0, abs_tol=1e-6)
