"""Procedural images that stand in for natural photographs of low resolution: dead leaves with textures.

Dead leaves, opaque shapes that cover each other, have the statistics of photographs: a power spectrum near 1/f^2, edges
of every length, flat regions. Gratings, lattices, script and 1/f noise add the fine structure that x2 lives on.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import overload

import cv2
import numpy as np
import torch
from torch import Tensor

from vsrkd_plugin.ops.blur import gaussian_matrix
from vsrkd_plugin.ops.resize import bicubic_matrix

RECIPE = 2  # raise it with every change of the pictures: stored images of another recipe are then not used

_FIXED_POINT = 4  # fractional bits of cv2's coordinates
_VERTICES = 40  # of a smooth outline
_LEAVES = (30, 600)  # a picture of 96x96 has so many
_DENSE = 0.5  # share of pictures full of small leaves at full contrast, which x3 and x4 learn more from
_DENSE_LEAVES = (60, 300)
_BLURS = np.linspace(0.3, 1.0, 11)  # sigmas at the double size; few, for each is a cached kernel
_SOFT_BLURS = (1.8, 2.4)  # a photograph that is not sharp
_DEFOCUS = (2.0, 3.0, 5.0)  # what lies behind


@overload
def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float: ...
@overload
def _log_uniform(rng: np.random.Generator, low: float, high: float, size: int) -> np.ndarray: ...
def _log_uniform(rng: np.random.Generator, low: float, high: float, size: int | None = None) -> float | np.ndarray:
    """As many below the geometric mean of `low` and `high` as above it."""
    return np.exp(rng.uniform(np.log(low), np.log(high), size))


@dataclass
class _Leaves:
    """`n` shapes, back to front: centre `(n, 2)` and radius `(n,)` in pixels, outlines with their corners' number."""

    centre: np.ndarray
    radius: np.ndarray
    outline: np.ndarray  # (n, _VERTICES, 2), int32, fixed point
    corners: np.ndarray  # (n,): _VERTICES or 4


def _scatter_leaves(rng: np.random.Generator, side: int, dense: bool) -> _Leaves:
    count = rng.integers(*_DENSE_LEAVES) if dense else _log_uniform(rng, *_LEAVES)
    n = max(8, round(float(count) * (side / 192) ** 2))
    # Density of the radii ~ r^-alpha; alpha = 3 is scale invariant, less gives more of the large ones.
    power, smallest, largest = 1 - rng.uniform(1.5, 2.8), _log_uniform(rng, 1.5, 6.0), 0.6 * side
    if dense:
        power, smallest, largest = -2, 2, 0.35 * side
    radius = (smallest**power + rng.random(n) * (largest**power - smallest**power)) ** (1 / power)
    # The large ones tend to lie behind: they leave little of the background, and do not hide all the rest.
    radius = radius[np.argsort(-radius * _log_uniform(rng, 0.3, 3.0, n))]
    centre = rng.uniform(-0.05, 1.05, (n, 2)) * side
    # A picture has its own mix of discs, ellipses, blobs, quadrilaterals, bars and lines.
    kind = rng.choice(6, n, p=rng.dirichlet(np.ones(6)))
    angle = np.linspace(0, 2 * np.pi, _VERTICES, endpoint=False) + np.zeros((n, 1))
    corners = np.where(kind >= 3, 4, _VERTICES)
    angle[:, :4] = np.where(kind[:, None] >= 3, np.pi / 4 + np.pi / 2 * np.arange(4), angle[:, :4])
    angle[:, :4] += np.where(kind[:, None] == 3, rng.uniform(-0.6, 0.6, (n, 4)), 0)
    bump = np.where(kind == 2, rng.uniform(0.1, 0.5, n), 0)[:, None]
    reach = 1 + bump * np.cos(rng.integers(2, 6, (n, 1)) * angle + rng.uniform(0, 6.3, (n, 1)))
    half_width = np.where(kind == 0, 1, rng.uniform(0.2, 1, n)) * radius
    half_width = np.where(kind == 5, _log_uniform(rng, 0.7, 5.0, n), half_width)  # lines: half a pixel to a few
    half_length = np.where(kind == 5, radius * 4 + 10, radius)
    x, y = reach * np.cos(angle) * half_length[:, None], reach * np.sin(angle) * half_width[:, None]
    # Most pictures have a horizon: right angles prevail.
    turn = rng.uniform(0, np.pi, n)
    turn = np.where(rng.random(n) < rng.choice([0.0, 0.3, 0.9]), np.round(turn / (np.pi / 2)) * (np.pi / 2), turn)
    cos, sin = np.cos(turn)[:, None], np.sin(turn)[:, None]
    outline = np.stack([centre[:, :1] + cos * x - sin * y, centre[:, 1:] + sin * x + cos * y], -1)
    return _Leaves(centre, radius, np.rint(outline * 2**_FIXED_POINT).astype(np.int32), corners)


