"""Folders of frames, read and written as a film is."""

import re
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np
import torch
from torch import Tensor

from vsrkd_plugin.data.listing import EXTENSIONS
from vsrkd_plugin.deploy.film_colour import RGB, Colour
from vsrkd_plugin.deploy.film_reading import FilmFrame, FilmInfo
from vsrkd_plugin.errors import UserError
from vsrkd_plugin.run.whole_files import write_png

FRAMES_PER_SECOND = Fraction(25)  # of a film that is made of frames, where nobody says


def list_frames(folder: Path) -> list[Path]:
    """The pictures of a folder, by their names, numbers in these as numbers: `2.png` before `10.png`; hidden ones not.

    Raises:
        UserError: there are none, or it cannot be read.
    """
    try:
        files = [file for file in folder.iterdir() if file.suffix.lower() in EXTENSIONS and file.is_file()]
    except OSError as error:
        raise UserError(f'{folder}: cannot be read ({error.strerror})') from error
    files = [file for file in files if not file.name.startswith('.')]
    if not files:
        raise UserError(f'{folder}: holds no frames ({", ".join(EXTENSIONS)})')
    return sorted(files, key=lambda file: _parts(file.name))


def _parts(name: str) -> list[str | int]:
    """Text and numbers in turn, text first, so that names compare."""
    parts = re.split(r'([0-9]+)', name.lower())
    return [int(part) if place % 2 else part for place, part in enumerate(parts)]


class FolderReader:
    """Reads a folder of frames as `FilmReader` reads a film.

    Args:
        folder: pictures of one size, 8 or 16 bits.
        rate: frames in a second.

    Attributes:
        info, told, cut_short: as of `FilmReader`.
        names: of the frames, without suffixes.
    """

    def __init__(self, folder: Path, rate: Fraction = FRAMES_PER_SECOND) -> None:
        self.files = list_frames(folder)
        self.told, self.cut_short = list[str](), ''
        self.names = [file.stem for file in self.files]
        first = _read(self.files[0])
        if _has_alpha(self.files[0]):
            self.told.append('its transparency is left out')
        height, width = first.shape[:2]
        colour = Colour(matrix=RGB, full_range=True, depth=8 if first.dtype == np.uint8 else 16)
        self.info = FilmInfo(width, height, 1 / rate, rate, colour, frames=len(self.files))

    def __enter__(self) -> 'FolderReader':
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        return None

    def frames(self, skip: int = 0) -> Iterator[FilmFrame]:
        """As of `FilmReader`."""
        for time, file in list(enumerate(self.files))[skip:]:
            try:
                picture = _read(file)
            except _Damaged as error:
                self.cut_short = str(error)
                return
            height, width = picture.shape[:2]
            if (height, width) != (self.info.height, self.info.width):
                self.cut_short = (
                    f'{file.name} is {width}x{height} where the first frame is {self.info.width}x{self.info.height}'
                )
                return
            picture = _with_depth(picture, self.info.colour.depth)
            blue, green, red = (torch.from_numpy(np.ascontiguousarray(picture[..., index])) for index in range(3))
            yield FilmFrame([green, blue, red], time, 1)


class _Damaged(UserError):
    """A file that is there and is no picture."""


def _has_alpha(file: Path) -> bool:
    picture = cv2.imdecode(np.fromfile(file, np.uint8), cv2.IMREAD_UNCHANGED)
    return picture is not None and picture.ndim == 3 and picture.shape[2] == 4


def _read(file: Path) -> np.ndarray:
    """A picture, `(h, w, 3)`, BGR, uint8 or uint16."""
    try:
        content = np.fromfile(file, np.uint8)
    except OSError as error:
        raise UserError(f'{file}: cannot be read ({error.strerror})') from error
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH
    try:
        picture = cv2.imdecode(content, flags) if content.size else None
    except cv2.error:
        picture = None
    if picture is None or picture.dtype not in (np.uint8, np.uint16):
        raise _Damaged(f'{file}: not a readable picture of 8 or 16 bits')
    return picture


def _with_depth(picture: np.ndarray, depth: int) -> np.ndarray:
    """Samples of the first frame's depth, of a type that torch knows."""
    if depth == 8:
        return picture if picture.dtype == np.uint8 else np.round(picture / 257).astype(np.uint8)
    return picture.astype(np.int32) * (257 if picture.dtype == np.uint8 else 1)


def write_frame(file: Path, planes: Sequence[Tensor], depth: int) -> None:
    """Write a PNG; under its name is the whole of it, or nothing.

    Args:
        file: its name.
        planes: R, G, B, `(h, w)`, whole numbers of `depth` bits.
        depth: 8 or 16.

    Raises:
        UserError: it cannot be written.
    """
    kind = np.uint8 if depth == 8 else np.uint16
    picture = np.stack([plane.cpu().numpy().astype(kind) for plane in reversed(planes)], -1)
    try:
        write_png(picture, file)
    except OSError as error:
        raise UserError(f'{file}: cannot be written ({error.strerror}); the frames before stay') from error
