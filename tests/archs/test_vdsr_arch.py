"""VDSR: its size, its starts, its colour path, and the published figures with the public weights."""

import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from basicsr.utils.color_util import bgr2ycbcr
from basicsr.utils.matlab_functions import imresize

from vsrkd_plugin.archs.vdsr_arch import VDSR
from vsrkd_plugin.ops.colour import rgb_to_ycbcr, ycbcr_to_rgb
from vsrkd_plugin.ops.low_rank import LowRankConv
from vsrkd_plugin.ops.resize import bicubic_resize
from vsrkd_plugin.run.checkpoints import load_weights


def _weights(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def _input(channels: int = 1, height: int = 11, width: int = 14) -> torch.Tensor:
    return torch.rand(2, channels, height, width, generator=torch.Generator().manual_seed(0))


def test_number_of_weights() -> None:
    assert _weights(VDSR()) == 664_704
    assert _weights(VDSR(num_feat=32)) == 166_464
    assert _weights(VDSR(num_in_ch=3, num_feat=16, num_block=2)) == 9 * 16 * (3 + 16 + 16 + 3)


def test_identity_blocks_pass_on_what_comes_in() -> None:
    torch.manual_seed(0)
    network = VDSR(num_feat=8, num_block=5, start='identity')
    features = torch.rand(2, 8, 9, 9)
    for block in network.residual_layer:
        before = block.conv.weight.clone()
        VDSR.reset_block_to_identity(block)
        assert not torch.equal(block.conv.weight, before)  # the start has noise, which tells channels apart
        torch.testing.assert_close(before, block.conv.weight, rtol=0, atol=0.06)
        torch.testing.assert_close(block(features.clone()), features, rtol=0, atol=1e-6)
    with torch.no_grad():
        x = _input()
        expected = network.output(network.relu(network.input(x)))
        torch.testing.assert_close(network.detail(x), expected, rtol=0, atol=1e-6)


def test_a_network_without_detail_is_bicubic() -> None:
    network, x = VDSR(num_feat=4, num_block=2), _input()
    torch.nn.init.zeros_(network.output.weight)
    for scale in (2, 3, 4):
        expected = torch.stack([imresize(image.clone(), scale) for image in x])
        torch.testing.assert_close(network(x, scale).detach(), expected, rtol=0, atol=1e-5)


def test_scale_of_the_call_goes_before_that_of_the_network() -> None:
    network, x = VDSR(num_feat=4, num_block=2, upscale=3), _input()
    with torch.no_grad():
        assert network(x).shape == (2, 1, 33, 42)
        assert network(x, 4).shape == (2, 1, 44, 56)
        enlarged = bicubic_resize(x, 3)
        torch.testing.assert_close(network(enlarged, 1), network(x, 3))


def test_rgb_through_a_network_of_y() -> None:
    torch.manual_seed(0)
    network, x = VDSR(num_feat=8, num_block=2), _input(3)
    with torch.no_grad():
        result = rgb_to_ycbcr(network(x, 2))
        expected_y = network(rgb_to_ycbcr(x)[:, :1], 2)
    torch.testing.assert_close(result[:, :1], expected_y, rtol=0, atol=1e-5)
    torch.testing.assert_close(result[:, 1:], bicubic_resize(rgb_to_ycbcr(x)[:, 1:], 2), rtol=0, atol=1e-5)
    assert (expected_y - bicubic_resize(rgb_to_ycbcr(x)[:, :1], 2)).abs().max() > 1e-2  # the network did something
    assert ycbcr_to_rgb(result).shape == (2, 3, 22, 28)


def test_a_network_of_rgb_takes_rgb() -> None:
    network, x = VDSR(num_in_ch=3, num_feat=4, num_block=1), _input(3)
    base = bicubic_resize(x, 2)
    torch.testing.assert_close(network(x, 2), base + network.detail(base))


def test_bf16_is_close_and_gives_fp32() -> None:
    torch.manual_seed(0)
    network, x = VDSR(num_feat=16, num_block=4), _input()
    with torch.no_grad():
        exact = network(x)
        network.precision = 'bf16'
        low = network(x)
        assert network.detail(x).dtype == torch.bfloat16
    assert low.dtype == torch.float32
    base = bicubic_resize(x, 2)
    assert (low - exact).norm() < 0.02 * (exact - base).norm()
    assert not torch.equal(low, exact)


@pytest.mark.parametrize(
    ('options', 'word'),
    [
        ({'num_in_ch': 2}, 'num_in_ch'),
        ({'num_block': 0}, 'num_block'),
        ({'num_feat': 0}, 'num_feat'),
        ({'upscale': 0}, 'upscale'),
        ({'start': 'zero'}, 'start'),
        ({'precision': 'fp16'}, 'precision'),
    ],
)
def test_errors(options: dict, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        VDSR(**options)


@pytest.fixture(scope='module')
def public_vdsr(shared_data: Path) -> VDSR:
    file = shared_data / 'teachers' / 'vdsr_291.pth'
    if not file.is_file() or not (shared_data / 'benchmarks' / 'Set5').is_dir():
        pytest.skip(f'needs {file} and the benchmark Set5')
    network = VDSR()
    load_weights(network, file)
    return network.eval()


@pytest.mark.parametrize(('scale', 'published'), [(2, 37.57), (3, 33.74), (4, 31.44)])
def test_public_weights_reproduce_set5(public_vdsr: VDSR, shared_data: Path, scale: int, published: float) -> None:
    figures = []
    for file in sorted((shared_data / 'benchmarks' / 'Set5').iterdir()):
        image = cv2.imread(os.fspath(file)).astype(np.float32) / 255
        height, width = (side // scale * scale for side in image.shape[:2])
        y = torch.from_numpy(bgr2ycbcr(image[:height, :width], y_only=True)).view(1, 1, height, width)
        lr = imresize(y[0], 1 / scale).unsqueeze(0)
        with torch.inference_mode():
            sr = public_vdsr(lr, scale)
        sr, hr = ((image * 255).round().clamp(0, 255)[..., scale:-scale, scale:-scale] for image in (sr, y))
        figures.append(10 * np.log10(255**2 / float((sr - hr).double().square().mean())))
    assert len(figures) == 5
    assert np.mean(figures) == pytest.approx(published, abs=0.02)


def test_of_low_rank_it_keeps_its_channels() -> None:
    """Of full rank it is the same function; its names are those of pairs."""
    torch.manual_seed(0)
    whole, low = VDSR(num_feat=6, num_block=2), VDSR(num_feat=6, num_block=2, rank=18)
    assert low.state_dict().keys() == {
        'input.weight', 'output.weight',
        *(f'residual_layer.{block}.conv.{half}.weight' for block in (0, 1) for half in (0, 1)),
    }  # fmt: skip
    low.input.load_state_dict(whole.input.state_dict())
    low.output.load_state_dict(whole.output.state_dict())
    for ours, theirs in zip(low.blocks, whole.blocks, strict=True):
        assert isinstance(ours.conv, LowRankConv)
        ours.conv.set_weight(theirs.conv.weight)
    x = torch.rand(1, 1, 9, 8)
    torch.testing.assert_close(low(x, 2), whole(x, 2), atol=1e-5, rtol=1e-5)
    assert sum(p.numel() for p in VDSR(rank=24).parameters()) == 167_040


def test_a_random_start_of_low_rank_is_as_large_as_a_whole_one() -> None:
    torch.manual_seed(0)
    norms = [VDSR(rank=rank).blocks[0].conv.weight.std().item() for rank in (None, 24)]
    assert 0.8 < norms[1] / norms[0] < 1.25


@pytest.mark.parametrize('rank', [0, 193, 2.5, True, 'x'])
def test_a_rank_that_cannot_be(rank: Any) -> None:
    with pytest.raises(ValueError, match=f'rank must be a whole number from 1 to 192, got {rank!r}'):
        VDSR(rank=rank)
