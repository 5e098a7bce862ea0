"""What a network restores: its gain over bicubic on photographs that were degraded before they were reduced."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vsrkd_plugin.data.degradations import degrade
from vsrkd_plugin.data.images import BUNDLED, list_images
from vsrkd_plugin.metrics.sharpness import sharpness
from vsrkd_plugin.ops.colour import rgb_to_y
from vsrkd_plugin.ops.resize import bicubic_resize

# What LR is made worse by. Noise in levels of 255, blur in LR pixels, JPEG by its quality.
CONDITIONS: Mapping[str, Mapping[str, Any]] = {
    'clean': {},
    'blur 1.0': {'blur_sigma': 1.0},
    'noise 5': {'noise_sigma': 5},
    'noise 15': {'noise_sigma': 15},
    'noise 25': {'noise_sigma': 25},
    'JPEG 90': {'jpeg_quality': 90},
    'JPEG 60': {'jpeg_quality': 60},
    'JPEG 30': {'jpeg_quality': 30},
}
_SEED = 0
Network = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Gain:
    """What a network gains on LR of one kind; PSNR in dB on Y.

    Attributes:
        condition: a key of `CONDITIONS`.
        network, bicubic: their PSNR.
        sharpness: RMS of the Laplacian of the network's result, in levels of 255; of bicubic's; of HR.
    """

    condition: str
    network: float
    bicubic: float
    sharpness: float
    sharpness_bicubic: float
    sharpness_hr: float

    @property
    def gain(self) -> float:
        """dB over bicubic."""
        return self.network - self.bicubic


def photographs(lr_side: int, scale: int, number: int) -> Tensor:
    """Crops from the middle of the package's photographs: HR, `(number, 3, s, s)` with `s = lr_side * scale`, RGB."""
    side, crops = lr_side * scale, []
    for _, read in list_images(BUNDLED, 'photographs'):
        image = read()[..., ::-1]
        top, left = ((length - side) // 2 for length in image.shape[:2])
        if min(top, left) >= 0 and not _is_grey(image):
            crops.append(torch.from_numpy(image[top : top + side, left : left + side].copy()))
    if not crops:  # a very large patch: what there is, mirrored
        image = torch.from_numpy(list_images(BUNDLED, 'photographs')[0][1]()[..., ::-1].copy())
        while min(image.shape[:2]) < side:
            image = torch.cat([torch.cat([image, image.flip(0)]), torch.cat([image, image.flip(0)]).flip(1)], 1)
        crops = [image[:side, :side]]
    return torch.stack(crops[:number]).permute(0, 3, 1, 2).float() / 255


def _is_grey(image: np.ndarray) -> bool:
    return bool((image[..., 0] == image[..., 1]).all())


@torch.no_grad()
def restoration(network: Network, hr: Tensor, scale: int, channels: int, conditions: Mapping[str, Any]) -> list[Gain]:
    """Measure a network's gain under each condition.

    Args:
        network: LR `(n, c, h, w)` in [0, 1] to SR, `scale` times as large.
        hr: `(n, 3, s, s)` RGB in [0, 1].
        scale: of the network.
        channels: that it is given: 1 (Y) or 3.
        conditions: some of `CONDITIONS`.
    """
    clean = (bicubic_resize(hr, 1 / scale).clamp(0, 1) * 255).round() / 255
    reference = rgb_to_y(hr)
    found = []
    for name, settings in conditions.items():
        lr = degrade(clean, seed=_SEED, **settings)
        enlarged = bicubic_resize(lr, scale)
        given = rgb_to_y(lr) if channels == 1 else lr
        output = torch.cat([network(part) for part in given.split(1)])
        luma = output if channels == 1 else rgb_to_y(output.clamp(0, 1))
        results = [(y.clamp(0, 1) * 255).round() / 255 for y in (luma, rgb_to_y(enlarged.clamp(0, 1)), reference)]
        ours, theirs, true = (y[..., scale:-scale, scale:-scale] for y in results)
        found.append(
            Gain(
                name,
                psnr(ours, true),
                psnr(theirs, true),
                *(round(float(sharpness(y * 255).mean()), 3) for y in (ours, theirs, true)),
            )
        )
    return found


def psnr(image: Tensor, reference: Tensor) -> float:
    """Mean over the images of PSNR in dB; of images that are equal 100."""
    errors = (image - reference).square().mean((1, 2, 3)).clamp(min=1e-10)
    return round(float((-10 * torch.log10(errors)).mean()), 3)
