"""Between a film's planes (YCbCr of its own matrix, range, depth and chroma) and RGB, rounded once."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

# The share of red and of blue in Y (ITU-T H.273, table 4), by the number that films tag their matrix with.
_SHARES = {
    1: (0.2126, 0.0722),  # BT.709
    4: (0.30, 0.11),  # FCC
    5: (0.299, 0.114),  # BT.470 B/G, the same as BT.601
    6: (0.299, 0.114),  # SMPTE 170M, the same as BT.601
    7: (0.212, 0.087),  # SMPTE 240M
    9: (0.2627, 0.0593),  # BT.2020, not of constant luminance
}
RGB, BT709, UNSPECIFIED, BT601 = 0, 1, 2, 6
_HD = (1280, 576)  # a film without a tag is BT.709 from this width on, or above this height
_HALF_BAND = (-1 / 32, 0.0, 9 / 32, 0.5, 9 / 32, 0.0, -1 / 32)  # before every second sample is kept, on these
_MIDDLE = (-1 / 16, 9 / 16, 9 / 16, -1 / 16)  # cubic, halfway between samples
_QUARTER = (-0.0703125, 0.8671875, 0.2265625, -0.0234375)  # cubic, a quarter behind a sample
# Before every second sample is kept, between these: of the cubic kernel, widened.
_BETWEEN = (-3 / 256, -9 / 256, 29 / 256, 111 / 256, 111 / 256, 29 / 256, -9 / 256, -3 / 256)


@dataclass(frozen=True)
class Colour:
    """How a film's numbers mean colours.

    Attributes:
        matrix: 0 for RGB (planes in the order G, B, R), else a key of H.273, as films are tagged with.
        full_range: black and white are 0 and the largest number; else Y goes from 16 to 235 (of 8 bits).
        depth: bits of a sample.
        halved: whether chroma has half the columns, half the rows.
        grey: there is no chroma.
        left: halved columns of chroma lie on the even columns of Y (MPEG-2 and later); else between two (MPEG-1, JPEG).
    """

    matrix: int = BT709
    full_range: bool = False
    depth: int = 8
    halved: tuple[bool, bool] = (True, True)
    grey: bool = False
    left: bool = True

    def written(self, depth: int, halved: tuple[bool, bool]) -> 'Colour':
        """The same for a film that is written with this depth and this chroma; RGB becomes BT.709."""
        if self.matrix == RGB:
            return Colour(depth=depth, halved=halved)
        return replace(self, depth=depth, halved=halved, grey=False, left=True)


def guess_matrix(width: int, height: int) -> int:
    """The matrix of a film that is not tagged, as players take it."""
    return BT709 if width >= _HD[0] or height > _HD[1] else BT601


def known_matrix(tag: int) -> bool:
    """Whether a matrix can be computed with."""
    return tag in _SHARES or tag == RGB


def to_rgb(planes: Sequence[Tensor], colour: Colour, device: torch.device | str = 'cpu') -> Tensor:
    """RGB of a frame.

    Args:
        planes: whole numbers, `(h, w)`: Y, Cb, Cr; or Y alone; or G, B, R.

    Returns:
        `(1, 3, h, w)` in [0, 1], fp32.
    """
    given = [plane.to(device).float()[None, None] for plane in planes]
    if colour.matrix == RGB:
        green, blue, red = given
        return torch.cat([red, green, blue], 1) / (2**colour.depth - 1)
    height, width = given[0].shape[-2:]
    black, luma_range, grey, chroma_range = _levels(colour)
    y = (given[0] - black) / luma_range
    if colour.grey:
        return y.clamp(0, 1).expand(-1, 3, -1, -1)
    chroma = torch.cat(given[1:], 1)
    if colour.halved[0]:
        chroma = _doubled(chroma, -1, colour.left)
    if colour.halved[1]:
        chroma = _doubled(chroma, -2, False)
    cb, cr = ((chroma[..., :height, :width] - grey) / chroma_range).split(1, 1)
    red_share, blue_share = _SHARES[colour.matrix]
    red, blue = y + 2 * (1 - red_share) * cr, y + 2 * (1 - blue_share) * cb
    green = (y - red_share * red - blue_share * blue) / (1 - red_share - blue_share)
    return torch.cat([red, green, blue], 1).clamp_(0, 1)


def to_planes(rgb: Tensor, colour: Colour) -> list[Tensor]:
    """The planes of a frame; the inverse of `to_rgb`.

    Args:
        rgb: `(1, 3, h, w)`; clipped to [0, 1].

    Returns:
        Y, Cb and Cr, `(h, w)`: uint8, or int32 for more bits.
    """
    red, green, blue = rgb.float().clamp(0, 1).split(1, 1)
    red_share, blue_share = _SHARES[colour.matrix]
    y = red_share * red + (1 - red_share - blue_share) * green + blue_share * blue
    chroma = torch.cat([(blue - y) / (2 * (1 - blue_share)), (red - y) / (2 * (1 - red_share))], 1)
    if colour.halved[0]:
        chroma = _reduced(chroma, -1, colour.left)
    if colour.halved[1]:
        chroma = _reduced(chroma, -2, False)
    black, luma_range, grey, chroma_range = _levels(colour)
    numbers = [y * luma_range + black, *(chroma * chroma_range + grey).split(1, 1)]
    kind = torch.uint8 if colour.depth == 8 else torch.int32
    return [plane[0, 0].round_().clamp_(0, 2**colour.depth - 1).to(kind) for plane in numbers]


def _levels(colour: Colour) -> tuple[float, float, float, float]:
    """Black, white less black; grey and the whole range of chroma."""
    unit = 2.0 ** (colour.depth - 8)
    if colour.full_range:
        return 0.0, 256 * unit - 1, 128 * unit, 256 * unit - 1
    return 16 * unit, 219 * unit, 128 * unit, 224 * unit


def _filtered(x: Tensor, axis: int, weights: Sequence[float], before: int, step: int = 1) -> Tensor:
    """Weighted sums over neighbours along one axis, edge pixels repeated; the first is `before` pixels back."""
    length = x.shape[axis]
    behind = len(weights) - 1 - before
    edges = (before, behind, 0, 0) if axis == -1 else (0, 0, before, behind)
    padded = F.pad(x, edges, mode='replicate')
    taps = (
        weight * padded.narrow(axis, offset, length)[(..., slice(None, None, step)) + (slice(None),) * (-axis - 1)]
        for offset, weight in enumerate(weights)
        if weight
    )
    total = next(taps)
    for tap in taps:
        total += tap
    return total


def _doubled(x: Tensor, axis: int, on_even: bool) -> Tensor:
    """Twice as many samples along an axis: the given ones on the even ones, or between pairs of them."""
    if on_even:
        pair = [x, _filtered(x, axis, _MIDDLE, 1)]
    else:  # a quarter before and a quarter behind each
        pair = [_filtered(x, axis, _QUARTER[::-1], 2), _filtered(x, axis, _QUARTER, 1)]
    return torch.stack(pair, axis).flatten(axis - 1, axis)


def _reduced(x: Tensor, axis: int, on_even: bool) -> Tensor:
    """Half as many samples along an axis, of an odd length one more; inverse of `_doubled`."""
    if x.shape[axis] % 2:
        x = torch.cat([x, x.narrow(axis, -1, 1)], axis)
    return _filtered(x, axis, _HALF_BAND, 3, 2) if on_even else _filtered(x, axis, _BETWEEN, 3, 2)
