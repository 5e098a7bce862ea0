"""Motion of pixels: warping along a flow, and similarity transforms of the plane."""

import torch
from torch import Tensor
from torch.nn import functional as F


def pixel_grid(
    height: int, width: int, device: torch.device | str = 'cpu', dtype: torch.dtype = torch.float32
) -> Tensor:
    """Coordinates of pixels, x first: `(height, width, 2)`; pixel centres are whole numbers."""
    y, x = torch.meshgrid(
        torch.arange(height, device=device, dtype=dtype), torch.arange(width, device=device, dtype=dtype), indexing='ij'
    )
    return torch.stack([x, y], -1)


def sample_at(images: Tensor, places: Tensor, mode: str = 'bilinear', padding: str = 'border') -> Tensor:
    """Values of images between pixels; differentiable.

    Args:
        images: `(n, c, h, w)`.
        places: `(n, a, b, 2)`, in pixels, x first.
        mode: `bilinear` or `bicubic`.
        padding: what lies outside: `border`, `reflection` (about the border pixels' outer edges) or `zeros`.

    Returns:
        `(n, c, a, b)`, fp32 (fp64 for fp64 images).
    """
    height, width = images.shape[-2:]
    with torch.autocast(images.device.type, enabled=False):
        images = images if images.dtype == torch.float64 else images.float()
        # align_corners=False puts the centre of pixel 0 at -1 + 1 / width.
        x, y = (2 * places.to(images) + 1).unbind(-1)
        normal = torch.stack([x / width - 1, y / height - 1], -1)
        return F.grid_sample(images, normal, mode=mode, padding_mode=padding, align_corners=False)


def warp(images: Tensor, flow: Tensor) -> Tensor:
    """Fetch images along a flow: `out(x) = images(x + flow(x))`, bilinear, border pixels repeated.

    Args:
        images: `(n, c, h, w)`.
        flow: `(n, 2, h, w)`, in pixels, x first.

    Returns:
        `(n, c, h, w)`.

    Raises:
        ValueError: shapes that do not fit.
    """
    if flow.shape != (len(images), 2, *images.shape[-2:]):
        raise ValueError(f'expected a flow {(len(images), 2, *images.shape[-2:])}, got {tuple(flow.shape)}')
    height, width = images.shape[-2:]
    grid = pixel_grid(height, width, device=images.device, dtype=flow.dtype)
    return sample_at(images, grid + flow.permute(0, 2, 3, 1))


def rotate(points: Tensor, angle: Tensor) -> Tensor:
    """Points `(…, 2)` turned by `angle` (radians, broadcast to `(…)`), from the x axis towards the y axis."""
    cos, sin = torch.cos(angle), torch.sin(angle)
    x, y = points.unbind(-1)
    return torch.stack([cos * x - sin * y, sin * x + cos * y], -1)
