"""Options files: safe, `1e-4` a number, one line for each flaw."""

import re
from pathlib import Path

import pytest

from vsrkd_plugin.config.loading import load_options, parse_yaml
from vsrkd_plugin.errors import UserError


@pytest.mark.parametrize(
    ('text', 'value'),
    [
        ('1e-4', 1e-4), ('1E5', 1e5), ('-1e-4', -1e-4), ('1.5e3', 1500.0), ('.5', 0.5), ('5.', 5.0), ('-1', -1),
        ('12', 12), ('!!float 5e3', 5000.0), ('2.0', 2.0), ('~', None), ('true', True),
        ('x2', 'x2'), ("'1e-4'", '1e-4'),
        ('[1e-4, 2]', [1e-4, 2]), ('', None),
    ],
)  # fmt: skip
def test_values(text: str, value: object) -> None:
    found = parse_yaml(text, 'here')
    assert found == value and type(found) is type(value)


def _file(tmp_path: Path, text: str) -> str:
    path = tmp_path / 'options.yml'
    path.write_text(text, encoding='utf-8')
    return str(path)


def test_merge_keys(tmp_path: Path) -> None:
    options = load_options(_file(tmp_path, 'a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\n'))
    assert options['b'] == {'x': 1, 'y': 3}


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('a: [1\nb: 2\n', r'options\.yml, line \d: not valid YAML: '),
        ('a: 1\n\tb: 2\n', r'options\.yml, line 2: not valid YAML: '),
        ('a: 1\nb: 2\na: 3\n', r"options\.yml, line 3: not valid YAML: key 'a' is given twice"),
        ('- 1\n', r'options\.yml: expected a mapping of options, found list'),
        ('', r'options\.yml: expected a mapping of options, found NoneType'),
    ],
)
def test_bad_file(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        load_options(_file(tmp_path, text))
    assert '\n' not in str(caught.value)


def test_python_tag_is_refused_and_runs_nothing(tmp_path: Path) -> None:
    mark = tmp_path / 'ran'
    text = f"name: x\na: !!python/object/apply:os.system ['touch {mark}']\n"
    with pytest.raises(UserError, match=r'options\.yml, line 2: .*python/object/apply.*tags that build objects are'):
        load_options(_file(tmp_path, text))
    assert not mark.exists()


def test_missing_and_unreadable(tmp_path: Path) -> None:
    missing = tmp_path / 'none.yml'
    with pytest.raises(UserError, match=re.escape(f'{missing}: no such options file')):
        load_options(str(missing))
    with pytest.raises(UserError, match='expected an options file, found a folder'):
        load_options(str(tmp_path))
    (tmp_path / 'binary.yml').write_bytes(b'\xff\xfe\x00\x81')
    with pytest.raises(UserError, match=r'binary\.yml: cannot be read'):
        load_options(str(tmp_path / 'binary.yml'))


def test_overrides(tmp_path: Path) -> None:
    path = _file(tmp_path, 'name: x\ntrain: {lr: 1, steps: [1, 2], sets: [{a: 1}]}\nsizes: {2: 24}\n')
    options = load_options(
        path, ['train:lr=1e-4', 'train:steps=[3, -1]', 'train:sets:0:a=~', 'sizes:2=12', 'name=a=b', 'train:new=-1']
    )
    assert options == {
        'name': 'a=b', 'train': {'lr': 1e-4, 'steps': [3, -1], 'sets': [{'a': None}], 'new': -1}, 'sizes': {2: 12},
    }  # fmt: skip
    assert load_options(path, ['train:steps:1=5'])['train']['steps'] == [1, 5]


@pytest.mark.parametrize(
    ('override', 'message'),
    [
        ('train:lr', '--force_yml train:lr: expected section:key=value'),
        ('tarin:lr=1', "--force_yml tarin:lr=1: the options have no section 'tarin' there"),
        ('name:lr=1', '--force_yml name:lr=1: name is a value, not a section'),
        ('steps:7=1', "--force_yml steps:7=1: the options have no section '7' there"),
        ('name=[1', '--force_yml name=[1, line 1: not valid YAML'),
        ('name=!!python/name:os.system', '--force_yml name=!!python/name:os.system, line 1: '),
    ],
)
def test_bad_override(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        load_options(_file(tmp_path, 'name: x\nsteps: [1]\ntrain: {lr: 1}\n'), [override])
