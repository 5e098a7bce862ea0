"""The examples do what they say."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import torch

import vsrkd_plugin
from vsrkd_plugin.archs.vdsr_arch import VDSR
from vsrkd_plugin.errors import UserError
from vsrkd_plugin.recipe import budget

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


def test_any_module_is_distilled_from_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With few steps: that it comes nearer than a student at random is enough here."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(budget, '_FOR_STEPS', 0.3)
    monkeypatch.setattr(budget, 'LEAST_ITERATIONS', 10)
    example = _example('distil_any_module')
    torch.manual_seed(0)
    agreement = example.main(1.0)
    student = torch.load(tmp_path / 'student.pth', weights_only=True)['params']
    assert agreement > 20 and 'body.0.weight' in student


def test_a_module_is_left_as_it_is_and_a_student_of_one_s_own_is_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, '_FOR_STEPS', 0.1)
    monkeypatch.setattr(budget, 'LEAST_ITERATIONS', 10)
    example = _example('distil_any_module')
    torch.manual_seed(0)
    teacher, own = example.MyTeacher(16), example.MyTeacher(8)
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    student = vsrkd_plugin.distill(teacher, 2, own, minutes=0.5, progress=False)
    assert isinstance(student, example.MyTeacher) and student.first.out_channels == 8 and not student.training
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())
    with pytest.raises(UserError, match='MyTeacher enlarges by 2, not by 3'):
        vsrkd_plugin.distill(teacher, 3)
