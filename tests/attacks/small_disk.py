"""A disk of a few kilobytes, or one that is read-only, in place of a folder; seen by this process alone (Linux)."""

import ctypes
import functools
import os
import shutil
import sys
from pathlib import Path

_NEW_NAMESPACE, _NEW_USER = 0x00020000, 0x10000000  # of sched.h
_READ_ONLY, _REMOUNT, _PRIVATE, _RECURSIVE = 1, 32, 1 << 18, 1 << 14  # of sys/mount.h


def mount(folder: Path, kilobytes: int | None) -> None:
    """Put a disk there that holds what the folder holds, with so much room more; None: read-only.

    Raises:
        OSError: this machine does not let us.
    """
    library = ctypes.CDLL(None, use_errno=True)

    def call(name: str, *arguments: object) -> None:
        if getattr(library, name)(*arguments):
            raise OSError(ctypes.get_errno(), name)

    call('unshare', _NEW_NAMESPACE | (0 if os.getuid() == 0 else _NEW_USER))
    call('mount', b'none', b'/', None, _RECURSIVE | _PRIVATE, None)  # nobody else sees what follows
    before = os.open(folder, os.O_RDONLY)
    there = sum(-(-file.lstat().st_size // 4096) * 4096 + 4096 for file in folder.rglob('*')) >> 10
    size = there + (1 << 16 if kilobytes is None else kilobytes)
    call('mount', b'tmpfs', os.fsencode(folder), b'tmpfs', 0, f'size={size}k'.encode())
    shutil.copytree(f'/proc/self/fd/{before}', folder, dirs_exist_ok=True)
    if kilobytes is None:
        call('mount', b'tmpfs', os.fsencode(folder), b'tmpfs', _REMOUNT | _READ_ONLY, None)


@functools.cache
def can_mount(place: Path) -> bool:
    """Whether this machine lets us: root may, and others where they may have namespaces of their own."""
    if sys.platform != 'linux':
        return False
    child = os.fork()
    if child == 0:
        try:
            mount(place, 100)
        except OSError:
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0
