"""Mixtures and the learned source."""

from collections import Counter
from contextlib import nullcontext
from pathlib import Path

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
    assert share_out(4, [7, 1]) == [4, 0] and share_out(4, [7, 1], [-0.5, 0.5]) == [3, 1]
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


class _Constant(PlainSource):
    """Images of one level, and how many each process was asked for."""

    def __init__(self, value: float, rank: int = 0, world_size: int = 1) -> None:
        super().__init__(channels=1, lr_sizes={2: 2, 3: 3}, seed=0, rank=rank, world_size=world_size)
        self.value = value

    def joint(self, total: int, scale: int) -> torch.Tensor:
        return torch.full((total, 1, scale, scale), self.value)

    def learn(self, *_args: object) -> dict:
        return {f'l_{self.value}': torch.tensor(0.0)}


def _mixture(weights: list[float], **place: int) -> MixtureSource:
    return MixtureSource([_Constant(float(i), **place) for i in range(len(weights))], weights)


def _levels(source: MixtureSource, batch: int, scale: int = 2) -> list[float]:
    return source.next(batch, scale).lr[:, 0, 0, 0].tolist()


def test_mixture_shares_batches_by_weight() -> None:
    mixture = _mixture([3, 1])
    assert _levels(mixture, 8) == [0.0] * 6 + [1.0] * 2
    assert mixture.preview(2, 4).lr[:, 0, 0, 0].tolist() == [0.0] * 3 + [1.0]
    assert set(mixture.step(lambda *_: {}, 8, 2)) == {'l_0.0', 'l_1.0'}
    for bad in ([], [1], [1, 0]):
        with pytest.raises(ValueError, match='positive weight'):
            MixtureSource([_Constant(0.0), _Constant(1.0)], bad)
    with pytest.raises(ValueError, match=r'one process, got .*\(0, 2\), \(1, 2\)'):
        MixtureSource([_Constant(0.0, rank, 2) for rank in range(2)], [1, 1])


def test_batches_that_the_weights_divide_are_all_alike() -> None:
    for batch, weights, counts in ((8, [7, 1], [7, 1]), (12, [3, 1], [9, 3]), (10, [0.7, 0.3], [7, 3])):
        mixture = _mixture(weights)
        for _ in range(200):
            assert Counter(_levels(mixture, batch)) == {float(i): count for i, count in enumerate(counts)}


@pytest.mark.parametrize(('batch', 'world_size'), [(4, 1), (1, 1), (2, 2), (1, 8)])
def test_weights_hold_over_time_however_small_the_batch(batch: int, world_size: int) -> None:
    processes = [_mixture([7, 1], rank=rank, world_size=world_size) for rank in range(world_size)]
    for _ in range(4):
        levels = [level for _ in range(8) for source in processes for level in _levels(source, batch)]
        assert Counter(levels) == {0.0: 7 * world_size * batch, 1.0: world_size * batch}


@pytest.mark.parametrize('weights', [[1, 1, 1], [0.2, 1.7, 3], [1] * 9, [5, 1, 1]])
def test_no_source_is_ever_an_image_behind_or_ahead(weights: list[float]) -> None:
    mixture, drawn, total = _mixture(weights), Counter(), 0
    for batch in [1, 2, 5, 1, 1, 3] * 40:
        drawn.update(_levels(mixture, batch))
        total += batch
        for i, weight in enumerate(weights):
            assert abs(drawn[float(i)] - total * weight / sum(weights)) < 1 + 1e-9


def test_scales_are_counted_apart() -> None:
    mixture = _mixture([1, 1])
    assert [_levels(mixture, 1, scale) for scale in (2, 3, 2, 3)] == [[0.0], [0.0], [1.0], [1.0]]


def test_the_remainder_is_part_of_the_state_and_none_of_a_preview(tmp_path: Path) -> None:
    whole, first, second = (_mixture([7, 1]) for _ in range(3))
    for source in (whole, first):
        for _ in range(3):
            source.next(1, 2)
    first.preview(2, 3)
    torch.save(first.state_dict(), tmp_path / 'state.pth')
    second.load_state_dict(torch.load(tmp_path / 'state.pth', weights_only=True))
    for _ in range(20):
        assert _levels(second, 1) == _levels(whole, 1)
    old = {'sources': first.state_dict()['sources']}  # as earlier versions wrote it
    second.load_state_dict(old)
    fresh = _mixture([7, 1])
    for _ in range(20):
        assert _levels(second, 1) == _levels(fresh, 1)


def test_unused_parameters_do_not_matter() -> None:
    class Extra(LatentGenerator):
        def __init__(self) -> None:
            super().__init__(num_latent=4, num_feat=4, lr_size=4)
            self.unused = nn.Linear(2, 2)

    source = LearnedSource({2: Extra()}, lambda p: torch.optim.Adam(p, 0.1), seed=0, autocast=nullcontext)
    source.step(lambda images, _scale: {'level': images.mean()}, 4, 2)
    assert source.generators[2].unused.weight.grad is None
