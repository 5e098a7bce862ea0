"""An adaptation: each loss against its closed form, and the networks that each reaches."""

import copy
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from basicsr.losses.gan_loss import GANLoss
from torch import Tensor, nn
from torch.nn.functional import l1_loss

from vsrkd_plugin.archs.usrda_arch import USRDA, USRDATargetDecoder
from vsrkd_plugin.distillation.discriminating import Discriminator
from vsrkd_plugin.distillation.domain_adaptation import (
    AdaptationLosses,
    AdaptationTask,
    Discriminators,
    DomainBatch,
    FeatureDiscriminator,
)
from vsrkd_plugin.distillation.encoding import SplitNetwork
from vsrkd_plugin.losses.alignment_loss import AlignmentLoss
from vsrkd_plugin.ops.resize import bicubic_resize

FEAT, SCALE = 4, 2
ALL = ('pixel', 'perceptual', 'cycle', 'restoration', 'identity', 'features', 'style', 'sr')
# What each loss teaches: E, G_SR, G_t.
REACHES = {
    'l_pix': {'E', 'G_SR'},
    'l_percep': {'E', 'G_SR', 'G_t'},  # of the cycle too
    'l_g_gan': {'E', 'G_SR', 'G_t'},
    'l_align': {'E'},
    'l_res': {'E', 'G_t'},
    'l_style': {'E', 'G_t'},
    'l_idt': {'E', 'G_t'},
    'l_cyc': {'E', 'G_SR', 'G_t'},
}


def _batch() -> DomainBatch:
    generator = torch.Generator().manual_seed(5)
    hr = torch.rand(2, 3, 16, 16, generator=generator)
    return DomainBatch(bicubic_resize(hr, 1 / SCALE), hr, torch.rand(2, 3, 8, 8, generator=generator))


def _judge(channels: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(channels, 4, 3), nn.LeakyReLU(), nn.Conv2d(4, 1, 3))


def _task(parts: tuple[str, ...] = ALL, **settings: Any) -> AdaptationTask:
    torch.manual_seed(1)
    network = USRDA(num_feat=FEAT, num_block=1, num_grow_ch=2, upscale=SCALE)
    decoder = USRDATargetDecoder(num_in_ch=FEAT, num_feat=4, num_block=1, num_grow_ch=2)

    def weighted(factor: float) -> Any:
        return lambda one, other: factor * l1_loss(one, other)

    losses = {'pixel': 1.0, 'perceptual': 0.5, 'cycle': 0.25, 'restoration': 2.0, 'identity': 3.0}
    judges: dict[str, Any] = {}
    for name, kind, channels, loss in (
        ('features', FeatureDiscriminator, FEAT, AlignmentLoss(0.1)),
        ('style', Discriminator, 3, GANLoss('lsgan', loss_weight=0.2)),
        ('sr', Discriminator, 3, GANLoss('lsgan', loss_weight=0.3)),
    ):
        judge = _judge(channels)
        if name in parts:
            optimizer = torch.optim.SGD(judge.parameters(), 0.1)
            judges[name] = kind(judge, loss, optimizer, autocast=nullcontext)
    return AdaptationTask(
        SplitNetwork(network),
        decoder,
        AdaptationLosses(**{name: weighted(factor) for name, factor in losses.items() if name in parts}),
        Discriminators(**judges),
        {'g': torch.optim.SGD(network.parameters(), 0.1), 'lr': torch.optim.SGD(decoder.parameters(), 0.1)},
        nullcontext,
        SCALE,
        **settings,
    )


def _written_out(task: AdaptationTask, batch: DomainBatch) -> dict[str, Tensor]:
    """The losses of the paper, one after the other."""
    network, decoder, judges = task.network, task.target_decoder, task.discriminators
    encoder = network.encoder
    assert decoder is not None and judges.features and judges.style and judges.sr
    source, target = encoder(batch.lr), encoder(batch.target_lr)
    shown = decoder(source)
    sr, cycled = network(batch.lr), network(shown)
    scores = torch.cat([judges.sr.network(sr), judges.sr.network(cycled)])
    aligned = [(judges.features.network(f) - 0.5).square().mean() for f in (source, target)]
    return {
        'l_pix': l1_loss(sr, batch.hr),
        'l_align': 0.1 * (aligned[0] + aligned[1]),
        'l_res': 2 * l1_loss(decoder(target), batch.target_lr),
        'l_style': 0.2 * (judges.style.network(shown) - 1).square().mean(),
        'l_idt': 3 * l1_loss(encoder(shown), source),
        'l_cyc': 0.25 * l1_loss(cycled, batch.hr),
        'l_percep': 0.5 * (l1_loss(sr, batch.hr) + l1_loss(cycled, batch.hr)),
        'l_g_gan': 0.3 * (scores - 1).square().mean(),
    }


