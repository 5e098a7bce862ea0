"""The teacher is the network whose figures its training told."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_training import tiny_options

from vsrkd_plugin.archs.vdsr_arch import VDSR
from vsrkd_plugin.config.plan import DistillationPlan
from vsrkd_plugin.models.teacher import build_teacher
from vsrkd_plugin.registration import register


@pytest.mark.parametrize(
    ('named', 'entry'),
    [({}, 'params_ema'), ({'param_key_t': None}, 'params_ema'), ({'param_key_t': 'params'}, 'params')],
)
def test_of_a_training_with_an_average_the_average_teaches(
    tmp_path: Path, image_folder: Path, named: dict[str, Any], entry: str
) -> None:
    register()
    options = tiny_options(tmp_path, image_folder)
    networks = {key: VDSR(num_feat=8, num_block=4).state_dict() for key in ('params', 'params_ema')}
    torch.save(networks, tmp_path / 'teacher.pth')
    options['path'].update(named)
    plan = DistillationPlan.from_options(options)
    assert plan.teacher is not None
    teacher = build_teacher(plan.teacher, torch.device('cpu'))
    for name, value in teacher.state_dict().items():
        assert torch.equal(value, networks[entry][name]), name
