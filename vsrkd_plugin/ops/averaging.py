"""The moving average of a network's weights."""

import torch
from torch import nn


@torch.no_grad()
def update_ema(averaged: nn.Module, network: nn.Module, decay: float) -> None:
    """Move the parameters of `averaged` towards those of `network` by `1 - decay`; buffers are copied."""
    torch._foreach_lerp_(list(averaged.parameters()), list(network.parameters()), 1 - decay)
    for mean, current in zip(averaged.buffers(), network.buffers(), strict=True):
        mean.copy_(current)
