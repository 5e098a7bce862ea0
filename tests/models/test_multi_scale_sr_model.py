"""BasicSR's SRModel for networks of several scales."""

import pytest
import torch

from vsrkd_plugin.archs.vdsr_arch import VDSR
from vsrkd_plugin.models.multi_scale_sr_model import MultiScaleSRModel
from vsrkd_plugin.optim.muon import Muon


@pytest.fixture
def model() -> MultiScaleSRModel:
    torch.manual_seed(0)
    bare = MultiScaleSRModel.__new__(MultiScaleSRModel)
    bare.device, bare.net_g = torch.device('cpu'), VDSR(num_feat=8, num_block=2)
    return bare


@pytest.mark.parametrize('scale', [2, 3])
def test_enlarges_by_the_data_sets_scale(model: MultiScaleSRModel, scale: int) -> None:
    lq = torch.rand(1, 1, 8, 6)
    model.feed_data({'lq': lq, 'scale': torch.tensor([scale])})
    model.test()
    assert model.output.shape == (1, 1, 8 * scale, 6 * scale)
    assert torch.equal(model.output, model.net_g(lq, scale=scale).detach())


def test_images_at_hr_size_are_not_enlarged_again(model: MultiScaleSRModel) -> None:
    lq = torch.rand(1, 1, 8, 6)
    model.interpolated = True
    model.feed_data({'lq': lq, 'scale': torch.tensor([3])})
    model.test()
    assert torch.equal(model.output, model.net_g(lq, scale=1).detach())


def test_optimisers_beyond_adam(model: MultiScaleSRModel) -> None:
    parameters = list(model.net_g.parameters())
    optimizer = model.get_optimizer('Muon', parameters, lr=1e-2, betas=[0.8, 0.9])
    assert isinstance(optimizer, Muon)
    assert [group['lr'] for group in optimizer.param_groups] == [1e-2, 3e-4]
    assert isinstance(model.get_optimizer('SGD', parameters, 0.1, momentum=0.9), torch.optim.SGD)
