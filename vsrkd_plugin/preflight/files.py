"""What options name, tried before anything is created: networks, checkpoints, images, folders to write into.

Neither the log nor a random state notices.
"""

import importlib.util
import os
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vsrkd_plugin.config.registries import Model
from vsrkd_plugin.data.bicubic_image_dataset import BicubicImageDataset
from vsrkd_plugin.data.degraded_clip_dataset import DegradedClipDataset
from vsrkd_plugin.data.unpaired_lr_dataset import UnpairedLRDataset
from vsrkd_plugin.errors import UserError, first_line
from vsrkd_plugin.optim.factory import OPTIMIZERS
from vsrkd_plugin.preflight.data_sets import DataSets, roots_of
from vsrkd_plugin.preflight.needs import check_needs
from vsrkd_plugin.preflight.networks import check_networks
from vsrkd_plugin.preflight.sandbox import build_or_tell, resumes, split_type, unnoticed
from vsrkd_plugin.run.folder_lock import check_free
from vsrkd_plugin.run.training_states import read_state
from vsrkd_plugin.run.whole_files import check_writable

# Losses of BasicSR that are cheap to build; others may load a network, or download one.
_PLAIN_LOSSES = ('L1Loss', 'MSELoss', 'CharbonnierLoss', 'WeightedTVLoss', 'GANLoss')


def check_files(opt: dict[str, Any]) -> None:
    """Try what the options name. Nothing is left behind; the options stay as they are.

    Args:
        opt: options that passed `validate` and `complete`.

    Raises:
        UserError: a network that cannot be built, a checkpoint that cannot be read or does not fit, a teacher and a
            student that do not match, a data folder that is missing or empty, a corrupt image, a folder that cannot be
            written, or that another run is writing into.
    """
    if opt['is_train']:
        check_needs(opt)
    tracked = opt['is_train'] and (opt['logger'].get('wandb') or {}).get('project')
    if tracked and 'debug' not in opt['name'] and importlib.util.find_spec('wandb') is None:
        raise UserError('logger, wandb: the package wandb is not installed; pip install wandb, or leave it out')
    if opt['rank'] == 0:
        _check_folders(opt)
        _check_caches(opt)
        if opt['is_train'] and (state := opt['path'].get('resume_state')):
            try:
                read_state(Path(state))
            except UserError as error:
                raise UserError(f'path, resume_state: {error}') from error
    data_sets = DataSets(opt['datasets'])
    check_networks(opt, data_sets)
    if opt['is_train']:
        with unnoticed():
            _check_training_parts(opt['train'], on_gpu=bool(opt['num_gpu']))
        if Model.of(opt).has_task and (perceptual := opt['train'].get('perceptual_opt')):
            _check_perceptual(perceptual)
    if opt['rank'] == 0:  # the others need not decode every image again
        _check_datasets(opt, data_sets)


def _check_training_parts(train: dict[str, Any], on_gpu: bool) -> None:
    """Losses and optimisers whose arguments may be wrong in value."""
    for key, options in train.items():
        if not isinstance(options, dict) or 'type' not in options:
            continue
        if key.endswith('_opt'):
            build, arguments = split_type(options, 'loss')
            if build.__module__.startswith('vsrkd_plugin.') or options['type'] in _PLAIN_LOSSES:
                build_or_tell(build, arguments, f'train, {key}')
        elif key.startswith('optim_') and options['type'] in OPTIMIZERS:
            _try_step(options, f'train, {key}', on_gpu)


def _try_step(options: dict[str, Any], place: str, on_gpu: bool) -> None:
    """A step of one matrix: what an optimiser says of its arguments, it says then at the latest."""
    matrix = nn.Parameter(torch.ones(8, 8, device='cuda' if on_gpu else 'cpu'))
    arguments = {name: value for name, value in options.items() if name != 'type'}
    optimizer = build_or_tell(OPTIMIZERS[options['type']], {'params': [matrix], **arguments}, place)
    for weights in optimizer.param_groups[0]['params']:  # copies
        weights.grad = torch.ones_like(weights)
    try:
        optimizer.step()
    except Exception as error:  # of torch's own checks, of any kind
        raise UserError(f'{place}: {options["type"]} cannot take a step: {first_line(error)}') from error


