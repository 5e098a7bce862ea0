"""An adaptation's networks, tried on what they will get."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from vsrkd_plugin.adapters.contract import UNFIT, input_channels
from vsrkd_plugin.adapters.image_sr import ImageSRAdapter, freeze
from vsrkd_plugin.distillation.encoding import SplitNetwork
from vsrkd_plugin.errors import UserError, first_line
from vsrkd_plugin.preflight.contracts import told


def check_adaptation(opt: Mapping[str, Any], networks: Mapping[str, nn.Module]) -> None:
    """Encoder, decoders, discriminators and teacher must fit each other and the patches.

    Args:
        opt: validated and completed options of a `DomainAdaptationModel`.
        networks: by their keys.

    Raises:
        UserError: they do not.
    """
    scale, data = opt['scale'], opt['datasets']['train']
    size, channels = data['gt_size'] // scale, 1 if data.get('color') == 'y' else 3
    lr = torch.zeros(2, channels, size, size)
    network = networks['network_g']
    if (wanted := input_channels(network, opt['network_g'])) != channels:
        raise UserError(f'network_g: takes {wanted} channels, but the patches of datasets, train have {channels}')
    try:
        split = SplitNetwork(freeze(network), opt.get('decoder_start'))
    except ValueError as error:
        raise UserError(f'decoder_start: {first_line(error)}') from error
    try:
        with torch.no_grad():
            features, sr = split(lr)
    except UNFIT as error:
        raise UserError(f'network_g: does not fit scale {scale}: {told(error, "network_g", network)}') from error
    if sr.shape[-2:] != (size * scale, size * scale):
        what = f'enlarges {size}x{size} to {sr.shape[-1]}x{sr.shape[-2]}'
        raise UserError(f'network_g: {what}, expected {size * scale}x{size * scale} (scale {scale})')
    if not isinstance(features, Tensor) or features.ndim != 4:
        raise UserError(f'decoder_start: what {split.name} is given are no features (n, c, h, w)')
    if 'network_lr' in networks:
        shown = _try(networks, 'network_lr', features, f'features of {features.shape[1]} channels')
        if shown.shape != lr.shape:
            raise UserError(f'network_lr: gives {_size(shown)}, expected {_size(lr)}, as LR of the target is')
    for key, x, what in (
        ('network_df', features, f'features of {_size(features)}'),
        ('network_dt', lr, f'LR patches of {_size(lr)}'),
        ('network_dsr', sr, f'SR patches of {_size(sr)}'),
    ):
        if key in networks:
            _try(networks, key, x, what)
    if 'network_t' in networks:
        teacher = networks['network_t']
        try:
            with torch.no_grad():
                ImageSRAdapter(freeze(teacher), input_channels(teacher, opt['network_t']), size)(lr, scale)
        except UNFIT as error:
            raise UserError(f'network_t: does not fit scale {scale}: {told(error, "network_t", teacher)}') from error


def _size(x: Tensor) -> str:
    return f'{x.shape[1]} channels, {x.shape[3]}x{x.shape[2]}'


def _try(networks: Mapping[str, nn.Module], key: str, x: Tensor, what: str) -> Tensor:
    try:
        with torch.no_grad():
            return networks[key](x)
    except UNFIT as error:
        raise UserError(f'{key}: does not fit {what}: {first_line(error)}') from error
