"""Which files of an experiment are training states, and which of them a training goes on from."""

import os
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from vsrkd_plugin.errors import UserError
from vsrkd_plugin.run.training_states import newest_state, numbered_states, read_state

STATE = {'epoch': 1, 'iter': 5, 'optimizers': [{'state': {0: {'step': torch.tensor(5.0)}}}], 'schedulers': []}


class _Attack:
    def __init__(self, trap: Path) -> None:
        self.trap = trap

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.trap),)


def _other_zip(file: Path) -> None:
    with zipfile.ZipFile(file, 'w') as archive:
        archive.writestr('word/document.xml', 'text')


def _cut(file: Path) -> None:
    torch.save(STATE, file)
    file.write_bytes(file.read_bytes()[:-100])


def _rotten(file: Path) -> None:
    """Fifty bytes of the numbers are others."""
    torch.save({**STATE, 'optimizers': [{'state': {0: {'exp_avg': torch.zeros(1000)}}}]}, file)
    content = bytearray(file.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 50] = bytes(255 - byte for byte in content[middle : middle + 50])
    file.write_bytes(content)


def _legacy(file: Path) -> None:
    torch.save(STATE, file, _use_new_zipfile_serialization=False)


# What is not a training state, and what is said of it.
WRONG: dict[str, tuple[Any, str]] = {
    'empty': (lambda file: file.touch(), 'cannot be read'),
    'text': (lambda file: file.write_text('no state'), 'cannot be read'),
    'cut': (_cut, 'cannot be read'),
    'rotten': (_rotten, 'does not fit its checksum; the file is damaged'),
    'another zip': (_other_zip, 'cannot be read'),
    'a format that no state had': (_legacy, 'cannot be read'),
    'a program': (
        lambda file: torch.jit.save(torch.jit.script(nn.Conv2d(1, 1, 3)), str(file)),
        'cannot be read .a TorchScript program',
    ),
    'weights': (lambda file: torch.save({'params': {}}, file), 'is not a training state, it has no epoch, iter, opt'),
    'a list': (lambda file: torch.save([1, 2], file), 'is not a training state'),
    'another type': (
        lambda file: torch.save({**STATE, 'iter': 'five'}, file),
        'is not a training state, it has no iter',
    ),
    'a module': (lambda file: torch.save({**STATE, 'net': nn.Conv2d(1, 1, 1)}, file), 'holds more than numbers'),
    'an attack': (lambda file: torch.save({**STATE, 'x': _Attack(file.with_name('trap'))}, file), 'more than numbers'),
    'a folder': (lambda file: file.mkdir(), 'no such training state'),
}


@pytest.mark.parametrize('case', WRONG)
@pytest.mark.filterwarnings('ignore')
def test_what_is_no_state_is_told_in_one_line_and_skipped(tmp_path: Path, case: str) -> None:
    make, message = WRONG[case]
    file = tmp_path / '9.state'
    told: list[str] = []
    make(file)
    with pytest.raises(UserError, match=f'9.state: .*{message}') as caught:
        read_state(file)
    assert '\n' not in str(caught.value) and '\x1b' not in str(caught.value) and len(str(caught.value)) < 400
    assert not (tmp_path / 'trap').exists()

    torch.save(STATE, tmp_path / '5.state')
    found = newest_state(tmp_path, told.append)
    assert found is not None and found[0] == tmp_path / '5.state'
    assert found[1]['iter'] == 5 and float(found[1]['optimizers'][0]['state'][0]['step']) == 5
    assert told == [f'Skip {caught.value}']


def test_no_state() -> None:
    assert newest_state(Path('nowhere'), pytest.fail) is None
    with pytest.raises(UserError, match='nowhere: no such training state'):
        read_state(Path('nowhere'))


def test_states_are_ordered_by_number(tmp_path: Path) -> None:
    for name in ('9.state', '10.state', '100.state', 'latest.state', '²3.state', '.11.state.7.tmp', 'x.pth'):
        (tmp_path / name).touch()
    assert [iteration for iteration, _ in numbered_states(tmp_path)] == [100, 10, 9]
    assert numbered_states(tmp_path / 'nowhere') == []
    told: list[str] = []
    assert newest_state(tmp_path, told.append) is None
    assert sum('not named <iteration>.state' in line for line in told) == 2 and len(told) == 5
