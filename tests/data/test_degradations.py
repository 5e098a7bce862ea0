"""Degradations against BasicSR's own noise, scipy's blur and OpenCV's JPEG."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage
import torch
import torch.nn.functional as F
from basicsr.data.degradations import generate_gaussian_noise_pt, generate_poisson_noise_pt
from scipy.ndimage import gaussian_filter
from torch import Tensor

from vsrkd_plugin.data.degradations import _blur, degrade, degrade_each
from vsrkd_plugin.synthesis.degrading import RESIZE_MODES, Strengths


@pytest.fixture(scope='module')
def photograph() -> Tensor:
    """`(1, 3, 101, 130)`, no side a multiple of a JPEG block."""
    picture = cv2.imread(str(Path(skimage.__file__).parent / 'data' / 'chelsea.png'))[60:161, 120:250, ::-1]
    return torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float() / 255


def _rounded(x: Tensor) -> Tensor:
    return (x.clamp(0, 1) * 255).round() / 255


def _psnr(a: Tensor, b: Tensor) -> float:
    return float(-10 * torch.log10(F.mse_loss(a, b)))


def _strengths(count: int, **given: float) -> Strengths:
    none = Strengths.none(count, seed=5)
    parts = {name: torch.full_like(getattr(none, name), value) for name, value in given.items()}
    return replace(none, **parts)


def test_nothing_to_do_leaves_images_as_they_are(photograph: Tensor) -> None:
    x = photograph + 1e-4
    assert torch.equal(degrade(x), x)
    assert torch.equal(degrade(x, blur_sigma=0, noise_sigma=0), x)


@pytest.mark.parametrize('sigma', [0.05, 0.6, 1.0, 2.5])
def test_blur_is_a_gaussian(photograph: Tensor, sigma: float) -> None:
    blurred = degrade(photograph, blur_sigma=sigma)
    # scipy's 'mirror' is torch's 'reflect'.
    wanted = gaussian_filter(photograph.numpy(), (0, 0, sigma, sigma), mode='mirror')
    assert float((blurred - torch.from_numpy(wanted)).abs().max()) < 1.1 / 255


def test_blur_along_and_across() -> None:
    """A point becomes a Gaussian with the variances that were asked for, along and across the angle."""
    point = torch.zeros(1, 1, 41, 41)
    point[..., 20, 20] = 1.0
    angle = 0.5
    strengths = replace(_strengths(1), blur=torch.tensor([[2.5, 1.5, angle]], dtype=torch.float64))
    spread = _blur(point, strengths.blur)[0, 0].double()
    assert float(spread.sum()) == pytest.approx(1, abs=1e-5)
    y, x = torch.meshgrid(*[torch.arange(41.0) - 20] * 2, indexing='ij')
    along, across = (
        float((spread * (x * c + y * s) ** 2).sum())
        for c, s in [(np.cos(angle), np.sin(angle)), (-np.sin(angle), np.cos(angle))]
    )
    assert along == pytest.approx(2.5**2, rel=0.02) and across == pytest.approx(1.5**2, rel=0.02)


@pytest.mark.parametrize('sigma', [5, 25])
def test_noise_has_the_sigma_that_is_asked_for(sigma: float) -> None:
    grey = torch.full((2, 3, 64, 64), 0.5)
    noise = degrade(grey, noise_sigma=sigma) - grey
    assert float(noise.std()) * 255 == pytest.approx(sigma, rel=0.03)
    assert abs(float(noise.mean())) * 255 < 0.1 * sigma
    assert abs(float((noise[0] * noise[1]).mean())) < 0.1 * float(noise.var())  # each image its own
    assert abs(float((noise[:, 0] * noise[:, 1]).mean())) < 0.1 * float(noise.var())  # each channel its own


@pytest.mark.parametrize('grey', [False, True])
def test_noise_is_basicsrs(photograph: Tensor, grey: bool) -> None:
    """Number for number, for one image and the same seed."""
    for part, generate in (('noise', generate_gaussian_noise_pt), ('poisson', generate_poisson_noise_pt)):
        torch.manual_seed(5)
        wanted = _rounded(photograph + generate(photograph, 2.0, int(grey)))
        assert torch.equal(degrade_each(photograph, _strengths(1, grey=grey, **{part: 2.0})), wanted)
        assert not torch.equal(wanted, photograph)


@pytest.mark.parametrize('level', [40 / 255, 200 / 255])
def test_shot_noise_grows_with_the_root_of_the_level(level: float) -> None:
    """Also of a flat patch."""
    flat = torch.full((1, 3, 100, 100), level)
    noise = degrade_each(flat, _strengths(1, poisson=0.5)) - flat
    assert float(noise.std()) == pytest.approx(0.5 * (level / 256) ** 0.5, rel=0.05)
    assert abs(float(noise.mean())) < 0.1 * float(noise.std())


def test_the_global_random_state_is_not_touched(photograph: Tensor) -> None:
    state = torch.get_rng_state()
    first = degrade_each(photograph, _strengths(1, noise=9, poisson=1))
    assert torch.equal(state, torch.get_rng_state())
    torch.manual_seed(99)
    assert torch.equal(first, degrade_each(photograph, _strengths(1, noise=9, poisson=1)))
    assert not torch.equal(degrade(photograph, noise_sigma=9, seed=1), degrade(photograph, noise_sigma=9, seed=2))


@pytest.mark.parametrize('quality', [30, 60, 90])
@pytest.mark.parametrize('channels', [1, 3])
def test_jpeg_is_opencvs(photograph: Tensor, quality: int, channels: int) -> None:
    """As near to it as subsampling of colour allows, and far nearer than to the clean image; at the borders too."""
    clean = photograph if channels == 3 else photograph.mean(1, keepdim=True)
    clean = _rounded(clean)
    pixels = (clean[0].flip(0).permute(1, 2, 0) * 255).round().byte().numpy()
    _, file = cv2.imencode('.jpg', pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = cv2.imdecode(file, cv2.IMREAD_COLOR if channels == 3 else cv2.IMREAD_GRAYSCALE)
    wanted = (
        torch.from_numpy(decoded.reshape(*decoded.shape[:2], channels)).permute(2, 0, 1).flip(0)[None].float() / 255
    )
    ours = degrade(clean, jpeg_quality=quality)
    assert abs(_psnr(ours, clean) - _psnr(wanted, clean)) < 1.0
    assert _psnr(ours, wanted) > _psnr(wanted, clean) + 5
    for border in (slice(-5, None), slice(0, 5)):
        at_border = _psnr(ours[..., border, :], clean[..., border, :]), _psnr(ours[..., border], clean[..., border])
        assert min(at_border) > _psnr(ours, clean) - 5


def test_small_patches_have_no_black_in_their_jpeg() -> None:
    """A flat patch of 24x24 stays flat, which it would not if it were padded with black."""
    flat = torch.full((1, 3, 24, 24), 180 / 255)
    assert float((degrade(flat, jpeg_quality=30) - flat).abs().max()) < 3 / 255


@pytest.mark.parametrize('mode', range(len(RESIZE_MODES)))
def test_resizing_there_and_back(photograph: Tensor, mode: int) -> None:
    """Each image by its own factor, as torch resizes it."""
    x = photograph[..., :60, :90].repeat(2, 1, 1, 1)
    strengths = replace(_strengths(2, mode=mode), resize=torch.tensor([0.7, 1.3], dtype=torch.float64))
    corners = {} if RESIZE_MODES[mode] == 'area' else {'align_corners': False}
    for got, size in zip(degrade_each(x, strengths), [(42, 63), (78, 117)], strict=True):
        between = F.interpolate(x[:1], size, mode=RESIZE_MODES[mode], **corners)
        wanted = F.interpolate(between, (60, 90), mode=RESIZE_MODES[mode], **corners)
        assert float((got - _rounded(wanted[0])).abs().max()) < 1.1 / 255


@pytest.mark.parametrize('channels', [1, 3])
@pytest.mark.parametrize('size', [(1, 1), (3, 5), (24, 24)])
def test_each_image_is_degraded_by_itself(channels: int, size: tuple[int, int]) -> None:
    """A batch of all kinds gives what each image gives alone, clean ones untouched; in any size."""
    count = 8
    x = torch.rand(count, channels, *size, generator=torch.Generator().manual_seed(1))
    none = _strengths(count)
    strengths = replace(
        none,
        blur=torch.tensor([[0, 0, 0], [1, 1, 0], [2, 1, 0.3], *[[0, 0, 0]] * 3, [1, 1, 0], [0, 0, 0]]).double(),
        resize=torch.tensor([0, 0, 0, 0.7, 0, 0, 0.8, 0]).double(),
        noise=torch.tensor([0, 0, 0, 0, 9, 0, 5, 0]).double(),
        poisson=torch.tensor([0, 0, 0, 0, 0, 1, 1, 0]).double(),
        grey=torch.tensor([False, False, False, False, True, True, False, False]),
        jpeg=torch.tensor([0, 0, 0, 0, 0, 0, 70, 40]).double(),
    )  # fmt: skip
    together = degrade_each(x, strengths)
    assert together.shape == x.shape and together.dtype == torch.float32
    assert float(together.min()) >= 0 and float(together.max()) <= 1
    assert torch.equal(together[0], x[0])
    for row in range(count):
        alone = degrade_each(x[row : row + 1], strengths.rows(row, row + 1))[0]
        assert float((alone - together[row]).abs().max()) < 1.1 / 255
        assert float((alone != together[row]).float().mean()) < 0.01
    if size == (24, 24):
        assert all(not torch.equal(together[row], x[row]) for row in range(1, count))


def test_channels_last_images(photograph: Tensor) -> None:
    strengths = _strengths(1, jpeg=70, noise=4)
    last = photograph.contiguous(memory_format=torch.channels_last)
    assert torch.equal(degrade_each(last, strengths), degrade_each(photograph, strengths))
    assert torch.equal(degrade(last, blur_sigma=1), degrade(photograph, blur_sigma=1))


@pytest.mark.parametrize(
    'wrong', [{'jpeg_quality': 100}, {'jpeg_quality': 0}, {'noise_sigma': -1}, {'blur_sigma': float('nan')}]
)
def test_strengths_out_of_range_are_refused(photograph: Tensor, wrong: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        degrade(photograph, **wrong)


def test_strengths_of_other_images_are_refused(photograph: Tensor) -> None:
    with pytest.raises(ValueError, match='strengths of 1 images, got 2'):
        degrade_each(photograph, Strengths.none(2))
