"""Separable linear resampling with MATLAB's borders, differentiable.

Enlarging by a whole number is polyphase: the pixels of the result that lie alike between those of the input are the
same weighted sum of five neighbours. Any other resampling of one axis is a sparse matrix with its border rule (mirror,
edge pixel repeated) folded into it: two dense products, which are the faster way for small images of any factor.
"""

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

_SMALL = 200  # pixels of the longer side, up to which two dense products are faster (benchmarks/bicubic.py)
_REACH = 2  # neighbours on either side that a pixel of an enlarged image is made of

# Before torch 2.7 nothing tells an export from a compilation.
_is_exporting = getattr(torch.compiler, 'is_exporting', torch.compiler.is_compiling)


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
    taps, weight = _bicubic_taps(np.arange(math.ceil(in_length * scale)), scale, from_corner)
    return taps_to_matrix(taps, weight, in_length)


def bicubic_part(in_length: int, scale: float, outputs: range, inputs: range) -> np.ndarray:
    """Rows of `bicubic_matrix` for some pixels of the result, over those of the input that they are made of.

    Args:
        in_length: of the whole axis, at whose ends it mirrors.
        scale: factor.
        outputs: pixels of the result.
        inputs: pixels of the input that are there.

    Returns:
        `(len(outputs), len(inputs))`, float64.

    Raises:
        ValueError: other pixels of the input are needed.
    """
    taps, weight = _bicubic_taps(np.arange(outputs.start, outputs.stop), scale)
    place = fold_mirrored(taps, in_length) - inputs.start
    missing = (place < 0) | (place >= len(inputs))
    if np.any(weight[missing]):
        raise ValueError(f'pixels {outputs} of x{scale:g} are made of others than {inputs} of {in_length}')
    matrix = np.zeros((len(outputs), len(inputs)))
    np.add.at(matrix, (np.arange(len(outputs))[:, None], np.where(missing, 0, place)), weight)
    return matrix


def _bicubic_taps(outputs: np.ndarray, scale: float, from_corner: float = 0) -> tuple[np.ndarray, np.ndarray]:
    """Positions in the input, which may lie outside it, and their weights, of each pixel of the result."""
    stretch = min(scale, 1.0)  # the kernel is widened when reducing: anti-aliasing
    width = 4 / stretch
    centre = outputs / scale if from_corner else (outputs + 0.5) / scale - 0.5
    taps = np.floor(centre - width / 2)[:, None] + np.arange(math.ceil(width) + 2)
    weight = _cubic((centre[:, None] - taps) * stretch)
    weight /= weight.sum(1, keepdims=True)
    return taps.astype(np.int64), weight


def taps_to_matrix(taps: np.ndarray, weight: np.ndarray, in_length: int) -> np.ndarray:
    """Rows of `(position, weight)` pairs as a dense matrix, positions outside mirrored back in."""
    matrix = np.zeros((taps.shape[0], in_length))
    np.add.at(matrix, (np.arange(taps.shape[0])[:, None], fold_mirrored(taps, in_length)), weight)
    return matrix


@lru_cache(maxsize=64)  # a matrix of a 2K picture takes 8 MB, and a benchmark has many sizes
def _cached_matrix(build: Callable[..., np.ndarray], args: tuple, double: bool) -> np.ndarray:
    return build(*args).astype(np.float64 if double else np.float32)


def _to_tensor(values: np.ndarray, device: torch.device) -> Tensor:
    # Numbers are kept, tensors made anew: one kept from an inference, an export or a compilation is of no use after it.
    return torch.from_numpy(values).to(device, non_blocking=True)


def apply_separable(x: Tensor, build: Callable[..., np.ndarray], *args: float) -> Tensor:
    """Apply the one-axis operator `build(length, *args)` to the last two axes of `x`, never below fp32.

    Args:
        x: `(..., h, w)`, floating point.
        build: makes a `(out_length, in_length)` matrix; its results are cached.

    Returns:
        `(..., out_h, out_w)`, fp32 (fp64 for fp64 input).
    """
    double = x.dtype == torch.float64
    rows, columns = (_to_tensor(_cached_matrix(build, (side, *args), double), x.device) for side in x.shape[-2:])
    with torch.autocast(x.device.type, enabled=False):
        return rows @ (x.to(rows.dtype) @ columns.T)


def _phases(scale: int, from_corner: bool) -> np.ndarray:
    """`(scale, 5)` weights: of the pixels of the result that lie in one pixel of the input, over its neighbours."""
    phase = np.arange(scale)
    position = phase / scale if from_corner else (phase + 0.5) / scale - 0.5
    weight = _cubic(position[:, None] - np.arange(-_REACH, _REACH + 1))
    return weight / weight.sum(1, keepdims=True)


def _mirrored(x: Tensor, axis: int) -> Tensor:
    """`x` with the two pixels on either side of the border mirrored at it; at least two pixels long."""
    # Counted from the end, not by the length: so every exporter leaves the length free.
    parts = slice(1, 2), slice(0, 1), slice(None), slice(-1, None), slice(-2, -1)
    behind = (slice(None),) * (-1 - axis)
    places = [(..., part, *behind) for part in parts]
    return torch.cat([x[place] for place in places], axis)


def _enlarge(x: Tensor, scale: int, from_corner: bool) -> Tensor:
    """Bicubic enlargement of `(..., h, w)` with sides from 2 as sums over five neighbours, columns first, then rows."""
    window = 2 * _REACH + 1
    weight = _to_tensor(_phases(scale, from_corner), x.device).to(x.dtype)
    wide = (_mirrored(x, -1).unfold(-1, window, 1) @ weight.T).flatten(-2)
    return (weight @ _mirrored(wide, -2).unfold(-2, window, 1).transpose(-1, -2)).flatten(-3, -2)


def _enlarge_by_convolution(x: Tensor, scale: int, from_corner: bool) -> Tensor:
    """The same as one convolution and a pixel shuffle, which every runtime has, whatever the sizes.

    Not for computing here: on a GPU a convolution may round to TF32, and its gradient is slow.
    """
    phases = torch.tensor(_phases(scale, from_corner).tolist(), dtype=x.dtype, device=x.device)
    weight = (phases[:, None, :, None] * phases[None, :, None, :]).reshape(scale * scale, 1, *[phases.shape[1]] * 2)
    padded = _mirrored(_mirrored(x, -1), -2)
    outputs = F.conv2d(padded.reshape(-1, 1, *padded.shape[-2:]), weight)
    return F.pixel_shuffle(outputs, scale).reshape(*x.shape[:-2], scale * x.shape[-2], scale * x.shape[-1])


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
    if x.dtype != torch.float64:
        x = x.float()
    if scale == 1:
        return x
    enlarges = scale == int(scale) and min(x.shape[-2:]) >= _REACH
    with torch.autocast(x.device.type, enabled=False):
        if enlarges and (_is_exporting() or torch.jit.is_tracing()):
            return _enlarge_by_convolution(x, int(scale), from_corner)
        if enlarges and max(x.shape[-2:]) > _SMALL:
            return _enlarge(x, int(scale), from_corner)
    return apply_separable(x, bicubic_matrix, float(scale), float(from_corner))
