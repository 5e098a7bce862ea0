"""Clips that are made: always the same, in motion, and in training a share as large as asked for."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from vsrkd_plugin.data.degraded_clip_dataset import DegradedClipDataset
from vsrkd_plugin.data.images import BUNDLED_PICTURES
from vsrkd_plugin.data.invented_clips import Inventor, bundled_clips
from vsrkd_plugin.errors import UserError
from vsrkd_plugin.ops.blur import blur_subsample

BUNDLED = {'name': 'moving', 'phase': 'val', 'dataroot_gt': 'skimage', 'scale': 4, 'degradation': 'blur'}


def test_photographs_move() -> None:
    dataset = DegradedClipDataset(BUNDLED)
    assert len(dataset) == len(BUNDLED_PICTURES)
    samples = {sample['folder']: sample for sample in dataset}
    assert set(samples) == {Path(name).stem for name in BUNDLED_PICTURES}
    for sample in samples.values():
        assert sample['gt'].shape == (10, 3, 256, 256) and sample['lq'].shape == (10, 3, 64, 64)
        assert 0.001 < sample['gt'].diff(dim=0).abs().mean() < 0.2
        expected = blur_subsample(sample['gt'] * 255, 4, 1.5).round() / 255
        torch.testing.assert_close(sample['lq'], expected, rtol=0, atol=1.01 / 255)
    again = np.stack([read() for _, read in bundled_clips()[0][1]])
    first = samples['astronaut']['gt']
    assert np.array_equal(again[:, :, :, ::-1].transpose(0, 3, 1, 2), (first * 255).round().byte().numpy())
    assert len(DegradedClipDataset({**BUNDLED, 'clips': ['coffee']})) == 1
    with pytest.raises(UserError, match='skimage has no clips tea; it has astronaut'):
        DegradedClipDataset({**BUNDLED, 'clips': ['tea']})


def test_an_invented_clip_is_its_seeds() -> None:
    inventor = Inventor(3, 32, 4, 'blur', 1.5, num_images=6)
    lq, gt = inventor.clip(5)
    assert lq.shape == (3, 3, 8, 8) and gt.shape == (3, 3, 32, 32) and gt.dtype == torch.uint8
    other, same = inventor.clip(6), inventor.clip(5)
    assert torch.equal(same[1], gt) and not torch.equal(other[1], gt)
    reduced = blur_subsample(gt.float(), 4, 1.5)
    assert (reduced - lq.float()).abs().max() < 1.6  # HR was rounded in between


def test_invented_clips_are_as_fast_as_asked_for_and_sharp(tmp_path: Path) -> None:
    (tmp_path / 'a').mkdir()
    for number in range(2):
        cv2.imwrite(str(tmp_path / 'a' / f'{number}.png'), np.full((40, 40, 3), 40, np.uint8))
    found = {}
    for speed in ([1.0, 3.0], [0.05, 0.1]):
        options = {'name': 'mixed', 'phase': 'train', 'dataroot_gt': str(tmp_path), 'scale': 2, 'gt_size': 32,
                   'num_frame': 2, 'enlarge': 40, 'invented': 0.999, 'invented_speed': speed}  # fmt: skip
        torch.manual_seed(0)
        dataset = DegradedClipDataset(options)
        found[speed[0]] = sum(float(dataset[index]['gt'].diff(dim=0).abs().mean()) for index in range(40))
        assert dataset._inventor._source.interpolation == 'bicubic'
    assert found[0.05] < 0.4 * found[1.0]


def test_the_share_of_invented_samples(tmp_path: Path) -> None:
    (tmp_path / 'a').mkdir()
    for number in range(4):
        cv2.imwrite(str(tmp_path / 'a' / f'{number}.png'), np.full((40, 40, 3), 40 * number, np.uint8))
    options = {'name': 'mixed', 'phase': 'train', 'dataroot_gt': str(tmp_path), 'scale': 2, 'gt_size': 16,
               'num_frame': 2, 'enlarge': 200, 'invented': 0.25}  # fmt: skip
    torch.manual_seed(0)
    dataset = DegradedClipDataset(options)
    dataset._inventor = Inventor(2, 16, 2, 'bicubic', 1.5, num_images=4)
    names = [dataset[index]['folder'] for index in range(200)]
    assert set(names) == {'a', 'invented'} and 30 < names.count('invented') < 72
    sample = next(sample for sample in (dataset[i] for i in range(50)) if sample['folder'] == 'invented')
    assert sample['lq'].shape == (2, 3, 8, 8) and sample['gt'].std() > 0.01
