"""How sharp the student's output is, place by place, held against the teacher's."""

from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor, nn
from torch.nn import functional as F

from vsrkd_plugin.ops.pyramid import halve, laplacian

_LEAST = 1e-3  # of a range of 1: a quarter of a grey level; below it a root's gradient would blow up noise


@LOSS_REGISTRY.register()
class SharpnessLoss(nn.Module):
    """Mean absolute difference of *local sharpness*: the RMS of the Laplacian over small windows, at several sizes.

    A student smaller than its teacher cannot place every fine stroke where the teacher does, and pays least in `L1` for
    leaving it out: it ends blurrier than its teacher, the more so the sharper the teacher is (one trained with a GAN).
    This loss asks for as much detail as the teacher has, within a window of some pixels, wherever in it. Unlike a
    discriminator it learns nothing, and unlike one it wants no more texture anywhere than the teacher's output has.

    The windows are half as far apart as they are large. At each level of a pyramid the image is halved.

    Args:
        levels: sizes of the image at which sharpness is compared.
        window: side of the windows in pixels, at each level.
        loss_weight: factor. Default 1.

    Raises:
        ValueError: `levels` below 1 or `window` below 2.
    """

    def __init__(self, levels: int = 3, window: int = 8, loss_weight: float = 1.0) -> None:
        super().__init__()
        if levels < 1 or window < 2:
            raise ValueError(f'levels must be at least 1 and window 2, got {levels} and {window}')
        self.levels, self.window, self.loss_weight = levels, window, loss_weight

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Student's and teacher's SR, `(n, c, h, w)` or clips `(n, t, c, h, w)`, to a scalar.

        Levels at which the image is smaller than a window are left out.

        Raises:
            ValueError: shapes that differ.
        """
        if prediction.shape != target.shape:
            raise ValueError(f'shapes differ: {tuple(prediction.shape)} and {tuple(target.shape)}')
        ours, theirs = (x.float().flatten(0, -4) for x in (prediction, target))
        total = ours.new_zeros(())
        for level in range(self.levels):
            if level:
                ours, theirs = halve(ours), halve(theirs)
            if min(ours.shape[-2:]) < self.window + 2:
                break
            total = total + (self._sharpness(ours) - self._sharpness(theirs)).abs().mean()
        return self.loss_weight * total

    def _sharpness(self, x: Tensor) -> Tensor:
        """`(n, c, h, w)` to `(n, 1, …)`: RMS over windows and channels."""
        energy = laplacian(x).square().mean(1, keepdim=True)
        return (F.avg_pool2d(energy, self.window, self.window // 2) + _LEAST**2).sqrt()
