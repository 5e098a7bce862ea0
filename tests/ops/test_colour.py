"""Colour against BasicSR's."""

import numpy as np
import pytest
import torch
from basicsr.utils.color_util import bgr2ycbcr, rgb2ycbcr, ycbcr2rgb

from vsrkd_plugin.ops.colour import rgb_to_y, rgb_to_ycbcr, ycbcr_to_rgb


@pytest.fixture
def image() -> np.ndarray:
    """RGB `(h, w, 3)` in [0, 1], fp32."""
    return np.random.default_rng(0).random((9, 11, 3), dtype=np.float32)


def _tensor(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1).unsqueeze(0)


def test_equals_basicsr(image: np.ndarray) -> None:
    x = _tensor(image)
    torch.testing.assert_close(rgb_to_ycbcr(x), _tensor(rgb2ycbcr(image)), rtol=0, atol=1e-6)
    y = bgr2ycbcr(image[:, :, ::-1], y_only=True)
    torch.testing.assert_close(rgb_to_y(x)[0, 0], torch.from_numpy(y), rtol=0, atol=1e-6)
    # BasicSR's inverse has constants of five digits only.
    ycbcr = rgb2ycbcr(image)
    torch.testing.assert_close(ycbcr_to_rgb(_tensor(ycbcr)), _tensor(ycbcr2rgb(ycbcr)), rtol=0, atol=2e-3)


def test_round_trip(image: np.ndarray) -> None:
    x = _tensor(image)
    torch.testing.assert_close(ycbcr_to_rgb(rgb_to_ycbcr(x)), x, rtol=0, atol=1e-6)
    torch.testing.assert_close(ycbcr_to_rgb(rgb_to_ycbcr(x.double())), x.double(), rtol=0, atol=1e-12)


def test_range_of_studio_levels() -> None:
    black_and_white = torch.stack([torch.zeros(3, 1, 1), torch.ones(3, 1, 1)])
    expected = torch.tensor([[16.0, 128, 128], [235, 128, 128]]) / 255
    torch.testing.assert_close(rgb_to_ycbcr(black_and_white)[:, :, 0, 0], expected)


def test_never_below_fp32(image: np.ndarray) -> None:
    x = _tensor(image)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert torch.equal(rgb_to_ycbcr(x), rgb_to_ycbcr(x.clone()))
        assert rgb_to_ycbcr(x).dtype == torch.float32
    assert rgb_to_ycbcr(x.bfloat16()).dtype == torch.float32
    assert ycbcr_to_rgb(x.bfloat16()).dtype == torch.float32
    assert ycbcr_to_rgb(x).dtype == torch.float32


@pytest.mark.parametrize('shape', [(3, 4, 4), (1, 1, 4, 4), (1, 4, 4, 4)])
def test_wrong_shapes(shape: tuple[int, ...]) -> None:
    for function in (rgb_to_ycbcr, ycbcr_to_rgb, rgb_to_y):
        with pytest.raises(ValueError, match='shape'):
            function(torch.zeros(shape))
