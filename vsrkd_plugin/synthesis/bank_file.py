"""A bank in LMDB: inputs with the teacher's outputs, to be shared in place of the teacher."""

import json
import shutil
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import torch
from torch import Tensor

from vsrkd_plugin.errors import UserError
from vsrkd_plugin.ops.turns import TURNS, turned
from vsrkd_plugin.synthesis.bank import bytes_of_pair
from vsrkd_plugin.synthesis.source import Objective

_META = b'meta'
_FORMAT = 1
_SPARE = 64 << 20  # map size beyond the pairs: LMDB's own pages


# LMDB refuses to open a folder twice in a process: those that are open, by path, as long as somebody holds them.
_OPEN: weakref.WeakValueDictionary[str, lmdb.Environment] = weakref.WeakValueDictionary()


def _open(path: str | Path) -> lmdb.Environment:
    """The environment of a bank, to read."""
    key = str(Path(path).resolve())
    environment = _OPEN.get(key)
    if environment is None:
        environment = _OPEN[key] = lmdb.open(key, readonly=True, lock=False, readahead=False)
    return environment


def _key(scale: int, index: int) -> bytes:
    return f'{scale}/{index:09d}'.encode()


def read_meta(path: str | Path) -> dict[str, Any]:
    """What a bank holds: `channels`, `lr_sizes`, `counts` (by scale), `teacher`.

    Raises:
        UserError: there is no bank, or it cannot be read.
    """
    path = Path(path)
    if not (path / 'data.mdb').is_file():
        raise UserError(f'{path}: no such bank; expected a folder made by `basicsr synthesize`')
    try:
        with _open(path).begin() as transaction:
            meta = json.loads(bytes(transaction.get(_META)))
        if meta['format'] != _FORMAT:
            raise UserError(f'{path}: a bank of format {meta["format"]}, expected {_FORMAT}')
        for name in ('lr_sizes', 'counts'):
            meta[name] = {int(scale): int(value) for scale, value in meta[name].items()}
        return meta
    except (lmdb.Error, ValueError, TypeError, KeyError) as error:
        raise UserError(f'{path}: not a readable bank ({type(error).__name__}: {error})') from error


class BankWriter:
    """Fills a bank; every `add` is on the disk when it returns, so that filling goes on after an interruption.

    Args:
        path: the folder, `*.lmdb`. One that is there already is added to if it holds pairs of the same kind.
        channels: of the images.
        lr_sizes: scale → side of the LR images.
        teacher: who labels, in words; must be the same in each addition.
        capacity: pairs of each scale that there will be.

    Raises:
        UserError: a folder that is no bank, or one of another kind; or too little room on the disk.
    """

    def __init__(
        self, path: str | Path, *, channels: int, lr_sizes: Mapping[int, int], teacher: str, capacity: int
    ) -> None:
        self.path = Path(path)
        self.counts = dict.fromkeys(lr_sizes, 0)
        self._meta = {'format': _FORMAT, 'channels': channels, 'lr_sizes': dict(lr_sizes), 'teacher': teacher}
        if self.path.exists():
            stored = read_meta(self.path)
            for name in ('channels', 'lr_sizes', 'teacher'):
                if stored[name] != self._meta[name]:
                    raise UserError(
                        f'{path}: is there already, of other pairs ({name}: {stored[name]}, not {self._meta[name]}); '
                        'name another folder'
                    )
            self.counts = stored['counts']
        size = sum(capacity * (bytes_of_pair(channels, n, scale) + 4096) for scale, n in lr_sizes.items()) + _SPARE
        parent = self.path.absolute().parent
        try:
            parent.mkdir(parents=True, exist_ok=True)
            there = (self.path / 'data.mdb').stat().st_size if self.path.exists() else 0
            if shutil.disk_usage(parent).free < size - there:
                raise UserError(f'{path}: {size / 1e9:.1f} GB are needed on the disk, more than is free')
            self._env = lmdb.open(str(self.path), map_size=size)
        except (OSError, lmdb.Error) as error:
            raise UserError(f'{path}: cannot be written ({error})') from error

    def add(self, lr: Tensor, target: Tensor, scale: int) -> None:
        """Append pairs `(n, c, s, s)` and `(n, c, scale * s, scale * s)`; kept in fp16."""
        rows = torch.cat([lr.flatten(1), target.flatten(1)], 1).half().cpu().numpy()
        counts = {**self.counts, scale: self.counts[scale] + len(rows)}
        with self._env.begin(write=True) as transaction:
            for index, row in enumerate(rows, self.counts[scale]):
                transaction.put(_key(scale, index), row.tobytes())
            transaction.put(_META, json.dumps({**self._meta, 'counts': counts}).encode())
        self.counts = counts

    def close(self) -> None:
        """Close the file."""
        self._env.close()


