"""The sources that options ask for."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import cv2
import pytest
import torch
from tiny_training import advance, build, tiny_options, tiny_video_options
from torch import Tensor

from vsrkd_plugin.config.plan import DistillationPlan
from vsrkd_plugin.errors import UserError
from vsrkd_plugin.models.sources import build_inputs, build_source, read_lr_images
from vsrkd_plugin.ops.resize import bicubic_resize
from vsrkd_plugin.synthesis.bank.file import BankFile
from vsrkd_plugin.synthesis.bank.memory import ReplayBank
from vsrkd_plugin.synthesis.bank.writer import BankWriter, fill
from vsrkd_plugin.synthesis.detailed import DetailedSource, detail
from vsrkd_plugin.synthesis.source import Source
from vsrkd_plugin.synthesis.sources.learned import LearnedSource
from vsrkd_plugin.synthesis.sources.mixture import MixtureSource


def test_noise_and_real_images_in_a_bank(tmp_path: Path, image_folder: Path) -> None:
    options = tiny_options(tmp_path, image_folder)
    options['synthesis']['sources'] = [{'type': 'noise'}, {'type': 'images', 'dataroot_gt': str(image_folder)}]
    options['synthesis']['bank'] = {'reuse': 2, 'rows': 8, 'path': None}
    model = build(options, tmp_path)
    assert isinstance(model.task.inputs, ReplayBank)
    before = [parameter.clone() for parameter in model.net_g.parameters()]
    advance(model, 1, 6)
    assert any(not torch.equal(old, new) for old, new in zip(before, model.net_g.parameters(), strict=True))


def test_real_images_are_reduced_by_bicubic(image_folder: Path) -> None:
    found = read_lr_images(str(image_folder), {2: 6, 3: 4}, 3)
    assert [len(found[scale]) for scale in (2, 3)] == [3, 3]
    assert found[2][0].shape == (3, 24, 30)
    assert all(image.min() >= 0 and image.max() <= 1 for image in found[3])
    brightness = bicubic_resize(found[2][0][None], 2).mean()
    assert brightness == pytest.approx(float(found[3][0].mean()), abs=0.01)


def test_images_smaller_than_a_patch_are_named(image_folder: Path) -> None:
    with pytest.raises(UserError, match='no image as large as a patch of x2, 200x200'):
        read_lr_images(str(image_folder), {2: 100}, 1)


@pytest.fixture
def degraded_options(tmp_path: Path, image_folder: Path) -> dict[str, Any]:
    options = tiny_options(tmp_path, image_folder)
    own = {'type': 'lr_images', 'dataroot_lq': str(image_folder)}
    options['synthesis']['sources'] = [{'type': 'procedural', 'num_images': 40, 'image_size': 16}, own]
    options['synthesis']['degrade'] = {'clean_prob': 0, 'noise_range': [20, 30], 'apply_prob': 1}
    return options


def test_made_images_are_degraded_and_the_users_own_are_not(degraded_options: dict, image_folder: Path) -> None:
    plan = DistillationPlan.from_options(degraded_options)
    made, own = build_source(plan, 3, torch.device('cpu'), nullcontext).next(8, 2).lr.split(4)
    pictures = [torch.from_numpy(cv2.imread(str(file))[:, :, ::-1].copy()) for file in sorted(image_folder.iterdir())]
    pixels = torch.cat([picture.flatten(0, 1) for picture in pictures]).float() / 255
    nearest = torch.cdist(own.permute(0, 2, 3, 1).flatten(0, 2), pixels).min(1).values
    assert float(nearest.max()) < 2e-3  # half a level: every pixel is one of the user's pictures
    clean = DistillationPlan.from_options(_without(degraded_options, 'degrade'))
    clean_made, clean_own = build_source(clean, 3, torch.device('cpu'), nullcontext).next(8, 2).lr.split(4)
    assert torch.equal(own, clean_own)
    inside = (clean_made > 0.25) & (clean_made < 0.75)
    noise = (made - clean_made)[inside] * 255
    assert 18 < float(noise.std()) < 32


def test_of_several_candidates_the_more_detailed_are_taken_before_they_are_degraded(degraded_options: dict) -> None:
    def made(candidates: int | None, degraded: bool) -> Tensor:
        options = degraded_options if degraded else _without(degraded_options, 'degrade')
        if candidates is not None:
            options = {**options, 'synthesis': {**options['synthesis'], 'candidates': candidates}}
        plan = DistillationPlan.from_options(options)
        return build_source(plan, 3, torch.device('cpu'), nullcontext).next(400, 2).lr

    alone, chosen = made(1, degraded=False), made(8, degraded=False)
    assert torch.equal(made(None, degraded=False), alone)
    for rows, factor in ((slice(0, 200), 1.3), (slice(200, 400), 1.02)):  # made ones; the user's, which are much alike
        assert detail(chosen[rows]).mean() > factor * detail(alone[rows]).mean()
    assert torch.equal(made(8, degraded=True)[200:], chosen[200:])
    noise = (made(8, degraded=True) - chosen)[:200]  # the same were chosen
    assert 0.02 < float(noise.abs().median()) < 0.12


def test_generators_learn_from_all_that_they_make(tmp_path: Path, image_folder: Path) -> None:
    options = tiny_options(tmp_path, image_folder)
    options['synthesis']['sources'] = [{'type': 'learned'}, {'type': 'noise'}]
    options['synthesis']['candidates'] = 4
    plan = DistillationPlan.from_options(options)
    mixture = build_source(plan, 3, torch.device('cpu'), nullcontext)
    assert isinstance(mixture, MixtureSource)
    kinds = [type(source) for source in mixture.sources]
    assert kinds == [LearnedSource, DetailedSource]
    assert len(mixture.optimizers) == len(plan.scales)


def _without(options: dict[str, Any], key: str) -> dict[str, Any]:
    return {**options, 'synthesis': {name: value for name, value in options['synthesis'].items() if name != key}}


def test_the_teacher_is_asked_for_the_degraded_images_that_a_bank_keeps(degraded_options: dict) -> None:
    degraded_options['synthesis']['bank'] = {'reuse': 2, 'rows': 8, 'turn': False}
    asked = []

    def teacher_target(lr: Tensor, scale: int) -> Tensor:
        asked.append(lr.clone())
        return _repeated(lr, scale)

    plan = DistillationPlan.from_options(degraded_options)
    bank = build_inputs(plan, 3, torch.device('cpu'), nullcontext, teacher_target)
    batch = bank.next(4, 2)
    alone = build_source(plan, 3, torch.device('cpu'), nullcontext).next(4, 2).lr
    torch.testing.assert_close(asked[0], alone, rtol=0, atol=1e-3)
    assert batch.target is not None and torch.equal(batch.target, _repeated(batch.lr, 2))


def _repeated(lr: Tensor, scale: int) -> Tensor:
    return lr.repeat_interleave(scale, -2).repeat_interleave(scale, -1)


def _bank_of_clips(folder: Path, degradation: str, stored: bool) -> Source:
    """The bank that the options of a video distillation ask for: in memory, or on disk."""
    options: dict[str, Any] = tiny_video_options(folder)
    options['synthesis']['clips'] = {'frames': 3, 'degradation': degradation}
    options['synthesis']['bank'] = {'reuse': 4, 'rows': 8}
    cpu = torch.device('cpu')
    if stored:
        plan = DistillationPlan.from_options(options)
        writer = BankWriter(folder / 'bank.lmdb', plan.kept_spec(3), teacher='T', capacity=4)
        fill(writer, build_source(plan, 3, cpu, nullcontext), _repeated, 4, 2)
        writer.close()
        del options['synthesis']['sources']
        options['synthesis']['bank'] = {'path': str(folder / 'bank.lmdb')}
    return build_inputs(DistillationPlan.from_options(options), 3, cpu, nullcontext, _repeated)


@pytest.mark.parametrize('stored', [False, True])
def test_clips_that_were_reduced_by_blur_are_never_turned(tmp_path: Path, stored: bool) -> None:
    """A blur keeps the first pixel of each block; of a turned clip it would have kept another."""
    turns = {}
    for degradation in ('blur', 'bicubic'):
        (folder := tmp_path / degradation).mkdir()
        bank = _bank_of_clips(folder, degradation, stored)
        assert isinstance(bank, BankFile if stored else ReplayBank)
        turns[degradation] = {batch.motion.turn for batch in (bank.next(2, 2) for _ in range(40)) if batch.motion}
    assert turns['blur'] == {0} and turns['bicubic'] == set(range(8))