def _check_perceptual(options: dict[str, Any]) -> None:
    """BasicSR's PerceptualLoss would load the weights of its VGG from the internet; a distillation asks nobody."""
    from basicsr.archs.vgg_arch import VGG_PRETRAIN_PATH

    if options['type'] != 'PerceptualLoss':
        return
    kept = Path(torch.hub.get_dir(), 'checkpoints')
    name = str(options.get('vgg_type', 'vgg19'))
    if not Path(VGG_PRETRAIN_PATH).is_file() and not any(kept.glob(f'{name}-*.pth')):
        raise UserError(
            f'train, perceptual_opt: the weights of its {name} are not here; expected {VGG_PRETRAIN_PATH}, '
            f'or {name}-*.pth in {kept}'
        )


def _check_datasets(opt: dict[str, Any], data_sets: DataSets) -> None:
    seen: set[str] = set()  # a folder that several sets use alike is decoded once
    for phase, options in opt['datasets'].items():
        place = f'datasets, {phase}'
        if options.get('prefetch_mode') == 'cuda' and opt['num_gpu'] == 0:
            raise UserError(f'{place}, prefetch_mode: cuda needs a GPU; expected cpu, or leave it out')
        cls = data_sets.cls(phase)
        if cls is None or not issubclass(cls, (BicubicImageDataset, DegradedClipDataset, UnpairedLRDataset)):
            _check_roots(options, place)
            continue
        dataset = data_sets.build(phase)
        key = repr((options['dataroot_gt'], options.get('gt_size'), options.get('clips'), options.get('scale')))
        if key not in seen:
            seen.add(key)
            try:
                dataset.check()
            except UserError as error:
                raise UserError(f'{place}: {error}') from error


def _check_roots(options: dict[str, Any], place: str) -> None:
    """The folders of a data set that is not ours."""
    if (options.get('io_backend') or {}).get('type', 'disk') not in ('disk', 'lmdb'):
        return
    for key, root in roots_of(options, place):
        folder = Path(root).expanduser()
        if not folder.is_dir():
            raise UserError(f'{place}, {key}: no folder {root}')
        try:
            empty = next(folder.iterdir(), None) is None
        except OSError as error:
            raise UserError(f'{place}, {key}: cannot read folder {root} ({error.strerror})') from error
        if empty:
            raise UserError(f'{place}, {key}: folder {root} is empty; expected images')


def _check_folders(opt: dict[str, Any]) -> None:
    """Where the run writes. A link counts as the folder that it leads to, there it is archived too."""
    own = opt['path']['experiments_root' if opt['is_train'] else 'results_root']
    check_free(Path(own))
    folders = [own]
    if opt['is_train'] and opt['logger'].get('use_tb_logger') and 'debug' not in opt['name']:
        folders.append(os.path.join(opt['root_path'], 'tb_logger', opt['name']))
    for folder in folders:
        real = Path(os.path.realpath(folder))
        if os.path.lexists(real) and not real.is_dir():
            what = 'a file' if real.is_file() else 'no folder'
            raise UserError(f'name: cannot write into {folder}: it is {what}; expected a folder')
        anew = not resumes(opt)
        if anew and os.path.ismount(real):
            raise UserError(
                f'name: {folder} is a mount point, which a new run cannot rename; give the run another name'
            )
        # A new run renames an old folder, for which the one above it must be writable; the lock is made there, too.
        for place in {real.parent, *(() if anew else (real,))}:
            check_writable(place, f'name: cannot write into {folder}', ' (--root names another)')


def _check_caches(opt: dict[str, Any]) -> None:
    """Folders that keep what a source painted."""
    for index, source in enumerate((opt.get('synthesis') or {}).get('sources') or []):
        if folder := source.get('cache_dir'):
            told = f'synthesis, sources, {index}, cache_dir: cannot write into {folder}'
            check_writable(Path(os.path.realpath(folder)), told)
