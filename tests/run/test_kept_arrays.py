"""Kept arrays: given back as they were, or not at all."""

import os
from pathlib import Path

import numpy as np
import pytest

from vsrkd_plugin.run.kept_arrays import keep_array, kept_array

VALUES = np.arange(60, dtype=np.uint8).reshape(3, 4, 5)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    keep_array(tmp_path / 'new' / 'a.npz', VALUES)
    return tmp_path / 'new' / 'a.npz'


def test_what_was_kept_is_there_and_is_the_newest(file: Path) -> None:
    os.utime(file, (0, 0))
    kept = kept_array(file, np.uint8, VALUES.shape)
    assert kept is not None and np.array_equal(kept, VALUES) and file.stat().st_mtime > 0
    assert [entry.name for entry in file.parent.iterdir()] == ['a.npz']


def test_what_is_not_expected_is_none(file: Path) -> None:
    assert kept_array(file, np.float32, VALUES.shape) is None
    assert kept_array(file, np.uint8, (5, 4, 3)) is None
    assert kept_array(file.with_name('none.npz'), np.uint8, VALUES.shape) is None
    np.save(file.with_name('plain.npy'), VALUES)
    assert kept_array(file.with_name('plain.npy'), np.uint8, VALUES.shape) is None
    np.savez(file, values=np.array([{}]), allow_pickle=True)
    assert kept_array(file, np.uint8, VALUES.shape) is None


def test_whatever_byte_is_damaged_or_gone(file: Path) -> None:
    content, found = file.read_bytes(), 0
    for place in range(len(content)):
        for broken in (content[:place], content[:place] + bytes([content[place] ^ 16]) + content[place + 1 :]):
            file.write_bytes(broken)
            kept = kept_array(file, np.uint8, VALUES.shape)
            assert kept is None or np.array_equal(kept, VALUES), place
            found += kept is None
    assert found > 1.5 * len(content)  # a date or an attribute of the archive is of no account


def test_where_nothing_can_be_written_it_is_no_error(tmp_path: Path) -> None:
    (tmp_path / 'file').write_bytes(b'')
    keep_array(tmp_path / 'file' / 'a.npz', VALUES)
    assert (tmp_path / 'file').read_bytes() == b''
