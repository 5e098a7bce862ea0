"""Wraps the networks of a plan in the adapter that their inputs ask for: images or clips."""

from torch import nn

from vsrkd_plugin.adapters.contract import input_channels
from vsrkd_plugin.adapters.image_sr import ImageSRAdapter
from vsrkd_plugin.adapters.video_sr import CLIP_CHANNELS, VideoSRAdapter
from vsrkd_plugin.config.plan import DistillationPlan
from vsrkd_plugin.distillation.steps import SRAdapter


def channels_of(plan: DistillationPlan, teacher: nn.Module | None, student: nn.Module) -> int:
    """Channels of the inputs: the teacher's, or the student's where banks stand in for a teacher; clips are RGB."""
    if plan.clips:
        return CLIP_CHANNELS
    if teacher is not None and plan.teacher is not None:
        return input_channels(teacher, plan.teacher.options)
    return input_channels(student, plan.student.options)


def adapt_teacher(plan: DistillationPlan, teacher: nn.Module, channels: int) -> SRAdapter:
    """The teacher as it is asked: for what a bank keeps.

    Raises:
        ValueError: it does not take such inputs.
    """
    options = plan.teacher.options if plan.teacher else None
    if not plan.clips:
        return ImageSRAdapter(teacher, channels, max(plan.kept_lr_sizes.values()))
    (scale, size), *_ = plan.kept_lr_sizes.items()
    return VideoSRAdapter(teacher, scale, options, lr_size=size)


def adapt_student(plan: DistillationPlan, student: nn.Module, channels: int) -> SRAdapter:
    """The student as it learns.

    Raises:
        ValueError: it does not take such inputs.
    """
    if not plan.clips:
        return ImageSRAdapter(student, channels, max(plan.lr_sizes.values()))
    (scale, size), *_ = plan.lr_sizes.items()
    return VideoSRAdapter(student, scale, plan.student.options, lr_size=size, checkpointed=plan.checkpointed)
