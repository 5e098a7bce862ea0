"""One step of the student and what one step of the generator aims at, as dictionaries of named losses."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vsrkd_plugin.adapters.image_sr import ImageSRAdapter
from vsrkd_plugin.adapters.video_sr import VideoSRAdapter
from vsrkd_plugin.ops.dihedral import NUM_DIHEDRAL, apply_dihedral, undo_dihedral
from vsrkd_plugin.ops.parallel import average_gradients
from vsrkd_plugin.ops.precision import Autocast
from vsrkd_plugin.ops.resize import bicubic_resize
from vsrkd_plugin.synthesis.clips.motion import Motion

SRAdapter = ImageSRAdapter | VideoSRAdapter
Loss = Callable[[Tensor, Tensor], Tensor]
ExtraLosses = Callable[[Tensor, Tensor], dict[str, Tensor]]  # the student's output and the target → named losses


def no_extra_losses(output: Tensor, target: Tensor) -> dict[str, Tensor]:
    """Nothing beside the distillation loss."""
    return {}


@dataclass
class TeacherStudent:
    """Teacher and student on the same input; the bicubic enlargement is made once where either needs it.

    Args:
        teacher: frozen; None where a bank has its outputs.
        student: not in DistributedDataParallel: gradients are averaged explicitly.
        autocast: makes the context for the convolutions.
        self_ensemble: the student learns from the mean of the teacher's outputs over the eight flips and rotations.
    """

    teacher: SRAdapter | None
    student: SRAdapter
    autocast: Autocast
    self_ensemble: bool = False

    def base(self, lr: Tensor, scale: int) -> Tensor | None:
        """The bicubic enlargement of `lr`, if one of the two works at HR size."""
        needed = self.student.pre_upsampling or (self.teacher is not None and self.teacher.pre_upsampling)
        return bicubic_resize(lr, scale) if needed else None

    @torch.no_grad()
    def teacher_target(self, lr: Tensor, scale: int, base: Tensor | None = None) -> Tensor:
        """What the student is to learn for `lr` `(n, c, h, w)`: `(n, c, scale * h, scale * w)`, fp32, no gradient."""
        teacher = self._present_teacher()
        with self.autocast():
            if not self.self_ensemble:
                return teacher(lr, scale, base)
            outputs = (undo_dihedral(teacher(apply_dihedral(lr, turn), scale), turn) for turn in range(NUM_DIHEDRAL))
            total = next(outputs)
            for output in outputs:
                total = total + output
        return total / NUM_DIHEDRAL

    def outputs(self, lr: Tensor, scale: int, target: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Student's SR of `lr` and what it is to learn, each `(n, c, scale * h, scale * w)`, fp32.

        Args:
            target: the teacher's output for `lr`; the teacher is asked if None.
        """
        base = self.base(lr, scale)
        target = self.teacher_target(lr, scale, base) if target is None else target
        with self.autocast():
            return self.student(lr, scale, base), target

    def outputs_with_gradient(self, lr: Tensor, scale: int) -> tuple[Tensor, Tensor]:
        """Student's and teacher's SR of `lr`; the gradient flows through both to `lr`."""
        teacher, base = self._present_teacher(), self.base(lr, scale)
        with self.autocast():
            return self.student(lr, scale, base), teacher(lr, scale, base)

    def _present_teacher(self) -> SRAdapter:
        if self.teacher is None:
            raise ValueError('there is no teacher to ask: its outputs come from a bank')
        return self.teacher


def student_step(
    networks: TeacherStudent,
    lr: Tensor,
    scale: int,
    criterion: Loss,
    optimizer: torch.optim.Optimizer,
    parameters: Sequence[nn.Parameter],
    grad_clip: float | None = None,
    target: Tensor | None = None,
    extra: ExtraLosses = no_extra_losses,
) -> dict[str, Tensor]:
    """The student learns to agree with its teacher on `lr`, which gets no gradient.

    Args:
        networks: teacher and student.
        lr: LR images or clips.
        criterion: the distillation loss.
        optimizer, parameters: of the student.
        grad_clip: largest norm of the gradient; None for no limit.
        target: the teacher's output for `lr`, if it was asked before.
        extra: more losses, to be added.

    Returns:
        `l_kd` and the extra ones, detached, on the device.
    """
    optimizer.zero_grad(set_to_none=True)
    output, target = networks.outputs(lr.detach(), scale, target)
    losses = {'l_kd': criterion(output, target), **extra(output, target)}
    total(losses).backward()
    average_gradients(parameters)
    if grad_clip:
        nn.utils.clip_grad_norm_(parameters, grad_clip)
    optimizer.step()
    return {name: loss.detach() for name, loss in losses.items()}


def total(losses: dict[str, Tensor]) -> Tensor:
    """The sum of named losses, at least one."""
    first, *others = losses.values()
    for loss in others:
        first = first + loss
    return first


@dataclass
class GeneratorObjective:
    """What a generator of inputs minimises: `L_GEN + w_R L_R`, equation 7 of the paper.

    The weight `w_R` is the reconstruction loss's `loss_weight`. Of clips the teacher's output must also be steady along
    their motion, if there is a loss for that: the video counterpart of giving LR back.
    """

    networks: TeacherStudent
    adversarial: Loss
    reconstruction: Loss
    temporal: Callable[..., Tensor] | None = None

    def __call__(self, lr: Tensor, scale: int, motion: Motion | None = None) -> dict[str, Tensor]:
        """The named losses of `lr`, with the gradient through teacher and student; their sum is the objective."""
        output, target = self.networks.outputs_with_gradient(lr, scale)
        losses = {'l_adv': self.adversarial(output, target), 'l_rec': self.reconstruction(target, lr)}
        if self.temporal and motion is not None:
            losses['l_steady_z'] = self.temporal(target, *motion.steps(scale))
        return losses
