"""Deformable convolution: torchvision's on a GPU; on a CPU the same by way of `grid_sample`, several times as fast."""

import torch
import torchvision
from torch import Tensor, nn

_stock = torchvision.ops.deform_conv2d  # kept here, as `basicsr_patches.networks` puts the function below in its place
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
    (`benchmarks/deformable.py`).

    Returns:
        fp32 (fp64 for fp64 images).
    """
    dtype = torch.float64 if input.dtype == torch.float64 else torch.float32
    run = _by_grid_sample if input.device.type == 'cpu' else _stock
    optional = [None if x is None else x.to(dtype) for x in (bias, mask)]
    with torch.autocast(input.device.type, enabled=False):
        return run(
            input.to(dtype), offset.to(dtype), weight.to(dtype), optional[0], stride, padding, dilation, optional[1]
        )


def _by_grid_sample(
    image: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    mask: Tensor | None,
) -> Tensor:
    """Samples each group's channels at the moved taps, then multiplies them with the weights."""
    n, channels, height, width = image.shape
    out_channels, _, *kernel = weight.shape
    rows, columns = offset.shape[-2:]
    taps = kernel[0] * kernel[1]
    groups = offset.shape[1] // (2 * taps)  # of offsets
    moved = offset.reshape(n * groups, taps, 2, rows, columns)
    strides, before, spreads = ((v, v) if isinstance(v, int) else v for v in (stride, padding, dilation))
    tap = torch.arange(taps, device=image.device).view(1, -1, 1, 1)
    # Where each tap reads, in pixels, then as `grid_sample` has it: from -1 to 1 between the image's outer edges.
    y = torch.arange(rows, device=image.device).view(1, 1, -1, 1) * strides[0] - before[0]
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
    result = result.view(n, out_channels, rows, columns)
    return result if bias is None else result + bias.view(1, -1, 1, 1)
