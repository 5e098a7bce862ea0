"""BT.601 YCbCr of the 'studio' range, as MATLAB and BasicSR's metrics use it."""

import torch
from torch import Tensor

_RGB_TO_YCBCR = (
    torch.tensor([[65.481, 128.553, 24.966], [-37.797, -74.203, 112.0], [112.0, -93.786, -18.214]], dtype=torch.float64)
    / 255
)
_OFFSET = torch.tensor([16.0, 128.0, 128.0], dtype=torch.float64) / 255
_YCBCR_TO_RGB = torch.linalg.inv(_RGB_TO_YCBCR)


def rgb_to_ycbcr(x: Tensor) -> Tensor:
    """RGB in [0, 1], `(n, 3, h, w)`, to YCbCr in [0, 1] (Y from 16/255 to 235/255); fp32 (fp64 for fp64 input)."""
    x = _checked(x)
    return _mix(x, _RGB_TO_YCBCR) + _OFFSET.to(x).view(1, 3, 1, 1)


def ycbcr_to_rgb(x: Tensor) -> Tensor:
    """The inverse of `rgb_to_ycbcr`; not clipped."""
    x = _checked(x)
    return _mix(x - _OFFSET.to(x).view(1, 3, 1, 1), _YCBCR_TO_RGB)


def rgb_to_y(x: Tensor) -> Tensor:
    """The Y channel alone: `(n, 3, h, w)` to `(n, 1, h, w)`."""
    return rgb_to_ycbcr(x)[:, :1]


def _checked(x: Tensor) -> Tensor:
    """`x` in fp32 or fp64; a wrong shape would be broadcast silently."""
    if x.ndim != 4 or x.shape[1] != 3:
        raise ValueError(f'expected (n, 3, h, w), got shape {tuple(x.shape)}')
    return x if x.dtype == torch.float64 else x.float()


def _mix(x: Tensor, matrix: Tensor) -> Tensor:
    with torch.autocast(x.device.type, enabled=False):
        return torch.einsum('oc,nchw->nohw', matrix.to(x), x)
