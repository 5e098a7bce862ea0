"""Every options file that comes with the project: valid as it is, and a training runs two iterations of it."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from basicsr.archs import build_network
from basicsr.utils.registry import ARCH_REGISTRY
from tiny_training import command_line

from vsrkd_plugin.config.loading import load_options
from vsrkd_plugin.config.validating import validate
from vsrkd_plugin.registration import register

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted((ROOT / 'options').glob('*.yml'))
CLIP_TRAININGS = ('train_duf_teacher', 'train_rlsp_teacher', 'train_tdan_teacher')
VIDEO = [file for file in FILES if file.name.startswith('dfkd_vsr') or file.stem in CLIP_TRAININGS]
# Teachers of video that are to be brought, made small; BasicVSR and its kin take LR frames of 64x64 at least.
TINY_TEACHERS = {
    'dfkd_vsr': {'num_feat': 8},
    'dfkd_vsr_basicvsr': {'num_feat': 8, 'num_block': 1},
    'dfkd_vsr_basicvsrpp': {'mid_channels': 16, 'num_blocks': 1},
    'dfkd_vsr_duf': {},
    'dfkd_vsr_edvr': {'num_feat': 8, 'deformable_groups': 2, 'num_extract_block': 1, 'num_reconstruct_block': 1},
    'dfkd_vsr_iconvsr': {'num_feat': 8, 'num_block': 1},
    'dfkd_vsr_rlsp': {'num_feat': 8},
    'dfkd_vsr_tdan': {'num_feat': 8, 'num_extract_block': 1, 'num_block': 1},
    'dfkd_vsr_to_tdan': {'num_feat': 8},
    'dfkd_vsr_tof': {},
}
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
        'dfkd_realesr',
        'dfkd_your_network',
        'dfkd_vsr',
        'dfkd_vsr_basicvsr',
        'dfkd_vsr_basicvsrpp',
        'dfkd_vsr_duf',
        'dfkd_vsr_edvr',
        'dfkd_vsr_iconvsr',
        'dfkd_vsr_rlsp',
        'dfkd_vsr_tdan',
        'dfkd_vsr_to_tdan',
        'dfkd_vsr_tof',
        'test_vsr_vid4',
        'train_duf_teacher',
        'train_rlsp_teacher',
        'train_tdan_teacher',
        'usrda_x4',
        'usrda_source_free_x4',
        'usrda_compress_x4',
    }
    assert expected <= {file.stem for file in FILES}


@pytest.mark.parametrize('file', FILES, ids=lambda file: file.stem)
def test_valid_and_commented(file: Path) -> None:
    register()
    options = load_options(str(file))
    validate(options, is_train=file in TRAININGS)
    assert options['name'] == file.stem
    assert f'-opt options/{file.name}' in file.read_text(encoding='utf-8')


# usrda_x4 is for a GPU: made small, tests/models/test_domain_adaptation_model.py runs it.
IMAGES = [file for file in TRAININGS if file not in VIDEO and file.stem != 'usrda_x4']


# `python -m vsrkd_plugin` with starts on few patches: with all of them one of full size takes a minute.
FEW_PATCHES = (
    'import sys; from vsrkd_plugin.models import task; from vsrkd_plugin.cli import main; '
    'task.INIT_PATCHES = 12; sys.exit(main())'
)


@pytest.mark.parametrize('file', IMAGES, ids=lambda file: file.stem)
def test_two_iterations(file: Path, tmp_path: Path, image_folder: Path, make_images: Callable[..., Path]) -> None:
    """Full-size networks; small batches and pictures for the sake of time."""
    changes = [
        f'datasets:{phase}:dataroot_gt={image_folder}'
        for phase in load_options(str(file))['datasets']
        if phase.startswith('val') and not file.stem.startswith('usrda')
    ]
    changes += ['train:total_iter=2', 'datasets:train:batch_size_per_gpu=2', 'logger:print_freq=1', 'num_gpu=0']
    for number, source in enumerate((load_options(str(file)).get('synthesis') or {}).get('sources') or []):
        if source['type'] == 'procedural':  # two steps need few of what goes on being painted beside all that follows
            changes.append(f'synthesis:sources:{number}:num_images=64')
    if file.stem.startswith('usrda'):
        camera = make_images(tmp_path / 'camera', ((104, 120),))
        place = 'synthesis:sources:0' if file.stem == 'usrda_compress_x4' else 'datasets:train'
        changes += [f'datasets:val:dataroot_lq={camera}', f'{place}:dataroot_lq={camera}']
        changes.append(f'path:pretrain_network_g={tmp_path / "teacher.pth" if "free" in file.stem else "~"}')
    elif 'dataroot_gt' in load_options(str(file))['datasets']['train']:
        changes += [f'datasets:train:dataroot_gt={image_folder}', 'datasets:train:gt_size=48']
    if file.stem.startswith('usrda') or file.stem in (
        'dfkd_edsr_x2',
        'dfkd_your_network',
        'dfkd_realesr',
    ):  # their teachers are to be brought
        teacher = build_network(dict(load_options(str(file))['network_t']))
        torch.save({'params': teacher.state_dict()}, tmp_path / 'teacher.pth')
        changes.append(f'path:pretrain_network_t={tmp_path / "teacher.pth"}')
    for label in load_options(str(file)).get('compare') or []:
        changes.append(f'path:pretrain_network_{label}={tmp_path / "teacher.pth"}')
    line = command_line(['train'], None, tmp_path, '-opt', str(file), '--root', str(tmp_path), '--force_yml', *changes)
    line[1:3] = ['-c', FEW_PATCHES]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    folder = tmp_path / 'experiments' / file.stem
    assert (folder / 'models' / 'net_g_latest.pth').is_file()
    assert (folder / 'report.md').is_file()


def write_clip(folder: Path, side: int) -> None:
    """Seven frames of noise that moves down."""
    folder.mkdir()
    picture = np.random.default_rng(0).integers(0, 256, (side + 8, side, 3)).astype(np.uint8)
    for number in range(7):
        cv2.imwrite(str(folder / f'{number}.png'), picture[number : number + side])


@pytest.mark.parametrize(
    'name', [pytest.param(name, marks=[pytest.mark.slow] if 'duf' in name else []) for name in CLIP_TRAININGS]
)
def test_two_iterations_on_clips(name: str, tmp_path: Path) -> None:
    write_clip(tmp_path / 'clip', 64)
    changes = [f'datasets:{phase}:dataroot_gt={tmp_path / "clip"}' for phase in ('train', 'val')]
    changes += ['datasets:train:batch_size_per_gpu=1', 'datasets:train:num_worker_per_gpu=0', 'train:total_iter=2']
    if 'tdan' in name:
        changes += ['network_g:num_feat=16', 'network_g:num_block=1', 'network_g:num_extract_block=1']
    changes += ['datasets:train:gt_size=32', 'datasets:train:invented=0', 'num_gpu=0']
    file = ROOT / 'options' / f'{name}.yml'
    line = command_line(['train'], None, tmp_path, '-opt', str(file), '--root', str(tmp_path), '--force_yml', *changes)
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / 'experiments' / name / 'report.mp4').is_file()


# TOFlow, BasicVSR++ and DUF have no size to make small, and take one to two minutes; IconVSR is BasicVSR and EDVR,
# which have their own.
MINUTES = ('dfkd_vsr_tof', 'dfkd_vsr_basicvsrpp', 'dfkd_vsr_duf', 'dfkd_vsr_iconvsr')
TEACHERS = [
    pytest.param(file, id=file.stem, marks=[pytest.mark.slow] if file.stem in MINUTES else [])
    for file in VIDEO
    if file.stem in TINY_TEACHERS
]


@pytest.mark.parametrize('file', TEACHERS)
def test_a_tiny_teacher_of_video_is_distilled(file: Path, tmp_path: Path) -> None:
    """A few iterations with what the file says of teacher, clips, bank and student, all of it small."""
    register()
    options, tiny = load_options(str(file)), TINY_TEACHERS[file.stem]
    settings = {**options['network_t'], **tiny}
    torch.manual_seed(0)
    network = ARCH_REGISTRY.get(settings['type'])(**{key: value for key, value in settings.items() if key != 'type'})
    torch.save({'params': network.state_dict()}, tmp_path / 'teacher.pth')
    side = 64 if 'vsr' in settings['type'].lower() else 16
    write_clip(tmp_path / 'clip', 4 * side)
    changes = [f'network_t:{key}={value}' for key, value in tiny.items()]
    changes += [
        f'path:pretrain_network_t={tmp_path / "teacher.pth"}', f'datasets:val:dataroot_gt={tmp_path / "clip"}',
        'datasets:train:batch_size_per_gpu=1', 'network_g:num_feat=8', 'synthesis:hr_size=64', 'num_gpu=0',
        f'synthesis:bank:hr_size={side * 4}', 'synthesis:bank:rows=2', 'synthesis:bank:frames=7',
        'synthesis:clips:frames=7', 'train:total_iter=3', 'logger:print_freq=1',
        'synthesis:sources=[{type: procedural, num_images: 4}]',
    ]  # fmt: skip
    line = command_line(['train'], None, tmp_path, '-opt', str(file), '--root', str(tmp_path), '--force_yml', *changes)
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    folder = tmp_path / 'experiments' / file.stem
    report = json.loads((folder / 'report.json').read_text(encoding='utf-8'))
    assert {result['method'] for result in report['results']} == {'bicubic', 'teacher', 'student'}
    assert report['complexity'][0]['network'] == 'teacher'