def _draw_leaves(leaves: _Leaves, labels: np.ndarray, first: int, last: int) -> None:
    """Paint leaves `first` to `last` over `labels` `(side, side)`; leaf `i` writes `i + 1`."""
    for i in range(first, last):
        cv2.fillPoly(labels, [leaves.outline[i, : leaves.corners[i]]], i + 1, cv2.LINE_8, _FIXED_POINT)


def _draw_script(rng: np.random.Generator, labels: np.ndarray, label: int) -> None:
    """Lines of made-up letters: each a few strokes between the points of a 3x4 lattice."""
    height = _log_uniform(rng, 7, 30)
    letters, lines = rng.integers(4, 24), rng.integers(1, 6)
    points = rng.integers(0, [3, 4], (lines, letters, 5, 2)) * [height * 0.3, height / 3]
    points += np.stack(np.meshgrid(np.arange(letters) * height * 0.85, np.arange(lines) * height * 1.5), -1)[:, :, None]
    points = points[rng.random((lines, letters)) > 0.15]  # gaps between words
    turn = rng.choice([0.0, rng.uniform(0, 6.3)])
    points = points @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    points += rng.uniform(0.0, 0.6, 2) * labels.shape[0]
    strokes = np.rint(points * 2**_FIXED_POINT).astype(np.int32)
    cv2.polylines(labels, list(strokes), False, label, int(rng.integers(1, 4)), cv2.LINE_8, _FIXED_POINT)


def _draw_twigs(rng: np.random.Generator, labels: np.ndarray, label: int) -> None:
    """A bundle of bent lines: hair, grass, twigs."""
    n, steps = rng.integers(5, 60), 12
    heading = rng.uniform(0, 6.3) + rng.normal(0, rng.uniform(0.05, 0.8), (n, 1))
    heading = heading + np.cumsum(rng.normal(0, rng.uniform(0.05, 0.4), (n, steps)), 1)
    path = np.cumsum(np.stack([np.cos(heading), np.sin(heading)], -1) * _log_uniform(rng, 2, 16), 1)
    path += rng.uniform(-0.1, 1.1, (n, 1, 2)) * labels.shape[0]
    strokes = np.rint(path * 2**_FIXED_POINT).astype(np.int32)
    cv2.polylines(labels, list(strokes), False, label, int(rng.integers(1, 4)), cv2.LINE_8, _FIXED_POINT)


def _fractal_noise(rng: np.random.Generator, side: int) -> np.ndarray:
    """Noise `(side, side)` of mean 0 and deviation 1, amplitude ~ 1/f^a, stretched along some direction."""
    fy, fx = np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None]
    turn, stretch = rng.uniform(0, np.pi), rng.choice([1.0, _log_uniform(rng, 1, 8)])
    along, across = fx * np.cos(turn) + fy * np.sin(turn), fy * np.cos(turn) - fx * np.sin(turn)
    power = (along * stretch) ** 2 + across**2 + (0.5 / side) ** 2
    white = rng.standard_normal((2, *power.shape))
    noise = np.fft.irfft2((white[0] + 1j * white[1]) * power ** (-0.5 * rng.uniform(0.5, 1.3)), (side, side))
    noise -= noise.mean()
    return noise / noise.std()


