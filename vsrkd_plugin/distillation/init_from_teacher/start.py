"""The start from the teacher, whatever kind of network it is."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from vsrkd_plugin.adapters.contract import NetworkContract, RecurrentChain
from vsrkd_plugin.distillation.init_from_teacher.chain import Chain, chain_of, inherit
from vsrkd_plugin.distillation.init_from_teacher.recurrent import inherit_recurrent
from vsrkd_plugin.distillation.init_from_teacher.residual import inherit_residual, is_residual
from vsrkd_plugin.ops.resize import bicubic_resize

INIT_PATCHES = 144  # LR patches that a start is fitted on, shared out among the scales
INIT_CLIPS = 16  # LR clips that a start of recurrent networks is fitted on


def start_from_teacher(
    teacher: nn.Module, student: nn.Module, previews: Mapping[int, Tensor], active: int | None = None
) -> None:
    """`inherit`, `inherit_residual` or `inherit_recurrent`, for networks that super-resolve.

    Args:
        teacher, student: the bare networks.
        previews: scale → LR images, about a hundred in all; of recurrent networks LR clips.
        active: the student's blocks to fit; all by default.

    Raises:
        ValueError: they are not of one kind, or do not fit each other.
    """
    contracts = [NetworkContract.of(network) for network in (teacher, student)]
    for name in ('channels', 'value_range'):  # the student's layers are fitted to what the teacher's make of one input
        theirs, ours = (getattr(contract, name) for contract in contracts)
        if theirs != ours:
            raise ValueError(f'teacher and student differ in the {name} of their input: {theirs} and {ours}')
    low, high = contracts[0].value_range
    previews = {scale: lr * (high - low) + low for scale, lr in previews.items()}
    if isinstance(teacher, RecurrentChain) and isinstance(student, RecurrentChain):
        (clip,) = previews.values()
        inherit_recurrent(teacher, student, clip, active)
        return
    if is_residual(teacher) and is_residual(student):
        inherit_residual(teacher, student, torch.cat(list(previews.values())), active)
        return
    chains = [_needed_chain('network_t', teacher), _needed_chain('network_g', student)]
    kinds = [[type(activation) for activation in chain.activations[:1]] for chain in chains]
    enlarged = [contract.pre_upsampling for contract in contracts]
    if kinds[0] != kinds[1] or enlarged[0] != enlarged[1]:
        raise ValueError('teacher and student are not of one kind (activations, or whether they work at HR size)')
    inputs = [bicubic_resize(lr, scale) if enlarged[0] else lr for scale, lr in previews.items()]
    inherit(chains[0], chains[1], torch.cat(inputs), active)


def _needed_chain(key: str, network: nn.Module) -> Chain:
    """The chain that a network is; `key` is its name in options.

    Raises:
        ValueError: it is none.
    """
    chain = chain_of(network)
    if chain is None:
        raise ValueError(
            'needs two chains of layers, two networks like EDSR or two recurrent ones like RLSP; '
            f'{key} ({type(network).__name__}) does not fit'
        )
    return chain
