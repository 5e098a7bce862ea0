"""Blur, resizing, noise and JPEG on LR images, by BasicSR's own functions, each image in its own strength.

Where the strengths are random, `synthesis/degrading.py` has drawn them. What is done is what BasicSR's Real-ESRGAN does
in its first round: blur, resizing, noise, JPEG, 8 bits. All of it works on whichever device the images are on, and
waits for none of it.

Two of BasicSR's functions are not called but written anew. Its noise (`generate_gaussian_noise_pt`,
`generate_poisson_noise_pt`) is of the global random state, so that it could be repeated neither after a resume nor in
several processes; it gives all images of a batch one and the same grey noise, takes no images of one channel, and waits
for the GPU. Ours is the same, number for number, for one photograph and the same seed. `DiffJPEG.forward` waits for the
GPU too, and pads with black; its parts, which do the work, are called, on transposed images, for their luma table is.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache

import torch
import torch.nn.functional as F
from basicsr.data.degradations import bivariate_Gaussian, rgb_to_grayscale
from basicsr.utils.diffjpeg import DiffJPEG, quality_to_factor
from basicsr.utils.img_process_util import filter2D
from torch import Tensor

from vsrkd_plugin.ops.sending import send
from vsrkd_plugin.synthesis.degrading import RESIZE_MODES, Strengths

_SMALLEST_SIGMA = 0.1  # below it a Gaussian is a single pixel, and its inverse covariance overflows
_SIGMAS = 4  # half width of a kernel
_PHOTONS = 256  # of white
_JPEG_BLOCK = 16  # of luma, where chroma has half the size


def degrade(
    images: Tensor,
    *,
    blur_sigma: float | None = None,
    noise_sigma: float | None = None,
    jpeg_quality: float | None = None,
    seed: int = 0,
) -> Tensor:
    """Images blurred, made noisy and compressed, in this order, all in one strength.

    Args:
        images: `(n, c, h, w)` in [0, 1], c = 1 or 3, of any size.
        blur_sigma: of an isotropic Gaussian, in pixels; none if not given.
        noise_sigma: of Gaussian noise, in levels of 255; none if not given.
        jpeg_quality: 1 to 99; no JPEG if not given.
        seed: of the noise; each image has its own.

    Returns:
        The same shape, fp32 in [0, 1], in 8 bits; `images` themselves where nothing is to be done.

    Raises:
        ValueError: a strength out of its range.
    """
    for name, value in (('blur_sigma', blur_sigma), ('noise_sigma', noise_sigma)):
        if value is not None and not value >= 0:
            raise ValueError(f'{name} must not be negative, got {value}')
    if jpeg_quality is not None and not 1 <= jpeg_quality <= 99:
        raise ValueError(f'jpeg_quality must lie in 1 … 99, got {jpeg_quality}')
    count = len(images)
    strengths = Strengths.none(count, seed)
    all_of = torch.ones(count, dtype=torch.float64)
    sigma = blur_sigma or 0.0
    return degrade_each(
        images,
        replace(
            strengths,
            blur=torch.tensor([[sigma, sigma, 0.0]], dtype=torch.float64).repeat(count, 1),
            noise=all_of * (noise_sigma or 0),
            jpeg=all_of * (jpeg_quality or 0),
        ),
    )


@torch.no_grad()
def degrade_each(images: Tensor, strengths: Strengths) -> Tensor:
    """Images, each degraded in its own strength.

    Args:
        images: `(n, c, h, w)` in [0, 1], c = 1 or 3.
        strengths: of each of them.

    Returns:
        The same shape, fp32 in [0, 1]: in 8 bits, but for images that nothing is done to, which stay as they are.
    """
    if len(images) != len(strengths):
        raise ValueError(f'expected strengths of {len(images)} images, got {len(strengths)}')
    whole = images.float().contiguous()
    has_noise = (strengths.noise > 0) | (strengths.poisson > 0)
    blurred, resized = strengths.blur[:, 0] > 0, strengths.resize > 0
    compressed = strengths.jpeg > 0
    touched = blurred | resized | has_noise | compressed
    if not touched.any():
        return whole
    out = _on_rows(whole, blurred, lambda x, rows: _blur(x, strengths.blur[rows]))
    out = _on_rows(out, resized, lambda x, rows: _resize(x, strengths.resize[rows], strengths.mode[rows]))
    out = _on_rows(out, has_noise, lambda x, rows: _add_noise(x, strengths, rows.tolist()))
    out = _on_rows(out, compressed, lambda x, rows: _jpeg(x.clamp(0, 1), strengths.jpeg[rows].tolist()))
    return _on_rows(out, touched, lambda x, rows: (x.clamp(0, 1) * 255).round() / 255)


def _on_rows(x: Tensor, chosen: Tensor, change: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """`x` with some rows changed; `chosen` `(n,)` bool on the CPU, `change(x of these rows, their numbers)`."""
    rows = chosen.nonzero().flatten()
    if not len(rows):
        return x
    if len(rows) == len(x):
        return change(x, rows)
    index = send(rows, x.device)
    return x.index_copy(0, index, change(x[index], rows))


def _blur(x: Tensor, gaussians: Tensor) -> Tensor:
    """Blur by Gaussians `(n, 3)`: sigma along and across, and the angle; borders are mirrored."""
    # A kernel may not reach farther than a mirror image, and is as large as its own Gaussian asks for, so that it does
    # not show which other images are in the batch.
    farthest = min(x.shape[2:]) - 1
    radii = [min(int(_SIGMAS * max(row[:2]) + 0.5), farthest) for row in gaussians.tolist()]
    kernels = []
    for (along, across, angle), radius in zip(gaussians.tolist(), radii, strict=True):
        sigmas = max(along, _SMALLEST_SIGMA), max(across, _SMALLEST_SIGMA)
        kernel = bivariate_Gaussian(2 * radius + 1, *sigmas, angle, isotropic=along == across)
        kernels.append(F.pad(torch.from_numpy(kernel).float(), [max(radii) - radius] * 4))
    return filter2D(x, send(torch.stack(kernels), x.device))


@lru_cache(maxsize=1024)
def _there_and_back(size: int, between: int, mode: str) -> Tensor:
    """Resizing an axis from `size` to `between` pixels and back, as a matrix `(size, size)`: it is linear."""
    axis = torch.eye(size)[None, :, None]  # (1, size, 1, size): every unit vector along the last axis
    for length in (between, size):
        corners = {} if mode == 'area' else {'align_corners': False}
        axis = F.interpolate(axis.view(1, size, 1, -1), (1, length), mode=mode, **corners)
    return axis.view(size, size).T.contiguous()


def _resize(x: Tensor, factors: Tensor, modes: Tensor) -> Tensor:
    """Resize each image by its own factor, and back to its size."""
    names = [RESIZE_MODES[mode] for mode in modes.tolist()]
    down, right = (
        send(
            torch.stack(
                [
                    _there_and_back(size, max(1, round(size * factor)), name)
                    for factor, name in zip(factors.tolist(), names, strict=True)
                ]
            ),
            x.device,
        )
        for size in x.shape[2:]
    )
    return down[:, None] @ x @ right[:, None].mT


def _add_noise(x: Tensor, strengths: Strengths, rows: Sequence[int]) -> Tensor:
    """`x` with Gaussian and then Poisson noise, not clipped; `rows`: numbers of its images among the strengths."""
    noisy = []
    for image, row in zip(x, rows, strict=True):
        generator = torch.Generator(x.device).manual_seed(int(strengths.seed[row]))
        grey, sigma, scale = (float(part[row]) for part in (strengths.grey, strengths.noise, strengths.poisson))
        out = image
        if sigma > 0:
            shape = (1, *image.shape[1:]) if grey else image.shape
            out = out + torch.randn(shape, generator=generator, device=x.device) * sigma / 255
        if scale > 0:
            out = out + _poisson(out.clamp(0, 1), bool(grey), generator) * scale
        noisy.append(out)
    return torch.stack(noisy)


def _poisson(image: Tensor, grey: bool, generator: torch.Generator) -> Tensor:
    """Shot noise of an image `(c, h, w)`; `(1, h, w)` where it is grey.

    As of BasicSR's `generate_poisson_noise_pt` where an image has more than 128 levels, as photographs do: white is 256
    photons. BasicSR counts the levels of each image, so that a flat patch of few would have several times the noise.
    """
    if grey and len(image) == 3:
        image = rgb_to_grayscale(image)
    levels = (image * 255).round() / 255
    return torch.poisson(levels * _PHOTONS, generator=generator) / _PHOTONS - levels


@lru_cache(maxsize=8)
def _codec(device: torch.device) -> DiffJPEG:
    """BasicSR's JPEG; a copy, for its tables are global parameters, which moving one of them would move for all."""
    return copy.deepcopy(DiffJPEG(differentiable=False)).requires_grad_(False).to(device)


def _jpeg(x: Tensor, qualities: Sequence[float]) -> Tensor:
    """Compress and decompress images; grey ones as the luma that JPEG would have of them."""
    codec = _codec(x.device)
    factor = send(torch.tensor([quality_to_factor(quality) for quality in qualities]), x.device)
    height, width = x.shape[2:]
    padding = (0, -width % _JPEG_BLOCK, 0, -height % _JPEG_BLOCK)
    padded = F.pad(x.expand(-1, 3, -1, -1), padding, mode='replicate')  # as encoders do; black would ring
    transposed = padded.mT.contiguous()  # as their table of luma is
    coefficients = codec.compress(transposed, factor=factor)
    decoded = codec.decompress(*coefficients, *transposed.shape[2:], factor=factor).mT
    return decoded[:, : x.shape[1], :height, :width]
