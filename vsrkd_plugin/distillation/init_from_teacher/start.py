"""The start from the teacher, whatever kind of network it is."""

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from vsrkd_plugin.adapters.contract import NetworkContract, RecurrentChain
from vsrkd_plugin.adapters.image_sr import probe
from vsrkd_plugin.distillation.init_from_teacher.chain import Chain, chain_of, inherit
from vsrkd_plugin.distillation.init_from_teacher.graph import inherit_graph
from vsrkd_plugin.distillation.init_from_teacher.low_rank import merged, take_lower_rank
from vsrkd_plugin.distillation.init_from_teacher.recurrent import inherit_recurrent
from vsrkd_plugin.distillation.init_from_teacher.residual import inherit_residual, is_residual
from vsrkd_plugin.ops.resize import bicubic_resize

INIT_PATCHES = 144  # LR patches that a start is fitted on, shared out among the scales
INIT_CLIPS = 16  # LR clips that a start of recurrent networks is fitted on


def start_from_teacher(
    teacher: nn.Module, student: nn.Module, previews: Mapping[int, Tensor], active: int | None = None
) -> None:
    """`inherit`, `inherit_residual` or `inherit_recurrent`, for networks that super-resolve; `inherit_graph` where none
    of them fits and both are image networks of one class.

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
    one_class = type(teacher) is type(student)
    images = all(lr.ndim == 4 for lr in previews.values())
    by_layers = is_residual(teacher) and is_residual(student)
    if one_class and images and not by_layers and None in (chain_of(teacher), chain_of(student)):
        _start_by_graph(teacher, student, previews)  # calls the networks, which see to their range themselves
        return
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


def can_start(teacher: nn.Module, student: nn.Module, previews: Mapping[int, Tensor] | None = None) -> str | None:
    """Why a student cannot start from its teacher; None if it can. Tried on a copy, in seconds.

    Args:
        teacher, student: the bare networks.
        previews: as of `start_from_teacher`; a few images of a small size that both take, or clips. Two images of 24x24
            by default.
    """
    if previews is None:
        channels = NetworkContract.of(teacher).channels
        previews = {1: torch.rand(2, channels, 24, 24, device=next(teacher.parameters()).device)}
    try:
        start_from_teacher(teacher, copy.deepcopy(student), previews)
    except ValueError as error:
        return str(error)
    return None


def _start_by_graph(teacher: nn.Module, student: nn.Module, previews: Mapping[int, Tensor]) -> None:
    """`inherit_graph`, for whatever way the networks are called.

    Raises:
        ValueError: as it raises, with what to do instead; or a network that serves several scales.
    """
    contract, images = NetworkContract.of(teacher), list(previews.items())
    try:
        if contract.multi_scale and len(images) > 1:
            raise ValueError(
                f'{type(teacher).__name__} serves several scales, which only chains of layers can start with'
            )
        enlarged = contract.pre_upsampling
        if not enlarged and not contract.multi_scale:
            enlarged = probe(teacher, *images[0][1].shape[1:3])
        if enlarged:
            inputs, scale = [bicubic_resize(lr, scale) for scale, lr in images], 1
        else:
            inputs, scale = [lr for _, lr in images], images[0][0]
        arguments = {'scale': scale} if contract.multi_scale else {}
        twin = merged(student)
        inherit_graph(merged(teacher), twin, torch.cat(inputs), arguments)
        if twin is not student:
            take_lower_rank(twin, student, torch.cat(inputs), lambda network, x: network(x, **arguments))
    except ValueError as error:
        raise ValueError(f'{error}; leave train, init out, or take another student (SRVGGNetCompact)') from error


def _needed_chain(key: str, network: nn.Module) -> Chain:
    """The chain that a network is; `key` is its name in options.

    Raises:
        ValueError: it is none.
    """
    chain = chain_of(network)
    if chain is None:
        raise ValueError(
            'needs two image networks of one class, two chains of layers or two recurrent networks like RLSP; '
            f'{key} ({type(network).__name__}) does not fit'
        )
    return chain
