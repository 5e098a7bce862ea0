"""Signals end a training between two iterations, with its state saved; other work with nothing half done."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from vsrkd_plugin.errors import TrainingInterrupted

# Ctrl+C, `kill`, and a terminal that is closed, which Windows does not tell.
SIGNALS = tuple(getattr(signal, name) for name in ('SIGINT', 'SIGTERM', 'SIGHUP') if hasattr(signal, name))
Handler = Callable[[int, FrameType | None], Any]
_ONE_PRESS = 1.0  # seconds: Ctrl+C reaches the processes of torchrun twice, from the terminal and from torchrun
_received: int | None = None
_agreement: Any = None  # of several processes


class Ended(KeyboardInterrupt):
    """A signal has come. No `except Exception` stops it, and files begun are taken away on its way."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


def signal_behind(error: BaseException) -> Ended | None:
    """The signal that made code on its way raise something else, as Python does where a class was being made."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, Ended):
            return seen
        seen = seen.__cause__ or seen.__context__
    return None


@contextmanager
def _handled(handler: Handler) -> Iterator[None]:
    """Within: signals go to a handler, but those that are ignored (`nohup`); in threads nothing changes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    stock = {number: signal.getsignal(number) for number in SIGNALS}
    stock = {number: each for number, each in stock.items() if each not in (signal.SIG_IGN, None)}  # None: of C code
    for number in stock:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number, each in stock.items():
            signal.signal(number, each)


@contextmanager
def leaving_at_once(program: str) -> Iterator[None]:
    """Within: a signal ends the process in one line. For its start and its end, when nothing is begun.

    An exception would not do: what it meets in the middle of an import makes another of it.
    """

    def leave(number: int, _frame: FrameType | None) -> None:
        with suppress(Exception):  # it may be at work there at this moment, or the reader is gone
            sys.stdout.flush()
        print(f'{program}: interrupted ({signal.Signals(number).name})', file=sys.stderr, flush=True)
        os._exit(128 + number)

    with _handled(leave):
        yield


@contextmanager
def graceful() -> Iterator[None]:
    """Within: a first signal is only noted, for `stop_if_asked`; a second one, a second later, acts at once."""
    global _received, _agreement
    _received = _agreement = None
    first = 0.0

    def note(number: int, frame: FrameType | None) -> None:
        global _received
        nonlocal first
        now = time.monotonic()
        if _received is not None:
            if now - first >= _ONE_PRESS:
                _act(number, stock[number], frame)
            return
        _received, first = number, now
        print(
            f'{signal.Signals(number).name}: the training is saved after this iteration; again to stop at once.',
            flush=True,
        )

    stock = {number: signal.getsignal(number) for number in SIGNALS}
    with _handled(note):
        yield


def _act(number: int, handler: Any, frame: FrameType | None) -> None:
    """What a signal does where nobody notes it."""
    if callable(handler):
        handler(number, frame)
        return
    signal.signal(number, handler)
    signal.raise_signal(number)


@contextmanager
def cleaning_up() -> Iterator[None]:
    """Within: a signal ends the work as an exception does, so that files begun are taken away.

    Raises:
        Ended: the signal has come.
    """

    def end(number: int, _frame: FrameType | None) -> None:
        raise Ended(number)

    with _handled(end):
        yield


def stop_if_asked(model: Any, epoch: int, iteration: int) -> None:
    """Save `model` and end the training, if a signal has come; to any of several processes: all end in one iteration.

    Args:
        model: BasicSR's model in training.
        epoch: the one to resume in.
        iteration: how many are done.

    Raises:
        TrainingInterrupted: after saving.
    """
    from vsrkd_plugin.ops.parallel import Agreement, world_size  # here: torch is not there yet when a program starts

    global _agreement
    received = _received or 0
    if world_size() > 1:
        _agreement = _agreement or Agreement()
        received = _agreement.ask(received)
    if not received:
        return
    if iteration > 0:
        model.save(epoch, iteration)
    raise TrainingInterrupted(received, iteration)
