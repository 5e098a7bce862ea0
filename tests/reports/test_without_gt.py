"""Pictures of which there is no HR."""

import numpy as np
import pytest
import skimage.data
import torch
from basicsr.metrics.niqe import calculate_niqe
from torch import nn

from vsrkd_plugin.adapters.image_sr import ImageSRAdapter
from vsrkd_plugin.errors import UserError
from vsrkd_plugin.ops.resize import bicubic_resize
from vsrkd_plugin.reports.evaluation import to_image
from vsrkd_plugin.reports.telling import naturalness_rows, result_rows
from vsrkd_plugin.reports.without_gt import MOST_PICTURES, MOST_SIDE, evaluate_without_gt

CPU = torch.device('cpu')


class Times(nn.Module):
    """x2 by the nearest pixel, times a factor."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.interpolate(x * self.factor, scale_factor=2)


def networks(**factors: float) -> dict[str, ImageSRAdapter]:
    return {method: ImageSRAdapter(Times(factor), 3) for method, factor in factors.items()}


def photograph(side: int) -> torch.Tensor:
    picture = torch.from_numpy(skimage.data.chelsea()[: 2 * side, : 2 * side]).permute(2, 0, 1)[None].float() / 255
    return bicubic_resize(picture, 1 / 2).clamp(0, 1)[0]


def test_niqe_is_basicsr_s_and_nothing_is_compared_with_hr() -> None:
    lq = photograph(100)
    found = evaluate_without_gt([{'lq': lq, 'lq_path': 'a/b.png'}], {'name': 'camera'}, networks(student=0.9), CPU, 2)
    bicubic, student = found.results
    expected = to_image(nn.functional.interpolate(lq[None] * 0.9, scale_factor=2))
    assert student['niqe'] == pytest.approx(calculate_niqe(expected, crop_border=2), rel=1e-6)
    assert bicubic['niqe'] != student['niqe']
    assert [result['psnr'] for result in found.results] == [None, None] and bicubic['without_gt']
    assert found.crops[0].image == 'b' and found.crops[0].psnr == {}
    assert list(found.crops[0].panels) == ['lr', 'bicubic', 'student']
    assert found.crops[0].panels['student'].shape == (64, 64, 3) and found.crops[0].panels['lr'].shape == (32, 32, 3)
    report = {'results': found.results}
    assert result_rows(report)[1][0] == 'no data set with ground truth'
    assert naturalness_rows(report)[1] == ['camera', 'x2', f'{bicubic["niqe"]:.2f}', f'{student["niqe"]:.2f}']


def test_agreement_of_the_two_in_closed_form() -> None:
    grey = {'lq': torch.full((3, 40, 40), 100 / 255)}
    found = evaluate_without_gt([grey], {'name': 'x'}, networks(teacher=1.0, student=1.1), CPU, 2)
    agreement = found.results[-1]['agreement']
    y = [16 + 219 * level / 255 for level in (100, 110)]  # of grey; BasicSR's Y
    assert agreement == pytest.approx(20 * np.log10(255 / (y[1] - y[0])), abs=0.02)


def test_the_window_has_the_detail_and_networks_have_no_say() -> None:
    lq = torch.full((3, 120, 120), 0.5)
    lq[:, 80:112, 20:52:2] = 1.0
    sample = {'lq': lq}
    first, other = (
        evaluate_without_gt([sample], {'name': 'x'}, networks(student=factor), CPU, 2).crops[0] for factor in (1.0, 0.3)
    )
    assert (first.panels['lr'] == 255).any((2,)).sum() > 400  # of the 32 * 16 bright pixels
    assert np.array_equal(first.panels['lr'], other.panels['lr']) and first.error == other.error


def test_many_and_large_pictures_are_looked_at_in_part() -> None:
    class Counted:
        def __init__(self) -> None:
            self.asked: list[int] = []

        def __len__(self) -> int:
            return 100

        def __getitem__(self, index: int) -> dict:
            self.asked.append(index)
            return {'lq': torch.rand(3, 30, 3000), 'lq_path': f'{index}.png'}

    seen: list[tuple[int, ...]] = []

    class Seeing(Times):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(tuple(x.shape))
            return super().forward(x)

    samples = Counted()
    evaluate_without_gt(samples, {'name': 'x'}, {'student': ImageSRAdapter(Seeing(1.0), 3)}, CPU, 2)
    assert samples.asked == [0, 12, 25, 37, 50, 62, 75, 87] and len(samples.asked) == MOST_PICTURES
    assert {shape[2:] for shape in seen[-MOST_PICTURES:]} == {(30, MOST_SIDE)}


def test_a_network_of_another_scale_is_named() -> None:
    with pytest.raises(UserError, match=r'data set camera, student: not a network for it: .*x3'):
        evaluate_without_gt([{'lq': torch.rand(3, 9, 9)}], {'name': 'camera'}, networks(student=1.0), CPU, 3)
