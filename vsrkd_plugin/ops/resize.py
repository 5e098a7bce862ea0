"""Separable linear resampling with MATLAB's borders, differentiable, as two matrix products.

A resampling of one axis is a sparse matrix; its border rule (mirror, edge pixel repeated) is folded into it. For the
sizes of super-resolution two dense products are faster than gathering, on a CPU and on a GPU, and autograd knows them.
"""

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor


def fold_mirrored(index: np.ndarray, length: int) -> np.ndarray:
    """Map positions outside `[0, length)` to the inside, mirroring at the border with the edge pixel repeated."""
    index = np.mod(index, 2 * length)
    return np.where(index < length, index, 2 * length - 1 - index)


def _cubic(x: np.ndarray) -> np.ndarray:
    """Keys' cubic kernel with a = -0.5, MATLAB's."""
    x = np.abs(x)
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, near, np.where(x <= 2, far, 0.0))


def bicubic_matrix(in_length: int, scale: float, from_corner: float = 0) -> np.ndarray:
    """MATLAB's `imresize(…, 'bicubic')` of one axis as a `(ceil(in_length * scale), in_length)` matrix (float64).

    With `from_corner` pixel `i` of the result lies at `i / scale` of the input, not at `(i + 0.5) / scale - 0.5`.
    """
    out_length = math.ceil(in_length * scale)
    stretch = min(scale, 1.0)  # the kernel is widened when reducing: anti-aliasing
    width = 4 / stretch
    centre = np.arange(out_length) / scale if from_corner else (np.arange(out_length) + 0.5) / scale - 0.5
    taps = np.floor(centre - width / 2)[:, None] + np.arange(math.ceil(width) + 2)
    weight = _cubic((centre[:, None] - taps) * stretch)
    weight /= weight.sum(1, keepdims=True)
    return taps_to_matrix(taps.astype(np.int64), weight, in_length)


def taps_to_matrix(taps: np.ndarray, weight: np.ndarray, in_length: int) -> np.ndarray:
    """Rows of `(position, weight)` pairs as a dense matrix, positions outside mirrored back in."""
    matrix = np.zeros((taps.shape[0], in_length))
    np.add.at(matrix, (np.arange(taps.shape[0])[:, None], fold_mirrored(taps, in_length)), weight)
    return matrix


@lru_cache(maxsize=64)  # a matrix of a 2K picture takes 8 MB, and a benchmark has many sizes
def _cached_matrix(build: Callable[..., np.ndarray], args: tuple, dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.from_numpy(build(*args)).to(device=device, dtype=dtype)


def apply_separable(x: Tensor, build: Callable[..., np.ndarray], *args: float) -> Tensor:
    """Apply the one-axis operator `build(length, *args)` to the last two axes of `x`, never below fp32.

    Args:
        x: `(..., h, w)`, floating point.
        build: makes a `(out_length, in_length)` matrix; its results are cached.

    Returns:
        `(..., out_h, out_w)`, fp32 (fp64 for fp64 input).
    """
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    with torch.autocast(x.device.type, enabled=False), torch.inference_mode(False):
        rows = _cached_matrix(build, (x.shape[-2], *args), dtype, x.device)
        columns = _cached_matrix(build, (x.shape[-1], *args), dtype, x.device)
    with torch.autocast(x.device.type, enabled=False):
        return rows @ (x.to(dtype) @ columns.T)


def bicubic_resize(x: Tensor, scale: float, from_corner: bool = False) -> Tensor:
    """MATLAB's bicubic `imresize`, with anti-aliasing when reducing; differentiable.

    Equals BasicSR's `matlab_functions.imresize` to 1e-5, the border included.

    Args:
        x: `(..., h, w)`, any value range.
        scale: factor for both axes: 4 enlarges, 1/4 reduces. Sizes are rounded up, as MATLAB does.
        from_corner: enlarge what was reduced by keeping every scale-th pixel from 0 ('BD'), pixels staying in place;
            not MATLAB's, for which an image stays centred.

    Returns:
        `(..., ceil(h * scale), ceil(w * scale))`, fp32 whatever autocast says (fp64 for fp64 input). Not clipped.

    Raises:
        ValueError: `scale` is not positive, or `x` has fewer than two axes.
    """
    if scale <= 0:
        raise ValueError(f'scale must be positive, got {scale}')
    if x.ndim < 2:
        raise ValueError(f'expected (..., h, w), got shape {tuple(x.shape)}')
    if scale == 1:
        return x if x.dtype == torch.float64 else x.float()
    return apply_separable(x, bicubic_matrix, float(scale), float(from_corner))
