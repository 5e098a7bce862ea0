"""Builds the distillation that a plan asks for, around a student that is built already."""

import copy
import time
from functools import partial

import torch
from basicsr.archs import build_network
from basicsr.losses import build_loss
from basicsr.utils import get_root_logger
from torch import Tensor, nn

from vsrkd_plugin.adapters.contract import Grows, NetworkContract
from vsrkd_plugin.adapters.fp32_tail import keep_tail_in_fp32
from vsrkd_plugin.adapters.image_sr import freeze
from vsrkd_plugin.adapters.video_sr import on_luma
from vsrkd_plugin.config.plan import DistillationPlan, Options
from vsrkd_plugin.distillation.discriminating import Discriminator
from vsrkd_plugin.distillation.features import FeatureTaps, tap_pair
from vsrkd_plugin.distillation.growth import GrowthSchedule
from vsrkd_plugin.distillation.init_from_teacher.start import INIT_CLIPS, INIT_PATCHES
from vsrkd_plugin.distillation.steps import GeneratorObjective, Loss, TeacherStudent
from vsrkd_plugin.distillation.task import DistillationTask
from vsrkd_plugin.errors import UserError
from vsrkd_plugin.models.adapting import adapt_student, adapt_teacher, channels_of
from vsrkd_plugin.models.sources import build_inputs
from vsrkd_plugin.models.teacher import build_teacher
from vsrkd_plugin.ops.parallel import broadcast_parameters
from vsrkd_plugin.ops.precision import Autocast, autocast, place, resolve_precision
from vsrkd_plugin.optim.factory import make_optimizer
from vsrkd_plugin.run.checkpoints import load_weights


def student_options(plan: DistillationPlan) -> Options:
    """Options of the network that is built as the student: one that grows is held by a `ProgressiveStudent`."""
    if plan.growth is None:
        return plan.student.options
    return {
        'type': 'ProgressiveStudent',
        'network': plan.student.options,
        'active': plan.growth.start,
        'block_start': plan.growth.block_start,
        **({'contract': plan.student.contract} if plan.student.contract else {}),
    }


def build_task(
    plan: DistillationPlan,
    student: nn.Module,
    device: torch.device,
    resumes: bool = False,
    teacher: nn.Module | None = None,
) -> DistillationTask:
    """Teacher, inputs, the student's start, its average, losses and optimiser; in an order that seeds depend on.

    Args:
        plan: of the training.
        student: built of `student_options`, on `device`, with the weights that it is to start from.
        device: where all of it works.
        resumes: the student's start is left to a training state.
        teacher: where it is there already, frozen, on `device`; built of the plan if None. Neither it nor the student
            need be of a registered class then.

    Raises:
        UserError: weights, banks or images that cannot be read; a student that cannot start from its teacher.
    """
    within = partial(autocast, device, resolve_precision(plan.precision, device))
    if teacher is None and plan.teacher and plan.asks_teacher:
        teacher = build_teacher(plan.teacher, device)
    channels = channels_of(plan, teacher, student)
    networks = TeacherStudent(
        adapt_teacher(plan, teacher) if teacher else None,
        adapt_student(plan, keep_tail_in_fp32(student)),
        within,
        plan.self_ensemble,
    )
    inputs = build_inputs(plan, channels, device, within, networks.teacher_target)
    losses = plan.losses
    distillation = build_loss(losses.distill).to(device)
    learns_luma = _learns_luma(plan, student, channels)
    features, taps = _features(plan, student, teacher)
    task = DistillationTask(
        networks,
        inputs,
        scales=plan.scales,
        batch=plan.batch,
        optimizer=make_optimizer(plan.optim_g, [p for p in student.parameters() if p.requires_grad]),
        distillation=on_luma(distillation) if learns_luma else distillation,
        objective=_objective(plan, networks, device, learns_luma) if inputs.optimizers else None,
        generator_freq=plan.generator_freq,
        grad_clip=plan.grad_clip,
        growth=_growth_schedule(plan, student),
        ema_decay=plan.ema_decay,
        features=features,
        taps=taps,
        temporal=build_loss(losses.temporal).to(device) if losses.temporal else None,
        beside=_losses_beside(plan, student, device),
        seed=plan.seed,
    )
    if plan.starts_from_teacher and not resumes:
        _start_from_teacher(plan, task)
    broadcast_parameters(student)
    student.train()
    if plan.ema_decay:
        task.averaged = freeze(copy.deepcopy(student))
    task.discriminator = _discriminator(plan, device, within)  # last: without one no random number is another
    return task


