"""Networks made to look alike, and what is measured of them."""

import math

import numpy as np
import pytest
import torch
from basicsr.archs.edsr_arch import EDSR
from torch import nn

from vsrkd_plugin.adapters.image_sr import ImageSRAdapter
from vsrkd_plugin.archs.vdsr_arch import VDSR
from vsrkd_plugin.errors import UserError
from vsrkd_plugin.ops.resize import bicubic_resize
from vsrkd_plugin.reports.evaluation import (
    DEFAULT_METRICS,
    Crop,
    choose_crops,
    evaluate,
    metric_options,
)

CPU = torch.device('cpu')


class Perfect(nn.Module):
    """Knows HR by heart."""

    multi_scale = True

    def __init__(self, hr: torch.Tensor) -> None:
        super().__init__()
        self.hr = hr

    def forward(self, _x: torch.Tensor, scale: int) -> torch.Tensor:
        return self.hr[None]


@pytest.fixture
def sample() -> dict:
    generator = torch.Generator().manual_seed(0)
    gt = bicubic_resize(torch.rand(1, 9, 8, generator=generator), 4).clamp(0, 1)
    return {'lq': bicubic_resize(gt, 1 / 2), 'gt': gt, 'lq_path': 'a/b.png', 'scale': 2}


def test_metrics_are_basicsr_s_and_ssim_of_a_perfect_network_is_one(sample):
    networks = {'student': ImageSRAdapter(Perfect(sample['gt']), 1)}
    (bicubic,) = evaluate([sample], {'name': 'set_x2', 'scale': 2}, {}, DEFAULT_METRICS, CPU).results
    rounded = [x.clamp(0, 1).mul(255).round()[:, 2:-2, 2:-2] for x in (bicubic_resize(sample['lq'], 2), sample['gt'])]
    mse = float((rounded[0] - rounded[1]).square().mean())
    assert bicubic['dataset'] == 'set' and bicubic['psnr'] == pytest.approx(10 * math.log10(255**2 / mse), abs=1e-4)
    _, student = evaluate([sample], {'name': 'set_x2', 'scale': 2}, networks, DEFAULT_METRICS, CPU).results
    assert math.isnan(student['psnr']) and student['ssim'] == pytest.approx(1)
    assert student['left_out'] == ['1 of 1 images left out: psnr of b is not finite']


def test_an_image_that_is_not_finite_for_one_counts_for_none(sample):
    black = {'lq': torch.zeros(1, 9, 8), 'gt': torch.zeros(1, 18, 16), 'lq_path': 'a/black.png', 'scale': 2}
    tiny = {'lq': sample['lq'][:, :3, :3], 'gt': sample['gt'][:, :6, :6], 'lq_path': 'a/tiny.png', 'scale': 2}
    networks = {'student': ImageSRAdapter(VDSR(num_in_ch=1, num_feat=4, num_block=1), 1)}
    with torch.no_grad():
        networks['student'].network.output.weight += 0.5
    options = {'name': 'set', 'scale': 2}
    expected = evaluate([sample], options, networks, DEFAULT_METRICS, CPU).results
    assert 'left_out' not in expected[0]
    found = evaluate([sample, black, tiny], options, networks, DEFAULT_METRICS, CPU).results
    small = evaluate([sample, tiny], options, networks, DEFAULT_METRICS, CPU).results
    for result, other, without_black in zip(found, expected, small, strict=True):
        assert result['psnr'] == pytest.approx(without_black['psnr']) and math.isfinite(result['psnr'])
        assert without_black['ssim'] == pytest.approx(other['ssim'])
        assert result['left_out'] == [
            '1 of 3 images left out: psnr of black is not finite',
            '1 of 3 images left out: ssim of tiny is not finite',
        ]


def test_inputs_are_left_as_they_are(sample):
    """BasicSR's tensor2img clamps in place."""
    sample['lq'][0, 0, 0] = 1.5
    before = sample['lq'].clone()
    options = {'name': 'set', 'scale': 2, 'interpolate': True}
    evaluate([sample | {'lq': (big := bicubic_resize(sample['lq'], 2))}], options, {}, DEFAULT_METRICS, CPU)
    assert big.max() > 1
    evaluate([sample], {'name': 'set', 'scale': 2}, {}, DEFAULT_METRICS, CPU)
    assert torch.equal(sample['lq'], before)


