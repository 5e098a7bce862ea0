"""Of several inputs one is taken, the likelier the more detail it has."""

import pytest
import torch
from torch import Tensor

from vsrkd_plugin.synthesis.detailed import DetailedSource, detail
from vsrkd_plugin.synthesis.source import Batch, SeededSource, Share
from vsrkd_plugin.synthesis.sources.baselines import NoiseSource
from vsrkd_plugin.synthesis.sources.procedural import ProceduralSource

SIZE = 6


class Waves(SeededSource):
    """Pictures of so much detail as was asked for, in turn; their first pixel says which."""

    def __init__(self, strengths: list[float]) -> None:
        super().__init__(0)
        self.strengths, self.last = strengths, 0

    def rows(self, share: Share, scale: int) -> Batch:
        order = torch.arange(share.total) % len(self.strengths)
        board = (torch.arange(SIZE)[:, None] + torch.arange(SIZE)) % 2 - 0.5
        images = board * torch.tensor(self.strengths)[share.of(order), None, None]  # type: ignore[call-overload]
        return Batch(images[:, None])


def noise(seed: int = 3, rank: int = 0, world_size: int = 1) -> NoiseSource:
    return NoiseSource(channels=1, lr_sizes={2: SIZE}, seed=seed, rank=rank, world_size=world_size)


def test_detail_is_the_mean_absolute_second_difference() -> None:
    ramp = torch.arange(5.0)[:, None] + 2 * torch.arange(7.0)
    peak = torch.zeros(5, 7)
    peak[2, 3] = 1
    found = detail(torch.stack([ramp, peak])[:, None])
    # A peak gives 1, 2 and 1 to three of 21 differences along columns and to three of 25 along rows.
    torch.testing.assert_close(found, torch.tensor([0.0, 4 / 21 + 4 / 25]))
    assert torch.equal(detail(torch.rand(3, 1, 2, 2)), torch.zeros(3))


def test_chances_are_in_proportion_to_the_square_of_the_detail() -> None:
    source = DetailedSource(Waves([0.1, 0.2, 0.4, 0.0]), 4, seed=5)
    strengths = source.next(20_000, 2).lr.amax((1, 2, 3)) * 2
    shares = [float((strengths - s).abs().lt(1e-4).float().mean()) for s in (0.1, 0.2, 0.4, 0.0)]
    assert shares == pytest.approx([1 / 21, 4 / 21, 16 / 21, 0], abs=0.015)


def test_flat_candidates_are_equally_likely() -> None:
    images = torch.linspace(0, 1, 4)[:, None, None, None].expand(4, 1, SIZE, SIZE)

    class Flat(Waves):
        def rows(self, share: Share, scale: int) -> Batch:
            return Batch(share.of(images.repeat(share.total // 4, 1, 1, 1)))  # type: ignore[arg-type]

    levels = DetailedSource(Flat([]), 4, seed=5).next(20_000, 2).lr[:, 0, 0, 0]
    assert torch.histc(levels, 4, 0, 1).div(20_000).sub(0.25).abs().max() < 0.015


def test_each_is_one_of_its_own_candidates() -> None:
    made = noise().next(40, 2).lr.view(8, 5, 1, SIZE, SIZE)
    taken = DetailedSource(noise(), 5, seed=1).next(8, 2).lr
    where = (made == taken[:, None]).flatten(2).all(2)
    assert where.any(1).all() and len(where.nonzero()[:, 1].unique()) > 1


def test_one_candidate_is_the_source() -> None:
    assert torch.equal(DetailedSource(noise(), 1, seed=1).next(8, 2).lr, noise().next(8, 2).lr)


def test_two_processes_see_what_one_would() -> None:
    whole = DetailedSource(noise(), 3, seed=1).next(6, 2).lr
    parts = [DetailedSource(noise(rank=rank, world_size=2), 3, seed=1).next(3, 2).lr for rank in range(2)]
    assert torch.equal(torch.cat(parts), whole)


def test_it_goes_on_as_if_never_interrupted_and_a_preview_changes_nothing() -> None:
    source = DetailedSource(noise(), 3, seed=1)
    source.next(4, 2)
    state = source.state_dict()
    preview = source.preview(2, 5).lr
    expected = source.next(5, 2).lr
    again = DetailedSource(noise(seed=9), 3, seed=8)
    again.load_state_dict(state)
    assert torch.equal(again.preview(2, 5).lr, preview) and torch.equal(again.next(5, 2).lr, expected)
    assert torch.equal(preview, expected)  # of this source


def test_a_state_from_before_there_were_candidates_is_gone_on_with() -> None:
    alone = noise()
    alone.next(7, 2)
    source = DetailedSource(noise(seed=9), 3, seed=1)
    source.load_state_dict(alone.state_dict())
    expected = DetailedSource(alone, 3, seed=1)
    assert torch.equal(source.next(4, 2).lr, expected.next(4, 2).lr)


def test_a_source_that_fails_leaves_the_choice_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    source = DetailedSource(noise(), 3, seed=1)
    before = source.state_dict()['rng']
    monkeypatch.setattr(source.source, 'rows', lambda share, scale: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        source.next(4, 2)
    assert torch.equal(source.state_dict()['rng'], before)


def test_more_candidates_have_more_detail() -> None:
    def mean(candidates: int) -> Tensor:
        source = ProceduralSource(channels=1, lr_sizes={2: 24}, seed=0, num_images=64)
        return detail(DetailedSource(source, candidates, seed=0).next(256, 2).lr).mean()

    alone, four, sixteen = mean(1), mean(4), mean(16)
    assert 1.3 * alone < four < sixteen


def test_nothing_to_choose_from() -> None:
    with pytest.raises(ValueError, match='candidates must be at least 1, got 0'):
        DetailedSource(noise(), 0, seed=0)
