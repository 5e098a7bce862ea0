"""The sources that options ask for."""

from pathlib import Path

import pytest
import torch
from tiny_training import advance, build, tiny_options

from vsrkd_plugin.errors import UserError
from vsrkd_plugin.models.sources import read_lr_images
from vsrkd_plugin.ops.resize import bicubic_resize
from vsrkd_plugin.synthesis.bank.memory import ReplayBank


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
