"""The replay bank: every sample is used as often as asked for, is one the teacher gave, and survives a resume."""

from collections import Counter

import pytest
import torch
from torch import Tensor

from vsrkd_plugin.ops.dihedral import apply_dihedral
from vsrkd_plugin.synthesis.bank.memory import ReplayBank
from vsrkd_plugin.synthesis.bank.sample_spec import SampleSpec
from vsrkd_plugin.synthesis.clips.motion import Motion
from vsrkd_plugin.synthesis.clips.moving import PICTURE, MovingSource
from vsrkd_plugin.synthesis.source import Batch, Source
from vsrkd_plugin.synthesis.sources.baselines import NoiseSource
from vsrkd_plugin.synthesis.sources.procedural import ProceduralSource


class _Counting(Source):
    """Image number `i` is grey of level `i / 2048` (exact in fp16); the last pixel tells its orientation."""

    def __init__(self) -> None:
        self.given, self.optimizers = 0, []

    def next(self, batch: int, scale: int) -> Batch:
        levels = torch.arange(self.given, self.given + batch) / 2048
        self.given += batch
        return Batch(levels.view(-1, 1, 1, 1).expand(-1, 1, 4, 4).contiguous())

    def step(self, objective: object, batch: int, scale: int) -> dict[str, Tensor]:
        return {'l': torch.zeros(())}

    def preview(self, scale: int, count: int = 4) -> Batch:
        return Batch(torch.full((count, 1, 4, 4), 0.5))

    def state_dict(self) -> dict[str, int]:
        return {'given': self.given}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.given = state['given']


_KIND = SampleSpec(1, {2: 4})


def _label(lr: Tensor, scale: int) -> Tensor:
    return 1 - lr.repeat_interleave(scale, 2).repeat_interleave(scale, 3)


def _bank(reuse: int = 4, rows: int = 64, **settings: object) -> ReplayBank:
    return ReplayBank(_Counting(), _label, _KIND, reuse=reuse, rows=rows, **settings)


def test_samples_are_the_teachers_and_used_so_often() -> None:
    bank = _bank()
    uses: Counter[float] = Counter()
    for _ in range(400):
        inputs = bank.next(8, 2)
        lr, target = inputs.lr, inputs.target
        assert lr.shape == (8, 1, 4, 4) and target.shape == (8, 1, 8, 8)
        torch.testing.assert_close(target, _label(lr, 2), rtol=0, atol=1e-3)
        drawn = lr[:, 0, 0, 0].tolist()
        assert len(set(drawn)) == 8  # no sample twice in a batch
        uses.update(drawn)
    assert max(uses.values()) == 4
    assert sum(count == 4 for count in uses.values()) >= len(uses) - 64  # all but those still there
    # The teacher was asked for a quarter of what was drawn, and for what is still there.
    assert 800 <= bank.asked <= 800 + 64


def test_teacher_is_asked_at_every_draw_only_until_the_bank_is_full() -> None:
    bank = _bank(reuse=4, rows=64)
    asked = []
    for _ in range(80):
        before = bank.asked
        bank.next(8, 2)
        asked.append(bank.asked > before)
    assert all(asked[:7])
    assert sum(asked[16:]) == pytest.approx(64 / 4, abs=2)


def test_reuse_1_gives_the_source_itself() -> None:
    bank = _bank(reuse=1)
    for first in (0, 8):
        inputs = bank.next(8, 2)
        lr, target = inputs.lr, inputs.target
        assert torch.equal(lr[:, 0, 0, 0], torch.arange(first, first + 8) / 2048)
        assert torch.equal(target, _label(lr, 2))


class _Slanted(_Counting):
    def next(self, batch: int, scale: int) -> Batch:
        return Batch(torch.arange(16.0).view(1, 1, 4, 4).expand(batch, -1, -1, -1) / 16)


def test_both_images_of_a_pair_are_turned_alike() -> None:
    bank = ReplayBank(_Slanted(), _label, _KIND, reuse=4, rows=16)
    plain, seen = _Slanted().next(1, 2).lr, set()
    for _ in range(60):
        inputs = bank.next(2, 2)
        lr, target = inputs.lr, inputs.target
        torch.testing.assert_close(target, _label(lr, 2), rtol=0, atol=1e-3)
        seen.add(next(turn for turn in range(8) if torch.equal(lr[:1], apply_dihedral(plain, turn))))
    assert seen == set(range(8))
    still = ReplayBank(_Slanted(), _label, _KIND, reuse=4, rows=16, turn=False)
    assert all(torch.equal(still.next(2, 2).lr[:1], plain) for _ in range(10))