def _gratings(rng: np.random.Generator, labels: np.ndarray, count: int, share: float) -> np.ndarray:
    """Stripes, checks and lattices, soft or hard, straight or bent, in a `share` of the labels; `(side, side)`."""
    amplitude = np.where(rng.random(count) < share, rng.uniform(0.03, 0.3, count), 0)
    frequency, turn = 2 * np.pi / _log_uniform(rng, 4.2, 32, count), rng.uniform(0, np.pi, count)
    turn = np.where(rng.random(count) < 0.4, np.round(turn / (np.pi / 2)) * (np.pi / 2), turn)
    wave_x, wave_y = frequency * np.cos(turn), frequency * np.sin(turn)
    bend = np.where(rng.random(count) < 0.5, _log_uniform(rng, 0.5, 8, count), 0)
    bend_x, bend_y = rng.uniform(-0.05, 0.05, (2, count))
    kind, hard, duty = rng.integers(0, 4, count), rng.choice([1.0, 2.0, 8.0], count), rng.uniform(-0.5, 0.5, count)
    aspect = rng.choice([1.0, 0.5, 0.3], count)

    shade = np.zeros(labels.size)
    where = np.flatnonzero(amplitude[labels.ravel()])
    y, x = np.divmod(where, labels.shape[1])
    at = labels.ravel()[where]
    bent = bend[at] * np.sin(bend_x[at] * x + bend_y[at] * y)
    s = np.sin(wave_x[at] * x + wave_y[at] * y + bent)
    crossed = np.flatnonzero(kind[at] >= 2)  # two in four are plain stripes
    to = at[crossed]
    t = np.sin(aspect[to] * (wave_x[to] * y[crossed] - wave_y[to] * x[crossed]) + bent[crossed])
    s[crossed] = np.where(kind[to] == 2, s[crossed] * t, np.maximum(s[crossed], t))
    shade[where] = amplitude[at] * np.tanh(hard[at] * (s - duty[at]))
    return shade.reshape(labels.shape)


def _paint(rng: np.random.Generator, labels: np.ndarray, leaves: _Leaves, channels: int, dense: bool) -> np.ndarray:
    """Fill the labels with colours, gradients and textures: `(channels, side, side)`, about [0, 1], not clipped."""
    side, count = labels.shape[0], len(leaves.radius) + 3  # background, leaves, script, twigs
    # Colours vary along one line of the picture's own, and a little around it: channels are correlated.
    if dense:
        grey = rng.random(count)
    else:
        a, b = rng.uniform(0.5, 2, 2)
        grey = rng.beta(a, b, count)
    chroma = rng.normal(0, 0.15, channels) * rng.normal(0, 1, (count, 1)) + rng.normal(0, 0.06, (count, channels))
    chroma *= rng.choice([0.3, 0.8, 1.4]) * (channels > 1)
    # A gradient across a leaf, about its centre: offset + slope . position.
    shaded = rng.random(count) < (0 if dense else rng.choice([0.1, 0.5, 0.9]))
    slope = np.where(shaded[:, None], rng.normal(0, 0.1, (count, 2)), 0)
    slope[0] /= 0.7 * side
    slope[1:-2] /= leaves.radius[:, None]
    slope[-2:] = 0
    offset = grey.copy()
    offset[1:-2] -= (slope[1:-2] * leaves.centre).sum(1)
    position = np.arange(side)
    shade = offset[labels] + slope[:, 0][labels] * position + slope[:, 1][labels] * position[:, None]
    if not dense and rng.random() < 0.7:
        shade += _gratings(rng, labels, count, rng.choice([0.1, 0.25, 0.6]))
    if rng.random() < 0.55:
        noise = _fractal_noise(rng, side)
        if not dense and rng.random() < 0.6:  # within some of the leaves, else over all
            noise *= np.where(rng.random(count) < 0.5, _log_uniform(rng, 0.02, 0.25, count), 0)[labels]
        else:
            noise *= rng.uniform(0.02, 0.15) if dense else _log_uniform(rng, 0.02, 0.25)
        shade += noise
    if channels == 1:
        return shade[None]
    return np.stack([shade + chroma[:, c][labels] for c in range(channels)])


