"""The allocator's setting: does what it says, in a process of its own."""

import subprocess
import sys

import pytest

from vsrkd_plugin.run.allocator import keep_freed_memory

# Page faults of mapping and freeing 64 MB twenty times, without torch: numpy uses the same malloc.
COUNT_FAULTS = """
import resource, sys
import numpy as np
from vsrkd_plugin.run.allocator import keep_freed_memory
if sys.argv[1] == 'keep':
    assert keep_freed_memory()
np.ones(8 << 20)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    np.ones(8 << 20)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def _faults(mode: str) -> int:
    command = [sys.executable, '-c', COUNT_FAULTS, mode]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason="glibc's allocator only")
def test_freed_memory_is_used_again() -> None:
    default, kept = _faults('default'), _faults('keep')
    assert kept < default / 4, (default, kept)


def test_elsewhere_it_says_that_nothing_happened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, 'platform', 'darwin')
    assert keep_freed_memory() is False
