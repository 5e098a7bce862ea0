"""Networks of low rank, of whatever class: ours, BasicSR's; how they start, what they are to others."""

from typing import Any

import pytest
import torch
from basicsr.archs import build_network
from torch import nn

from vsrkd_plugin.adapters.contract import NetworkContract
from vsrkd_plugin.distillation.init_from_teacher.low_rank import merged
from vsrkd_plugin.distillation.init_from_teacher.start import start_from_teacher
from vsrkd_plugin.ops.low_rank import LowRankConv
from vsrkd_plugin.registration import register

NETWORKS: dict[str, dict[str, Any]] = {
    'VDSR': {'num_feat': 12, 'num_block': 3},
    'SRVGGNetCompact': {'num_feat': 12, 'num_conv': 3, 'upscale': 2},
    'EDSR': {'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 12, 'num_block': 3, 'upscale': 2},
    'RLSP': {'num_feat': 12, 'num_layer': 4, 'upscale': 2, 'normalised': True},
    'IMDN': {'num_feat': 16, 'num_modules': 2, 'upscale': 2},
}


@pytest.fixture(autouse=True)
def _registered() -> None:
    register()


def networks(name: str, rank: int) -> tuple[nn.Module, nn.Module]:
    """A network with random weights, and one of low rank with others."""
    torch.manual_seed(1)
    options = {'type': name, **NETWORKS[name]}
    return build_network(dict(options)).eval(), build_network(
        {'type': 'LowRankNetwork', 'network': options, 'rank': rank}
    ).eval()


@pytest.mark.parametrize('name', NETWORKS)
def test_it_is_of_the_same_class_and_contract_with_fewer_weights(name: str) -> None:
    whole, low = networks(name, 3)
    assert type(low) is type(whole) and NetworkContract.of(low) == NetworkContract.of(whole)
    counts = [sum(parameter.numel() for parameter in network.parameters()) for network in (low, whole)]
    assert counts[0] < counts[1] and any(isinstance(module, LowRankConv) for module in low.modules())


def error(teacher: nn.Module, student: nn.Module, x: torch.Tensor) -> float:
    """Mean squared difference of what they give; 1 is as much as the teacher's own varies."""
    with torch.no_grad():
        wanted, got = teacher(x), student(x)
    return ((got - wanted).square().mean() / (wanted - wanted.mean()).square().mean()).item()


@pytest.mark.parametrize('name', NETWORKS)
def test_it_starts_from_its_teacher(name: str) -> None:
    """Nearer than it is at random, and the more rank, the nearer."""
    torch.manual_seed(0)
    shape = (16, 4, 3, 12, 12) if name == 'RLSP' else (48, 1 if name == 'VDSR' else 3, 12, 12)
    x, errors = torch.rand(shape), []
    for rank in (3, 8):
        teacher, student = networks(name, rank)
        before = error(teacher, student, x[:4])
        start_from_teacher(teacher, student, {2: x})
        errors += [before, error(teacher, student, x[:4])]
    assert errors[1] < 0.9 * errors[0] and errors[3] < 0.3 * errors[2] and errors[3] < 0.6 * errors[1], errors


def test_a_merged_network_does_the_same() -> None:
    for name in NETWORKS:
        _, low = networks(name, 4)
        x = torch.rand((1, 3, 3, 8, 8) if name == 'RLSP' else (1, 1 if name == 'VDSR' else 3, 8, 8))
        whole = merged(low)
        assert not any(isinstance(module, LowRankConv) for module in whole.modules())
        with torch.no_grad():
            torch.testing.assert_close(whole(x), low(x), atol=1e-5, rtol=1e-4)
        assert merged(whole) is whole


def test_a_rank_that_gains_nothing_is_told() -> None:
    for rank, told in ((12, 'rank 12 makes no convolution of VDSR smaller'), (0, 'rank must be a whole number')):
        with pytest.raises(ValueError, match=told):
            networks('VDSR', rank)
