"""Stock BasicSR, mended: trains and tests on a CPU, hands on errors.

BasicSR's logger and registries are global to a process: whole trainings run in processes of their own.
"""

import re
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from stock_training import run_stock, steps

from vsrkd_plugin.basicsr_patches import loop


def test_stock_model_trains_and_validates(trained: tuple[Path, dict[str, Any], str]) -> None:
    root, _, text = trained
    assert steps(text) == [1, 2, 3, 4]
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
        'path': {'pretrain_network_g': weights},
        'val': {'save_img': True, 'suffix': None, 'metrics': options['val']['metrics']},
    }
    result = run_stock('test', options, root)
    assert result.returncode == 0, result.stderr[-3000:]
    text = result.stdout + result.stderr
    pattern = r'psnr: ([\d.]+)'
    # What the end of training said: of the average, which is what was validated, and not of the raw weights.
    assert re.findall(pattern, text) == re.findall(pattern, training)[-2:]
    assert f'VDSR: loaded params_ema of {weights}.' in text
    images = sorted(file.name for file in (root / 'results' / 'test_tiny' / 'visualization' / 'val_x2').iterdir())
    assert images == ['0_test_tiny.png', '1_test_tiny.png', '2_test_tiny.png']


def test_apply_twice_patches_once() -> None:
    import basicsr.train
    from basicsr.models.base_model import BaseModel

    loop.apply()
    before = (BaseModel.save_network, BaseModel.model_to_device, basicsr.train.create_train_val_dataloader)
    loop.apply()
    assert before == (BaseModel.save_network, BaseModel.model_to_device, basicsr.train.create_train_val_dataloader)


def test_a_folder_is_archived_where_its_link_leads(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    import basicsr.train
    from basicsr.utils import misc

    loop.apply()
    link, disk = tmp_path / 'run', tmp_path / 'disk' / 'run'
    disk.parent.mkdir()
    link.symlink_to(disk)
    for make in (misc.mkdir_and_rename, basicsr.train.mkdir_and_rename, misc.mkdir_and_rename):
        make(str(link))
        assert link.is_symlink() and disk.is_dir() and list(disk.iterdir()) == []
        (disk / 'weights').touch()
    archived = [folder for folder in disk.parent.iterdir() if folder.name.startswith('run_archived_')]
    assert len(archived) == 2  # two within a second, too
    assert all((folder / 'weights').is_file() for folder in archived)
    assert f'Rename it to {disk}_archived_' in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ['disk', 'run']


def test_a_folder_in_which_nothing_was_trained_is_not_archived(tmp_path: Path) -> None:
    """It has what a training that is killed before its first state leaves; anything else in it is kept."""
    from basicsr.utils import misc

    loop.apply()
    folder = tmp_path / 'run'
    (folder / 'models').mkdir(parents=True)
    for name in ('options.yml', 'train_run_20261129_000000.log'):
        (folder / name).touch()
    (tmp_path / 'tb_logger' / 'run').mkdir(parents=True)
    (tmp_path / 'tb_logger' / 'run' / 'events.out.tfevents.1').touch()
    for path in (folder, tmp_path / 'tb_logger' / 'run'):
        misc.mkdir_and_rename(str(path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ['run', 'tb_logger'] and len(list(folder.iterdir())) == 3
    assert [path.name for path in (tmp_path / 'tb_logger').iterdir()] == ['run']
    (folder / 'models' / 'mine.txt').touch()
    for path in (folder, tmp_path / 'tb_logger' / 'run'):
        misc.mkdir_and_rename(str(path))
    assert len(list(tmp_path.iterdir())) == 3 and not list(folder.iterdir())
    assert len(list((tmp_path / 'tb_logger').iterdir())) == 2


def test_the_log_for_tensorboard_is_closed_whatever_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import basicsr.train

    loop.apply()
    writers = []

    def pipeline(root: str) -> None:
        opt = {'name': 'run', 'root_path': root, 'logger': {'use_tb_logger': True}}
        writers.append(basicsr.train.init_tb_loggers(opt))
        raise ZeroDivisionError

    monkeypatch.setattr(sys.modules[__name__], 'parse_options', None, raising=False)  # stock ones are in its module
    before = threading.active_count()
    with pytest.raises(ZeroDivisionError):
        loop.run_with_options(pipeline, {}, '', str(tmp_path))
    assert writers[0].file_writer is None and threading.active_count() == before
