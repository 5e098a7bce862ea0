"""Filters that see only what changes from frame to frame."""

import torch
from torch import nn

from vsrkd_plugin.ops.temporal import over_time, start_as_differences


def test_half_of_the_filters_answer_to_motion_alone() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv3d(3, 4, (1, 3, 3)), nn.Conv3d(4, 6, 3))
    plain, temporal = network
    assert over_time(network) == [temporal]
    before = [layer.weight.detach().clone() for layer in (plain, temporal)]
    bias = temporal.bias[None, :, None, None, None]
    start_as_differences(network)
    still, moving = torch.rand(1, 4, 1, 7, 7).expand(-1, -1, 5, -1, -1), torch.rand(1, 4, 5, 7, 7)
    assert (temporal(still) - bias)[:, :3].abs().max() < 1e-5 < 0.01 < (temporal(still) - bias)[:, 3:].abs().mean()
    assert (temporal(moving) - bias)[:, :3].abs().mean() > 0.01
    assert torch.equal(plain.weight, before[0]) and torch.equal(temporal.weight[3:], before[1][3:])
