"""Picture files of every kind are read upright, as grey or RGB, with what they tell of their colours."""

import contextlib
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms

from vsrkd_plugin.deploy.pictures import list_pictures, read_picture
from vsrkd_plugin.errors import UserError

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()


def colours(height: int = 20, width: int = 30, channels: int = 3, dtype: type = np.uint8) -> np.ndarray:
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, (height, width, channels)).astype(dtype)


def cmyk_profile() -> bytes:
    """An ICC profile of CMYK that knows black ink alone: L is 100 - 90 K, whatever the other inks are."""
    corners = [(255 - 229 * black, 128, 128) for _ in range(8) for black in (0, 1)]  # K varies fastest
    identity = [int(entry * 257) for entry in (0, 255)]
    table = b''.join(bytes(corner) for corner in corners)
    curves = struct.pack('>2H', *identity)
    lut = struct.pack('>4s4xBBBx', b'mft2', 4, 3, 2) + struct.pack('>9i', *(65536 * (i % 4 == 0) for i in range(9)))
    lut += struct.pack('>2H', 2, 2) + curves * 4
    lut += struct.pack(f'>{len(table)}H', *(value * 256 for value in table)) + curves * 3
    text = b'desc' + struct.pack('>4xI', 2) + b'x\0' + bytes(78)
    white = b'XYZ ' + struct.pack('>4x3i', 63190, 65536, 54061)
    tags = [(b'desc', text), (b'wtpt', white), (b'A2B0', lut), (b'cprt', b'text\0\0\0\0x\0')]
    offset, entries, content = 128 + 4 + 12 * len(tags), b'', b''
    for name, value in tags:
        value += bytes(-len(value) % 4)
        entries += name + struct.pack('>2I', offset + len(content), len(value))
        content += value
    body = struct.pack('>I', len(tags)) + entries + content
    header = struct.pack('>I4xI4s4s4s', 128 + len(body), 0x02400000, b'prtr', b'CMYK', b'Lab ')
    header += bytes(12) + b'acsp' + bytes(28) + struct.pack('>3i', 63190, 65536, 54061)
    return header.ljust(128, b'\0') + body


@pytest.mark.parametrize(
    ('mode', 'channels'), [('L', 1), ('LA', 2), ('RGB', 3), ('RGBA', 4)], ids=['grey', 'grey, alpha', 'RGB', 'RGBA']
)
def test_pixels_are_kept(tmp_path: Path, mode: str, channels: int) -> None:
    pixels = colours(channels=channels)
    pixels[..., -1] |= 128  # nothing is hidden
    Image.fromarray(pixels[..., 0] if channels == 1 else pixels).save(tmp_path / 'a.png', icc_profile=SRGB)
    found = read_picture(tmp_path / 'a.png')
    assert np.array_equal(found.pixels, pixels) and found.icc == SRGB and not found.notes
    assert found.has_alpha == (channels in (2, 4))


@pytest.mark.parametrize('name', ['a.png', 'a.tif'])
@pytest.mark.parametrize('channels', [1, 3, 4])
def test_16_bits_are_kept(tmp_path: Path, name: str, channels: int) -> None:
    pixels = colours(channels=channels, dtype=np.uint16)
    pixels[..., -1] |= 1 << 15
    cv2.imwrite(str(tmp_path / name), pixels[..., [2, 1, 0, 3][:channels]] if channels > 1 else pixels)
    assert np.array_equal(read_picture(tmp_path / name).pixels, pixels)


def test_16_bits_of_grey_with_alpha(tmp_path: Path) -> None:
    from vsrkd_plugin.deploy.png_stream import write_png

    pixels = colours(channels=2, dtype=np.uint16) | 1 << 14
    with open(tmp_path / 'a.png', 'wb') as file:
        write_png(file, [pixels], 20, 30, 2, pixels.dtype)
    assert np.array_equal(read_picture(tmp_path / 'a.png').pixels, pixels)


