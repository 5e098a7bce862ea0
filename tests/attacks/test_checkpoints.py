"""Checkpoints that are none, or hold what no network can use; and the ways in which people wrap good ones."""

import json
import os
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import pytest
import torch
from basicsr.archs.srvgg_arch import SRVGGNetCompact
from conftest import smooth_image
from torch import Tensor

from vsrkd_plugin.archs.vdsr_arch import VDSR

from .forking import attack

Weights = dict[str, Tensor]


@pytest.fixture(scope='module')
def weights() -> Weights:
    torch.manual_seed(0)
    return SRVGGNetCompact(3, 3, num_feat=8, num_conv=2, upscale=2).state_dict()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / 'place'
    made.mkdir()
    cv2.imwrite(str(made / 'p.png'), smooth_image(20, 24, 0))
    return made


def prefixed(prefix: str) -> Callable[[Weights], Any]:
    return lambda weights: {prefix + key: value for key, value in weights.items()}


def each(change: Callable[[Tensor], Any]) -> Callable[[Weights], Any]:
    return lambda weights: {key: change(value) for key, value in weights.items()}


WRAPPED: dict[str, Callable[[Weights], Any]] = {
    'plain': dict,
    'params-ema beside params': lambda weights: {'params-ema': weights, 'params': weights},
    **{key: (lambda weights, key=key: {key: weights, 'epoch': 3}) for key in (
        'params-ema', 'params', 'params_ema', 'model_state_dict', 'generator', 'weights', 'ema', 'netG', 'state_dict',
    )},
    'GAN': lambda weights: {'generator': weights, 'discriminator': {'a.weight': torch.zeros(1)}},
    'compiled': prefixed('_orig_mod.'),
    'compiled, parallel': prefixed('module._orig_mod.'),
    'parallel': prefixed('module.'),
    'Lightning': lambda weights: {'state_dict': prefixed('model.')(weights), 'pytorch-lightning_version': '2.0'},
    'half': each(Tensor.half),
    'double': each(Tensor.double),
    'bfloat16': each(Tensor.bfloat16),
}  # fmt: skip


@pytest.mark.parametrize('case', WRAPPED)
def test_good_ones_are_read(case: str, weights: Weights, folder: Path) -> None:
    torch.save(WRAPPED[case](weights), folder / 'a.pth')
    done = attack(['upscale', '-m', 'a.pth', '-i', 'p.png', '-o', 'o.png'], folder)
    assert done.status == 0 and 'o.png' in done.made, done.errors
    assert cv2.imread(str(folder / 'o.png')).shape == (40, 48, 3)


SAVED: dict[str, tuple[Callable[[Weights], Any], str]] = {
    'numbers as keys': (lambda weights: dict(enumerate(weights.values())), 'named 0'),
    'a number among keys': (lambda weights: {**weights, 3: torch.zeros(2)}, 'named 3'),
    'no values': (each(lambda value: value.to('meta')), 'no state dict'),
    'sparse': (each(lambda value: value.to_sparse()), 'no state dict'),
    'whole numbers': (each(lambda value: value.to(torch.int64)), 'int64'),
    'complex': (each(lambda value: value.to(torch.complex64)), 'complex64'),
    'booleans': (each(lambda value: value > 0), 'bool'),
    'NaN': (each(lambda value: value * float('nan')), 'not finite'),
    'infinite': (each(lambda value: value * float('inf')), 'not finite'),
    'nothing': (lambda weights: {}, 'no state dict'),
    'a list': (lambda weights: [1, 2], 'no state dict'),
    'a tensor': (lambda weights: torch.zeros(3), 'no state dict'),
    'None': (lambda weights: None, 'no state dict'),
    'arrays': (each(lambda value: value.numpy()), 'no state dict'),
    'two networks': (lambda weights: {'first': weights, 'second': weights}, 'first, second'),
    'far more numbers than stored': (
        lambda weights: {**weights, 'body.0.weight': torch.zeros(1).expand(30000, 30000)}, 'storage',
    ),
    'another network': (lambda weights: {'conv.weight': torch.zeros(4, 3, 3, 3)}, 'a.pth'),
    'itself': (lambda weights: (made := {}, made.update(state_dict=made))[0], 'no state dict'),
}  # fmt: skip


@pytest.mark.parametrize('case', SAVED)
def test_what_no_network_can_use(case: str, weights: Weights, folder: Path) -> None:
    change, word = SAVED[case]
    torch.save(change(weights), folder / 'a.pth')
    line = attack(['upscale', '-m', 'a.pth', '-i', 'p.png', '-o', 'o.png'], folder).line
    assert 'a.pth' in line and word in line, line


