"""Modules of the user's that do anything, badly."""

from pathlib import Path

import pytest

from .forking import attack

CODE = {
    'syntax': ('def (', 'line 1|SyntaxError'),
    'indentation': ('if True:\nx = 1', 'IndentationError|expected an indented block'),
    'name': ('x = nothing_here', 'line 1: cannot be imported: NameError'),
    'runtime': ("\n\nraise RuntimeError('no luck')", 'line 3: cannot be imported: RuntimeError: no luck'),
    'empty error': ('raise ValueError', 'ValueError'),
    'import': ('import nothing_here', 'nothing_here'),
    'registered twice': (
        'from basicsr.utils.registry import ARCH_REGISTRY\n\n@ARCH_REGISTRY.register()\nclass VDSR: pass',
        'VDSR',
    ),
    'exit': ('import sys\nsys.exit(0)', 'line 2: cannot be imported: SystemExit'),
    'exit 3': ('raise SystemExit(3)', 'SystemExit'),
    'assertion': ("assert False, 'why'", 'why'),
    'attribute': ('import os\nos.nothing', 'AttributeError'),
    'recursion': ('def f(): return f()\nf()', 'RecursionError'),
    'division': ('1 / 0', 'ZeroDivisionError'),
    'stop': ('raise StopIteration', 'StopIteration'),
    'many lines': ("raise ValueError('a\\nb\\nc')", 'ValueError: a'),
    'itself': ('from bad import nothing', 'nothing'),
    'zero bytes': ('x = 1\x00', 'null bytes|source code'),
}


@pytest.mark.parametrize('case', CODE)
def test_a_module_that_fails(case: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('PYTHONDONTWRITEBYTECODE', '1')
    monkeypatch.setattr('sys.dont_write_bytecode', True)
    code, words = CODE[case]
    (place / 'bad.py').write_text(code, encoding='utf-8')
    line = attack(['info', '--import', 'bad'], place).line
    assert line.startswith('--import bad') and any(word in line for word in words.split('|')), line


NAMES = [
    './bad.py',
    'bad.py',
    '.bad',
    'a..b',
    'a b',
    '',
    'a\x00b',
    '/bad',
    '..',
    '1a',
    'a/b',
    'nothing_here',
    'a' * 3000,
]


@pytest.mark.parametrize('name', NAMES, ids=[ascii(name)[:12] for name in NAMES])
def test_names_of_modules(name: str, place: Path) -> None:
    assert attack(['info', '--import', name], place).line.startswith('--import')


def test_a_module_after_a_good_one(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('sys.dont_write_bytecode', True)
    (place / 'good.py').write_text('x = 1', encoding='utf-8')
    (place / 'bad.py').write_text('1 / 0', encoding='utf-8')
    assert attack(['info', '--import', 'good', 'bad'], place).line.startswith('--import bad, line 1')


def test_a_report_of_a_network_whose_module_is_not_imported(place: Path) -> None:
    """The options say which it was; nothing is imported for it."""
    code = (
        'from basicsr.utils.registry import ARCH_REGISTRY\nfrom vsrkd_plugin.archs.vdsr_arch import VDSR\n'
        '@ARCH_REGISTRY.register()\nclass NetOfAUser(VDSR):\n    """Mine."""\n'
    )
    (place / 'nets_of_a_user.py').write_text(code, encoding='utf-8')
    changes = ['network_g:type=NetOfAUser', 'train:total_iter=1', 'train:growth=~']
    done = attack(['train', '-opt', 'good.yml', '--import', 'nets_of_a_user', '--force_yml', *changes], place, 60)
    assert done.status == 0, done.errors
    line = attack(['report', 'experiments/tiny'], place).line
    assert 'experiments/tiny/options.yml: network_g: no network' in line
    assert line.endswith('the training was given --import nets_of_a_user')
    done = attack(['report', 'experiments/tiny', '--import', 'nets_of_a_user'], place, 60)
    assert done.status == 0, done.errors


def test_a_network_that_ends_the_program(place: Path) -> None:
    code = (
        'from basicsr.utils.registry import ARCH_REGISTRY\nfrom vsrkd_plugin.archs.vdsr_arch import VDSR\n'
        '@ARCH_REGISTRY.register()\nclass NetThatLeaves(VDSR):\n    """Mine."""\n'
        '    def forward(self, x, scale=None):\n        raise SystemExit(0)\n'
    )
    (place / 'net_that_leaves.py').write_text(code, encoding='utf-8')
    network = '{type: NetThatLeaves, num_feat: 8, num_block: 4}'
    line = ['upscale', '-m', 'teacher.pth', '-i', 'images', '-o', 'out', '--import', 'net_that_leaves']
    assert 'has ended the program (SystemExit 0)' in attack([*line, '--network', network], place).line
