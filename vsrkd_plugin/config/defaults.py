"""What stock `parse_options` adds to an options file: places of files, phases of data sets, number of GPUs, seed."""

import os
import random
from pathlib import Path
from typing import Any

from vsrkd_plugin.config.dataset_options import LoaderOptions
from vsrkd_plugin.config.registries import Model
from vsrkd_plugin.config.schema import LoggerOptions, RunOptions, ValOptions
from vsrkd_plugin.config.section import Section
from vsrkd_plugin.errors import UserError
from vsrkd_plugin.ops.parallel import of_rank_0


def complete(opt: dict[str, Any], root: str, is_train: bool, auto_resume: bool = False, debug: bool = False) -> None:
    """Complete validated options in place, as BasicSR's pipelines expect them.

    Args:
        opt: options that passed `validate`.
        root: the folder below which `experiments/`, `results/` and `tb_logger/` lie.

    Raises:
        UserError: more GPUs asked for than there are.
    """
    import torch
    from basicsr.utils.dist_util import get_dist_info

    opt['rank'], opt['world_size'] = get_dist_info()
    opt['dist'] = torch.distributed.is_available() and torch.distributed.is_initialized()
    opt['is_train'] = is_train
    opt['auto_resume'] = auto_resume
    opt['root_path'] = root
    if opt.get('manual_seed') is None:
        # One for all processes: each draws what all of them see.
        opt['manual_seed'] = of_rank_0(random.randint(1, 10000))
    if debug and not opt['name'].startswith('debug'):
        opt['name'] = f'debug_{opt["name"]}'

    there = torch.cuda.device_count()
    _fill(opt, RunOptions, 'num_gpu')
    if opt['num_gpu'] == 'auto':
        # Several GPUs take a process each (torchrun); stock's DataParallel would count its iterations wrongly.
        opt['num_gpu'] = there if opt['dist'] else min(there, 1)
    elif opt['num_gpu'] > there:
        raise UserError(
            f'num_gpu: asks for {opt["num_gpu"]}, but this machine has {there}; write auto, or 0 for the CPU'
        )
    elif opt['num_gpu'] > 1 and not opt['dist']:
        raise UserError(
            f'num_gpu: {opt["num_gpu"]} GPUs take a process each; start them with '
            f'torchrun --nproc_per_node {opt["num_gpu"]} -m vsrkd_plugin …'
        )

    for phase, dataset in opt.get('datasets', {}).items():
        dataset['phase'] = phase.split('_')[0]
        if 'scale' in opt:
            dataset.setdefault('scale', opt['scale'])
        if dataset['phase'] == 'train':
            _fill(dataset, LoaderOptions, 'num_worker_per_gpu')
            if dataset.get('type') == 'UnpairedLRDataset' and dataset.get('manual_seed') is None:
                dataset['manual_seed'] = opt['manual_seed']
        for key in ('dataroot_gt', 'dataroot_lq'):
            if isinstance(dataset.get(key), str):
                dataset[key] = os.path.expanduser(dataset[key])

    paths = opt.setdefault('path', {})
    for key, value in paths.items():
        if isinstance(value, str) and ('resume_state' in key or 'pretrain_network' in key):
            paths[key] = os.path.expanduser(value)
    for key in [key for key in paths if key.startswith('pretrain_network_')]:
        # Stock's own default is `params`, also where the average is there, which was validated.
        paths.setdefault(key.replace('pretrain_network_', 'param_key_'), None)
    # Without this, check_resume points the teacher and the generator at models/net_<x>_<iter>.pth, never written.
    others = [key for key in opt if key.startswith('network_') and key != 'network_g']
    if Model.of(opt).has_task:
        others.append('network_g')  # its weights come from the state, bit for bit
    paths['ignore_resume_networks'] = sorted({*others, *(paths.get('ignore_resume_networks') or [])})

    opt.setdefault('logger', {}).setdefault('use_tb_logger', is_train)
    if is_train:
        folder = Path(root, 'experiments', opt['name'])
        paths.update(
            experiments_root=str(folder),
            models=str(folder / 'models'),
            training_states=str(folder / 'training_states'),
            log=str(folder),
            visualization=str(folder / 'visualization'),
        )
        _fill(opt['logger'], LoggerOptions, 'print_freq', 'save_checkpoint_freq')
        if 'debug' in opt['name']:
            opt['logger'].update(print_freq=1, save_checkpoint_freq=8)
            if 'val' in opt:
                opt['val']['val_freq'] = 8
    else:
        folder = Path(root, 'results', opt['name'])
        paths.update(results_root=str(folder), log=str(folder), visualization=str(folder / 'visualization'))
    val = opt.get('val')
    if val is not None or not is_train:
        val = opt.setdefault('val', val or {})
        _fill(val, ValOptions, 'save_img', 'suffix')


def _fill(options: dict[str, Any], section: type[Section], *keys: str) -> None:
    """The defaults of some keys, where they are not given."""
    for key in keys:
        options.setdefault(key, section.model_fields[key].default)
