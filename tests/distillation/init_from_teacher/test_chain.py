"""The start from the teacher."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from vsrkd_plugin.archs.vdsr_arch import VDSR
from vsrkd_plugin.distillation.init_from_teacher.chain import (
    Chain,
    chain_of,
    channel_importance,
    inherit,
)
from vsrkd_plugin.distillation.init_from_teacher.start import start_from_teacher


def test_importance_closed_form() -> None:
    """1x1 chains: mean squared activation times squared weight that reads it."""
    first, second = nn.Conv2d(1, 2, 1, bias=False), nn.Conv2d(2, 1, 1, bias=False)
    with torch.no_grad():
        first.weight.copy_(torch.tensor([2.0, -1.0]).view(2, 1, 1, 1))
        second.weight.copy_(torch.tensor([0.5, 10.0]).view(1, 2, 1, 1))
    (importance,) = channel_importance(Chain([first, second], [nn.ReLU()]), torch.ones(1, 1, 3, 3))
    torch.testing.assert_close(importance, torch.tensor([4 * 0.25, 0.0]))


def test_same_width_gives_the_same_function() -> None:
    torch.manual_seed(0)
    teacher, student = VDSR(num_feat=6, num_block=3), VDSR(num_feat=6, num_block=3)
    x = torch.rand(24, 1, 16, 16)
    inherit(chain_of(teacher), chain_of(student), x, ridge=1e-10)
    new = torch.rand(2, 1, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(student(new, 1), teacher(new, 1), atol=1e-3, rtol=1e-3)


def test_a_narrow_student_is_nearer_than_bicubic_alone(shared_data) -> None:
    """On the real teacher: the fitted student's output is nearer to the teacher's than the bicubic input is."""
    from vsrkd_plugin.run.checkpoints import load_weights
    from vsrkd_plugin.synthesis.sources.dead_leaves import render_images

    teacher, student = VDSR(), VDSR(num_feat=32)
    load_weights(teacher, shared_data / 'teachers' / 'vdsr_291.pth')
    images = render_images(0, range(24), 48, 1)
    low = F.interpolate(F.avg_pool2d(images, 2), scale_factor=2, mode='bicubic')
    kept = inherit(chain_of(teacher), chain_of(student), low[:16])
    assert [len(k) for k in kept] == [32] * 19
    with torch.no_grad():
        wanted, got = teacher(low[16:], 1), student(low[16:], 1)
    assert (got - wanted).square().mean() < 0.5 * (low[16:] - wanted).square().mean()


def test_inactive_blocks_are_left_alone() -> None:
    teacher, student = VDSR(num_feat=6, num_block=4), VDSR(num_feat=3, num_block=4)
    before = [conv.weight.clone() for conv in student.chain()]
    inherit(chain_of(teacher), chain_of(student), torch.rand(4, 1, 8, 8), active=2)
    changed = [not torch.equal(old, conv.weight) for old, conv in zip(before, student.chain(), strict=True)]
    assert changed == [True, True, True, False, False, True]


def test_bad_pairs() -> None:
    x = torch.rand(2, 1, 8, 8)
    with pytest.raises(ValueError, match='5 blocks cannot start from a teacher of 3'):
        inherit(chain_of(VDSR(num_feat=4, num_block=3)), chain_of(VDSR(num_feat=4, num_block=5)), x)
    with pytest.raises(ValueError, match='8 channels cannot start from a teacher of 4'):
        inherit(chain_of(VDSR(num_feat=4, num_block=3)), chain_of(VDSR(num_feat=8, num_block=3)), x)
    with pytest.raises(ValueError, match='channels of their input or output'):
        inherit(chain_of(VDSR(num_feat=4, num_block=3, num_in_ch=3)), chain_of(VDSR(num_feat=4, num_block=3)), x)


def _compact(width: int, act_type: str = 'prelu') -> nn.Module:
    from basicsr.archs.srvgg_arch import SRVGGNetCompact

    network = SRVGGNetCompact(num_in_ch=3, num_out_ch=3, num_feat=width, num_conv=3, upscale=2, act_type=act_type)
    for module in network.modules():
        if isinstance(module, nn.PReLU):
            nn.init.uniform_(module.weight, 0, 0.5)
    return network


@pytest.mark.parametrize('act_type', ['prelu', 'relu', 'leakyrelu'])
def test_compact_of_the_same_width_gives_the_same_function(act_type: str) -> None:
    """Its chain works at LR size, with biases and slopes of its own."""
    torch.manual_seed(0)
    teacher, student = _compact(6, act_type), _compact(6, act_type)
    x = torch.rand(24, 3, 12, 12)
    start_from_teacher(teacher, student, {2: x})
    with torch.no_grad():
        torch.testing.assert_close(student(x), teacher(x), atol=2e-3, rtol=1e-2)


def test_a_narrow_compact_is_nearer_than_a_fresh_one() -> None:
    torch.manual_seed(0)
    teacher, student, fresh = _compact(12), _compact(8), _compact(8)
    x, new = torch.rand(24, 3, 12, 12), torch.rand(4, 3, 12, 12)
    start_from_teacher(teacher, student, {2: x})
    with torch.no_grad():
        errors = [(network(new) - teacher(new)).square().mean() for network in (student, fresh)]
    assert errors[0] < 0.2 * errors[1]


def test_networks_that_are_no_chain_or_of_another_kind() -> None:
    x = {2: torch.rand(2, 3, 8, 8)}
    with pytest.raises(ValueError, match=r'network_t \(Sequential\) does not fit'):
        start_from_teacher(nn.Sequential(nn.Conv2d(3, 3, 3)), _compact(4), x)
    with pytest.raises(ValueError, match='not of one kind'):
        start_from_teacher(_compact(4, 'relu'), _compact(4), x)
    with pytest.raises(ValueError, match='not of one kind'):
        start_from_teacher(VDSR(num_in_ch=3, num_feat=4, num_block=3), _compact(4, 'relu'), x)


def test_of_low_rank_it_starts_nearer_than_of_few_channels(shared_data) -> None:
    """On the real teacher, at the same number of weights; and more rank is nearer."""
    from vsrkd_plugin.run.checkpoints import load_weights
    from vsrkd_plugin.synthesis.sources.dead_leaves import render_images

    teacher = VDSR()
    load_weights(teacher, shared_data / 'teachers' / 'vdsr_291.pth')
    images = render_images(0, range(24), 48, 1)
    low = F.interpolate(F.avg_pool2d(images, 2), scale_factor=2, mode='bicubic')
    errors = []
    for options in ({'num_feat': 32}, {'rank': 24}, {'rank': 40}):
        student = VDSR(**options)
        inherit(chain_of(teacher), chain_of(student), low[:16])
        with torch.no_grad():
            errors.append((student(low[16:], 1) - teacher(low[16:], 1)).square().mean().item())
    assert errors[1] < 0.7 * errors[0] and errors[2] < 0.7 * errors[1], errors


def test_of_full_rank_it_is_the_teacher() -> None:
    torch.manual_seed(0)
    teacher, student = VDSR(num_feat=6, num_block=3), VDSR(num_feat=6, num_block=3, rank=18)
    inherit(chain_of(teacher), chain_of(student), torch.rand(24, 1, 16, 16), ridge=1e-10)
    new = torch.rand(2, 1, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(student(new, 1), teacher(new, 1), atol=1e-3, rtol=1e-3)


def test_blocks_of_low_rank_that_wait_pass_on_what_comes() -> None:
    torch.manual_seed(0)
    teacher = VDSR(num_feat=8, num_block=4)
    changes = []
    for rank in (2, 8):
        student = VDSR(num_feat=8, num_block=4, rank=rank)
        x = torch.rand(24, 1, 16, 16)
        inherit(chain_of(teacher), chain_of(student), x, active=3)
        with torch.no_grad():
            ours = student.relu(student.input(x))
            for block in student.blocks[:3]:
                ours = block(ours)
            changes.append(((student.blocks[3](ours) - ours).square().mean() / ours.square().mean()).item())
    assert changes[1] < 0.01 and changes[1] < changes[0] < 0.6, changes


def test_a_chain_of_pairs_is_found_in_networks_of_others() -> None:
    from basicsr.archs.srvgg_arch import SRVGGNetCompact

    from vsrkd_plugin.ops.low_rank import lower_rank

    network = SRVGGNetCompact(num_feat=16, num_conv=3, upscale=2)
    assert lower_rank(network, 4) == 4  # of five: the first is small as it is
    chain = chain_of(network)
    assert chain is not None and len(chain.layers) == 5 and len(chain.activations) == 4
