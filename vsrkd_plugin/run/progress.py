"""How far a long piece of work is: a bar on a terminal, a plain line now and then elsewhere, nothing in a library.

    for path in progress(paths, 'upscaling', 'picture'):
        …
    with progress(len(paths), 'upscaling', 'picture') as told:
        told.update()

Both are on standard error, and only within `shown()`, which the command line is: functions that a notebook calls say
nothing. What is printed or logged while a bar is up goes above it.
"""

import logging
import os
import shutil
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sized
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Any, Generic, TextIO, TypeVar, overload

from tqdm import tqdm

T = TypeVar('T')
EVERY = 10.0  # seconds between the plain lines of one piece of work

_show = False
_bars: list['Progress[Any]'] = []  # that are up, the outermost first


@contextmanager
def shown(on: bool = True) -> Iterator[None]:
    """Have progress told within, in all threads of this process; or kept silent within, where `on` is False."""
    global _show
    before, _show = _show, on
    try:
        yield
    finally:
        _show = before


@overload
def progress(
    of: Iterable[T],
    description: str,
    unit: str,
    *,
    total: int | None = None,
    initial: int = 0,
    lines: bool = True,
    silent: bool = False,
    every: float = EVERY,
    bar_format: str | None = None,
) -> 'Progress[T]': ...
@overload
def progress(
    of: int | None,
    description: str,
    unit: str,
    *,
    total: int | None = None,
    initial: int = 0,
    lines: bool = True,
    silent: bool = False,
    every: float = EVERY,
    bar_format: str | None = None,
) -> 'Progress[Any]': ...
def progress(
    of: Iterable[T] | int | None,
    description: str,
    unit: str,
    *,
    total: int | None = None,
    initial: int = 0,
    lines: bool = True,
    silent: bool = False,
    every: float = EVERY,
    bar_format: str | None = None,
) -> 'Progress[Any]':
    """Tell how far a piece of work is.

    Args:
        of: what to go through; or how many there are, for `update`; None where nobody knows.
        description: what is done, 'upscaling'.
        unit: what is counted, in the singular.
        total: how many there are, where `of` does not tell.
        initial: how many were done before.
        lines: False where log lines tell of the work anyway: without a terminal nothing is written then.
        silent: whether nothing is told, even within `shown()`.
        every: seconds, at least, between plain lines.
        bar_format: of a bar that looks otherwise, as tqdm takes it.
    """
    if total is None:
        total = of if isinstance(of, int) else len(of) if isinstance(of, Sized) else None
    return Progress(of, total, description, unit, initial, lines, silent, every, bar_format)


