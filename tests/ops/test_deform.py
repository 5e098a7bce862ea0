"""Deformable convolution: torchvision's, on a CPU and under autocast."""

import pytest
import torch
from torchvision.ops.deform_conv import deform_conv2d as stock

from vsrkd_plugin.ops import deform

# channels, channels made, groups of weights, groups of offsets, kernel, stride, padding, dilation, masked
KINDS = {
    'as TDAN has it': (8, 6, 1, 2, (3, 3), 1, 1, 1, False),
    'as EDVR has it': (8, 6, 1, 4, (3, 3), (1, 1), (1, 1), (1, 1), True),
    'everything uneven': (12, 6, 3, 2, (3, 2), (2, 1), (1, 2), (1, 2), True),
    'one tap': (4, 3, 1, 1, (1, 1), 1, 0, 1, False),
}


@pytest.mark.parametrize('kind', KINDS)
def test_values_and_gradients_are_torchvisions(kind: str) -> None:
    channels, made, shares, groups, kernel, stride, padding, dilation, masked = KINDS[kind]
    torch.manual_seed(0)
    x = torch.randn(2, channels, 9, 11, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(made, channels // shares, *kernel, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(made, dtype=torch.float64, requires_grad=True)
    plain = torch.nn.functional.conv2d(x, weight, None, stride, padding, dilation, shares)
    size, taps = plain.shape[-2:], kernel[0] * kernel[1]
    # far enough to leave the image on all sides
    offset = (4 * torch.randn(2, 2 * groups * taps, *size, dtype=torch.float64)).requires_grad_()
    mask = torch.rand(2, groups * taps, *size, dtype=torch.float64, requires_grad=True) if masked else None
    weight.data = weight.data.contiguous(memory_format=torch.channels_last)  # as in training
    given = [t for t in (x, offset, weight, bias, mask) if t is not None]
    upstream = torch.randn_like(plain)
    expected = stock(x, offset, weight, bias, stride, padding, dilation, mask)
    gradients = torch.autograd.grad(expected, given, upstream)
    result = deform.deform_conv2d(x, offset, weight, bias, stride, padding, dilation, mask)
    torch.testing.assert_close(result, expected)
    for mine, theirs in zip(torch.autograd.grad(result, given, upstream), gradients, strict=True):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize('kind', KINDS)
def test_without_a_gradient_it_works_in_bands(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    channels, made, shares, groups, kernel, stride, padding, dilation, masked = KINDS[kind]
    torch.manual_seed(0)
    x, weight = torch.randn(2, channels, 9, 11), torch.randn(made, channels // shares, *kernel)
    size = torch.nn.functional.conv2d(x, weight, None, stride, padding, dilation, shares).shape[-2:]
    taps = kernel[0] * kernel[1]
    offset = 2 * torch.randn(2, 2 * groups * taps, *size)
    mask = torch.rand(2, groups * taps, *size) if masked else None
    expected = stock(x, offset, weight, None, stride, padding, dilation, mask)
    heights = []
    rows = deform._rows
    monkeypatch.setattr(deform, '_rows', lambda *given: heights.append(given[1].shape[2]) or rows(*given))
    monkeypatch.setattr(deform, '_BAND', 2 * 2 * channels * taps * size[1])  # two rows
    with torch.no_grad():
        torch.testing.assert_close(
            deform.deform_conv2d(x, offset, weight, None, stride, padding, dilation, mask),
            expected,
            rtol=1e-4,
            atol=1e-5,
        )
    assert heights[:-1] == [2] * (len(heights) - 1) and sum(heights) == size[0]


@pytest.mark.parametrize(
    ('x', 'offset', 'weight'),
    [((1, 4, 8, 8), (1, 18, 6, 6), (4, 4, 3, 3)), ((1, 4, 8, 8), (1, 10, 8, 8), (4, 4, 3, 3)),
     ((1, 4, 8, 8), (1, 18, 8, 8), (4, 8, 3, 3)), ((1, 4, 8, 8), (2, 18, 8, 8), (4, 4, 3, 3))],
)  # fmt: skip
def test_what_torchvision_refuses_is_refused(x: tuple, offset: tuple, weight: tuple) -> None:
    with pytest.raises(RuntimeError):
        deform.deform_conv2d(torch.rand(x), torch.rand(offset), torch.rand(weight), padding=1)


def test_an_empty_batch() -> None:
    result = deform.deform_conv2d(torch.rand(0, 4, 8, 8), torch.rand(0, 18, 8, 8), torch.rand(5, 4, 3, 3), padding=1)
    assert result.shape == (0, 5, 8, 8)


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
    torch.testing.assert_close(result, expected, rtol=1e-5, atol=1e-5)
    assert (low - expected).abs().mean() < 0.05 * expected.abs().mean()


def test_a_wide_image_is_as_exact_as_a_narrow_one() -> None:
    """Places are from -1 to 1 on the way: of 2,000 pixels less than a thousandth of one may be lost."""
    torch.manual_seed(0)
    x, weight, offset = torch.rand(1, 2, 3, 2000), torch.randn(2, 2, 3, 3), torch.randn(1, 18, 3, 2000)
    expected = stock(x, offset, weight, padding=(1, 1))
    assert (deform.deform_conv2d(x, offset, weight, padding=1) - expected).abs().max() < 1e-3 * expected.abs().max()


def test_offsets_of_whole_pixels_are_shifts() -> None:
    """With all taps moved one to the right it is the convolution of the image moved one to the left."""
    torch.manual_seed(0)
    x, weight = torch.rand(1, 2, 6, 8, dtype=torch.float64), torch.randn(3, 2, 3, 3, dtype=torch.float64)
    offset = torch.zeros(1, 18, 6, 8, dtype=torch.float64)
    offset[:, 1::2] = 1
    moved = torch.nn.functional.conv2d(x, weight, padding=1)
    torch.testing.assert_close(deform.deform_conv2d(x, offset, weight, padding=1)[..., :-2], moved[..., 1:-1])
