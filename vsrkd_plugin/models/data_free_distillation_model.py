"""Data-free distillation in BasicSR's training loop."""

import time
import warnings
from collections import OrderedDict
from functools import partial
from typing import Any

import torch
from basicsr.archs import build_network
from basicsr.losses import build_loss
from basicsr.utils import get_root_logger
from basicsr.utils.registry import MODEL_REGISTRY
from torch import nn

from vsrkd_plugin.adapters.contract import input_channels
from vsrkd_plugin.adapters.image_sr import ImageSRAdapter, freeze, keep_tail_in_fp32
from vsrkd_plugin.distillation.features import tap_pair
from vsrkd_plugin.distillation.growth import GrowthSchedule
from vsrkd_plugin.distillation.init_from_teacher.start import INIT_PATCHES, start_from_teacher
from vsrkd_plugin.distillation.steps import ExtraLosses, GeneratorObjective, TeacherStudent, student_step
from vsrkd_plugin.errors import UserError, first_line
from vsrkd_plugin.models.averaging import LossMeter, update_ema
from vsrkd_plugin.models.multi_scale_sr_model import MultiScaleSRModel
from vsrkd_plugin.models.pictures import synthesis_picture
from vsrkd_plugin.models.sources import bank_paths, build_inputs, lr_sizes
from vsrkd_plugin.models.teacher import build_teacher
from vsrkd_plugin.ops.parallel import broadcast_parameters
from vsrkd_plugin.ops.precision import autocast, place, resolve_precision
from vsrkd_plugin.optim.factory import make_optimizer, make_scheduler


