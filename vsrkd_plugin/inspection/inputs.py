"""What degrades LR pictures of an unknown camera, estimated from them alone."""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from torch import Tensor

from vsrkd_plugin.errors import UserError
from vsrkd_plugin.inspection.blur_simulation import simulate_blur
from vsrkd_plugin.inspection.blur_spectrum import WINDOW, Blur, fit_blur, power_spectrum
from vsrkd_plugin.inspection.flat_noise import plain_noise, quantised_noise
from vsrkd_plugin.inspection.jpeg_grid import LUMA, Comb, block_dct, find_comb, jpeg_luma, unclipped

_MOST, _SIDE = 120, 512  # pictures that are looked at, and of each so many pixels a side
_LEAST_NOISE = 1.3  # levels: what less is the pictures' own
_LEAST_BLUR = 0.3  # sigma: what less is the pictures' own
_NEAR_CLIPPING = 12  # levels from black and white, where noise is cut off
_FEW_BLOCKS = 200  # that are left without those: then all are taken
_BLUR_ERROR, _BLUR_ERROR_JPEG = (0.06, 0.1), (0.2, 0.2)  # of the variance: pixels squared, and share
_NOISE_ERROR, _NOISE_ERROR_JPEG = (0.5, 0.08), (0.7, 0.2)  # levels, and share
_HIDDEN = 1.5  # times the noise that JPEG hides surely: what less is not told from content
_QUALITY_ERROR = 2
_LUMA_GAIN = float(np.sqrt((LUMA**2).sum()))  # of luma's noise, where that of the colours is independent
_GREY_GAIN = 0.84  # between that and 1
CLEAN_SHARE = 0.3  # proposed: what is learned of the camera loses by it hardly anything, what was known keeps most
_SAMPLED_AT = 0.3  # cycles per pixel, at which the options' blur is to do what the camera's does


@dataclass(frozen=True)
class DegradationEstimate:
    """What degrades pictures; strengths are 0 or None where a part is not there.

    Attributes:
        pictures: that were looked at.
        is_grey: all of them are.
        noise_sigma, noise_error: of Gaussian noise, in levels of 255, and how far off it may be.
        noise_is_grey: it is the same in all colours; None where that is not known.
        noise_is_hidden: JPEG hides noise this weak: `noise_sigma` is the middle of what may be there.
        blur_sigma: of a Gaussian, in LR pixels, beyond the blur of bicubic LR: along, across; along is the larger.
        blur_range: the smallest and the largest sigma that it may be.
        blur_angle: of `along`, degrees from right to down, 0 to 180; 0 where both are the same.
        jpeg_quality, jpeg_error: and how far off it may be; None, 0 where there is no JPEG.
        jpeg_share: of the pictures that were JPEGs.
    """

    pictures: int
    is_grey: bool
    noise_sigma: float
    noise_error: float
    noise_is_grey: bool | None
    noise_is_hidden: bool
    blur_sigma: tuple[float, float]
    blur_range: tuple[float, float]
    blur_angle: float
    jpeg_quality: float | None
    jpeg_error: float
    jpeg_share: float

    @property
    def is_anisotropic(self) -> bool:
        """The blur is clearly stronger in one direction."""
        return self.blur_sigma[0] > self.blur_sigma[1]

    @property
    def degrade(self) -> dict[str, Any] | None:
        """Options of `synthesis.degrade` that make images alike; None where nothing is found."""
        parts: dict[str, Any] = {}
        if self.blur_sigma[0]:
            parts['blur_sigma'] = [round(sampled_sigma(sigma), 2) for sigma in self.blur_range]
            parts['anisotropic_prob'] = float(self.is_anisotropic)
        if self.noise_sigma:
            low, high = max(self.noise_sigma - self.noise_error, 0), self.noise_sigma + self.noise_error
            parts['noise_range'] = [round(low, 1), round(high, 1)]
            if self.noise_is_grey is not None:
                parts['gray_noise_prob'] = float(self.noise_is_grey)
        if self.jpeg_quality is not None:
            low, high = self.jpeg_quality - self.jpeg_error, self.jpeg_quality + self.jpeg_error
            parts['jpeg_range'] = [max(round(low), 1), min(round(high), 99)]
        return {'clean_prob': CLEAN_SHARE, 'apply_prob': 1, **parts} if parts else None

    def as_json(self) -> dict[str, Any]:
        """Numbers, texts, lists and mappings."""
        found = {key: round(value, 3) if isinstance(value, float) else value for key, value in asdict(self).items()}
        pairs = {'blur_sigma': self.blur_sigma, 'blur_range': self.blur_range}
        found |= {key: [round(value, 3) for value in pair] for key, pair in pairs.items()}
        return {**found, 'is_anisotropic': self.is_anisotropic, 'degrade': self.degrade}


