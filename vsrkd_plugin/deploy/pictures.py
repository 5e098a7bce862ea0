"""Picture files as arrays: any kind of pixels read as grey or RGB, with or without alpha, of 8 or 16 bits."""

import io
import struct
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import ExifTags, Image, ImageCms

from vsrkd_plugin.data.listing import EXTENSIONS, read_folder
from vsrkd_plugin.errors import UserError, first_line

_SRGB = 'converted to sRGB'
_TURNED = {2: 'flipped', 3: 'turned', 4: 'flipped', 5: 'turned', 6: 'turned', 7: 'turned', 8: 'turned'}
_WITH_EXIF = ('JPEG', 'MPO', 'PNG', 'WEBP')  # formats whose EXIF is not the file's own structure
_TURNED_BY_DECODERS = ('TIFF',)  # as their tag says, by Pillow and by OpenCV
_SAMPLE_FORMAT, _SHORT, _FLOATING = 339, 3, 3  # of TIFF: a tag, its type, its value
_HARDLY_SEEN = 0.03  # of opaque: up to it 8 bits tell little of the colour below


@dataclass(frozen=True)
class Picture:
    """A picture that was read, upright.

    Attributes:
        pixels: `(h, w, c)`, uint8 or uint16: grey, grey and alpha, RGB, RGB and alpha.
        icc: its colour profile; None: sRGB.
        exif: what its camera and its owner noted, without the turn and the size.
        notes: what was converted, in a few words each.
    """

    pixels: np.ndarray
    icc: bytes | None = None
    exif: bytes | None = None
    notes: tuple[str, ...] = ()

    @property
    def has_alpha(self) -> bool:
        return self.pixels.shape[2] in (2, 4)


def is_picture(path: Path) -> bool:
    """Whether a name is one of a picture, by its suffix."""
    return path.suffix.lower() in EXTENSIONS


