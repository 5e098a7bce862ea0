"""Films and clips, enlarged as they are read: by image networks frame by frame, by video networks with their memory."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vsrkd_plugin.deploy.film_colour import to_rgb
from vsrkd_plugin.deploy.film_encoding import DEFAULT_CODEC, format_of
from vsrkd_plugin.deploy.film_progress import KeptParts, fingerprint
from vsrkd_plugin.deploy.film_reading import FilmReader
from vsrkd_plugin.deploy.film_targets import FilmTarget, FolderTarget, Reader, Target
from vsrkd_plugin.deploy.frame_folders import FRAMES_PER_SECOND, FolderReader
from vsrkd_plugin.deploy.model import Model
from vsrkd_plugin.deploy.overlapping import Ahead, Behind
from vsrkd_plugin.deploy.streaming import TimedStream, open_stream, out_size
from vsrkd_plugin.deploy.upscaling import Tile, choose_dtype
from vsrkd_plugin.errors import UserError
from vsrkd_plugin.run.folder_lock import owned
from vsrkd_plugin.run.progress import Progress, progress

FILM_SUFFIXES = (
    '.mp4', '.m4v', '.mov', '.mkv', '.webm', '.avi', '.mpg', '.mpeg', '.ts', '.m2ts', '.mts', '.vob', '.wmv', '.flv',
    '.3gp', '.ogv', '.y4m', '.gif',
)  # fmt: skip
PART = 240  # frames, after which an interrupted film goes on
_WAITING = 2  # frames that are read ahead, and that wait to be written
_VERSION = '1'  # of what is kept in parts


def is_film(path: Path) -> bool:
    """Whether a name is one of a film, by its suffix. A folder of frames is none: what it is, the network decides."""
    return Path(path).suffix.lower() in FILM_SUFFIXES


@dataclass(frozen=True)
class FilmResult:
    """What became of a film.

    Attributes:
        frames: enlarged, those of an interrupted run before included.
        seconds: this run took.
        frames_per_second: of this run.
        cut_short: what was wrong with the source behind the last frame that could be read; empty if nothing was.
        told: what was left out or is otherwise than in the source, a line each; they were said already.
    """

    frames: int
    seconds: float
    frames_per_second: float
    cut_short: str = ''
    told: tuple[str, ...] = ()


def upscale_film(
    model: Model,
    source: Path,
    target: Path,
    *,
    scale: float | None = None,
    tile: Tile = 'auto',
    memory_limit: int | None = None,
    device: torch.device | str = 'cpu',
    precision: str = 'auto',
    codec: str = DEFAULT_CODEC,
    crf: int | None = None,
    fps: Fraction | None = None,
    part: int = PART,
    say: Callable[[str], None] = print,
) -> FilmResult:
    """Enlarge a film, or a folder of frames.

    Args:
        model: of images (frame by frame) or of clips.
        source: a film, or a folder of frames.
        target: a film, or a folder for PNG frames (a name without a film's suffix).
        scale: the factor; the network's own if None; one that it has not is reached by resizing after it.
        tile: side of a tile in pixels of LR, or 'auto'; of image networks: films by video networks are not tiled.
        memory_limit: bytes that the process may take; None: what is free. Of image networks.
        device: that the network runs on.
        precision: `auto`, `bf16` or `fp32`.
        codec: of the film written: a name of `CODECS`, or any encoder of FFmpeg's.
        crf: quality, lower is better; None: the codec's default.
        fps: of a film made of a folder of frames.
        part: frames, after which an interrupted film goes on.
        say: is told what is done otherwise than asked for.

    Raises:
        UserError: the source cannot be read or has no pictures, the target is the source or cannot be written, the
            extra `video` is missing.
    """
    source, target, device = Path(source), Path(target).absolute(), torch.device(device)
    _refuse_itself(source, target)
    notes: list[str] = []

    def tell(text: str) -> None:
        notes.append(text)
        say(f'{source}: {text}')

    started = time.monotonic()
    with _open_source(source, fps) as reader:
        for text in reader.told:
            tell(text)
        reader.told.clear()
        stream, factor = open_stream(model, scale, tile, memory_limit, device, precision, tell)
        to: Target = (
            FilmTarget(reader, source, target, codec, crf, partial(out_size, scale=factor), tell)
            if is_film(target)
            else FolderTarget(reader, target)
        )
        made_of = {
            'source': fingerprint(source),
            'model': fingerprint(model.path) + json.dumps(model.header.as_json(), sort_keys=True),
            'factor': f'{factor:g}',
            'precision': str(choose_dtype(precision, device)),
            'length of parts': str(part),
            'way of writing': f'{_VERSION} {to.made_of}',
        }
        kept = KeptParts(target, made_of)
        with owned(kept.folder, str(target)):
            kept.open(to.lacks)
            if kept.why_anew:
                tell(f'what is in {kept.folder} was {kept.why_anew}: begins anew; it is in {kept.aside} now')
            done = _Enlarging(reader, TimedStream(stream), to, kept, device, part).run(tell)
            for text in reader.told:
                tell(text)
            state = kept.state
            assert state is not None
            if state['cut_short']:
                tell(f'{state["cut_short"]}: what is before is enlarged')
            to.finish([kept.part(index) for index in range(kept.count)], state['end'])
            kept.remove()
    seconds = time.monotonic() - started
    speed = done / seconds
    return FilmResult(state['written'], seconds, speed, state['cut_short'], tuple(notes))


class _Enlarging:
    """Reading, enlarging and writing, each in a thread of its own."""

    def __init__(
        self, reader: Reader, stream: TimedStream, to: Target, kept: KeptParts, device: torch.device, part: int
    ) -> None:
        self.reader, self.stream, self.to, self.kept, self.device, self.part = reader, stream, to, kept, device, part
        state = kept.state or {}
        self.read, self.written = state.get('read', 0), state.get('written', 0)
        self._in_part, self._end = 0, 0
        self._parts = kept.count
        if state:
            stream.load_state_dict(state['stream'])

    def run(self, tell: Callable[[str], None]) -> int:
        """Enlarge what is left; gives the number of frames."""
        before = self.written
        if self.kept.state is not None:
            if self.kept.state['complete']:
                return 0
            tell(f'goes on behind frame {before:,}')
        try:
            with (
                torch.inference_mode(),
                _progress(self.reader.info.frames, before) as told,
                Behind(_WAITING) as behind,
                Ahead(self._frames(), _WAITING) as frames,
            ):
                for frame, moment in frames:
                    self.read += 1
                    self._put(behind, self.stream.push(frame, moment), told)
                    if self._in_part >= self.part:
                        self._close(behind)
                self._put(behind, self.stream.finish(), told)
                self._close(behind, complete=True)
        except BaseException:
            self.to.discard()
            if not self.kept.count:
                self.kept.remove()
            else:
                tell(f'{self.kept.count} parts are kept in {self.kept.folder}; the same command goes on')
            raise
        return self.written - before

    def _frames(self) -> Iterator[tuple[Tensor, tuple[int, int]]]:
        """LR frames, upright, on the device."""
        for frame in self.reader.frames(self.read):
            rgb = to_rgb(frame.planes, self.reader.info.colour, self.device)
            yield torch.rot90(rgb, self.to.turns, (-2, -1)) if self.to.turns else rgb, (frame.time, frame.duration)

    def _put(self, behind: Behind, results: list[tuple[Tensor, Any]], told: Progress[int]) -> None:
        for rgb, moment in results:
            if not self._in_part:
                behind.call(self.to.open_part, self.kept.part(self._parts), self.written)
            behind.call(self._write, self.to.planes(rgb), moment, told)
            self._in_part, self._end = self._in_part + 1, sum(moment)
            self.written += 1

    def _write(self, planes: list[Tensor], moment: tuple[int, int], told: Progress[int]) -> None:
        self.to.write(planes, *moment)
        told.update()

    def _close(self, behind: Behind, complete: bool = False) -> None:
        """The frames of a part have been given: what comes next is made of the state that is kept with it."""
        state = {
            'read': self.read,
            'written': self.written,
            'end': self._end,
            'complete': complete,
            'cut_short': self.reader.cut_short if complete else '',
            'stream': self.stream.state_dict(),
        }
        behind.call(self._keep, state, self._in_part > 0)
        self._parts += self._in_part > 0
        self._in_part = 0

    def _keep(self, state: dict[str, Any], has_part: bool) -> None:
        sizes = [] if self.kept.state is None else self.kept.state['sizes']
        self.kept.save({**state, 'sizes': [*sizes, self.to.close_part()] if has_part else sizes})


def _progress(frames: int | None, done: int) -> Progress[int]:
    return progress(frames, 'upscaling', 'frame', initial=done)


def _refuse_itself(source: Path, target: Path) -> None:
    if not source.exists():
        raise UserError(f'{source}: no such file or folder')
    with suppress(OSError):
        if target.exists() and target.samefile(source):
            raise UserError(f'{target}: is the input; expected another name')
    if is_film(target):
        format_of(target)


def _open_source(source: Path, fps: Fraction | None) -> Reader:
    return FolderReader(source, fps or FRAMES_PER_SECOND) if source.is_dir() else FilmReader(source)
