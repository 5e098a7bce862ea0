"""Sums of products that the least squares of a convolution need, without unfolding what it reads."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.grad import conv2d_weight

Offset = tuple[int, int]
_MOST_PLACES = 25  # of a kernel


def can_sum(layer: nn.Module) -> bool:
    """Whether the functions below can take a layer: a convolution of stride 1 and one group, zeros around, and no large
    kernel, whose many places would take longer than unfolding."""
    return (
        isinstance(layer, nn.Conv2d)
        and layer.groups == 1
        and set(layer.stride) == {1}
        and layer.kernel_size[0] * layer.kernel_size[1] <= _MOST_PLACES
        and layer.padding_mode == 'zeros'
        and not isinstance(layer.padding, str)
    )


def gram_of(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """The sum over all outputs of the outer product of what a convolution reads: `(size, size)`, size = c * kh * kw.

    The product of two pixels depends on where they lie to each other and, borders aside, on nothing else: a kernel of
    3x3 has 81 pairs, but 25 such places, of which 12 are the other ones turned round. So 13 products of matrices do the
    work of 81, and what counts too much at the borders is subtracted.

    Args:
        layer: see `can_sum`.
        x: `(n, c, h, w)`.
    """
    channels, offsets = x.shape[1], list(_offsets(layer))
    reach = _most(layer, offsets)
    sums = _Correlations(x, reach)
    height, width = x.shape[2:]
    out = [length + 2 * pad - dilation * (k - 1) for length, pad, dilation, k in _sides(layer, x)]
    blocks: dict[tuple[int, int], Tensor] = {}
    for i, first in enumerate(offsets):
        # Of the pixels that stand at the place `first` of a kernel these do so for no output.
        rows, columns = (
            [place for place in range(length) if not 0 <= place - start < made]
            for length, start, made in zip((height, width), first, out, strict=True)
        )
        for j, second in enumerate(offsets[i:], i):
            to = second[0] - first[0], second[1] - first[1]
            block = sums.whole(to) - sums.of(rows, columns, to)
            blocks[i, j], blocks[j, i] = block, block.T
    count = len(offsets)
    matrix = torch.stack([torch.stack([blocks[i, j] for j in range(count)]) for i in range(count)])  # i, j, c, c
    return matrix.permute(2, 0, 3, 1).reshape(channels * count, channels * count)


def moment_of(layer: nn.Conv2d, x: Tensor, target: Tensor) -> Tensor:
    """The sum over all outputs of the product of what a convolution reads and what it is to give: `(size, outputs)`.

    It is what the gradient of a convolution's weights is made of.
    """
    shape = target.shape[1], x.shape[1], *layer.kernel_size
    with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):  # as products of matrices are
        gradient = conv2d_weight(x, shape, target, layer.stride, layer.padding, layer.dilation)
    return gradient.flatten(1).T


class _Correlations:
    """Sums of products of pixels of images, by where they lie to each other.

    Args:
        x: `(n, c, h, w)`.
        reach: how far apart they lie at most, in rows and columns.
    """

    def __init__(self, x: Tensor, reach: Offset) -> None:
        self.height, self.width = x.shape[2:]
        self.reach = reach
        # Pixel after pixel, with so much nothing between that what is moved meets nothing of another row or image.
        self._pixels = F.pad(x, (reach[1], reach[1], reach[0], reach[0])).permute(0, 2, 3, 1).contiguous()
        self._whole: dict[Offset, Tensor] = {}

    def whole(self, to: Offset) -> Tensor:
        """Of all pixels and those at `to` from them: `(c, c)`."""
        if to not in self._whole:
            flat = self._pixels.flatten(0, 2)
            step = to[0] * self._pixels.shape[2] + to[1]
            length = len(flat) - abs(step)
            first, second = flat[max(-step, 0) :][:length], flat[max(step, 0) :][:length]
            self._whole[to] = first.T @ second
        return self._whole[to]

    def of(self, rows: list[int], columns: list[int], to: Offset) -> Tensor | float:
        """Of the pixels of some rows and columns alone."""
        total: Tensor | float = 0.0
        for row in rows:
            total = total + self._product([row], slice(0, self.width), to)
        if others := [row for row in range(self.height) if row not in rows]:
            for column in columns:
                total = total + self._product(others, slice(column, column + 1), to)
        return total

    def _product(self, rows: list[int], columns: slice, to: Offset) -> Tensor:
        down, right = self.reach
        top, bottom = rows[0], rows[-1] + 1  # they lie side by side
        first = self._pixels[:, top + down : bottom + down, columns.start + right : columns.stop + right]
        second = self._pixels[
            :, top + down + to[0] : bottom + down + to[0], columns.start + right + to[1] : columns.stop + right + to[1]
        ]
        return first.flatten(0, 2).T @ second.flatten(0, 2)


def _sides(layer: nn.Conv2d, x: Tensor) -> Iterator[tuple[int, int, int, int]]:
    assert not isinstance(layer.padding, str)
    return zip(x.shape[2:], layer.padding, layer.dilation, layer.kernel_size, strict=True)


def _offsets(layer: nn.Conv2d) -> Iterator[Offset]:
    """Where the pixels that a kernel reads lie from the one that it makes, in the order of its weights."""
    assert not isinstance(layer.padding, str)
    for row in range(layer.kernel_size[0]):
        for column in range(layer.kernel_size[1]):
            yield row * layer.dilation[0] - layer.padding[0], column * layer.dilation[1] - layer.padding[1]


def _most(layer: nn.Conv2d, offsets: list[Offset]) -> Offset:
    rows, columns = ([offset[axis] for offset in offsets] for axis in (0, 1))
    return max(rows) - min(rows), max(columns) - min(columns)
