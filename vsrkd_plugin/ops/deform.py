"""torchvision's deformable convolution, wherever autocast is on."""

from typing import Any

import torch
import torchvision
from torch import Tensor

_stock = torchvision.ops.deform_conv2d  # kept here, as `basicsr_patches.networks` puts the function below in its place


def deform_conv2d(input: Tensor, offset: Tensor, weight: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """`torchvision.ops.deform_conv2d` in fp32: for bf16 it has no kernel on a CPU, and its own autocast is for GPUs.

    The arguments are torchvision's; tensors among them may have any floating-point format.

    Returns:
        fp32 (fp64 for fp64 images).
    """
    dtype = torch.float64 if input.dtype == torch.float64 else torch.float32

    def cast(value: Any) -> Any:
        return value.to(dtype) if isinstance(value, Tensor) else value

    with torch.autocast(input.device.type, enabled=False):
        return _stock(
            cast(input), cast(offset), cast(weight), *map(cast, args), **{key: cast(x) for key, x in kwargs.items()}
        )
