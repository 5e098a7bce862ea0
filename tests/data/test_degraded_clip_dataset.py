"""Clips from folders of frames: LR as the protocol makes it, samples that fit, flaws that are named."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from vsrkd_plugin.data.degraded_clip_dataset import DegradedClipDataset
from vsrkd_plugin.errors import UserError
from vsrkd_plugin.ops.blur import blur_subsample
from vsrkd_plugin.ops.resize import bicubic_resize


def write_clip(folder: Path, numbers: list[int], height: int = 34, width: int = 41) -> np.ndarray:
    """Frames of smooth colours, RGB `(t, h, w, 3)`."""
    folder.mkdir(parents=True)
    rng, frames = np.random.default_rng(len(numbers)), []
    for number in numbers:
        grid = rng.uniform(0, 255, (4, 5, 3)).astype(np.float32)
        frames.append(cv2.resize(grid, (width, height)).round().clip(0, 255).astype(np.uint8))
        cv2.imwrite(str(folder / f'{number:08d}.png'), frames[-1][..., ::-1])
    return np.stack(frames)


def dataset(root: Path, **settings) -> DegradedClipDataset:
    return DegradedClipDataset({'name': 'clips', 'phase': 'val', 'dataroot_gt': str(root), 'scale': 4, **settings})


def test_lr_is_that_of_the_protocol(tmp_path: Path) -> None:
    frames = write_clip(tmp_path / 'a', [0, 1, 2])[:, :32, :40]
    sample = dataset(tmp_path, degradation='blur')[0]
    expected = gaussian_filter(frames.astype(np.float64), (0, 1.5, 1.5, 0), truncate=4)[:, ::4, ::4].round() / 255
    assert sample['folder'] == 'a' and sample['scale'] == 4 and sample['lq'].shape == (3, 3, 8, 10)
    # fp32 may round a level that lies on the edge otherwise than fp64.
    difference = (sample['lq'] - torch.from_numpy(expected).float().permute(0, 3, 1, 2)).abs() * 255
    assert difference.max() < 1.01 and (difference > 0.5).float().mean() < 0.01
    assert torch.equal(sample['gt'], torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 255)
    bicubic = dataset(tmp_path)[0]
    torch.testing.assert_close(bicubic['lq'], bicubic_resize(bicubic['gt'], 0.25).clamp(0, 1), rtol=0, atol=0.51 / 255)


def test_clips_that_are_not_kept_give_the_same_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {}
    for name, length in (('a', 6), ('b', 4)):
        sizes[name] = write_clip(tmp_path / name, list(range(length)))[:, :32, :40].nbytes
    found = []
    for limit, kept in ((sizes['a'] + sizes['b'], 2), (sizes['a'], 1), (sizes['b'] - 1, 0)):
        monkeypatch.setattr('vsrkd_plugin.data.degraded_clip_dataset._KEPT_BYTES', limit)
        clips = dataset(tmp_path, phase='train', num_frame=3, gt_size=16, enlarge=5)
        torch.manual_seed(0)
        found.append([clips[index]['gt'] for index in range(10)])
        assert len(clips._kept) == kept and clips._kept.used <= limit
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


def test_validation_keeps_no_more_than_it_may(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ('a', 'b', 'c'):
        write_clip(tmp_path / name, [0, 1])
    one = 2 * 3 * (32 * 40 + 8 * 10)
    everything = [dataset(tmp_path)[index] for index in range(3)]
    monkeypatch.setattr('vsrkd_plugin.data.degraded_clip_dataset._KEPT_BYTES', 2 * one + 7)
    clips = dataset(tmp_path)
    for index in (0, 1, 2, 2, 1, 0):
        for key in ('lq', 'gt'):
            assert torch.equal(clips[index][key], everything[index][key])
    assert len(clips._kept) == 2 and clips._kept.used == 2 * one
    for file in (tmp_path / 'a').iterdir():
        file.unlink()
    assert torch.equal(clips[0]['gt'], everything[0]['gt'])  # still from memory


@pytest.mark.parametrize('stray', ['preview_1.jpg', '.@__thumb/00000000.png', '__MACOSX/00000000.png', 'a/._0.png'])
def test_what_is_no_data_changes_nothing(tmp_path: Path, stray: str) -> None:
    for name in ('a', 'b'):
        write_clip(tmp_path / 'clips' / name, [0, 1, 2])
    expected = list(dataset(tmp_path / 'clips'))
    image = (tmp_path / 'clips' / 'a' / '00000000.png').read_bytes()
    file = tmp_path / 'clips' / stray
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(image)
    found = list(dataset(tmp_path / 'clips'))
    assert [clip['folder'] for clip in found] == ['a', 'b']
    for clip, other in zip(found, expected, strict=True):
        assert torch.equal(clip['lq'], other['lq']) and torch.equal(clip['gt'], other['gt'])


def test_samples_of_a_training(tmp_path: Path) -> None:
    write_clip(tmp_path / 'a', list(range(5, 11)))
    write_clip(tmp_path / 'b', list(range(4)))
    torch.manual_seed(0)
    clips = dataset(tmp_path, phase='train', num_frame=3, gt_size=16, enlarge=10)
    assert len(clips) == 20
    for index in range(20):
        sample = clips[index]
        assert sample['lq'].shape == (3, 3, 4, 4) and sample['gt'].shape == (3, 3, 16, 16)
        # The two still belong together: far nearer than by chance.
        assert (bicubic_resize(sample['gt'], 0.25) - sample['lq']).abs().mean() < 0.03


def test_turned_samples_keep_the_phase_of_the_degradation(tmp_path: Path) -> None:
    """Every scale-th pixel from 0 is kept, also of a sample that was flipped."""
    write_clip(tmp_path / 'a', [0, 1], height=90, width=96)
    torch.manual_seed(1)
    clips = dataset(tmp_path, phase='train', num_frame=1, gt_size=32, degradation='blur', enlarge=16)
    for index in range(16):
        sample = clips[index]
        inner = (..., slice(2, -2), slice(2, -2))
        expected = blur_subsample(sample['gt'], 4, 1.5)
        torch.testing.assert_close(sample['lq'][inner], expected[inner], rtol=0, atol=0.51 / 255)


def test_one_clip_and_some_clips(tmp_path: Path) -> None:
    write_clip(tmp_path / 'a', [3, 4])
    write_clip(tmp_path / 'b', [0, 1])
    assert len(dataset(tmp_path)) == 2 and len(dataset(tmp_path / 'a')) == 1
    assert dataset(tmp_path, clips=['b'])[0]['folder'] == 'b'
    with pytest.raises(UserError, match='has no clips c; it has a, b'):
        dataset(tmp_path, clips=['c'])


def test_flaws_are_named(tmp_path: Path) -> None:
    write_clip(tmp_path / 'gaps', [0, 1, 4, 6])
    with pytest.raises(UserError, match=r'gaps: frames 0 to 6, but 2, 3, 5 missing'):
        dataset(tmp_path / 'gaps')
    for number in (2, 3, 5):
        (tmp_path / 'gaps' / f'{number:08d}.png').write_bytes((tmp_path / 'gaps' / '00000000.png').read_bytes())
    write_clip(tmp_path / 'sizes', [0, 1])
    cv2.imwrite(str(tmp_path / 'sizes' / '00000002.png'), np.zeros((34, 40, 3), np.uint8))
    with pytest.raises(UserError, match=r'sizes: frame 00000002\.png is 40x34, the first one 41x34'):
        dataset(tmp_path / 'sizes').check()
    with pytest.raises(UserError, match='sizes: has 3 frames, fewer than num_frame 5'):
        dataset(tmp_path / 'sizes', num_frame=5)
    with pytest.raises(UserError, match='smaller than the 64 pixels needed'):
        dataset(tmp_path / 'gaps', phase='train', gt_size=64).check()
    with pytest.raises(UserError, match='gt_size must be a multiple of the scale 4, got 18'):
        dataset(tmp_path / 'sizes', phase='train', gt_size=18)
    with pytest.raises(UserError, match='degradation must be one of bicubic, blur'):
        dataset(tmp_path / 'sizes', degradation='jpeg')
    with pytest.raises(UserError, match='no folder'):
        dataset(tmp_path / 'nothing')
    (tmp_path / 'empty').mkdir()
    with pytest.raises(UserError, match='holds neither frames nor folders'):
        dataset(tmp_path / 'empty')
    (tmp_path / 'sizes' / 'title.png').write_bytes((tmp_path / 'sizes' / '00000000.png').read_bytes())
    with pytest.raises(UserError, match=r'frame title\.png has no number'):
        dataset(tmp_path / 'sizes')


def test_the_layout_of_vimeo_is_read(tmp_path: Path) -> None:
    """`00001/0001/im1.png`: clips of the same number have names of their own; a clip's other folders are no clips."""
    for clip in ('00001/0001', '00001/0002', '00002/0001'):
        write_clip(tmp_path / clip, list(range(1, 8)))
    found = dataset(tmp_path, num_frame=7)
    assert [found[index]['folder'] for index in range(len(found))] == ['00001/0001', '00001/0002', '00002/0001']
    assert dataset(tmp_path, num_frame=7, clips=['00002/0001'])[0]['folder'] == '0001'
    write_clip(tmp_path / 'other' / 'masks', list(range(1, 8)))
    assert len(dataset(tmp_path, num_frame=7)) == 3
