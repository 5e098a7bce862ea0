"""Runs commands in children of this process, in which everything is imported already: milliseconds each."""

import contextlib
import faulthandler
import functools
import importlib
import logging
import os
import pkgutil
import resource
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from basicsr.utils import logger as basicsr_logger

from vsrkd_plugin import commands
from vsrkd_plugin.cli import main
from vsrkd_plugin.registration import register

from .small_disk import mount

_TOLD = ('inspect: ', 'distill: ', 'export: ', 'upscale: ', 'basicsr: warning: ')  # beside errors
SECONDS, MEGABYTES = 5.0, 1000  # that a command may take to see that its input is bad; beyond what is imported


@dataclass(frozen=True)
class Outcome:
    """How a command ended.

    Attributes:
        status: its exit status; minus the signal that killed it.
        output, errors: what it wrote; errors without what tells progress.
        made: files and folders that are there now and were not, or are changed.
        seconds: it took.
        megabytes: of memory, beyond this process's.
    """

    status: int
    output: str
    errors: str
    made: list[str]
    seconds: float
    megabytes: float

    @property
    def line(self) -> str:
        """The one line of an error.

        Raises:
            AssertionError: it is not one line that a person can mend; or something was made; or it took too much.
        """
        lines = self.errors.strip().splitlines()
        assert self.status == 2, (self.status, self.errors[-2000:])
        assert len(lines) == 1 and lines[0].startswith('basicsr: error: '), self.errors[-2000:]
        assert not self.made, self.made
        assert self.seconds < SECONDS * (2 if 'PYTEST_XDIST_WORKER' in os.environ else 1), self.seconds
        assert self.megabytes < MEGABYTES, self.megabytes
        text = lines[0].removeprefix('basicsr: error: ')
        assert len(text) < 600, text
        return text


@dataclass(frozen=True)
class SmallDisk:
    """A disk in place of the folder.

    Attributes:
        kilobytes: of room; None: it is read-only.
        left: a folder that is made, with what lies on the disk at the end.
    """

    kilobytes: int | None
    left: Path


def attack(
    arguments: Sequence[str],
    folder: Path,
    limit: float = 4 * SECONDS,
    disk: SmallDisk | None = None,
    signals: Sequence[tuple[float, signal.Signals]] = (),
) -> Outcome:
    """Run a command in a folder.

    Args:
        arguments: of the command line, such as `['train', '-opt', 'a.yml']`.
        folder: where it runs; what changes there is told.
        limit: seconds after which it is killed.
        disk: on which the folder lies meanwhile.
        signals: that it is sent, each with the seconds after which.
    """
    _warm()
    before, start = _seen(folder), time.monotonic()
    told = [folder.with_name(f'{folder.name}.{stream}') for stream in ('out', 'err')]
    for file in told:
        file.touch()  # a signal may come before the child does
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        _run(arguments, folder, told, limit, disk)
    status, usage = _wait(child, start + limit, [(start + after, number) for after, number in signals])
    seconds = time.monotonic() - start
    output, errors = (file.read_text(encoding='utf-8', errors='replace') for file in told)
    for file in told:
        file.unlink()
    after = _seen(folder)
    made = sorted(name for name in after if after[name] != before.get(name)) + sorted(before.keys() - after.keys())
    kept = [line for line in errors.splitlines() if not line.startswith(_TOLD)]
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return Outcome(status, output, '\n'.join(kept), made, seconds, (usage.ru_maxrss - own) / 1024)


@functools.cache
def _warm() -> None:
    """Import what children would each import anew."""
    register()
    for module in pkgutil.iter_modules(commands.__path__):
        importlib.import_module(f'vsrkd_plugin.commands.{module.name}')


def _run(arguments: Sequence[str], folder: Path, told: list[Path], limit: float, disk: SmallDisk | None) -> None:
    """The child; does not come back."""
    status = 99
    try:
        os.setsid()
        for number, file in enumerate(told, 1):
            os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        sys.stdin = open(os.devnull)  # noqa: SIM115 - for the rest of this process
        sys.stdout = open(1, 'w', encoding='utf-8', closefd=False)  # noqa: SIM115
        sys.stderr = open(2, 'w', encoding='utf-8', closefd=False)  # noqa: SIM115
        logging.getLogger('basicsr').handlers.clear()  # of tests before this one, to streams that are closed
        basicsr_logger.initialized_logger.clear()
        if disk:
            mount(folder, disk.kilobytes)
        os.chdir(folder)
        sys.argv = ['basicsr', *arguments]
        torch.set_num_threads(1)  # threads of the parent are not here
        signal.signal(
            signal.SIGINT, signal.SIG_DFL
        )  # of the parent; until the program is there, Python's would raise here
        faulthandler.dump_traceback_later(limit - 1)  # where it hangs, for whoever looks at the test
        status = main(arguments)
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    except BaseException:
        import traceback

        traceback.print_exc()
        status = 98  # a bare traceback
    finally:
        with contextlib.suppress(ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        if disk:
            shutil.copytree(folder, disk.left)
        os._exit(status)


def _wait(
    child: int, deadline: float, signals: Sequence[tuple[float, signal.Signals]]
) -> tuple[int, resource.struct_rusage]:
    waiting = sorted(signals)
    while time.monotonic() < deadline:
        if waiting and time.monotonic() >= waiting[0][0]:
            os.kill(child, waiting.pop(0)[1])
        done, status, usage = os.wait4(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status), usage
        time.sleep(0.002)
    os.killpg(child, signal.SIGKILL)
    _, status, usage = os.wait4(child, 0)
    return os.waitstatus_to_exitcode(status), usage


def _seen(folder: Path) -> dict[str, tuple[int, int]]:
    """What is in a folder: size and time of each."""
    found = {}
    for path in folder.rglob('*'):
        status = path.lstat()
        found[str(path.relative_to(folder))] = (status.st_size, status.st_mtime_ns if path.is_file() else 0)
    return found
