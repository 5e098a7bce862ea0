"""Stock BasicSR, mended: imports, trains, tests, resumes, on a CPU.

BasicSR's logger and registries are global to a process: whole trainings run in processes of their own.
"""

import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch.utils.data import Dataset

from vsrkd_plugin.basicsr_patches import checkpoints, import_shim
from vsrkd_plugin.basicsr_patches import loop as compat
from vsrkd_plugin.errors import UserError

ITERATIONS = 4


def _options(images: Path, name: str = 'tiny') -> dict[str, Any]:
    """A stock SRModel training of a tiny VDSR on the CPU."""
    val = {'type': 'BicubicImageDataset', 'dataroot_gt': str(images), 'color': 'y', 'interpolate': True}
    return {
        'name': name,
        'model_type': 'SRModel',
        'num_gpu': 0,
        'manual_seed': 0,
        'datasets': {
            'train': {
                'name': 'train',
                'type': 'BicubicImageDataset',
                'dataroot_gt': str(images),
                'color': 'y',
                'scale': [2, 3],
                'interpolate': True,
                'gt_size': 24,
                'enlarge': 4,
                'use_hflip': True,
                'use_rot': True,
                'batch_size_per_gpu': 2,
                'num_worker_per_gpu': 0,
            },
            'val_x2': {**val, 'name': 'val_x2', 'scale': 2},
            'val_x3': {**val, 'name': 'val_x3', 'scale': 3},
        },
        'network_g': {'type': 'VDSR', 'num_feat': 4, 'num_block': 2, 'upscale': 1, 'start': 'identity'},
        'path': {'pretrain_network_g': None, 'resume_state': None},
        'train': {
            'ema_decay': 0.9,
            'optim_g': {'type': 'Adam', 'lr': 1e-3},
            'scheduler': {'type': 'MultiStepLR', 'milestones': [100], 'gamma': 0.5},
            'total_iter': ITERATIONS,
            'warmup_iter': -1,
            'pixel_opt': {'type': 'L1Loss', 'loss_weight': 1.0, 'reduction': 'mean'},
        },
        'val': {
            'val_freq': ITERATIONS,
            'save_img': False,
            'metrics': {'psnr': {'type': 'calculate_psnr', 'crop_border': 2, 'test_y_channel': False}},
        },
        'logger': {'print_freq': 1, 'save_checkpoint_freq': 1, 'keep_checkpoints': 2, 'use_tb_logger': False},
    }


def _basicsr(command: str, options: dict[str, Any], root: Path, *arguments: str) -> subprocess.CompletedProcess:
    file = root / f'{command}.yml'
    file.write_text(yaml.safe_dump(options, sort_keys=False))
    line = [sys.executable, '-m', 'vsrkd_plugin', command, '-opt', str(file), '--root', str(root), *arguments]
    return subprocess.run(line, capture_output=True, text=True, timeout=300, cwd=root)


@pytest.fixture(scope='module')
def trained(
    tmp_path_factory: pytest.TempPathFactory, make_images: Callable[..., Path]
) -> tuple[Path, dict[str, Any], str]:
    """A folder in which `tiny` has been trained, its options, and what was printed."""
    root = tmp_path_factory.mktemp('trained')
    options = _options(make_images(root / 'images', ((40, 36), (40, 37), (41, 38))))
    result = _basicsr('train', options, root)
    assert result.returncode == 0, result.stderr[-3000:]
    return root, options, result.stdout + result.stderr


def _steps(text: str) -> list[int]:
    return [int(number.replace(',', '')) for number in re.findall(r'\[epoch:[^\]]*?iter:\s*([\d,]+), lr', text)]


def test_stock_model_trains_and_validates(trained: tuple[Path, dict[str, Any], str]) -> None:
    root, _, text = trained
    assert _steps(text) == [1, 2, 3, 4]
    for name in ('val_x2', 'val_x3'):
        assert f'Validation {name}' in text
    figures = [float(value) for value in re.findall(r'psnr: ([\d.]+)', text)]
    assert len(figures) >= 2 and all(15 < value < 60 for value in figures)
    (log,) = (root / 'experiments' / 'tiny').glob('train_tiny_*.log')
    assert 'Validation val_x2' in log.read_text()  # nothing logged too early: the file has it all

    models = root / 'experiments' / 'tiny' / 'models'
    from vsrkd_plugin.archs.vdsr_arch import VDSR

    content = torch.load(models / 'net_g_latest.pth', weights_only=True)
    assert set(content) == {'params', 'params_ema'}
    for state in content.values():
        VDSR(num_feat=4, num_block=2).load_state_dict(state)
    assert not torch.equal(content['params']['output.weight'], content['params_ema']['output.weight'])


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
    result = _basicsr('train', options, tmp_path, '--auto_resume')
    assert result.returncode == 0, result.stderr[-3000:]
    assert re.search(r'Skip .*4\.state: not readable', result.stdout)
    assert re.search(r'Resume from .*3\.state, iteration 3', result.stdout)
    assert _steps(result.stdout + result.stderr) == [4, 5, 6]
    assert sorted(file.name for file in states.iterdir()) == ['5.state', '6.state']
    assert [folder.name for folder in (tmp_path / 'experiments').iterdir()] == ['tiny']  # none was archived
    # The optimiser went on, rather than start again.
    state = torch.load(states / '6.state', weights_only=True)
    assert float(state['optimizers'][0]['state'][0]['step']) == 6


