"""What a network costs: weights, multiply-accumulates, time for an image."""

import logging
import statistics
import time
from typing import Any

import torch
from mmengine.analysis import FlopAnalyzer
from torch import Tensor, nn

from vsrkd_plugin.distillation.super_resolver import SuperResolver
from vsrkd_plugin.ops.resize import bicubic_resize

logger = logging.getLogger('basicsr')
LR_SIDE = 64  # pixels of the LR image that reports tell complexity for
WARM_UP, REPEATS = 2, 7


class _AtScale(nn.Module):
    """A network as a function of its input alone, which is what tracing needs."""

    def __init__(self, resolver: SuperResolver, scale: int) -> None:
        super().__init__()
        self.resolver = resolver
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        return self.resolver(x, self.scale)


@torch.no_grad()
def measure_complexity(
    networks: dict[str, SuperResolver],
    scale: int,
    device: torch.device,
    interpolated: bool = False,
    lr_side: int = LR_SIDE,
) -> list[dict[str, Any]]:
    """Weights, multiply-accumulates and time of each network for one LR image of 64x64 (or `lr_side`).

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
    inputs = {name: x[:, : resolver.in_channels] for name, resolver in networks.items()}
    times: dict[str, list[float]] = {name: [] for name in networks}
    for turn in range(WARM_UP + REPEATS):
        for name, resolver in networks.items():
            seconds = _timed(resolver, inputs[name], factor)
            if turn >= WARM_UP:
                times[name].append(seconds)
    return [
        {
            'network': name,
            'params': sum(parameter.numel() for parameter in resolver.network.parameters()),
            'macs': count_macs(resolver, inputs[name], factor),
            'seconds_per_image': statistics.median(times[name]),
            'input': list(inputs[name].shape),
            'scale': scale,
        }
        for name, resolver in networks.items()
    ]


@torch.no_grad()
def count_macs(resolver: SuperResolver, x: Tensor, scale: int) -> int | None:
    """Multiply-accumulates (what mmengine calls flops) of a network on `x` enlarged by `scale`."""
    if resolver.pre_upsampling:  # enlarge outside the count
        x, scale = bicubic_resize(x, scale), 1
    # get_model_complexity_info would warn about every element-wise operator; the counter behind it can be told not to.
    counter = FlopAnalyzer(_AtScale(resolver, scale), (x,))
    counter.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings('none')
    try:
        return int(counter.total())
    except RuntimeError as error:
        logger.warning('Report: multiply-accumulates not counted, tracing failed (%s)', str(error).splitlines()[0])
        return None


def _timed(resolver: SuperResolver, x: Tensor, scale: int) -> float:
    _synchronize(x.device)
    start = time.perf_counter()
    resolver(x, scale)
    _synchronize(x.device)
    return time.perf_counter() - start


def _synchronize(device: torch.device) -> None:
    if device.type == 'cuda':
        torch.cuda.synchronize(device)
