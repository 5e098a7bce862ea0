"""A network is given what its contract says, whoever calls it."""

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vsrkd_plugin.adapters.complying import complies, comply, pad_by_mirroring, trying
from vsrkd_plugin.adapters.contract import NetworkContract
from vsrkd_plugin.adapters.image_sr import ImageSRAdapter, probe
from vsrkd_plugin.adapters.video_sr import VideoSRAdapter
from vsrkd_plugin.archs.progressive_student_arch import ProgressiveStudent
from vsrkd_plugin.archs.vdsr_arch import VDSR


class _Bytes(nn.Module):
    """Enlarges images by 2 in 0..255, notes what it was given, and takes sides of multiples of 8 from 16 on alone."""

    value_range = (0, 255)
    size_multiple = 8
    min_size = 16

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        nn.init.dirac_(self.conv.weight)
        nn.init.zeros_(self.conv.bias)
        self.given: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[-1] % 8 == x.shape[-2] % 8 == 0 and min(x.shape[-2:]) >= 16
        self.given.append(x)
        images = F.interpolate(self.conv(x.flatten(0, -4)), scale_factor=2)
        return images.view(*x.shape[:-2], *images.shape[-2:])


@pytest.mark.parametrize('shape', [(2, 3, 17, 24), (1, 3, 3, 40), (1, 3, 16, 16), (2, 5, 3, 9, 30)])
def test_values_and_sizes_are_the_networks_own_inside_only(shape: tuple[int, ...]) -> None:
    network, x = comply(_Bytes()), torch.rand(shape)
    output = network(x)
    images = F.interpolate(x.flatten(0, -4), scale_factor=2)
    torch.testing.assert_close(output, images.view(*shape[:-2], *images.shape[-2:]))
    (given,) = network.given
    torch.testing.assert_close(given[..., : shape[-2], : shape[-1]], x * 255)


def test_padding_is_numpys_symmetric_one() -> None:
    import numpy as np

    for height, width, to in ((5, 7, (8, 8)), (2, 3, (16, 24)), (1, 1, (9, 4)), (4, 4, (4, 4))):
        x = torch.rand(2, 3, height, width)
        expected = np.pad(x.numpy(), ((0, 0), (0, 0), (0, to[0] - height), (0, to[1] - width)), mode='symmetric')
        assert torch.equal(pad_by_mirroring(x, *to), torch.from_numpy(expected))


def test_the_gradient_reaches_the_input() -> None:
    network = comply(_Bytes())
    x = torch.rand(1, 3, 5, 6, dtype=torch.float32, requires_grad=True)
    network(x).sum().backward()
    torch.testing.assert_close(x.grad, torch.full_like(x, 4.0))  # each pixel is shown four times; padding has no part


def test_swinir_equals_padding_by_hand() -> None:
    from basicsr.archs.swinir_arch import SwinIR

    torch.manual_seed(0)
    swinir = SwinIR(img_size=16, embed_dim=8, depths=[2], num_heads=[2], window_size=8, mlp_ratio=2, upscale=2,
                    upsampler='pixelshuffledirect').eval()  # fmt: skip
    x = torch.rand(1, 3, 13, 21)
    with torch.no_grad():
        padded = torch.cat([x, x.flip(2)], 2)[:, :, :16]
        padded = torch.cat([padded, padded.flip(3)], 3)[..., :24]
        expected = swinir(padded)[..., :26, :42]
        assert torch.equal(comply(swinir)(x), expected)
        exported = torch.export.export(swinir, (x,)).module()
        torch.testing.assert_close(exported(x), expected)


def test_networks_that_need_nothing_are_left_alone() -> None:
    network = comply(VDSR(num_feat=4, num_block=1), {}, {'type': 'VDSR'})
    assert not network._forward_hooks and not network._forward_pre_hooks and complies(network)


def test_calling_it_twice_pads_once_and_heeds_new_options() -> None:
    network = comply(comply(_Bytes()))
    assert len(network._forward_hooks) == len(network._forward_pre_hooks) == 1
    assert network(torch.rand(1, 3, 4, 4)).max() <= 1.01
    comply(network, {'min_size': 32})
    network(torch.rand(1, 3, 4, 4))
    assert network.given[-1].shape[-1] == 32
    comply(network, {'value_range': [0, 1], 'size_multiple': 1, 'min_size': 1})
    assert not network._forward_hooks and not network._forward_pre_hooks
    with pytest.raises(AssertionError):
        network(torch.rand(1, 3, 4, 4))


