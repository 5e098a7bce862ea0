"""Growing networks: ours and BasicSR's."""

import pytest
import torch
from basicsr.archs.edsr_arch import EDSR
from basicsr.archs.srvgg_arch import SRVGGNetCompact

from vsrkd_plugin.archs.progressive_student_arch import ProgressiveStudent
from vsrkd_plugin.archs.rlsp_arch import RLSP
from vsrkd_plugin.archs.vdsr_arch import VDSR

VDSR_OPTIONS = {'type': 'VDSR', 'num_feat': 8, 'num_block': 5, 'upscale': 2}
EDSR_OPTIONS = {'type': 'EDSR', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 8, 'num_block': 4, 'upscale': 2}


@pytest.mark.parametrize('options', [VDSR_OPTIONS, EDSR_OPTIONS], ids=lambda o: o['type'])
def test_growing_by_identity_leaves_the_function_unchanged(options: dict) -> None:
    torch.manual_seed(0)
    student = ProgressiveStudent(network=options, active=1, block_start='identity').eval()
    x = torch.rand(2, 1 if options['type'] == 'VDSR' else 3, 9, 7)
    with torch.no_grad():
        before = student(x)
        for active in range(2, student.depth + 1):
            student.active = active
            assert (student(x) - before).abs().max() <= 1e-6


@pytest.mark.parametrize('options', [VDSR_OPTIONS, EDSR_OPTIONS], ids=lambda o: o['type'])
def test_random_start_changes_it(options: dict) -> None:
    torch.manual_seed(0)
    student = ProgressiveStudent(network=options, active=1, block_start='random').eval()
    x = torch.rand(1, 1 if options['type'] == 'VDSR' else 3, 9, 7)
    with torch.no_grad():
        before = student(x)
        student.active = 2
        assert (student(x) - before).abs().max() > 1e-4


def test_fewer_active_blocks_equal_the_shallower_network() -> None:
    torch.manual_seed(0)
    student = ProgressiveStudent(network=VDSR_OPTIONS, active=2, block_start='keep')
    shallow = VDSR(num_feat=8, num_block=2, upscale=2)
    shallow.load_state_dict({k: v for k, v in student.state_dict().items() if k in shallow.state_dict()})
    x = torch.rand(1, 1, 8, 8)
    assert torch.equal(student(x), shallow(x))


def test_only_active_blocks_get_gradients() -> None:
    student = ProgressiveStudent(network=VDSR_OPTIONS, active=2)
    student(torch.rand(1, 1, 8, 8)).sum().backward()
    assert [block.conv.weight.grad is not None for block in student.blocks] == [True, True, False, False, False]


@pytest.mark.parametrize('options', [VDSR_OPTIONS, EDSR_OPTIONS], ids=lambda o: o['type'])
def test_its_checkpoint_is_the_plain_networks(options: dict) -> None:
    student = ProgressiveStudent(network=options)
    arguments = {k: v for k, v in options.items() if k != 'type'}
    plain = (VDSR if options['type'] == 'VDSR' else EDSR)(**arguments)
    plain.load_state_dict(student.state_dict(), strict=True)
    student.load_state_dict(plain.state_dict(), strict=True)
    x = torch.rand(1, 1 if options['type'] == 'VDSR' else 3, 8, 8)
    assert torch.equal(plain(x), student(x))


def test_a_recurrent_student_grows_too() -> None:
    torch.manual_seed(0)
    options = {'type': 'RLSP', 'num_feat': 8, 'num_layer': 6, 'upscale': 2}
    student = ProgressiveStudent(network=options, active=1)
    clip = torch.rand(1, 4, 3, 6, 7)
    assert student.depth == 4 and student.recurrent
    with torch.no_grad():
        before = student(clip)
        for active in range(2, 5):
            student.active = active
            assert torch.equal(student(clip), before)
    student.active = 2
    student(clip).sum().backward()
    assert [block.weight.grad is not None for block in student.blocks] == [True, True, False, False]
    plain = RLSP(num_feat=8, num_layer=6, upscale=2)
    plain.load_state_dict(student.state_dict(), strict=True)
    with torch.no_grad():
        assert torch.equal(plain(clip), before)


def test_what_cannot_grow_is_said() -> None:
    with pytest.raises(ValueError, match='SRVGGNetCompact cannot grow'):
        ProgressiveStudent(network=SRVGGNetCompact(num_feat=8, num_conv=2))
    with pytest.raises(ValueError, match='1 to 5'):
        ProgressiveStudent(network=VDSR_OPTIONS, active=6)
    with pytest.raises(ValueError, match='block_start'):
        ProgressiveStudent(network=VDSR_OPTIONS, block_start='zero')
