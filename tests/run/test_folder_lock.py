"""One owner for each folder that a run writes into, which a killed process owns no longer."""

import contextlib
import errno
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from vsrkd_plugin.errors import UserError
from vsrkd_plugin.run import folder_lock
from vsrkd_plugin.run.folder_lock import check_free, lock_file, owned

OWN = """
import os, sys, time
from pathlib import Path
from vsrkd_plugin.run.folder_lock import owned
with owned(Path(sys.argv[1])):
    worker = os.fork() if sys.argv[2:] == ['fork'] else -1
    if worker <= 0:  # of a forked worker, that it lives
        print('owned', flush=True)
    time.sleep(60)
"""


@pytest.fixture
def owner(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[subprocess.Popen]:
    """Another process that owns `tmp_path/run`."""
    process = subprocess.Popen(
        [sys.executable, '-c', OWN, str(tmp_path / 'run'), *getattr(request, 'param', ())],
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout is not None and process.stdout.readline() == b'owned\n'
    yield process
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_a_second_owner_is_told_who_the_first_is(tmp_path: Path, owner: subprocess.Popen) -> None:
    folder = tmp_path / 'run'
    folder.mkdir()
    message = f'run is in use by process {owner.pid} on {socket.gethostname()}, since 20'
    for time_of_start in (1, 2):
        with pytest.raises(UserError, match=message):
            check_free(folder)
        with pytest.raises(UserError, match=message), owned(folder):
            pass
        if time_of_start == 1:
            folder.rename(tmp_path / 'run_archived_1')  # the lock is not in it
    with owned(tmp_path / 'run_archived_1'), owned(tmp_path / 'another'):
        pass


@pytest.mark.parametrize('owner', [[], ['fork']], indirect=True)
def test_a_killed_owner_is_none(tmp_path: Path, owner: subprocess.Popen) -> None:
    """Nor are the worker processes that it left, which may live on for a while."""
    owner.kill()
    owner.wait()
    assert lock_file(tmp_path / 'run').is_file()
    check_free(tmp_path / 'run')
    with owned(tmp_path / 'run'):
        assert json.loads(lock_file(tmp_path / 'run').read_text())['pid'] == os.getpid()
    assert not lock_file(tmp_path / 'run').exists()


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    check_free(tmp_path / 'experiments' / 'run')
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match='of the run'), owned(tmp_path / 'experiments' / 'run'):
        raise ValueError('of the run')
    assert list((tmp_path / 'experiments').iterdir()) == []


def test_a_folder_has_one_lock_under_all_its_names(tmp_path: Path, owner: subprocess.Popen) -> None:
    (tmp_path / 'experiments').mkdir()
    (tmp_path / 'experiments' / 'link').symlink_to(tmp_path / 'run')
    (tmp_path / 'all').symlink_to(tmp_path)
    for name in ('experiments/link', 'all/run', 'experiments/../run'):
        with pytest.raises(UserError, match='is in use by process'):
            check_free(tmp_path / name)


def test_a_lock_that_is_released_while_it_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its owner removes the file between opening and locking: a lock on a file that is gone is none."""
    take, folder = folder_lock._take, tmp_path / 'run'

    def ended_meanwhile(descriptor: int, of: Path) -> None:
        monkeypatch.setattr(folder_lock, '_take', take)
        lock_file(folder).unlink()
        take(descriptor, of)

    monkeypatch.setattr(folder_lock, '_take', ended_meanwhile)
    with owned(folder):
        assert lock_file(folder).is_file()
        done = subprocess.run([sys.executable, '-c', OWN, str(folder)], capture_output=True, text=True)
        assert done.returncode == 1 and f'process {os.getpid()}' in done.stderr


@pytest.mark.skipif(os.getuid() == 0, reason='root may write anywhere')
def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match=r'cannot lock .*Permission denied'), owned(tmp_path / 'run'):
        pass


@pytest.fixture
def no_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that knows none."""

    def flock(*_: int) -> None:
        raise OSError(errno.ENOLCK, 'No locks available')

    monkeypatch.setattr(folder_lock.fcntl, 'flock', flock)


def test_without_locks_processes_are_looked_for(
    tmp_path: Path, owner: subprocess.Popen, no_locks: None, capsys: pytest.CaptureFixture
) -> None:
    with pytest.raises(UserError, match=f'in use by process {owner.pid} on'), owned(tmp_path / 'run'):
        pass
    assert 'its file system knows no locks' in capsys.readouterr().out
    owner.kill()
    for _ in range(100):
        if folder_lock._started(owner.pid) is None:
            break
        time.sleep(0.1)
    with owned(tmp_path / 'run'):
        pass


def test_without_locks_another_process_of_the_same_number_is_no_owner(
    tmp_path: Path, owner: subprocess.Popen, no_locks: None
) -> None:
    file = lock_file(tmp_path / 'run')
    file.write_text(json.dumps({**json.loads(file.read_text()), 'clock': '1'}))
    assert json.loads(file.read_text())['pid'] == owner.pid
    with owned(tmp_path / 'run'):
        assert json.loads(file.read_text())['pid'] == os.getpid()


@pytest.mark.parametrize('content', ['', '[]', '{', '{"pid": "x", "host": 3}', '{"host": "elsewhere", "pid": 1}'])
def test_without_locks_what_cannot_be_asked_is_told(
    tmp_path: Path, no_locks: None, capsys: pytest.CaptureFixture, content: str
) -> None:
    lock_file(tmp_path / 'run').write_text(content)
    with owned(tmp_path / 'run'):
        pass
    told = 'was in use by process 1 on elsewhere' in capsys.readouterr().out
    assert told == ('elsewhere' in content)


@pytest.mark.skipif(not Path('/proc/self/fd').is_dir(), reason='lists the open files of this process there')
def test_on_windows_an_open_file_is_not_removed_and_a_lock_that_was_left_is_taken_over(
    tmp_path: Path, owner: subprocess.Popen, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """Windows has no `fcntl`, removes no file that is open, and cannot be asked which processes run."""
    unlink = Path.unlink

    def of_windows(file: Path, missing_ok: bool = False) -> None:
        for descriptor in Path('/proc/self/fd').iterdir():
            if os.path.realpath(descriptor) == os.path.realpath(file):
                raise PermissionError(errno.EACCES, 'is in use', str(file))
        unlink(file, missing_ok)

    monkeypatch.setattr(folder_lock, 'fcntl', None)
    monkeypatch.setattr(Path, 'unlink', of_windows)
    told = f'was in use by process {owner.pid} on {socket.gethostname()}'
    with owned(tmp_path / 'run'):
        assert told in capsys.readouterr().out
        assert json.loads(lock_file(tmp_path / 'run').read_text())['pid'] == os.getpid()
    assert not lock_file(tmp_path / 'run').exists()
