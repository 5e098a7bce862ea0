"""Banks in LMDB: what was written is drawn, evenly and of all shards; wrong ones are refused by name."""

import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import lmdb
import pytest
import torch
from torch import Tensor

from vsrkd_plugin.errors import UserError
from vsrkd_plugin.synthesis.bank.file import BankFile, read_meta, row_key
from vsrkd_plugin.synthesis.bank.sample_spec import SampleSpec
from vsrkd_plugin.synthesis.bank.writer import BankWriter, fill
from vsrkd_plugin.synthesis.clips.moving import PICTURE, MovingSource
from vsrkd_plugin.synthesis.source import Batch, Share, SharedSource
from vsrkd_plugin.synthesis.sources.baselines import NoiseSource
from vsrkd_plugin.synthesis.sources.procedural import ProceduralSource

_BEFORE = Path(__file__).parents[2] / 'fixtures' / 'written_by_0_1_0' / 'tiny.lmdb'
_SIZES = {2: 6, 3: 4}
_KIND = SampleSpec(1, _SIZES)


class _Counting(SharedSource):
    """Image number `i` is grey of level `i / 1024` (exact in fp16)."""

    def __init__(self, start: int = 0, stop: Callable[[], bool] = lambda: False) -> None:
        super().__init__()
        self.given, self.stop = start, stop

    def rows(self, share: Share, scale: int) -> Batch:
        if self.stop():
            raise KeyboardInterrupt
        levels = torch.arange(self.given, self.given + share.total) / 1024
        self.given += share.total
        return Batch(share.of(levels).view(-1, 1, 1, 1).expand(-1, 1, _SIZES[scale], _SIZES[scale]))

    def preview(self, scale: int, count: int = 4) -> Batch:
        raise NotImplementedError

    def state_dict(self) -> dict:
        return {'given': self.given}

    def load_state_dict(self, state: dict) -> None:
        self.given = state['given']


def _label(lr: Tensor, scale: int) -> Tensor:
    return 1 - lr.repeat_interleave(scale, 2).repeat_interleave(scale, 3)


def _make(path: Path, goal: int = 20, start: int = 0, **meta: object) -> Path:
    writer = BankWriter(path, **{'kind': _KIND, 'teacher': 'T', 'capacity': goal, **meta})
    fill(writer, _Counting(start), _label, goal, 8)
    writer.close()
    return path


def test_draws_what_was_written(tmp_path: Path) -> None:
    bank = BankFile([_make(tmp_path / 'a.lmdb')], _KIND)
    assert read_meta(tmp_path / 'a.lmdb')['counts'] == {2: 20, 3: 20}
    for scale, size in _SIZES.items():
        uses: Counter[float] = Counter()
        for _ in range(100):
            inputs = bank.next(5, scale)
            lr, target = inputs.lr, inputs.target
            assert lr.shape == (5, 1, size, size) and target.shape == (5, 1, 12, 12)
            torch.testing.assert_close(target, _label(lr, scale), rtol=0, atol=1e-3)
            uses.update(lr[:, 0, 0, 0].tolist())
        assert len(uses) == 20 and min(uses.values()) > 5


def test_several_shards_are_read_alike(tmp_path: Path) -> None:
    shards = [_make(tmp_path / 'a.lmdb', 10), _make(tmp_path / 'b.lmdb', 30, start=500)]
    bank = BankFile(shards, _KIND)
    drawn = torch.cat([bank.next(10, 2).lr[:, 0, 0, 0] for _ in range(100)])
    assert 0.2 < (drawn < 500 / 1024).float().mean() < 0.3


def test_processes_share_out_the_joint_batch(tmp_path: Path) -> None:
    path = [_make(tmp_path / 'a.lmdb')]
    joint = BankFile(path, _KIND).next(6, 2).lr
    parts = [BankFile(path, _KIND, rank=r, world_size=2).next(3, 2).lr for r in (0, 1)]
    assert torch.equal(joint, torch.cat(parts))


