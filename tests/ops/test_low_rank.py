"""Convolutions of low rank: what they compute, and that they take the nearest weights."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vsrkd_plugin.ops.low_rank import LowRankConv, lower_rank


def convolution(inputs: int = 4, outputs: int = 6, bias: bool = True, size: int = 3) -> nn.Conv2d:
    torch.manual_seed(0)
    return nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=bias)


@pytest.mark.parametrize('size', [3, 5])
@pytest.mark.parametrize('bias', [False, True])
def test_it_computes_what_its_merged_convolution_does(size: int, bias: bool) -> None:
    torch.manual_seed(0)
    pair = LowRankConv(4, 6, 5, size, bias)
    x = torch.rand(2, 4, 9, 7)
    torch.testing.assert_close(pair(x), pair.merged()(x), atol=1e-5, rtol=1e-5)
    assert (pair.merged().bias is None) == (not bias)


def test_of_full_rank_it_is_the_convolution() -> None:
    layer, pair = convolution(), LowRankConv(4, 6, 12)
    pair.set_weight(layer.weight)
    torch.testing.assert_close(pair.weight, layer.weight, atol=1e-5, rtol=1e-5)
    first, second = (half.weight.square().sum() for half in (pair.first, pair.second))
    torch.testing.assert_close(first, second)


def _matrix(weight: Tensor) -> Tensor:
    out, channels, k, _ = weight.shape
    return weight.permute(0, 3, 1, 2).reshape(out * k, channels * k)


@pytest.mark.parametrize('rank', [1, 5])
def test_it_is_the_nearest_of_its_rank(rank: int) -> None:
    """Eckart and Young: what is left are the smaller singular values."""
    layer, pair = convolution(), LowRankConv(4, 6, rank)
    pair.set_weight(layer.weight)
    left = torch.linalg.svdvals(_matrix(layer.weight))[rank:].square().sum()
    torch.testing.assert_close((pair.weight - layer.weight).square().sum(), left, atol=1e-5, rtol=1e-4)
    assert int(torch.linalg.matrix_rank(_matrix(pair.weight), rtol=1e-4)) == rank


def test_importance_makes_what_comes_out_nearer() -> None:
    """Channels that hardly vary need no rank."""
    torch.manual_seed(0)
    layer = convolution(bias=False)
    x = F.avg_pool2d(torch.randn(8, 4, 34, 34), 3, 1) * torch.tensor([10.0, 0.1, 0.1, 1.0]).view(1, 4, 1, 1)
    errors = []
    read = F.unfold(x, (3, 1), padding=(1, 0)).transpose(0, 1).flatten(1)
    for importance in (None, read @ read.T):
        pair = LowRankConv(4, 6, 3, bias=False)
        pair.set_weight(layer.weight, importance)
        errors.append((pair(x) - layer(x)).square().mean().item())
    assert errors[1] < 0.7 * errors[0]


def test_a_channel_of_zeros_stays_one() -> None:
    pair = LowRankConv(2, 2, 3, bias=False)
    with torch.no_grad():
        pair.first.weight[1] = 0
    before = pair.weight.clone()
    pair.balance()
    assert torch.isfinite(pair.weight).all()
    torch.testing.assert_close(pair.weight, before)


def test_a_network_loses_rank_where_it_gains_by_it() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),  # a pair would be larger
        nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU()),
        nn.Conv2d(8, 8, 3, padding=1, groups=2),
        nn.Conv2d(8, 8, 3, padding=1, stride=2),
        nn.Conv2d(8, 8, 3, padding=1, dilation=1, padding_mode='reflect'),
        nn.Conv2d(8, 8, 1),
        nn.Conv2d(8, 8, 5, padding=2, bias=False),
    )
    before = network[1][0].weight.clone()
    assert lower_rank(network, 3) == 2 and lower_rank(network, 3) == 0
    assert isinstance(network[1][0], LowRankConv) and isinstance(network[6], LowRankConv)
    assert network[6].bias is None and network(torch.rand(1, 1, 12, 12)).shape == (1, 8, 6, 6)
    nearest = LowRankConv(8, 8, 3)
    nearest.set_weight(before)
    torch.testing.assert_close(network[1][0].weight, nearest.weight)
    assert lower_rank(nn.Conv2d(8, 8, 3, padding=1), 3) == 0  # itself it cannot replace


@pytest.mark.parametrize(
    ('rank', 'size', 'told'), [(0, 3, 'a whole number from 1 to 12'), (13, 3, 'got 13'), (2, 4, 'odd')]
)
def test_bad_numbers(rank: int, size: int, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        LowRankConv(4, 6, rank, size)
