"""What options name, tried before anything is created: networks, checkpoints, images, folders to write into.

Neither the log nor a random state notices.
"""

import inspect
import logging
import os
import random
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from vsrkd_plugin.checkpoints import load_weights
from vsrkd_plugin.config import schema
from vsrkd_plugin.config.components import Model, check_kind, find_registered
from vsrkd_plugin.errors import UserError

# Losses of BasicSR that are cheap to build; others may load a network, or download one.
_PLAIN_LOSSES = ('L1Loss', 'MSELoss', 'CharbonnierLoss', 'WeightedTVLoss')


def check_files(opt: dict[str, Any]) -> None:
    """Try what the options name. Nothing is left behind; the options stay as they are.

    Args:
        opt: options that passed `validate` and `complete`.

    Raises:
        UserError: a network that cannot be built, a checkpoint that cannot be read or does not fit, a teacher and a
            student that do not match, a data folder that is missing or empty, a corrupt image, a folder that cannot be
            written.
    """
    check_networks(opt)
    if opt['is_train']:
        with _unnoticed():
            _check_training_parts(opt['train'])
    if opt['rank'] == 0:  # the others need not decode every image again
        _check_folders(opt)
        _check_datasets(opt)


def check_networks(opt: dict[str, Any]) -> None:
    """The part of `check_files` that concerns networks, their checkpoints, and stored banks."""
    with _unnoticed():
        _check_networks(opt)


@contextmanager
def _unnoticed() -> Iterator[None]:
    """Keep random states, logging and warnings as they are.

    A network that logs while it is built would set up BasicSR's logger too early, and the run would have no log file.
    """
    from basicsr.utils import logger as basicsr_logger

    log = logging.getLogger('basicsr')
    ready, handlers, propagate = dict(basicsr_logger.initialized_logger), list(log.handlers), log.propagate
    disabled, numpy_state, python_state = logging.root.manager.disable, np.random.get_state(), random.getstate()
    logging.disable(logging.CRITICAL)
    try:
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter('ignore')  # whatever there is to say is said when the run builds them
            yield
    finally:
        logging.disable(disabled)
        np.random.set_state(numpy_state)
        random.setstate(python_state)
        basicsr_logger.initialized_logger.clear()
        basicsr_logger.initialized_logger.update(ready)
        log.handlers[:], log.propagate = handlers, propagate


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _build(build: Callable[..., Any], arguments: dict[str, Any], place: str) -> Any:
    try:
        return build(**deepcopy(arguments))
    except Exception as error:  # whatever a constructor says of its arguments, the options are what is wrong
        raise UserError(f'{place}: {build.__name__} cannot be built: {_first_line(error)}') from error


def _split(options: dict[str, Any], what: str) -> tuple[Callable[..., Any], dict[str, Any]]:
    return find_registered(what, options['type']), {key: value for key, value in options.items() if key != 'type'}


# Networks


def _check_networks(opt: dict[str, Any]) -> None:
    from vsrkd_plugin.distillation.clip_resolver import CLIP_CHANNELS
    from vsrkd_plugin.models.sources import lr_sizes, picture_size

    distils = opt['is_train'] and Model.of(opt).distils
    networks: dict[str, nn.Module] = {}
    for key in (key for key in opt if key.startswith('network_')):
        build, arguments = _split(opt[key], 'network')
        if key == 'network_z' and distils:
            if Model.of(opt).films:
                channels, size = CLIP_CHANNELS, picture_size(opt)
            else:
                channels = _channels(networks, opt, 'network_t' if 'network_t' in opt else 'network_g')
                size = max(lr_sizes(opt, kept=True).values())
            arguments = {'num_out_ch': channels, **arguments, 'lr_size': size}
        networks[key] = _build(build, arguments, key)
    if distils:
        networks['network_g'] = _grown(opt, networks['network_g'])
    _check_weights(opt, networks)
    if distils:
        (_check_video_pair if Model.of(opt).films else _check_pair)(opt, networks)
        _check_features(opt, networks)
    elif opt['is_train'] and Model.of(opt).films:
        _check_clip_training(opt, networks['network_g'])


