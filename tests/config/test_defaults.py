"""What `complete` adds to an options file."""

from typing import Any

import pytest
import torch

from vsrkd_plugin.config.defaults import complete
from vsrkd_plugin.errors import UserError
from vsrkd_plugin.registration import register


@pytest.fixture(autouse=True)
def _registered() -> None:
    register()


def _options(**more: Any) -> dict[str, Any]:
    return {
        'name': 'run', 'model_type': 'SRModel', 'num_gpu': 0, 'network_g': {}, 'network_d': {},
        'datasets': {'train': {}, 'val_1': {'dataroot_gt': '~/pictures'}, 'val_2': {'scale': 3}}, **more,
    }  # fmt: skip


def test_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('HOME', '/home/someone')
    opt = _options(scale=2, path={'pretrain_network_g': '~/g.pth', 'resume_state': None}, val={'val_freq': 5})
    complete(opt, '/root_of_runs', is_train=True, auto_resume=True)
    path = opt['path']
    assert path['experiments_root'] == path['log'] == '/root_of_runs/experiments/run'
    assert path['models'] == '/root_of_runs/experiments/run/models'
    assert path['pretrain_network_g'] == '/home/someone/g.pth'
    assert path['param_key_g'] is None  # the entry that was validated; stock would take `params`
    assert path['ignore_resume_networks'] == ['network_d']
    assert opt['is_train'] and opt['auto_resume'] and not opt['dist']
    assert (opt['rank'], opt['world_size']) == (0, 1)
    assert isinstance(opt['manual_seed'], int)
    sets = opt['datasets']
    assert [sets[key]['phase'] for key in sets] == ['train', 'val', 'val']
    assert [sets[key]['scale'] for key in sets] == [2, 2, 3]
    assert sets['train']['num_worker_per_gpu'] == 0
    assert sets['val_1']['dataroot_gt'] == '/home/someone/pictures'
    assert opt['val'] == {'val_freq': 5, 'save_img': False, 'suffix': None}
    assert opt['logger'] == {'use_tb_logger': True, 'print_freq': 100, 'save_checkpoint_freq': 1000}


def test_testing() -> None:
    opt = _options(manual_seed=7)
    complete(opt, '/root_of_runs', is_train=False)
    assert opt['path']['results_root'] == '/root_of_runs/results/run'
    assert 'experiments_root' not in opt['path']
    assert opt['val'] == {'save_img': False, 'suffix': None}
    assert opt['manual_seed'] == 7
    assert opt['logger'] == {'use_tb_logger': False}


def test_without_validation_none_is_made_up() -> None:
    opt = _options()
    complete(opt, '/r', is_train=True)
    assert 'val' not in opt


def test_distillation_resumes_no_network_from_models() -> None:
    opt = _options(model_type='DataFreeDistillationModel', network_t={}, path={'ignore_resume_networks': ['network_x']})
    complete(opt, '/r', is_train=True)
    assert opt['path']['ignore_resume_networks'] == ['network_d', 'network_g', 'network_t', 'network_x']


def test_debug() -> None:
    opt = _options(val={'val_freq': 500})
    complete(opt, '/r', is_train=True, debug=True)
    assert opt['name'] == 'debug_run'
    assert (opt['logger']['print_freq'], opt['logger']['save_checkpoint_freq'], opt['val']['val_freq']) == (1, 8, 8)


@pytest.mark.parametrize(
    ('there', 'asked', 'used'), [(0, 'auto', 0), (1, 'auto', 1), (4, 'auto', 1), (1, 1, 1), (2, 0, 0)]
)
def test_num_gpu(monkeypatch: pytest.MonkeyPatch, there: int, asked: int | str, used: int) -> None:
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: there)
    opt = _options(num_gpu=asked)
    complete(opt, '/r', is_train=True)
    assert opt['num_gpu'] == used


@pytest.mark.parametrize(
    ('there', 'message'), [(0, 'num_gpu: asks for 2, but this machine has 0'), (2, 'num_gpu: 2 GPUs')]
)
def test_num_gpu_that_cannot_be(monkeypatch: pytest.MonkeyPatch, there: int, message: str) -> None:
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: there)
    with pytest.raises(UserError, match=message):
        complete(_options(num_gpu=2), '/r', is_train=True)
