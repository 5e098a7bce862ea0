"""The start of students with pairs of low rank, where layers are not walked through one by one."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from vsrkd_plugin.adapters.image_sr import in_eval_mode
from vsrkd_plugin.distillation.init_from_teacher.least_squares import refit
from vsrkd_plugin.distillation.init_from_teacher.telling import layers_told
from vsrkd_plugin.ops.low_rank import LowRankConv


class _Reached(Exception):
    """A network has come to the layer that is asked for."""


def merged(network: nn.Module) -> nn.Module:
    """A copy of a network that does the same without pairs of low rank; the network itself if it has none."""
    if not any(isinstance(module, LowRankConv) for module in network.modules()):
        return network
    network = copy.deepcopy(network)
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, LowRankConv):
                setattr(module, name, child.merged())
    return network


@torch.no_grad()
def take_lower_rank(twin: nn.Module, student: nn.Module, x: Tensor, call: Callable[[nn.Module, Tensor], Any]) -> None:
    """Have a student do what its merged twin does, as far as its rank goes.

    What they have in common is copied. Then, in the order of a pass, each pair is refitted from the student's own
    activations to what the twin's layer gives.

    Args:
        twin: `merged(student)`, with the weights that the student is to have.
        student: with pairs of low rank.
        x: inputs, about a hundred patches.
        call: runs a network.
    """
    pairs = {name: module for name, module in student.named_modules() if isinstance(module, LowRankConv)}
    theirs = twin.state_dict()
    state = {name: theirs.get(name, value) for name, value in student.state_dict().items()}
    student.load_state_dict(state)
    with in_eval_mode(twin), in_eval_mode(student), layers_told(len(pairs)) as told:
        for name in _in_order(student, pairs, lambda: call(student, x[:1])):
            _, target = _reach(twin, twin.get_submodule(name), lambda: call(twin, x))
            read, _ = _reach(student, pairs[name], lambda: call(student, x))
            refit(pairs[name], read, target)
            told.update()


def _in_order(student: nn.Module, pairs: dict[str, LowRankConv], run: Callable[[], Any]) -> list[str]:
    """Names of pairs in the order of their first use; those that a pass does not use are left out."""
    order: list[str] = []
    hooks = [
        pair.register_forward_hook(lambda *_, name=name: None if name in order else order.append(name))
        for name, pair in pairs.items()
    ]
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()
    return order


def _reach(network: nn.Module, layer: nn.Module, run: Callable[[], Any]) -> tuple[Tensor, Tensor]:
    """What a layer reads and what it gives, when a network first comes to it."""
    found: list[Tensor] = []

    def stop(_layer: nn.Module, read: tuple[Tensor, ...], given: Tensor) -> None:
        found.extend((read[0].clone(), given.clone()))  # an activation behind it may work in place
        raise _Reached

    hook = layer.register_forward_hook(stop)
    try:
        run()
    except _Reached:
        pass
    finally:
        hook.remove()
    read, given = found
    return read, given
