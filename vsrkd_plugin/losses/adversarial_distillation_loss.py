"""What drives the generator to inputs on which the student still disagrees with the teacher."""

import torch
from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor

from vsrkd_plugin.losses.distillation_loss import DistillationLoss, disagreement
from vsrkd_plugin.ops.parallel import with_global_value


@LOSS_REGISTRY.register()
class AdversarialDistillationLoss(DistillationLoss):
    """`L_GEN = -log(L_KD + 1)`, equation 5 of the paper; to be minimised by the generator.

    With several processes `L_KD` is that of their joint batch: averaging the processes' gradients then gives the
    joint batch's gradient, although the logarithm is not linear.

    Args:
        criterion: `l1` or `sum_squares`, as in `DistillationLoss`.
        loss_weight: factor. Default 1.
    """

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Student's and teacher's SR, `(n, c, h, w)`, to a scalar, 0 or less."""
        kd = disagreement(prediction, target, self.criterion)
        return -self.loss_weight * torch.log1p(with_global_value(kd))
