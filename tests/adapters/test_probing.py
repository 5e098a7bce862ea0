"""What is found out of a network by running it."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vsrkd_plugin.adapters.complying import comply
from vsrkd_plugin.adapters.image_sr import ImageSRAdapter, freeze
from vsrkd_plugin.adapters.probing import (
    NEAR,
    RANGES,
    SizesFound,
    best_value_range,
    smallest_size_and_multiple,
    smooth_image,
)
from vsrkd_plugin.adapters.video_sr import VideoSRAdapter
from vsrkd_plugin.archs.imdn_arch import IMDN
from vsrkd_plugin.archs.rlfn_arch import RLFN
from vsrkd_plugin.archs.vdsr_arch import VDSR
from vsrkd_plugin.ops.resize import bicubic_resize
from vsrkd_plugin.run.checkpoints import load_weights


class _In(nn.Module):
    """Bicubic by 2 where values are those of pictures in one range: others it bends, as a trained network does."""

    def __init__(self, low: float, high: float) -> None:
        super().__init__()
        self.low, self.high = low, high

    def forward(self, x: Tensor) -> Tensor:
        unit = (x - self.low) / (self.high - self.low)
        shape = (*x.shape[:-2], 2 * x.shape[-2], 2 * x.shape[-1])
        known = unit.clamp(0.05, 0.7)
        bent = known + 3 * (unit - known)
        return bicubic_resize(bent, 2).view(shape) * (self.high - self.low) + self.low


def test_the_smooth_image() -> None:
    image = smooth_image(3)
    assert image.shape == (1, 3, 64, 64) and image.min() > 0 and image.max() < 1
    assert (image[:, :, 1:] - image[:, :, :-1]).abs().max() < 0.05
    assert not torch.equal(image[:, 0], image[:, 1])


@pytest.mark.parametrize('values', RANGES)
def test_the_range_of_a_network_is_found(values: tuple[float, float]) -> None:
    network = _In(*values)
    found = best_value_range(ImageSRAdapter(network, 3), 2)
    assert found.said == (0, 1) and found.best == values and found.errors[values] < 1e-5
    clips = best_value_range(VideoSRAdapter(network, 2), 2)
    assert clips.best == values
    comply(network, {'value_range': values})
    assert best_value_range(ImageSRAdapter(network, 3), 2).errors.keys() == {values}  # no more is asked


class _Times(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=2) * self.factor


@pytest.mark.parametrize(('factor', 'fits'), [(1.05, True), (3.0, False), (float('nan'), False)])
def test_no_other_range_is_named_where_none_fits(factor: float, fits: bool) -> None:
    found = best_value_range(ImageSRAdapter(_Times(factor), 3), 2)
    assert found.best == ((0, 1) if fits else None)
    assert (found.errors[0, 1] <= NEAR) == fits


@pytest.mark.parametrize('seed', range(3))
def test_networks_at_their_random_start_are_not_taken_for_others(seed: int) -> None:
    from basicsr.archs.edsr_arch import EDSR
    from basicsr.archs.srvgg_arch import SRVGGNetCompact

    torch.manual_seed(seed)
    for network in (SRVGGNetCompact(3, 3, 16, 3, 2), EDSR(3, 3, 8, 2, 2), VDSR(num_in_ch=3, num_feat=8, num_block=2)):
        found = best_value_range(ImageSRAdapter(network, 3), 2)
        assert found.best in (found.said, None)


def test_published_weights(shared_data: Path) -> None:
    teachers = shared_data / 'teachers'
    for network, file, channels, scale in (
        (RLFN(), 'rlfn_x4.pth', 3, 4), (IMDN(), 'imdn_x4.pth', 3, 4), (VDSR(), 'vdsr_291.pth', 1, 3)
    ):  # fmt: skip
        load_weights(comply(freeze(network)), teachers / file)
        said = (0, 255) if isinstance(network, RLFN) else (0, 1)
        found = best_value_range(ImageSRAdapter(network, channels), scale)
        assert found.best == said and found.errors[said] < 5e-4
    comply(network := RLFN(), {'value_range': (0, 1)})
    load_weights(freeze(network), teachers / 'rlfn_x4.pth')
    assert best_value_range(ImageSRAdapter(network, 3), 4).best == (0, 255)


def test_a_gan(shared_data: Path) -> None:
    """Realesr-animevideov3 changes colours a little."""
    from basicsr.archs.srvgg_arch import SRVGGNetCompact

    network = freeze(SRVGGNetCompact(3, 3, 64, 16, 4, 'prelu'))
    load_weights(network, shared_data / 'teachers' / 'realesr-animevideov3.pth')
    found = best_value_range(ImageSRAdapter(network, 3), 4)
    assert found.best == (0, 1) and found.errors[0, 1] < NEAR / 3
    for parameter in network.parameters():
        parameter.data = parameter.data.roll(1, 0)
    assert best_value_range(ImageSRAdapter(network, 3), 4).best is None


class _Sizes(nn.Module):
    def __init__(self, of: int, least: int) -> None:
        super().__init__()
        self.of, self.least = of, least

    def forward(self, x: Tensor) -> Tensor:
        if min(x.shape[-2:]) < self.least:
            raise RuntimeError('too small')
        cut = x[..., : x.shape[-2] // self.of * self.of, : x.shape[-1] // self.of * self.of]  # what is left is lost
        return F.interpolate(cut, scale_factor=2)


@pytest.mark.parametrize(
    ('of', 'least', 'found'),
    [
        (1, 1, (1, 1)),
        (1, 37, (37, 1)),
        (4, 1, (1, 4)),
        (4, 13, (16, 4)),
        (7, 1, (1, 7)),
        (12, 24, (24, 12)),
        (64, 1, (1, 64)),
    ],
)
def test_sizes_are_found(of: int, least: int, found: tuple[int, int]) -> None:
    assert smallest_size_and_multiple(_Sizes(of, least)) == SizesFound(*found)


def test_none_where_nothing_is_taken() -> None:
    assert smallest_size_and_multiple(_Sizes(1, 1000)) is None


def test_sizes_of_networks() -> None:
    from basicsr.archs.basicvsr_arch import BasicVSR
    from basicsr.archs.edvr_arch import EDVR
    from basicsr.archs.rrdbnet_arch import RRDBNet
    from basicsr.archs.swinir_arch import SwinIR

    from vsrkd_plugin.adapters.contract import NetworkContract

    swinir = {'embed_dim': 4, 'depths': [2], 'num_heads': [1], 'mlp_ratio': 1, 'upsampler': 'pixelshuffledirect'}
    edvr = {'num_feat': 8, 'deformable_groups': 2, 'num_extract_block': 1, 'num_reconstruct_block': 1}
    for network, frames, found in (
        (SwinIR(img_size=16, window_size=8, upscale=2, **swinir), None, (1, 8)),
        (SwinIR(img_size=14, window_size=7, upscale=2, **swinir), None, (1, 7)),
        (RLFN(num_feat=4, num_block=1, esa_channels=4), None, (15, 1)),
        (IMDN(num_feat=8, num_modules=1), None, (1, 1)),
        (VDSR(num_feat=4, num_block=1), None, (1, 1)),
        (RRDBNet(3, 3, 2, 4, 1, 4), None, (1, 2)),
        (EDVR(**edvr), 5, (1, 4)),
        (BasicVSR(num_feat=4, num_block=1), 2, (33, 1)),
    ):  # fmt: skip
        comply(network)  # what it says, or is known of it, has no part in what is found
        assert smallest_size_and_multiple(network, frames) == SizesFound(*found)
        contract = NetworkContract.of(network)
        assert (contract.min_size, contract.size_multiple) == found
