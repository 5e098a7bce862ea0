"""A bank on disk (LMDB): inputs with the teacher's outputs, which can be shared in place of the teacher."""

import json
import math
import shutil
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import torch
from torch import Tensor

from vsrkd_plugin.errors import UserError, show
from vsrkd_plugin.ops.dihedral import NUM_DIHEDRAL, apply_dihedral
from vsrkd_plugin.synthesis.bank.sample_spec import (
    SampleSpec,
    crop,
    decode,
    draw_windows,
    encode,
    motion_of,
    packed_motion,
)
from vsrkd_plugin.synthesis.clips.motion import Motion
from vsrkd_plugin.synthesis.source import Batch, SeededSource, Share, Source

_META = b'meta'
_FORMAT = 1
_DTYPES: dict[str, np.dtype] = {'fp16': np.dtype(np.float16), 'uint8': np.dtype(np.uint8)}
_SPARE = 64 << 20  # map size beyond the samples: LMDB's own pages


# LMDB refuses to open a folder twice in a process: the open ones by path, as long as they are in use.
_OPEN: weakref.WeakValueDictionary[str, lmdb.Environment] = weakref.WeakValueDictionary()


def _open(path: str | Path) -> lmdb.Environment:
    """The environment of a bank, to read.

    Raises:
        UserError: a part of its file is not there; to read it would end the process (SIGBUS).
    """
    key = str(Path(path).resolve())
    environment = _OPEN.get(key)
    if environment is None:
        environment = lmdb.open(key, readonly=True, lock=False, readahead=False)
    there = Path(key, 'data.mdb').stat().st_size
    needed = (environment.info()['last_pgno'] + 1) * environment.stat()['psize']
    if there < needed:
        raise UserError(f'{path}: is cut off: {there:,} of at least {needed:,} bytes are there; copy it again')
    _OPEN[key] = environment
    return environment


def _key(scale: int, index: int) -> bytes:
    return f'{scale}/{index:09d}'.encode()


def read_meta(path: str | Path) -> dict[str, Any]:
    """What a bank holds: `kind`, `counts` (by scale), `numbers`, `teacher`, `additions`.

    Raises:
        UserError: there is no bank, or it cannot be read.
    """
    meta = _read_meta(Path(path))
    if meta is None:
        raise UserError(f'{path}: an empty bank; `basicsr synthesize` goes on with filling it')
    return meta


