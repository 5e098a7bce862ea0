"""RLSP: what a frame may depend on, the published figures, and its gradient with and without checkpoints."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from vsrkd_plugin.archs.rlsp_arch import RLSP
from vsrkd_plugin.errors import UserError
from vsrkd_plugin.ops.colour import rgb_to_y, rgb_to_ycbcr
from vsrkd_plugin.ops.degradation import degrade
from vsrkd_plugin.ops.resize import bicubic_resize
from vsrkd_plugin.run.checkpoints import load_weights

DATA = Path(__file__).resolve().parents[3] / 'shared' / 'data'


def small(**settings: int) -> RLSP:
    torch.manual_seed(0)
    network = RLSP(num_feat=6, num_layer=3, **{'upscale': 2, **settings})
    with torch.no_grad():
        network.layers()[-1].weight.mul_(100)  # or its result would hardly differ from the repetition
    return network


def test_shapes_and_size_of_the_public_network() -> None:
    network = RLSP()
    assert sum(parameter.numel() for parameter in network.parameters()) == 282_128
    assert sum(parameter.numel() for parameter in RLSP(num_feat=48).parameters()) == 163_216
    assert list(network.state_dict())[:3] == ['layer0.weight', 'layer0.bias', 'layer1.weight']
    with torch.no_grad():
        assert network(torch.rand(2, 3, 3, 8, 10)).shape == (2, 3, 3, 32, 40)


@pytest.mark.parametrize('normalised', [False, True])
def test_without_weights_it_repeats_luma_and_enlarges_chroma(normalised: bool) -> None:
    network, x = small(normalised=normalised), torch.rand(1, 2, 3, 6, 5)
    with torch.no_grad():
        for parameter in network.layers()[-1].parameters():
            parameter.zero_()
        y = network(x)
    flat, result = x.flatten(0, 1), y.flatten(0, 1)
    repeated = rgb_to_y(flat).repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(rgb_to_y(result), repeated, rtol=0, atol=1e-5)
    torch.testing.assert_close(
        (result - bicubic_resize(flat, 2, from_corner=True)).diff(dim=1), torch.zeros(2, 2, 12, 10), rtol=0, atol=1e-5
    )


def test_chroma_lies_where_lr_was_taken() -> None:
    """Chroma of a smooth clip comes back in its place from LR of either kind; from the other kind it is shifted."""
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing='ij')
    planes = [0.5 + 0.3 * torch.sin((x + shift) / 9 + y / 13) for shift in (0, 5, 11)]
    hr = torch.stack(planes)[None, None].expand(1, 2, -1, -1, -1)
    chroma, errors = rgb_to_ycbcr(hr[0])[:, 1:], {}
    for degradation in ('blur', 'bicubic'):
        lr = degrade(hr, 4, degradation)
        for centred in (False, True):
            network = RLSP(num_feat=4, num_layer=2, upscale=4, centred=centred).eval()
            with torch.no_grad():
                result = rgb_to_ycbcr(network(lr)[0])[:, 1:]
            errors[degradation, centred] = float((result - chroma)[..., 8:-8, 8:-8].abs().mean())
    assert errors['blur', False] < 0.2 * errors['blur', True]
    assert errors['bicubic', True] < 0.2 * errors['bicubic', False]


@pytest.mark.parametrize('normalised', [False, True])
def test_a_frame_depends_on_the_next_and_on_all_before(normalised: bool) -> None:
    network = small(normalised=normalised).double()
    x = torch.rand(1, 5, 3, 6, 6, dtype=torch.float64, requires_grad=True)
    network.luma(x)[:, 2].sum().backward()
    touched = x.grad.abs().amax((0, 2, 3, 4)) > 0
    assert touched.tolist() == [True, True, True, True, False]


@pytest.mark.parametrize('normalised', [False, True])
def test_checkpoints_change_no_gradient(normalised: bool) -> None:
    x, gradients = torch.rand(2, 4, 3, 6, 6), []
    for checkpointed in (False, True):
        network = small(checkpointed=checkpointed, normalised=normalised)
        network(x).square().mean().backward()
        gradients.append([parameter.grad for parameter in network.parameters()])
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-7)


def test_a_normalised_network_reads_this_frame_and_differences_from_it() -> None:
    network = small(normalised=True)
    grey = torch.tensor([60.0, 100.0, 84.0, 84.0]).view(1, 4, 1, 1, 1).expand(1, 4, 3, 5, 5) / 255
    frames, luma = network.inputs(grey)
    last, this, following = frames.mean((3, 4))[0].unflatten(1, (3, 3)).unbind(1)  # each brightness and two colours
    torch.testing.assert_close(this[:, 0] * 64, torch.tensor([60.0, 100.0, 84.0, 84.0]))
    torch.testing.assert_close(last[:, 0] * 16, torch.tensor([0.0, -40.0, 16.0, 0.0]), rtol=0, atol=1e-3)
    torch.testing.assert_close(following[:, 0] * 16, torch.tensor([40.0, -16.0, 0.0, 0.0]), rtol=0, atol=1e-3)
    assert max(x[:, 1:].abs().max() for x in (last, this, following)) < 1e-4
    torch.testing.assert_close(luma.mean((2, 3, 4))[0], 16 + torch.tensor([60.0, 100, 84, 84]) * 219 / 255)
    state, result = network.start(luma[:, 0])
    read = network.read(frames[:, 0], luma[:, 0], state, result)
    assert not read[:, 9:].any()  # before the first frame there is nothing that differs
    read = network.read(frames[:, 1], luma[:, 1], state, result)
    torch.testing.assert_close(read[:, -4:] * 16, (luma[:, 0] - luma[:, 1]).expand(-1, 4, -1, -1), rtol=0, atol=1e-3)


def test_hidden_layers_of_a_normalised_network_start_near_identities() -> None:
    x = torch.rand(1, 64, 8, 8)
    for normalised in (False, True):
        hidden = RLSP(normalised=normalised).layers()[1:-1]
        with torch.no_grad():
            distances = [float((layer(x) - x).abs().mean()) for layer in hidden]
        assert len(hidden) == 6 and (max(distances) < 0.2 if normalised else min(distances) > 0.5)


def test_differences_are_not_those_of_bf16() -> None:
    """Rounded to bf16 before they are taken, differences of bright frames are wrong by half a level."""
    network, x = small(normalised=True), 0.9 + 0.02 * torch.rand(1, 3, 3, 8, 8)
    exact = network.inputs(x)[0]
    with torch.autocast('cpu', torch.bfloat16):
        assert torch.equal(network.inputs(x)[0], exact)


def test_weights_of_one_kind_are_refused_by_the_other(tmp_path: Path) -> None:
    for saved, loading in ((True, False), (False, True)):
        torch.save({'params': small(normalised=saved).state_dict()}, tmp_path / 'rlsp.pth')
        with pytest.raises(UserError, match=r'mixing .* differ in `normalised`'):
            load_weights(small(normalised=loading), tmp_path / 'rlsp.pth')


@pytest.mark.parametrize('shape', [(1, 3, 8, 8), (1, 2, 1, 8, 8)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r'takes RGB clips \(b, t, 3, h, w\)'):
        RLSP(num_feat=4)(torch.rand(shape))


@pytest.mark.parametrize(('num_feat', 'clip', 'published'), [(64, 'calendar', 23.72), (48, 'walk', 29.42)])
def test_public_weights_give_their_figures(num_feat: int, clip: str, published: float) -> None:
    """Vid4, BD with sigma 1.5, Y, border 8, all frames."""
    weights, folder = DATA / 'teachers' / f'rlsp_7_{num_feat}.pth', DATA / 'video' / 'Vid4' / clip
    if not weights.is_file() or not folder.is_dir():
        pytest.skip(f'needs {weights.name} and the clip {clip} of the shared data')
    network = RLSP(num_feat=num_feat).eval()
    load_weights(network, weights)
    hr = np.stack([cv2.imread(str(file))[..., ::-1] for file in sorted(folder.glob('*.png'))]).astype(np.float64)
    hr = hr[:, : hr.shape[1] // 4 * 4, : hr.shape[2] // 4 * 4]
    lr = gaussian_filter(hr, (0, 1.5, 1.5, 0), truncate=4)[:, ::4, ::4].round().clip(0, 255) / 255
    with torch.no_grad():
        sr = network(torch.from_numpy(lr).float().permute(0, 3, 1, 2)[None])[0]
    y = (255 * rgb_to_y((255 * sr.clamp(0, 1)).round() / 255)).double()
    truth = 255 * rgb_to_y(torch.from_numpy(hr).permute(0, 3, 1, 2) / 255)
    error = (y - truth)[..., 8:-8, 8:-8].square().mean((1, 2, 3))
    assert float((10 * torch.log10(255**2 / error)).mean()) == pytest.approx(published, abs=0.02)
