"""Films read frame by frame, by PyAV (extra `video`): planes as they are, times as they are."""

import importlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vsrkd_plugin.deploy.film_colour import RGB, UNSPECIFIED, Colour, guess_matrix, known_matrix
from vsrkd_plugin.errors import UserError, first_line

JPEG_RANGE = 2  # FFmpeg's number of the full range
_OLDEST = (17, 1)  # of PyAV
_CENTRED_CHROMA = ('mjpeg', 'mpeg1video')  # codecs whose halved columns of chroma lie between two of Y
_MISSING = 0.5  # seconds at the end of a film that may be missing: tracks end at different times
_DISPLAY_MATRIX = 'DISPLAYMATRIX'
_QUARTERS = {90: 1, 180: 2, 270: 3}


@dataclass(frozen=True)
class Tags:
    """How a film tells its colours, by FFmpeg's numbers; 2 says nothing (of the range 0)."""

    range: int = 0
    matrix: int = UNSPECIFIED
    primaries: int = UNSPECIFIED
    transfer: int = UNSPECIFIED


@dataclass(frozen=True)
class FilmInfo:
    """What is known of a film before it is read.

    Attributes:
        width, height: of its frames as they are stored.
        time_base: unit of its times, in seconds.
        rate: frames in a second, on average.
        colour: how its numbers mean colours.
        tags: as it tells that.
        pixel_aspect: width of a pixel to its height; None where it is not told.
        turned: quarter turns, counter-clockwise, that make a frame stand upright.
        display_matrix: as it says that, 9 numbers; None where nothing is to be turned.
        frames: about how many; None where nobody knows.
    """

    width: int
    height: int
    time_base: Fraction
    rate: Fraction
    colour: Colour
    tags: Tags = Tags()
    pixel_aspect: Fraction | None = None
    turned: int = 0
    display_matrix: tuple[int, ...] | None = None
    frames: int | None = None


@dataclass(frozen=True)
class FilmFrame:
    """A frame as it was read: its planes `(h, w)`, its time and how long it is shown, in units of the time base."""

    planes: list[Tensor]
    time: int
    duration: int


def import_av() -> Any:
    """PyAV.

    Raises:
        UserError: it is not installed, or too old.
    """
    try:
        av = importlib.import_module('av')
    except ImportError as error:
        raise UserError("films need PyAV: pip install 'vsrkd_plugin[video]'") from error
    numbers = re.findall(r'\d+', av.__version__)
    if tuple(map(int, numbers[:2])) < _OLDEST:  # does not tell frames' primaries, cannot copy what a track is for
        oldest = '.'.join(map(str, _OLDEST))
        raise UserError(
            f'films need PyAV from {oldest}, this is {av.__version__}: '
            f"pip install -U 'vsrkd_plugin[video]' 'av>={oldest}'"
        )
    return av