def test_interpolated_input_gives_the_same(sample):
    networks = {'student': ImageSRAdapter(VDSR(num_in_ch=1, num_feat=4, num_block=1), 1)}
    plain = evaluate([sample], {'name': 'set', 'scale': 2}, networks, DEFAULT_METRICS, CPU)
    enlarged = sample | {'lq': bicubic_resize(sample['lq'], 2)}
    same = evaluate([enlarged], {'name': 'set', 'scale': 2, 'interpolate': True}, networks, DEFAULT_METRICS, CPU)
    assert plain.results == same.results


def test_sets_without_ground_truth_are_left_out(sample):
    del sample['gt']
    assert evaluate([sample], {'name': 'set', 'scale': 2}, {}, DEFAULT_METRICS, CPU).results == []


def test_networks_and_scales_that_do_not_fit_are_named(sample):
    teacher = {'teacher': ImageSRAdapter(EDSR(3, 3, num_feat=4, num_block=1, upscale=4), 3)}
    with pytest.raises(UserError, match=r'data set set, teacher: .* takes 3 channels, got 1'):
        evaluate([sample], {'name': 'set', 'scale': 2}, teacher, DEFAULT_METRICS, CPU)
    colour = sample | {'lq': sample['lq'].expand(3, -1, -1), 'gt': sample['gt'].expand(3, -1, -1)}
    with pytest.raises(UserError, match=r'data set set, teacher: .* for x2 of'):
        evaluate([colour], {'name': 'set', 'scale': 2}, teacher, DEFAULT_METRICS, CPU)
    with pytest.raises(UserError, match=r'data set set: LR of .* check its scale'):
        evaluate([sample | {'scale': 3}], {'name': 'set'}, {}, DEFAULT_METRICS, CPU)


def test_a_network_of_y_keeps_the_colours(sample):
    colour = {'lq': torch.rand(3, 9, 8), 'gt': torch.rand(3, 18, 16), 'scale': 2}
    networks = {'student': ImageSRAdapter(EDSR(3, 3, num_feat=4, num_block=1, upscale=2), 3)}
    networks['teacher'] = ImageSRAdapter(VDSR(num_in_ch=1, num_feat=4, num_block=1), 1)
    outcome = evaluate([colour], {'name': 'set'}, networks, DEFAULT_METRICS, CPU)
    assert [result['method'] for result in outcome.results] == ['bicubic', 'student', 'teacher']
    assert {panel.shape[2] for panel in outcome.crops[0].panels.values()} == {3}


def test_metrics_of_the_options_are_taken_whatever_their_name():
    metrics = {'my_psnr': {'type': 'calculate_psnr', 'crop_border': 7}, 'niqe': {'type': 'calculate_niqe'}}
    found = metric_options({'metrics': metrics})
    assert found == {'psnr': metrics['my_psnr'], 'ssim': DEFAULT_METRICS['ssim']}
    assert metric_options(None) == DEFAULT_METRICS


def test_the_worst_window_is_found():
    gt = torch.full((1, 200, 200), 0.5)
    gt[:, 120:160, 30:70:2] = 1.0  # stripes that bicubic cannot give back
    sample = {'lq': bicubic_resize(gt, 1 / 2), 'gt': gt, 'scale': 2}
    (crop,) = evaluate([sample], {'name': 'set', 'scale': 2}, {}, DEFAULT_METRICS, CPU).crops
    assert crop.panels['hr'].shape == (64, 64) and crop.panels['lr'].shape == (32, 32)
    assert (crop.panels['hr'] == 255).sum() == 40 * 20  # all of the stripes
    assert crop.error > 10 and crop.psnr['bicubic'] < 20


def test_crops_are_spread_over_sets_and_images():
    def crop(scale: int, image: str, error: float) -> Crop:
        return Crop('set', scale, image, error, {'hr': np.zeros((2, 2), np.uint8)}, {})

    errors = {'a': 1, 'b': 9, 'c': 5}
    crops = [crop(scale, image, error * scale) for scale in (2, 3, 4) for image, error in errors.items()]
    assert [(c.scale, c.image) for c in choose_crops(crops)] == [(2, 'b'), (3, 'c'), (4, 'a'), (4, 'b')]
    assert choose_crops([]) == [] and len(choose_crops(crops[:2])) == 2
    many = [crop(scale, image, 1) for scale in range(2, 14) for image in 'abcd']
    assert [c.image for c in choose_crops(many)] == ['a', 'b', 'c', 'd']
