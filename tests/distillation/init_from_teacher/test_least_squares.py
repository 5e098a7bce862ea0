"""Least squares for single layers."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from vsrkd_plugin.distillation.init_from_teacher.least_squares import refit, spread


def test_spread() -> None:
    assert spread(18, 18) == list(range(18))
    assert spread(1, 18) == [0]
    assert spread(2, 18) == [0, 17]
    positions = spread(14, 18)
    assert positions[0] == 0 and positions[-1] == 17 and len(set(positions)) == 14


@pytest.mark.parametrize('bias', [False, True])
def test_refit_finds_a_known_convolution(bias: bool) -> None:
    """What a convolution made, the least-squares fit of another one gives back."""
    torch.manual_seed(0)
    true, fitted = (nn.Conv2d(3, 4, 3, padding=1, bias=bias) for _ in range(2))
    x = torch.randn(8, 3, 12, 12)
    with torch.no_grad():
        refit(fitted, x, true(x), ridge=1e-9)
    torch.testing.assert_close(fitted.weight, true.weight, atol=1e-4, rtol=1e-4)
    if bias:
        torch.testing.assert_close(fitted.bias, true.bias, atol=1e-4, rtol=1e-4)


def test_refit_is_the_minimum() -> None:
    """A small step from the solution in any direction makes the error larger."""
    torch.manual_seed(0)
    layer = nn.Conv2d(2, 2, 3, padding=1, bias=False)
    x, target = torch.randn(4, 2, 9, 9), torch.randn(4, 2, 9, 9)
    with torch.no_grad():
        refit(layer, x, target, ridge=1e-9)
        best = (layer(x) - target).square().sum()
        for _ in range(10):
            moved = F.conv2d(x, layer.weight + 1e-2 * torch.randn_like(layer.weight), padding=1)
            assert (moved - target).square().sum() > best


@pytest.mark.parametrize(
    'settings', [{'padding': 'same'}, {'stride': 2}, {'groups': 2}, {'padding': 1, 'padding_mode': 'reflect'}]
)
def test_a_layer_of_another_kind_is_refused(settings: dict) -> None:
    layer, x = nn.Conv2d(2, 2, 3, **settings), torch.randn(2, 2, 8, 8)
    before = layer.weight.clone()
    with pytest.raises(ValueError, match=r'cannot refit Conv2d.*expected stride 1, one group and zero padding'):
        refit(layer, x, layer(x).detach())
    assert torch.equal(layer.weight, before)
