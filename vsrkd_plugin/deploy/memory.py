"""How much memory there is, and how much a computation takes."""

import ctypes
import math
import mmap
import os
import re
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from vsrkd_plugin.errors import UserError

_UNITS = {'': 1, 'K': 2**10, 'M': 2**20, 'G': 2**30, 'T': 2**40}


def parse_size(text: str, argument: str = '--memory') -> int:
    """Bytes of `2G`, `1.5GB`, `800M`.

    Raises:
        UserError: it is none of these.
    """
    found = re.fullmatch(r'\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?\s*', text, re.IGNORECASE)
    size = float(found[1]) * _UNITS[found[2].upper()] if found else 0
    if not 1 <= size < math.inf:
        raise UserError(f'{argument}: expected a size such as 2G or 800M, got {text!r}')
    return int(size)


def show_size(size: float) -> str:
    """`1.2 GB`, `800 MB`."""
    return f'{size / 2**30:.1f} GB' if size >= 2**30 else f'{size / 2**20:.0f} MB'


def used_memory() -> int:
    """Bytes of this process that are in memory; 0 where the system does not tell."""
    try:
        return int(Path('/proc/self/statm').read_text(encoding='ascii').split()[1]) * os.sysconf('SC_PAGE_SIZE')
    except (OSError, ValueError, IndexError):
        return 0


def free_memory(device: torch.device) -> int:
    """Bytes that this process can still take on `device` without swapping, or meeting a limit that it runs under."""
    if device.type == 'cuda':
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + cached
    return min(_free_of_machine(), *_left_of_limits())


def _free_of_machine() -> int:
    if sys.platform == 'win32':
        return _free_of_windows()
    try:
        content = Path('/proc/meminfo').read_text(encoding='ascii')
        return int(content.partition('MemAvailable:')[2].split()[0]) * 2**10
    except (OSError, ValueError, IndexError):
        return os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') // 2  # macOS does not tell what is free


def _free_of_windows() -> int:
    class Status(ctypes.Structure):
        _fields_ = (
            ('length', ctypes.c_ulong), ('load', ctypes.c_ulong), ('total', ctypes.c_ulonglong),
            ('free', ctypes.c_ulonglong), ('others', ctypes.c_ulonglong * 5),
        )  # fmt: skip

    status = Status(length=ctypes.sizeof(Status))
    ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status))  # type: ignore[attr-defined,unused-ignore]
    return int(status.free)


def _left_of_limits() -> list[int]:
    """What is left under the limit of address space (`ulimit -v`) and under that of a container; none on no limit."""
    left = [sys.maxsize]
    try:
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit != resource.RLIM_INFINITY:
            pages = int(Path('/proc/self/statm').read_text(encoding='ascii').split()[0])
            left.append(max(0, limit - pages * os.sysconf('SC_PAGE_SIZE')))
    except (ImportError, OSError, ValueError):  # Windows has no such limit, macOS no such file
        pass
    for folder, limit_file, used_file, cache in (
        ('/sys/fs/cgroup', 'memory.max', 'memory.current', 'file'),
        ('/sys/fs/cgroup/memory', 'memory.limit_in_bytes', 'memory.usage_in_bytes', 'total_cache'),
    ):
        try:
            limit, used = (int(Path(folder, file).read_text(encoding='ascii')) for file in (limit_file, used_file))
            # What was read from files is counted as used, and given up when there is need of it.
            told = Path(folder, 'memory.stat').read_text(encoding='ascii').split()
            cached = int(told[told.index(cache) + 1]) if cache in told else 0
            left.append(max(0, limit - used + cached))
        except (OSError, ValueError):  # 'max': no limit
            continue
    return left


def empty_array(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An array of zeros, whose memory goes back to the system with it, instead of leaving a gap among tensors."""
    size = math.prod(shape) * dtype.itemsize
    return np.frombuffer(mmap.mmap(-1, max(size, 1)), dtype, math.prod(shape)).reshape(shape)


class _Held(TorchDispatchMode):
    """Counts the bytes of the tensors that operations make, for as long as they live."""

    def __init__(self) -> None:
        super().__init__()
        self.held, self.most = 0, 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = operation(*args, **(kwargs or {}))
        for value in tree_leaves(output):
            if isinstance(value, Tensor):
                self._note(value.untyped_storage())
        return output

    def _note(self, storage: torch.UntypedStorage) -> None:
        address, size = storage.data_ptr(), storage.nbytes()
        if address in self._known or not size:  # a view, or computed in place
            return
        self._known.add(address)
        self.held += size
        self.most = max(self.most, self.held)
        weakref.finalize(storage, self._forget, address, size).atexit = False

    def _forget(self, address: int, size: int) -> None:
        self._known.discard(address)
        self.held -= size


def peak_memory(compute: Callable[[], object], device: torch.device) -> int:
    """Bytes that `compute` holds at most beside what was held before, its result among them.

    On a GPU its allocator tells; elsewhere the tensors that it makes are counted, without what an operation takes for
    itself while it runs.
    """
    if device.type == 'cuda':
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        compute()
        return torch.cuda.max_memory_allocated(device) - before
    with _Held() as counting:
        compute()
    return counting.most
