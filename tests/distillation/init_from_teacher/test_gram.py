"""Sums for least squares, against unfolding."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vsrkd_plugin.distillation.init_from_teacher.gram import can_sum, gram_of, moment_of


def _read(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """What a convolution reads for each of its outputs, one below the other."""
    padding = layer.padding
    assert not isinstance(padding, str)
    return F.unfold(x, layer.kernel_size, layer.dilation, padding).transpose(1, 2).flatten(0, 1)


@pytest.mark.parametrize(
    ('kernel', 'padding', 'dilation', 'size'),
    [
        (3, 1, 1, (9, 11)),
        ((3, 1), (1, 0), 1, (9, 11)),
        ((1, 3), (0, 2), (1, 2), (5, 6)),
        (5, 0, 1, (9, 11)),
        (5, 4, 1, (4, 5)),
        (3, 2, 2, (7, 6)),
        (3, 0, 1, (3, 3)),
        (3, 1, 1, (1, 2)),
        (1, 0, 1, (5, 5)),
    ],
)
def test_sums_are_those_of_the_unfolded_input(kernel: object, padding: object, dilation: object, size: tuple) -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(4, 5, kernel, padding=padding, dilation=dilation, bias=False).double()  # type: ignore[arg-type]
    x = torch.randn(3, 4, *size, dtype=torch.float64)
    rows, target = _read(layer, x), torch.randn_like(layer(x))
    torch.testing.assert_close(gram_of(layer, x), rows.T @ rows)
    torch.testing.assert_close(moment_of(layer, x, target), rows.T @ target.permute(0, 2, 3, 1).flatten(0, 2))


def test_what_cannot_be_summed_is_told() -> None:
    assert can_sum(nn.Conv2d(4, 4, 3, padding=1))
    for layer in (
        nn.Conv2d(4, 4, 3, stride=2),
        nn.Conv2d(4, 4, 3, groups=2),
        nn.Conv2d(4, 4, 3, padding='same'),
        nn.Conv2d(4, 4, 3, padding=1, padding_mode='reflect'),
        nn.Linear(4, 4),
    ):
        assert not can_sum(layer)
