"""Builds the teacher that the options name."""

import torch
from basicsr.archs import build_network
from torch import nn

from vsrkd_plugin.adapters.fp32_tail import keep_tail_in_fp32
from vsrkd_plugin.adapters.image_sr import freeze
from vsrkd_plugin.config.plan import NetworkPlan
from vsrkd_plugin.ops.precision import place
from vsrkd_plugin.run.checkpoints import load_weights


def build_teacher(plan: NetworkPlan, device: torch.device) -> nn.Module:
    """The teacher with its weights, frozen, channels_last, on `device`.

    Raises:
        UserError: a checkpoint that cannot be read or does not fit.
    """
    return build_teacher_and_entry(plan, device)[0]


def build_teacher_and_entry(plan: NetworkPlan, device: torch.device) -> tuple[nn.Module, str]:
    """As `build_teacher`, with the entry of the file that was loaded; empty where the file has none."""
    teacher, entry = place(build_network(dict(plan.options)), device), ''
    if plan.weights is not None:
        entry = load_weights(teacher, plan.weights, plan.param_key, plan.strict)
    return keep_tail_in_fp32(freeze(teacher)), entry