def _reached(task: AdaptationTask) -> set[str]:
    named = {
        'E': [p for n, p in task.network.named_parameters() if n.startswith('encoder')],
        'G_SR': [p for n, p in task.network.named_parameters() if not n.startswith('encoder')],
        'G_t': list(task.target_decoder.parameters()) if task.target_decoder else [],
        **{f'D {n}': list(d.network.parameters()) for n, d in task.discriminators.named().items()},
    }
    return {name for name, found in named.items() if any(p.grad is not None and p.grad.abs().sum() > 0 for p in found)}


def test_losses_are_the_papers() -> None:
    task, batch = _task(), _batch()
    torch.testing.assert_close(task.compute_losses(batch), _written_out(task, batch))


@pytest.mark.parametrize('name', sorted(REACHES))
def test_each_loss_reaches_exactly_its_networks(name: str) -> None:
    task = _task()
    task.compute_losses(_batch())[name].backward()
    assert _reached(task) == REACHES[name]


def test_a_step_follows_the_sum_of_all_and_teaches_the_discriminators() -> None:
    task, batch = _task(), _batch()
    wanted = copy.deepcopy(task.network)
    sum(_written_out(task, batch).values(), torch.zeros(())).backward()
    gradients = {name: p.grad for name, p in task.network.named_parameters()}
    judges = {name: copy.deepcopy(d.network) for name, d in task.discriminators.named().items()}
    found = task.step(batch)
    for (name, parameter), before in zip(task.network.named_parameters(), wanted.parameters(), strict=True):
        torch.testing.assert_close(parameter, before - 0.1 * gradients[name], rtol=1e-4, atol=1e-6)
    with torch.no_grad():
        source, target = wanted.encoder(batch.lr), wanted.encoder(batch.target_lr)
        scores = [judges['features'](x) for x in (source, target)]
        torch.testing.assert_close(found['l_d_features'], AlignmentLoss().discriminate(*scores))
        torch.testing.assert_close(found['l_d_real_style'], (judges['style'](batch.target_lr) - 1).square().mean())
        torch.testing.assert_close(found['l_d_real_sr'], (judges['sr'](batch.hr) - 1).square().mean())
    for name, judge in task.discriminators.named().items():
        assert not torch.equal(judge.network[0].weight, judges[name][0].weight), name


@pytest.mark.parametrize('part', [part for part in ALL if part != 'pixel'])
def test_a_part_that_is_left_out_leaves_the_others_alone(part: str) -> None:
    names = {
        'perceptual': 'l_percep', 'cycle': 'l_cyc', 'restoration': 'l_res', 'identity': 'l_idt',
        'features': 'l_align', 'style': 'l_style', 'sr': 'l_g_gan',
    }  # fmt: skip
    whole, less = (task.compute_losses(_batch()) for task in (_task(), _task(tuple(p for p in ALL if p != part))))
    assert whole.keys() - less.keys() == {names[part]}
    unlike = {'l_percep', 'l_g_gan'} if part == 'cycle' else set()  # these are of the cycle too
    for name in less.keys() - unlike:
        torch.testing.assert_close(less[name], whole[name])


def test_a_teacher_stands_for_hr() -> None:
    batch, asked = _batch(), []

    def teacher(lr: Tensor) -> Tensor:
        asked.append(lr)
        return torch.full((2, 3, 16, 16), 0.25)

    noisy = DomainBatch(batch.lr + 1, batch.hr, batch.target_lr)
    task = _task(('pixel',), teacher=teacher)
    found = task.compute_losses(noisy)['l_pix']
    torch.testing.assert_close(found, l1_loss(task.network(noisy.lr), torch.full((2, 3, 16, 16), 0.25)))
    torch.testing.assert_close(asked[0], batch.lr)  # clean LR, whatever the network sees


def test_gradients_are_clipped_together() -> None:
    task, free = _task(grad_clip=1e-3), _task()
    before = copy.deepcopy(task.network)
    task.step(_batch())
    moved = [(p - q).square().sum() for p, q in zip(task.network.parameters(), before.parameters(), strict=True)]
    assert torch.stack(moved).sum().sqrt() <= 0.1 * 1e-3 * 1.001
    assert free.step(_batch()).keys() == task.step(_batch()).keys()


def test_a_state_goes_on_exactly() -> None:
    one, other = _task(ema_decay=0.5), _task(ema_decay=0.5)
    one.step(_batch())
    state = copy.deepcopy(one.state_dict())
    wanted = one.step(_batch())
    other.load_state_dict(state)
    for left, right in ((one.exported, other.exported),):
        assert left is not one.network and right is not other.network
    found = other.step(_batch())
    torch.testing.assert_close(found, wanted, rtol=0, atol=0)
    for left, right in zip(one.exported.parameters(), other.exported.parameters(), strict=True):
        assert torch.equal(left, right)
