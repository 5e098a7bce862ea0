"""The command `basicsr` (alias `vsrkd`): stock BasicSR's pipelines with this plugin registered."""

import argparse
import os
import select
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from vsrkd_plugin.arguments import parser, program
from vsrkd_plugin.errors import TrainingInterrupted, TrainingStopped, UserError, first_line
from vsrkd_plugin.run.allocator import keep_freed_memory
from vsrkd_plugin.run.begun_files import clear_own
from vsrkd_plugin.run.faults import FAULT, mendable, of_loading, write_fault
from vsrkd_plugin.run.interruption import cleaning_up, leaving_at_once, signal_behind

_MOST = 500  # characters of an error: a name may be of thousands


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line; gives the exit status.

    0; 1 (training stopped, or a part of the work failed); 2 (bad input, or what else a person can mend); 70 (a fault of
    ours; a file tells it); 128 + a signal.
    """
    with leaving_at_once(program()):  # before the work and after it
        try:
            os.getcwd()
        except OSError as error:  # before what dies of it without a word that helps
            return _ended(f'error: the current folder: {error.strerror}; it was removed, go to another', 2)
        commands = parser()
        args = commands.parse_args(argv)
        if args.run is None:  # no command: what there is
            commands.print_help()
            return 0
        try:
            return _run(args)
        except (Exception, KeyboardInterrupt, SystemExit) as error:
            clear_own()
            return _of_error(error, sys.argv[1:] if argv is None else argv)


def _of_error(error: BaseException, arguments: Sequence[str]) -> int:
    """Tell how it ended; gives the exit status."""
    if ended := signal_behind(error):  # whatever other code made of it on its way
        return _ended(f'interrupted ({ended})', 128 + ended.number)
    if isinstance(error, UserError):
        return _ended(f'error: {of_loading(error) or error}', 2)
    if isinstance(error, TrainingStopped):
        return _ended(f'stopped: {error}', 1)
    if isinstance(error, TrainingInterrupted):
        return _ended(str(error), 128 + error.signal_number)
    if isinstance(error, KeyboardInterrupt):  # from elsewhere than a signal of ours
        return _ended('interrupted', 128 + signal.SIGINT)
    if isinstance(error, SystemExit):  # nothing of ours does so
        return _ended(f'error: a network or module of yours has ended the program (SystemExit {error})', 2)
    if isinstance(error, BrokenPipeError) and _reader_has_gone():
        return 128 + getattr(signal, 'SIGPIPE', 13)
    if told := mendable(error):
        return _ended(f'error: {told}', 2)
    file = write_fault(error, arguments)
    told = f'a fault of this program, {type(error).__name__}: {first_line(error)}'
    return _ended(f'{told}; ' + (f'please attach {file} to an issue' if file else 'no folder takes a file'), FAULT)


def _run(args: argparse.Namespace) -> int:
    if args.needs_nothing:
        with cleaning_up():
            return args.run(args)
    keep_freed_memory()
    from vsrkd_plugin.registration import register_all
    from vsrkd_plugin.run.progress import shown
    from vsrkd_plugin.run.subnormals import subnormals_as_zero

    with warnings.catch_warnings():  # BasicSR imports what is deprecated, which is nobody's error here
        warnings.simplefilter('ignore', DeprecationWarning)
        register_all(args.imports)
    # Of several processes the first tells.
    with cleaning_up(), _warnings_in_a_line(), subnormals_as_zero(), shown(int(os.environ.get('RANK') or 0) == 0):
        return args.run(args)


def _reader_has_gone() -> bool:
    """Whether nobody reads what is written (`| head`); then no more is, or Python would complain at its end."""
    if not hasattr(select, 'poll'):  # Windows
        return False
    try:
        reader = select.poll()
        reader.register(number := sys.stdout.fileno(), select.POLLOUT)
    except (OSError, ValueError):  # it is no file
        return False
    gone = any(event & (select.POLLERR | select.POLLHUP) for _, event in reader.poll(0))
    if gone:
        os.dup2(os.open(os.devnull, os.O_WRONLY), number)
    return gone


@contextmanager
def _warnings_in_a_line() -> Iterator[None]:
    """Within: a warning is told as errors are, without a line of code."""

    def in_a_line(message: Warning | str, category: type[Warning], *_args: Any, **_more: Any) -> str:
        kind = '' if category is UserWarning else f'{category.__name__}: '
        return f'{program()}: warning: {kind}{" ".join(str(message).split())}\n'

    stock, warnings.formatwarning = warnings.formatwarning, in_a_line
    try:
        yield
    finally:
        warnings.formatwarning = stock


def _ended(message: str, status: int) -> int:
    """Say in one line how it ended, whatever the names and values in it hold."""
    line = ' '.join(message.split()) if any(mark in message for mark in '\r\n') else message
    if len(line) > _MOST:
        line = f'{line[: _MOST // 2]} … {line[-_MOST // 2 :]}'
    print(f'{program()}: {line}', file=sys.stderr)
    return status
