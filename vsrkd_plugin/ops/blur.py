"""The 'BD' degradation: Gaussian blur and subsampling."""

import numpy as np
from torch import Tensor

from vsrkd_plugin.ops.resize import apply_separable, taps_to_matrix


def gaussian_matrix(in_length: int, sigma: float, step: float) -> np.ndarray:
    """Gaussian blur of one axis, every `step`-th sample from 0 kept, as a matrix (float64).

    The kernel is cut at 4 sigma and normalised, the border mirrored with the edge pixel repeated: scipy's
    `gaussian_filter` with its defaults.
    """
    radius = int(4.0 * sigma + 0.5)
    offsets = np.arange(-radius, radius + 1)
    kernel = np.exp(-0.5 * (offsets / sigma) ** 2)
    kernel /= kernel.sum()
    taps = np.arange(0, in_length, int(step))[:, None] + offsets
    return taps_to_matrix(taps, np.broadcast_to(kernel, taps.shape), in_length)


def blur_subsample(x: Tensor, scale: int, sigma: float) -> Tensor:
    """Blur by a Gaussian, keep every `scale`-th pixel; differentiable.

    Args:
        x: `(..., h, w)`.
        scale: step of the subsampling, 1 for blur alone.
        sigma: standard deviation in pixels of `x`.

    Returns:
        `(..., ceil(h / scale), ceil(w / scale))`, fp32 (fp64 for fp64 input).

    Raises:
        ValueError: `sigma` is not positive or `scale` not a positive integer.
    """
    if sigma <= 0:
        raise ValueError(f'sigma must be positive, got {sigma}')
    if scale < 1 or int(scale) != scale:
        raise ValueError(f'scale must be a positive integer, got {scale}')
    return apply_separable(x, gaussian_matrix, float(sigma), float(scale))
