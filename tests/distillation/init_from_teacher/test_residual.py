"""The start from the teacher, for EDSR."""

import pytest
import torch
from basicsr.archs.edsr_arch import EDSR
from torch import nn

from vsrkd_plugin.archs.progressive_student_arch import ProgressiveStudent
from vsrkd_plugin.archs.vdsr_arch import VDSR
from vsrkd_plugin.distillation.init_from_teacher.residual import is_residual
from vsrkd_plugin.distillation.init_from_teacher.start import start_from_teacher


def _edsr(width: int, blocks: int = 3, upscale: int = 2, **settings: float) -> EDSR:
    network = EDSR(3, 3, num_feat=width, num_block=blocks, upscale=upscale, **settings).eval()
    for block in network.body:  # BasicSR's start is nearly nothing: a block must matter to be missed
        nn.init.kaiming_normal_(block.conv1.weight)
        nn.init.kaiming_normal_(block.conv2.weight, a=2)
    return network


def test_is_residual() -> None:
    assert is_residual(_edsr(4))
    assert not is_residual(VDSR(num_feat=4, num_block=2))


@pytest.mark.parametrize(('upscale', 'res_scale'), [(2, 1.0), (3, 0.1), (4, 1.0)])
def test_same_width_gives_the_same_function(upscale: int, res_scale: float) -> None:
    torch.manual_seed(0)
    teacher, student = (_edsr(6, upscale=upscale, res_scale=res_scale) for _ in range(2))
    x, new = torch.rand(24, 3, 12, 12), torch.rand(2, 3, 12, 12)
    start_from_teacher(teacher, student, {upscale: x})
    with torch.no_grad():
        wanted = teacher(new)
        assert (student(new) - wanted).abs().max() < 0.01 * wanted.std()


@pytest.mark.parametrize(('width', 'blocks'), [(9, 3), (12, 2), (9, 2)])
def test_a_smaller_student_is_nearer_than_a_fresh_one(width: int, blocks: int) -> None:
    torch.manual_seed(0)
    teacher, student, fresh = _edsr(12), _edsr(width, blocks), _edsr(width, blocks)
    x, new = torch.rand(24, 3, 12, 12), torch.rand(4, 3, 12, 12)
    start_from_teacher(teacher, student, {2: x})
    with torch.no_grad():
        errors = [(network(new) - teacher(new)).square().mean() for network in (student, fresh)]
    assert errors[0] < 0.2 * errors[1]


def test_a_student_that_grows_is_fitted_with_its_active_blocks() -> None:
    torch.manual_seed(0)
    teacher, bare = _edsr(12), _edsr(9)
    student = ProgressiveStudent(network=bare, active=2)
    before = [block.conv1.weight.clone() for block in bare.body]
    x, new = torch.rand(24, 3, 12, 12), torch.rand(4, 3, 12, 12)
    with torch.no_grad():
        fresh = (student(new) - teacher(new)).square().mean()
        start_from_teacher(teacher, student.network, {2: x}, student.active)
        fitted = (student(new) - teacher(new)).square().mean()
    changed = [not torch.equal(old, block.conv1.weight) for old, block in zip(before, bare.body, strict=True)]
    assert changed == [True, True, False]
    assert fitted < 0.2 * fresh


def test_bad_pairs() -> None:
    x = {2: torch.rand(2, 3, 8, 8)}
    with pytest.raises(ValueError, match='4 blocks cannot start from a teacher of 3'):
        start_from_teacher(_edsr(4), _edsr(4, 4), x)
    with pytest.raises(ValueError, match='6 channels cannot start from a teacher of 4'):
        start_from_teacher(_edsr(4), _edsr(6), x)
    with pytest.raises(ValueError, match='how they upsample'):
        start_from_teacher(_edsr(4), _edsr(4, upscale=4), x)
    with pytest.raises(ValueError, match='how they upsample'):
        start_from_teacher(_edsr(4), _edsr(4, upscale=3), x)  # layers of the same types
    teacher, student = _edsr(4), _edsr(4)
    for network in (teacher, student):
        network.upsample = nn.Sequential(nn.Conv2d(4, 16, 3, padding=1), nn.ReLU(), nn.PixelShuffle(2))
    with pytest.raises(ValueError, match='pixel shuffles alternate, got Conv2d, ReLU, PixelShuffle'):
        start_from_teacher(teacher, student, x)
    with pytest.raises(ValueError, match='does not fit'):
        start_from_teacher(_edsr(4), VDSR(num_in_ch=3, num_feat=4, num_block=2), x)