class BankFile:
    """Pairs at random from one bank or several; needs no teacher.

    Args:
        paths: folders made by `BankWriter`.
        channels: that the student takes.
        lr_sizes: scale → side of the LR images; every bank must have all.
        turn: flip and rotate the pairs at random.
        seed: of the choice.
        device: where pairs are wanted.
        rank, world_size: this process's place in a distributed training.

    Raises:
        UserError: a bank that is missing, broken, empty or of other images.
    """

    def __init__(
        self,
        paths: Sequence[str | Path],
        *,
        channels: int,
        lr_sizes: Mapping[int, int],
        turn: bool = True,
        seed: int = 0,
        device: torch.device | str = 'cpu',
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.lr_sizes, self.channels, self.turn = dict(lr_sizes), channels, turn
        self.rank, self.world_size, self.device = rank, world_size, torch.device(device)
        self.optimizers: list[torch.optim.Optimizer] = []
        self._rng = torch.Generator().manual_seed(seed)
        metas = [check_bank(path, channels, lr_sizes) for path in paths]
        self._counts = {scale: torch.tensor([meta['counts'][scale] for meta in metas]) for scale in lr_sizes}
        self._banks = [_open(path).begin() for path in paths]

    def draw(self, batch: int, scale: int) -> tuple[Tensor, Tensor]:
        """LR `(batch, c, s, s)` and the teacher's SR, fp32."""
        size = self.lr_sizes[scale]
        ends = self._counts[scale].cumsum(0)
        joint = torch.randint(int(ends[-1]), (batch * self.world_size,), generator=self._rng)
        turn = int(torch.randint(TURNS, (), generator=self._rng)) if self.turn else 0
        share = joint[self.rank * batch : (self.rank + 1) * batch]
        banks = torch.searchsorted(ends, share, right=True)
        within = share - (ends - self._counts[scale])[banks]
        rows = [
            np.frombuffer(self._banks[bank].get(_key(scale, index)), np.float16)
            for bank, index in zip(banks.tolist(), within.tolist(), strict=True)
        ]
        pairs = torch.from_numpy(np.stack(rows)).to(self.device, non_blocking=True).float()
        lr, target = pairs.split([self.channels * size**2, self.channels * (size * scale) ** 2], 1)
        return (
            turned(lr.reshape(batch, self.channels, size, size), turn),
            turned(target.reshape(batch, self.channels, size * scale, size * scale), turn),
        )

    def step(self, objective: Objective, batch: int, scale: int) -> dict[str, Tensor]:
        """Nothing to learn here; no losses."""
        return {}

    def preview(self, scale: int, count: int = 4) -> Tensor:
        """Some inputs; the random state stays as it is."""
        return self.preview_pairs(scale, count)[0]

    def preview_pairs(self, scale: int, count: int = 4) -> tuple[Tensor, Tensor]:
        """Some pairs; the random state stays as it is."""
        state = self._rng.get_state()
        pairs = self.draw(count, scale)
        self._rng.set_state(state)
        return pairs

    def state_dict(self) -> dict[str, Any]:
        """The random state."""
        return {'rng': self._rng.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self._rng.set_state(state['rng'].cpu())


def check_bank(path: str | Path, channels: int, lr_sizes: Mapping[int, int]) -> dict[str, Any]:
    """`read_meta`, for a bank that must have such images.

    Raises:
        UserError: it has not.
    """
    meta = read_meta(path)
    if meta['channels'] != channels:
        raise UserError(f'{path}: a bank of {meta["channels"]} channels, expected {channels}')
    for scale, size in lr_sizes.items():
        if meta['lr_sizes'].get(scale) != size:
            held = ', '.join(f'x{s} with LR {n}x{n}' for s, n in meta['lr_sizes'].items())
            raise UserError(f'{path}: a bank of {held}; expected x{scale} with LR {size}x{size}')
        if not meta['counts'].get(scale):
            raise UserError(f'{path}: an empty bank for x{scale}')
    return meta


def fill(
    writer: BankWriter,
    sample: Callable[[int, int], Tensor],
    label: Callable[[Tensor, int], Tensor],
    goal: int,
    batch: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Add pairs until every scale has `goal`.

    Args:
        writer: the bank.
        sample: batch and scale → LR images.
        label: LR images and scale → the teacher's SR.
        goal: pairs of each scale.
        batch: pairs made at a time.
        progress: told how many pairs there are, of how many, after each addition.
    """
    total = goal * len(writer.counts)
    for scale in writer.counts:
        while (missing := goal - writer.counts[scale]) > 0:
            lr = sample(min(batch, missing), scale).half().float()  # what is kept is what the teacher sees
            writer.add(lr, label(lr, scale), scale)
            progress(sum(min(count, goal) for count in writer.counts.values()), total)