@MODEL_REGISTRY.register()
class DataFreeDistillationModel(MultiScaleSRModel):
    """Distils `network_t` into `network_g` on synthesised inputs (Zhang et al., CVPR 2021, and beyond).

    Every `train.generator_freq` iterations the learning sources take a step; in every iteration the student takes one
    on new inputs of one scale. Exported is the student alone (its moving average where `train.ema_decay` is set);
    everything else that a bit-exact resume needs is in the training state. See `options/dfkd_vdsr.yml`.
    """

    init_inputs = INIT_PATCHES  # that a start from the teacher is fitted on

    def __init__(self, opt: dict[str, Any]) -> None:
        growth = opt['train'].get('growth') if opt['is_train'] else None
        if growth:
            student = {'type': 'ProgressiveStudent', 'network': opt['network_g'], 'active': growth.get('start', 1)}
            opt = {**opt, 'network_g': {**student, 'block_start': growth.get('block_start', 'identity')}}
        super().__init__(opt)

    def model_to_device(self, net: nn.Module) -> nn.Module:
        """No DistributedDataParallel: the steps average gradients themselves, whichever blocks are active."""
        net = place(net, self.device)
        broadcast_parameters(net)
        return net

    def init_training_settings(self) -> None:
        """Teacher, sources, the student's start, optimisers and schedulers."""
        train = self.opt['train']
        self.scales = list(lr_sizes(self.opt))
        self.batch = self.opt['datasets']['train']['batch_size_per_gpu']
        dtype = resolve_precision(self.opt.get('precision', 'auto'), self.device)
        self.precision = 'bf16' if dtype == torch.bfloat16 else 'fp32'
        self.autocast = partial(autocast, self.device, dtype)
        self.log_dict: dict[str, float] = OrderedDict()
        self.meter = LossMeter(self.device)
        self._clock = (time.monotonic(), None)
        self._validated: dict[str, int] = {}  # data set → the iteration it was last validated at
        self.current_iter: int | None = None

        answered = bank_paths(self.opt) and train.get('init') != 'teacher'  # by stored banks
        teacher = None if answered else build_teacher(self.opt, self.device)
        channels = self.input_channels(teacher)
        self.pair = TeacherStudent(
            self.resolver(teacher, 'network_t', channels) if teacher else None,
            self.resolver(keep_tail_in_fp32(self.net_g), 'network_g', channels),
            self.autocast,
            train.get('self_ensemble', False),
        )
        self.rng = torch.Generator().manual_seed(self.opt['manual_seed'])
        self.source = build_inputs(self.opt, channels, self.device, self.autocast, self.pair.teacher_target)
        self.banked = hasattr(self.source, 'draw')  # inputs come with the teacher's outputs
        growth = train.get('growth')
        self.growth = None
        if growth:
            plan = {key: value for key, value in growth.items() if key != 'block_start'}
            self.growth = GrowthSchedule(depth=self.net_g.depth, **plan)
        if train.get('init') == 'teacher' and not self.opt['path'].get('resume_state'):
            self._inherit(teacher)
        broadcast_parameters(self.net_g)

        self.net_g.train()
        self.ema_decay = train.get('ema_decay') or 0
        if self.ema_decay:
            self.net_g_ema = place(build_network(self.opt['network_g']), self.device)
            self.net_g_ema.load_state_dict(self.net_g.state_dict())
            freeze(self.net_g_ema)
        self.distillation = build_loss(train['distill_opt']).to(self.device)
        self.feature_loss, self.taps = None, []
        if train.get('feature_opt'):
            self.feature_loss = build_loss(train['feature_opt'])
            layers = self.feature_loss.layers
            self.taps = tap_pair(self.net_g, teacher, layers)
        self.objective = None
        if self.source.optimizers:
            self.objective = GeneratorObjective(
                self.pair, build_loss(train['adversarial_opt']), build_loss(train['reconstruction_opt'])
            )
        self.setup_optimizers()
        self.setup_schedulers()

    def input_channels(self, teacher: nn.Module | None) -> int:
        """Channels of the inputs: the teacher's, or the student's where banks stand in for a teacher."""
        return input_channels(teacher or self.net_g, self.opt['network_t' if teacher else 'network_g'])

    def resolver(self, network: nn.Module, key: str, channels: int) -> nn.Module:
        """A network, called alike whatever it is: LR in, SR out. `key` names its options."""
        return ImageSRAdapter(network, channels)

    def tiles(self, images: torch.Tensor) -> torch.Tensor:
        """Inputs or outputs as pictures to look at, `(n, c, h, w)`."""
        return images

    def preview_pairs(self, scale: int, count: int) -> tuple[torch.Tensor, torch.Tensor | None]:
        """`count` inputs to look at, with the teacher's outputs where a stored bank has them."""
        if hasattr(self.source, 'preview_pairs'):
            return self.source.preview_pairs(scale, count)
        return self.source.preview(scale, count), None

    def _inherit(self, teacher: nn.Module) -> None:
        student = self.net_g.network if self.growth else self.net_g
        # Previews, which every number of processes sees alike; the random states stay for the training.
        count = self.init_inputs // len(self.scales)
        previews = {scale: self.source.preview(scale, count) for scale in self.scales}
        started = time.monotonic()
        try:
            start_from_teacher(teacher, student, previews, self.growth.active(1) if self.growth else None)
        except ValueError as error:
            raise UserError(f'train, init: teacher: {error}') from error
        get_root_logger().info(f"Student starts from the teacher's channels ({time.monotonic() - started:.1f} s).")

    def setup_optimizers(self) -> None:
        """The student's optimiser first, then the sources' own."""
        self.parameters_g = [parameter for parameter in self.net_g.parameters() if parameter.requires_grad]
        self.optimizer_g = make_optimizer(self.opt['train']['optim_g'], self.parameters_g)
        self.optimizers = [self.optimizer_g, *self.source.optimizers]

    def setup_schedulers(self) -> None:
        """`scheduler` for the student, `scheduler_z` (default: the same) for the generators."""
        train = self.opt['train']
        for_z = train.get('scheduler_z') or train['scheduler']
        total = train['total_iter']
        self.schedulers = [make_scheduler(train['scheduler'], self.optimizer_g, total)]
        self.schedulers += [make_scheduler(for_z, optimizer, total) for optimizer in self.source.optimizers]
        # The generator of a scale may not have stepped yet when its scheduler does: torch takes that for a mistake.
        warnings.filterwarnings('ignore', message='Detected call of `lr_scheduler.step')

    def feed_data(self, data: dict[str, Any]) -> None:
        """A training batch holds nothing; a validation batch is taken as by MultiScaleSRModel."""
        if 'lq' in data:
            super().feed_data(data)

    def _set_active(self, iteration: int) -> None:
        if not self.growth:
            return
        active = self.growth.active(max(iteration, 1))
        if active != self.net_g.active:
            get_root_logger().info(
                f'The student grows to {active} of {self.net_g.depth} blocks (iteration {iteration:,}).'
            )
        self.net_g.active = active
        if self.ema_decay:
            self.net_g_ema.active = active

    def next_inputs(self, scale: int) -> tuple[torch.Tensor, torch.Tensor | None, ExtraLosses]:
        """LR inputs of a step, the teacher's SR of them if a bank has it, and what else the student learns by."""
        if self.banked:
            return *self.source.draw(self.batch, scale), self.features
        return self.source.sample(self.batch, scale), None, self.features

    def features(self, output: torch.Tensor, target: torch.Tensor) -> dict[str, torch.Tensor]:
        """`l_feat`, of what was tapped while student and teacher made these, if `train.feature_opt` asks for it."""
        if not self.feature_loss:
            return {}
        return {'l_feat': self.feature_loss(*(taps.take() for taps in self.taps))}

    def optimize_parameters(self, current_iter: int) -> None:
        """One step of the student; before it, every `generator_freq` iterations, one of the learning sources."""
        train = self.opt['train']
        self._set_active(current_iter)
        scale = self.scales[int(torch.randint(len(self.scales), (), generator=self.rng))]
        losses: dict[str, torch.Tensor] = {}
        if self.objective and (current_iter - 1) % train.get('generator_freq', 50) == 0:
            losses.update(self.source.step(self.objective, self.batch, scale))
        lr, target, further = self.next_inputs(scale)
        for taps in self.taps:
            taps.listen()
        losses.update(
            student_step(
                self.pair,
                lr,
                scale,
                self.distillation,
                self.optimizer_g,
                self.parameters_g,
                train.get('grad_clip'),
                target,
                further,
            )
        )
        if self.ema_decay:
            update_ema(self.net_g_ema, self.net_g, self.ema_decay)
        self.meter.add(losses, current_iter)
        self.current_iter = current_iter

    def get_current_log(self) -> dict[str, float]:
        """Mean losses since the last call, blocks active, iterations per second. Raises on a non-finite loss."""
        self.meter.check(self.opt)
        log = OrderedDict(self.meter.read())
        log['lr_g'] = self.optimizer_g.param_groups[0]['lr']  # stock's own lr does not reach TensorBoard
        if self.source.optimizers:
            log['lr_z'] = self.source.optimizers[0].param_groups[0]['lr']
        if self.growth:
            log['blocks'] = self.net_g.active
        now, (then, iteration) = time.monotonic(), self._clock
        if iteration is not None and now > then:
            log['it_per_s'] = (self.current_iter - iteration) / (now - then)
        self._clock = (now, self.current_iter)
        return log

    def validation(self, dataloader: Any, current_iter: int, tb_logger: Any, save_img: bool = False) -> None:
        """As SRModel; with the first set of a validation comes a picture of what the sources make."""
        if not self.is_train:
            return super().validation(dataloader, current_iter, tb_logger, save_img)
        # After the last iteration stock counts one more, and validates again what may have been validated just now.
        current_iter = min(current_iter, self.opt['train']['total_iter'])
        name = dataloader.dataset.opt['name']
        if self._validated.get(name) == current_iter:
            return None
        if self.opt['rank'] == 0 and current_iter not in self._validated.values():
            synthesis_picture(self, current_iter, tb_logger)
        self._validated[name] = current_iter
        super().validation(dataloader, current_iter, tb_logger, save_img)
        self._clock = (time.monotonic(), self.current_iter)  # not a part of the iterations' time
        return None

    def save(self, epoch: int, current_iter: int) -> None:
        """The student as `net_g_*.pth`, everything else as the training state; never after a non-finite loss."""
        self.meter.check(self.opt)
        self.save_network(getattr(self, 'net_g_ema', self.net_g), 'net_g', current_iter)
        self.save_training_state(epoch, current_iter)

    def extra_state(self) -> dict[str, Any]:
        """What the training state holds beside optimisers and schedulers."""
        state = {
            'student': self.net_g.state_dict(),
            'source': self.source.state_dict(),
            'rng': self.rng.get_state(),
            'torch_rng': torch.get_rng_state(),
            'best': {
                name: {metric: {**record, 'val': float(record['val'])} for metric, record in records.items()}
                for name, records in getattr(self, 'best_metric_results', {}).items()
            },
        }
        if self.ema_decay:
            state['ema'] = self.net_g_ema.state_dict()
        return state

    def resume_training(self, resume_state: dict[str, Any]) -> None:
        """Go on as if never interrupted: weights, averages, sources and random states of a training state.

        Raises:
            UserError: the state belongs to other options.
        """
        missing = {'student', 'source', 'rng', *(['ema'] if self.ema_decay else [])} - resume_state.keys()
        if missing:
            raise UserError(
                f'{self.opt["path"]["resume_state"]}: holds no {", ".join(sorted(missing))}; not of '
                'this training (another model or other options)'
            )
        # A state holds its cosines' periods too. The options' stand: a training that was over may be made longer.
        periods = [(s, s.periods, s.cumulative_period) for s in self.schedulers if hasattr(s, 'cumulative_period')]
        try:
            super().resume_training(resume_state)
            for scheduler, lengths, ends in periods:
                scheduler.periods, scheduler.cumulative_period = lengths, ends
            self.net_g.load_state_dict(resume_state['student'])
            if self.ema_decay:
                self.net_g_ema.load_state_dict(resume_state['ema'])
            self.source.load_state_dict(resume_state['source'])
        except (AssertionError, RuntimeError, KeyError, ValueError) as error:
            raise UserError(
                f'{self.opt["path"]["resume_state"]}: does not fit these options ({first_line(error)})'
            ) from error
        self.rng.set_state(resume_state['rng'])
        torch.set_rng_state(resume_state['torch_rng'])
        if resume_state['best']:
            self.best_metric_results = resume_state['best']
        self._set_active(resume_state['iter'])
