"""Source and target without relation: what a sample holds, and what it depends on."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from basicsr.utils.lmdb_util import make_lmdb_from_imgs

from vsrkd_plugin.data.unpaired_lr_dataset import UnpairedLRDataset
from vsrkd_plugin.errors import UserError
from vsrkd_plugin.ops.resize import bicubic_resize


@pytest.fixture
def options(tmp_path: Path, make_images: Callable[..., Path]) -> dict[str, Any]:
    source = make_images(tmp_path / 'source', ((64, 60), (50, 72)))
    target = make_images(tmp_path / 'target' / 'inside', ((30, 20), (17, 40), (21, 22)))
    return {
        'name': 'unpaired', 'phase': 'train', 'scale': 2, 'gt_size': 16, 'manual_seed': 3,
        'dataroot_gt': str(source), 'dataroot_lq': str(target.parent),
    }  # fmt: skip


def test_a_sample(options: dict[str, Any]) -> None:
    sample = UnpairedLRDataset(options)[5]
    assert {key: tuple(sample[key].shape) for key in ('lq', 'gt', 'lq_t')} == {
        'lq': (3, 8, 8), 'gt': (3, 16, 16), 'lq_t': (3, 8, 8),
    }  # fmt: skip
    torch.testing.assert_close(sample['lq'], bicubic_resize(sample['gt'][None], 1 / 2)[0])


def test_patches_are_of_their_pictures(options: dict[str, Any]) -> None:
    """Every patch is found in a picture of its own folder, in one of the eight orientations."""
    dataset = UnpairedLRDataset(options)
    for key, folder in (('gt', options['dataroot_gt']), ('lq_t', f'{options["dataroot_lq"]}/inside')):
        pictures = [cv2.imread(str(file))[:, :, ::-1] for file in sorted(Path(folder).iterdir())]
        seen = set()
        for index in range(24):
            patch = (dataset[index][key] * 255).round().byte().permute(1, 2, 0).numpy()
            turned = [np.rot90(p, k) for p in (patch, patch[:, ::-1]) for k in range(4)]
            found = [n for n, picture in enumerate(pictures) if any(_is_in(t, picture) for t in turned)]
            assert len(found) == 1
            seen.add(found[0])
        assert seen == set(range(len(pictures)))


def _is_in(patch: np.ndarray, picture: np.ndarray) -> bool:
    windows = np.lib.stride_tricks.sliding_window_view(picture, patch.shape)[:, :, 0]
    return bool((windows == patch).all((2, 3, 4)).any())


def test_a_sample_depends_on_seed_and_number_alone(options: dict[str, Any]) -> None:
    degrade = {'clean_prob': 0, 'noise_range': [5, 10], 'jpeg_range': [60, 80]}
    one, other = (UnpairedLRDataset({**options, 'degrade': degrade}) for _ in range(2))
    torch.manual_seed(1)
    wanted = [one[index] for index in range(6)]
    torch.manual_seed(2)
    for index in reversed(range(6)):
        found = other[index]
        assert all(torch.equal(found[key], wanted[index][key]) for key in ('lq', 'gt', 'lq_t'))
    assert not torch.equal(UnpairedLRDataset({**options, 'manual_seed': 4})[0]['gt'], wanted[0]['gt'])


def test_the_source_is_degraded_and_nothing_else(options: dict[str, Any]) -> None:
    clean = UnpairedLRDataset(options)
    noisy = UnpairedLRDataset({**options, 'degrade': {'clean_prob': 0, 'noise_range': [10, 10]}})
    differences = torch.stack([noisy[index]['lq'] - clean[index]['lq'] for index in range(16)])
    assert 7 < float(differences.std() * 255) < 12  # clipped at black and white
    assert all(torch.equal(noisy[index][key], clean[index][key]) for index in range(4) for key in ('gt', 'lq_t'))


def test_made_sources(options: dict[str, Any]) -> None:
    made = UnpairedLRDataset({**options, 'dataroot_gt': 'procedural', 'num_images': 3})
    assert made[0]['gt'].shape == (3, 16, 16) and float(torch.stack([made[i]['gt'] for i in range(8)]).std()) > 0.02
    grey = UnpairedLRDataset({**options, 'dataroot_gt': 'procedural', 'num_images': 3, 'color': 'y'})
    assert grey[1]['lq'].shape == grey[1]['lq_t'].shape == (1, 8, 8)


def test_lmdb(options: dict[str, Any], tmp_path: Path) -> None:
    folder, lmdb = f'{options["dataroot_lq"]}/inside', tmp_path / 'target.lmdb'
    make_lmdb_from_imgs(folder, str(lmdb), ['0.png', '1.png', '2.png'], ['0', '1', '2'])
    one, other = (UnpairedLRDataset({**options, 'dataroot_lq': root}) for root in (folder, str(lmdb)))
    assert all(torch.equal(one[index]['lq_t'], other[index]['lq_t']) for index in range(4))


def test_the_same_folder_twice(options: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r'dataroot_lq: .*source is dataroot_gt too'):
        UnpairedLRDataset({**options, 'dataroot_lq': options['dataroot_gt']})


def test_grey_targets(options: dict[str, Any]) -> None:
    for file in Path(options['dataroot_lq'], 'inside').iterdir():
        cv2.imwrite(str(file), cv2.imread(str(file), cv2.IMREAD_GRAYSCALE))
    with pytest.raises(UserError, match='holds grey images; expected colours, or color: y'):
        UnpairedLRDataset(options)
    assert UnpairedLRDataset({**options, 'color': 'y'})[0]['lq_t'].shape == (1, 8, 8)


def test_targets_as_large_as_hr(options: dict[str, Any], caplog: pytest.LogCaptureFixture, make_images: Any) -> None:
    make_images(Path(options['dataroot_lq'], 'inside'), ((90, 90), (90, 90), (90, 90)))
    with caplog.at_level(logging.WARNING):
        UnpairedLRDataset(options)
    assert 'as large as those of dataroot_gt (90 and' in caplog.text


@pytest.mark.parametrize(('key', 'least'), [('dataroot_gt', 16), ('dataroot_lq', 8)])
def test_small_images(options: dict[str, Any], key: str, least: int, tmp_path: Path, make_images: Any) -> None:
    folder = make_images(tmp_path / 'small', ((40, 7),))
    with pytest.raises(UserError, match=f'0: is 7x40, smaller than the {least} pixels'):
        UnpairedLRDataset({**options, key: str(folder)}).check()


def test_an_empty_target(options: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / 'empty').mkdir()
    with pytest.raises(UserError, match=r'dataroot_lq: folder .*empty holds no image'):
        UnpairedLRDataset({**options, 'dataroot_lq': str(tmp_path / 'empty')})
