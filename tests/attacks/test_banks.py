"""Banks that are cut, or not what they say."""

import json
import os
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lmdb
import pytest
import torch
import yaml

from vsrkd_plugin.synthesis.bank.sample_spec import SampleSpec
from vsrkd_plugin.synthesis.bank.writer import BankWriter

from .forking import attack

KIND = SampleSpec(1, {2: 6, 3: 4}, None, None, None)


@pytest.fixture(scope='module')
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bank of 40 samples of each scale."""
    folder = tmp_path_factory.mktemp('bank') / 'bank.lmdb'
    writer = BankWriter(folder, KIND, teacher='VDSR', capacity=40)
    generator = torch.Generator().manual_seed(0)
    for scale, side in KIND.lr_sizes.items():
        lr = torch.rand(40, 1, side, side, generator=generator)
        writer.add(lr, torch.rand(40, 1, side * scale, side * scale, generator=generator), scale)
    writer.close()
    return folder


@pytest.fixture
def spoilt(whole: Path, place: Path) -> Path:
    """A copy of it, for `bank.yml`, options that take nothing but this bank."""
    shutil.copytree(whole, place / 'bank.lmdb')
    options = yaml.safe_load((place / 'good.yml').read_text(encoding='utf-8'))
    del options['network_z']
    options['synthesis'] = {'hr_size': 12, 'bank': {'path': 'bank.lmdb'}}
    for key in ('adversarial_opt', 'reconstruction_opt', 'optim_z', 'generator_freq', 'growth'):
        del options['train'][key]
    options['train'].update(init='random', total_iter=4)
    (place / 'bank.yml').write_text(yaml.safe_dump(options), encoding='utf-8')
    return place


def test_the_whole_one_is_taken(spoilt: Path) -> None:
    done = attack(['train', '-opt', 'bank.yml'], spoilt)
    assert done.status == 0, done.errors


def shortened(share: float) -> Callable[[Path], None]:
    def cut(folder: Path) -> None:
        os.truncate(folder / 'data.mdb', int((folder / 'data.mdb').stat().st_size * share))

    return cut


def told(**change: Any) -> Callable[[Path], None]:
    """Another description of what it holds."""

    def change_meta(folder: Path) -> None:
        with lmdb.open(str(folder), map_size=1 << 26) as environment, environment.begin(write=True) as transaction:
            meta = json.loads(transaction.get(b'meta'))
            description = json.dumps({**meta, **change}).encode()
            transaction.put(b'meta', description)
            transaction.put(b'meta.crc32', zlib.crc32(description).to_bytes(4, 'little'))  # as a forger would

    return change_meta


def stored(key: bytes, value: bytes | None) -> Callable[[Path], None]:
    def put(folder: Path) -> None:
        with lmdb.open(str(folder), map_size=1 << 26) as environment, environment.begin(write=True) as transaction:
            if value is None:
                transaction.delete(key)
            else:
                transaction.put(key, value)

    return put


def written(content: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / 'data.mdb').write_bytes(content) and None


SPOILT: dict[str, Callable[[Path], None]] = {
    **{f'the first {share:.0%}': shortened(share) for share in (0.05, 0.3, 0.5, 0.7, 0.9)},
    'one byte less': lambda folder: os.truncate(folder / 'data.mdb', (folder / 'data.mdb').stat().st_size - 1),
    'nothing of the file': written(b''),
    'text': written(b'hello' * 10_000),
    'zeros': written(bytes(100_000)),
    'no file': lambda folder: (folder / 'data.mdb').unlink(),
    'a file in place of the folder': lambda folder: (shutil.rmtree(folder), folder.write_text('x'))[0],
    'a pipe': lambda folder: ((folder / 'data.mdb').unlink(), os.mkfifo(folder / 'data.mdb'))[0],
    'more samples than there are': told(counts={'2': 1000, '3': 40}),
    'a billion samples': told(counts={'2': 10**9, '3': 10**9}),
    'less than none': told(counts={'2': -4, '3': 40}),
    'none of a scale': told(counts={'2': 40}),
    'counts that are text': told(counts={'2': 'many'}),
    'counts that are a list': told(counts=[40, 40]),
    'numbers of 64 bits': told(numbers='fp64'),
    'numbers that are a list': told(numbers=[1]),
    'other numbers': told(numbers='uint8'),
    'three channels': told(channels=3),
    'no channels': told(channels=0),
    'channels in words': told(channels='one'),
    'larger patches': told(lr_sizes={'2': 60, '3': 40}),
    'smaller patches': told(lr_sizes={'2': 3, '3': 2}),
    'patches of nothing': told(lr_sizes={'2': 0, '3': 0}),
    'sizes in words': told(lr_sizes='large'),
    'clips': told(frames=5),
    'made of text': told(made_of='leaves'),
    'made of a list of texts': told(made_of=['leaves']),
    'made of clips in words': told(made_of=[{'clips': 'many'}]),
    'another format': told(format=99),
    'a format in words': told(format='new'),
    'a checksum of another description': stored(b'meta.crc32', b'abcd'),
    'no checksum': stored(b'meta.crc32', None),
    'a description that is no JSON': stored(b'meta', b'{'),
    'a description that is a list': stored(b'meta', b'[1]'),
    'a description of nothing': stored(b'meta', b''),
    'no description': stored(b'meta', None),
    'no first sample': stored(b'2/000000000', None),
    'no last sample': stored(b'3/000000039', None),
    'a first sample cut short': stored(b'2/000000000', b'abc'),
    'a last sample too long': stored(b'3/000000039', bytes(10_000)),
}


@pytest.mark.parametrize('case', SPOILT)
def test_spoilt(case: str, spoilt: Path) -> None:
    SPOILT[case](spoilt / 'bank.lmdb')
    line = attack(['train', '-opt', 'bank.yml'], spoilt).line
    assert 'bank.lmdb' in line, line


@pytest.mark.parametrize('content', [None, b'abc'], ids=['missing', 'short'])
def test_a_sample_in_the_middle_is_told_when_it_is_met(content: bytes | None, spoilt: Path) -> None:
    """To look at each before the first step would read the whole bank."""
    for index in range(1, 39):
        for scale in (2, 3):
            stored(f'{scale}/{index:09d}'.encode(), content)(spoilt / 'bank.lmdb')
    done = attack(['train', '-opt', 'bank.yml'], spoilt)
    assert done.status == 2, done.errors
    assert 'bank.lmdb: sample' in done.errors.splitlines()[-1]
