"""Clips: the flow that comes with them is the one they show; shares of processes; resume."""

import pytest
import torch

from vsrkd_plugin.ops.blur import blur_subsample
from vsrkd_plugin.ops.motion import warp
from vsrkd_plugin.ops.resize import bicubic_resize
from vsrkd_plugin.synthesis.clips.moving import PICTURE, MovingSource
from vsrkd_plugin.synthesis.sources.procedural import ProceduralSource


def source(**settings) -> MovingSource:
    place = {key: settings[key] for key in ('rank', 'world_size') if key in settings}
    pictures = ProceduralSource(channels=3, lr_sizes={PICTURE: 80}, seed=1, num_images=12, image_size=96, **place)
    return MovingSource(pictures, **{'frames': 4, 'lr_sizes': {2: 24}, **settings})


@pytest.mark.parametrize('degradation', ['bicubic', 'blur', 'none'])
def test_the_flow_is_the_one_that_is_seen(degradation: str) -> None:
    """Frames fetched along the flow are the frame before, where it is visible: far nearer than frames left alone."""
    clips = source(degradation=degradation, sigma=1.0, seed=4).clips(24, 2)
    moved, left = [], []
    for time in range(3):
        flow, visible = clips.motion.flow(time, time + 1)
        same_light = (clips.motion.scene.gain[:, time] == clips.motion.scene.gain[:, time + 1]).view(-1, 1, 1, 1)
        weight = (visible & same_light).float()
        error = (warp(clips.lr[:, time + 1], flow) - clips.lr[:, time]).abs().mean(1, keepdim=True)
        still = (clips.lr[:, time + 1] - clips.lr[:, time]).abs().mean(1, keepdim=True)
        moved.append((error * weight).sum() / weight.sum())
        left.append((still * weight).sum() / weight.sum())
    assert sum(moved) < 0.45 * sum(left)


def test_speed_and_interpolation() -> None:
    """Slow clips change less from frame to frame; HR frames of bicubic interpolation are sharper between pixels."""

    def detail(frames: torch.Tensor) -> float:
        return float(frames.diff(dim=-1).abs().mean())

    fast, slow = (source(seed=4, speed=speed).clips(24, 2) for speed in ((1.0, 3.0), (0.1, 0.3)))
    assert slow.lr.diff(dim=1).abs().mean() < 0.5 * fast.lr.diff(dim=1).abs().mean()
    bilinear, bicubic = (source(seed=4, interpolation=mode).clips(24, 2).hr for mode in (None, 'bicubic'))
    assert detail(bicubic) > 1.05 * detail(bilinear)
    with pytest.raises(ValueError, match='the lower one first'):
        source(speed=(3.0, 1.0))
    with pytest.raises(ValueError, match='bilinear or bicubic'):
        source(interpolation='nearest')


def test_the_flow_of_sr_frames_is_that_of_hr() -> None:
    clips = source(degradation='blur', seed=4).clips(24, 2)
    flow, visible = clips.motion.flow(0, 1, scale=2)
    assert flow.shape == (24, 2, 48, 48)
    error = (warp(clips.hr[:, 1], flow) - clips.hr[:, 0]).abs().mean(1, keepdim=True)[visible].mean()
    assert error < 0.45 * (clips.hr[:, 1] - clips.hr[:, 0]).abs().mean(1, keepdim=True)[visible].mean()


def test_lr_is_the_reduced_hr() -> None:
    for degradation, reduce in (
        ('bicubic', lambda x: bicubic_resize(x, 0.5)),
        ('blur', lambda x: blur_subsample(x, 2, 1.0)),
    ):
        clips = source(degradation=degradation, sigma=1.0).clips(2, 2)
        assert clips.lr.shape == (2, 4, 3, 24, 24) and clips.hr.shape == (2, 4, 3, 48, 48)
        expected = reduce(clips.hr.flatten(0, 1)).clamp(0, 1).view_as(clips.lr)
        torch.testing.assert_close(clips.lr, expected, rtol=0, atol=0.5 / 255 + 1e-5)
    at_once = source(degradation='none').clips(2, 2)
    assert at_once.hr.shape == at_once.lr.shape == (2, 4, 3, 24, 24)


def test_a_still_clip_repeats_its_frame() -> None:
    lr = source(motion='still').next(2, 2).lr
    assert torch.equal(lr, lr[:, :1].expand_as(lr)) and lr.std() > 0.02


def test_two_processes_share_what_one_would_draw() -> None:
    whole = source().next(4, 2).lr
    parts = [source(rank=rank, world_size=2).next(2, 2).lr for rank in range(2)]
    assert torch.equal(torch.cat(parts), whole)


def test_going_on_from_a_state() -> None:
    first = source()
    first.next(2, 2)
    state = first.state_dict()
    expected = first.next(2, 2).lr
    again = source()
    again.load_state_dict(state)
    assert torch.equal(again.next(2, 2).lr, expected)
    preview = again.preview(2, 3).lr
    assert preview.shape == (3, 4, 3, 24, 24) and torch.equal(preview, again.preview(2, 3).lr)


def test_unknown_degradation() -> None:
    with pytest.raises(ValueError, match='bicubic, blur, none'):
        source(degradation='jpeg')