def _read_meta(path: Path) -> dict[str, Any] | None:
    """As `read_meta`; None where its writer ended before the first samples."""
    if _unmade(path):
        return None
    if not (path / 'data.mdb').is_file():
        raise UserError(f'{path}: no such bank; expected a folder made by `basicsr synthesize`')
    try:
        environment = _open(path)
        with environment.begin() as transaction:
            stored = transaction.get(_META)
        if stored is None and not environment.stat()['entries']:  # with entries it is an LMDB of something else
            return None
        meta = json.loads(stored or b'')
        if meta['format'] != _FORMAT:
            raise UserError(f'{path}: a bank of format {meta["format"]}, expected {_FORMAT}')
        for name in ('lr_sizes', 'counts'):
            meta[name] = {int(scale): int(value) for scale, value in meta[name].items()}
        numbers = (meta['channels'], meta.get('frames'), meta.get('layers'))
        if not all(number is None or (isinstance(number, int) and number > 0) for number in numbers):
            raise ValueError(f'channels, frames, layers {show(numbers)}')
        meta['kind'] = SampleSpec(
            meta['channels'], meta['lr_sizes'], meta.get('frames'), meta.get('made'), meta.get('layers')
        )
        if (numbers := meta.get('numbers', 'fp16')) not in _DTYPES:
            raise ValueError(f'numbers {show(numbers)}')
        return {'numbers': 'fp16', 'additions': [], **meta}
    except (lmdb.Error, ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise UserError(f'{path}: not a readable bank ({type(error).__name__}: {error})') from error


def _unmade(path: Path) -> bool:
    """Whether a folder has no more than the empty files that LMDB begins with."""
    try:
        sizes = {file.name: file.stat().st_size for file in path.iterdir()}
    except OSError:
        return False
    return sizes.keys() <= {'data.mdb', 'lock.mdb'} and not sizes.get('data.mdb')


class BankWriter:
    """Fills a bank; every `add` is on the disk when it returns, so that filling goes on after an interruption.

    Another process that adds meanwhile loses nothing, but may bring the same samples: `synthesize` owns the folder.

    Args:
        path: the folder, `*.lmdb`. One that is there already is added to if it holds samples of the same kind.
        kind: of the samples.
        teacher: describes the teacher; must be the same in each addition.
        capacity: samples of each scale that there will be.
        numbers: how they are kept, `fp16` or `uint8`.

    Raises:
        UserError: a folder that is no bank, or one of another kind; or too little room on the disk.
    """

    def __init__(
        self, path: str | Path, kind: SampleSpec, *, teacher: str, capacity: int, numbers: str = 'fp16'
    ) -> None:
        self.path, self.kind, self.numbers = Path(path), kind, numbers
        self.counts = dict.fromkeys(kind.lr_sizes, 0)
        self.teacher = teacher
        self.additions: list[str] = []  # a hash of what each was made of: banks that share one hold the same samples
        self._meta = {
            'format': _FORMAT, 'channels': kind.channels, 'lr_sizes': dict(kind.lr_sizes), 'frames': kind.frames,
            'made': kind.made, 'layers': kind.layers, 'numbers': numbers, 'teacher': teacher,
        }  # fmt: skip
        stored = _read_meta(self.path) if self.path.exists() else None
        if stored is not None:
            for name in ('channels', 'lr_sizes', 'frames', 'made', 'layers', 'numbers', 'teacher'):
                if stored.get(name) != self._meta[name]:
                    raise UserError(
                        f'{path}: is there already, with other samples ({name}: {stored.get(name)}, not '
                        f'{self._meta[name]}); name another folder'
                    )
            self.counts, self.additions = stored['counts'], stored['additions']
        size = sum(capacity * (kind.bytes(scale, numbers) + 4096) for scale in kind.lr_sizes) + _SPARE
        parent = self.path.absolute().parent
        try:
            parent.mkdir(parents=True, exist_ok=True)
            there = (self.path / 'data.mdb').stat().st_size if self.path.exists() else 0
            if shutil.disk_usage(parent).free < size - there:
                raise UserError(f'{path}: {size / 1e9:.1f} GB are needed on the disk, more than is free')
            self._env = lmdb.open(str(self.path), map_size=size)
        except (OSError, lmdb.Error) as error:
            raise UserError(f'{path}: cannot be written ({error})') from error

    def add(self, lr: Tensor, target: Tensor, scale: int, motion: Tensor | None = None) -> None:
        """Append samples, batches of `kind.lr_shape` and `kind.target_shape`, of clips with `kind.motion_numbers`."""
        moving = np.zeros((len(lr), 0), np.float32) if motion is None else motion.cpu().numpy()
        if moving.shape[1] != self.kind.motion_numbers:
            raise ValueError(f'expected {self.kind.motion_numbers} numbers of motion, got {moving.shape[1]}')
        rows = encode(torch.cat([lr.flatten(1), target.flatten(1)], 1), self.numbers).cpu().numpy()
        with self._env.begin(write=True) as transaction:
            stored = json.loads(transaction.get(_META, b'{}'))
            counts = {each: stored.get('counts', {}).get(str(each), 0) for each in self.counts}
            for index, (motions, row) in enumerate(zip(moving, rows, strict=True), counts[scale]):
                transaction.put(_key(scale, index), motions.tobytes() + row.tobytes())
            counts[scale] += len(rows)
            additions = list(dict.fromkeys([*stored.get('additions', []), *self.additions]))
            meta = {**self._meta, 'counts': counts, 'additions': additions}
            transaction.put(_META, json.dumps(meta).encode())
        self.counts, self.additions = counts, additions

    def close(self) -> None:
        """Close the file."""
        self._env.close()


class BankFile(SeededSource):
    """Random samples of one stored bank or several; needs no teacher.

    Args:
        paths: folders made by `BankWriter`.
        wanted: kind of the samples that are given; every bank must hold such, or larger ones, which are cropped at
            random in space and time.
        turn: flip and rotate the samples at random.
        seed: of the choice.
        device: where samples are wanted.
        rank, world_size: this process's place in a distributed training.

    Raises:
        UserError: a bank that is missing, broken, empty or of another kind; two that hold the same samples.
    """

    def __init__(
        self,
        paths: Sequence[str | Path],
        wanted: SampleSpec,
        *,
        turn: bool = True,
        seed: int = 0,
        device: torch.device | str = 'cpu',
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        super().__init__(seed, rank, world_size)
        self.wanted, self.turn, self.device = wanted, turn, torch.device(device)
        metas = check_banks(paths, wanted)
        self._kinds = [meta['kind'] for meta in metas]
        self._numbers = [_DTYPES[meta['numbers']] for meta in metas]
        self._counts = {scale: torch.tensor([meta['counts'][scale] for meta in metas]) for scale in wanted.lr_sizes}
        self._paths = list(paths)
        self._banks = [_open(path).begin(buffers=True) for path in paths]

    def rows(self, share: Share, scale: int) -> Batch:
        """This process's rows of the next joint batch, with the teacher's outputs; of clips how they move, if kept."""
        ends = self._counts[scale].cumsum(0)
        joint = torch.randint(int(ends[-1]), (share.total,), generator=self._rng)
        turn = int(torch.randint(NUM_DIHEDRAL, (), generator=self._rng)) if self.turn else 0
        banks = torch.searchsorted(ends, joint, right=True)
        within = joint - (ends - self._counts[scale])[banks]
        # Drawn for the rows of all processes, so that their random states stay alike.
        all_windows = [draw_windows(self._kinds[bank], self.wanted, scale, 1, self._rng) for bank in banks.tolist()]
        if not len(share):
            return Batch(torch.zeros(0), torch.zeros(0))
        own, windows = share.of(banks).tolist(), share.of(all_windows)
        rows = [self._read(*place, scale) for place in zip(own, share.of(within).tolist(), windows, strict=True)]
        lr, target = (
            apply_dihedral(torch.stack([row[part] for row in rows]).to(self.device, non_blocking=True), turn)
            for part in (0, 1)
        )
        return Batch(lr, target, self._motion(rows, own, windows, turn, scale))

    def _read(self, bank: int, index: int, window: Tensor, scale: int) -> tuple[Tensor, Tensor, Tensor]:
        """LR, target and packed motion of one sample, cropped; only what the crop shows is read from the file."""
        kind, buffer = self._kinds[bank], self._banks[bank].get(_key(scale, index), b'')
        if len(buffer) != _row_bytes(kind, scale, self._numbers[bank]):
            raise _spoilt(self._paths[bank], scale, index)
        shapes = kind.lr_shape(scale), kind.target_shape(scale)
        motion = np.frombuffer(buffer, np.float32, kind.motion_numbers)
        numbers: np.ndarray = np.frombuffer(buffer, self._numbers[bank], offset=motion.nbytes)
        lr, target = np.split(numbers, [math.prod(shapes[0])])
        lr = crop(lr.reshape(shapes[0]), window[0], self.wanted, scale)
        target = crop(target.reshape(shapes[1]), window[0], self.wanted, scale, scale)
        return _decoded(lr), _decoded(target), torch.from_numpy(motion.copy())

    def _motion(
        self,
        rows: list[tuple[Tensor, Tensor, Tensor]],
        banks: list[int],
        windows: Sequence[Tensor],
        turn: int,
        scale: int,
    ) -> Motion | None:
        """The motion of all rows; None for images, and where a bank does not keep it."""
        if self.wanted.frames is None or not all(self._kinds[bank].layers for bank in banks):
            return None
        each = [
            motion_of(row[2][None], self._kinds[bank], window, self.wanted, scale, turn)
            for row, bank, window in zip(rows, banks, windows, strict=True)
        ]
        return Motion.together(each).to(self.device)


def _row_bytes(kind: SampleSpec, scale: int, numbers: np.dtype) -> int:
    """Bytes of a sample: its motion, LR and target."""
    values = math.prod(kind.lr_shape(scale)) + math.prod(kind.target_shape(scale))
    return 4 * kind.motion_numbers + values * numbers.itemsize


def _spoilt(path: str | Path, scale: int, index: int) -> UserError:
    return UserError(f'{path}: sample {index:,} of x{scale} is missing, or not of its size; make the bank again')


def _decoded(numbers: np.ndarray) -> Tensor:
    return decode(torch.from_numpy(numbers.copy()))


def check_banks(paths: Sequence[str | Path], wanted: SampleSpec) -> list[dict[str, Any]]:
    """`read_meta` of each bank; all must hold samples of a kind, or larger ones.

    Raises:
        UserError: a bank that is empty or of another kind; two that hold the same samples.
    """
    metas = [read_meta(path) for path in paths]
    by_addition: dict[str, str | Path] = {}
    for path, meta in zip(paths, metas, strict=True):
        if not meta['kind'].holds(wanted):
            raise UserError(f'{path}: a bank of {meta["kind"]}; expected {wanted}, or larger')
        for scale in wanted.lr_sizes:
            if (count := meta['counts'].get(scale, 0)) < 1:
                raise UserError(f'{path}: an empty bank for x{scale}')
            needed = _row_bytes(meta['kind'], scale, _DTYPES[meta['numbers']])
            with _open(path).begin(buffers=True) as transaction:
                for index in (0, count - 1):
                    if len(transaction.get(_key(scale, index), b'')) != needed:
                        raise _spoilt(path, scale, index)
        for addition in meta['additions']:
            if by_addition.setdefault(addition, path) != path:
                raise UserError(f'{path}: holds the samples of {by_addition[addition]}; expected banks that differ')
    return metas


def fill(
    writer: BankWriter,
    source: Source,
    teacher_target: Callable[[Tensor, int], Tensor],
    goal: int,
    batch: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Add samples until every scale has `goal`.

    Args:
        writer: the bank.
        source: of the inputs.
        teacher_target: LR images and scale → the teacher's SR.
        goal: samples of each scale.
        batch: samples made at a time.
        progress: called after each addition with the number of samples so far, and in the end.
    """
    total = goal * len(writer.counts)
    for scale in writer.counts:
        while (missing := goal - writer.counts[scale]) > 0:
            inputs = source.next(min(batch, missing), scale)
            # The teacher must see the input as the bank will give it: rounded.
            lr = decode(encode(inputs.lr, writer.numbers))
            writer.add(lr, teacher_target(lr, scale), scale, packed_motion(inputs, writer.kind))
            progress(sum(min(count, goal) for count in writer.counts.values()), total)
