"""Scenes: transforms and their inverses, what covers what, kinds of motion."""

import math

import pytest
import torch

from vsrkd_plugin.ops.motion import pixel_grid
from vsrkd_plugin.synthesis.clips.scenes import Scene, random_scenes


def scenes(batch: int = 6, seed: int = 0, **settings) -> Scene:
    return random_scenes(torch.Generator().manual_seed(seed), batch, settings.pop('frames', 7), 32, **settings)


def disc(shift: list[list[float]], radius: float = 4.0) -> Scene:
    """A still ground with one disc whose centre is at `shift[time]`."""
    frames = len(shift)
    shifts = torch.zeros(1, 2, frames, 2)
    shifts[0, 1] = torch.tensor(shift)
    zeros = torch.zeros(1, 2, frames)
    return Scene(
        shifts, zeros, zeros.clone(), torch.tensor([[math.inf, radius]]), torch.zeros(1, 2, 3), torch.zeros(1, 2, 3),
        torch.ones(1, frames), torch.tensor([frames]),
    )  # fmt: skip


def test_to_the_layer_and_back() -> None:
    scene, places = scenes(), torch.randn(6, 5, 4, 2) * 10
    for layer in range(3):
        back = scene.on_frame(layer, 6, scene.on_layer(layer, 6, places))
        torch.testing.assert_close(back, places, rtol=1e-4, atol=1e-3)


def test_a_disc_covers_its_area_and_moves_with_its_flow() -> None:
    scene = disc([[0, 0], [3, -2]])
    places = (pixel_grid(33, 33) - 16)[None]
    covered = scene.cover(1, 0, places)
    assert float(covered.sum()) == pytest.approx(math.pi * 16, rel=0.02)
    flow, visible = scene.flow(0, 1, places)
    on_disc = scene.nearest(0, places)[0] == 1
    assert torch.equal(flow[0, :, on_disc].T, torch.tensor([[3.0, -2.0]]).expand(int(on_disc.sum()), 2))
    assert torch.equal(flow[0, :, ~on_disc], torch.zeros(2, int((~on_disc).sum())))
    # Hidden is exactly the ground that the disc moves onto.
    moved_onto = (scene.nearest(1, places)[0] == 1) & ~on_disc
    assert torch.equal(~visible[0, 0], moved_onto) and moved_onto.any()


def test_nothing_is_visible_across_a_cut() -> None:
    scene = disc([[0, 0], [0, 0], [0, 0]])
    scene.cut = torch.tensor([2])
    places = (pixel_grid(9, 9) - 4)[None]
    assert scene.flow(0, 1, places)[1].all() and not scene.flow(1, 2, places)[1].any()


def test_kinds_of_motion() -> None:
    still = scenes(kind='still')
    assert still.shift.shape == (6, 1, 7, 2) and not still.shift.any() and not still.angle.any()
    moved = scenes(kind='translation')
    steps = moved.shift.diff(dim=2)
    assert not moved.angle.any() and not moved.zoom.any() and (moved.cut == 7).all()
    torch.testing.assert_close(steps, steps[:, :, :1].expand_as(steps), rtol=1e-4, atol=1e-5)
    speed = steps[:, :, 0].norm(dim=-1)
    assert (speed > 0.029).all() and (speed < 3.01).all()
    slow = scenes(batch=50, kind='translation', speed=(0.1, 0.4)).shift.diff(dim=2)[:, :, 0].norm(dim=-1)
    assert 0.099 < float(slow.min()) < 0.15 and 0.3 < float(slow.max()) < 0.401
    full = scenes(batch=400)
    assert full.angle.any() and full.zoom.any() and (full.cut < 7).any()
    assert 0.03 < float((full.shift[:, 0].diff(dim=1).abs().sum((1, 2)) == 0).float().mean()) < 0.2  # some are still
    there = (full.radius[:, 1:] > 0).float().mean()
    assert 0.4 < float(there) < 0.6


def test_the_same_seed_gives_the_same_scenes() -> None:
    first, again, other = scenes(), scenes(), scenes(seed=1)
    assert torch.equal(first.shift, again.shift) and not torch.equal(first.shift, other.shift)


def test_unknown_kinds_and_counts() -> None:
    with pytest.raises(ValueError, match='full, translation, still'):
        scenes(kind='wild')
    with pytest.raises(ValueError, match='at least 1'):
        scenes(frames=0)
    with pytest.raises(ValueError, match='two numbers above 0, the lower one first'):
        scenes(speed=(2, 1))
