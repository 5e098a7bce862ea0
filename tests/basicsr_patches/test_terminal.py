"""What a person sees of stock BasicSR: bars that tear no line, no pages of modules; a log that can be searched."""

import logging
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from basicsr.models.base_model import BaseModel
from basicsr.models.sr_model import SRModel
from on_a_terminal import as_shown, run_on_a_terminal
from tiny_training import TOTAL, command_line, run, stock_test_options, tiny_options
from torch import nn

from vsrkd_plugin.basicsr_patches import loop, terminal
from vsrkd_plugin.run.progress import shown

LOG_LINE = re.compile(r'\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (INFO|WARNING): ')
loop.apply()


@pytest.fixture
def options(tmp_path: Path, image_folder: Path) -> dict[str, Any]:
    options = tiny_options(tmp_path, image_folder)
    options['val'] |= {'val_freq': TOTAL}
    return options


def test_the_dump_of_modules_goes_to_the_log_file_alone(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    log = logging.getLogger('basicsr')
    on_terminal, in_file = logging.StreamHandler(), logging.FileHandler(tmp_path / 'log')
    monkeypatch.setattr(log, 'handlers', [on_terminal, in_file])
    caplog.set_level(logging.INFO, 'basicsr')
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU())
    BaseModel.print_network(BaseModel({'num_gpu': 0, 'is_train': False}), network)
    in_file.close()
    told = 'Network: Sequential, with parameters: 20\n'
    assert capsys.readouterr().err == told
    assert (tmp_path / 'log').read_text() == f'{told}{network}\n'
    monkeypatch.setattr(log, 'handlers', [on_terminal])
    BaseModel.print_network(BaseModel({'num_gpu': 0, 'is_train': False}), nn.DataParallel(network))
    assert capsys.readouterr().err == told.replace('Sequential', 'DataParallel - Sequential')


def test_a_training_on_a_terminal(options: dict[str, Any], tmp_path: Path) -> None:
    status, written = run_on_a_terminal(command_line(['train'], options, tmp_path), tmp_path, columns=240)
    assert status == 0, written
    for bar in ('starting from the teacher: ', 'training: ', 'validating: ', 'report: pictures_x2: '):
        assert re.search(rf'{bar} +\d+%\|', written), f'no bar {bar!r}'
    lines = as_shown(written)
    bars = [line for line in lines if '%|' in line]
    assert all(re.match(r'[a-z][\w :]+: +100%\|█+\| (\d+)/\1 \[[^\]|]*\]$', line) for line in bars), bars
    (training,) = [line for line in bars if line.startswith('training')]
    assert f' {TOTAL}/{TOTAL} ' in training and 'l_kd 0.' in training
    assert not [line for line in bars if line.startswith('validating')], 'a bar within a bar is left'
    assert sum('INFO: ' in line for line in lines) > 20
    assert all(LOG_LINE.match(line) for line in lines if 'INFO: ' in line), 'a line was torn'
    iterations = [line for line in lines if ' iter: ' in line and 'l_kd: ' in line]
    assert len(iterations) == TOTAL // 4
    assert 'Conv2d(' not in written
    (log,) = (tmp_path / 'experiments' / 'tiny').glob('train_*.log')
    text = log.read_text(encoding='utf-8')
    assert 'Conv2d(' in text and '\r' not in text and '█' not in text
    assert [line.rstrip() for line in text.splitlines() if 'l_kd: ' in line] == iterations


def test_a_training_in_a_pipe(options: dict[str, Any], tmp_path: Path) -> None:
    done = run(['train'], options, tmp_path)
    assert done.returncode == 0, done.stderr
    assert not re.search('[\r\x1b█]', done.stdout + done.stderr)
    assert 'Conv2d(' not in done.stderr
    assert all(LOG_LINE.match(line) for line in done.stderr.splitlines() if 'INFO: ' in line)


def test_a_test_on_a_terminal(options: dict[str, Any], tmp_path: Path) -> None:
    """Of stock's own model, whose bar was stock's; options turn it off."""
    psnr = {'psnr': {'type': 'calculate_psnr', 'crop_border': 2}}
    weights = tmp_path / 'teacher.pth'
    stock = stock_test_options(
        options['datasets']['val_x2'], options['network_t'], weights, save_img=False, metrics=psnr
    )
    status, written = run_on_a_terminal(command_line(['test'], stock, tmp_path), tmp_path, columns=240)
    assert status == 0, written
    (bar,) = [line for line in as_shown(written) if '%|' in line]
    assert re.match(r'validating: 100%\|█+\| 3/3 \[.* image/s, 2\]$', bar), bar
    assert 'psnr: ' in written
    (tmp_path / 'stock.yml').write_text(yaml.safe_dump({**stock, 'val': {**stock['val'], 'pbar': False}}))
    line = [*command_line(['test'], None, tmp_path), '-opt', 'stock.yml']
    status, written = run_on_a_terminal(line, tmp_path)
    assert status == 0 and '%|' not in written


def test_the_bar_of_a_training_is_taken_down(capsys: pytest.CaptureFixture[str]) -> None:
    from basicsr.utils.logger import MessageLogger

    opt = {'name': 'x', 'logger': {'print_freq': 1, 'use_tb_logger': False}, 'train': {'total_iter': 8}}
    with shown():
        MessageLogger(opt, 2)
        (bar,) = terminal._training
        model = SRModel.__new__(SRModel)
        model.schedulers, model.optimizers = [], []
        for iteration in range(3, 9):
            model.update_learning_rate(iteration)
            assert bar.done == iteration - 1
        terminal.end_training(8)
        assert bar.done == bar.total == 8 and not terminal._training
        terminal.end_training()