@pytest.mark.parametrize('reuse', [1, 3])
@pytest.mark.parametrize('numbers', ['fp16', 'uint8'])
def test_the_teacher_sees_the_inputs_that_the_student_gets(reuse: int, numbers: str) -> None:
    """Rounded as they are kept: a sample is not made of an input and the output of a slightly different one."""
    seen: list[Tensor] = []

    def teacher(lr: Tensor, scale: int) -> Tensor:
        seen.extend(lr)
        return _label(lr, scale)

    source = NoiseSource(channels=1, lr_sizes={2: 4}, seed=0)
    bank = ReplayBank(source, teacher, _KIND, reuse=reuse, rows=16, numbers=numbers, turn=False)
    for lr in (image for _ in range(9) for image in bank.next(4, 2).lr):
        assert any(torch.equal(lr, image) for image in seen)


def test_goes_on_bit_for_bit() -> None:
    whole, first, second = _bank(), _bank(), _bank(seed=9)
    for _ in range(20):
        whole.next(8, 2)
        first.next(8, 2)
    second.load_state_dict(first.state_dict())
    for _ in range(20):
        ours, theirs = whole.next(8, 2), second.next(8, 2)
        assert torch.equal(ours.lr, theirs.lr) and torch.equal(ours.target, theirs.target)


def test_of_a_state_without_samples_the_bank_fills_anew() -> None:
    bank, again = _bank(), _bank()
    for _ in range(20):
        bank.next(8, 2)
    again.load_state_dict({**bank.state_dict(), 'shelves': {}})
    assert again.next(8, 2).lr.min() * 2048 >= bank.source.given  # only images that were never given before


def test_a_state_of_other_sizes_is_refused() -> None:
    with pytest.raises(ValueError, match='expected'):
        _bank(rows=64).load_state_dict(_bank(rows=32).state_dict())


def test_source_learns_and_previews_through_the_bank() -> None:
    bank = _bank()
    assert set(bank.step(lambda lr, scale: {}, 8, 2)) == {'l'}
    assert bank.preview(2, 3).lr.shape == (3, 1, 4, 4)
    assert bank.source.given == 0


def test_bytes_of_sample() -> None:
    shelf = _bank(rows=10)._shelves[2]
    assert _KIND.bytes(2) * 10 == shelf.lr.nbytes + shelf.target.nbytes


def test_wrong_values_are_refused() -> None:
    for settings in ({'reuse': 0}, {'rows': 0}):
        with pytest.raises(ValueError, match='at least 1'):
            _bank(**settings)
    with pytest.raises(ValueError, match='expected two or more'):
        _bank(rows=12).next(8, 2)


def _clips(**settings: object) -> tuple[MovingSource, SampleSpec]:
    pictures = ProceduralSource(channels=3, lr_sizes={PICTURE: 40}, seed=1, num_images=4, image_size=48)
    source = MovingSource(pictures, frames=4, lr_sizes={2: 12}, degradation='blur')
    return source, SampleSpec(3, {2: 12}, 4, 'blur 1.5', layers=source.layers)


@pytest.mark.parametrize('reuse', [1, 3])
@pytest.mark.parametrize('numbers', ['fp16', 'uint8'])
def test_parts_of_clips_come_with_their_motion(reuse: int, numbers: str) -> None:
    source, kind = _clips()
    wanted = SampleSpec(3, {2: 6}, 3, 'blur 1.5')

    def label(lr: Tensor, scale: int) -> Tensor:
        return lr.repeat_interleave(scale, 3).repeat_interleave(scale, 4)

    bank = ReplayBank(source, label, kind, wanted=wanted, reuse=reuse, rows=8, numbers=numbers, turn=False)
    firsts = set()
    for _ in range(12):
        inputs = bank.next(4, 2)
        lr, target, motion = inputs.lr, inputs.target, inputs.motion
        assert lr.shape == (4, 3, 3, 6, 6) and target.shape == (4, 3, 3, 12, 12)
        torch.testing.assert_close(target[..., ::2, ::2], lr, rtol=0, atol=1e-3)
        assert isinstance(motion, Motion) and motion.steps(2)[0].shape == (4, 2, 2, 12, 12)
        firsts.update(lr[:, 0, 0, 0, 0].tolist())
    assert len(firsts) > 20
    torch.testing.assert_close(lr * 255, (lr * 255).round(), rtol=0, atol=0.1)  # frames of a video


def test_smaller_than_wanted() -> None:
    source, kind = _clips()
    with pytest.raises(ValueError, match=r'clips of 4 frames .* cannot be cropped: clips of 5'):
        ReplayBank(source, _label, kind, wanted=SampleSpec(3, {2: 12}, 5, 'blur 1.5'), reuse=2)
