"""Picture files made of strips are read by others as what they were made of."""

import io
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from vsrkd_plugin.deploy.picture_writing import FORMATS, Output, write_picture
from vsrkd_plugin.deploy.pictures import read_picture
from vsrkd_plugin.deploy.png_stream import write_png
from vsrkd_plugin.errors import UserError

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()
HEIGHT, WIDTH = 150, 37


def smooth(channels: int, dtype: np.dtype) -> np.ndarray:
    """A picture that JPEG keeps well: `(HEIGHT, WIDTH, channels)`."""
    waves = [
        0.5 + 0.4 * np.sin(np.arange(HEIGHT) / (11 + c))[:, None] * np.cos(np.arange(WIDTH) / 9)[None]
        for c in range(channels)
    ]
    return np.round(np.stack(waves, -1) * np.iinfo(dtype).max).astype(dtype)


def strips(pixels: np.ndarray, rows: int = 61) -> Iterator[np.ndarray]:
    yield from (pixels[row : row + rows] for row in range(0, len(pixels), rows))


def output(path: Path, channels: int = 3, given: type = np.uint8, **more: bytes) -> Output:
    return Output(path, HEIGHT, WIDTH, channels, np.dtype(given), **more)


@pytest.mark.parametrize('ending', FORMATS)
@pytest.mark.parametrize('channels', [1, 2, 3, 4])
@pytest.mark.parametrize('given', [np.uint8, np.uint16])
def test_every_format_holds_every_kind(tmp_path: Path, ending: str, channels: int, given: type) -> None:
    to_write = output(tmp_path / f'a{ending}', channels, given)
    pixels = smooth(channels, to_write.dtype)
    write_picture(to_write, strips(pixels))
    if to_write.format.name == 'TIFF' and channels == 2 and given is np.uint16:  # Pillow knows none such
        found = tifffile.imread(to_write.path)
    else:
        found = read_picture(to_write.path).pixels
    expected = pixels
    if channels in (2, 4) and not to_write.format.alpha:
        alpha = pixels[..., -1:] / 255
        expected = np.round(pixels[..., :-1] * alpha + 255 * (1 - alpha))
    if to_write.format.name == 'WEBP' and channels < 3:  # it knows colours alone
        found = found[..., [0, 3]] if channels == 2 else found[..., :1]
    assert found.dtype == to_write.dtype and found.shape == expected.shape
    lossy = to_write.format.name in ('JPEG', 'WEBP')
    assert np.abs(found.astype(int) - expected).max() <= (12 if lossy else 0)
    assert [path.name for path in tmp_path.iterdir()] == [to_write.path.name]


@pytest.mark.parametrize('given', [np.uint8, np.uint16])
@pytest.mark.parametrize('ending', ['.png', '.tif'])
def test_opencv_reads_the_same(tmp_path: Path, given: type, ending: str) -> None:
    pixels = smooth(3, np.dtype(given))
    write_picture(output(tmp_path / f'a{ending}', 3, given), strips(pixels))
    found = cv2.imread(str(tmp_path / f'a{ending}'), cv2.IMREAD_UNCHANGED)
    assert found is not None and np.array_equal(found[..., ::-1], pixels)


@pytest.mark.parametrize('ending', ['.png', '.jpg', '.webp', '.tif'])
def test_the_profile_is_kept(tmp_path: Path, ending: str) -> None:
    write_picture(output(tmp_path / f'a{ending}', icc=SRGB), strips(smooth(3, np.dtype(np.uint8))))
    assert Image.open(tmp_path / f'a{ending}').info['icc_profile'] == SRGB


@pytest.mark.parametrize('ending', ['.png', '.jpg', '.webp'])
def test_exif_is_kept(tmp_path: Path, ending: str) -> None:
    exif = Image.Exif()
    exif[0x010F] = 'maker'
    write_picture(output(tmp_path / f'a{ending}', exif=exif.tobytes()), strips(smooth(3, np.dtype(np.uint8))))
    assert Image.open(tmp_path / f'a{ending}').getexif()[0x010F] == 'maker'


def test_losses_are_told(tmp_path: Path) -> None:
    assert output(tmp_path / 'a.png', 4, np.uint16, icc=SRGB).losses == ()
    assert len(output(tmp_path / 'a.bmp', 4, np.uint16, icc=SRGB).losses) == 3
    assert output(tmp_path / 'a.tif', exif=b'Exif').losses == ('EXIF left out of TIFF',)
    assert output(tmp_path / 'a.webp', 3, np.uint16).losses == ('16 bits, written with 8: WEBP has no more',)


@pytest.mark.parametrize('height', [1, 63, 64, 65, 130])
@pytest.mark.parametrize('rows', [1, 64, 1000])
def test_png_of_any_height_and_strips(height: int, rows: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (height, 5, 3)).astype(np.uint8)
    file = io.BytesIO()
    write_png(file, strips(pixels, rows), height, 5, 3, np.dtype(np.uint8))
    image = Image.open(io.BytesIO(file.getvalue()))
    image.verify()  # the checks of its chunks
    assert np.array_equal(np.asarray(Image.open(file)), pixels)


def test_png_is_small_enough() -> None:
    """No larger than Pillow's own by a fifth, of an enlarged picture."""
    from skimage.data import coffee

    pixels = np.asarray(
        Image.fromarray(coffee()).crop((100, 50, 300, 200)).resize((800, 600), Image.Resampling.BICUBIC)
    )
    ours, others = io.BytesIO(), io.BytesIO()
    write_png(ours, [pixels], 600, 800, 3, np.dtype(np.uint8))
    Image.fromarray(pixels).save(others, 'PNG')
    assert len(ours.getvalue()) < 1.2 * len(others.getvalue())


def test_a_png_cut_short_is_no_png(tmp_path: Path) -> None:
    path = tmp_path / 'a.png'
    path.write_bytes(b'before')
    with pytest.raises(ValueError, match='100 rows were given of a picture of 150'):
        write_picture(output(path), strips(smooth(3, np.dtype(np.uint8))[:100]))
    assert path.read_bytes() == b'before' and list(tmp_path.iterdir()) == [path]


def test_what_a_format_cannot_hold_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r'70000x10 pixels are more than a JPEG holds \(65500 a side\); --ext png'):
        Output(tmp_path / 'a.jpg', 10, 70000, 3, np.dtype(np.uint8)).check()
    Output(tmp_path / 'a.png', 10, 70000, 3, np.dtype(np.uint8)).check()


def test_a_png_is_written_as_its_strips_come(tmp_path: Path) -> None:
    """What a picture takes in memory does not grow with its height."""
    import tracemalloc

    def peak(height: int) -> int:
        tracemalloc.start()
        made = (np.zeros((16, 2000, 3), np.uint8) for _ in range(height // 16))
        write_picture(Output(tmp_path / 'a.png', height, 2000, 3, np.dtype(np.uint8)), made)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    assert peak(3200) < 1.3 * peak(320)