def sampled_sigma(sigma: float) -> float:
    """The sigma of a Gaussian sampled at pixels, as the options' is, that blurs as one of `sigma` does.

    Below 0.6 pixels a sampled one blurs less: of 0.3 hardly anything is left.
    """
    if sigma <= 0.05:
        return 0.0
    place = np.arange(-16, 17)
    tried = np.linspace(0.2, 4, 381)
    kernels = np.exp(-0.5 * (place / tried[:, None]) ** 2)
    passed = (kernels * np.cos(2 * np.pi * _SAMPLED_AT * place)).sum(1) / kernels.sum(1)
    done = np.sqrt(np.maximum(-np.log(np.maximum(passed, 1e-9)), 0) / (2 * np.pi**2 * _SAMPLED_AT**2))
    return float(np.interp(sigma, done, tried)) if sigma < 1.2 else sigma


def estimate_degradation(
    images: Sequence[Tensor], say: Callable[[str], None] = lambda text: None
) -> DegradationEstimate:
    """Estimate what degrades pictures that were degraded alike: blurred, reduced, made noisy, compressed, in 8 bits.

    Args:
        images: `(c, h, w)`, uint8, Y or RGB, of any sizes. Of many, 120 are looked at, of large ones 512x512 pixels.
        say: is told what is being done.

    Raises:
        UserError: none is at least 32 pixels a side.
    """
    large = [image for image in images if min(image.shape[1:]) >= WINDOW]
    if not large:
        raise UserError(f'no picture is at least {WINDOW} pixels a side, which an estimate needs; got {len(images)}')
    if len(large) > _MOST:
        large = [large[at] for at in np.linspace(0, len(large) - 1, _MOST).astype(int)]
    pictures = [_middle(image.numpy()) for image in large]
    is_grey = all(len(rgb) == 1 or bool((rgb == rgb[:1]).all()) for rgb in pictures)
    lumas = [jpeg_luma(rgb.astype(np.float64)) for rgb in pictures]
    say(f'looking for JPEG in {len(pictures)} pictures')
    combs = [find_comb(luma) for luma in lumas]
    found = [comb for comb in combs if comb is not None]
    share = len(found) / len(combs)
    say('measuring noise and blur')
    if share >= 0.5:
        return _of_jpeg(pictures, lumas, combs, is_grey, share)
    noise, noise_is_grey, in_luma = _plain(pictures, lumas, is_grey)
    is_noisy = noise >= _LEAST_NOISE
    blur = _sigmas(fit_blur(power_spectrum(lumas), in_luma), _BLUR_ERROR)
    return DegradationEstimate(
        pictures=len(pictures),
        is_grey=is_grey,
        noise_sigma=noise if is_noisy else 0.0,
        noise_error=_NOISE_ERROR[0] + _NOISE_ERROR[1] * noise,
        noise_is_grey=noise_is_grey if is_noisy else None,
        noise_is_hidden=False,
        blur_sigma=blur[0],
        blur_range=blur[1],
        blur_angle=blur[2],
        jpeg_quality=None,
        jpeg_error=0.0,
        jpeg_share=share,
    )


