"""The motion of parts of clips is the part of the motion; the flow of SR frames is the one that HR shows."""

import torch

from vsrkd_plugin.ops.dihedral import apply_dihedral, undo_dihedral
from vsrkd_plugin.ops.motion import warp
from vsrkd_plugin.synthesis.bank.sample_spec import SampleSpec, crop, motion_of
from vsrkd_plugin.synthesis.clips.motion import Motion
from vsrkd_plugin.synthesis.clips.moving import PICTURE, MovingSource
from vsrkd_plugin.synthesis.clips.scenes import Scene, random_scenes
from vsrkd_plugin.synthesis.sources.procedural import ProceduralSource


def _source(**settings) -> MovingSource:
    pictures = ProceduralSource(channels=3, lr_sizes={PICTURE: 80}, seed=1, num_images=12, image_size=96)
    return MovingSource(pictures, **{'frames': 5, 'lr_sizes': {2: 24}, 'seed': 4, **settings})


def test_scenes_are_packed_and_back() -> None:
    scene = random_scenes(torch.Generator().manual_seed(3), 6, 5, 24)
    rows = scene.pack()
    assert rows.shape == (6, Scene.numbers(3, 5))
    for name, value in vars(Scene.unpack(rows, 3, 5)).items():
        assert torch.equal(value, getattr(scene, name)), name


def test_scenes_of_several_depths_together() -> None:
    deep, flat = (random_scenes(torch.Generator().manual_seed(3), 2, 5, 24, objects) for objects in (2, 0))
    both = Scene.together([deep, flat])
    places = torch.rand(2, 7, 7, 2) * 20 - 10
    for one, rows in ((deep, slice(0, 2)), (flat, slice(2, 4))):
        for ours, theirs in zip(
            both.rows(rows.start, rows.stop).flow(0, 3, places), one.flow(0, 3, places), strict=True
        ):
            assert torch.equal(ours, theirs)


def test_parts_move_as_the_whole() -> None:
    clips = _source().clips(8, 2)
    whole = SampleSpec(3, {2: 24}, 5, layers=3)
    wanted = SampleSpec(3, {2: 10}, 3)
    windows = torch.stack([torch.randint(most, (8,)) for most in (3, 15, 15)], 1)
    motion = motion_of(clips.motion.scene.pack(), whole, windows, wanted, 2, turn=0)
    for scale in (1, 2):
        for row, (first, top, left) in enumerate(windows.tolist()):
            flow, seen = clips.motion.flow(first + 1, first + 2, scale)
            part = (slice(None), slice(top * scale, (top + 10) * scale), slice(left * scale, (left + 10) * scale))
            ours, visible = motion.flow(1, 2, scale)
            torch.testing.assert_close(ours[row], flow[row][part], rtol=0, atol=1e-4)
            # Inside the part less is seen than in the whole, for its border is nearer.
            assert not (visible[row] & ~seen[row][part]).any()


def test_steps_are_what_hr_shows() -> None:
    clips = _source(degradation='blur').clips(24, 2)
    flow, visible = clips.motion.steps(2)
    assert flow.shape == (24, 4, 2, 48, 48) and visible.shape == (24, 4, 1, 48, 48)
    assert 0.4 < visible.float().mean() < 0.98
    fetched = warp(clips.hr[:, 1:].flatten(0, 1), flow.flatten(0, 1))
    error = (fetched - clips.hr[:, :-1].flatten(0, 1)).abs().mean(1, keepdim=True)[visible.flatten(0, 1)].mean()
    still = clips.hr.diff(dim=1).abs().mean(2, keepdim=True)[visible].mean()
    assert error < 0.35 * still
    # What is enlarged from LR differs little from what is asked at SR size.
    exact = torch.stack([clips.motion.flow(time, time + 1, 2)[0] for time in range(4)], 1)
    assert (flow - exact).norm(dim=2, keepdim=True)[visible].mean() < 0.02


def test_nothing_counts_across_cuts_and_lights() -> None:
    scene = random_scenes(torch.Generator().manual_seed(3), 2, 5, 24, 0, 'translation')
    scene.cut = torch.tensor([2, 5])
    scene.gain = torch.ones(2, 5)
    scene.gain[1, 3:] = 1.1
    motion = Motion.of_parts(scene, torch.zeros(2, 3), 24, 24, 5)
    seen = motion.steps(2)[1].flatten(2).any(2)
    assert seen.tolist() == [[True, False, True, True], [True, True, False, True]]


def test_turned_clips_are_turned_back_to_their_motion() -> None:
    clip = torch.rand(1, 2, 3, 6, 6)
    for turn in range(8):
        assert torch.equal(undo_dihedral(apply_dihedral(clip, turn), turn), clip)
    window = torch.tensor([1, 2, 3])
    assert torch.equal(crop(clip[0], window, SampleSpec(3, {2: 2}, 1), 2), clip[0, 1:2, :, 2:4, 3:5])
