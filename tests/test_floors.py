"""Imports between rooms go down only (`docs/architecture.md`), and the method itself knows no BasicSR."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / 'vsrkd_plugin'
FLOORS = (
    ('__main__',),
    ('cli', 'python_api', 'registration'),
    ('arguments',),
    ('commands',),
    ('recipe',),
    ('preflight', 'inspection'),
    ('models', 'reports'),
    ('deploy',),
    ('config',),
    ('data', 'distillation'),
    ('basicsr_patches',),
    ('archs', 'losses'),
    ('adapters',),
    ('synthesis',),
    ('metrics', 'run'),
    ('ops', 'optim'),
    ('errors',),
)
HEIGHT = {room: -floor for floor, rooms in enumerate(FLOORS) for room in rooms}
WITHOUT_BASICSR = ('ops', 'optim', 'synthesis', 'adapters', 'distillation')
EXCEPTIONS = {
    ('cli', 'registration'): 'the command registers the plugin before it runs',
    ('', 'basicsr_patches'): 'the shim that makes BasicSR importable stands before any import of it, in every worker',
    ('python_api', 'registration'): 'a call from Python registers the plugin too',
    ('', 'python_api'): 'the name that a notebook imports, looked up when it is asked for',
    ('commands', ''): 'info tells the version',
    ('arguments', ''): 'so does --version',
    ('deploy', ''): 'a model file tells the version that wrote it',
    ('reports', ''): 'what is kept of a teacher is of one version',
}


def imports_of(source: str, package: Path = PACKAGE) -> Iterator[str]:
    """Dotted names of what a module imports, wherever in it; of a package the module that is meant."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level and node.module, 'relative imports are not used here'
            folder = package.parent / node.module.replace('.', '/')
            for alias in node.names:
                is_module = (folder / alias.name).is_dir() or (folder / f'{alias.name}.py').is_file()
                yield f'{node.module}.{alias.name}' if is_module else node.module


def room_of(module: str) -> str:
    """The room of a module of ours; empty for the package itself."""
    return module.partition('.')[2].partition('.')[0]


def is_ours(module: str) -> bool:
    return module.partition('.')[0] == PACKAGE.name


def read_imports() -> dict[str, set[str]]:
    """Every module of the package → what it imports."""
    found = {}
    for file in PACKAGE.rglob('*.py'):
        name = '.'.join(file.relative_to(PACKAGE.parent).with_suffix('').parts).removesuffix('.__init__')
        found[name] = set(imports_of(file.read_text(encoding='utf-8')))
    return found


def upward(imports: dict[str, set[str]]) -> list[str]:
    """Imports that do not go down, and are no exceptions."""
    wrong = []
    for module, imported in imports.items():
        for other in filter(is_ours, imported):
            here, there = room_of(module), room_of(other)
            if here == there or (here, there) in EXCEPTIONS:
                continue
            if not (here and there and HEIGHT[there] < HEIGHT[here]):
                wrong.append(f'{module} imports {other}')
    return wrong


def ways_to_basicsr(imports: dict[str, set[str]], rooms: tuple[str, ...]) -> list[str]:
    """Modules from which BasicSR is reached, directly or through others of ours: each with the way there."""
    found = []
    for start in (module for module in imports if room_of(module) in rooms):
        ways, seen = [[start]], {start}
        while ways:
            way = ways.pop()
            for other in imports.get(way[-1], ()):
                if other.partition('.')[0] == 'basicsr':
                    found.append(' imports '.join([*way, other]))
                elif is_ours(other) and other not in seen:
                    seen.add(other)
                    ways.append([*way, other])
    return found


@pytest.fixture(scope='module')
def imports() -> dict[str, set[str]]:
    return read_imports()


def test_every_room_stands_on_a_floor(imports: dict[str, set[str]]) -> None:
    assert {room_of(module) for module in imports} - {''} <= HEIGHT.keys()


def test_imports_go_down(imports: dict[str, set[str]]) -> None:
    assert not upward(imports)


def test_exceptions_are_needed(imports: dict[str, set[str]]) -> None:
    there = {(room_of(module), room_of(other)) for module, imported in imports.items() for other in imported
             if is_ours(other)}  # fmt: skip
    assert EXCEPTIONS.keys() <= there


def test_the_method_reaches_no_basicsr(imports: dict[str, set[str]]) -> None:
    assert not ways_to_basicsr(imports, WITHOUT_BASICSR)


def test_the_method_runs_without_basicsr(imports: dict[str, set[str]]) -> None:
    """In a fresh process in which any import of BasicSR fails."""
    modules = sorted(module for module in imports if room_of(module) in WITHOUT_BASICSR)
    program = (
        'import importlib, sys\n'
        "sys.modules['basicsr'] = None\n"
        f'for module in {modules}: importlib.import_module(module)\n'
        "print(sum(name.startswith('basicsr.') for name in sys.modules))"
    )
    done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == '0'


@pytest.mark.parametrize(
    'line',
    [
        'from vsrkd_plugin.models.task import build_task',
        'from vsrkd_plugin import models',
        'import vsrkd_plugin.models.task',
        'def f():\n    from vsrkd_plugin.models.task import build_task',
        'from vsrkd_plugin.data.images import read_image',  # on the same floor
        'from vsrkd_plugin import __version__',
    ],
)
def test_an_import_that_does_not_go_down_is_found(imports: dict[str, set[str]], line: str) -> None:
    planted = {**imports, 'vsrkd_plugin.distillation.planted': set(imports_of(line))}
    (wrong,) = upward(planted)
    assert wrong.startswith('vsrkd_plugin.distillation.planted imports vsrkd_plugin')


@pytest.mark.parametrize(
    'line', ['from basicsr.utils import registry', 'from vsrkd_plugin.archs.vdsr_arch import VDSR', 'import basicsr']
)
def test_a_way_to_basicsr_is_found(imports: dict[str, set[str]], line: str) -> None:
    planted = {**imports, 'vsrkd_plugin.ops.planted': set(imports_of(line))}
    ways = ways_to_basicsr(planted, WITHOUT_BASICSR)
    assert ways and all(way.startswith('vsrkd_plugin.ops.planted imports ') for way in ways)
