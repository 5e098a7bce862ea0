"""The start from the teacher for residual networks (EDSR), whose blocks share the channels of one trunk."""

from collections.abc import Sequence
from typing import Any, TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vsrkd_plugin.adapters.contract import ResidualBlock, ResidualNetwork
from vsrkd_plugin.distillation.init_from_teacher.least_squares import convolve, in_chunks, refit, spread


def is_residual(network: nn.Module) -> TypeGuard[ResidualNetwork]:
    """Whether a network is built as BasicSR's EDSR: `x + conv2(relu(conv1(x)))` blocks on a trunk."""
    return isinstance(network, ResidualNetwork) and all(isinstance(block, ResidualBlock) for block in network.body)


def _energy(x: Tensor) -> Tensor:
    return x.square().mean((0, 2, 3))


def _read(*layers: nn.Conv2d) -> Tensor:
    """Squared norm of the weights that read each channel."""
    return sum(layer.weight.square().sum((0, 2, 3)) for layer in layers)


def _most(importance: Tensor, count: int) -> Tensor:
    return importance.topk(count).indices.sort().values


def _through(block: Any, x: Tensor) -> Tensor:
    """A teacher's block, in fp32."""
    return in_chunks(
        lambda part: part + convolve(block.conv2, F.relu(convolve(block.conv1, part))) * block.res_scale, x
    )


def _trunk_channels(teacher: Any, first: Tensor, count: int) -> Tensor:
    """The trunk's channels that the teacher's layers read most, over all blocks."""
    importance, x = torch.zeros_like(_energy(first)), first
    for block in teacher.body:
        importance += _energy(x) * _read(block.conv1)
        x = _through(block, x)
    x = in_chunks(lambda part: convolve(teacher.conv_after_body, part), x) + first
    importance += _energy(x) * _read(next(layer for layer in teacher.upsample if isinstance(layer, nn.Conv2d)))
    return _most(importance, count)


def _fit_block(teacher: Any, student: Any, theirs: Tensor, ours: Tensor, kept: Tensor, ridge: float) -> Tensor:
    """Fit a block so that the student's trunk behind it is the teacher's; gives that trunk."""
    inner = in_chunks(lambda part: convolve(teacher.conv1, part), theirs)
    importance = _energy(F.relu(inner)) * teacher.conv2.weight[kept].square().sum((0, 2, 3))
    refit(student.conv1, ours, inner[:, _most(importance, student.conv1.out_channels)], ridge)
    hidden = in_chunks(lambda part: F.relu(convolve(student.conv1, part)), ours)
    refit(student.conv2, hidden, (_through(teacher, theirs)[:, kept] - ours) / student.res_scale, ridge)
    return ours + in_chunks(lambda part: convolve(student.conv2, part), hidden) * student.res_scale


def _fit_upsampling(
    teacher: Sequence[nn.Module],
    student: Sequence[nn.Module],
    last: nn.Conv2d,
    theirs: Tensor,
    ours: Tensor,
    ridge: float,
) -> tuple[Tensor, Tensor]:
    """Fit the convolutions between pixel shuffles; gives what comes out of both."""
    for index in range(0, len(teacher), 2):
        grow, shuffle, fitted = teacher[index], teacher[index + 1], student[index]
        factor = shuffle.upscale_factor**2
        target = in_chunks(lambda part, grow=grow: convolve(grow, part), theirs)
        theirs = shuffle(target)
        reader = teacher[index + 2] if index + 2 < len(teacher) else last
        kept = _most(_energy(theirs) * _read(reader), fitted.out_channels // factor)
        rows = (kept[:, None] * factor + torch.arange(factor, device=kept.device)).flatten()
        refit(fitted, ours, target[:, rows], ridge)
        ours = shuffle(in_chunks(lambda part, fitted=fitted: convolve(fitted, part), ours))
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
    if [type(layer) for layer in teacher.upsample] != [type(layer) for layer in student.upsample]:
        raise ValueError('teacher and student differ in how they upsample')
    x = (lr - teacher.mean.to(lr)) * teacher.img_range
    theirs = first = in_chunks(lambda part: convolve(teacher.conv_first, part), x)
    kept = _trunk_channels(teacher, first, widths[0])
    refit(student.conv_first, x, first[:, kept], ridge)
    ours = started = in_chunks(lambda part: convolve(student.conv_first, part), x)
    sources = spread(active, len(teacher.body))
    for position, block in enumerate(teacher.body):
        if position in sources:
            ours = _fit_block(block, student.body[sources.index(position)], theirs, ours, kept, ridge)
        theirs = _through(block, theirs)
    theirs = in_chunks(lambda part: convolve(teacher.conv_after_body, part), theirs) + first
    refit(student.conv_after_body, ours, theirs[:, kept] - started, ridge)
    ours = in_chunks(lambda part: convolve(student.conv_after_body, part), ours) + started
    theirs, ours = _fit_upsampling(teacher.upsample, student.upsample, teacher.conv_last, theirs, ours, ridge)
    refit(student.conv_last, ours, in_chunks(lambda part: convolve(teacher.conv_last, part), theirs), ridge)
