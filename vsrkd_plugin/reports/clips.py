"""Bicubic, teacher and student on clips: the metrics of every frame, and a line of a clip over time to look at."""

import logging
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from vsrkd_plugin.adapters.video_sr import VideoSRAdapter
from vsrkd_plugin.data.whole_clips import Samples, count_clips, whole_clips
from vsrkd_plugin.errors import UserError
from vsrkd_plugin.metrics.clips import clip_means, frame_metrics
from vsrkd_plugin.metrics.means import Values, finite_means, measure
from vsrkd_plugin.ops.resize import bicubic_resize
from vsrkd_plugin.reports.evaluation import (
    CROP_SIZE,
    DEFAULT_METRICS,
    WINDOW_SIZE,
    Crop,
    Evaluation,
    Film,
    hardest,
    result_entries,
    to_image,
    worst_crop,
)
from vsrkd_plugin.reports.names import printable, short_name
from vsrkd_plugin.run.progress import progress

_FILMS, _FILM_SIZE, _FILM_ZOOM = 3, 96, 2  # how many, pixels of HR, enlarged so
logger = logging.getLogger('basicsr')


@torch.no_grad()
def evaluate_clips(
    samples: Samples,
    options: dict[str, Any],
    networks: dict[str, VideoSRAdapter],
    metrics: dict[str, dict[str, Any]],
    device: torch.device,
) -> Evaluation:
    """Measure bicubic and every network on the clips of one data set, in fp32, frames rounded to 8 bits.

    Args:
        samples: gives whole clips: `lq` and `gt` `(t, 3, h, w)` in [0, 1], `folder`, `scale`.
        options: the data set's options (`name`).
        networks: by method (`teacher`, `student`), on `device`, in eval mode.
        metrics: options of the metrics by name; `crop_border` is 8 where not given.

    Returns:
        A result for each method and clip, with the metrics of each of its `frames`, and, of several clips, their mean;
        beside the metrics stands `flicker`. Frames and clips for which a value is not finite do not count in its mean;
        `left_out` of the results says so. Of each clip the worst window of its middle frame, and a line over time; and
        the first clips as films.

    Raises:
        UserError: a network does not take the clips.
    """
    label, evaluation = options.get('name', '?'), Evaluation()
    values: dict[str, Values] = {}  # method → metric → value of each clip
    names: list[str] = []
    scale = 1
    for network in networks.values():
        network.padding = options.get('padding', 'replicate')
    for sample in progress(whole_clips(samples), f'report: {label}', 'clip', total=count_clips(samples)):
        scale, gt, clip = int(sample['scale']), sample['gt'], printable(sample['folder'])
        # Of LR that was blurred each pixel lies on the first of its HR pixels; bicubic must not be shifted against HR.
        corner = options.get('degradation') == 'blur'
        outputs = {'bicubic': bicubic_resize(sample['lq'], scale, from_corner=corner)}
        for method, network in networks.items():
            try:
                outputs[method] = network(sample['lq'][None].to(device), scale)[0].cpu()
            except ValueError as error:
                raise UserError(f'data set {label}, {clip}, {method}: not a network for it: {error}') from error
        name = f'{short_name(label, scale)}/{clip}'
        names.append(clip)
        by_frame = {method: frame_metrics(output, gt, metrics) for method, output in outputs.items()}
        means = clip_means(outputs, gt, by_frame)
        for entry in result_entries(means, name, scale):
            evaluation.results.append(entry | {'frames': by_frame[entry['method']]})
        for method, found in means.by_method.items():
            for metric, value in found.items():
                values.setdefault(method, {}).setdefault(metric, []).append(value)
        where, clips = (short_name(label, scale), scale, clip), (sample['lq'], outputs, gt)
        evaluation.crops += [_middle(*where, *clips, CROP_SIZE), _over_time(*where, *clips, CROP_SIZE)]
        evaluation.windows = hardest([*evaluation.windows, _middle(*where, *clips, WINDOW_SIZE)])
        if len(gt) > 1:
            evaluation.over_time = hardest([*evaluation.over_time, _over_time(*where, *clips, WINDOW_SIZE)])
        if len(evaluation.films) < _FILMS and len(gt) > 1:
            evaluation.films.append(_film(name, scale, sample['lq'], outputs, gt))
        logger.info(
            'Report: %s, %s, %d frames, PSNR: %s', label, clip, len(gt),
            ', '.join(f'{method} {found["psnr"]:.2f}' for method, found in means.by_method.items()),
        )  # fmt: skip
    if len(names) > 1:  # the mean over clips, as papers give it
        evaluation.results += result_entries(finite_means(values, names, 'clips'), short_name(label, scale), scale)
    return evaluation


