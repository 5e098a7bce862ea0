"""What degrades LR pictures: planted degradations are found, by the sizes of their parts, and clean is clean."""

from dataclasses import replace
from functools import lru_cache

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from vsrkd_plugin.config.dataset_options import DegradeOptions
from vsrkd_plugin.data.images import BUNDLED, list_images
from vsrkd_plugin.errors import UserError
from vsrkd_plugin.inspection.blur_spectrum import power_spectrum
from vsrkd_plugin.inspection.describing_inputs import inputs_in_words
from vsrkd_plugin.inspection.inputs import DegradationEstimate, estimate_degradation, sampled_sigma
from vsrkd_plugin.inspection.jpeg_grid import find_comb, jpeg_luma
from vsrkd_plugin.ops.resize import bicubic_resize
from vsrkd_plugin.synthesis.sources.dead_leaves import render_levels


@lru_cache(maxsize=2)
def _hr(kind: str) -> list[np.ndarray]:
    if kind == 'photographs':
        return [read()[..., ::-1].astype(np.float32) for _, read in list_images(BUNDLED, 'photographs')]
    return list(render_levels(0, range(8), 256, 3).permute(0, 2, 3, 1).numpy().astype(np.float32))


def camera(
    blur: tuple[float, float] = (0, 0),
    noise: float = 0,
    quality: int | None = None,
    kind: str = 'photographs',
    grey_noise: bool = False,
) -> list[Tensor]:
    """HR blurred (right, down), halved, made noisy, compressed by OpenCV: uint8 RGB."""
    rng, made = np.random.default_rng(0), []
    for hr in _hr(kind):
        if any(blur):
            hr = cv2.GaussianBlur(hr, (0, 0), sigmaX=blur[0], sigmaY=blur[1], borderType=cv2.BORDER_REFLECT)
        lr = bicubic_resize(torch.from_numpy(hr.transpose(2, 0, 1).copy()), 1 / 2).numpy().transpose(1, 2, 0)
        shape = (*lr.shape[:2], 1) if grey_noise else lr.shape
        lr = (lr + noise * rng.standard_normal(shape)).clip(0, 255).round().astype(np.uint8)
        made.append(_compressed(lr, quality))
    return [torch.from_numpy(lr.transpose(2, 0, 1).copy()) for lr in made]


