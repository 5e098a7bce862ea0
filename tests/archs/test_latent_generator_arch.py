"""The paper's generator."""

import pytest
import torch

from vsrkd_plugin.archs.latent_generator_arch import LatentGenerator


@pytest.mark.parametrize('lr_size', [24, 16, 12, 7, 1])
@pytest.mark.parametrize('channels', [1, 3])
def test_any_size_in_range(lr_size: int, channels: int) -> None:
    generator = LatentGenerator(num_latent=8, num_feat=8, num_out_ch=channels, lr_size=lr_size)
    images = generator(torch.randn(2, 8) * 5)
    assert images.shape == (2, channels, lr_size, lr_size)
    assert images.min() >= 0 and images.max() <= 1
    assert images.dtype == torch.float32


def test_number_of_weights_is_the_papers() -> None:
    """Linear 256 → 128·6², conv 128·128·9, conv 128·64·9, conv 64·9, with biases; norms without weights."""
    expected = (256 + 1) * 128 * 36 + 128 * (128 * 9 + 1) + 64 * (128 * 9 + 1) + (64 * 9 + 1)
    assert sum(p.numel() for p in LatentGenerator(lr_size=24).parameters()) == expected


def test_gradient_reaches_every_weight() -> None:
    generator = LatentGenerator(num_latent=8, num_feat=8)
    generator(torch.randn(4, 8)).square().mean().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in generator.parameters())
    assert generator.linear.weight.grad.abs().sum() > 0


@pytest.mark.parametrize('bad', [{'num_feat': 7}, {'lr_size': 0}, {'num_latent': 0}])
def test_bad_arguments(bad: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        LatentGenerator(**bad)