@lru_cache(maxsize=64)
def _kernel(sigma: float, step: int) -> tuple[np.ndarray, int]:
    """Taps (fp64) of a Gaussian blur, for `step` 2 of a bicubic reduction by 2 after it; and the anchor among them."""
    matrix, middle = gaussian_matrix(64, sigma, 1), 32
    if step == 2:
        matrix = bicubic_matrix(64, 0.5) @ matrix
    row = matrix[middle // step]
    taps = np.flatnonzero(row)
    return row[taps[0] : taps[-1] + 1], middle - int(taps[0])


def _blur(image: np.ndarray, sigma: float, step: int = 1) -> np.ndarray:
    """`blur_subsample(image, 1, sigma)`, for `step` 2 then `bicubic_resize(…, 0.5)`, of `(c, h, w)` with even sides.

    The kernels are those of `ops`, but applied by cv2 in one thread: matrix products of this size, with all threads,
    take 30 times as long while a training holds the cores.
    """
    kernel, anchor = _kernel(sigma, step)
    return np.stack(
        [
            cv2.sepFilter2D(plane, cv2.CV_64F, kernel, kernel, anchor=(anchor, anchor), borderType=cv2.BORDER_REFLECT)[
                ::step, ::step
            ]
            for plane in image
        ]
    )


def _render(seed: int, index: int, size: int, channels: int) -> np.ndarray:
    """One picture as uint8 `(channels, size, size)`."""
    rng = np.random.default_rng([seed, index])
    side = 2 * size
    dense = bool(rng.random() < _DENSE)
    leaves = _scatter_leaves(rng, side, dense)
    n = len(leaves.radius)
    labels = np.zeros((side, side), np.int32)
    behind = n // 2 if rng.random() < 0.15 else 0  # so many leaves lie out of focus
    _draw_leaves(leaves, labels, 0, behind)
    back = labels.copy()
    _draw_leaves(leaves, labels, behind, n)
    if rng.random() < 0.3:
        _draw_script(rng, labels, n + 1)
    if rng.random() < 0.25:
        _draw_twigs(rng, labels, n + 2)
    image = _paint(rng, labels, leaves, channels, dense)  # fp64: rounding errors turn no level, on whatever machine
    if behind:
        image = np.where(labels == back, _blur(image, float(rng.choice(_DEFOCUS))), image)
    sigma = rng.choice(_SOFT_BLURS) if rng.random() < 0.06 else rng.choice(_BLURS)
    image = _blur(image, float(sigma), 2)
    if not dense:
        mean, deviation = image.mean(), image.std()
        contrast = min(_log_uniform(rng, 0.08, 0.32) / (deviation + 0.02), 2.5)
        image = rng.uniform(0.25, 0.7) + contrast * (image - mean)
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)


def render_levels(seed: int, indices: Iterable[int], size: int, channels: int) -> Tensor:
    """Pictures `indices` of the series `seed`, as 8-bit levels; see `render_images`.

    Returns:
        `(n, channels, size, size)`, uint8, on the CPU.

    Raises:
        ValueError: a negative `seed` or index, or `size` or `channels` below 1.
    """
    indices = list(indices)
    if size < 1 or channels < 1:
        raise ValueError(f'size and channels must be at least 1, got {size} and {channels}')
    if seed < 0 or any(index < 0 for index in indices):
        raise ValueError(f'seed and indices must not be negative, got {seed} and {indices}')
    images = [_render(seed, index, size, channels) for index in indices]
    return torch.from_numpy(np.stack(images) if images else np.zeros((0, channels, size, size), np.uint8))


def render_images(seed: int, indices: Iterable[int], size: int, channels: int) -> Tensor:
    """Pictures `indices` of the series `seed`: pure functions of these numbers, bit for bit, in whatever batch.

    Args:
        seed: the series, not negative.
        indices: which pictures of it, not negative.
        size: their side in pixels. Another size gives other pictures.
        channels: 1 (grey), 3 (colour) or any other number of correlated channels.

    Returns:
        `(n, channels, size, size)`, fp32 in [0, 1], on the CPU; multiples of 1/255, as photographs are.
    """
    return render_levels(seed, indices, size, channels).float() / 255


def render_image(seed: int, index: int, size: int, channels: int) -> Tensor:
    """Picture `index` of the series `seed`: `(channels, size, size)`, fp32 in [0, 1]; see `render_images`."""
    return render_images(seed, [index], size, channels)[0]