class FilmReader:
    """Reads a film from its first frame on.

    Args:
        path: the film.

    Attributes:
        info: what it is.
        told: what a person should know of it, a line each.
        cut_short: what is wrong behind the last frame, once all are read; empty if nothing is.

    Raises:
        UserError: it cannot be read, has no video track or no frame.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.told, self.cut_short = path, list[str](), ''
        av = import_av()
        self._error: type[Exception] = av.FFmpegError
        self._container = open_film(path)
        try:
            self._stream = video_stream(self._container, path)
            self._stream.thread_type = 'AUTO'
            self._end = 0.0  # seconds, of the last packet of all tracks that tell the time
            self._broken = 0
            self._frames = self._decode()
            try:
                self._ahead: Any = next(self._frames)
            except StopIteration:
                raise UserError(f'{path}: no frame of its video track can be read; is it damaged?') from None
            self.info = self._inspect(self._ahead)
        except BaseException:
            self._container.close()
            raise

    def __enter__(self) -> 'FilmReader':
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._container.close()

    def frames(self, skip: int = 0) -> Iterator[FilmFrame]:
        """The frames in the order of their times; once.

        Args:
            skip: as many are only decoded, at the beginning.
        """
        first, last, count, repaired = self._ahead, None, 0, 0
        self._ahead = None
        step = max(1, round(1 / (self.info.rate * self.info.time_base)))
        while first is not None:
            frame, first = first, next(self._frames, None)
            if (frame.width, frame.height) != (self.info.width, self.info.height):
                self.cut_short = (
                    f'frame {count + 1} is {frame.width}x{frame.height} where the film is {self.info.width}x'
                    f'{self.info.height}'
                )
                return
            duration = int(frame.duration or 0) or step
            time = frame.pts
            if time is None or (last is not None and time <= last[0]):  # without a time, or going back
                repaired += time is not None
                time = 0 if last is None else last[0] + last[1] if time is None else last[0] + 1
            last, count = (time, duration), count + 1
            if count > skip:
                yield FilmFrame(self._planes(frame), time, duration)
        if repaired:
            self.told.append(f'{repaired} frames had times that did not go on: they were put behind the one before')
        assert last is not None
        self._look_at_the_end((last[0] + last[1]) * float(self.info.time_base), count)

    def _decode(self) -> Iterator[Any]:
        tracks = [self._stream, *self._container.streams.audio]
        try:
            for packet in self._container.demux(tracks):
                if packet.pts is not None:
                    self._end = max(self._end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
                if packet.stream is not self._stream:
                    continue
                try:
                    yield from packet.decode()
                except self._error:  # damaged: the next ones may be whole
                    self._broken += 1
        except self._error as error:
            if isinstance(error, OSError):  # of the disk, or of a format's reader that calls damage so
                _check_readable(self.path)
            self.cut_short = f'cannot be read on ({first_line(error)})'

    def _look_at_the_end(self, seconds: float, count: int) -> None:
        if self._broken:
            self.told.append(f'{self._broken} packets of its video are damaged; what was in them is left out')
        expected = _told_end(self._stream, self._container)
        if expected is not None and not self.cut_short:
            end = seconds if self._stream.duration is not None else max(seconds, self._end)
            if end < expected - max(_MISSING, 3 / float(self.info.rate)):
                self.cut_short = f'{end:.1f} of {expected:.1f} seconds are there'

    def _inspect(self, frame: Any) -> FilmInfo:
        stream, context = self._stream, self._stream.codec_context
        rate = stream.average_rate or stream.guessed_rate or Fraction(25)
        colour, tags = self._colour(frame)
        if len(self._container.streams.video) > 1:
            self.told.append('has several video tracks: the first one is enlarged')
        if frame.interlaced_frame:
            self.told.append('is interlaced: its frames are enlarged as they are; better deinterlace it before')
        count = stream.frames or None
        expected = _told_end(stream, self._container)
        if count is None and expected:
            count = max(1, round(expected * rate))
        matrix = _display_matrix(frame)
        return FilmInfo(
            width=frame.width,
            height=frame.height,
            time_base=stream.time_base,
            rate=rate,
            colour=colour,
            tags=tags,
            pixel_aspect=stream.sample_aspect_ratio or context.sample_aspect_ratio or None,
            turned=_QUARTERS.get(round(frame.rotation) % 360, 0),
            display_matrix=matrix,
            frames=count,
        )

    def _colour(self, frame: Any) -> tuple[Colour, Tags]:
        kind, context = frame.format, self._stream.codec_context
        told = Tags(*(int(value) for value in (
            frame.color_range, frame.colorspace, frame.color_primaries, frame.color_trc,
        )))  # fmt: skip
        grey = len(kind.components) < 3
        full = told.range == JPEG_RANGE or kind.name.startswith('yuvj') or (grey and told.range == 0)
        depth = max(component.bits for component in kind.components) if kind.components else 8
        depth = max(8, depth)
        if kind.name.startswith('yuva') or kind.name in ('rgba', 'bgra', 'argb', 'abgr', 'ya8', 'pal8', 'gbrap'):
            self.told.append('its transparency is left out')
        if kind.is_rgb or kind.has_palette:
            return Colour(matrix=RGB, full_range=True, depth=8 if depth == 8 else 16), Tags()
        matrix = told.matrix if told.matrix != UNSPECIFIED else guess_matrix(frame.width, frame.height)
        if not known_matrix(matrix) or matrix == RGB:
            guessed = guess_matrix(frame.width, frame.height)
            self.told.append(f'its matrix of colours (number {matrix}) is not known here: taken as number {guessed}')
            matrix = guessed
        halved = (False, False) if grey else (
            kind.components[1].width < frame.width, kind.components[1].height < frame.height
        )  # fmt: skip
        colour = Colour(matrix, full, depth, halved, grey, left=context.name not in _CENTRED_CHROMA)
        return colour, told

    def _planes(self, frame: Any) -> list[Tensor]:
        """Whole numbers of each plane, in the order that `to_rgb` takes."""
        colour = self.info.colour
        if colour.matrix == RGB:
            frame = frame.reformat(format='gbrp' if colour.depth == 8 else 'gbrp16le')
        else:
            chroma = {(True, True): '420', (True, False): '422', (False, False): '444', (False, True): '440'}
            wanted = 'gray' if colour.grey else f'yuv{chroma[colour.halved]}p'
            wanted += '' if colour.depth == 8 else f'{colour.depth}le'
            plain = frame.format.name.replace('yuvj', 'yuv').replace('yuva', 'yuv')
            if plain != wanted:  # samples in another order (nv12, p010, big endian), not other samples
                frame = frame.reformat(format=wanted)
        planes = frame.planes[: 1 if colour.grey else 3]
        return [torch.from_numpy(samples_of(plane, colour.depth).astype(_kind(colour.depth))) for plane in planes]


def open_film(path: Path) -> Any:
    """PyAV's container of a film.

    Raises:
        UserError: it cannot be read.
    """
    av = import_av()
    try:
        return av.open(str(path), metadata_errors='ignore')
    except (av.FFmpegError, OSError, ValueError) as error:
        if not path.is_file():
            raise UserError(f'{path}: no such file') from error
        raise UserError(
            f'{path}: cannot be read as a film ({reason_of(error)}); is it cut short, or something else?'
        ) from error


def video_stream(container: Any, path: Path) -> Any:
    """The video track of a film: the first that is no picture of a cover.

    Raises:
        UserError: there is none.
    """
    for stream in container.streams.video:
        if 'attached_pic' not in str(stream.disposition):
            return stream
    kinds = sorted({stream.type for stream in container.streams})
    raise UserError(f'{path}: has no video track; it has {", ".join(kinds) or "nothing"}')


def _told_end(stream: Any, container: Any) -> float | None:
    """When a film says that its video, or else all of it, ends: seconds."""
    if stream.duration is not None:
        return float((stream.duration + (stream.start_time or 0)) * stream.time_base)
    if container.duration is None:
        return None
    return (container.duration + (container.start_time or 0)) / 1_000_000


def _display_matrix(frame: Any) -> tuple[int, ...] | None:
    for entry in frame.side_data:
        if entry.type.name == _DISPLAY_MATRIX:
            return tuple(int(value) for value in np.frombuffer(bytes(entry), np.int32)[:9])
    return None


def _kind(depth: int) -> type[np.generic]:
    return np.uint8 if depth == 8 else np.int32


def samples_of(plane: Any, depth: int) -> np.ndarray:
    """A plane's samples as they lie in its memory, `(h, w)`."""
    kind = np.dtype(np.uint8 if depth == 8 else '<u2')
    values = np.frombuffer(plane, kind)
    return values[: plane.height * (plane.line_size // kind.itemsize)].reshape(plane.height, -1)[:, : plane.width]


def reason_of(error: BaseException) -> str:
    return getattr(error, 'strerror', None) or first_line(error)


def _check_readable(path: Path) -> None:
    """Read a file to its end: a disk or a network that fails is no damage of the film.

    Raises:
        UserError: it cannot be.
    """
    try:
        with open(path, 'rb') as file:
            while file.read(1 << 24):
                pass
    except OSError as error:
        raise UserError(f'{path}: cannot be read on ({error.strerror})') from error
