"""The blur of pictures that were JPEGs: that with which photographs, made as noisy and compressed alike, are alike.

JPEG takes away what is weak at high frequencies, as blur does, so that the spectrum alone would tell too much of it.
"""

import math
from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from vsrkd_plugin.data.degradations import degrade_each
from vsrkd_plugin.data.images import BUNDLED, list_images
from vsrkd_plugin.inspection.blur_spectrum import (
    DIRECTIONS,
    SLOPE,
    SLOPE_SPREAD,
    Blur,
    fit_blur,
    frequencies,
    power_spectrum,
)
from vsrkd_plugin.inspection.jpeg_grid import jpeg_luma
from vsrkd_plugin.ops.resize import bicubic_resize
from vsrkd_plugin.synthesis.degrading import Strengths

_SIDE = 96  # of the photographs' parts
_VARIANCES = np.array([0, 0.08, 0.16, 0.3, 0.5, 0.8, 1.2, 1.8, 2.6, 4, 6])  # that are tried
_ROUNDS = 2  # the contrast of the photographs is fitted in between
_CONTRAST = (0.5, 1.8)
_STRICTNESS = 10  # of what is known of slopes and of noise, against the spectrum
_NOISE_SPREAD = 0.1  # of the logarithm of the noise
_LOW = 0.15  # cycles per pixel, up to which contrast is compared
_STEP = 0.4  # variance: farther than this directions are not trusted


def simulate_blur(power: np.ndarray, noise: float, is_grey: bool, quality: float) -> Blur:
    """The blur of JPEG pictures.

    Args:
        power: their `power_spectrum`, of luma.
        noise: sigma of their noise before JPEG, in levels, of each colour.
        is_grey: noise is the same in all colours.
        quality: of their JPEG.
    """
    grid = frequencies()
    radius, down, right = np.hypot(grid.down[0], grid.right[0]), grid.down[0], grid.right[0]
    references = _references()
    own = _own_blur()
    wanted = np.log(np.maximum(power[grid.used], 1e-6))
    mean, contrast, slope_change = references.mean((2, 3), keepdim=True), 1.0, SLOPE - own.slope
    place, nearest = 0.0, 0
    for _ in range(_ROUNDS):
        lr = (mean + (references - mean) * contrast).clamp(0, 1)
        spectra = np.stack(
            [
                np.log(power_spectrum(_lumas(_made(lr, variance, noise, is_grey, quality))))[grid.used]
                for variance in _VARIANCES
            ]
        )
        costs = np.array(
            [_regress(_terms(spectra, at), wanted - made, slope_change)[1] for at, made in enumerate(spectra)]
        )
        nearest = int(costs.argmin())
        place = _lowest(_VARIANCES, costs, nearest)
        contrast *= math.exp(float(np.median((wanted - spectra[nearest])[radius < _LOW])) / 2)
        contrast = min(max(contrast, _CONTRAST[0]), _CONTRAST[1])
    passed = _passed(spectra, nearest)
    # Around the nearest one: what is different in one direction.
    quadratic = -4 * math.pi**2 * passed[:, None] * np.stack([down**2, right**2, 2 * down * right], 1)
    terms = np.concatenate([_terms(spectra, nearest), quadratic], 1)
    change = _regress(terms, wanted - spectra[nearest], slope_change)[0][-3:]
    change[:2] -= change[:2].mean()  # how strong it is in all is known better from the costs
    yy, xx, xy = (float(part) for part in np.clip(change, -_STEP, _STEP) + np.array([place, place, 0]))
    return Blur(SLOPE, yy + own.yy, xx + own.xx, xy)


def _terms(spectra: np.ndarray, at: int) -> np.ndarray:
    """By what pictures may differ without blur: contrast in each direction, slope of the spectrum, and noise."""
    grid, passed = frequencies(), _passed(spectra, at)
    slope = -np.log(np.hypot(grid.down[0], grid.right[0])) * passed
    return np.concatenate([np.eye(DIRECTIONS)[grid.direction], slope[:, None], 2 * (1 - passed)[:, None]], 1)


