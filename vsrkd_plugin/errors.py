"""The errors that a person can mend, told apart from bugs; and how they are worded."""

import difflib
from collections.abc import Iterable, Sequence
from typing import Any


def first_line(error: BaseException, limit: int = 200) -> str:
    """What an error says, in one line; its type if it says nothing, or a number alone.

    Args:
        error: any exception; its text may be empty or of many lines.
        limit: the most characters given; what is longer ends in `…`.
    """
    lines = str(error).strip().splitlines() or [type(error).__name__]
    line = lines[0].rstrip()
    if line.endswith(':') and len(lines) > 1:  # torch's list of what does not fit
        line = f'{line} {lines[1].strip()}'
    if not any(map(str.isalpha, line)):  # a KeyError of a reader of pickles says 101
        line = f'{type(error).__name__} {line}'
    return line if len(line) <= limit else f'{line[: limit - 1]}…'


class UserError(Exception):
    """Bad input: an option, a file, a folder. One line that says which, what was wrong and what was expected.

    The command line prints it without a traceback and exits with status 2.
    """


class TrainingStopped(Exception):
    """A training that cannot go on (a non-finite loss, say); the last good state is kept. Exit status 1."""


class TrainingInterrupted(Exception):
    """A signal ended a training; its state is saved. Exit status 128 + the signal's number, as shells expect."""

    def __init__(self, signal_number: int, iteration: int) -> None:
        super().__init__(
            f'interrupted after iteration {iteration:,}; go on with the same command (of train with --auto_resume)'
        )
        self.signal_number = signal_number


class Flaw(ValueError):
    """What is wrong with a part of the options; who checks the whole knows which part, but for the keys below it."""

    def __init__(self, message: str, *keys: Any) -> None:
        super().__init__(message)
        self.keys = keys


def unexpected(expected: str, value: Any, *keys: Any) -> Flaw:
    """The flaw of a value that is not what it must be."""
    return Flaw(f'expected {expected}, got {show(value)}', *keys)


def show(value: Any) -> str:
    """A value as errors quote it, on one line."""
    text = 'nothing' if value is None else repr(value)
    return text if len(text) <= 60 else f'{text[:57]}...'


def one_of(words: Sequence[str]) -> str:
    """A choice in words."""
    return ' or '.join(words) if len(words) < 3 else f'one of {", ".join(words)}'


def nearest(name: Any, known: Iterable[Any], cutoff: float = 0.6) -> str | None:
    """The known name most like `name`, upper and lower case alike."""
    by_lower = {str(key).lower(): str(key) for key in known}
    found = difflib.get_close_matches(str(name).lower(), by_lower, 1, cutoff)
    return by_lower[found[0]] if found else None
