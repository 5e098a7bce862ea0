"""Networks that options name: built, given their checkpoints, tried on what they will get."""

import inspect
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from vsrkd_plugin.adapters.complying import comply
from vsrkd_plugin.adapters.contract import UNFIT, UNIT_RANGE, Grows, NetworkContract, input_channels
from vsrkd_plugin.adapters.image_sr import ImageSRAdapter, freeze
from vsrkd_plugin.adapters.video_sr import CLIP_CHANNELS, VideoSRAdapter
from vsrkd_plugin.config.plan import DistillationPlan
from vsrkd_plugin.config.registries import Model
from vsrkd_plugin.data.lr_images import read_own_lr_images
from vsrkd_plugin.distillation.features import tap_pair
from vsrkd_plugin.distillation.init_from_teacher.start import start_from_teacher
from vsrkd_plugin.errors import UserError, first_line, show, unexpected
from vsrkd_plugin.models.adapting import adapt_student, adapt_teacher, channels_of
from vsrkd_plugin.models.sources import read_lr_images
from vsrkd_plugin.models.task import student_options
from vsrkd_plugin.ops.temporal import over_time
from vsrkd_plugin.preflight.adaptation import check_adaptation
from vsrkd_plugin.preflight.contracts import check_value_range, told
from vsrkd_plugin.preflight.data_sets import DataSets
from vsrkd_plugin.preflight.needs import check_network_size
from vsrkd_plugin.preflight.sandbox import build_or_tell, resumes, split_type, unnoticed
from vsrkd_plugin.preflight.validation import check_validation
from vsrkd_plugin.run.checkpoints import load_weights, weights_are_there
from vsrkd_plugin.synthesis.bank.file import check_banks
from vsrkd_plugin.synthesis.clips.moving import PICTURE


def check_networks(opt: dict[str, Any], data_sets: DataSets | None = None) -> None:
    """The part of `check_files` that concerns networks, their checkpoints, stored banks, and what validates them.

    Args:
        opt: options that passed `validate` and `complete`.
        data_sets: those of the options, if another check needs them too.
    """
    warning = None
    with unnoticed():
        plan = DistillationPlan.from_options(opt) if opt['is_train'] and Model.of(opt).distils else None
        networks = _build_networks(opt, plan)
        _check_weights(opt, networks, plan)
        if plan:
            (_check_video_pair if plan.clips else _check_pair)(opt, plan, networks)
            if plan.teacher and plan.teacher.weights and (teacher := _asked_teacher(plan, networks)) is not None:
                warning = check_value_range(plan, teacher)
            _check_features(plan, networks)
        elif opt['is_train'] and Model.of(opt).adapts:
            check_adaptation(opt, networks)
        elif opt['is_train'] and Model.of(opt).is_video:
            _check_clip_training(opt, networks['network_g'])
        if opt['rank'] == 0:  # the others need not decode every image again
            check_validation(opt, networks, data_sets or DataSets(opt['datasets']))
    if warning and opt['rank'] == 0:
        warnings.warn(warning, stacklevel=2)


def _build_networks(opt: dict[str, Any], plan: DistillationPlan | None) -> dict[str, nn.Module]:
    """Every network of the options by its key, as a run builds it."""
    networks: dict[str, nn.Module] = {}
    for key in (key for key in opt if key.startswith('network_') and not (plan and key == 'network_z')):
        build, arguments = split_type(opt[key], 'network')
        check_network_size(build, arguments, key)
        networks[key] = build_or_tell(build, arguments, key)
        _comply(opt, key, networks[key], opt[key])
    if plan and plan.growth:
        options = dict(student_options(plan))
        networks['network_g'] = build_or_tell(*split_type(options, 'network'), 'train, growth')
        _comply(opt, 'network_g', networks['network_g'], options)
    if plan and plan.generator:
        if plan.clips:
            channels, size = CLIP_CHANNELS, plan.clips.picture_size
        else:
            channels = channels_of(plan, _asked_teacher(plan, networks), networks['network_g'])
            size = max(plan.kept_lr_sizes.values())
        build, arguments = split_type(dict(plan.generator), 'network')
        arguments = {'num_out_ch': channels, **arguments, 'lr_size': size}
        check_network_size(build, arguments, 'network_z')
        networks['network_z'] = build_or_tell(build, arguments, 'network_z')
    return networks


