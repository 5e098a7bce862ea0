"""The start from the teacher for residual networks (EDSR), whose blocks share the channels of one trunk."""

from functools import partial
from typing import Any, TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vsrkd_plugin.adapters.contract import ResidualBlock, ResidualNetwork
from vsrkd_plugin.distillation.init_from_teacher.importance import energy, most_important, reading_strength
from vsrkd_plugin.distillation.init_from_teacher.least_squares import convolve, in_chunks, refit, spread
from vsrkd_plugin.distillation.init_from_teacher.telling import layers_told
from vsrkd_plugin.ops.low_rank import Layer
from vsrkd_plugin.run.progress import Progress


def is_residual(network: nn.Module) -> TypeGuard[ResidualNetwork]:
    """Whether a network is built as BasicSR's EDSR: `x + conv2(relu(conv1(x)))` blocks on a trunk."""
    return isinstance(network, ResidualNetwork) and all(isinstance(block, ResidualBlock) for block in network.body)


def _blocks(network: ResidualNetwork) -> list[ResidualBlock]:
    return [block for block in network.body if isinstance(block, ResidualBlock)]


def _stages(upsample: nn.Sequential) -> list[tuple[Layer, nn.PixelShuffle]]:
    """The convolutions of an upsampling and the pixel shuffle behind each.

    Raises:
        ValueError: it is built otherwise.
    """
    layers = list(upsample)
    pairs = list(zip(layers[::2], layers[1::2], strict=False))
    stages = [(a, b) for a, b in pairs if isinstance(a, Layer) and isinstance(b, nn.PixelShuffle)]
    if not stages or 2 * len(stages) != len(layers):
        raise ValueError(
            'expected an upsampling in which convolutions and pixel shuffles alternate, got '
            + ', '.join(type(layer).__name__ for layer in layers)
        )
    return stages


def _through(block: ResidualBlock, x: Tensor) -> Tensor:
    """A teacher's block, in fp32."""
    return in_chunks(
        lambda part: part + convolve(block.conv2, F.relu(convolve(block.conv1, part))) * block.res_scale, x
    )


def _trunk_channels(teacher: ResidualNetwork, first: Tensor, count: int, told: Progress[Any]) -> Tensor:
    """The trunk's channels that the teacher's layers read most, over all blocks."""
    importance, x = torch.zeros_like(energy(first)), first
    for block in _blocks(teacher):
        importance += energy(x) * reading_strength(block.conv1)
        x = _through(block, x)
        told.update()
    x = in_chunks(partial(convolve, teacher.conv_after_body), x) + first
    importance += energy(x) * reading_strength(_stages(teacher.upsample)[0][0])
    return most_important(importance, count)


def _fit_block(
    teacher: ResidualBlock, student: ResidualBlock, theirs: Tensor, ours: Tensor, kept: Tensor, ridge: float
) -> Tensor:
    """Fit a block so that the student's trunk behind it is the teacher's; gives that trunk."""
    inner = in_chunks(partial(convolve, teacher.conv1), theirs)
    importance = energy(F.relu(inner)) * teacher.conv2.weight[kept].square().sum((0, 2, 3))
    refit(student.conv1, ours, inner[:, most_important(importance, student.conv1.out_channels)], ridge)
    hidden = in_chunks(lambda part: F.relu(convolve(student.conv1, part)), ours)
    refit(student.conv2, hidden, (_through(teacher, theirs)[:, kept] - ours) / student.res_scale, ridge)
    return ours + in_chunks(partial(convolve, student.conv2), hidden) * student.res_scale


def _fit_upsampling(
    teacher: ResidualNetwork, student: ResidualNetwork, theirs: Tensor, ours: Tensor, ridge: float
) -> tuple[Tensor, Tensor]:
    """Fit the convolutions before pixel shuffles; gives what comes out of both upsamplings."""
    stages = _stages(teacher.upsample)
    readers = [*(convolution for convolution, _ in stages[1:]), teacher.conv_last]
    for (convolution, shuffle), reader, (fitted, _) in zip(stages, readers, _stages(student.upsample), strict=True):
        factor = shuffle.upscale_factor**2
        target = in_chunks(partial(convolve, convolution), theirs)
        theirs = shuffle(target)
        kept = most_important(energy(theirs) * reading_strength(reader), fitted.out_channels // factor)
        rows = (kept[:, None] * factor + torch.arange(factor, device=kept.device)).flatten()
        refit(fitted, ours, target[:, rows], ridge)
        ours = shuffle(in_chunks(partial(convolve, fitted), ours))
    return theirs, ours


@torch.no_grad()
def inherit_residual(
    teacher: ResidualNetwork, student: ResidualNetwork, lr: Tensor, active: int | None = None, ridge: float = 1e-4
) -> None:
    """Start a student from the channels of its teacher, both built as EDSR.

    Channels of the trunk are chosen once, those inside each block for it alone; every layer is refitted by least
    squares from the student's own activations, a block's last one to what the student's trunk still lacks of the
    teacher's.

    Args:
        teacher, student: see `is_residual`; of the same scale.
        lr: LR images, `(n, c, h, w)`; about a hundred patches.
        active: the student's blocks to fit, spread evenly over the teacher's; all by default.
        ridge: as in `refit`.

    Raises:
        ValueError: the student is deeper or wider than the teacher, or enlarges otherwise.
    """
    active = len(student.body) if active is None else active
    if active > len(teacher.body):
        raise ValueError(f'a student of {active} blocks cannot start from a teacher of {len(teacher.body)}')
    widths = [network.conv_first.out_channels for network in (student, teacher)]
    if widths[0] > widths[1]:
        raise ValueError(f'a student of {widths[0]} channels cannot start from a teacher of {widths[1]}')
    factors = [[shuffle.upscale_factor for _, shuffle in _stages(network.upsample)] for network in (teacher, student)]
    if factors[0] != factors[1]:
        raise ValueError('teacher and student differ in how they upsample')
    x = (lr - teacher.mean.to(lr)) * teacher.img_range
    first = in_chunks(partial(convolve, teacher.conv_first), x)
    with layers_told(2 * len(teacher.body) + 3) as told:
        kept = _trunk_channels(teacher, first, widths[0], told)
        _fit_network(teacher, student, x, first, kept, spread(active, len(teacher.body)), ridge, told)


def _fit_network(
    teacher: ResidualNetwork,
    student: ResidualNetwork,
    x: Tensor,
    first: Tensor,
    kept: Tensor,
    sources: list[int],
    ridge: float,
    told: Progress[Any],
) -> None:
    """`inherit_residual` once the trunk's channels are chosen, of the teacher's blocks `sources`.

    Args:
        x: what both first layers read.
        first: what the teacher's first layer makes of it.
    """
    theirs = first
    refit(student.conv_first, x, first[:, kept], ridge)
    ours = started = in_chunks(partial(convolve, student.conv_first), x)
    told.update()
    student_blocks = _blocks(student)
    for position, block in enumerate(_blocks(teacher)):
        if position in sources:
            ours = _fit_block(block, student_blocks[sources.index(position)], theirs, ours, kept, ridge)
        theirs = _through(block, theirs)
        told.update()
    theirs = in_chunks(partial(convolve, teacher.conv_after_body), theirs) + first
    refit(student.conv_after_body, ours, theirs[:, kept] - started, ridge)
    ours = in_chunks(partial(convolve, student.conv_after_body), ours) + started
    told.update()
    theirs, ours = _fit_upsampling(teacher, student, theirs, ours, ridge)
    refit(student.conv_last, ours, in_chunks(partial(convolve, teacher.conv_last), theirs), ridge)
    told.update()
