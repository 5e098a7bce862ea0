"""What makes the features of two domains alike."""

from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor, nn


@LOSS_REGISTRY.register()
class AlignmentLoss(nn.Module):
    """Least squares on the scores of a discriminator of features (Wang et al., ICCV 2021, 'USR-DA').

    The discriminator learns 1 for features of the source and 0 for those of the target; the encoder learns features of
    both that it takes for neither: one half.

    Args:
        loss_weight: factor of the encoder's loss; the discriminator's is never weighted. Default 1.
    """

    def __init__(self, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.loss_weight = loss_weight

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """The encoder's: scores `(n, …)` of features of the source and of the target to a scalar."""
        return self.loss_weight * ((source - 0.5).square().mean() + (target - 0.5).square().mean())

    def discriminate(self, source: Tensor, target: Tensor) -> Tensor:
        """The discriminator's."""
        return ((source - 1).square().mean() + target.square().mean()) / 2
