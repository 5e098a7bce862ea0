"""Bicubic resizing against BasicSR's `imresize`, and against torch's own away from the border."""

import numpy as np
import pytest
import torch
from basicsr.utils.matlab_functions import imresize
from torch import nn
from torch.nn import functional as F

from vsrkd_plugin.ops.resize import apply_separable, bicubic_matrix, bicubic_resize, fold_mirrored

SCALES = [2, 3, 4, 1 / 2, 1 / 3, 1 / 4, 1.5]


@pytest.mark.parametrize('scale', SCALES)
@pytest.mark.parametrize('size', [(24, 36), (25, 37), (13, 19), (9, 16)])
def test_equals_basicsr_border_included(size: tuple[int, int], scale: float) -> None:
    x = torch.rand(3, *size, generator=torch.Generator().manual_seed(0))
    reference = imresize(x.clone(), scale)
    result = bicubic_resize(x, scale)
    assert result.shape == reference.shape
    torch.testing.assert_close(result, reference, rtol=0, atol=1e-5)


@pytest.mark.parametrize('scale', [2, 3, 4])
@pytest.mark.parametrize('size', [(1, 1), (1, 5), (2, 3), (3, 2)])
def test_tiny_images_are_mirrored_again_and_again(size: tuple[int, int], scale: int) -> None:
    # The border rule makes the image one period of an endless even one: tiled by hand, far from any border, it must
    # give the same.
    x = torch.rand(1, 1, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for factor in (scale, 1 / scale):
        if any(side % scale for side in size) and factor < 1:
            continue  # the centre of the kernels would not fall on the same phase
        tile = torch.cat([x, x.flip(-1)], -1)
        tile = torch.cat([tile, tile.flip(-2)], -2)
        repeats = 2 * 8 * scale + 1
        middle = repeats // 2
        tiled = bicubic_resize(tile.repeat(1, 1, repeats, repeats), factor)
        height, width = (round(side * factor) for side in size)
        top, left = round(middle * 2 * size[0] * factor), round(middle * 2 * size[1] * factor)
        expected = tiled[..., top : top + height, left : left + width]
        torch.testing.assert_close(bicubic_resize(x, factor), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize('scale', SCALES)
def test_one_pixel_and_constants_stay_constant(scale: float) -> None:
    for size in ((1, 1), (2, 7), (12, 12)):
        x = torch.full((1, 1, *size), 0.7)
        torch.testing.assert_close(bicubic_resize(x, scale), torch.full_like(bicubic_resize(x, scale), 0.7))


@pytest.mark.parametrize('scale', [2, 3, 4, 1 / 2, 1 / 3, 1 / 4])
def test_equals_torch_away_from_the_border(scale: float) -> None:
    # With antialias torch uses Keys' kernel with a = -0.5 too, but cuts it off at the border.
    x = torch.rand(1, 2, 48, 60, generator=torch.Generator().manual_seed(2))
    size = [round(side * scale) for side in x.shape[-2:]]
    reference = F.interpolate(x, size=size, mode='bicubic', antialias=True, align_corners=False)
    border = int(4 * max(scale, 1))
    inside = (..., slice(border, -border), slice(border, -border))
    torch.testing.assert_close(bicubic_resize(x, scale)[inside], reference[inside], rtol=0, atol=1e-5)
    assert (bicubic_resize(x, scale) - reference).abs().max() > 1e-3  # at the border they differ


@pytest.mark.parametrize('factor', [2, 3, 4, 5, 6, 7, 8])
def test_multiples_of_the_scale_reduce_exactly(factor: int) -> None:
    for length in (1, 2, 49, 107, 511, 1023):
        assert bicubic_resize(torch.zeros(length * factor, factor), 1 / factor).shape == (length, 1)


@pytest.mark.parametrize('scale', [2, 3, 1 / 2, 1 / 3])
def test_gradient(scale: float) -> None:
    x = torch.rand(1, 1, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda t: bicubic_resize(t, scale), x)


def test_autocast_and_half_inputs_are_computed_in_fp32() -> None:
    x = torch.rand(1, 1, 16, 16)
    expected = bicubic_resize(x, 2)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        result = bicubic_resize(x, 2)
    assert result.dtype == torch.float32
    assert torch.equal(result, expected)
    assert bicubic_resize(x.bfloat16(), 1 / 2).dtype == torch.float32
    assert bicubic_resize(x.bfloat16(), 1).dtype == torch.float32
    assert bicubic_resize(x.double(), 2).dtype == torch.float64


def test_what_inference_left_behind_serves_training() -> None:
    x = torch.rand(1, 1, 24, 30)  # sizes of no other test
    with torch.inference_mode():
        bicubic_resize(x, 1 / 2)
    x.requires_grad_()
    bicubic_resize(x, 1 / 2).sum().backward()
    torch.testing.assert_close(x.grad.sum(), torch.tensor(12.0 * 15.0))


@pytest.mark.parametrize('from_corner', [False, True])
@pytest.mark.parametrize('scale', [2, 3, 4, 8])
def test_polyphase_is_the_matrix(scale: int, from_corner: bool) -> None:
    for size in ((2, 300), (257, 3), (240, 223)):  # small ones are enlarged by the matrix
        x = torch.rand(2, 3, *size, dtype=torch.float64)
        matrix = apply_separable(x, bicubic_matrix, float(scale), float(from_corner))
        torch.testing.assert_close(bicubic_resize(x, scale, from_corner), matrix, rtol=0, atol=1e-13)
        torch.testing.assert_close(bicubic_resize(x.float(), scale, from_corner), matrix.float(), rtol=0, atol=4e-7)


class Enlargement(nn.Module):
    def __init__(self, scale: int, from_corner: bool) -> None:
        super().__init__()
        self.scale, self.from_corner = scale, from_corner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return bicubic_resize(x, self.scale, self.from_corner)


@pytest.mark.parametrize(('scale', 'from_corner'), [(2, False), (3, False), (4, True)])
def test_exports_with_any_size_and_leaves_the_process_whole(scale: int, from_corner: bool) -> None:
    module, example = Enlargement(scale, from_corner), torch.rand(2, 3, 11, 13)
    sizes = {axis: torch.export.Dim.DYNAMIC for axis in (0, 2, 3)}
    exported = torch.export.export(module, (example,), dynamic_shapes=(sizes,)).module()
    traced = torch.jit.trace(module, example)
    for shape in ((2, 3, 11, 13), (3, 3, 2, 64), (5, 3, 31, 8)):
        x = torch.rand(shape)
        expected = bicubic_resize(x, scale, from_corner)  # of the sizes of the export, too
        for outcome in (exported(x), traced(x)):
            torch.testing.assert_close(outcome, expected, rtol=0, atol=1e-6)


def test_layouts_of_any_leading_axes() -> None:
    x = torch.rand(2, 3, 5, 8, 10)
    result = bicubic_resize(x, 2)
    assert result.shape == (2, 3, 5, 16, 20)
    torch.testing.assert_close(result[1, 2, 4], bicubic_resize(x[1, 2, 4], 2))


def test_errors() -> None:
    for scale in (0, -2):
        with pytest.raises(ValueError, match='positive'):
            bicubic_resize(torch.zeros(1, 1, 4, 4), scale)
    with pytest.raises(ValueError, match='shape'):
        bicubic_resize(torch.zeros(4), 2)


def test_mirror_repeats_the_edge() -> None:
    index = np.arange(-7, 8)
    expected = np.pad(np.arange(3), 9, mode='symmetric')[9 - 7 : 9 + 8]
    assert np.array_equal(fold_mirrored(index, 3), expected)


@pytest.mark.parametrize('scale', [2, 3, 4])
def test_from_the_corner_pixels_stay_in_place(scale: int) -> None:
    x = torch.rand(2, 3, 7, 9)
    large = bicubic_resize(x, scale, from_corner=True)
    torch.testing.assert_close(large[..., ::scale, ::scale], x, rtol=0, atol=1e-5)
    ramp = torch.arange(9.0).expand(1, 1, 7, 9)
    inside = bicubic_resize(ramp, scale, from_corner=True)[0, 0, 0, 2 * scale : 6 * scale]
    torch.testing.assert_close(inside, torch.arange(2 * scale, 6 * scale) / scale, rtol=0, atol=1e-5)
