"""Wraps the networks of a plan in the adapter that their inputs ask for: images or clips."""

from torch import nn

from vsrkd_plugin.adapters.contract import input_channels
from vsrkd_plugin.adapters.image_sr import ImageSRAdapter
from vsrkd_plugin.adapters.video_sr import CLIP_CHANNELS, VideoSRAdapter
from vsrkd_plugin.config.plan import DistillationPlan
from vsrkd_plugin.distillation.steps import SRAdapter
from vsrkd_plugin.errors import UserError
from vsrkd_plugin.synthesis.bank.file import read_meta


def channels_of(plan: DistillationPlan, teacher: nn.Module | None, student: nn.Module) -> int:
    """Channels of the inputs: 3 where teacher or student takes colours, for a network of Y takes these too.

    Where banks stand in for a teacher, of these and the student; clips are RGB.

    Raises:
        UserError: a bank that cannot be read.
    """
    if plan.clips:
        return CLIP_CHANNELS
    found = [input_channels(student, plan.student.options)]
    if teacher is not None and plan.teacher is not None:
        found.append(input_channels(teacher, plan.teacher.options))
    else:
        found += _bank_channels(plan)
    return max(found)


def _bank_channels(plan: DistillationPlan) -> list[int]:
    """Of each stored bank."""
    try:
        return [read_meta(path)['kind'].channels for path in plan.bank.stored()]
    except UserError as error:
        raise UserError(f'synthesis, bank, path: {error}') from error


def adapt_teacher(plan: DistillationPlan, teacher: nn.Module) -> SRAdapter:
    """The teacher as it is asked: for what a bank keeps.

    Raises:
        ValueError: it does not take such inputs.
    """
    options = plan.teacher.options if plan.teacher else None
    if not plan.clips:
        return ImageSRAdapter(teacher, input_channels(teacher, options), max(plan.kept_lr_sizes.values()))
    (scale, size), *_ = plan.kept_lr_sizes.items()
    return VideoSRAdapter(teacher, scale, options, lr_size=size)


def adapt_student(plan: DistillationPlan, student: nn.Module) -> SRAdapter:
    """The student as it learns.

    Raises:
        ValueError: it does not take such inputs.
    """
    if not plan.clips:
        return ImageSRAdapter(student, input_channels(student, plan.student.options), max(plan.lr_sizes.values()))
    (scale, size), *_ = plan.lr_sizes.items()
    return VideoSRAdapter(student, scale, plan.student.options, lr_size=size, checkpointed=plan.checkpointed)
