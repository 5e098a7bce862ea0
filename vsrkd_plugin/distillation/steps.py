"""One step of the student and what one step of the generator aims at, as dictionaries of named losses."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vsrkd_plugin.distillation.super_resolver import SuperResolver
from vsrkd_plugin.ops.parallel import average_gradients
from vsrkd_plugin.ops.resize import bicubic_resize

Autocast = Callable[[], AbstractContextManager]
Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass
class Pair:
    """Teacher and student on the same input; the bicubic enlargement is made once where either needs it.

    Args:
        teacher: frozen.
        student: the bare network (no DDP): gradients are averaged explicitly.
        autocast: makes the context for the convolutions.
    """

    teacher: SuperResolver
    student: SuperResolver
    autocast: Autocast

    def base(self, lr: Tensor, scale: int) -> Tensor | None:
        """The bicubic enlargement of `lr`, if one of the two works at HR size."""
        needed = self.teacher.pre_upsampling or self.student.pre_upsampling
        return bicubic_resize(lr, scale) if needed else None

    def outputs(self, lr: Tensor, scale: int, through_teacher: bool) -> tuple[Tensor, Tensor]:
        """Student's and teacher's SR of `lr` `(n, c, h, w)`: `(n, c, scale * h, scale * w)`, fp32.

        Args:
            through_teacher: let the gradient flow through the teacher to `lr`.
        """
        base = self.base(lr, scale)
        with self.autocast():
            with torch.set_grad_enabled(through_teacher and torch.is_grad_enabled()):
                target = self.teacher(lr, scale, base)
            return self.student(lr, scale, base), target


def student_step(
    pair: Pair,
    lr: Tensor,
    scale: int,
    criterion: Loss,
    optimizer: torch.optim.Optimizer,
    parameters: Sequence[nn.Parameter],
    grad_clip: float | None = None,
) -> dict[str, Tensor]:
    """The student learns to agree with its teacher on `lr`, which gets no gradient.

    Returns:
        `l_kd`, detached, on the device.
    """
    optimizer.zero_grad(set_to_none=True)
    output, target = pair.outputs(lr.detach(), scale, through_teacher=False)
    loss = criterion(output, target)
    loss.backward()
    average_gradients(parameters)
    if grad_clip:
        nn.utils.clip_grad_norm_(parameters, grad_clip)
    optimizer.step()
    return {'l_kd': loss.detach()}


@dataclass
class GeneratorObjective:
    """What a generator of inputs minimises: `L_GEN + w_R L_R`, equation 7 of the paper.

    The weight `w_R` is the reconstruction loss's `loss_weight`.
    """

    pair: Pair
    adversarial: Loss
    reconstruction: Loss

    def __call__(self, lr: Tensor, scale: int) -> dict[str, Tensor]:
        """The named losses of `lr`, with the gradient through teacher and student; their sum is the objective."""
        output, target = self.pair.outputs(lr, scale, through_teacher=True)
        return {'l_adv': self.adversarial(output, target), 'l_rec': self.reconstruction(target, lr)}
