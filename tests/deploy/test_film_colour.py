"""Films' colours: against the definitions of ITU-T H.273, against FFmpeg, and back and forth."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from vsrkd_plugin.deploy.film_colour import BT601, BT709, RGB, Colour, guess_matrix, to_planes, to_rgb

BT2020 = 9


def constant(rgb: tuple[float, float, float], size: tuple[int, int] = (8, 8)) -> torch.Tensor:
    return torch.tensor(rgb, dtype=torch.float32)[None, :, None, None].expand(1, 3, *size)


# Y, Cb, Cr of 8 bits and limited range of pure colours, as tables of the recommendations have them.
@pytest.mark.parametrize(
    ('matrix', 'colour', 'expected'),
    [
        (BT601, (1, 0, 0), (81, 90, 240)),
        (BT601, (0, 1, 0), (145, 54, 34)),
        (BT601, (0, 0, 1), (41, 240, 110)),
        (BT709, (1, 0, 0), (63, 102, 240)),
        (BT709, (0, 1, 0), (173, 42, 26)),
        (BT709, (0, 0, 1), (32, 240, 118)),
        (BT2020, (1, 0, 0), (74, 97, 240)),
        (BT709, (1, 1, 1), (235, 128, 128)),
        (BT709, (0, 0, 0), (16, 128, 128)),
    ],
)
def test_pure_colours(matrix: int, colour: tuple[float, float, float], expected: tuple[int, int, int]) -> None:
    kind = Colour(matrix)
    planes = to_planes(constant(colour), kind)
    assert [int(plane[0, 0]) for plane in planes] == list(expected)
    assert [tuple(plane.shape) for plane in planes] == [(8, 8), (4, 4), (4, 4)]
    assert torch.allclose(to_rgb(planes, kind), constant(colour), atol=0.012)


def test_black_and_white_of_other_ranges() -> None:
    assert [int(plane[0, 0]) for plane in to_planes(constant((1, 1, 1)), Colour(full_range=True))] == [255, 128, 128]
    assert [int(plane[0, 0]) for plane in to_planes(constant((1, 1, 1)), Colour(depth=10))] == [940, 512, 512]
    full = Colour(depth=10, full_range=True)
    assert [int(plane[0, 0]) for plane in to_planes(constant((1, 1, 1)), full)] == [1023, 512, 512]


@pytest.mark.parametrize('matrix', [BT601, BT709, BT2020])
@pytest.mark.parametrize('full_range', [False, True])
def test_as_ffmpeg_decodes(matrix: int, full_range: bool) -> None:
    av = pytest.importorskip('av', reason='needs the extra video')
    values = np.random.default_rng(0).integers(40, 200, (3, 6, 16), dtype=np.uint8)
    planes = [np.repeat(plane, 4, 1).repeat(4, 0) for plane in values]  # no chroma to interpolate but at edges
    frame = av.VideoFrame(64, 24, 'yuv444p')
    for plane, content in zip(frame.planes, planes, strict=True):
        np.frombuffer(plane, np.uint8).reshape(24, -1)[:, :64] = content
    frame.colorspace, frame.color_range = matrix, 2 if full_range else 1
    theirs = frame.reformat(format='rgb24', src_colorspace=matrix, src_color_range=2 if full_range else 1)
    kind = Colour(matrix, full_range, 8, (False, False))
    ours = to_rgb([torch.from_numpy(plane.copy()) for plane in planes], kind)[0].permute(1, 2, 0).numpy() * 255
    assert np.abs(ours - theirs.to_ndarray()).max() <= 2


@pytest.mark.parametrize('left', [True, False])
def test_chroma_lies_where_it_is_told_to(left: bool) -> None:
    """A ramp of chroma, sampled where the kind says, gives the ramp at each pixel of Y."""
    place = np.arange(32) * 2 + (0 if left else 0.5)
    cb = np.broadcast_to(60 + 2 * place, (16, 32))
    kind = Colour(BT709, halved=(True, True), left=left)
    y = np.full((32, 64), 120)
    rgb = to_rgb([torch.from_numpy(plane.copy()) for plane in (y, cb, np.full((16, 32), 128))], kind)
    # Blue is Y and a multiple of Cb alone.
    expected = (120 - 16) / 219 + 2 * (1 - 0.0722) * (60 + 2 * np.arange(64) - 128) / 224
    inside = slice(6, -6)
    shown = np.clip(expected, 0, 1)
    assert np.abs(rgb[0, 2, 8].numpy() - shown)[inside].max() < 1e-5


@pytest.mark.parametrize('matrix', [BT601, BT709, BT2020])
@pytest.mark.parametrize('full_range', [False, True])
@pytest.mark.parametrize(('depth', 'halved', 'most', 'mean'), [
    (8, (False, False), 0.0066, 0.002), (8, (True, True), 0.03, 0.0025),
    (10, (False, False), 0.0017, 0.0005), (10, (True, True), 0.03, 0.0015),
])  # fmt: skip
def test_there_and_back(
    matrix: int, full_range: bool, depth: int, halved: tuple[bool, bool], most: float, mean: float
) -> None:
    generator = torch.Generator().manual_seed(0)
    picture = F.interpolate(torch.rand(1, 3, 9, 16, generator=generator), (72, 128), mode='bicubic').clamp(0, 1)
    kind = Colour(matrix, full_range, depth, halved)
    error = (to_rgb(to_planes(picture, kind), kind) - picture).abs()
    assert error.max() < most and error.mean() < mean


def test_odd_sizes() -> None:
    kind = Colour(BT601)
    planes = to_planes(constant((0.2, 0.6, 0.4), (7, 9)), kind)
    assert [tuple(plane.shape) for plane in planes] == [(7, 9), (4, 5), (4, 5)]
    assert torch.allclose(to_rgb(planes, kind), constant((0.2, 0.6, 0.4), (7, 9)), atol=0.01)


def test_rgb_and_grey() -> None:
    green, blue, red = (torch.full((4, 4), value, dtype=torch.uint8) for value in (10, 20, 30))
    rgb = to_rgb([green, blue, red], Colour(RGB, True))
    assert (rgb[0, :, 0, 0] * 255).round().tolist() == [30, 10, 20]
    grey = to_rgb([torch.full((4, 4), 126, dtype=torch.uint8)], Colour(grey=True))
    assert torch.allclose(grey, torch.full((1, 3, 4, 4), 110 / 219))


def test_an_untagged_film_is_taken_as_players_take_it() -> None:
    assert (guess_matrix(640, 480), guess_matrix(720, 576), guess_matrix(1280, 720)) == (BT601, BT601, BT709)
