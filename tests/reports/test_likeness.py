"""How like its teacher a student is, on images of which it is known."""

import numpy as np
import pytest
import skimage.data
import torch
from basicsr.metrics import calculate_psnr
from basicsr.metrics.niqe import calculate_niqe
from torch import nn

from vsrkd_plugin.adapters.image_sr import ImageSRAdapter
from vsrkd_plugin.reports.likeness import MOST_NIQE, Likeness, is_judged_by_psnr, on_made_images
from vsrkd_plugin.reports.telling import is_bold, likeness_rows
from vsrkd_plugin.reports.writing import to_markdown

GOOD, BAD = {'bicubic': 30.0, 'teacher': 32.0, 'student': 31.5}, {'bicubic': 30.0, 'teacher': 29.5, 'student': 29.9}


def image(seed: int, side: int = 120, channels: int = 3) -> np.ndarray:
    shape = (side, side, channels)[: 3 if channels > 1 else 2]
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def blurred(picture: np.ndarray) -> np.ndarray:
    return ((picture.astype(np.float32) + np.roll(picture, 1, 0) + np.roll(picture, 1, 1)) / 3).astype(np.uint8)


@pytest.mark.parametrize('channels', [1, 3])
def test_agreement_is_basicsr_s_psnr_of_student_against_teacher(channels: int) -> None:
    student, teacher = image(0, channels=channels), image(1, channels=channels)
    likeness = Likeness()
    likeness.add('a', {'bicubic': image(2, channels=channels), 'teacher': teacher, 'student': student}, 4, GOOD)
    expected = calculate_psnr(student, teacher, crop_border=4, test_y_channel=True)
    assert likeness.means()['student']['agreement'] == pytest.approx(expected, abs=1e-6)


def test_a_blurred_student_is_less_sharp() -> None:
    teacher = image(0)
    likeness = Likeness()
    likeness.add('a', {'bicubic': teacher, 'teacher': teacher, 'student': blurred(teacher)}, 2, GOOD)
    means = likeness.means()
    assert means['student']['sharpness'] < 0.7 * means['teacher']['sharpness']
    assert means['bicubic']['sharpness'] == means['teacher']['sharpness']


def test_equal_images_agree_as_well_as_can_be_told() -> None:
    likeness = Likeness()
    likeness.add('a', dict.fromkeys(('bicubic', 'teacher', 'student'), image(0)), 2, GOOD)
    assert likeness.means()['student']['agreement'] == 100.0


def test_niqe_is_measured_where_psnr_misjudges_and_on_few_images() -> None:
    plain, sharp = Likeness(), Likeness()
    photograph = skimage.data.chelsea()[40:240, 100:300]
    images = {'bicubic': blurred(photograph), 'teacher': photograph, 'student': blurred(blurred(photograph))}
    plain.add('a', images, 4, GOOD)
    for number in range(MOST_NIQE + 2):
        sharp.add(str(number), images, 4, BAD)
    assert 'niqe' not in plain.means()['student']
    assert sharp.means()['student']['niqe'] == pytest.approx(calculate_niqe(images['student'], crop_border=4), rel=1e-6)
    assert len(sharp._values['student']['niqe']) == MOST_NIQE


def test_small_images_have_no_niqe() -> None:
    likeness = Likeness()
    likeness.add('a', dict.fromkeys(('bicubic', 'teacher', 'student'), image(0, 60)), 4, BAD)
    assert 'niqe' not in likeness.means()['student']


@pytest.mark.parametrize(
    ('teacher', 'bicubic', 'judged'), [(32, 30, True), (29, 30, False), (30.1, 30, False), (None, 30, True)]
)
def test_where_psnr_judges(teacher: float | None, bicubic: float, judged: bool) -> None:
    assert is_judged_by_psnr(teacher, bicubic) == judged


class Nearest(nn.Module):
    """x2, and a constant on top."""

    def __init__(self, more: float) -> None:
        super().__init__()
        self.more = nn.Parameter(torch.tensor(more))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.interpolate(x * 0.5, scale_factor=2) + self.more


def test_agreement_on_made_images_in_closed_form() -> None:
    networks = {'teacher': ImageSRAdapter(Nearest(0.0), 3), 'student': ImageSRAdapter(Nearest(0.1), 3)}
    made = on_made_images(networks, 2, torch.device('cpu'))
    assert made['agreement'] == pytest.approx(20.0, abs=1e-3)
    assert made['sharpness_ratio'] == pytest.approx(1.0, abs=1e-4)


def report(psnr: dict[str, float]) -> dict:
    results = [
        {'dataset': 'Set', 'scale': 4, 'method': method, 'psnr': value, 'ssim': 0.9, 'sharpness': 10.0}
        for method, value in psnr.items()
    ]
    results[-1] |= {'agreement': 36.0, 'sharpness': 9.5}
    return {
        'results': results,
        'made': [{'scale': 4, 'agreement': 34.5, 'sharpness_ratio': 0.98}],
        'complexity': [
            {'network': n, 'params': 1, 'macs': 1, 'seconds_per_image': 1.0, 'input': [1, 3, 8, 8], 'scale': 4}
            for n in ('teacher', 'student')
        ],
        'training': dict.fromkeys(('iterations', 'seconds', 'device', 'precision', 'seed', 'peak_memory_mb')),
    }  # fmt: skip


def test_a_report_says_where_psnr_misjudges_and_points_nothing_out() -> None:
    described = {'teacher': 'T', 'student': 'S'}
    sharp, plain = (to_markdown(report(psnr), 'x', described, 'c', []) for psnr in (BAD, GOOD))
    assert 'PSNR against HR does not tell what this teacher is good at: on Set x4' in sharp
    assert 'does not tell' not in plain
    assert not is_bold(report(BAD)) and is_bold(report(GOOD))
    assert '| Set | x4 | 36.00 dB | 0.950 |' in plain and '| made images | x4 | 34.50 dB | 0.980 |' in plain


def test_reports_of_before_have_no_such_rows() -> None:
    old = report(GOOD)
    del old['made']
    for result in old['results']:
        result.pop('agreement', None)
    assert len(likeness_rows(old)) == 1


@pytest.mark.parametrize(('at_hr', 'sides'), [(True, {2: 96, 3: 96, 4: 96}), (False, {2: 96, 3: 144, 4: 192})])
def test_made_images_are_no_larger_at_hr_than_they_need_be(at_hr: bool, sides: dict[int, int]) -> None:
    class Enlarging(nn.Module):
        """Says where it works, and notes what it gave."""

        def __init__(self) -> None:
            super().__init__()
            self.given: list[int] = []
            self.weight = nn.Parameter(torch.ones(()))
            self.multi_scale, self.pre_upsampling = True, at_hr

        def forward(self, x: torch.Tensor, scale: int) -> torch.Tensor:
            output = nn.functional.interpolate(x, scale_factor=scale) * self.weight
            self.given.append(output.shape[-1])
            return output

    for scale, side in sides.items():
        networks = {method: ImageSRAdapter(Enlarging(), 1) for method in ('teacher', 'student')}
        on_made_images(networks, scale, torch.device('cpu'))
        assert set(networks['teacher'].network.given) == {side}
