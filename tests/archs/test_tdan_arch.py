"""TDAN: the authors' parameters, what unmoved taps amount to, which frames count."""

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from vsrkd_plugin.archs.tdan_arch import TDAN


def small(**settings: Any) -> TDAN:
    torch.manual_seed(0)
    defaults = {'num_feat': 8, 'num_extract_block': 1, 'num_block': 1, 'deformable_groups': 2}
    return TDAN(**{**defaults, **settings})


def test_the_authors_state_dict_would_load() -> None:
    shapes = {name: tuple(value.shape) for name, value in TDAN().state_dict().items()}
    expected = {'conv_first': (64, 3), 'cr': (64, 128), 'recon_lr': (3, 64), 'fea_ex.0': (64, 15)}
    expected |= {name: (144, 64) for name in ('off2d_1', 'off2d_2', 'off2d_3', 'off2d')}
    expected |= {f'residual_layer.{i}.conv{j}': (64, 64) for i in range(5) for j in (1, 2)}
    expected |= {f'recon_layer.{i}.conv{j}': (64, 64) for i in range(10) for j in (1, 2)}
    expected |= {'up.0.0': (256, 64), 'up.0.2': (256, 64)}
    wanted = {f'{name}.weight': (*shape, 3, 3) for name, shape in expected.items()}
    wanted |= {f'{name}.bias': shape[:1] for name, shape in expected.items()}
    wanted |= {f'{name}.weight': (64, 64, 3, 3) for name in ('dconv_1', 'deconv_2', 'deconv_3', 'dconv')}
    assert shapes == {**wanted, 'up.1.weight': (3, 64, 3, 3)}


def test_unmoved_taps_are_plain_convolutions() -> None:
    network, x = small(), torch.rand(1, 5, 3, 7, 6)
    with torch.no_grad():
        aligned = network.align(x)
        features = network.residual_layer(F.relu(network.conv_first(x[0, :1])))
        for layer in (network.deconv_3, network.dconv):
            features = F.conv2d(features, layer.weight, padding=1)
        torch.testing.assert_close(aligned[0, :1], network.recon_lr(features), rtol=1e-4, atol=1e-5)
    assert torch.equal(aligned[:, 2], x[:, 2])


def test_every_frame_counts_and_every_parameter_learns() -> None:
    network, x = small(), torch.rand(2, 5, 3, 8, 8, requires_grad=True)
    with torch.no_grad():
        for name in ('off2d_1', 'off2d_2', 'off2d_3', 'off2d'):
            getattr(network, name).weight.normal_(std=0.1)
    sr, aligned = network(x, with_aligned=True)
    assert sr.shape == (2, 3, 32, 32) and aligned.shape == x.shape
    (sr.square().mean() + (aligned - x[:, 2:3]).abs().mean()).backward()
    assert (x.grad.abs().amax((0, 2, 3, 4)) > 0).all()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in network.parameters())


def test_a_start_as_identity_repeats_pixels_and_learns_in_every_layer() -> None:
    network, x = small(num_extract_block=2, num_block=2, start='identity'), torch.rand(2, 5, 3, 8, 8)
    sr, aligned = network(x, with_aligned=True)
    torch.testing.assert_close(aligned, x)
    torch.testing.assert_close(sr, F.interpolate(x[:, 2], scale_factor=4.0))
    features = network.fea_ex[0](aligned.flatten(1, 2))
    alike = network.fea_ex[0](x[:, 2:3].expand_as(x).flatten(1, 2))
    assert alike[:, 5:].abs().max() < 1e-5 < 0.1 < features[:, 5:].abs().mean()  # half see differences alone
    torch.testing.assert_close(alike[:, :5], features[:, :5])  # the others the middle frame alone
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    for _ in range(3):  # what reads the features moves first, what makes them next
        optimizer.zero_grad()
        sr, aligned = network(x, with_aligned=True)
        (sr - torch.rand(sr.shape)).abs().mean().backward()
        optimizer.step()
    still = {name for name, p in network.named_parameters() if torch.equal(p, before[name])}
    assert not still


def test_runs_under_autocast() -> None:
    network, x = small(upscale=2), torch.rand(1, 5, 3, 8, 8)
    with torch.no_grad():
        exact = network(x)
        with torch.autocast('cpu', dtype=torch.bfloat16):
            rough = network(x)
    assert exact.shape == (1, 3, 16, 16)
    torch.testing.assert_close(rough.float(), exact, rtol=0.1, atol=0.1 * float(exact.abs().max()))


@pytest.mark.parametrize(
    ('settings', 'words'),
    [({'num_frame': 4}, 'must be odd'), ({'upscale': 3}, 'power of 2'), ({'deformable_groups': 3}, 'divide')],
)
def test_bad_settings(settings: dict[str, int], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        small(**settings)


@pytest.mark.parametrize('shape', [(1, 3, 3, 8, 8), (1, 5, 1, 8, 8), (5, 3, 8, 8)])
def test_other_windows_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r'takes windows \(b, 5, 3, h, w\)'):
        small()(torch.rand(shape))
