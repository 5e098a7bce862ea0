"""Arrays that were computed once and are kept for the next time: with a checksum, and never in the way."""

import contextlib
import os
import zipfile
import zlib
from pathlib import Path

import numpy as np

from vsrkd_plugin.run.whole_files import whole_file

_NAME = 'values'
SUFFIX = '.npz'  # NumPy's archives have a checksum for each array, its plain files have none


def keep_array(file: Path, values: np.ndarray) -> None:
    """Store an array under its final name in one step, as several processes may do so; a full disk is no error."""
    # Not synced: what a power cut leaves does not pass its checksum, and is computed again.
    with contextlib.suppress(OSError), whole_file(file, synced=False) as stream:
        np.savez(stream, **{_NAME: values})  # type: ignore[arg-type]  # of NumPy's stub: `allow_pickle` has no `**`


def kept_array(file: Path, dtype: type, shape: tuple[int, ...]) -> np.ndarray | None:
    """An array that was stored; None where there is none, it is damaged, or it is not what is expected."""
    try:
        with np.load(file, allow_pickle=False) as archive:
            values = archive[_NAME]
    except (
        OSError,
        ValueError,
        EOFError,
        KeyError,
        TypeError,
        AttributeError,
        zipfile.BadZipFile,
        zlib.error,
        NotImplementedError,
    ):
        return None
    if values.dtype != dtype or values.shape != shape:
        return None
    with contextlib.suppress(OSError):
        os.utime(file)  # what is used is not the oldest
    return values
