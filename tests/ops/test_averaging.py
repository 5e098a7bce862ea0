"""The moving average of weights against its closed form."""

import torch
from torch import nn

from vsrkd_plugin.ops.averaging import update_ema


def test_the_average_and_its_buffers() -> None:
    averaged, network = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
    assert network.running_mean is not None and averaged.running_mean is not None
    for step in range(1, 4):
        with torch.no_grad():
            network.weight.fill_(float(step))
            network.running_mean.fill_(10.0 * step)
        update_ema(averaged, network, 0.75)
    # 1 at the start; after n steps the sum of what came, weighted by 0.25 * 0.75 ** (steps since).
    expected = 0.75**3 * 1 + 0.25 * (0.75**2 * 1 + 0.75 * 2 + 3)
    torch.testing.assert_close(averaged.weight.detach(), torch.full((2,), expected))
    assert averaged.running_mean.tolist() == [30.0, 30.0]  # a buffer is no weight: it is copied