def bomb(file: Path, weights: Weights) -> None:
    """Zeros that unpack to a gigabyte."""
    torch.save(weights, file)
    with zipfile.ZipFile(file) as source, zipfile.ZipFile(f'{file}.new', 'w', zipfile.ZIP_DEFLATED) as target:
        for part in source.infolist():
            content = source.read(part)
            target.writestr(part.filename, bytes(10**9) if part.filename.endswith('/data/0') else content)
    os.replace(f'{file}.new', file)


def pipes(file: Path, _weights: Weights) -> None:
    with tarfile.open(file, 'w') as archive:
        for name in ('sys_info', 'pickle', 'storages', 'tensors'):
            part = tarfile.TarInfo(name)
            part.type = tarfile.FIFOTYPE
            archive.addfile(part)


def cut(file: Path, weights: Weights) -> None:
    torch.save(weights, file)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def rotten(file: Path, weights: Weights) -> None:
    torch.save(weights, file)
    content = bytearray(file.read_bytes())
    place = content.find(weights['body.0.weight'].numpy().tobytes()[:16])
    content[place : place + 50] = bytes(255 - byte for byte in content[place : place + 50])
    file.write_bytes(content)


def text(content: str) -> Callable[[Path, Weights], None]:
    return lambda file, _weights: file.write_text(content, encoding='utf-8') and None


FILES: dict[str, tuple[Callable[[Path, Weights], None], str]] = {
    'a bomb': (bomb, 'unpack'),
    'pipes in a tar': (pipes, 'tar format'),
    'a pipe': (lambda file, _weights: os.mkfifo(file), 'no such checkpoint'),
    'a folder': (lambda file, _weights: file.mkdir(), 'no such checkpoint'),
    'a link to itself': (lambda file, _weights: file.symlink_to(file.name), 'no such checkpoint'),
    'half of one': (cut, 'truncated'),
    'fifty bytes of it are others': (rotten, 'checksum'),
    'empty': (text(''), 'truncated'),
    'text': (text('hello'), 'truncated'),
    'a web page': (text('<!DOCTYPE html><html>404</html>'), 'a web page'),
    'a pointer': (text('version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 1\n'), 'Git LFS'),
    'a program': (lambda file, _weights: file.write_bytes(b'cos\nsystem\n(S"touch made"\ntR.') and None, 'a.pth'),
}


@pytest.mark.parametrize('case', FILES)
def test_files_that_are_no_checkpoints(case: str, weights: Weights, folder: Path) -> None:
    make, word = FILES[case]
    make(folder / 'a.pth', weights)
    line = attack(['upscale', '-m', 'a.pth', '-i', 'p.png', '-o', 'o.png'], folder).line
    assert 'a.pth' in line and word in line, line


def header(entry: dict[str, Any], content: bytes = b'', size: int | None = None) -> bytes:
    packed = json.dumps({'a': entry} if entry else {}).encode()
    return struct.pack('<Q', len(packed) if size is None else size) + packed + content


SAFETENSORS = {
    'a header of a petabyte': header({}, size=10**15),
    'past the end': header({'dtype': 'F32', 'shape': [10**6], 'data_offsets': [0, 4 * 10**6]}),
    'an unknown kind': header({'dtype': 'F99', 'shape': [1], 'data_offsets': [0, 4]}, bytes(4)),
    'less than nothing': header({'dtype': 'F32', 'shape': [-1], 'data_offsets': [0, 4]}, bytes(4)),
    'another size': header({'dtype': 'F32', 'shape': [2], 'data_offsets': [0, 4]}, bytes(4)),
    'backwards': header({'dtype': 'F32', 'shape': [1], 'data_offsets': [4, 0]}, bytes(4)),
    'nothing': header({}),
    'two bytes': b'\1\2',
    'text': b'hello, this is no header at all',
}


@pytest.mark.parametrize('case', SAFETENSORS)
def test_safetensors(case: str, folder: Path) -> None:
    (folder / 'a.safetensors').write_bytes(SAFETENSORS[case])
    line = attack(['upscale', '-m', 'a.safetensors', '-i', 'p.png', '-o', 'o.png'], folder).line
    assert 'a.safetensors' in line, line


@pytest.mark.parametrize('dtype', [torch.float8_e4m3fn, torch.float8_e5m2, torch.complex64, torch.bool], ids=str)
def test_weights_of_unusual_numbers_are_read_or_told(dtype: torch.dtype, tmp_path: Path) -> None:
    folder = tmp_path / 'place'
    folder.mkdir()
    weights = {name: value.to(dtype) for name, value in VDSR(num_feat=8, num_block=4).state_dict().items()}
    torch.save({'params': weights}, folder / 'a.pth')
    done = attack(['inspect', 'a.pth'], folder, 60)
    if dtype.is_floating_point:
        assert done.status == 0, done.errors
    else:
        assert f'holds {str(dtype).removeprefix("torch.")}; expected floating-point weights' in done.line
