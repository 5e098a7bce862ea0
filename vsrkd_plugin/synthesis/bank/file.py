"""A bank on disk (LMDB): inputs with the teacher's outputs, which can be shared in place of the teacher."""

import json
import math
import weakref
import zlib
from collections.abc import Sequence
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
    motion_of,
)
from vsrkd_plugin.synthesis.clips.motion import Motion
from vsrkd_plugin.synthesis.source import Batch, SeededSource, Share

META, SOURCE = b'meta', b'source'  # keys: what the samples are; the state of what made them
CHECKED = 2  # the format whose samples end with a checksum
_FORMATS = (1, CHECKED)
_DTYPES: dict[str, np.dtype] = {'fp16': np.dtype(np.float16), 'uint8': np.dtype(np.uint8)}


_ATTEMPTS = 100  # of reading what another process writes into
_Row = tuple[Tensor, Tensor, Tensor]
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


def row_key(scale: int, index: int) -> bytes:
    """The key of a sample."""
    return f'{scale}/{index:09d}'.encode()


def checksum(content: bytes | memoryview) -> bytes:
    """Four bytes that differ where the content does."""
    return zlib.crc32(content).to_bytes(4, 'little')


def checksum_key(key: bytes) -> bytes:
    """Where the checksum of a description is."""
    return key + b'.crc32'


def read_meta(path: str | Path) -> dict[str, Any]:
    """What a bank holds: `kind`, `counts` (by scale), `numbers`, `teacher`, `weights`, `additions`, `made_of`.

    Raises:
        UserError: there is no bank, or it cannot be read.
    """
    meta = read_meta_if_any(Path(path))
    if meta is None:
        raise UserError(f'{path}: an empty bank; `basicsr synthesize` goes on with filling it')
    return meta


def read_meta_if_any(path: Path) -> dict[str, Any] | None:
    """As `read_meta`; None where its writer ended before the first samples."""
    if _unmade(path):
        return None
    if not (path / 'data.mdb').is_file():
        what = 'is there, but is no bank' if path.exists() else 'no such bank'
        raise UserError(f'{path}: {what}; expected a folder made by `basicsr synthesize`')
    try:
        environment = _open(path)
        with environment.begin() as transaction:
            stored, expected = transaction.get(META), transaction.get(checksum_key(META))
        if stored is None and not environment.stat()['entries']:  # with entries it is an LMDB of something else
            return None
        meta = json.loads(stored or b'')
        if meta['format'] not in _FORMATS:
            raise UserError(f'{path}: a bank of format {meta["format"]}, expected one of {show(_FORMATS)}')
        if meta['format'] == CHECKED and expected != checksum(stored or b''):
            raise UserError(f'{path}: its description does not fit its checksum; the file is damaged')
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
        if not all(isinstance(made.get('clips', {}), dict) for made in meta.get('made_of', [])):
            raise ValueError('made_of')
        return {'numbers': 'fp16', 'additions': [], 'made_of': [], **meta}
    except (lmdb.Error, ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise UserError(f'{path}: not a readable bank ({type(error).__name__}: {error})') from error


def _unmade(path: Path) -> bool:
    """Whether a folder has no more than the empty files that LMDB begins with."""
    try:
        sizes = {file.name: file.stat().st_size for file in path.iterdir()}
    except OSError:
        return False
    return sizes.keys() <= {'data.mdb', 'lock.mdb'} and not sizes.get('data.mdb')


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
        self._checked = [meta['format'] == CHECKED for meta in metas]
        # Which samples were compared with their checksums: once is enough, for the whole sample must be read for it.
        self._sound = [{scale: np.zeros(meta['counts'][scale], bool) for scale in wanted.lr_sizes} for meta in metas]
        self._paths = list(paths)
        self._banks = [_open(path) for path in paths]

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
        rows = self._read_all(list(zip(own, share.of(within).tolist(), windows, strict=True)), scale)
        lr, target = (
            apply_dihedral(torch.stack([row[part] for row in rows]).to(self.device, non_blocking=True), turn)
            for part in (0, 1)
        )
        return Batch(lr, target, self._motion(rows, own, windows, turn, scale))

    def _read_all(self, places: list[tuple[int, int, Tensor]], scale: int) -> list[_Row]:
        """The samples at these places: bank, index, window.

        No lock is taken, which would write beside the bank: where another process has added to it meanwhile, and may
        have used pages again that were just read, they are read once more.
        """
        for _ in range(_ATTEMPTS):
            used = {bank: _begin(self._banks[bank]) for bank, *_ in places}
            failed: UserError | None = None
            try:
                rows = [self._read(used[bank], bank, index, window, scale) for bank, index, window in places]
            except UserError as error:
                failed = error
            except lmdb.Error as error:
                failed = UserError(f'{self._paths[places[0][0]]}: cannot be read ({error}); the file is damaged')
            if all(self._banks[bank].info()['last_txnid'] == each.id() for bank, each in used.items()):
                if failed:
                    raise failed
                return rows
        names = ', '.join(str(self._paths[bank]) for bank in used)
        raise UserError(f'{names}: is written to faster than it can be read; expected one process that adds to a bank')

    def _read(self, transaction: lmdb.Transaction, bank: int, index: int, window: Tensor, scale: int) -> _Row:
        """LR, target and packed motion of one sample, cropped; only what the crop shows is copied."""
        kind, buffer = self._kinds[bank], transaction.get(row_key(scale, index), b'')
        size = _row_bytes(kind, scale, self._numbers[bank])
        if len(buffer) != size + 4 * self._checked[bank]:
            raise _spoilt(self._paths[bank], scale, index)
        if self._checked[bank] and not self._sound[bank][scale][index]:
            if checksum(buffer[:size]) != buffer[size:]:
                raise _spoilt(self._paths[bank], scale, index)
            self._sound[bank][scale][index] = True
        buffer = buffer[:size]
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


def _length(path: str | Path, key: bytes) -> int:
    """Bytes of an entry; 0 where there is none, or the pages that lead to it are damaged."""
    try:
        with _open(path).begin(buffers=True) as transaction:
            return len(transaction.get(key, b''))
    except lmdb.Error:
        return 0


def _begin(environment: lmdb.Environment) -> lmdb.Transaction:
    """A look at a bank as it is now, which another process may have let grow."""
    try:
        return environment.begin(buffers=True)
    except lmdb.MapResizedError:
        environment.set_mapsize(0)  # as large as it is
        return environment.begin(buffers=True)


def _row_bytes(kind: SampleSpec, scale: int, numbers: np.dtype) -> int:
    """Bytes of a sample: its motion, LR and target."""
    values = math.prod(kind.lr_shape(scale)) + math.prod(kind.target_shape(scale))
    return 4 * kind.motion_numbers + values * numbers.itemsize


def _spoilt(path: str | Path, scale: int, index: int) -> UserError:
    what = 'is missing, not of its size, or damaged'
    return UserError(f'{path}: sample {index:,} of x{scale} {what}; make the bank again')


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
            needed = _row_bytes(meta['kind'], scale, _DTYPES[meta['numbers']]) + 4 * (meta['format'] == CHECKED)
            for index in (0, count - 1):
                if _length(path, row_key(scale, index)) != needed:
                    raise _spoilt(path, scale, index)
        for addition in meta['additions']:
            if by_addition.setdefault(addition, path) != path:
                raise UserError(f'{path}: holds the samples of {by_addition[addition]}; expected banks that differ')
    return metas
