"""The networks that a report is about, with their weights: teacher, student, and what else the options compare."""

import logging
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch

from vsrkd_plugin.adapters.complying import comply
from vsrkd_plugin.adapters.contract import input_channels
from vsrkd_plugin.adapters.image_sr import ImageSRAdapter
from vsrkd_plugin.adapters.video_sr import VideoSRAdapter
from vsrkd_plugin.config.registries import Model
from vsrkd_plugin.errors import UserError
from vsrkd_plugin.reports.complexity import LR_SIDE, Adapter
from vsrkd_plugin.reports.experiment import Experiment, fallback_scale, from_root
from vsrkd_plugin.reports.names import ADAPTATION_NAMES, NAMES
from vsrkd_plugin.run.checkpoints import load_weights, weights_are_there

logger = logging.getLogger('basicsr')


@dataclass(frozen=True)
class Shown:
    """The networks of a report.

    Attributes:
        networks: by method: `teacher` if there was one, `student`, and those that `compare` names; in eval mode.
        described: how each was built, such as `VDSR(num_feat=64)`; of teacher and student.
        names: method → what it is called, in order; bicubic first.
    """

    networks: dict[str, Adapter]
    described: dict[str, str]
    names: Mapping[str, str]


def build_networks(experiment: Experiment, device: torch.device) -> Shown:
    """Build and load what a report is about. What is not there any more is told in the experiment's notes.

    Raises:
        UserError: a network cannot be built, or its weights do not fit.
    """
    opt = experiment.options
    networks: dict[str, Adapter] = {}
    key = teacher_key(opt)
    if _has_teacher(experiment, key):
        networks['teacher'] = _load(opt, key, key.removeprefix('network_'))
    networks['student'] = _build_network(opt, 'network_g', str(experiment.student_file), None, True)
    names = dict(ADAPTATION_NAMES if Model.of(opt).adapts else NAMES)
    for label in opt.get('compare') or []:
        weights = (opt.get('path') or {}).get(f'pretrain_network_{label}')
        if not (weights and opt.get(f'network_{label}') and weights_are_there(from_root(weights, opt))):
            experiment.notes.append(f'{label} is left out: its weights are not there.')
            continue
        networks[label] = _load(opt, f'network_{label}', label)
        names[label] = label.replace('_', ' ')
    described = {}
    for role, options in (('teacher', opt.get(key)), ('student', opt['network_g'])):
        if role in networks and options:
            settings = ', '.join(f'{k}={v}' for k, v in options.items() if k not in ('type', 'precision', 'start'))
            described[role] = f'{options["type"]}({settings})'
    for network in networks.values():
        network.to(device).eval()
    return Shown(networks, described, names)


def teacher_key(opt: dict[str, Any]) -> str:
    """The options of what the trained network is held against: of an adaptation, itself before."""
    return 'network_g' if Model.of(opt).adapts else 'network_t'


def _has_teacher(experiment: Experiment, key: str) -> bool:
    opt = experiment.options
    weights = (opt.get('path') or {}).get(f'pretrain_{key}')
    if weights and opt.get(key) and weights_are_there(from_root(weights, opt)):
        return True
    if ((opt.get('synthesis') or {}).get('bank') or {}).get('path'):
        logger.info('Report: without the teacher; stored banks stood for it, and its weights are not there')
    elif Model.of(opt).adapts:
        logger.info('Report: without the network before the adaptation; it started at random, or its weights are gone')
    elif opt.get(key) and not weights:
        raise UserError(f'{experiment.folder / "options.yml"}: network_t, but no path, pretrain_network_t')
    else:
        return bool(opt.get(key))
    return False


def _load(opt: dict[str, Any], key: str, label: str) -> Adapter:
    paths = opt['path']
    weights = from_root(paths[f'pretrain_network_{label}'], opt)
    return _build_network(opt, key, weights, paths.get(f'param_key_{label}'), paths.get(f'strict_load_{label}', True))


def _build_network(opt: dict[str, Any], key: str, weights: str, param_key: str | None, strict: bool) -> Adapter:
    from basicsr.utils.registry import ARCH_REGISTRY

    settings = deepcopy(opt[key])
    try:
        network = ARCH_REGISTRY.get(settings.pop('type'))(**settings)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f'options.yml, {key}: cannot be built: {str(error).strip(chr(34))}') from error
    if hasattr(network, 'precision'):
        network.precision = 'fp32'  # figures of the weights, not of the number format they were trained in
    load_weights(network, weights, param_key, strict)
    try:
        comply(network, opt.get(key.replace('network_', 'contract_')) or {}, opt[key])
        if Model.of(opt).is_video:
            # Tried with a size that suits every network of BasicSR's, and that complexity is measured with.
            return VideoSRAdapter(network, fallback_scale(opt), settings, lr_size=LR_SIDE)
        return ImageSRAdapter(network, input_channels(network, settings))
    except ValueError as error:
        raise UserError(f'options.yml, {key}: {opt[key]["type"]} {error}') from error
