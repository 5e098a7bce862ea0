"""Data-free distillation in BasicSR's training loop."""

import time
import warnings
from collections import OrderedDict
from typing import Any

import torch
from basicsr.utils import get_root_logger
from basicsr.utils.registry import MODEL_REGISTRY
from torch import nn

from vsrkd_plugin.adapters.contract import Grows
from vsrkd_plugin.config.plan import DistillationPlan
from vsrkd_plugin.errors import UserError, first_line
from vsrkd_plugin.models.loss_meter import LossMeter
from vsrkd_plugin.models.multi_scale_sr_model import MultiScaleSRModel
from vsrkd_plugin.models.pictures import synthesis_picture
from vsrkd_plugin.models.schedulers import make_scheduler
from vsrkd_plugin.models.task import build_task, student_options
from vsrkd_plugin.ops.parallel import broadcast_parameters
from vsrkd_plugin.ops.precision import place, resolve_precision


@MODEL_REGISTRY.register()
class DataFreeDistillationModel(MultiScaleSRModel):
    """Distils `network_t` into `network_g` on synthesised inputs (Zhang et al., CVPR 2021, and beyond).

    It calls a `DistillationTask`, logs, validates and saves. Exported is the student alone (its moving average where
    `train.ema_decay` is set); everything else that a bit-exact resume needs is in the training state. See
    `options/dfkd_vdsr.yml`.
    """

    def __init__(self, opt: dict[str, Any]) -> None:
        if opt['is_train']:
            self.plan = DistillationPlan.from_options(opt)
            opt = {**opt, 'network_g': dict(student_options(self.plan))}
        super().__init__(opt)

    def model_to_device(self, net: nn.Module) -> nn.Module:
        """No DistributedDataParallel: the steps average gradients themselves, whichever blocks are active."""
        net = place(self.complying(net), self.device)
        broadcast_parameters(net)
        return net

    def init_training_settings(self) -> None:
        """The task, schedulers, and what the log is made of."""
        dtype = resolve_precision(self.plan.precision, self.device)
        self.precision = 'bf16' if dtype == torch.bfloat16 else 'fp32'
        self.log_dict: dict[str, float] = OrderedDict()
        self.meter = LossMeter(self.device)
        self.current_iter: int | None = None
        self.best_metric_results: dict[str, dict[str, Any]] = {}
        self._clock: tuple[float, int | None] = (time.monotonic(), None)
        self._validated: dict[str, int] = {}  # data set → the iteration it was last validated at
        self.task = build_task(self.plan, self.net_g, self.device, bool(self.opt['path'].get('resume_state')))
        if self.task.averaged is not None:
            self.net_g_ema = self.task.averaged  # by this name it is validated
        self.optimizers = [self.task.optimizer, *self.task.inputs.optimizers]
        if self.task.discriminator is not None:
            self.optimizers.append(self.task.discriminator.optimizer)
        self.setup_schedulers()

    def setup_schedulers(self) -> None:
        """`scheduler` for student and discriminator, `scheduler_z` (default: the same) for the generators."""
        generators = self.task.inputs.optimizers
        self.schedulers = [
            make_scheduler(
                self.plan.scheduler_z if optimizer in generators else self.plan.scheduler,
                optimizer,
                self.plan.total_iter,
            )
            for optimizer in self.optimizers
        ]
        # The generator of a scale may not have stepped yet when its scheduler does: torch takes that for a mistake.
        warnings.filterwarnings('ignore', message='Detected call of `lr_scheduler.step')

    def feed_data(self, data: dict[str, Any]) -> None:
        """A training batch holds nothing; a validation batch is taken as by MultiScaleSRModel."""
        if 'lq' in data:
            super().feed_data(data)

    def optimize_parameters(self, current_iter: int) -> None:
        """One iteration of the task."""
        before = self._active_blocks()
        self.meter.add(self.task.step(current_iter), current_iter)
        self.current_iter = current_iter
        if (now := self._active_blocks()) != before:
            get_root_logger().info(f'The student grows to {now} of {self.net_g.depth} blocks ({current_iter:,}).')

    def _active_blocks(self) -> int | None:
        return self.net_g.active if isinstance(self.net_g, Grows) else None

    def get_current_log(self) -> dict[str, float]:
        """Mean losses since the last call, blocks active, iterations per second. Raises on a non-finite loss."""
        self.meter.check(self.opt)
        log = OrderedDict(self.meter.read())
        # Stock's own rates do not reach TensorBoard.
        discriminator = self.task.discriminator
        optimizers = {'lr_g': [self.task.optimizer], 'lr_z': self.task.inputs.optimizers}
        optimizers['lr_d'] = [discriminator.optimizer] if discriminator is not None else []
        for name, (optimizer, *_) in ((name, found) for name, found in optimizers.items() if found):
            log[name] = optimizer.param_groups[0]['lr']
        if (blocks := self._active_blocks()) is not None:
            log['blocks'] = blocks
        now, (then, iteration) = time.monotonic(), self._clock
        if iteration is not None and self.current_iter is not None and now > then:
            log['it_per_s'] = (self.current_iter - iteration) / (now - then)
        self._clock = (now, self.current_iter)
        return log

    def validation(self, dataloader: Any, current_iter: int, tb_logger: Any, save_img: bool = False) -> None:
        """As SRModel; with the first set of a validation comes a picture of what the sources make."""
        if not self.is_train:
            return super().validation(dataloader, current_iter, tb_logger, save_img)
        # After the last iteration stock counts one more, and validates again what may have been validated just now.
        current_iter = min(current_iter, self.plan.total_iter)
        name = dataloader.dataset.opt['name']
        if self._validated.get(name) == current_iter:
            return None
        if self.plan.rank == 0 and current_iter not in self._validated.values():
            synthesis_picture(self.task, self.opt['path']['visualization'], current_iter, tb_logger)
        self._validated[name] = current_iter
        super().validation(dataloader, current_iter, tb_logger, save_img)
        self._clock = (time.monotonic(), self.current_iter)  # not a part of the iterations' time
        return None

    def save(self, epoch: int, current_iter: int) -> None:
        """The student as `net_g_*.pth`, everything else as the training state; never after a non-finite loss."""
        self.meter.check(self.opt)
        self.save_network(self.task.exported, 'net_g', current_iter)
        self.save_training_state(epoch, current_iter)

    def extra_state(self) -> dict[str, Any]:
        """What the training state holds beside optimisers and schedulers."""
        best = {
            name: {metric: {**record, 'val': float(record['val'])} for metric, record in records.items()}
            for name, records in self.best_metric_results.items()
        }
        return {**self.task.state_dict(), 'torch_rng': torch.get_rng_state(), 'best': best}

    def resume_training(self, resume_state: dict[str, Any]) -> None:
        """Go on as if never interrupted: weights, averages, sources and random states of a training state.

        Raises:
            UserError: the state belongs to other options.
        """
        file = self.opt['path']['resume_state']
        needed = {'student', 'source', 'rng', 'torch_rng', 'best', *(['ema'] if self.plan.ema_decay else [])}
        needed |= {'discriminator'} if self.plan.discriminator else set()
        if missing := needed - resume_state.keys():
            raise UserError(
                f'{file}: holds no {", ".join(sorted(missing))}; not of this training (another model or other options)'
            )
        try:
            super().resume_training(resume_state)
            self.task.load_state_dict(resume_state)
        except (AssertionError, RuntimeError, KeyError, ValueError) as error:
            raise UserError(f'{file}: does not fit these options ({first_line(error)})') from error
        torch.set_rng_state(resume_state['torch_rng'])
        self.best_metric_results = resume_state['best']
        self.task.grow(resume_state['iter'])
