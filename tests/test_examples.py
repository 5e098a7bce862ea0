"""The examples do what they say."""

import importlib.util
from pathlib import Path
from types import ModuleType

import torch

from vsrkd_plugin.archs.vdsr_arch import VDSR

EXAMPLES = Path(__file__).resolve().parents[1] / 'examples'


def _example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f'{name}.py')
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_student_comes_nearer_to_its_teacher_in_plain_pytorch() -> None:
    torch.manual_seed(0)
    teacher, student = VDSR(num_feat=12, num_block=3), VDSR(num_feat=8, num_block=3)
    answers = teacher(torch.ones(1, 1, 4, 4), 2).detach()
    random, started, distilled = _example('distil_plain_pytorch').distil(teacher, student, steps=30, batch=4)
    assert random + 1 < started and started + 0.3 < distilled
    torch.testing.assert_close(teacher(torch.ones(1, 1, 4, 4), 2), answers, rtol=0, atol=0)  # the teacher stays
