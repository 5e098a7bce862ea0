"""Every options file that comes with the project: valid as it is, and a training runs two iterations of it."""

import subprocess
from pathlib import Path

import pytest
import torch
from tiny_training import command_line

from vsrkd_plugin.config.loading import load_options
from vsrkd_plugin.config.validating import validate
from vsrkd_plugin.registration import register

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted((ROOT / 'options').glob('*.yml'))
TRAININGS = [file for file in FILES if not file.name.startswith('test_')]


def test_the_promised_files_are_there() -> None:
    expected = {
        'dfkd_vdsr',
        'dfkd_vdsr_best',
        'dfkd_vdsr_paper',
        'train_vdsr_teacher',
        'test_vdsr_set5',
        'test_vdsr_all',
        'test_vdsr_student_set5',
        'test_vdsr_student_all',
        'dfkd_vdsr_to_compact_x2',
        'dfkd_vdsr_to_compact_x4',
        'train_edsr_teacher_x2',
        'dfkd_edsr_x2',
    }
    assert expected <= {file.stem for file in FILES}


@pytest.mark.parametrize('file', FILES, ids=lambda file: file.stem)
def test_valid_and_commented(file: Path) -> None:
    register()
    options = load_options(str(file))
    validate(options, is_train=file in TRAININGS)
    assert options['name'] == file.stem
    assert f'-opt options/{file.name}' in file.read_text(encoding='utf-8')


@pytest.mark.parametrize('file', TRAININGS, ids=lambda file: file.stem)
def test_two_iterations(file: Path, tmp_path: Path, image_folder: Path) -> None:
    """Full-size networks; small batches and pictures for the sake of time."""
    changes = [
        f'datasets:{phase}:dataroot_gt={image_folder}'
        for phase in load_options(str(file))['datasets']
        if phase.startswith('val')
    ]
    changes += ['train:total_iter=2', 'datasets:train:batch_size_per_gpu=2', 'logger:print_freq=1', 'num_gpu=0']
    if 'dataroot_gt' in load_options(str(file))['datasets']['train']:
        changes += [f'datasets:train:dataroot_gt={image_folder}', 'datasets:train:gt_size=48']
    if file.stem == 'dfkd_edsr_x2':  # its teacher is to be trained first
        from basicsr.archs.edsr_arch import EDSR

        settings = {key: value for key, value in load_options(str(file))['network_t'].items() if key != 'type'}
        torch.save({'params': EDSR(**settings).state_dict()}, tmp_path / 'teacher.pth')
        changes.append(f'path:pretrain_network_t={tmp_path / "teacher.pth"}')
    line = command_line(['train'], None, tmp_path, '-opt', str(file), '--root', str(tmp_path), '--force_yml', *changes)
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    folder = tmp_path / 'experiments' / file.stem
    assert (folder / 'models' / 'net_g_latest.pth').is_file()
    assert (folder / 'report.md').is_file()
