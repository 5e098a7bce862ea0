"""How stock BasicSR resumes, saves and loads, mended.

BasicSR's logger and registries are global to a process: whole trainings run in processes of their own.
"""

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from stock_training import run_stock, steps
from tiny_training import tiny_options

from vsrkd_plugin.basicsr_patches import checkpoints, loop
from vsrkd_plugin.cli import main
from vsrkd_plugin.errors import UserError
from vsrkd_plugin.reports.experiment import read_validations
from vsrkd_plugin.run.training_states import read_state


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
    assert re.search(r'Skip .*4\.state: cannot be read', result.stdout)
    assert re.search(r'Resume from .*3\.state, iteration 3', result.stdout)
    assert steps(result.stdout + result.stderr) == [4, 5, 6]
    assert sorted(file.name for file in states.iterdir()) == ['5.state', '6.state']
    assert [folder.name for folder in (tmp_path / 'experiments').iterdir()] == ['tiny']  # none was archived
    # The optimiser went on, rather than start again.
    state = torch.load(states / '6.state', weights_only=True)
    assert float(state['optimizers'][0]['state'][0]['step']) == 6


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
    torch.nn.init.zeros_(other.weight)  # stock loads its average by this name, of a file without one too
    model.load_network(other, str(tmp_path / 'net_g_latest.pth'), True, 'params_ema')
    assert torch.equal(other.weight, first.weight)
    with pytest.raises(UserError, match=r"net_g_7.pth: has no weights under 'parms'"):
        model.load_network(other, str(tmp_path / 'net_g_7.pth'), True, 'parms')
    with pytest.raises(UserError, match='net_g_8'):
        model.load_network(other, str(tmp_path / 'net_g_8.pth'))


def _resume(tmp_path: Path, auto: bool, **more: Any) -> tuple[Any, dict[str, Any]]:
    """What a training goes on from, and the paths of its options then."""
    import basicsr.train

    loop.apply()
    folders = {key: str(tmp_path / 'new' / key) for key in ('experiments_root', 'models', 'visualization')}
    paths: dict[str, Any] = {
        **folders,
        'training_states': str(tmp_path),
        'ignore_resume_networks': ['network_t'],
        **more,
    }
    opt = {
        'auto_resume': auto,
        'network_g': {},
        'network_t': {},
        'path': paths,
        'rank': 0,
        'train': {'total_iter': 10**6},
        'manual_seed': 0,
    }
    return basicsr.train.load_resume_state(opt), paths


def _state(file: Path, iteration: int = 5) -> Path:
    torch.save({'epoch': 0, 'iter': iteration, 'optimizers': [], 'schedulers': []}, file)
    return file


def test_auto_resume_skips_what_is_no_state(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / '9.state').touch()
    torch.save({'params': {}}, tmp_path / '7.state')
    assert _resume(tmp_path, True)[0] is None  # starts anew
    state, paths = _resume(tmp_path, True, resume_state=str(_state(tmp_path / 'named', 3)))
    assert state['iter'] == 3 and paths['resume_state'].endswith('named')  # none of its own yet
    _state(tmp_path / '5.state')
    state, paths = _resume(tmp_path, True, resume_state=str(tmp_path / 'named'))
    assert state['iter'] == 5 and paths['resume_state'] == str(tmp_path / '5.state')
    told = capsys.readouterr().out
    assert re.search(r'Skip .*9\.state: cannot be read .*\n', told)
    assert re.search(r'Skip .*7\.state: is not a training state, it has no epoch', told)


def test_a_named_state_that_is_none_is_an_error_in_one_line(tmp_path: Path) -> None:
    (tmp_path / '9.state').touch()
    for name, message in (('9.state', 'cannot be read'), ('8.state', 'no such training state')):
        for auto in (True, False):
            with pytest.raises(UserError, match=f'path, resume_state: .*{name}: {message}') as caught:
                _resume(tmp_path, auto, resume_state=str(tmp_path / name))
            assert '\n' not in str(caught.value)


def test_resuming_loads_the_raw_weights_and_leaves_the_teacher_as_it_was(tmp_path: Path) -> None:
    _state(tmp_path / '5.state')
    given = {'param_key_t': 'params_ema', 'pretrain_network_t': 'teacher.pth', 'param_key_g': 'params_ema'}
    for more in ({}, given, {'param_key_g': None}):
        _, paths = _resume(tmp_path, True, **more)
        assert paths['pretrain_network_g'] == os.path.join(paths['models'], 'net_g_5.pth')
        assert paths['param_key_g'] == 'params' and Path(paths['models']).is_dir()
        assert paths.get('param_key_t') == more.get('param_key_t')
        assert paths.get('pretrain_network_t') == more.get('pretrain_network_t')