def _passed(spectra: np.ndarray, at: int) -> np.ndarray:
    """The share of the power at each frequency that is the picture's and not noise, by how blur lowers it."""
    low, high = max(at - 1, 0), min(at + 1, len(_VARIANCES) - 1)
    grid = frequencies()
    square = grid.down[0] ** 2 + grid.right[0] ** 2
    fall = (spectra[high] - spectra[low]) / (_VARIANCES[high] - _VARIANCES[low])
    return np.clip(fall / (-4 * math.pi**2 * square), 0.02, 1)


def _regress(terms: np.ndarray, wanted: np.ndarray, slope: float) -> tuple[np.ndarray, float]:
    """Least squares, with what is known of the difference of the slopes and of the noise; the solution and its cost."""
    prior, known = np.zeros((2, terms.shape[1])), np.zeros(2)
    prior[0, DIRECTIONS], prior[1, DIRECTIONS + 1] = _STRICTNESS / SLOPE_SPREAD, _STRICTNESS / _NOISE_SPREAD
    known[0] = prior[0, DIRECTIONS] * slope
    weight = frequencies().weight
    weight = weight / np.sqrt((weight**2).mean()) * 5
    rows, target = np.concatenate([terms * weight[:, None], prior]), np.concatenate([wanted * weight, known])
    found = np.linalg.lstsq(rows, target, rcond=None)[0]
    return found, float(((rows @ found - target) ** 2).sum())


def _lowest(places: np.ndarray, costs: np.ndarray, nearest: int) -> float:
    """Where the parabola through the lowest cost and those beside it is lowest."""
    middle = min(max(nearest, 1), len(places) - 2)
    around = slice(middle - 1, middle + 2)
    square, linear, _ = np.polyfit(places[around], costs[around], 2)
    if square <= 0:
        return float(places[nearest])
    return float(np.clip(-linear / (2 * square), places[middle - 1], places[middle + 1]))


def _made(lr: Tensor, variance: float, noise: float, is_grey: bool, quality: float) -> Tensor:
    every = torch.ones(len(lr), dtype=torch.float64)
    none = Strengths.none(len(lr))
    strengths = replace(none, noise=every * noise, jpeg=every * quality, grey=torch.full((len(lr),), is_grey))
    return degrade_each(_blurred(lr, variance), strengths)


def _blurred(lr: Tensor, variance: float) -> Tensor:
    """By a Gaussian that is none of pixels: the options' is sampled, and below 0.6 pixels blurs less than its sigma."""
    if variance == 0:
        return lr
    wide = torch.cat([lr, lr.flip(3)], 3)
    whole = torch.cat([wide, wide.flip(2)], 2)
    down = torch.fft.fftfreq(whole.shape[2])[:, None]
    right = torch.fft.rfftfreq(whole.shape[3])[None]
    kept = torch.exp(-2 * math.pi**2 * variance * (down**2 + right**2))
    back = torch.fft.irfft2(torch.fft.rfft2(whole) * kept, s=whole.shape[2:])
    return back[:, :, : lr.shape[2], : lr.shape[3]]


def _lumas(images: Tensor) -> list[np.ndarray]:
    """JPEG's luma of images in [0, 1], each `(h, w)` in 0 to 255."""
    return [jpeg_luma(image.mul(255).double().numpy()) for image in images]


@lru_cache(maxsize=1)
def _references() -> Tensor:
    """The package's photographs as clean LR by bicubic x2 to x4, `(n, 3, 96, 96)`."""
    parts = []
    for _, read in list_images(BUNDLED, 'photographs'):
        image = torch.from_numpy(read()[..., ::-1].copy()).permute(2, 0, 1).float() / 255
        for scale in (2, 3, 4):
            height, width = (side // scale * scale for side in image.shape[1:])
            lr = bicubic_resize(image[:, :height, :width], 1 / scale).clamp(0, 1)
            parts += [
                lr[:, top : top + _SIDE, left : left + _SIDE]
                for top in range(0, lr.shape[1] - _SIDE + 1, _SIDE)
                for left in range(0, lr.shape[2] - _SIDE + 1, _SIDE)
            ]
    return torch.stack(parts)


@lru_cache(maxsize=1)
def _own_blur() -> Blur:
    """Of the photographs: how far from sharp they are themselves, and the slope of their spectrum."""
    return fit_blur(power_spectrum(_lumas(_references())), 0.5)
