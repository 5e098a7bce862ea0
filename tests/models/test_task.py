"""What the options say reaches the task that is built of them: each option is changed, and its effect is looked for."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_training import advance, build, tiny_options

from vsrkd_plugin.models.data_free_distillation_model import DataFreeDistillationModel


@pytest.fixture
def options(tmp_path: Path, image_folder: Path) -> dict[str, Any]:
    options = tiny_options(tmp_path, image_folder, ema_decay=0, init='random')
    options['train']['optim_g'] = {'type': 'SGD', 'lr': 1.0}
    options['train']['optim_z'] = {'type': 'SGD', 'lr': 1.0}
    del options['train']['growth'], options['train']['grad_clip']
    return options


def _moved(model: DataFreeDistillationModel, parameters: list[torch.nn.Parameter]) -> float:
    """The norm of what one iteration does to some parameters; under SGD at rate 1 it is the gradient's."""
    before = [parameter.detach().clone() for parameter in parameters]
    advance(model, 1, 1)
    squares = [float((a - b).detach().square().sum()) for a, b in zip(before, parameters, strict=True)]
    return math.sqrt(sum(squares))


@pytest.mark.parametrize(('key', 'of_student'), [('grad_clip', True), ('grad_clip_z', False)])
def test_gradients_are_clipped(options: dict[str, Any], tmp_path: Path, key: str, of_student: bool) -> None:
    norms = {}
    for clip in (None, 1e-4):
        options['train'][key] = clip
        model = build(options, tmp_path)
        student = list(model.net_g.parameters())
        others = [p for optimizer in model.task.inputs.optimizers for g in optimizer.param_groups for p in g['params']]
        norms[clip] = _moved(model, student if of_student else others)
    assert norms[None] > 1e-3
    assert norms[1e-4] == pytest.approx(1e-4, rel=1e-2)


def test_batch_scales_and_losses(options: dict[str, Any], tmp_path: Path) -> None:
    options['datasets']['train']['batch_size_per_gpu'] = 6
    options['train']['generator_freq'] = 7
    options['train']['distill_opt'] = {'type': 'DistillationLoss', 'loss_weight': 2.5}
    task = build(options, tmp_path).task
    assert (task.batch, task.scales, task.generator_freq) == (6, [2, 3], 7)
    a, b = torch.zeros(1, 1, 4, 4), torch.ones(1, 1, 4, 4)
    assert float(task.distillation(a, b)) == 2.5
    assert task.averaged is None and task.growth is None and task.exported is task.student


def test_the_average_starts_at_the_students_start(options: dict[str, Any], tmp_path: Path) -> None:
    options['train'].update(ema_decay=0.9, init='teacher')
    task = build(options, tmp_path).task
    assert task.ema_decay == 0.9 and task.averaged is not None
    for name, value in task.averaged.state_dict().items():
        assert torch.equal(value, task.student.state_dict()[name])
    assert not any(parameter.requires_grad for parameter in task.averaged.parameters())
