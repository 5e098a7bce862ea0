"""The Laplacian of images, and images of half the size (Burt & Adelson, 1983)."""

import torch
from torch import Tensor
from torch.nn import functional as F

_LAPLACIAN = torch.tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]])
_BINOMIAL = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16


def laplacian(x: Tensor) -> Tensor:
    """The sum of the four neighbours less four times the pixel, `(n, c, h, w)` to `(n, c, h - 2, w - 2)`."""
    return _each_channel(x, _LAPLACIAN)


def halve(x: Tensor) -> Tensor:
    """Smoothed by the binomial of 5 taps and every second pixel taken from 0, `(n, c, h, w)` to half (rounded up)."""
    padded = F.pad(x, (2, 2, 2, 2), mode='reflect')
    return _each_channel(padded, torch.outer(_BINOMIAL, _BINOMIAL), stride=2)


def _each_channel(x: Tensor, kernel: Tensor, stride: int = 1) -> Tensor:
    channels = x.shape[1]
    weight = kernel.to(x).expand(channels, 1, *kernel.shape)
    with torch.autocast(x.device.type, enabled=False):
        return F.conv2d(x, weight, stride=stride, groups=channels)
