"""Picture files written from strips, whole or not at all."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image

from vsrkd_plugin.deploy.png_stream import MOST, write_png
from vsrkd_plugin.errors import UserError
from vsrkd_plugin.run.whole_files import whole_file

_QUALITY = 95  # of JPEG and WebP
_PAPER = 255  # what is seen through what is transparent, where a format has no alpha


@dataclass(frozen=True)
class Format:
    """What a picture format can hold.

    Attributes:
        name: Pillow's.
        deep: it has 16 bits.
        alpha: it has transparency.
        profile: it has a colour profile.
        exif: EXIF is written into it.
        streamed: it is written row by row, and the picture is never whole in memory.
        most: pixels of the longer side.
    """

    name: str
    deep: bool = False
    alpha: bool = True
    profile: bool = True
    exif: bool = True
    streamed: bool = False
    most: int = MOST


_JPEG, _TIFF = Format('JPEG', alpha=False, most=65500), Format('TIFF', deep=True, exif=False)
FORMATS = {
    '.png': Format('PNG', deep=True, streamed=True),
    '.jpg': _JPEG,
    '.jpeg': _JPEG,
    '.bmp': Format('BMP', alpha=False, profile=False, exif=False, most=2**15 - 1),
    '.tif': _TIFF,
    '.tiff': _TIFF,
    '.webp': Format('WEBP', most=16383),
}


@dataclass(frozen=True)
class Output:
    """A picture that is to be written.

    Attributes:
        path: the file; its suffix tells the format.
        height: in pixels.
        width: in pixels.
        channels: 1 to 4, as `Picture.pixels` has them.
        given: type of the picture that it is made of, uint8 or uint16.
        icc: its colour profile.
        exif: its EXIF.
    """

    path: Path
    height: int
    width: int
    channels: int
    given: np.dtype
    icc: bytes | None = None
    exif: bytes | None = None

    @property
    def format(self) -> Format:
        return FORMATS[self.path.suffix.lower()]

    @property
    def dtype(self) -> np.dtype:
        """Type of the strips."""
        return self.given if self.format.deep else np.dtype(np.uint8)

    @property
    def losses(self) -> tuple[str, ...]:
        """What the format does not hold, in a few words each."""
        name = self.format.name
        lost = {
            f'16 bits, written with 8: {name} has no more': self.given != self.dtype,
            f'transparency, laid on white: {name} has none': self.channels in (2, 4) and not self.format.alpha,
            f'colour profile left out: {name} has none': self.icc is not None and not self.format.profile,
            f'EXIF left out of {name}': self.exif is not None and not self.format.exif,
        }
        return tuple(text for text, is_lost in lost.items() if is_lost)

    @property
    def bytes_held(self) -> int:
        """What writing it keeps in memory besides the strips."""
        size = self.height * self.width
        if self.format.streamed:
            return 0
        # Pillow keeps four bytes a pixel of colours.
        return size * (self.channels * self.dtype.itemsize if self.format is _TIFF else 1 if self.channels == 1 else 4)

    def check(self) -> None:
        """Refuse what the format cannot hold.

        Raises:
            UserError: it is too large.
        """
        if max(self.height, self.width) > self.format.most:
            raise UserError(
                f'{self.path}: {self.width}x{self.height} pixels are more than a {self.format.name} holds '
                f'({self.format.most} a side); --ext png holds them'
            )


def write_picture(output: Output, strips: Iterable[np.ndarray]) -> None:
    """Write a picture of its strips, from top to bottom; under its name is the old file or the whole new one.

    Args:
        output: what it is.
        strips: `(rows, width, channels)` of `output.dtype`. Alpha of a format that has none: laid on white.

    Raises:
        OSError: it cannot be written, a full disk for one.
    """
    with whole_file(output.path) as file:
        if output.format.streamed:
            size = output.height, output.width, output.channels
            write_png(file, strips, *size, output.dtype, output.icc, output.exif)
        elif output.format is _TIFF:
            _write_tiff(file, output, strips)
        else:
            _write_by_pillow(file, output, strips)


def _write_tiff(file: IO[bytes], output: Output, strips: Iterable[np.ndarray]) -> None:
    import tifffile  # of scikit-image

    pixels = np.empty((output.height, output.width, output.channels), output.dtype)
    top = 0
    for strip in strips:
        pixels[top : top + len(strip)] = strip
        top += len(strip)
    tifffile.imwrite(
        file,
        pixels if output.channels > 1 else pixels[..., 0],
        photometric='rgb' if output.channels > 2 else 'minisblack',
        planarconfig='contig' if output.channels > 1 else None,
        extrasamples=['unassalpha'] if output.channels in (2, 4) else None,
        compression='zlib',
        predictor=True,
        rowsperstrip=64,
        iccprofile=output.icc,
        metadata=None,
    )


def _write_by_pillow(file: IO[bytes], output: Output, strips: Iterable[np.ndarray]) -> None:
    flat = output.channels in (2, 4) and not output.format.alpha
    channels = output.channels - flat
    mode = {1: 'L', 2: 'LA', 3: 'RGB', 4: 'RGBA'}[channels]
    image = Image.new(mode, (output.width, output.height))
    top = 0
    for strip in strips:
        laid = _on_paper(strip) if flat else strip
        image.paste(Image.fromarray(laid[..., 0] if channels == 1 else laid), (0, top))
        top += len(strip)
    said: dict[str, Any] = {key: value for key, value in (('icc_profile', output.icc), ('exif', output.exif)) if value}
    if output.format.name == 'BMP':
        said = {}
    elif output.format is _JPEG:
        said |= {'quality': _QUALITY, 'subsampling': 0}
    else:
        said |= {'quality': _QUALITY, 'exact': True}
    image.save(file, output.format.name, **said)


def _on_paper(strip: np.ndarray) -> np.ndarray:
    alpha = strip[..., -1:].astype(np.float32) / 255
    return np.round(strip[..., :-1] * alpha + _PAPER * (1 - alpha)).astype(np.uint8)