def test_what_cannot_be_read_pushes_no_state_out(tmp_path: Path) -> None:
    opt = {'logger': {'keep_checkpoints': 2}, 'path': {'training_states': str(tmp_path), 'models': str(tmp_path)}}
    for iteration in (1, 2, 3, 99):
        (tmp_path / f'{iteration}.state').touch()
        (tmp_path / f'net_g_{iteration}.pth').touch()
    checkpoints.prune_checkpoints(opt, 3)
    assert {file.name for file in tmp_path.iterdir()} == {
        *('2.state', '3.state', '99.state'), *('net_g_2.pth', 'net_g_3.pth', 'net_g_99.pth')
    }  # fmt: skip


def test_what_a_kill_between_saving_and_validation_lost_is_measured_anew(
    tmp_path: Path, image_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state of an iteration is saved before it is validated, so the best of all is not in it."""
    monkeypatch.chdir(tmp_path)
    options = tiny_options(tmp_path, image_folder, total_iter=12)
    options['val']['val_freq'] = 6
    (tmp_path / 'a.yml').write_text(yaml.safe_dump(options))
    assert main(['train', '-opt', 'a.yml']) == 0
    experiment = tmp_path / 'experiments' / 'tiny'
    whole, best = read_validations(experiment / 'metrics.jsonl', []), _best(experiment / 'training_states' / '12.state')
    for iteration in (9, 12):
        (experiment / 'training_states' / f'{iteration}.state').unlink()
    (experiment / 'metrics.jsonl').unlink()
    assert main(['train', '-opt', 'a.yml', '--auto_resume']) == 0
    assert read_validations(experiment / 'metrics.jsonl', []) == whole
    assert _best(experiment / 'training_states' / '12.state') == best


def _best(state: Path) -> Any:
    return read_state(state)['best']


@pytest.fixture
def going_on(tmp_path: Path, image_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with `a.yml`, whose training is at iteration 6 of 6."""
    monkeypatch.chdir(tmp_path)
    options = tiny_options(tmp_path, image_folder, total_iter=6)
    del options['manual_seed']
    (tmp_path / 'a.yml').write_text(yaml.safe_dump(options))
    assert main(['train', '-opt', 'a.yml']) == 0
    return tmp_path


def test_a_total_below_what_is_trained_is_refused(going_on: Path, capsys: pytest.CaptureFixture) -> None:
    before = (going_on / 'experiments' / 'tiny' / 'training.json').read_text()
    assert main(['train', '-opt', 'a.yml', '--auto_resume', '--force_yml', 'train:total_iter=5']) == 2
    assert 'train, total_iter: 5, but ' in capsys.readouterr().err
    assert (going_on / 'experiments' / 'tiny' / 'training.json').read_text() == before


def test_a_teacher_of_other_weights_is_refused(going_on: Path, capsys: pytest.CaptureFixture) -> None:
    """A file that was replaced between a kill and the going on."""
    weights = torch.load(going_on / 'teacher.pth', weights_only=True)['params']
    more = ['train', '-opt', 'a.yml', '--auto_resume', '--force_yml', 'train:total_iter=7']
    torch.save({'params': {name: value * 1.01 for name, value in weights.items()}}, going_on / 'teacher.pth')
    assert main(more) == 2
    assert '6.state: the teacher has other weights' in capsys.readouterr().err
    torch.save(weights, going_on / 'teacher.pth')  # the same, kept otherwise
    assert main(more) == 0


def test_the_seed_that_was_drawn_is_kept(going_on: Path) -> None:
    def seeds() -> list[int]:
        folder = going_on / 'experiments' / 'tiny'
        options = yaml.safe_load((folder / 'options.yml').read_text(encoding='utf-8'))
        return [options['manual_seed'], json.loads((folder / 'training.json').read_text(encoding='utf-8'))['seed']]

    before = seeds()
    for total in (7, 8):
        more = ['--auto_resume', '--force_yml', f'train:total_iter={total}']
        assert main(['train', '-opt', 'a.yml', *more]) == 0
        assert seeds() == before
