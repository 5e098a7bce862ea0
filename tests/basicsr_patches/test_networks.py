"""What is mended in stock networks, seen with the mends: a CPU builds and runs what a GPU would."""

import pytest
import torch
from basicsr.archs import build_network

from vsrkd_plugin.basicsr_patches import networks as compat_networks
from vsrkd_plugin.registration import register


def test_basicvsrpp_has_its_alignment_without_cuda() -> None:
    register()
    compat_networks.apply()  # once more changes nothing
    torch.manual_seed(0)
    network = build_network({'type': 'BasicVSRPlusPlus', 'mid_channels': 16, 'num_blocks': 1}).eval()
    assert network.is_with_alignment
    assert sum(name.startswith('deform_align.backward_1') for name in network.state_dict()) > 4
    clip = torch.rand(1, 3, 3, 64, 64)
    with torch.no_grad():
        result = network(clip)
        assert result.shape == (1, 3, 3, 256, 256)
        if not torch.cuda.is_available():
            assert network.cpu_cache_length > 10_000  # or long clips would end in `.cuda()`
        for parameter in network.deform_align.parameters():  # alignment takes part
            parameter.add_(0.1)
        assert not torch.equal(network(clip), result)


@pytest.mark.parametrize(
    ('settings', 'lr'),
    [
        (
            {'type': 'EDVR', 'num_feat': 8, 'deformable_groups': 2, 'num_reconstruct_block': 1},
            16,
        ),
        ({'type': 'BasicVSRPlusPlus', 'mid_channels': 16, 'num_blocks': 1}, 64),
    ],
)
def test_deformable_networks_run_in_bf16_on_a_cpu(settings: dict, lr: int) -> None:
    register()
    torch.manual_seed(0)
    network, clip = build_network(settings).eval(), torch.rand(1, 5, 3, lr, lr)
    with torch.no_grad():
        expected = network(clip)
        with torch.autocast('cpu', dtype=torch.bfloat16):
            result = network(clip)
    assert (result.float() - expected).abs().mean() < 0.02
