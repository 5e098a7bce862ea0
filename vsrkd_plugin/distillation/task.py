"""A distillation: teacher, student, inputs and losses, with one step each of the student and of the generators."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vsrkd_plugin.adapters.contract import Grows
from vsrkd_plugin.distillation.discriminating import Discriminator
from vsrkd_plugin.distillation.features import FeatureTaps
from vsrkd_plugin.distillation.growth import GrowthSchedule
from vsrkd_plugin.distillation.init_from_teacher.start import start_from_teacher
from vsrkd_plugin.distillation.steps import GeneratorObjective, Loss, TeacherStudent, student_step
from vsrkd_plugin.ops.averaging import update_ema
from vsrkd_plugin.ops.dihedral import undo_dihedral
from vsrkd_plugin.synthesis.source import Batch, Source

GENERATOR_FREQ = 50  # student steps to one step of the generators, as in the paper's code


class DistillationTask:
    """Owns what a distillation needs; a training loop only calls `step`, or its parts.

    What is exported is the student alone (`exported`). `state_dict` holds everything else that decides what follows,
    but for the optimisers' states, which their owner keeps.

    Args:
        networks: teacher and student.
        inputs: where LR images or clips come from.
        scales: each step draws one.
        batch: inputs of a step in this process.
        optimizer: the student's.
        distillation: what the student learns by.
        objective: what generators minimise; None where no source learns.
        generator_freq: student steps to one step of the generators.
        grad_clip: largest norm of the student's gradient; None for no limit.
        growth: active blocks of the student over time; all if None. The student must be a `ProgressiveStudent`.
        averaged: takes the moving average of the student's weights, if given.
        ema_decay: of that average.
        features: loss of tapped layers, and `taps`, of student and teacher.
        temporal: loss that keeps clips steady along their motion.
        beside: more losses of the student's output and the teacher's, by their names in the log.
        discriminator: tells the student's outputs from the teacher's, and learns with it.
        seed: of the choice of scales; the same in every process.
    """

    def __init__(
        self,
        networks: TeacherStudent,
        inputs: Source,
        *,
        scales: Sequence[int],
        batch: int,
        optimizer: torch.optim.Optimizer,
        distillation: Loss,
        objective: GeneratorObjective | None = None,
        generator_freq: int = GENERATOR_FREQ,
        grad_clip: float | None = None,
        growth: GrowthSchedule | None = None,
        averaged: nn.Module | None = None,
        ema_decay: float = 0.0,
        features: Callable[[list[Tensor], list[Tensor]], Tensor] | None = None,
        taps: Sequence[FeatureTaps] = (),
        temporal: Callable[..., Tensor] | None = None,
        beside: Mapping[str, Loss] | None = None,
        discriminator: Discriminator | None = None,
        seed: int = 0,
    ) -> None:
        self.networks, self.inputs, self.scales, self.batch = networks, inputs, list(scales), batch
        self.optimizer, self.distillation, self.objective = optimizer, distillation, objective
        self.generator_freq, self.grad_clip = generator_freq, grad_clip
        self.growth, self.averaged, self.ema_decay = growth, averaged, ema_decay
        self.features, self.taps, self.temporal = features, list(taps), temporal
        self.beside = dict(beside or {})
        self.discriminator = discriminator
        self._parameters = [parameter for parameter in self.student.parameters() if parameter.requires_grad]
        self._rng = torch.Generator().manual_seed(seed)

    @property
    def student(self) -> nn.Module:
        """The network that learns."""
        return self.networks.student.network

    @property
    def exported(self) -> nn.Module:
        """What a distillation is for: the student, or its moving average."""
        return self.student if self.averaged is None else self.averaged

    def step(self, iteration: int) -> dict[str, Tensor]:
        """An iteration, counted from 1; the named losses, detached, on the device."""
        self.grow(iteration)
        if self.discriminator is not None:
            self.discriminator.begin(iteration)
        scale = self.scales[int(torch.randint(len(self.scales), (), generator=self._rng))]
        losses: dict[str, Tensor] = {}
        if (iteration - 1) % self.generator_freq == 0:
            losses.update(self.train_generator(scale))
        losses.update(self.train_student(scale))
        return losses

    def train_generator(self, scale: int) -> dict[str, Tensor]:
        """One step of the learning sources; their losses, none where no source learns."""
        return self.inputs.step(self.objective, self.batch, scale) if self.objective else {}

    def train_student(self, scale: int) -> dict[str, Tensor]:
        """One step of the student on new inputs, and of a discriminator; `l_kd` and what else is asked for."""
        inputs = self.inputs.next(self.batch, scale)
        for taps in self.taps:
            taps.listen()
        losses = student_step(
            self.networks,
            inputs.lr,
            scale,
            self.distillation,
            self.optimizer,
            self._parameters,
            self.grad_clip,
            inputs.target,
            lambda output, target: self.extra_losses(inputs, scale, output, target),
        )
        if self.discriminator is not None and self.discriminator.active:
            losses.update(self.discriminator.step())
        if self.averaged is not None:
            update_ema(self.averaged, self.student, self.ema_decay)
        return losses

    def extra_losses(self, inputs: Batch, scale: int, output: Tensor, target: Tensor) -> dict[str, Tensor]:
        """What the student learns by beside the distillation loss: `l_steady`, `l_feat`, `l_g_gan`."""
        losses = {name: loss(output, target) for name, loss in self.beside.items()}
        if self.temporal is not None and inputs.motion is not None:
            turn = inputs.motion.turn
            frames, wanted = (undo_dihedral(clip, turn) for clip in (output, target))
            losses['l_steady'] = self.temporal(frames, *inputs.motion.steps(scale), wanted)
        if self.features is not None:
            student, teacher = (taps.take() for taps in self.taps)
            losses['l_feat'] = self.features(student, teacher)
        if self.discriminator is not None and self.discriminator.active:
            losses['l_g_gan'] = self.discriminator.student_loss(output, target)
        return losses

    def start_from_teacher(self, count: int) -> None:
        """Start the student from the teacher's channels, refitted on `count` inputs, shared out among the scales.

        Previews, which every number of processes sees alike; the random states stay for the training.

        Raises:
            ValueError: teacher and student are not of one kind, or do not fit each other.
        """
        if self.networks.teacher is None:
            raise ValueError('there is no teacher to start from')
        student = self.student
        active = self.growth.active(1) if self.growth else None
        previews = {scale: self.inputs.preview(scale, count // len(self.scales)).lr for scale in self.scales}
        start_from_teacher(
            self.networks.teacher.network, student.network if isinstance(student, Grows) else student, previews, active
        )

    def grow(self, iteration: int) -> None:
        """Activate the blocks that the schedule has at an iteration, counted from 1."""
        if self.growth is None:
            return
        for network in (self.student, self.averaged):
            if isinstance(network, Grows):
                network.active = self.growth.active(max(iteration, 1))

    def state_dict(self) -> dict[str, Any]:
        """What decides all that follows, beside the optimisers' states: weights, average, inputs, random state."""
        state = {
            'student': self.student.state_dict(),
            'source': self.inputs.state_dict(),
            'rng': self._rng.get_state(),
        }
        if self.averaged is not None:
            state['ema'] = self.averaged.state_dict()
        if self.discriminator is not None:
            state['discriminator'] = self.discriminator.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken.

        Raises:
            KeyError, RuntimeError, ValueError: the state is of another distillation.
        """
        self.student.load_state_dict(state['student'])
        if self.averaged is not None:
            self.averaged.load_state_dict(state['ema'])
        if self.discriminator is not None:
            self.discriminator.load_state_dict(state['discriminator'])
        self.inputs.load_state_dict(state['source'])
        self._rng.set_state(state['rng'])
