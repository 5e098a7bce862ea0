"""Optimisers and schedulers from options, for each network its own."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from basicsr.models import lr_scheduler
from torch import nn

from vsrkd_plugin.optim.muon import Muon

OPTIMIZERS = {'Adam': torch.optim.Adam, 'AdamW': torch.optim.AdamW, 'SGD': torch.optim.SGD, 'Muon': Muon}
SCHEDULERS = {
    'MultiStepLR': lr_scheduler.MultiStepRestartLR,
    'MultiStepRestartLR': lr_scheduler.MultiStepRestartLR,
    'CosineAnnealingRestartLR': lr_scheduler.CosineAnnealingRestartLR,
}


def make_optimizer(options: Mapping[str, Any], parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """An optimiser of `options` (`type` and the arguments of torch's class or of `Muon`)."""
    arguments = dict(options)
    return OPTIMIZERS[arguments.pop('type')](list(parameters), **arguments)


def make_scheduler(
    options: Mapping[str, Any], optimizer: torch.optim.Optimizer, total_iter: int
) -> torch.optim.lr_scheduler.LRScheduler:
    """A scheduler of `options` (`type` and the arguments of BasicSR's class); it steps once an iteration.

    A cosine without `periods` lasts for the whole training.
    """
    arguments = dict(options)
    kind = arguments.pop('type')
    if kind.startswith('Cosine'):
        arguments.setdefault('periods', [total_iter])
    return SCHEDULERS[kind](optimizer, **arguments)
