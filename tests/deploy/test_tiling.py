"""Tiles cover a picture, overlap by what a network sees, and this is found by trying."""

import itertools

import pytest
import torch
from torch import nn

from vsrkd_plugin.deploy.tiling import EQUAL, measure_locality, plan_tiles, split


@pytest.mark.parametrize('length', [1, 7, 64, 65, 100, 257, 1000])
@pytest.mark.parametrize('reach', [0, 1, 9, 18])
@pytest.mark.parametrize('step', [1, 2, 8])
def test_spans_cover_an_axis_once_with_room_around(length: int, reach: int, step: int) -> None:
    size = 2 * reach + 40
    spans = split(length, size, reach, step)
    assert [span.first for span in spans] == [0, *(span.last for span in spans[:-1])] and spans[-1].last == length
    for span in spans:
        assert 0 <= span.start <= span.first < span.last <= span.stop <= length
        assert span.start % step == 0 and span.stop - span.start <= size
        assert span.start == 0 or span.first - span.start >= reach
        assert span.stop == length or span.last + reach <= span.stop
        assert span.stop == length or span.stop % step == 0
    assert len({span.stop - span.start for span in spans}) <= (1 if step == 1 else 2)


def test_a_tile_without_room_for_its_overlap_is_refused() -> None:
    with pytest.raises(ValueError, match='no room'):
        split(100, 20, 10)


@pytest.mark.parametrize('pixels', [60 * 60, 100 * 100, 300 * 200])
def test_a_plan_fits_and_wastes_little(pixels: int) -> None:
    plan = plan_tiles(480, 640, lambda high, wide: high * wide <= pixels, 18)
    assert plan is not None
    high, wide = plan.largest
    assert high * wide <= pixels
    # A square of these pixels, its overlap taken off, would need so many tiles at least.
    side = pixels**0.5
    assert high * wide * len(plan) <= 1.35 * 480 * 640 * (side / (side - 36)) ** 2


def test_wide_tiles_where_rows_are_dear() -> None:
    by_pixels = plan_tiles(400, 400, lambda high, wide: high * wide <= 20_000, 8)
    by_rows = plan_tiles(400, 400, lambda high, wide: high * wide + 100 * high <= 20_000, 8)
    assert by_pixels and by_rows and by_rows.largest[0] < by_pixels.largest[0]


def test_no_plan_where_nothing_fits() -> None:
    assert plan_tiles(400, 400, lambda high, wide: False, 8) is None


def convolutions(*kernels: int) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(*(nn.Conv2d(1, 1, kernel, padding=kernel // 2) for kernel in kernels))


@pytest.mark.parametrize(('kernels', 'reach'), [((3,), 1), ((3, 3, 3), 3), ((5, 3), 3), ((1,), 0)])
def test_the_reach_of_convolutions_is_found(kernels: tuple[int, ...], reach: int) -> None:
    found = measure_locality(convolutions(*kernels), 1)
    assert (found.reach, found.step) == (reach, 1) and found.exact


def test_the_reach_up_counts_too() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        tall = nn.Conv2d(1, 1, (7, 1), padding=(3, 0))
    assert measure_locality(tall, 1).reach == 3


@pytest.mark.parametrize('factor', [2, 3, 8])
def test_the_step_of_strides_is_found(factor: int) -> None:
    def blocks(x: torch.Tensor) -> torch.Tensor:
        return nn.functional.interpolate(nn.functional.avg_pool2d(x, factor), scale_factor=factor)

    found = measure_locality(blocks, 1, multiple=factor)
    assert found.step == factor and found.exact


def test_a_step_that_nobody_says_is_found() -> None:
    """Windows of 4 that a network pads its input to by itself."""

    def windows(x: torch.Tensor) -> torch.Tensor:
        height, width = x.shape[-2:]
        padded = nn.functional.pad(x, (0, -width % 4, 0, -height % 4))
        return nn.functional.interpolate(nn.functional.avg_pool2d(padded, 4), scale_factor=4)[..., :height, :width]

    found = measure_locality(windows, 1)
    assert found.step == 4 and found.exact


def test_what_sees_the_whole_picture_is_told() -> None:
    found = measure_locality(lambda x: x + 0.1 * x.mean((-1, -2), keepdim=True), 1)
    assert not found.exact and EQUAL < found.difference < 0.1 and found.reach <= 32


def test_a_faint_influence_of_everything_is_none() -> None:
    convolution = convolutions(3)
    found = measure_locality(lambda x: convolution(x) + 1e-8 * x.mean(), 1)
    assert found.exact and found.reach == 1


def test_spans_of_neighbours_overlap_by_twice_the_reach() -> None:
    for one, other in itertools.pairwise(split(500, 100, 13)):
        assert one.stop - other.start >= 26
