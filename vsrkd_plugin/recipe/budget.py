"""How many iterations fit into a time: a few real steps are timed."""

import math
import re
import statistics
import time
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import torch

from vsrkd_plugin.config.plan import DistillationPlan
from vsrkd_plugin.distillation.task import DistillationTask
from vsrkd_plugin.errors import UserError
from vsrkd_plugin.models.task import build_task, student_options
from vsrkd_plugin.models.teacher import build
from vsrkd_plugin.ops.precision import place
from vsrkd_plugin.preflight.sandbox import unnoticed

_UNITS = {'s': 1, 'm': 60, 'h': 3600}
_LONGEST = 366 * 24 * 3600  # what is longer is a slip
_TIMED = 6.0  # seconds of steps that are timed, at most
_LEAST_ROUNDS, _MOST_ROUNDS = 3, 40
_PICTURES = 32  # painted for it: few, so that the painting is over before the steps are timed
# Of a budget, for what is no step: validation, checkpoints, report. What a training takes beside its steps.
_FOR_STEPS = 0.85
LEAST_ITERATIONS = 100


def seconds_of(text: str) -> float:
    """`90s`, `15m`, `1.5h`, or minutes as a bare number.

    Raises:
        UserError: no such time, or none above 0, or more than a year.
    """
    found = re.fullmatch(r'(\d+(?:\.\d+)?)\s*([smh]?)', text.strip().lower())
    seconds = float(found.group(1)) * _UNITS[found.group(2) or 'm'] if found else 0.0
    if not 0 < seconds <= _LONGEST:
        much = ', a year at most' if seconds > _LONGEST else ''
        raise UserError(f'--budget: expected a time such as 90s, 15m or 1h{much}, got {text[:60]}')
    return seconds


def seconds_per_step(opt: Mapping[str, Any]) -> float:
    """The time of one step of a distillation, on the device that its options name; nothing is left behind.

    Args:
        opt: validated and completed options of a distillation.
    """
    with unnoticed():
        return _timed(with_few_pictures(opt))


def with_few_pictures(opt: Mapping[str, Any]) -> dict[str, Any]:
    """Options that paint few pictures, for what is only tried."""
    changed = deepcopy(dict(opt))
    for source in changed['synthesis'].get('sources') or ():
        if source['type'] == 'procedural':
            source['num_images'] = _PICTURES
    return changed


def _timed(opt: dict[str, Any]) -> float:
    plan = DistillationPlan.from_options(opt)
    device = torch.device('cuda' if plan.on_gpu else 'cpu')
    student = place(build(plan.student, student_options(plan)), device)
    # As if it went on from a state: the start from the teacher is not timed with the steps.
    return time_task(build_task(plan, student, device, resumes=True), device, plan.bank.reuse)


def time_task(task: DistillationTask, device: torch.device, reuse: int = 1) -> float:
    """Seconds a step of a distillation, which is changed by it.

    Args:
        task: before its first step.
        device: where it works.
        reuse: how often its bank gives an answer of the teacher. So many steps are one round; the median of the rounds
            counts, which a moment in which the machine did something else does not change.
    """
    for iteration in range(1, reuse + 1):  # the first steps plan their convolutions, and fill what the bank needs
        task.step(iteration)
    _finish(device)
    rounds: list[float] = []
    started = time.perf_counter()
    while len(rounds) < _LEAST_ROUNDS or (len(rounds) < _MOST_ROUNDS and time.perf_counter() - started < _TIMED):
        begun = time.perf_counter()
        for iteration in range(reuse):
            task.step(reuse * (len(rounds) + 1) + iteration + 1)
        _finish(device)
        rounds.append(time.perf_counter() - begun)
    return statistics.median(rounds) / reuse


def _finish(device: torch.device) -> None:
    if device.type == 'cuda':
        torch.cuda.synchronize(device)


def iterations_for(seconds: float, per_step: float) -> int:
    """Iterations that fit, rounded down to tens.

    Args:
        seconds: what is left of the budget.
        per_step: seconds a step.

    Raises:
        UserError: fewer than `LEAST_ITERATIONS` fit.
    """
    fit = max(0, int(seconds * _FOR_STEPS / per_step) // 10 * 10)
    if fit < LEAST_ITERATIONS:
        more = math.ceil(LEAST_ITERATIONS * per_step / _FOR_STEPS - seconds)
        left = max(0.0, seconds)
        raise UserError(
            f'--budget: in what is left of it, {left:.0f} s, {fit} steps of {per_step:.2f} s fit; expected at least '
            f'{LEAST_ITERATIONS}, for which it must be {more} s longer'
        )
    return fit
