"""Learning rates over time, from options."""

from collections.abc import Mapping
from typing import Any

import torch

from vsrkd_plugin.config.registries import schedulers


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
    return schedulers()[kind](optimizer, **arguments)
