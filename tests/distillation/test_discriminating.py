"""The discriminator against the steps of BasicSR's SRGANModel, written out."""

import copy
from contextlib import nullcontext

import pytest
import torch
from basicsr.archs.discriminator_arch import UNetDiscriminatorSN
from basicsr.losses.gan_loss import GANLoss
from torch import Tensor, nn

from vsrkd_plugin.distillation import discriminating
from vsrkd_plugin.distillation.discriminating import Discriminator

_LOSSES = ['vanilla', 'lsgan', 'hinge', 'wgan']


def _made(gan_type: str = 'vanilla', start: int = 0, lr: float = 0.1) -> Discriminator:
    torch.manual_seed(1)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.LeakyReLU(), nn.Conv2d(4, 1, 3))
    loss = GANLoss(gan_type, loss_weight=0.3)
    return Discriminator(network, loss, torch.optim.SGD(network.parameters(), lr), autocast=nullcontext, start=start)


def _images(seed: int) -> Tensor:
    return torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize('gan_type', _LOSSES)
def test_steps_are_those_of_basicsr(gan_type: str) -> None:
    ours = _made(gan_type)
    network, loss = copy.deepcopy(ours.network), GANLoss(gan_type, loss_weight=0.3)
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    for step in range(2):
        output, target = _images(step).requires_grad_(), _images(10 + step)
        found = ours.student_loss(output, target)
        (gradient,) = torch.autograd.grad(found, output)
        assert all(parameter.grad is None for parameter in ours.network.parameters()) or step

        wanted = loss(network(output), True, is_disc=False)
        torch.testing.assert_close(found, wanted)
        torch.testing.assert_close(gradient, torch.autograd.grad(wanted, output)[0])
        optimizer.zero_grad()
        real = loss(network(target), True, is_disc=True)
        fake = loss(network(output.detach()), False, is_disc=True)
        real.backward()
        fake.backward()
        optimizer.step()

        losses = ours.step()
        torch.testing.assert_close(losses, {'l_d_real': real.detach(), 'l_d_fake': fake.detach()})
        for one, other in zip(ours.network.parameters(), network.parameters(), strict=True):
            torch.testing.assert_close(one, other)


def test_the_students_loss_leaves_the_discriminator_alone() -> None:
    ours = _made()
    ours.student_loss(_images(0).requires_grad_(), _images(1)).backward()
    assert all(parameter.grad is None and parameter.requires_grad for parameter in ours.network.parameters())


def test_it_learns_to_tell_the_two_apart() -> None:
    ours = _made(lr=0.3)
    both = []
    for step in range(60):
        ours.student_loss(_images(step) * 0.5, _images(100 + step))
        both.append(float(sum(ours.step().values())))
    assert both[-1] < 0.3 * both[0]


def test_start() -> None:
    late = _made(start=3)
    assert not late.active and _made().active
    begun = []
    for iteration in range(1, 6):
        late.begin(iteration)
        begun.append(late.active)
    assert begun == [False, False, False, True, True]


def test_a_step_needs_outputs_of_its_own() -> None:
    ours = _made()
    ours.student_loss(_images(0), _images(1))
    ours.step()
    with pytest.raises(ValueError, match='expected outputs of the student'):
        ours.step()


def test_gradients_are_averaged_over_the_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes with half of a batch each step as one with all of it does."""
    gradients: list[list[Tensor]] = []
    monkeypatch.setattr(
        discriminating, 'average_gradients', lambda parameters: gradients.append([p.grad.clone() for p in parameters])
    )
    output, target = _images(0), _images(1)
    for rows in (slice(0, 2), slice(0, 1), slice(1, 2)):
        ours = _made()
        ours.student_loss(output[rows], target[rows])
        ours.step()
    for joint, one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(joint, (one + other) / 2)


def test_its_state_goes_on() -> None:
    """That of spectral normalisation, too, which changes whenever it is asked."""

    def made() -> Discriminator:
        torch.manual_seed(2)
        network = UNetDiscriminatorSN(3, num_feat=2)
        return Discriminator(
            network, GANLoss('vanilla'), torch.optim.SGD(network.parameters(), 0.1), autocast=nullcontext
        )

    whole, again = made(), made()
    for ours in (whole,):
        ours.student_loss(_images(0), _images(1))
        ours.step()
    again.load_state_dict(copy.deepcopy(whole.state_dict()))
    for ours in (whole, again):
        ours.student_loss(_images(2), _images(3))
        ours.step()
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    with pytest.raises(RuntimeError):
        again.load_state_dict(_made().state_dict())


def test_convolutions_are_in_bf16_and_scores_in_fp32() -> None:
    seen = []
    network = nn.Conv2d(3, 1, 3)
    network.register_forward_hook(lambda _, __, out: seen.append(out.dtype))

    def loss(score: Tensor, target_is_real: bool, is_disc: bool = False) -> Tensor:
        seen.append(score.dtype)
        return score.mean()

    ours = Discriminator(
        network, loss, torch.optim.SGD(network.parameters(), 0.1),
        autocast=lambda: torch.autocast('cpu', dtype=torch.bfloat16),
    )  # fmt: skip
    ours.student_loss(_images(0), _images(1))
    ours.step()
    assert seen == [torch.bfloat16, torch.float32] * 3
