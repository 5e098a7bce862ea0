"""`compress`: a student from its teacher's channels alone, in seconds, without training."""

import argparse
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch

from vsrkd_plugin.commands.options import checked_options, distillation_plan
from vsrkd_plugin.deploy.model import header_of, name_teacher
from vsrkd_plugin.distillation.init_from_teacher.start import INIT_CLIPS, INIT_PATCHES, start_from_teacher
from vsrkd_plugin.errors import UserError
from vsrkd_plugin.models.adapting import channels_of
from vsrkd_plugin.models.sources import build_source, sources_that_need_not_learn
from vsrkd_plugin.models.teacher import build, build_teacher_and_entry
from vsrkd_plugin.ops.precision import autocast
from vsrkd_plugin.run.model_file import SUFFIXES, write_model
from vsrkd_plugin.run.whole_files import check_writable


def run(args: argparse.Namespace) -> int:
    """Write `args.o`; gives the exit status."""
    compress(checked_options(args), Path(args.o))
    return 0


def compress(opt: dict[str, Any], path: Path) -> None:
    """Write the student that `train.init: teacher` starts with, all its blocks fitted, for plain BasicSR.

    Args:
        opt: validated and completed options of a DataFreeDistillationModel.
        path: the model file to write, `.pth` or `.safetensors`; must not be there.

    Raises:
        UserError: another suffix, options of another model, networks that do not fit each other, no source that need
            not learn, a file that is there already or cannot be written.
    """
    plan = distillation_plan(opt, 'compress')
    if path.suffix not in SUFFIXES:
        raise UserError(f'{path}: expected a file name that ends in {" or ".join(SUFFIXES)}')
    if path.exists():
        raise UserError(f'{path}: is there already; name another file')
    if not path.absolute().parent.is_dir():
        raise UserError(f'{path}: there is no folder {path.parent}')
    check_writable(path.parent, f'-o {path}')
    plan = sources_that_need_not_learn(plan, 'compress')
    if plan.teacher is None:
        raise UserError('compress: expected a teacher (network_t, path, pretrain_network_t)')
    started = time.monotonic()
    device = torch.device('cuda' if plan.on_gpu else 'cpu')
    teacher, entry = build_teacher_and_entry(plan.teacher, device)
    print(f'The teacher is {entry or "the weights"} of {plan.teacher.weights}')
    student = build(plan.student).to(device)
    source = build_source(plan, channels_of(plan, teacher, student), device, partial(autocast, device, torch.float32))
    count = (INIT_CLIPS if plan.clips else INIT_PATCHES) // len(plan.scales)
    try:
        start_from_teacher(teacher, student, {scale: source.preview(scale, count).lr for scale in plan.scales})
    except ValueError as error:
        raise UserError(f'compress: {error}') from error
    header = header_of(
        student,
        plan.student.options,
        plan.scales,
        bool(plan.clips),
        plan.student.contract,
        name_teacher(plan.teacher.options, plan.teacher.weights),
    )
    try:
        write_model(student.state_dict(), header, path)
    except OSError as error:
        raise UserError(f'{path}: cannot be written ({error.strerror})') from error
    weights = [sum(parameter.numel() for parameter in network.parameters()) for network in (teacher, student)]
    print(
        f'{path}: {weights[1]:,} weights of {weights[0]:,} ({weights[0] / weights[1]:.2f} times fewer), '
        f'{time.monotonic() - started:.1f} s'
    )
