"""What a network costs: weights, multiply-accumulates, time for an image."""

import logging
import statistics
import time
from collections.abc import Mapping
from typing import Any

import torch
from mmengine.analysis import FlopAnalyzer
from torch import Tensor, nn

from vsrkd_plugin.adapters.image_sr import ImageSRAdapter
from vsrkd_plugin.adapters.video_sr import VideoSRAdapter
from vsrkd_plugin.errors import first_line
from vsrkd_plugin.ops.resize import bicubic_resize
from vsrkd_plugin.run.progress import progress

logger = logging.getLogger('basicsr')
LR_SIDE = 64  # pixels: side of the LR image for which reports tell the complexity
FRAMES = 7  # of the clip that video networks are measured with
WARM_UP, REPEATS = 2, 7
PATIENCE = 20.0  # seconds
Adapter = ImageSRAdapter | VideoSRAdapter


class _AtScale(nn.Module):
    """A network as a function of its input alone, which is what tracing needs."""

    def __init__(self, adapter: Adapter, scale: int, base: Tensor | None) -> None:
        super().__init__()
        self.adapter, self.scale, self.base = adapter, scale, base

    def forward(self, x: Tensor) -> Tensor:
        return self.adapter(x, self.scale, self.base)


@torch.no_grad()
def measure_complexity(
    networks: Mapping[str, Adapter],
    scale: int,
    device: torch.device,
    interpolated: bool = False,
    lr_side: int = LR_SIDE,
) -> list[dict[str, Any]]:
    """Weights, multiply-accumulates and time of each network for one LR image of 64x64 (or `lr_side`).

    Of video networks, for one frame in a clip of seven.

    Multiply-accumulates are those of the network, without the bicubic enlargement before it, as papers count them; the
    time includes it. The networks take turns, so that a change of the machine's load reaches all of them.

    Args:
        networks: by name, on `device`, in eval mode.
        scale: factor of enlargement.
        interpolated: the networks are given LR enlarged already.
        lr_side: side of the LR image.

    Returns:
        For each network `{network, params, macs, seconds_per_image, input, scale}`; `macs` is None where the network
        cannot be traced.
    """
    x = torch.rand(1, 3, lr_side, lr_side, generator=torch.Generator().manual_seed(0)).to(device)
    factor = scale
    if interpolated:
        x, factor = bicubic_resize(x, scale), 1
    inputs: dict[str, Tensor] = {}
    frames: dict[str, int] = {}
    for name, adapter in networks.items():
        if isinstance(adapter, VideoSRAdapter):
            frames[name] = max(FRAMES, adapter.window or 0)
            inputs[name] = x[:, None].repeat(1, frames[name], 1, 1, 1)
        else:
            frames[name], inputs[name] = 1, x[:, : adapter.in_channels]
    times: dict[str, list[float]] = {name: [] for name in networks}
    started = time.monotonic()
    for turn in progress(range(WARM_UP + REPEATS), 'report: timing the networks', 'turn'):
        for name, adapter in networks.items():
            seconds = _timed(adapter, inputs[name], factor)
            if turn >= WARM_UP or time.monotonic() - started > PATIENCE:
                times[name].append(seconds)
        if time.monotonic() - started > PATIENCE and all(times.values()):  # a heavy network: fewer passes must do
            break
    return [
        {
            'network': name,
            'params': sum(parameter.numel() for parameter in adapter.network.parameters()),
            'macs': count_macs(adapter, inputs[name], factor, frames[name]),
            'seconds_per_image': statistics.median(times[name]) / frames[name],
            'input': [1, *inputs[name].shape[-3:]],
            'scale': scale,
        }
        for name, adapter in networks.items()
    ]


@torch.no_grad()
def count_macs(adapter: Adapter, x: Tensor, scale: int, frames: int = 1) -> int | None:
    """Multiply-accumulates (what mmengine calls flops) of a network on `x` enlarged by `scale`, a frame of `frames`."""
    base = bicubic_resize(x, scale) if adapter.pre_upsampling else None  # enlarge outside the count
    # get_model_complexity_info would warn about every element-wise operator; the counter behind it can be told not to.
    counter = FlopAnalyzer(_AtScale(adapter, scale, base), (x,))
    counter.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings('none')
    try:
        return int(counter.total()) // frames
    except (RuntimeError, LookupError, TypeError, ValueError, AssertionError) as error:  # of IconVSR a KeyError
        reason = first_line(error)
        logger.warning('Report: multiply-accumulates not counted, tracing failed (%s)', reason)
        return None


def _timed(adapter: Adapter, x: Tensor, scale: int) -> float:
    _synchronize(x.device)
    start = time.perf_counter()
    adapter(x, scale)
    _synchronize(x.device)
    return time.perf_counter() - start


def _synchronize(device: torch.device) -> None:
    if device.type == 'cuda':
        torch.cuda.synchronize(device)
