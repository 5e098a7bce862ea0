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
EQUAL = 100.0  # dB, of images that are equal
Network = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Gain:
    """What a network gains on LR of one kind; PSNR in dB on Y.

    Attributes:
        condition: a key of `CONDITIONS`.
        network, bicubic: their PSNR.
        kept, kept_bicubic: PSNR of what each makes of this LR against what it makes of clean LR.
        sharpness: RMS of the Laplacian of the network's result, in levels of 255; of bicubic's; of HR.
    """

    condition: str
    network: float
    bicubic: float
    kept: float
    kept_bicubic: float
    sharpness: float
    sharpness_bicubic: float
    sharpness_hr: float

    @property
    def gain(self) -> float:
        """dB over bicubic."""
        return self.network - self.bicubic

    @property
    def steadiness(self) -> float:
        """dB by which it keeps nearer than bicubic to what it makes of clean LR.

        A network that was trained on clean LR sharpens noise and JPEG's blocks with everything else: it is many dB less
        steady than bicubic, while one that was trained to remove them is about as steady, whatever its PSNR.
        """
        return self.kept - self.kept_bicubic


def photographs(lr_side: int, scale: int, number: int) -> Tensor:
    """Crops from the middle of the package's photographs: HR, `(number, 3, s, s)` with `s = lr_side * scale`, RGB."""
    side, crops = lr_side * scale, []
    for _, read in list_images(BUNDLED, 'photographs'):
        image = read()[..., ::-1]
        top, left = ((length - side) // 2 for length in image.shape[:2])
        if min(top, left) >= 0 and not _is_grey(image):
            crops.append(torch.from_numpy(image[top : top + side, left : left + side].copy()))
    if not crops:  # a very large patch: what there is, mirrored
        whole = torch.from_numpy(list_images(BUNDLED, 'photographs')[0][1]()[..., ::-1].copy())
        while min(whole.shape[:2]) < side:
            whole = torch.cat([torch.cat([whole, whole.flip(0)]), torch.cat([whole, whole.flip(0)]).flip(1)], 1)
        crops = [whole[:side, :side]]
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
    true = _measured(rgb_to_y(hr), scale)

    def results(lr: Tensor) -> tuple[Tensor, Tensor]:
        given = rgb_to_y(lr) if channels == 1 else lr
        output = torch.cat([network(part) for part in given.split(1)])
        luma = output if channels == 1 else rgb_to_y(output.clamp(0, 1))
        return _measured(luma, scale), _measured(rgb_to_y(bicubic_resize(lr, scale).clamp(0, 1)), scale)

    of_clean = results(clean)
    found = []
    for name, settings in conditions.items():
        ours, theirs = results(degrade(clean, seed=_SEED, **settings)) if settings else of_clean
        found.append(
            Gain(
                name,
                psnr(ours, true),
                psnr(theirs, true),
                psnr(ours, of_clean[0]),
                psnr(theirs, of_clean[1]),
                *(round(float(sharpness(y * 255).mean()), 3) for y in (ours, theirs, true)),
            )
        )
    return found


def _measured(luma: Tensor, border: int) -> Tensor:
    """As papers measure: 8 bits, a border cut off."""
    return ((luma.clamp(0, 1) * 255).round() / 255)[..., border:-border, border:-border]


def psnr(image: Tensor, reference: Tensor) -> float:
    """Mean over the images of PSNR in dB; `EQUAL` at most."""
    errors = (image - reference).square().mean((1, 2, 3)).clamp(min=10 ** (-EQUAL / 10))
    return round(float((-10 * torch.log10(errors)).mean()), 3)
