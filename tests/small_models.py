"""Networks that can be used, made on the spot."""

from typing import Any

import torch
from torch import Tensor, nn

from vsrkd_plugin.adapters.complying import comply
from vsrkd_plugin.adapters.image_sr import ImageSRAdapter, freeze
from vsrkd_plugin.deploy.model import Model
from vsrkd_plugin.registration import register
from vsrkd_plugin.run.model_file import ModelHeader


class Nearest(nn.Module):
    """Repeats pixels: what becomes of a picture is known to the bit."""

    def __init__(self, scale: int = 2) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        return x.repeat_interleave(self.scale, -1).repeat_interleave(self.scale, -2)


class PoolsAll(Nearest):
    """Adds a little of the whole picture's mean to each pixel, as attention over it does."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x + 0.1 * x.mean((-1, -2), keepdim=True))


def model_of(network: nn.Module, scales: tuple[int, ...] = (2,), channels: int = 3) -> Model:
    """A network as it would be opened from a file."""
    header = ModelHeader({'type': type(network).__name__}, scales, channels)
    return Model('made.pth', network, ImageSRAdapter(freeze(network), channels), header)


def random_model(options: dict[str, Any], scales: tuple[int, ...], channels: int = 3) -> Model:
    """A network of BasicSR's or ours at its random start, with what it adds made large enough to be seen."""
    register()
    from basicsr.archs import build_network

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build_network(dict(options))
    comply(network, None, options)
    header = ModelHeader(options, scales, channels)
    return Model('made.pth', network, ImageSRAdapter(freeze(network), channels), header)