def test_goes_on_bit_for_bit_and_previews_leave_no_trace(tmp_path: Path) -> None:
    path = [_make(tmp_path / 'a.lmdb')]
    whole, first, second = (BankFile(path, _KIND, seed=s) for s in (1, 1, 2))
    whole.next(4, 2)
    first.next(4, 2)
    first.preview(3, 2)
    second.load_state_dict(first.state_dict())
    assert torch.equal(whole.next(4, 2).lr, second.next(4, 2).lr)


def test_filling_goes_on_where_it_stopped(tmp_path: Path) -> None:
    path, seen = tmp_path / 'a.lmdb', []
    writer = BankWriter(path, _KIND, teacher='T', capacity=20)
    interrupted = _Counting(stop=lambda: sum(writer.counts.values()) >= 24)
    with pytest.raises(KeyboardInterrupt):
        fill(writer, interrupted, _label, 20, 8)
    writer.close()
    assert read_meta(path)['counts'] == {2: 20, 3: 8}
    again = BankWriter(path, _KIND, teacher='T', capacity=20)
    fill(again, _Counting(100), _label, 20, 8, lambda done, total: seen.append((done, total)))
    again.close()
    assert seen == [(36, 40), (40, 40)]
    assert read_meta(path)['counts'] == {2: 20, 3: 20}


def test_what_another_process_added_meanwhile_stays(tmp_path: Path) -> None:
    path = tmp_path / 'a.lmdb'
    writer = BankWriter(path, _KIND, teacher='T', capacity=20)
    writer.additions.append('first')
    add = (
        'import sys; from tests.synthesis.bank.test_file import *; from tests.synthesis.bank.test_file import _Counting'
        ', _KIND, _label\n'
        'writer = BankWriter(sys.argv[1], _KIND, teacher="T", capacity=20)\n'
        'writer.additions.append("second")\n'
        'fill(writer, _Counting(500), _label, 12, 8)\n'
    )
    subprocess.run([sys.executable, '-c', add, str(path)], check=True, cwd=Path(__file__).parents[3])
    lr = torch.zeros(4, 1, 6, 6)
    writer.add(lr, _label(lr, 2), 2)
    assert writer.counts == {2: 16, 3: 12}
    writer.close()
    meta = read_meta(path)
    assert meta['counts'] == {2: 16, 3: 12} and meta['additions'] == ['second', 'first']
    levels = BankFile([path], _KIND).next(400, 2).lr[:, 0, 0, 0]
    assert {round(1024 * level) for level in levels.tolist()} == {0, *range(500, 512)}


def _killed_before_its_first_samples(path: Path) -> None:
    BankWriter(path, _KIND, teacher='T', capacity=20).close()


def _killed_while_it_began(path: Path) -> None:
    path.mkdir()
    (path / 'lock.mdb').touch()
    (path / 'data.mdb').touch()


@pytest.mark.parametrize('killed', [_killed_before_its_first_samples, _killed_while_it_began])
def test_a_bank_without_samples_is_filled(tmp_path: Path, killed: Callable[[Path], None]) -> None:
    killed(tmp_path / 'a.lmdb')
    with pytest.raises(UserError, match=r'a\.lmdb: an empty bank; '):
        BankFile([tmp_path / 'a.lmdb'], _KIND)
    assert read_meta(_make(tmp_path / 'a.lmdb'))['counts'] == {2: 20, 3: 20}


def test_an_lmdb_of_something_else_is_not_written_into(tmp_path: Path) -> None:
    with lmdb.open(str(tmp_path / 'a.lmdb')) as pictures, pictures.begin(write=True) as transaction:
        transaction.put(b'0001', b'a picture')
    (tmp_path / 'b.lmdb').mkdir()
    (tmp_path / 'b.lmdb' / 'mine.txt').touch()
    before = (tmp_path / 'a.lmdb' / 'data.mdb').read_bytes()
    for name, message in (('a', 'not a readable bank'), ('b', 'is there, but is no bank')):
        with pytest.raises(UserError, match=rf'{name}\.lmdb: {message}'):
            _make(tmp_path / f'{name}.lmdb')
    assert (tmp_path / 'a.lmdb' / 'data.mdb').read_bytes() == before


