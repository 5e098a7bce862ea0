"""A folder that a run writes into has one owner: a lock beside it, which dies with its process."""

import errno
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from vsrkd_plugin.errors import UserError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]
_ATTEMPTS = 4
# What a file system that knows no locks answers.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


def lock_file(folder: Path) -> Path:
    """Where the lock of a folder is: beside what the folder's name leads to, so that it stays when that is renamed."""
    folder = Path(os.path.realpath(folder))
    return folder.with_name(f'.{folder.name}.lock')


def check_free(folder: Path) -> None:
    """Refuse a folder that another process owns. Creates nothing.

    Raises:
        UserError: with the host, the process and since when.
    """
    file = lock_file(folder)
    try:
        descriptor = os.open(file, os.O_RDWR)
    except OSError:  # not there, or not ours: whether the folder can be written is seen elsewhere
        return
    try:
        _take(descriptor, folder)
    except UserError as error:
        raise UserError(f'name: {error}') from error
    finally:
        os.close(descriptor)


@contextmanager
def owned(folder: Path, key: str = 'name') -> Iterator[None]:
    """Own a folder meanwhile. What a killed process left of its lock is taken over.

    Args:
        folder: need not exist; the one above it is made.
        key: what names the folder, of the options or the command line; stands before the error.

    Raises:
        UserError: another process owns it; with its host, its number and since when.
    """
    file = lock_file(folder)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor = _open(file, folder)
    except OSError as error:
        raise UserError(f'{key}: cannot lock {folder}: {file}: {error.strerror}') from error
    except UserError as error:
        raise UserError(f'{key}: {error}') from error
    open_here = {descriptor}

    def forget() -> None:  # a copy of the lock in a worker process would outlive this one
        if open_here:
            os.close(open_here.pop())

    if hasattr(os, 'register_at_fork'):
        os.register_at_fork(after_in_child=forget)
    try:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, json.dumps(_ourselves()).encode())
        yield
    finally:
        if open_here and fcntl is not None:
            file.unlink(missing_ok=True)  # before it is let go: nobody else can have taken it
            forget()
        elif open_here:
            forget()
            with suppress(PermissionError):  # Windows removes no file that is open, here or in a process that asks
                file.unlink(missing_ok=True)


def _open(file: Path, folder: Path) -> int:
    """The lock file, opened and ours."""
    for attempt in range(_ATTEMPTS):
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _take(descriptor, folder)
            if file.exists() and os.path.samestat(os.stat(file), os.fstat(descriptor)):
                return descriptor
            os.close(descriptor)  # its owner ended, and removed it, between opening and locking
        except UserError:
            os.close(descriptor)
            if attempt + 1 == _ATTEMPTS:
                raise
            time.sleep(0.1)  # somebody may only have looked whether the folder is free
    raise UserError(_refusal(folder, {}))


def _take(descriptor: int, folder: Path) -> None:
    """Lock an open file, or raise."""
    try:
        if fcntl is None:
            raise OSError(errno.ENOSYS, 'no locks')
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(_refusal(folder, _owner(descriptor))) from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        _take_by_process(folder, _owner(descriptor))


def _take_by_process(folder: Path, owner: dict[str, Any]) -> None:
    """Where the file system knows no locks: whether the process that is named still runs, on this machine."""
    print(
        f'{folder}: its file system knows no locks; that nobody else writes there is seen by process only.', flush=True
    )
    # Without `fcntl` (Windows) there is nothing to ask either; a lock that a kill left must not block for ever.
    if owner.get('host') == socket.gethostname() and fcntl is not None:
        started = _started(owner.get('pid'))
        if owner.get('pid') != os.getpid() and started is not None and started == owner.get('clock'):
            raise UserError(_refusal(folder, owner))
    elif owner:
        print(f'{folder}: was in use by {_told(owner)}; whether it still is cannot be seen from here.', flush=True)


def _ourselves() -> dict[str, Any]:
    pid = os.getpid()
    since = time.strftime('%Y-%m-%d %H:%M:%S')
    return {'host': socket.gethostname(), 'pid': pid, 'since': since, 'clock': _started(pid)}


def _owner(descriptor: int) -> dict[str, Any]:
    """What the lock file says of its owner; nothing where it was just being written."""
    try:
        os.lseek(descriptor, 0, os.SEEK_SET)
        owner = json.loads(os.read(descriptor, 4096))
        os.lseek(descriptor, 0, os.SEEK_SET)
    except (OSError, ValueError):
        return {}
    return owner if isinstance(owner, dict) else {}


def _refusal(folder: Path, owner: dict[str, Any]) -> str:
    return f'{folder} is in use by {_told(owner)}; wait for it, end it, or take another name'


def _told(owner: dict[str, Any]) -> str:
    if not owner:
        return 'another run'
    return f'process {owner.get("pid")} on {owner.get("host")}, since {owner.get("since")}'


def _started(pid: Any) -> str | None:
    """When a process of this machine started, as it says itself; None if none of that number runs."""
    if type(pid) is not int:
        return None
    if sys.platform.startswith('linux'):
        try:
            stat = Path(f'/proc/{pid}/stat').read_text(encoding='utf-8', errors='replace')
        except OSError:
            return None
        fields = stat.rpartition(')')[2].split()  # the name before it may hold anything
        return None if fields[0] == 'Z' else fields[19]
    if os.name == 'posix':
        with suppress(PermissionError):  # it is there, of another user
            try:
                os.kill(pid, 0)
            except ProcessLookupError:
                return None
    return 'unknown'
