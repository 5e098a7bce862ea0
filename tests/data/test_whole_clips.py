"""Whole clips of BasicSR's own data sets for tests are those of ours."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from basicsr.data import build_dataset

from vsrkd_plugin.data.degraded_clip_dataset import DegradedClipDataset
from vsrkd_plugin.data.whole_clips import whole_clips
from vsrkd_plugin.errors import UserError
from vsrkd_plugin.registration import register


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name, frames in (('a', 3), ('b', 5)):
        for kind in ('gt', 'lq'):
            (tmp_path / kind / name).mkdir(parents=True)
        for number in range(frames):
            gt = rng.integers(0, 256, (16, 24, 3)).astype(np.uint8)
            cv2.imwrite(str(tmp_path / 'gt' / name / f'{number:08d}.png'), gt)
        options = {'name': 'x', 'phase': 'val', 'dataroot_gt': str(tmp_path / 'gt' / name), 'scale': 2}
        for number, frame in enumerate(DegradedClipDataset(options)[0]['lq']):
            image = (frame * 255).round().byte().permute(1, 2, 0).numpy()[:, :, ::-1]
            cv2.imwrite(str(tmp_path / 'lq' / name / f'{number:08d}.png'), image)
    return tmp_path


@pytest.mark.parametrize('kind', ['VideoTestDataset', 'VideoRecurrentTestDataset'])
@pytest.mark.parametrize('cached', [False, True])
def test_stock_data_sets_give_the_same(folders: Path, kind: str, cached: bool) -> None:
    register()
    stock = build_dataset({
        'name': 'Vid4', 'type': kind, 'phase': 'val', 'dataroot_gt': str(folders / 'gt'), 'num_frame': 3,
        'dataroot_lq': str(folders / 'lq'), 'cache_data': cached, 'io_backend': {'type': 'disk'},
        'padding': 'reflection',
    })  # fmt: skip
    ours = DegradedClipDataset({'name': 'x', 'phase': 'val', 'dataroot_gt': str(folders / 'gt'), 'scale': 2})
    found, expected = list(whole_clips(stock)), list(whole_clips(ours))
    assert [clip['folder'] for clip in found] == ['a', 'b'] == [clip['folder'] for clip in expected]
    for clip, other in zip(found, expected, strict=True):
        assert clip['scale'] == other['scale'] == 2
        for key in ('lq', 'gt'):
            torch.testing.assert_close(clip[key], other[key], rtol=0, atol=1e-6)


def test_other_stock_data_sets_are_refused() -> None:
    kind = type('VideoTestDUFDataset', (), {'opt': {'name': 'Vid4'}, '__module__': 'basicsr.data.video_test_dataset'})
    with pytest.raises(UserError, match='Vid4: VideoTestDUFDataset gives no whole clips; expected Degraded'):
        next(whole_clips(kind()))