@pytest.mark.parametrize('numbers', ['fp16', 'uint8'])
def test_the_teacher_sees_the_inputs_as_they_are_kept(tmp_path: Path, numbers: str) -> None:
    seen: list[Tensor] = []

    def teacher(lr: Tensor, scale: int) -> Tensor:
        seen.extend(lr)
        return _label(lr, scale)

    writer = BankWriter(tmp_path / 'a.lmdb', _KIND, teacher='T', capacity=8, numbers=numbers)
    fill(writer, NoiseSource(channels=1, lr_sizes=_SIZES, seed=0), teacher, 8, 4)
    writer.close()
    bank = BankFile([tmp_path / 'a.lmdb'], _KIND, turn=False)
    for lr in bank.next(20, 2).lr:
        assert any(torch.equal(lr, image) for image in seen)


def test_a_bank_of_other_samples_is_not_added_to(tmp_path: Path) -> None:
    path = _make(tmp_path / 'a.lmdb')
    before = (path / 'data.mdb').read_bytes()
    with pytest.raises(UserError, match='with other samples \\(teacher'):
        _make(path, teacher='another')
    assert (path / 'data.mdb').read_bytes() == before


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        ({'channels': 3}, 'images of 1 channels, x2 .*; expected images of 3 channels'),
        ({'lr_sizes': {2: 8}}, 'x2 with LR 6x6.*; expected .* x2 with LR 8x8'),
        ({'lr_sizes': {4: 3}}, 'expected .* x4 with LR 3x3'),
    ],
)
def test_wrong_images_are_refused(tmp_path: Path, settings: dict, message: str) -> None:
    path = _make(tmp_path / 'a.lmdb')
    with pytest.raises(UserError, match=message):
        BankFile([path], SampleSpec(**{'channels': 1, 'lr_sizes': _SIZES, **settings}))


def test_missing_and_broken_banks_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match='no such bank'):
        read_meta(tmp_path / 'none.lmdb')
    broken = tmp_path / 'broken.lmdb'
    broken.mkdir()
    (broken / 'data.mdb').write_bytes(b'nothing of the kind')
    with pytest.raises(UserError, match=r'broken.lmdb: not a readable bank'):
        read_meta(broken)


def _clips(path: Path, goal: int, numbers: str = 'fp16', seed: int = 0, objects: int = 2) -> Path:
    pictures = ProceduralSource(channels=3, lr_sizes={PICTURE: 40}, seed=seed, num_images=4, image_size=48)
    source = MovingSource(pictures, frames=4, lr_sizes={2: 12}, degradation='blur', seed=seed, objects=objects)
    writer = BankWriter(
        path, SampleSpec(3, {2: 12}, 4, 'blur 1.5', source.layers), teacher='T', capacity=goal, numbers=numbers
    )
    writer.additions.append(f'seed {seed}')
    fill(writer, source, lambda lr, scale: lr.repeat_interleave(scale, 3).repeat_interleave(scale, 4), goal, 3)
    writer.close()
    return path


def test_clips_are_drawn_in_parts_with_their_motion(tmp_path: Path) -> None:
    banks = [_clips(tmp_path / 'a.lmdb', 6), _clips(tmp_path / 'b.lmdb', 6, 'uint8', seed=1, objects=0)]
    bank = BankFile(banks, SampleSpec(3, {2: 6}, 3, 'blur 1.5'), turn=False)
    seen = set()
    for _ in range(20):
        inputs = bank.next(4, 2)
        lr, target, motion = inputs.lr, inputs.target, inputs.motion
        assert lr.shape == (4, 3, 3, 6, 6)
        torch.testing.assert_close(target[..., ::2, ::2], lr, rtol=0, atol=1e-3)
        assert motion.scene.angle.shape[2] == 3 and motion.steps(2)[1].shape == (4, 2, 1, 12, 12)
        seen.update(lr[:, 0, 0, 0, 0].tolist())
    assert len(seen) > 40
    whole = BankFile(banks, SampleSpec(3, {2: 12}, 4, 'blur 1.5'), turn=False)
    assert whole.next(2, 2).target.shape == (2, 4, 3, 24, 24)


