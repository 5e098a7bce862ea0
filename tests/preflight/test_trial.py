"""Which sizes stand for all of a data set, and how they are cropped."""

import pytest

from vsrkd_plugin.preflight.trial import cropped, telling_sizes


@pytest.mark.parametrize('side', [1, 15, 16, 40, 79, 80, 100, 255, 1024])
def test_a_crop_keeps_the_remainder_by_every_power_of_two_up_to_64(side: int) -> None:
    for least in (16, 64):
        crop = cropped(side, least)
        assert crop <= side and crop < least + 64 and (crop >= least or crop == side)
        assert all(crop % base == side % base for base in (2, 4, 8, 16, 32, 64))


def test_sizes_that_are_cropped_alike_are_tried_once() -> None:
    assert telling_sizes([(32, 32), (96, 32), (32, 160), (40, 32), (104, 96)]) == ((40, 32), (32, 32))


def test_of_many_sizes_the_least_even_are_tried() -> None:
    even = [(32 * up, 32) for up in (1, 2)] + [(16 + 2 * step, 64) for step in range(20)]
    sizes = telling_sizes([*even, (33, 34), (34, 33)])
    assert len(sizes) == 16 and sizes[:2] == ((33, 34), (34, 33)) and (64, 32) not in sizes
