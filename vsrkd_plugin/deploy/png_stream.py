"""PNG written from top to bottom: Pillow and OpenCV want the whole picture in memory, more than there may be."""

import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import IO

import numpy as np

_SIGNATURE = b'\x89PNG\r\n\x1a\n'
_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # by the number of channels
_AVERAGE = 3  # the filter: of those that are fast here it makes the smallest files of enlarged pictures
_LEVEL = 4  # of compression: higher ones take up to five times the time for some per cent
_ROWS = 64  # that are filtered at a time
MOST = 2**31 - 1  # pixels of a side


def write_png(
    file: IO[bytes],
    strips: Iterable[np.ndarray],
    height: int,
    width: int,
    channels: int,
    dtype: np.dtype,
    icc: bytes | None = None,
    exif: bytes | None = None,
) -> None:
    """Write a PNG.

    Args:
        file: open for writing.
        strips: `(rows, width, channels)`, one below the other.
        height: of the picture.
        width: of the picture.
        channels: 1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha.
        dtype: uint8 or uint16.
        icc: the colour profile.
        exif: as Pillow gives it, with or without `Exif` in front.

    Raises:
        ValueError: the strips are not of `height` rows in all.
    """
    file.write(_SIGNATURE)
    bits = 8 * np.dtype(dtype).itemsize
    _chunk(file, b'IHDR', struct.pack('>IIBBBBB', width, height, bits, _COLOUR_TYPES[channels], 0, 0, 0))
    if icc:
        _chunk(file, b'iCCP', b'ICC profile\0\0' + zlib.compress(icc))
    if exif:
        _chunk(file, b'eXIf', exif.removeprefix(b'Exif\0\0'))
    compression = zlib.compressobj(_LEVEL)
    above = np.zeros(width * channels * bits // 8, np.uint8)
    rows = 0
    for strip in _parts(strips):
        rows += len(strip)
        lines = np.ascontiguousarray(strip, strip.dtype.newbyteorder('>')).reshape(len(strip), -1).view(np.uint8)
        if content := compression.compress(_filtered(lines, above, channels * bits // 8).data):
            _chunk(file, b'IDAT', content)
        above = lines[-1]
    if rows != height:
        raise ValueError(f'{rows} rows were given of a picture of {height}')
    _chunk(file, b'IDAT', compression.flush())
    _chunk(file, b'IEND', b'')


def _parts(strips: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    for strip in strips:
        yield from (strip[row : row + _ROWS] for row in range(0, len(strip), _ROWS))


def _filtered(lines: np.ndarray, above: np.ndarray, pixel: int) -> np.ndarray:
    """Bytes less the average of those of the pixel at the left and of the pixel above, the filter's number in front."""
    left = np.zeros_like(lines)
    left[:, pixel:] = lines[:, :-pixel]
    up = np.concatenate([above[None], lines[:-1]])
    filtered = np.empty((len(lines), lines.shape[1] + 1), np.uint8)
    filtered[:, 0] = _AVERAGE
    # The average rounded down, without a ninth bit.
    np.subtract(lines, (left & up) + ((left ^ up) >> 1), out=filtered[:, 1:])
    return filtered


def _chunk(file: IO[bytes], kind: bytes, content: bytes) -> None:
    file.write(struct.pack('>I', len(content)) + kind)
    file.write(content)
    file.write(struct.pack('>I', zlib.crc32(content, zlib.crc32(kind))))
