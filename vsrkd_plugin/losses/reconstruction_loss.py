"""What keeps the generator's inputs of the kind that the teacher was trained on."""

from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor, nn

from vsrkd_plugin.ops.degradation import DEGRADATIONS, SIGMA, degrade


@LOSS_REGISTRY.register()
class ReconstructionLoss(nn.Module):
    """`L_R = E[|D(T(x)) - x|_1 / n]`, equation 6 of the paper: SR reduced again must give its input back.

    Args:
        degradation: D, which must be the one the teacher was trained for: `bicubic` (MATLAB's), or `blur` (Gaussian
            blur, then every scale-th pixel from 0).
        sigma: of the blur, in pixels of SR. Default 1.5.
        loss_weight: factor. Default 1.
    """

    def __init__(self, degradation: str = 'bicubic', sigma: float = SIGMA, loss_weight: float = 1.0) -> None:
        super().__init__()
        if degradation not in DEGRADATIONS:
            raise ValueError(f'degradation must be one of {", ".join(DEGRADATIONS)}, got {degradation!r}')
        if sigma <= 0:
            raise ValueError(f'sigma must be positive, got {sigma}')
        self.degradation, self.sigma, self.loss_weight = degradation, sigma, loss_weight

    def forward(self, sr: Tensor, lr: Tensor) -> Tensor:
        """SR `(n, c, s * h, s * w)` and its input LR `(n, c, h, w)` to a scalar.

        Raises:
            ValueError: SR is not a whole multiple of LR in size.
        """
        scale = sr.shape[-1] // lr.shape[-1]
        if scale < 1 or sr.shape[-2:] != (lr.shape[-2] * scale, lr.shape[-1] * scale):
            raise ValueError(f'SR {tuple(sr.shape)} is not a whole multiple of LR {tuple(lr.shape)}')
        reduced = degrade(sr, scale, self.degradation, self.sigma)
        return self.loss_weight * (reduced - lr.float()).abs().mean()
