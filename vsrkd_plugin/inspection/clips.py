"""What a video network restores: its gain over bicubic on a photograph in motion, for each way to make LR."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from vsrkd_plugin.adapters.video_sr import VideoSRAdapter
from vsrkd_plugin.inspection.restoring import EQUAL, Gain, photographs, psnr
from vsrkd_plugin.metrics.sharpness import sharpness
from vsrkd_plugin.ops.colour import rgb_to_y
from vsrkd_plugin.ops.degradation import SIGMA, degrade
from vsrkd_plugin.ops.resize import bicubic_resize

# How LR of clips is made; the names are those of `synthesis.clips.degradation`.
CLIP_CONDITIONS: Mapping[str, Mapping[str, Any]] = {'bicubic': {}, 'blur': {'sigma': SIGMA}}
_FRAMES, _LR_SIDE, _STEP = 9, 64, (3, 2)  # HR pixels a frame: parts of an LR pixel
_BORDER = 8  # as clips are measured


@torch.no_grad()
def clip_restoration(network: VideoSRAdapter, conditions: Mapping[str, Mapping[str, Any]]) -> list[Gain]:
    """Measure a video network's gain on a photograph that moves, for LR made in each way."""
    hr = _moving_photograph(network.scale)
    found = []
    for name in conditions:
        lr = (degrade(hr, network.scale, name).clamp(0, 1) * 255).round() / 255
        results = [network(lr[None])[0], bicubic_resize(lr, network.scale, from_corner=name == 'blur'), hr]
        ours, theirs, true = (_luma(frames)[..., _BORDER:-_BORDER, _BORDER:-_BORDER] for frames in results)
        sharp = (round(float(sharpness(y * 255).mean()), 3) for y in (ours, theirs, true))
        found.append(Gain(name, psnr(ours, true), psnr(theirs, true), EQUAL, EQUAL, *sharp))
    return found


def _luma(frames: Tensor) -> Tensor:
    return (rgb_to_y(frames.clamp(0, 1)) * 255).round() / 255


def _moving_photograph(scale: int) -> Tensor:
    """`(t, 3, h, w)` in [0, 1]: a window that moves over a photograph."""
    side = _LR_SIDE * scale
    path = max(_STEP) * (_FRAMES - 1)  # HR pixels, whatever the scale
    picture = photographs(_LR_SIDE + -(-path // scale), scale, 1)[0]
    frames = []
    for number in range(_FRAMES):
        top, left = (number * step for step in _STEP)
        frames.append(picture[:, top : top + side, left : left + side])
    return torch.stack(frames)
