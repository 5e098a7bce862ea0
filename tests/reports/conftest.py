"""A tiny experiment folder, as a training leaves it."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml

import vsrkd_plugin  # noqa: F401 - makes basicsr importable
from vsrkd_plugin.archs.vdsr_arch import VDSR
from vsrkd_plugin.registration import register

TEACHER = {'num_in_ch': 1, 'num_feat': 8, 'num_block': 2}
STUDENT = {'num_in_ch': 1, 'num_feat': 4, 'num_block': 2}


def natural_picture(height: int, width: int, seed: int) -> np.ndarray:
    """Smooth colours with edges, uint8 BGR."""
    rng = np.random.default_rng(seed)
    grid = rng.uniform(0, 255, (5, 6, 3)).astype(np.float32)
    image = cv2.resize(grid, (width, height), interpolation=cv2.INTER_LINEAR)
    image[height // 3 : height // 2, width // 4 : width // 2] = (20, 200, 90)
    return image.round().clip(0, 255).astype(np.uint8)


def small_vdsr(settings: dict, seed: int) -> VDSR:
    torch.manual_seed(seed)
    return VDSR(**settings, start='identity')


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    """`experiments/tiny` with a teacher, a student, two pictures at x2 and x3, and a record of a resumed training."""
    pictures = tmp_path / 'pictures'
    pictures.mkdir()
    cv2.imwrite(str(pictures / 'a.png'), natural_picture(49, 61, 0))
    cv2.imwrite(str(pictures / 'b.png'), natural_picture(54, 50, 1))
    torch.save({'params': small_vdsr(TEACHER, 0).state_dict()}, tmp_path / 'teacher.pth')
    folder = tmp_path / 'experiments' / 'tiny'
    (folder / 'models').mkdir(parents=True)
    torch.save({'params': small_vdsr(STUDENT, 1).state_dict()}, folder / 'models' / 'net_g_latest.pth')
    dataset = {'type': 'BicubicImageDataset', 'dataroot_gt': 'pictures', 'color': 'y', 'phase': 'val'}
    options = {
        'name': 'tiny',
        'root_path': str(tmp_path),
        'model_type': 'DataFreeDistillationModel',
        'scales': [2, 3],
        'num_gpu': 0,
        'precision': 'auto',
        'datasets': {
            'train': {'type': 'LatentDataset', 'phase': 'train'},
            'val_x2': {**dataset, 'name': 'pictures_x2', 'scale': 2},
            'val_x3': {**dataset, 'name': 'pictures_x3', 'scale': 3},
        },
        'network_t': {'type': 'VDSR', **TEACHER},
        'network_g': {'type': 'VDSR', **STUDENT, 'precision': 'bf16'},
        'path': {'pretrain_network_t': 'teacher.pth', 'resume_state': None},
        'val': {
            'metrics': {
                'psnr': {'type': 'calculate_psnr', 'test_y_channel': True},
                'ssim': {'type': 'calculate_ssim', 'test_y_channel': True},
            }
        },
    }
    write_options(folder, options)
    lines = [
        {'iteration': iteration, 'dataset': f'pictures_x{scale}', 'metrics': {'psnr': psnr, 'ssim': 0.9}}
        for iteration, psnr in ((2, 20.0), (4, 21.0), (4, 22.0))
        for scale in (2, 3)
    ]
    text = '\n'.join(json.dumps(line) for line in lines)
    (folder / 'metrics.jsonl').write_text(text + '\n{"iteration": 6, "data', encoding='utf-8')
    training = {'iterations': 4, 'seconds': 812.3, 'device': 'cpu (2 threads)', 'precision': 'bf16', 'seed': 0,
                'peak_memory_mb': 2716.4}  # fmt: skip
    (folder / 'training.json').write_text(json.dumps(training), encoding='utf-8')
    return folder


def write_options(folder: Path, options: dict) -> None:
    (folder / 'options.yml').write_text(yaml.safe_dump(options, sort_keys=False), encoding='utf-8')


@pytest.fixture
def change_options(experiment: Path):
    """A function that edits `options.yml` of the experiment: it is given the dictionary to change."""

    def change(edit) -> None:
        options = yaml.safe_load((experiment / 'options.yml').read_text(encoding='utf-8'))
        edit(options)
        write_options(experiment, options)

    return change


@pytest.fixture(autouse=True)
def _registered() -> None:
    """What the options of an experiment name must be registered before its report is made."""
    register()


@pytest.fixture
def report() -> dict:
    """The figures of one data set, as `make_report` gives them."""
    values = {'bicubic': (33.66, 0.93), 'teacher': (37.57, 0.9587), 'student': (37.25, 0.957)}
    cost = {'teacher': (664704, 10_890_510_336, 0.4), 'student': (166464, 2_727_346_176, 0.1)}
    keys = ('params', 'macs', 'seconds_per_image')
    return {
        'results': [
            {'dataset': 'Set5', 'scale': 2, 'method': method, 'psnr': psnr, 'ssim': ssim}
            for method, (psnr, ssim) in values.items()
        ],
        'complexity': [
            {'network': name, **dict(zip(keys, values, strict=True)), 'input': [1, 1, 64, 64], 'scale': 2}
            for name, values in cost.items()
        ],
        'training': {'iterations': 3000, 'seconds': 3725.0, 'device': 'cpu', 'precision': 'bf16', 'seed': 0},
    }
