"""Tensors from the CPU to where they are worked on."""

import torch
from torch import Tensor


def send(x: Tensor, device: torch.device) -> Tensor:
    """`x`, of the CPU, on `device`, without waiting for what that is doing."""
    return x if device.type == 'cpu' else x.pin_memory().to(device, non_blocking=True)
