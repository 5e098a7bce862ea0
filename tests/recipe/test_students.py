"""Students that are proposed: as cheap as asked for, of the right family."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from basicsr.archs import build_network
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn
from torch.nn import functional as F

from tests.recipe.teachers import COMPACT, EDSR, RLSP, VDSR, inspected
from vsrkd_plugin.config.validating import validate
from vsrkd_plugin.errors import UserError
from vsrkd_plugin.inspection.teacher import Inspection, inspect_teacher
from vsrkd_plugin.recipe import students
from vsrkd_plugin.recipe.limits import Operations, Time
from vsrkd_plugin.recipe.options_file import Recipe
from vsrkd_plugin.recipe.students import candidates, own_student, propose
from vsrkd_plugin.registration import register

register()


@pytest.mark.parametrize('speedup', [2, 4, 8])
@pytest.mark.parametrize('options', [COMPACT, EDSR], ids=lambda o: o['type'])
def test_a_student_is_as_cheap_as_asked_for(options: dict, speedup: float) -> None:
    found = inspected(options)
    student = propose(found, None, Operations(speedup))
    assert student.options['type'] == options['type'] and student.starts_from_teacher
    assert student.fewer_operations == pytest.approx(speedup, rel=0.35)
    assert student.fewer_operations >= speedup / 1.06
    assert student.params == sum(p.numel() for p in build_network(dict(student.options)).parameters())


def test_a_compact_of_another_family_starts_at_random() -> None:
    student = propose(inspected(EDSR), 'compact', Operations(2))
    assert student.options['type'] == 'SRVGGNetCompact' and not student.starts_from_teacher
    assert student.options['upscale'] == EDSR['upscale']


def test_a_network_of_several_scales_stays_in_its_family() -> None:
    assert propose(inspected(VDSR)).options['type'] == 'VDSR'
    with pytest.raises(UserError, match='--student compact: SRVGGNetCompact serves one scale'):
        propose(inspected(VDSR), 'compact')
    with pytest.raises(UserError, match=r'--speedup 1e\+09: no VDSR is so small, and SRVGGNetCompact serves one scale'):
        propose(inspected(VDSR), None, Operations(1e9))
    with pytest.raises(UserError, match='--student same: no VDSR is so small'):
        propose(inspected(VDSR), 'same', Operations(1e9))


def test_what_no_network_can_do_is_told() -> None:
    with pytest.raises(UserError, match=r'--speedup 1e\+09: no Compact is so small'):
        propose(inspected(EDSR), 'compact', Operations(1e9))


def test_video_students_are_recurrent() -> None:
    found = inspected(RLSP)
    student = propose(found, None, Operations(4))
    assert student.options['type'] == 'RLSP' and student.starts_from_teacher
    assert student.options['num_feat'] < RLSP['num_feat']


def test_low_rank_is_proposed_where_the_class_has_it_or_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of other classes nobody else could load the student."""
    first, *others = candidates(inspected(VDSR))
    assert 'rank' not in first.options and others and all(other.options['type'] == 'VDSR' for other in others)
    assert [student.options['type'] for student in candidates(inspected(EDSR))] == ['EDSR']
    asked = candidates(inspected(EDSR), 'low_rank')
    assert asked and all(student.options['type'] == 'LowRankNetwork' for student in asked)
    assert all(student.starts_from_teacher and 'rank' in student.why for student in asked)
    assert {student.options['type'] for student in candidates(inspected(RLSP), 'low_rank')} == {'LowRankNetwork'}
    monkeypatch.setattr(students, 'of_lower_rank', lambda *_: iter(()))
    with pytest.raises(UserError, match='--student low_rank: no EDSR with layers of low rank costs as little'):
        candidates(inspected(EDSR), 'low_rank')


def test_a_student_costs_less_than_its_teacher() -> None:
    with pytest.raises(UserError, match=r'--target 1e\+03s --size 16x16: the teacher itself costs no more'):
        propose(inspected(COMPACT), None, Time(1000, (16, 16)))
    with pytest.raises(UserError, match=r'--target 0\.001ms --size 16x16: no RLSP is so small'):
        propose(inspected(RLSP), None, Time(1e-6, (16, 16)))
    assert propose(inspected(RLSP), None, Operations(1e9)).options['num_feat'] == 8


def test_errors_name_what_was_asked_for() -> None:
    found = replace(inspected(RLSP), options={'type': 'EDVR', 'num_feat': 16})
    with pytest.raises(UserError, match='--student low_rank: of a video teacher'):
        candidates(found, 'low_rank')


def test_a_student_of_one_s_own() -> None:
    found: Inspection = inspected(EDSR)
    same = own_student(found, {**EDSR, 'num_feat': 8})
    assert same.starts_from_teacher
    other = own_student(found, {'type': 'MSRResNet', 'num_feat': 8, 'num_block': 1, 'upscale': 2})
    assert not other.starts_from_teacher
    with pytest.raises(UserError, match='--student: EDSR cannot be built'):
        own_student(found, {'type': 'EDSR', 'no_such': 1})


class Wide(nn.Module):
    """A network of one's own in [0, 255], for multiples of 4, which says neither; x2."""

    def __init__(self, num_feat: int = 32) -> None:
        super().__init__()
        self.head = nn.Conv2d(48, num_feat, 3, padding=1)
        self.tail = nn.Conv2d(num_feat, 192, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.tail(F.relu(self.head(F.pixel_unshuffle(x - 127.5, 4)))) / 10
        return F.pixel_shuffle(y, 8) + F.interpolate(x, scale_factor=2, mode='bicubic')


@pytest.fixture
def wide(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Inspection:
    monkeypatch.setitem(ARCH_REGISTRY._obj_map, 'Wide', Wide)
    torch.manual_seed(0)
    torch.save(Wide().state_dict(), tmp_path / 'wide.pth')
    contract = {'value_range': [0, 255]}
    return inspect_teacher(str(tmp_path / 'wide.pth'), {'type': 'Wide'}, contract)


def test_what_was_found_of_a_class_holds_for_its_students(wide: Inspection) -> None:
    expected = {'value_range': [0, 255], 'channels': 3, 'size_multiple': 4}
    assert wide.contract == expected
    student = propose(wide, 'same', Operations(2))  # its width is its class's default
    assert student.starts_from_teacher and student.options['num_feat'] < 32 and student.contract == expected
    opt = Recipe('mine', wide, student, 'wide.pth').options()
    assert opt['contract_g'] == opt['contract_t'] == expected
    validate(opt, True)
    assert not propose(wide, 'compact', Operations(2)).contract
