"""Models with weights that matter, small enough to be exported in a second."""

from typing import Any

import torch
from torch import Tensor, nn

from vsrkd_plugin.adapters.complying import comply
from vsrkd_plugin.adapters.contract import NetworkContract
from vsrkd_plugin.adapters.image_sr import ImageSRAdapter, freeze
from vsrkd_plugin.adapters.video_sr import VideoSRAdapter
from vsrkd_plugin.deploy.model import Model
from vsrkd_plugin.registration import register
from vsrkd_plugin.run.model_file import ModelHeader

COMPACT = {'type': 'SRVGGNetCompact', 'num_feat': 8, 'num_conv': 2, 'upscale': 2}
VDSR = {'type': 'VDSR', 'num_feat': 6, 'num_block': 2}
RLSP = {'type': 'RLSP', 'num_feat': 6, 'num_layer': 4, 'upscale': 2, 'normalised': True}


class Picky(nn.Module):
    """Enlarges by 2, in 0..255, and takes sides of multiples of 4 from 12 on alone."""

    value_range = (0, 255)
    size_multiple = 4
    min_size = 12
    num_in_ch = 3

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.PixelUnshuffle(4), nn.Conv2d(48, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 192, 3, padding=1)
        )
        self.up = nn.PixelShuffle(8)

    def forward(self, x: Tensor) -> Tensor:
        return self.up(self.body(x)) + nn.functional.interpolate(x, scale_factor=2)


def model(options: dict[str, Any], scales: tuple[int, ...] = (2,), network: nn.Module | None = None) -> Model:
    """A model of the options of its network, or of a network; its weights are random."""
    register()
    from basicsr.archs import build_network

    torch.manual_seed(1)
    built = freeze(build_network(dict(options)) if network is None else network)
    for parameter in built.parameters():
        parameter.data.add_(0.05 * torch.randn(parameter.shape))
    comply(built, {}, options)
    channels = NetworkContract.of(built).channels
    is_video = options['type'] == 'RLSP'
    adapter = VideoSRAdapter(built, scales[0], options) if is_video else ImageSRAdapter(built, channels)
    return Model('tiny.pth', built, adapter, ModelHeader(options, scales, channels, is_video))


def pictures(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(5))