def _channels(networks: dict[str, nn.Module], opt: dict[str, Any], key: str) -> int:
    from vsrkd_plugin.distillation.super_resolver import input_channels

    if key not in networks:  # network_z may come before network_t
        networks[key] = _build(*_split(opt[key], 'network'), key)
    return input_channels(networks[key], opt[key])


def _grown(opt: dict[str, Any], network: nn.Module) -> nn.Module:
    """The student as a training with growth has it."""
    growth = opt['train'].get('growth')
    if not growth:
        return network
    arguments = {'active': growth.get('start', 1), 'block_start': growth.get('block_start', 'identity')}
    return _build(find_registered('network', 'ProgressiveStudent'), {'network': network, **arguments}, 'train, growth')


def _check_weights(opt: dict[str, Any], networks: dict[str, nn.Module]) -> None:
    path = opt['path']
    for key in (key for key in path if key.startswith('pretrain_network_') and path[key] is not None):
        label = key.removeprefix('pretrain_network_')
        network = networks.get(f'network_{label}')
        if network is None:
            raise UserError(f'path, {key}: the options have no network_{label} to load it into')
        if _resumes(opt) and f'network_{label}' not in path['ignore_resume_networks']:
            continue  # a resumed run takes its own checkpoint instead
        param_key, strict = path.get(f'param_key_{label}', 'params'), path.get(f'strict_load_{label}', True)
        try:
            load_weights(network, path[key], param_key, strict)
        except UserError as error:
            raise UserError(f'path, {key}: {error}') from error


def _resumes(opt: dict[str, Any]) -> bool:
    if not opt['is_train']:
        return False
    states = Path(opt['path']['training_states'])
    return bool(opt['path'].get('resume_state')) or (opt['auto_resume'] and any(states.glob('*.state')))


def _check_pair(opt: dict[str, Any], networks: dict[str, nn.Module]) -> None:
    """Teacher and student must take the same images, and enlarge them by every scale."""
    from vsrkd_plugin.distillation.super_resolver import SuperResolver, freeze
    from vsrkd_plugin.models.sources import lr_sizes

    student = _channels({'network_g': networks['network_g']}, opt, 'network_g')
    channels = _channels(networks, opt, 'network_t') if 'network_t' in networks else student
    if student != channels:
        raise UserError(f'network_g: takes {student} channels, but the teacher (network_t) takes {channels}')
    for scale, size in lr_sizes(opt).items():
        for key in (key for key in ('network_t', 'network_g') if key in networks):
            try:
                with torch.no_grad():
                    SuperResolver(freeze(networks[key]), channels, size)(torch.zeros(1, channels, size, size), scale)
            except (ValueError, RuntimeError, TypeError) as error:
                raise UserError(f'{key}: does not fit scale {scale}: {_first_line(error)}') from error
    if opt['train'].get('init') == 'teacher':
        _check_inheritance(networks['network_t'], networks['network_g'], torch.rand(1, channels, 8, 8))
    _check_inputs(opt, channels)


def _check_video_pair(opt: dict[str, Any], networks: dict[str, nn.Module]) -> None:
    """Teacher and student must take the clips that are made, and enlarge them by the scale."""
    from vsrkd_plugin.distillation.clip_resolver import CLIP_CHANNELS, ClipResolver
    from vsrkd_plugin.distillation.super_resolver import freeze
    from vsrkd_plugin.models.sources import pair_kind

    for key in (key for key in ('network_t', 'network_g') if key in networks):
        kind = pair_kind(opt, CLIP_CHANNELS, kept=key == 'network_t')  # a teacher is asked for what a bank keeps
        (scale, size), *_ = kind.lr_sizes.items()
        frames = kind.frames
        checkpointed = key == 'network_g' and opt['train'].get('checkpointed', False)
        try:
            resolver = ClipResolver(freeze(networks[key]), scale, opt[key], lr_size=size, checkpointed=checkpointed)
            with torch.no_grad():
                resolver(torch.zeros(1, frames, CLIP_CHANNELS, size, size))
        except (ValueError, RuntimeError, TypeError) as error:
            raise UserError(
                f'{key}: does not fit clips of {frames} frames at scale {scale}: {_first_line(error)}'
            ) from error
        _check_validation_clips(opt, key, scale, resolver.window or 1)
    if opt['train'].get('init') == 'teacher':
        _check_inheritance(networks['network_t'], networks['network_g'], torch.rand(1, 2, CLIP_CHANNELS, 8, 8))
    _check_inputs(opt, CLIP_CHANNELS)


