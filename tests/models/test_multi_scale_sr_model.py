"""BasicSR's SRModel for networks of several scales."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from basicsr.data.single_image_dataset import SingleImageDataset
from tiny_training import build
from torch.utils.data import DataLoader

from vsrkd_plugin.adapters.complying import comply
from vsrkd_plugin.adapters.contract import NetworkContract
from vsrkd_plugin.archs.vdsr_arch import VDSR
from vsrkd_plugin.models.multi_scale_sr_model import MultiScaleSRModel, super_resolve
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


def test_the_network_and_its_average_heed_options(tmp_path: Path) -> None:
    opt = {
        'name': 'tiny', 'model_type': 'MultiScaleSRModel', 'num_gpu': 0, 'manual_seed': 0, 'path': {}, 'scale': 2,
        'network_g': {'type': 'SRVGGNetCompact', 'num_feat': 4, 'num_conv': 1, 'upscale': 2},
        'contract_g': {'value_range': [0, 255], 'size_multiple': 4},
        'datasets': {'train': {'name': 'latent', 'type': 'LatentDataset', 'batch_size_per_gpu': 1}},
        'train': {
            'total_iter': 4, 'ema_decay': 0.9, 'pixel_opt': {'type': 'L1Loss'},
            'optim_g': {'type': 'Adam', 'lr': 1e-3}, 'scheduler': {'type': 'MultiStepLR', 'milestones': [2]},
        },
    }  # fmt: skip
    model, lq = build(opt, tmp_path), torch.rand(1, 3, 8, 12)
    for network in (model.net_g, model.net_g_ema):
        assert NetworkContract.of(network).size_multiple == 4
        torch.testing.assert_close(network(lq), network.forward(lq * 255) / 255)


def test_the_average_of_a_batch_normalisation_has_its_statistics(model: MultiScaleSRModel) -> None:
    torch.manual_seed(0)
    model.net_g, model.net_g_ema = torch.nn.BatchNorm2d(3), torch.nn.BatchNorm2d(3).eval()
    torch.nn.init.constant_(model.net_g.weight, 3)
    for _ in range(60):
        model.net_g(5 + 2 * torch.randn(8, 3, 8, 8))
    model.model_ema(0.75)
    assert model.net_g_ema.weight.tolist() == [1.5] * 3
    result = model.net_g_ema(5 + 2 * torch.randn(8, 3, 8, 8)).detach()
    assert abs(float(result.mean())) < 0.1 and float(result.std()) == pytest.approx(1.5, rel=0.1)


def test_a_network_of_luma_takes_colours() -> None:
    network, lq = VDSR(num_feat=4, num_block=1), torch.rand(1, 3, 8, 6)
    torch.testing.assert_close(super_resolve(network, lq, 3, False), network(lq, scale=3))  # enlarges chroma itself
    assert super_resolve(network, lq[:, :1], 3, False).shape == (1, 1, 24, 18)


@pytest.mark.parametrize('scale', [2, 4])
def test_pictures_of_no_scale_are_enlarged_by_that_of_the_options(
    model: MultiScaleSRModel, scale: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cv2.imwrite(str(tmp_path / 'a.png'), np.zeros((8, 6, 3), np.uint8))
    io = {'io_backend': {'type': 'disk'}}
    dataset = SingleImageDataset({'name': 'x', 'dataroot_lq': str(tmp_path), 'scale': scale, **io})
    options = {'val': {'suffix': None}, 'name': 'x', 'path': {'visualization': tmp_path}, 'is_train': False}
    model.opt, sizes = options, []
    monkeypatch.setattr('basicsr.models.sr_model.imwrite', lambda image, path: sizes.append(image.shape))
    model.nondist_validation(DataLoader(dataset), 0, None, True)
    assert sizes == [(8 * scale, 6 * scale, 3)]


@pytest.mark.parametrize('colours', [1, 3])
def test_a_network_that_works_at_hr_size_is_given_it(colours: int) -> None:
    network = comply(torch.nn.Conv2d(1, 1, 3, padding=1), {'pre_upsampling': True})
    lq = torch.rand(1, colours, 8, 6)
    assert super_resolve(network, lq, 3, False).shape == (1, colours, 24, 18)
    assert super_resolve(network, lq, 3, True).shape == (1, colours, 8, 6)
