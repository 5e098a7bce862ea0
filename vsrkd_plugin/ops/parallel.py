"""Several processes that act as one with the joint batch; with a single process all of this does nothing."""

from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def world_size() -> int:
    """The number of processes, 1 outside torch.distributed."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def of_rank_0(value: Any) -> Any:
    """Rank 0's value in every process; a number, a text or another plain object."""
    if world_size() == 1:
        return value
    values = [value]
    dist.broadcast_object_list(values, 0)
    return values[0]


def average(value: Tensor) -> Tensor:
    """The mean of a tensor over all processes, detached."""
    value = value.detach().clone()
    if world_size() > 1:
        dist.all_reduce(value)
        value /= world_size()
    return value


def with_global_value(value: Tensor) -> Tensor:
    """`value` with its own gradient, but worth the mean of all processes' values."""
    return value if world_size() == 1 else value + (average(value) - value.detach())


def average_gradients(parameters: Iterable[Tensor]) -> None:
    """Average the gradients of all processes in one collective.

    Parameters without a gradient (blocks not yet grown: the same in every process) are left out.
    """
    if world_size() == 1:
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
    dist.all_reduce(flat)
    flat /= world_size()
    for gradient, part in zip(gradients, flat.split([gradient.numel() for gradient in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


def broadcast_parameters(module: torch.nn.Module) -> None:
    """Give every process rank 0's parameters and buffers."""
    if world_size() > 1:
        for tensor in (*module.parameters(), *module.buffers()):
            dist.broadcast(tensor.data, 0)