def _film(clip: str, scale: int, lq: Tensor, outputs: dict[str, Tensor], gt: Tensor) -> Film:
    """The window where the changes of bicubic's frames differ most from those of HR's: all its frames, enlarged."""
    size = min(_FILM_SIZE, *gt.shape[-2:]) // scale
    change = (outputs['bicubic'].diff(dim=0) - gt.diff(dim=0)).abs().mean((0, 1))
    over = torch.nn.functional.avg_pool2d(change[None, None], size * scale, stride=scale)[0, 0]
    top, left = np.unravel_index(int(over.argmax()), over.shape)

    def cut(frames: Tensor, step: int) -> np.ndarray:
        window = frames[..., top * step : (top + size) * step, left * step : (left + size) * step]
        side = _FILM_SIZE * _FILM_ZOOM
        return np.stack([cv2.resize(to_image(f), (side, side), interpolation=cv2.INTER_NEAREST) for f in window])

    panels = {'lr': cut(lq, 1)} | {method: cut(output, scale) for method, output in outputs.items()}
    return Film(clip, {**panels, 'hr': cut(gt, scale)})


def _middle(dataset: str, scale: int, clip: str, lq: Tensor, outputs: dict[str, Tensor], gt: Tensor, side: int) -> Crop:
    """The worst window of the middle frame."""
    middle = len(gt) // 2
    images = {method: to_image(output[middle]) for method, output in outputs.items()}
    name = f'{clip}, frame {middle}'
    return worst_crop(dataset, scale, name, to_image(lq[middle]), images, to_image(gt[middle]), side)


def _over_time(
    dataset: str, scale: int, clip: str, lq: Tensor, outputs: dict[str, Tensor], gt: Tensor, side: int
) -> Crop:
    """A line of `side` pixels, or what there is, over time (downwards), as high as it is wide."""
    # It lies where the changes of bicubic's frames differ most from those of HR's.
    change = (outputs['bicubic'].diff(dim=0) - gt.diff(dim=0)).abs().mean((0, 1)) if len(gt) > 1 else gt[0, 0] * 0
    width = min(side, gt.shape[-1]) // scale * scale
    over = torch.nn.functional.avg_pool2d(change.reshape(1, 1, *change.shape[-2:]), (1, width), stride=(1, scale))[0, 0]
    row, left = (int(place) for place in np.unravel_index(int(over.argmax()), over.shape))
    left *= scale

    def line(frames: Tensor, row: int, left: int, width: int) -> np.ndarray:
        strip = np.stack([to_image(frame[..., row : row + 1, left : left + width])[0] for frame in frames])
        return cv2.resize(strip, (side, side), interpolation=cv2.INTER_NEAREST)

    panels = {'lr': line(lq, row // scale, left // scale, max(width // scale, 1))}
    panels |= {method: line(output, row, left, width) for method, output in outputs.items()}
    panels['hr'] = line(gt, row, left, width)
    settings = {**DEFAULT_METRICS['psnr'], 'crop_border': 0}
    psnr = {method: measure(panels[method], panels['hr'], settings) for method in outputs}
    error = float(np.abs(panels['hr'].astype(np.float32) - panels['bicubic']).mean())
    return Crop(dataset, scale, f'{clip}, line {row} over time', error, panels, psnr)
