"""Where, and how strongly, features of student and teacher respond: their channels need not correspond."""

from collections.abc import Mapping, Sequence
from functools import reduce

import torch
from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor, nn
from torch.nn import functional as F


@LOSS_REGISTRY.register()
class FeatureDistillationLoss(nn.Module):
    """Attention transfer: mean absolute difference of attention maps (Zagoruyko & Komodakis, ICLR 2017, equation 2).

    The map of a layer is the mean square over its channels, so student and teacher may have different widths; each
    image's map is divided by its own mean, so that neither scale nor size counts.

    Args:
        layers: names of the student's modules → names of the teacher's, as `named_modules` tells them.
        loss_weight: factor. Default 1.

    Raises:
        ValueError: no layers.
    """

    def __init__(self, layers: Mapping[str, str], loss_weight: float = 1.0) -> None:
        super().__init__()
        if not isinstance(layers, Mapping) or not layers:
            raise ValueError(f"layers must name the student's modules and the teacher's to each, got {layers!r}")
        self.layers, self.loss_weight = dict(layers), loss_weight

    def forward(self, student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
        """Features `(n, c, h, w)` of each layer to a scalar; the teacher's are brought to the student's size.

        Raises:
            ValueError: not as many layers, or images.
        """
        ours, theirs = ([len(x) for x in features] for features in (student, teacher))
        if ours != theirs:
            raise ValueError(f'student and teacher gave features of {ours} and {theirs} images')
        differences = [
            (_attention(s) - _attention(t, s.shape[-2:])).abs().mean() for s, t in zip(student, teacher, strict=True)
        ]
        return self.loss_weight * reduce(torch.add, differences) / len(differences)


def _attention(features: Tensor, size: Sequence[int] | None = None) -> Tensor:
    """`(n, c, h, w)` to `(n, 1, h, w)` of mean 1."""
    energy = features.float().square().mean(1, keepdim=True)
    if size is not None and energy.shape[-2:] != tuple(size):
        energy = F.interpolate(energy, tuple(size), mode='bilinear')
    return energy / energy.mean((1, 2, 3), keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
