"""README's promises: its commands, files and options exist, and its results name what made them."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

from vsrkd_plugin.arguments import parser

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / 'README.md').read_text(encoding='utf-8')
PAGES = {
    name: (ROOT / 'docs' / f'{name}.md').read_text(encoding='utf-8')
    for name in ('commands', 'distill', 'export', 'films', 'method', 'report', 'results', 'start', 'upscale', 'video')
}
ALL = '\n'.join([TEXT, *PAGES.values()])


def _command(marker: str) -> str:
    return re.search(rf'<!-- {marker} -->\n```bash\n(.+)\n```', TEXT).group(1)


def test_two_commands_are_one_line_each() -> None:
    assert _command('main command') == 'pip install --use-pep517 -e . && basicsr train -opt options/dfkd_vdsr.yml'
    assert _command('test command') == "pip install --use-pep517 -e '.[test]' && pytest"


def test_it_is_short() -> None:
    assert len(TEXT.split()) <= 900


def test_every_file_they_name_is_there() -> None:
    for folder, text in [(ROOT, TEXT), *((ROOT / 'docs', page) for page in PAGES.values())]:
        for link in re.findall(r'\]\(([^)#\s]+)(?:#[^)]*)?\)', text):
            assert link.startswith('http') or (folder / link).exists(), link
    for name in re.findall(r'(?<![\w/])options/\w+\.yml', ALL):
        assert (ROOT / name).is_file(), name


def _typed(command: str, folder: Path) -> subprocess.CompletedProcess:
    """A command as a user types it: the installed script, in a folder whose modules are on no path."""
    name, *arguments = shlex.split(command)
    script = Path(sys.executable).with_name(name)
    assert script.is_file(), f'{name} is not installed: pip install -e .'
    return subprocess.run([str(script), *arguments], cwd=folder, capture_output=True, text=True, timeout=300)


def test_every_command_parses(tmp_path: Path) -> None:
    in_text = re.findall(r'`((?:basicsr|vsrkd) [^`\n]+)`', ALL)
    lines = re.findall(r'^(?: {4})?((?:basicsr|vsrkd) .+)$', ALL, re.MULTILINE)
    commands = [command.partition(' #')[0] for command in in_text + lines]
    commands = [command for command in commands if len(command.split()) > 2 and '…' not in command]
    assert len(commands) > 20
    for command in commands:
        try:
            parser().parse_args(shlex.split(command)[1:])
        except SystemExit as stopped:
            assert not stopped.code, command  # --help and --version end without an error
    for command in {' '.join(command.split()[:2]) for command in commands}:
        assert _typed(f'{command} --help', tmp_path).returncode == 0


def test_modules_of_a_user_are_found_as_the_command_is_typed(tmp_path: Path) -> None:
    (command,) = set(re.findall(r'`(\w+ train [^`]*--import my_archs)`', TEXT))
    (tmp_path / 'my_archs.py').write_text('print("my networks")\n')
    done = _typed(command, tmp_path)
    assert done.stdout == 'my networks\n'
    assert done.returncode == 2 and 'my.yml: no such options file' in done.stderr


def test_ci_finds_the_test_command() -> None:
    block = TEXT.partition('<!-- test command -->\n')[2].partition('\n```\n')[0]
    assert [line for line in block.splitlines() if line.startswith('pip install')] == [_command('test command')]


def test_every_row_of_results_names_its_command() -> None:
    section = PAGES['results'].partition('## At a glance')[2].partition('\n## ')[0]
    rows = [line for line in section.splitlines() if re.match(r'\|.*\d\d\.\d\d', line)]
    assert rows
    for row in rows:
        assert 'paper' in row.lower() or '[^' in row or 'basicsr ' in row, row
