"""Films read and written frame by frame, by PyAV (extra `video`): planes as they are, times as they are."""

import importlib
import io
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vsrkd_plugin.deploy.film_colour import RGB, UNSPECIFIED, Colour, guess_matrix, known_matrix, to_planes
from vsrkd_plugin.errors import UserError, first_line

_OLDEST = (17, 1)  # of PyAV
_JPEG_RANGE = 2  # FFmpeg's number of the full range
_CENTRED_CHROMA = ('mjpeg', 'mpeg1video')  # codecs whose halved columns of chroma lie between two of Y
_MISSING = 0.5  # seconds at the end of a film that may be missing: tracks end at different times
_DISPLAY_MATRIX = 'DISPLAYMATRIX'
_QUARTERS = {90: 1, 180: 2, 270: 3}


@dataclass(frozen=True)
class Encoder:
    """How a codec is written.

    Attributes:
        name: FFmpeg's, of the encoder.
        crf: quality by default; None where it is not known to have such an option.
        worst: the largest `crf`.
        options: of the encoder.
        chroma: which kinds are taken, the best first.
    """

    name: str
    crf: int | None
    worst: int = 51
    options: tuple[tuple[str, str], ...] = ()
    chroma: tuple[str, ...] = ('420', '422', '444')


CODECS = {
    'h264': Encoder('libx264', 17),
    'hevc': Encoder('libx265', 19, 51, (('x265-params', 'log-level=error'),)),
    'av1': Encoder('libsvtav1', 24, 63),
    'vp9': Encoder('libvpx-vp9', 24, 63, (('b', '0'), ('row-mt', '1'))),
    'prores': Encoder('prores_ks', None, 0, (('profile', '3'),), ('422', '444')),
    'ffv1': Encoder('ffv1', None, 0, (('level', '3'), ('slicecrc', '1')), ('444', '422', '420')),
}


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
        full = told.range == _JPEG_RANGE or kind.name.startswith('yuvj') or (grey and told.range == 0)
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
        return [torch.from_numpy(_samples(plane, colour.depth).astype(_kind(colour.depth))) for plane in planes]


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
            f'{path}: cannot be read as a film ({_reason(error)}); is it cut short, or something else?'
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


