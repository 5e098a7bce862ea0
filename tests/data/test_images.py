"""Where images come from, and the one clear error for each flaw."""

from collections.abc import Callable
from pathlib import Path

import cv2
import lmdb
import numpy as np
import pytest
from basicsr.utils.lmdb_util import make_lmdb_from_imgs

from vsrkd_plugin.data.images import BUNDLED_PICTURES, list_images
from vsrkd_plugin.errors import UserError

KEY = 'datasets, train, dataroot_gt'


@pytest.fixture
def image_lmdb(image_folder: Path, tmp_path: Path) -> Path:
    """The pictures of `image_folder` in an LMDB made by BasicSR."""
    path = tmp_path / 'images.lmdb'
    files = sorted(file.name for file in image_folder.iterdir())
    make_lmdb_from_imgs(str(image_folder), str(path), files, [Path(file).stem for file in files])
    return path


def test_folder(image_folder: Path) -> None:
    (image_folder / 'notes.txt').write_text('no image')
    entries = list_images(str(image_folder), KEY)
    assert [name for name, _ in entries] == ['0', '1', '2']
    for name, read in entries:
        image = read()
        assert image.dtype == np.uint8
        assert np.array_equal(image, cv2.imread(str(image_folder / f'{name}.png')))


def test_hidden_files_are_no_images(image_folder: Path) -> None:
    for name in ('._0.png', '.1.png', '.ipynb_checkpoints/0-checkpoint.png', '__MACOSX/0.png', 'Thumbs.db'):
        (image_folder / name).parent.mkdir(exist_ok=True)
        (image_folder / name).write_bytes((image_folder / '0.png').read_bytes())
    assert [name for name, _ in list_images(str(image_folder), KEY)] == ['0', '1', '2']


def test_lmdb_gives_what_the_folder_gives(image_folder: Path, image_lmdb: Path) -> None:
    entries = list_images(str(image_lmdb), KEY)
    for (name, read), (expected_name, expected) in zip(entries, list_images(str(image_folder), KEY), strict=True):
        assert name == expected_name
        assert np.array_equal(read(), expected())


def test_lmdb_keys_with_dots(image_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / 'dots.lmdb'
    make_lmdb_from_imgs(str(image_folder), str(path), ['0.png'], ['clip.v2/0001'])
    ((name, read),) = list_images(str(path), KEY)
    assert name == 'clip.v2/0001'
    assert np.array_equal(read(), cv2.imread(str(image_folder / '0.png')))


def test_bundled_pictures() -> None:
    entries = list_images('skimage', KEY)
    assert len(entries) == len(BUNDLED_PICTURES)
    for name, read in entries:
        image = read()
        assert image.shape[2] == 3 and min(image.shape[:2]) >= 256, name


def test_names_are_unique_where_stems_are_not(image_folder: Path) -> None:
    cv2.imwrite(str(image_folder / '1.bmp'), cv2.imread(str(image_folder / '0.png')))
    entries = dict(list_images(str(image_folder), KEY))
    assert sorted(entries) == ['0', '1_bmp', '1_png', '2']
    assert np.array_equal(entries['1_bmp'](), cv2.imread(str(image_folder / '0.png')))
    assert np.array_equal(entries['1_png'](), cv2.imread(str(image_folder / '1.png')))


def test_grey_alpha_and_16_bit_images_become_8_bit_bgr(tmp_path: Path) -> None:
    grey = np.arange(20, dtype=np.uint8).reshape(4, 5) * 10
    cv2.imwrite(str(tmp_path / 'grey.png'), grey)
    cv2.imwrite(str(tmp_path / 'alpha.png'), np.dstack([grey] * 3 + [np.full_like(grey, 9)]))
    cv2.imwrite(str(tmp_path / 'deep.png'), grey.astype(np.uint16) * 257)
    for name, read in list_images(str(tmp_path), KEY):
        image = read()
        assert image.dtype == np.uint8, name
        assert np.array_equal(image, np.dstack([grey] * 3)), name


def test_missing_folders(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f'{KEY}: no folder .*nowhere: expected a folder of HR images'):
        list_images(str(tmp_path / 'nowhere'), KEY)
    with pytest.raises(UserError, match=r'put the 5 HR images of Set5 .* there .*SelfExSR'):
        list_images(str(tmp_path / 'datasets' / 'Set5'), KEY)
    with pytest.raises(UserError, match=r'no meta_info\.txt'):
        list_images(str(tmp_path / 'nowhere.lmdb'), KEY)
    file = tmp_path / 'file.png'
    file.write_bytes(b'')
    with pytest.raises(UserError, match='no folder'):
        list_images(str(file), KEY)


def test_empty_folder(tmp_path: Path) -> None:
    (tmp_path / 'notes.txt').write_text('no image')
    with pytest.raises(UserError, match=f'{KEY}: folder .* holds no image'):
        list_images(str(tmp_path), KEY)


@pytest.mark.parametrize('damage', ['empty', 'truncated', 'text'])
@pytest.mark.parametrize('extension', ['.png', '.jpg', '.bmp'])
def test_corrupt_image(image_folder: Path, damage: str, extension: str, capfd: pytest.CaptureFixture) -> None:
    file = image_folder / f'broken{extension}'
    cv2.imwrite(str(file), cv2.imread(str(image_folder / '0.png')))
    content = file.read_bytes()
    file.write_bytes({'empty': b'', 'truncated': content[: len(content) // 2], 'text': b'not an image\n'}[damage])
    read = dict(list_images(str(image_folder), KEY))['broken']
    with pytest.raises(UserError, match=rf'broken\{extension}: not a readable image'):
        read()
    assert 'ERROR' not in capfd.readouterr().err  # OpenCV's own, beside our one line


def test_unreadable_file_is_named(image_folder: Path) -> None:
    entries = dict(list_images(str(image_folder), KEY))
    (image_folder / '1.png').unlink()
    with pytest.raises(UserError, match=r'1\.png: cannot be read'):
        entries['1']()


def test_lmdb_errors(image_lmdb: Path) -> None:
    meta = image_lmdb / 'meta_info.txt'
    meta.write_text(meta.read_text() + 'missing.png (48,60,3) 1\n')
    entries = dict(list_images(str(image_lmdb), KEY))
    with pytest.raises(UserError, match="has no key 'missing', which its meta_info"):
        entries['missing']()

    with lmdb.open(str(image_lmdb), map_size=1 << 24) as env, env.begin(write=True) as transaction:
        transaction.put(b'1', b'not an image')
    with pytest.raises(UserError, match=r'images\.lmdb:1: not a readable image'):
        entries['1']()

    (image_lmdb / 'data.mdb').write_bytes(b'garbage')
    with pytest.raises(UserError, match='cannot be read as an LMDB'):
        entries['0']()

    meta.write_text('\n')
    with pytest.raises(UserError, match='lists no image'):
        list_images(str(image_lmdb), KEY)


def test_a_reader_survives_a_fork(image_lmdb: Path, make_images: Callable[..., Path]) -> None:
    from torch.utils.data import DataLoader

    entries = list_images(str(image_lmdb), KEY)
    expected = [read() for _, read in entries]  # opened here first, then in the workers
    loader = DataLoader([0, 1, 2], batch_size=None, num_workers=2, collate_fn=_Fetch(entries))
    for image, reference in zip(loader, expected, strict=True):
        assert np.array_equal(np.asarray(image), reference)


class _Fetch:
    def __init__(self, entries: list) -> None:
        self.entries = entries

    def __call__(self, index: int) -> np.ndarray:
        return self.entries[index][1]()
