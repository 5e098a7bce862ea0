"""Clips in reports: bicubic is a fair rival, figures are BasicSR's, pictures and films are of the clip."""

import math

import pytest
import torch
from basicsr.metrics import calculate_metric
from basicsr.utils import tensor2img

from vsrkd_plugin.ops.blur import blur_subsample
from vsrkd_plugin.ops.degradation import degrade
from vsrkd_plugin.reports.clips import evaluate_clips
from vsrkd_plugin.reports.evaluation import DEFAULT_METRICS


def smooth_clip(degradation: str) -> dict:
    """Waves far longer than a pixel, drifting: what any good enlargement gives back."""
    y, x = torch.meshgrid(torch.arange(96.0), torch.arange(96.0), indexing='ij')
    frames = [0.5 + 0.4 * torch.sin((x + 3 * t) / 19) * torch.cos(y / 23) for t in range(4)]
    gt = torch.stack(frames)[:, None].expand(-1, 3, -1, -1).contiguous()
    return {'lq': degrade(gt, 4, degradation), 'gt': gt, 'folder': 'waves', 'scale': 4}


@pytest.mark.parametrize('degradation', ['bicubic', 'blur'])
def test_bicubic_lies_on_hr(degradation: str) -> None:
    options = {'name': 'set', 'degradation': degradation}
    evaluation = evaluate_clips([smooth_clip(degradation)], options, {}, DEFAULT_METRICS, torch.device('cpu'))
    (result,) = evaluation.results
    assert result['psnr'] > 40 and result['flicker'] < 1
    assert evaluation.films[0].panels['hr'].shape == (4, 192, 192, 3)
    assert {crop.image for crop in evaluation.crops} >= {'waves, frame 2'}


def test_figures_are_the_means_over_frames() -> None:
    sample = smooth_clip('blur')

    class Blurred(torch.nn.Module):
        def forward(self, clip: torch.Tensor, scale: int) -> torch.Tensor:
            return blur_subsample(sample['gt'], 1, 2.0)[None]

    results = evaluate_clips(
        [sample], {'name': 'set', 'degradation': 'blur'}, {'student': Blurred()}, DEFAULT_METRICS, torch.device('cpu')
    ).results
    frames = zip(blur_subsample(sample['gt'], 1, 2.0), sample['gt'], strict=True)
    settings = {**DEFAULT_METRICS['psnr'], 'crop_border': 8}
    values = [
        float(calculate_metric({'img': tensor2img(a.clone()), 'img2': tensor2img(b.clone())}, dict(settings)))
        for a, b in frames
    ]
    assert results[1]['method'] == 'student'
    assert results[1]['psnr'] == pytest.approx(sum(values) / 4, abs=1e-6)
    assert results[1]['frames']['psnr'] == pytest.approx(values, abs=1e-6)
    assert len(results[1]['frames']['ssim']) == 4


def test_frames_and_clips_that_are_not_finite_do_not_count() -> None:
    moving = smooth_clip('blur')
    options = {'name': 'set', 'degradation': 'blur'}
    (expected,) = evaluate_clips([moving], options, {}, DEFAULT_METRICS, torch.device('cpu')).results
    black = {**moving, 'folder': 'black', 'lq': 0 * moving['lq'][:1], 'gt': 0 * moving['gt'][:1]}
    dark = {key: value.clone() if torch.is_tensor(value) else value for key, value in moving.items()}
    dark['lq'][2], dark['gt'][2], dark['folder'] = 0, 0, 'dark'
    rows = evaluate_clips([moving, black, dark], options, {}, DEFAULT_METRICS, torch.device('cpu')).results
    by_name = {row['dataset']: row for row in rows}
    assert math.isnan(by_name['set/black']['psnr']) and by_name['set/black']['ssim'] == pytest.approx(1)
    kept = [value for number, value in enumerate(expected['frames']['psnr']) if number != 2]
    assert by_name['set/dark']['psnr'] == pytest.approx(sum(kept) / 3)
    assert by_name['set/dark']['left_out'] == ['1 of 4 frames left out: psnr of frame 2 is not finite']
    assert by_name['set']['psnr'] == pytest.approx((expected['psnr'] + sum(kept) / 3) / 2)
    assert by_name['set']['left_out'] == [
        '1 of 3 clips left out: psnr of black is not finite',
        '1 of 3 clips left out: flicker of black is not finite',
    ]
