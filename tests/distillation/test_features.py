"""Taps: what modules give is what is taken, call by call."""

import pytest
import torch

from vsrkd_plugin.archs.rlsp_arch import RLSP
from vsrkd_plugin.archs.vdsr_arch import VDSR
from vsrkd_plugin.distillation.features import FeatureTaps


def test_outputs_are_taken_once() -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.ReLU())
    taps, x = FeatureTaps(network, ['1', '0']), torch.rand(2, 1, 5, 5)
    network(x + 1)
    taps.listen()
    y = network(x)
    relu, conv = taps.take()
    assert torch.equal(relu, y) and torch.equal(conv, network[0](x))
    taps.listen()
    with pytest.raises(RuntimeError, match='1, 0 took no part'):
        taps.take()


def test_a_recurrent_network_gives_every_frame() -> None:
    network = RLSP(num_feat=4, num_layer=3, upscale=2)
    taps = FeatureTaps(network, ['layer1'])
    taps.listen()
    network(torch.rand(2, 3, 3, 6, 6))
    assert taps.take()[0].shape == (6, 4, 6, 6)


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(ValueError, match=r"VDSR has no module 'body\.9'; it has "):
        FeatureTaps(VDSR(num_feat=4, num_block=2), ['body.9'])
