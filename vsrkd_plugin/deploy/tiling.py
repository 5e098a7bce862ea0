"""A picture in overlapping tiles: which tiles, and how much they must overlap to give what the whole picture gives."""

import bisect
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

# Enlarges `(n, c, h, w)` to `(n, c, scale * h, scale * w)`.
Enlarge = Callable[[Tensor], Tensor]

LIMIT = 128  # pixels of LR up to which what a network sees is looked for
_FARTHEST = 64  # overlap of networks that see farther than that
_INEXACT = 32  # overlap where no overlap gives what the whole picture gives
_BEYOND = 32  # pixels of LR that differ beyond what is looked at
_DARKER = 0.3
_ROWS = 16  # of the stripes that are tried
_ALIKE = 1e-6  # an influence below it counts as none, where there is a little of it everywhere
EQUAL = 1e-5  # tiles that are nearer to the whole picture give the same
_STEPS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64)


@dataclass(frozen=True)
class Locality:
    """How far around a pixel of LR a network looks, and whether parts of a picture give what the whole gives.

    Attributes:
        reach: pixels of LR on each side that a tile needs around what is kept of it.
        step: tiles must start at multiples of it, as windows and strides do.
        difference: the largest that was left between a part and the whole, of black to white.
        exact: parts give what the whole gives; not so where layers see the whole picture (attention over it, pooling),
            or depend on its size.
    """

    reach: int
    step: int
    difference: float
    exact: bool


@dataclass(frozen=True)
class Span:
    """A tile along one axis: `start` to `stop` is computed, `first` to `last` is kept."""

    start: int
    stop: int
    first: int
    last: int


@dataclass(frozen=True)
class Plan:
    """Rows and columns of tiles; each tile is a span of `rows` by one of `columns`."""

    rows: list[Span]
    columns: list[Span]

    def __len__(self) -> int:
        return len(self.rows) * len(self.columns)

    @property
    def largest(self) -> tuple[int, int]:
        """Height and width of the largest tile, its overlap included."""
        height, width = (max(span.stop - span.start for span in spans) for spans in (self.rows, self.columns))
        return height, width


