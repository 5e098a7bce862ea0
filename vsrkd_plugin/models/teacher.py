"""Builds the teacher that the options name."""

from typing import Any

import torch
from basicsr.archs import build_network
from torch import nn

from vsrkd_plugin.adapters.image_sr import freeze, keep_tail_in_fp32
from vsrkd_plugin.ops.precision import place
from vsrkd_plugin.run.checkpoints import load_weights


def build_teacher(opt: dict[str, Any], device: torch.device) -> nn.Module:
    """`network_t` with the weights of `path.pretrain_network_t`, frozen, channels_last, on `device`.

    Raises:
        UserError: a checkpoint that cannot be read or does not fit.
    """
    teacher = place(build_network(opt['network_t']), device)
    path = opt['path']
    load_weights(
        teacher, path['pretrain_network_t'], path.get('param_key_t', 'params'), path.get('strict_load_t', True)
    )
    return keep_tail_in_fp32(freeze(teacher))