@pytest.mark.parametrize('turn', range(1, 9))
@pytest.mark.parametrize('name', ['a.jpg', 'a.png', 'deep.png'])
def test_pictures_are_turned_as_their_exif_says(tmp_path: Path, turn: int, name: str) -> None:
    """Pillow's own turning is the reference."""
    from PIL import ImageOps

    exif = Image.Exif()
    exif[ExifTags.Base.Orientation], exif[ExifTags.Base.Make] = turn, 'maker'
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ExifImageWidth] = 30
    path = tmp_path / name
    Image.fromarray(colours()).save(path, exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(path)))
    if name == 'deep.png':  # the same with 16 bits: the EXIF chunk is put into another file
        content = path.read_bytes()
        start = content.index(b'eXIf') - 4
        chunk = content[start : start + 12 + struct.unpack('>I', content[start : start + 4])[0]]
        done, deep = cv2.imencode('.png', colours()[..., ::-1].astype(np.uint16) * 257)
        assert done
        path.write_bytes(deep.tobytes()[:33] + chunk + deep.tobytes()[33:])
        expected = expected.astype(np.uint16) * 257
    found = read_picture(path)
    assert np.array_equal(found.pixels, expected)
    assert (found.notes == ()) == (turn == 1)
    kept = Image.Exif()
    assert found.exif is not None
    kept.load(found.exif)
    assert kept[ExifTags.Base.Make] == 'maker' and ExifTags.Base.Orientation not in kept
    assert ExifTags.Base.ExifImageWidth not in kept.get_ifd(ExifTags.IFD.Exif)


@pytest.mark.parametrize('turn', range(1, 9))
@pytest.mark.parametrize('kind', ['colours', 'grey', 'deep', 'palette', 'alpha'])
def test_tiffs_are_turned_once(tmp_path: Path, turn: int, kind: str) -> None:
    """Pillow and OpenCV turn them while they decode them. The same picture without a tag is the reference."""
    from PIL import ImageOps

    stored = {
        'colours': Image.fromarray(colours()),
        'grey': Image.fromarray(colours()[..., 0]),
        'deep': Image.fromarray(colours()[..., 0].astype(np.uint16) * 257),
        'palette': Image.fromarray(colours()).quantize(16),
        'alpha': Image.fromarray(np.dstack([colours(), 55 + colours()[..., :1] // 2])),
    }[kind]
    stored.save(tmp_path / 'a.tif', tiffinfo={ExifTags.Base.Orientation: turn})
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = turn
    if kind == 'deep':  # of which Pillow turns none
        upright = Image.fromarray(colours()[..., 0])
        upright.save(tmp_path / 'b.png', exif=exif)
        expected = (
            np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / 'b.png'))).astype(np.uint16)[..., None] * 257
        )
    else:
        stored.save(tmp_path / 'b.png', exif=exif)
        expected = read_picture(tmp_path / 'b.png').pixels
    found = read_picture(tmp_path / 'a.tif')
    assert np.array_equal(found.pixels, expected)
    assert any('upright' in note for note in found.notes) == (turn != 1)


@pytest.mark.parametrize(('dtype', 'name'), [(np.float32, 'a.tif'), (np.float32, 'a.tiff'), (np.float64, 'a.tif')])
def test_numbers_of_other_kinds_are_told(tmp_path: Path, dtype: type, name: str) -> None:
    assert cv2.imwrite(str(tmp_path / name), colours().astype(dtype) / 255)
    with pytest.raises(UserError, match=f'{name}: pixels of (floating point|kind F); expected whole numbers'):
        read_picture(tmp_path / name)


def test_a_tiff_of_floats_that_is_cut_is_no_worse(tmp_path: Path) -> None:
    assert cv2.imwrite(str(tmp_path / 'whole.tif'), colours().astype(np.float32) / 255)
    content = (tmp_path / 'whole.tif').read_bytes()
    places = [4, 5, 6, 7, *range(8, len(content), 101), *range(len(content) - 200, len(content))]
    for place in places:
        for broken in (content[:place], content[:place] + b'\xff' + content[place + 1 :]):
            (tmp_path / 'a.tif').write_bytes(broken)
            with contextlib.suppress(UserError):
                read_picture(tmp_path / 'a.tif')


