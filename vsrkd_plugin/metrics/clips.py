"""Metrics of clips: BasicSR's of every frame, and how steady a clip is."""

from typing import Any

from basicsr.metrics import calculate_metric
from basicsr.utils import tensor2img
from torch import Tensor

from vsrkd_plugin.ops.colour import rgb_to_y

FLICKER = 'flicker'
BORDER = 8  # pixels that the usual protocol of Vid4 cuts off


def frame_metrics(sr: Tensor, gt: Tensor, metrics: dict[str, dict[str, Any]]) -> dict[str, list[float]]:
    """BasicSR's metrics of every frame of a clip.

    Args:
        sr, gt: `(t, 3, h, w)` in [0, 1].
        metrics: name → `{type, …}`; `crop_border` is 8 where not given.
    """
    frames = [(tensor2img(a), tensor2img(b)) for a, b in zip(sr, gt, strict=True)]
    found = {}
    for name, options in metrics.items():
        wanted = {'crop_border': BORDER, **{key: value for key, value in options.items() if key != 'better'}}
        found[name] = [float(calculate_metric({'img': a, 'img2': b}, wanted)) for a, b in frames]
    return found


def clip_metrics(sr: Tensor, gt: Tensor, by_frame: dict[str, list[float]]) -> dict[str, float]:
    """Means over the frames of a clip of what `frame_metrics` found, and its `flicker`."""
    return {**{name: sum(values) / len(values) for name, values in by_frame.items()}, FLICKER: flicker(sr, gt)}


def flicker(sr: Tensor, gt: Tensor, border: int = BORDER) -> float:
    """Mean absolute difference between the changes of Y from frame to frame of two clips, in levels of 0 … 255.

    0 where a clip moves as the other, however both look; `nan` for a single frame.
    """
    change, wanted = (255 * rgb_to_y(clip.clamp(0, 1)).diff(dim=0) for clip in (sr, gt))
    inside = (..., slice(border, -border or None), slice(border, -border or None))
    return float((change - wanted)[inside].abs().mean())
