"""Temporal consistency against shifts that are known."""

import pytest
import torch

from vsrkd_plugin.losses.temporal_consistency_loss import TemporalConsistencyLoss


def clip(frames: int = 3) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A picture that moves by (1, 2) pixels a frame; what leaves the frame is not visible."""
    torch.manual_seed(0)
    picture = torch.rand(1, 3, 16, 16)
    x = torch.stack([picture[..., 4 - 2 * t + 4 : 12 - 2 * t, 4 - t + 4 : 12 - t] for t in range(frames)], 1)
    flow = torch.tensor([1.0, 2.0]).view(1, 1, 2, 1, 1).expand(1, frames - 1, 2, *x.shape[-2:])
    visible = torch.zeros(1, frames - 1, 1, *x.shape[-2:], dtype=torch.bool)
    visible[..., :-2, :-1] = True
    return x, flow, visible


def test_a_moving_picture_is_consistent_with_its_motion_alone() -> None:
    x, flow, visible = clip()
    loss = TemporalConsistencyLoss(loss_weight=2)
    assert loss(x, flow, visible).item() == pytest.approx(0, abs=1e-5)
    assert loss(x, -flow, visible).item() > 0.1


def test_the_mean_is_over_visible_places() -> None:
    x, flow, visible = clip()
    x[:, 1:] += 0.25  # a jump of the light between the first two frames alone
    assert TemporalConsistencyLoss()(x, flow, visible).item() == pytest.approx(0.125, abs=1e-5)
    visible[:, 1:] = False
    assert TemporalConsistencyLoss(loss_weight=4)(x, flow, visible).item() == pytest.approx(1, abs=1e-4)


def test_nothing_visible_and_one_frame_give_zero() -> None:
    x, flow, visible = clip()
    assert TemporalConsistencyLoss()(x, flow, visible & False).item() == 0
    assert TemporalConsistencyLoss()(x[:, :1], flow[:, :0], visible[:, :0]).item() == 0


def test_like_the_teacher() -> None:
    x, flow, visible = clip()
    shaken = x + torch.rand_like(x) * 0.1
    loss = TemporalConsistencyLoss(like_teacher=True)
    assert loss(shaken, flow, visible, shaken).item() == 0
    assert loss(shaken + 0.2, flow, visible, shaken).item() == pytest.approx(0, abs=1e-6), 'a constant does not move'
    assert loss(shaken, flow, visible, x).item() == pytest.approx(
        TemporalConsistencyLoss()(shaken - x, flow, visible).item(), rel=1e-5
    )
    with pytest.raises(ValueError, match="teacher's clip is needed"):
        loss(shaken, flow, visible)


def test_shapes_must_fit() -> None:
    x, flow, visible = clip()
    with pytest.raises(ValueError, match='expected flow'):
        TemporalConsistencyLoss()(x, flow[:, :1], visible)
