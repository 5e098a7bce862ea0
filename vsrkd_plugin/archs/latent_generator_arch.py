"""The generator of Zhang et al., 'Data-Free Knowledge Distillation For Image Super-Resolution' (CVPR 2021)."""

import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn


@ARCH_REGISTRY.register()
class LatentGenerator(nn.Module):
    """Turns noise into small LR images (section 3.1 of the paper, with the layers of the authors' code).

    Linear to `num_feat` maps of a quarter of the size, then twice nearest x2, convolution, instance norm and leaky
    ReLU, a last convolution and a tanh. Sizes that 4 does not divide are made larger and cropped.

    Args:
        num_latent: length of the noise vector. Default 256.
        num_feat: channels of the first two stages; the last has half of them. Default 128.
        num_out_ch: 1 (Y) or 3 (RGB).
        lr_size: side of the images.

    Raises:
        ValueError: a size or a number of channels below 1, or an odd `num_feat`.
    """

    def __init__(self, *, num_latent: int = 256, num_feat: int = 128, num_out_ch: int = 1, lr_size: int = 24) -> None:
        super().__init__()
        if min(num_latent, num_feat, num_out_ch, lr_size) < 1:
            raise ValueError('num_latent, num_feat, num_out_ch and lr_size must be at least 1')
        if num_feat % 2:
            raise ValueError(f'num_feat must be even, got {num_feat}')
        self.num_latent, self.num_feat, self.lr_size = num_latent, num_feat, lr_size
        self.start_size = -(-lr_size // 4)
        self.linear = nn.Linear(num_latent, num_feat * self.start_size**2)
        # The authors' eps of 0.8 (not 1e-5) in the middle: it keeps flat maps flat instead of blowing up their noise.
        self.norm = nn.InstanceNorm2d(num_feat)
        self.stages = nn.Sequential(
            nn.Upsample(scale_factor=2),
            nn.Conv2d(num_feat, num_feat, 3, padding=1),
            nn.InstanceNorm2d(num_feat, eps=0.8),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(num_feat, num_feat // 2, 3, padding=1),
            nn.InstanceNorm2d(num_feat // 2, eps=0.8),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(num_feat // 2, num_out_ch, 3, padding=1),
        )

    def forward(self, z: Tensor) -> Tensor:
        """Noise `(n, num_latent)` to images `(n, num_out_ch, lr_size, lr_size)` in [0, 1], fp32."""
        x = self.linear(z).view(-1, self.num_feat, self.start_size, self.start_size)
        if self.start_size > 1:  # one pixel has no deviation to normalise by
            x = self.norm(x)
        x = (torch.tanh(self.stages(x).float()) + 1) / 2
        return x[:, :, : self.lr_size, : self.lr_size]
