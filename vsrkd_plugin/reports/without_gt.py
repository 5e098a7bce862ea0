"""Bicubic, teacher and student on pictures of which there is no HR: to look at, and for NIQE, which needs none."""

import logging
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from vsrkd_plugin.adapters.image_sr import ImageSRAdapter
from vsrkd_plugin.data.whole_clips import Samples
from vsrkd_plugin.errors import UserError
from vsrkd_plugin.metrics.means import Means
from vsrkd_plugin.ops.resize import bicubic_resize
from vsrkd_plugin.reports.evaluation import (
    CROP_SIZE,
    WINDOW_SIZE,
    Crop,
    Evaluation,
    cut_panels,
    hardest,
    image_name,
    result_entries,
    to_image,
    worst_place,
)
from vsrkd_plugin.reports.likeness import Likeness
from vsrkd_plugin.reports.names import short_name
from vsrkd_plugin.run.progress import progress

logger = logging.getLogger('basicsr')

MOST_PICTURES, MOST_SIDE = 8, 256  # of a set; pixels of LR: pictures of a camera are large and many
_DETAIL = 8  # LR pixels: what a blur so wide takes away is detail


@torch.no_grad()
def evaluate_without_gt(
    samples: Samples, options: dict[str, Any], networks: dict[str, ImageSRAdapter], device: torch.device, scale: int
) -> Evaluation:
    """Look at bicubic and every network on one data set without ground truth, in fp32, rounded to 8 bits.

    Args:
        samples: gives dictionaries with `lq` (`(c, h, w)` in [0, 1]) and perhaps `scale`, `lq_path`. Of more than
            `MOST_PICTURES` some are taken, evenly, and of large ones the middle `MOST_SIDE` pixels.
        options: the data set's (`name`).
        networks: by method (`teacher`, `student`), on `device`, in eval mode.
        scale: of what does not tell its own.

    Returns:
        A result for each method, with what `Likeness` measures, NIQE always, and without PSNR and SSIM; and windows of
        each picture where it has most detail, which the networks have no say in.

    Raises:
        UserError: a network does not take the pictures.
    """
    label, count = options.get('name', '?'), len(samples)
    likeness, crops, windows = Likeness(niqe=True), list[Crop](), list[Crop]()
    for number in progress(range(min(count, MOST_PICTURES)), f'report: {label}', 'image'):
        sample = samples[index := number * count // min(count, MOST_PICTURES)]
        scale = int(sample.get('scale', options.get('scale', scale)))
        lq = _middle(sample['lq']).unsqueeze(0).to(device)
        outputs = {'bicubic': bicubic_resize(lq, scale)}
        for method, network in networks.items():
            try:
                outputs[method] = network(lq, scale, outputs['bicubic'])
            except ValueError as error:
                raise UserError(f'data set {label}, {method}: not a network for it: {error}') from error
        images = {method: to_image(output) for method, output in outputs.items()}
        name = image_name(sample, index)
        likeness.add(name, images, scale, {})
        where, lr = (short_name(label, scale), scale, name), to_image(lq)
        crops.append(_window(*where, lr, images, CROP_SIZE))
        windows = hardest([*windows, _window(*where, lr, images, WINDOW_SIZE)])
    results = result_entries(Means(likeness.means()), short_name(label, scale), scale)
    results = [{'psnr': None, 'ssim': None, 'without_gt': True, **result} for result in results]
    logger.info(
        'Report: %s x%d, %d of %d image(s), no HR, NIQE: %s', short_name(label, scale), scale, len(crops), count,
        ', '.join(f'{result["method"]} {result["niqe"]:.2f}' for result in results if 'niqe' in result) or 'none',
    )  # fmt: skip
    return Evaluation(results, crops, windows)


def _middle(lq: Tensor) -> Tensor:
    height, width = (min(side, MOST_SIDE) for side in lq.shape[1:])
    top, left = (lq.shape[1] - height) // 2, (lq.shape[2] - width) // 2
    return lq[:, top : top + height, left : left + width]


def _window(dataset: str, scale: int, name: str, lr: np.ndarray, images: dict[str, np.ndarray], side: int) -> Crop:
    shown = images['bicubic'].astype(np.float32)
    detail = np.abs(shown - cv2.blur(shown, (_DETAIL * scale,) * 2))
    place = worst_place(detail, scale, side)
    return Crop(dataset, scale, name, place.error, cut_panels(place, scale, lr, images), {})
