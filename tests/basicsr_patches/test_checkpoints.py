"""How stock BasicSR resumes, saves and loads, mended.

BasicSR's logger and registries are global to a process: whole trainings run in processes of their own.
"""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from stock_training import run_stock, steps

from vsrkd_plugin.basicsr_patches import checkpoints, loop
from vsrkd_plugin.errors import UserError


def test_pruning_keeps_the_newest(trained: tuple[Path, dict[str, Any], str]) -> None:
    folder = trained[0] / 'experiments' / 'tiny'
    assert sorted(file.name for file in (folder / 'training_states').iterdir()) == ['3.state', '4.state']
    expected = ['net_g_3.pth', 'net_g_4.pth', 'net_g_latest.pth']
    assert sorted(file.name for file in (folder / 'models').iterdir()) == expected


def test_resume_takes_the_newest_readable_state(trained: tuple[Path, dict[str, Any], str], tmp_path: Path) -> None:
    root, options, _ = trained
    shutil.copytree(root / 'experiments', tmp_path / 'experiments')
    states = tmp_path / 'experiments' / 'tiny' / 'training_states'
    content = (states / '4.state').read_bytes()
    (states / '4.state').write_bytes(content[: len(content) // 2])  # killed while saving
    options = {**options, 'train': {**options['train'], 'total_iter': 6}}
    result = run_stock('train', options, tmp_path, '--auto_resume')
    assert result.returncode == 0, result.stderr[-3000:]
    assert re.search(r'Skip .*4\.state: not readable', result.stdout)
    assert re.search(r'Resume from .*3\.state, iteration 3', result.stdout)
    assert steps(result.stdout + result.stderr) == [4, 5, 6]
    assert sorted(file.name for file in states.iterdir()) == ['5.state', '6.state']
    assert [folder.name for folder in (tmp_path / 'experiments').iterdir()] == ['tiny']  # none was archived
    # The optimiser went on, rather than start again.
    state = torch.load(states / '6.state', weights_only=True)
    assert float(state['optimizers'][0]['state'][0]['step']) == 6


def test_readable_states_are_ordered_by_number(tmp_path: Path) -> None:
    for name in ('9.state', '10.state', '100.state', 'latest.state', '.11.state.7.tmp', 'x.pth'):
        (tmp_path / name).touch()
    assert [iteration for iteration, _ in checkpoints.readable_states(tmp_path)] == [100, 10, 9]
    assert checkpoints.readable_states(tmp_path / 'nowhere') == []


def test_network_is_saved_and_loaded_by_stock_calls(tmp_path: Path) -> None:
    from basicsr.models.base_model import BaseModel

    loop.apply()
    model = BaseModel({'num_gpu': 0, 'is_train': True, 'dist': False, 'path': {'models': str(tmp_path)}, 'logger': {}})
    first, second = torch.nn.Conv2d(1, 2, 3), torch.nn.Conv2d(1, 2, 3)
    model.save_network([first, second], 'net_g', 7, param_key=['params', 'params_ema'])
    model.save_network(first, 'net_g', -1)
    other = torch.nn.Conv2d(1, 2, 3)
    model.load_network(other, str(tmp_path / 'net_g_7.pth'), True, 'params_ema')
    assert torch.equal(other.weight, second.weight)
    model.load_network(other, str(tmp_path / 'net_g_latest.pth'))
    assert torch.equal(other.weight, first.weight)
    with pytest.raises(UserError, match='net_g_8'):
        model.load_network(other, str(tmp_path / 'net_g_8.pth'))