def test_a_folder_and_a_link_to_it_are_both_looked_into(tmp_path: Path) -> None:
    """But no link that leads back."""
    (tmp_path / 'sub dir').mkdir()
    Image.fromarray(colours()).save(tmp_path / 'sub dir' / 'a.png')
    (tmp_path / 'link').symlink_to('sub dir')
    (tmp_path / 'sub dir' / 'back').symlink_to('..')
    pictures, _ = list_pictures(tmp_path)
    assert [str(path.relative_to(tmp_path)) for path in pictures] == ['link/a.png', 'sub dir/a.png']


def test_a_palette_becomes_colours_and_its_clear_entry_alpha(tmp_path: Path) -> None:
    image = Image.new('P', (4, 2))
    image.putpalette([255, 0, 0, 0, 0, 255, 9, 9, 9])
    image.putdata([0, 1, 2, 0, 1, 1, 1, 0])
    image.save(tmp_path / 'a.png', transparency=2)
    found = read_picture(tmp_path / 'a.png')
    assert found.pixels[0, :2].tolist() == [[255, 0, 0, 255], [0, 0, 255, 255]] and found.pixels[0, 2, 3] == 0
    assert found.notes == ('palette, written in full colours',)


def test_a_palette_of_greys_is_grey(tmp_path: Path) -> None:
    Image.fromarray(colours(channels=1)[..., 0]).quantize(16).save(tmp_path / 'a.png')
    assert read_picture(tmp_path / 'a.png').pixels.shape == (20, 30, 1)


def test_black_and_white_is_grey(tmp_path: Path) -> None:
    Image.fromarray(colours(channels=1)[..., 0]).convert('1').save(tmp_path / 'a.png')
    found = read_picture(tmp_path / 'a.png')
    assert found.pixels.shape[2] == 1 and set(np.unique(found.pixels)) == {0, 255}


def test_a_clear_colour_is_alpha(tmp_path: Path) -> None:
    pixels = np.full((4, 4, 3), 200, np.uint8)
    pixels[0, 0] = 1, 2, 3
    Image.fromarray(pixels).save(tmp_path / 'a.png', transparency=(1, 2, 3))
    found = read_picture(tmp_path / 'a.png').pixels
    assert found[0, 0, 3] == 0 and (found[1:, :, 3] == 255).all()


def test_cmyk_becomes_srgb_by_its_profile(tmp_path: Path) -> None:
    """By a profile of which nobody could guess that yellow ink shows nothing."""
    inks = np.zeros((16, 16, 4), np.uint8)
    inks[..., 2], inks[8:, :, 3] = 255, 255
    Image.fromarray(inks, 'CMYK').save(tmp_path / 'a.tif', icc_profile=cmyk_profile())
    found = read_picture(tmp_path / 'a.tif')
    assert found.pixels.shape == (16, 16, 3) and found.icc is None
    assert found.pixels[:8].min() > 245 and found.pixels[8:].max() < 60
    assert found.notes == ('CMYK, converted to sRGB by its profile',)


def test_cmyk_without_a_usable_profile(tmp_path: Path) -> None:
    inks = Image.fromarray(np.zeros((8, 8, 4), np.uint8), 'CMYK')
    inks.save(tmp_path / 'none.jpg')
    inks.save(tmp_path / 'broken.jpg', icc_profile=b'nonsense')
    none, broken = (read_picture(tmp_path / f'{name}.jpg') for name in ('none', 'broken'))
    assert none.notes == ('CMYK, converted to sRGB without a profile',) and none.pixels.min() > 250
    assert 'cannot be used' in broken.notes[0]


