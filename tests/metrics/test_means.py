"""What a metric gives of an image, and means that no single image spoils."""

import math
import warnings

import numpy as np
import pytest
from basicsr.metrics import calculate_metric

from vsrkd_plugin.metrics.means import finite_means, measure

PSNR, SSIM = ({'type': f'calculate_{name}', 'crop_border': 2} for name in ('psnr', 'ssim'))


def picture(side: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3)).astype(np.uint8)


def test_measures_as_basicsr_does() -> None:
    a, b = picture(20), picture(20, 1)
    for options in (PSNR, SSIM):
        expected = float(calculate_metric({'img': a, 'img2': b}, dict(options)))
        assert measure(a, b, {**options, 'better': 'higher'}) == expected


def test_equal_and_tiny_images_give_no_finite_value_and_no_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert measure(picture(20), picture(20), PSNR) == math.inf
        for side in (1, 3, 4, 14):  # nothing is left inside the border, or less than SSIM's window of 11
            assert math.isnan(measure(picture(side), picture(side, 1), SSIM))
        assert math.isnan(measure(picture(4), picture(4, 1), PSNR))


def test_means_leave_out_what_is_not_finite_for_any_method() -> None:
    bicubic = {'psnr': [30.0, math.inf, 20.0], 'ssim': [0.9, 1.0, math.nan]}
    student = {'psnr': [32.0, 50.0, 24.0], 'ssim': [0.8, 0.9, math.nan]}
    means = finite_means({'bicubic': bicubic, 'student': student}, ['a', 'black', 'tiny'], 'images')
    assert means.by_method['bicubic'] == {'psnr': 25.0, 'ssim': pytest.approx(0.95)}
    assert means.by_method['student'] == {'psnr': 28.0, 'ssim': pytest.approx(0.85)}
    assert means.left_out == [
        '1 of 3 images left out: psnr of black is not finite',
        '1 of 3 images left out: ssim of tiny is not finite',
    ]


def test_where_none_counts_there_is_no_mean() -> None:
    means = finite_means({'student': {'psnr': [math.inf] * 7}}, [str(n) for n in range(7)], 'frames')
    assert math.isnan(means.by_method['student']['psnr'])
    assert means.left_out == ['7 of 7 frames left out: psnr of 0, 1, 2, 3, 4, … is not finite']
    assert finite_means({'student': {'psnr': [1.0]}}, ['a'], 'images').left_out == []
