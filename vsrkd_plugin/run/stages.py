"""A command of several stages for which a time was set: what it does now, and how long all of it will take."""

import threading
import time
from types import TracebackType

from tqdm import tqdm

from vsrkd_plugin.run.progress import progress, seconds_left_below

_FORMAT = '{desc}: {percentage:3.0f}%|{bar}|'
_TICK = 1.0  # seconds
_LATE = 1.02  # what has taken as long as was expected will take a little longer still


class Stages:
    """Lines with the seconds since the start, on standard output; on a terminal a bar of the time below them.

    Args:
        name: of the command.
        seconds: that all of it is expected to take; None where nobody knows, then there is no bar.
        started: when it began, by `time.monotonic()`.
    """

    def __init__(self, name: str, seconds: float | None, started: float | None = None) -> None:
        self._name, self._expected, self._stage = name, seconds, 'starting'
        self._started = time.monotonic() if started is None else started
        self._bar = progress(
            _whole(seconds or 0),
            name,
            'second',
            initial=_whole(self.seconds()),
            lines=False,
            silent=seconds is None,
            bar_format=_FORMAT,
        )
        self._ended = threading.Event()
        self._clock = threading.Thread(target=self._tick, daemon=True)

    def __enter__(self) -> 'Stages':
        self._bar.__enter__()
        self._clock.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        self._clock.join()
        if kind is None:
            self._bar.expect(self._bar.done)
            self._bar.describe(f'{self._name}: {tqdm.format_interval(self.seconds())} passed')
        self._bar.__exit__(kind, error, traceback)

    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self._started

    def say(self, text: str) -> None:
        """A line."""
        print(f'[{self.seconds():6.1f} s] {text}', flush=True)

    def begin(self, stage: str) -> None:
        """A stage: its line tells the time left for it and all that follow."""
        self._stage = stage
        self._pass_time()
        left = None if self._expected is None else max(self._expected - self.seconds(), 0)
        self.say(stage if left is None else f'{stage} (about {tqdm.format_interval(left)} left in all)')

    def _tick(self) -> None:
        while not self._ended.wait(_TICK):
            self._pass_time()

    def _pass_time(self) -> None:
        passed = _whole(self.seconds())
        least = max(passed + _whole(seconds_left_below(self._bar)), _whole(_LATE * passed) + 1)
        if self._bar.total is not None and least > self._bar.total:
            self._bar.expect(least)
        self._bar.update(passed - self._bar.done)
        passed_and_left = [tqdm.format_interval(seconds) for seconds in (passed, (self._bar.total or passed) - passed)]
        self._bar.describe('{}, {}: {} passed, about {} left'.format(self._name, self._stage, *passed_and_left))


def _whole(seconds: float) -> int:
    return round(seconds)