def read_picture(path: Path) -> Picture:
    """Read a picture.

    Colours under (nearly) full transparency, which nobody sees, are replaced by the nearest that are seen: a network
    would draw them into the edge.

    Raises:
        UserError: it cannot be read, is damaged, or has too many pixels to be an honest picture.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f'{path}: cannot be read ({error.strerror})') from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # of large pictures, of damaged EXIF
            with Image.open(io.BytesIO(content)) as image:
                if image.format == 'PNG':
                    image.verify()  # the checksums of its parts, which decoding leaves alone
            with Image.open(io.BytesIO(content)) as image:
                return _read(image, content)
    except UserError as error:
        raise UserError(f'{path}: {error}') from error
    except Image.DecompressionBombError as error:
        raise UserError(f'{path}: too large to be read safely ({first_line(error)})') from error
    except Image.UnidentifiedImageError as error:
        if _is_of_floats(content):
            raise UserError(f'{path}: pixels of floating point; expected whole numbers of 8 or 16 bits') from error
        raise UserError(
            f'{path}: not a picture, of an unknown kind, or damaged; expected {", ".join(EXTENSIONS)}'
        ) from error
    except MemoryError as error:
        raise UserError(f'{path}: does not fit the memory') from error
    except Exception as error:  # whatever a broken file makes a decoder raise, the file is what is wrong
        raise UserError(f'{path}: damaged or cut short ({first_line(error)})') from error


def _is_of_floats(content: bytes) -> bool:
    """Whether a TIFF says that its pixels are floating-point numbers, of which Pillow knows few kinds.

    Of its first directory alone: nothing is decoded of what may be larger than the memory.
    """
    order = {b'II*\0': '<', b'MM\0*': '>'}.get(content[:4])
    if order is None or len(content) < 8:
        return False
    (start,) = struct.unpack_from(f'{order}I', content, 4)
    try:
        (count,) = struct.unpack_from(f'{order}H', content, start)
        for index in range(count):
            tag, kind, number = struct.unpack_from(f'{order}HHI', content, start + 2 + 12 * index)
            if tag == _SAMPLE_FORMAT and kind == _SHORT:
                place = start + 2 + 12 * index + 8
                if number > 2:  # they do not fit into the entry, which tells where they are
                    (place,) = struct.unpack_from(f'{order}I', content, place)
                return struct.unpack_from(f'{order}H', content, place) == (_FLOATING,)
    except struct.error:  # cut short
        return False
    return False


def _read(image: Image.Image, content: bytes) -> Picture:
    notes, image_format = [], image.format  # which what is made of the image forgets
    frames = getattr(image, 'n_frames', 1)
    if frames > 1 and image.format != 'MPO':
        notes.append(f'first of {frames} pages')
    icc = image.info.get('icc_profile') or None
    packing = _packing(image) if _is_deep(image) else None  # before its EXIF, for which Pillow may decode it
    turn, exif = _turn_and_exif(image)
    if packing is not None:
        pixels = _decode_deep(content, image, packing)
    else:
        image, icc, converted = _plain(image, icc)
        notes += converted
        pixels = np.asarray(image)
    pixels = pixels if pixels.ndim == 3 else pixels[..., None]
    if image_format not in _TURNED_BY_DECODERS:
        pixels = _upright(pixels, turn)
    if turn in _TURNED:
        notes.append(f'{_TURNED[turn]} upright as its EXIF says')
    colours = pixels[..., : 3 if pixels.shape[2] > 2 else 1]
    if pixels.dtype == np.uint16 and 255 < (brightest := int(colours.max())) < 1 << 12:
        notes.append(f'taken as of 16 bits, and dark (brightest {brightest:,} of 65,535): is it of 12?')
    if pixels.shape[2] in (2, 4):
        pixels = _without_hidden_colours(pixels)
    return Picture(np.ascontiguousarray(pixels), icc, exif, tuple(notes))


def _packing(image: Image.Image) -> str:
    """How the file has its pixels, in Pillow's words: `RGB;16B`."""
    tiles: Any = getattr(image, 'tile', ())  # of files alone, until they are decoded
    packed = tiles[0].args if tiles else ''
    return str(packed[0] if isinstance(packed, tuple) and packed else packed)


def _is_deep(image: Image.Image) -> bool:
    """Whether it has 16 bits a channel, of which Pillow keeps 8 of a coloured one."""
    return image.mode.startswith('I;16') or (';16' in _packing(image) and image.mode in ('RGB', 'RGBA', 'L', 'LA'))


def _decode_deep(content: bytes, image: Image.Image, packing: str) -> np.ndarray:
    # OpenCV's turning is off here, as its mixing of channels.
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16 or sorted(pixels.shape[:2]) != sorted(image.size):
        raise UserError(f'{image.format} of 16 bits that cannot be read')
    if pixels.ndim == 2:
        return pixels
    if packing.startswith('LA'):
        return pixels[..., [0, -1]]
    return pixels[..., [2, 1, 0, 3][: pixels.shape[2]]]


def _plain(image: Image.Image, icc: bytes | None) -> tuple[Image.Image, bytes | None, list[str]]:
    """An image as one of grey or RGB, with or without alpha, with its profile and what was converted."""
    mode = image.mode
    if mode in ('L', 'RGB') and 'transparency' not in image.info:
        return image, icc, []
    if mode in ('L', 'RGB', '1', 'LA', 'RGBA'):
        clear = 'transparency' in image.info or mode.endswith('A')
        wanted = ('L' if mode in ('1', 'L', 'LA') else 'RGB') + ('A' if clear else '')
        return image.convert(wanted), icc, ['black and white, written in greys'] if mode == '1' else []
    if mode in ('P', 'PA'):
        image = image.convert('RGBA' if mode == 'PA' or 'transparency' in image.info else 'RGB')
        if icc is None and _is_grey(image):  # a profile of colours fits no grey picture
            image = image.convert('LA' if image.mode == 'RGBA' else 'L')
        return image, icc, ['palette, written in full colours']
    if mode in ('CMYK', 'LAB', 'YCbCr', 'RGBa', 'RGBX', 'La', 'HSV'):
        return _to_srgb(image, icc)
    raise UserError(f'pixels of kind {mode}; expected whole numbers of 8 or 16 bits')


