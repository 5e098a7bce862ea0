"""Any SR network looks alike: pre- and post-upsampling, one scale or several, Y or RGB."""

import copy
import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn
from torch.nn.parallel import DataParallel

from vsrkd_plugin.adapters.contract import input_channels
from vsrkd_plugin.adapters.image_sr import ImageSRAdapter, freeze, probe
from vsrkd_plugin.archs.progressive_student_arch import ProgressiveStudent
from vsrkd_plugin.archs.vdsr_arch import VDSR
from vsrkd_plugin.ops.colour import rgb_to_y, rgb_to_ycbcr
from vsrkd_plugin.ops.resize import bicubic_resize


class _Post(nn.Module):
    """Enlarges by itself."""

    def __init__(self, channels: int = 3, scale: int = 2) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(channels, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.tail = nn.Sequential(nn.Conv2d(8, channels * scale**2, 3, padding=1), nn.PixelShuffle(scale))

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(self.body(x))


class _Pre(nn.Module):
    """Wants its input enlarged, and does not say so."""

    def __init__(self, channels: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x)


class _Many(nn.Module):
    """Enlarges by itself, by any scale."""

    multi_scale = True

    def forward(self, x: Tensor, scale: int) -> Tensor:
        return x.repeat_interleave(scale, 2).repeat_interleave(scale, 3)


def test_imports_no_basicsr() -> None:
    code = "import sys, vsrkd_plugin.adapters.image_sr; assert 'basicsr' not in sys.modules"
    assert subprocess.run([sys.executable, '-c', code]).returncode == 0


@pytest.mark.parametrize('scale', [2, 3, 4])
def test_vdsr_is_fed_the_shared_bicubic(scale: int) -> None:
    network = VDSR(num_feat=4, num_block=2)
    resolver = ImageSRAdapter(network, 1)
    lr = torch.rand(2, 1, 7, 9)
    assert resolver.pre_upsampling
    torch.testing.assert_close(resolver(lr, scale), network(lr, scale=scale))
    base = torch.rand(2, 1, 7 * scale, 9 * scale)
    torch.testing.assert_close(resolver(lr, scale, base), network(base, scale=1))
    grown = ImageSRAdapter(ProgressiveStudent(network=network, active=1), 1)
    assert grown.pre_upsampling and grown.multi_scale


def test_unknown_networks_are_tried() -> None:
    lr = torch.rand(1, 3, 6, 5)
    post = _Post()
    resolver = ImageSRAdapter(post, 3)
    assert not resolver.pre_upsampling
    torch.testing.assert_close(resolver.eval()(lr, 2), post(lr))
    pre = _Pre(3)
    resolver = ImageSRAdapter(DataParallel(pre), 3)
    assert resolver.pre_upsampling
    torch.testing.assert_close(resolver(lr, 3), pre(bicubic_resize(lr, 3)))
    many = ImageSRAdapter(_Many(), 3)
    assert not many.pre_upsampling
    assert many(lr, 4).shape == (1, 3, 24, 20)


def test_trying_leaves_the_network_as_it_was() -> None:
    network = _Post()
    network.tail.eval()
    before = copy.deepcopy(network.state_dict())
    ImageSRAdapter(network, 3)
    assert network.training and network.body.training and not network.tail.training
    for key, value in network.state_dict().items():
        assert torch.equal(value, before[key])
    assert all(parameter.grad is None for parameter in network.parameters())


def test_gradient_through_a_frozen_network() -> None:
    teacher = freeze(VDSR(num_feat=4, num_block=2))
    assert not teacher.training
    lr = torch.rand(1, 1, 6, 6, requires_grad=True)
    ImageSRAdapter(teacher, 1)(lr, 2).sum().backward()
    assert lr.grad is not None and lr.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in teacher.parameters())


@pytest.mark.parametrize('with_base', [False, True])
def test_a_network_of_y_takes_rgb(with_base: bool) -> None:
    lr = torch.rand(1, 3, 8, 6)
    network = VDSR(num_feat=4, num_block=2)
    output = ImageSRAdapter(network, 1)(lr, 2, bicubic_resize(lr, 2) if with_base else None)
    torch.testing.assert_close(output, network(lr, scale=2), rtol=0, atol=1e-5)
    post = _Post(1).eval()
    output = rgb_to_ycbcr(ImageSRAdapter(post, 1)(lr, 2))
    torch.testing.assert_close(output[:, :1], post(rgb_to_y(lr)), rtol=0, atol=1e-5)
    torch.testing.assert_close(output[:, 1:], bicubic_resize(rgb_to_ycbcr(lr)[:, 1:], 2), rtol=0, atol=1e-5)


def test_wrong_scale_and_channels() -> None:
    resolver = ImageSRAdapter(_Post(), 3)
    with pytest.raises(ValueError, match=r'gives \(1, 3, 10, 10\) for x3 of \(1, 3, 5, 5\), expected \(1, 3, 15, 15\)'):
        resolver(torch.rand(1, 3, 5, 5), 3)
    with pytest.raises(ValueError, match='takes 3 channels, got 1'):
        resolver(torch.rand(1, 1, 5, 5), 2)


def test_probe() -> None:
    assert probe(_Pre(), 1) and probe(_Pre(), 1, 7, 2)
    assert not probe(_Post(), 3) and not probe(_Post(), 3, 7, 2)
    for network, arguments, message in (
        (_Post(), (3, 8, 4), r'turns an image \(1, 3, 8, 8\) into \(1, 3, 16, 16\); .* 4 times the size, or the same'),
        (_Post(), (1,), r'cannot run on an image 1x16x16: '),
        (nn.Conv2d(1, 3, 3, padding=1), (1,), r'into \(1, 3, 16, 16\); expected as many channels'),
        (nn.Conv2d(1, 1, 3), (1,), r'into \(1, 1, 14, 14\); expected .* the same size, or a multiple of it'),
        (nn.Flatten(), (1,), r'into \(1, 256\)'),
    ):
        with pytest.raises(ValueError, match=message):
            probe(network, *arguments)


def test_input_channels() -> None:
    assert input_channels(VDSR(num_feat=4, num_block=1), {}) == 1
    assert input_channels(VDSR(num_in_ch=3, num_feat=4, num_block=1), {'num_in_ch': 3}) == 3
    assert input_channels(ProgressiveStudent(network=VDSR(num_feat=4, num_block=1)), {'num_feat': 4}) == 1
    assert input_channels(_Post(5), {}) == 5
    assert input_channels(DataParallel(_Pre(2)), {}) == 2
