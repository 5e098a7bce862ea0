"""What is derived from options: sizes, specs, banks, shares."""

import copy
from pathlib import Path
from typing import Any

import pytest
from tiny_training import tiny_options, tiny_video_options

from vsrkd_plugin.config.plan import DistillationPlan
from vsrkd_plugin.errors import UserError
from vsrkd_plugin.registration import register


@pytest.fixture
def options(tmp_path: Path, image_folder: Path) -> dict[str, Any]:
    register()
    return tiny_options(tmp_path, image_folder)


@pytest.fixture
def video_options(tmp_path: Path) -> dict[str, Any]:
    register()
    return tiny_video_options(tmp_path)


def test_sizes_of_images(options: dict[str, Any]) -> None:
    plan = DistillationPlan.from_options(options)
    assert plan.scales == (2, 3) and plan.lr_sizes == plan.kept_lr_sizes == {2: 6, 3: 4}
    options['synthesis']['bank'] = {'hr_size': 24}
    plan = DistillationPlan.from_options(options)
    assert plan.lr_sizes == {2: 6, 3: 4} and plan.kept_lr_sizes == {2: 12, 3: 8}
    assert plan.sample_spec(1).lr_shape(2) == (1, 6, 6) and plan.kept_spec(3).target_shape(3) == (3, 24, 24)
    assert plan.kept_spec(1).holds(plan.sample_spec(1)) and not plan.sample_spec(1).holds(plan.kept_spec(1))
    assert not plan.is_video and plan.clips is None


def test_a_single_scale_need_be_no_list(options: dict[str, Any]) -> None:
    options['scales'] = 4
    assert DistillationPlan.from_options(options).scales == (4,)


def test_sizes_of_clips(video_options: dict[str, Any]) -> None:
    video_options['synthesis'].update(bank={'hr_size': 24, 'frames': 9})
    plan = DistillationPlan.from_options(video_options)
    assert plan.is_video and plan.clips is not None
    assert (plan.clips.frames, plan.clips.kept_frames) == (5, 9)
    assert plan.clips.picture_size == 24 * 5 // 4  # of what is kept, in HR pixels
    assert plan.sample_spec(3).lr_shape(2) == (5, 3, 8, 8) and plan.kept_spec(3).lr_shape(2) == (9, 3, 12, 12)
    assert plan.kept_spec(3).made == 'blur 1.0' and plan.kept_spec(3).layers == 3
    video_options['synthesis']['clips'].update(degradation='none', motion='still')
    plan = DistillationPlan.from_options(video_options)
    assert plan.clips is not None and plan.clips.picture_size == 12 * 5 // 4  # rendered at LR size
    assert (plan.kept_spec(3).made, plan.kept_spec(3).layers) == ('none', 1)
    video_options['synthesis']['clips']['picture_size'] = 77
    assert DistillationPlan.from_options(video_options).clips.picture_size == 77  # type: ignore[union-attr]


@pytest.mark.parametrize(('degradation', 'turns'), [('blur', False), ('bicubic', True), ('none', True)])
def test_clips_reduced_by_blur_are_not_turned(video_options: dict[str, Any], degradation: str, turns: bool) -> None:
    """Of a turned clip the blur would have kept other pixels."""
    video_options['synthesis']['clips']['degradation'] = degradation
    assert DistillationPlan.from_options(video_options).bank.turn == turns


def test_the_generator_of_clips_is_judged_by_how_clips_are_made(video_options: dict[str, Any]) -> None:
    video_options['train']['reconstruction_opt'] = {'type': 'ReconstructionLoss'}
    found = DistillationPlan.from_options(video_options).losses.reconstruction
    assert found == {'type': 'ReconstructionLoss', 'degradation': 'blur', 'sigma': 1.0}


def test_who_asks_the_teacher(options: dict[str, Any], tmp_path: Path) -> None:
    assert DistillationPlan.from_options(options).asks_teacher
    stored = copy.deepcopy(options)
    stored['synthesis'] = {'hr_size': 12, 'bank': {'path': str(tmp_path / 'a.lmdb')}}
    assert DistillationPlan.from_options(stored).asks_teacher  # for the student's start
    stored['train']['init'] = 'random'
    assert not DistillationPlan.from_options(stored).asks_teacher


def test_stored_banks_by_pattern_each_once(options: dict[str, Any], tmp_path: Path) -> None:
    for name in ('b.lmdb', 'a.lmdb', 'c.txt'):
        (tmp_path / name).mkdir()
    options['synthesis']['bank'] = {'path': [str(tmp_path / '*.lmdb'), str(tmp_path / 'b.lmdb')]}
    found = DistillationPlan.from_options(options).bank.stored()
    assert [Path(path).name for path in found] == ['a.lmdb', 'b.lmdb']
    options['synthesis']['bank']['path'] = str(tmp_path / 'x*.lmdb')
    with pytest.raises(UserError, match=r'x\*\.lmdb: no bank fits this pattern'):
        DistillationPlan.from_options(options).bank.stored()


def test_a_plan_cannot_be_changed(options: dict[str, Any]) -> None:
    with pytest.raises(AttributeError):
        DistillationPlan.from_options(options).batch = 3  # type: ignore[misc]
