"""The part of the preflight that concerns networks: built, given their checkpoints, tried on what they will get."""

import inspect
from copy import deepcopy
from typing import Any

import torch
from torch import nn

from vsrkd_plugin.config import schema
from vsrkd_plugin.config.components import Model, check_kind, find_registered
from vsrkd_plugin.errors import UserError, first_line
from vsrkd_plugin.preflight.sandbox import build_or_tell, resumes, split_type, unnoticed
from vsrkd_plugin.run.checkpoints import load_weights


def check_networks(opt: dict[str, Any]) -> None:
    """The part of `check_files` that concerns networks, their checkpoints, and stored banks."""
    with unnoticed():
        _check_networks(opt)


def _check_networks(opt: dict[str, Any]) -> None:
    from vsrkd_plugin.adapters.video_sr import CLIP_CHANNELS
    from vsrkd_plugin.models.sources import lr_sizes, picture_size

    distils = opt['is_train'] and Model.of(opt).distils
    networks: dict[str, nn.Module] = {}
    for key in (key for key in opt if key.startswith('network_')):
        build, arguments = split_type(opt[key], 'network')
        if key == 'network_z' and distils:
            if Model.of(opt).is_video:
                channels, size = CLIP_CHANNELS, picture_size(opt)
            else:
                channels = _channels(networks, opt, 'network_t' if 'network_t' in opt else 'network_g')
                size = max(lr_sizes(opt, kept=True).values())
            arguments = {'num_out_ch': channels, **arguments, 'lr_size': size}
        networks[key] = build_or_tell(build, arguments, key)
    if distils:
        networks['network_g'] = _grown(opt, networks['network_g'])
    _check_weights(opt, networks)
    if distils:
        (_check_video_pair if Model.of(opt).is_video else _check_pair)(opt, networks)
        _check_features(opt, networks)
    elif opt['is_train'] and Model.of(opt).is_video:
        _check_clip_training(opt, networks['network_g'])


def _channels(networks: dict[str, nn.Module], opt: dict[str, Any], key: str) -> int:
    from vsrkd_plugin.adapters.contract import input_channels

    if key not in networks:  # network_z may come before network_t
        networks[key] = build_or_tell(*split_type(opt[key], 'network'), key)
    return input_channels(networks[key], opt[key])


def _grown(opt: dict[str, Any], network: nn.Module) -> nn.Module:
    """The student as a training with growth has it."""
    growth = opt['train'].get('growth')
    if not growth:
        return network
    arguments = {'active': growth.get('start', 1), 'block_start': growth.get('block_start', 'identity')}
    return build_or_tell(
        find_registered('network', 'ProgressiveStudent'), {'network': network, **arguments}, 'train, growth'
    )


def _check_weights(opt: dict[str, Any], networks: dict[str, nn.Module]) -> None:
    path = opt['path']
    for key in (key for key in path if key.startswith('pretrain_network_') and path[key] is not None):
        label = key.removeprefix('pretrain_network_')
        network = networks.get(f'network_{label}')
        if network is None:
            raise UserError(f'path, {key}: the options have no network_{label} to load it into')
        if resumes(opt) and f'network_{label}' not in path['ignore_resume_networks']:
            continue  # a resumed run takes its own checkpoint instead
        param_key, strict = path.get(f'param_key_{label}', 'params'), path.get(f'strict_load_{label}', True)
        try:
            load_weights(network, path[key], param_key, strict)
        except UserError as error:
            raise UserError(f'path, {key}: {error}') from error


def _check_pair(opt: dict[str, Any], networks: dict[str, nn.Module]) -> None:
    """Teacher and student must take the same images, and enlarge them by every scale."""
    from vsrkd_plugin.adapters.image_sr import ImageSRAdapter, freeze
    from vsrkd_plugin.models.sources import lr_sizes

    student = _channels({'network_g': networks['network_g']}, opt, 'network_g')
    channels = _channels(networks, opt, 'network_t') if 'network_t' in networks else student
    if student != channels:
        raise UserError(f'network_g: takes {student} channels, but the teacher (network_t) takes {channels}')
    for scale, size in lr_sizes(opt).items():
        for key in (key for key in ('network_t', 'network_g') if key in networks):
            try:
                with torch.no_grad():
                    ImageSRAdapter(freeze(networks[key]), channels, size)(torch.zeros(1, channels, size, size), scale)
            except (ValueError, RuntimeError, TypeError) as error:
                raise UserError(f'{key}: does not fit scale {scale}: {first_line(error)}') from error
    if opt['train'].get('init') == 'teacher':
        _check_inheritance(networks['network_t'], networks['network_g'], torch.rand(1, channels, 8, 8))
    _check_inputs(opt, channels)


