"""Disks that are full, at whatever write of whatever command, and such that are read-only."""

import functools
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from .forking import Outcome, SmallDisk, attack
from .small_disk import can_mount
from .writing import COMMANDS, content_of, left_begun

SHARES = (0.0, 0.03, 0.2, 0.45, 0.7, 0.9)  # of the room that a command needs


@pytest.fixture(scope='module')
def place(made: Path) -> Path:
    """The folder that the commands work in, on a disk that a test may make small."""
    if not can_mount(made):
        pytest.skip('this machine lets nobody mount a small disk')
    return made


@pytest.fixture(scope='module')
def room(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], int]:
    """Command → kilobytes that it needs at most."""

    @functools.cache
    def measured(name: str) -> int:
        left = tmp_path_factory.mktemp('left') / 'whole'
        done = attack(COMMANDS[name].arguments, place, 120, SmallDisk(1 << 17, left))
        assert done.status == 0, done.errors
        before, after = content_of(place), content_of(left)
        return sum(4 + (len(after[file]) >> 10) for file in after if before.get(file) != after[file]) + 4

    return measured


def _told(done: Outcome, words: str) -> str:
    """The one line of the error."""
    lines = [line for line in done.errors.splitlines() if line.startswith('basicsr: ') and 'warning' not in line]
    assert done.status == 2 and len(lines) == 1, (done.status, done.errors[-1500:])
    assert re.search(words, lines[0]), lines[0]
    assert 'Traceback' not in done.errors + done.output
    return lines[0]


@pytest.mark.parametrize('share', SHARES, ids='{:.0%}'.format)
@pytest.mark.parametrize('name', COMMANDS)
def test_a_full_disk(name: str, share: float, place: Path, room: Callable[[str], int], tmp_path: Path) -> None:
    """One line that says so; under the final names is nothing, or something whole; what was there stays."""
    command, left = COMMANDS[name], tmp_path / 'left'
    done = attack(command.arguments, place, 120, SmallDisk(int(share * room(name)), left))
    if done.status:  # else it needed less, for some of it is replaced
        _told(done, 'disk is full|No space left|GB are needed')
    if (left / command.makes).exists():
        command.whole(left / command.makes)
    before, after = content_of(place), content_of(left)
    kept = [file for file in before if not file.startswith(command.makes)]
    assert {file: after.get(file) == before[file] for file in kept} == dict.fromkeys(kept, True)
    assert not left_begun(after)
    assert not done.made, done.made  # nothing outside of the disk either


@pytest.mark.parametrize('name', COMMANDS)
def test_a_disk_that_is_read_only(name: str, place: Path, tmp_path: Path) -> None:
    done = attack(COMMANDS[name].arguments, place, 120, SmallDisk(None, tmp_path / 'left'))
    _told(done, 'Read-only file system')
    assert content_of(tmp_path / 'left') == content_of(place)
