"""The start from the teacher for networks of any kind: planted teachers, BasicSR's networks, published ones."""

import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from basicsr.archs.ecbsr_arch import ECBSR
from basicsr.archs.rcan_arch import RCAN
from basicsr.archs.rrdbnet_arch import RRDBNet
from basicsr.archs.srresnet_arch import MSRResNet
from basicsr.archs.swinir_arch import SwinIR
from torch import Tensor, nn

from vsrkd_plugin.archs.progressive_student_arch import ProgressiveStudent
from vsrkd_plugin.distillation.init_from_teacher.channel_graph import ChannelGraph
from vsrkd_plugin.distillation.init_from_teacher.graph import inherit_graph
from vsrkd_plugin.distillation.init_from_teacher.start import can_start, start_from_teacher


def _swinir(width: int, blocks: int = 2, window: int = 8) -> nn.Module:
    return SwinIR(
        img_size=16,
        embed_dim=width,
        depths=[blocks],
        num_heads=[2],
        window_size=window,
        mlp_ratio=2,
        upscale=2,
        upsampler='pixelshuffledirect',
    )


_NETWORKS: dict[str, Callable[[int], nn.Module]] = {
    'MSRResNet': lambda width: MSRResNet(num_feat=width, num_block=2, upscale=2),
    'RCAN': lambda width: RCAN(3, 3, width, num_group=2, num_block=2, squeeze_factor=4, upscale=2),
    'RRDBNet': lambda width: RRDBNet(3, 3, scale=4, num_feat=width, num_block=1, num_grow_ch=width // 2),
    'ECBSR': lambda width: ECBSR(3, 3, 2, width, with_idt=False, act_type='prelu', scale=2),
    'SwinIR': _swinir,
}


def _lively(network: nn.Module) -> nn.Module:
    """Weights large enough that each layer matters."""
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(module.weight, a=1)
    return network.eval()


@pytest.mark.parametrize('kind', _NETWORKS)
def test_a_student_of_the_teachers_width_is_the_teacher(kind: str) -> None:
    torch.manual_seed(0)
    teacher, student = _lively(_NETWORKS[kind](8)), _NETWORKS[kind](8).eval()
    inherit_graph(teacher, student, torch.rand(12, 3, 16, 16))
    new = torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(student(new), teacher(new), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize('kind', _NETWORKS)
def test_channels_that_do_nothing_are_left_out(kind: str) -> None:
    """A narrow network hidden among dead channels of a wide one, at random places, is found again exactly."""
    torch.manual_seed(0)
    narrow, wide = _lively(_NETWORKS[kind](8)), _NETWORKS[kind](16).eval()
    _hide(narrow, wide)
    new = torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        if kind != 'SwinIR':  # its norms are over all channels, the dead ones too
            torch.testing.assert_close(wide(new), narrow(new), atol=1e-4, rtol=1e-3)
    student = _NETWORKS[kind](8).eval()
    inherit_graph(wide, student, torch.rand(8, 3, 16, 16), ridge=0)
    with torch.no_grad():
        torch.testing.assert_close(student(new), narrow(new), atol=1e-4, rtol=1e-3)


@torch.no_grad()
def _hide(narrow: nn.Module, wide: nn.Module) -> None:
    """Write a network's weights into a wider one of its class, zeros elsewhere; in each group of channels at random
    places, in their order."""
    x = torch.rand(2, 3, 16, 16)
    theirs, ours = (ChannelGraph.of(network, network, x) for network in (wide, narrow))
    places = {
        signature: torch.randperm(len(theirs.groups[signature]))[: len(channels)].sort().values.tolist()
        for signature, channels in ours.groups.items()
    }
    state = narrow.state_dict()
    for name, value in wide.state_dict().items():
        if not value.is_floating_point() or value.shape == state[name].shape:
            value.copy_(state[name])
            continue
        value.zero_()
        index = []
        for dim, size in enumerate(value.shape):
            slot = theirs.where.get((name, dim))
            if slot is None:
                index.append(torch.arange(size))
                continue
            wanted = {(signature, place) for signature, kept in places.items() for place in kept}
            index.append(torch.tensor([i for i, place in enumerate(slot) if place in wanted]))
        value[torch.meshgrid(*index, indexing='ij')] = state[name]


@pytest.mark.parametrize('kind', [kind for kind in _NETWORKS if kind != 'ECBSR'])
def test_a_narrow_student_is_nearer_than_copies_and_than_a_fresh_one(kind: str) -> None:
    torch.manual_seed(0)
    teacher, copies, student = (_lively(_NETWORKS[kind](width)) for width in (16, 8, 8))
    x, new = (F.interpolate(torch.rand(n, 3, 8, 8), scale_factor=2, mode='bicubic') for n in (24, 8))
    errors = {}
    with torch.no_grad():
        errors['fresh'] = (student(new) - teacher(new)).square().mean()
        inherit_graph(teacher, copies, x, ridge=0)
        inherit_graph(teacher, student, x)
        for name, network in (('copies', copies), ('student', student)):
            errors[name] = (network(new) - teacher(new)).square().mean()
    assert errors['student'] < 0.7 * errors['copies'] and errors['student'] < 0.3 * errors['fresh'], errors


def test_a_shallow_student_takes_blocks_that_are_spread_evenly() -> None:
    torch.manual_seed(0)
    teacher, student = (RCAN(3, 3, 4, num_group=1, num_block=blocks, squeeze_factor=4, upscale=2) for blocks in (5, 3))
    inherit_graph(teacher, student, torch.rand(2, 3, 16, 16), ridge=0)
    ours, theirs = (network.body[0].residual_group for network in (student, teacher))
    for block, source in zip(ours, (theirs[0], theirs[2], theirs[4]), strict=True):
        assert torch.equal(block.rcab[0].weight, source.rcab[0].weight)
    numbered = _Numbered(4, 5), _Numbered(4, 2)
    inherit_graph(*numbered, torch.rand(2, 3, 16, 16), ridge=0)
    assert torch.equal(numbered[1].block_2.weight, numbered[0].block_5.weight)


class _Numbered(nn.Module):
    """Its blocks are attributes, numbered from 1."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, width, 3, padding=1), nn.Conv2d(width, 12, 3, padding=1)
        for number in range(1, depth + 1):
            self.add_module(f'block_{number}', nn.Conv2d(width, width, 3, padding=1))
        self.depth = depth

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for number in range(1, self.depth + 1):
            x = x + F.relu(self.get_submodule(f'block_{number}')(x))
        return F.pixel_shuffle(self.last(x), 2)


def test_blocks_that_have_not_grown_are_left_alone() -> None:
    torch.manual_seed(0)
    teacher, bare = (
        _lively(MSRResNet(num_feat=8, num_block=3, upscale=2)),
        MSRResNet(num_feat=6, num_block=3, upscale=2),
    )
    student = ProgressiveStudent(network=bare, active=2)
    before = [block.conv1.weight.clone() for block in bare.body]
    start_from_teacher(teacher, student.network, {2: torch.rand(12, 3, 12, 12)}, student.active)
    changed = [not torch.equal(old, block.conv1.weight) for old, block in zip(before, bare.body, strict=True)]
    assert changed == [True, True, False]


def test_the_trunk_is_repaired() -> None:
    """Behind a layer that was cut, the next one in the trunk makes up for it: its target is the teacher's sum."""

    class _Trunk(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.first, self.inner = nn.Conv2d(3, 4, 1), nn.Conv2d(4, width, 1)
            self.outer, self.repair, self.last = nn.Conv2d(width, 4, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 12, 1)

        def forward(self, x: Tensor) -> Tensor:
            first = self.first(x)
            x = first + self.outer(self.inner(first)) * 0.5
            return F.pixel_shuffle(self.last(x + self.repair(x)), 2)

    torch.manual_seed(0)
    teacher, student = _lively(_Trunk(4)), _lively(_Trunk(3))
    x = torch.rand(24, 3, 12, 12)
    inherit_graph(teacher, student, x, ridge=1e-9)
    with torch.no_grad():  # three channels carry what an image of three needs
        torch.testing.assert_close(student(x), teacher(x), atol=1e-3, rtol=1e-3)


def test_hooks_that_change_values_are_seen() -> None:
    """A network of 0..255 that is called with 0..1 through hooks of its own."""
    torch.manual_seed(0)
    teacher, student = (RCAN(3, 3, width, num_group=1, num_block=1, squeeze_factor=2, upscale=2) for width in (8, 8))
    for network in (teacher, student):
        network.register_forward_pre_hook(lambda module, args: (args[0] * 255,))
        network.register_forward_hook(lambda module, args, output: output / 255)
    inherit_graph(teacher.eval(), student.eval(), torch.rand(8, 3, 12, 12))
    new = torch.rand(2, 3, 12, 12)
    with torch.no_grad():
        torch.testing.assert_close(student(new), teacher(new), atol=1e-5, rtol=1e-4)


class _SetsItsWeight(nn.Module):
    """Folds two convolutions into a third one, whose weight it sets before it runs."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 2 * width, 1, bias=False), nn.Conv2d(2 * width, width, 1, bias=False)
        self.folded, self.last = nn.Conv2d(3, width, 1, bias=False), nn.Conv2d(width, 12, 1)

    def forward(self, x: Tensor) -> Tensor:
        folded = (self.b.weight.data.flatten(1) @ self.a.weight.data.flatten(1)).view(self.folded.weight.shape)
        self.folded.weight.data = folded
        return F.pixel_shuffle(self.last(F.relu(self.folded(x))), 2)


def test_weights_that_a_network_sets_by_itself() -> None:
    torch.manual_seed(0)
    teacher, student, fresh = (_lively(_SetsItsWeight(width)) for width in (8, 8, 4))
    x = torch.rand(12, 3, 12, 12)
    for network in (student, fresh):
        before = (network(x) - teacher(x)).square().mean()
        inherit_graph(teacher, network, x)
        assert (network(x) - teacher(x)).square().mean() < 0.1 * before
    torch.testing.assert_close(student(x), teacher(x), atol=1e-5, rtol=1e-4)


def test_the_start_says_what_it_cannot_do() -> None:
    x = {2: torch.rand(2, 3, 16, 16)}
    wide, narrow = RCAN(3, 3, 8, 1, 1, 4, 2), RCAN(3, 3, 4, 1, 1, 4, 2)
    with pytest.raises(
        ValueError, match=r'4 cannot|teacher of 4; leave train, init out, or take another student \(SRV'
    ):
        start_from_teacher(narrow, wide, x)
    with pytest.raises(ValueError, match=r'residual_group: a student of 2 blocks cannot start from a teacher of 1'):
        start_from_teacher(wide, RCAN(3, 3, 8, 1, 2, 4, 2), x)
    with pytest.raises(ValueError, match=r'^layers\.0\.residual_group.*; leave train, init out'):
        start_from_teacher(_swinir(8), _swinir(8, window=4), x)
    with pytest.raises(ValueError, match=r"^backbone\.0\..*: its size must be the teacher's, 8, got 4"):
        start_from_teacher(
            *(ECBSR(3, 3, 2, width, True, 'prelu', 2) for width in (8, 4)), x
        )  # an identity in its kernels
    before = copy.deepcopy(narrow.state_dict())
    assert can_start(wide, narrow) is None
    assert all(torch.equal(value, before[name]) for name, value in narrow.state_dict().items())
    assert 'does not fit' in (can_start(wide, MSRResNet(num_feat=4, num_block=1, upscale=2)) or '')
