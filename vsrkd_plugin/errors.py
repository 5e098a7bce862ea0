"""The errors that a person can mend, told apart from bugs."""


def first_line(error: BaseException, limit: int = 200) -> str:
    """What an error says, in one line; its type if it says nothing.

    Args:
        error: any exception; its text may be empty or of many lines.
        limit: the most characters given; what is longer ends in `…`.
    """
    lines = str(error).strip().splitlines() or [type(error).__name__]
    line = lines[0].rstrip()
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
        super().__init__(f'interrupted after iteration {iteration:,}; go on with the same command and --auto_resume')
        self.signal_number = signal_number
