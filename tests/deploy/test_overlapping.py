"""Reading ahead and writing behind: order is kept, errors arrive, threads end."""

import threading
import time
from collections.abc import Iterator

import pytest

from vsrkd_plugin.deploy import overlapping
from vsrkd_plugin.deploy.overlapping import Ahead, Behind


def test_work_overlaps() -> None:
    def slow() -> Iterator[int]:
        for number in range(8):
            time.sleep(0.05)
            yield number

    written: list[int] = []

    def write(number: int) -> None:
        time.sleep(0.05)
        written.append(number)

    started = time.perf_counter()
    with Behind() as behind, Ahead(slow()) as items:
        for number in items:
            time.sleep(0.05)
            behind.call(write, number)
    assert written == list(range(8))
    assert time.perf_counter() - started < 0.8 * 3 * 8 * 0.05


def test_an_error_in_reading_is_raised_behind_what_was_read() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise OSError('gone')

    seen = []
    with pytest.raises(OSError, match='gone'), Ahead(broken()) as items:
        for number in items:
            seen.append(number)
    assert seen == [1]


def test_an_error_in_writing_is_raised_at_once_or_at_the_end() -> None:
    called = []

    def fail(number: int) -> None:
        called.append(number)
        raise OSError('full')

    with pytest.raises(OSError, match='full'), Behind() as behind:
        behind.call(fail, 1)
    with pytest.raises(OSError, match='full'), Behind() as behind:
        for number in range(100):
            behind.call(fail, number)
            time.sleep(0.01)
    assert called == [1, 0], 'it went on behind an error'


def test_an_error_between_stops_both() -> None:
    def endless() -> Iterator[int]:
        while True:
            yield 0

    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt), Behind() as behind, Ahead(endless()) as items:
        for _ in items:
            behind.call(time.sleep, 0)
            raise KeyboardInterrupt
    assert threading.active_count() == before


@pytest.mark.parametrize('of', ['reading', 'writing'])
def test_a_signal_at_the_end_waits_for_what_is_at_work(of: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a process that ends leaves half a file. What waits is not begun any more."""
    ended: list[int] = []

    def work(number: int) -> int:
        time.sleep(0.2)
        ended.append(number)
        return number

    stock = threading.Thread.join

    def interrupted(thread: threading.Thread, timeout: float | None = None) -> None:
        monkeypatch.setattr(threading.Thread, 'join', stock)
        time.sleep(0.05)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        if of == 'writing':
            with Behind() as behind:
                behind.call(work, 0)
                behind.call(work, 1)
                monkeypatch.setattr(threading.Thread, 'join', interrupted)
        else:
            with Ahead(map(work, range(5))):
                time.sleep(0.05)
                monkeypatch.setattr(threading.Thread, 'join', interrupted)
    assert ended == [0]
    time.sleep(0.3)
    assert ended == [0], 'a thread was left at work'


def test_a_signal_while_there_is_no_room_for_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread works on frames that wait, and the end has to wait for room behind them."""
    ended: list[int] = []

    def work(number: int) -> None:
        time.sleep(0.1)
        ended.append(number)

    def interrupted(*_args: object) -> bool:
        time.sleep(0.02)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), Behind() as behind:
        for number in range(3):
            behind.call(work, number)
        monkeypatch.setattr(overlapping, '_put', interrupted)
    left = list(ended)
    time.sleep(0.3)
    assert ended == left and len(ended) < 3, 'a thread was left at work'
