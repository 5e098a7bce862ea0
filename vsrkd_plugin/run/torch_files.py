"""The files that `torch.save` writes, of torch 0.2 and later, read without `torch.load`: as data, never as programs."""

import io
import os
import pickle
import sys
import zipfile
from typing import Any

import torch

from vsrkd_plugin.run import inert_pickle
from vsrkd_plugin.run.inert_pickle import STORAGE_DTYPES, Name, Storage

_ZIP = b'PK\x03\x04'
# What lies there in place of a file that was to be fetched.
_NOT_FETCHED = {
    b'version https://git-lfs': 'a pointer of Git LFS, not the file itself; fetch that (git lfs pull)',
    b'<!doctype': 'a web page; the download went wrong',
    b'<html': 'a web page; the download went wrong',
}
_MOST_PACKED = 50  # times the size of a file that its parts may have; torch packs nothing, people do at times
_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # what torch before 1.6 wrote in front


def read_torch_file(path: str | os.PathLike) -> Any:
    """What was saved: containers, numbers, texts, tensors on the CPU; all else is an `inert_pickle.Inert`.

    Raises:
        Exception: of many types, where the file is truncated, forged, or something else.
    """
    _refuse_programs(path)
    with open(path, 'rb') as file:
        if file.read(4) == _ZIP:
            return _read_zip(torch._C.PyTorchFileReader(str(path)))
        file.seek(0)
        return _read_sequence(file)


def read_torch_bytes(content: bytes) -> Any:
    """As `read_torch_file`, of what is in memory, in the format of torch 1.6 and later.

    Raises:
        Exception: of many types, where it is truncated or something else.
    """
    return _read_zip(torch._C.PyTorchFileReader(io.BytesIO(content)))


def refuse_all_but_zip(path: str | os.PathLike) -> None:
    """Refuse what is not a whole zip file of `torch.save`, before `torch.load` sees it.

    Raises:
        Exception: of several types, where it is something else, a program, or truncated.
    """
    with open(path, 'rb') as file:
        if file.read(4) != _ZIP:
            raise ValueError('not a file of torch.save')
    if 'data.pkl' not in torch._C.PyTorchFileReader(str(path)).get_all_records():
        raise ValueError('a zip file, but not of torch.save')
    _refuse_programs(path)


def _refuse_programs(path: str | os.PathLike) -> None:
    """Refuse the formats that `torch.load` would run, or unpack to the disk."""
    with open(path, 'rb') as file:
        head = file.read(262)
    for start, what in _NOT_FETCHED.items():
        if head.lstrip().lower().startswith(start):
            raise ValueError(what)
    if head[257:] == b'ustar':
        raise ValueError('the tar format of torch 0.1; load and save it with a later torch')
    if head[:4] == _ZIP:
        with zipfile.ZipFile(path) as archive:
            declared = sum(part.file_size for part in archive.infolist())
        if declared > _MOST_PACKED * os.path.getsize(path):
            raise ValueError(f'{os.path.getsize(path):,} bytes that unpack to {declared:,}')
        _check_sums(path)
    if head[:4] == _ZIP and 'constants.pkl' in torch._C.PyTorchFileReader(str(path)).get_all_records():
        raise ValueError('a TorchScript program, not a checkpoint of weights')


def _check_sums(path: str | os.PathLike) -> None:
    """Refuse a zip file of which a part is not what was written; torch writes checksums, and does not look at them.

    Raises:
        ValueError: with the part.
    """
    with zipfile.ZipFile(path) as archive:
        # Without checksums (torch.serialization.set_crc32_options) all are alike.
        summed = len({part.CRC for part in archive.infolist()}) > 1
        if summed and (part := archive.testzip()):
            raise ValueError(f'{part} does not fit its checksum; the file is damaged')


def _dtype(storage_type: Any) -> torch.dtype:
    dtype = STORAGE_DTYPES.get(storage_type.name) if type(storage_type) is Name else None
    if dtype is None:
        raise pickle.UnpicklingError('numbers of an unknown type')
    return dtype


