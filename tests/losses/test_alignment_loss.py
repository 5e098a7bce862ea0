"""Alignment of features against its closed form."""

import torch

from vsrkd_plugin.losses.alignment_loss import AlignmentLoss


def test_closed_forms() -> None:
    source, target = torch.tensor([[1.0], [0.0]]), torch.tensor([[0.5], [2.5]])
    loss = AlignmentLoss(loss_weight=0.1)
    # (0.5**2 + 0.5**2) / 2 + (0 + 2**2) / 2
    torch.testing.assert_close(loss(source, target), torch.tensor(0.1 * 2.25))
    # ((0 + 1) / 2 + (0.25 + 6.25) / 2) / 2, whatever the weight
    torch.testing.assert_close(loss.discriminate(source, target), torch.tensor(1.875))


def test_the_encoder_aims_at_what_the_discriminator_cannot_tell() -> None:
    half = torch.full((3, 1, 2, 2), 0.5)
    assert AlignmentLoss()(half, half) == 0
    assert AlignmentLoss().discriminate(torch.ones(2, 1), torch.zeros(2, 1)) == 0