def _check_validation_clips(opt: dict[str, Any], key: str, scale: int, window: int) -> None:
    """A clip that is too short, or of another scale, would be met at the first validation, or in the report."""
    from vsrkd_plugin.data.degraded_clip_dataset import DegradedClipDataset

    for phase, options in opt['datasets'].items():
        if options['type'] != 'DegradedClipDataset':
            continue
        if options['scale'] != scale:
            raise UserError(f'datasets, {phase}, scale: expected {scale}, that of the networks, got {options["scale"]}')
        for clip, readers in DegradedClipDataset(deepcopy(options)).clips:
            if len(readers) < window:
                found = f'{clip} has {len(readers)} frames'
                raise UserError(f'datasets, {phase}: {found}, fewer than the window of {window} of {key}')


def _check_features(opt: dict[str, Any], networks: dict[str, nn.Module]) -> None:
    """Layers that are tied must be there, be called, and see as many images in teacher and student."""
    from vsrkd_plugin.distillation.clip_resolver import CLIP_CHANNELS, ClipResolver
    from vsrkd_plugin.distillation.features import tap_pair
    from vsrkd_plugin.distillation.super_resolver import SuperResolver, freeze
    from vsrkd_plugin.models.sources import pair_kind

    options = opt['train'].get('feature_opt')
    if not options:
        return
    place = 'train, feature_opt, layers'
    check_kind(options.get('layers'), schema.MAPPING, place)
    student, teacher = networks['network_g'], networks['network_t']
    films = Model.of(opt).films
    channels = CLIP_CHANNELS if films else _channels(networks, opt, 'network_t')
    kind = pair_kind(opt, channels)
    scale = next(iter(kind.lr_sizes))
    x = torch.zeros(2, *kind.lr_shape(scale))
    try:
        taps = tap_pair(student, teacher, {str(key): str(value) for key, value in options['layers'].items()})
        counts = []
        for tap, network, key in zip(taps, (student, teacher), ('network_g', 'network_t'), strict=True):
            freeze(network)
            size = kind.lr_sizes[scale]
            resolver = (
                ClipResolver(network, scale, opt[key], lr_size=size)
                if films
                else SuperResolver(network, channels, size)
            )
            tap.listen()
            with torch.no_grad():
                resolver(x, scale)
            counts.append([len(features) for features in tap.take()])
        if counts[0] != counts[1]:
            raise ValueError(
                f'of the same input the student gives features of {counts[0]} images, the teacher of {counts[1]}'
            )
    except (ValueError, RuntimeError) as error:
        raise UserError(f'{place}: {_first_line(error)}') from error