def _samples(plane: Any, depth: int) -> np.ndarray:
    """A plane's samples as they lie in its memory, `(h, w)`."""
    kind = np.dtype(np.uint8 if depth == 8 else '<u2')
    values = np.frombuffer(plane, kind)
    return values[: plane.height * (plane.line_size // kind.itemsize)].reshape(plane.height, -1)[:, : plane.width]


def _reason(error: BaseException) -> str:
    return getattr(error, 'strerror', None) or first_line(error)


def choose_encoder(codec: str, crf: int | None) -> tuple[Encoder, int | None]:
    """How a codec is written, and its quality.

    Args:
        codec: a name of `CODECS`, or of any of FFmpeg's encoders.
        crf: None: the codec's own.

    Raises:
        UserError: there is no such encoder here, it has no such option, or the quality is out of its range.
    """
    av = import_av()
    encoder = CODECS.get(codec, Encoder(codec, None, 63))
    try:
        found = av.codec.Codec(encoder.name, 'w')
        if found.type != 'video':
            raise ValueError('not of video')
    except (av.FFmpegError, ValueError) as error:
        raise UserError(
            f'--codec {codec}: no such encoder here; expected one of {", ".join(CODECS)}, or another of FFmpeg'
        ) from error
    if crf is not None:
        if encoder.crf is None and not _takes_crf(encoder):
            raise UserError(f'--crf {crf}: {encoder.name} has no such option')
        if not 0 <= crf <= encoder.worst:
            raise UserError(f'--crf {crf}: expected 0 (the best) to {encoder.worst} of {encoder.name}')
    return encoder, encoder.crf if crf is None else crf


def _takes_crf(encoder: Encoder) -> bool:
    """Whether an encoder that is not known here has an option `crf`; by trying, in memory."""
    av = import_av()
    try:
        pixels = _choose_pixels(encoder, 8)[0]
        with av.open(io.BytesIO(), 'w', format='nut') as trial:
            stream = trial.add_stream(encoder.name, rate=25, options={'crf': '20'})
            stream.width, stream.height, stream.pix_fmt = 64, 64, pixels
            trial.start_encoding()
            return 'crf' not in stream.codec_context.options  # what it does not know is left there
    except (av.FFmpegError, ValueError, OSError):
        return False


@dataclass(frozen=True)
class FilmFormat:
    """How a film is written.

    Attributes:
        width, height: of its frames.
        time_base, rate, tags, pixel_aspect: as of `FilmInfo`.
        colour: of its planes.
        pixels: FFmpeg's name of the planes.
        encoder: how, with the quality in `crf`.
    """

    width: int
    height: int
    time_base: Fraction
    rate: Fraction
    colour: Colour
    tags: Tags
    pixel_aspect: Fraction | None
    pixels: str
    encoder: Encoder
    crf: int | None


def choose_format(info: FilmInfo, width: int, height: int, encoder: Encoder, crf: int | None) -> FilmFormat:
    """The format of an enlarged film: the source's depth, where the encoder has it, matrix and range.

    Sizes are rounded up to even numbers where chroma is halved.
    """
    pixels, depth, halved = _choose_pixels(encoder, info.colour.depth)
    colour = info.colour.written(depth, halved)
    tags = info.tags
    # A size decides how an untagged film is taken, and this one's is another: it is told now.
    tags = Tags(_JPEG_RANGE if colour.full_range else 1, colour.matrix, tags.primaries, tags.transfer)
    width, height = (side + side % 2 if half else side for side, half in zip((width, height), halved, strict=True))
    return FilmFormat(
        width, height, info.time_base, info.rate, colour, tags, info.pixel_aspect, pixels, encoder, crf
    )  # fmt: skip


def _choose_pixels(encoder: Encoder, depth: int) -> tuple[str, int, tuple[bool, bool]]:
    """Of an encoder's formats the first kind of chroma that it has, as deep as the source, or as near to it as can be.

    Raises:
        UserError: it takes no YCbCr.
    """
    av = import_av()
    formats = av.codec.Codec(encoder.name, 'w').video_formats or [
        av.VideoFormat('yuv420p'),
    ]
    for chroma in encoder.chroma:
        found = {}
        for entry in formats:
            if entry.name in (f'yuv{chroma}p', *(f'yuv{chroma}p{bits}le' for bits in range(9, 17))):
                found[entry.components[0].bits] = entry.name
        if found:
            enough = [bits for bits in found if bits >= depth]
            bits = min(enough) if enough else max(found)
            return found[bits], bits, {'420': (True, True), '422': (True, False), '444': (False, False)}[chroma]
    raise UserError(f'--codec {encoder.name}: takes no YCbCr planes; expected an encoder of films')


class FilmWriter:
    """Writes frames into a film without sound; under `path` is a whole film, once it is closed, or nothing.

    Args:
        path: the file.
        film: how.
        container: FFmpeg's name of the format; None: by the suffix.
        options: of the container.

    Raises:
        UserError: the encoder refuses the format, the file cannot be written, or the disk is full.
    """

    def __init__(
        self, path: Path, film: FilmFormat, container: str | None = None, options: dict[str, str] | None = None
    ) -> None:
        av = import_av()
        self.path, self.film, self._av = path, film, av
        self._part = part_of(path)
        self._errors = (av.FFmpegError, OSError, ValueError)
        try:
            self._container = av.open(str(self._part), 'w', format=container or format_of(path), options=options or {})
            self._stream = add_video(self._container, film)
            self._container.start_encoding()
        except self._errors as error:
            self.discard()
            raise UserError(f'{path}: cannot be written as {film.encoder.name} ({_reason(error)})') from error

    def write(self, planes: Sequence[Tensor], time: int, duration: int) -> None:
        """One frame.

        Args:
            planes: of the film's colour and size.
            time: in units of the time base, more than the last.
            duration: how long it is shown.
        """
        frame = self._av.VideoFrame(self.film.width, self.film.height, self.film.pixels)
        for plane, values in zip(frame.planes, planes, strict=True):
            _samples(plane, self.film.colour.depth)[:] = values.cpu().numpy()
        frame.pts, frame.duration, frame.time_base = time, duration, self.film.time_base
        set_tags(frame, self.film.tags)
        self._mux(frame)

    def _mux(self, frame: Any) -> None:
        try:
            self._container.mux(self._stream.encode(frame))
        except self._errors as error:
            self.discard()
            raise cannot_write(self.path, error) from error

    def close(self) -> None:
        """Write the rest; the film is there now, synced."""
        self._mux(None)
        try:
            self._container.close()
            put_in_place(self._part, self.path)
        except self._errors as error:
            self.discard()
            raise cannot_write(self.path, error) from error

    def discard(self) -> None:
        """Leave nothing."""
        with suppress(AttributeError, *self._errors):
            self._container.close()
        self._part.unlink(missing_ok=True)


def write_pictures(path: Path, pictures: Iterable[np.ndarray], rate: int) -> None:
    """Write a film that browsers play: H.264, 8 bits, BT.709.

    Args:
        path: the file.
        pictures: uint8 BGR, `(h, w, 3)`, of one size, even.
        rate: of them in a second.

    Raises:
        UserError: the file cannot be written, PyAV is missing.
    """
    writer: FilmWriter | None = None
    try:
        for time, picture in enumerate(pictures):
            if writer is None:
                height, width = picture.shape[:2]
                info = FilmInfo(width, height, Fraction(1, rate), Fraction(rate), Colour(RGB, True), Tags(1, 1, 1, 1))
                film = choose_format(info, width, height, *choose_encoder('h264', None))
                writer = FilmWriter(path, film, options={'movflags': '+faststart'})
            rgb = torch.from_numpy(picture[..., ::-1].copy()).permute(2, 0, 1)[None].float() / 255
            writer.write(to_planes(rgb, writer.film.colour), time, 1)
        if writer is not None:
            writer.close()
    except BaseException:
        if writer is not None:
            writer.discard()
        raise


def part_of(path: Path) -> Path:
    """The name that a file has while it is written."""
    return path.with_name(f'.{path.stem}.{os.getpid()}.part{path.suffix}')


def put_in_place(part: Path, path: Path) -> None:
    """Sync a file that is whole, and give it its name."""
    with open(part, 'rb') as file:
        os.fsync(file.fileno())
    os.replace(part, path)


def cannot_write(path: Path, error: BaseException) -> UserError:
    """The error of a file that cannot be written on."""
    return UserError(f'{path}: cannot be written ({_reason(error)}); what is done stays: repeat the command to go on')


def format_of(path: Path) -> str:
    """FFmpeg's name of the format that a suffix stands for; of those that keep times (AVI does not).

    Raises:
        UserError: for none.
    """
    names = {'.mp4': 'mp4', '.m4v': 'mp4', '.mov': 'mov', '.mkv': 'matroska', '.webm': 'webm', '.ts': 'mpegts',
             '.m2ts': 'mpegts'}  # fmt: skip
    name = names.get(path.suffix.lower())
    if name is None:
        raise UserError(f'{path}: films are written as {", ".join(names)}')
    return name


def add_video(container: Any, film: FilmFormat) -> Any:
    """The video track of a film that is being written."""
    encoder = film.encoder
    os.environ.setdefault('SVT_LOG', '1')  # SVT-AV1 tells its settings on stderr otherwise; 1: errors
    options = dict(encoder.options) | ({} if film.crf is None else {'crf': str(film.crf)})
    stream = container.add_stream(encoder.name, rate=film.rate, options=options)
    stream.width, stream.height, stream.pix_fmt = film.width, film.height, film.pixels
    context = stream.codec_context
    context.time_base = film.time_base
    # Beside the frames, so that parts have the same, and every format can be made of them.
    context.flags |= int(import_av().codec.context.Flags.global_header)
    stream.time_base = film.time_base
    if film.pixel_aspect:
        context.sample_aspect_ratio = film.pixel_aspect
    set_tags(context, film.tags)
    return stream


def set_tags(of: Any, tags: Tags) -> None:
    """Tell the colours of a frame or of an encoder."""
    of.color_range, of.colorspace = tags.range, tags.matrix
    of.color_primaries, of.color_trc = tags.primaries, tags.transfer


def tells_aspect(container: str, film: FilmFormat) -> bool:
    """Whether a film in a container tells that its pixels are not square.

    Matroska's header is not filled by PyAV; of codecs that tell it themselves alone it is known there.
    """
    return container not in ('matroska', 'webm') or film.encoder.name in ('libx264', 'libx265', 'mpeg4')


def fits(container: str, film: FilmFormat) -> bool:
    """Whether a container holds such a video track."""
    av = import_av()
    try:
        with av.open(io.BytesIO(), 'w', format=container) as trial:
            add_video(trial, film)
            trial.start_encoding()
    except (av.FFmpegError, ValueError, OSError):
        return False
    return True
