"""Signals that are noted while a training runs."""

import signal
import time
from collections.abc import Iterator

import pytest

from vsrkd_plugin.errors import TrainingInterrupted
from vsrkd_plugin.run import interruption
from vsrkd_plugin.run.interruption import Ended, cleaning_up, graceful, stop_if_asked


class Model:
    saved: tuple[int, int] | None = None

    def save(self, epoch: int, iteration: int) -> None:
        self.saved = epoch, iteration


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    """Nothing received; and SIGINT is not ignored, as it is in what a shell starts in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
    interruption._received = None


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize('presses', [0, 1, 2])
def test_a_signal_saves_even_if_it_comes_twice_at_once(number: int, presses: int) -> None:
    """As Ctrl+C does where torchrun hands on what the terminal has sent already."""
    model = Model()
    with graceful():
        for _ in range(presses):
            signal.raise_signal(number)
        if not presses:
            stop_if_asked(model, 3, 7)
            return
        with pytest.raises(TrainingInterrupted):
            stop_if_asked(model, 3, 7)
    assert model.saved == (3, 7)


def test_a_second_one_later_ends_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interruption, '_ONE_PRESS', 0.05)
    with cleaning_up(), graceful():
        signal.raise_signal(signal.SIGTERM)
        time.sleep(0.06)
        with pytest.raises(Ended):
            signal.raise_signal(signal.SIGTERM)
