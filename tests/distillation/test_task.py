"""A distillation with toy networks and a source of known numbers: who steps when, and what is kept."""

import contextlib
from collections import Counter
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vsrkd_plugin.adapters.image_sr import ImageSRAdapter, freeze
from vsrkd_plugin.archs.progressive_student_arch import ProgressiveStudent
from vsrkd_plugin.archs.vdsr_arch import VDSR
from vsrkd_plugin.distillation.growth import GrowthSchedule
from vsrkd_plugin.distillation.steps import GeneratorObjective, TeacherStudent
from vsrkd_plugin.distillation.task import DistillationTask
from vsrkd_plugin.synthesis.source import Objective
from vsrkd_plugin.synthesis.sources.baselines import NoiseSource


class _Counting(NoiseSource):
    """Noise that counts its learning steps, by scale."""

    def __init__(self) -> None:
        super().__init__(channels=1, lr_sizes={2: 6, 3: 4}, seed=0)
        self.learned: Counter[int] = Counter()
        self.given: Counter[int] = Counter()

    def step(self, objective: Objective, batch: int, scale: int) -> dict[str, Tensor]:
        self.learned[scale] += 1
        return {name: loss.detach() for name, loss in objective(self.preview(scale, batch).lr, scale).items()}

    def next(self, batch: int, scale: int) -> Any:
        self.given[scale] += 1
        return super().next(batch, scale)


def _l1(output: Tensor, target: Tensor) -> Tensor:
    return (output - target).abs().mean()


def _task(growth: GrowthSchedule | None = None, averaged: bool = False, **settings: Any) -> DistillationTask:
    torch.manual_seed(0)
    networks = [
        ProgressiveStudent(network=VDSR(num_feat=4, num_block=3, start='identity'), active=growth and growth.start)
        for _ in range(2 if averaged else 1)
    ]
    teacher = freeze(VDSR(num_feat=4, num_block=3))
    pair = TeacherStudent(ImageSRAdapter(teacher, 1), ImageSRAdapter(networks[0], 1), contextlib.nullcontext)
    if averaged:
        networks[1].load_state_dict(networks[0].state_dict())
    settings = {
        'scales': [2, 3],
        'batch': 3,
        'optimizer': torch.optim.SGD(networks[0].parameters(), lr=0.1),
        'distillation': _l1,
        'objective': GeneratorObjective(pair, lambda a, b: -_l1(a, b), lambda a, b: a.mean()),
        'growth': growth,
        'averaged': networks[1] if averaged else None,
        **settings,
    }
    return DistillationTask(pair, _Counting(), **settings)


def test_generators_step_before_the_student_every_so_many_iterations() -> None:
    task = _task(generator_freq=4)
    losses = [set(task.step(iteration)) for iteration in range(1, 11)]
    with_generator = {'l_adv', 'l_rec', 'l_kd'}
    assert [found == with_generator for found in losses] == [i % 4 == 0 for i in range(10)]
    assert all('l_kd' in found for found in losses)
    assert isinstance(task.inputs, _Counting)
    assert task.inputs.learned.total() == 3 and task.inputs.given.total() == 10
    assert set(task.inputs.given) == {2, 3}


def test_without_an_objective_nothing_learns_but_the_student() -> None:
    task = _task(objective=None, generator_freq=1)
    before = [parameter.clone() for parameter in task.student.parameters()]
    assert set(task.step(1)) == {'l_kd'}
    assert any(not torch.equal(a, b) for a, b in zip(before, task.student.parameters(), strict=True))


def test_blocks_become_active_in_student_and_average() -> None:
    growth = GrowthSchedule(depth=3, start=1, every=2)
    task = _task(growth, averaged=True, ema_decay=0.5)
    active = []
    for iteration in range(1, 8):
        task.step(iteration)
        assert task.averaged is not None
        active.append((task.student.active, task.averaged.active))
    assert active == [(n, n) for n in (1, 1, 2, 2, 3, 3, 3)]


def test_what_is_exported_is_the_average_of_the_student() -> None:
    task = _task(averaged=True, ema_decay=0.75)
    start = {name: value.clone() for name, value in task.student.state_dict().items()}
    task.step(1)
    assert task.exported is task.averaged
    for name, value in task.exported.state_dict().items():
        expected = 0.75 * start[name] + 0.25 * task.student.state_dict()[name]
        torch.testing.assert_close(value, expected)
    assert _task().exported.state_dict().keys() == start.keys()


def test_going_on_from_a_state_is_exact() -> None:
    whole, first = _task(averaged=True, ema_decay=0.5), _task(averaged=True, ema_decay=0.5)
    for iteration in range(1, 9):
        whole.step(iteration)
    for iteration in range(1, 5):
        first.step(iteration)
    second = _task(averaged=True, ema_decay=0.5)
    second.load_state_dict(first.state_dict())
    for iteration in range(5, 9):
        second.step(iteration)
    for ours, theirs in ((whole.student, second.student), (whole.exported, second.exported)):
        for name, value in ours.state_dict().items():
            assert torch.equal(value, theirs.state_dict()[name]), name


def test_the_start_needs_a_teacher() -> None:
    task = _task()
    task.networks.teacher = None
    with pytest.raises(ValueError, match='no teacher to start from'):
        task.start_from_teacher(8)


def test_losses_beside_are_added_once_and_logged() -> None:
    """Planted: a loss that is not added, or twice, gives another gradient."""
    seen = []

    def beside(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        seen.append(output.shape == target.shape)
        return 3 * output.mean()

    torch.manual_seed(0)
    plain, more = (nn.Conv2d(1, 4, 3, padding=1) for _ in range(2))
    more.load_state_dict(plain.state_dict())
    gradients = []
    for student, losses in ((plain, {}), (more, {'l_more': beside})):
        shuffled = nn.Sequential(student, nn.PixelShuffle(2))
        teacher = nn.Sequential(nn.Conv2d(1, 4, 1), nn.PixelShuffle(2))
        torch.manual_seed(1)
        nn.init.normal_(teacher[0].weight)
        nn.init.zeros_(teacher[0].bias)
        networks = TeacherStudent(ImageSRAdapter(freeze(teacher), 1), ImageSRAdapter(shuffled, 1), nullcontext)
        task = DistillationTask(
            networks, NoiseSource(channels=1, lr_sizes={2: 8}, seed=0), scales=[2], batch=2,
            optimizer=torch.optim.SGD(student.parameters(), lr=0.0), distillation=nn.L1Loss(), beside=losses,
        )  # fmt: skip
        assert task.step(1).keys() == {'l_kd', *losses}
        gradients.append(student.bias.grad.clone())
    # The mean of all outputs: each of the four channels has a quarter of it.
    assert torch.allclose(gradients[1] - gradients[0], torch.full((4,), 3 / 4), atol=1e-5)
    assert seen == [True]
