"""A step of the student against plain SGD by hand, and what a generator minimises."""

import contextlib

import pytest
import torch
from torch import Tensor, nn

from vsrkd_plugin.adapters.image_sr import ImageSRAdapter, freeze
from vsrkd_plugin.distillation.steps import GeneratorObjective, TeacherStudent, student_step


class _Scaled(nn.Module):
    """Repeats pixels, times a weight."""

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * x.repeat_interleave(2, 2).repeat_interleave(2, 3)


def _networks(student: float = 0.5) -> TeacherStudent:
    return TeacherStudent(
        ImageSRAdapter(freeze(_Scaled(1.0)), 1), ImageSRAdapter(_Scaled(student), 1), contextlib.nullcontext
    )


def _l1(output: Tensor, target: Tensor) -> Tensor:
    return (output - target).abs().mean()


LR = torch.linspace(0.1, 0.9, 32).view(2, 1, 4, 4)


@pytest.mark.parametrize('clip', [None, 0.2, 5.0])
def test_a_step_of_the_student(clip: float | None) -> None:
    networks = _networks()
    (weight,) = parameters = list(networks.student.parameters())
    losses = student_step(networks, LR, 2, _l1, torch.optim.SGD(parameters, lr=1.0), parameters, clip)
    mean = float(LR.mean())
    assert float(losses['l_kd']) == pytest.approx(0.5 * mean)
    gradient = mean if clip is None else min(mean, clip)  # d/dw mean |w x - x| = -mean x for w < 1
    assert weight.item() == pytest.approx(0.5 + gradient, rel=1e-5)


def test_extra_losses_take_part() -> None:
    networks = _networks()
    (weight,) = parameters = list(networks.student.parameters())
    losses = student_step(
        networks, LR, 2, _l1, torch.optim.SGD(parameters, lr=1.0), parameters,
        extra=lambda output, target: {'l_extra': 3 * _l1(output, target)},
    )  # fmt: skip
    assert set(losses) == {'l_kd', 'l_extra'} and not any(loss.requires_grad for loss in losses.values())
    assert weight.item() == pytest.approx(0.5 + 4 * float(LR.mean()), rel=1e-5)


def test_a_given_target_stands_for_the_teacher() -> None:
    networks = _networks()
    networks.teacher = None
    parameters = list(networks.student.parameters())
    target = torch.zeros(2, 1, 8, 8)
    losses = student_step(networks, LR, 2, _l1, torch.optim.SGD(parameters, lr=1.0), parameters, target=target)
    assert float(losses['l_kd']) == pytest.approx(0.5 * float(LR.mean()))
    with pytest.raises(ValueError, match='no teacher to ask'):
        networks.teacher_target(LR, 2)


def test_the_gradient_of_the_objective_reaches_the_input_through_both() -> None:
    """By finite differences; the teacher's part alone would be another."""
    objective = GeneratorObjective(_networks(), lambda a, b: -_l1(a, b), lambda target, lr: target.square().mean())
    lr = LR.clone().requires_grad_()
    total = sum(objective(lr, 2).values())
    (gradient,) = torch.autograd.grad(total, lr)
    moved = torch.zeros_like(LR)
    moved[0, 0, 1, 2] = 1e-2
    high, low = (sum(objective(LR + sign * moved, 2).values()).item() for sign in (1, -1))
    assert float(gradient[0, 0, 1, 2]) == pytest.approx((high - low) / 2e-2, rel=1e-2)