def _is_grey(image: Image.Image) -> bool:
    pixels = np.asarray(image)
    return bool((pixels[..., 0] == pixels[..., 1]).all() and (pixels[..., 0] == pixels[..., 2]).all())


def _to_srgb(image: Image.Image, icc: bytes | None) -> tuple[Image.Image, bytes | None, list[str]]:
    mode = image.mode
    if mode == 'LAB' or (mode == 'CMYK' and icc):
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(icc)) if icc else ImageCms.createProfile('LAB')
            converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile('sRGB'), outputMode='RGB')
            assert converted is not None  # it is not done in place
            return converted, None, [f'{mode}, {_SRGB}' + (' by its profile' if icc else '')]
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
            return image.convert('RGB'), None, [f'{mode}, {_SRGB}; its profile cannot be used']
    if mode in ('RGBa', 'La'):
        return image.convert('RGBA' if mode == 'RGBa' else 'LA'), icc, []
    without = ' without a profile' if mode == 'CMYK' else ''
    return image.convert('RGB'), icc if mode in ('YCbCr', 'RGBX') else None, [f'{mode}, {_SRGB}{without}']


def _turn_and_exif(image: Image.Image) -> tuple[int, bytes | None]:
    """The EXIF turn (1 to 8), and the rest of EXIF."""
    try:
        exif = image.getexif()
        turn = exif.get(ExifTags.Base.Orientation, 1)
        if image.format not in _WITH_EXIF or not exif:
            return turn, None
        exif.pop(ExifTags.Base.Orientation, None)
        details = exif.get_ifd(ExifTags.IFD.Exif)
        for tag in (ExifTags.Base.ExifImageWidth, ExifTags.Base.ExifImageHeight):
            details.pop(tag, None)
        return turn, exif.tobytes() if dict(exif) or details else None
    except Exception:  # whatever damaged EXIF makes Pillow raise, the picture is not to be lost for it
        return 1, None


def _upright(pixels: np.ndarray, turn: int) -> np.ndarray:
    if turn in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if turn in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if turn in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def _without_hidden_colours(pixels: np.ndarray) -> np.ndarray:
    hidden = pixels[..., -1] <= _HARDLY_SEEN * np.iinfo(pixels.dtype).max
    if not hidden.any() or hidden.all():
        return pixels
    labels = cv2.distanceTransformWithLabels(
        hidden.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )[1]
    colour_of = np.zeros((int(labels.max()) + 1, pixels.shape[2] - 1), pixels.dtype)
    colour_of[labels[~hidden]] = pixels[~hidden][:, :-1]
    filled = pixels.copy()
    filled[hidden, :-1] = colour_of[labels[hidden]]
    return filled


def list_pictures(folder: Path, leave_out: Iterable[Path] = ()) -> tuple[list[Path], list[Path]]:
    """Pictures in a folder and the folders in it, in the order of their names; and the other files that are not hidden.

    Args:
        folder: the folder.
        leave_out: folders in it that are not looked into.

    Raises:
        UserError: a folder cannot be read.
    """
    pictures: list[Path] = []
    others: list[Path] = []
    left_out = frozenset(path.resolve() for path in leave_out)
    waiting = [(folder, left_out)]
    while waiting:
        current, above = waiting.pop()
        if (place := current.resolve()) in above:  # a link that leads back, or the results of an earlier run
            continue
        entries = read_folder(current, '-i')
        pictures += entries.images
        others += [path for path in entries.others if not path.name.startswith('.') and path.name != '__MACOSX']
        waiting += [(below, above | {place}) for below in reversed(entries.folders)]
    return pictures, others
