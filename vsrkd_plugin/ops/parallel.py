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


def wait_for_all() -> None:
    """Return when all processes have called it."""
    if world_size() > 1:
        dist.barrier()


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


class Agreement:
    """The largest number that any process gives, known to all; the answer comes a call later, so that none waits.

    By gloo, whatever the devices are: nothing is asked of a GPU.
    """

    def __init__(self) -> None:
        self._group: Any = dist.new_group(backend='gloo')
        self._asked: Any = None
        self._answer = torch.zeros(1, dtype=torch.int32)

    def ask(self, number: int) -> int:
        """Give this process's number from 0; the largest of those given at the last call. All processes call it."""
        if self._asked is not None:
            self._asked.wait()
        agreed = int(self._answer)
        self._answer = torch.tensor([number], dtype=torch.int32)
        self._asked = dist.all_reduce(self._answer, dist.ReduceOp.MAX, group=self._group, async_op=True)
        return agreed