def _kind(persistent_id: Any) -> Any:
    """The first member of a persistent id; Python 2 wrote it as bytes."""
    if type(persistent_id) is not tuple or not persistent_id:
        raise pickle.UnpicklingError("a reference that is not torch's")
    kind = persistent_id[0]
    return kind.decode('ascii') if type(kind) is bytes else kind


def _read_zip(archive: Any) -> Any:
    records = set(archive.get_all_records())
    swapped = 'byteorder' in records and archive.get_record('byteorder') != sys.byteorder.encode()
    storages: dict[str, Storage] = {}

    def find_storage(persistent_id: Any) -> Storage:
        if _kind(persistent_id) != 'storage':
            raise pickle.UnpicklingError('a reference that is not to a storage')
        _, storage_type, key, _location, length = persistent_id
        if type(key) is not str or type(length) is not int:
            raise pickle.UnpicklingError('a reference that is malformed')
        if key not in storages:
            dtype = _dtype(storage_type)
            content = bytearray(archive.get_record(f'data/{key}'))
            if not 0 <= length * dtype.itemsize <= len(content):
                raise pickle.UnpicklingError('a storage that is longer than its record')
            untyped = torch.UntypedStorage(0)
            if content:
                untyped = torch.frombuffer(content, dtype=torch.uint8).untyped_storage()
            if swapped:
                untyped.byteswap(dtype)
            storages[key] = Storage(untyped, dtype, 0, length)
        return storages[key]

    return inert_pickle.load(io.BytesIO(archive.get_record('data.pkl')), find_storage)


def _read_sequence(file: io.BufferedReader) -> Any:
    """The format before torch 1.6: five pickles, then the numbers of each storage behind their count."""
    if (inert_pickle.load(file), inert_pickle.load(file)) != (_MAGIC, _PROTOCOL):
        raise pickle.UnpicklingError("not torch's magic number")
    inert_pickle.load(file)  # of the machine that wrote it; numbers are little-endian in any case
    file_size = os.fstat(file.fileno()).st_size
    storages: dict[Any, Storage] = {}

    def find_storage(persistent_id: Any) -> Any:
        kind = _kind(persistent_id)
        if kind == 'module':  # with its source code, which torch compares, and writes a patch of
            return persistent_id[1]
        if kind != 'storage':
            raise pickle.UnpicklingError('a reference that is not to a storage')
        _, storage_type, key, _location, length, part = persistent_id
        if type(key) not in (str, int, bytes) or type(length) is not int:
            raise pickle.UnpicklingError('a reference that is malformed')
        if key not in storages:
            dtype = _dtype(storage_type)
            if not 0 <= length * dtype.itemsize <= file_size:
                raise pickle.UnpicklingError('a storage that is longer than the file')
            storages[key] = Storage(torch.UntypedStorage(length * dtype.itemsize), dtype, 0, length)
        root = storages[key]
        if part is None:
            return root
        _key, start, size = part
        if type(start) is not int or type(size) is not int or not 0 <= start <= start + size <= root.length:
            raise pickle.UnpicklingError('a part beyond its storage')
        return Storage(root.untyped, root.dtype, start, size)

    content = inert_pickle.load(file, find_storage)
    keys = inert_pickle.load(file)
    if type(keys) is not list or len(keys) != len(storages):
        raise pickle.UnpicklingError('storages without numbers')
    for key in keys:
        _fill(storages.pop(key), file)
    return content


def _fill(storage: Storage, file: io.BufferedReader) -> None:
    if int.from_bytes(file.read(8), 'little') != storage.length:
        raise pickle.UnpicklingError('a storage of another length than said')
    if not storage.length:
        return
    raw = torch.empty(0, dtype=torch.uint8).set_(storage.untyped)
    if file.readinto(raw.numpy().data) != len(raw):
        raise pickle.UnpicklingError('the file ends within a storage')
    if sys.byteorder == 'big':
        storage.untyped.byteswap(storage.dtype)
