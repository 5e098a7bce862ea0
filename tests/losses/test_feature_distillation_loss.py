"""Attention transfer against its closed form."""

import pytest
import torch

from vsrkd_plugin.losses.feature_distillation_loss import FeatureDistillationLoss

LOSS = FeatureDistillationLoss({'a': 'b'}, loss_weight=2)


def test_neither_scale_nor_width_nor_order_of_channels_counts() -> None:
    x = torch.randn(3, 4, 6, 5)
    wide = torch.cat([x, x.flip(1)], 1)
    assert LOSS([x], [3 * x[:, [2, 0, 3, 1]]]).item() == pytest.approx(0, abs=1e-6)
    assert LOSS([x], [wide]).item() == pytest.approx(0, abs=1e-6)
    assert LOSS([x], [torch.randn_like(x)]).item() > 0.2


def test_the_closed_form() -> None:
    student, teacher = torch.ones(1, 2, 1, 2), torch.tensor([1.0, 3.0]).view(1, 1, 1, 2)
    # Maps of mean 1: (1, 1) and (0.2, 1.8).
    assert LOSS([student], [teacher]).item() == pytest.approx(2 * 0.8)
    assert LOSS([student, student], [teacher, student]).item() == pytest.approx(0.8)


def test_other_sizes_and_gradients() -> None:
    student = torch.rand(2, 3, 8, 8, dtype=torch.float64, requires_grad=True)
    LOSS([student], [torch.rand(2, 5, 4, 4)]).backward()
    assert student.grad.abs().sum() > 0
    assert LOSS([torch.zeros(1, 2, 4, 4)], [torch.rand(1, 2, 4, 4)]).isfinite()


def test_what_does_not_fit_is_told() -> None:
    with pytest.raises(ValueError, match='layers must name'):
        FeatureDistillationLoss({})
    with pytest.raises(ValueError, match=r'of \[2\] and \[3\] images'):
        LOSS([torch.rand(2, 1, 2, 2)], [torch.rand(3, 1, 2, 2)])
