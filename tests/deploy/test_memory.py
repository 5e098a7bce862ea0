"""How much memory there is, and how much a computation takes."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from vsrkd_plugin.deploy.memory import empty_array, free_memory, parse_size, peak_memory, show_size, used_memory
from vsrkd_plugin.errors import UserError

CPU = torch.device('cpu')


@pytest.mark.parametrize(
    ('text', 'size'), [('2G', 2 << 30), ('1.5GB', 3 << 29), ('800M', 800 << 20), ('64MiB', 64 << 20), ('4096', 4096)]
)
def test_sizes_are_read(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize('text', ['', 'much', '-1G', '0', '2X', '2 G B', '9' * 400])
def test_what_is_no_size_is_told(text: str) -> None:
    with pytest.raises(UserError, match='--memory: expected a size such as 2G'):
        parse_size(text)


def test_sizes_are_shown() -> None:
    assert show_size(3 << 29) == '1.5 GB' and show_size(800 << 20) == '800 MB'


def test_the_peak_counts_what_lives_at_once() -> None:
    def one_after_the_other() -> None:
        for _ in range(5):
            torch.ones(1000, 250)

    assert peak_memory(one_after_the_other, CPU) in (10**6, 2 * 10**6)  # the next is made before the last is dropped
    assert peak_memory(lambda: [torch.ones(1000, 250) for _ in range(5)], CPU) == 5 * 10**6


def test_views_and_changes_in_place_take_nothing() -> None:
    assert peak_memory(lambda: torch.ones(1000, 250).view(-1)[5:].add_(1).mul_(2), CPU) == 10**6


def test_what_was_there_before_does_not_count() -> None:
    before = torch.ones(1000, 250)
    assert peak_memory(lambda: before.sum(), CPU) < 100


def test_memory_in_use_is_seen() -> None:
    before = used_memory()
    held = np.ones(400 << 20, np.uint8)  # much, for what other threads give back meanwhile is counted too
    assert used_memory() - before > 300 << 20 and held[0] == 1


def test_arrays_give_their_memory_back() -> None:
    array = empty_array((100, 1000, 500), np.dtype(np.uint8))
    array[:] = 1
    before = used_memory()
    del array
    assert before - used_memory() > 40 << 20


@pytest.mark.skipif(sys.platform != 'linux', reason='the limit of address space is of Linux')
def test_a_limit_of_address_space_is_heeded() -> None:
    program = (
        'import resource, torch; from vsrkd_plugin.deploy.memory import free_memory\n'
        "pages = int(open('/proc/self/statm').read().split()[0])\n"
        'limit = pages * resource.getpagesize() + (300 << 20)\n'
        'resource.setrlimit(resource.RLIMIT_AS, (limit, limit))\n'
        "print(free_memory(torch.device('cpu')) >> 20)"
    )
    done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert 200 < int(done.stdout) <= 300
    assert free_memory(CPU) > 0
