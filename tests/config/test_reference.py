"""The page of options and the JSON Schema say what the models say, and the schema takes the files that come along."""

import copy
from pathlib import Path
from typing import Any

import pytest

from vsrkd_plugin.config import reference
from vsrkd_plugin.config.loading import load_options

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / 'options').glob('*.yml'))


def test_both_files_are_fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (reference.PAGE, reference.SCHEMA):
        (tmp_path / name).parent.mkdir()
    monkeypatch.chdir(tmp_path)
    reference.main()
    for name in (reference.PAGE, reference.SCHEMA):
        fresh, kept = ((folder / name).read_text(encoding='utf-8') for folder in (tmp_path, ROOT))
        assert kept == fresh, f'{name} is stale: run python -m vsrkd_plugin.config.reference'


@pytest.mark.parametrize(
    'row',
    [
        '| `hr_size` | a whole number > 0 | `48` | side of the HR patches, a multiple of every scale |',
        '| `pretrain_network_*` | text |  | checkpoint, or zoo:NAME |',
        '| `speed` | two numbers > 0, the lower first | `[0.03, 3.0]` | of the motion, ',
        '| `total_iter` | a whole number > 0 | required | length of the training |',
        '| `precision` | one of auto, bf16, fp32 | `auto` | number format of convolutions |',
        '## Inputs kept with the outputs of the teacher: `synthesis, bank`',
    ],
)
def test_the_page_has(row: str) -> None:
    assert reference.page().count(row) >= 1


@pytest.mark.parametrize('file', FILES, ids=lambda file: file.stem)
def test_editors_find_the_schema(file: Path) -> None:
    first = file.read_text(encoding='utf-8').splitlines()[0]
    assert first == f'# yaml-language-server: $schema={Path(reference.SCHEMA).name}'


@pytest.fixture(scope='module')
def validator() -> Any:
    jsonschema = pytest.importorskip('jsonschema')
    schema = reference.json_schema()
    jsonschema.Draft7Validator.check_schema(schema)
    return jsonschema.Draft7Validator(schema)


@pytest.mark.parametrize('file', FILES, ids=lambda file: file.stem)
def test_the_schema_takes_our_files(file: Path, validator: Any) -> None:
    assert [error.message for error in validator.iter_errors(load_options(str(file)))] == []


def _with(changes: dict[str, Any]) -> dict[str, Any]:
    options = copy.deepcopy(load_options(str(ROOT / 'options' / 'dfkd_vdsr.yml')))
    for where, value in changes.items():
        *sections, key = (int(part) if part.isdigit() else part for part in where.split(':'))
        target: Any = options
        for section in sections:
            target = target[section]
        target[key] = value
    return options


@pytest.mark.parametrize(
    ('where', 'value', 'fits'),
    [
        ('train:grad_clip', '1e-4', True),  # so editors read 1e-4
        ('train:grad_clip', 'wide', False),
        ('train:grad_clip', 0, False),
        ('train:grad_clip', None, True),
        ('train:growth:strat', 1, False),
        ('train:optim_g', {'lr': 1}, False),
        ('train:optim_g', {'type': 'Mine', 'anything': [1]}, True),
        ('path:pretrain_network_x', 'a.pth', True),
        ('path:pretrain_networks_x', 'a.pth', False),
        ('synthesis:sources:0', {'type': 'images'}, False),
        ('synthesis:sources:0', {'type': 'images', 'dataroot_gt': ['a']}, True),
        ('synthesis:sources:0', {'type': 'noise', 'num_images': 1}, False),
        ('datasets:train:iterations', 1, False),
        ('datasets:val_x2', {'type': 'PairedImageDataset', 'name': 'p', 'dataroot_lq': 'a'}, True),
        ('scales', [2, '3'], False),
        ('scale', 2, False),
    ],
)
def test_the_schema_tells_flaws(where: str, value: Any, fits: bool, validator: Any) -> None:
    assert validator.is_valid(_with({where: value})) == fits


def test_somebody_elses_model_may_have_keys_of_its_own(validator: Any) -> None:
    options = {'name': 'a', 'model_type': 'TheirModel', 'datasets': {}, 'their_key': 1, 'train': {'total_iter': 5e3}}
    assert validator.is_valid(options)