def _check_video_pair(opt: dict[str, Any], networks: dict[str, nn.Module]) -> None:
    """Teacher and student must take the clips that are made, and enlarge them by the scale."""
    from vsrkd_plugin.adapters.image_sr import freeze
    from vsrkd_plugin.adapters.video_sr import CLIP_CHANNELS, VideoSRAdapter
    from vsrkd_plugin.models.sources import sample_spec

    for key in (key for key in ('network_t', 'network_g') if key in networks):
        kind = sample_spec(opt, CLIP_CHANNELS, kept=key == 'network_t')  # a teacher is asked for what a bank keeps
        (scale, size), *_ = kind.lr_sizes.items()
        frames = kind.frames
        checkpointed = key == 'network_g' and opt['train'].get('checkpointed', False)
        try:
            resolver = VideoSRAdapter(freeze(networks[key]), scale, opt[key], lr_size=size, checkpointed=checkpointed)
            with torch.no_grad():
                resolver(torch.zeros(1, frames, CLIP_CHANNELS, size, size))
        except (ValueError, RuntimeError, TypeError) as error:
            raise UserError(
                f'{key}: does not fit clips of {frames} frames at scale {scale}: {first_line(error)}'
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
    from vsrkd_plugin.adapters.image_sr import ImageSRAdapter, freeze
    from vsrkd_plugin.adapters.video_sr import CLIP_CHANNELS, VideoSRAdapter
    from vsrkd_plugin.distillation.features import tap_pair
    from vsrkd_plugin.models.sources import sample_spec

    options = opt['train'].get('feature_opt')
    if not options:
        return
    place = 'train, feature_opt, layers'
    check_kind(options.get('layers'), schema.MAPPING, place)
    student, teacher = networks['network_g'], networks['network_t']
    is_video = Model.of(opt).is_video
    channels = CLIP_CHANNELS if is_video else _channels(networks, opt, 'network_t')
    kind = sample_spec(opt, channels)
    scale = next(iter(kind.lr_sizes))
    x = torch.zeros(2, *kind.lr_shape(scale))
    try:
        taps = tap_pair(student, teacher, {str(key): str(value) for key, value in options['layers'].items()})
        counts = []
        for tap, network, key in zip(taps, (student, teacher), ('network_g', 'network_t'), strict=True):
            freeze(network)
            size = kind.lr_sizes[scale]
            resolver = (
                VideoSRAdapter(network, scale, opt[key], lr_size=size)
                if is_video
                else ImageSRAdapter(network, channels, size)
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
        raise UserError(f'{place}: {first_line(error)}') from error


def _check_clip_training(opt: dict[str, Any], network: nn.Module) -> None:
    """A network that is trained with data must take the clips that it is given, in training and validation."""
    from vsrkd_plugin.adapters.image_sr import freeze
    from vsrkd_plugin.adapters.video_sr import VideoSRAdapter

    if opt['train'].get('alignment_opt') and 'with_aligned' not in inspect.signature(network.forward).parameters:
        kind = type(network).__name__
        raise UserError(f'train, alignment_opt: is for networks that give aligned frames (TDAN), not for {kind}')
    train = opt['datasets'].get('train') or {}
    if train.get('type') != 'DegradedClipDataset':
        return
    scale, frames = train['scale'], train.get('num_frame', 1)
    try:
        resolver = VideoSRAdapter(freeze(network), scale, opt['network_g'], lr_size=train['gt_size'] // scale)
    except (ValueError, RuntimeError, TypeError) as error:
        raise UserError(f'network_g: does not fit datasets, train: {first_line(error)}') from error
    if resolver.window not in (None, frames):
        expected = f'expected {resolver.window}, the window of network_g'
        raise UserError(f'datasets, train, num_frame: {expected}, got {frames}')
    _check_validation_clips(opt, 'network_g', scale, resolver.window or 1)


def _check_inputs(opt: dict[str, Any], channels: int) -> None:
    """Real images and stored banks that a distillation reads."""
    from vsrkd_plugin.models.sources import bank_paths, lr_sizes, picture_size, read_lr_images, sample_spec
    from vsrkd_plugin.synthesis.bank.file import check_banks
    from vsrkd_plugin.synthesis.clips.moving import PICTURE

    sizes = {PICTURE: picture_size(opt)} if opt['synthesis'].get('clips') else lr_sizes(opt, kept=True)
    for index, entry in enumerate(opt['synthesis'].get('sources') or []):
        if entry['type'] == 'images' and opt['rank'] == 0:
            try:
                read_lr_images(entry['dataroot_gt'], sizes, channels)
            except UserError as error:
                raise UserError(f'synthesis, sources, {index}: {error}') from error
    try:
        check_banks(bank_paths(opt), sample_spec(opt, channels))
    except UserError as error:
        raise UserError(f'synthesis, bank, path: {error}') from error


def _check_inheritance(teacher: nn.Module, student: nn.Module, lr: torch.Tensor) -> None:
    from vsrkd_plugin.distillation.init_from_teacher.start import start_from_teacher

    bare = getattr(student, 'network', student)
    try:
        start_from_teacher(teacher, bare, {1: lr}, getattr(student, 'active', None))
    except ValueError as error:
        raise UserError(f'train, init: teacher: {first_line(error)}') from error
