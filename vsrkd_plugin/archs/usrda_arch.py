"""The networks of USR-DA (Wang et al., ICCV 2021, 'Unsupervised Real-World Super-Resolution: A Domain Adaptation
Perspective')."""

import torch.nn.functional as F
from basicsr.archs.arch_util import make_layer
from basicsr.archs.rrdbnet_arch import RRDB
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn

_SLOPE = 0.2  # of LeakyReLU
_ENCODER_DEPTH = 5  # convolutions; the paper does not say, its public re-implementation has so many


@ARCH_REGISTRY.register()
class USRDA(nn.Module):
    """The SR network: an encoder E shared by source and target, and the decoder G_SR.

    The decoder is ESRGAN's network on features in place of an image.

    Args:
        num_in_ch: channels of LR. Default 3.
        num_out_ch: channels of SR. Default 3.
        num_feat: channels of the features. Default 64.
        num_block: RRDBs of the decoder. Default 23.
        num_grow_ch: channels that each convolution of an RRDB adds. Default 32.
        upscale: 2, 3 or 4. Default 4.

    Raises:
        ValueError: another factor.
    """

    decoder_start = 'conv_first'  # what comes before it is the encoder (`distillation/encoding.py`)

    def __init__(
        self,
        *,
        num_in_ch: int = 3,
        num_out_ch: int = 3,
        num_feat: int = 64,
        num_block: int = 23,
        num_grow_ch: int = 32,
        upscale: int = 4,
    ) -> None:
        super().__init__()
        if upscale not in (2, 3, 4):
            raise ValueError(f'upscale must be 2, 3 or 4, got {upscale}')
        self.num_in_ch, self.upscale = num_in_ch, upscale
        layers: list[nn.Module] = [nn.Conv2d(num_in_ch, num_feat, 3, padding=1)]
        for _ in range(_ENCODER_DEPTH - 1):
            layers += [nn.LeakyReLU(_SLOPE), nn.Conv2d(num_feat, num_feat, 3, padding=1)]
        self.encoder = nn.Sequential(*layers)
        self.conv_first = nn.Conv2d(num_feat, num_feat, 3, padding=1)
        self.body = make_layer(RRDB, num_block, num_feat=num_feat, num_grow_ch=num_grow_ch)
        self.conv_body = nn.Conv2d(num_feat, num_feat, 3, padding=1)
        self.factors = [2] * (upscale.bit_length() - 1) if upscale != 3 else [3]
        self.conv_up = nn.ModuleList(nn.Conv2d(num_feat, num_feat, 3, padding=1) for _ in self.factors)
        self.conv_hr = nn.Conv2d(num_feat, num_feat, 3, padding=1)
        self.conv_last = nn.Conv2d(num_feat, num_out_ch, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """LR `(n, c, h, w)` in [0, 1] to SR `(n, c, upscale * h, upscale * w)`, not clipped."""
        features = self.conv_first(self.encoder(x))
        features = features + self.conv_body(self.body(features))
        for factor, convolution in zip(self.factors, self.conv_up, strict=True):
            enlarged = F.interpolate(features, scale_factor=factor, mode='nearest')
            features = F.leaky_relu(convolution(enlarged), _SLOPE)
        return self.conv_last(F.leaky_relu(self.conv_hr(features), _SLOPE))


@ARCH_REGISTRY.register()
class USRDATargetDecoder(nn.Module):
    """G_t: what an image of the target domain looks like that has these features.

    Args:
        num_in_ch: channels of the features. Default 64.
        num_out_ch: channels of LR. Default 3.
        num_feat: channels inside. Default 64.
        num_block: RRDBs. Default 10.
        num_grow_ch: channels that each convolution of an RRDB adds. Default 32.
    """

    def __init__(
        self,
        *,
        num_in_ch: int = 64,
        num_out_ch: int = 3,
        num_feat: int = 64,
        num_block: int = 10,
        num_grow_ch: int = 32,
    ) -> None:
        super().__init__()
        self.num_in_ch = num_in_ch
        self.conv_first = nn.Conv2d(num_in_ch, num_feat, 3, padding=1)
        self.body = make_layer(RRDB, num_block, num_feat=num_feat, num_grow_ch=num_grow_ch)
        self.conv_body = nn.Conv2d(num_feat, num_feat, 3, padding=1)
        self.conv_hr = nn.Conv2d(num_feat, num_feat, 3, padding=1)
        self.conv_last = nn.Conv2d(num_feat, num_out_ch, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Features `(n, c, h, w)` to an LR image `(n, num_out_ch, h, w)` in [0, 1], not clipped."""
        features = self.conv_first(x)
        features = features + self.conv_body(self.body(features))
        return self.conv_last(F.leaky_relu(self.conv_hr(features), _SLOPE))