def split(length: int, size: int, reach: int, step: int = 1) -> list[Span]:
    """Tiles of one axis, evenly spread; what is kept of each lies `reach` away from where the tile was cut off.

    All are equally long to `step` pixels: those at the border reach farther into the picture.

    Args:
        length: of the axis, in pixels.
        size: of a tile, at most.
        reach: pixels needed on either side.
        step: each tile starts at a multiple of it.

    Raises:
        ValueError: a tile of `size` has no room for its overlap.
    """
    if length <= size:
        return [Span(0, length, 0, length)]
    size = size // step * step
    overlap = 2 * reach + step - 1  # starts are rounded down: two tiles may come so much farther apart
    if size - (step - 1) <= overlap:
        raise ValueError(f'a tile of {size} has no room for {reach} pixels on either side')
    reached = size - (step - 1)  # the last one goes from a multiple to the end of the axis
    count = 1 + -(-(length - reached) // (reached - overlap))
    starts = [index * (length - reached) // (count - 1) // step * step for index in range(count - 1)]
    starts.append(-(-(length - size) // step) * step)
    stops = [start + size for start in starts[:-1]] + [length]
    cuts = [0, *((stop + start) // 2 for stop, start in zip(stops[:-1], starts[1:], strict=True)), length]
    return [Span(*span) for span in zip(starts, stops, cuts[:-1], cuts[1:], strict=True)]


def whole_picture(height: int, width: int) -> Plan:
    """The plan of one tile."""
    return Plan([Span(0, height, 0, height)], [Span(0, width, 0, width)])


def plan_tiles(height: int, width: int, fits: Callable[[int, int], bool], reach: int, step: int = 1) -> Plan | None:
    """The tiles that take the least computation; None where none fit.

    Args:
        height: of the picture.
        width: of the picture.
        fits: whether there is memory for tiles of a height and a width; if it is, then for smaller ones.
        reach: pixels of overlap on either side.
        step: tiles start at multiples of it.
    """
    best, least = None, 0
    heights = list(_sizes(height, reach, step))
    for wide in _sizes(width, reach, step):
        # Of a width the highest that fit.
        index = bisect.bisect_left(heights, True, key=lambda high: fits(high, wide))
        if index == len(heights):
            continue
        plan = Plan(split(height, heights[index], reach, step), split(width, wide, reach, step))
        tile_height, tile_width = plan.largest
        cost = tile_height * tile_width * len(plan)
        if best is None or cost < least:
            best, least = plan, cost
    return best


def _sizes(length: int, reach: int, step: int) -> Iterator[int]:
    """Sizes of tiles that share an axis evenly, from the whole of it down."""
    yield length
    overlap = 2 * reach + 2 * (step - 1)
    smallest = overlap + max(8, step) + step
    before = length
    for count in range(2, length + 1):
        even = -(-(length + (count - 1) * overlap) // count) + step - 1
        size = max(-(-even // step) * step, smallest)
        if size < before:
            before = size
            yield size
        if size == smallest:
            return


@torch.inference_mode()
def measure_locality(enlarge: Enlarge, channels: int, multiple: int = 1, smallest: int = 1) -> Locality:
    """Find out by trying how far a network looks.

    Two stripes that are alike at one end and not at the other are enlarged: where the results differ, the network saw
    the other end. Then a stripe is enlarged without its beginning.

    Args:
        enlarge: the network.
        channels: of its input.
        multiple: of which the sides of its input must be multiples.
        smallest: the least side of its input.
    """
    generator = torch.Generator().manual_seed(0)
    rows = -(-max(_ROWS, smallest) // multiple) * multiple
    length = -(-(LIMIT + _BEYOND) // multiple) * multiple
    stripes = torch.rand(2, channels, rows, length, generator=generator)
    alike = length - _BEYOND
    stripes[1, ..., :alike] = stripes[0, ..., :alike]
    stripes[1, ..., alike:] *= _DARKER  # means and variances of the whole differ too
    reach, tried = 0, []
    for axis in (-1, -2):  # a network need not look as far up as it looks aside
        given = stripes if axis == -1 else stripes.mT
        outputs = enlarge(given)
        influence = _by_pixel((outputs[0] - outputs[1]).abs(), length, axis)[:alike].flip(0)
        seen = influence > 0
        if bool(seen[-multiple:].any()):  # there is a little of it everywhere
            seen = influence > _ALIKE
        reach = max(reach, int(seen.nonzero().max()) + 1 if bool(seen.any()) else 0)
        tried.append((given[:1], outputs[:1], axis))
    reach = min(reach, _FARTHEST)
    step, difference = multiple, float('inf')
    for candidate in (candidate for candidate in _STEPS if candidate % multiple == 0):
        found = max(_difference_of_part(enlarge, *stripe, candidate, reach) for stripe in tried)
        if found < difference / 2:
            step, difference = candidate, found
        if difference <= EQUAL:
            break
    # Where all of the picture has some influence, that on a larger one may be larger.
    exact = difference <= (EQUAL if reach < _FARTHEST else EQUAL / 10)
    return Locality(reach if exact else min(reach, _INEXACT), step, difference, exact)


def _difference_of_part(enlarge: Enlarge, given: Tensor, whole: Tensor, axis: int, cut: int, reach: int) -> float:
    """How much a stripe's result differs if `cut` pixels of its beginning are left off, from `reach` pixels on."""
    length = given.shape[axis]
    scale = whole.shape[axis] // length
    part = enlarge(given.narrow(axis, cut, length - cut))
    kept = length - cut - reach
    difference = part.narrow(axis, scale * reach, scale * kept) - whole.narrow(
        axis, scale * (cut + reach), scale * kept
    )
    return float(difference.abs().max())


def _by_pixel(difference: Tensor, length: int, axis: int) -> Tensor:
    """The largest difference at each pixel of LR along an axis: `(length,)`."""
    along = difference.movedim(axis, -1).flatten(0, -2).amax(0)
    return along.reshape(length, -1).amax(1)
