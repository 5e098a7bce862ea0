"""Settings of the C library's allocator."""

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h


def keep_freed_memory() -> bool:
    """Have glibc keep the memory of freed tensors instead of giving it back to the system; True where that worked.

    By default every large tensor is mapped anew and its pages are faulted in one by one: a third of the time of small
    networks on large pictures (`benchmarks/inference.py`), and up to a tenth of a training step on a machine that is
    short of memory (`benchmarks/training_step.py`). Affects this process only.
    """
    if not sys.platform.startswith('linux'):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # a C library that is not glibc
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, 1 << 30)) and bool(mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1))
