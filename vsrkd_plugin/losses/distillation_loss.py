"""How far the student's output is from the teacher's."""

from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor, nn

from vsrkd_plugin.ops.parallel import world_size

CRITERIA = ('l1', 'sum_squares')


def disagreement(prediction: Tensor, target: Tensor, criterion: str) -> Tensor:
    """`L_KD`: mean absolute error (`l1`, the paper's equation 4), or the sum of squared errors (`sum_squares`, the
    authors' code); fp32, a scalar.

    With several processes the mean of their values is that of the joint batch, for either criterion.

    Raises:
        ValueError: another criterion, or shapes that differ.
    """
    if prediction.shape != target.shape:
        raise ValueError(f'shapes differ: {tuple(prediction.shape)} and {tuple(target.shape)}')
    difference = prediction.float() - target.float()
    if criterion == 'l1':
        return difference.abs().mean()
    if criterion == 'sum_squares':
        return difference.square().sum() * world_size()
    raise ValueError(f'criterion must be one of {", ".join(CRITERIA)}, got {criterion!r}')


@LOSS_REGISTRY.register()
class DistillationLoss(nn.Module):
    """`L_KD = E[|T(x) - S(x)|_1 / n]`, equation 4 of the paper.

    Args:
        criterion: `l1` (mean absolute error) or `sum_squares` (sum over batch and pixels, as the authors' code).
        loss_weight: factor. Default 1.
    """

    def __init__(self, criterion: str = 'l1', loss_weight: float = 1.0) -> None:
        super().__init__()
        if criterion not in CRITERIA:
            raise ValueError(f'criterion must be one of {", ".join(CRITERIA)}, got {criterion!r}')
        self.criterion, self.loss_weight = criterion, loss_weight

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Student's and teacher's SR, `(n, c, h, w)`, to a scalar."""
        return self.loss_weight * disagreement(prediction, target, self.criterion)
