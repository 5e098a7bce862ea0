"""How like its teacher a student is: agreement, sharpness and naturalness, which PSNR against HR does not tell."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vsrkd_plugin.adapters.image_sr import ImageSRAdapter
from vsrkd_plugin.metrics.means import Values, finite_means, measure
from vsrkd_plugin.metrics.sharpness import sharpness
from vsrkd_plugin.ops.colour import rgb_to_y
from vsrkd_plugin.run.progress import progress
from vsrkd_plugin.synthesis.sources.procedural import ProceduralSource

_PSNR = {'type': 'calculate_psnr', 'test_y_channel': True}
_NIQE = {'type': 'calculate_niqe'}
_NIQE_SIDE = 96  # pixels: of the blocks that it looks at; of a smaller image it knows nothing
MOST_NIQE = 8  # images of a set that it is measured on: half a second each
_NEAR = 0.3  # dB over bicubic: a teacher that is no better was not trained for PSNR
_MADE, _MADE_SEED = 32, 987_654_321  # made images; a seed that no training has
# Pixels of LR, and of HR for networks that work there, whose time goes by them. Images differ so much that larger ones
# of the same number tell no more: the standard error of the agreement (0.6 to 1.2 dB) stays.
_MADE_SIDE, _MADE_HR_SIDE = 48, 96


def is_judged_by_psnr(teacher: float | None, bicubic: float | None) -> bool:
    """Whether PSNR against HR tells how good a teacher is: not where it has less of it than bicubic, or hardly more."""
    return teacher is None or bicubic is None or not teacher < bicubic + _NEAR


class Likeness:
    """Measured image after image of one data set, then averaged.

    Args:
        niqe: whether NIQE is measured; if not given, where PSNR misjudges the teacher, but not of bicubic.
    """

    def __init__(self, niqe: bool | None = None) -> None:
        self._values: dict[str, Values] = {}
        self._names: list[str] = []
        self._niqe, self._of_all = niqe, bool(niqe)

    def add(self, name: str, images: Mapping[str, np.ndarray], scale: int, psnr: Mapping[str, float]) -> None:
        """Take one image.

        Args:
            name: of the image.
            images: bicubic, teacher, student: uint8, `(h, w)` or BGR `(h, w, 3)`.
            scale: width of the border that is cut off.
            psnr: of each against HR; empty if there is none.
        """
        self._names.append(name)
        if self._niqe is None:
            self._niqe = not is_judged_by_psnr(psnr.get('teacher'), psnr.get('bicubic'))
        for method, image in images.items():
            values = self._values.setdefault(method, {})
            values.setdefault('sharpness', []).append(_sharpness(image, scale))
            if self._niqe and (self._of_all or method != 'bicubic') and len(self._names) <= MOST_NIQE:
                values.setdefault('niqe', []).append(niqe(image, scale))
        if 'teacher' in images:
            found = measure(images['student'], images['teacher'], {**_PSNR, 'crop_border': scale})
            # Of equal images it is infinite: as alike as can be told.
            self._values['student'].setdefault('agreement', []).append(min(found, 100.0))

    def means(self) -> dict[str, dict[str, float]]:
        """Method → `sharpness` (RMS of the Laplacian of Y, levels of 255), `niqe`, and of the student `agreement` (dB);
        without what is not finite."""
        found: dict[str, dict[str, float]] = {method: {} for method in self._values}
        for metric in ('sharpness', 'niqe', 'agreement'):
            columns: dict[str, Values] = {
                method: {metric: v[metric]} for method, v in self._values.items() if metric in v
            }
            names = self._names[: len(next(iter(columns.values()))[metric])] if columns else []
            for method, values in finite_means(columns, names, 'images').by_method.items():
                if math.isfinite(values[metric]):
                    found[method][metric] = values[metric]
        return found


def niqe(image: np.ndarray, border: int) -> float:
    """BasicSR's NIQE; nan of an image that is too small for it, or of which it knows nothing (noise, a flat one)."""
    if min(image.shape[:2]) - 2 * border < _NIQE_SIDE:
        return math.nan
    try:
        return measure(image, None, {**_NIQE, 'crop_border': border})
    except np.linalg.LinAlgError:  # of its fit
        return math.nan


def _sharpness(image: np.ndarray, border: int) -> float:
    luma = torch.from_numpy(np.ascontiguousarray(image)).float()
    if image.ndim == 3:
        luma = rgb_to_y(luma.flip(2).permute(2, 0, 1)[None] / 255)[0, 0] * 255
    inner = luma[border : luma.shape[0] - border, border : luma.shape[1] - border]
    return float(sharpness(inner[None, None])) if min(inner.shape) > 2 else math.nan


@torch.no_grad()
def on_made_images(networks: Mapping[str, ImageSRAdapter], scale: int, device: torch.device) -> dict[str, Any]:
    """Agreement of teacher and student on procedural images that no training has seen, and how sharp they are there.

    Args:
        networks: `teacher` and `student`, on `device`, in eval mode.
        scale: the factor.
        device: where the networks are.

    Returns:
        `{scale, agreement, sharpness_ratio}`; the agreement is the PSNR of the student's output against the teacher's
        in dB, over all channels, not rounded; the ratio is that of their sharpness.
    """
    channels = max(network.in_channels for network in networks.values())
    at_hr = any(network.pre_upsampling for network in networks.values())
    side = _MADE_HR_SIDE // scale if at_hr else _MADE_SIDE
    source = ProceduralSource(
        num_images=_MADE, channels=channels, lr_sizes={scale: side}, seed=_MADE_SEED, device=device
    )
    lr = source.preview(scale, _MADE).lr
    with progress(len(networks) * len(lr), f'report: made images x{scale}', 'image') as told:

        def outputs(method: str) -> Tensor:
            found = []
            for part in lr.split(8):
                found.append(networks[method](part, scale))
                told.update(len(part))
            return torch.cat(found)

        teacher, student = outputs('teacher'), outputs('student')
    error = float((teacher.clamp(0, 1) - student.clamp(0, 1)).square().mean())
    ratio = float((sharpness(student) / sharpness(teacher).clamp(min=1e-6)).mean())
    return {'scale': scale, 'agreement': min(-10 * math.log10(max(error, 1e-10)), 100.0), 'sharpness_ratio': ratio}