def _check_clip_training(opt: dict[str, Any], network: nn.Module) -> None:
    """A network that is trained with data must take the clips that it is given, in training and validation."""
    from vsrkd_plugin.distillation.clip_resolver import ClipResolver
    from vsrkd_plugin.distillation.super_resolver import freeze

    if opt['train'].get('alignment_opt') and 'with_aligned' not in inspect.signature(network.forward).parameters:
        kind = type(network).__name__
        raise UserError(f'train, alignment_opt: is for networks that give aligned frames (TDAN), not for {kind}')
    train = opt['datasets'].get('train') or {}
    if train.get('type') != 'DegradedClipDataset':
        return
    scale, frames = train['scale'], train.get('num_frame', 1)
    try:
        resolver = ClipResolver(freeze(network), scale, opt['network_g'], lr_size=train['gt_size'] // scale)
    except (ValueError, RuntimeError, TypeError) as error:
        raise UserError(f'network_g: does not fit datasets, train: {_first_line(error)}') from error
    if resolver.window not in (None, frames):
        expected = f'expected {resolver.window}, the window of network_g'
        raise UserError(f'datasets, train, num_frame: {expected}, got {frames}')
    _check_validation_clips(opt, 'network_g', scale, resolver.window or 1)


def _check_inputs(opt: dict[str, Any], channels: int) -> None:
    """Real images and stored banks that a distillation reads."""
    from vsrkd_plugin.models.sources import bank_paths, lr_sizes, pair_kind, picture_size, read_lr_images
    from vsrkd_plugin.synthesis.bank_file import check_banks
    from vsrkd_plugin.synthesis.moving import PICTURE

    sizes = {PICTURE: picture_size(opt)} if opt['synthesis'].get('clips') else lr_sizes(opt, kept=True)
    for index, entry in enumerate(opt['synthesis'].get('sources') or []):
        if entry['type'] == 'images' and opt['rank'] == 0:
            try:
                read_lr_images(entry['dataroot_gt'], sizes, channels)
            except UserError as error:
                raise UserError(f'synthesis, sources, {index}: {error}') from error
    try:
        check_banks(bank_paths(opt), pair_kind(opt, channels))
    except UserError as error:
        raise UserError(f'synthesis, bank, path: {error}') from error


def _check_inheritance(teacher: nn.Module, student: nn.Module, lr: torch.Tensor) -> None:
    from vsrkd_plugin.distillation.inheritance import start_from_teacher

    bare = getattr(student, 'network', student)
    try:
        start_from_teacher(teacher, bare, {1: lr}, getattr(student, 'active', None))
    except ValueError as error:
        raise UserError(f'train, init: teacher: {_first_line(error)}') from error


def _check_training_parts(train: dict[str, Any]) -> None:
    """Losses and optimisers whose arguments may be wrong in value."""
    from vsrkd_plugin.models.optimizers import OPTIMIZERS

    for key, options in train.items():
        if not isinstance(options, dict) or 'type' not in options:
            continue
        if key.endswith('_opt'):
            build, arguments = _split(options, 'loss')
            if build and (build.__module__.startswith('vsrkd_plugin.') or options['type'] in _PLAIN_LOSSES):
                _build(build, arguments, f'train, {key}')
        elif key.startswith('optim_') and options['type'] in OPTIMIZERS:
            arguments = {name: value for name, value in options.items() if name != 'type'}
            weights = [nn.Parameter(torch.zeros(1))]
            _build(OPTIMIZERS[options['type']], {'params': weights, **arguments}, f'train, {key}')


# Files


def _check_datasets(opt: dict[str, Any]) -> None:
    from vsrkd_plugin.data.bicubic_image_dataset import BicubicImageDataset
    from vsrkd_plugin.data.degraded_clip_dataset import DegradedClipDataset

    seen: set[str] = set()  # a folder that several sets use alike is decoded once
    for phase, options in opt['datasets'].items():
        place = f'datasets, {phase}'
        if options.get('prefetch_mode') == 'cuda' and opt['num_gpu'] == 0:
            raise UserError(f'{place}, prefetch_mode: cuda needs a GPU; expected cpu, or leave it out')
        build = find_registered('data set', options['type'])
        if not issubclass(build, (BicubicImageDataset, DegradedClipDataset)):
            _check_roots(options, place)
            continue
        dataset = build(deepcopy(options))
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
    for key, roots in options.items():
        if not key.startswith('dataroot') or roots is None:
            continue
        for root in roots if isinstance(roots, list) else [roots]:
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
    """Where the run writes."""
    folders = [opt['path']['experiments_root' if opt['is_train'] else 'results_root']]
    if opt['is_train'] and opt['logger'].get('use_tb_logger') and 'debug' not in opt['name']:
        folders.append(os.path.join(opt['root_path'], 'tb_logger', opt['name']))
    for folder in map(Path, folders):
        if os.path.lexists(folder) and not folder.is_dir():
            raise UserError(f'name: cannot write into {folder}: it is a file; expected a folder')
        # A new run renames an old folder, for which the one above it must be writable.
        place = folder if _resumes(opt) else folder.parent
        while not os.path.lexists(place):
            place = place.parent
        if not place.is_dir():
            raise UserError(f'name: cannot write into {folder}: {place} is not a folder')
        try:
            os.rmdir(tempfile.mkdtemp(prefix='.basicsr-', dir=place))
        except OSError as error:
            raise UserError(
                f'name: cannot write into {folder}: {place}: {error.strerror}; expected a folder that can be written '
                '(--root names another)'
            ) from error
