"""Fills a bank on disk, so that filling goes on after an interruption as if there had been none."""

import io
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import torch
from torch import Tensor

from vsrkd_plugin.errors import UserError
from vsrkd_plugin.run.torch_files import read_torch_bytes
from vsrkd_plugin.synthesis.bank.file import (
    CHECKED,
    META,
    SOURCE,
    checksum,
    checksum_key,
    read_meta_if_any,
    row_key,
)
from vsrkd_plugin.synthesis.bank.sample_spec import SampleSpec, decode, encode, packed_motion
from vsrkd_plugin.synthesis.source import Source

_SPARE = 64 << 20  # map size beyond the samples: LMDB's own pages
_ALIKE = ('channels', 'lr_sizes', 'frames', 'made', 'layers', 'numbers', 'teacher', 'weights')  # of all samples


class BankWriter:
    """Fills a bank; every `add` is on the disk when it returns, so that filling goes on after an interruption.

    Another process that adds meanwhile loses nothing, but may bring the same samples: `synthesize` owns the folder.

    Args:
        path: the folder, `*.lmdb`. One that is there already is added to if it holds samples of the same kind.
        kind: of the samples.
        teacher: describes the teacher; must be the same in each addition.
        capacity: samples of each scale that there will be.
        numbers: how they are kept, `fp16` or `uint8`.
        weights: tells the teacher's weights from others; must be the same in each addition, where it is known.

    Attributes:
        counts: scale → samples.
        additions: a name of what each addition was made of: banks that share one hold the same samples.
        made_of: the same for people: the options of the sources of each addition.

    Raises:
        UserError: a folder that is no bank, or one of another kind; or too little room on the disk.
    """

    def __init__(
        self,
        path: str | Path,
        kind: SampleSpec,
        *,
        teacher: str,
        capacity: int,
        numbers: str = 'fp16',
        weights: str | None = None,
    ) -> None:
        self.path, self.kind, self.numbers = Path(path), kind, numbers
        self.counts = dict.fromkeys(kind.lr_sizes, 0)
        self.teacher = teacher
        self.additions: list[str] = []
        self.made_of: list[Mapping[str, Any]] = []
        self._made_by = ''
        self._meta = {
            'format': CHECKED, 'channels': kind.channels, 'lr_sizes': dict(kind.lr_sizes), 'frames': kind.frames,
            'made': kind.made, 'layers': kind.layers, 'numbers': numbers, 'teacher': teacher, 'weights': weights,
        }  # fmt: skip
        stored = read_meta_if_any(self.path) if self.path.exists() else None
        if stored is not None:
            self._compare(stored)
            self._meta['format'] = stored['format']  # samples of one file are kept alike
            self.counts, self.additions, self.made_of = stored['counts'], stored['additions'], stored['made_of']
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

    def _compare(self, stored: Mapping[str, Any]) -> None:
        for name in _ALIKE:
            before, now = stored.get(name), self._meta[name]
            if name == 'weights' and None in (before, now):  # a bank of an earlier version does not know
                continue
            if before != now:
                raise UserError(
                    f'{self.path}: is there already, with other samples ({name}: {before}, not {now}); name another '
                    'folder'
                )

    def newest_state(self, made_by: str) -> bytes | None:
        """The state behind the newest samples, as `add` was given it; None where other options made them.

        Args:
            made_by: names the options that make the samples that follow.
        """
        self._made_by = made_by
        with self._env.begin() as transaction:
            name, _, state = (transaction.get(SOURCE) or b'').partition(b'\n')
        return state if state and name == made_by.encode() else None

    def add(
        self, lr: Tensor, target: Tensor, scale: int, motion: Tensor | None = None, state: bytes | None = None
    ) -> None:
        """Append samples, batches of `kind.lr_shape` and `kind.target_shape`, of clips with `kind.motion_numbers`.

        Args:
            state: of the source behind these samples; `newest_state` gives it to whoever goes on.

        Raises:
            UserError: they cannot be written.
        """
        moving = np.zeros((len(lr), 0), np.float32) if motion is None else motion.cpu().numpy()
        if moving.shape[1] != self.kind.motion_numbers:
            raise ValueError(f'expected {self.kind.motion_numbers} numbers of motion, got {moving.shape[1]}')
        rows = encode(torch.cat([lr.flatten(1), target.flatten(1)], 1), self.numbers).cpu().numpy()
        try:
            self._put(
                [motions.tobytes() + row.tobytes() for motions, row in zip(moving, rows, strict=True)], scale, state
            )
        except lmdb.Error as error:
            raise UserError(f'{self.path}: cannot be written ({error})') from error

    def _put(self, rows: list[bytes], scale: int, state: bytes | None) -> None:
        checked = self._meta['format'] == CHECKED
        with self._env.begin(write=True) as transaction:
            stored = json.loads(transaction.get(META, b'{}'))
            counts = {each: stored.get('counts', {}).get(str(each), 0) for each in self.counts}
            for index, row in enumerate(rows, counts[scale]):
                transaction.put(row_key(scale, index), row + checksum(row) if checked else row)
            counts[scale] += len(rows)
            additions = list(dict.fromkeys([*stored.get('additions', []), *self.additions]))
            made_of = [*(each for each in stored.get('made_of', []) if each not in self.made_of), *self.made_of]
            meta = json.dumps({**self._meta, 'counts': counts, 'additions': additions, 'made_of': made_of}).encode()
            transaction.put(META, meta)
            transaction.put(checksum_key(META), checksum(meta))
            if state is not None:
                transaction.put(SOURCE, self._made_by.encode() + b'\n' + state)
        self.counts, self.additions, self.made_of = counts, additions, made_of

    def close(self) -> None:
        """Close the file."""
        self._env.close()


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
            writer.add(lr, teacher_target(lr, scale), scale, packed_motion(inputs, writer.kind), state_of(source))
            progress(sum(min(count, goal) for count in writer.counts.values()), total)


def state_of(source: Source) -> bytes:
    """What decides the next inputs of a source, as `go_on` takes it."""
    content = io.BytesIO()
    torch.save(source.state_dict(), content)
    return content.getvalue()


def go_on(source: Source, state: bytes) -> None:
    """Let a source go on behind its `state_of`.

    Raises:
        Exception: of many types, where it is damaged or of another source.
    """
    source.load_state_dict(read_torch_bytes(state))
