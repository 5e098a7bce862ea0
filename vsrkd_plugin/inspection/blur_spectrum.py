"""The blur of pictures, from their power spectrum: what falls faster than that of bicubic LR of natural images."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

WINDOW = 32
_LOW, _HIGH = 0.08, 0.5  # cycles per pixel that are looked at; below, images differ too much
DIRECTIONS = 8  # images have more of some
SLOPE, SLOPE_SPREAD = 2.4, 0.25  # of the power of natural HR images over frequency
_NOISE_SPREAD = 0.1  # of the logarithm of the noise, which is known
_SPREAD = 0.1  # of the logarithm of the power, of what neighbouring frequencies do not share


@dataclass(frozen=True)
class Blur:
    """A Gaussian by its covariance, in pixels squared: negative where pictures were sharpened.

    Attributes:
        slope: of the power of the pictures before it.
        yy, xx, xy: down, right, and both.
    """

    slope: float
    yy: float
    xx: float
    xy: float


def power_spectrum(lumas: Sequence[np.ndarray]) -> np.ndarray:
    """Mean power of windows of pictures `(h, w)`, `(32, 17)`; white noise has its variance everywhere."""
    side = np.hanning(WINDOW + 1)[:WINDOW]
    window = np.outer(side, side)
    window /= np.sqrt((window**2).sum())
    total, count = np.zeros((WINDOW, WINDOW // 2 + 1)), 0.0
    for luma in lumas:
        parts = np.lib.stride_tricks.sliding_window_view(luma, (WINDOW, WINDOW))[:: WINDOW // 2, :: WINDOW // 2]
        parts = parts.reshape(-1, WINDOW, WINDOW)
        parts = parts - ((parts * window).sum((1, 2)) / window.sum())[:, None, None]
        power = np.abs(np.fft.rfft2(parts * window)) ** 2
        # A few windows of much contrast would else be all that counts.
        weight = 1 / np.sqrt((parts**2).mean((1, 2)) + 25)
        total += (power * weight[:, None, None]).sum(0)
        count += weight.sum()
    return total / count


def fit_blur(power: np.ndarray, noise: float) -> Blur:
    """The Gaussian that blurred, after which noise was added.

    Args:
        power: of `power_spectrum`.
        noise: sigma of white noise in it.
    """
    from scipy.optimize import least_squares  # scikit-image's and BasicSR's; slow to import

    grid = frequencies()
    logarithm = np.log(np.maximum(power[grid.used], 1e-6))

    def residual(x: np.ndarray) -> np.ndarray:
        contrast, slope, noise_change, covariance = x[:DIRECTIONS], x[-5], x[-4], x[-3:]
        signal = np.exp(contrast)[grid.direction] * grid.power(slope, covariance)
        white = (noise**2 + 1 / 12) * math.exp(noise_change)
        return np.concatenate(
            [
                (np.log(signal + white) - logarithm) / _SPREAD * grid.weight,
                [(slope - SLOPE) / SLOPE_SPREAD * 10, noise_change / _NOISE_SPREAD],
            ]
        )

    plain = grid.power(SLOPE, np.zeros(3))
    start = np.concatenate([np.full(DIRECTIONS, np.mean(logarithm - np.log(plain))), [SLOPE, 0, 0.1, 0.1, 0]])
    low = np.concatenate([np.full(DIRECTIONS, -30), [1, -0.5, -0.3, -0.3, -5]])
    high = np.concatenate([np.full(DIRECTIONS, 30), [4, 0.5, 9, 9, 5]])
    found = least_squares(residual, start, bounds=(low, high), x_scale='jac', loss='soft_l1', max_nfev=40).x
    return Blur(*(float(found[at]) for at in (-5, -3, -2, -1)))


class Frequencies:
    """The frequencies that are looked at, and what bicubic reduction leaves there, with what it aliases."""

    def __init__(self) -> None:
        down = np.repeat(np.fft.fftfreq(WINDOW)[:, None], WINDOW // 2 + 1, 1)
        right = np.repeat(np.fft.rfftfreq(WINDOW)[None], WINDOW, 0)
        radius = np.hypot(down, right)
        self.used = (radius >= _LOW) & (radius <= _HIGH)
        down, right = down[self.used], right[self.used]
        angle = np.arctan2(down, right) % math.pi
        self.direction = np.round(angle / math.pi * DIRECTIONS).astype(int) % DIRECTIONS
        # As many frequencies as there are at a radius do not tell so many times as much of it.
        self.weight = np.sqrt(_LOW / radius[self.used])
        shifts = [(a, b) for a in (0, -1, 1) for b in (0, -1, 1)]
        self.down = np.stack([down + a for a, _ in shifts])
        self.right = np.stack([right + b for _, b in shifts])
        self.log_square = np.log(self.down**2 + self.right**2)
        self.passed = (_cubic_response(self.down) * _cubic_response(self.right)) ** 2

    def power(self, slope: float, covariance: np.ndarray) -> np.ndarray:
        yy, xx, xy = covariance
        form = yy * self.down**2 + xx * self.right**2 + 2 * xy * self.down * self.right
        exponent = -slope / 2 * self.log_square - 4 * math.pi**2 * form
        return (self.passed * np.exp(np.minimum(exponent, 50))).sum(0)


def _cubic_response(frequency: np.ndarray) -> np.ndarray:
    """Of Keys' kernel with a = -0.5, at cycles per LR pixel."""
    place = np.linspace(-2, 2, 401)
    x = np.abs(place)
    kernel = np.where(x <= 1, 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2)
    return (kernel * np.cos(2 * math.pi * frequency[..., None] * place)).sum(-1) * (place[1] - place[0])


@lru_cache(maxsize=1)
def frequencies() -> Frequencies:
    """Made once."""
    return Frequencies()
