"""The three losses against closed forms."""

import math

import pytest
import torch
from basicsr.losses import build_loss

from vsrkd_plugin.losses.adversarial_distillation_loss import AdversarialDistillationLoss
from vsrkd_plugin.losses.distillation_loss import DistillationLoss
from vsrkd_plugin.losses.reconstruction_loss import ReconstructionLoss
from vsrkd_plugin.ops.resize import bicubic_resize

ONES, ZEROS = torch.ones(2, 1, 4, 4), torch.zeros(2, 1, 4, 4)


def test_distillation() -> None:
    assert DistillationLoss()(ONES * 3, ZEROS).item() == 3
    assert DistillationLoss(criterion='sum_squares', loss_weight=0.5)(ONES * 3, ZEROS).item() == 0.5 * 9 * 32


@pytest.mark.parametrize(('criterion', 'kd'), [('l1', 3), ('sum_squares', 9 * 32)])
def test_adversarial(criterion: str, kd: float) -> None:
    loss = AdversarialDistillationLoss(criterion=criterion, loss_weight=2)(ONES * 3, ZEROS)
    assert loss.item() == pytest.approx(-2 * math.log(1 + kd))


def test_adversarial_gradient() -> None:
    """d/dx -log(1 + |x|) = -1 / (1 + |x|) for a single pixel."""
    x = torch.tensor([[[[0.25]]]], requires_grad=True)
    AdversarialDistillationLoss()(x, torch.zeros(1, 1, 1, 1)).backward()
    assert x.grad.item() == pytest.approx(-1 / 1.25)


@pytest.mark.parametrize('degradation', ['bicubic', 'blur'])
@pytest.mark.parametrize('scale', [2, 3, 4])
def test_reconstruction_of_a_constant(degradation: str, scale: int) -> None:
    """Reducing a constant image gives that constant: the loss is the difference of the two levels."""
    loss = ReconstructionLoss(degradation=degradation, loss_weight=10)
    value = loss(torch.full((2, 3, 8 * scale, 6 * scale), 0.7), torch.full((2, 3, 8, 6), 0.4))
    assert value.item() == pytest.approx(3, abs=1e-4)


def test_reconstruction_of_an_exact_pair_is_zero() -> None:
    sr = torch.rand(1, 1, 24, 24)
    assert ReconstructionLoss()(sr, bicubic_resize(sr, 1 / 2)).item() == pytest.approx(0, abs=1e-7)


def test_the_generators_gradient_flows_through_both_arguments() -> None:
    sr, lr = torch.rand(1, 1, 8, 8, requires_grad=True), torch.rand(1, 1, 4, 4, requires_grad=True)
    ReconstructionLoss()(sr, lr).backward()
    assert sr.grad.abs().sum() > 0 and lr.grad.abs().sum() == pytest.approx(1)


@pytest.mark.parametrize('degradation', ['bicubic', 'blur'])
def test_reconstruction_gradcheck(degradation: str) -> None:
    loss = ReconstructionLoss(degradation=degradation)
    lr = torch.zeros(1, 1, 3, 3)
    sr = (torch.rand(1, 1, 6, 6, dtype=torch.float64) + 0.5).requires_grad_()  # away from the kink at 0
    assert torch.autograd.gradcheck(lambda x: loss(x, lr), (sr,))


def test_bad_arguments() -> None:
    for loss in (DistillationLoss, AdversarialDistillationLoss):
        with pytest.raises(ValueError, match='criterion must be one of l1, sum_squares'):
            loss(criterion='l2')
    with pytest.raises(ValueError, match='degradation must be one of bicubic, blur'):
        ReconstructionLoss(degradation='nearest')
    with pytest.raises(ValueError, match='shapes differ'):
        DistillationLoss()(ONES, ONES[:1])
    with pytest.raises(ValueError, match='whole multiple'):
        ReconstructionLoss()(torch.rand(1, 1, 9, 8), torch.rand(1, 1, 4, 4))


def test_built_by_name_in_any_yaml() -> None:
    for options in (
        {'type': 'DistillationLoss', 'criterion': 'l1'},
        {'type': 'AdversarialDistillationLoss', 'loss_weight': 0.1},
        {'type': 'ReconstructionLoss', 'degradation': 'blur', 'sigma': 1.2},
    ):
        assert type(build_loss(options)).__name__ == options['type']
