"""IMDN (Hui et al., ACM MM 2019, 'Lightweight Image Super-Resolution with Information Multi-distillation Network')."""

import torch
import torch.nn.functional as F
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn

_SLOPE = 0.05  # of LeakyReLU
_REDUCTION = 16  # channels to one inside the attention


class ContrastAwareAttention(nn.Module):
    """Channel attention by each channel's contrast, which is its standard deviation plus its mean (equation 5)."""

    def __init__(self, num_feat: int) -> None:
        super().__init__()
        inside = max(num_feat // _REDUCTION, 1)
        self.conv_du = nn.Sequential(
            nn.Conv2d(num_feat, inside, 1), nn.ReLU(inplace=True), nn.Conv2d(inside, num_feat, 1), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean((2, 3), keepdim=True)
        variance = (x - mean).square().mean((2, 3), keepdim=True)
        deviation = variance.clamp(min=1e-12).sqrt()  # at 0, of a flat image, a square root has no gradient
        return x * self.conv_du(deviation + mean)


class IMDB(nn.Module):
    """Information multi-distillation block: each convolution keeps a share of its channels, the next refines the rest.

    Args:
        num_feat: channels.
        distillation_rate: the share that is kept.
    """

    def __init__(self, num_feat: int, distillation_rate: float) -> None:
        super().__init__()
        self.kept = int(num_feat * distillation_rate)
        rest = num_feat - self.kept
        self.c1 = nn.Conv2d(num_feat, num_feat, 3, padding=1)
        self.c2 = nn.Conv2d(rest, num_feat, 3, padding=1)
        self.c3 = nn.Conv2d(rest, num_feat, 3, padding=1)
        self.c4 = nn.Conv2d(rest, self.kept, 3, padding=1)
        self.cca = ContrastAwareAttention(4 * self.kept)
        self.c5 = nn.Conv2d(4 * self.kept, num_feat, 1)

    def forward(self, x: Tensor) -> Tensor:
        kept, rest = [], x
        for convolution in (self.c1, self.c2, self.c3):
            out = F.leaky_relu(convolution(rest), _SLOPE)
            kept.append(out[:, : self.kept])
            rest = out[:, self.kept :]
        return self.c5(self.cca(torch.cat([*kept, self.c4(rest)], 1))) + x


@ARCH_REGISTRY.register()
class IMDN(nn.Module):
    """IMDN: blocks whose outputs are fused by a 1x1 convolution, and one convolution with a pixel shuffle behind it.

    The state dict's keys and shapes are those of the authors' code.

    Args:
        num_in_ch: channels of LR. Default 3.
        num_out_ch: channels of SR. Default 3.
        num_feat: channels of the trunk. Default 64.
        num_modules: blocks. Default 6.
        distillation_rate: share of the channels that each step of a block keeps. Default 0.25.
        upscale: the factor. Default 4.

    Raises:
        ValueError: an argument below 1, or a rate that keeps no channel or all.
    """

    def __init__(
        self,
        *,
        num_in_ch: int = 3,
        num_out_ch: int = 3,
        num_feat: int = 64,
        num_modules: int = 6,
        distillation_rate: float = 0.25,
        upscale: int = 4,
    ) -> None:
        super().__init__()
        if min(num_in_ch, num_out_ch, num_feat, num_modules, upscale) < 1:
            raise ValueError('channels, num_feat, num_modules and upscale must be at least 1')
        if not 1 <= int(num_feat * distillation_rate) < num_feat:
            raise ValueError(f'distillation_rate must keep some channels of {num_feat}, got {distillation_rate}')
        self.num_in_ch, self.num_modules = num_in_ch, num_modules
        self.fea_conv = nn.Conv2d(num_in_ch, num_feat, 3, padding=1)
        for number in range(1, num_modules + 1):  # by the authors' names
            self.add_module(f'IMDB{number}', IMDB(num_feat, distillation_rate))
        self.c = nn.Sequential(nn.Conv2d(num_modules * num_feat, num_feat, 1), nn.LeakyReLU(_SLOPE, inplace=True))
        self.LR_conv = nn.Conv2d(num_feat, num_feat, 3, padding=1)
        self.upsampler = nn.Sequential(
            nn.Conv2d(num_feat, num_out_ch * upscale**2, 3, padding=1), nn.PixelShuffle(upscale)
        )

    def forward(self, x: Tensor) -> Tensor:
        """`(n, num_in_ch, h, w)` in [0, 1] to `(n, num_out_ch, upscale * h, upscale * w)`, not clipped."""
        first = out = self.fea_conv(x)
        outputs = []
        for number in range(1, self.num_modules + 1):
            out = self.get_submodule(f'IMDB{number}')(out)
            outputs.append(out)
        return self.upsampler(self.LR_conv(self.c(torch.cat(outputs, 1))) + first)
