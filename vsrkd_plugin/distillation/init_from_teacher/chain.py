"""The student's start from its teacher: channels chosen, then every layer refitted by least squares."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from vsrkd_plugin.adapters.contract import AlternatingBody, Chained, NetworkContract
from vsrkd_plugin.distillation.init_from_teacher.importance import energy, most_important, reading_strength
from vsrkd_plugin.distillation.init_from_teacher.least_squares import convolve, in_chunks, refit, spread
from vsrkd_plugin.distillation.init_from_teacher.telling import layers_told
from vsrkd_plugin.ops.low_rank import Layer, LowRankConv
from vsrkd_plugin.run.progress import Progress


class Chain(NamedTuple):
    """Convolutions in order, and what stands behind each but the last (a ReLU, or a PReLU with a slope a channel)."""

    layers: Sequence[Layer]
    activations: Sequence[nn.Module]


def chain_of(network: nn.Module) -> Chain | None:
    """The chain that a network is, from its input (enlarged, where it works at HR size) to what it adds to that.

    A network takes part by its contract's `chain` (names of modules), or by a method `chain()` that gives its
    convolutions, with a ReLU behind each but the last; or by a ModuleList `body` in which convolutions and activations
    alternate, as BasicSR's `SRVGGNetCompact` has. None for others.

    Raises:
        ValueError: it has no module of a name in its contract's `chain`, or that one holds no convolution.
    """
    if names := NetworkContract.of(network).chain:
        layers = _convolutions(network, names)
        return Chain(layers, [nn.ReLU()] * (len(layers) - 1))
    if isinstance(network, Chained):
        layers = list(network.chain())
        return Chain(layers, [nn.ReLU()] * (len(layers) - 1))
    body = network.body if isinstance(network, AlternatingBody) else None
    if not isinstance(body, nn.ModuleList) or len(body) % 2 == 0:
        return None
    convolutions = [layer for layer in body[::2] if isinstance(layer, Layer)]
    activations = [activation for activation in body[1::2] if not isinstance(activation, Layer)]
    alternate = len(convolutions) + len(activations) == len(body)
    return Chain(convolutions, activations) if alternate else None


def _convolutions(network: nn.Module, names: Sequence[str]) -> list[Layer]:
    """The convolutions of some modules, in order; a pair of low rank is one."""
    modules, found = dict(network.named_modules()), list[Layer]()
    for name in names:
        convolutions = _layers_in(modules[name]) if name in modules else []
        if not convolutions:
            what = 'no convolution in its module' if name in modules else 'no module'
            raise ValueError(f'chain: {type(network).__name__} has {what} {name!r}')
        found += convolutions
    return found


def _layers_in(module: nn.Module) -> list[Layer]:
    if isinstance(module, Layer):
        return [module]
    return [layer for child in module.children() for layer in _layers_in(child)]


@torch.no_grad()
def channel_importance(chain: Chain, x: Tensor, layer_done: Callable[[], object] = lambda: None) -> list[Tensor]:
    """How much each channel behind each hidden layer matters: (mean squared activation) x (squared norm of the weights
    that read it).

    Args:
        chain: the network.
        x: inputs, `(n, c, h, w)`.
        layer_done: called after each layer but the last.

    Returns:
        A `(channels,)` tensor for each layer but the last.
    """
    importance = []
    for index, reader in enumerate(chain.layers[1:]):
        x = _forward(chain, index, x)
        importance.append(energy(x) * reading_strength(reader))
        layer_done()
    return importance


@torch.no_grad()
def inherit(
    teacher: Chain,
    student: Chain,
    x: Tensor,
    active: int | None = None,
    ridge: float = 1e-4,
) -> list[Tensor]:
    """Start a student from the channels of its teacher.

    In each layer the most important channels are kept; then, walking forward, each of the student's layers is refitted
    from the *student's own* activations to the *teacher's* pre-activations of the kept channels, so that it
    compensates for what the layers before it lost. Blocks beyond `active` are left alone (they are identity until they
    grow), but for such of low rank, which cannot be identities: they are fitted to pass on what the last active one
    gives.

    Args:
        teacher, student: input, blocks, output.
        x: inputs of the chains, `(n, c, h, w)`; about a hundred patches.
        active: the student's blocks to fit; spread evenly over the teacher's. Default all.
        ridge: as in `refit`.

    Returns:
        The kept channels of each fitted hidden layer.

    Raises:
        ValueError: the student is deeper or wider than the teacher, or their inputs or outputs differ.
    """
    active = len(student.layers) - 2 if active is None else active
    blocks, last = len(teacher.layers) - 2, len(teacher.layers) - 1
    if active > blocks:
        raise ValueError(f'a student of {active} blocks cannot start from a teacher of {blocks}')
    ends = [(chain.layers[0].in_channels, chain.layers[-1].out_channels) for chain in (teacher, student)]
    if ends[0] != ends[1]:
        raise ValueError('teacher and student differ in the channels of their input or output')
    sources = [0, *(1 + i for i in spread(active, blocks)), last]
    targets = [*range(1 + active), len(student.layers) - 1]
    with layers_told(last + len(targets)) as told:
        importance = channel_importance(teacher, x, told.update)
        pairs = list(zip(targets, sources, strict=True))
        kept = _fit_layers(teacher, student, x, importance, pairs, ridge, told)
    waiting = [layer for layer in student.layers[1 + active : -1] if isinstance(layer, LowRankConv)]
    if waiting:
        for index in targets[:-1]:
            x = _forward(student, index, x)
        for layer in waiting:
            refit(layer, x, x, ridge)
    return kept


def _fit_layers(
    teacher: Chain,
    student: Chain,
    x: Tensor,
    importance: list[Tensor],
    pairs: list[tuple[int, int]],
    ridge: float,
    told: Progress[Any],
) -> list[Tensor]:
    """`inherit` of `pairs` of the student's layers and the teacher's; the kept channels."""
    last = len(teacher.layers) - 1
    kept: list[Tensor] = []
    ours = theirs = x
    position = 0  # teacher layers that `theirs` has been through
    for index, source in pairs:
        layer = student.layers[index]
        while position < source:
            theirs = _forward(teacher, position, theirs)
            position += 1
        target = in_chunks(partial(convolve, teacher.layers[source]), theirs)
        if source < last:
            if layer.out_channels > target.shape[1]:
                raise ValueError(
                    f'a student of {layer.out_channels} channels cannot start from a teacher of {target.shape[1]}'
                )
            kept.append(most_important(importance[source], layer.out_channels))
            target = target[:, kept[-1]]
        refit(layer, ours, target, ridge)
        if source < last:
            theirs_behind, ours_behind = teacher.activations[source], student.activations[index]
            if isinstance(theirs_behind, nn.PReLU) and isinstance(ours_behind, nn.PReLU):
                slope = theirs_behind.weight
                ours_behind.weight.copy_(slope[kept[-1]] if len(slope) > 1 else slope)
            ours = _forward(student, index, ours)
        told.update()
    return kept


def _forward(chain: Chain, index: int, x: Tensor) -> Tensor:
    """`x` through a layer and the activation behind it."""
    return in_chunks(lambda part: chain.activations[index](convolve(chain.layers[index], part)), x)
