"""Ctrl+C and SIGTERM end a training between two iterations, with its state saved; other work with nothing half done."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from vsrkd_plugin.errors import TrainingInterrupted

_received: int | None = None


@contextmanager
def graceful() -> Iterator[None]:
    """Within: a first SIGINT or SIGTERM is only noted, for `stop_if_asked`; a second one acts at once."""
    global _received
    _received = None

    def note(number: int, _frame: FrameType | None) -> None:
        global _received
        _received = number
        for each, handler in stock.items():
            signal.signal(each, handler)
        print(
            f'{signal.Signals(number).name}: the training is saved after this iteration; again to stop at once.',
            flush=True,
        )

    stock = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in stock:
        signal.signal(number, note)
    try:
        yield
    finally:
        for number, handler in stock.items():
            signal.signal(number, handler)


@contextmanager
def cleaning_up() -> Iterator[None]:
    """Within: SIGTERM ends the process as an exception does, so that files begun are taken away. In the main thread.

    Raises:
        SystemExit: the signal has come; 128 + its number.
    """

    def end(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def stop_if_asked(model: Any, epoch: int, iteration: int) -> None:
    """Save `model` and end the training, if a signal has come.

    Args:
        model: BasicSR's model in training.
        epoch: the one to resume in.
        iteration: how many are done.

    Raises:
        TrainingInterrupted: after saving.
    """
    if _received is None:
        return
    if iteration > 0:
        model.save(epoch, iteration)
    raise TrainingInterrupted(_received, iteration)