def test_class_and_state_dict_stay_and_copies_comply() -> None:
    network, plain = comply(_Bytes(), {'min_size': 24}), _Bytes()
    assert type(network) is _Bytes and network.state_dict().keys() == plain.state_dict().keys()
    twin = copy.deepcopy(network)
    nn.init.zeros_(network.conv.weight)
    x = torch.rand(1, 3, 5, 5)
    torch.testing.assert_close(twin(x), F.interpolate(x, scale_factor=2))
    assert NetworkContract.of(twin).min_size == 24
    comply(twin, {'min_size': 40})
    assert len(twin._forward_hooks) == 1 and NetworkContract.of(network).min_size == 24


def test_what_stands_around_a_network_complies() -> None:
    for wrapped in (nn.DataParallel(comply(_Bytes())), comply(nn.DataParallel(_Bytes()))):
        assert wrapped(torch.rand(1, 3, 5, 5)).shape == (1, 3, 10, 10)


class _Grown(nn.Module):
    """Says nothing of itself."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(*(nn.Conv2d(3, 3, 3, padding=1) for _ in range(3)))

    def forward(self, x: Tensor, scale: int = 3) -> Tensor:
        return F.interpolate(self.trunk(x), scale_factor=scale)


def test_options_say_how_a_network_grows() -> None:
    with pytest.raises(ValueError, match='cannot grow'):
        ProgressiveStudent(network=_Grown())
    student = ProgressiveStudent(
        network=_Grown(), active=1, block_start='random', contract={'growing_body': 'trunk', 'value_range': [-1, 1]}
    )
    assert student.depth == 3 and student.active == 1
    x = torch.rand(1, 3, 4, 4)
    expected = (F.interpolate(student.network.trunk[0](x * 2 - 1), scale_factor=3) + 1) / 2
    torch.testing.assert_close(student(x), expected)


def test_options_say_that_a_network_serves_several_scales() -> None:
    network = _Grown()
    with pytest.raises(ValueError, match='expected'):
        ImageSRAdapter(network, 3)(torch.rand(1, 3, 4, 4), 2)
    comply(network, {'multi_scale': True})
    assert ImageSRAdapter(network, 3)(torch.rand(1, 3, 4, 4), 2).shape == (1, 3, 8, 8)


def test_adapters_and_probes_see_no_padding() -> None:
    network = comply(_Bytes())
    assert not probe(network, 3, 5) and not ImageSRAdapter(network, 3, 5).pre_upsampling
    clips = VideoSRAdapter(network, 2, lr_size=6)
    assert clips.recurrent and clips(torch.rand(1, 4, 3, 6, 7)).shape == (1, 4, 3, 12, 14)


class _AtHRSize(_Bytes):
    pre_upsampling = True

    def forward(self, x: Tensor, scale: int = 1) -> Tensor:
        assert x.shape[-1] % 8 == x.shape[-2] % 8 == 0
        return self.conv(x)


def test_networks_at_hr_size_and_a_named_argument() -> None:
    network = comply(_AtHRSize())
    assert ImageSRAdapter(network, 3)(torch.rand(1, 3, 5, 7), 3).shape == (1, 3, 15, 21)
    x = torch.rand(1, 3, 15, 21)
    torch.testing.assert_close(network(x=x, scale=1), x)


class _Pair(_Bytes):
    def forward(self, x: Tensor) -> Any:
        return super().forward(x), x


def test_of_several_tensors_each_is_cropped() -> None:
    x = torch.rand(1, 3, 9, 10)
    enlarged, same = comply(_Pair())(x)
    torch.testing.assert_close(same, x)
    assert enlarged.shape == (1, 3, 18, 20)


def test_trying_leaves_no_trace() -> None:
    network = comply(_Bytes(), {'min_size': 24})
    with trying(network, value_range=(-1.0, 1.0)):
        assert NetworkContract.of(network).value_range == (-1, 1) and NetworkContract.of(network).min_size == 24
    assert NetworkContract.of(network).value_range == (0, 255) and len(network._forward_hooks) == 1


@pytest.mark.parametrize(
    ('said', 'message'),
    [({'luma_only': True}, 'no method luma'), ({'size': 8}, "no 'size'"), ({'value_range': [1, 0]}, 'the lower first')],
)
def test_what_no_network_can_keep(said: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        comply(_Bytes(), said)


def test_operations_of_a_padded_network_can_be_counted() -> None:
    """Where torch traces, sizes are tensors."""
    network = comply(nn.Conv2d(3, 3, 1), {'value_range': (0.0, 255.0), 'size_multiple': 8})
    traced = torch.jit.trace(network, torch.rand(1, 3, 13, 10))
    x = torch.rand(1, 3, 13, 10)
    assert torch.allclose(traced(x), network(x))
