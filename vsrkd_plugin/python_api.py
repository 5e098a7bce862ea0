"""`vsrkd_plugin.distill`: any module distilled from Python, by the same recipe as the command `distill`."""

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from vsrkd_plugin.adapters.complying import comply
from vsrkd_plugin.adapters.fp32_tail import keep_tail_in_fp32
from vsrkd_plugin.adapters.image_sr import freeze
from vsrkd_plugin.config.plan import DistillationPlan
from vsrkd_plugin.config.validating import checked_contract
from vsrkd_plugin.errors import UserError
from vsrkd_plugin.inspection.teacher import build, inspect_module
from vsrkd_plugin.models.schedulers import make_scheduler
from vsrkd_plugin.models.task import build_task
from vsrkd_plugin.ops.precision import place
from vsrkd_plugin.preflight.sandbox import unnoticed
from vsrkd_plugin.recipe.budget import iterations_for, time_task
from vsrkd_plugin.recipe.limits import SPEEDUP, Operations
from vsrkd_plugin.recipe.options_file import Recipe
from vsrkd_plugin.recipe.students import of_module, own_student, propose
from vsrkd_plugin.registration import register
from vsrkd_plugin.run import progress as telling
from vsrkd_plugin.run.subnormals import subnormals_as_zero


@subnormals_as_zero()
def distill(
    teacher: nn.Module,
    scale: int | None = None,
    student: nn.Module | Mapping[str, Any] | None = None,
    minutes: float = 10,
    *,
    speedup: float = SPEEDUP,
    contract: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
    device: torch.device | str | None = None,
    seed: int = 0,
    progress: bool = True,
) -> nn.Module:
    """Distil a network that super-resolves images into a smaller one, on made images alone.

    Args:
        teacher: `(n, c, h, w)` in [0, 1] to `(n, c, scale * h, scale * w)`, c = 1 or 3, with its weights. It is left as
            it is. Other ranges and sizes are found out by trying, or said by `contract`.
        scale: the factor; found out if None.
        student: the network to train, whose weights are its start where it is of another class than the teacher; the
            options of a registered one, `{'type': …, …}`; None for BasicSR's Compact with `speedup` times fewer
            operations than the teacher.
        minutes: that all of it may take.
        speedup: times fewer operations, where no student is given.
        contract: what the teacher takes, where it says so neither itself nor by trying: `{'value_range': [0, 255]}`.
        options: changes of the recipe's options by their sections, as in an options file:
            `{'synthesis': {'hr_size': 128}}`.
        device: the GPU if there is one, if None.
        seed: of everything random.
        progress: a bar on a terminal and in a notebook, plain lines elsewhere; False: nothing is told.

    Returns:
        The student, the moving average of its weights, in evaluation mode, on the CPU.

    Raises:
        UserError: the teacher enlarges by no such scale, or takes no images; a student that does not; too few minutes.
    """
    started = time.monotonic()
    register()
    with unnoticed():
        found = inspect_module(teacher, scale, checked_contract(contract or {}, 'contract'))
        if isinstance(student, nn.Module):
            proposal = of_module(found, student.cpu().float())
        else:
            proposal = propose(found, None, Operations(speedup)) if student is None else own_student(found, student)
            student = proposal.build()
    recipe = Recipe('distill', found, proposal, weights='(a module)', seed=seed)
    on = torch.device(device) if device is not None else torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    plan = _plan(recipe, options or {}, on)
    ours = place(comply(student, proposal.contract, proposal.options), on)
    theirs = keep_tail_in_fp32(freeze(place(build(found), on)))
    state = {name: value.clone() for name, value in ours.state_dict().items()}
    with unnoticed():
        per_step = time_task(build_task(plan, ours, on, resumes=True, teacher=theirs), on, recipe.reuse)
    ours.load_state_dict(state)
    total = iterations_for(60 * minutes - (time.monotonic() - started), per_step)
    recipe = replace(recipe, total_iter=total)
    plan = _plan(recipe, options or {}, on)
    with telling.shown(progress):
        task = build_task(plan, ours, on, teacher=theirs)
        scheduler = make_scheduler(plan.scheduler, task.optimizer, plan.total_iter)
        losses: dict[str, torch.Tensor] = {}
        with telling.progress(plan.total_iter, 'distilling', 'step') as told:
            for iteration in range(1, plan.total_iter + 1):
                if iteration <= recipe.warmup:
                    for group in task.optimizer.param_groups:
                        group['lr'] = group['initial_lr'] * iteration / recipe.warmup
                losses = task.step(iteration)
                scheduler.step()
                told.update()
                if iteration % 50 == 0:
                    told.note(', '.join(f'{name} {float(value):.4f}' for name, value in losses.items()))
    if not all(map(torch.isfinite, losses.values())):
        raise UserError('distill: the loss became infinite or not a number; try a smaller learning rate')
    return task.exported.cpu().eval()


def _plan(recipe: Recipe, changes: Mapping[str, Any], device: torch.device) -> DistillationPlan:
    """The recipe's plan, with changes by section."""
    opt = recipe.options()
    for name, change in changes.items():
        opt[name] = (
            {**opt[name], **change} if isinstance(change, Mapping) and isinstance(opt.get(name), dict) else change
        )
    return DistillationPlan.from_options({**opt, 'num_gpu': 1 if device.type == 'cuda' else 0})
