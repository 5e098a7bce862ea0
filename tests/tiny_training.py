"""A distillation of toy networks: small enough for many runs, with every part of the real one."""

import copy
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
import yaml

from vsrkd_plugin.archs.rlsp_arch import RLSP
from vsrkd_plugin.archs.vdsr_arch import VDSR

TOTAL = 24


def tiny_options(folder: Path, images: Path, **train: Any) -> dict[str, Any]:
    """Options of a toy distillation on the CPU; writes its teacher to `folder/teacher.pth`."""
    torch.manual_seed(3)
    torch.save({'params': VDSR(num_feat=8, num_block=4).state_dict()}, folder / 'teacher.pth')
    val = {'type': 'BicubicImageDataset', 'dataroot_gt': str(images), 'color': 'y'}
    return {
        'name': 'tiny',
        'model_type': 'DataFreeDistillationModel',
        'scales': [2, 3],
        'num_gpu': 0,
        'manual_seed': 7,
        'precision': 'fp32',
        'datasets': {
            'train': {'name': 'latent', 'type': 'LatentDataset', 'batch_size_per_gpu': 4, 'iterations_per_epoch': 10},
            'val_x2': {**val, 'name': 'pictures_x2', 'scale': 2},
            'val_x3': {**val, 'name': 'pictures_x3', 'scale': 3},
        },
        'network_t': {'type': 'VDSR', 'num_feat': 8, 'num_block': 4},
        'network_g': {'type': 'VDSR', 'num_feat': 4, 'num_block': 4},
        'network_z': {'type': 'LatentGenerator', 'num_latent': 8, 'num_feat': 8},
        'path': {'pretrain_network_t': str(folder / 'teacher.pth'), 'resume_state': None},
        'synthesis': {
            'hr_size': 12,
            'sources': [
                {'type': 'procedural', 'weight': 1, 'num_images': 40, 'image_size': 16},
                {'type': 'learned', 'weight': 1},
            ],
        },
        'train': {
            'init': 'teacher',
            'growth': {'start': 2, 'every': 8, 'step': 1, 'block_start': 'identity'},
            'distill_opt': {'type': 'DistillationLoss'},
            'adversarial_opt': {'type': 'AdversarialDistillationLoss'},
            'reconstruction_opt': {'type': 'ReconstructionLoss'},
            'generator_freq': 3,
            'optim_g': {'type': 'Adam', 'lr': 1e-3},
            'scheduler': {'type': 'CosineAnnealingRestartLR', 'eta_min': 1e-6},
            'optim_z': {'type': 'Adam', 'lr': 1e-3},
            'grad_clip': 0.4,
            'ema_decay': 0.9,
            'total_iter': TOTAL,
            **train,
        },
        'val': {
            'val_freq': 12,
            'save_img': False,
            'metrics': {'psnr': {'type': 'calculate_psnr', 'test_y_channel': True}},
        },
        'logger': {'print_freq': 4, 'save_checkpoint_freq': 3, 'use_tb_logger': False},
    }


def tiny_video_options(folder: Path, **train: Any) -> dict[str, Any]:
    """Options of a toy distillation of video on the CPU; writes its teacher to `folder/teacher.pth`."""
    options = tiny_options(folder, folder)
    torch.manual_seed(3)
    torch.save({'params': RLSP(num_feat=8, num_layer=3, upscale=2).state_dict()}, folder / 'teacher.pth')
    del options['network_z']
    return {
        **options,
        'name': 'tiny_video',
        'model_type': 'VideoDataFreeDistillationModel',
        'scales': [2],
        'datasets': {'train': options['datasets']['train']},
        'network_t': {'type': 'RLSP', 'num_feat': 8, 'num_layer': 3, 'upscale': 2},
        'network_g': {'type': 'RLSP', 'num_feat': 4, 'num_layer': 3, 'upscale': 2},
        'path': {'pretrain_network_t': str(folder / 'teacher.pth'), 'resume_state': None},
        'synthesis': {
            'hr_size': 16,
            'clips': {'frames': 5, 'degradation': 'blur', 'sigma': 1.0},
            'sources': [{'type': 'procedural', 'num_images': 40}],
        },
        'train': {
            'init': 'teacher',
            'distill_opt': {'type': 'DistillationLoss'},
            'optim_g': {'type': 'Adam', 'lr': 1e-3},
            'scheduler': {'type': 'CosineAnnealingRestartLR', 'eta_min': 1e-6},
            'ema_decay': 0.9,
            'total_iter': TOTAL,
            **train,
        },
    }


def stock_test_options(dataset: dict[str, Any], network: dict[str, Any], weights: Path, **val: Any) -> dict[str, Any]:
    """Options of a test by BasicSR's own SRModel, x2, on the data set `pictures`."""
    return {
        'name': 'stock',
        'model_type': 'SRModel',
        'num_gpu': 0,
        'manual_seed': 0,
        'datasets': {'test_1': {**dataset, 'name': 'pictures'}},
        'network_g': {**network, 'upscale': 2},
        'path': {'pretrain_network_g': str(weights)},
        'val': val,
    }


def build(options: dict[str, Any], root: Path) -> Any:
    """The model of `options` in this process, ready to train; nothing is written."""
    from basicsr.models import build_model

    from vsrkd_plugin.config.defaults import complete
    from vsrkd_plugin.registration import register

    register()
    options = copy.deepcopy(options)
    complete(options, str(root), is_train=True)
    torch.manual_seed(options['manual_seed'])
    return build_model(options)


def advance(model: Any, first: int, last: int) -> None:
    """Iterations `first` to `last`, as stock BasicSR's loop does them."""
    for iteration in range(first, last + 1):
        model.update_learning_rate(iteration)
        model.feed_data({'index': torch.zeros(1)})
        model.optimize_parameters(iteration)


def run(command: list[str], options: dict[str, Any] | None, root: Path, *arguments: str) -> subprocess.CompletedProcess:
    """`python -m vsrkd_plugin COMMAND -opt … ARGUMENTS` in a process of its own; options go to `root/<name>.yml`."""
    return subprocess.run(
        command_line(command, options, root, *arguments), capture_output=True, text=True, timeout=300, cwd=root
    )


def command_line(command: list[str], options: dict[str, Any] | None, root: Path, *arguments: str) -> list[str]:
    """The command that `run` runs."""
    line = [sys.executable, *(command if command[0] == '-m' else ['-m', 'vsrkd_plugin', *command])]
    if options is not None:
        file = root / f'{options["name"]}.yml'
        file.write_text(yaml.safe_dump(options), encoding='utf-8')
        line += ['-opt', str(file)]
    return [*line, *arguments]


def few_threads() -> dict[str, str]:
    """An environment in which several processes do not fight for the cores."""
    return {**os.environ, 'OMP_NUM_THREADS': '1'}
