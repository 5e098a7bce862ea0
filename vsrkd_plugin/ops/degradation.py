"""The two ways in which the field makes LR of HR."""

from torch import Tensor

from vsrkd_plugin.ops.blur import blur_subsample
from vsrkd_plugin.ops.resize import bicubic_resize

DEGRADATIONS = ('bicubic', 'blur')
SIGMA = 1.5  # of the blur, in HR pixels, as of most video networks for x4


def degrade(x: Tensor, scale: int, degradation: str, sigma: float = SIGMA) -> Tensor:
    """LR of HR images or clips; differentiable.

    Args:
        x: `(..., h, w)`.
        scale: the factor.
        degradation: `bicubic` (MATLAB's, 'BI'), or `blur` (Gaussian, then every scale-th pixel from 0, 'BD').
        sigma: of the blur, in pixels of `x`.

    Raises:
        ValueError: another degradation.
    """
    if degradation == 'bicubic':
        return bicubic_resize(x, 1 / scale)
    if degradation == 'blur':
        return blur_subsample(x, scale, sigma)
    raise ValueError(f'degradation must be one of {", ".join(DEGRADATIONS)}, got {degradation!r}')
