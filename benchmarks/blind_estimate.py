"""How near `vsrkd inspect --inputs` comes to what degraded LR pictures: a grid of blur, scale, noise and JPEG.

Run: `python benchmarks/blind_estimate.py datasets/BSD200 [--every 2]`. HR is blurred, reduced by bicubic, made noisy,
compressed by OpenCV's JPEG and rounded to 8 bits: other pictures, another blur and another JPEG than the estimate
compares with. A few minutes on one core for 100 pictures.
"""

import argparse
import time
from itertools import product

import cv2
import numpy as np
import torch
from torch import Tensor

from vsrkd_plugin.data.images import list_images
from vsrkd_plugin.inspection.inputs import DegradationEstimate, estimate_degradation
from vsrkd_plugin.ops.resize import bicubic_resize

BLURS = ((0.8, 0.8), (1.2, 1.2), (1.6, 1.6), (2.2, 2.2), (2.2, 1.2))  # right, down, in HR pixels
SCALES, NOISES, QUALITIES = (2, 4), (2, 6, 12), (None, 70)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('hr', help='folder of HR pictures')
    parser.add_argument('--every', type=int, default=1, help='take every so manieth picture')
    args = parser.parse_args()
    torch.set_grad_enabled(False)
    pictures = [read()[..., ::-1].astype(np.float32) for _, read in list_images(args.hr, 'hr')[:: args.every]]
    print(f'{len(pictures)} pictures; blur in LR pixels: along, across')
    print('scale, JPEG: blur, noise -> blur, noise, JPEG; errors; seconds')
    kept = {'noise': 0, 'blur': 0, 'JPEG': 0}
    clean = (0.0, 0.0)
    cells = [(scale, quality, clean, 0) for scale, quality in product(SCALES, QUALITIES)]
    cells += [
        (scale, quality, blur, noise) for scale, quality, blur, noise in product(SCALES, QUALITIES, BLURS, NOISES)
    ]
    for scale, quality, blur, noise in cells:
        lr = degraded(pictures, scale, blur, noise, quality)
        start = time.perf_counter()
        found = estimate_degradation(lr)
        seconds = time.perf_counter() - start
        true = (blur[0] / scale, blur[1] / scale)
        errors = [ours - theirs for ours, theirs in zip(found.blur_sigma, true, strict=True)]
        passed = judged(found, true, noise, quality, scale)
        if blur != clean:
            for name in kept:
                kept[name] += passed[name]
        print(
            f'x{scale}, {quality or "none"}: {true[0]:.2f}, {true[1]:.2f}, {noise} -> '
            f'{found.blur_sigma[0]:.2f}, {found.blur_sigma[1]:.2f}, {found.noise_sigma:.1f}'
            f'{" (hidden)" if found.noise_is_hidden else ""}, {found.jpeg_quality}; '
            f'{errors[0]:+.2f}, {errors[1]:+.2f}, {found.noise_sigma - noise:+.1f}; {seconds:.1f} s'
            + ''.join(f' MISSED {name}' for name, good in passed.items() if not good),
            flush=True,
        )
    total = len(cells) - len(SCALES) * len(QUALITIES)
    print(f'within the bars, of {total} degraded cells: ' + ', '.join(f'{key} {value}' for key, value in kept.items()))


def degraded(
    pictures: list[np.ndarray], scale: int, blur: tuple[float, float], noise: float, quality: int | None
) -> list[Tensor]:
    """RGB pictures in 0 to 255 as a camera would give them: uint8 `(3, h, w)`."""
    rng, made = np.random.default_rng(0), []
    for hr in pictures:
        hr = hr[: hr.shape[0] // scale * scale, : hr.shape[1] // scale * scale]
        if any(blur):
            hr = cv2.GaussianBlur(hr, (0, 0), sigmaX=blur[0], sigmaY=blur[1], borderType=cv2.BORDER_REFLECT)
        lr = bicubic_resize(torch.from_numpy(np.ascontiguousarray(hr)).permute(2, 0, 1), 1 / scale).numpy()
        lr = (lr + rng.standard_normal(lr.shape) * noise).clip(0, 255).round().astype(np.uint8).transpose(1, 2, 0)
        if quality is not None:
            jpeg = cv2.imencode('.jpg', lr[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
            lr = np.asarray(cv2.imdecode(jpeg, cv2.IMREAD_COLOR))[..., ::-1]
        made.append(torch.from_numpy(np.ascontiguousarray(lr.transpose(2, 0, 1))))
    return made


def judged(
    found: DegradationEstimate, blur: tuple[float, float], noise: float, quality: int | None, scale: int
) -> dict[str, bool]:
    """Whether each part is within its bar: 20 % or 1 level of noise; at x2 0.12 pixels of blur; 8 of quality."""
    far = max(abs(ours - theirs) for ours, theirs in zip(found.blur_sigma, blur, strict=True))
    told = found.jpeg_quality
    return {
        'noise': abs(found.noise_sigma - noise) <= max(0.2 * noise, 1),
        'blur': scale > 2 or far <= 0.12,
        'JPEG': (told is None) == (quality is None) and (told is None or abs(told - (quality or 0)) <= 8),
    }


if __name__ == '__main__':
    main()
