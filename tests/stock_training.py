"""A training by stock SRModel: small enough for many runs, with an average of the weights."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

ITERATIONS = 4


def stock_options(images: Path, name: str = 'tiny') -> dict[str, Any]:
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


def run_stock(command: str, options: dict[str, Any], root: Path, *arguments: str) -> subprocess.CompletedProcess:
    file = root / f'{command}.yml'
    file.write_text(yaml.safe_dump(options, sort_keys=False))
    line = [sys.executable, '-m', 'vsrkd_plugin', command, '-opt', str(file), '--root', str(root), *arguments]
    return subprocess.run(line, capture_output=True, text=True, timeout=300, cwd=root)


def steps(text: str) -> list[int]:
    """The iterations that a training logged."""
    return [int(number.replace(',', '')) for number in re.findall(r'\[epoch:[^\]]*?iter:\s*([\d,]+), lr', text)]
