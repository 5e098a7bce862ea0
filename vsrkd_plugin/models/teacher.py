"""Builds the networks that a plan names, so that they keep to their contracts; and the teacher with its weights."""

import torch
from basicsr.archs import build_network
from torch import nn

from vsrkd_plugin.adapters.complying import comply
from vsrkd_plugin.adapters.fp32_tail import keep_tail_in_fp32
from vsrkd_plugin.adapters.image_sr import freeze
from vsrkd_plugin.config.plan import NetworkPlan, Options
from vsrkd_plugin.ops.precision import place
from vsrkd_plugin.run.checkpoints import load_weights


def build(plan: NetworkPlan, options: Options | None = None) -> nn.Module:
    """A network of a plan at its random start, on the CPU.

    Args:
        options: those of the network that is built around the plan's (a `ProgressiveStudent`), if there is one.
    """
    options = plan.options if options is None else options
    return comply(build_network(dict(options)), plan.contract, options)


def build_teacher(plan: NetworkPlan, device: torch.device) -> nn.Module:
    """The teacher with its weights, frozen, channels_last, on `device`.

    Raises:
        UserError: a checkpoint that cannot be read or does not fit.
    """
    return build_teacher_and_entry(plan, device)[0]


def build_teacher_and_entry(plan: NetworkPlan, device: torch.device) -> tuple[nn.Module, str]:
    """As `build_teacher`, with the entry of the file that was loaded; empty where the file has none."""
    teacher, entry = place(build(plan), device), ''
    if plan.weights is not None:
        entry = load_weights(teacher, plan.weights, plan.param_key, plan.strict)
    return keep_tail_in_fp32(freeze(teacher)), entry
