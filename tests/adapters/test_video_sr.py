"""Video networks of either kind behind one face; BasicSR's own among them."""

import pytest
import torch
from basicsr.data.data_util import generate_frame_indices
from torch import Tensor, nn

from vsrkd_plugin.adapters.video_sr import PADDINGS, VideoSRAdapter, frame_windows
from vsrkd_plugin.archs.rlsp_arch import RLSP
from vsrkd_plugin.ops.resize import bicubic_resize


class Middle(nn.Module):
    """A window's middle frame, repeated `scale` times; refuses windows of another length."""

    def __init__(self, length: int, scale: int) -> None:
        super().__init__()
        self.length, self.scale = length, scale

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] != self.length:
            raise ValueError(f'expected {self.length} frames')
        frame = x[:, self.length // 2] + 0.1 * x.sum(1)
        return frame.repeat_interleave(self.scale, 2).repeat_interleave(self.scale, 3)


@pytest.mark.parametrize('padding', PADDINGS)
@pytest.mark.parametrize(('frames', 'length'), [(7, 5), (5, 5), (9, 3)])
def test_windows_are_basicsrs(padding: str, frames: int, length: int) -> None:
    expected = [generate_frame_indices(i, frames, length, padding) for i in range(frames)]
    assert frame_windows(frames, length, padding).tolist() == expected


def test_every_frame_gets_its_window() -> None:
    resolver = VideoSRAdapter(Middle(5, 2), 2, windows_at_once=3)
    assert resolver.window == 5 and not resolver.recurrent and not resolver.pre_upsampling
    clip = torch.rand(2, 6, 3, 4, 5)
    out = resolver(clip)
    assert out.shape == (2, 6, 3, 8, 10)
    expected = clip[1, 0] + 0.1 * (3 * clip[1, 0] + clip[1, 1] + clip[1, 2])
    torch.testing.assert_close(out[1, 0, :, ::2, ::2], expected)


def test_the_length_is_found_or_told() -> None:
    assert VideoSRAdapter(Middle(9, 4), 4).window == 9
    assert VideoSRAdapter(Middle(11, 4), 4, {'num_frame': 11}).window == 11
    with pytest.raises(ValueError, match='takes no clips of 16x16: 5 frames: expected 11 frames; 7 frames'):
        VideoSRAdapter(Middle(11, 4), 4)


def test_recurrent_networks_are_called_as_they_are() -> None:
    network = RLSP(num_feat=4, num_layer=2, upscale=2).eval()
    resolver = VideoSRAdapter(network, 2)
    clip = torch.rand(1, 3, 3, 6, 6)
    assert resolver.recurrent
    with torch.no_grad():
        assert torch.equal(resolver(clip), network(clip))


def test_networks_that_work_at_hr_size_get_bicubic() -> None:
    resolver, clip = VideoSRAdapter(Middle(3, 1), 4), torch.rand(1, 3, 3, 4, 4)
    assert resolver.pre_upsampling
    large = bicubic_resize(clip, 4)
    torch.testing.assert_close(resolver(clip)[:, 1], large[:, 1] + 0.1 * large.sum(1))


def test_checkpointing_gives_the_same_gradient_and_keeps_less() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(1, 2), nn.Conv2d(9, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 12, 3, padding=1))
    network.append(nn.PixelShuffle(2))
    clip, found = torch.rand(1, 9, 3, 8, 8), {}
    for checkpointed in (False, True):
        resolver = VideoSRAdapter(network, 2, {'num_frame': 3}, checkpointed=checkpointed, windows_at_once=2)
        kept = []
        with torch.autograd.graph.saved_tensors_hooks(lambda x, kept=kept: kept.append(x.numel()) or x, lambda x: x):
            output = resolver(clip)
        gradient = torch.autograd.grad(output.square().sum(), network.parameters())
        found[checkpointed] = sum(kept), gradient
    assert found[True][0] < 0.5 * found[False][0]
    for plain, anew in zip(found[False][1], found[True][1], strict=True):
        torch.testing.assert_close(plain, anew)


def test_a_recurrent_network_must_know_how_to_be_checkpointed() -> None:
    network = RLSP(num_feat=4, num_layer=2, upscale=2)
    assert VideoSRAdapter(network, 2, checkpointed=True).network.checkpointed

    class Plain(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.repeat_interleave(2, 3).repeat_interleave(2, 4)

    with pytest.raises(ValueError, match='Plain is recurrent and has no option'):
        VideoSRAdapter(Plain(), 2, checkpointed=True)


def test_errors_name_what_is_wrong() -> None:
    with pytest.raises(ValueError, match='a clip of 4 frames is shorter than the window of 5'):
        VideoSRAdapter(Middle(5, 2), 2)(torch.rand(1, 4, 3, 4, 4))
    with pytest.raises(ValueError, match='must be odd, got 4'):
        VideoSRAdapter(Middle(4, 2), 2, {'num_frame': 4})
    with pytest.raises(ValueError, match=r'into \(1, 3, 32, 32\); expected \(1, 3, 64, 64\)'):
        VideoSRAdapter(Middle(5, 2), 4)
    with pytest.raises(ValueError, match='replicate, reflection, reflection_circle, circle'):
        VideoSRAdapter(Middle(5, 2), 2, padding='zeros')


@pytest.mark.parametrize(
    ('name', 'settings', 'window', 'lr_size'),
    [
        ('DUF', {'num_layer': 16}, 7, 8),
        ('EDVR', {'num_feat': 8, 'deformable_groups': 2, 'num_extract_block': 1, 'num_reconstruct_block': 1}, 5, 16),
        ('TOFlow', {}, 7, 16),
        ('BasicVSR', {'num_feat': 8, 'num_block': 1}, None, 64),
        ('TDAN', {'num_feat': 8, 'num_extract_block': 1, 'num_block': 1}, 5, 8),
    ],
)
def test_basicsrs_networks(name: str, settings: dict, window: int | None, lr_size: int) -> None:
    from basicsr.archs import build_network

    from vsrkd_plugin.registration import register

    register()
    torch.manual_seed(0)
    network = build_network({'type': name, **settings}).eval()
    resolver = VideoSRAdapter(network, 4, settings, lr_size=lr_size)
    assert resolver.window == window
    assert resolver.pre_upsampling == (name == 'TOFlow')
    clip = torch.rand(1, 7, 3, lr_size, lr_size)
    with torch.no_grad():
        assert resolver(clip).shape == (1, 7, 3, 4 * lr_size, 4 * lr_size)
