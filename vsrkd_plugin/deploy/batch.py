"""Picture files enlarged one after the other: the next is read and the last is written while the network runs."""

import itertools
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vsrkd_plugin.deploy.jobs import Job
from vsrkd_plugin.deploy.picture_writing import Output, write_picture
from vsrkd_plugin.deploy.pictures import Picture, read_picture
from vsrkd_plugin.deploy.upscaling import Upscaler
from vsrkd_plugin.errors import UserError, first_line
from vsrkd_plugin.run.faults import FULL
from vsrkd_plugin.run.progress import Progress, progress

_STRIPS = 3  # in memory at once: one that is made, one that waits, one that is written


@dataclass
class Summary:
    """What became of the pictures.

    Attributes:
        done: files that were written.
        skipped: files that were there already.
        failed: source → what was wrong.
        notes: what was converted → sources.
        pixels: of all that was written.
        seconds: passed.
    """

    done: list[Path] = field(default_factory=list)
    skipped: list[Path] = field(default_factory=list)
    failed: dict[Path, str] = field(default_factory=dict)
    notes: dict[str, list[Path]] = field(default_factory=dict)
    pixels: int = 0
    seconds: float = 0.0


def upscale_pictures(
    upscaler: Upscaler, jobs: Sequence[Job], skip_existing: bool = False, say: Callable[[str], None] = print
) -> Summary:
    """Enlarge picture files. One that cannot be is told, and the others go on.

    Args:
        upscaler: what enlarges them.
        jobs: which, and into which files.
        skip_existing: leave files alone that are there already.
        say: is told of each picture that failed.

    Raises:
        UserError: the disk is full; what was written before stays.
    """
    started = time.monotonic()
    summary = Summary(skipped=[job.target for job in jobs if skip_existing and job.target.exists()])
    skipped = set(summary.skipped)
    left = [job for job in jobs if job.target not in skipped]
    told: Progress[Job]
    with (
        progress(len(left), 'upscaling', 'picture', lines=len(left) > 1) as told,
        ThreadPoolExecutor(1, 'reading') as reader,
        _Writing(summary, say) as writing,
    ):
        reading = [reader.submit(read_picture, job.source) for job in left[:1]]
        for job, following in itertools.zip_longest(left, left[1:]):
            told.note(job.source.name)
            try:
                picture = reading.pop().result()
                if following is not None:
                    reading.append(reader.submit(read_picture, following.source))
                _upscale(upscaler, job, picture, writing, bool(reading))
                del picture
            except _DiskFull:
                raise
            except UserError as error:
                if following is not None and not reading:
                    reading.append(reader.submit(read_picture, following.source))
                writing.fail(job, error)
            told.update()
    summary.seconds = time.monotonic() - started
    return summary


def _upscale(upscaler: Upscaler, job: Job, picture: Picture, writing: '_Writing', reads_on: bool) -> None:
    """Run the network; the file may be written still when this ends."""
    height, width, channels = picture.pixels.shape
    output = Output(
        job.target, *upscaler.out_size(height, width), channels, picture.pixels.dtype, picture.icc, picture.exif
    )
    output.check()
    reserved = output.bytes_held + (1 + 2 * reads_on) * picture.pixels.nbytes  # the next, as it is decoded and as read
    a_row = _STRIPS * upscaler.scale * output.width * channels * output.dtype.itemsize
    plan = upscaler.plan(height, width, channels, reserved, int(a_row))
    with writing.strips(job, output, picture.notes) as strips:
        told: Progress[int]
        try:
            with progress(len(plan), job.source.name, 'tile', lines=len(plan) > 1) as told:
                for strip in upscaler.strips(picture.pixels, plan, output.dtype, told.update):
                    strips.put(strip)
        except UserError as error:
            raise UserError(f'{job.source}: {error}') from error


class _DiskFull(UserError):
    """No further picture can be written."""


class _Abandoned(Exception):
    """The rest of a picture does not come."""


class _Strips:
    """Strips of a picture on their way from the network to the file; at most one waits.

    A context of the side that makes them: if it ends by an error, the file is not written.
    """

    def __init__(self) -> None:
        self._waiting: queue.Queue[np.ndarray | BaseException | None] = queue.Queue(1)
        self._gone = threading.Event()

    def put(self, strip: np.ndarray | BaseException | None) -> None:
        """Hand over a strip; nobody takes it where writing failed."""
        while not self._gone.is_set():
            try:
                return self._waiting.put(strip, timeout=0.1)
            except queue.Full:
                continue

    def __enter__(self) -> '_Strips':
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        self.put(None if error is None else _Abandoned())

    def write(self, output: Output) -> None:
        """Write the picture as its strips come, in another thread."""
        try:
            write_picture(output, self._taken())
        finally:
            self._gone.set()

    def _taken(self) -> Iterator[np.ndarray]:
        while (strip := self._waiting.get()) is not None:
            if isinstance(strip, BaseException):
                raise strip
            yield strip


class _Writing:
    """The files that are written, one at a time, and what became of them."""

    def __init__(self, summary: Summary, say: Callable[[str], None]) -> None:
        self.summary, self._say = summary, say
        self._writer = ThreadPoolExecutor(1, 'writing')
        self._running: list[tuple[Job, Output, tuple[str, ...], Future[None]]] = []

    def __enter__(self) -> '_Writing':
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        try:
            while error is None and self._running:
                self._finish()
        finally:
            self._writer.shutdown()

    def strips(self, job: Job, output: Output, notes: tuple[str, ...]) -> _Strips:
        """Where the strips of the next file go; the one before may be written still."""
        while len(self._running) > 1:
            self._finish()
        strips = _Strips()
        self._running.append((job, output, (*notes, *output.losses), self._writer.submit(strips.write, output)))
        return strips

    def fail(self, job: Job, error: Exception) -> None:
        """Note that a picture could not be enlarged."""
        self.summary.failed[job.source] = str(error)
        self._say(f'failed: {error}')

    def _finish(self) -> None:
        job, output, notes, future = self._running.pop(0)
        try:
            future.result()
        except _Abandoned:
            return  # why, is told where it was seen
        except OSError as error:
            told = UserError(f'{job.target}: cannot be written ({error.strerror or first_line(error)})')
            if error.errno in FULL:
                done = len(self.summary.done)
                raise _DiskFull(
                    f'{told}; {done} file{"s" * (done != 1)} were written before; --skip-existing goes on from there'
                ) from error
            return self.fail(job, told)
        except Exception as error:  # whatever an encoder raises of a picture
            return self.fail(job, UserError(f'{job.target}: cannot be written ({first_line(error)})'))
        self.summary.done.append(job.target)
        self.summary.pixels += output.height * output.width
        for note in notes:
            self.summary.notes.setdefault(note, []).append(job.source)
