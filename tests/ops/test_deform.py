"""Deformable convolution: torchvision's, and the same under autocast."""

import pytest
import torch
from torchvision.ops.deform_conv import deform_conv2d as stock

from vsrkd_plugin.ops import deform


@pytest.mark.parametrize('masked', [False, True])
def test_under_autocast_it_is_torchvisions_in_fp32(masked: bool) -> None:
    torch.manual_seed(0)
    x, weight, offset = torch.rand(2, 4, 6, 7), torch.randn(3, 4, 3, 3), torch.randn(2, 18, 6, 7)
    bias, mask = torch.randn(3), torch.rand(2, 9, 6, 7) if masked else None
    expected = stock(x, offset, weight, bias, (1, 1), (1, 1), (1, 1), mask)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        result = deform.deform_conv2d(x, offset, weight, bias, (1, 1), (1, 1), (1, 1), mask)
        low = deform.deform_conv2d(x.bfloat16(), offset.bfloat16(), weight, bias, padding=1, mask=mask)
    assert result.dtype == low.dtype == torch.float32
    assert torch.equal(result, expected)
    assert (low - expected).abs().mean() < 0.05 * expected.abs().mean()


def test_offsets_of_whole_pixels_are_shifts() -> None:
    """With all taps moved one to the right it is the convolution of the image moved one to the left."""
    torch.manual_seed(0)
    x, weight = torch.rand(1, 2, 6, 8, dtype=torch.float64), torch.randn(3, 2, 3, 3, dtype=torch.float64)
    offset = torch.zeros(1, 18, 6, 8, dtype=torch.float64)
    offset[:, 1::2] = 1
    moved = torch.nn.functional.conv2d(x, weight, padding=1)
    torch.testing.assert_close(deform.deform_conv2d(x, offset, weight, padding=1)[..., :-2], moved[..., 1:-1])
