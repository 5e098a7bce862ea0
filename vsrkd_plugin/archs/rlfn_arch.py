"""RLFN (Kong et al., CVPR Workshops 2022, 'Residual Local Feature Network for Efficient Super-Resolution')."""

import torch.nn.functional as F
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn

_SLOPE = 0.05  # of LeakyReLU


class ESA(nn.Module):
    """Enhanced spatial attention (Liu et al., 2020, 'Residual Feature Aggregation Network'), as RLFN slims it.

    A convolution of stride 2 and a pooling of 7x7 see far at little cost, and need images of 15x15 at least.

    Args:
        num_feat: channels of its input and output.
        num_esa: channels inside.
    """

    def __init__(self, num_feat: int, num_esa: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(num_feat, num_esa, 1)
        self.conv_f = nn.Conv2d(num_esa, num_esa, 1)
        self.conv2 = nn.Conv2d(num_esa, num_esa, 3, stride=2)
        self.conv3 = nn.Conv2d(num_esa, num_esa, 3, padding=1)
        self.conv4 = nn.Conv2d(num_esa, num_feat, 1)

    def forward(self, x: Tensor) -> Tensor:
        slim = self.conv1(x)
        wide = self.conv3(F.max_pool2d(self.conv2(slim), 7, stride=3))
        wide = F.interpolate(wide, size=x.shape[-2:], mode='bilinear', align_corners=False)
        return x * self.conv4(wide + self.conv_f(slim)).sigmoid()


class RLFB(nn.Module):
    """Residual local feature block: three convolutions with LeakyReLU, the block's input added, then ESA."""

    def __init__(self, num_feat: int, num_esa: int) -> None:
        super().__init__()
        self.c1_r, self.c2_r, self.c3_r = (nn.Conv2d(num_feat, num_feat, 3, padding=1) for _ in range(3))
        self.c5 = nn.Conv2d(num_feat, num_feat, 1)
        self.esa = ESA(num_feat, num_esa)

    def forward(self, x: Tensor) -> Tensor:
        out = x
        for convolution in (self.c1_r, self.c2_r, self.c3_r):
            out = F.leaky_relu(convolution(out), _SLOPE)
        return self.esa(self.c5(out + x))


@ARCH_REGISTRY.register()
class RLFN(nn.Module):
    """RLFN: a trunk of residual local feature blocks, and one convolution with a pixel shuffle behind it.

    The state dict's keys and shapes are those of the authors' code, and so are its values: 0 to 255.

    Args:
        num_in_ch: channels of LR. Default 3.
        num_out_ch: channels of SR. Default 3.
        num_feat: channels of the trunk. Default 52.
        num_block: blocks. Default 6.
        esa_channels: channels inside the attention. Default 16.
        upscale: the factor. Default 4.

    Raises:
        ValueError: an argument below 1.
    """

    value_range = (0.0, 255.0)
    min_size = 15

    def __init__(
        self,
        *,
        num_in_ch: int = 3,
        num_out_ch: int = 3,
        num_feat: int = 52,
        num_block: int = 6,
        esa_channels: int = 16,
        upscale: int = 4,
    ) -> None:
        super().__init__()
        if min(num_in_ch, num_out_ch, num_feat, num_block, esa_channels, upscale) < 1:
            raise ValueError('channels, num_feat, num_block, esa_channels and upscale must be at least 1')
        self.num_in_ch, self.num_block = num_in_ch, num_block
        self.conv_1 = nn.Conv2d(num_in_ch, num_feat, 3, padding=1)
        for number in range(1, num_block + 1):  # by the authors' names
            self.add_module(f'block_{number}', RLFB(num_feat, esa_channels))
        self.conv_2 = nn.Conv2d(num_feat, num_feat, 3, padding=1)
        self.upsampler = nn.Sequential(
            nn.Conv2d(num_feat, num_out_ch * upscale**2, 3, padding=1), nn.PixelShuffle(upscale)
        )

    def forward(self, x: Tensor) -> Tensor:
        """`(n, num_in_ch, h, w)` in [0, 255], 15x15 at least, to `(n, num_out_ch, upscale * h, upscale * w)`."""
        first = out = self.conv_1(x)
        for number in range(1, self.num_block + 1):
            out = self.get_submodule(f'block_{number}')(out)
        return self.upsampler(self.conv_2(out) + first)
