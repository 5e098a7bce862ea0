"""Deformable convolution: torchvision's on a GPU; on a CPU the same by way of `grid_sample`, several times as fast."""

import torch
import torchvision
from torch import Tensor, nn

_stock = torchvision.ops.deform_conv2d  # kept here, as `basicsr_patches.networks` puts the function below in its place
_BAND = 2**24  # numbers that are sampled at once where no gradient needs them: 64 MB in fp32
Pair = int | tuple[int, int]


def deform_conv2d(
    input: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Pair = (1, 1),
    padding: Pair = (0, 0),
    dilation: Pair = (1, 1),
    mask: Tensor | None = None,
) -> Tensor:
    """`torchvision.ops.deform_conv2d` in fp32: for bf16 it has no kernel on a CPU, and its own autocast is for GPUs.

    The arguments are torchvision's; tensors among them may have any floating-point format. On a CPU torchvision's
    works through the image pixel by pixel; torch's `grid_sample`, which does the same interpolation, uses vectors
    (`benchmarks/deformable.py`). For a gradient that keeps what was sampled, where torchvision samples twice: 9 numbers
    for each of the input in a 3x3 convolution. Offsets must be finite.

    Returns:
        fp32 (fp64 for fp64 images).

    Raises:
        RuntimeError: shapes that do not fit each other.
    """
    dtype = torch.float64 if input.dtype == torch.float64 else torch.float32
    x, moved, kernel = (tensor.to(dtype) for tensor in (input, offset, weight))
    added, factor = (None if tensor is None else tensor.to(dtype) for tensor in (bias, mask))
    pairs = [(value, value) if isinstance(value, int) else value for value in (stride, padding, dilation)]
    with torch.autocast(input.device.type, enabled=False):
        if input.device.type != 'cpu' or not len(input) or not _fit(x, moved, kernel, pairs):
            return _stock(x, moved, kernel, added, stride, padding, dilation, factor)  # which says what does not fit
        result = _in_bands(x, moved, kernel, pairs, factor)
    return result if added is None else result + added.view(1, -1, 1, 1)


def _fit(x: Tensor, offset: Tensor, weight: Tensor, pairs: list[tuple[int, int]]) -> bool:
    """Whether torchvision would take them: `x` `(n, c, h, w)`, an offset for each tap of each pixel of the result."""
    if x.ndim != 4 or offset.ndim != 4 or x.shape[1] % weight.shape[1] or len(weight) % (x.shape[1] // weight.shape[1]):
        return False
    taps = weight.shape[2] * weight.shape[3]
    sizes = [
        (x.shape[2 + i] + 2 * padding - dilation * (weight.shape[2 + i] - 1) - 1) // stride + 1
        for i, (stride, padding, dilation) in enumerate(zip(*pairs, strict=True))
    ]
    groups = offset.shape[1] // (2 * taps)
    return groups > 0 and x.shape[1] % groups == 0 and list(offset.shape) == [len(x), 2 * taps * groups, *sizes]


def _in_bands(x: Tensor, offset: Tensor, weight: Tensor, pairs: list[tuple[int, int]], mask: Tensor | None) -> Tensor:
    """In bands of rows where no gradient is wanted: large frames in little memory."""
    rows, columns = offset.shape[2:]
    sampled = len(x) * x.shape[1] * weight.shape[2] * weight.shape[3] * columns
    band = rows if torch.is_grad_enabled() else max(1, _BAND // sampled)
    parts = [
        _rows(
            x,
            offset[:, :, top : top + band],
            weight,
            pairs,
            None if mask is None else mask[:, :, top : top + band],
            top,
        )
        for top in range(0, rows, band)
    ]
    return parts[0] if len(parts) == 1 else torch.cat(parts, 2)


def _rows(
    image: Tensor, offset: Tensor, weight: Tensor, pairs: list[tuple[int, int]], mask: Tensor | None, first: int
) -> Tensor:
    """The result's rows from `first` on, as many as there are offsets for.

    Samples each group's channels at the moved taps, then multiplies them with the weights.
    """
    (strides, before, spreads), (n, channels, height, width) = pairs, image.shape
    out_channels, _, *kernel = weight.shape
    rows, columns = offset.shape[-2:]
    taps = kernel[0] * kernel[1]
    groups = offset.shape[1] // (2 * taps)  # of offsets
    moved = offset.reshape(n * groups, taps, 2, rows, columns)
    tap = torch.arange(taps, device=image.device).view(1, -1, 1, 1)
    # Where each tap reads, in pixels, then as `grid_sample` has it: from -1 to 1 between the image's outer edges.
    y = torch.arange(first, first + rows, device=image.device).view(1, 1, -1, 1) * strides[0] - before[0]
    y = moved[:, :, 0] + (y + tap // kernel[1] * spreads[0]).to(image.dtype)
    x = torch.arange(columns, device=image.device).view(1, 1, 1, -1) * strides[1] - before[1]
    x = moved[:, :, 1] + (x + tap % kernel[1] * spreads[1]).to(image.dtype)
    places = [x * (2 / width) + (1 / width - 1), y * (2 / height) + (1 / height - 1)]
    grid = torch.stack(places, dim=-1).view(n * groups, taps * rows, columns, 2)
    grouped = image.reshape(n * groups, channels // groups, height, width)
    sampled = nn.functional.grid_sample(grouped, grid, mode='bilinear', padding_mode='zeros', align_corners=False)
    sampled = sampled.view(n, groups, channels // groups, taps, rows * columns)
    if mask is not None:
        sampled = sampled * mask.reshape(n, groups, 1, taps, rows * columns)
    shares = channels // weight.shape[1]  # groups of weights, as `groups` of a convolution
    result = weight.reshape(shares, out_channels // shares, -1) @ sampled.reshape(n, shares, -1, rows * columns)
    return result.view(n, out_channels, rows, columns)
