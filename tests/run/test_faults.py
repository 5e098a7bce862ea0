"""Errors that no code of ours foresaw, as the command line tells them."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vsrkd_plugin import cli
from vsrkd_plugin.errors import UserError
from vsrkd_plugin.run.faults import FAULT, is_out_of_memory, mendable, of_loading, write_fault


def raising(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have `vsrkd info` end so."""

    def run(_args: object) -> int:
        raise error

    monkeypatch.setattr('vsrkd_plugin.commands.info.run', run)


def test_a_fault_of_ours_leaves_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    raising(KeyError('lost'), monkeypatch)
    monkeypatch.chdir(tmp_path)
    assert cli.main(['info', '--import', 'json']) == FAULT == 70
    line = capsys.readouterr().err
    (file,) = tmp_path.iterdir()
    assert line.count('\n') == 1 and 'KeyError' in line and str(file) in line
    text = file.read_text(encoding='utf-8')
    assert 'command: vsrkd info --import json' in text and 'Traceback' in text and "KeyError: 'lost'" in text
    assert 'torch ' in text and 'Python 3' in text


def test_it_goes_where_it_can(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, 'cwd', lambda: Path('/proc/nothing'))
    monkeypatch.setattr('tempfile.gettempdir', lambda: str(tmp_path))
    file = write_fault(ValueError('x'), ['info'])
    assert file is not None and file.parent == tmp_path
    monkeypatch.setattr('tempfile.gettempdir', lambda: '/proc/nothing')
    assert write_fault(ValueError('x'), ['info']) is None


@pytest.mark.parametrize(
    ('error', 'words'),
    [
        (OSError(errno.ENOSPC, 'No space left on device', 'a.pth'), 'a.pth: the disk is full'),
        (OSError(errno.EDQUOT, 'Disk quota exceeded'), 'the disk is full, or its quota'),
        (OSError(errno.EROFS, 'Read-only file system', 'a.pth'), 'a.pth: Read-only file system'),
        (PermissionError(errno.EACCES, 'Permission denied', '/a'), '/a: Permission denied'),
        (OSError(errno.EMFILE, 'Too many open files'), 'Too many open files'),
        (MemoryError(), 'out of memory'),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"), 'out of memory'),
        (RuntimeError('CUDA out of memory. Tried to allocate'), 'out of memory'),
        (
            RuntimeError('[gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:41234'),
            'another process of this training has ended',
        ),
        (RuntimeError('[enforce fail at inline_container.cc:595] . unexpected pos 64 vs 0'), 'is the disk full?'),
        (ValueError('embedded null byte'), 'NUL'),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
def test_what_a_person_can_mend_is_a_line(
    error: Exception, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    raising(error, monkeypatch)
    monkeypatch.chdir(tmp_path)
    assert cli.main(['info']) == 2
    line = capsys.readouterr().err
    assert line.startswith('basicsr: error: ') and words in line and line.count('\n') == 1
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize('kind', [UserError, FileNotFoundError])
def test_an_error_of_a_process_that_loads_data_is_its_own_line(kind: type[Exception]) -> None:
    from torch._utils import ExceptionWrapper

    with pytest.raises(kind) as caught:
        try:
            raise kind('a.png: not a readable image')
        except kind:
            ExceptionWrapper(where='in DataLoader worker process 0').reraise()
    assert mendable(caught.value) == of_loading(caught.value) == 'loading data: a.png: not a readable image'
    assert of_loading(UserError('a.png')) is None


def test_other_errors_are_none_of_those() -> None:
    assert mendable(ValueError('x')) is None and mendable(OSError('x')) is None
    assert not is_out_of_memory(ValueError('x'))


def test_an_error_of_many_lines_or_thousands_of_letters_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    raising(UserError('a\nb ' + 'x' * 5000 + ' end'), monkeypatch)
    assert cli.main(['info']) == 2
    line = capsys.readouterr().err
    assert line.startswith('basicsr: error: a b x') and line.endswith('x end\n') and len(line) < 600


def test_a_reader_that_has_gone_is_no_fault(tmp_path: Path) -> None:
    """As `vsrkd info | head -1`."""
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, '-m', 'vsrkd_plugin', 'info'], stdout=write, stderr=subprocess.PIPE, cwd=tmp_path, text=True
    )
    os.close(write)
    assert done.returncode == 128 + signal.SIGPIPE and done.stderr == '' and not any(tmp_path.iterdir())


def _as_on_a_terminal() -> None:
    """Under nohup, or in the background of a script, signals are ignored, and children take that over."""
    for name in ('SIGINT', 'SIGTERM', 'SIGHUP'):
        signal.signal(getattr(signal, name), signal.SIG_DFL)


@pytest.mark.parametrize('name', ['SIGINT', 'SIGTERM', 'SIGHUP'])
@pytest.mark.parametrize('seconds', [1.0, 2.0])
def test_signals_while_starting(name: str, seconds: float, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, '-m', 'vsrkd_plugin', 'distill', 'zoo:vdsr_x234', '-o', str(tmp_path / 'out')],
        stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=tmp_path, preexec_fn=_as_on_a_terminal,
    )  # fmt: skip
    time.sleep(seconds)
    process.send_signal(getattr(signal, name))
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + getattr(signal, name)
    told = [line for line in errors.splitlines() if not line.startswith('distill: ')]
    assert told == [f'basicsr: interrupted ({name})'], errors


def test_a_signal_of_which_other_code_makes_an_error_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """While a class is made, Python wraps what its members raise in a RuntimeError."""

    class Member:
        def __set_name__(self, _owner: type, _name: str) -> None:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.01)  # the handler runs

    monkeypatch.setattr('vsrkd_plugin.commands.info.run', lambda _args: type('Made', (), {'member': Member()}))
    monkeypatch.chdir(tmp_path)
    assert cli.main(['info', '--import', 'json']) == 128 + signal.SIGTERM
    assert capsys.readouterr().err == 'basicsr: interrupted (SIGTERM)\n' and not any(tmp_path.iterdir())
