"""Optimisers by the names that options use."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import nn

from vsrkd_plugin.optim.muon import Muon

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    'Adam': torch.optim.Adam,
    'AdamW': torch.optim.AdamW,
    'SGD': torch.optim.SGD,
    'Muon': Muon,
}


def make_optimizer(options: Mapping[str, Any], parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """An optimiser of `options` (`type` and the arguments of torch's class or of `Muon`)."""
    arguments = dict(options)
    return OPTIMIZERS[arguments.pop('type')](list(parameters), **arguments)
