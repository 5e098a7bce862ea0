"""What is kept beside a film that is being enlarged, so that the same command goes on with it after an interruption."""

import hashlib
import itertools
import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from vsrkd_plugin.deploy.frame_folders import list_frames
from vsrkd_plugin.errors import UserError, first_line
from vsrkd_plugin.run.torch_files import read_torch_file
from vsrkd_plugin.run.whole_files import save_atomically, write_text_atomically
from vsrkd_plugin.run.zoo import resolve_weights

_LOOKED_AT = 1 << 20  # bytes of the beginning, the middle and the end of a source that tell it from others
_RECORD, _STATE = 'record.json', 'state.pth'
_NAMES = r'(part\d{6}\.video|record\.json|state\.pth)'
_OURS = re.compile(rf'{_NAMES}|\.{_NAMES}\..+\.part')  # the second while it is written


def parts_folder(target: Path) -> Path:
    """The folder beside a film in which its parts are kept until it is whole."""
    return target.with_name(f'{target.name}.parts')


class KeptParts:
    """The parts of a film that are done, and the state from which the next one is made.

    Args:
        target: the film, or the folder of frames.
        made_of: what the parts depend on: name → text.

    Attributes:
        folder: where they are.
        state: of the newest part, None where there is none.
        aside: where what is of no use is now.
        why_anew: why parts that were there are of no use; empty where there were none, or they are gone on with.
    """

    def __init__(self, target: Path, made_of: Mapping[str, str]) -> None:
        self.folder, self.made_of = parts_folder(target), dict(made_of)
        self.state: dict[str, Any] | None = None
        self.why_anew = ''
        self.aside: Path | None = None

    def open(self, lacks: Callable[[int], str] = lambda written: '') -> None:
        """Go on with what is there, if it is of the same film, or begin; the folder is there afterwards.

        What is of no use may be hours of work, and the difference a slip: it is set aside.

        Args:
            lacks: number of frames written → what is not there of them any more, outside of the folder.

        Raises:
            UserError: the folder cannot be read or written.
        """
        self.why_anew = self._compare(lacks)
        if self.why_anew:
            self.aside = self._set_aside()
        if self.why_anew or self.state is None:
            self.state = None
            self.remove()
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                write_text_atomically(json.dumps(self.made_of, indent=1), self.folder / _RECORD)
            except OSError as error:
                raise UserError(f'{self.folder}: cannot be written ({error.strerror})') from error
        kept = {self.part(index).name for index in range(self.count)} | {_RECORD, _STATE}
        for file in self.folder.iterdir():
            if file.name not in kept and _is_ours(file):  # of a part that was not finished
                file.unlink()

    def _set_aside(self) -> Path:
        names = (self.folder.with_name(f'{self.folder.name}.old{number}') for number in itertools.count(1))
        aside = next(name for name in names if not os.path.lexists(name))
        try:
            os.rename(self.folder, aside)
        except OSError as error:
            raise UserError(f'{self.folder}: cannot be renamed ({error.strerror})') from error
        return aside

    def _compare(self, lacks: Callable[[int], str]) -> str:
        """Why what is there is of no use; empty if it is, or nothing is there."""
        record, state = self.folder / _RECORD, self.folder / _STATE
        if not record.is_file():
            return ''
        try:
            before = json.loads(record.read_text(encoding='utf-8'))
            differing = [name for name in self.made_of if before.get(name) != self.made_of[name]]
            if differing:
                return f'made with another {" and another ".join(differing)}'
            if state.is_file():
                self.state = read_torch_file(state)
                missing = [index for index in range(self.count) if not self._is_there(index)]
                if missing:
                    return f'part {missing[0]} is missing'
                if text := lacks(int(self.state['written'])):
                    return f'of a folder from which {text} is gone'
        except OSError as error:  # of the disk: what is there may be whole
            raise UserError(f'{self.folder}: cannot be read ({error.strerror or error})') from error
        except Exception as error:  # whatever a damaged file makes its reader raise
            return f'cannot be read ({first_line(error)})'
        return ''

    def _is_there(self, index: int) -> bool:
        assert self.state is not None
        size = self.state['sizes'][index]
        return size is None or (self.part(index).is_file() and self.part(index).stat().st_size == size)

    @property
    def count(self) -> int:
        """Parts that are done."""
        return 0 if self.state is None else len(self.state['sizes'])

    def part(self, index: int) -> Path:
        """The file of a part, of films."""
        return self.folder / f'part{index:06d}.video'

    def save(self, state: dict[str, Any]) -> None:
        """Keep the state behind a part that is whole; it counts as done now.

        Args:
            state: with `sizes`, bytes of each part's file so far (None: it has none).

        Raises:
            UserError: the folder cannot be written.
        """
        try:
            save_atomically(state, self.folder / _STATE)
        except (OSError, RuntimeError) as error:
            raise UserError(f'{self.folder}: cannot be written ({first_line(error)})') from error
        self.state = state

    def remove(self) -> None:
        """Remove what was kept; files of others stay, and the folder with them."""
        if not self.folder.is_dir():
            return
        for file in filter(_is_ours, list(self.folder.iterdir())):
            file.unlink()
        if not any(self.folder.iterdir()):
            self.folder.rmdir()


def _is_ours(file: Path) -> bool:
    return file.is_file() and _OURS.fullmatch(file.name) is not None


def fingerprint(path: str | os.PathLike) -> str:
    """What tells a file or a folder of pictures from others, without reading all of it."""
    path = resolve_weights(path)
    found = hashlib.sha256()
    if path.is_dir():
        for file in list_frames(path):  # what else is there, such as the result, may change
            status = file.stat()
            found.update(f'{file.name} {status.st_size} {status.st_mtime_ns}\n'.encode())
        return found.hexdigest()
    size = path.stat().st_size
    found.update(str(size).encode())
    with open(path, 'rb') as opened:
        for start in sorted({0, max(0, size // 2 - _LOOKED_AT // 2), max(0, size - _LOOKED_AT)}):
            opened.seek(start)
            found.update(opened.read(_LOOKED_AT))
    return found.hexdigest()