def _discriminator(plan: DistillationPlan, device: torch.device, within: Autocast) -> Discriminator | None:
    if not plan.discriminator:
        return None
    wanted = plan.discriminator
    network = place(build_network(dict(wanted.network.options)), device)
    if wanted.network.weights is not None:
        load_weights(network, wanted.network.weights, wanted.network.param_key, wanted.network.strict)
    broadcast_parameters(network)
    network.train()
    return Discriminator(
        network,
        build_loss(wanted.loss).to(device),
        make_optimizer(wanted.optimizer, [p for p in network.parameters() if p.requires_grad]),
        autocast=within,
        start=wanted.start,
    )


def _start_from_teacher(plan: DistillationPlan, task: DistillationTask) -> None:
    started = time.monotonic()
    try:
        task.start_from_teacher(INIT_CLIPS if plan.clips else INIT_PATCHES)
    except ValueError as error:
        raise UserError(f'train, init: teacher: {error}') from error
    get_root_logger().info(f"Student starts from the teacher's channels ({time.monotonic() - started:.1f} s).")


def _growth_schedule(plan: DistillationPlan, student: nn.Module) -> GrowthSchedule | None:
    if plan.growth is None or not isinstance(student, Grows):
        return None
    growth = plan.growth
    schedule = GrowthSchedule(student.depth, growth.start, growth.milestones, growth.every, growth.step)
    if (reached := schedule.active(plan.total_iter)) < student.depth:
        get_root_logger().warning(
            f'train, growth: {reached} of {student.depth} blocks are reached in {plan.total_iter:,} iterations; '
            'the others stay as they start'
        )
    return schedule


def _losses_beside(plan: DistillationPlan, student: nn.Module, device: torch.device) -> dict[str, Loss]:
    """Losses of the student's output and the teacher's beside the distillation loss, by their names in the log."""
    found: dict[str, Loss] = {}
    if plan.losses.sharpness:
        sharpness = build_loss(plan.losses.sharpness).to(device)
        found['l_sharp'] = on_luma(sharpness) if NetworkContract.of(student).luma_only and plan.clips else sharpness
    if plan.losses.perceptual:
        perceptual = build_loss(plan.losses.perceptual).to(device)
        found['l_percep'] = partial(perceptual_of, perceptual)
    return found


def perceptual_of(loss: nn.Module, output: Tensor, target: Tensor) -> Tensor:
    """BasicSR's gives a loss of content and one of style, each None where its weight is 0; of clips frame by frame."""
    colours = [x.flatten(0, -4).expand(-1, 3, -1, -1) for x in (output, target)]
    return sum((part for part in loss(*colours) if part is not None), output.new_zeros(()))


def _features(
    plan: DistillationPlan, student: nn.Module, teacher: nn.Module | None
) -> tuple[nn.Module | None, list[FeatureTaps]]:
    if not plan.losses.feature or teacher is None:
        return None, []
    loss = build_loss(plan.losses.feature)
    return loss, tap_pair(student, teacher, loss.layers)


def _learns_luma(plan: DistillationPlan, student: nn.Module, channels: int) -> bool:
    """Whether the student super-resolves Y alone of inputs in colour: what it makes of chroma cannot be learned."""
    contract = NetworkContract.of(student, plan.student.options)
    return contract.luma_only if plan.clips else contract.channels < channels


def _objective(
    plan: DistillationPlan, networks: TeacherStudent, device: torch.device, learns_luma: bool
) -> GeneratorObjective:
    losses = plan.losses
    adversarial = build_loss(losses.adversarial)
    return GeneratorObjective(
        networks,
        on_luma(adversarial) if learns_luma and not plan.clips else adversarial,
        build_loss(losses.reconstruction),
        build_loss(losses.temporal_z).to(device) if losses.temporal_z else None,
    )
