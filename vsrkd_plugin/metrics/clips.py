"""Metrics of clips: BasicSR's of every frame, and how steady a clip is."""

from collections.abc import Mapping
from typing import Any

from basicsr.utils import tensor2img
from torch import Tensor

from vsrkd_plugin.metrics.means import Means, Values, finite_means, measure
from vsrkd_plugin.ops.colour import rgb_to_y

FLICKER = 'flicker'
BORDER = 8  # pixels that the usual protocol of Vid4 cuts off


def frame_metrics(sr: Tensor, gt: Tensor, metrics: Mapping[str, Mapping[str, Any]]) -> Values:
    """BasicSR's metrics of every frame of a clip.

    Args:
        sr, gt: `(t, 3, h, w)` in [0, 1].
        metrics: name → `{type, …}`; `crop_border` is 8 where not given.

    Returns:
        Metric → a value for each frame, which may not be finite (see `measure`).
    """
    frames = [(tensor2img(a), tensor2img(b)) for a, b in zip(sr, gt, strict=True)]
    return {
        name: [measure(a, b, {'crop_border': BORDER, **options}) for a, b in frames]
        for name, options in metrics.items()
    }


def clip_means(outputs: Mapping[str, Tensor], gt: Tensor, by_frame: Mapping[str, Values]) -> Means:
    """Means over the frames of a clip, and its `flicker`, for several methods.

    Args:
        outputs: method → SR `(t, 3, h, w)` in [0, 1].
        gt: HR.
        by_frame: method → what `frame_metrics` found.
    """
    means = finite_means(by_frame, [f'frame {number}' for number in range(len(gt))], 'frames')
    for method, sr in outputs.items():
        means.by_method[method][FLICKER] = flicker(sr, gt)
    return means


def flicker(sr: Tensor, gt: Tensor, border: int = BORDER) -> float:
    """Mean absolute difference between the changes of Y from frame to frame of two clips, in levels of 0 … 255.

    0 where a clip moves as the other, however both look; `nan` for a single frame.
    """
    change, wanted = (255 * rgb_to_y(clip.clamp(0, 1)).diff(dim=0) for clip in (sr, gt))
    inside = (..., slice(border, -border or None), slice(border, -border or None))
    return float((change - wanted)[inside].abs().mean())
