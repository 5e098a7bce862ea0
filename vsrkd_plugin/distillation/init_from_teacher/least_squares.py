"""Least squares for single layers."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_CHUNK = 16  # patches unfolded at a time: 9 copies of each activation


def spread(count: int, depth: int) -> list[int]:
    """`count` positions spread evenly over `depth`, first and last included."""
    if not 1 <= count <= depth:
        raise ValueError(f'cannot spread {count} positions over {depth}')
    return [round(i * (depth - 1) / max(count - 1, 1)) for i in range(count)]


@torch.no_grad()
def refit(layer: nn.Conv2d, x: Tensor, target: Tensor, ridge: float = 1e-4) -> None:
    """Set a convolution's weights (and bias) so that it maps `x` to `target` in the least-squares sense.

    Args:
        layer: stride 1, one group, padded with zeros by a number of pixels.
        x: `(n, in_channels, h, w)`.
        target: `(n, out_channels, h, w)`.
        ridge: penalty on the squared weights, relative to the mean squared input.

    Raises:
        ValueError: a layer of another kind.
    """
    padding = layer.padding
    if isinstance(padding, str) or layer.padding_mode != 'zeros' or layer.groups != 1 or set(layer.stride) != {1}:
        raise ValueError(f'cannot refit {layer}; expected stride 1, one group and zero padding given in pixels')
    size = layer.in_channels * layer.kernel_size[0] * layer.kernel_size[1]
    columns = size + (layer.bias is not None)
    gram = x.new_zeros(columns, columns, dtype=torch.float64)
    moment = x.new_zeros(columns, layer.out_channels, dtype=torch.float64)
    for part, wanted in zip(x.split(_CHUNK), target.split(_CHUNK), strict=True):
        rows = F.unfold(part, layer.kernel_size, layer.dilation, padding).transpose(1, 2).reshape(-1, size)
        if layer.bias is not None:
            rows = torch.cat([rows, rows.new_ones(len(rows), 1)], 1)
        gram += (rows.T @ rows).double()
        moment += (rows.T @ wanted.permute(0, 2, 3, 1).reshape(-1, layer.out_channels)).double()
    penalty = ridge * gram.diagonal()[:size].mean() + torch.finfo(torch.float32).tiny
    gram.diagonal()[:size] += penalty
    solution = torch.linalg.lstsq(gram.cpu(), moment.cpu(), driver='gelsd').solution.to(layer.weight)
    layer.weight.copy_(solution[:size].T.reshape(layer.weight.shape))
    if layer.bias is not None:
        layer.bias.copy_(solution[size])


def convolve(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """A layer in fp32, whatever autocast says."""
    with torch.autocast(x.device.type, enabled=False):
        return layer(x.float())


def in_chunks(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """A function of patches, a few at a time."""
    return torch.cat([function(part) for part in x.split(_CHUNK)])
