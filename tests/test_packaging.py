"""What a package index shows, what a wheel holds, and what it asks for."""

import ast
import os
import re
import subprocess
import sys
from email import message_from_string
from email.message import Message
from pathlib import Path

import pytest
import yaml

import vsrkd_plugin

USED_IF_THERE = {'pyiqa'}  # no extra brings it, for it would bring opencv-python-headless: docs/report.md
ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / 'README.md').read_text(encoding='utf-8')
RELATIVE_LINK = re.compile(
    r'\]\((?!https?:|mailto:|#)|(?:src|href)="(?!https?:|mailto:|#)|^\[[^\]]+\]:\s*(?!https?:)', re.M
)
DISTRIBUTIONS = {
    'annotated_types': 'annotated-types',
    'cv2': 'opencv-python',
    'PIL': 'pillow',
    'pydantic_core': 'pydantic',
    'skimage': 'scikit-image',
    'yaml': 'pyyaml',
}


@pytest.fixture(scope='module')
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Message, Path]:
    """The metadata that a wheel would have, and the folder of the files in it; the tree stays as it is."""
    folder = tmp_path_factory.mktemp('built')
    command = ['setup.py', '--quiet', 'egg_info', '--egg-base', str(folder), 'build_py', '--build-lib', str(folder)]
    done = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return message_from_string((folder / 'vsrkd_plugin.egg-info' / 'PKG-INFO').read_text('utf-8')), folder


def test_the_description_has_no_link_into_the_repository(built: tuple[Message, Path]) -> None:
    description = built[0].get_payload()
    assert RELATIVE_LINK.search(README), 'nothing to test'
    assert not RELATIVE_LINK.search(description), RELATIVE_LINK.search(description)
    assert built[0]['Description-Content-Type'] == 'text/markdown'


def test_the_description_is_the_readme_but_for_its_links(built: tuple[Message, Path]) -> None:
    def plain(text: str) -> str:
        text = re.sub(r'!?\[([^\]]*)\]\([^)]*\)', r'\1', text)
        return re.sub(r'\*\(In the repository, a picture: (.*)\.\)\*', r'\1', text).strip()

    description = built[0].get_payload()
    assert plain(description) == plain(README)
    for link in re.findall(r'\[[^\]]+\]\(https?:[^)]+\)', README):
        assert link in description


def test_one_version(built: tuple[Message, Path]) -> None:
    citation = yaml.safe_load((ROOT / 'CITATION.cff').read_text(encoding='utf-8'))
    assert built[0]['Version'] == vsrkd_plugin.__version__ == citation['version']


def test_a_wheel_holds_the_zoo_and_says_that_it_is_typed(built: tuple[Message, Path]) -> None:
    package = built[1] / 'vsrkd_plugin'
    assert (package / 'py.typed').is_file()
    there = sorted(file.name for file in (ROOT / 'vsrkd_plugin' / 'run' / 'zoo').glob('*.*') if file.suffix != '.py')
    assert there and sorted(f.name for f in (package / 'run' / 'zoo').iterdir() if f.suffix != '.py') == there
    modules = {file.relative_to(ROOT) for file in (ROOT / 'vsrkd_plugin').rglob('*.py')}
    assert {file.relative_to(built[1]) for file in package.rglob('*.py')} == modules


def test_a_wheel_holds_the_options_files(built: tuple[Message, Path]) -> None:
    there, packaged = ROOT / 'options', built[1] / 'vsrkd_plugin' / 'options'
    names = sorted(file.name for file in there.iterdir())
    assert 'dfkd_vdsr.yml' in names and 'vsrkd_options.schema.json' in names
    assert sorted(file.name for file in packaged.iterdir()) == names
    assert all((packaged / name).read_bytes() == (there / name).read_bytes() for name in names)


def test_an_installed_package_finds_them_without_the_tree(built: tuple[Message, Path], tmp_path: Path) -> None:
    """The package as a wheel lays it out, from a folder elsewhere: by name, and by `init`."""
    command = [sys.executable, '-m', 'vsrkd_plugin', 'init', 'dfkd_vdsr.yml']
    env = {**os.environ, 'PYTHONPATH': str(built[1])}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert sorted(file.name for file in tmp_path.iterdir()) == ['dfkd_vdsr.yml', 'vsrkd_options.schema.json']
    (tmp_path / 'dfkd_vdsr.yml').unlink()
    program = 'from vsrkd_plugin.config import shipped; print(shipped.find_options_file("dfkd_vdsr.yml"))'
    done = subprocess.run(
        [sys.executable, '-c', program], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60
    )
    assert Path(done.stdout.strip()) == built[1] / 'vsrkd_plugin' / 'options' / 'dfkd_vdsr.yml', done.stderr


def test_what_is_imported_is_asked_for(built: tuple[Message, Path]) -> None:
    asked: dict[bool, set[str]] = {False: set(), True: set()}  # by whether an extra of users brings it
    for line in built[0].get_all('Requires-Dist'):
        if not re.search(r'extra == .test', line):
            asked['extra' in line].add(re.split(r'[^\w-]', line)[0].lower())
    for file in (ROOT / 'vsrkd_plugin').rglob('*.py'):
        tree = ast.parse(file.read_text(encoding='utf-8'))
        functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
        within = {id(inner) for function in functions for inner in ast.walk(function)}
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module and not node.level else []
            # What an extra brings may only be imported where it is used.
            there = asked[False] | (asked[True] | USED_IF_THERE if id(node) in within else set())
            for name in {name.partition('.')[0] for name in names} - sys.stdlib_module_names - {'vsrkd_plugin'}:
                assert DISTRIBUTIONS.get(name, name) in there, f'{file}: {name}'


def test_the_pythons_that_are_promised_are_tested(built: tuple[Message, Path]) -> None:
    prefix = 'Programming Language :: Python :: 3.'
    said = [f'3.{line.removeprefix(prefix)}' for line in built[0].get_all('Classifier') if line.startswith(prefix)]
    workflow = yaml.safe_load((ROOT / '.github' / 'workflows' / 'ci.yml').read_text(encoding='utf-8'))
    assert workflow['jobs']['ci']['strategy']['matrix']['python'] == said == ['3.10', '3.11', '3.12']
    assert set(built[0]['Requires-Python'].split(',')) == {'>=3.10', '<3.13'}


def test_the_parts_of_the_report_s_page_are_packaged(built: tuple[Message, Path]) -> None:
    there = {file.name for file in (built[1] / 'vsrkd_plugin' / 'reports' / 'page').iterdir()}
    assert there == {file.name for file in (ROOT / 'vsrkd_plugin' / 'reports' / 'page').iterdir()} >= {'report.css'}
