"""Options files and `--force_yml` that are no options."""

import re
from pathlib import Path

import pytest

from .forking import attack

LAUGHS = 'a: &a [1,1,1,1,1,1,1,1,1]\n' + ''.join(
    f'{chr(98 + i)}: &{chr(98 + i)} [{",".join(["*" + chr(97 + i)] * 9)}]\n' for i in range(10)
)
DOCUMENTS = {
    'list as a key': '? [a]: b',
    'mapping as a key': '? {a: 1}: b',
    'key in a key': '? ? a',
    'no such day': 'a: 2024-13-45',
    'no such time': 'a: 2001-12-14t25:59:43',
    'zone of four days': 'a: 2001-12-14t21:59:43.10-95:00',
    'year 0': 'a: 0000-00-00',
    'empty binary': 'a: 0b_',
    'empty hexadecimal': 'a: 0x_',
    'int of text': 'a: !!int abc',
    'int of nothing': "a: !!int ''",
    'float of text': 'a: !!float x',
    'bool of text': 'a: !!bool maybe',
    'timestamp of text': 'a: !!timestamp hi',
    'timestamp of nothing': 'a: !!timestamp ""',
    'binary of text': 'a: !!binary x',
    'map of a list': 'a: !!map [a]',
    'seq of a mapping': 'a: !!seq {a: b}',
    'str of a list': 'a: !!str [b]',
    'set of a list': 'a: !!set [b]',
    'omap of text': 'a: !!omap x',
    'pairs of text': 'a: !!pairs x',
    'python none': 'a: !!python/none x',
    'python name': 'a: !!python/name:os.system x',
    'python module': 'a: !!python/module:os x',
    'python object': 'a: !!python/object:os.system {}',
    'python apply': 'a: !!python/object/apply:os.mkdir [made]',
    'python new': 'a: !!python/object/new:os.mkdir [made]',
    'unknown tag': 'a: !mine x',
    'value tag': '=: a',
    '5,000 digits': f'a: {"1" * 5000}',
    'deep list': f'a: {"[" * 3000}{"]" * 3000}',
    'deep mapping': f'{"{a: " * 500}1{"}" * 500}',
    'deep blocks': '\n'.join(f'{" " * i}a:' for i in range(200)),
    'in itself': 'a: &a [*a]',
    'mapping in itself': 'a: &a {b: *a}',
    'a billion laughs': LAUGHS,
    'unknown reference': 'a: *y',
    'merge of a number': '<<: 1',
    'merge of numbers': '<<: [1]',
    'key twice': 'a: 1\na: 2',
    'key twice below': 'b: {a: 1, a: 2}',
    'NUL': 'a: \x00',
    'control characters': 'a: \x07\x1b[31m',
    'tab': 'a:\n\tb: 1',
    'open bracket': 'name: a\n b: [1\n',
    'open quote': 'a: "b',
    'two documents': '---\na: 1\n---\nb: 2',
    'text': 'hello',
    'number': '42',
    'list': '- a\n- b',
    'nothing': '',
    'only a comment': '# nothing',
    'directive': '%YAML 9.9\n---\na: 1',
    'binary file': '\x89PNG\r\n\x1a\n',
}


@pytest.mark.parametrize('case', DOCUMENTS)
def test_options_files(case: str, place: Path) -> None:
    (place / 'bad.yml').write_text(DOCUMENTS[case], encoding='utf-8')
    assert 'bad.yml' in attack(['train', '-opt', 'bad.yml'], place).line


@pytest.mark.parametrize('content', [b'\xff\xfea\x00', b'\xc3\x28', b'\x80' * 10], ids=['utf-16', 'broken', 'bytes'])
def test_files_that_are_no_text(content: bytes, place: Path) -> None:
    (place / 'bad.yml').write_bytes(content)
    assert 'bad.yml' in attack(['train', '-opt', 'bad.yml'], place).line


def test_a_folder_a_pipe_and_a_link_to_itself(place: Path) -> None:
    import os

    (place / 'folder.yml').mkdir()
    os.mkfifo(place / 'pipe.yml')
    (place / 'link.yml').symlink_to('link.yml')
    for name in ('folder.yml', 'pipe.yml', 'link.yml'):
        assert name in attack(['train', '-opt', name], place).line


FORCED = [
    'scales', '=', '=1', 'scales:²=2', 'scales:9=2', 'scales:0:0=1', 'scales:-1=2', 'nowhere:a=1', 'name:a=1',
    'train:total_iter=2024-13-45', 'train:total_iter=0b_', 'train:total_iter=!!int abc', 'name=!!python/name:os.system',
    'scales=[', 'scales={a', 'scales=? [a]: b', 'train=&a [*a]', 'train:growth:start=[1', 'train:optim_g:lr=1e',
    'name=\x01', 'scales:99999999999999999999=2', 'datasets:val_x2=1', 'train=1', 'train=[]', 'network_g=VDSR',
    'network_g=[VDSR]', 'network_g={}', 'datasets=[]', 'datasets=x', 'synthesis:sources=procedural', 'synthesis=~',
    'path=x', 'val=3', 'logger=[1]', 'name=~', 'model_type=~', 'model_type=[]', 'scales=~', 'scales=[]', 'scales={}',
]  # fmt: skip


@pytest.mark.parametrize('entry', FORCED)
def test_force_yml(entry: str, place: Path) -> None:
    key = entry.partition('=')[0].split(':')[0]
    line = attack(['train', '-opt', 'good.yml', '--force_yml', entry], place).line
    assert key in line or 'force_yml' in line, line


PATHS = ['a\x00b.yml', 'x' * 5000, '', '/', '.', '..', '/dev/null', '/dev/zero', '/proc/self/mem', 'nowhere/a.yml']


@pytest.mark.parametrize('path', PATHS, ids=[ascii(path)[:20] for path in PATHS])
def test_paths_of_options(path: str, place: Path) -> None:
    line = attack(['train', '-opt', path], place).line
    assert re.search('no such options file|expected an options file|NUL|cannot be read', line), line