def _of_jpeg(
    pictures: Sequence[np.ndarray],
    lumas: Sequence[np.ndarray],
    combs: Sequence[Comb | None],
    is_grey: bool,
    share: float,
) -> DegradationEstimate:
    """The estimate of pictures most of which were JPEGs; of these alone."""
    kept = [at for at, comb in enumerate(combs) if comb is not None]
    found = [comb for comb in combs if comb is not None]
    qualities = np.array([comb.quality for comb in found])
    quality = float(np.median(qualities))
    spread = float(np.diff(np.percentile(qualities, [10, 90]))[0]) / 2
    blocks = [
        block_dct(luma, comb.top, comb.left)
        for luma, comb in zip(_inside([pictures[at] for at in kept], [lumas[at] for at in kept]), found, strict=True)
    ]
    noise, hidden = quantised_noise(blocks, [comb.steps for comb in found])
    is_hidden = noise < _HIDDEN * hidden
    most = max(noise, hidden)
    gain = 1.0 if is_grey else _LUMA_GAIN
    sigma = (most / 2 if is_hidden else noise) / gain
    error = sigma if is_hidden else _NOISE_ERROR_JPEG[0] + _NOISE_ERROR_JPEG[1] * sigma
    power = power_spectrum([lumas[at] for at in kept])
    blur = _sigmas(simulate_blur(power, sigma, is_grey, quality), _BLUR_ERROR_JPEG)
    return DegradationEstimate(
        pictures=len(lumas),
        is_grey=is_grey,
        noise_sigma=sigma,
        noise_error=error,
        noise_is_grey=is_grey or None,
        noise_is_hidden=is_hidden,
        blur_sigma=blur[0],
        blur_range=blur[1],
        blur_angle=blur[2],
        jpeg_quality=quality,
        jpeg_error=max(spread, _QUALITY_ERROR),
        jpeg_share=share,
    )


def _middle(picture: np.ndarray) -> np.ndarray:
    top, left = (max(side - _SIDE, 0) // 2 for side in picture.shape[1:])
    return picture[:, top : top + _SIDE, left : left + _SIDE]


def _inside(pictures: Sequence[np.ndarray], lumas: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Lumas, NaN where a colour is so near black or white that its noise may have been cut off.

    The flattest parts are often the darkest ones. As they are, where too little would be left.
    """
    low, high = _NEAR_CLIPPING, 255 - _NEAR_CLIPPING
    inside = [((rgb >= low) & (rgb <= high)).all(0) for rgb in pictures]
    found = [np.where(where, luma, np.nan) for where, luma in zip(inside, lumas, strict=True)]
    left = sum(len(unclipped(block_dct(luma))) for luma in found)
    return found if left >= _FEW_BLOCKS else list(lumas)


def _plain(pictures: Sequence[np.ndarray], lumas: Sequence[np.ndarray], is_grey: bool) -> tuple[float, bool, float]:
    """Sigma of noise in each colour, whether it is the same in all, and sigma in luma."""
    luma_blocks = [block_dct(luma) for luma in lumas]
    luma = np.concatenate([unclipped(blocks) for blocks in luma_blocks])
    if len(luma) == 0:
        return 0.0, False, 0.0
    in_luma = plain_noise(luma)
    if is_grey:
        return in_luma, True, in_luma
    sigmas = []
    for channel in range(3):
        colour = [block_dct(rgb[min(channel, len(rgb) - 1)].astype(np.float64)) for rgb in pictures]
        both = [np.isfinite(a[..., 0, 0]) & np.isfinite(b[..., 0, 0]) for a, b in zip(colour, luma_blocks, strict=True)]
        chosen = np.concatenate([a[where] for a, where in zip(colour, both, strict=True)])
        judges = np.concatenate([b[where] for b, where in zip(luma_blocks, both, strict=True)])
        sigmas.append(plain_noise(chosen, judges))
    sigma = float(np.sqrt(np.mean(np.square(sigmas))))
    return sigma, in_luma > _GREY_GAIN * sigma, in_luma


def _sigmas(blur: Blur, error: tuple[float, float]) -> tuple[tuple[float, float], tuple[float, float], float]:
    """Sigmas along and across, their range, and the angle in degrees; zeros where there is no blur."""
    variances, axes = np.linalg.eigh(np.array([[blur.xx, blur.xy], [blur.xy, blur.yy]]))
    across, along = (float(part) for part in variances)
    angle = math.degrees(math.atan2(axes[1, 1], axes[0, 1])) % 180
    least, share = error
    if along - across < 2 * least + share * along:
        along = across = (along + across) / 2
        angle = 0.0
    if along < _LEAST_BLUR**2:
        return (0.0, 0.0), (0.0, 0.0), 0.0
    ends = across - least - share * max(across, 0), along + least + share * along
    low, high = (math.sqrt(max(part, 0)) for part in ends)
    return (math.sqrt(along), math.sqrt(max(across, 0))), (low, high), angle
