"""What our models have in common that train by a task: the log, validation, states that are gone on with exactly."""

import time
import warnings
from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from vsrkd_plugin.config.plan import Options
from vsrkd_plugin.errors import UserError, first_line
from vsrkd_plugin.models.loss_meter import LossMeter
from vsrkd_plugin.models.multi_scale_sr_model import MultiScaleSRModel
from vsrkd_plugin.models.schedulers import make_scheduler
from vsrkd_plugin.ops.parallel import broadcast_parameters
from vsrkd_plugin.ops.precision import place, resolve_precision
from vsrkd_plugin.run.checkpoints import fingerprint
from vsrkd_plugin.run.training_states import read_share


class Task(Protocol):
    """What trains: networks, losses and their steps."""

    averaged: nn.Module | None

    @property
    def exported(self) -> nn.Module:
        """The network that is saved."""

    def state_dict(self) -> dict[str, Any]:
        """What decides all that follows, beside the optimisers' states."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""


class TaskModel(MultiScaleSRModel):
    """Calls a `Task`, logs, validates and saves.

    Exported is one network alone (its moving average where `train.ema_decay` is set); everything else that a bit-exact
    resume needs is in the training state.
    """

    task: Any

    def model_to_device(self, net: nn.Module) -> nn.Module:
        """No DistributedDataParallel: the steps average gradients themselves, whichever parts take part."""
        net = place(self.complying(net), self.device)
        broadcast_parameters(net)
        return net

    @property
    @abstractmethod
    def wanted_precision(self) -> str:
        """The option `precision`."""

    @abstractmethod
    def build_task(self, resumes: bool) -> Task:
        """The task around `self.net_g`.

        Args:
            resumes: what a training state holds need not be made.
        """

    @abstractmethod
    def named_optimizers(self) -> Mapping[str, Sequence[torch.optim.Optimizer]]:
        """The optimisers, by the names of their rates in the log; in an order that states depend on."""

    @abstractmethod
    def scheduler_of(self, name: str) -> Options:
        """The scheduler's options of a name of `named_optimizers`."""

    def init_training_settings(self) -> None:
        """The task, schedulers, and what the log is made of."""
        dtype = resolve_precision(self.wanted_precision, self.device)
        self.precision = 'bf16' if dtype == torch.bfloat16 else 'fp32'
        self.total_iter = int(self.opt['train']['total_iter'])
        self.log_dict: dict[str, float] = OrderedDict()
        self.meter = LossMeter(self.device)
        self.current_iter: int | None = None
        self.best_metric_results: dict[str, dict[str, Any]] = {}
        self._clock: tuple[float, int | None] = (time.monotonic(), None)
        self._fingerprint: str | None = None  # of the teacher
        self._validated: dict[str, int] = {}  # data set → the iteration it was last validated at
        self.task = self.build_task(bool(self.opt['path'].get('resume_state')))
        if self.task.averaged is not None:
            self.net_g_ema = self.task.averaged  # by this name it is validated
        named = self.named_optimizers()
        self.optimizers = [optimizer for optimizers in named.values() for optimizer in optimizers]
        self.setup_schedulers()

    def setup_schedulers(self) -> None:
        """A scheduler for each optimiser, in the same order."""
        self.schedulers = [
            make_scheduler(self.scheduler_of(name), optimizer, self.total_iter)
            for name, optimizers in self.named_optimizers().items()
            for optimizer in optimizers
        ]
        # The generator of a scale may not have stepped yet when its scheduler does: torch takes that for a mistake.
        warnings.filterwarnings('ignore', message='Detected call of `lr_scheduler.step')

    def count(self, losses: dict[str, Tensor], current_iter: int) -> None:
        """Take note of the losses of an iteration."""
        self.meter.add(losses, current_iter)
        self.current_iter = current_iter

    def get_current_log(self) -> dict[str, float]:
        """Mean losses since the last call, rates, iterations per second. Raises on a non-finite loss."""
        self.meter.check(self.opt)
        log = OrderedDict(self.meter.read())
        for name, optimizers in self.named_optimizers().items():  # stock's own rates do not reach TensorBoard
            if optimizers:
                log[name] = optimizers[0].param_groups[0]['lr']
        log.update(self.more_to_log())
        now, (then, iteration) = time.monotonic(), self._clock
        if iteration is not None and self.current_iter is not None and now > then:
            log['it_per_s'] = (self.current_iter - iteration) / (now - then)
        self._clock = (now, self.current_iter)
        return log

    def more_to_log(self) -> dict[str, float]:
        """Numbers that are no losses."""
        return {}

    def validation(self, dataloader: Any, current_iter: int, tb_logger: Any, save_img: bool = False) -> None:
        """As SRModel, each data set once an iteration."""
        if not self.is_train:
            return super().validation(dataloader, current_iter, tb_logger, save_img)
        # After the last iteration stock counts one more, and validates again what may have been validated just now.
        current_iter = min(current_iter, self.total_iter)
        name = dataloader.dataset.opt['name']
        if self._validated.get(name) == current_iter:
            return None
        if self.opt['rank'] == 0 and current_iter not in self._validated.values():
            self.before_validation(current_iter, tb_logger)
        self._validated[name] = current_iter
        super().validation(dataloader, current_iter, tb_logger, save_img)
        self._clock = (time.monotonic(), self.current_iter)  # not a part of the iterations' time
        return None

    def before_validation(self, current_iter: int, tb_logger: Any) -> None:
        """Called before the first data set of a validation, on rank 0."""

    def save(self, epoch: int, current_iter: int) -> None:
        """The network as `net_g_*.pth`, everything else as the training state; never after a non-finite loss."""
        self.meter.check(self.opt)
        self.save_network(self.task.exported, 'net_g', current_iter)
        self.save_training_state(epoch, current_iter)

    def extra_state(self) -> dict[str, Any]:
        """What the training state holds beside optimisers and schedulers."""
        best = {
            name: {metric: {**record, 'val': float(record['val'])} for metric, record in records.items()}
            for name, records in self.best_metric_results.items()
        }
        return {**self.task.state_dict(), 'torch_rng': torch.get_rng_state(), 'best': best, **self._teacher()}

    def _teacher(self) -> dict[str, str]:
        """What tells the teacher from others; nothing where none is asked."""
        adapter = getattr(getattr(self.task, 'networks', None), 'teacher', None)
        if adapter is None:
            return {}
        if self._fingerprint is None:
            self._fingerprint = fingerprint(adapter.network.state_dict())
        return {'teacher': self._fingerprint}

    def share_state(self) -> dict[str, Any]:
        """What a process knows that is not the first of several: its part of a bank, its random state."""
        inputs = getattr(self.task, 'inputs', None)
        source = {} if inputs is None else {'source': inputs.state_dict()}
        return {'processes': self.opt['world_size'], 'torch_rng': torch.get_rng_state(), **source}

    def _with_share(self, resume_state: dict[str, Any]) -> dict[str, Any]:
        """A state with this process's own part in the place of the first one's."""
        rank, state = self.opt['rank'], Path(self.opt['path']['resume_state'])
        try:
            return {**resume_state, **read_share(state, rank, self.opt['world_size'])}
        except UserError as error:
            print(
                f'{error}: what process {rank} keeps of the bank is made anew, so that the training goes on, but not '
                'bit for bit',
                flush=True,
            )
        source = resume_state.get('source', {})
        return {**resume_state, 'source': {**source, 'shelves': {}}} if 'shelves' in source else resume_state

    def resume_training(self, resume_state: dict[str, Any]) -> None:
        """Go on as if never interrupted: weights, averages, sources and random states of a training state.

        Raises:
            UserError: the state belongs to other options.
        """
        file = self.opt['path']['resume_state']
        mine, before = self._teacher().get('teacher'), resume_state.get('teacher')
        if mine and before and mine != before:
            raise UserError(
                f'{file}: the teacher has other weights than the one that the student has learned from so far'
            )
        if missing := self.extra_state().keys() - resume_state.keys() - {'teacher'}:  # 0.1.0 did not keep it
            raise UserError(
                f'{file}: holds no {", ".join(sorted(missing))}; not of this training (another model or other options)'
            )
        if self.opt['rank'] > 0:
            resume_state = self._with_share(resume_state)
        try:
            super().resume_training(resume_state)
            self.task.load_state_dict(resume_state)
        except (AssertionError, RuntimeError, KeyError, ValueError) as error:
            raise UserError(f'{file}: does not fit these options ({first_line(error)})') from error
        torch.set_rng_state(resume_state['torch_rng'])
        self.best_metric_results = resume_state['best']