def _compressed(rgb: np.ndarray, quality: int | None) -> np.ndarray:
    if quality is None:
        return rgb
    jpeg = cv2.imencode('.jpg', rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return cv2.imdecode(jpeg, cv2.IMREAD_COLOR)[..., ::-1]


@pytest.mark.parametrize('kind', ['photographs', 'leaves'])
def test_clean_is_clean(kind: str) -> None:
    found = estimate_degradation(camera(kind=kind))
    assert found.noise_sigma == 0 and found.blur_sigma == (0, 0) and found.jpeg_quality is None
    assert found.degrade is None and not found.is_anisotropic
    assert 'clean LR by bicubic' in inputs_in_words('mine', found)


@pytest.mark.parametrize(
    ('kind', 'blur', 'noise'),
    [
        ('photographs', 1.2, 2),
        ('photographs', 2.2, 12),
        ('leaves', 1.6, 6),
        ('leaves', 1.6, 0),
    ],
)
def test_planted_blur_and_noise_are_found(kind: str, blur: float, noise: float) -> None:
    found = estimate_degradation(camera((blur, blur), noise, kind=kind))
    assert found.blur_sigma == pytest.approx((blur / 2, blur / 2), abs=0.12)
    assert found.noise_sigma == pytest.approx(noise, abs=max(0.1 * noise, 0.3))
    assert found.jpeg_quality is None and not found.is_anisotropic
    assert found.noise_is_grey is (False if noise else None)
    assert found.degrade is not None and ('noise_range' in found.degrade) == bool(noise)


def test_planted_jpeg_blur_and_noise_are_found_together() -> None:
    found = estimate_degradation(camera((1.6, 1.6), 6, 70))
    assert found.jpeg_quality == 70 and found.jpeg_share == 1
    assert found.noise_sigma == pytest.approx(6, abs=1.2) and found.blur_sigma == pytest.approx((0.8, 0.8), abs=0.12)
    assert found.degrade is not None and DegradeOptions(**found.degrade)  # as an options file would have it
    low, high = found.degrade['noise_range']
    assert low < 6 < high and found.degrade['jpeg_range'] == [68, 72]


def test_noise_that_jpeg_hides_is_not_claimed() -> None:
    clean, noisy = (estimate_degradation(camera((1.6, 1.6), noise, 60)) for noise in (0, 1))
    for found in (clean, noisy):
        assert found.noise_is_hidden and found.noise_sigma == found.noise_error
        assert 'is not known' in inputs_in_words('mine', found)


@pytest.mark.parametrize('quality', [30, 50, 85, 92])
def test_the_quality_is_read_off_the_comb(quality: int) -> None:
    found = [find_comb(jpeg_luma(image.double().numpy())) for image in camera(quality=quality)]
    assert [comb.quality for comb in found if comb] == pytest.approx([quality] * len(found), abs=2)


def test_a_cropped_jpeg_has_its_grid_elsewhere() -> None:
    image = camera(quality=60)[0][:, 3:, 5:]
    comb = find_comb(jpeg_luma(image.double().numpy()))
    assert comb is not None and (comb.top, comb.left) == (5, 3) and abs(comb.quality - 60) <= 1


def test_a_jpeg_of_another_size_since_has_no_comb() -> None:
    image = bicubic_resize(camera(quality=50)[0].float(), 0.8).clamp(0, 255).round()
    assert find_comb(jpeg_luma(image.double().numpy())) is None


def test_the_stronger_direction_turns_with_the_pictures() -> None:
    images = camera((2.6, 1.2), 3)
    found = estimate_degradation(images)
    turned = estimate_degradation([image.mT.contiguous() for image in images])
    assert found.is_anisotropic and found.blur_sigma == pytest.approx((1.3, 0.6), abs=0.12)
    assert min(found.blur_angle, 180 - found.blur_angle) < 8 and turned.blur_angle == pytest.approx(90, abs=8)
    assert turned.blur_sigma == pytest.approx(found.blur_sigma, abs=0.02)
    assert turned.noise_sigma == pytest.approx(found.noise_sigma, rel=1e-6)


def test_the_order_of_the_pictures_does_not_matter() -> None:
    images = camera((1.6, 1.6), 4)
    one, other = (estimate_degradation(part).as_json() for part in (images, images[::-1]))
    for key in ('noise_sigma', 'blur_sigma', 'blur_range'):
        assert one.pop(key) == pytest.approx(other.pop(key), abs=0.01)
    assert one['is_grey'] == other['is_grey'] and one['jpeg_quality'] == other['jpeg_quality']


def test_grey_pictures_and_grey_noise_are_told() -> None:
    found = estimate_degradation(camera(noise=8, grey_noise=True))
    assert found.noise_is_grey and found.noise_sigma == pytest.approx(8, abs=0.8) and not found.is_grey
    assert found.degrade is not None and found.degrade['gray_noise_prob'] == 1
    luma = [image.float().mean(0, keepdim=True).round().to(torch.uint8) for image in camera(noise=8, grey_noise=True)]
    of_one, of_three = (estimate_degradation(part) for part in (luma, [image.expand(3, -1, -1) for image in luma]))
    assert of_one.is_grey and of_three.is_grey and 'grey pictures' in inputs_in_words('mine', of_one)
    assert of_one.noise_sigma == pytest.approx(of_three.noise_sigma, rel=1e-3)


def test_colour_and_grey_pictures_together() -> None:
    images = camera(noise=8)
    found = estimate_degradation([*images[:-1], images[-1][:1]])
    assert not found.is_grey and found.noise_sigma == pytest.approx(8, abs=0.8)


def test_flat_white_and_tiny_pictures_are_survived() -> None:
    flat = [torch.full((3, 40, 40), level, dtype=torch.uint8) for level in (0, 128, 255)]
    for images in ([flat[0]], [flat[2]], flat):
        found = estimate_degradation(images)
        assert found.noise_sigma == 0 and found.jpeg_quality is None
    with pytest.raises(UserError, match='at least 32 pixels'):
        estimate_degradation([flat[0][:, :31]])
    with pytest.raises(UserError, match='got 0'):
        estimate_degradation([])


def test_the_spectrum_of_white_noise_is_its_variance() -> None:
    noise = np.random.default_rng(0).standard_normal((400, 400)) * 7
    assert power_spectrum([noise])[1:, 1:].mean() == pytest.approx(49, rel=0.03)


def test_what_was_sharpened_is_not_called_blurred() -> None:
    sharpened = []
    for image in camera():
        soft = image.float().numpy().transpose(1, 2, 0)
        sharp = soft + 1.5 * (soft - cv2.GaussianBlur(soft, (0, 0), 1.0))
        sharpened.append(torch.from_numpy(sharp.clip(0, 255).round().astype(np.uint8).transpose(2, 0, 1).copy()))
    assert estimate_degradation(sharpened).blur_sigma == (0, 0)


def test_the_options_sigma_blurs_as_much() -> None:
    """A Gaussian of few pixels blurs less than its sigma says: more is to be asked for."""
    assert sampled_sigma(0) == 0 and sampled_sigma(2) == 2
    assert sampled_sigma(0.4) > 0.45 and sampled_sigma(0.9) == pytest.approx(0.9, abs=0.02)
    sigmas = [sampled_sigma(sigma) for sigma in np.linspace(0.1, 2.5, 50)]
    assert sigmas == sorted(sigmas)


def test_parts_that_are_not_there_are_left_out() -> None:
    found = DegradationEstimate(
        3, False, noise_sigma=0.0, noise_error=0.5, noise_is_grey=None, noise_is_hidden=False, blur_sigma=(0.0, 0.0),
        blur_range=(0.0, 0.0), blur_angle=0.0, jpeg_quality=98.0, jpeg_error=5.0, jpeg_share=0.6,
    )  # fmt: skip
    assert found.degrade == {'clean_prob': 0.3, 'apply_prob': 1, 'jpeg_range': [93, 99]}
    assert '60% of the pictures' in inputs_in_words('mine', found)
    blurred = replace(found, blur_sigma=(1.5, 0.8), blur_range=(0.7, 1.6), blur_angle=30.0, jpeg_quality=None)
    assert blurred.degrade == {'clean_prob': 0.3, 'apply_prob': 1, 'blur_sigma': [0.71, 1.6], 'anisotropic_prob': 1.0}
    assert 'along 30 degrees' in inputs_in_words('mine', blurred)