class Progress(Generic[T]):
    """An iterator over the work, or a context in which `update` counts it; see `progress`."""

    def __init__(
        self,
        of: Iterable[T] | int | None,
        total: int | None,
        description: str,
        unit: str,
        initial: int,
        lines: bool,
        silent: bool,
        every: float,
        bar_format: str | None,
    ) -> None:
        self.total = total
        self.done = initial
        self._items = of
        self._description, self._unit, self._note = description, unit, ''
        self._initial, self._lines, self._silent, self._every = initial, lines, silent, every
        self._bar_format = bar_format
        self._bar: Any = None
        self._lock = threading.Lock()
        self._stack = ExitStack()
        self._said: int | None = None  # what the last plain line told as done

    def __enter__(self) -> 'Progress[T]':
        self._started = self._last = time.monotonic()
        show = _show and not self._silent
        self._lines = self._lines and show
        if show and _is_terminal(sys.stderr):
            self._lines = False
            inner = bool(_bars)
            if not inner:
                self._stack.enter_context(_above_the_bars())
            self._bar = tqdm(
                total=self.total,
                initial=self._initial,
                desc=self._description,
                unit=f' {self._unit}',
                file=_terminal(),
                leave=not inner,
                **_width(_terminal()),
                bar_format=self._bar_format,
                smoothing=0,  # the time left is by the mean of all
            )
            _bars.append(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()
            _bars.remove(self)
        elif self._said not in (None, self.done):
            self._say()
        self._stack.close()

    def __iter__(self) -> Iterator[T]:
        assert isinstance(self._items, Iterable), 'a number was given: use it as a context'
        with self:
            for item in self._items:
                yield item
                self.update()

    def update(self, number: int = 1) -> None:
        """Count `number` more as done; from any thread."""
        with self._lock:
            self.done += number
            if self._bar is not None:
                self._bar.update(number)
            elif self._lines and time.monotonic() - self._last >= self._every:
                self._say()

    def note(self, text: str) -> None:
        """Say `text` behind the figures from now on: the file's name, the loss."""
        self._note = text
        if self._bar is not None:
            self._bar.set_postfix_str(text, refresh=False)

    def seconds_left(self) -> float | None:
        """For the rest, at the mean pace so far; None where that is not known yet."""
        fresh = self.done - self._initial
        if self.total is None or not fresh:
            return None
        return (time.monotonic() - self._started) * max(self.total - self.done, 0) / fresh

    def describe(self, text: str) -> None:
        """Say from now on that `text` is being done."""
        self._description = text
        if self._bar is not None:
            self._bar.set_description_str(text)

    def expect(self, total: int) -> None:
        """There are `total` of them, as is known by now."""
        self.total = total
        if self._bar is not None:
            self._bar.total = total
            self._bar.refresh()

    def _say(self) -> None:
        """One plain line."""
        self._last, self._said = time.monotonic(), self.done
        seconds = self._last - self._started
        parts = [f'{self.done:,}{"" if self.total is None else f" of {self.total:,}"} {_plural(self._unit)}']
        if self.total:
            parts.append(f'{100 * self.done / self.total:.0f} %')
        parts.append(f'{tqdm.format_interval(seconds)} passed')
        if left := self.seconds_left():
            parts.append(f'{tqdm.format_interval(left)} left')
        if self._note:
            parts.append(self._note)
        print(f'{self._description}: {", ".join(parts)}', file=sys.stderr, flush=True)


def seconds_left_below(outer: Progress[Any]) -> float:
    """What the bars below a bar that is up say is left of their work."""
    return max((bar.seconds_left() or 0 for bar in list(_bars) if bar is not outer), default=0)


def _plural(unit: str) -> str:
    return unit if unit.endswith('s') else f'{unit}s'


def _is_terminal(stream: Any) -> bool:
    """Whether a bar may be drawn on it; a notebook's cell takes one too."""
    return stream is not None and (stream.isatty() or type(stream).__module__.startswith('ipykernel.'))


def _width(terminal: TextIO) -> dict[str, Any]:
    """What makes a bar as wide as its terminal, for tqdm; of one that tells no width (0) it would draw nothing."""
    try:
        told = os.get_terminal_size(terminal.fileno()).columns > 0
    except (OSError, ValueError):  # a notebook's cell
        told = True
    return {'dynamic_ncols': True} if told else {'ncols': shutil.get_terminal_size().columns}


def _terminal() -> TextIO:
    """Standard error itself, whatever stands in for it."""
    return sys.stderr.stream if isinstance(sys.stderr, _Above) else sys.stderr


class _Above:
    """A terminal's stream as others see it while bars are up: whole lines, written above the bars."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self._line = ''

    def write(self, text: str) -> int:
        with tqdm.get_lock():
            whole, end, self._line = (self._line + text).rpartition('\n')
            if end:
                with tqdm.external_write_mode(file=_terminal()):
                    self.stream.write(whole + end)
                    self.stream.flush()
        return len(text)

    def close_line(self) -> None:
        """Write the part of a line that is left."""
        self.stream.write(self._line)
        self._line = ''

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextmanager
def _above_the_bars() -> Iterator[None]:
    """Let what is printed, warned of and logged to the terminal stand above the bars."""
    streams = {name: getattr(sys, name) for name in ('stdout', 'stderr')}
    stand_ins = {id(stream): _Above(stream) for stream in streams.values() if _is_terminal(stream)}
    for name, stream in streams.items():
        setattr(sys, name, stand_ins.get(id(stream), stream))
    handlers = list(_handlers_on(stand_ins))
    for handler in handlers:
        handler.setStream(stand_ins[id(handler.stream)])
    try:
        yield
    finally:
        for handler in _handlers_on({id(above): above for above in stand_ins.values()}):  # those made meanwhile, too
            handler.setStream(handler.stream.stream)
        for name, stream in streams.items():
            if isinstance(getattr(sys, name), _Above):
                setattr(sys, name, stream)
        for above in stand_ins.values():
            above.close_line()


def _handlers_on(streams: dict[int, '_Above']) -> Iterator['logging.StreamHandler[Any]']:
    """Handlers of any logger that write to one of the streams, by their ids."""
    loggers = [logging.root, *logging.root.manager.loggerDict.values()]
    for log in loggers:
        for handler in log.handlers if isinstance(log, logging.Logger) else ():
            if isinstance(handler, logging.StreamHandler) and id(handler.stream) in streams:
                yield handler
