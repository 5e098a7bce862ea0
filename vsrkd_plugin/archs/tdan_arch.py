"""TDAN (Tian et al., CVPR 2020, 'TDAN: Temporally-Deformable Alignment Network for Video Super-Resolution')."""

import math

import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn

from vsrkd_plugin.ops.deform import deform_conv2d

_RESIDUAL_SHARE = 0.1  # of what a residual block adds at a start as identity
_DIFFERENCE_GAIN = 5.0  # by which differences between frames are enlarged there


class _DeformableConv(nn.Module):
    """A 3x3 convolution without bias whose taps are moved; state dict: `weight`."""

    def __init__(self, num_feat: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_feat, num_feat, 3, 3))
        nn.init.normal_(self.weight, std=1 / math.sqrt(9 * num_feat))

    def forward(self, x: Tensor, offset: Tensor) -> Tensor:
        return deform_conv2d(x, offset, self.weight, padding=1)


class _ResidualBlock(nn.Module):
    def __init__(self, num_feat: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(num_feat, num_feat, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(num_feat, num_feat, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(self.relu(self.conv1(x)))


@ARCH_REGISTRY.register()
class TDAN(nn.Module):
    """Aligns the neighbours' features to the centre frame by deformable convolutions, then super-resolves that frame.

    The state dict's keys and shapes are those of the authors' code.

    Args:
        num_frame: frames of a window, odd. Default 5.
        num_feat: channels. Default 64.
        num_extract_block: residual blocks before the alignment. Default 5.
        num_block: residual blocks behind it. Default 10.
        deformable_groups: groups of channels with an offset of their own; divides `num_feat`. Default 8.
        upscale: the factor, a power of 2. Default 4.
        start: `he` (random) or `identity`: at first it repeats the middle frame's pixels, and its aligned frames are
            the frames themselves, which three of the features carry through. Of a random start the first thousand steps
            go into finding that out.

    Raises:
        ValueError: an argument outside the above.
    """

    def __init__(
        self,
        *,
        num_frame: int = 5,
        num_feat: int = 64,
        num_extract_block: int = 5,
        num_block: int = 10,
        deformable_groups: int = 8,
        upscale: int = 4,
        start: str = 'he',
    ) -> None:
        super().__init__()
        if num_frame < 3 or num_frame % 2 == 0:
            raise ValueError(f'num_frame must be odd and at least 3, got {num_frame}')
        if upscale < 2 or upscale & (upscale - 1):
            raise ValueError(f'upscale must be a power of 2, got {upscale}')
        if min(num_feat, num_extract_block, num_block, deformable_groups) < 1 or num_feat % deformable_groups:
            raise ValueError('num_feat, blocks and deformable_groups must be at least 1, the last divide the first')
        if start not in ('he', 'identity') or (start == 'identity' and num_feat < 3):
            raise ValueError(f'start must be he, or identity for at least 3 features, got {start!r}')
        self.num_frame, self.upscale = num_frame, upscale
        offsets = 2 * 9 * deformable_groups
        self.conv_first = nn.Conv2d(3, num_feat, 3, padding=1)
        self.residual_layer = nn.Sequential(*(_ResidualBlock(num_feat) for _ in range(num_extract_block)))
        self.cr = nn.Conv2d(2 * num_feat, num_feat, 3, padding=1)
        self.off2d_1 = nn.Conv2d(num_feat, offsets, 3, padding=1)
        self.dconv_1 = _DeformableConv(num_feat)
        self.off2d_2 = nn.Conv2d(num_feat, offsets, 3, padding=1)
        self.deconv_2 = _DeformableConv(num_feat)
        self.off2d_3 = nn.Conv2d(num_feat, offsets, 3, padding=1)
        self.deconv_3 = _DeformableConv(num_feat)
        self.off2d = nn.Conv2d(num_feat, offsets, 3, padding=1)
        self.dconv = _DeformableConv(num_feat)
        self.recon_lr = nn.Conv2d(num_feat, 3, 3, padding=1)
        self.fea_ex = nn.Sequential(nn.Conv2d(3 * num_frame, num_feat, 3, padding=1), nn.ReLU(inplace=True))
        self.recon_layer = nn.Sequential(*(_ResidualBlock(num_feat) for _ in range(num_block)))
        doublings = []
        for _ in range(upscale.bit_length() - 1):
            doublings += [nn.Conv2d(num_feat, 4 * num_feat, 3, padding=1), nn.PixelShuffle(2)]
        self.up = nn.Sequential(nn.Sequential(*doublings), nn.Conv2d(num_feat, 3, 3, padding=1, bias=False))
        self.relu = nn.ReLU(inplace=True)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=math.sqrt(2 / (9 * module.out_channels)))
        for layer in (self.off2d_1, self.off2d_2, self.off2d_3, self.off2d):  # at first no tap is moved
            nn.init.zeros_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        if start == 'identity':
            self._start_as_identity()

    @torch.no_grad()
    def _start_as_identity(self) -> None:
        """Features 0, 1, 2 are R, G, B from the first layer to the last; all others start at random, and unread.

        Half of those of the reconstruction read the middle frame alone, the rest how its neighbours differ from it: of
        frames as they are, which are nearly alike, a network learns for long to use one.
        """
        for block in self.modules():
            if isinstance(block, _ResidualBlock):
                block.conv2.weight *= _RESIDUAL_SHARE
                block.conv2.weight[:3] = 0
        *doublings, last = (layer for layer in self.up.modules() if isinstance(layer, nn.Conv2d))
        (first_of_frames,) = (layer for layer in self.fea_ex if isinstance(layer, nn.Conv2d))
        by_channel = (self.conv_first, self.deconv_3, self.dconv, self.recon_lr, last)
        for layer in (*by_channel, first_of_frames):
            layer.weight[:3] = 0
        middle = 3 * (self.num_frame // 2)
        by_frame = first_of_frames.weight.unflatten(1, (self.num_frame, 3))  # a view
        half = (3 + len(by_frame)) // 2
        by_frame[3:half, [i for i in range(self.num_frame) if i != self.num_frame // 2]] = 0
        by_frame[half:] *= _DIFFERENCE_GAIN
        by_frame[half:, self.num_frame // 2] -= by_frame[half:].sum(1)
        for c in range(3):
            for layer in by_channel:
                layer.weight[c, c, 1, 1] = 1
            first_of_frames.weight[c, middle + c, 1, 1] = 1
            for doubling in doublings:
                doubling.weight[4 * c : 4 * c + 4] = 0
                doubling.weight[4 * c : 4 * c + 4, c, 1, 1] = 1
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and module.bias is not None:
                nn.init.zeros_(module.bias)

    def align(self, x: Tensor) -> Tensor:
        """The window's frames as they would look at the time of the centre: `(b, t, 3, h, w)`, the centre as it is."""
        b, t, _, h, w = x.shape
        features = self.residual_layer(self.relu(self.conv_first(x.flatten(0, 1)))).view(b, t, -1, h, w)
        others = [i for i in range(t) if i != t // 2]
        neighbours = features[:, others].flatten(0, 1)
        centre = features[:, t // 2].repeat_interleave(len(others), 0)
        moved = self.cr(torch.cat([centre, neighbours], 1))
        moved = self.dconv_1(moved, self.off2d_1(moved))
        moved = self.deconv_2(moved, self.off2d_2(moved))
        moved = self.deconv_3(neighbours, self.off2d_3(moved))
        moved = self.dconv(moved, self.off2d(moved))
        frames = self.recon_lr(moved).view(b, len(others), 3, h, w)
        return torch.cat([frames[:, : t // 2], x[:, t // 2 : t // 2 + 1].to(frames), frames[:, t // 2 :]], 1)

    def forward(self, x: Tensor, with_aligned: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        """SR of the centre frame: `(b, num_frame, 3, h, w)` to `(b, 3, upscale * h, upscale * w)`.

        Args:
            with_aligned: give the aligned LR frames `(b, num_frame, 3, h, w)` too, for the alignment loss.

        Raises:
            ValueError: not a window of `num_frame` RGB frames.
        """
        if x.ndim != 5 or x.shape[1:3] != (self.num_frame, 3):
            raise ValueError(f'TDAN takes windows (b, {self.num_frame}, 3, h, w), got shape {tuple(x.shape)}')
        aligned = self.align(x)
        result = self.up(self.recon_layer(self.fea_ex(aligned.flatten(1, 2))))
        return (result, aligned) if with_aligned else result
