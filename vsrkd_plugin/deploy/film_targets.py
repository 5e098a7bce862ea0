"""Where the frames of an enlarged film go, part by part: into a film, or into a folder of PNG frames."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from vsrkd_plugin.deploy.film_colour import to_planes
from vsrkd_plugin.deploy.film_encoding import choose_encoder, choose_format, fits, format_of, tells_aspect
from vsrkd_plugin.deploy.film_joining import join_film, later, tracks_to_copy
from vsrkd_plugin.deploy.film_reading import FilmReader, import_av
from vsrkd_plugin.deploy.film_writing import FilmWriter
from vsrkd_plugin.deploy.frame_folders import FolderReader, write_frame
from vsrkd_plugin.errors import UserError

Reader = FilmReader | FolderReader
_TURNING = ('mp4', 'mov', 'matroska')  # formats that tell how a film is to be turned


class Target(Protocol):
    """Takes frames in parts; a part is there when it is closed.

    Attributes:
        turns: quarter turns, counter-clockwise, that each LR frame is to be given.
        made_of: what decides the bits of a part, beside the frames.
    """

    turns: int
    made_of: str

    def planes(self, rgb: Tensor) -> list[Tensor]:
        """A frame as it is written, of RGB `(1, 3, h, w)` in [0, 1]."""

    def open_part(self, path: Path, first: int) -> None:
        """Begin a part, whose first frame is number `first` of all; `path` is free for a file."""

    def write(self, planes: list[Tensor], time: int, duration: int) -> None:
        """The next frame of the part, its time and how long it is shown, in units of the source's time base."""

    def close_part(self) -> int | None:
        """The part is whole; bytes of its file, None where it has none."""

    def lacks(self, written: int) -> str:
        """What is not there any more of so many frames, beside the files of parts; empty if nothing is gone."""

    def discard(self) -> None:
        """Leave the part that was begun."""

    def finish(self, parts: list[Path], end: int) -> None:
        """All parts are there; the last frame is shown until `end`."""


class FilmTarget:
    """A film: a file for each part, joined in the end, with the other tracks of the source.

    Args:
        reader: of the source.
        source: the source, a film or a folder of frames.
        path: the film to write.
        codec, crf: as of `upscale_film`.
        enlarged: height and width of what is made of LR's height and width.
        tell: is told what will be otherwise than in the source.

    Raises:
        UserError: no such encoder, or the film's format cannot hold it.
    """

    def __init__(
        self,
        reader: Reader,
        source: Path,
        path: Path,
        codec: str,
        crf: int | None,
        enlarged: Callable[[int, int], tuple[int, int]],
        tell: Callable[[str], None],
    ) -> None:
        info, name = reader.info, format_of(path)
        encoder, quality = choose_encoder(codec, crf)
        keeps = name in _TURNING and hasattr(import_av().VideoStream, 'set_display_matrix')
        self.display_matrix = info.display_matrix if keeps else None
        self.turns = 0 if keeps else info.turned
        if self.turns:
            tell(f'is turned by {90 * self.turns} degrees, as it says that it is to be shown')
        if self.turns % 2:
            aspect = 1 / info.pixel_aspect if info.pixel_aspect else None
            info = replace(info, height=info.width, width=info.height, pixel_aspect=aspect)
        height, width = enlarged(info.height, info.width)
        self.film = choose_format(info, width, height, encoder, quality)
        self.path, self.source = path, None if source.is_dir() else source
        self.made_of = f'{import_av().ffmpeg_version_info} {self.film}'
        if not fits(name, self.film):
            raise UserError(f'{path}: {path.suffix} cannot hold {encoder.name}; expected another --codec or name')
        self._parts_in = 'nut' if fits('nut', self.film) else 'mov'
        if (self.film.width, self.film.height) != (width, height):
            tell(f'{width}x{height} is written as {self.film.width}x{self.film.height}: sides must be even')
        if self.film.pixel_aspect not in (None, 1) and not tells_aspect(name, self.film):
            tell(
                f'its pixels are not square ({self.film.pixel_aspect}), which {encoder.name} in {path.suffix} does not '
                'tell: better write .mp4, or h264 or hevc'
            )
        if self.film.colour.depth < info.colour.depth:
            tell(f'{info.colour.depth} bits are written as {self.film.colour.depth}: {encoder.name} has no more')
        self._kept: list[int] = []
        if self.source is not None:
            self._kept, told = tracks_to_copy(self.source, path)
            for text in told:
                tell(text)
        self._writer: FilmWriter | None = None

    def planes(self, rgb: Tensor) -> list[Tensor]:
        missing = self.film.width - rgb.shape[-1], self.film.height - rgb.shape[-2]
        if any(missing):
            rgb = F.pad(rgb, (0, missing[0], 0, missing[1]), mode='replicate')
        return to_planes(rgb, self.film.colour)

    def open_part(self, path: Path, first: int) -> None:
        # NUT keeps times as they are, but not all codecs; a track in QuickTime begins at a time of the movie's clock.
        options = {} if self._parts_in == 'nut' else {'movie_timescale': str(self.film.time_base.denominator)}
        self._writer = FilmWriter(path, self.film, self._parts_in, options)

    def write(self, planes: list[Tensor], time: int, duration: int) -> None:
        assert self._writer is not None
        self._writer.write(planes, time + later(self.film.time_base), duration)

    def close_part(self) -> int | None:
        assert self._writer is not None
        writer, self._writer = self._writer, None
        writer.close()
        return writer.path.stat().st_size

    def lacks(self, written: int) -> str:
        return ''

    def discard(self) -> None:
        if self._writer is not None:
            self._writer.discard()

    def finish(self, parts: list[Path], end: int) -> None:
        join_film(parts, self.film, self.path, end, self.source, self._kept, self.display_matrix)


class FolderTarget:
    """A folder of PNG frames, named as the source's, or by their numbers; 16 bits where the source has more than 8.

    Args:
        reader: of the source.
        path: the folder.

    Raises:
        UserError: it cannot be made.
    """

    def __init__(self, reader: Reader, path: Path) -> None:
        self.path, self.turns = path, reader.info.turned
        self._depth = 8 if reader.info.colour.depth == 8 else 16
        self.made_of = f'{self._depth} bits'
        self._names = reader.names if isinstance(reader, FolderReader) else None
        self._number = 0
        seen: dict[str, str] = {}
        for name in self._names or ():
            if (other := seen.get(name.casefold())) is not None:
                raise UserError(f'{path}: frames {other} and {name} would both become {name}.png; rename one of them')
            seen[name.casefold()] = name
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f'{path}: cannot be made a folder for frames ({error.strerror})') from error

    def planes(self, rgb: Tensor) -> list[Tensor]:
        numbers = (rgb.float().clamp(0, 1) * (2**self._depth - 1)).round_()
        return list(numbers.to(torch.uint8 if self._depth == 8 else torch.int32)[0])

    def lacks(self, written: int) -> str:
        there = {entry.name for entry in os.scandir(self.path)}
        return next((name for name in map(self._name, range(written)) if name not in there), '')

    def _name(self, number: int) -> str:
        return f'{self._names[number] if self._names else f"{number:08d}"}.png'

    def open_part(self, path: Path, first: int) -> None:
        self._number = first

    def write(self, planes: list[Tensor], time: int, duration: int) -> None:
        write_frame(self.path / self._name(self._number), planes, self._depth)
        self._number += 1

    def close_part(self) -> int | None:
        return None

    def discard(self) -> None:
        return None

    def finish(self, parts: list[Path], end: int) -> None:
        return None
