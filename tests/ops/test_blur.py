"""Gaussian blur and subsampling against scipy."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from vsrkd_plugin.ops.blur import blur_subsample


@pytest.mark.parametrize('scale', [1, 2, 3, 4])
@pytest.mark.parametrize('sigma', [0.4, 1.0, 1.5, 1.6, 3.0])
@pytest.mark.parametrize('size', [(24, 37), (5, 8), (1, 3)])
def test_equals_scipy(size: tuple[int, int], sigma: float, scale: int) -> None:
    x = np.random.default_rng(0).random(size)
    expected = gaussian_filter(x, sigma, mode='reflect', truncate=4)[::scale, ::scale]
    result = blur_subsample(torch.from_numpy(x).view(1, 1, *size), scale, sigma)
    assert result.dtype == torch.float64
    np.testing.assert_allclose(result[0, 0].numpy(), expected, rtol=0, atol=1e-12)


def test_gradient_and_precision() -> None:
    x = torch.rand(1, 2, 5, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda t: blur_subsample(t, 2, 1.6), x)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        low = blur_subsample(x.detach().float(), 2, 1.6)
    assert low.dtype == torch.float32
    torch.testing.assert_close(low.double(), blur_subsample(x.detach(), 2, 1.6), rtol=0, atol=1e-6)


@pytest.mark.parametrize(('scale', 'sigma', 'word'), [(2, 0, 'sigma'), (2, -1, 'sigma'), (0, 1, 'scale')])
def test_errors(scale: float, sigma: float, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        blur_subsample(torch.zeros(1, 1, 8, 8), scale, sigma)