def test_the_same_samples_twice_are_refused(tmp_path: Path) -> None:
    banks = [_clips(tmp_path / 'a.lmdb', 3), _clips(tmp_path / 'b.lmdb', 3)]
    with pytest.raises(UserError, match=r'b\.lmdb: holds the samples of .*a\.lmdb'):
        BankFile(banks, SampleSpec(3, {2: 6}, 3, 'blur 1.5'))
    with pytest.raises(UserError, match=r'blur 1\.5; expected clips .* LR by bicubic'):
        BankFile(banks[:1], SampleSpec(3, {2: 6}, 3, 'bicubic'))


def _flip(path: Path, scale: int, index: int, place: int) -> None:
    """One bit of a stored sample."""
    with lmdb.open(str(path), map_size=1 << 26) as environment, environment.begin(write=True) as transaction:
        content = bytearray(transaction.get(row_key(scale, index)))
        content[place] ^= 1
        transaction.put(row_key(scale, index), bytes(content))


@pytest.mark.parametrize('place', [0, 40, 72, -5, -1], ids='byte {}'.format)
def test_a_sample_of_which_a_bit_is_wrong_is_named(tmp_path: Path, place: int) -> None:
    path = _make(tmp_path / 'a.lmdb', 1)
    BankFile([path], _KIND).next(1, 2)
    _flip(path, 2, 0, place)
    with pytest.raises(UserError, match=r'a\.lmdb: sample 0 of x2 is missing, not of its size, or damaged'):
        BankFile([path], _KIND).next(1, 2)


def test_what_is_read_while_another_process_writes_is_whole(tmp_path: Path) -> None:
    """It adds, so that pages that this one has looked at are used again, and the file grows."""
    path = _make(tmp_path / 'a.lmdb', 40)
    names = {file.name: file.stat().st_mtime_ns for file in path.iterdir() if file.name == 'lock.mdb'}
    bank = BankFile([path], _KIND, turn=False)
    add = (
        'import sys; from tests.synthesis.bank.test_file import *; from tests.synthesis.bank.test_file import _Counting'
        ', _KIND, _label\n'
        'writer = BankWriter(sys.argv[1], _KIND, teacher="T", capacity=1_000_000)\n'
        'print(flush=True)\n'
        'fill(writer, _Counting(500), _label, 400, 1)\n'
    )
    command = [sys.executable, '-c', add, str(path)]
    assert {file.name: file.stat().st_mtime_ns for file in path.iterdir() if file.name == 'lock.mdb'} == names
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[3]) as process:
        assert process.stdout is not None and process.stdout.readline()
        batches = 0
        while process.poll() is None or batches < 20:
            batch = bank.next(16, 2)
            assert torch.allclose(batch.target, _label(batch.lr, 2), rtol=0, atol=1e-3)
            assert {round(1024 * level) for level in batch.lr[:, 0, 0, 0].tolist()} <= set(range(40))
            batches += 1
    assert process.returncode == 0 and read_meta(path)['counts'] == {2: 400, 3: 400}


def test_a_bank_of_before_checksums_is_read_and_added_to(tmp_path: Path) -> None:
    shutil.copytree(_BEFORE, path := tmp_path / 'a.lmdb')
    before = read_meta(path)
    assert before['format'] == 1 and 'weights' not in before
    writer = BankWriter(path, before['kind'], teacher=before['teacher'], capacity=100, weights='any')
    for scale, count in before['counts'].items():
        lr = torch.full((4, *before['kind'].lr_shape(scale)), count / 1024)
        writer.add(lr, _label(lr, scale), scale)
    writer.close()
    after = read_meta(path)
    assert after['format'] == 1 and after['counts'] == {scale: n + 4 for scale, n in before['counts'].items()}
    bank = BankFile([path], before['kind'], turn=False)
    for scale, count in before['counts'].items():
        batch = bank.next(20 * count, scale)
        assert (batch.lr.flatten(1) == count / 1024).all(1).sum() > 4 and batch.target.isfinite().all()
