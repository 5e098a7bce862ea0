"""Data-free distillation in BasicSR's training loop."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from basicsr.utils import get_root_logger
from basicsr.utils.registry import MODEL_REGISTRY

from vsrkd_plugin.adapters.contract import Grows
from vsrkd_plugin.config.plan import DistillationPlan, Options
from vsrkd_plugin.distillation.task import DistillationTask
from vsrkd_plugin.models.pictures import synthesis_picture
from vsrkd_plugin.models.task import build_task, student_options
from vsrkd_plugin.models.task_model import TaskModel


@MODEL_REGISTRY.register()
class DataFreeDistillationModel(TaskModel):
    """Distils `network_t` into `network_g` on synthesised inputs (Zhang et al., CVPR 2021, and beyond).

    It calls a `DistillationTask`, logs, validates and saves. Exported is the student alone (its moving average where
    `train.ema_decay` is set); everything else that a bit-exact resume needs is in the training state. See
    `options/dfkd_vdsr.yml`.
    """

    task: DistillationTask

    def __init__(self, opt: dict[str, Any]) -> None:
        if opt['is_train']:
            self.plan = DistillationPlan.from_options(opt)
            opt = {**opt, 'network_g': dict(student_options(self.plan))}
        super().__init__(opt)

    @property
    def wanted_precision(self) -> str:
        """The option `precision`."""
        return self.plan.precision

    def build_task(self, resumes: bool) -> DistillationTask:
        """The distillation that the options ask for."""
        return build_task(self.plan, self.net_g, self.device, resumes)

    def named_optimizers(self) -> Mapping[str, Sequence[torch.optim.Optimizer]]:
        """The student's, the generators', the discriminator's."""
        discriminator = self.task.discriminator
        return {
            'lr_g': [self.task.optimizer],
            'lr_z': self.task.inputs.optimizers,
            'lr_d': [discriminator.optimizer] if discriminator is not None else [],
        }

    def scheduler_of(self, name: str) -> Options:
        """`scheduler` for student and discriminator, `scheduler_z` (default: the same) for the generators."""
        return self.plan.scheduler_z if name == 'lr_z' else self.plan.scheduler

    def feed_data(self, data: dict[str, Any]) -> None:
        """A training batch holds nothing; a validation batch is taken as by MultiScaleSRModel."""
        if 'lq' in data:
            super().feed_data(data)

    def optimize_parameters(self, current_iter: int) -> None:
        """One iteration of the task."""
        before = self._active_blocks()
        self.count(self.task.step(current_iter), current_iter)
        if (now := self._active_blocks()) != before:
            get_root_logger().info(f'The student grows to {now} of {self.net_g.depth} blocks ({current_iter:,}).')

    def _active_blocks(self) -> int | None:
        return self.net_g.active if isinstance(self.net_g, Grows) else None

    def more_to_log(self) -> dict[str, float]:
        """The active blocks of a student that grows."""
        return {} if (blocks := self._active_blocks()) is None else {'blocks': blocks}

    def before_validation(self, current_iter: int, tb_logger: Any) -> None:
        """A picture of what the sources make."""
        synthesis_picture(self.task, self.opt['path']['visualization'], current_iter, tb_logger)

    def resume_training(self, resume_state: dict[str, Any]) -> None:
        """Go on as if never interrupted.

        Raises:
            UserError: the state belongs to other options.
        """
        super().resume_training(resume_state)
        self.task.grow(resume_state['iter'])