def test_stock_test_pipeline(trained: tuple[Path, dict[str, Any], str]) -> None:
    root, options, training = trained
    sets = {'test_x2': options['datasets']['val_x2'], 'test_x3': options['datasets']['val_x3']}
    weights = str(root / 'experiments' / 'tiny' / 'models' / 'net_g_latest.pth')
    options = {
        'name': 'test_tiny',
        'model_type': 'SRModel',
        'num_gpu': 0,
        'manual_seed': 0,
        'datasets': sets,
        'network_g': options['network_g'],
        'path': {'pretrain_network_g': weights, 'param_key_g': 'params_ema', 'strict_load_g': True},
        'val': {'save_img': True, 'suffix': None, 'metrics': options['val']['metrics']},
    }
    result = _basicsr('test', options, root)
    assert result.returncode == 0, result.stderr[-3000:]
    text = result.stdout + result.stderr
    pattern = r'psnr: ([\d.]+)'
    assert re.findall(pattern, text) == re.findall(pattern, training)[-2:]  # what the end of training said
    images = sorted(file.name for file in (root / 'results' / 'test_tiny' / 'visualization' / 'val_x2').iterdir())
    assert images == ['0_test_tiny.png', '1_test_tiny.png', '2_test_tiny.png']


def test_import_shim() -> None:
    from torchvision.transforms import functional
    from torchvision.transforms.functional_tensor import rgb_to_grayscale  # the module that torchvision took away

    x = torch.rand(1, 3, 4, 5)
    assert torch.equal(rgb_to_grayscale(x), functional.rgb_to_grayscale(x))
    module = sys.modules['torchvision.transforms.functional_tensor']
    import_shim.install_import_shim()
    assert sys.modules['torchvision.transforms.functional_tensor'] is module
    import basicsr.data.degradations  # noqa: F401 - the one that wants it


def test_apply_twice_patches_once() -> None:
    import basicsr.train
    from basicsr.models.base_model import BaseModel

    compat.apply()
    before = (BaseModel.save_network, BaseModel.model_to_device, basicsr.train.create_train_val_dataloader)
    compat.apply()
    assert before == (BaseModel.save_network, BaseModel.model_to_device, basicsr.train.create_train_val_dataloader)


def test_training_set_shorter_than_a_batch(image_folder: Path) -> None:
    import logging

    import basicsr.train

    from vsrkd_plugin.registration import register

    register()
    opt = _options(image_folder)
    opt.update(dist=False, world_size=1, rank=0)
    opt['datasets'] = {'train': {**opt['datasets']['train'], 'phase': 'train', 'enlarge': 1, 'batch_size_per_gpu': 4}}
    with pytest.raises(UserError, match='3 images make no batch of 4'):
        basicsr.train.create_train_val_dataloader(opt, logging.getLogger('test'))
    opt['datasets']['train']['batch_size_per_gpu'] = 3
    assert len(basicsr.train.create_train_val_dataloader(opt, logging.getLogger('test'))[0]) == 1


class _Broken(Dataset):
    """Two samples, then an error."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> torch.Tensor:
        if index == 2:
            raise UserError('2.png: not a readable image')
        return torch.tensor(index)


def _within(seconds: float, function: Callable[[], Any]) -> Any:
    """The result of `function`, or the exception it raised; fails where it hangs."""
    result: list[Any] = []

    def run() -> None:
        try:
            result.append(function())
        except BaseException as error:
            result.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    assert result, f'hangs: no answer within {seconds} s'
    return result[0]


def test_prefetching_hands_on_errors() -> None:
    from basicsr.data.prefetch_dataloader import CPUPrefetcher, PrefetchDataLoader

    compat.apply()
    loader = PrefetchDataLoader(num_prefetch_queue=1, dataset=_Broken(), batch_size=1)
    prefetcher = CPUPrefetcher(loader)
    assert [int(_within(20, prefetcher.next)) for _ in range(2)] == [0, 1]
    error = _within(20, prefetcher.next)
    assert isinstance(error, UserError) and '2.png' in str(error)

    good = PrefetchDataLoader(num_prefetch_queue=1, dataset=[1, 2, 3], batch_size=1)
    assert _within(20, lambda: [int(item) for item in good]) == [1, 2, 3]


@pytest.fixture
def one_process_group(tmp_path: Path) -> Iterator[None]:
    import torch.distributed as dist

    dist.init_process_group('gloo', init_method=f'file://{tmp_path}/rendezvous', rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.parametrize('find_unused', [False, True])
def test_ddp_on_a_cpu(one_process_group: None, find_unused: bool) -> None:
    from basicsr.models.base_model import BaseModel
    from torch.nn.parallel import DistributedDataParallel

    compat.apply()
    model = BaseModel({'num_gpu': 0, 'is_train': True, 'dist': True, 'find_unused_parameters': find_unused})
    network = model.model_to_device(torch.nn.Conv2d(1, 2, 3))
    assert isinstance(network, DistributedDataParallel)
    assert network.device_ids is None
    assert network.find_unused_parameters is find_unused
    network(torch.rand(1, 1, 5, 5)).sum().backward()
    assert model.get_bare_model(network).weight.grad.abs().sum() > 0
    model.opt['dist'] = False
    assert isinstance(model.model_to_device(torch.nn.Conv2d(1, 2, 3)), torch.nn.Conv2d)


def test_readable_states_are_ordered_by_number(tmp_path: Path) -> None:
    for name in ('9.state', '10.state', '100.state', 'latest.state', '.11.state.7.tmp', 'x.pth'):
        (tmp_path / name).touch()
    assert [iteration for iteration, _ in checkpoints.readable_states(tmp_path)] == [100, 10, 9]
    assert checkpoints.readable_states(tmp_path / 'nowhere') == []


def test_network_is_saved_and_loaded_by_stock_calls(tmp_path: Path) -> None:
    from basicsr.models.base_model import BaseModel

    compat.apply()
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
