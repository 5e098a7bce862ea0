"""Whatever ends a command, in one line; and for a fault of ours a file that an issue can carry."""

import errno
import os
import platform
import re
import shlex
import tempfile
import time
import traceback
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from vsrkd_plugin.errors import first_line

FAULT = 70  # the exit status; EX_SOFTWARE of sysexits.h
_PACKAGES = ('vsrkd_plugin', 'basicsr', 'torch', 'torchvision', 'numpy', 'opencv-python', 'mmengine', 'lmdb', 'pyyaml')
FULL = (errno.ENOSPC, getattr(errno, 'EDQUOT', errno.ENOSPC))  # Windows knows no quota
# Kinds of errors that files make, which come from a process that loads data as text.
_OF_DATA = ('UserError', 'FileNotFoundError', 'PermissionError', 'IsADirectoryError', 'NotADirectoryError', 'OSError')
# What torch says when its writer of files got an error of the system.
_TORCH_CANNOT_WRITE = re.compile('PytorchStreamWriter failed|inline_container|unexpected pos')
# What gloo and NCCL say in the processes that are left, when another one of the training ended.
_PEER_GONE = re.compile('connection closed by peer|connection reset by peer|remote process exited', re.IGNORECASE)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory was short, of this machine or of its GPU."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(
        words in text for words in ('out of memory', "can't allocate memory", 'not enough memory')
    )


def mendable(error: BaseException) -> str | None:
    """What a person can mend about an error that no code of ours foresaw, in one line; None if it is none of those."""
    if is_out_of_memory(error):
        return f'out of memory ({first_line(error)}); expected smaller batches, patches or tiles, or more memory'
    if isinstance(error, OSError) and error.errno:
        file = f'{error.filename}: ' if error.filename else ''
        if error.errno in FULL:
            return f'{file}the disk is full, or its quota is used up ({error.strerror})'
        return f'{file}{error.strerror}'
    if isinstance(error, RuntimeError) and _TORCH_CANNOT_WRITE.search(str(error)):
        return f'a file could not be written; is the disk full? ({first_line(error)})'
    if told := of_loading(error):
        return told
    if isinstance(error, RuntimeError) and _PEER_GONE.search(str(error)):
        return 'another process of this training has ended; what it said, if anything, tells why; --auto_resume goes on'
    if isinstance(error, ValueError) and 'embedded null' in str(error):
        return 'a path holds a NUL character, which no file name can'
    return None


def of_loading(error: BaseException) -> str | None:
    """What files made a process that loads data fail, in one line; None of other errors.

    torch gives such an error on with the traceback for its text.
    """
    text = str(error)
    if not (text.startswith('Caught ') and 'Original Traceback' in text):
        return None
    kind, _, what = text.strip().splitlines()[-1].partition(': ')
    return f'loading data: {what or kind}' if kind.rpartition('.')[2] in _OF_DATA else None


def write_fault(error: BaseException, arguments: Sequence[str]) -> Path | None:
    """Write what an issue needs, into this folder, or where that cannot be written the one for temporary files.

    Args:
        error: the fault.
        arguments: of the command line, its program aside.

    Returns:
        The file: command, versions, traceback. None if it can be written nowhere.
    """
    lines = ['command: vsrkd ' + shlex.join(arguments), f'time: {time.strftime("%Y-%m-%d %H:%M:%S %z")}']
    lines.append(f'system: {platform.platform()}, Python {platform.python_version()}')
    lines.append('packages: ' + ', '.join(f'{name} {_version(name)}' for name in _PACKAGES))
    text = '\n'.join([*lines, '', *traceback.format_exception(error)])
    name = f'vsrkd_fault_{time.strftime("%Y%m%d-%H%M%S")}_{os.getpid()}.txt'
    for folder in (Path.cwd, tempfile.gettempdir):
        try:
            file = Path(folder(), name)
            file.write_text(text, encoding='utf-8', errors='backslashreplace')
        except OSError:  # nowhere is left but the next folder
            continue
        return file
    return None


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return 'missing'
