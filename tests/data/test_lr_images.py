"""Users' own LR images: what is found in folders, what is held of it."""

import logging
from collections.abc import Callable
from pathlib import Path

import cv2
import pytest
import torch

from vsrkd_plugin.data import lr_images
from vsrkd_plugin.data.lr_images import read_own_lr_images
from vsrkd_plugin.errors import UserError
from vsrkd_plugin.ops.colour import rgb_to_y

_SIZES = {2: 24, 4: 12}


@pytest.fixture
def folder(tmp_path: Path, make_images: Callable[..., Path]) -> Path:
    """Images of any size, some in folders, with what else people keep beside them."""
    top = make_images(tmp_path / 'mine', ((48, 60), (24, 90)))
    make_images(top / 'more' / 'deeper', ((33, 31),))
    grey = cv2.imread(str(top / '0.png'), cv2.IMREAD_GRAYSCALE)[:40, :40]
    cv2.imwrite(str(top / 'more' / 'grey.jpg'), grey)
    (top / 'notes.txt').write_text('none')
    (top / 'more' / 'round').symlink_to(top, target_is_directory=True)
    return top


def test_every_image_of_a_folder_and_of_those_in_it(folder: Path) -> None:
    found = read_own_lr_images(str(folder), _SIZES, 3, seed=1)
    assert sorted(tuple(image.shape) for image in found) == [(3, 24, 90), (3, 33, 31), (3, 40, 40), (3, 48, 60)]
    picture = torch.from_numpy(cv2.imread(str(folder / '0.png'))[:, :, ::-1].copy()).permute(2, 0, 1)
    assert any(torch.equal(image, picture) for image in found)
    (grey,) = (image for image in found if image.shape[1:] == (40, 40))
    assert torch.equal(grey[0], grey[2])


def test_y(folder: Path) -> None:
    picture = torch.from_numpy(cv2.imread(str(folder / '0.png'))[:, :, ::-1].copy()).permute(2, 0, 1)
    found = read_own_lr_images([str(folder)], _SIZES, 1, seed=1)[0]
    assert found.dtype == torch.uint8
    assert float((found.float() / 255 - rgb_to_y(picture[None].float() / 255)[0]).abs().max()) < 0.51 / 255


def test_what_cannot_be_used_is_left_out_and_told_once(
    folder: Path, make_images: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    make_images(folder / 'tiny', ((8, 80), (11, 11), (90, 9)))
    (folder / 'broken.png').write_bytes(b'no image')
    with caplog.at_level(logging.WARNING, 'basicsr'):
        assert len(read_own_lr_images(str(folder), _SIZES, 3, seed=1)) == 4
    (warning,) = caplog.messages
    assert 'of 8 images are left out: 3 smaller than a patch, 12x12 (' in warning
    assert '/tiny/0, …); 1 not readable (' in warning and '/mine/broken)' in warning


def test_errors_name_the_folder_and_what_was_found(folder: Path, tmp_path: Path) -> None:
    def fails(roots: str | list[str], sizes: dict[int, int], message: str) -> None:
        with pytest.raises(UserError, match=message):
            read_own_lr_images(roots, sizes, 3, seed=1)

    mine = str(folder)
    fails(mine, {2: 100}, 'mine: no image is as large as .* of x2, 100x100; found 4; the largest 60x48; 4 smaller than')
    fails(mine, {2: 49, 4: 20}, 'of x2, 49x49; found 4; the largest 60x48$')
    fails([mine, str(tmp_path / 'none')], _SIZES, 'dataroot_lq: no folder .*none: expected a folder of LR images$')
    (empty := tmp_path / 'empty' / 'inner').mkdir(parents=True)
    fails(str(empty.parent), _SIZES, 'folder .*empty holds no image .*, nor do the folders in it')
    (empty / 'broken.png').write_bytes(b'no image')
    fails(str(empty.parent), _SIZES, 'found 1; 1 not readable .*broken')


def test_of_large_collections_windows_are_held(tmp_path: Path, make_images: Callable[..., Path]) -> None:
    """Of every image its share; elsewhere with another seed; never less than a patch."""
    top = make_images(tmp_path / 'large', ((100, 160), (200, 120), (90, 90)))
    budget = 3 * 3 * 60 * 60
    found = read_own_lr_images(str(top), _SIZES, 3, seed=1, held_bytes=budget)
    assert 0.9 * budget < sum(image.numel() for image in found) <= budget
    assert [image.shape[2] > image.shape[1] for image in found] == [True, False, False]
    for image, file in zip(found, sorted(top.iterdir()), strict=True):
        whole = torch.from_numpy(cv2.imread(str(file))[:, :, ::-1].copy()).permute(2, 0, 1)
        windows = whole.unfold(1, image.shape[1], 1).unfold(2, image.shape[2], 1)
        assert (windows.permute(1, 2, 0, 3, 4) == image).flatten(2).all(2).any()
        assert image.untyped_storage().nbytes() == image.numel()  # not a view of the whole
    again, other = (read_own_lr_images(str(top), _SIZES, 3, seed=seed, held_bytes=budget) for seed in (1, 2))
    assert all(torch.equal(a, b) for a, b in zip(found, again, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(found, other, strict=True))
    for image in read_own_lr_images(str(top), _SIZES, 3, seed=1, held_bytes=1):
        assert image.shape == (3, 24, 24)


def test_of_many_images_some_are_chosen(
    tmp_path: Path, make_images: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(lr_images, 'MOST_IMAGES', 3)
    top = make_images(tmp_path / 'many', tuple((24 + index, 30) for index in range(8)))
    with caplog.at_level(logging.INFO, 'basicsr'):
        chosen = [{image.shape[1] for image in read_own_lr_images(str(top), _SIZES, 3, seed=seed)} for seed in range(4)]
    assert '3 of 8 images are used, chosen at random' in caplog.text
    assert all(len(heights) == 3 for heights in chosen) and len(set.union(*chosen)) > 4