def test_colours_that_nobody_sees_are_those_beside(tmp_path: Path) -> None:
    pixels = np.zeros((5, 9, 4), np.uint8)
    pixels[..., :3] = 0, 255, 0
    pixels[:, :3] = 200, 10, 10, 255
    pixels[:, 6:] = 10, 10, 200, 255
    Image.fromarray(pixels).save(tmp_path / 'a.png')
    found = read_picture(tmp_path / 'a.png').pixels
    assert np.array_equal(found[..., 3], pixels[..., 3])
    assert (found[:, 3, :3] == (200, 10, 10)).all() and (found[:, 5, :3] == (10, 10, 200)).all()


def test_the_first_of_several_pages(tmp_path: Path) -> None:
    pages = [Image.fromarray(colours(), 'RGB'), Image.new('RGB', (30, 20))]
    pages[0].save(tmp_path / 'a.tif', save_all=True, append_images=pages[1:])
    found = read_picture(tmp_path / 'a.tif')
    assert np.array_equal(found.pixels, colours()) and found.notes == ('first of 2 pages',)


def png(path: Path, **settings: object) -> bytes:
    Image.fromarray(colours(200, 200)).save(path, **settings)
    return path.read_bytes()


@pytest.mark.parametrize(
    ('content', 'told'),
    [
        (b'', 'not a picture'),
        (b'\x89PNG nonsense', 'not a picture'),
        (lambda path: png(path)[:5000], 'damaged or cut short'),
        (lambda path: png(path)[:20] + struct.pack('>I', 2**30) + png(path)[24:], 'cannot|damaged|too large'),
    ],
    ids=['empty', 'foreign', 'cut short', 'a size that is not its own'],
)
def test_what_cannot_be_read_is_told_with_its_name(tmp_path: Path, content: object, told: str) -> None:
    path = tmp_path / 'a.png'
    path.write_bytes(content(path) if callable(content) else content)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=f'a.png: .*({told})'):
        read_picture(path)


def test_a_bomb_is_refused_before_it_goes_off(tmp_path: Path) -> None:
    """Some kilobytes that would be ten gigabytes."""
    import zlib

    path = tmp_path / 'a.png'
    header = struct.pack('>IIBBBBB', 60000, 60000, 8, 2, 0, 0, 0)
    content = b'\x89PNG\r\n\x1a\n'
    for kind, data in ((b'IHDR', header), (b'IDAT', zlib.compress(bytes(10**6))), (b'IEND', b'')):
        content += struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))
    path.write_bytes(content)
    with pytest.raises(UserError, match=r'a\.png: too large to be read safely'):
        read_picture(path)


def test_floating_point_is_refused(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((4, 4), np.float32)).save(tmp_path / 'a.tif')
    with pytest.raises(UserError, match=r'a\.tif: pixels of kind F; expected whole numbers'):
        read_picture(tmp_path / 'a.tif')


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r'a\.png: cannot be read \(No such file'):
        read_picture(tmp_path / 'a.png')


def test_damaged_exif_costs_no_picture(tmp_path: Path) -> None:
    Image.fromarray(colours()).save(tmp_path / 'a.jpg', exif=b'Exif\0\0MM\0*\0\0\0\x08\xff\xff nonsense')
    assert read_picture(tmp_path / 'a.jpg').pixels.shape == (20, 30, 3)


def test_folders_are_listed_in_order_hidden_ones_left_out(tmp_path: Path) -> None:
    for name in (
        'b.png',
        'a.JPG',
        'notes.txt',
        '.hidden.png',
        'in/c.webp',
        '.git/d.png',
        '__MACOSX/e.png',
        'out/f.png',
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / 'in' / 'loop').symlink_to(tmp_path)
    pictures, others = list_pictures(tmp_path, [tmp_path / 'out'])
    assert [str(path.relative_to(tmp_path)) for path in pictures] == ['a.JPG', 'b.png', 'in/c.webp']
    assert [path.name for path in others] == ['notes.txt']
