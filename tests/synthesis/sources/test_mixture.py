"""Mixtures and the learned source."""

from contextlib import nullcontext

import pytest
import torch
from torch import nn

from vsrkd_plugin.archs.latent_generator_arch import LatentGenerator
from vsrkd_plugin.synthesis.sources.baselines import PlainSource
from vsrkd_plugin.synthesis.sources.learned import LearnedSource
from vsrkd_plugin.synthesis.sources.mixture import MixtureSource, share_out


def learned(rank: int = 0, world_size: int = 1) -> LearnedSource:
    torch.manual_seed(0)
    generators = {s: LatentGenerator(num_latent=4, num_feat=4, lr_size=12 // s) for s in (2, 3)}
    return LearnedSource(
        generators, lambda p: torch.optim.SGD(p, 0.1), seed=1, autocast=nullcontext, rank=rank, world_size=world_size
    )


def test_share_out() -> None:
    assert share_out(16, [3, 1]) == [12, 4]
    assert share_out(16, [1, 1, 1]) == [6, 5, 5]
    assert share_out(1, [1, 3]) == [0, 1]
    for batch in range(1, 40):
        counts = share_out(batch, [0.2, 1.7, 3])
        assert sum(counts) == batch
        assert all(abs(n - batch * w / 4.9) < 1 for n, w in zip(counts, [0.2, 1.7, 3], strict=True))


def test_learned_samples_have_no_gradient_and_its_size() -> None:
    images = learned().next(5, 3).lr
    assert images.shape == (5, 1, 4, 4) and not images.requires_grad


def test_ranks_share_the_joint_batch() -> None:
    joint = learned().next(6, 2).lr
    shares = torch.cat([learned(rank, 2).next(3, 2).lr for rank in (0, 1)])
    torch.testing.assert_close(shares, joint)


def test_a_step_minimises_the_objective() -> None:
    source = learned()
    before = source.preview(2, 8).lr.mean()
    for _ in range(20):
        losses = source.step(lambda images, _scale: {'level': images.mean()}, 8, 2)
    assert set(losses) == {'level'} and not losses['level'].requires_grad
    assert source.preview(2, 8).lr.mean() < before - 0.05


def test_state_and_preview() -> None:
    source, again = learned(), learned()
    source.next(3, 2)
    again.load_state_dict(source.state_dict())
    source.preview(3, 2)
    assert torch.equal(source.next(3, 2).lr, again.next(3, 2).lr)


def test_mixture_shares_batches_by_weight() -> None:
    class Constant(PlainSource):
        def __init__(self, value: float) -> None:
            super().__init__(channels=1, lr_sizes={2: 2}, seed=0)
            self.value = value

        def joint(self, total: int, scale: int) -> torch.Tensor:
            return torch.full((total, 1, scale, scale), self.value)

        def learn(self, *_args: object) -> dict:
            return {f'l_{self.value}': torch.tensor(0.0)}

    mixture = MixtureSource([Constant(0.0), Constant(1.0)], [3, 1])
    assert mixture.next(8, 2).lr[:, 0, 0, 0].tolist() == [0.0] * 6 + [1.0] * 2
    assert set(mixture.step(None, 8, 2)) == {'l_0.0', 'l_1.0'}
    for bad in ([], [1], [1, 0]):
        with pytest.raises(ValueError, match='positive weight'):
            MixtureSource([Constant(0.0), Constant(1.0)], bad)


def test_unused_parameters_do_not_matter() -> None:
    class Extra(LatentGenerator):
        def __init__(self) -> None:
            super().__init__(num_latent=4, num_feat=4, lr_size=4)
            self.unused = nn.Linear(2, 2)

    source = LearnedSource({2: Extra()}, lambda p: torch.optim.Adam(p, 0.1), seed=0, autocast=nullcontext)
    source.step(lambda images, _scale: {'level': images.mean()}, 4, 2)
    assert source.generators[2].unused.weight.grad is None
