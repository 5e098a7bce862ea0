"""VDSR (Kim et al., CVPR 2016, 'Accurate Image Super-Resolution Using Very Deep Convolutional Networks')."""

import math

import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn

from vsrkd_plugin.ops.colour import rgb_to_ycbcr, ycbcr_to_rgb
from vsrkd_plugin.ops.low_rank import Layer, LowRankConv, check_rank, set_weight
from vsrkd_plugin.ops.precision import autocast, resolve_precision
from vsrkd_plugin.ops.resize import bicubic_resize


class ConvReLU(nn.Module):
    """3x3 convolution without bias, or a pair of low rank, then ReLU: VDSR's middle block."""

    def __init__(self, num_feat: int, rank: int | None = None) -> None:
        super().__init__()
        self.conv: Layer = (
            nn.Conv2d(num_feat, num_feat, 3, padding=1, bias=False)
            if rank is None
            else LowRankConv(num_feat, num_feat, rank, bias=False)
        )
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.conv(x))


@ARCH_REGISTRY.register()
class VDSR(nn.Module):
    """VDSR: MATLAB bicubic to HR size, then a plain chain of convolutions that adds the missing detail.

    One set of weights serves every scale. The state dict's keys are those of the public PyTorch weights
    (`input.weight`, `residual_layer.{i}.conv.weight`, `output.weight`).

    Args:
        num_in_ch: 1 (Y) or 3 (RGB).
        num_feat: channels of the hidden layers. Default 64.
        num_block: middle blocks (convolution + ReLU). Default 18.
        rank: of the middle blocks' convolutions: each becomes a (3x1) to so many channels and a (1x3) back
            (`residual_layer.{i}.conv.0.weight`, `….1.weight`). Default None: plain 3x3 convolutions.
        upscale: scale used when `forward` is not told one; 1 for input that is at HR size already.
        start: `he` (random) or `identity` (middle blocks pass their input on, with a little noise: trains at once).
        precision: format of the convolutions: `fp32`, `bf16` or `auto`. Bicubic and the sum stay in fp32.

    Raises:
        ValueError: an argument outside the above.
    """

    # Input is enlarged before the network: its blocks work at HR size, and teacher and student can share the bicubic.
    pre_upsampling = True
    multi_scale = True
    growing_body = 'residual_layer'

    def __init__(
        self,
        *,
        num_in_ch: int = 1,
        num_feat: int = 64,
        num_block: int = 18,
        rank: int | None = None,
        upscale: int = 2,
        start: str = 'he',
        precision: str = 'fp32',
    ) -> None:
        super().__init__()
        if num_in_ch not in (1, 3):
            raise ValueError(f'num_in_ch must be 1 (Y) or 3 (RGB), got {num_in_ch}')
        if num_feat < 1 or num_block < 1 or upscale < 1:
            raise ValueError('num_feat, num_block and upscale must be at least 1')
        if rank is not None:
            check_rank(rank, 3 * num_feat)
        if start not in ('he', 'identity'):
            raise ValueError(f'start must be he or identity, got {start!r}')
        resolve_precision(precision, 'cpu')  # a wrong name is told here, not in the first forward pass
        self.num_in_ch = num_in_ch
        self.upscale = upscale
        self.precision = precision
        self.input = nn.Conv2d(num_in_ch, num_feat, 3, padding=1, bias=False)
        self.residual_layer = nn.Sequential(*(ConvReLU(num_feat, rank) for _ in range(num_block)))
        self.output = nn.Conv2d(num_feat, num_in_ch, 3, padding=1, bias=False)
        self.relu = nn.ReLU(inplace=True)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=math.sqrt(2 / (9 * module.out_channels)))
        for pair in (block.conv for block in self.blocks):
            if isinstance(pair, LowRankConv):  # together as large as the one that they stand for
                nn.init.normal_(pair.first.weight, std=math.sqrt(1 / (3 * pair.rank)))
                nn.init.normal_(pair.second.weight, std=math.sqrt(2 / (3 * num_feat)))
        if start == 'identity':
            for block in self.blocks:
                self.reset_block_to_identity(block, noise=0.002)
            nn.init.normal_(self.output.weight, std=0.02 / math.sqrt(num_feat))
        self.to(memory_format=torch.channels_last)  # the layout in which bf16 convolutions are fast

    @property
    def blocks(self) -> list[ConvReLU]:
        """The middle blocks in order."""
        return [block for block in self.residual_layer if isinstance(block, ConvReLU)]

    @staticmethod
    def reset_block_to_identity(block: ConvReLU, noise: float = 0.0) -> None:
        """Make a middle block pass its input on: what comes in has been through a ReLU, so the ReLU changes nothing.

        One of a rank below `num_feat` passes on as many channels as that.
        """
        weight = nn.init.dirac_(torch.empty_like(block.conv.weight))
        weight += noise * torch.randn_like(weight) if noise else 0
        set_weight(block.conv, weight)

    def chain(self) -> list[Layer]:
        """The convolutions in order, a ReLU behind each but the last; for the start from a teacher's channels."""
        return [self.input, *(block.conv for block in self.blocks), self.output]

    def detail(self, x: Tensor) -> Tensor:
        """The residual of an image at HR size, `(n, num_in_ch, h, w)`, in the precision of the convolutions."""
        with autocast(x.device, resolve_precision(self.precision, x.device)):
            return self.output(self.residual_layer(self.relu(self.input(x))))

    def forward(self, x: Tensor, scale: int | None = None) -> Tensor:
        """Super-resolve.

        Args:
            x: LR, `(n, num_in_ch, h, w)` in [0, 1], or RGB for a network of Y: then Y is super-resolved and chroma
                enlarged by bicubic.
            scale: `upscale` if not given; 1 if `x` is at HR size already.

        Returns:
            `(n, c, scale * h, scale * w)`, fp32, not clipped.
        """
        scale = scale or self.upscale
        if x.shape[1] == 3 and self.num_in_ch == 1:
            base = bicubic_resize(rgb_to_ycbcr(x), scale)
            y = base[:, :1] + self.detail(base[:, :1]).float()
            return ycbcr_to_rgb(torch.cat([y, base[:, 1:]], 1))
        base = bicubic_resize(x, scale)
        return base + self.detail(base).float()
