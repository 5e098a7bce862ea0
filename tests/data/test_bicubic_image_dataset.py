"""Pairs against BasicSR's own functions; patches that belong together; errors."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from basicsr.utils.color_util import bgr2ycbcr
from basicsr.utils.lmdb_util import make_lmdb_from_imgs
from basicsr.utils.matlab_functions import imresize
from basicsr.utils.registry import DATASET_REGISTRY

from vsrkd_plugin.data import bicubic_image_dataset
from vsrkd_plugin.data.bicubic_image_dataset import BicubicImageDataset
from vsrkd_plugin.errors import UserError


def _dataset(root: Any, phase: str = 'val', **options: Any) -> BicubicImageDataset:
    root = [str(one) for one in root] if isinstance(root, list) else str(root)
    return BicubicImageDataset({'name': 'set', 'phase': phase, 'dataroot_gt': root, 'scale': 2, **options})


def _cropped(file: Path, scale: int) -> np.ndarray:
    """BGR fp32 in [0, 1], cropped to a multiple of the scale."""
    image = cv2.imread(str(file)).astype(np.float32) / 255
    return image[: image.shape[0] // scale * scale, : image.shape[1] // scale * scale]


def test_registered() -> None:
    assert DATASET_REGISTRY.get('BicubicImageDataset') is BicubicImageDataset


@pytest.mark.parametrize('scale', [2, 3, 4])
def test_rgb_pairs_equal_basicsr(image_folder: Path, scale: int) -> None:
    dataset = _dataset(image_folder, scale=scale)
    assert len(dataset) == 3
    for index in range(3):
        sample = dataset[index]
        rgb = np.ascontiguousarray(_cropped(image_folder / f'{index}.png', scale)[:, :, ::-1].transpose(2, 0, 1))
        assert np.array_equal(sample['gt'].numpy(), rgb)
        torch.testing.assert_close(sample['lq'], imresize(torch.from_numpy(rgb), 1 / scale), rtol=0, atol=1e-5)
        assert sample['scale'] == scale
        assert Path(sample['lq_path']).stem == str(index)


@pytest.mark.parametrize('scale', [2, 3, 4])
def test_y_pairs_equal_basicsr(image_folder: Path, scale: int) -> None:
    sample = _dataset(image_folder, scale=scale, color='y')[2]
    y = torch.from_numpy(bgr2ycbcr(_cropped(image_folder / '2.png', scale), y_only=True))[None]
    torch.testing.assert_close(sample['gt'], y, rtol=0, atol=1e-6)
    torch.testing.assert_close(sample['lq'], imresize(y, 1 / scale), rtol=0, atol=1e-5)


def test_interpolate_enlarges_lr(image_folder: Path) -> None:
    plain, enlarged = (_dataset(image_folder, scale=3, interpolate=value)[0] for value in (False, True))
    assert torch.equal(plain['gt'], enlarged['gt'])
    assert enlarged['lq'].shape == enlarged['gt'].shape
    torch.testing.assert_close(enlarged['lq'], imresize(plain['lq'].clone(), 3), rtol=0, atol=1e-5)


def test_lmdb_equals_folder(image_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / 'images.lmdb'
    make_lmdb_from_imgs(str(image_folder), str(path), ['0.png', '1.png', '2.png'], ['0', '1', '2'])
    both = _dataset([image_folder, path], color='y')
    assert len(both) == 6
    for index in range(3):
        assert torch.equal(both[index]['gt'], both[index + 3]['gt'])
        assert torch.equal(both[index]['lq'], both[index + 3]['lq'])


def test_bundled_pictures() -> None:
    sample = _dataset('skimage', scale=4, color='y')[1]
    assert sample['gt'].shape == (1, 512, 512)
    assert sample['lq'].shape == (1, 128, 128)


def test_grey_image_has_three_equal_channels_in_rgb_and_its_luma_in_y(tmp_path: Path) -> None:
    grey = np.random.default_rng(0).integers(0, 256, (8, 12), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / 'grey.png'), grey)
    rgb = _dataset(tmp_path)[0]['gt']
    assert rgb.shape == (3, 8, 12)
    assert torch.equal(rgb[0], rgb[2]) and torch.equal(rgb[0], torch.from_numpy(grey).float() / 255)
    expected = (16 + 219 * torch.from_numpy(grey).float() / 255) / 255
    torch.testing.assert_close(_dataset(tmp_path, color='y')[0]['gt'][0], expected, rtol=0, atol=1e-6)


def test_patches_are_aligned_and_everywhere(image_folder: Path) -> None:
    dataset = _dataset(image_folder, 'train', gt_size=12, scale=3, use_hflip=False, use_rot=False, color='y', enlarge=4)
    assert len(dataset) == 12
    lq, gt = dataset.pair(0, 3)
    torch.manual_seed(0)
    places = set()
    for _ in range(40):
        sample = dataset[3]  # the first image again
        assert sample['lq'].shape == (1, 4, 4) and sample['gt'].shape == (1, 12, 12)
        windows = lq[0].unfold(0, 4, 1).unfold(1, 4, 1)
        found = (windows == sample['lq'][0]).all(-1).all(-1).nonzero().tolist()
        assert len(found) == 1
        top, left = found[0]
        assert torch.equal(sample['gt'], gt[:, 3 * top : 3 * top + 12, 3 * left : 3 * left + 12])
        places.add((top, left))
    assert len(places) > 25
    assert max(top for top, _ in places) > lq.shape[1] - 8  # up to the border


def test_flips_and_turns_take_lr_and_hr_alike(image_folder: Path) -> None:
    # Patches as large as the square image: only the eight symmetries remain.
    square = cv2.imread(str(image_folder / '1.png'))[:48, :48]
    for file in image_folder.iterdir():
        file.unlink()
    cv2.imwrite(str(image_folder / 'square.png'), square)
    dataset = _dataset(image_folder, 'train', gt_size=48, scale=2)
    torch.manual_seed(0)
    seen = set()
    for _ in range(60):
        sample = dataset[0]
        # MATLAB's bicubic is symmetric, so that LR made of the turned HR is the turned LR.
        expected = bicubic_image_dataset.bicubic_resize(sample['gt'], 1 / 2)
        torch.testing.assert_close(sample['lq'], expected, rtol=0, atol=1e-5)
        seen.add(sample['gt'].numpy().tobytes())
    assert len(seen) == 8


def test_several_scales_are_drawn_alike(image_folder: Path) -> None:
    dataset = _dataset(image_folder, 'train', gt_size=24, scale=[2, 3, 4], interpolate=True, color='y')
    torch.manual_seed(0)
    samples = [dataset[index % 3] for index in range(90)]
    counts = [sum(sample['scale'] == scale for sample in samples) for scale in (2, 3, 4)]
    assert min(counts) > 18
    assert all(sample['lq'].shape == sample['gt'].shape == (1, 24, 24) for sample in samples)


def test_each_image_is_decoded_once(image_folder: Path) -> None:
    dataset = _dataset(image_folder)
    first = dataset[0]
    for file in image_folder.iterdir():
        file.unlink()
    assert torch.equal(dataset[0]['lq'], first['lq'])


def test_pairs_that_are_not_kept_are_the_same(image_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    everything = _dataset(image_folder)
    expected = [everything[index] for index in range(3)]
    first = 4 * sum(expected[0][key].numel() for key in ('lq', 'gt'))
    monkeypatch.setattr(bicubic_image_dataset, '_KEPT_BYTES', first + 7)
    dataset = _dataset(image_folder)
    for index in (0, 1, 2, 1, 0):
        for key in ('lq', 'gt'):
            assert torch.equal(dataset[index][key], expected[index][key])
    assert len(dataset._kept) == 1 and dataset._kept.used == first


def test_corrupt_image_is_told_by_check_and_on_reading(image_folder: Path) -> None:
    content = (image_folder / '1.png').read_bytes()
    (image_folder / '1.png').write_bytes(content[: len(content) // 2])
    dataset = _dataset(image_folder)
    for use in (dataset.check, lambda: dataset[1]):
        with pytest.raises(UserError, match=r'1\.png: not a readable image'):
            use()


def test_image_smaller_than_a_patch_is_told_by_check_and_on_reading(
    tmp_path: Path, make_images: Callable[..., Path]
) -> None:
    dataset = _dataset(make_images(tmp_path, ((60, 60), (60, 40))), 'train', gt_size=48)
    for use in (dataset.check, lambda: dataset[1]):
        with pytest.raises(UserError, match='1: is 40x60, smaller than the 48 pixels needed'):
            use()
    dataset[0]
    with pytest.raises(UserError, match='smaller than the 4 pixels'):
        _dataset(make_images(tmp_path / 'tiny', ((3, 9),)), scale=4)[0]


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'color': 'grey'}, "color must be y or rgb, got 'grey'"),
        ({'scale': [2, 3]}, 'validation takes one scale'),
        ({'phase': 'train', 'gt_size': 10, 'scale': 4}, 'gt_size 10 is no multiple of every scale'),
        ({'phase': 'train', 'gt_size': 12, 'scale': [2, 3]}, 'need interpolate'),
        ({'phase': 'train'}, 'gt_size'),
    ],
)
def test_impossible_options(image_folder: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        _dataset(image_folder, **options)


def test_missing_and_empty_folders_name_the_data_set(tmp_path: Path) -> None:
    with pytest.raises(UserError, match='datasets, set, dataroot_gt: no folder'):
        _dataset(tmp_path / 'nowhere')
    with pytest.raises(UserError, match=r'datasets, set, dataroot_gt: .*holds no image'):
        _dataset(tmp_path)


def test_images_of_one_name_in_two_folders_have_names_of_their_own(tmp_path: Path, make_images: Any) -> None:
    """Results are saved by these names."""
    folders = [make_images(tmp_path / 'a' / 'HR'), make_images(tmp_path / 'b' / 'HR'), make_images(tmp_path / 'c')]
    dataset = BicubicImageDataset({'name': 'x', 'phase': 'val', 'dataroot_gt': [str(f) for f in folders], 'scale': 2})
    names = [dataset[index]['lq_path'] for index in range(len(dataset))]
    assert len(set(names)) == len(names) == sum(len(list(folder.iterdir())) for folder in folders)
