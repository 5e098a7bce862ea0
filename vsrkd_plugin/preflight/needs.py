"""What options would need of this machine, told against what is there before anything is created."""

import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch

from vsrkd_plugin.config.dataset_options import LatentDatasetOptions
from vsrkd_plugin.config.registries import is_ours_or_stock
from vsrkd_plugin.config.schema import DistillationOptions, options_model
from vsrkd_plugin.config.synthesis_options import ProceduralOptions
from vsrkd_plugin.deploy.memory import free_memory, show_size
from vsrkd_plugin.errors import UserError, show

_PARTS = ('num_block', 'num_layer', 'num_feat', 'num_conv', 'num_latent', 'num_group', 'num_frame', 'num_grow_ch')
_MOST_PARTS = 10_000  # of each of these: building more would not end
_FEW_PARTS = 1024  # no network of ours or BasicSR's with less would fill a memory
_WORKERS_A_CORE, _FEW_WORKERS = 4, 64  # processes that load data; files of options are made on other machines
_INDEX = 36  # bytes of a sample's number in a list of them


def check_needs(opt: Mapping[str, Any]) -> None:
    """Refuse what needs more memory, or more processes, than the machine has; by lower bounds, so that none is refused
    that would run.

    Args:
        opt: options that passed `validate` and `complete`, of a training.

    Raises:
        UserError: with what it would need, and what is there.
    """
    free = free_memory(torch.device('cpu'))
    for place, needed in _needed(opt):
        if needed > free:
            raise UserError(f'{place}: needs at least {show_size(needed)} of memory, {show_size(free)} are free')
    most = max(_FEW_WORKERS, _WORKERS_A_CORE * (os.cpu_count() or 1))
    for phase, dataset in opt['datasets'].items():
        if (asked := dataset.get('num_worker_per_gpu') or 0) > most:
            place = f'datasets, {phase}, num_worker_per_gpu'
            raise UserError(f'{place}: expected at most {most} processes on {os.cpu_count()} cores, got {asked}')


def _needed(opt: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """Places in the options and the bytes that each asks for at least."""
    options = options_model(opt)
    data = options.datasets['train']
    batch = data.batch_size_per_gpu or 1
    synthesis = options.synthesis if isinstance(options, DistillationOptions) else None
    side = synthesis.hr_size if synthesis else getattr(data, 'gt_size', None)
    if isinstance(side, int):  # a data set that we do not know may give its own another meaning
        yield f'datasets, train, batch_size_per_gpu: {batch:,} patches of {side} pixels', 4 * batch * side**2
    if isinstance(data, LatentDatasetOptions):
        yield 'datasets, train, iterations_per_epoch', _INDEX * data.iterations_per_epoch * batch
    if synthesis is None:
        return
    if (bank := synthesis.bank) and bank.reuse > 1 and not bank.path and opt['num_gpu'] == 0:  # else on the GPU
        kept, size = bank.hr_size or synthesis.hr_size, 1 if bank.numbers == 'uint8' else 2
        yield f'synthesis, bank, rows: {bank.rows:,} of {kept} pixels', bank.rows * kept**2 * size
    for index, source in enumerate(synthesis.sources or []):
        if isinstance(source, ProceduralOptions):
            place = f'synthesis, sources, {index}, num_images: {source.num_images:,} of {source.image_size} pixels'
            yield place, source.num_images * source.image_size**2


def check_network_size(build: Callable[..., Any], arguments: Mapping[str, Any], place: str) -> None:
    """Refuse a network that the memory cannot hold, before it is built.

    Args:
        build: its class.
        arguments: what it is built with.
        place: the key of the options that names it.

    Raises:
        UserError: too many parts, or too many weights.
    """
    for name, value in arguments.items():
        if name in _PARTS and isinstance(value, int) and value > _MOST_PARTS:
            raise UserError(f'{place}, {name}: expected at most {_MOST_PARTS:,}, got {show(value)}')
    # A module of the user's may keep what it builds; and usual sizes need no look.
    is_large = any(isinstance(value, int) and value > _FEW_PARTS for value in arguments.values())
    if not (is_ours_or_stock(build) and is_large):
        return
    try:
        with torch.device('meta'):
            network = build(**arguments)
        parameters = {id(weights): weights for weights in network.parameters()}.values()
        needed = sum(weights.nelement() * weights.element_size() for weights in parameters)
    except Exception:  # one that cannot be built without values, or not at all, which is told when it is built
        return
    free = free_memory(torch.device('cpu'))
    if needed > free:
        told = f'its weights need {show_size(needed)} of memory, {show_size(free)} are free'
        raise UserError(f'{place}: {build.__name__}: {told}')
