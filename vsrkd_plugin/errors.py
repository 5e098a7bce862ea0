"""The errors that a person can mend, told apart from bugs."""


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