def _comply(opt: dict[str, Any], key: str, network: nn.Module, built: Mapping[str, Any]) -> None:
    """Have a network keep to its contract, as the run does; BasicSR's own models do not."""
    said = opt.get(place := f'contract_{key.removeprefix("network_")}')
    model = Model.of(opt)
    try:
        if model.ours:
            comply(network, said or {}, built)
            return
        low, high = NetworkContract.of(network, built).value_range
    except ValueError as error:
        raise UserError(f'{place}: {first_line(error)}') from error
    if (low, high) != UNIT_RANGE:
        wants = f'{model.name} gives {key} values of 0 to 1, but {type(network).__name__} wants {low:g} to {high:g}'
        raise UserError(f'model_type: {wants}; expected MultiScaleSRModel, which heeds it')


def _asked_teacher(plan: DistillationPlan, networks: Mapping[str, nn.Module]) -> nn.Module | None:
    """The teacher, where the training asks it."""
    return networks['network_t'] if plan.asks_teacher else None


def _asked_pair(plan: DistillationPlan, networks: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
    """The student, and the teacher where the training asks it; by their keys."""
    teacher = _asked_teacher(plan, networks)
    return {**({} if teacher is None else {'network_t': teacher}), 'network_g': networks['network_g']}


def _check_weights(opt: dict[str, Any], networks: dict[str, nn.Module], plan: DistillationPlan | None) -> None:
    """Load what is named; without its weights a teacher for which stored banks answer takes no part and is removed."""
    path = opt['path']
    spared = bool(plan and plan.teacher and not plan.asks_teacher)
    if spared and path.get('pretrain_network_t') is None:
        del networks['network_t']
    for key in (key for key in path if key.startswith('pretrain_network_') and path[key] is not None):
        label = key.removeprefix('pretrain_network_')
        network = networks.get(f'network_{label}')
        if network is None:
            raise UserError(f'path, {key}: the options have no network_{label} to load it into')
        if resumes(opt) and f'network_{label}' not in path['ignore_resume_networks']:
            continue  # a resumed run takes its own checkpoint instead
        param_key, strict = path.get(f'param_key_{label}'), path.get(f'strict_load_{label}', True)
        try:
            if spared and label == 't' and not weights_are_there(path[key]):
                del networks['network_t']
                continue
            load_weights(network, path[key], param_key, strict)
        except UserError as error:
            raise UserError(f'path, {key}: {error}') from error


def _check_pair(opt: dict[str, Any], plan: DistillationPlan, networks: dict[str, nn.Module]) -> None:
    """Teacher and student must take the same images, and enlarge them by every scale."""
    pair = _asked_pair(plan, networks)
    wanted = channels_of(plan, pair.get('network_t'), pair['network_g'])
    for key, network in pair.items():
        channels = input_channels(network, opt[key])
        if wanted not in (channels, 3) or channels not in (wanted, 1):  # a network of Y takes RGB too
            raise UserError(f'{key}: takes {channels} channels, but {wanted} are made')
    for scale, size in plan.lr_sizes.items():
        for key, network in pair.items():
            try:
                with torch.no_grad():
                    adapter = ImageSRAdapter(freeze(network), input_channels(network, opt[key]), size)
                    adapter(torch.zeros(1, wanted, size, size), scale)
            except UNFIT as error:
                raise UserError(f'{key}: does not fit scale {scale}: {told(error, key, network)}') from error
    if plan.starts_from_teacher:
        _check_start(networks['network_t'], networks['network_g'], torch.rand(1, wanted, 8, 8))
    if plan.discriminator:
        _check_discriminator(networks['network_d'], wanted, plan.hr_size)
    _check_inputs(plan, wanted)


def _check_discriminator(network: nn.Module, channels: int, size: int) -> None:
    """It must take the outputs of the student."""
    try:
        with torch.no_grad():
            network(torch.zeros(2, channels, size, size))
    except UNFIT as error:
        what = f'SR patches of {channels} channels, {size}x{size}'
        raise UserError(f'network_d: does not fit {what}: {first_line(error)}') from error


def _check_video_pair(opt: dict[str, Any], plan: DistillationPlan, networks: dict[str, nn.Module]) -> None:
    """Teacher and student must take the clips that are made, and enlarge them by the scale."""
    for key, network in _asked_pair(plan, networks).items():
        teaches = key == 'network_t'  # a teacher is asked for what a bank keeps
        spec = (plan.kept_spec if teaches else plan.sample_spec)(CLIP_CHANNELS)
        scale = next(iter(spec.lr_sizes))
        try:
            adapter = (adapt_teacher if teaches else adapt_student)(plan, freeze(network))
            with torch.no_grad():
                adapter(torch.zeros(1, *spec.lr_shape(scale)), scale)
        except UNFIT as error:
            raise UserError(
                f'{key}: does not fit clips of {spec.frames} frames at scale {scale}: '
                f'{told(error, key, network, spec.frames)}'
            ) from error
    if plan.starts_from_teacher:
        _check_start(networks['network_t'], networks['network_g'], torch.rand(1, 2, CLIP_CHANNELS, 8, 8))
    _check_inputs(plan, CLIP_CHANNELS)


def _check_features(plan: DistillationPlan, networks: dict[str, nn.Module]) -> None:
    """Layers that are tied must be there, be called, and see as many images in teacher and student."""
    if not plan.losses.feature:
        return
    place, layers = 'train, feature_opt, layers', plan.losses.feature.get('layers')
    if not isinstance(layers, Mapping):
        raise UserError(f'{place}: {unexpected("a mapping", layers)}')
    student, teacher = networks['network_g'], networks['network_t']
    channels = channels_of(plan, teacher, student)
    spec = plan.sample_spec(channels)
    scale = next(iter(spec.lr_sizes))
    x = torch.zeros(2, *spec.lr_shape(scale))
    try:
        taps = tap_pair(student, teacher, {str(key): str(value) for key, value in layers.items()})
        counts = []
        for tap, network, adapt in zip(taps, (student, teacher), (adapt_student, adapt_teacher), strict=True):
            adapter = adapt(plan, freeze(network))
            tap.listen()
            with torch.no_grad():
                adapter(x, scale)
            counts.append([len(features) for features in tap.take()])
        if counts[0] != counts[1]:
            raise ValueError(
                f'of the same input the student gives features of {counts[0]} images, the teacher of {counts[1]}'
            )
    except UNFIT as error:
        raise UserError(f'{place}: {first_line(error)}') from error


def _check_clip_training(opt: dict[str, Any], network: nn.Module) -> None:
    """A network that is trained with data must take the clips that it is given, in training and validation."""
    kind = type(network).__name__
    if opt['train'].get('alignment_opt') and 'with_aligned' not in inspect.signature(network.forward).parameters:
        raise UserError(f'train, alignment_opt: is for networks that give aligned frames (TDAN), not for {kind}')
    if opt['train'].get('start') == 'differences' and not over_time(network):
        raise UserError(f'train, start: differences are for networks of 3D convolutions (DUF), not for {kind}')
    train = opt['datasets'].get('train') or {}
    if train.get('type') != 'DegradedClipDataset':
        return
    scale, frames = train['scale'], train.get('num_frame', 1)
    try:
        adapter = VideoSRAdapter(freeze(network), scale, opt['network_g'], lr_size=train['gt_size'] // scale)
    except UNFIT as error:
        raise UserError(
            f'network_g: does not fit datasets, train: {told(error, "network_g", network, frames)}'
        ) from error
    if adapter.window not in (None, frames):
        expected = f'expected {adapter.window}, the window of network_g'
        raise UserError(f'datasets, train, num_frame: {expected}, got {frames}')


def _check_inputs(plan: DistillationPlan, channels: int) -> None:
    """Real images and stored banks that a distillation reads."""
    sizes = {PICTURE: plan.clips.picture_size} if plan.clips else plan.kept_lr_sizes
    for index, entry in enumerate(plan.sources):
        if entry.kind in ('images', 'lr_images') and plan.rank == 0:
            try:
                if entry.kind == 'images':
                    read_lr_images(entry.settings['dataroot_gt'], sizes, channels)
                else:
                    read_own_lr_images(entry.settings['dataroot_lq'], sizes, channels, plan.seed)
            except UserError as error:
                raise UserError(f'synthesis, sources, {index}: {error}') from error
    try:
        metas = check_banks(plan.bank.stored(), plan.sample_spec(channels))
    except UserError as error:
        raise UserError(f'synthesis, bank, path: {error}') from error
    for path, meta in zip(plan.bank.stored(), metas, strict=True):
        _check_movement(plan, path, meta['made_of'])


def _check_movement(plan: DistillationPlan, path: str, made_of: Sequence[Mapping[str, Any]]) -> None:
    """A bank must hold what the options say of its clips; what they do not say is as it was made."""
    if plan.clips is None:
        return
    for name in plan.clips.options.keys() & plan.clips.movement.keys():
        asked, there = plan.clips.movement[name], [made['clips'].get(name) for made in made_of if 'clips' in made]
        if others := [value for value in there if value != asked]:
            raise UserError(
                f'synthesis, clips, {name}: is {show(asked)}, but the clips of {path} were made with {show(others[0])}'
            )


def _check_start(teacher: nn.Module, student: nn.Module, lr: torch.Tensor) -> None:
    network, active = (student.network, student.active) if isinstance(student, Grows) else (student, None)
    try:
        start_from_teacher(teacher, network, {1: lr}, active)
    except ValueError as error:
        raise UserError(f'train, init: teacher: {first_line(error)}') from error
