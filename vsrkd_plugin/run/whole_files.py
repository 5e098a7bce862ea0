"""Files and folders that are written whole: until then under a name of their own, which the next start clears away."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

import cv2
import numpy as np
import torch

from vsrkd_plugin.errors import UserError
from vsrkd_plugin.run.begun_files import begun


def check_writable(place: Path, told: str, hint: str = '') -> None:
    """Refuse a folder, or what there is above it, that cannot be written; before the work, not after it.

    Args:
        told: begins the error.
        hint: ends it.

    Raises:
        UserError: with the reason.
    """
    place = place.absolute()
    while not os.path.lexists(place):
        place = place.parent
    if not place.is_dir():
        raise UserError(f'{told}: {place} is not a folder')
    try:
        os.rmdir(tempfile.mkdtemp(prefix='.basicsr-', dir=place))
    except OSError as error:
        raise UserError(f'{told}: {place}: {error.strerror}; expected a folder that can be written{hint}') from error


@contextmanager
def whole(path: str | os.PathLike, synced: bool = True) -> Iterator[Path]:
    """Within: the name to write to. Afterwards it has its own, synced; if the block fails, nothing is left.

    Under `path` is the old file or the whole new one, whenever the process ends.

    Args:
        path: the final name.
        synced: that holds where the power fails, too.

    Raises:
        OSError: it cannot be written.
    """
    temporary = begun(path)
    try:
        yield temporary
        if synced:
            put_in_place(temporary, path)
        else:
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def put_in_place(temporary: Path, path: str | os.PathLike) -> None:
    """Sync a file that is written, and give it its name."""
    with open(temporary, 'rb+') as file:
        os.fsync(file.fileno())
    os.replace(temporary, path)


@contextmanager
def begun_folder(path: str | os.PathLike) -> Iterator[Path]:
    """Within: a folder beside `path`, for files that are not yet what they will be; it is removed afterwards.

    Raises:
        OSError: it cannot be made.
    """
    folder = begun(Path(path).absolute())
    shutil.rmtree(folder, ignore_errors=True)  # of a process that was killed and had this one's number
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def whole_file(path: str | os.PathLike, synced: bool = True) -> Iterator[IO[bytes]]:
    """As `whole`, for a file that is open.

    Its folder is made if it is gone: a run that goes on from a state must not be lost for it.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with whole(path, synced) as temporary, open(temporary, 'wb') as file:
        yield file


class _Remembering:
    """A file for `torch.save`, which makes of an error of the system one that does not say what it was."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.flush = file, file.flush
        self.error: OSError | None = None

    def write(self, content: Any) -> int:
        try:
            return self.file.write(content)
        except OSError as error:
            self.error = error
            raise


def save_atomically(content: Any, path: str | os.PathLike) -> None:
    """`torch.save` of a `whole_file`.

    Raises:
        OSError: it cannot be written.
    """
    with whole_file(path) as file:
        remembering = _Remembering(file)
        try:
            torch.save(content, cast(IO[bytes], remembering))
        except RuntimeError as error:
            raise remembering.error or error from None


def write_text_atomically(text: str, path: str | os.PathLike) -> None:
    """A text as a `whole_file`, in UTF-8."""
    write_bytes_atomically(text.encode(), path)


def write_bytes_atomically(content: bytes, path: str | os.PathLike) -> None:
    """Bytes as a `whole_file`."""
    with whole_file(path) as file:
        file.write(content)


def write_png(pixels: np.ndarray, path: str | os.PathLike) -> None:
    """A PNG as a `whole_file`; OpenCV's `imwrite` would end silently where the disk is full.

    Args:
        pixels: BGR or grey, uint8 or uint16, as OpenCV takes them.
    """
    written, encoded = cv2.imencode('.png', pixels)
    assert written, pixels.shape
    write_bytes_atomically(encoded.tobytes(), path)
