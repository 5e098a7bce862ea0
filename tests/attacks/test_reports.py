"""`report` of what is no experiment, or not as a training left it."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny_training import tiny_options

from .forking import attack

pytestmark = pytest.mark.slow  # a report each, of two seconds and more


@pytest.fixture(scope='module')
def trained(tmp_path_factory: pytest.TempPathFactory, make_images: Callable[..., Path]) -> Path:
    """A folder in which a tiny training was run."""
    folder = tmp_path_factory.mktemp('trained') / 'place'
    folder.mkdir()
    options = tiny_options(folder, make_images(folder / 'images'), total_iter=4)
    del options['train']['growth']
    options['val']['val_freq'] = 4
    (folder / 'good.yml').write_text(yaml.safe_dump(options, sort_keys=False), encoding='utf-8')
    done = attack(['train', '-opt', 'good.yml'], folder)
    assert done.status == 0, done.errors
    return folder


@pytest.fixture
def folder(trained: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    shutil.copytree(trained, tmp_path / 'place')
    return tmp_path / 'place'


def option(keys: str, value: Any) -> Callable[[Path], None]:
    """Another value in options.yml."""

    def change(experiment: Path) -> None:
        options = yaml.safe_load((experiment / 'options.yml').read_text(encoding='utf-8'))
        *sections, key = keys.split('/')
        target = options
        for section in sections:
            target = target[section]
        target[key] = value
        (experiment / 'options.yml').write_text(yaml.safe_dump(options), encoding='utf-8')

    return change


def content(name: str, text: str) -> Callable[[Path], None]:
    return lambda experiment: (experiment / name).write_text(text, encoding='utf-8') and None


REFUSED: dict[str, Callable[[Path], None]] = {
    'no options': lambda experiment: (experiment / 'options.yml').unlink(),
    'options that are text': content('options.yml', 'hello'),
    'options that are a list': content('options.yml', '[1]'),
    'options that are no YAML': content('options.yml', 'a: ['),
    'a tag in the options': content('options.yml', 'a: !!python/object/apply:os.mkdir [made]'),
    'no models': lambda experiment: shutil.rmtree(experiment / 'models'),
    'models that are a file': lambda experiment: (
        shutil.rmtree(experiment / 'models'), (experiment / 'models').write_text('x')
    )[0],
    'no weights': lambda experiment: [file.unlink() for file in (experiment / 'models').iterdir()] and None,
    'weights that are text': content('models/net_g_latest.pth', 'x'),
    **{
        f'{keys} of {value!r}': option(keys, value)
        for keys, values in {
            'network_g': ('VDSR', 3, [], None, {'type': 'Nothing'}, {'type': 'VDSR', 'num_feat': 'x'}, {'type': 3}),
            'network_t': ('VDSR', 3, [1], {'type': 'Nothing'}, {'num_feat': 3}),
            'path': ('x', 3, [1], {'pretrain_network_t': 3}, {'pretrain_network_t': 'nowhere.pth'}),
            'datasets': ('x', 3, [1]),
            'datasets/val_x2': ('x', 3, [1], {'type': 'Nothing'}, {'name': 'a', 'type': 'BicubicImageDataset'}),
            'scales': ('x', [], {}, [0], [-1], ['two']),
            'val': ('x', 3, [1], {'metrics': 'x'}, {'metrics': {'psnr': 'x'}}, {'metrics': {'psnr': {'type': 'x'}}}),
            'model_type': (3, [], 'Nothing'),
            'synthesis': ('x', 3, [1], {'bank': 'x'}),
            'compare': ('x', 3, {'a': 1}, [3]),
            'contract_t': ('x', 3, {'channels': 7}),
            'name': ([], {}),
            'num_gpu': ('x', []),
            'root_path': (3, []),
        }.items()
        for value in values
    },
}  # fmt: skip


@pytest.mark.parametrize('case', REFUSED)
def test_what_is_no_experiment(case: str, folder: Path) -> None:
    REFUSED[case](folder / 'experiments' / 'tiny')
    done = attack(['report', 'experiments/tiny'], folder)
    lines = [line for line in done.errors.splitlines() if line.startswith('basicsr: ')]
    # What does not matter for a report may be as it is; nothing ends in a traceback or as a fault.
    assert done.status in (0, 2) and len(lines) == (done.status == 2), done.errors[-1500:]


RECORDS = [
    ('training.json', text)
    for text in ('', 'x', '[]', '3', '{"seconds": "long"}', '{"iterations": []}', '{"device": 3}')
] + [
    ('metrics.jsonl', text)
    for text in ('x', '[]\n', '{"iteration": "x"}\n', '{"iteration": 2, "dataset": 3, "metrics": []}\n', '\x00')
]


@pytest.mark.parametrize(('name', 'text'), RECORDS)
def test_records_of_another_kind(name: str, text: str, folder: Path) -> None:
    (folder / 'experiments' / 'tiny' / name).write_text(text, encoding='utf-8')
    done = attack(['report', 'experiments/tiny'], folder)
    assert done.status in (0, 2), done.errors[-1500:]
    if done.status == 0:
        report = json.loads((folder / 'experiments' / 'tiny' / 'report.json').read_text(encoding='utf-8'))
        assert len(report['results']) == 6


@pytest.mark.parametrize('what', ['nowhere', 'good.yml', '', '.', '/', 'a\x00b', 'x' * 3000, 'pipe', 'images'])
def test_what_is_no_folder_of_an_experiment(what: str, folder: Path) -> None:
    os.mkfifo(folder / 'pipe')
    assert attack(['report', what], folder).line
