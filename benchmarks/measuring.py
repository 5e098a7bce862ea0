"""What scripts here measure networks by: PSNR on test sets, and agreement with the teacher on images held out."""

import time
from pathlib import Path
from typing import Any

import torch

import vsrkd_plugin  # noqa: F401 - before basicsr
from vsrkd_plugin.adapters.contract import input_channels
from vsrkd_plugin.adapters.image_sr import ImageSRAdapter, freeze
from vsrkd_plugin.adapters.video_sr import VideoSRAdapter
from vsrkd_plugin.data.bicubic_image_dataset import BicubicImageDataset
from vsrkd_plugin.data.degraded_clip_dataset import DegradedClipDataset
from vsrkd_plugin.ops.colour import rgb_to_y
from vsrkd_plugin.reports.clips import evaluate_clips
from vsrkd_plugin.reports.evaluation import evaluate, metric_options
from vsrkd_plugin.run.checkpoints import load_weights

CROP = 96  # side of the HR windows on which agreement is measured
MARGIN = 8  # of them left out: zero padding shows there
CLIP_CROP, CLIP_FRAMES = 256, 10  # the same of clips


def now(device: torch.device) -> float:
    """Seconds, once `device` has done its work."""
    if device.type == 'cuda':
        torch.cuda.synchronize()
    return time.perf_counter()


def load_network(options: dict[str, Any], weights: str) -> ImageSRAdapter:
    """A network of `options` with its weights, in fp32."""
    from basicsr.archs import build_network

    network = build_network({key: value for key, value in options.items() if key != 'precision'})
    load_weights(network, weights)
    return ImageSRAdapter(freeze(network), input_channels(network, options))


def cells(
    networks: dict[str, ImageSRAdapter], roots: list[str], scales: list[int], device: torch.device | str = 'cpu'
) -> dict[str, dict[str, float]]:
    """PSNR on Y of bicubic and `networks` (on `device`): method → `Set5 x2` → dB."""
    found: dict[str, dict[str, float]] = {}
    for root in roots:
        for scale in scales:
            opt = {'name': Path(root).name, 'phase': 'val', 'dataroot_gt': root, 'color': 'y', 'scale': scale}
            psnr_alone = {'psnr': metric_options(None)['psnr']}
            outcome = evaluate(BicubicImageDataset(opt), opt, networks, psnr_alone, torch.device(device))
            for result in outcome.results:
                found.setdefault(result['method'], {})[f'{opt["name"]} x{scale}'] = round(result['psnr'], 3)
    return found


@torch.no_grad()
def agreement(
    teacher: ImageSRAdapter, student: ImageSRAdapter, roots: list[str], scales: list[int]
) -> dict[str, float]:
    """Mean PSNR of student against teacher on a window of every sixth image, by scale."""
    found = {}
    for scale in scales:
        opt = {'name': 'held out', 'phase': 'val', 'dataroot_gt': roots, 'color': 'y', 'scale': scale}
        dataset, values = BicubicImageDataset(opt), []
        size = CROP // scale
        for index in range(0, len(dataset), 6):
            lr = dataset.pair(index, scale)[0]
            top, left = ((side - size) // 2 for side in lr.shape[1:])
            if min(top, left) < 0:
                continue
            window = lr[None, :, top : top + size, left : left + size]
            difference = (teacher(window, scale) - student(window, scale))[..., MARGIN:-MARGIN, MARGIN:-MARGIN]
            values.append(-10 * torch.log10(difference.square().mean() + 1e-9))
        found[f'x{scale}'] = round(float(torch.stack(values).mean()), 3)
    return found


def load_clip_network(options: dict[str, Any], weights: str, scale: int) -> VideoSRAdapter:
    """A video network of `options` with its weights, in fp32."""
    from basicsr.archs import build_network

    network = build_network(dict(options))
    load_weights(network, weights)
    return VideoSRAdapter(freeze(network), scale, options, lr_size=64)


def clip_cells(
    networks: dict[str, VideoSRAdapter], roots: list[str], scale: int, clips: dict[str, Any]
) -> dict[str, dict[str, float]]:
    """PSNR on Y of bicubic and `networks`, all frames, 8 pixels cut: method → `Vid4/walk` → dB.

    Args:
        clips: how LR is made, `synthesis.clips` of the options.
    """
    found: dict[str, dict[str, float]] = {}
    for root in roots:
        opt = clip_options(root, scale, clips)
        psnr_alone = {'psnr': metric_options(None)['psnr']}
        outcome = evaluate_clips(DegradedClipDataset(opt), opt, networks, psnr_alone, torch.device('cpu'))
        for result in outcome.results:
            found.setdefault(result['method'], {})[result['dataset']] = round(result['psnr'], 3)
    return found


@torch.no_grad()
def clip_agreement(
    teacher: VideoSRAdapter, student: VideoSRAdapter, roots: list[str], scale: int, clips: dict[str, Any]
) -> dict[str, float]:
    """Mean PSNR on Y of student against teacher on the middle of the first frames of each clip."""
    values = []
    for root in roots:
        dataset = DegradedClipDataset(clip_options(root, scale, clips))
        for sample in (dataset[index] for index in range(len(dataset))):
            size = CLIP_CROP // scale
            top, left = ((side - size) // 2 for side in sample['lq'].shape[2:])
            window = sample['lq'][None, :CLIP_FRAMES, :, top : top + size, left : left + size]
            difference = rgb_to_y(teacher(window).flatten(0, 1)) - rgb_to_y(student(window).flatten(0, 1))
            inner = difference[..., MARGIN:-MARGIN, MARGIN:-MARGIN]
            values.append(-10 * torch.log10(inner.square().mean() + 1e-9))
    return {f'x{scale}': round(float(torch.stack(values).mean()), 3)}


def clip_options(root: str, scale: int, clips: dict[str, Any]) -> dict[str, Any]:
    """A data set for validation; clips that were rendered at LR size are those of BD."""
    kind: dict[str, Any] = {key: clips[key] for key in ('degradation', 'sigma') if key in clips}
    if kind['degradation'] == 'none':
        kind = {'degradation': 'blur'}
    return {'name': Path(root).name, 'phase': 'val', 'dataroot_gt': root, 'scale': scale, **kind}
