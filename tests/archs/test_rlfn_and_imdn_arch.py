"""RLFN and IMDN: published weights load and give the published figures."""

from pathlib import Path

import pytest
import torch
from torch import nn

from vsrkd_plugin.adapters.complying import comply
from vsrkd_plugin.adapters.image_sr import ImageSRAdapter, freeze
from vsrkd_plugin.archs.imdn_arch import IMDN, ContrastAwareAttention
from vsrkd_plugin.archs.rlfn_arch import ESA, RLFN
from vsrkd_plugin.data.bicubic_image_dataset import BicubicImageDataset
from vsrkd_plugin.reports.evaluation import evaluate, metric_options
from vsrkd_plugin.run.checkpoints import load_weights


@pytest.mark.parametrize(('cls', 'published'), [(IMDN, 32.21), (RLFN, 32.24)])
def test_psnr_on_set5(shared_data: Path, cls: type[nn.Module], published: float) -> None:
    network = comply(freeze(cls()))
    load_weights(network, shared_data / 'teachers' / f'{cls.__name__.lower()}_x4.pth')
    options = {'name': 'Set5', 'phase': 'val', 'dataroot_gt': str(shared_data / 'benchmarks' / 'Set5'), 'scale': 4,
               'color': 'rgb'}  # fmt: skip
    found = evaluate(BicubicImageDataset(options), options, {'network': ImageSRAdapter(network, 3)},
                     metric_options(None), torch.device('cpu'))  # fmt: skip
    psnr = {result['method']: result['psnr'] for result in found.results}
    assert abs(psnr['network'] - published) < 0.015 and abs(psnr['bicubic'] - 28.42) < 0.02


@pytest.mark.parametrize('cls', [IMDN, RLFN])
def test_shapes_and_arguments(cls: type[nn.Module]) -> None:
    small = {'num_feat': 8, 'num_modules': 2} if cls is IMDN else {'num_feat': 8, 'num_block': 2, 'esa_channels': 4}
    network = cls(num_in_ch=1, num_out_ch=1, upscale=3, **small)
    x = torch.zeros(2, 1, 15, 17, requires_grad=True)
    output = network(x)
    assert output.shape == (2, 1, 45, 51)
    output.sum().backward()
    assert torch.isfinite(x.grad).all()  # of a flat image too
    with pytest.raises(ValueError, match='at least 1'):
        cls(num_feat=0)
    with pytest.raises(ValueError, match='distillation_rate'):
        IMDN(num_feat=4, distillation_rate=1.5)


def test_attention() -> None:
    attention, x = ContrastAwareAttention(32), torch.rand(2, 32, 5, 6)
    contrast = x.flatten(2).std(2, unbiased=False) + x.flatten(2).mean(2)
    torch.testing.assert_close(attention(x), x * attention.conv_du(contrast[..., None, None]))
    esa, x = ESA(6, 4), torch.rand(1, 6, 15, 15)
    with torch.no_grad():
        esa.conv4.weight.zero_()
        esa.conv4.bias.fill_(100.0)
    torch.testing.assert_close(esa(x), x)  # an open gate
