"""Names of files and folders while they are written, and what becomes of those that no writer is left for."""

import os
import re
import shutil
import socket
import sys
import zlib
from contextlib import suppress
from pathlib import Path

_NAME = re.compile(r'\..+\.([0-9a-f]{8})-(\d+)\.part(\.\w+)?')
_cleared: set[tuple[int, str]] = set()  # process and folder: once is enough, a folder may hold a million pictures


def begun(path: str | os.PathLike, suffix: str = '') -> Path:
    """The name that a file has while this process writes it: hidden, beside the final one.

    What processes of this machine that are gone left beside it is removed.

    Args:
        path: the final name.
        suffix: that the writer insists on; without it nobody takes the file for what it is not yet.
    """
    path = Path(path)
    folder = os.path.realpath(path.parent)
    if (os.getpid(), folder) not in _cleared:
        _cleared.add((os.getpid(), folder))
        clear_begun(Path(folder))
    return path.with_name(f'.{path.name}.{_machine()}-{os.getpid()}.part{suffix}')


def clear_begun(folder: Path) -> None:
    """Remove what writers that were killed have left in a folder; not what others write at this moment."""
    with suppress(OSError):  # it is not there; or not ours, then whoever writes there will tell
        for entry in os.scandir(folder):
            found = _NAME.fullmatch(entry.name)
            if found and found[1] == _machine() and not _runs(int(found[2])):
                _remove(entry)


def clear_own() -> None:
    """Remove what this process has begun and not ended: for its end, when nothing is written any more.

    Writers tidy up on their own; but a signal may come between the lines that do so.
    """
    for process, folder in tuple(_cleared):  # a thread that is still at work may add one
        if process != os.getpid():
            continue
        with suppress(OSError):  # as above
            for entry in os.scandir(folder):
                found = _NAME.fullmatch(entry.name)
                if found and (found[1], int(found[2])) == (_machine(), process):
                    with suppress(OSError):  # the others are still to go
                        _remove(entry)


def _remove(entry: 'os.DirEntry[str]') -> None:
    if entry.is_dir(follow_symlinks=False):
        shutil.rmtree(entry.path, ignore_errors=True)
    else:
        os.unlink(entry.path)


def _machine() -> str:
    """Tells this machine from others that share a disk, containers too: their processes cannot be seen from here."""
    try:
        space = os.readlink('/proc/self/ns/pid')
    except OSError:  # not Linux
        space = ''
    return f'{zlib.crc32(f"{socket.gethostname()} {space}".encode()):08x}'


def _runs(process: int) -> bool:
    if process == os.getpid():
        return True
    if sys.platform == 'win32':  # where `os.kill` would end it
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):  # of another user
        return True
    return True
